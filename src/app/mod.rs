//! What a person meets: the command line, the commands, the progress display.

pub mod catalogue;
pub mod check;
pub mod cli;
pub mod console;
pub mod control;
pub mod create;
pub mod desk;
pub mod get;
mod hosts;
pub mod logging;
mod outlet;
pub mod page;
pub mod progress;
pub mod run;
mod session;
pub mod share;
pub mod show;
pub mod stream;
pub mod text;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::units::limits::TORRENT_BYTES_MAX;
use crate::wire::magnet::Magnet;

/// Exit code: what was asked for is done.
pub const DONE: u8 = 0;

/// Why a command did not do what it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The listening port cannot be had, for this reason in one line.
    CannotListen(String),
    /// Nobody reads the results any more, as behind `head`: a quiet end.
    StdoutClosed,
    /// Nobody was met who has what is missing, in one line.
    NobodyHasIt(String),
    /// It failed, for this reason in one line.
    Failed(String),
    /// The command line or the torrent is no good, for this reason in one line.
    Refused(String),
}

impl Failure {
    /// The exit code for it.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::StdoutClosed => DONE,
            Self::Failed(_) => 1,
            Self::Refused(_) => 2,
            Self::NobodyHasIt(_) => 3,
            Self::CannotListen(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StdoutClosed => f.write_str("standard output is closed"),
            Self::CannotListen(line)
            | Self::Failed(line)
            | Self::NobodyHasIt(line)
            | Self::Refused(line) => f.write_str(line),
        }
    }
}

/// From writing results; errors of other files are told with their names.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::StdoutClosed,
            _ => Self::Failed(format!("cannot write the results: {error}")),
        }
    }
}

/// How the work ends.
#[derive(Debug)]
pub enum Ending {
    /// All that was asked for is there.
    Done,
    /// It cannot be done.
    Failed(Failure),
    /// By a signal.
    Interrupted,
}

/// The bytes of a .torrent file that someone named.
///
/// # Errors
/// [`Failure::Refused`] if it cannot be read or is larger than any torrent may be.
pub fn read_torrent(path: &Path) -> Result<Vec<u8>, Failure> {
    let refused =
        |what: &dyn fmt::Display| Failure::Refused(format!("{}: {what}", text::shown(path)));
    if path.to_str().is_some_and(Magnet::is_magnet) {
        return Err(refused(&"a .torrent file is needed here, not a magnet link"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TORRENT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(&error))?;
    if bytes.len() as u64 > TORRENT_BYTES_MAX {
        return Err(refused(&format_args!("it is larger than {TORRENT_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
