//! Asks a swarm's trackers for peers (BEP 3, 12, 15): one announce at a time, in the order of the
//! tiers, repeated for ever. Pure: it neither dials nor resolves, it says whom to ask.
//!
//! Hosts that run this program are trackers as well. Where a torrent's own trackers do not answer,
//! they are asked: so the network outlives its announcer.

extern crate alloc;

mod admit;
mod change;
mod redirect;
mod request;
mod tracker;
mod udp;

pub use request::Stats;
use tracker::Tracker;
pub use udp::Datagram;

use crate::units::rng::Rng;
use crate::units::time::{Duration, Instant};
use crate::wire::address::{Announce, AnnounceError, HostPort, Scheme};
use crate::wire::announce::{
    parse_answer, AnnounceAnswer, AnswerError, Event, RetryIn, INTERVAL_MAX,
};
use crate::wire::http::{self, HttpError};
use crate::wire::text::printable;
use alloc::collections::BTreeSet;
use core::net::{IpAddr, SocketAddr};

/// Trackers of one torrent; the rest of a longer list is left out.
const TRACKERS_MAX: usize = 100;
/// Earliest next announce where a tracker does not say.
const MIN_INTERVAL_ABSENT: Duration = Duration::from_secs(60);
/// Hosts asked in place of trackers.
const HOSTS_MAX: usize = 16;

/// The trackers of one swarm and where we are with them.
#[derive(Clone, Debug)]
pub struct Announcer {
    /// BEP 12: tried in order; within a tier, who answered last comes first. The last tier has the
    /// hosts that are no tracker of the torrent.
    tiers: Vec<Vec<Tracker>>,
    bare: Vec<HostPort>,
    state: State,
    /// The tracker that answered last.
    answered: Option<Place>,
    /// No regular announce before this: the `min interval` of the last answer.
    earliest: Instant,
    /// `completed` is still to be said.
    completed: bool,
    /// BEP 21: every announce says `paused`.
    partial_seed: bool,
    /// Only `stopped` is still to be said.
    stopping: bool,
    /// It was started, and `stopped` is not said.
    running: bool,
    key: u32,
    rng: Rng,
    status: String,
    external_ip: Option<IpAddr>,
    /// What the last answer warns of.
    warning: Option<String>,
    /// The last failure was that of a host, not of a tracker.
    at_host: bool,
}

