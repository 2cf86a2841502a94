//! Verifies pieces in slices, so that the loop keeps turning.

use super::gather::Stretch;
use super::lanes::{self, Engine, Stream};
use super::mmap::{Access, Storage};
use crate::proto::store::StoreError;
use crate::units::geometry::PieceIndex;
use crate::units::id::SwarmId;
use crate::units::limits::{COLD_AGAIN, COLD_PAUSE, COLD_WITHIN};
use crate::units::time::{Duration, Instant};
use std::collections::VecDeque;

/// Bytes hashed in one turn of the loop: more than come in during one, so that a piece is hashed while it is in
/// the processor's cache and its window is mapped; about 1.2 ms with SHA instructions.
pub const HASH_SLICE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes asked for ahead of a check: what a slow disk brings in 40 ms.
const CHECK_AHEAD_BYTES: u64 = 4 * 1024 * 1024;

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

/// A verification waits at most so long for others to be hashed with.
const COMPANY_WITHIN: Duration = Duration::from_millis(100);
/// Bytes a second that must come in for that: to hash fewer, each piece alone, takes 1 % of a core.
const COMPANY_RATE: u128 = 16 * 1024 * 1024;

/// Bytes of each piece hashed at once where the disk does not come: then the loop waits for it.
const READ_LATE_BYTES: usize = 16 * 1024;

/// Pieces that wait to be hashed: those to verify before those to check, otherwise in order.
///
/// Several pieces side by side take less time than one after the other ([`lanes`]). While pieces
/// come in so fast that it matters, a verification waits a moment for company.
pub struct HashQueue {
    engine: Engine,
    verify: Lane,
    check: Lane,
    /// When the last piece to verify came.
    verify_came: Option<Instant>,
    /// Between two that came, on average.
    verify_gap: Duration,
    /// Since when verifications have been waiting, without one that was done.
    verify_since: Instant,
    /// Whether to stand still until the disk has brought what is to be hashed.
    waits_for_disk: bool,
}

/// Jobs of one kind.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Job>,
    /// Those begun: invariant: as many as `streams`, in the same order.
    begun: Vec<Job>,
    streams: Vec<Stream>,
    /// Of each of those begun, the bytes that the disk was asked for.
    asked: Vec<u64>,
    /// The first of those that wait for which it was asked.
    asked_waiting: usize,
    asked_at: Instant,
    /// Since when nothing could be hashed, because the disk has not brought it.
    cold_since: Option<Instant>,
    /// When to look again.
    again_at: Instant,
}

