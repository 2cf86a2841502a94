//! The torrents and shareable folders: what is there, what it is called while incomplete, what is
//! saved.
//!
//! Below the root of a content no symbolic link is followed, so that no torrent can lead out of
//! it. Nothing here deletes or shortens what it did not create: a file in the way is renamed.

use crate::units::geometry::Geometry;
use crate::units::limits::TORRENT_BYTES_MAX;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{
    FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags, CWD,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of a file name that all common file systems can hold.
const NAME_BYTES_MAX: usize = 255;
/// A torrent changed less long ago may still be being written.
const SETTLES_AFTER: Duration = Duration::from_millis(200);

/// Which files a content consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// All files in the torrent's order.
    pub files: Vec<LayoutFile>,
    /// Total length and pieces.
    pub geometry: Geometry,
    /// What the file or folder is called in the shareable folder.
    pub name: String,
    /// Whether the content is a folder.
    pub multi_file: bool,
}

/// One file of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutFile {
    /// Below the content's root; empty if the root is the file itself.
    pub path: PathBuf,
    /// Its exact length.
    pub length: u64,
}

/// What there is of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// Nothing.
    Absent,
    /// All files under the final name, with exact lengths.
    Complete(PathBuf),
    /// The final name exists, but files are missing or have other lengths.
    Differs(PathBuf),
    /// A NAME.part of ours.
    Partial(PathBuf),
}

/// What there is of the content in the shareable folder. Only names and lengths are looked at.
#[must_use]
pub fn locate(shareable: &Path, layout: &Layout) -> Located {
    let (whole, part) = (final_path(shareable, layout), part_path(shareable, layout));
    if is_complete(&whole, layout) {
        Located::Complete(whole)
    } else if part.symlink_metadata().is_ok() {
        Located::Partial(part)
    } else if whole.symlink_metadata().is_ok() {
        Located::Differs(whole)
    } else {
        Located::Absent
    }
}

/// Where the complete content belongs.
#[must_use]
pub fn final_path(shareable: &Path, layout: &Layout) -> PathBuf {
    with_suffix(shareable, layout, "")
}

/// Where the incomplete content belongs.
#[must_use]
pub fn part_path(shareable: &Path, layout: &Layout) -> PathBuf {
    with_suffix(shareable, layout, ".part")
}

/// Makes the NAME that differs the NAME.part to be completed, in place. A file that is longer
/// than the torrent says is kept whole at NAME.before, and its first bytes are copied.
///
/// # Errors
/// As the file system says; also when there is a NAME.part already.
pub fn adopt(shareable: &Path, layout: &Layout) -> io::Result<PathBuf> {
    let (whole, part) = (final_path(shareable, layout), part_path(shareable, layout));
    let about = whole.symlink_metadata()?;
    let usable = if layout.multi_file { about.is_dir() } else { about.is_file() };
    if !usable {
        set_aside(shareable, layout)?;
        return Ok(part);
    }
    if part.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if !layout.multi_file {
        let length = layout.geometry.length();
        if about.len() > length {
            let before = set_aside(shareable, layout)?;
            copy_start(&before, &part, length)?;
        } else {
            rename_new(&whole, &part)?;
        }
        return Ok(part);
    }
    rename_new(&whole, &part)?;
    let mut before = None;
    for file in &layout.files {
        let Ok(there) = stat_content(&part, &file.path) else { continue };
        if !there.is_file() || there.len() <= file.length {
            continue;
        }
        let before = match &before {
            Some(before) => before,
            None => before.insert(new_folder_before(shareable, layout)?),
        };
        let (short, long) = (part.join(&file.path), before.join(&file.path));
        fs::create_dir_all(long.parent().unwrap_or(before))?;
        rename_new(&short, &long)?;
        copy_start(&long, &short, file.length)?;
    }
    Ok(part)
}

/// Renames NAME to NAME.before, or NAME.before.2 and so on; says which.
///
/// # Errors
/// As the file system says.
pub fn set_aside(shareable: &Path, layout: &Layout) -> io::Result<PathBuf> {
    let whole = final_path(shareable, layout);
    first_free_before(shareable, layout, |before| rename_new(&whole, before))
}

