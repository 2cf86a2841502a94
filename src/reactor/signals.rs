//! Signals as values: each raises a flag and writes a byte that wakes the poll.

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// What the user or the system wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: look at everything again.
    Rescan,
    /// SIGUSR1: print the status.
    Status,
    /// SIGINT or SIGTERM: stop.
    Stop(i32),
}

const ALL: [(i32, Signal); 4] = [
    (SIGINT, Signal::Stop(SIGINT)),
    (SIGTERM, Signal::Stop(SIGTERM)),
    (SIGHUP, Signal::Rescan),
    (SIGUSR1, Signal::Status),
];

/// The flags, and the pipe that wakes the poll.
#[derive(Debug)]
pub struct Signals {
    flags: [Arc<AtomicBool>; ALL.len()],
    reader: mio::net::UnixStream,
}

impl Signals {
    /// Catches the signals from now on. SIGPIPE is ignored already by the Rust runtime.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let mut reader = mio::net::UnixStream::from_std(reader);
        registry.register(&mut reader, token, Interest::READABLE)?;
        let flags: [Arc<AtomicBool>; ALL.len()] = Default::default();
        for ((signal, _), flag) in ALL.iter().zip(&flags) {
            signal_hook::flag::register(*signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
        }
        Ok(Self { flags, reader })
    }

    /// A signal that has come since the last call.
    pub fn poll(&mut self) -> Option<Signal> {
        let came = |flag: &Arc<AtomicBool>| flag.swap(false, Ordering::Relaxed);
        let (_, signal) = self.flags.iter().zip(ALL).find(|(flag, _)| came(flag))?.1;
        // The flag is raised before the byte is written: one that is left behind goes with the next.
        let mut buffer = [0; 64];
        while matches!(self.reader.read(&mut buffer), Ok(1..)) {}
        Some(signal)
    }
}
