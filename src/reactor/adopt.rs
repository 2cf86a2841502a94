//! Content that is there under its name and is not complete becomes NAME.part, to be completed in place.
//!
//! Of a file that is longer than the torrent says the first bytes are copied, and it is kept whole in NAME.before; so is
//! one that has a second name elsewhere (a hard link), unless nothing of it is missing: what we write would be read there, too.
//! A copy may take minutes, so a thread makes it, and before anything is renamed: meanwhile what was found good
//! is served from where it is, and who is killed then has lost nothing.

use super::arrange::is_whole;
use super::faults::expect_room;
use super::folders::{self, Layout, LayoutFile, Open};
use crate::proto::store::StoreError;
use crate::units::bitfield::Bitfield;
use crate::wire::metainfo::Metainfo;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, CWD};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes copied before it is asked whether the copy is still wanted.
const SLICE_BYTES: u64 = 64 * 1024 * 1024;

/// A file that must not be written to, and where what is of use of it is copied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// What is to become the root.
    root: PathBuf,
    /// Below it; empty if it is the file itself.
    path: PathBuf,
    /// So many bytes from its beginning.
    pub(super) length: u64,
    /// A new file. Of a folder's files only after [`find_place`].
    to: PathBuf,
}

/// The files of NAME that are to be kept as they are, with room for their copies; `have` says which are whole.
///
/// # Errors
/// Where there is no room, which may pass, and as [`kept_files`].
pub(super) fn prepare(
    shareable: &Path,
    layout: &Layout,
    metainfo: &Metainfo,
    have: &Bitfield,
) -> Result<Vec<Kept>, StoreError> {
    let failed = |error| not_adopted(layout, &error);
    let whole = |index| is_whole(metainfo, index, have);
    let mut kept = kept_files(shareable, layout, whole).map_err(failed)?;
    if !kept.is_empty() {
        let root = folders::final_path(shareable, layout);
        let needed = kept.iter().map(|file| file.length).sum();
        expect_room(&root, needed).map_err(StoreError::that_passes)?;
        find_place(shareable, layout, &mut kept).map_err(failed)?;
    }
    Ok(kept)
}

/// What went wrong, to people.
pub(super) fn not_adopted(layout: &Layout, error: &io::Error) -> StoreError {
    StoreError::new(format!("adopt {}: {error}", layout.name))
}

/// The files of NAME that are to be kept as they are.
///
/// # Errors
/// As the file system says; also when there is a NAME.part already, or NAME is not [`folders::is_own`].
pub(super) fn kept_files(
    shareable: &Path,
    layout: &Layout,
    is_whole: impl Fn(usize) -> bool,
) -> io::Result<Vec<Kept>> {
    let root = folders::final_path(shareable, layout);
    let part = folders::part_path(shareable, layout);
    if !folders::is_own(shareable, layout) {
        return Err(folders::refused("it is a link, or not what the torrent says"));
    }
    if part.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let kept = |(index, file): (usize, &LayoutFile)| {
        let about = folders::stat_content(&root, &file.path).ok()?;
        let length = about.len().min(file.length);
        let linked = about.nlink() > 1 && !is_whole(index);
        (about.is_file() && (about.len() > file.length || linked)).then(|| Kept {
            root: root.clone(),
            path: file.path.clone(),
            length,
            to: part.clone(),
        })
    };
    let stored = layout.files.iter().enumerate().filter(|(_, file)| !file.pad);
    Ok(stored.filter_map(kept).collect())
}

/// Finds the place for the copies: NAME.part, or for those of a folder a new NAME.before.
fn find_place(shareable: &Path, layout: &Layout, kept: &mut [Kept]) -> io::Result<()> {
    if layout.multi_file {
        let before = folders::new_folder_before(shareable, layout)?;
        kept.iter_mut().for_each(|file| file.to = before.join(&file.path));
    }
    Ok(())
}

