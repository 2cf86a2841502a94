//! Early write-back: what is received goes on to the disk as it comes, on a thread that may wait for
//! the disk; and where that does not keep up, less is received.
//!
//! A write only puts bytes into memory; the system brings them to the disk when it likes. Who has more
//! waiting there than the system allows is held up in his next write until it is less: here that would be
//! the loop, and with it everybody. So the peers of the torrent are let wait before: nothing is read from their sockets,
//! TCP tells them, and they send as fast as the disk takes it.

// `sync_file_range` and `getrusage` are in no crate that hides them.
#![allow(unsafe_code)]

use super::guard;
use super::helper::Helper;
use super::mmap::{written, Storage, Unflushed, UnsentBytes};
use crate::units::id::SwarmId;
use crate::units::time::Duration;
use mio::Waker;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Bytes received that go on to the disk together: what a slow one takes in a quarter of a second. More often
/// costs calls, more seldom lets the disk rest meanwhile.
const WRITE_BACK_BYTES: u64 = 8 * 1024 * 1024;
/// The same where much may wait for the disk: that many in one go cost a tenth less.
const WRITE_BACK_MOST: u64 = 8 * WRITE_BACK_BYTES;
/// Bytes that may wait for the disk whatever the system says: so that it has the next ones when the ones before
/// are done.
const WRITE_BACK_LEAST: u64 = 2 * WRITE_BACK_BYTES;
/// Bytes that are not sent on to the disk before their pieces are verified: of large pieces, or many at once,
/// hardly one is done before much is written.
const UNVERIFIED_BYTES: u64 = 2 * WRITE_BACK_LEAST;
/// A write that took so long was held up by the system: what one read brings is written in a fiftieth of it.
const HELD_UP: Duration = Duration::from_millis(10);

/// What was written, on its way to the disk.
pub struct WriteBack {
    helper: Helper<Job, Option<Room>>,
    /// Bytes of the job that is under way.
    under_way: u64,
    /// Bytes that may wait for the disk as the system says; `None` before it was asked.
    allowed: Option<u64>,
    /// Bytes that may wait for it as experience says: below what was there when a write was held up.
    learned: u64,
    /// What waited when a write was held up last.
    held_at: u64,
    /// By how much `learned` grew last.
    step: u64,
    /// How often this thread had slept when the turn began, if anything waited for the disk then.
    slept: Option<libc::c_long>,
}

/// What the system lets wait for its disks before it holds up those who write, and what waits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    limit: u64,
    waiting: u64,
}

/// A file, and what of it is to go to the disk: from where, and how many bytes; all of it if there is none.
type Job = Vec<(Unflushed, Vec<(u64, u64)>)>;

impl WriteBack {
    /// Nothing is under way.
    #[must_use]
    pub fn new(waker: Arc<Waker>) -> Self {
        let helper = Helper::spawn("write-back", waker, write_out);
        let learned = u64::MAX;
        Self { helper, under_way: 0, allowed: None, learned, held_at: 0, step: 0, slept: None }
    }

    /// A turn begins: the loop has waited for its events.
    pub fn begin(&mut self, storage: &Storage) {
        self.slept = (self.waiting(storage) > 0).then(times_slept);
    }

    /// Sends on what was written, if it is enough. True where there may be room now for those that were
    /// let wait.
    pub fn turn(&mut self, storage: &mut Storage) -> bool {
        let mut done = false;
        while let Some(room) = self.helper.poll() {
            (done, self.under_way) = (true, 0);
            self.grow();
            self.allow(room, storage.unsent_bytes.all);
        }
        let UnsentBytes { all, verified } = storage.unsent_bytes;
        if self.allowed.is_none() && all >= WRITE_BACK_BYTES {
            self.allow(Room::read(), all);
        }
        let least = self.least();
        if self.helper.pending() > 0 || (verified < least && all < least + UNVERIFIED_BYTES) {
            return done;
        }
        let (bytes, job) = match verified >= least {
            true => storage.take_verified(),
            false => storage.take_unsent(),
        };
        // Without a thread the system does it alone, as it likes.
        if self.helper.submit(job).is_ok() {
            self.under_way = bytes;
        }
        done
    }

    /// Whether so much waits for the disk that no more should be received.
    #[must_use]
    pub fn is_full(&self, storage: &Storage) -> bool {
        self.under_way > 0 && self.waiting(storage) >= self.most()
    }

