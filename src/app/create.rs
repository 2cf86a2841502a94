//! `create` and `set-announce`: new .torrent files and new announces.
//!
//! A folder's files come in the order of their paths, so the same content gives the same torrent.
//! Left out are names that begin with a dot, Thumbs.db, desktop.ini, names that end in `.part`,
//! symbolic links, and what is neither a file nor a folder; one line to stderr says so for each.

mod write;

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::text::{self, percent, size};
use super::{logging, read_torrent, Failure, DONE};
use crate::units::limits::PIECES_MAX;
use crate::wire::create::{self, Content, CreateError, NewTorrent};
use crate::wire::digest::Hasher;
use crate::wire::metainfo::paths::{content_name, file_path};
use crate::wire::metainfo::Metainfo;

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// What a new torrent is to be.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// File or folder to share.
    pub path: &'a Path,
    /// Trackers, each a tier.
    pub announces: &'a [String],
    /// Bytes of a piece, if not chosen by the length.
    pub piece_length: Option<u32>,
    /// Peers from the trackers only.
    pub private: bool,
    /// A note for people.
    pub comment: Option<&'a str>,
    /// The file to write, a folder for it, or `-`: stdout; NAME.torrent in the current
    /// folder if not given, without the dots that NAME may begin with.
    pub output: Option<&'a Path>,
}

/// Hashes the content, writes a .torrent that was not there before, and prints what it is.
///
/// # Errors
/// [`Failure`] if the content cannot be read or shared, or the file is there already.
pub fn create(request: &Request<'_>, out: &mut dyn Write) -> Result<u8, Failure> {
    create::check_announces(request.announces).map_err(|error| refused(&error))?;
    let name = name_of(request.path)?;
    let to_stdout = request.output == Some(Path::new("-"));
    let target = target(&name, request.output);
    if !to_stdout && target.symlink_metadata().is_ok() {
        return Err(exists(&target));
    }
    let sources = Sources::find(request.path, &name)?;
    let total = sources.total()?;
    let piece_length = request.piece_length.unwrap_or_else(|| create::piece_length_for(total));
    let piece_count = total.div_ceil(u64::from(piece_length));
    if piece_count > u64::from(PIECES_MAX) {
        return Err(refused(&format_args!(
            "that makes {piece_count} pieces, more than {PIECES_MAX}: take a larger --piece-length"
        )));
    }
    let pieces = hash(&sources, piece_length, total)?;
    let tiers: Vec<_> = request.announces.iter().map(|address| vec![address.clone()]).collect();
    let bytes = create::build(&NewTorrent {
        name: &name,
        content: sources.content(),
        piece_length,
        pieces: &pieces,
        announce_tiers: &tiers,
        private: request.private,
        comment: request.comment,
        creation_date: None,
    })
    .map_err(|error| refused(&format_args!("{}: {error}", text::shown(request.path))))?;
    let metainfo = Metainfo::parse(&bytes).map_err(|error| failed(&target, &error))?;
    if to_stdout {
        out.write_all(&bytes)?;
        out.flush()?;
        logging::say(&format!("info-hash {}\n", metainfo.info_hash));
        return Ok(DONE);
    }
    write::new_file(&target, &bytes).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(&target),
        _ => failed(&target, &error),
    })?;
    let (shown, size, pieces) = (text::shown(&target), size(total), text::piece_size(piece_length));
    let plural = if piece_count == 1 { "piece" } else { "pieces" };
    writeln!(out, "{shown}  {}  {size}  {piece_count} {plural} of {pieces}", text::escape(&name))?;
    writeln!(out, "info-hash {}", metainfo.info_hash)?;
    out.flush()?;
    Ok(DONE)
}

/// Gives the .torrent at `file` these trackers, in one step and only if its info-hash stays.
///
/// # Errors
/// [`Failure`] if it is no sound torrent, an address is none, or it cannot be written.
pub fn set_announce(file: &Path, addresses: &[String], out: &mut dyn Write) -> Result<u8, Failure> {
    let before = read_torrent(file)?;
    let bytes = create::set_announce(&before, addresses).map_err(|error| match error {
        CreateError::BadAnnounce(_) | CreateError::NoAnnounce => refused(&error),
        _ => refused(&format_args!("{}: {error}", text::shown(file))),
    })?;
    let metainfo = Metainfo::parse(&bytes).map_err(|error| failed(file, &error))?;
    if bytes != before {
        write::replace(file, &bytes).map_err(|error| failed(file, &error))?;
    }
    writeln!(out, "{}  info-hash {} unchanged", text::shown(file), metainfo.info_hash)?;
    for address in addresses {
        writeln!(out, "announce {}", text::escape(address))?;
    }
    out.flush()?;
    Ok(DONE)
}

