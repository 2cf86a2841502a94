//! The log: lines on stderr, and in a file if the user wants one.

use log::LevelFilter;
use simplelog::{
    ColorChoice, CombinedLogger, Config, ConfigBuilder, SharedLogger, TermLogger, TerminalMode,
    WriteLogger,
};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The log file, if there is one.
static FILE: OnceLock<Mutex<LogFile>> = OnceLock::new();
/// The line at the foot of the terminal, which log lines must not tear.
static FOOT: OnceLock<Mutex<String>> = OnceLock::new();

/// Starts logging. Nothing below `level` is said.
///
/// # Errors
/// When the log file cannot be written.
pub fn start(level: LevelFilter, file: Option<&Path>) -> io::Result<()> {
    let mut loggers: Vec<Box<dyn SharedLogger>> = Vec::new();
    if io::stderr().is_terminal() {
        loggers.push(WriteLogger::new(level, config(), AboveFoot));
    } else {
        // Into a pipe or a file: no colours, no cursor movements.
        loggers.push(TermLogger::new(level, config(), TerminalMode::Stderr, ColorChoice::Never));
    }
    if let Some(path) = file {
        let opened = LogFile { path: path.to_owned(), file: open(path)? };
        // Only the first start counts: there is one log.
        let _ = FILE.set(Mutex::new(opened));
        loggers.push(WriteLogger::new(level, config(), IntoFile));
    }
    CombinedLogger::init(loggers).map_err(io::Error::other)
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

/// Draws `text` as the foot of the terminal; empty takes it away.
pub fn set_foot(text: &str) {
    let foot = FOOT.get_or_init(Mutex::default);
    let Ok(mut foot) = foot.lock() else { return };
    let mut stderr = io::stderr().lock();
    let drawn = write!(stderr, "{}{text}", clear(&foot)).and_then(|()| stderr.flush());
    // A terminal that is gone shows nothing more.
    if drawn.is_ok() {
        text.clone_into(&mut foot);
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The log file, which can be opened anew.
struct LogFile {
    path: PathBuf,
    file: File,
}

/// Writes lines into the log file of now.
struct IntoFile;

impl Write for IntoFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match FILE.get().map(Mutex::lock) {
            Some(Ok(mut log)) => log.file.write(bytes),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

/// What takes a foot of several lines away.
fn clear(foot: &str) -> String {
    let up = foot.matches('\n').count();
    if foot.is_empty() {
        String::new()
    } else if up == 0 {
        "\r\x1b[J".to_owned()
    } else {
        format!("\r\x1b[{up}A\x1b[J")
    }
}

/// Writes lines above the foot.
struct AboveFoot;

impl Write for AboveFoot {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let foot = FOOT.get_or_init(Mutex::default).lock();
        let foot = foot.map(|foot| foot.clone()).unwrap_or_default();
        // The logger writes a line in parts: the foot comes back with the last of them.
        let mut stderr = io::stderr().lock();
        if foot.is_empty() {
            return stderr.write(bytes);
        }
        stderr.write_all(clear(&foot).as_bytes())?;
        stderr.write_all(bytes)?;
        if bytes.ends_with(b"\n") {
            stderr.write_all(foot.as_bytes())?;
        } else if let Some(lock) = FOOT.get() {
            if let Ok(mut foot) = lock.lock() {
                foot.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
