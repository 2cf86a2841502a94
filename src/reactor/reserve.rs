//! Room for content that is to be written: each file gets its exact length and its space before the first block comes, so
//! that a full disk is an error then and not one in the middle.
//!
//! That may take long: a file system in memory takes pages for all of it, one without `fallocate` may write
//! zeros over all of it. So much of it is left to a thread, in slices, and ends with one of them when the
//! content is closed.

use super::adopt::Kept;
use super::faults::{expect_room, failed, in_words, no_room, not_written};
use super::folders::{self, Layout, LayoutFile, Open};
use crate::proto::store::StoreError;
use crate::units::id::SwarmId;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;

/// Files created when a content is opened; the others when the first of their bytes come. Each
/// takes 20 to 60 microseconds.
pub(super) const MADE_AT_ONCE: usize = 256;
/// Bytes of a file that need not be created before its first bytes come: its space is reserved in one turn of the loop.
const MADE_LATER_BYTES: u64 = 1024 * 1024;
/// Bytes that are reserved in one turn of the loop, without a thread: about a millisecond where that takes longest.
pub(super) const AT_ONCE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes reserved with one call: a file that nobody wants any more is let go after that. No extent
/// of ext4 is longer.
const SLICE_BYTES: u64 = 128 * 1024 * 1024;

/// A content whose files lack their length or their space.
pub struct Reservation {
    /// Whose content.
    pub swarm: SwarmId,
    /// Bytes that are to be reserved.
    pub bytes: u64,
    /// Files that are to be copied, and nothing else.
    pub(super) kept: Vec<Kept>,
    pub(super) root: PathBuf,
    pub(super) layout: Layout,
    /// Gone when the content is closed.
    pub(super) wanted: Weak<()>,
}

/// One that has ended.
pub struct Reserved {
    /// Whose content.
    pub swarm: SwarmId,
    /// Why there is no room.
    pub outcome: Result<(), StoreError>,
}

/// The work of the helper.
#[must_use]
pub fn reserve(job: Reservation) -> Reserved {
    let mut open = |path: &Path| folders::open_content(&job.root, path, Open::Create);
    Reserved { swarm: job.swarm, outcome: job.make(&mut open) }
}

impl Reservation {
    /// What is done, to people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let bytes = in_words(self.bytes);
        if self.kept.is_empty() {
            return format!("reserving {bytes}");
        }
        let root = folders::shown(&self.root);
        format!("what is not ours to write in {root} is kept: copying {bytes} of it")
    }

    /// Creates the files that are created at once, and reserves their space.
    pub(super) fn make(
        &self,
        open: &mut dyn FnMut(&Path) -> io::Result<File>,
    ) -> Result<(), StoreError> {
        let is_wanted = || self.wanted.strong_count() > 0;
        if !self.kept.is_empty() {
            let copied = self.kept.iter().try_for_each(|file| file.copy(&is_wanted));
            return copied.map_err(|error| not_written(&self.root, &error));
        }
        // Others that came before have taken theirs meanwhile.
        lacking(&self.layout, &self.root)?;
        for file in at_once(&self.layout) {
            if is_wanted() {
                make(&self.root, file, open, &is_wanted)?;
            }
        }
        Ok(())
    }
}

fn at_once(layout: &Layout) -> impl Iterator<Item = &LayoutFile> {
    let files = (0u32..).zip(&layout.files);
    files.filter(|(n, file)| is_at_once(*n, file)).map(|(_, file)| file)
}

/// Whether this file is created when the content is opened.
pub(super) fn is_at_once(index: u32, file: &LayoutFile) -> bool {
    let first = (index as usize) < MADE_AT_ONCE;
    file.chosen && !file.pad && (first || file.length > MADE_LATER_BYTES)
}

/// How many bytes all files lack that are wanted.
///
/// # Errors
/// With both figures, before anything is created, when they cannot fit.
pub(super) fn lacking(layout: &Layout, root: &Path) -> Result<u64, StoreError> {
    let mut needed = 0_u64;
    // Where nothing is there is no need to ask of each file.
    let fresh = root.symlink_metadata().is_err();
    for file in layout.stored().filter(|file| file.chosen) {
        let there = if fresh { 0 } else { folders::allocated(root, &file.path) };
        needed = needed.saturating_add(file.length.saturating_sub(there));
    }
    expect_room(root, needed).map(|()| needed)
}

/// Creates the file, gives it its exact length and reserves its space; an intact one is left as
/// it is, its time of change too. Of a file that is not chosen no space is reserved. Padding is no
/// file.
pub(super) fn make(
    root: &Path,
    file: &LayoutFile,
    open: &mut dyn FnMut(&Path) -> io::Result<File>,
    is_wanted: &dyn Fn() -> bool,
) -> Result<(), StoreError> {
    if file.pad {
        return Ok(());
    }
    let path = folders::content_path(root, &file.path);
    let open = open(&file.path).map_err(|error| failed("create", &path, &error))?;
    if !file.chosen {
        let short = open.metadata().map_or(true, |about| about.len() < file.length);
        let sparse = if short { open.set_len(file.length) } else { Ok(()) };
        return sparse.map_err(|error| not_written(&path, &error));
    }
    extend(&open, file.length, is_wanted).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => {
            let free = folders::free_bytes(&path).unwrap_or(0);
            no_room(&path, file.length, free).that_passes()
        }
        io::ErrorKind::FileTooLarge => {
            let (path, length) = (folders::shown(&path), in_words(file.length));
            StoreError::new(format!(
                "{path} would have {length}, more than a file may have on this file system: \
                 use a --shareable on another one"
            ))
        }
        _ => not_written(&path, &error),
    })
}