/// Renames the complete NAME.part to NAME and makes the name last. If a NAME has appeared
/// meanwhile, that is set aside first.
///
/// # Errors
/// As the file system says.
pub fn finish(shareable: &Path, layout: &Layout) -> io::Result<PathBuf> {
    let (whole, part) = (final_path(shareable, layout), part_path(shareable, layout));
    match rename_new(&part, &whole) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            set_aside(shareable, layout)?;
            rename_new(&part, &whole)?;
        }
        result => result?,
    }
    File::open(shareable)?.sync_all()?;
    Ok(whole)
}

/// Length, time of last change in nanoseconds and inode of each file; zeros for a missing one.
/// If they are as they were, the content need not be checked again.
///
/// Writing through a map changes the time only now and then: take the stamps after a flush.
#[must_use]
pub fn stamps(root: &Path, layout: &Layout) -> Vec<(u64, u64, u64)> {
    let stamp = |file: &LayoutFile| match stat_content(root, &file.path) {
        Ok(about) => (about.len(), mtime_ns(&about), about.ino()),
        Err(_) => (0, 0, 0),
    };
    layout.files.iter().map(stamp).collect()
}

/// Replaces the file by one with these bytes, so that a reader, or a start after a crash, finds
/// either the old or the new bytes whole.
///
/// # Errors
/// As the file system says; the old file is then as it was.
pub fn save_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // One fixed name, so that what a crash left behind is overwritten by the next attempt.
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".new");
    let beside = folder.join(beside);
    let written = (|| {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = File::options();
        options.write(true).create(true).truncate(true).custom_flags(flags);
        let mut file = options.open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // The error to tell is the first one.
        let _ = fs::remove_file(&beside);
        return written;
    }
    File::open(folder)?.sync_all()
}

/// Held as long as this process uses the state folder.
#[derive(Debug)]
pub struct StateLock {
    /// The lock goes with the descriptor, also when the process is killed.
    _file: File,
}

/// Claims the state folder, which is created if need be, for this process.
///
/// # Errors
/// A sentence for the person, when another process has it or the folder cannot be used.
pub fn lock_state(folder: &Path) -> Result<StateLock, String> {
    let shown_folder = shown(folder);
    let sentence = |error: io::Error| format!("cannot use the state folder {shown_folder}: {error}");
    fs::create_dir_all(folder).map_err(sentence)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(folder.join("lock")).map_err(sentence)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Only for the sentence below: without it the lock holds as well.
            let id = std::process::id().to_string();
            let _ = file.set_len(0).and_then(|()| file.write_all(id.as_bytes()));
        }
        Err(Errno::WOULDBLOCK) => {
            let mut id = String::new();
            let _ = file.take(20).read_to_string(&mut id);
            let id: String = id.chars().filter(char::is_ascii_digit).collect();
            return Err(format!(
                "another reactor-peer (process {id}) uses the state folder {shown_folder}: stop \
                 it, or give this one a folder of its own with --state"
            ));
        }
        Err(error) => log::warn!("cannot lock the state folder {shown_folder}: {error}"),
    }
    Ok(StateLock { _file: file })
}

/// What has happened in the torrents folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new torrent and its bytes. Comes again for the same path when the bytes have changed.
    Added(PathBuf, Vec<u8>),
    /// A torrent that was added is gone.
    Removed(PathBuf),
    /// A torrent cannot be read, and why; said once until the file changes.
    Unreadable(PathBuf, String),
}

/// The folder of *.torrent files.
pub struct TorrentsFolder {
    folder: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    /// `None` where it cannot be had: then the loop scans by timer.
    watch: Option<OwnedFd>,
    /// Files whose writer has closed them since the last scan: they need not settle.
    closed: BTreeSet<OsString>,
    unsettled: bool,
    /// The folder itself could not be read at the last scan.
    lost: bool,
}

/// What the last look at a file saw.
struct Known {
    /// Length and time of change.
    stamp: (u64, u64),
    settled: bool,
    /// The digest of the bytes that were last handed out as added.
    added: Option<[u8; 20]>,
}

