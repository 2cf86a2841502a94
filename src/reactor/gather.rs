//! The windows that one call needs, all mapped at once: gathered for a `writev`, or to be hashed.
//!
//! A [`GatherWrite`] lists the places that several blocks rest at, so that one `writev` moves them
//! from the page cache to the socket without a buffer between. If a file was cut short behind our back, that call fails with EFAULT; the
//! windows of the gather are then given up, and the next try says which file it is.

// Slices over mapped memory: only here is it known that the memory stays mapped meanwhile.
#![allow(unsafe_code)]

use super::guard;
use super::mmap::{Access, Segment, Storage};
use crate::proto::store::StoreError;
use crate::units::id::SwarmId;
use core::slice;
use std::io::{self, IoSlice, Write};

/// Slices in one system call (IOV_MAX on Linux).
const SLICES_MAX: usize = 1024;

/// What a connection is to be sent, for one `writev`.
///
/// All windows it has mapped stay until it is dropped, beyond the budget if need be.
pub struct GatherWrite<'a> {
    storage: &'a mut Storage,
    /// Invariant: all live for `'a`: borrowed for it, or in a pinned window.
    slices: Vec<IoSlice<'static>>,
    bytes: usize,
    faulted: bool,
    may_wait: bool,
}

impl<'a> GatherWrite<'a> {
    /// An empty list.
    pub fn new(storage: &'a mut Storage) -> Self {
        let slices = core::mem::take(&mut storage.slices);
        Self { storage, slices, bytes: 0, faulted: false, may_wait: false }
    }

    /// Takes content that the disk has yet to bring, too.
    pub fn wait_for_disk(&mut self) {
        self.may_wait = true;
    }

    /// These bytes come next.
    pub fn push_const(&mut self, bytes: &'a [u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        // SAFETY: the bytes are borrowed for 'a, which `self` cannot outlive; the list is
        // emptied when `self` is dropped.
        let slice = unsafe { slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        self.slices.push(IoSlice::new(slice));
    }

    /// The content of `swarm` from `offset` on comes next, `len` bytes of it; false, and nothing of it comes, if that
    /// had to wait for the disk.
    ///
    /// # Errors
    /// When the content is not there; the part before the bad one is then in the list.
    pub fn push_content(
        &mut self,
        swarm: SwarmId,
        offset: u64,
        len: usize,
    ) -> Result<bool, StoreError> {
        let before = self.mark();
        let mut done = 0;
        while done < len {
            let at = offset.saturating_add(done as u64);
            let segment = self.storage.segment(swarm, at, len - done, Access::Read)?;
            if !self.may_wait && self.storage.ready_in(&segment) < segment.len {
                self.back_to(before);
                return Ok(false);
            }
            self.storage.windows.pin(segment.slot);
            // SAFETY: the memory is mapped, and stays so while its window is pinned, which is
            // until `self` is dropped. Others may change the file meanwhile; the kernel then
            // sends what it finds, as it would for any file.
            let slice = unsafe { slice::from_raw_parts(segment.at, segment.len) };
            self.slices.push(IoSlice::new(slice));
            self.bytes += segment.len;
            done += segment.len;
        }
        Ok(true)
    }

    /// What is in the list now, for [`GatherWrite::back_to`].
    #[must_use]
    pub fn mark(&self) -> (usize, usize) {
        (self.slices.len(), self.bytes)
    }

    /// Takes back what has come since.
    pub fn back_to(&mut self, (slices, bytes): (usize, usize)) {
        self.slices.truncate(slices);
        self.bytes = bytes;
    }

    /// Bytes of all slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Hands the slices to `sink`, in one call and in order; at most 1024 of them.
    ///
    /// The sink must be one whose bytes the kernel moves (a socket): only then is a file that
    /// was cut short an error and not a signal.
    ///
    /// # Errors
    /// As `sink` says; EFAULT means that the content, not the sink, is bad.
    pub fn write_to(&mut self, sink: &mut impl Write) -> io::Result<usize> {
        let count = self.slices.len().min(SLICES_MAX);
        let result = sink.write_vectored(&self.slices[..count]);
        self.faulted |= result.as_ref().is_err_and(is_fault);
        result
    }
}

impl Drop for GatherWrite<'_> {
    fn drop(&mut self) {
        self.slices.clear();
        self.storage.slices = core::mem::take(&mut self.slices);
        self.storage.windows.end_gather(self.faulted);
    }
}

/// A stretch of content to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) swarm: SwarmId,
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) access: Access,
}

