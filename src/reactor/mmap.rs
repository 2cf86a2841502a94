//! The content of torrents as mapped files, by swarm and offset.
//!
//! All that is sent or hashed is read from maps; what is received is written by calls (`write.rs`):
//! both see the same page cache. Files are opened when they are needed, and few stay open. Space is reserved when a
//! content is opened for writing, so that a full disk is an error then and not one in the middle.

// The copies from mapped memory need pointers.
#![allow(unsafe_code)]

use super::folders::{self, Layout, LayoutFile, Open};
use super::guard;
use super::open_files::OpenFiles;
use super::resident::Asked;
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
    /// Files that are not created yet, or not known to be: those behind the first
    /// `MADE_AT_ONCE`, until they are written.
    pub(super) unmade: BTreeSet<u32>,
    /// Files written since the last flush.
    pub(super) unflushed: BTreeSet<u32>,
    /// Files with something that was not sent on to the disk, and how many bytes.
    pub(super) unsent: (BTreeSet<u32>, u64),
    /// Pieces of that which are verified, where and how long.
    pub(super) verified: Vec<(u64, u32)>,
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

    /// Whether the open file is still the one of that name.
    pub(super) fn is_in_place(&self) -> bool {
        let Some(about) = self.file.as_ref().and_then(|file| file.metadata().ok()) else {
            return true;
        };
        folders::stamp(&self.root, &self.path).is_some_and(|(.., inode)| inode == about.ino())
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
            Err(error) => Err(failed("open", &self.path(key.swarm, key.file), &error)),
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
        StoreError::new(format!("{path} was cut short or could not be read while in use"))
    }

    pub(super) fn short(&self, swarm: SwarmId, index: u32) -> StoreError {
        let path = self.path(swarm, index);
        StoreError::new(format!("{} is shorter than the torrent says", folders::shown(&path)))
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

pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let path = folders::shown(path);
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::LOOP) => StoreError::new(format!(
            "cannot {what} {path}: it is a symbolic link, which could lead anywhere; remove it"
        )),
        _ => StoreError::new(format!("cannot {what} {path}: {error}")),
    }
}

