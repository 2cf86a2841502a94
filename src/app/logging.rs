//! The log: lines on stderr, and in a file if the user wants one; and the results on stdout beside
//! it. Nobody waits here for whoever reads them.

use super::outlet::Outlet;
use log::LevelFilter;
use simplelog::{Config, ConfigBuilder, WriteLogger};
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The log file, if there is one.
static FILE: OnceLock<Mutex<LogFile>> = OnceLock::new();
/// The two streams, which log lines, results and bars share.
static STREAMS: Mutex<Streams> = Mutex::new(Streams {
    stderr: Outlet::new(),
    stdout: Outlet::new(),
    bars: String::new(),
    prompt: String::new(),
    drawn: String::new(),
});
/// At the end, a reader who is late has so long to take what waits.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Between two looks whether it has.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Standard error with the foot of the terminal, which log lines must not tear; and standard output.
struct Streams {
    stderr: Outlet,
    stdout: Outlet,
    /// The bars, each on a line, and below them the line that is being typed.
    bars: String,
    prompt: String,
    /// What of both is on the terminal.
    drawn: String,
}

impl Streams {
    /// Writes a line above the foot, which may have changed.
    fn above_foot(&mut self, line: &[u8]) {
        let foot = format!("{}{}", self.bars, self.prompt);
        let text = [clear(&self.drawn).as_bytes(), line, foot.as_bytes()].concat();
        if self.stderr.put(&text, io::stderr()) {
            self.drawn = foot;
        }
    }

    /// Draws the foot anew, if the terminal takes it now: what is late is not worth drawing.
    fn redraw(&mut self) {
        self.stderr.flush(io::stderr());
        let nothing = [&self.drawn, &self.bars, &self.prompt].iter().all(|part| part.is_empty());
        if !self.stderr.is_behind() && !nothing {
            self.above_foot(b"");
        }
    }
}

/// What takes a drawn foot away.
fn clear(drawn: &str) -> String {
    match (drawn.matches('\n').count(), drawn.is_empty()) {
        (_, true) => String::new(),
        (0, false) => "\r\x1b[J".to_owned(),
        (up, false) => format!("\r\x1b[{up}A\x1b[J"),
    }
}

/// Starts logging. Nothing below `level` is said.
///
/// # Errors
/// When the log file cannot be written.
pub fn start(level: LevelFilter, file: Option<&Path>) -> io::Result<()> {
    if let Some(path) = file {
        let opened = LogFile { path: path.to_owned(), file: open(path)?, outlet: Outlet::new() };
        // Only the first start counts: there is one log.
        let _ = FILE.set(Mutex::new(opened));
    }
    WriteLogger::init(level, config(), Lines(Vec::new())).map_err(io::Error::other)
}

/// Opens the log file anew: whoever rotates logs has renamed it and sends SIGHUP.
pub fn reopen() {
    let Some(Ok(mut log)) = FILE.get().map(Mutex::lock) else { return };
    let reopened = open(&log.path).map(|file| log.file = file);
    let path = log.path.clone();
    drop(log);
    if let Err(error) = reopened {
        log::warn!("{}: {error}; logging into the old file", super::text::shown(&path));
    }
}

/// Draws these bars at the foot of the terminal; empty takes them away.
pub fn set_foot(bars: &str) {
    let Ok(mut streams) = STREAMS.lock() else { return };
    bars.clone_into(&mut streams.bars);
    streams.redraw();
}

/// Draws this line below the bars; empty takes it away.
pub fn set_prompt(prompt: &str) {
    let Ok(mut streams) = STREAMS.lock() else { return };
    prompt.clone_into(&mut streams.prompt);
    streams.redraw();
}

/// Prints results to standard output, above the foot.
pub fn print(text: &str) {
    let Ok(mut streams) = STREAMS.lock() else { return };
    let (bars, prompt) = (mem::take(&mut streams.bars), mem::take(&mut streams.prompt));
    streams.redraw();
    // Left out is counted, and told by [`catch_up`].
    let _ = streams.stdout.put(text.as_bytes(), io::stdout());
    (streams.bars, streams.prompt) = (bars, prompt);
    streams.redraw();
}

/// Writes what waited for a reader or for room on a disk, and tells what was left out. Returns the
/// number of lines that standard output lacks, if that can be said now: it is for whoever prints there to say.
pub fn catch_up() -> Option<u64> {
    let mut gaps = Vec::new();
    let mut printed = None;
    if let Ok(mut streams) = STREAMS.lock() {
        let Streams { stderr, stdout, .. } = &mut *streams;
        stderr.flush(io::stderr());
        stdout.flush(io::stdout());
        printed = stdout.take_left_out();
        gaps.extend(stderr.take_left_out().map(|lines| ("standard error was not read", lines)));
    }
    if let Some(Ok(mut log)) = FILE.get().map(Mutex::lock) {
        let LogFile { file, outlet, .. } = &mut *log;
        outlet.flush(&*file);
        gaps.extend(outlet.take_left_out().map(|lines| ("the log file had no room", lines)));
    }
    for (why, lines) in gaps {
        log::warn!("{why}: {lines} lines are left out there");
    }
    printed
}

/// Whether [`catch_up`] has something to do.
#[must_use]
pub fn is_behind() -> bool {
    let streams = STREAMS.lock();
    let file = FILE.get().map(Mutex::lock);
    streams.is_ok_and(|streams| streams.stderr.is_behind() || streams.stdout.is_behind())
        || matches!(file, Some(Ok(log)) if log.outlet.is_behind())
}

/// At the end of the process: gives readers a moment to take what waits.
pub fn finish() {
    let deadline = Instant::now() + LAST_WAIT;
    while is_behind() && Instant::now() < deadline {
        catch_up();
        std::thread::sleep(LAST_LOOK);
    }
}

/// A line on standard error that is no part of the log.
pub fn say(line: &str) {
    if let Ok(mut streams) = STREAMS.lock() {
        streams.above_foot(line.as_bytes());
    }
}

/// Why it ends, on standard error and in the log file, if there is one: whoever runs it by a script
/// looks there first.
pub fn say_last(line: &str) {
    say(line);
    if let Some(Ok(mut log)) = FILE.get().map(Mutex::lock) {
        log.put(line.as_bytes());
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The log file, which can be opened anew.
struct LogFile {
    path: PathBuf,
    file: File,
    outlet: Outlet,
}

impl LogFile {
    fn put(&mut self, line: &[u8]) {
        // Left out is counted, and told by [`catch_up`].
        let _ = self.outlet.put(line, &self.file);
    }
}

fn config() -> Config {
    let mut config = ConfigBuilder::new();
    config
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off);
    // Without a time zone the times are UTC; the lines are as good.
    let _ = config.set_time_offset_to_local();
    config.build()
}

/// Writes whole lines above the foot and into the log file; the logger writes a line in parts.
struct Lines(Vec<u8>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.ends_with(b"\n") {
            if let Ok(mut streams) = STREAMS.lock() {
                streams.above_foot(&self.0);
            }
            if let Some(Ok(mut log)) = FILE.get().map(Mutex::lock) {
                log.put(&self.0);
            }
            self.0.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
