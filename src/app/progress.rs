//! How far every torrent is: bars on a terminal, lines in a pipe.

use super::logging;
use crate::proto::output::Status;
use crate::proto::swarm::Report;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Between two drawings on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// Between two lines of one torrent in a pipe.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Torrents with a bar of their own; the others are summed up.
const BARS_MAX: usize = 5;
const BAR_CELLS: usize = 20;

/// The display.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    quiet: bool,
    next: Instant,
    last: Vec<(String, Status)>,
}

impl Progress {
    /// A display on stderr; none where `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb;
        Self { terminal, quiet, next: Instant::now(), last: Vec::new() }
    }

    /// How long the display can wait.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if self.quiet {
            return Duration::MAX;
        }
        let most = if self.terminal { DRAW_EVERY } else { LINE_EVERY };
        self.next.saturating_duration_since(Instant::now()).min(most)
    }

    /// Whether something is to be shown now: the time has come, or a status has changed.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.quiet && Instant::now() >= self.next
    }

    /// Shows the reports.
    pub fn show(&mut self, reports: &[Report]) {
        if self.quiet {
            return;
        }
        if self.terminal {
            self.next = Instant::now() + DRAW_EVERY;
            logging::set_foot(&foot(reports));
            return;
        }
        self.next = Instant::now() + LINE_EVERY;
        for report in reports {
            let key = (report.name.clone(), report.status);
            let busy = report.down_rate > 0 || report.up_rate > 0;
            if busy || !self.last.contains(&key) {
                log::info!("{}", line(report));
            }
        }
        self.last = reports.iter().map(|r| (r.name.clone(), r.status)).collect();
    }

    /// Shows every report once, whatever was shown before.
    pub fn show_all(&mut self, reports: &[Report]) {
        reports.iter().for_each(|report| log::info!("{}", line(report)));
    }

    /// Takes the display away.
    pub fn clear(&mut self) {
        if self.terminal && !self.quiet {
            logging::set_foot("");
        }
    }
}

/// `age.txt  67%  2.0/3.0 MB  down 250 kB/s  up 1 kB/s  peers 3  peer  eta 4s`
#[must_use]
pub fn line(report: &Report) -> String {
    let Report { name, status, have, length, down_rate, up_rate, peers, .. } = report;
    if *status == Status::Metadata {
        return format!("{name}  {status}  peers {peers}");
    }
    let eta = match length.saturating_sub(*have).checked_div(*down_rate) {
        Some(seconds) if have < length => format!("  eta {}", span(seconds)),
        _ => String::new(),
    };
    format!(
        "{name}  {status}  {}%  {}/{}  down {}/s  up {}/s  peers {peers}{eta}",
        percent(*have, *length),
        bytes(*have),
        bytes(*length),
        bytes(*down_rate),
        bytes(*up_rate),
    )
}

/// Bytes for people, in powers of ten.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut unit = 0;
    let mut scaled = count;
    while scaled >= 1_000_000 {
        scaled /= 1_000;
        unit += 1;
    }
    let names = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if scaled < 1_000 {
        return format!("{scaled} {}", names[unit]);
    }
    format!("{}.{} {}", scaled / 1_000, scaled % 1_000 / 100, names[unit + 1])
}

fn percent(have: u64, length: u64) -> u64 {
    // 100 only when it is all there.
    (u128::from(have) * 100).checked_div(u128::from(length)).map_or(100, |p| p as u64)
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3_600),
    }
}

fn foot(reports: &[Report]) -> String {
    let mut order: Vec<&Report> = reports.iter().collect();
    let rate = |r: &Report| core::cmp::Reverse(r.down_rate + r.up_rate);
    order.sort_unstable_by_key(|r| (r.have == r.length, rate(r), r.id));
    let mut text = String::new();
    for report in order.iter().take(BARS_MAX) {
        let known = report.status != Status::Metadata;
        let filled = percent(report.have, report.length) as usize * BAR_CELLS / 100;
        let filled = if known { filled } else { 0 };
        let bar: String = (0..BAR_CELLS).map(|i| if i < filled { '#' } else { '.' }).collect();
        let line: String = format!("[{bar}] {}", line(report)).chars().take(width()).collect();
        text.push_str(&line);
        text.push('\n');
    }
    if order.len() > BARS_MAX {
        let rest = &order[BARS_MAX..];
        let (down, up) =
            (rest.iter().map(|r| r.down_rate).sum(), rest.iter().map(|r| r.up_rate).sum());
        text.push_str(&format!(
            "and {} more  down {}/s  up {}/s\n",
            rest.len(),
            bytes(down),
            bytes(up)
        ));
    }
    text
}

/// Columns of the terminal that the log is on, but one.
pub(super) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    match size {
        // A terminal that was never told its size.
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).max(20) - 1,
        _ => 79,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_it_all() {
        let report = Report {
            id: crate::units::id::SwarmId(0),
            info_hash: crate::units::id::InfoHash([0; 20]),
            name: "age.txt".into(),
            status: Status::Peer,
            have: 2_000_000,
            length: 3_000_000,
            verified: 3_000_000,
            down_rate: 250_000,
            up_rate: 999,
            downloaded: 0,
            uploaded: 0,
            wasted: 0,
            peers: 3,
        };
        let expected =
            "age.txt  peer  66%  2.0 MB/3.0 MB  down 250.0 kB/s  up 999 B/s  peers 3  eta 4s";
        assert_eq!(line(&report), expected);
        assert_eq!(bytes(20_000_000_000), "20.0 GB");
        assert_eq!(percent(0, 0), 100);
    }
}
