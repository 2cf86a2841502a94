//! Verifies pieces in slices, so that the loop keeps turning.

use super::mmap::{Access, Storage};
use crate::proto::store::StoreError;
use crate::units::geometry::PieceIndex;
use crate::units::id::SwarmId;
use crate::wire::digest::Hasher;
use std::collections::VecDeque;

/// Why a piece is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To find out what is there; many in order, none of them urgent.
    Check,
    /// It has just come in, and others wait for it.
    Verify,
}

/// A piece to be hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose content.
    pub swarm: SwarmId,
    /// Which piece.
    pub piece: PieceIndex,
    /// Where it begins in the content.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
    /// The digest that makes it good.
    pub expected: [u8; 20],
    /// Why.
    pub kind: Kind,
}

/// A piece that has been hashed, or could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was asked.
    pub job: Job,
    /// Whether the piece is good; an error says that the disk, not a peer, is to blame.
    pub outcome: Result<bool, StoreError>,
}

/// Pieces that wait to be hashed: those to verify before those to check, otherwise in order.
#[derive(Default)]
pub struct HashQueue {
    verify: Lane,
    check: Lane,
}

/// Jobs of one kind.
#[derive(Default)]
struct Lane {
    jobs: VecDeque<Job>,
    /// Has seen the first `hashed` bytes of the first job.
    hasher: Hasher,
    hashed: u32,
}

impl HashQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub fn push(&mut self, job: Job) {
        match job.kind {
            Kind::Check => self.check.jobs.push_back(job),
            Kind::Verify => self.verify.jobs.push_back(job),
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of pieces that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.verify.jobs.len() + self.check.jobs.len()
    }

    /// Hashes at most `budget_bytes`, and says which pieces that completed. A piece of more
    /// bytes takes several calls.
    pub fn run(&mut self, storage: &mut Storage, budget_bytes: usize) -> Vec<Done> {
        let mut done = Vec::new();
        let mut left = budget_bytes;
        while left > 0 {
            let lane = match self.verify.jobs.is_empty() {
                false => &mut self.verify,
                true => &mut self.check,
            };
            if lane.jobs.is_empty() {
                break;
            }
            done.extend(lane.step(storage, &mut left));
        }
        done
    }

    /// Drops the pieces of a swarm that is gone.
    pub fn forget(&mut self, swarm: SwarmId) {
        self.verify.forget(swarm);
        self.check.forget(swarm);
    }
}

impl Lane {
    /// Hashes what lies in one window, at most `left` bytes of the first job.
    fn step(&mut self, storage: &mut Storage, left: &mut usize) -> Option<Done> {
        let job = self.jobs.front()?;
        let access = match job.kind {
            Kind::Check => Access::Sequential,
            Kind::Verify => Access::Read,
        };
        let rest = usize::try_from(job.len - self.hashed).unwrap_or(usize::MAX).min(*left);
        if rest > 0 {
            let offset = job.offset.saturating_add(u64::from(self.hashed));
            let hasher = &mut self.hasher;
            match storage.inspect(job.swarm, offset, rest, access, |bytes| hasher.update(bytes)) {
                Ok(looked) => {
                    *left -= looked;
                    // At most `rest`, which is at most a u32.
                    self.hashed += looked as u32;
                }
                Err(error) => {
                    // A missing file costs an attempt to open it: count that as a page.
                    *left = left.saturating_sub(4096);
                    return self.finish().map(|(job, _)| Done { job, outcome: Err(error) });
                }
            }
        }
        if self.hashed < self.jobs.front()?.len {
            return None;
        }
        self.finish().map(|(job, digest)| {
            let good = digest == job.expected;
            Done { job, outcome: Ok(good) }
        })
    }

    /// Takes the first job out, with the digest of what was seen of it.
    fn finish(&mut self) -> Option<(Job, [u8; 20])> {
        self.hashed = 0;
        let digest = core::mem::take(&mut self.hasher).finish();
        Some((self.jobs.pop_front()?, digest))
    }

    fn forget(&mut self, swarm: SwarmId) {
        if self.jobs.front().is_some_and(|job| job.swarm == swarm) {
            self.hashed = 0;
            self.hasher = Hasher::default();
        }
        self.jobs.retain(|job| job.swarm != swarm);
    }
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::super::folders::Layout;
    use super::*;
    use crate::proto::store::Store;
    use crate::wire::digest::sha1;
    use std::fs::File;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(1);