pub(super) fn not_open() -> StoreError {
    StoreError::new("the content is not open".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::super::open_files::OPEN_MAX;
    use super::super::window::GatherWrite;
    use super::*;
    use crate::units::geometry::Geometry;
    use proptest::prelude::*;
    use std::fs;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(3);

    #[derive(Clone, Debug)]
    enum Step {
        Read(u64, usize),
        Write(u64, usize, u8),
        Receive(u64, usize, u8),
        Send(u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let place = (0..90_000_u64, 0..40_000_usize, any::<u8>(), 0..4);
        let step = place.prop_map(|(offset, len, byte, kind)| match kind {
            0 => Step::Read(offset, len),
            1 => Step::Write(offset, len, byte),
            2 => Step::Receive(offset, len, byte),
            _ => Step::Send(offset, len),
        });
        proptest::collection::vec(step, 1..30)
    }

    fn pattern(len: usize, seed: u8) -> Vec<u8> {
        (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn like_a_vec(
            lengths in proptest::collection::vec(prop_oneof![Just(0), 0..20_000_u64], 1..8),
            steps in steps(),
        ) {
            let folder = TempDir::new().unwrap();
            let root = folder.path().join("content");
            let files: Vec<_> = (0..lengths.len()).map(|i| format!("a/b{i}/c/d/f{i}")).collect();
            let files: Vec<_> = files.iter().map(String::as_str).zip(lengths).collect();
            let layout = layout(&files, 16_384);
            // Windows of a page, four of them: every block spans several.
            let mut storage = Storage::with_windows(16_384, 4096);
            storage.open_write(S, &layout, &root).unwrap();
            let mut oracle = vec![0; usize::try_from(layout.geometry.length()).unwrap()];
            for step in steps {
                one_step(&mut storage, &mut oracle, step)?;
                prop_assert!(storage.mapped_bytes() <= 16_384);
                prop_assert!(storage.open.len() <= OPEN_MAX);
            }
            for file in storage.files(S) {
                file.sync_data().unwrap();
            }
            storage.close(S);
            let mut whole = Vec::new();
            for file in &layout.files {
                let bytes = fs::read(root.join(&file.path)).unwrap();
                prop_assert_eq!(bytes.len() as u64, file.length);
                whole.extend(bytes);
            }
            prop_assert_eq!(whole, oracle);
        }
    }

    fn one_step(storage: &mut Storage, oracle: &mut [u8], step: Step) -> Result<(), TestCaseError> {
        let (Step::Read(offset, len)
        | Step::Write(offset, len, _)
        | Step::Receive(offset, len, _)
        | Step::Send(offset, len)) = step;
        let start = offset as usize;
        let lies_within = start + len <= oracle.len();
        match step {
            Step::Read(..) => {
                let mut bytes = vec![1; len];
                let result = storage.read(S, offset, &mut bytes);
                prop_assert_eq!(result.is_ok(), lies_within || len == 0);
                if result.is_ok() && len > 0 {
                    prop_assert_eq!(&bytes[..], &oracle[start..start + len]);
                }
            }
            Step::Write(_, _, seed) if lies_within => {
                let bytes = pattern(len, seed);
                storage.write(S, offset, &bytes).unwrap();
                oracle[start..start + len].copy_from_slice(&bytes);
            }
            Step::Receive(_, _, seed) if lies_within => {
                // In three parts, with heads between.
                let bytes = pattern(len + 39, seed);
                let (third, mut placed) = (len / 3, Vec::new());
                for (n, len) in [third, third, len - 2 * third].into_iter().enumerate() {
                    let from = 13 * (n + 1) + third * n;
                    let offset = offset + (third * n) as u64;
                    placed.push(Placed { offset, from, to: from + len });
                }
                storage.write_placed(S, &bytes, &placed).unwrap();
                for Placed { offset, from, to } in placed {
                    oracle[offset as usize..][..to - from].copy_from_slice(&bytes[from..to]);
                }
            }
            Step::Send(..) if lies_within => {
                let mut sent = Vec::new();
                let mut gather = GatherWrite::new(storage);
                gather.wait_for_disk();
                gather.push_const(b"head");
                gather.push_content(S, offset, len).unwrap();
                gather.push_content(S, offset, len).unwrap();
                gather.write_to(&mut sent).unwrap();
                drop(gather);
                let block = &oracle[start..start + len];
                prop_assert_eq!(sent, [b"head", block, block].concat());
            }
            _ => {}
        }
        Ok(())
    }

    #[test]
    fn complete_content_is_read_only_and_short_files_are_named() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("a", 10), ("b", 5000), ("gone", 1)], 16);
        fs::write(folder.path().join("a"), [1; 10]).unwrap();
        fs::write(folder.path().join("b"), [2; 4999]).unwrap();
        let mut storage = Storage::new(DEFAULT_BUDGET);
        storage.open_read(S, &layout, folder.path()).unwrap();
        assert!(storage.write(S, 0, b"x").is_err());
        let mut bytes = [0; 100];
        storage.read(S, 0, &mut bytes).unwrap();
        assert_eq!(bytes[8..12], [1, 1, 2, 2]);
        let short = storage.read(S, 5000, &mut bytes[..10]).unwrap_err();
        assert!(short.to_string().ends_with("b is shorter than the torrent says"), "{short}");
        let gone = storage.read(S, 5010, &mut bytes[..1]).unwrap_err();
        assert!(gone.to_string().contains("gone"), "{gone}");
        assert!(storage.read(S, 5011, &mut bytes[..1]).is_err());
        assert!(storage.read(S, u64::MAX, &mut bytes[..2]).is_err());
        assert!(storage.read(SwarmId(9), 0, &mut bytes[..1]).is_err());
        let missing = folder.path().join("missing");
        assert!(storage.open_read(S, &layout, &missing).is_err());
    }

    #[test]
    fn truncated_while_in_use() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name.part");
        let layout = layout(&[("", 100_000)], 16_384);
        let mut storage = Storage::new(DEFAULT_BUDGET);
        storage.open_write(S, &layout, &root).unwrap();
        storage.write(S, 50_000, &[5; 50_000]).unwrap();
        let file = File::options().write(true).open(&root).unwrap();
        let mut bytes = [9; 100];
        storage.read(S, 60_000, &mut bytes).unwrap();
        assert_eq!(bytes, [5; 100]);
        file.set_len(0).unwrap();
        let error = storage.read(S, 60_000, &mut bytes).unwrap_err();
        assert!(error.to_string().contains("name.part was cut short"), "{error}");
        assert_eq!(storage.mapped_bytes(), 0);
        file.set_len(100_000).unwrap();
        storage.read(S, 60_000, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 100]);
        file.set_len(0).unwrap();
        let error = storage.write(S, 60_000, &bytes).unwrap_err();
        assert!(
            error.to_string().ends_with("name.part is shorter than the torrent says"),
            "{error}"
        );
    }

    #[test]
    fn what_an_earlier_process_wrote_is_flushed_too() {
        let folder = TempDir::new().unwrap();
        let layout = layout(&[("a", 10), ("b", 10), ("c", 10), ("d", 10)], 16);
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let root = folder.path().join("name.part");
        storage.open_write(S, &layout, &root).unwrap();
        assert!(storage.files(S).is_empty());
        storage.flush_too(S, 16, 16);
        let paths: Vec<_> = storage.files(S).into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [Path::new("b"), Path::new("c"), Path::new("d")]);
        storage.flush_too(S, 40, 1);
        storage.open_read(S, &layout, &root).unwrap();
        storage.flush_too(S, 0, 16);
        assert!(storage.files(S).is_empty());
    }

    #[test]
    fn a_link_in_place_of_content_that_is_written_is_refused_in_words() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("elsewhere"), [1; 10]).unwrap();
        let root = folder.path().join("name.part");
        std::os::unix::fs::symlink("elsewhere", &root).unwrap();
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let refused = storage.open_write(S, &layout(&[("", 20)], 16_384), &root).unwrap_err();
        let words = "name.part: it is a symbolic link, which could lead anywhere; remove it";
        assert!(refused.to_string().ends_with(words), "{refused}");
        assert_eq!(fs::read(folder.path().join("elsewhere")).unwrap(), [1; 10]);
    }

    #[test]
    fn many_files_need_few_descriptors() {
        let folder = TempDir::new().unwrap();
        let names: Vec<_> = (0..300).map(|i| format!("f{i}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), 100)).collect();
        let layout = layout(&files, 16_384);
        let mut storage = Storage::with_windows(1 << 20, 1 << 20);
        let root = folder.path().join("content");
        storage.open_write(S, &layout, &root).unwrap();
        assert_eq!(storage.open.len(), 0);
        storage.write(S, 0, &pattern(30_000, 1)).unwrap();
        assert_eq!(storage.open.len(), OPEN_MAX);
        let files = storage.files(S);
        assert_eq!(files.len(), 300);
        files.iter().for_each(|file| file.sync_data().unwrap());
        assert!(storage.mapped_bytes() <= 1 << 20);
    }

    #[test]
    fn files_must_add_up() {
        let folder = TempDir::new().unwrap();
        let mut layout = layout(&[("a", 10)], 16);
        layout.geometry = Geometry::new(11, 16).unwrap();
        let mut storage = Storage::new(0);
        assert!(storage.open_read(S, &layout, folder.path()).is_err());
    }
}