impl Kept {
    /// Copies it (by `copy_file_range` where that works), down to the disk. Where that fails, or is not
    /// wanted any more, nothing is left of it.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn copy(&self, is_wanted: &dyn Fn() -> bool) -> io::Result<()> {
        let mut from = folders::open_content(&self.root, &self.path, Open::Read)?;
        let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)) {
            // A file without a name: who is killed leaves nothing of it.
            Ok(to) => {
                let mut to = File::from(to);
                if copy_slices(&mut from, &mut to, self.length, is_wanted)? {
                    let to_fd = format!("/proc/self/fd/{}", to.as_raw_fd());
                    rustix::fs::linkat(CWD, to_fd, CWD, &self.to, AtFlags::SYMLINK_FOLLOW)?;
                }
                Ok(())
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOSYS | Errno::INVAL) => {
                self.copy_by_name(&mut from, is_wanted)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// For file systems whose files all have names.
    fn copy_by_name(&self, from: &mut File, is_wanted: &dyn Fn() -> bool) -> io::Result<()> {
        let mut to = File::options().write(true).create_new(true).open(&self.to)?;
        let copied = copy_slices(from, &mut to, self.length, is_wanted);
        if !matches!(copied, Ok(true)) {
            fs::remove_file(&self.to)?;
        }
        copied.map(drop)
    }
}

/// Whether all of it was copied.
fn copy_slices(
    from: &mut File,
    to: &mut File,
    length: u64,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<bool> {
    let mut left = length;
    while left > 0 && is_wanted() {
        match io::copy(&mut from.take(SLICE_BYTES.min(left)), to)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left -= count,
        }
    }
    to.sync_data()?;
    Ok(left == 0)
}

/// Makes NAME the NAME.part; `kept` are its files that are kept, all copied.
///
/// # Errors
/// As the file system says.
pub(super) fn adopt(shareable: &Path, layout: &Layout, kept: &[Kept]) -> io::Result<PathBuf> {
    let (whole, part) =
        (folders::final_path(shareable, layout), folders::part_path(shareable, layout));
    if !layout.multi_file && !kept.is_empty() {
        folders::set_aside(shareable, layout)?;
        return Ok(part);
    }
    folders::rename_new(&whole, &part)?;
    kept.iter().try_for_each(|file| exchange(&part.join(&file.path), &file.to))?;
    Ok(part)
}

/// Each gets the name of the other.
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => in_three_steps(a, b),
        result => Ok(result?),
    }
}

