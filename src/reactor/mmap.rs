//! The content of torrents as mapped files, by swarm and offset.
//!
//! All that is sent or hashed is read from maps; what is received is written by calls (`write.rs`):
//! both see the same page cache. Files are opened when they are needed, and few stay open. Space is reserved when a
//! content is opened for writing, so that a full disk is an error then and not one in the middle.

// The copies from mapped memory need pointers.
#![allow(unsafe_code)]

use super::asked::Asked;
use super::faults::{failed, not_open};
use super::folders::{self, Layout, LayoutFile, Open};
use super::guard;
use super::open_files::OpenFiles;
use super::reserve::Reservation;
use super::window::{Key, Slices, Windows};
use crate::proto::store::{Placed, Store, StoreError};
use crate::units::id::SwarmId;
use core::slice;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes mapped at once unless said otherwise; the command line has the same default.
pub const DEFAULT_BUDGET: usize = 16 * 1024 * 1024;
/// Bytes of the smallest and the largest window. From 2 MiB on, the system can map a large folio of the
/// page cache with one fault. Larger ones make the budget coarse.
const WINDOW_BYTES: (usize, usize) = (2 * 1024 * 1024, 4 * 1024 * 1024);

/// The content of all swarms.
pub struct Storage {
    pub(super) contents: BTreeMap<SwarmId, Content>,
    pub(super) windows: Windows,
    pub(super) slices: Slices,
    pub(super) window_bytes: usize,
    /// Read-aheads for those who wait for blocks.
    pub(super) asked: Asked,
    pub(super) open: OpenFiles,
    /// What all contents have for the write-back.
    pub(super) unsent_bytes: UnsentBytes,
}

/// Bytes that were written and not sent on to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnsentBytes {
    /// All of them.
    pub(super) all: u64,
    /// Those of pieces that were verified since. Before that the write-back is in the way: who looks at a page
    /// for the first time waits while it is being sent.
    pub(super) verified: u64,
}

/// The files of one swarm, laid end to end.
pub(super) struct Content {
    pub(super) root: PathBuf,
    pub(super) files: Vec<LayoutFile>,
    /// Where each file begins in the content.
    pub(super) starts: Vec<u64>,
    length: u64,
    pub(super) writable: bool,
    /// Files that are not created yet, or not known to be: those that are not created when it is
    /// opened, until they are written.
    pub(super) unmade: BTreeSet<u32>,
    /// Files written since the last flush.
    pub(super) unflushed: BTreeSet<u32>,
    /// Files with something that was not sent on to the disk, and how many bytes.
    pub(super) unsent: (BTreeSet<u32>, u64),
    /// Pieces of that which are verified, where and how long.
    pub(super) verified: Vec<(u64, u32)>,
    /// The room that it lacks, until somebody sees to it.
    pub(super) reservation: Option<Reservation>,
    /// What sees to it looks whether this is still here.
    pub(super) here: Arc<()>,
}

/// A file that has been written since it was last taken for a flush.
pub struct Unflushed {
    pub(super) index: u32,
    /// `None` if it is not open any more; then it is opened for the flush.
    file: Option<Arc<File>>,
    root: PathBuf,
    pub(super) path: PathBuf,
}

impl Unflushed {
    /// The content has been renamed since.
    pub fn moved_to(&mut self, root: &Path, layout: &Layout) {
        self.root = root.to_owned();
        if let Some(file) = layout.files.get(self.index as usize) {
            self.path.clone_from(&file.path);
        }
    }

    /// Waits until what was written to the file is on the disk; for the helper thread.
    ///
    /// # Errors
    /// As the disk says; nothing of the file may then be recorded as present.
    pub fn sync_data(&self) -> io::Result<()> {
        self.with(File::sync_data)
    }

    /// Whether the open file is still the one of that name, as far as can be found out.
    pub(super) fn is_in_place(&self) -> bool {
        let Some(about) = self.file.as_ref().and_then(|file| file.metadata().ok()) else {
            return true;
        };
        match folders::find(&self.root, &self.path) {
            Ok(now) => now.is_some_and(|(.., inode)| inode == about.ino()),
            Err(_) => true,
        }
    }

    /// Does something with the open file.
    pub(super) fn with(&self, work: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        match &self.file {
            Some(file) => work(file),
            None => work(&folders::open_content(&self.root, &self.path, Open::Read)?),
        }
    }
}

/// What a segment is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// To be read once, from the front to the back.
    Sequential,
}

