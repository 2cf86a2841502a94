//! Content is opened: to be read as it stands, or with room for all of it to be written.

use super::folders::{self, Layout, LayoutFile, Open};
use super::mmap::{failed, not_open, Storage};
use super::open_files::OpenFiles;
use super::write::not_written;
use crate::proto::store::StoreError;
use crate::units::id::SwarmId;
use std::io;
use std::path::Path;

/// Files created when a content is opened; the others when the first of their bytes come. Each
/// takes 20 to 60 microseconds, and the loop must turn.
const MADE_AT_ONCE: usize = 256;

impl Storage {
    /// Makes complete content readable. A file that is missing or short is an error only of
    /// what is read from there.
    ///
    /// # Errors
    /// When there is nothing at `root`.
    pub fn open_read(
        &mut self,
        swarm: SwarmId,
        layout: &Layout,
        root: &Path,
    ) -> Result<(), StoreError> {
        root.metadata().map_err(|error| failed("find", root, &error))?;
        self.insert(swarm, layout, root, false)
    }

    /// Makes content readable and writable. The first files get their exact length and their space
    /// at once, the others (and empty ones) when they are written or by [`Storage::make_all`].
    /// The folder that holds `root` must be there.
    ///
    /// # Errors
    /// When the disk has not enough room for all of it, or says no otherwise. What was created
    /// stays, and the call may be repeated.
    pub fn open_write(
        &mut self,
        swarm: SwarmId,
        layout: &Layout,
        root: &Path,
    ) -> Result<(), StoreError> {
        check_room(layout, root)?;
        if layout.multi_file {
            match std::fs::create_dir(root) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("create", root, &error));
                }
                _ => {}
            }
        }
        let at_once = layout.files.len().min(MADE_AT_ONCE);
        for file in layout.files[..at_once].iter().filter(|file| file.chosen) {
            reserve(&mut self.open, root, file)?;
        }
        self.insert(swarm, layout, root, true)?;
        if let Some(content) = self.contents.get_mut(&swarm) {
            let files = (0u32..).zip(&layout.files);
            let unmade = files.filter(|(n, file)| *n as usize >= at_once || !file.chosen);
            content.unmade.extend(unmade.map(|(n, _)| n));
        }
        Ok(())
    }

    /// Creates the file, unless that is done.
    pub(super) fn make(&mut self, swarm: SwarmId, index: u32) -> Result<(), StoreError> {
        let content = self.contents.get_mut(&swarm).ok_or_else(not_open)?;
        if content.unmade.contains(&index) {
            reserve(&mut self.open, &content.root, &content.files[index as usize])?;
            content.unmade.remove(&index);
        }
        Ok(())
    }

    /// Creates all chosen files that are not there yet: of complete content, the empty ones.
    ///
    /// # Errors
    /// As the disk says.
    pub fn make_all(&mut self, swarm: SwarmId) -> Result<(), StoreError> {
        let Some(content) = self.contents.get(&swarm) else { return Ok(()) };
        let chosen = |index: &&u32| content.files[**index as usize].chosen;
        let unmade: Vec<u32> = content.unmade.iter().filter(chosen).copied().collect();
        unmade.into_iter().try_for_each(|index| self.make(swarm, index))
    }
}

/// Whether what stands under its final name can be completed; later perhaps, if not now.
///
/// # Errors
/// Where we may not write.
pub(super) fn expect_place(shareable: &Path, layout: &Layout) -> Result<(), StoreError> {
    let root = folders::final_path(shareable, layout);
    folders::expect_writable(&root, layout).map_err(|(path, error)| {
        let path = folders::shown(&path);
        let why = format!("the rest has no place: {path} cannot be written: {error}");
        StoreError::new(why).that_passes()
    })
}

/// Says no, with both figures, before anything is created for a content that cannot fit.
fn check_room(layout: &Layout, root: &Path) -> Result<(), StoreError> {
    let mut needed = 0_u64;
    // Where nothing is there is no need to ask of each file.
    let fresh = root.symlink_metadata().is_err();
    for file in layout.stored().filter(|file| file.chosen) {
        let there = if fresh { 0 } else { folders::allocated(root, &file.path) };
        needed = needed.saturating_add(file.length.saturating_sub(there));
    }
    let folder = root.parent().filter(|folder| !folder.as_os_str().is_empty());
    let free = folders::free_bytes(folder.unwrap_or(Path::new(".")));
    match free {
        Ok(free) if free < needed => Err(no_room(root, needed, free)),
        Ok(_) => Ok(()),
        Err(error) => Err(failed("find the folder of", root, &error)),
    }
}

