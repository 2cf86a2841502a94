//! What happens as JSON on stdout, one object a line, for programs (`--json`).

use super::logging;
use crate::proto::output::{Event, Met};
use crate::proto::swarm::Report;
use crate::reactor::engine::Reactor;
use crate::units::id::SwarmId;
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Between two lines about one torrent.
const EVERY: Duration = Duration::from_secs(1);

/// The stream of lines; silent unless asked for.
#[derive(Debug)]
pub struct Stream {
    on: bool,
    next: Instant,
    last: Vec<Report>,
    /// Whose `started` is written.
    begun: BTreeSet<SwarmId>,
}

impl Stream {
    /// A stream to stdout, if `on`.
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on, next: Instant::now(), last: Vec::new(), begun: BTreeSet::new() }
    }

    /// Whether it is time to look for changes.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.on && Instant::now() >= self.next
    }

    /// Writes a line for each torrent that has changed since the last call.
    pub fn show(&mut self, reports: &[Report]) {
        if !self.on {
            return;
        }
        self.next = Instant::now() + EVERY;
        let last = core::mem::take(&mut self.last);
        for report in reports.iter().filter(|report| !last.contains(report)) {
            let begun = self.begin(report);
            begun.iter().chain([&status(report)]).for_each(Self::write);
        }
        self.begun.retain(|id| reports.iter().any(|report| report.id == *id));
        self.last = reports.to_vec();
    }

    /// Writes a line for an event that programs wait for.
    pub fn tell(&mut self, reactor: &mut Reactor, event: &Event) {
        if !self.on {
            return;
        }
        let is_meant = |report: &Report| match event {
            Event::Completed(id) | Event::Failed(id, _) | Event::StatusChanged(id, _) => {
                report.id == *id
            }
            Event::Connected(met) | Event::Lost(met, _) => report.info_hash == met.info_hash,
            _ => false,
        };
        let is_told = matches!(
            event,
            Event::Completed(_)
                | Event::Failed(..)
                | Event::StatusChanged(..)
                | Event::Connected(_)
                | Event::Lost(..)
        );
        if !is_told {
            return;
        }
        let now = reactor.now();
        let report = reactor.peer().report(now).into_iter().find(is_meant);
        self.lines(event, report.as_ref()).iter().for_each(Self::write);
    }

    /// The lines for an event, `report` of its torrent, if that is here still. `started` comes before
    /// all else that is told of a torrent.
    fn lines(&mut self, event: &Event, report: Option<&Report>) -> Vec<Value> {
        let begun = report.and_then(|report| self.begin(report));
        begun.into_iter().chain(told(event, report)).collect()
    }

    /// The line with which a torrent begins, if it is not written yet.
    fn begin(&mut self, report: &Report) -> Option<Value> {
        self.begun.insert(report.id).then(|| started(report))
    }

    /// Says that the reader was so late that these lines were left out.
    pub fn tell_gap(&mut self, lines: u64) {
        if self.on {
            Self::write(&json!({ "event": "left_out", "lines": lines }));
        }
    }

    fn write(line: &Value) {
        logging::print(&format!("{line}\n"));
    }
}

/// The line for an event; `report` is of its torrent, if that is here still.
fn told(event: &Event, report: Option<&Report>) -> Option<Value> {
    Some(match event {
        Event::Completed(_) => named("complete", report?),
        Event::Failed(_, why) => {
            let mut line = named("failed", report?);
            line["error"] = json!(why);
            line
        }
        Event::StatusChanged(..) => status(report?),
        Event::Connected(met) => peer("connected", met),
        Event::Lost(met, why) => {
            let mut line = peer("lost", met);
            line["reason"] = json!(why.to_string());
            line
        }
        _ => return None,
    })
}

fn named(event: &str, report: &Report) -> Value {
    json!({ "event": event, "name": report.name, "info_hash": report.info_hash.to_string() })
}

fn peer(event: &str, met: &Met) -> Value {
    json!({
        "event": event,
        "name": met.name,
        "info_hash": met.info_hash.to_string(),
        "address": met.remote.to_string(),
        "direction": if met.dialed { "out" } else { "in" },
    })
}

fn started(report: &Report) -> Value {
    let mut line = named("started", report);
    line["length"] = json!(report.length);
    line
}

fn status(report: &Report) -> Value {
    let mut line = named("status", report);
    line["status"] = json!(report.status.to_string());
    line["have"] = json!(report.have);
    line["length"] = json!(report.length);
    line["down_rate"] = json!(report.down_rate);
    line["up_rate"] = json!(report.up_rate);
    line["downloaded"] = json!(report.downloaded);
    line["uploaded"] = json!(report.uploaded);
    line["wasted"] = json!(report.wasted);
    line["peers"] = json!(report.peers);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::output::Status;
    use crate::units::id::InfoHash;

    fn met() -> Met {
        Met {
            info_hash: InfoHash([0xab; 20]),
            name: "a".into(),
            remote: "[::1]:5001".parse().expect("an address"),
            dialed: true,
        }
    }

    fn report() -> Report {
        Report {
            id: SwarmId(0),
            info_hash: InfoHash([0xab; 20]),
            name: "a\"b".into(),
            status: Status::Peer,
            have: 1,
            length: 2,
            verified: 2,
            down_rate: 3,
            up_rate: 4,
            downloaded: 5,
            uploaded: 6,
            wasted: 7,
            peers: 8,
        }
    }

    #[test]
    fn a_torrent_begins_with_started_whatever_comes_first() {
        let events = |lines: &[Value]| -> Vec<String> {
            lines.iter().map(|line| line["event"].as_str().unwrap_or_default().into()).collect()
        };
        // A peer dials while the content is being checked.
        let mut stream = Stream::new(true);
        let connected = Event::Connected(met());
        assert_eq!(events(&stream.lines(&connected, Some(&report()))), ["started", "connected"]);
        assert_eq!(events(&stream.lines(&connected, Some(&report()))), ["connected"]);
        let mut stream = Stream::new(true);
        let failed = Event::Failed(SwarmId(0), "why".into());
        assert_eq!(events(&stream.lines(&failed, Some(&report()))), ["started", "failed"]);
        assert_eq!(events(&stream.lines(&Event::Completed(SwarmId(0)), None)), [""; 0]);
    }

    #[test]
    fn a_peer_comes_in_one_object() {
        let expected = format!(
            "{{\"event\":\"lost\",\"name\":\"a\",\"info_hash\":\"{}\",\
             \"address\":\"[::1]:5001\",\"direction\":\"out\"}}",
            "ab".repeat(20)
        );
        assert_eq!(peer("lost", &met()).to_string(), expected);
    }

    #[test]
    fn a_status_line_is_one_object() {
        let hash = "ab".repeat(20);
        let expected = format!(
            "{{\"event\":\"status\",\"name\":\"a\\\"b\",\"info_hash\":\"{hash}\",\"status\":\"peer\",\
             \"have\":1,\"length\":2,\"down_rate\":3,\"up_rate\":4,\"downloaded\":5,\"uploaded\":6,\
             \"wasted\":7,\"peers\":8}}"
        );
        assert_eq!(status(&report()).to_string(), expected);
    }
}
