//! The log: lines on stderr, and in a file if the user wants one.

use log::LevelFilter;
use simplelog::{Config, ConfigBuilder, WriteLogger};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The log file, if there is one.
static FILE: OnceLock<Mutex<LogFile>> = OnceLock::new();
/// What stands at the foot of the terminal, which log lines must not tear.
static FOOT: Mutex<Foot> = Mutex::new(Foot { bars: String::new(), prompt: String::new() });

/// The bars, each on a line, and below them the line that is being typed.
struct Foot {
    bars: String,
    prompt: String,
}

impl Foot {
    /// What draws it.
    fn text(&self) -> String {
        format!("{}{}", self.bars, self.prompt)
    }

    /// What takes it away.
    fn clear(&self) -> String {
        match (self.bars.matches('\n').count(), self.prompt.is_empty()) {
            (0, true) => String::new(),
            (0, false) => "\r\x1b[J".to_owned(),
            (up, _) => format!("\r\x1b[{up}A\x1b[J"),
        }
    }
}

/// Starts logging. Nothing below `level` is said.
///
/// # Errors
/// When the log file cannot be written.
pub fn start(level: LevelFilter, file: Option<&Path>) -> io::Result<()> {
    if let Some(path) = file {
        let opened = LogFile { path: path.to_owned(), file: open(path)? };
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
        log::warn!("{}: {error}; logging into the old file", path.display());
    }
}

/// Draws these bars at the foot of the terminal; empty takes them away.
pub fn set_foot(bars: &str) {
    redraw(|foot| bars.clone_into(&mut foot.bars));
}

/// Draws this line below the bars; empty takes it away.
pub fn set_prompt(prompt: &str) {
    redraw(|foot| prompt.clone_into(&mut foot.prompt));
}

/// Prints results to standard output, above the foot.
pub fn print(text: &str) {
    let Ok(foot) = FOOT.lock() else { return };
    let mut stderr = io::stderr().lock();
    let mut stdout = io::stdout().lock();
    // Who has closed either of them reads nothing more.
    let _ = write!(stderr, "{}", foot.clear()).and_then(|()| stderr.flush());
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    let _ = write!(stderr, "{}", foot.text()).and_then(|()| stderr.flush());
}

fn redraw(change: impl FnOnce(&mut Foot)) {
    let Ok(mut foot) = FOOT.lock() else { return };
    let before = foot.clear();
    change(&mut foot);
    let mut stderr = io::stderr().lock();
    // A terminal that is gone shows nothing more.
    let _ = write!(stderr, "{before}{}", foot.text()).and_then(|()| stderr.flush());
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The log file, which can be opened anew.
struct LogFile {
    path: PathBuf,
    file: File,
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
            // A standard error that is closed and a full disk must not cost the other its line.
            let _ = above_foot(&self.0);
            if let Some(Ok(mut log)) = FILE.get().map(Mutex::lock) {
                let _ = log.file.write_all(&self.0);
            }
            self.0.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn above_foot(line: &[u8]) -> io::Result<()> {
    let Ok(foot) = FOOT.lock() else { return Ok(()) };
    let mut stderr = io::stderr().lock();
    stderr.write_all(foot.clear().as_bytes())?;
    stderr.write_all(line)?;
    stderr.write_all(foot.text().as_bytes())
}
