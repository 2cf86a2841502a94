//! Asks a swarm's trackers for peers (BEP 3, BEP 12): one announce at a time, in the order of
//! the tiers, repeated for ever. Pure: it neither dials nor resolves, it says whom to ask.

extern crate alloc;

mod admit;

use crate::units::id::{InfoHash, PeerId};
use crate::units::rng::Rng;
use crate::units::time::{Duration, Instant};
use crate::wire::address::{printable, Announce, AnnounceError, HostPort};
use crate::wire::announce::{
    build_query, parse_answer, AnnounceAnswer, AnnounceRequest, AnswerError, Event, INTERVAL_MAX,
};
use crate::wire::http::{self, Response};
use alloc::collections::BTreeSet;
use core::net::{IpAddr, SocketAddr};

/// Redirections followed for one announce.
const HOPS_MAX: u8 = 5;
/// Trackers of one torrent; the rest of a longer list is left out.
const TRACKERS_MAX: usize = 100;
/// Peers asked for.
const NUMWANT: usize = 100;
/// Earliest next announce where a tracker does not say.
const MIN_INTERVAL_ABSENT: Duration = Duration::from_secs(60);
/// So long a LAN tracker that fails is asked about every second: the class is just starting.
const LAN_EAGER: Duration = Duration::from_secs(120);
/// Pause before a LAN tracker is asked again in that time, and what chance adds.
const LAN_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(500));
/// The same later on.
const LAN_PAUSE_LATER: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(1));
/// Longest pause before another tracker is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);

/// The trackers of one swarm and where we are with them.
#[derive(Clone, Debug)]
pub struct Announcer {
    /// BEP 12: tried in order; within a tier, who answered last comes first.
    tiers: Vec<Vec<Tracker>>,
    bare: Vec<HostPort>,
    state: State,
    /// The tracker that answered last.
    answered: Option<Place>,
    /// No regular announce before this: the `min interval` of the last answer.
    earliest: Instant,
    /// `completed` is still to be said.
    completed: bool,
    /// Only `stopped` is still to be said.
    stopping: bool,
    key: Vec<u8>,
    rng: Rng,
    status: String,
    external_ip: Option<IpAddr>,
}

/// Whom to ask now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whom to dial.
    pub target: HostPort,
    /// What will be said.
    pub event: Event,
}

/// What the announce tells about us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Our name.
    pub peer_id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// Bytes uploaded.
    pub uploaded: u64,
    /// Bytes downloaded.
    pub downloaded: u64,
    /// Bytes missing.
    pub left: u64,
}

/// Where the attempt in flight is after some bytes of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The answer is not complete.
    NeedMore,
    /// The tracker has answered; ourselves may be among the peers.
    Done(Vec<SocketAddr>),
    /// No answer that helps; the next tracker's turn, or a pause.
    Failed(String),
    /// Somebody else is to be asked: [`Announcer::poll`] says whom.
    Redirect,
}

#[derive(Clone, Debug)]
struct Tracker {
    announce: Announce,
    /// It is ourselves: never asked.
    own: bool,
    /// It is where no announce may go: never asked again.
    barred: bool,
    /// It has taken our `started`.
    started: bool,
    /// Failures in a row.
    failures: u32,
    /// When the first of them was.
    failing_since: Instant,
    /// Not asked before this.
    not_before: Instant,
}

/// Tier and index in it.
type Place = (usize, usize);

#[derive(Clone, Debug)]
enum State {
    /// Not started, stopped, or there is nobody to ask.
    Idle,
    /// The next announce is due then.
    Waiting { due: Instant },
    /// An announce was redirected and waits to be polled.
    Redirected(Flight),
    /// An announce is on its way.
    InFlight(Flight),
}

#[derive(Clone, Debug)]
struct Flight {
    place: Place,
    event: Event,
    hops: u8,
    /// It has been at a host outside this network.
    outside: bool,
    target: HostPort,
    path: String,
}