    fn job(layout: &Layout, index: u32, bytes: &[u8], kind: Kind) -> Job {
        let piece = layout.geometry.piece(index).unwrap();
        Job {
            swarm: S,
            piece,
            offset: layout.geometry.piece_offset(piece),
            len: layout.geometry.piece_size(piece),
            expected: sha1(bytes),
            kind,
        }
    }

    fn stored(files: &[(&str, u64)], content: &[u8]) -> (TempDir, Layout, Storage) {
        let folder = TempDir::new().unwrap();
        let layout = layout(files, 16_384);
        let mut storage = Storage::with_windows(16_384, 4096);
        storage.open_write(S, &layout, &folder.path().join("root")).unwrap();
        storage.write(S, 0, content).unwrap();
        (folder, layout, storage)
    }

    #[test]
    fn slices_never_exceed_the_budget_and_verify_comes_first() {
        let content: Vec<u8> = (0..40_000_u32).map(|i| ((i * i) >> 7) as u8).collect();
        let files = [("a", 10_000), ("none", 0), ("b", 10_000), ("c/d", 20_000)];
        let (_folder, layout, mut storage) = stored(&files, &content);
        let mut queue = HashQueue::new();
        queue.push(job(&layout, 0, &content[..16_384], Kind::Check));
        queue.push(job(&layout, 2, b"something else", Kind::Check));
        assert!(queue.run(&mut storage, 1000).is_empty());
        assert_eq!(queue.check.hashed, 1000);
        // A verification overtakes a check that has begun, and the check loses nothing.
        queue.push(job(&layout, 1, &content[16_384..32_768], Kind::Verify));
        let mut order = Vec::new();
        let mut calls = 0;
        while !queue.is_empty() {
            let done = queue.run(&mut storage, 1000);
            order.extend(done.into_iter().map(|done| (done.job.piece.get(), done.outcome)));
            calls += 1;
        }
        assert_eq!(order, [(1, Ok(true)), (0, Ok(true)), (2, Ok(false))]);
        assert_eq!(calls, 39);
    }

    #[test]
    fn one_call_may_complete_several() {
        let content = [7; 40_000];
        let (folder, layout, mut storage) = stored(&[("", 40_000)], &content);
        storage.open_read(S, &layout, &folder.path().join("root")).unwrap();
        let mut queue = HashQueue::new();
        for (index, end) in [(0, 16_384), (1, 32_768), (2, 40_000)] {
            queue.push(job(&layout, index, &content[index as usize * 16_384..end], Kind::Check));
        }
        let done = queue.run(&mut storage, 1 << 20);
        assert_eq!(done.len(), 3);
        assert!(done.iter().all(|done| done.outcome == Ok(true)));
        // A check leaves no windows of its own behind.
        assert_eq!(storage.mapped_bytes(), 0);
    }

    #[test]
    fn forgetting_a_swarm_in_the_middle_of_a_piece() {
        let content = [7; 32_768];
        let (_folder, layout, mut storage) = stored(&[("", 32_768)], &content);
        let mut queue = HashQueue::new();
        queue.push(job(&layout, 0, b"", Kind::Verify));
        queue.run(&mut storage, 5000);
        queue.forget(S);
        assert!(queue.is_empty());
        queue.push(job(&layout, 1, &content[16_384..], Kind::Verify));
        assert_eq!(queue.run(&mut storage, 1 << 20)[0].outcome, Ok(true));
    }

    #[test]
    fn a_truncated_file_is_an_error_of_its_pieces_only() {
        let content = [7; 32_768];
        let (folder, layout, mut storage) = stored(&[("a", 16_384), ("b", 16_384)], &content);
        let mut queue = HashQueue::new();
        queue.push(job(&layout, 0, &content[..16_384], Kind::Verify));
        queue.push(job(&layout, 1, &content[..16_384], Kind::Verify));
        assert!(queue.run(&mut storage, 1000).is_empty());
        let file = File::options().write(true).open(folder.path().join("root/a")).unwrap();
        file.set_len(0).unwrap();
        let done = queue.run(&mut storage, 1 << 20);
        assert!(done[0].outcome.is_err());
        assert_eq!(done[1].outcome, Ok(true));
    }
}