fn refused(what: &dyn Display) -> Failure {
    Failure::Refused(what.to_string())
}

fn failed(path: &Path, what: &dyn Display) -> Failure {
    Failure::Failed(format!("{}: {what}", text::shown(path)))
}

fn exists(target: &Path) -> Failure {
    let target = text::shown(target);
    Failure::Refused(format!("{target} is there already: remove it, or take another --output"))
}

/// The content's name, which must be one that the parser leaves as it is: otherwise the peer that
/// made the torrent would not find the content again.
fn name_of(path: &Path) -> Result<String, Failure> {
    let bad = |what: &dyn Display| refused(&format_args!("{}: {what}", text::shown(path)));
    let whole;
    let name = match path.file_name() {
        Some(name) => name,
        // `.` or `..`: the folder's own name is in its full path.
        None => {
            whole = fs::canonicalize(path).map_err(|error| bad(&error))?;
            whole.file_name().ok_or_else(|| bad(&"it has no name"))?
        }
    };
    let name = name.to_str().ok_or_else(|| bad(&"its name is not UTF-8; rename it first"))?;
    match content_name(name.as_bytes()) {
        Ok(same) if same == name => Ok(same),
        Ok(other) => Err(bad(&format_args!(
            "peers would save it as '{}'; rename it first",
            text::escape(&other)
        ))),
        Err(error) => Err(bad(&format_args!("its name {error}"))),
    }
}

fn target(name: &str, output: Option<&Path>) -> PathBuf {
    // A .torrent whose name begins with a dot would be passed over in the torrents folder.
    let shown = name.trim_start_matches('.');
    let default = format!("{}.torrent", if shown.is_empty() { "torrent" } else { shown });
    match output {
        Some(folder) if folder.is_dir() => folder.join(default),
        Some(file) => file.to_path_buf(),
        None => default.into(),
    }
}

/// The files of the content and their lengths as found.
enum Sources {
    Single(PathBuf, u64),
    /// Where each lies, its components below the folder, its bytes.
    Multi(Vec<(PathBuf, Vec<String>, u64)>),
}

impl Sources {
    fn find(path: &Path, name: &str) -> Result<Self, Failure> {
        let unreadable =
            |error: io::Error| refused(&format_args!("{}: {error}", text::shown(path)));
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.is_file() {
            return Ok(Self::Single(path.to_path_buf(), metadata.len()));
        }
        if !metadata.is_dir() {
            let path = text::shown(path);
            return Err(refused(&format_args!("{path} is neither a file nor a folder")));
        }
        let mut files = Vec::new();
        let mut folders = vec![(path.to_path_buf(), Vec::new())];
        while let Some((folder, components)) = folders.pop() {
            walk(&folder, &components, name, &mut files, &mut folders)
                .map_err(|error| error.unwrap_or_else(|error| failed(&folder, &error)))?;
        }
        if files.is_empty() {
            return Err(refused(&format_args!("{}: no files to share", text::shown(path))));
        }
        files.sort_unstable_by(|(_, one, _), (_, other, _)| one.cmp(other));
        Ok(Self::Multi(files))
    }

    fn total(&self) -> Result<u64, Failure> {
        let total = match self {
            Self::Single(_, length) => Some(*length),
            Self::Multi(files) => {
                files.iter().try_fold(0_u64, |total, (_, _, length)| total.checked_add(*length))
            }
        };
        total.ok_or_else(|| refused(&"the content is too large"))
    }