impl Default for HashQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl HashQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::with_engine(Engine::best())
    }

    /// An empty queue that hashes what is in memory, and comes back for what the disk has yet to bring.
    #[must_use]
    pub fn never_waiting() -> Self {
        Self { waits_for_disk: false, ..Self::new() }
    }

    fn with_engine(engine: Engine) -> Self {
        let (verify, check) = (Lane::default(), Lane::default());
        let (verify_came, verify_gap) = (None, COMPANY_WITHIN);
        let verify_since = Instant::ORIGIN;
        let waits_for_disk = true;
        Self { engine, verify, check, verify_came, verify_gap, verify_since, waits_for_disk }
    }

    /// Adds a piece.
    pub fn push(&mut self, now: Instant, job: Job) {
        match job.kind {
            Kind::Check => self.check.waiting.push_back(job),
            Kind::Verify => {
                if let Some(before) = self.verify_came.replace(now) {
                    let gap = (now - before).min(COMPANY_WITHIN);
                    self.verify_gap = (self.verify_gap * 3 + gap) / 4;
                }
                if self.verify.is_empty() {
                    self.verify_since = now;
                }
                self.verify.waiting.push_back(job);
            }
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
        self.verify.len() + self.check.len()
    }

    /// When [`HashQueue::run`] has work: perhaps at once, or when the verifications have waited
    /// long enough for company.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let check = (!self.check.is_empty()).then_some(self.check.again_at);
        self.verify_at().into_iter().chain(check).min()
    }

    /// Hashes at most `budget_bytes`, and says which pieces that completed. A piece of more
    /// bytes takes several calls.
    pub fn run(&mut self, now: Instant, storage: &mut Storage, budget_bytes: usize) -> Vec<Done> {
        let mut done = Vec::new();
        let mut left = budget_bytes;
        while left > 0 {
            let lane = if self.verify_at().is_some_and(|at| at <= now) {
                &mut self.verify
            } else if !self.check.is_empty() && self.check.again_at <= now {
                &mut self.check
            } else {
                break;
            };
            let wait = self.waits_for_disk;
            lane.step(self.engine, storage, now, wait, &mut left, &mut done);
            if done.last().is_some_and(|done| done.job.kind == Kind::Verify) {
                self.verify_since = now;
            }
        }
        if self.check.is_empty() {
            storage.end_check();
        }
        done
    }

    /// When to go on with the verifications, if there are any.
    fn verify_at(&self) -> Option<Instant> {
        let first = self.verify.begun.first().or(self.verify.waiting.front())?;
        let again_at = self.verify.again_at;
        // One more saves most of it, further ones some more.
        let (count, width) = (self.verify.len(), self.engine.width());
        let worth = self.engine.worth().min(width);
        let enough = if count < worth { worth } else { width };
        let missing = u32::try_from(enough.saturating_sub(count)).unwrap_or(0);
        // The next ones may be as late again as they are on average.
        let pause = self.verify_gap * (2 * missing);
        let rate = u128::from(first.len) * 1_000_000 / self.verify_gap.as_micros().max(1);
        let came = self.verify_came.filter(|_| rate >= COMPANY_RATE && pause <= COMPANY_WITHIN);
        let until = came.map(|came| (came + pause).min(self.verify_since + COMPANY_WITHIN));
        Some(until.map_or(again_at, |until| until.max(again_at)))
    }

    /// Drops the pieces of a swarm that is gone.
    pub fn forget(&mut self, swarm: SwarmId) {
        self.verify.forget(swarm);
        self.check.forget(swarm);
    }
}