/// A part of the content in one piece of memory, valid until the next call of [`Storage`] unless
/// its window is pinned.
pub(super) struct Segment {
    pub(super) slot: usize,
    pub(super) at: *const u8,
    /// Never zero.
    pub(super) len: usize,
    /// Nothing of the window comes after it.
    pub(super) last: bool,
}

impl Storage {
    /// No content yet; windows of together `budget_bytes` may stay mapped.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        let (least, most) = WINDOW_BYTES;
        // Eight windows at least, so that each of a few connections can have one of its own.
        let window_bytes = (budget_bytes / 8 + 1).next_power_of_two() / 2;
        Self::with_windows(budget_bytes, window_bytes.clamp(least, most))
    }

    pub(super) fn with_windows(budget_bytes: usize, window_bytes: usize) -> Self {
        guard::install();
        Self {
            contents: BTreeMap::new(),
            windows: Windows::new(budget_bytes),
            slices: Slices::default(),
            window_bytes,
            asked: Asked::default(),
            open: OpenFiles::default(),
            unsent_bytes: UnsentBytes::default(),
        }
    }

    /// Forgets the content and its maps. What was written and not flushed is still written by
    /// the system, but nobody will be told: take [`Storage::files`] first.
    pub fn close(&mut self, swarm: SwarmId) {
        if let Some(content) = self.contents.remove(&swarm) {
            self.unsent_bytes.all -= content.unsent.1;
            self.unsent_bytes.verified -=
                content.verified.iter().map(|v| u64::from(v.1)).sum::<u64>();
        }
        self.windows.remove_swarm(swarm);
        self.open.close(swarm);
    }

    /// What lies there was found good, but an earlier process wrote it: perhaps it is not on the
    /// disk yet, so it goes with the next flush.
    pub fn flush_too(&mut self, swarm: SwarmId, offset: u64, len: u32) {
        let Some(content) = self.contents.get_mut(&swarm).filter(|c| c.writable) else { return };
        let last = offset.saturating_add(u64::from(len).saturating_sub(1));
        if let (Ok((from, _)), Ok((to, _))) = (content.locate(offset), content.locate(last)) {
            let stored = |&index: &u32| !content.files[index as usize].pad;
            content.unflushed.extend((from..=to).filter(stored));
        }
    }

    /// The files written since the last call, for the flush helper.
    pub fn files(&mut self, swarm: SwarmId) -> Vec<Unflushed> {
        let Some(content) = self.contents.get_mut(&swarm) else { return Vec::new() };
        let unflushed = core::mem::take(&mut content.unflushed);
        unflushed.into_iter().map(|index| written(swarm, content, index, &mut self.open)).collect()
    }

    /// The open files of complete contents that others have changed.
    pub(super) fn changed(&self) -> Vec<(SwarmId, u32)> {
        self.open.changed()
    }

    /// Whether something was written since files were last taken for a flush.
    pub fn has_unflushed(&self, swarm: SwarmId) -> bool {
        self.contents.get(&swarm).is_some_and(|content| !content.unflushed.is_empty())
    }

    /// Their flush has failed: the next one takes them again.
    pub fn take_back(&mut self, swarm: SwarmId, files: &[Unflushed]) {
        if let Some(content) = self.contents.get_mut(&swarm) {
            content.unflushed.extend(files.iter().map(|file| file.index));
        }
    }

    /// Bytes mapped now.
    #[must_use]
    pub fn mapped_bytes(&self) -> usize {
        self.windows.bytes()
    }

    /// Shows `look` the content from `offset` on, `len` bytes or as many as lie in one window;
    /// says how many.
    fn inspect(
        &mut self,
        swarm: SwarmId,
        offset: u64,
        len: usize,
        look: impl FnOnce(&[u8]),
    ) -> Result<usize, StoreError> {
        let segment = self.segment(swarm, offset, len, Access::Read)?;
        self.guarded(swarm, offset, &segment, || {
            // SAFETY: the segment is mapped, nothing unmaps it before `look` is done, and the
            // guard is up. Others may change the file meanwhile: the bytes are only copied.
            look(unsafe { slice::from_raw_parts(segment.at, segment.len) });
        })?;
        Ok(segment.len)
    }

    /// Nothing is checked any more: gives up what only the checks have mapped.
    pub(super) fn end_check(&mut self) {
        self.windows.remove_finished();
    }

    /// The memory that shows the content from `offset` on: `len` bytes or as many as lie in one
    /// window.
    pub(super) fn segment(
        &mut self,
        swarm: SwarmId,
        offset: u64,
        len: usize,
        access: Access,
    ) -> Result<Segment, StoreError> {
        let content = self.contents.get(&swarm).ok_or_else(not_open)?;
        let (index, within) = content.locate(offset)?;
        let window_bytes = self.window_bytes as u64;
        let key = Key { swarm, file: index, number: within / window_bytes };
        let sequential = access == Access::Sequential;
        let slot = match self.windows.find(&key, sequential) {
            Some(slot) => slot,
            None => {
                let map = self.map(&key)?;
                // Only hints: without them the map works as well.
                if sequential {
                    let _ = map.advise(Advice::Sequential);
                }
                self.windows.insert(key, map, sequential)
            }
        };
        let map = self.windows.map(slot);
        // Less than a window, so it fits.
        let skip = (within % window_bytes) as usize;
        let left = map.len().saturating_sub(skip);
        if left == 0 || len == 0 {
            return Err(self.short(swarm, index));
        }
        // SAFETY: `skip` is less than the length of the map.
        let at = unsafe { map.as_ptr().add(skip) };
        Ok(Segment { slot, at, len: left.min(len), last: left <= len })
    }

    pub(super) fn insert(
        &mut self,
        swarm: SwarmId,
        layout: &Layout,
        root: &Path,
        writable: bool,
    ) -> Result<(), StoreError> {
        self.close(swarm);
        let mut starts = Vec::with_capacity(layout.files.len());
        let mut length = 0_u64;
        for file in &layout.files {
            starts.push(length);
            length = length.saturating_add(file.length);
        }
        if length != layout.geometry.length() {
            return Err(StoreError::new(
                "the files do not add up to the torrent's length".to_owned(),
            ));
        }
        let content = Content {
            root: root.to_owned(),
            files: layout.files.clone(),
            starts,
            length,
            writable,
            unmade: BTreeSet::new(),
            unflushed: BTreeSet::new(),
            unsent: (BTreeSet::new(), 0),
            verified: Vec::new(),
            reservation: None,
            here: Arc::new(()),
        };
        self.contents.insert(swarm, content);
        Ok(())
    }

    fn map(&mut self, key: &Key) -> Result<MmapRaw, StoreError> {
        let content = self.contents.get(&key.swarm).ok_or_else(not_open)?;
        let LayoutFile { length: expected, pad, .. } = content.files[key.file as usize];
        if pad {
            return self.map_zeros(key, expected);
        }
        let opened = self.open_file(key.swarm, key.file);
        let mut result = opened.and_then(|file| self.map_file(key, expected, &file));
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem) {
            // What is good can be read still, by who does not say that he would write.
            let file = self.contents.get(&key.swarm).ok_or_else(not_open).map(|content| {
                let path = &content.files[key.file as usize].path;
                self.open.open(|| folders::open_content(&content.root, path, Open::Read))
            })?;
            result = file.and_then(|file| self.map_file(key, expected, &file));
        }
        match result {
            Ok(Some(map)) => Ok(map),
            Ok(None) => Err(self.short(key.swarm, key.file)),
            Err(error) => {
                let path = self.path(key.swarm, key.file);
                Err(self.altered(key.swarm, failed("open", &path, &error), Some(&error)))
            }
        }
    }

    /// The window of this file, as far as it is there.
    fn map_file(&mut self, key: &Key, expected: u64, file: &File) -> io::Result<Option<MmapRaw>> {
        let start = key.number * self.window_bytes as u64;
        let there = file.metadata()?.len().min(expected).saturating_sub(start);
        let len = usize::try_from(there).unwrap_or(usize::MAX).min(self.window_bytes);
        if len == 0 {
            return Ok(None);
        }
        self.windows.make_room(len);
        let mut options = MmapOptions::new();
        options.offset(start).len(len);
        let map = || options.map_raw_read_only(file);
        // Perhaps the address space is full: try again with no other window.
        let map = map().or_else(|_| {
            self.windows.make_room(usize::MAX / 2);
            map()
        })?;
        Ok(Some(map))
    }

    /// Memory that shows padding: pages of zeros, which the system has once for all.
    fn map_zeros(&mut self, key: &Key, length: u64) -> Result<MmapRaw, StoreError> {
        let left = length - key.number * self.window_bytes as u64;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.window_bytes);
        self.windows.make_room(len);
        let map = MmapOptions::new().len(len).map_anon();
        map.map(MmapRaw::from)
            .map_err(|error| StoreError::new(format!("cannot map padding: {error}")))
    }

    pub(super) fn open_file(&mut self, swarm: SwarmId, index: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.open.find(swarm, index) {
            return Ok(file);
        }
        let Some(content) = self.contents.get(&swarm) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let how = if content.writable { Open::ReadWrite } else { Open::Read };
        let path = &content.files[index as usize].path;
        let file = self.open.open(|| folders::open_content(&content.root, path, how))?;
        let file = Arc::new(file);
        self.open.insert(swarm, index, &file, content.writable);
        Ok(file)
    }

    /// Runs `access` to the segment; a fault gives up its window and names the file.
    pub(super) fn guarded(
        &mut self,
        swarm: SwarmId,
        offset: u64,
        segment: &Segment,
        access: impl FnOnce(),
    ) -> Result<(), StoreError> {
        guard::guarded(segment.at, segment.len, access).map_err(|_| {
            self.windows.remove(segment.slot);
            self.cut_short(swarm, offset)
        })
    }

    /// Why the file that holds the byte at `offset` could not be read in a map.
    pub(super) fn cut_short(&self, swarm: SwarmId, offset: u64) -> StoreError {
        let index = self.contents.get(&swarm).and_then(|content| content.locate(offset).ok());
        let path = self.path(swarm, index.map_or(0, |(index, _)| index));
        let path = folders::shown(&path);
        let why =
            StoreError::new(format!("{path} was cut short or could not be read while in use"));
        self.altered(swarm, why, None)
    }

    pub(super) fn short(&self, swarm: SwarmId, index: u32) -> StoreError {
        let path = self.path(swarm, index);
        let why = format!("{} is shorter than the torrent says", folders::shown(&path));
        self.altered(swarm, StoreError::new(why), None)
    }

    /// Files that we write have their length and stay where they are, if nobody else is at work there.
    pub(super) fn altered(
        &self,
        swarm: SwarmId,
        why: StoreError,
        error: Option<&io::Error>,
    ) -> StoreError {
        let writable = self.contents.get(&swarm).is_some_and(|content| content.writable);
        let gone = error.is_none_or(|error| error.kind() == io::ErrorKind::NotFound);
        if writable && gone {
            why.of_altered()
        } else {
            why
        }
    }

    pub(super) fn path(&self, swarm: SwarmId, index: u32) -> PathBuf {
        self.contents.get(&swarm).map_or_else(PathBuf::new, |content| {
            folders::content_path(&content.root, &content.files[index as usize].path)
        })
    }
}

