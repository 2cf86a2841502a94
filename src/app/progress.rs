//! How far every torrent is: bars on a terminal, lines in a pipe.

use super::logging;
use super::text::{self, percent, size};
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
/// Of a terminal with fewer columns than this the bar takes less, so that status and percent are seen.
const NARROW: usize = 60;
const BAR_CELLS_NARROW: usize = 8;

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
            logging::set_foot(&foot(reports, width()));
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

/// `age.txt  peer  67%  2.0 MB/3.0 MB  down 250.0 kB/s  up 1.0 kB/s  peers 3  eta 4s`
#[must_use]
pub fn line(report: &Report) -> String {
    format!("{}  {}", report.name, figures(report))
}

/// What a line says behind the name.
fn figures(report: &Report) -> String {
    let Report { status, have, length, down_rate, up_rate, peers, .. } = report;
    if *status == Status::Metadata {
        return format!("{status}  peers {peers}");
    }
    let eta = match length.saturating_sub(*have).checked_div(*down_rate) {
        Some(seconds) if have < length => format!("  eta {}", span(seconds)),
        _ => String::new(),
    };
    format!(
        "{status}  {}%  {}/{}  down {}/s  up {}/s  peers {peers}{eta}",
        percent(*have, *length),
        size(*have),
        size(*length),
        size(*down_rate),
        size(*up_rate),
    )
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3_600),
    }
}

fn foot(reports: &[Report], width: usize) -> String {
    let mut order: Vec<&Report> = reports.iter().collect();
    let rate = |r: &Report| core::cmp::Reverse(r.down_rate + r.up_rate);
    order.sort_unstable_by_key(|r| (r.have == r.length, rate(r), r.id));
    let mut text = String::new();
    for report in order.iter().take(BARS_MAX) {
        text.push_str(&bar(report, width));
        text.push('\n');
    }
    if order.len() > BARS_MAX {
        let rest = &order[BARS_MAX..];
        let (down, up) =
            (rest.iter().map(|r| r.down_rate).sum(), rest.iter().map(|r| r.up_rate).sum());
        let line = format!("and {} more  down {}/s  up {}/s", rest.len(), size(down), size(up));
        text.push_str(text::head(&line, width));
        text.push('\n');
    }
    text
}

/// `[########....] age.txt  peer  67% ...` in one row: a row that the terminal breaks would stay
/// when the foot is taken away. Of a long name the middle is left out before any figure is.
fn bar(report: &Report, width: usize) -> String {
    let cells = if width < NARROW { BAR_CELLS_NARROW } else { BAR_CELLS };
    let filled = match report.status {
        Status::Metadata => 0,
        _ => percent(report.have, report.length) as usize * cells / 100,
    };
    let bar: String = (0..cells).map(|i| if i < filled { '#' } else { '.' }).collect();
    let figures = figures(report);
    let left = width.saturating_sub(cells + "[] ".len() + "  ".len() + text::columns(&figures));
    let name = text::middle(&report.name, left.max(width / 4));
    text::head(&format!("[{bar}] {name}  {figures}"), width).to_owned()
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

    fn report(name: &str) -> Report {
        Report {
            id: crate::units::id::SwarmId(0),
            info_hash: crate::units::id::InfoHash([0; 20]),
            name: name.into(),
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
        }
    }

    #[test]
    fn a_line_says_it_all() {
        let expected =
            "age.txt  peer  66%  2.0 MB/3.0 MB  down 250.0 kB/s  up 999 B/s  peers 3  eta 4s";
        assert_eq!(line(&report("age.txt")), expected);
    }

    #[test]
    fn a_bar_has_one_row_with_status_and_percent_whatever_the_name() {
        let names = [
            "a".to_owned(),
            "x".repeat(200) + ".iso",
            "\u{65e5}\u{672c}\u{8a9e}".repeat(40),
            "e\u{301}".repeat(100),
        ];
        for name in &names {
            for width in [19, 39, 59, 60, 79, 131] {
                let bar = bar(&report(name), width);
                assert!(text::columns(&bar) <= width, "{width}: {bar}");
                assert!(width < 39 || bar.contains("  peer  66%"), "{width}: {bar}");
            }
        }
        let row = "[#####...] disc-00~1.iso  peer  66%  2.";
        assert_eq!(bar(&report("disc-0000001.iso"), 39).len(), row.len());
        let wide = bar(&report("disc-0000001.iso"), 200);
        assert!(wide.starts_with("[#############.......] disc-0000001.iso  peer"), "{wide}");
    }
}