impl TorrentsFolder {
    /// Watches the folder, if the system lets us.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let watch = watch(folder).inspect_err(|error| {
            log::info!("{} is looked at by timer only: {error}", shown(folder));
        });
        Self {
            folder: folder.to_owned(),
            known: BTreeMap::new(),
            watch: watch.ok(),
            closed: BTreeSet::new(),
            unsettled: false,
            lost: false,
        }
    }

    /// Becomes readable when something has happened in the folder.
    #[must_use]
    pub fn watch_fd(&self) -> Option<RawFd> {
        self.watch.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Takes all tidings from the watch; whether there were any, so that a scan is due.
    pub fn drain(&mut self) -> bool {
        let Some(watch) = &self.watch else { return false };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    any = true;
                    let complete =
                        inotify::ReadFlags::CLOSE_WRITE | inotify::ReadFlags::MOVED_TO;
                    if let (true, Some(name)) =
                        (event.events().intersects(complete), event.file_name())
                    {
                        self.closed.insert(OsStr::from_bytes(name.to_bytes()).to_owned());
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }

    /// Whether a file is still being written: scan again after 200 ms.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Looks at the folder and says what has changed since the last look.
    pub fn scan(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let closed = core::mem::take(&mut self.closed);
        self.unsettled = false;
        let paths = match self.list() {
            Ok(paths) => paths,
            Err(error) => {
                // Perhaps a disk was unplugged: that takes no torrent away.
                if !core::mem::replace(&mut self.lost, true) {
                    let reason = format!("cannot read the folder: {error}");
                    changes.push(Change::Unreadable(self.folder.clone(), reason));
                }
                return changes;
            }
        };
        self.lost = false;
        self.known.retain(|path, known| {
            let stays = paths.contains(path);
            if !stays && known.added.is_some() {
                changes.push(Change::Removed(path.clone()));
            }
            stays
        });
        for path in paths {
            let is_closed = path.file_name().is_some_and(|name| closed.contains(name));
            changes.extend(self.look(path, is_closed));
        }
        changes
    }

    fn list(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut paths = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let torrent = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("torrent"));
            if torrent && !name.as_bytes().starts_with(b".") {
                paths.insert(path);
            }
        }
        Ok(paths)
    }

    fn look(&mut self, path: PathBuf, is_closed: bool) -> Option<Change> {
        let about = fs::metadata(&path);
        let stamp = about.as_ref().map_or((0, 0), |about| (about.len(), mtime_ns(about)));
        let known = self.known.get(&path);
        if known.is_some_and(|known| known.settled && known.stamp == stamp) {
            return None;
        }
        let unchanged = known.is_some_and(|known| known.stamp == stamp);
        let settled = is_closed || about.as_ref().map_or(true, |about| is_old(about, unchanged));
        let added = known.and_then(|known| known.added);
        let mut known = Known { stamp, settled, added };
        self.unsettled |= !settled;
        let change = if settled {
            match about.and_then(|about| read_torrent(&path, &about)) {
                Ok(bytes) => {
                    let digest = crate::wire::digest::sha1(&bytes);
                    let same = known.added.replace(digest) == Some(digest);
                    (!same).then(|| Change::Added(path.clone(), bytes))
                }
                Err(error) => Some(Change::Unreadable(path.clone(), error.to_string())),
            }
        } else {
            None
        };
        self.known.insert(path, known);
        change
    }
}

/// Whether the writer seems to be done with the file.
fn is_old(about: &Metadata, unchanged: bool) -> bool {
    match about.modified().map(|changed| SystemTime::now().duration_since(changed)) {
        Ok(Ok(age)) => age >= SETTLES_AFTER,
        // A time in the future, or none, says nothing: two equal looks must do.
        Ok(Err(_)) | Err(_) => unchanged,
    }
}

fn read_torrent(path: &Path, about: &Metadata) -> io::Result<Vec<u8>> {
    let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    if !about.is_file() {
        return refuse("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    file.take(TORRENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TORRENT_BYTES_MAX {
        return refuse(format!("it is larger than {} MiB", TORRENT_BYTES_MAX >> 20));
    }
    Ok(bytes)
}

fn watch(folder: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let flags = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ONLYDIR;
    inotify::add_watch(&watch, folder, flags)?;
    Ok(watch)
}

/// How [`open_content`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Creates it and its folders if missing, then as `ReadWrite`.
    Create,
    /// For reading. The root itself may be a symbolic link: whoever put it there meant it.
    Read,
    /// For reading and writing.
    ReadWrite,
    /// Only to ask about it; needs no permission to read it.
    Stat,
}