impl Storage {
    /// Shows `look` the stretches all at once, of each as much as lies in one window; says how
    /// many bytes that was. What cannot be read is shown empty; what broke off while it was
    /// looked at is an error, too.
    ///
    /// # Panics
    /// With more than [`guard::RANGES_MAX`] stretches.
    pub(super) fn inspect_all(
        &mut self,
        stretches: &[Stretch],
        look: impl FnOnce(&[&[u8]]),
    ) -> Vec<Result<usize, StoreError>> {
        let mut segments = Vec::with_capacity(stretches.len());
        for stretch in stretches {
            let Stretch { swarm, offset, len, access } = *stretch;
            let segment = self.segment(swarm, offset, len, access);
            if let Ok(segment) = &segment {
                self.windows.pin(segment.slot);
            }
            segments.push(segment);
        }
        let none = (core::ptr::NonNull::<u8>::dangling().as_ptr().cast_const(), 0);
        let range = |segment: &Result<Segment, _>| match segment {
            Ok(segment) => (segment.at, segment.len),
            Err(_) => none,
        };
        let ranges: Vec<_> = segments.iter().map(range).collect();
        // SAFETY: the segments are mapped and their windows pinned until `look` is done, and the
        // guard is up. Others may change the files meanwhile: the bytes are only looked at one by
        // one, and no verdict but the digest hangs on them.
        let show = |&(at, len): &(_, _)| unsafe { slice::from_raw_parts(at, len) };
        let looked = guard::guarded_all(&ranges, || {
            look(&ranges.iter().map(show).collect::<Vec<_>>());
        });
        let hit = |at| looked.is_err_and(|faulted| faulted.hit(at));
        let mut results = Vec::with_capacity(segments.len());
        for (at, (segment, stretch)) in segments.into_iter().zip(stretches).enumerate() {
            results.push(segment.and_then(|segment| {
                if hit(at) {
                    return Err(self.cut_short(stretch.swarm, stretch.offset));
                }
                if stretch.access == Access::Sequential && segment.last {
                    self.windows.finish_sequential(segment.slot);
                }
                Ok(segment.len)
            }));
        }
        self.windows.remove_finished();
        self.windows.end_gather(looked.is_err());
        results
    }
}

fn is_fault(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::super::mmap::DEFAULT_BUDGET;
    use super::*;
    use crate::proto::store::Store;
    use std::fs::File;
    use std::os::unix::net::UnixStream;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(1);

    fn stored(length: u64, budget: usize, window: usize) -> (TempDir, Storage) {
        let folder = TempDir::new().unwrap();
        let mut storage = Storage::with_windows(budget, window);
        let layout = layout(&[("", length)], 16_384);
        storage.open_write(S, &layout, &folder.path().join("name.part")).unwrap();
        (folder, storage)
    }

    #[test]
    fn a_gather_keeps_its_windows_beyond_the_budget() {
        let (_folder, mut storage) = stored(65_536, 4096, 4096);
        storage.write(S, 0, &[7; 32_768]).unwrap();
        let mut gather = GatherWrite::new(&mut storage);
        gather.wait_for_disk();
        gather.push_content(S, 0, 32_769).unwrap();
        assert_eq!(gather.storage.mapped_bytes(), 36_864);
        let mut sent = Vec::new();
        assert_eq!(gather.write_to(&mut sent).unwrap(), 32_769);
        drop(gather);
        assert_eq!(storage.mapped_bytes(), 4096);
        assert!(sent[..32_768].iter().all(|&byte| byte == 7));
        assert_eq!(sent[32_768], 0);
    }

    #[test]
    fn more_slices_than_one_call_takes() {
        let (_folder, mut storage) = stored(65_536, DEFAULT_BUDGET, 1 << 20);
        let mut gather = GatherWrite::new(&mut storage);
        gather.wait_for_disk();
        for _ in 0..2000 {
            gather.push_content(S, 1, 1).unwrap();
        }
        let mut sink = Vec::new();
        assert_eq!(gather.write_to(&mut sink).unwrap(), SLICES_MAX);
    }

    #[test]
    fn the_lists_keep_their_memory() {
        let (_folder, mut storage) = stored(65_536, DEFAULT_BUDGET, 1 << 20);
        let mut gather = GatherWrite::new(&mut storage);
        gather.wait_for_disk();
        gather.push_content(S, 0, 10).unwrap();
        gather.push_const(b"");
        let place = gather.slices.as_ptr();
        drop(gather);
        let gather = GatherWrite::new(&mut storage);
        assert!(gather.is_empty());
        assert_eq!(gather.slices.as_ptr(), place);
    }

    #[test]
    fn a_truncated_file_is_an_error_of_the_call() {
        let (folder, mut storage) = stored(65_536, DEFAULT_BUDGET, 1 << 20);
        storage.write(S, 0, &[1; 65_536]).unwrap();
        let file = File::options().write(true).open(folder.path().join("name.part")).unwrap();
        let (mut here, _there) = UnixStream::pair().unwrap();

        let mut gather = GatherWrite::new(&mut storage);
        gather.wait_for_disk();
        gather.push_content(S, 16_384, 16_384).unwrap();
        file.set_len(0).unwrap();
        let error = gather.write_to(&mut here).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        drop(gather);
        // The next try names the file.
        let mut gather = GatherWrite::new(&mut storage);
        gather.wait_for_disk();
        let error = gather.push_content(S, 16_384, 16_384).unwrap_err();
        assert!(
            error.to_string().ends_with("name.part is shorter than the torrent says"),
            "{error}"
        );
        drop(gather);
    }
}