/// Whom to ask now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whom to dial.
    pub target: HostPort,
    /// What will be said.
    pub event: Event,
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
    scheme: Scheme,
    target: HostPort,
    path: String,
    began_at: Instant,
    /// Over UDP, once the address is known.
    exchange: Option<udp::Exchange>,
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
        tiers.push(Vec::new());
        let bare = tiers.iter().flatten().filter(|t| t.announce.bare);
        let bare = bare.map(|t| t.announce.target.clone()).collect();
        let mut rng = Rng::new(rng.next_u64());
        let key = (rng.next_u64() >> 32) as u32;
        let announcer = Self {
            tiers,
            bare,
            state: State::Idle,
            answered: None,
            earliest: Instant::ORIGIN,
            completed: false,
            partial_seed: false,
            stopping: false,
            running: false,
            key,
            rng,
            status: String::from("not announced yet"),
            external_ip: None,
            warning: None,
            at_host: false,
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
        self.running = true;
        self.answered = None;
        for tracker in self.tiers.iter_mut().flatten() {
            let Tracker { own, barred, lan, .. } = *tracker;
            *tracker = Tracker { own, barred, lan, ..Tracker::new(tracker.announce.clone()) };
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
                let place = self.next_place(now)?;
                let Announce { scheme, target, path, .. } = self.tracker(place).announce.clone();
                let event = self.event_for(place);
                let (hops, outside, began_at, exchange) = (0, false, now, None);
                Flight { place, event, hops, outside, scheme, target, path, began_at, exchange }
            }
        };
        let attempt = Attempt { target: flight.target.clone(), event: flight.event };
        self.state = State::InFlight(flight);
        Some(attempt)
    }

    /// Whether the next attempt needs a client port; it does over TCP.
    #[must_use]
    pub fn needs_port(&self, now: Instant) -> bool {
        let scheme = match &self.state {
            State::Idle | State::InFlight(_) => return false,
            State::Redirected(flight) => Some(flight.scheme),
            State::Waiting { .. } => {
                self.next_place(now).map(|place| self.tracker(place).announce.scheme)
            }
        };
        scheme.is_some_and(|scheme| scheme != Scheme::Udp)
    }

    fn next_place(&self, now: Instant) -> Option<Place> {
        let due = |&place: &Place| self.tracker(place).not_before <= now;
        // Who leaves says so first where it was heard last.
        let last = self.answered.filter(|place| self.stopping && self.asks(*place));
        last.filter(due).or_else(|| self.candidates().find(due))
    }

    /// When [`Announcer::poll`] or [`Announcer::poll_datagram`] has something to say, without
    /// further input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Idle => None,
            State::InFlight(flight) => flight.exchange.as_ref().map(|exchange| exchange.due),
            State::Redirected(_) => Some(Instant::ORIGIN),
            State::Waiting { due } => {
                let first = self.candidates().map(|p| self.tracker(p).not_before).min()?;
                Some(first.max(*due))
            }
        }
    }

    /// A host that runs this program, and so a tracker, is at this address. Never to be called for
    /// a private torrent (BEP 27).
    pub fn add_host(&mut self, now: Instant, addr: SocketAddr) {
        let target = HostPort::from(addr);
        let known = self.tiers.iter().flatten().any(|t| t.announce.target == target);
        let Some(hosts) = self.tiers.last_mut().filter(|hosts| hosts.len() < HOSTS_MAX) else {
            return;
        };
        if known {
            return;
        }
        hosts.extend(Announce::parse(&format!("http://{target}")).ok().map(Tracker::new));
        if self.running && matches!(self.state, State::Idle) {
            self.wait(now);
        }
    }

    /// Takes all bytes of the answer so far; `closed` if there will be no more.
    pub fn handle_answer(&mut self, now: Instant, bytes: &[u8], closed: bool) -> Progress {
        if !matches!(self.state, State::InFlight(_)) {
            return Progress::Failed(String::from("nothing was asked"));
        }
        let response = match http::parse_response(bytes, closed) {
            Ok(None) => return Progress::NeedMore,
            Ok(Some(response)) => response,
            // It broke off, and may be there again in a moment.
            Err(error @ HttpError::Truncated) => return self.failed(now, &error.to_string()),
            Err(error) => return self.useless(now, &error.to_string()),
        };
        if matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            return self.redirected(now, &response);
        }
        match parse_answer(&response.body) {
            // Some trackers say why they refuse, and say it with an error status.
            Err(AnswerError::Failure(reason, retry)) => self.refused(now, &reason, retry),
            _ if response.status != 200 => {
                self.useless(now, &format!("the tracker answers HTTP {}", response.status))
            }
            Err(error) => self.useless(now, &error.to_string()),
            Ok(answer) => self.succeeded(now, answer),
        }
    }

    /// The attempt in flight has come to nothing: not dialed, reset, too late, no such name.
    pub fn handle_failure(&mut self, now: Instant, why: &str) {
        if matches!(self.state, State::InFlight(_) | State::Redirected(_)) {
            self.failed(now, why);
        }
    }

    /// The attempt in flight has no way out now, which is not its tracker's fault: it is due again.
    pub fn postpone(&mut self, now: Instant) {
        self.state = match core::mem::replace(&mut self.state, State::Idle) {
            State::InFlight(flight) if flight.hops > 0 => State::Redirected(flight),
            State::InFlight(_) => State::Waiting { due: now },
            other => other,
        };
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

    /// Whether `completed` is still to be said, and there is a tracker to say it to: hosts asked in
    /// place of one do not hear of it.
    #[must_use]
    pub fn owes_completed(&self) -> bool {
        self.completed && self.candidates().any(|place| !self.is_host(place))
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

    /// What the last answer warns of, in its words made printable (BEP 3).
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Whether the last failure was that of a host asked in place of a tracker: that it is none is
    /// worth no line for people.
    #[must_use]
    pub const fn failed_at_host(&self) -> bool {
        self.at_host
    }

    /// Whom to ask, the first first.
    fn candidates(&self) -> impl Iterator<Item = Place> + '_ {
        let all = self.tiers.iter().enumerate();
        all.flat_map(|(tier, trackers)| (0..trackers.len()).map(move |index| (tier, index)))
            .filter(|&place| self.asks(place))
    }

    /// Whether the tracker is to be asked at all.
    fn asks(&self, place: Place) -> bool {
        let tracker = self.tracker(place);
        if self.stopping {
            return tracker.started && !tracker.own && !tracker.barred;
        }
        // Hosts are asked when no tracker of the torrent answers.
        let own = &self.tiers[..self.tiers.len() - 1];
        let away = || own.iter().flatten().all(|t| !t.own && t.failures > 0);
        !tracker.own && !tracker.barred && (!self.is_host(place) || away())
    }

    fn is_host(&self, (tier, _): Place) -> bool {
        tier + 1 == self.tiers.len()
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
        } else if self.partial_seed {
            Event::Paused
        } else if !self.tracker(place).started {
            // Before `completed`: a tracker that does not know us would count a stranger.
            Event::Started
        } else if self.completed && !self.is_host(place) {
            Event::Completed
        } else {
            Event::None
        }
    }

    /// Waits for `due`, unless nobody is left to be asked.
    fn wait(&mut self, due: Instant) {
        // What is said when we leave does not wait for a pause.
        if self.stopping {
            let started = self.tiers.iter_mut().flatten().filter(|tracker| tracker.started);
            started.for_each(|tracker| tracker.not_before = Instant::ORIGIN);
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
        let is_host = self.is_host((tier, index));
        // BEP 12: who answers moves to the front of its tier. Hosts take turns instead: each knows
        // its own part of the swarm, and who asks another each time joins the parts.
        let index = if is_host {
            self.tiers[tier][index..].rotate_left(1);
            self.tiers[tier].len() - 1
        } else {
            self.tiers[tier][..=index].rotate_right(1);
            0
        };
        self.answered = Some((tier, index));
        let tracker = &mut self.tiers[tier][index];
        tracker.failures = 0;
        tracker.tracker_id = answer.tracker_id.or(tracker.tracker_id.take());
        tracker.not_before = Instant::ORIGIN;
        tracker.started |= matches!(event, Event::Started | Event::Paused);
        if event == Event::Completed {
            self.completed = false;
        }
        self.external_ip = answer.external_ip.or(self.external_ip);
        self.warning.clone_from(&answer.warning);
        let min_interval = answer.min_interval.unwrap_or(MIN_INTERVAL_ABSENT.min(answer.interval));
        let interval = answer.interval.max(min_interval).min(INTERVAL_MAX);
        if !is_host {
            self.earliest = now + min_interval;
        }
        self.status = match answer.warning {
            Some(warning) => format!("{}: warning: {warning}", tracker.announce),
            None => format!("{}: {} peers", tracker.announce, answer.peers.len()),
        };
        if event == Event::Stopped {
            self.said_stopped((tier, index), now);
        } else if is_host {
            // One at a time is enough; the torrent's own trackers stay wanted.
            let hosts = self.tiers.last_mut().into_iter().flatten();
            hosts.for_each(|host| host.not_before = now + interval);
            self.wait(now);
        } else if self.stopping || self.completed {
            // An event is not held back by the interval (BEP 3).
            self.wait(now);
        } else {
            self.wait(now + interval);
        }
        Progress::Done(answer.peers)
    }

    fn failed(&mut self, now: Instant, why: &str) -> Progress {
        self.ended(now, printable(why), false)
    }

    /// Somebody is there, and what it answers is of no use: asking every second will not mend it.
    fn useless(&mut self, now: Instant, why: &str) -> Progress {
        self.ended(now, printable(why), true)
    }

    /// The tracker is there and says no, in these printable words; and when to ask again (BEP 31).
    fn refused(&mut self, now: Instant, reason: &str, retry: Option<RetryIn>) -> Progress {
        if let State::InFlight(flight) = &self.state {
            let place = flight.place;
            self.tracker_mut(place).retry(now, retry);
        }
        let why = AnswerError::Failure(reason.to_owned(), retry).to_string();
        self.ended(now, why, true)
    }

    fn ended(&mut self, now: Instant, why: String, refused: bool) -> Progress {
        let Some(Flight { place, event, began_at, .. }) = self.land() else {
            return Progress::Failed(why);
        };
        let chance = self.rng.next_u64();
        let host = self.is_host(place);
        let tracker = self.tracker_mut(place);
        tracker.failures = tracker.failures.saturating_add(1);
        tracker.not_before =
            tracker.again_at(now, began_at, chance, refused, host).max(tracker.not_before);
        self.at_host = host;
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
        self.running = !self.stopping;
        self.wait(now);
    }
}

#[cfg(test)]
mod tests;