impl Announcer {
    /// The announcer of a torrent with these keys, and what is wrong with those of its announces
    /// that cannot be used.
    ///
    /// BEP 12: `announce` is ignored where there is an `announce_list`. Two deviations: a bare
    /// `announce` is tried before all tiers, and a list in which nothing can be used counts as
    /// absent.
    #[must_use]
    pub fn new(
        announce: Option<&str>,
        announce_list: &[Vec<String>],
        rng: &mut Rng,
    ) -> (Self, Vec<AnnounceError>) {
        let mut errors = Vec::new();
        let mut known = BTreeSet::new();
        let checked = |text: &str| {
            let announce = Announce::parse(text)?;
            match admit::sets_ours(&announce.path) {
                Some(name) => Err(AnnounceError::Parameter(name)),
                None => Ok(announce),
            }
        };
        let mut read = |text: &str| match checked(text) {
            // The first mention counts, and a list has an end.
            Ok(announce) => (known.len() < TRACKERS_MAX
                && known.insert((announce.target.clone(), announce.path.clone())))
            .then(|| Tracker::new(announce)),
            Err(error) => {
                errors.push(error);
                None
            }
        };
        let single = announce.filter(|text| !text.is_empty());
        let bare_first = single.filter(|text| Announce::parse(text).is_ok_and(|a| a.bare));
        let mut tiers: Vec<Vec<Tracker>> = Vec::new();
        tiers.extend(bare_first.and_then(&mut read).map(|tracker| vec![tracker]));
        for tier in announce_list {
            let texts = tier.iter().filter(|text| !text.is_empty());
            let mut tier: Vec<_> = texts.filter_map(|text| read(text)).collect();
            rng.shuffle(&mut tier);
            tiers.push(tier);
        }
        tiers.retain(|tier| !tier.is_empty());
        if tiers.is_empty() {
            tiers.extend(single.and_then(&mut read).map(|tracker| vec![tracker]));
        }
        let bare = tiers.iter().flatten().filter(|t| t.announce.bare);
        let bare = bare.map(|t| t.announce.target.clone()).collect();
        let mut rng = Rng::new(rng.next_u64());
        let key = format!("{:08x}", rng.next_u64() & 0xffff_ffff).into_bytes();
        let announcer = Self {
            tiers,
            bare,
            state: State::Idle,
            answered: None,
            earliest: Instant::ORIGIN,
            completed: false,
            stopping: false,
            key,
            rng,
            status: String::from("not announced yet"),
            external_ip: None,
        };
        (announcer, errors)
    }

    /// Hosts of bare announces: peers to dial as well.
    pub fn bare_peers(&self) -> impl Iterator<Item = &HostPort> {
        self.bare.iter()
    }