    /// Something received was written, and that took so long.
    pub fn wrote(&mut self, storage: &Storage, took: Duration) {
        if took < HELD_UP {
            return;
        }
        // A thread that had no processor, or memory that did not come, is not the disk.
        let slept = times_slept();
        if self.slept.replace(slept).is_none_or(|before| before == slept) {
            return;
        }
        self.held_at = self.waiting(storage);
        self.step = (self.held_at / 64).max(WRITE_BACK_BYTES / 8);
        self.learned = (self.held_at / 4 * 3).max(WRITE_BACK_LEAST);
        let (ms, mib) = (took.as_millis(), |bytes| bytes >> 20);
        let (held_at, learned) = (mib(self.held_at), mib(self.learned));
        log::debug!("the disk is behind: a write took {ms} ms while {held_at} MiB waited for it; now it is {learned} at most");
    }

    /// More may wait. It is found out by going there again whether a disk has become faster; who has come past
    /// the place goes on in ever larger steps: there it was something else, or it is over.
    fn grow(&mut self) {
        if self.learned > self.held_at {
            self.step = self.step.saturating_mul(2);
        }
        self.learned = self.learned.saturating_add(self.step);
    }

    fn waiting(&self, storage: &Storage) -> u64 {
        self.under_way + storage.unsent_bytes.all
    }

    fn most(&self) -> u64 {
        self.allowed.unwrap_or(u64::MAX).min(self.learned)
    }

    /// Bytes that go on together: where much may wait, more of them in fewer calls.
    fn least(&self) -> u64 {
        (self.most() / 16).clamp(WRITE_BACK_BYTES, WRITE_BACK_MOST)
    }

    /// Takes three quarters of what is left by all who write, and our own share as it is.
    fn allow(&mut self, room: Option<Room>, ours: u64) {
        let of = |Room { limit, waiting }| (limit / 4 * 3 + ours).saturating_sub(waiting);
        self.allowed = Some(room.map_or(u64::MAX, of).max(WRITE_BACK_LEAST));
    }
}

impl Storage {
    /// Notes that so many bytes of the file were written.
    pub(super) fn note_unsent(&mut self, swarm: SwarmId, index: u32, bytes: u64) {
        if let Some(content) = self.contents.get_mut(&swarm) {
            content.unsent.0.insert(index);
            content.unsent.1 += bytes;
            self.unsent_bytes.all += bytes;
        }
    }

    /// Notes that this piece, which was received, is good.
    pub fn note_verified(&mut self, swarm: SwarmId, offset: u64, len: u32) {
        if let Some(content) = self.contents.get_mut(&swarm).filter(|c| c.writable) {
            // In the order in which they lie on the disk.
            let at = content.verified.partition_point(|&(before, _)| before < offset);
            content.verified.insert(at, (offset, len));
            self.unsent_bytes.verified += u64::from(len);
        }
    }

    /// The verified pieces, for the write-back; and how many bytes that takes off.
    fn take_verified(&mut self) -> (u64, Job) {
        let (mut bytes, mut job) = (0, Job::new());
        for (&swarm, content) in &mut self.contents {
            let first = job.len();
            for (offset, len) in core::mem::take(&mut content.verified) {
                content.unsent.1 -= u64::from(len).min(content.unsent.1);
                bytes += u64::from(len);
                content.spans(offset, u64::from(len), |index, from, len| {
                    match job[first..].last_mut().filter(|(file, _)| file.index == index) {
                        None => {
                            let file = written(swarm, content, index, &mut self.open);
                            job.push((file, vec![(from, len)]));
                        }
                        Some((_, ranges)) => match ranges.last_mut() {
                            Some((start, length)) if *start + *length == from => *length += len,
                            _ => ranges.push((from, len)),
                        },
                    }
                });
            }
            if content.unsent.1 == 0 {
                content.unsent.0.clear();
            }
        }
        self.unsent_bytes.verified = 0;
        self.unsent_bytes.all = self.contents.values().map(|content| content.unsent.1).sum();
        (bytes, job)
    }

    /// All files with something that was not sent on, for the write-back; and how many bytes.
    fn take_unsent(&mut self) -> (u64, Job) {
        let mut job = Job::new();
        for (&swarm, content) in &mut self.contents {
            let (files, _) = core::mem::take(&mut content.unsent);
            content.verified.clear();
            let file = |index| (written(swarm, content, index, &mut self.open), Vec::new());
            job.extend(files.into_iter().map(file));
        }
        (core::mem::take(&mut self.unsent_bytes).all, job)
    }
}

/// The work of the helper: starts the write-back of all, waits for it, and looks how much room there is.
fn write_out(job: Job) -> Option<Room> {
    // What cannot be written here fails in the flush as well, which tells of it.
    let (start, wait) = (libc::SYNC_FILE_RANGE_WRITE, libc::SYNC_FILE_RANGE_WAIT_AFTER);
    for how in [start, wait] {
        for (file, ranges) in &job {
            let all = [(0, 0)];
            let ranges = if ranges.is_empty() { &all[..] } else { ranges };
            drop(
                file.with(|file| ranges.iter().try_for_each(|&range| sync_range(file, range, how))),
            );
        }
    }
    Room::read()
}

