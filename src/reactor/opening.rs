//! Content is opened: to be read as it stands, or with room for all of it to be written.

use super::adopt::Kept;
use super::faults::{failed, not_open};
use super::folders::{self, Layout, Open};
use super::mmap::Storage;
use super::reserve::{self, Reservation, AT_ONCE_BYTES, MADE_AT_ONCE};
use crate::proto::store::StoreError;
use crate::units::id::SwarmId;
use std::io;
use std::path::Path;
use std::sync::Arc;

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

    /// Makes content readable and writable. Room for little is made at once. For more, it must be made
    /// from [`Storage::take_reservation`] before anything is written. Files that are small and many (and empty ones) are
    /// made when they are written or by [`Storage::make_all`]. The folder that holds `root` must be there.
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
        let bytes = reserve::lacking(layout, root)?;
        if layout.multi_file {
            match std::fs::create_dir(root) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("create", root, &error));
                }
                _ => {}
            }
        }
        self.insert(swarm, layout, root, true)?;
        let Some(content) = self.contents.get_mut(&swarm) else { return Ok(()) };
        let later = (0u32..).zip(&layout.files);
        let later = later.filter(|(n, file)| !reserve::is_at_once(*n, file)).map(|(n, _)| n);
        content.unmade = later.collect();
        let at_once = layout.files.len() - content.unmade.len();
        let wanted = Arc::downgrade(&content.here);
        let reservation = Reservation {
            swarm,
            bytes,
            kept: Vec::new(),
            root: root.to_owned(),
            layout: layout.clone(),
            wanted,
        };
        if bytes > AT_ONCE_BYTES || at_once > MADE_AT_ONCE {
            content.reservation = Some(reservation);
            return Ok(());
        }
        let create = |path: &Path| folders::open_content(root, path, Open::Create);
        let made = reservation.make(&mut |path| self.open.open(|| create(path)));
        made.inspect_err(|_| self.close(swarm))
    }

    /// Leaves the copies of these files to [`Storage::take_reservation`].
    pub(super) fn reserve_copies(&mut self, swarm: SwarmId, layout: &Layout, kept: &[Kept]) {
        let Some(content) = self.contents.get_mut(&swarm) else { return };
        content.reservation = Some(Reservation {
            swarm,
            bytes: kept.iter().map(|file| file.length).sum(),
            kept: kept.to_vec(),
            root: content.root.clone(),
            layout: layout.clone(),
            wanted: Arc::downgrade(&content.here),
        });
    }

    /// The room that is to be made before this content is written, if there is not enough yet.
    pub fn take_reservation(&mut self, swarm: SwarmId) -> Option<Reservation> {
        self.contents.get_mut(&swarm)?.reservation.take()
    }

    /// Its room is made: what was mapped of shorter files is not all.
    pub fn reserved(&mut self, swarm: SwarmId) {
        self.windows.remove_swarm(swarm);
    }

    /// Creates the file, unless that is done.
    pub(super) fn make(&mut self, swarm: SwarmId, index: u32) -> Result<(), StoreError> {
        let content = self.contents.get_mut(&swarm).ok_or_else(not_open)?;
        if content.unmade.contains(&index) {
            let (root, file) = (&content.root, &content.files[index as usize]);
            let create = |path: &Path| folders::open_content(root, path, Open::Create);
            reserve::make(root, file, &mut |path| self.open.open(|| create(path)), &|| true)?;
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