    fn content(&self) -> Content {
        match self {
            Self::Single(_, length) => Content::Single(*length),
            Self::Multi(files) => {
                Content::Multi(files.iter().map(|(_, path, n)| (path.clone(), *n)).collect())
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&Path, u64)> {
        let (single, multi) = match self {
            Self::Single(path, length) => (Some((path.as_path(), *length)), &[][..]),
            Self::Multi(files) => (None, &files[..]),
        };
        single.into_iter().chain(multi.iter().map(|(path, _, length)| (path.as_path(), *length)))
    }
}

type Found = (PathBuf, Vec<String>, u64);

/// Adds the files of one folder, and its folders to those that are still to be walked.
fn walk(
    folder: &Path,
    components: &[String],
    name: &str,
    files: &mut Vec<Found>,
    folders: &mut Vec<(PathBuf, Vec<String>)>,
) -> Result<(), Result<Failure, io::Error>> {
    for entry in fs::read_dir(folder).map_err(Err)? {
        let entry = entry.map_err(Err)?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Err)?;
        let left_out = match is_junk(&entry.file_name()) {
            true => Some("hidden or temporary"),
            false if kind.is_symlink() => Some("a symbolic link"),
            false if !kind.is_file() && !kind.is_dir() => Some("neither a file nor a folder"),
            false => None,
        };
        if let Some(why) = left_out {
            logging::say(&format!("left out: {} ({why})\n", text::shown(&path)));
            continue;
        }
        let bad = |what: &dyn Display| Ok(refused(&format_args!("{}: {what}", text::shown(&path))));
        let component = entry.file_name();
        let component =
            component.to_str().ok_or_else(|| bad(&"its name is not UTF-8; rename it first"))?;
        let whole = [components, &[component.to_string()]].concat();
        match file_path(name, whole.iter().map(|part| part.as_bytes())) {
            Ok(same) if same == whole => {}
            Ok(_) => return Err(bad(&"peers would save it under another name; rename it first")),
            Err(error) => return Err(bad(&format_args!("its path {error}"))),
        }
        if kind.is_dir() {
            folders.push((path, whole));
        } else {
            let length = entry.metadata().map_err(Err)?.len();
            files.push((path, whole, length));
        }
    }
    Ok(())
}

/// What a system or a browser leaves in a folder, and what nobody means to share.
fn is_junk(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".")
        || name.ends_with(b".part")
        || name.eq_ignore_ascii_case(b"thumbs.db")
        || name.eq_ignore_ascii_case(b"desktop.ini")
}

/// The SHA-1 of every piece, one after the other.
fn hash(sources: &Sources, piece_length: u32, total: u64) -> Result<Vec<u8>, Failure> {
    let piece_length = u64::from(piece_length);
    let mut pieces = Vec::new();
    let (mut hasher, mut left) = (Hasher::default(), piece_length);
    let mut progress = Progress::new(total);
    let mut buffer = vec![0; READ_BYTES];
    for (path, length) in sources.iter() {
        let mut file = File::open(path).map_err(|error| failed(path, &error))?;
        let mut rest = length;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(path, &error)),
            };
            if count as u64 > rest || (count == 0 && rest > 0) {
                return Err(failed(path, &"it changed while it was read"));
            }
            if count == 0 {
                break;
            }
            rest -= count as u64;
            let mut bytes = &buffer[..count];
            while !bytes.is_empty() {
                let take = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let (now, later) = bytes.split_at(take);
                hasher.update(now);
                (bytes, left) = (later, left - take as u64);
                if left == 0 {
                    pieces.extend(std::mem::take(&mut hasher).finish());
                    left = piece_length;
                }
            }
            progress.add(count as u64);
        }
    }
    if left < piece_length {
        pieces.extend(hasher.finish());
    }
    Ok(pieces)
}

/// A line on a terminal's stderr that says how far it is; nothing elsewhere.
struct Progress {
    done: u64,
    total: u64,
    /// When the next line is due; `None` without a terminal.
    due: Option<Instant>,
    drawn: bool,
}

impl Progress {
    fn new(total: u64) -> Self {
        let due = io::stderr().is_terminal().then(|| Instant::now() + PROGRESS_EVERY);
        Self { done: 0, total, due, drawn: false }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let now = match self.due {
            Some(due) if Instant::now() >= due => due.max(Instant::now()),
            _ => return,
        };
        let percent = percent(self.done, self.total);
        let (done, total) = (size(self.done), size(self.total));
        logging::say(&format!("\rhashing  {percent:>3}%  {done} of {total}   "));
        (self.due, self.drawn) = (Some(now + PROGRESS_EVERY), true);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            logging::say(&format!("\r{:60}\r", ""));
        }
    }
}

#[cfg(test)]
mod tests;