/// How often this thread has given up the processor to wait for something. Who is held up for the disk does;
/// who has lost the processor to another thread does not, nor does who waits for memory to be brought or cleared.
fn times_slept() -> libc::c_long {
    let mut usage = core::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills a `rusage` and touches nothing else; all zeros is one, too.
    unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init().ru_nvcsw
    }
}

fn sync_range(file: &File, (from, len): (u64, u64), how: libc::c_uint) -> io::Result<()> {
    let (from, len) = (libc::off64_t::try_from(from), libc::off64_t::try_from(len));
    let (Ok(from), Ok(len)) = (from, len) else { return Err(io::ErrorKind::FileTooLarge.into()) };
    // SAFETY: the descriptor is open while `file` is borrowed, and no memory of ours is touched.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), from, len, how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Room {
    /// As the system says; `None` where it does not.
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/vmstat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let page = guard::page_bytes() as u64;
        let value = |name| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let found = lines.find(|&(other, _)| other == name)?.1;
            found.parse::<u64>().ok()?.checked_mul(page)
        };
        // Below the middle of the two nobody is held up.
        let limit =
            value("nr_dirty_threshold")?.checked_add(value("nr_dirty_background_threshold")?)? / 2;
        let waiting = value("nr_dirty")?.checked_add(value("nr_writeback")?)?;
        Some(Self { limit, waiting })
    }
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::super::mmap::DEFAULT_BUDGET;
    use super::super::reserve::reserve;
    use super::*;
    use crate::proto::store::Store;
    use mio::{Events, Poll, Token};
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    const S: SwarmId = SwarmId(1);
    const MIB: u64 = 1024 * 1024;

    fn stored(files: &[(&str, u64)]) -> (TempDir, Storage) {
        let folder = TempDir::new().unwrap();
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let layout = layout(files, 1 << 20);
        storage.open_write(S, &layout, &folder.path().join("content.part")).unwrap();
        let room = storage.take_reservation(S).map_or(Ok(()), |job| reserve(job).outcome);
        room.unwrap();
        (folder, storage)
    }

    fn write(storage: &mut Storage, offset: u64, len: u64) {
        let len = usize::try_from(len).unwrap();
        storage.write(S, offset, &vec![7; len]).unwrap();
    }

    fn said(job: &Job) -> Vec<(PathBuf, Vec<(u64, u64)>)> {
        job.iter().map(|(file, ranges)| (file.path.clone(), ranges.clone())).collect()
    }

    #[test]
    fn verified_pieces_go_as_ranges_of_their_files() {
        let files = [("a", 1000), (".pad/24", 24), ("b", 5000), ("c", 3000)];
        let (_folder, mut storage) = stored(&files);
        write(&mut storage, 0, 9024);
        assert_eq!(storage.unsent_bytes, UnsentBytes { all: 9000, verified: 0 });
        // Out of order, and two of them end to end.
        for (offset, len) in [(3072, 1024), (0, 2048), (2048, 1024), (5000, 2000)] {
            storage.note_verified(S, offset, len);
        }
        let (bytes, job) = storage.take_verified();
        assert_eq!(bytes, 6096);
        let expected = [
            ("a".into(), vec![(0, 1000)]),
            ("b".into(), vec![(0, 3072), (3976, 1024)]),
            ("c".into(), vec![(0, 976)]),
        ];
        assert_eq!(said(&job), expected);
        assert_eq!(storage.unsent_bytes, UnsentBytes { all: 2904, verified: 0 });
        assert_eq!(write_out(job).is_some(), Path::new("/proc/vmstat").exists());
        // The rest, whether verified or not.
        storage.note_verified(S, 8000, 1000);
        let (bytes, job) = storage.take_unsent();
        assert_eq!((bytes, said(&job).len()), (2904, 3));
        assert_eq!(storage.unsent_bytes, UnsentBytes::default());
        // What was sent on unverified does not count twice.
        storage.note_verified(S, 0, 1000);
        assert_eq!(storage.take_verified().0, 1000);
        assert_eq!(storage.unsent_bytes, UnsentBytes::default());
        write(&mut storage, 0, 10);
        storage.note_verified(S, 0, 1000);
        storage.close(S);
        assert_eq!(storage.unsent_bytes, UnsentBytes::default());
    }

    #[test]
    fn nothing_more_is_received_while_too_much_is_under_way() {
        let (_folder, mut storage) = stored(&[("", 64 * MIB)]);
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let mut write_back = WriteBack::new(waker);
        write_back.allowed = Some(WRITE_BACK_LEAST);
        write(&mut storage, 0, WRITE_BACK_BYTES);
        assert!(!write_back.turn(&mut storage));
        assert_eq!(write_back.under_way, 0, "none of it is verified");
        (0..8).for_each(|n| storage.note_verified(S, n * MIB, 1 << 20));
        assert!(!write_back.turn(&mut storage));
        assert_eq!(write_back.under_way, WRITE_BACK_BYTES);
        assert!(!write_back.is_full(&storage));
        write(&mut storage, WRITE_BACK_BYTES, WRITE_BACK_LEAST - WRITE_BACK_BYTES);
        assert!(write_back.is_full(&storage));
        let mut events = Events::with_capacity(1);
        while !write_back.turn(&mut storage) {
            poll.poll(&mut events, None).unwrap();
        }
        assert!(!write_back.is_full(&storage), "it has arrived");
        // Unverified for long, it goes all the same.
        write_back.allowed = Some(WRITE_BACK_LEAST);
        write(&mut storage, WRITE_BACK_LEAST, UNVERIFIED_BYTES);
        write_back.turn(&mut storage);
        assert_eq!((write_back.waiting(&storage), storage.unsent_bytes.all), (40 * MIB, 0));
    }

    #[test]
    fn the_system_says_how_much_may_wait_and_experience_too() {
        let text = "nr_free_pages 9\nnr_dirty 100\nnr_writeback 50\nnr_writeback_temp 7\n\
                    nr_dirty_threshold 60000\nnr_dirty_background_threshold 20000\n";
        let page = guard::page_bytes() as u64;
        let room = Room { limit: 40_000 * page, waiting: 150 * page };
        assert_eq!(Room::parse(text), Some(room));
        assert_eq!(Room::parse("nr_dirty 100\n"), None);
        let (_folder, mut storage) = stored(&[("", 64 * MIB)]);
        let poll = Poll::new().unwrap();
        let mut write_back =
            WriteBack::new(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap()));
        assert_eq!((write_back.most(), write_back.least()), (u64::MAX, WRITE_BACK_MOST));
        // Others have 100 of the 400 MiB, and 20 are ours.
        let room = Room { limit: 400 * MIB, waiting: 120 * MIB };
        write_back.allow(Some(room), 20 * MIB);
        assert_eq!((write_back.most(), write_back.least()), (200 * MIB, 200 * MIB / 16));
        write_back.allow(Some(Room { waiting: 600 * MIB, ..room }), 20 * MIB);
        assert_eq!(write_back.most(), WRITE_BACK_LEAST, "others take it all");
        write_back.allow(None, 20 * MIB);
        write(&mut storage, 0, 40 * MIB);
        sleep_once(&mut write_back, &storage);
        write_back.wrote(&storage, Duration::from_millis(9));
        assert_eq!(write_back.most(), u64::MAX);
        write_back.wrote(&storage, HELD_UP);
        assert_eq!(write_back.most(), 30 * MIB);
    }

    /// A turn in which this thread waits for something.
    fn sleep_once(write_back: &mut WriteBack, storage: &Storage) {
        write_back.begin(storage);
        let before = times_slept();
        while times_slept() == before {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn only_who_slept_was_held_up_and_once_is_soon_made_good() {
        let (_folder, mut storage) = stored(&[("", 64 * MIB)]);
        let poll = Poll::new().unwrap();
        let mut write_back =
            WriteBack::new(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap()));
        sleep_once(&mut write_back, &storage);
        write_back.wrote(&storage, HELD_UP);
        assert_eq!(write_back.learned, u64::MAX, "nothing of ours waits");
        write(&mut storage, 0, 64 * MIB);
        write_back.begin(&storage);
        write_back.wrote(&storage, Duration::from_secs(1));
        assert_eq!(write_back.learned, u64::MAX);
        sleep_once(&mut write_back, &storage);
        write_back.wrote(&storage, HELD_UP);
        write_back.wrote(&storage, HELD_UP);
        assert_eq!(write_back.learned, 48 * MIB);
        // Slowly where it was held up, then faster and faster.
        (0..16).for_each(|_| write_back.grow());
        assert_eq!(write_back.learned, 64 * MIB);
        (0..9).for_each(|_| write_back.grow());
        assert!(write_back.learned > 500 * MIB, "{}", write_back.learned);
        (0..100).for_each(|_| write_back.grow());
        assert_eq!(write_back.learned, u64::MAX);
    }
}
