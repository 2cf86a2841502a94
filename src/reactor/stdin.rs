//! Lines that a person or a script writes to standard input.
//!
//! A thread that does nothing else reads them. The loop cannot: epoll refuses files and
//! /dev/null, and a terminal set to non-blocking would be so for the shell as well, which shares
//! it. The thread is never joined: it ends with the process.

use mio::Waker;
use rustix::event::{poll, PollFd, PollFlags};
use std::io::{self, IsTerminal};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;
use std::time::Duration;

/// Bytes read from standard input at once.
const CONSOLE_READ_BYTES: usize = 4 * 1024;

/// Portions read and not yet taken: then the reader waits.
const PENDING_MAX: usize = 16;
/// Between two looks whether the terminal is ours again.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(500);

/// The loop's end of standard input.
#[derive(Debug)]
pub struct Stdin {
    portions: Receiver<Vec<u8>>,
}

impl Stdin {
    /// Starts to read; `waker` wakes the loop after each portion.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn open(waker: Arc<Waker>) -> io::Result<Self> {
        let (sender, portions) = sync_channel(PENDING_MAX);
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || read_all(&sender, &waker))?;
        Ok(Self { portions })
    }

    /// The next bytes, if some have come; empty at the end of the input.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        self.portions.try_recv().ok()
    }
}

fn read_all(portions: &SyncSender<Vec<u8>>, waker: &Waker) {
    let stdin = io::stdin();
    let terminal = stdin.is_terminal();
    let mut buffer = [0; CONSOLE_READ_BYTES];
    loop {
        if !is_ready(&stdin, terminal) {
            continue;
        }
        let count = match rustix::io::read(&stdin, &mut buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            // A closed descriptor or a terminal that is gone: as good as the end.
            Err(_) => 0,
        };
        if portions.send(buffer[..count].to_vec()).is_err() || waker.wake().is_err() || count == 0 {
            return;
        }
    }
}

/// Waits until there is something to read, as poll can for files too; false where it is not for
/// us. A read of the terminal from the background would stop the whole process (SIGTTIN).
fn is_ready(stdin: &io::Stdin, terminal: bool) -> bool {
    let mut ready = [PollFd::new(stdin, PollFlags::IN)];
    if poll(&mut ready, None).is_err() {
        return false;
    }
    if !terminal {
        return true;
    }
    let foreground = rustix::termios::tcgetpgrp(stdin);
    // No controlling terminal: nobody would stop us.
    let ours = foreground.map_or(true, |group| group == rustix::process::getpgrp());
    if !ours {
        std::thread::sleep(BACKGROUND_PAUSE);
    }
    ours
}