/// Creates the file, gives it its exact length and reserves its space; an intact one is left as
/// it is, its time of change too. Of a file that is not chosen no space is reserved. Padding is no
/// file.
fn reserve(files: &mut OpenFiles, root: &Path, file: &LayoutFile) -> Result<(), StoreError> {
    if file.pad {
        return Ok(());
    }
    let path = folders::content_path(root, &file.path);
    let open = files
        .open(|| folders::open_content(root, &file.path, Open::Create))
        .map_err(|error| failed("create", &path, &error))?;
    if !file.chosen {
        let short = open.metadata().map_or(true, |about| about.len() < file.length);
        let sparse = if short { open.set_len(file.length) } else { Ok(()) };
        return sparse.map_err(|error| not_written(&path, &error));
    }
    folders::reserve(&open, file.length).map_err(|error| {
        if error.kind() == io::ErrorKind::StorageFull {
            let free = folders::free_bytes(&path).unwrap_or(0);
            no_room(&path, file.length, free).that_passes()
        } else {
            not_written(&path, &error)
        }
    })
}

fn no_room(path: &Path, needed: u64, free: u64) -> StoreError {
    let (path, needed, free) = (folders::shown(path), in_words(needed), in_words(free));
    StoreError::new(format!("not enough space for {path}: {needed} are needed, {free} are free"))
}

fn in_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(4);
    if unit == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit as usize])
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::super::mmap::DEFAULT_BUDGET;
    use super::*;
    use crate::proto::store::Store;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(3);

    #[test]
    fn reopening_an_intact_file_does_not_touch_it() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        let layout = layout(&[("a/b/c/d/e", 70_000), ("empty", 0)], 16_384);
        let mut storage = Storage::new(DEFAULT_BUDGET);
        storage.open_write(S, &layout, &root).unwrap();
        assert_eq!(root.join("empty").metadata().unwrap().len(), 0);
        let before = folders::stamps(&root, &layout);
        assert_eq!(before[0].0, 70_000);
        std::thread::sleep(std::time::Duration::from_millis(20));
        storage.open_write(S, &layout, &root).unwrap();
        assert_eq!(folders::stamps(&root, &layout), before);
        storage.write(S, 0, b"x").unwrap();
        assert_eq!(storage.files(S).len(), 1);
        assert!(storage.files(S).is_empty());
    }

    #[test]
    fn a_content_that_cannot_fit_says_both_figures() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        let layout = layout(&[("a", 1 << 61)], 1 << 30);
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let error = storage.open_write(S, &layout, &root).unwrap_err();
        assert!(error.to_string().contains("2097152.0 TiB are needed"), "{error}");
        assert!(!root.exists());
        assert_eq!(in_words(1023), "1023 bytes");
        assert_eq!(in_words(1_600_000), "1.5 MiB");
    }

    #[test]
    fn many_files_are_created_as_they_are_written() {
        let folder = TempDir::new().unwrap();
        let names: Vec<_> = (0..1000).map(|i| format!("d{}/f{i}", i / 100)).collect();
        let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), 100)).collect();
        files.push(("empty/at/the/end", 0));
        let layout = layout(&files, 16_384);
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let root = folder.path().join("content");
        storage.open_write(S, &layout, &root).unwrap();
        assert!(root.join("d2/f255").exists() && !root.join("d2/f256").exists());
        assert!(storage.read(S, 99_900, &mut [0; 100]).is_err());
        storage.write(S, 99_950, &[7; 50]).unwrap();
        let mut bytes = [1; 100];
        storage.read(S, 99_900, &mut bytes).unwrap();
        assert_eq!(bytes[..], [[0; 50], [7; 50]].concat());
        assert!(!root.join("d9/f998").exists() && !root.join("empty").exists());
        // Opened again, what is there stays as it is.
        storage.open_write(S, &layout, &root).unwrap();
        storage.write(S, 99_900, &[6; 1]).unwrap();
        storage.make_all(S).unwrap();
        assert_eq!(std::fs::read(root.join("d9/f999")).unwrap()[49..51], [0, 7]);
        let lengths = folders::stamps(&root, &layout).into_iter().map(|stamp| stamp.0);
        assert_eq!(lengths.sum::<u64>(), 100_000);
        assert!(root.join("empty/at/the/end").exists());
    }
}
