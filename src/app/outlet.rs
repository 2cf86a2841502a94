//! A stream that somebody else reads, or does not: the loop never waits for the reader.
//!
//! A pipe takes 64 KiB from who writes, a terminal that was stopped by Ctrl-S little more, a full
//! disk nothing. What they do not take waits here, in order; beyond a bound it is left out and
//! counted, so that it can be said when there is room again. The descriptor itself stays blocking:
//! who shares it (the shell its terminal) would find it changed. So poll is asked first, and no
//! more is written than it has promised room for. Of a terminal it promises nothing: that is opened
//! once more, for us alone.

use crate::units::limits::OUTLET_WAITING_MAX;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::isatty;
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a pipe that is ready takes whole: a page of it is free.
const PIPE_PORTION: usize = 4096;
/// What waits for the reader of one stream.
#[derive(Debug)]
pub(super) struct Outlet {
    waiting: VecDeque<u8>,
    /// Lines left out since the last that was kept.
    left_out: u64,
    /// The terminal that the stream is, non-blocking.
    terminal: OnceCell<Option<Arc<OwnedFd>>>,
}

impl Outlet {
    /// Nothing waits.
    #[must_use]
    pub(super) const fn new() -> Self {
        Self { waiting: VecDeque::new(), left_out: 0, terminal: OnceCell::new() }
    }

    /// Writes whole lines to `stream` as far as it takes them; the rest waits for [`Self::flush`].
    /// False if they are left out: too much waits already, or nobody has said yet what is missing.
    pub(super) fn put(&mut self, text: &[u8], stream: impl AsFd) -> bool {
        let terminal = self.terminal(&stream);
        self.put_with(text, |bytes| write_now(terminal.as_deref(), &stream, bytes))
    }

    /// Writes what waits, as far as `stream` takes it.
    pub(super) fn flush(&mut self, stream: impl AsFd) {
        let terminal = self.terminal(&stream);
        self.flush_with(|bytes| write_now(terminal.as_deref(), &stream, bytes));
    }

    /// Whether something waits, or is to be said to be missing.
    #[must_use]
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty() || self.left_out > 0
    }

    /// How many lines were left out, once all before them is written: from then on lines are taken
    /// again, the first of which should say so.
    pub(super) fn take_left_out(&mut self) -> Option<u64> {
        let ended = self.waiting.is_empty() && self.left_out > 0;
        ended.then(|| std::mem::take(&mut self.left_out))
    }

    fn terminal(&self, stream: impl AsFd) -> Option<Arc<OwnedFd>> {
        let fd = stream.as_fd();
        self.terminal
            .get_or_init(|| isatty(fd).then(|| reopened(fd)).flatten().map(Arc::new))
            .clone()
    }

    fn put_with(
        &mut self,
        text: &[u8],
        mut write: impl FnMut(&[u8]) -> Result<usize, Errno>,
    ) -> bool {
        self.flush_with(&mut write);
        if self.left_out > 0 || self.waiting.len() + text.len() > OUTLET_WAITING_MAX {
            self.left_out += text.iter().filter(|&&byte| byte == b'\n').count().max(1) as u64;
            return false;
        }
        self.waiting.extend(text);
        self.flush_with(write);
        true
    }

    fn flush_with(&mut self, mut write: impl FnMut(&[u8]) -> Result<usize, Errno>) {
        while !self.waiting.is_empty() {
            match write(self.waiting.as_slices().0) {
                Ok(0) | Err(Errno::AGAIN | Errno::NOSPC | Errno::DQUOT) => return,
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                // Who has closed it reads nothing more.
                Err(_) => self.waiting.clear(),
            }
        }
        // Not for ever as large as it was once.
        self.waiting.shrink_to(PIPE_PORTION);
    }
}

/// Writes no more than `stream` takes at once, [`Errno::AGAIN`] if that is nothing.
fn write_now(terminal: Option<&OwnedFd>, stream: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    if let Some(terminal) = terminal {
        return rustix::io::write(terminal, bytes);
    }
    let mut ready = [PollFd::new(&stream, PollFlags::OUT)];
    poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if ready[0].revents().is_empty() {
        return Err(Errno::AGAIN);
    }
    rustix::io::write(&stream, &bytes[..bytes.len().min(PIPE_PORTION)])
}

/// The same terminal once more, non-blocking; `None` where that is not ours to open, as after `su`.
fn reopened(terminal: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::unix::pipe::{new, Receiver, Sender};
    use std::io::Read;

    /// A pipe as processes have it between them.
    fn pipe() -> (Sender, Receiver) {
        let (sender, receiver) = new().unwrap();
        sender.set_nonblocking(false).unwrap();
        receiver.set_nonblocking(false).unwrap();
        (sender, receiver)
    }

    #[test]
    fn what_is_not_taken_waits_and_comes_in_order() {
        let mut outlet = Outlet::new();
        let mut taken = Vec::new();
        for line in ["one\n", "two\n"] {
            assert!(outlet.put_with(line.as_bytes(), |_| Err(Errno::AGAIN)));
        }
        assert!(outlet.is_behind());
        let mut room = 6;
        let mut write = |bytes: &[u8]| {
            let count = bytes.len().min(room);
            taken.extend_from_slice(&bytes[..count]);
            room -= count;
            Ok(count)
        };
        outlet.flush_with(&mut write);
        assert!(outlet.is_behind());
        assert!(outlet.put_with(b"three\n", |_| Err(Errno::NOSPC)));
        assert_eq!(taken, b"one\ntw");
        outlet.flush_with(|bytes| {
            taken.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        assert_eq!(taken, b"one\ntwo\nthree\n");
        assert!(!outlet.is_behind());
        assert_eq!(outlet.take_left_out(), None);
    }

    #[test]
    fn beyond_the_bound_lines_are_left_out_and_counted_until_it_is_said() {
        let mut outlet = Outlet::new();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let full = |_: &[u8]| Err(Errno::AGAIN);
        let kept = (0..OUTLET_WAITING_MAX / 1024 + 3).filter(|_| outlet.put_with(&line, full));
        assert_eq!(kept.count(), OUTLET_WAITING_MAX / 1024);
        assert_eq!(outlet.take_left_out(), None, "what is kept comes first");
        outlet.flush_with(|bytes| Ok(bytes.len()));
        assert!(!outlet.put_with(b"a\nb\n", |bytes| Ok(bytes.len())), "the gap is not yet told");
        assert_eq!(outlet.take_left_out(), Some(5));
        assert!(outlet.put_with(b"5 lines left out\n", |bytes| Ok(bytes.len())));
        assert_eq!(outlet.take_left_out(), None);
        assert!(!outlet.is_behind());
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let (writer, mut reader) = pipe();
        let mut outlet = Outlet::new();
        let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}\n")).collect();
        for line in &lines {
            assert!(outlet.put(line.as_bytes(), &writer));
        }
        let (all, mut read) = (lines.concat(), vec![0; 8192]);
        let mut text = Vec::new();
        while text.len() < all.len() {
            let count = reader.read(&mut read).unwrap();
            text.extend_from_slice(&read[..count]);
            outlet.flush(&writer);
        }
        assert!(text == all.as_bytes());
        assert!(!outlet.is_behind());
    }

    #[test]
    fn a_reader_that_has_gone_is_not_waited_for() {
        let (writer, reader) = pipe();
        drop(reader);
        let mut outlet = Outlet::new();
        assert!(outlet.put(b"a line\n", &writer));
        assert!(!outlet.is_behind());
    }
}