impl Content {
    /// Shows each part of the range that lies in one file, padding left out: the file, from where, and how long.
    pub(super) fn spans(&self, mut offset: u64, mut len: u64, mut show: impl FnMut(u32, u64, u64)) {
        while len > 0 {
            let Ok((index, within)) = self.locate(offset) else { return };
            let file = &self.files[index as usize];
            let here = (file.length - within).min(len);
            if !file.pad {
                show(index, within, here);
            }
            (offset, len) = (offset + here, len - here);
        }
    }

    /// The file that holds the byte at `offset`, and where in it.
    pub(super) fn locate(&self, offset: u64) -> Result<(u32, u64), StoreError> {
        if offset >= self.length {
            return Err(StoreError::new("the range ends after the torrent".to_owned()));
        }
        // Of several files that start here, all but the last are empty.
        let index = self.starts.partition_point(|&start| start <= offset) - 1;
        let number = u32::try_from(index).map_err(|_| not_open())?;
        Ok((number, offset - self.starts[index]))
    }
}

impl Store for Storage {
    fn read(&mut self, swarm: SwarmId, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        let mut done = 0;
        while done < into.len() {
            let at = offset.saturating_add(done as u64);
            let rest = &mut into[done..];
            done += self.inspect(swarm, at, rest.len(), |bytes| {
                rest[..bytes.len()].copy_from_slice(bytes);
            })?;
        }
        Ok(())
    }

    fn write(&mut self, swarm: SwarmId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_placed(swarm, bytes, &[Placed { offset, from: 0, to: bytes.len() }])
    }

    fn write_placed(
        &mut self,
        swarm: SwarmId,
        bytes: &[u8],
        placed: &[Placed],
    ) -> Result<(), StoreError> {
        self.write_runs(swarm, bytes, placed)
    }
}

/// A file that was written, open or not.
pub(super) fn written(
    swarm: SwarmId,
    content: &Content,
    index: u32,
    open: &mut OpenFiles,
) -> Unflushed {
    Unflushed {
        index,
        file: open.find(swarm, index),
        root: content.root.clone(),
        path: content.files[index as usize].path.clone(),
    }
}

#[cfg(test)]
mod tests;
