//! When to announce a torrent to which tracker (BEP 3, 12), as a state machine without sockets.
//!
//! One announce is under way at a time. A tier's trackers are tried in order; one that answers
//! goes to the front of its tier, and only if a whole tier fails is the next one asked (BEP 12).

use crate::units::id::{InfoHash, PeerId};
use crate::units::rng::Rng;
use crate::units::time::{Duration, Instant};
use crate::wire::address::{Announce, AnnounceError, HostPort};
use crate::wire::announce::{self, AnnounceRequest, Event};
use crate::wire::http;
use core::net::SocketAddr;
use std::collections::VecDeque;

/// Redirections followed for one announce.
const REDIRECTS_MAX: u32 = 5;
/// A LAN's tracker is asked again this soon: a refused connection costs nothing there, and a
/// class waits for the tracker that somebody starts late.
const LAN_PAUSE: Duration = Duration::from_millis(1_000);
/// The same, once it has been away for [`LAN_PATIENCE`].
const LAN_PAUSE_LATER: Duration = Duration::from_secs(5);
const LAN_PATIENCE: Duration = Duration::from_secs(120);
/// First and longest pause for a tracker elsewhere.
const FAR_PAUSE: Duration = Duration::from_secs(1);
const FAR_PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// What a tracker may make us wait.
const INTERVAL_LEAST: Duration = Duration::from_secs(5);
const INTERVAL_MOST: Duration = Duration::from_secs(60 * 60);
/// Peers asked for in one announce.
const NUMWANT: usize = 100;

/// What an announce tells about us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Who we are.
    pub peer_id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// Bytes sent in all runs.
    pub uploaded: u64,
    /// Bytes received in all runs.
    pub downloaded: u64,
    /// Bytes missing.
    pub left: u64,
}

/// An announce to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whom to dial.
    pub target: HostPort,
}

/// What an answer has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The answer has more to come.
    NeedMore,
    /// The tracker's peers.
    Done(Vec<SocketAddr>),
    /// The tracker says no, or speaks no sense.
    Failed(String),
    /// The tracker is elsewhere; [`Announcer::poll`] has the next attempt at once.
    Redirect,
}

#[derive(Clone, Debug)]
struct Tracker {
    announce: Announce,
    /// It is ourselves (A5).
    own: bool,
    /// It has taken our `started`.
    knows_us: bool,
}

/// The announces of one torrent.
#[derive(Debug)]
pub struct Announcer {
    tiers: Vec<Vec<Tracker>>,
    /// The tracker to ask next: tier, place in it.
    at: (usize, usize),
    /// `None`: nothing to do until somebody asks for it.
    next: Option<Instant>,
    /// Not before this (BEP 3 `min interval`), but for events.
    not_before: Instant,
    in_flight: bool,
    /// Where a redirection has led the announce in flight.
    redirected: Option<Announce>,
    redirects: u32,
    events: VecDeque<Event>,
    stopping: bool,
    /// Rounds over all tiers that failed, and since when.
    failures: u32,
    failing_since: Option<Instant>,
    jitter: Rng,
}

impl Announcer {
    /// The trackers of a torrent, and what is wrong with those that cannot be used. An
    /// `announce-list` replaces `announce` (BEP 12), but a bare `announce` is asked before it.
    #[must_use]
    pub fn new(
        announce: Option<&str>,
        announce_list: &[Vec<String>],
        rng: &mut Rng,
    ) -> (Self, Vec<String>) {
        let mut errors = Vec::new();
        let mut read = |text: &str| match Announce::parse(text) {
            Ok(announce) => Some(Tracker { announce, own: false, knows_us: false }),
            Err(error) => {
                errors.push(describe(text, &error));
                None
            }
        };
        let mut tiers: Vec<Vec<Tracker>> = Vec::new();
        for texts in announce_list {
            let mut tier: Vec<Tracker> = texts.iter().filter_map(|text| read(text)).collect();
            // BEP 12: the trackers of a tier are shuffled once.
            rng.shuffle(&mut tier);
            tiers.push(tier);
        }
        tiers.retain(|tier| !tier.is_empty());
        let single = announce.filter(|text| !text.is_empty()).and_then(&mut read);
        if let Some(single) = single.filter(|s| s.announce.bare || tiers.is_empty()) {
            tiers.iter_mut().for_each(|t| t.retain(|t| t.announce.url != single.announce.url));
            tiers.retain(|tier| !tier.is_empty());
            tiers.insert(0, vec![single]);
        }
        let announcer = Self {
            tiers,
            at: (0, 0),
            next: None,
            not_before: Instant::ORIGIN,
            in_flight: false,
            redirected: None,
            redirects: 0,
            events: VecDeque::new(),
            stopping: false,
            failures: 0,
            failing_since: None,
            jitter: Rng::new(rng.next_u64()),
        };
        (announcer, errors)
    }