/// Opens a file of a content without following any link below its root.
///
/// # Errors
/// As the file system says; also when it is no regular file or a link is in the way.
pub fn open_content(root: &Path, path: &Path, how: Open) -> io::Result<File> {
    let follow = matches!(how, Open::Read | Open::Stat);
    let no_follow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let at_root = if follow { OFlags::CLOEXEC } else { no_follow };
    // NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    let flags = OFlags::NONBLOCK
        | match how {
            Open::Create => OFlags::RDWR | OFlags::CREATE,
            Open::Read => OFlags::RDONLY,
            Open::ReadWrite => OFlags::RDWR,
            Open::Stat => OFlags::PATH,
        };
    let mode = Mode::from_raw_mode(0o666);
    let mut names = path.components().peekable();
    let file = if names.peek().is_none() {
        rustix::fs::open(root, flags | at_root, mode)?
    } else {
        let folder_flags = OFlags::DIRECTORY | OFlags::PATH;
        let mut folder = rustix::fs::open(root, folder_flags | at_root, mode)?;
        loop {
            let Some(Component::Normal(name)) = names.next() else {
                return Err(refused("its path leads out of the content"));
            };
            if names.peek().is_none() {
                break rustix::fs::openat(&folder, name, flags | no_follow, mode)?;
            }
            if how == Open::Create {
                match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            folder = rustix::fs::openat(&folder, name, folder_flags | no_follow, mode)?;
        }
    };
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(refused("it is not a regular file"));
    }
    Ok(file)
}

/// Where [`open_content`] looks, for messages.
#[must_use]
pub fn content_path(root: &Path, path: &Path) -> PathBuf {
    // Joining an empty path would add a slash.
    if path.as_os_str().is_empty() {
        root.to_owned()
    } else {
        root.join(path)
    }
}

/// The path as text that cannot command a terminal: names in it may come from a torrent.
#[must_use]
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    for c in path.to_string_lossy().chars() {
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            text.extend(c.escape_unicode());
        } else {
            text.push(c);
        }
    }
    text
}

/// Gives the file its length and reserves its space, where the file system can. A file that has
/// both already is not touched.
pub(super) fn reserve(file: &File, length: u64) -> io::Result<()> {
    let about = file.metadata()?;
    if about.len() == length && about.blocks().saturating_mul(512) >= length {
        return Ok(());
    }
    if i64::try_from(length).is_err() {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if length > 0 {
        let reserve = || rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length);
        match rustix::io::retry_on_intr(reserve) {
            // NOSYS: the same from an old kernel.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if file.metadata()?.len() == length {
        return Ok(());
    }
    file.set_len(length)
}

/// Bytes of the disk that the file has already.
pub(super) fn allocated(root: &Path, path: &Path) -> u64 {
    stat_content(root, path).map_or(0, |about| about.blocks().saturating_mul(512))
}

/// Bytes that we may still write where `path` is.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(path)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

fn stat_content(root: &Path, path: &Path) -> io::Result<Metadata> {
    open_content(root, path, Open::Stat)?.metadata()
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn is_complete(root: &Path, layout: &Layout) -> bool {
    let Ok(about) = root.metadata() else { return false };
    about.is_dir() == layout.multi_file
        && layout.files.iter().all(|file| {
            stat_content(root, &file.path).is_ok_and(|about| about.len() == file.length)
        })
}

fn mtime_ns(about: &Metadata) -> u64 {
    let ns = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    u64::try_from(ns).unwrap_or(0)
}

/// The content's name with a suffix; a name too long for both is cut, one that leads elsewhere
/// is replaced.
fn with_suffix(shareable: &Path, layout: &Layout, suffix: &str) -> PathBuf {
    let mut names = Path::new(&layout.name).components();
    let name = match (names.next(), names.next()) {
        (Some(Component::Normal(name)), None) if name == layout.name.as_str() => &*layout.name,
        _ => "_",
    };
    let mut end = name.len().min(NAME_BYTES_MAX - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    shareable.join(format!("{}{suffix}", &name[..end]))
}

/// Renames, never over something that is there.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems do not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        result => Ok(result?),
    }
}

fn new_folder_before(shareable: &Path, layout: &Layout) -> io::Result<PathBuf> {
    first_free_before(shareable, layout, |before| fs::create_dir(before))
}

fn first_free_before(
    shareable: &Path,
    layout: &Layout,
    mut take: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let suffix = match number {
            1 => ".before".to_owned(),
            _ => format!(".before.{number}"),
        };
        let before = with_suffix(shareable, layout, &suffix);
        match take(&before) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => {
                number += 1;
            }
            result => return result.map(|()| before),
        }
    }
}

/// Copies the first `length` bytes into a new file (by copy_file_range where that works).
fn copy_start(from: &Path, to: &Path, length: u64) -> io::Result<()> {
    let mut to = File::options().write(true).create_new(true).open(to)?;
    io::copy(&mut File::open(from)?.take(length), &mut to)?;
    Ok(())
}
