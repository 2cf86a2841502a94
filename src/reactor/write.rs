//! What is received, on its way into the files.
//!
//! It goes there by `pwritev`, blocks that lie end to end with one call. A map would take a fault for each
//! page of 4 KiB, or one for 2 MiB that may last 6 ms, and the system fills with zeros what is overwritten
//! at once; and on a full disk it has only a signal to say so, where a call has an error.

use super::faults::{not_open, not_written, read_only};
use super::mmap::Storage;
use crate::proto::store::{Placed, StoreError};
use crate::units::id::SwarmId;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, IoSlice};

/// Bytes of one system call at most, which do not cross a multiple of it in the file. A call takes
/// memory in one piece for all of it, and eight pages are what the system always has at hand: 256 KiB
/// take five times as long where the host of a virtual machine takes long pieces back when they are free.
const CALL_BYTES: u64 = 32 * 1024;
/// Parts in one system call (IOV_MAX on Linux is 1024).
const PARTS_A_CALL: usize = 64;

/// Parts that lie end to end in one file.
struct Run<'a> {
    file: u32,
    /// Where in the file.
    start: u64,
    parts: Vec<IoSlice<'a>>,
    len: u64,
    /// The file whose length was looked at last.
    whole: Option<u32>,
}

impl Storage {
    pub(super) fn write_runs(
        &mut self,
        swarm: SwarmId,
        bytes: &[u8],
        placed: &[Placed],
    ) -> Result<(), StoreError> {
        let mut run =
            Run { file: 0, start: 0, parts: Vec::with_capacity(PARTS_A_CALL), len: 0, whole: None };
        for &Placed { mut offset, from, to } in placed {
            let mut rest = bytes.get(from..to).unwrap_or(&[]);
            while !rest.is_empty() {
                let content = self.contents.get(&swarm).ok_or_else(not_open)?;
                let (file, within) = content.locate(offset)?;
                let room = content.files[file as usize].length - within;
                let room = room.min(CALL_BYTES - within % CALL_BYTES);
                let len = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
                if content.files[file as usize].pad {
                    if !content.writable {
                        return Err(read_only(&content.root));
                    }
                    offset += len as u64;
                    rest = &rest[len..];
                    continue;
                }
                let (part, behind) = rest.split_at(len);
                let follows =
                    run.file == file && run.start + run.len == within && within % CALL_BYTES != 0;
                if !follows || run.parts.len() == PARTS_A_CALL {
                    self.write_run(swarm, &mut run)?;
                    (run.file, run.start) = (file, within);
                }
                run.parts.push(IoSlice::new(part));
                run.len += len as u64;
                offset += len as u64;
                rest = behind;
            }
        }
        self.write_run(swarm, &mut run)
    }

    /// Writes the run, and leaves it empty.
    fn write_run(&mut self, swarm: SwarmId, run: &mut Run<'_>) -> Result<(), StoreError> {
        if run.parts.is_empty() {
            return Ok(());
        }
        let content = self.contents.get_mut(&swarm).ok_or_else(not_open)?;
        if !content.writable {
            return Err(read_only(&content.root));
        }
        let expected = content.files[run.file as usize].length;
        content.unflushed.insert(run.file);
        self.make(swarm, run.file)?;
        let file = self.open_file(swarm, run.file);
        let path = || self.path(swarm, run.file);
        let file =
            file.map_err(|error| self.altered(swarm, not_written(&path(), &error), Some(&error)))?;
        let there = || file.metadata().map_or(0, |about| about.len());
        // Whoever cut the file short took pieces with it that are verified: writing on would hide
        // that.
        if run.whole != Some(run.file) && there() < expected {
            return Err(self.short(swarm, run.file));
        }
        run.whole = Some(run.file);
        write_all(&file, &mut run.parts, run.start)
            .map_err(|error| not_written(&path(), &error))?;
        self.note_unsent(swarm, run.file, run.len);
        run.parts.clear();
        run.len = 0;
        Ok(())
    }
}

fn write_all(file: &File, mut parts: &mut [IoSlice<'_>], mut start: u64) -> io::Result<()> {
    while !parts.is_empty() {
        let count = match rustix::io::pwritev(file, parts, start) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        start += count as u64;
        IoSlice::advance_slices(&mut parts, count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::folders::{self, tests::layout};
    use super::super::mmap::DEFAULT_BUDGET;
    use super::*;
    use crate::proto::store::Store;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(1);

    #[test]
    fn parts_go_to_their_files_in_any_order() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("content");
        let layout = layout(&[("a", 10), ("none", 0), ("b", 5), ("c", 200)], 64);
        let mut storage = Storage::new(DEFAULT_BUDGET);
        storage.open_write(S, &layout, &root).unwrap();
        let bytes: Vec<u8> = (0..200).collect();
        // The last part of the file c byte by byte: more parts than one call takes.
        let mut placed = vec![
            Placed { offset: 8, from: 0, to: 8 },
            Placed { offset: 0, from: 100, to: 108 },
            Placed { offset: 16, from: 50, to: 50 },
        ];
        placed.extend((0..199).map(|n| Placed {
            offset: 16 + n,
            from: n as usize,
            to: n as usize + 1,
        }));
        storage.write_placed(S, &bytes, &placed).unwrap();
        let read = |name| std::fs::read(root.join(name)).unwrap();
        assert_eq!(read("a"), [100, 101, 102, 103, 104, 105, 106, 107, 0, 1]);
        assert_eq!(read("b"), [2, 3, 4, 5, 6]);
        assert_eq!(read("c")[..], [&[7], &bytes[..199]].concat());
        assert!(storage.write(S, 214, &[1, 2]).is_err(), "behind the end");
        assert_eq!(storage.files(S).len(), 3);
    }

    #[test]
    fn padding_reads_as_zeros_and_is_nowhere() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        let layout = layout(&[("a", 10), (".pad/9000", 9000), ("b", 5)], 64);
        let mut storage = Storage::with_windows(16_384, 4096);
        storage.open_write(S, &layout, &root).unwrap();
        storage.write(S, 0, &[7; 9015]).unwrap();
        let mut bytes = [1; 9015];
        storage.read(S, 0, &mut bytes).unwrap();
        assert_eq!(bytes[..], [&[7; 10], &[0; 9000][..], &[7; 5]].concat());
        assert_eq!(std::fs::read(root.join("b")).unwrap(), [7; 5]);
        assert!(!root.join(".pad").exists());
        assert_eq!(storage.files(S).len(), 2);
        let whole = folders::finish(folder.path(), &layout).unwrap();
        assert_eq!(folders::locate(folder.path(), &layout), folders::Located::Complete(whole));
        storage.open_read(S, &layout, &folder.path().join("name")).unwrap();
        assert!(storage.write(S, 20, b"x").is_err());
    }

    #[test]
    fn a_full_disk_is_known_by_its_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_all(&full, &mut [IoSlice::new(b"x")], 0).unwrap_err();
        let error = not_written(std::path::Path::new("shareable/a.part"), &error);
        assert!(error.passes());
        let words = "the disk is full: no space for shareable/a.part; remove files there";
        assert_eq!(error.to_string(), words);
    }
}