/// Gives the file its length and reserves its space, where the file system can. A file that has
/// both already is not touched; one for which there is no room has its former length again.
fn extend(file: &File, length: u64, is_wanted: &dyn Fn() -> bool) -> io::Result<()> {
    let about = file.metadata()?;
    if about.len() == length && about.blocks().saturating_mul(512) >= length {
        return Ok(());
    }
    expect_length(file, length)?;
    let extended = extend_in_slices(file, about.len(), length, is_wanted);
    if extended.is_err() && file.metadata()?.len() > about.len() {
        // Half of it is of no use to us, and all of it to others.
        file.set_len(about.len())?;
    }
    extended
}

fn extend_in_slices(
    file: &File,
    before: u64,
    length: u64,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut from = 0;
    while from < length && is_wanted() {
        let len = SLICE_BYTES.min(length - from);
        let reserve = || rustix::fs::fallocate(file, FallocateFlags::empty(), from, len);
        match rustix::io::retry_on_intr(reserve) {
            Ok(()) => from += len,
            // NOSYS: the same from an old kernel.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut there = before.max(from);
    while there != length && is_wanted() {
        there = length.min(there.saturating_add(SLICE_BYTES));
        file.set_len(there)?;
    }
    Ok(())
}

/// Whether the file system has files as long as that: one that writes zeros must not begin with it.
fn expect_length(mut file: &File, length: u64) -> io::Result<()> {
    match file.seek(SeekFrom::Start(length)) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(io::ErrorKind::FileTooLarge.into())
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::super::mmap::{Storage, DEFAULT_BUDGET};
    use super::*;
    use crate::proto::store::Store;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(5);
    const MIB: u64 = 1024 * 1024;

    fn opened(layout: &Layout, root: &Path) -> (Storage, Option<Reservation>) {
        let mut storage = Storage::new(DEFAULT_BUDGET);
        storage.open_write(S, layout, root).unwrap();
        let reservation = storage.take_reservation(S);
        (storage, reservation)
    }

    #[test]
    fn room_for_much_is_left_to_others() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        let layout = layout(&[("a", 3 * MIB), ("b", 6 * MIB)], 1 << 20);
        let (mut storage, job) = opened(&layout, &root);
        assert!(!root.join("a").exists());
        let job = job.unwrap();
        assert_eq!(job.bytes, 9 * MIB);
        reserve(job).outcome.unwrap();
        storage.reserved(S);
        let stamps = folders::stamps(&root, &layout);
        assert_eq!([stamps[0].0, stamps[1].0], [3 * MIB, 6 * MIB]);
        storage.write(S, 3 * MIB - 1, b"xy").unwrap();

        // What is intact is not touched, and takes no thread.
        drop(storage);
        let before = folders::stamps(&root, &layout);
        assert!(opened(&layout, &root).1.is_none());
        assert_eq!(folders::stamps(&root, &layout), before);
    }

    #[test]
    fn what_was_mapped_of_a_shorter_file_is_not_all() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        std::fs::write(&root, b"12345").unwrap();
        let (mut storage, job) = opened(&layout(&[("", 5 * MIB)], 1 << 20), &root);
        let mut bytes = [0; 5];
        storage.read(S, 0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"12345");
        assert!(storage.read(S, 1, &mut bytes).is_err());
        reserve(job.unwrap()).outcome.unwrap();
        storage.reserved(S);
        storage.read(S, 1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"2345\0");
    }

    #[test]
    fn large_files_are_made_before_any_is_written() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        let names: Vec<_> = (0..300).map(|n| format!("f{n}")).collect();
        let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), 10)).collect();
        files[299].1 = 5 * MIB;
        let layout = layout(&files, 1 << 20);
        let (_storage, job) = opened(&layout, &root);
        reserve(job.unwrap()).outcome.unwrap();
        let made = |n: u32| root.join(format!("f{n}")).exists();
        assert!(made(255) && !made(256) && made(299));
    }

    #[test]
    fn nothing_is_made_for_content_that_is_closed() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        let (mut storage, job) = opened(&layout(&[("", 8 * MIB)], 1 << 20), &root);
        storage.close(S);
        reserve(job.unwrap()).outcome.unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn a_file_longer_than_any_says_so() {
        let folder = TempDir::new().unwrap();
        let file = File::create(folder.path().join("name.part")).unwrap();
        let error = extend(&file, 1 << 63, &|| true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