    /// The hosts of bare announces: each is a peer as well.
    pub fn bare_peers(&self) -> impl Iterator<Item = &HostPort> {
        let all = self.tiers.iter().flatten().filter(|t| t.announce.bare);
        all.map(|t| &t.announce.target)
    }

    /// The torrent starts: `started` goes out, again and again until one tracker has taken it.
    pub fn start(&mut self, now: Instant) {
        self.next = (!self.tiers.is_empty()).then_some(now);
    }

    /// When [`Announcer::poll`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.in_flight && self.redirected.is_none() {
            return None;
        }
        self.next
    }

    /// An announce that is due, unless one is under way.
    pub fn poll(&mut self, now: Instant) -> Option<Attempt> {
        if self.poll_timeout()? > now {
            return None;
        }
        if self.in_flight {
            // The redirection is taken up; its failure is a failure of the announce.
            self.next = None;
            let target = self.redirected.as_ref()?.target.clone();
            return Some(Attempt { target });
        }
        let (tier, place) = self.at;
        let target = self.tiers.get(tier)?.get(place)?.announce.target.clone();
        self.in_flight = true;
        self.next = None;
        Some(Attempt { target })
    }

    /// The bytes of the announce that is under way.
    #[must_use]
    pub fn request(&self, stats: &Stats) -> Vec<u8> {
        let Some(tracker) = self.current() else { return Vec::new() };
        let announce = self.redirected.as_ref().unwrap_or(&tracker.announce);
        let event = self.event(tracker);
        let query = announce::build_query(&AnnounceRequest {
            info_hash: stats.info_hash,
            peer_id: stats.peer_id,
            port: stats.port,
            uploaded: stats.uploaded,
            downloaded: stats.downloaded,
            left: stats.left,
            event,
            compact: true,
            no_peer_id: true,
            numwant: Some(if event == Event::Stopped { 0 } else { NUMWANT }),
            key: None,
        });
        let join = if announce.path.contains('?') { '&' } else { '?' };
        http::get(&announce.target, &format!("{}{join}{query}", announce.path))
    }

    /// More of the answer is there: `bytes` is all of it so far. `closed`: no more will come.
    pub fn handle_answer(&mut self, now: Instant, bytes: &[u8], closed: bool) -> Progress {
        let response = match http::parse_response(bytes, closed) {
            Ok(None) => return Progress::NeedMore,
            Ok(Some(response)) => response,
            Err(error) => return self.refused(now, error.to_string()),
        };
        if let (300..=399, Some(location)) = (response.status, &response.location) {
            return self.redirect(now, location);
        }
        match announce::parse_answer(&response.body) {
            Ok(answer) => {
                if let Some(warning) = &answer.warning {
                    log::warn!("tracker warns: {warning}");
                }
                self.answered(now, answer.interval, answer.min_interval);
                Progress::Done(answer.peers)
            }
            Err(_) if response.status != 200 => {
                self.refused(now, format!("HTTP status {}", response.status))
            }
            Err(error) => self.refused(now, error.to_string()),
        }
    }

    /// The announce under way came to nothing; the next tracker is asked at once, or the first
    /// one again after a pause.
    pub fn handle_failure(&mut self, now: Instant, _why: &str) {
        let lan = self.current().is_some_and(|t| t.announce.is_lan());
        self.in_flight = false;
        self.redirected = None;
        self.redirects = 0;
        if self.stopping {
            // BEP 3 asks to say stopped, not to insist.
            self.next = None;
            return;
        }
        self.advance();
        if self.at != (0, 0) {
            self.next = Some(now);
            return;
        }
        let since = *self.failing_since.get_or_insert(now);
        self.failures += 1;
        let pause = if lan || self.tiers.iter().flatten().any(|t| t.announce.is_lan()) {
            if now - since < LAN_PATIENCE { LAN_PAUSE } else { LAN_PAUSE_LATER }
        } else {
            let doubled = FAR_PAUSE * (1 << (self.failures - 1).min(11));
            let jitter = Duration::from_millis(self.jitter.below(1 + doubled.as_millis() as u64 / 4));
            doubled.min(FAR_PAUSE_MAX) + jitter
        };
        self.next = Some(now + pause);
    }

    /// The tracker is ourselves (A5): it is never asked again.
    pub fn handle_own(&mut self, now: Instant) {
        let (tier, place) = self.at;
        if let Some(tracker) = self.tiers.get_mut(tier).and_then(|t| t.get_mut(place)) {
            tracker.own = true;
        }
        self.in_flight = false;
        self.redirected = None;
        self.advance();
        let others = self.tiers.iter().flatten().any(|t| !t.own);
        // Where we are the first tracker the others hear of us all the same, once.
        self.next = (others && !self.stopping).then_some(now);
    }

    /// The last piece is verified: the tracker that knows us hears `completed`, exactly once.
    pub fn completed(&mut self, now: Instant) {
        if self.tiers.iter().flatten().any(|t| !t.own) {
            self.events.push_back(Event::Completed);
            if !self.in_flight {
                self.next = Some(self.next.map_or(now, |next| next.min(now)));
            }
        }
    }

    /// We are stopping: a tracker that knows us hears so, once.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.in_flight = false;
        self.redirected = None;
        self.events.clear();
        let known = self.tiers.iter().enumerate().find_map(|(tier, trackers)| {
            trackers.iter().position(|t| t.knows_us && !t.own).map(|place| (tier, place))
        });
        if let Some(at) = known {
            self.at = at;
            self.events.push_back(Event::Stopped);
        }
        self.next = known.map(|_| now);
    }

    /// All peers are gone: ask for others as soon as the tracker allows.
    pub fn want_peers(&mut self, now: Instant) {
        if let Some(next) = self.next {
            self.next = Some(next.min(self.not_before.max(now)));
        }
    }

    /// Whether no event waits to be told and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let untold = !self.events.is_empty() && self.next.is_some() && self.failures == 0;
        !self.in_flight && !untold
    }

    fn current(&self) -> Option<&Tracker> {
        self.tiers.get(self.at.0).and_then(|tier| tier.get(self.at.1))
    }

    fn event(&self, tracker: &Tracker) -> Event {
        match self.events.front() {
            Some(Event::Stopped) => Event::Stopped,
            _ if !tracker.knows_us => Event::Started,
            Some(&event) => event,
            None => Event::None,
        }
    }

    fn answered(&mut self, now: Instant, interval: Duration, min_interval: Option<Duration>) {
        let Some(tracker) = self.current() else { return };
        let told = self.event(tracker);
        let (tier, place) = self.at;
        if let Some(tier) = self.tiers.get_mut(tier) {
            // BEP 12: a tracker that answers goes to the front of its tier.
            tier[..=place].rotate_right(1);
            tier[0].knows_us = told != Event::Stopped;
        }
        if matches!(told, Event::Completed | Event::Stopped) {
            self.events.pop_front();
        }
        self.at = (0, 0);
        self.skip_own();
        self.in_flight = false;
        self.redirected = None;
        self.redirects = 0;
        self.failures = 0;
        self.failing_since = None;
        let interval = interval.clamp(INTERVAL_LEAST, INTERVAL_MOST);
        let least = min_interval.unwrap_or(interval / 2).clamp(INTERVAL_LEAST, INTERVAL_MOST);
        self.not_before = now + least.min(interval);
        self.next = match (self.stopping, self.events.is_empty()) {
            (true, _) => None,
            // An event that came meanwhile, for the tracker that now knows us.
            (false, false) => Some(now),
            (false, true) => Some(now + interval),
        };
    }

    fn refused(&mut self, now: Instant, why: String) -> Progress {
        self.handle_failure(now, &why);
        Progress::Failed(why)
    }

    fn redirect(&mut self, now: Instant, location: &str) -> Progress {
        let here = self.redirected.as_ref().or(self.current().map(|t| &t.announce));
        let text = match (location.strip_prefix('/'), here) {
            (Some(_), Some(here)) => format!("http://{}{location}", here.target),
            _ => location.to_owned(),
        };
        match Announce::parse(&text) {
            Ok(to) if self.redirects < REDIRECTS_MAX && !to.bare => {
                // What we were asked to add to the query is in there; ours is added anew.
                let path = to.path.split("info_hash=").next().unwrap_or("/");
                let path = path.trim_end_matches(['&', '?']).to_owned();
                self.redirected = Some(Announce { path, ..to });
                self.redirects += 1;
                self.next = Some(now);
                Progress::Redirect
            }
            Ok(_) => self.refused(now, "too many redirections".to_owned()),
            Err(error) => self.refused(now, format!("redirected to nowhere: {error}")),
        }
    }

    /// To the next tracker; after the last one back to the first.
    fn advance(&mut self) {
        let (tier, place) = self.at;
        self.at = match self.tiers.get(tier) {
            Some(trackers) if place + 1 < trackers.len() => (tier, place + 1),
            Some(_) if tier + 1 < self.tiers.len() => (tier + 1, 0),
            _ => (0, 0),
        };
        if self.at != (0, 0) || self.current().is_some_and(|t| t.own) {
            self.skip_own();
        }
    }

    fn skip_own(&mut self) {
        let all = self.tiers.iter().map(Vec::len).sum::<usize>();
        for _ in 0..all {
            if !self.current().is_some_and(|t| t.own) {
                return;
            }
            let (tier, place) = self.at;
            let last = self.tiers.get(tier).is_none_or(|t| place + 1 >= t.len());
            self.at = match last {
                false => (tier, place + 1),
                true if tier + 1 < self.tiers.len() => (tier + 1, 0),
                true => (0, 0),
            };
        }
    }
}

