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
