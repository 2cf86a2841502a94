//! The shareable folder: what is there, and what it is called while incomplete.
//!
//! Below the root of a content no symbolic link is followed, so that no torrent can lead out of
//! it. Nothing here deletes or shortens what it did not create: a file in the way is renamed.

use crate::units::geometry::Geometry;
use crate::wire::digest;
use crate::wire::text::escape_bytes;
use rustix::fs::{Access, Mode, OFlags, RenameFlags, CWD};
use rustix::io::Errno;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Bytes of a file name that all common file systems can hold.
const NAME_BYTES_MAX: usize = 255;

/// Where a content stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Under its final name, complete as far as we know.
    Final,
    /// Under its final name, but perhaps not what the torrent means.
    Doubtful,
    /// As NAME.part.
    Part,
}

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
    /// Below the content's root; empty if the root is the file itself. FILE.part for some that are
    /// not chosen (see `arrange`).
    pub path: PathBuf,
    /// Its exact length.
    pub length: u64,
    /// BEP 47: zeros, and no file.
    pub pad: bool,
    /// BEP 53: it is wanted, and not only the pieces that it shares with others.
    pub chosen: bool,
}

/// Length, time of last change in nanoseconds and inode of a file.
pub type Stamp = (u64, u64, u64);

impl Layout {
    /// The files that are files on the disk.
    pub fn stored(&self) -> impl Iterator<Item = &LayoutFile> {
        self.files.iter().filter(|file| !file.pad)
    }
}

/// What there is of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// Nothing.
    Absent,
    /// All chosen files under the final name, with exact lengths.
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
    } else if whole.metadata().is_ok() {
        // A link that leads nowhere is nothing; `finish` sets it aside.
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

/// Whether NAME is itself the file or folder that the torrent says. What a link leads to is not ours to write.
pub fn is_own(shareable: &Path, layout: &Layout) -> bool {
    let about = final_path(shareable, layout).symlink_metadata();
    about.is_ok_and(|about| if layout.multi_file { about.is_dir() } else { about.is_file() })
}

/// Renames NAME to NAME.before, or NAME.before.2 and so on; says which.
///
/// # Errors
/// As the file system says.
pub fn set_aside(shareable: &Path, layout: &Layout) -> io::Result<PathBuf> {
    let whole = final_path(shareable, layout);
    first_free_before(shareable, layout, |before| rename_new(&whole, before))
}

/// Renames the complete NAME.part to NAME. If a NAME has appeared meanwhile, that is set aside first.
/// The name lasts after [`make_last`].
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
    Ok(whole)
}

/// Waits until the name of a content is on the disk; for the helper thread. If a crash takes it back before,
/// NAME.part is there and is checked.
pub fn make_last(root: &Path) {
    let Some(folder) = root.parent() else { return };
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        log::debug!("{}: {error}", shown(folder));
    }
}

/// Length, time of last change in nanoseconds and inode of each stored file; zeros for a missing one.
/// If they are as they were, the content need not be checked again.
///
/// Writing through a map changes the time only now and then: take the stamps after a flush.
#[must_use]
pub fn stamps(root: &Path, layout: &Layout) -> Vec<Stamp> {
    layout.stored().map(|file| stamp(root, &file.path).unwrap_or_default()).collect()
}

/// The same of one file, if it is there.
pub(super) fn stamp(root: &Path, path: &Path) -> Option<Stamp> {
    find(root, path).ok().flatten()
}

