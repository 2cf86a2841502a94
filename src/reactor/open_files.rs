//! The files of contents that are open: few, and always as many as are needed.
//!
//! Connections take every descriptor that the system grants, and wait where there is none left.
//! Content cannot wait: a file that does not open is a file that is not there. So some descriptors
//! are kept for it.

use crate::units::id::SwarmId;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// Descriptors held for content.
pub(super) const OPEN_MAX: usize = 64;
/// Descriptors kept free: a file, and two folders on the way to it.
const SPARE: usize = 3;

/// Open files, the least recently used closed first.
#[derive(Default)]
pub(super) struct OpenFiles {
    /// Invariant: at most `OPEN_MAX`.
    open: Vec<OpenFile>,
    /// Held for nothing but to be given up. Invariant: with `open` they are at least [`SPARE`], once
    /// a file was opened, unless other threads were faster.
    spare: Vec<OwnedFd>,
    /// Grows with each use of an open file.
    clock: u64,
}

struct OpenFile {
    swarm: SwarmId,
    index: u32,
    file: Arc<File>,
    used: u64,
    /// Length and time of change when it was opened, where only others may change it.
    stamp: Option<(u64, i64, i64)>,
}

impl OpenFiles {
    /// How many are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The file, if it is open.
    pub(super) fn find(&mut self, swarm: SwarmId, index: u32) -> Option<Arc<File>> {
        let mut open = self.open.iter_mut();
        let open = open.find(|open| open.swarm == swarm && open.index == index)?;
        self.clock += 1;
        open.used = self.clock;
        Some(Arc::clone(&open.file))
    }

    /// Opens a file, whatever else is open.
    pub(super) fn open(&mut self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        let full = |error: &io::Error| {
            let error = Errno::from_io_error(error);
            error == Some(Errno::MFILE) || error == Some(Errno::NFILE)
        };
        let file = match open() {
            Err(error) if full(&error) => {
                self.open.clear();
                self.spare.clear();
                open()
            }
            other => other,
        };
        self.keep_spare();
        file
    }

    /// Keeps the file open until others have been used since. `ours`: we write it.
    pub(super) fn insert(&mut self, swarm: SwarmId, index: u32, file: &Arc<File>, ours: bool) {
        if self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().enumerate().min_by_key(|(_, open)| open.used);
            if let Some((oldest, _)) = oldest {
                self.open.swap_remove(oldest);
            }
        }
        self.clock += 1;
        let stamp = if ours { None } else { stamp(file) };
        self.open.push(OpenFile { swarm, index, file: Arc::clone(file), used: self.clock, stamp });
    }

    /// The open files that others have changed since they were opened.
    pub(super) fn changed(&self) -> Vec<(SwarmId, u32)> {
        let changed = |open: &&OpenFile| open.stamp.is_some() && open.stamp != stamp(&open.file);
        self.open.iter().filter(changed).map(|open| (open.swarm, open.index)).collect()
    }

    /// Closes all files of the swarm.
    pub(super) fn close(&mut self, swarm: SwarmId) {
        self.open.retain(|open| open.swarm != swarm);
        self.keep_spare();
    }

    fn keep_spare(&mut self) {
        while self.spare.len() + self.open.len() < SPARE {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let Ok(spare) = rustix::fs::open("/", flags, Mode::empty()) else { return };
            self.spare.push(spare);
        }
    }
}

fn stamp(file: &File) -> Option<(u64, i64, i64)> {
    file.metadata().ok().map(|about| (about.len(), about.mtime(), about.mtime_nsec()))
}