    /// Begins to announce, at once.
    pub fn start(&mut self, now: Instant) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        self.stopping = false;
        self.answered = None;
        for tracker in self.tiers.iter_mut().flatten() {
            let Tracker { own, barred, .. } = *tracker;
            *tracker = Tracker { own, barred, ..Tracker::new(tracker.announce.clone()) };
        }
        self.wait(now);
    }

    /// The announce that is due, if none is in flight; it is in flight from now on.
    pub fn poll(&mut self, now: Instant) -> Option<Attempt> {
        let flight = match &self.state {
            State::Idle | State::InFlight(_) => return None,
            State::Redirected(flight) => flight.clone(),
            State::Waiting { due } if now < *due => return None,
            State::Waiting { .. } => {
                let place = self.candidates().find(|&p| self.tracker(p).not_before <= now)?;
                let Announce { target, path, .. } = self.tracker(place).announce.clone();
                Flight {
                    place,
                    event: self.event_for(place),
                    hops: 0,
                    outside: false,
                    target,
                    path,
                }
            }
        };
        let attempt = Attempt { target: flight.target.clone(), event: flight.event };
        self.state = State::InFlight(flight);
        Some(attempt)
    }

    /// When [`Announcer::poll`] has something to say, without further input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Idle | State::InFlight(_) => None,
            State::Redirected(_) => Some(Instant::ORIGIN),
            State::Waiting { due } => {
                let first = self.candidates().map(|p| self.tracker(p).not_before).min()?;
                Some(first.max(*due))
            }
        }
    }

    /// The HTTP request of the attempt in flight; empty if there is none.
    #[must_use]
    pub fn request(&self, stats: &Stats) -> Vec<u8> {
        let State::InFlight(flight) = &self.state else { return Vec::new() };
        // A redirection may carry the whole query already.
        if flight.hops > 0 && flight.path.contains("info_hash=") {
            return http::get(&flight.target, &flight.path);
        }
        let query = build_query(&AnnounceRequest {
            info_hash: stats.info_hash,
            peer_id: stats.peer_id,
            port: stats.port,
            uploaded: stats.uploaded,
            downloaded: stats.downloaded,
            left: stats.left,
            event: flight.event,
            compact: true,
            no_peer_id: false,
            numwant: Some(if flight.event == Event::Stopped { 0 } else { NUMWANT }),
            key: Some(self.key.clone()),
        });
        let joint = if flight.path.contains('?') { '&' } else { '?' };
        http::get(&flight.target, &format!("{}{joint}{query}", flight.path))
    }

    /// Takes all bytes of the answer so far; `closed` if there will be no more.
    pub fn handle_answer(&mut self, now: Instant, bytes: &[u8], closed: bool) -> Progress {
        if !matches!(self.state, State::InFlight(_)) {
            return Progress::Failed(String::from("nothing was asked"));
        }
        let response = match http::parse_response(bytes, closed) {
            Ok(None) => return Progress::NeedMore,
            Ok(Some(response)) => response,
            Err(error) => return self.failed(now, &error.to_string()),
        };
        if matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            return self.redirected(now, &response);
        }
        match parse_answer(&response.body) {
            // Some trackers say why they refuse, and say it with an error status.
            Err(error @ AnswerError::Failure(_)) => self.failed(now, &error.to_string()),
            _ if response.status != 200 => {
                self.failed(now, &format!("the tracker answers HTTP {}", response.status))
            }
            Err(error) => self.failed(now, &error.to_string()),
            Ok(answer) => self.succeeded(now, answer),
        }
    }

    /// The attempt in flight has come to nothing: not dialed, reset, too late, no such name.
    pub fn handle_failure(&mut self, now: Instant, why: &str) {
        if matches!(self.state, State::InFlight(_) | State::Redirected(_)) {
            self.failed(now, why);
        }
    }

    /// The target of the attempt in flight is ourselves: it is never asked again.
    pub fn handle_own(&mut self, now: Instant) {
        let State::InFlight(flight) = &self.state else { return };
        if flight.hops > 0 {
            self.failed(now, "it redirects to ourselves");
            return;
        }
        let place = flight.place;
        self.tracker_mut(place).own = true;
        self.status = String::from("we are the tracker");
        self.wait(now);
    }

    /// The last piece has come: `completed` is said, once. Not for who is complete at start.
    pub fn completed(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        self.completed = true;
        if matches!(self.state, State::Waiting { .. }) {
            self.wait(now);
        }
    }

    /// Whether `completed` is still to be said: worth a note in the resume record.
    #[must_use]
    pub const fn owes_completed(&self) -> bool {
        self.completed
    }

    /// Says `stopped` to the tracker that answered last, if any did, and falls idle. What is in
    /// flight comes to its end first.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        match self.state {
            State::Idle | State::InFlight(_) => {}
            State::Waiting { .. } | State::Redirected(_) => self.wait(now),
        }
    }

    /// Takes back [`Announcer::stop`]. A `stopped` on its way comes to its end first.
    pub fn resume(&mut self, now: Instant) {
        self.stopping = false;
        match self.state {
            State::Idle => self.start(now),
            State::Waiting { .. } => self.wait(now),
            State::Redirected(_) | State::InFlight(_) => {}
        }
    }

    /// Whether nothing is in flight and nothing will be.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// All peers are gone: asks again as soon as the `min interval` allows.
    pub fn want_peers(&mut self, now: Instant) {
        if let State::Waiting { due } = &mut self.state {
            *due = (*due).min(self.earliest.max(now));
        }
    }

    /// What the attempt in flight says.
    #[must_use]
    pub const fn event_in_flight(&self) -> Option<Event> {
        match &self.state {
            State::InFlight(flight) | State::Redirected(flight) => Some(flight.event),
            State::Idle | State::Waiting { .. } => None,
        }
    }

    /// Whether there is any tracker that is not ourselves.
    #[must_use]
    pub fn has_trackers(&self) -> bool {
        self.candidates().next().is_some()
    }

    /// Whether some tracker is to be asked and none has answered.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.answered.is_none() && self.candidates().next().is_some()
    }

    /// What came of the last attempt, for people.
    #[must_use]
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Our address as the last tracker saw it (BEP 24).
    #[must_use]
    pub const fn external_ip(&self) -> Option<IpAddr> {
        self.external_ip
    }

    /// Whom to ask, the first first.
    fn candidates(&self) -> impl Iterator<Item = Place> + '_ {
        let all = self.tiers.iter().enumerate();
        all.flat_map(|(tier, trackers)| (0..trackers.len()).map(move |index| (tier, index)))
            .filter(|&place| !self.tracker(place).own && !self.tracker(place).barred)
            .filter(|&place| !self.stopping || self.answered == Some(place))
    }

    fn tracker(&self, (tier, index): Place) -> &Tracker {
        &self.tiers[tier][index]
    }

    fn tracker_mut(&mut self, (tier, index): Place) -> &mut Tracker {
        &mut self.tiers[tier][index]
    }

    fn event_for(&self, place: Place) -> Event {
        if self.stopping {
            Event::Stopped
        } else if !self.tracker(place).started {
            // Before `completed`: a tracker that does not know us would count a stranger.
            Event::Started
        } else if self.completed {
            Event::Completed
        } else {
            Event::None
        }
    }

    /// Waits for `due`, unless nobody is left to be asked.
    fn wait(&mut self, due: Instant) {
        // What is said when we leave does not wait for a pause.
        if let (true, Some(answered)) = (self.stopping, self.answered) {
            self.tracker_mut(answered).not_before = Instant::ORIGIN;
        }
        let somebody = self.candidates().next().is_some();
        self.state = if somebody { State::Waiting { due } } else { State::Idle };
    }

    /// Ends the attempt; what it was.
    fn land(&mut self) -> Option<Flight> {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::InFlight(flight) | State::Redirected(flight) => Some(flight),
            State::Idle | State::Waiting { .. } => None,
        }
    }

    fn succeeded(&mut self, now: Instant, answer: AnnounceAnswer) -> Progress {
        let Some(Flight { place: (tier, index), event, .. }) = self.land() else {
            return Progress::Done(answer.peers);
        };
        // BEP 12: who answers moves to the front of its tier.
        self.tiers[tier][..=index].rotate_right(1);
        self.answered = Some((tier, 0));
        let tracker = &mut self.tiers[tier][0];
        tracker.failures = 0;
        tracker.not_before = Instant::ORIGIN;
        tracker.started |= event == Event::Started;
        if event == Event::Completed {
            self.completed = false;
        }
        self.external_ip = answer.external_ip.or(self.external_ip);
        let min_interval = answer.min_interval.unwrap_or(MIN_INTERVAL_ABSENT.min(answer.interval));
        let interval = answer.interval.max(min_interval).min(INTERVAL_MAX);
        self.earliest = now + min_interval;
        self.status = match answer.warning {
            Some(warning) => format!("{}: warning: {warning}", tracker.announce),
            None => format!("{}: {} peers", tracker.announce, answer.peers.len()),
        };
        if event == Event::Stopped {
            self.said_stopped((tier, 0), now);
        } else if self.stopping || self.completed {
            // An event is not held back by the interval (BEP 3).
            self.wait(now);
        } else {
            self.wait(now + interval);
        }
        Progress::Done(answer.peers)
    }

    fn failed(&mut self, now: Instant, why: &str) -> Progress {
        let why = printable(why);
        let Some(Flight { place, event, .. }) = self.land() else {
            return Progress::Failed(why);
        };
        let chance = self.rng.next_u64();
        let tracker = self.tracker_mut(place);
        if tracker.failures == 0 {
            tracker.failing_since = now;
        }
        tracker.failures = tracker.failures.saturating_add(1);
        tracker.not_before = now + tracker.pause(now, chance);
        self.status = format!("{}: {why}", self.tracker(place).announce);
        if event == Event::Stopped {
            // Said once; the tracker's own timeout does the rest.
            self.said_stopped(place, now);
        } else {
            self.wait(now);
        }
        Progress::Failed(why)
    }

    /// Falls idle, or begins anew where that was asked for meanwhile.
    fn said_stopped(&mut self, place: Place, now: Instant) {
        self.answered = None;
        self.tracker_mut(place).started = false;
        self.state = State::Idle;
        if !self.stopping {
            self.wait(now);
        }
    }

    fn redirected(&mut self, now: Instant, response: &Response) -> Progress {
        let Some(Flight { place, event, hops, outside, target, path }) = self.land() else {
            return Progress::Redirect;
        };
        let next = match response.location.as_deref() {
            None => Err(String::from("it redirects to nowhere")),
            Some(_) if hops >= HOPS_MAX => Err(String::from("it redirects without end")),
            Some(location) => resolve(&target, location),
        };
        // A failure needs the flight to know whose it is.
        let why = match next {
            Ok((target, path)) => {
                let hops = hops + 1;
                let flight = Flight { place, event, hops, outside, target, path };
                self.state = State::Redirected(flight);
                return Progress::Redirect;
            }
            Err(why) => why,
        };
        self.state = State::InFlight(Flight { place, event, hops, outside, target, path });
        self.failed(now, &why)
    }
}