impl Lane {
    fn len(&self) -> usize {
        self.waiting.len() + self.begun.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hashes of each piece that is begun what lies in one window, at most `left` bytes in all. What
    /// the disk has to bring first is asked for; `wait` says whether to stand still for it.
    fn step(
        &mut self,
        engine: Engine,
        storage: &mut Storage,
        now: Instant,
        wait: bool,
        left: &mut usize,
        done: &mut Vec<Done>,
    ) {
        self.begin(engine.width());
        let verify = self.begun.first().is_some_and(|job| job.kind == Kind::Verify);
        // What has just been written is there.
        if !verify || self.cold_since.is_some() {
            self.ask_ahead(storage, now);
        }
        let mut stretches = self.stretches(*left);
        if !wait {
            let ready = stretches.iter().map(|s| {
                // Why it cannot be read is told when it is read.
                storage.ready(s.swarm, s.offset, s.len, s.access).unwrap_or(s.len)
            });
            let ready = ready.min().unwrap_or(0);
            let late = self.cold_since.is_some_and(|since| since + COLD_WITHIN <= now);
            if ready == 0 && !late {
                return self.wait_for_disk(now);
            }
            let most = if ready == 0 { READ_LATE_BYTES } else { ready };
            stretches.iter_mut().for_each(|stretch| stretch.len = stretch.len.min(most));
            match ready {
                0 => *left = 0,
                _ => self.cold_since = None,
            }
        }
        let streams = &mut self.streams;
        let looked = storage.inspect_all(&stretches, |parts| lanes::update(engine, streams, parts));
        let mut at = 0;
        for looked in looked {
            // A missing file costs an attempt to open it: count that as a page.
            *left = left.saturating_sub(*looked.as_ref().unwrap_or(&4096));
            if looked.is_ok() && self.streams[at].hashed() < u64::from(self.begun[at].len) {
                at += 1;
                continue;
            }
            let (job, digest) = (self.begun.remove(at), self.streams.remove(at).finish());
            self.asked.remove(at);
            let outcome = looked.map(|_| digest == job.expected);
            done.push(Done { job, outcome });
        }
    }

    /// Begins as many pieces as are hashed side by side.
    fn begin(&mut self, width: usize) {
        while self.begun.len() < width {
            let Some(job) = self.waiting.pop_front() else { break };
            let asked = if self.asked_waiting > 0 { u64::from(job.len) } else { 0 };
            self.asked_waiting = self.asked_waiting.saturating_sub(1);
            self.begun.push(job);
            self.streams.push(Stream::default());
            self.asked.push(asked);
        }
    }

    /// What comes next of each piece that is begun, `most` bytes of all together.
    fn stretches(&self, most: usize) -> Vec<Stretch> {
        let share = (most / self.begun.len().max(1)).max(1);
        let stretch = |(job, stream): (&Job, &Stream)| Stretch {
            swarm: job.swarm,
            offset: job.offset.saturating_add(stream.hashed()),
            len: usize::try_from(u64::from(job.len) - stream.hashed())
                .map_or(share, |n| n.min(share)),
            access: match job.kind {
                Kind::Check => Access::Sequential,
                Kind::Verify => Access::Read,
            },
        };
        self.begun.iter().zip(&self.streams).map(stretch).collect()
    }

    /// Asks the disk for what is hashed next, once half of what it was asked for is hashed: of those
    /// begun an even share each, and if that is all of them, of those that wait, in order.
    fn ask_ahead(&mut self, storage: &mut Storage, now: Instant) {
        let mut room = CHECK_AHEAD_BYTES;
        let share = CHECK_AHEAD_BYTES / self.begun.len().max(1) as u64;
        for ((job, stream), asked) in self.begun.iter().zip(&self.streams).zip(&mut self.asked) {
            let (hashed, len) = (stream.hashed(), u64::from(job.len));
            *asked = hashed.max(*asked);
            if *asked < len && *asked - hashed <= share / 2 {
                let more = (len - *asked).min(share - (*asked - hashed));
                storage.read_ahead(job.swarm, job.offset + *asked, more);
                *asked += more;
                self.asked_at = now;
            }
            room = room.saturating_sub(*asked - hashed);
        }
        let under_way = self.waiting.iter().take(self.asked_waiting).map(|job| u64::from(job.len));
        room = room.saturating_sub(under_way.sum());
        if room < CHECK_AHEAD_BYTES / 2 {
            return;
        }
        while let Some(job) = self.waiting.get(self.asked_waiting) {
            if u64::from(job.len) > room {
                return;
            }
            let (swarm, from, mut len) = (job.swarm, job.offset, u64::from(job.len));
            self.asked_waiting += 1;
            // Those that lie end to end are asked for with one call.
            while let Some(next) = self.waiting.get(self.asked_waiting) {
                let follows = next.swarm == swarm && next.offset == from + len;
                if !follows || len + u64::from(next.len) > room {
                    break;
                }
                len += u64::from(next.len);
                self.asked_waiting += 1;
            }
            storage.read_ahead(swarm, from, len);
            room -= len;
            self.asked_at = now;
        }
    }

    /// Nothing of what comes next is in memory: there will be another look.
    fn wait_for_disk(&mut self, now: Instant) {
        self.cold_since.get_or_insert(now);
        self.again_at = now + COLD_PAUSE;
        if self.asked_at + COLD_AGAIN <= now {
            self.asked.iter_mut().for_each(|asked| *asked = 0);
            self.asked_waiting = 0;
        }
    }

    fn forget(&mut self, swarm: SwarmId) {
        // What is left of those that wait is asked for once more.
        self.asked_waiting = 0;
        let mut begun = self.begun.iter();
        self.asked.retain(|_| begun.next().is_some_and(|job| job.swarm != swarm));
        self.waiting.retain(|job| job.swarm != swarm);
        let mut begun = self.begun.iter();
        self.streams.retain(|_| begun.next().is_some_and(|job| job.swarm != swarm));
        self.begun.retain(|job| job.swarm != swarm);
    }
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::super::folders::Layout;
    use super::super::resident::tests::on_the_disk;
    use super::*;
    use crate::proto::store::Store;
    use crate::wire::digest::sha1;
    use std::fs::File;
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(1);
    const NOW: Instant = Instant::from_micros(1_000_000);

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
        let mut queue = HashQueue::with_engine(Engine::Single);
        queue.push(NOW, job(&layout, 0, &content[..16_384], Kind::Check));
        queue.push(NOW, job(&layout, 2, b"something else", Kind::Check));
        assert!(queue.run(NOW, &mut storage, 1000).is_empty());
        assert_eq!(queue.check.streams[0].hashed(), 1000);
        // A verification overtakes a check that has begun, and the check loses nothing.
        queue.push(NOW, job(&layout, 1, &content[16_384..32_768], Kind::Verify));
        let mut order = Vec::new();
        let mut calls = 0;
        while !queue.is_empty() {
            let done = queue.run(NOW, &mut storage, 1000);
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
            queue.push(
                NOW,
                job(&layout, index, &content[index as usize * 16_384..end], Kind::Check),
            );
        }
        let done = queue.run(NOW, &mut storage, 1 << 20);
        assert_eq!(done.len(), 3);
        assert!(done.iter().all(|done| done.outcome == Ok(true)));
        // A check leaves no windows of its own behind.
        assert_eq!(storage.mapped_bytes(), 0);
    }