/// For file systems that do not know how to do it in one.
fn in_three_steps(a: &Path, b: &Path) -> io::Result<()> {
    let name = b.file_name().unwrap_or_default().to_string_lossy();
    let aside = b.with_file_name(folders::suffixed(&name, ".part"));
    folders::rename_new(b, &aside)?;
    folders::rename_new(a, b)?;
    folders::rename_new(&aside, a)
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::{layout, names, put};
    use super::super::folders::{final_path, locate, set_aside, stamps, Located};
    use super::*;
    use std::os::unix::fs::{symlink, MetadataExt};
    use tempfile::TempDir;

    fn adopted(folder: &TempDir, layout: &Layout) -> io::Result<PathBuf> {
        let mut long = kept_files(folder.path(), layout, |_| false)?;
        if !long.is_empty() {
            find_place(folder.path(), layout, &mut long)?;
        }
        long.iter().try_for_each(|file| file.copy(&|| true))?;
        adopt(folder.path(), layout, &long)
    }

    #[test]
    fn short_file_is_adopted_in_place_and_long_one_is_kept() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("", 5)], 16);
        let whole = put(&folder, "name", b"123");
        let inode = whole.metadata().unwrap().ino();
        assert_eq!(locate(folder.path(), &layout), Located::Differs(whole));
        let part = adopted(&folder, &layout).unwrap();
        assert_eq!(part.metadata().unwrap().ino(), inode);
        assert_eq!(names(&folder), ["name.part"]);

        put(&folder, "name", b"1234567");
        assert_eq!(adopted(&folder, &layout).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&part).unwrap();
        assert_eq!(fs::read(adopted(&folder, &layout).unwrap()).unwrap(), b"12345");
        assert_eq!(names(&folder), ["name.before", "name.part"]);
        assert_eq!(fs::read(folder.path().join("name.before")).unwrap(), b"1234567");
    }

    #[test]
    fn folder_with_one_long_file_is_adopted() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("a/b/long", 3), ("empty", 0), ("gone", 9)], 16);
        put(&folder, "name/a/b/long", b"12345");
        let part = adopted(&folder, &layout).unwrap();
        assert_eq!(fs::read(part.join("a/b/long")).unwrap(), b"123");
        assert_eq!(fs::read(folder.path().join("name.before/a/b/long")).unwrap(), b"12345");
        assert_eq!(stamps(&part, &layout)[1..], [(0, 0, 0), (0, 0, 0)]);
    }

    #[test]
    fn what_is_not_ours_is_not_adopted() {
        let folder = TempDir::new().unwrap();
        let one = layout(&[("", 5)], 16);
        fs::create_dir(folder.path().join("name")).unwrap();
        assert!(kept_files(folder.path(), &one, |_| false).is_err());
        set_aside(folder.path(), &one).unwrap();
        put(&folder, "linked", b"12345");
        symlink("linked", folder.path().join("name")).unwrap();
        assert!(kept_files(folder.path(), &one, |_| false).is_err());
        set_aside(folder.path(), &one).unwrap();
        assert_eq!(names(&folder), ["linked", "name.before", "name.before.2"]);
    }

    #[test]
    fn until_it_is_copied_nothing_is_renamed() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("", 5)], 16);
        put(&folder, "name", b"1234567");
        let long = kept_files(folder.path(), &layout, |_| false).unwrap();
        assert_eq!(long.len(), 1);
        long[0].copy(&|| false).unwrap();
        assert_eq!(names(&folder), ["name"], "what is not wanted any more leaves nothing");
        let gone = Kept { root: folder.path().join("gone"), ..long[0].clone() };
        assert!(gone.copy(&|| true).is_err());
        put(&folder, "name.part", b"theirs");
        assert!(long[0].copy(&|| true).is_err());
        assert_eq!(fs::read(folder.path().join("name.part")).unwrap(), b"theirs");
        assert_eq!(fs::read(final_path(folder.path(), &layout)).unwrap(), b"1234567");
    }

    #[test]
    fn a_file_that_is_cut_short_meanwhile_is_not_copied() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("", 5)], 16);
        let whole = put(&folder, "name", b"1234567");
        let long = kept_files(folder.path(), &layout, |_| false).unwrap();
        fs::write(whole, b"1").unwrap();
        assert!(long[0].copy(&|| true).is_err());
        assert_eq!(names(&folder), ["name"]);
    }

    #[test]
    fn a_file_with_a_second_name_is_not_written_to() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("a", 5), ("b", 5)], 16);
        put(&folder, "name/a", b"12");
        put(&folder, "name/b", b"12345");
        for name in ["a", "b"] {
            let theirs = folder.path().join(format!("theirs-{name}"));
            fs::hard_link(folder.path().join("name").join(name), theirs).unwrap();
        }
        let mut kept = kept_files(folder.path(), &layout, |index| index == 1).unwrap();
        assert_eq!(kept.len(), 1, "of what is whole nothing is written");
        find_place(folder.path(), &layout, &mut kept).unwrap();
        kept[0].copy(&|| true).unwrap();
        let part = adopt(folder.path(), &layout, &kept).unwrap();
        fs::write(part.join("a"), b"12345").unwrap();
        assert_eq!(fs::read(folder.path().join("theirs-a")).unwrap(), b"12");
        assert_eq!(fs::read(folder.path().join("name.before/a")).unwrap(), b"12");
        assert_eq!(part.join("b").metadata().unwrap().nlink(), 2);
    }

    #[test]
    fn where_all_files_have_names_a_copy_that_ends_early_is_removed() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("", 5)], 16);
        let whole = put(&folder, "name", b"1234567");
        let kept = kept_files(folder.path(), &layout, |_| true).unwrap();
        let copy = |wanted: bool| {
            kept[0].copy_by_name(&mut File::open(&whole).unwrap(), &|| wanted).unwrap();
        };
        copy(false);
        assert_eq!(names(&folder), ["name"]);
        copy(true);
        assert_eq!(fs::read(folder.path().join("name.part")).unwrap(), b"12345");
    }

    #[test]
    fn names_are_exchanged_in_three_steps_too() {
        let folder = TempDir::new().unwrap();
        let (a, b) = (put(&folder, "x/a", b"long"), put(&folder, "y/a", b"lo"));
        in_three_steps(&a, &b).unwrap();
        assert_eq!(
            (fs::read(&a).unwrap(), fs::read(&b).unwrap()),
            (b"lo".to_vec(), b"long".to_vec())
        );
        exchange(&a, &b).unwrap();
        assert_eq!(
            (fs::read(&a).unwrap(), fs::read(&b).unwrap()),
            (b"long".to_vec(), b"lo".to_vec())
        );
    }
}