impl Tracker {
    const fn new(announce: Announce) -> Self {
        Self {
            announce,
            own: false,
            barred: false,
            started: false,
            failures: 0,
            failing_since: Instant::ORIGIN,
            not_before: Instant::ORIGIN,
        }
    }

    /// How long it is left alone after a failure.
    fn pause(&self, now: Instant, chance: u64) -> Duration {
        let (base, spread) = if !self.announce.is_lan() {
            let seconds = 1_u64 << self.failures.saturating_sub(1).min(11);
            // Chance keeps a class that lost its tracker from coming back as one.
            let base = Duration::from_secs(seconds).min(PAUSE_MAX) * 3 / 4;
            (base, base / 3)
        } else if now - self.failing_since < LAN_EAGER {
            LAN_PAUSE
        } else {
            LAN_PAUSE_LATER
        };
        let spread = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        base + Duration::from_micros(chance % spread.saturating_add(1).max(1))
    }
}

/// Where a `Location` leads (RFC 9110, 10.2.2): a URL or an absolute path.
fn resolve(from: &HostPort, location: &str) -> Result<(HostPort, String), String> {
    let url = if location.starts_with("//") {
        format!("http:{location}")
    } else if location.starts_with('/') {
        format!("http://{from}{location}")
    } else {
        location.to_owned()
    };
    match Announce::parse(&url) {
        Ok(announce) if !announce.bare => Ok((announce.target, announce.path)),
        Ok(_) => Err(format!("it redirects to '{}'", printable(location))),
        Err(error) => Err(format!("it redirects: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::announce::{build_answer, build_failure, parse_query, Listing, PeerForm};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    const STATS: Stats = Stats {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
        port: 5000,
        uploaded: 3,
        downloaded: 4,
        left: 5,
    };

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn at(seconds: u64) -> Instant {
        ms(seconds * 1000)
    }

    fn announcer(announce: Option<&str>, tiers: &[&[&str]]) -> Announcer {
        let list: Vec<Vec<String>> =
            tiers.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect();
        let (mut a, errors) = Announcer::new(announce, &list, &mut Rng::new(7));
        assert_eq!(errors, []);
        a.start(at(0));
        a
    }

    /// The attempt due now, as `host:port event`.
    fn poll(a: &mut Announcer, now: Instant) -> Option<String> {
        let attempt = a.poll(now)?;
        assert_eq!(a.poll(now), None, "one at a time");
        assert_eq!(a.poll_timeout(), None);
        Some(format!("{} {:?}", attempt.target, attempt.event))
    }

    fn body(interval: u64, min: u64) -> Vec<u8> {
        let listing = Listing {
            interval: Duration::from_secs(interval),
            min_interval: Duration::from_secs(min),
            complete: 1,
            incomplete: 0,
            external_ip: Some(IpAddr::from([9, 9, 9, 9])),
            peers: vec![("10.0.0.1:5000".parse().unwrap(), PeerId([3; 20]))],
        };
        http::answer(200, "text/plain", &build_answer(&listing, PeerForm::Compact))
    }

    fn succeed(a: &mut Announcer, now: Instant) {
        let done = Progress::Done(vec!["10.0.0.1:5000".parse().unwrap()]);
        assert_eq!(a.handle_answer(now, &body(60, 30), false), done);
    }

    fn redirect(a: &mut Announcer, now: Instant, location: &str) -> Progress {
        let bytes =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        a.handle_answer(now, bytes.as_bytes(), false)
    }

    fn requested(a: &Announcer) -> String {
        String::from_utf8(a.request(&STATS)).unwrap()
    }

    #[test]
    fn started_then_nothing_at_the_interval() {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        assert_eq!(a.poll_timeout(), Some(at(0)));
        assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Started");
        let bytes = body(60, 30);
        for cut in 0..bytes.len() {
            assert_eq!(a.handle_answer(at(0), &bytes[..cut], false), Progress::NeedMore);
        }
        succeed(&mut a, at(0));
        assert_eq!(a.status(), "http://10.0.0.9:5000/announce: 1 peers");
        assert_eq!(a.external_ip(), Some(IpAddr::from([9, 9, 9, 9])));
        assert_eq!(a.poll_timeout(), Some(at(60)));
        assert_eq!(poll(&mut a, ms(59_999)), None);
        assert_eq!(poll(&mut a, at(60)).unwrap(), "10.0.0.9:5000 None");
        succeed(&mut a, at(61));
        assert_eq!(a.poll_timeout(), Some(at(121)));
    }

    #[test]
    fn the_request_says_it_all() {
        let mut a = announcer(Some("http://t.example/a?pass=1"), &[]);
        assert_eq!(a.request(&STATS), b"");
        let _ = a.poll(at(0)).unwrap();
        let text = requested(&a);
        assert!(text.starts_with("GET /a?pass=1&info_hash=%01%01"), "{text}");
        let target = text.split(' ').nth(1).unwrap();
        let query = parse_query(target.split_once('?').unwrap().1).unwrap();
        assert_eq!((query.info_hash, query.peer_id), (STATS.info_hash, STATS.peer_id));
        assert_eq!((query.port, query.uploaded, query.downloaded, query.left), (5000, 3, 4, 5));
        assert_eq!((query.event, query.numwant), (Event::Started, Some(NUMWANT)));
        assert_eq!(query.key.map(|key| key.len()), Some(8));
    }

    #[test]
    fn who_resumes_says_started_again_after_stopped() {
        let mut a = announcer(Some("http://x.a/"), &[]);
        a.start(at(0));
        assert!(poll(&mut a, at(0)).unwrap().ends_with("Started"));
        succeed(&mut a, at(0));
        // Resumed before `stopped` was said: as if nothing had been.
        a.stop(at(1));
        a.resume(at(1));
        assert!(poll(&mut a, at(1)).unwrap().ends_with("None"));
        succeed(&mut a, at(1));
        // Resumed while it was on its way.
        a.stop(at(2));
        assert!(poll(&mut a, at(2)).unwrap().ends_with("Stopped"));
        a.resume(at(2));
        succeed(&mut a, at(2));
        assert!(poll(&mut a, at(2)).unwrap().ends_with("Started"));
        succeed(&mut a, at(2));
        // Resumed long after.
        a.stop(at(3));
        assert!(poll(&mut a, at(3)).unwrap().ends_with("Stopped"));
        succeed(&mut a, at(3));
        assert!(a.is_idle());
        a.resume(at(99));
        assert!(poll(&mut a, at(99)).unwrap().ends_with("Started"));
    }

    #[test]
    fn which_announces_count() {
        let hosts = |a: &Announcer| {
            let all = a.tiers.iter().map(|tier| {
                tier.iter().map(|t| t.announce.target.to_string()).collect::<Vec<_>>().join(" ")
            });
            all.collect::<Vec<_>>().join(", ")
        };
        // BEP 12: the list overrides the URL; a bare announce comes before the list.
        assert_eq!(hosts(&announcer(Some("http://x.a/"), &[&["http://y.a/"]])), "y.a:80");
        let a = announcer(Some("10.0.0.9"), &[&["http://y.a/"], &["10.0.0.9", "10.0.0.8"]]);
        assert_eq!(hosts(&a), "10.0.0.9:5000, y.a:80, 10.0.0.8:5000");
        let bare: Vec<_> = a.bare_peers().map(ToString::to_string).collect();
        assert_eq!(bare, ["10.0.0.9:5000", "10.0.0.8:5000"]);
        assert_eq!(hosts(&announcer(Some("http://x.a/"), &[&[], &[""]])), "x.a:80");
        let list = [vec!["udp://t:1".to_owned(), "http://a b".to_owned()]];
        let (a, errors) = Announcer::new(Some("http://x.a/"), &list, &mut Rng::new(1));
        assert_eq!((hosts(&a).as_str(), errors.len()), ("x.a:80", 2));
        let (mut a, errors) = Announcer::new(None, &[], &mut Rng::new(1));
        a.start(at(0));
        assert!(a.is_idle() && errors.is_empty() && a.poll_timeout().is_none());
    }

    #[test]
    fn a_tier_is_shuffled_and_a_long_list_is_cut() {
        let tier: Vec<_> = (0..200).map(|i| format!("http://t{i}.a/")).collect();
        let (a, _) = Announcer::new(None, core::slice::from_ref(&tier), &mut Rng::new(1));
        let (b, _) = Announcer::new(None, &[tier], &mut Rng::new(2));
        let order =
            |a: &Announcer| a.tiers[0].iter().map(|t| t.announce.url.clone()).collect::<Vec<_>>();
        assert_eq!(order(&a).len(), TRACKERS_MAX);
        assert_ne!(order(&a), order(&b));
    }

    #[test]
    fn tiers_in_order_and_the_one_that_answers_first() {
        let mut a = announcer(None, &[&["http://a.a/", "http://b.a/"], &["http://c.a/"]]);
        let first = poll(&mut a, at(0)).unwrap();
        a.handle_failure(at(0), "refused");
        let second = poll(&mut a, at(0)).unwrap();
        assert_ne!(first, second);
        succeed(&mut a, at(0));
        // BEP 12: the second is now the first of its tier.
        assert_eq!(poll(&mut a, at(60)).unwrap(), second.replace("Started", "None"));
        a.handle_failure(at(60), "refused");
        assert_eq!(poll(&mut a, at(60)).unwrap(), first);
        a.handle_failure(at(60), "refused");
        assert_eq!(poll(&mut a, at(60)).unwrap(), "c.a:80 Started");
        a.handle_failure(at(60), "refused\n");
        assert_eq!(a.status(), "http://c.a/: refused\\n");
        assert_eq!(poll(&mut a, at(60)), None);
        assert!(a.poll_timeout().unwrap() > at(60));
    }

    #[test]
    fn a_lan_tracker_that_is_late_is_found_at_once() {
        for announce in ["10.0.0.9", "http://192.168.1.1:5000/announce", "http://lab/announce"] {
            let mut a = announcer(Some(announce), &[]);
            let mut now = at(0);
            while now < at(600) {
                assert!(poll(&mut a, now).unwrap().ends_with("Started"));
                a.handle_failure(now, "refused");
                let next = a.poll_timeout().unwrap();
                let (low, high) = if now < at(120) { (1000, 1500) } else { (4000, 5000) };
                let pause = u64::try_from((next - now).as_millis()).unwrap();
                assert!((low..=high).contains(&pause), "{pause} at {now:?}");
                now = next;
            }
            let _ = poll(&mut a, now).unwrap();
            succeed(&mut a, now);
            assert_eq!(a.poll_timeout(), Some(now + Duration::from_secs(60)));
        }
    }

    #[test]
    fn another_tracker_is_left_alone_longer_and_longer() {
        let mut a = announcer(Some("http://t.example/"), &[]);
        let (mut now, mut pauses) = (at(0), Vec::new());
        for _ in 0..20 {
            let _ = poll(&mut a, now).unwrap();
            a.handle_failure(now, "refused");
            let next = a.poll_timeout().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses[0] <= Duration::from_secs(1) && pauses[0] >= Duration::from_millis(750));
        assert!(pauses.windows(2).take(9).all(|pair| pair[0] < pair[1]));
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(pauses[19] >= PAUSE_MAX * 3 / 4);
    }

    #[test]
    fn completed_is_said_once() {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        a.completed(at(1));
        succeed(&mut a, at(2));
        assert_eq!(poll(&mut a, at(2)).unwrap(), "10.0.0.9:5000 Completed");
        a.handle_failure(at(2), "reset");
        assert!(a.owes_completed());
        assert_eq!(poll(&mut a, at(4)).unwrap(), "10.0.0.9:5000 Completed");
        succeed(&mut a, at(4));
        assert!(!a.owes_completed());
        assert_eq!(poll(&mut a, at(5)), None);
        assert_eq!(poll(&mut a, at(64)).unwrap(), "10.0.0.9:5000 None");
        succeed(&mut a, at(64));
        a.completed(at(65));
        assert_eq!(poll(&mut a, at(65)).unwrap(), "10.0.0.9:5000 Completed");
    }

    #[test]
    fn a_tracker_that_does_not_know_us_hears_started_first() {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        a.completed(at(0));
        assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Started");
        succeed(&mut a, at(0));
        assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Completed");
    }

    #[test]
    fn stopped_goes_to_who_answered() {
        let mut a = announcer(None, &[&["http://a.a/"], &["http://b.a/"]]);
        let _ = poll(&mut a, at(0)).unwrap();
        a.handle_failure(at(0), "refused");
        let _ = poll(&mut a, at(0)).unwrap();
        succeed(&mut a, at(0));
        a.stop(at(10));
        assert!(!a.is_idle());
        assert_eq!(a.poll_timeout(), Some(at(10)));
        assert_eq!(poll(&mut a, at(10)).unwrap(), "b.a:80 Stopped");
        assert!(requested(&a).contains("event=stopped&numwant=0"));
        succeed(&mut a, at(11));
        assert!(a.is_idle() && a.poll(at(1000)).is_none());
        a.start(at(20));
        assert_eq!(poll(&mut a, at(20)).unwrap(), "a.a:80 Started");
    }

    #[test]
    fn stopped_is_tried_once_and_only_if_we_were_known() {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        a.stop(at(0));
        assert!(a.is_idle());

        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        a.stop(at(0));
        assert!(!a.is_idle());
        a.handle_failure(at(1), "reset");
        assert!(a.is_idle());

        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        a.stop(at(0));
        succeed(&mut a, at(1));
        assert_eq!(poll(&mut a, at(1)).unwrap(), "10.0.0.9:5000 Stopped");
        a.handle_failure(at(2), "reset");
        assert!(a.is_idle());
    }

    #[test]
    fn a_pause_does_not_hold_back_stopped() {
        let mut a = announcer(Some("http://t.example/"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        succeed(&mut a, at(0));
        let _ = poll(&mut a, at(60)).unwrap();
        a.handle_failure(at(60), "reset");
        a.stop(at(60));
        assert_eq!(poll(&mut a, at(60)).unwrap(), "t.example:80 Stopped");
    }

    #[test]
    fn wanting_peers_waits_for_the_min_interval() {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        succeed(&mut a, at(0));
        a.want_peers(at(10));
        assert_eq!(a.poll_timeout(), Some(at(30)));
        a.want_peers(at(40));
        assert_eq!(a.poll_timeout(), Some(at(30)));
        let _ = poll(&mut a, at(40)).unwrap();
        succeed(&mut a, at(40));
        a.want_peers(at(75));
        assert_eq!(a.poll_timeout(), Some(at(75)));
    }

    #[test]
    fn intervals_are_obeyed_within_reason() {
        for (interval, min, due) in [(60, 30, 60), (0, 0, 5), (30, 90, 90), (99_999, 5, 3600)] {
            let mut a = announcer(Some("10.0.0.9"), &[]);
            let _ = poll(&mut a, at(0)).unwrap();
            let _ = a.handle_answer(at(0), &body(interval, min), false);
            assert_eq!(a.poll_timeout(), Some(at(due)));
        }
    }

    #[test]
    fn ourselves_are_never_asked_again() {
        let mut a = announcer(Some("10.0.0.9"), &[&["http://b.a/"]]);
        let _ = poll(&mut a, at(0)).unwrap();
        a.handle_own(at(0));
        assert_eq!(poll(&mut a, at(0)).unwrap(), "b.a:80 Started");
        succeed(&mut a, at(0));
        assert_eq!(poll(&mut a, at(60)).unwrap(), "b.a:80 None");

        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        a.handle_own(at(0));
        assert_eq!(a.status(), "we are the tracker");
        a.completed(at(1));
        a.want_peers(at(1));
        a.start(at(1));
        assert!(a.is_idle() && a.poll(at(1000)).is_none());
    }

    #[test]
    fn redirections_are_followed_five_times() {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        assert_eq!(redirect(&mut a, at(0), "http://b.a:81/x"), Progress::Redirect);
        assert_eq!(a.poll_timeout(), Some(Instant::ORIGIN));
        assert_eq!(poll(&mut a, at(0)).unwrap(), "b.a:81 Started");
        assert!(requested(&a).starts_with("GET /x?info_hash=%01"));
        assert_eq!(redirect(&mut a, at(0), "/y?info_hash=z"), Progress::Redirect);
        assert_eq!(poll(&mut a, at(0)).unwrap(), "b.a:81 Started");
        assert!(requested(&a).starts_with("GET /y?info_hash=z HTTP"));
        for _ in 0..3 {
            assert_eq!(redirect(&mut a, at(0), "//c.a/z"), Progress::Redirect);
            assert_eq!(poll(&mut a, at(0)).unwrap(), "c.a:80 Started");
        }
        let end = Progress::Failed("it redirects without end".into());
        assert_eq!(redirect(&mut a, at(0), "/"), end);
        assert!(a.poll_timeout().unwrap() >= at(1));
        // The next attempt begins at the announce again, and its success is the announce's.
        assert_eq!(poll(&mut a, at(2)).unwrap(), "10.0.0.9:5000 Started");
        assert_eq!(redirect(&mut a, at(2), "/again"), Progress::Redirect);
        let _ = poll(&mut a, at(2)).unwrap();
        succeed(&mut a, at(2));
        assert_eq!(poll(&mut a, at(62)).unwrap(), "10.0.0.9:5000 None");
    }

    #[test]
    fn redirections_that_lead_nowhere_fail() {
        for location in ["https://b.a/", "there", "http://b.a:0/", "ftp://b.a/"] {
            let mut a = announcer(Some("10.0.0.9"), &[]);
            let _ = poll(&mut a, at(0)).unwrap();
            assert!(matches!(redirect(&mut a, at(0), location), Progress::Failed(_)), "{location}");
        }
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        let nowhere = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(a.handle_answer(at(0), nowhere, false), Progress::Failed(_)));
        let _ = poll(&mut a, at(2)).unwrap();
        assert_eq!(redirect(&mut a, at(2), "/x"), Progress::Redirect);
        let _ = poll(&mut a, at(2)).unwrap();
        a.handle_own(at(2));
        assert!(!a.is_idle() && a.status().ends_with("it redirects to ourselves"));
    }

    #[test]
    fn answers_that_do_not_help() {
        let refusal = http::answer(400, "text/plain", &build_failure("not here"));
        for (bytes, why) in [
            (refusal.as_slice(), "the tracker refuses: not here"),
            (b"HTTP/1.1 404 No\r\n\r\n<html>", "the tracker answers HTTP 404"),
            (b"SSH-2.0", "this is not HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nContent-", "the connection ended within the HTTP answer"),
        ] {
            let mut a = announcer(Some("10.0.0.9"), &[]);
            let _ = poll(&mut a, at(0)).unwrap();
            assert_eq!(a.handle_answer(at(0), bytes, true), Progress::Failed(why.into()));
            assert_eq!(poll(&mut a, ms(1500)).unwrap(), "10.0.0.9:5000 Started");
        }
    }

    #[test]
    fn inputs_at_the_wrong_time_do_nothing() {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        a.handle_failure(at(0), "?");
        a.handle_own(at(0));
        assert!(matches!(a.handle_answer(at(0), &body(1, 1), true), Progress::Failed(_)));
        a.start(at(9));
        assert_eq!(a.poll_timeout(), Some(at(0)));
    }

    proptest! {
        /// Whatever happens in whatever order: it never panics, never sleeps for ever while
        /// somebody is left to ask, and says `completed` no more often than it was told.
        #[test]
        fn any_order_of_inputs_is_survived(
            seed: u64,
            inputs in prop::collection::vec((0_u8..9, 0_u64..100), 0..80),
        ) {
            let list = [vec!["http://a.a/".to_owned(), "10.0.0.1".to_owned()]];
            let (mut a, _) = Announcer::new(Some("10.0.0.9"), &list, &mut Rng::new(seed));
            let (mut now, mut told, mut said) = (at(0), false, 0);
            a.start(now);
            for (input, wait) in inputs {
                now = now + Duration::from_secs(wait);
                match input {
                    0 | 1 => {
                        let _ = a.poll(now);
                        said += u8::from(requested(&a).contains("event=completed"));
                    }
                    2 | 3 => {
                        let completed = requested(&a).contains("event=completed");
                        let done = a.handle_answer(now, &body(60, 30), false);
                        if completed && matches!(done, Progress::Done(_)) {
                            prop_assert!(!a.owes_completed());
                        }
                    }
                    4 => a.handle_failure(now, "x"),
                    5 => { let _ = redirect(&mut a, now, "/x"); }
                    6 => { a.completed(now); told = true; }
                    7 => a.want_peers(now),
                    _ if wait == 0 => a.stop(now),
                    _ => a.start(now),
                }
                prop_assert!(told || said == 0);
                let waits = matches!(a.state, State::Waiting { .. } | State::Redirected(_));
                prop_assert_eq!(a.poll_timeout().is_some(), waits);
            }
        }
    }
}