    #[test]
    fn what_is_on_the_disk_is_asked_for_and_hashed_when_it_comes() {
        let folder = TempDir::new_in(on_the_disk()).unwrap();
        let (path, length) = (folder.path().join("content"), 40 * 16_384);
        let content: Vec<u8> = (0..length as u32).map(|i| (i >> 3) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let (layout, mut storage) = (layout(&[("", length)], 16_384), Storage::new(1 << 24));
        storage.open_read(S, &layout, &path).unwrap();
        let mut queue = HashQueue::never_waiting();
        for (index, bytes) in content.chunks(16_384).enumerate() {
            queue.push(NOW, job(&layout, index as u32, bytes, Kind::Check));
        }
        let (mut now, mut good) = (NOW, 0);
        while let Some(at) = queue.poll_timeout() {
            now = now.max(at);
            let done = queue.run(now, &mut storage, 100_000);
            good += done.iter().filter(|done| done.outcome == Ok(true)).count();
            // Time stands still while the queue hashes; the disk is real.
            if queue.check.cold_since.is_some() {
                assert!(queue.poll_timeout() > Some(now));
                std::thread::yield_now();
            }
        }
        assert_eq!(good, 40);
    }

    #[test]
    fn forgetting_a_swarm_in_the_middle_of_a_piece() {
        let content = [7; 32_768];
        let (_folder, layout, mut storage) = stored(&[("", 32_768)], &content);
        let mut queue = HashQueue::new();
        queue.push(NOW, job(&layout, 0, b"", Kind::Verify));
        queue.run(NOW, &mut storage, 5000);
        queue.forget(S);
        assert!(queue.is_empty());
        queue.push(NOW, job(&layout, 1, &content[16_384..], Kind::Verify));
        assert_eq!(queue.run(NOW, &mut storage, 1 << 20)[0].outcome, Ok(true));
    }

    #[test]
    fn a_truncated_file_is_an_error_of_its_pieces_only() {
        let content = [7; 32_768];
        let (folder, layout, mut storage) = stored(&[("a", 16_384), ("b", 16_384)], &content);
        let mut queue = HashQueue::new();
        queue.push(NOW, job(&layout, 0, &content[..16_384], Kind::Verify));
        queue.push(NOW, job(&layout, 1, &content[..16_384], Kind::Verify));
        assert!(queue.run(NOW, &mut storage, 1000).is_empty());
        let file = File::options().write(true).open(folder.path().join("root/a")).unwrap();
        file.set_len(0).unwrap();
        let done = queue.run(NOW, &mut storage, 1 << 20);
        assert!(done[0].outcome.is_err());
        assert_eq!(done[1].outcome, Ok(true));
    }

    #[test]
    fn every_engine_finds_the_same() {
        let content: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let files = [("a", 50_001), ("none", 0), ("b", 9), ("c/d", 149_990)];
        let (_folder, layout, mut storage) = stored(&files, &content);
        for engine in Engine::ALL.into_iter().filter(|engine| engine.is_able()) {
            for budget in [777, 100_000, 1 << 20] {
                let mut queue = HashQueue::with_engine(engine);
                for piece in layout.geometry.pieces() {
                    let start = piece.get() as usize * 16_384;
                    let end = content.len().min(start + 16_384);
                    let bytes = if piece.get() == 5 { b"bad" } else { &content[start..end] };
                    queue.push(NOW, job(&layout, piece.get(), bytes, Kind::Check));
                }
                let mut bad = Vec::new();
                while !queue.is_empty() {
                    let done = queue.run(NOW, &mut storage, budget);
                    bad.extend(done.into_iter().filter(|done| done.outcome != Ok(true)));
                }
                assert_eq!(bad.len(), 1, "{engine}, {budget} bytes a call");
                assert_eq!((bad[0].job.piece.get(), &bad[0].outcome), (5, &Ok(false)));
            }
        }
    }

    #[test]
    fn a_verification_waits_for_company_only_while_pieces_come_fast() {
        let content = [7; 16_384 * 12];
        let (_folder, layout, mut storage) = stored(&[("", 16_384 * 12)], &content);
        let piece = |index| job(&layout, index, &content[..16_384], Kind::Verify);
        let at = |micros: u64| Instant::from_micros(1_000_000 + micros);
        let mut queue = HashQueue::with_engine(Engine::Sse2);
        // Nobody can say whether another one will come: at once.
        queue.push(at(0), piece(0));
        assert_eq!(queue.run(at(0), &mut storage, 1 << 20).len(), 1);
        queue.verify_gap = Duration::from_micros(500);
        queue.verify_came = Some(at(100_000));
        queue.push(at(100_500), piece(7));
        assert!(queue.run(at(100_500), &mut storage, 1 << 20).is_empty());
        assert_eq!(queue.poll_timeout(), Some(at(101_500)));
        // Two are worth it; two more may come.
        queue.push(at(101_000), piece(8));
        assert!(queue.run(at(101_000), &mut storage, 1 << 20).is_empty());
        assert_eq!(queue.poll_timeout(), Some(at(103_000)));
        assert_eq!(queue.run(at(103_000), &mut storage, 1 << 20).len(), 2);
        for index in 8..12 {
            queue.push(at(103_500), piece(index));
        }
        assert_eq!(queue.run(at(103_500), &mut storage, 1 << 20).len(), 4);
        // One that is half hashed waits for company, too.
        queue.verify_gap = Duration::from_micros(400);
        queue.push(at(104_000), piece(3));
        assert!(queue.run(at(105_000), &mut storage, 8192).is_empty());
        queue.push(at(105_000), piece(4));
        assert!(queue.poll_timeout() > Some(at(105_000)));
        assert_eq!(queue.run(at(110_000), &mut storage, 1 << 20).len(), 2);
    }

    #[test]
    fn nobody_waits_for_company_for_long_or_on_a_slow_line() {
        let content = [7; 16_384 * 12];
        let (_folder, layout, mut storage) = stored(&[("", 16_384 * 12)], &content);
        let piece = |index| job(&layout, index, &content[..16_384], Kind::Verify);
        let at = |micros: u64| Instant::from_micros(1_000_000 + micros);
        let mut queue = HashQueue::with_engine(Engine::Sse2);
        queue.verify_gap = Duration::from_micros(900);
        queue.verify_came = Some(at(0));
        queue.push(at(0), piece(0));
        assert!(queue.run(at(0), &mut storage, 1 << 20).is_empty());
        // Each that comes puts it off, but only so far.
        queue.verify_came = Some(at(99_500));
        assert_eq!(queue.poll_timeout(), Some(at(100_000)));
        queue.verify_gap = Duration::from_millis(1);
        assert_eq!(queue.poll_timeout(), Some(Instant::ORIGIN), "16 KiB a millisecond");
        assert_eq!(queue.run(at(99_500), &mut storage, 1 << 20).len(), 1);
    }
}
