//! Reading ahead, and what can be touched without waiting for the disk.
//!
//! Who touches a page of a map that is not in memory stands still until the disk has brought it:
//! here that would be the loop, and with it everybody. So the content is asked for first, and
//! sent or hashed when the system says that it has come.

use super::mmap::{Access, Segment, Storage};
use super::window::Key;
use crate::proto::store::StoreError;
use crate::units::id::SwarmId;
use rustix::fs::{Advice as FileAdvice, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;

/// What is asked about at once: a window of 4 MiB has 64 of it, a bit for each. Read-ahead brings no less.
const UNIT_BYTES: usize = 64 * 1024;
/// Bytes asked for at once for those who wait for blocks.
const ASK_BYTES: u64 = 256 * 1024;

impl Storage {
    /// Asks the disk for the range, because it will be sent soon: for whole stretches of 256 KiB, each
    /// once. Does not wait for it.
    pub fn ask(&mut self, swarm: SwarmId, offset: u64, len: usize) {
        let Some(last) = (len as u64).checked_sub(1).map(|more| offset.saturating_add(more)) else {
            return;
        };
        for number in offset / ASK_BYTES..=last / ASK_BYTES {
            if self.asked.note(swarm, number) {
                self.read_ahead(swarm, number * ASK_BYTES, ASK_BYTES);
            }
        }
    }

    /// What was asked for has not come for long, so perhaps it went again: it is asked for anew.
    pub fn ask_again(&mut self) {
        self.asked.clear();
    }

    /// How many bytes from `offset` on, of `len` and within one window, can be read without
    /// waiting for the disk, as far as the system tells.
    pub(super) fn ready(
        &mut self,
        swarm: SwarmId,
        offset: u64,
        len: usize,
        access: Access,
    ) -> Result<usize, StoreError> {
        let segment = self.segment(swarm, offset, len, access)?;
        Ok(self.ready_in(&segment))
    }

    /// The same of a segment.
    pub(super) fn ready_in(&mut self, segment: &Segment) -> usize {
        let slot = segment.slot;
        let skip = segment.at as usize - self.windows.map(slot).as_ptr() as usize;
        let end = skip + segment.len;
        let mut at = skip;
        while at < end {
            let unit = at / UNIT_BYTES;
            if !self.windows.is_known_resident(slot, unit) {
                if !self.is_resident(slot, unit) {
                    break;
                }
                self.windows.set_resident(slot, unit);
            }
            at = (unit + 1) * UNIT_BYTES;
        }
        at.min(end) - skip
    }

    /// Whether this unit of the window is in memory; its last byte tells, because read-ahead comes
    /// in order.
    fn is_resident(&mut self, slot: usize, unit: usize) -> bool {
        let len = self.windows.map(slot).len();
        let last = ((unit + 1) * UNIT_BYTES).min(len).saturating_sub(1);
        let Key { swarm, file, number } = self.windows.key(slot);
        let pad = |c: &super::mmap::Content| c.files.get(file as usize).is_none_or(|file| file.pad);
        if self.contents.get(&swarm).is_none_or(pad) {
            return true;
        }
        let at = number * self.window_bytes as u64 + last as u64;
        let file = self.open_file(swarm, file).ok();
        let told = file.as_deref().and_then(|file| told(file, at));
        told.unwrap_or_else(|| {
            self.windows.is_in_core(slot, last) || file.is_some_and(|file| is_hole(&file, at))
        })
    }

    /// Asks for what comes from `offset` on in the same file, and in the next ones for a stretch
    /// that spans files.
    pub(super) fn read_ahead(&mut self, swarm: SwarmId, mut offset: u64, mut len: u64) {
        // Several small files may share a stretch; opening many would take longer than it saves.
        for _ in 0..4 {
            let Some(content) = self.contents.get(&swarm) else { return };
            let Ok((index, within)) = content.locate(offset) else { return };
            let here = (content.files[index as usize].length - within).min(len);
            if !content.files[index as usize].pad {
                let Ok(file) = self.open_file(swarm, index) else { return };
                let span = NonZeroU64::new(here);
                // Only a hint: what is not read ahead is read when it is needed.
                let _ = rustix::fs::fadvise(&*file, within, span, FileAdvice::WillNeed);
            }
            offset += here;
            len -= here;
            if len == 0 {
                return;
            }
        }
    }
}

/// Whether the byte there can be read at once; `None` where the file system cannot say. At the end
/// of a file that was cut short it can: then nothing comes, and whoever reads is told so.
fn told(file: &File, at: u64) -> Option<bool> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    match rustix::io::preadv2(file, &mut parts, at, ReadWriteFlags::NOWAIT) {
        Ok(_) => Some(true),
        Err(Errno::AGAIN | Errno::INTR) => Some(false),
        Err(_) => None,
    }
}