fn describe(text: &str, error: &AnnounceError) -> String {
    format!("{}: {error}", crate::wire::address::printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: Stats = Stats {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
        port: 5000,
        uploaded: 0,
        downloaded: 0,
        left: 9,
    };

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn announcer(announce: &str, tiers: &[&[&str]]) -> Announcer {
        let own = |t: &&[&str]| t.iter().map(|&s| s.to_owned()).collect();
        let tiers: Vec<Vec<String>> = tiers.iter().map(own).collect();
        let (mut announcer, errors) = Announcer::new(Some(announce), &tiers, &mut Rng::new(1));
        assert_eq!(errors, [""; 0]);
        announcer.start(at(0));
        announcer
    }

    fn request(announcer: &Announcer) -> String {
        String::from_utf8(announcer.request(&STATS)).unwrap()
    }

    fn answer(announcer: &mut Announcer, now: u64) -> Progress {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\nd8:intervali60e5:peers6:\x0a\0\0\x01\x13\x88\
            12:min intervali3ee";
        let body = answer.len() - answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() - 4;
        let text = answer.to_vec();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").into_bytes();
        let whole = [head, text[text.len() - body..].to_vec()].concat();
        announcer.handle_answer(at(now), &whole, false)
    }

    #[test]
    fn started_then_intervals_then_completed_once_then_stopped() {
        let mut a = announcer("http://10.0.0.1:5000/announce", &[]);
        assert_eq!(a.poll(at(0)).unwrap().target.to_string(), "10.0.0.1:5000");
        assert!(request(&a).contains("event=started"), "{}", request(&a));
        assert_eq!(answer(&mut a, 5), Progress::Done(vec!["10.0.0.1:5000".parse().unwrap()]));
        assert_eq!(a.poll_timeout(), Some(at(60_005)));
        assert!(a.is_idle());
        a.completed(at(1_000));
        assert!(a.poll(at(1_000)).is_some() && !a.is_idle());
        assert!(request(&a).contains("event=completed"));
        answer(&mut a, 1_001);
        assert!(a.is_idle());
        a.poll(at(61_001)).unwrap();
        assert!(!request(&a).contains("event="));
        answer(&mut a, 61_002);
        a.stop(at(70_000));
        a.poll(at(70_000)).unwrap();
        assert!(request(&a).contains("event=stopped"));
        answer(&mut a, 70_001);
        assert!(a.is_idle() && a.poll_timeout().is_none());
    }

    #[test]
    fn a_late_tracker_on_the_lan_is_found_within_a_second() {
        let mut a = announcer("10.0.0.1", &[]);
        let mut now = 0;
        while now < 30_000 {
            a.poll(at(now)).unwrap();
            a.handle_failure(at(now), "refused");
            let next = a.poll_timeout().unwrap();
            assert!(next - at(now) <= Duration::from_secs(1));
            now = next.as_micros() / 1_000;
        }
        assert_eq!(a.bare_peers().count(), 1);
    }

    #[test]
    fn far_trackers_are_asked_ever_less_often() {
        let mut a = announcer("http://192.0.2.1/announce", &[]);
        let mut pauses = Vec::new();
        let mut now = at(0);
        for _ in 0..14 {
            a.poll(now).unwrap();
            a.handle_failure(now, "refused");
            let next = a.poll_timeout().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses[0] <= Duration::from_millis(1_250), "{pauses:?}");
        assert!(pauses[13] >= FAR_PAUSE_MAX && pauses[13] <= FAR_PAUSE_MAX * 2);
    }

    #[test]
    fn tiers_in_order_and_a_bare_announce_first() {
        let list: &[&[&str]] = &[&["http://192.0.2.1/a"], &["http://192.0.2.2/b"]];
        let mut url = announcer("http://192.0.2.9/x", list);
        assert_eq!(url.poll(at(0)).unwrap().target.to_string(), "192.0.2.1:80");
        url.handle_failure(at(0), "refused");
        assert_eq!(url.poll(at(0)).unwrap().target.to_string(), "192.0.2.2:80");
        let mut bare = announcer("10.0.0.9", list);
        assert_eq!(bare.poll(at(0)).unwrap().target.to_string(), "10.0.0.9:5000");
        bare.handle_own(at(0));
        assert_eq!(bare.poll(at(0)).unwrap().target.to_string(), "192.0.2.1:80");
        answer(&mut bare, 0);
        assert_eq!(bare.current().unwrap().announce.target.to_string(), "192.0.2.1:80");
        let mut only = announcer("10.0.0.9", &[]);
        only.poll(at(0)).unwrap();
        only.handle_own(at(0));
        assert_eq!(only.poll_timeout(), None);
        assert!(only.is_idle());
    }

    #[test]
    fn redirections_are_followed_and_bounded() {
        let mut a = announcer("http://192.0.2.1/a", &[]);
        a.poll(at(0)).unwrap();
        let there = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.7/b\r\nContent-Length: 0\r\n\r\n";
        for _ in 0..REDIRECTS_MAX {
            assert_eq!(a.handle_answer(at(0), there, false), Progress::Redirect);
            assert_eq!(a.poll(at(0)).unwrap().target.to_string(), "192.0.2.7:80");
            assert!(request(&a).starts_with("GET /b?info_hash="), "{}", request(&a));
        }
        assert!(matches!(a.handle_answer(at(0), there, false), Progress::Failed(_)));
    }
}