/// The same, where that can be found out: without a free descriptor a file that is there seems to be missing.
pub(super) fn find(root: &Path, path: &Path) -> io::Result<Option<Stamp>> {
    match stat_content(root, path) {
        Ok(about) => Ok(Some((about.len(), mtime_ns(&about), about.ino()))),
        Err(error) if is_want(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether it says nothing of the file: another time the system has what it takes to open one.
pub(super) fn is_want(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    matches!(error, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// As [`stamps`], if that can be found out of all of them.
pub(super) fn find_all(root: &Path, layout: &Layout) -> io::Result<Vec<Stamp>> {
    layout.stored().map(|file| Ok(find(root, &file.path)?.unwrap_or_default())).collect()
}

/// Asks whether we may read what is there: what we may not must not be taken for another file.
///
/// # Errors
/// The first file that we may not read, and the system's word for it.
pub fn expect_readable(root: &Path, layout: &Layout) -> Result<(), (PathBuf, io::Error)> {
    let mut paths = layout.stored().map(|file| content_path(root, &file.path));
    paths.try_for_each(|path| expect_access(path, Access::READ_OK))
}

/// Asks whether NAME can become NAME.part and be completed: whether we may write to its folder, and to what is there.
/// What a link leads to is not asked: that is set aside.
///
/// # Errors
/// The first place where we may not write, and the system's word for it.
pub fn expect_writable(root: &Path, layout: &Layout) -> Result<(), (PathBuf, io::Error)> {
    let around = root.parent().filter(|folder| !folder.as_os_str().is_empty());
    let own = Some(root).filter(|root| !root.is_symlink());
    let around = around.into_iter().chain(own).map(Path::to_owned);
    let files = layout.stored().filter(|_| own.is_some());
    let mut paths = around.chain(files.map(|file| content_path(root, &file.path)));
    paths.try_for_each(|path| expect_access(path, Access::WRITE_OK))
}

fn expect_access(path: PathBuf, how: Access) -> Result<(), (PathBuf, io::Error)> {
    match rustix::fs::access(&path, how) {
        Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::IO | Errno::ROFS)) => {
            Err((path, errno.into()))
        }
        _ => Ok(()),
    }
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
    escape_bytes(path.as_os_str().as_encoded_bytes())
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

pub(super) fn stat_content(root: &Path, path: &Path) -> io::Result<Metadata> {
    open_content(root, path, Open::Stat)?.metadata()
}

pub(super) fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn is_complete(root: &Path, layout: &Layout) -> bool {
    let Ok(about) = root.metadata() else { return false };
    about.is_dir() == layout.multi_file
        && layout.stored().filter(|file| file.chosen).all(|file| {
            stat_content(root, &file.path).is_ok_and(|about| about.len() == file.length)
        })
}

pub(super) fn mtime_ns(about: &Metadata) -> u64 {
    let ns = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    u64::try_from(ns).unwrap_or(0)
}

/// The content's name with a suffix. A name too long for both is cut, and told from others that
/// begin alike by eight hexadecimal digits of its SHA-1: `BEGINNING~1a2b3c4d.part`. One that leads
/// elsewhere is replaced.
fn with_suffix(shareable: &Path, layout: &Layout, suffix: &str) -> PathBuf {
    let mut names = Path::new(&layout.name).components();
    let name = match (names.next(), names.next()) {
        (Some(Component::Normal(name)), None) if name == layout.name.as_str() => &*layout.name,
        _ => "_",
    };
    shareable.join(suffixed(name, suffix))
}

/// As [`with_suffix`], of any name.
pub(super) fn suffixed(name: &str, suffix: &str) -> String {
    if name.len() + suffix.len() <= NAME_BYTES_MAX {
        return format!("{name}{suffix}");
    }
    let [a, b, c, d, ..] = digest::sha1(name.as_bytes());
    let ending = format!("~{a:02x}{b:02x}{c:02x}{d:02x}{suffix}");
    let mut end = NAME_BYTES_MAX - ending.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", &name[..end])
}

/// Renames, never over something that is there.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
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

pub(super) fn new_folder_before(shareable: &Path, layout: &Layout) -> io::Result<PathBuf> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::{symlink, PermissionsExt};
    use tempfile::TempDir;

    /// A layout of files by path and length; one with an empty path is a single file.
    pub(crate) fn layout(files: &[(&str, u64)], piece_length: u32) -> Layout {
        let length = files.iter().map(|(_, length)| length).sum();
        Layout {
            files: files
                .iter()
                .map(|&(path, length)| LayoutFile {
                    path: path.into(),
                    length,
                    pad: path.starts_with(".pad/"),
                    chosen: true,
                })
                .collect(),
            geometry: Geometry::new(length, piece_length).unwrap(),
            name: "name".to_owned(),
            multi_file: files.first().is_none_or(|(path, _)| !path.is_empty()),
        }
    }

    pub(crate) fn put(folder: &TempDir, path: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn single_file_from_absent_to_complete() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("", 5)], 16);
        assert_eq!(locate(folder.path(), &layout), Located::Absent);
        let part = put(&folder, "name.part", b"12345");
        assert_eq!(locate(folder.path(), &layout), Located::Partial(part));
        put(&folder, "name", b"other");
        put(&folder, "name.before", b"older");
        let whole = finish(folder.path(), &layout).unwrap();
        assert_eq!(locate(folder.path(), &layout), Located::Complete(whole));
        assert_eq!(names(&folder), ["name", "name.before", "name.before.2"]);
        assert_eq!(fs::read(folder.path().join("name.before.2")).unwrap(), b"other");
        assert_eq!(fs::read(folder.path().join("name")).unwrap(), b"12345");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_in_nobodys_way() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("", 5)], 16);
        symlink("/nonexistent/x", folder.path().join("name")).unwrap();
        assert_eq!(locate(folder.path(), &layout), Located::Absent);
        put(&folder, "name.part", b"12345");
        let whole = finish(folder.path(), &layout).unwrap();
        assert_eq!(fs::read(whole).unwrap(), b"12345");
        assert!(folder.path().join("name.before").is_symlink());
    }

    #[test]
    fn where_we_may_not_write_is_known_before() {
        let folder = TempDir::new().unwrap();
        let one = layout(&[("", 5)], 16);
        let root = final_path(folder.path(), &one);
        assert!(expect_writable(&root, &one).is_ok(), "nothing is there");
        put(&folder, "theirs", b"12345");
        let theirs = folder.path().join("theirs");
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o444)).unwrap();
        symlink(&theirs, &root).unwrap();
        assert!(expect_writable(&root, &one).is_ok(), "a link is set aside");
        fs::remove_file(&root).unwrap();
        fs::rename(&theirs, &root).unwrap();
        let refused = expect_writable(&root, &one).map_err(|(path, _)| path);
        // Root may write everywhere.
        let expected = if rustix::process::geteuid().is_root() { Ok(()) } else { Err(root) };
        assert_eq!(refused, expected);
    }

    #[test]
    fn links_below_the_root_and_odd_files_are_not_followed() {
        let (folder, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        put(&outside, "f", b"12345");
        let root = folder.path().join("name");
        fs::create_dir(&root).unwrap();
        symlink(outside.path(), root.join("d")).unwrap();
        symlink(outside.path().join("f"), root.join("f")).unwrap();
        for how in [Open::Create, Open::Read, Open::ReadWrite, Open::Stat] {
            assert!(open_content(&root, Path::new("d/f"), how).is_err());
            assert!(open_content(&root, Path::new("f"), how).is_err());
            assert!(open_content(&root, Path::new("../f"), how).is_err());
        }
        let fifo = root.join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_content(&root, Path::new("fifo"), Open::Read).is_err());
        assert_eq!(locate(folder.path(), &layout(&[("f", 5)], 16)), Located::Differs(root));

        // The root itself may be a link for reading, never for writing.
        let link = folder.path().join("link");
        symlink(outside.path().join("f"), &link).unwrap();
        assert!(open_content(&link, Path::new(""), Open::Read).is_ok());
        assert!(open_content(&link, Path::new(""), Open::ReadWrite).is_err());
    }

    #[test]
    fn names_that_are_too_long_or_lead_out() {
        let mut layout = layout(&[("", 5)], 16);
        layout.name = "é".repeat(127);
        let name = part_path(Path::new("s"), &layout).into_os_string().into_string().unwrap();
        assert!(name.len() <= 2 + NAME_BYTES_MAX && name.contains("é~"), "{name}");
        assert!(name.ends_with(".part"), "{name}");
        layout.name.replace_range(252.., "x");
        let other = part_path(Path::new("s"), &layout).into_os_string().into_string().unwrap();
        assert_ne!(name, other, "the digits tell them apart");
        assert_eq!(name[..100 * 2], other[..100 * 2]);
        layout.name = "a".repeat(250);
        assert_eq!(
            part_path(Path::new("s"), &layout),
            Path::new("s").join("a".repeat(250) + ".part")
        );
        for bad in ["", ".", "..", "a/b", "/a", "a/"] {
            bad.clone_into(&mut layout.name);
            assert_eq!(final_path(Path::new("s"), &layout), Path::new("s/_"));
        }
        assert_eq!(shown(Path::new("a\x1b[2J\u{202e}b\u{2028}")), "a\\u{1b}[2J\\u{202e}b\\u{2028}");
    }
}