/// Whether nothing was ever written there, so that no disk has to bring it. tmpfs never says that a page is in
/// memory that is reserved and not written: without this a check would wait for each in vain.
fn is_hole(file: &File, at: u64) -> bool {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(next) => next > at,
        Err(error) => error == Errno::NXIO,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::folders::tests::layout;
    use super::super::mmap::DEFAULT_BUDGET;
    use super::*;
    use crate::proto::store::Store;
    use std::path::PathBuf;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(1);

    /// Where this program was built: on a disk, more likely than the folder for temporary files.
    pub(in super::super) fn on_the_disk() -> PathBuf {
        let program = std::env::current_exe().unwrap();
        program.parent().unwrap().to_owned()
    }

    /// A file of 1 MiB on the disk of the build, with nothing of it in memory.
    fn cold() -> (TempDir, Storage) {
        let folder = TempDir::new_in(on_the_disk()).unwrap();
        let path = folder.path().join("content");
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, FileAdvice::DontNeed).unwrap();
        let mut storage = Storage::new(DEFAULT_BUDGET);
        storage.open_read(S, &layout(&[("", 1 << 20)], 16_384), &path).unwrap();
        (folder, storage)
    }

    fn ready(storage: &mut Storage, offset: u64, len: usize) -> usize {
        storage.ready(S, offset, len, Access::Read).unwrap()
    }

    #[test]
    fn what_was_asked_for_comes() {
        let (_folder, mut storage) = cold();
        // On a file system in memory nothing is ever cold.
        if ready(&mut storage, 300_000, 16_384) == 16_384 {
            return;
        }
        storage.ask(S, 300_000, 16_384);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while ready(&mut storage, 300_000, 16_384) == 0 {
            assert!(std::time::Instant::now() < until);
        }
    }

    #[test]
    fn what_was_written_or_read_is_there() {
        let (_folder, mut storage) = cold();
        let mut bytes = vec![0; 1 << 20];
        storage.read(S, 0, &mut bytes).unwrap();
        assert_eq!(ready(&mut storage, 5, (1 << 20) - 5), (1 << 20) - 5);
        assert!(storage.ready(S, 1 << 20, 1, Access::Read).is_err());
    }

    #[test]
    fn a_file_cut_short_is_not_waited_for() {
        let (folder, mut storage) = cold();
        let path = folder.path().join("content");
        ready(&mut storage, 0, 1);
        File::options().write(true).open(path).unwrap().set_len(4096).unwrap();
        assert_eq!(ready(&mut storage, 500_000, 10), 10);
        let mut bytes = [0];
        assert!(storage.read(S, 500_000, &mut bytes).is_err());
    }

    #[test]
    fn what_was_never_written_is_not_waited_for() {
        // Where there is a tmpfs: it says of its reserved pages that they are not in memory.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let layout = layout(&[("", 1 << 20)], 16_384);
        storage.open_write(S, &layout, &folder.path().join("c")).unwrap();
        storage.write(S, 300_000, &[7; 16_384]).unwrap();
        assert_eq!(ready(&mut storage, 5, (1 << 20) - 5), (1 << 20) - 5);
    }

    #[test]
    fn padding_is_there() {
        let folder = TempDir::new().unwrap();
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let layout = layout(&[("a", 10), (".pad/90000", 90_000)], 16_384);
        storage.open_write(S, &layout, &folder.path().join("c")).unwrap();
        assert_eq!(ready(&mut storage, 10, 90_000), 90_000);
        storage.ask(S, 0, 90_010);
        storage.ask(S, u64::MAX, 2);
        storage.ask(SwarmId(9), 0, 2);
    }
}
