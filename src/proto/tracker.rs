//! The tracker in every peer: who is in the swarms that we serve (BEP 3, 7, 23, 24, 48).
//!
//! Pure: HTTP requests come in parsed, datagrams as they are; answers go out as bytes. An entry is named by the address
//! its announce came from and the port it *announced*; the port of the socket says nothing.

extern crate alloc;

#[cfg(test)]
mod tests;
mod udp;

pub use udp::CONNECTION_ID_BIT;

use crate::units::id::{InfoHash, PeerId};
use crate::units::limits::{TRACKER_ENTRIES_MAX, TRACKER_NUMWANT_MAX};
use crate::units::time::{Duration, Instant};
use crate::wire::address::{is_dialable, unmap};
use crate::wire::announce::{self, AnnounceRequest, Counts, Event, Listing, PeerForm, QueryError};
use crate::wire::http::{self, Method};
use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};

/// When to announce again. A LAN has tens of peers, not thousands: asking every minute costs a
/// packet or two a second, and a late peer is known to all within that minute.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// When to announce again at the earliest.
pub const INTERVAL_MIN: Duration = Duration::from_secs(30);
/// An entry of which nothing was heard for so long is gone: one announce may get lost.
const ENTRY_LIFE: Duration = Duration::from_secs(2 * INTERVAL.as_secs());
/// A seeder that parted from us because both have everything is listed for so long without an
/// announce: some clients announce every five minutes only, whatever the interval.
const PARTED_LIFE: Duration = Duration::from_secs(10 * 60);
/// Peers in an answer to who does not say how many.
const NUMWANT_DEFAULT: usize = 50;
/// Entries one address may have: a lab server with many peers, but not the whole table.
const ENTRIES_OF_IP_MAX: usize = 128;
/// The refusal of a torrent that is not served.
const NOT_HERE: &str = "this peer does not have that torrent";
/// Comings and goings that wait to be taken; of more at once, the rest is told by and by.
const NEWS_MAX: usize = 1_000;

/// The swarms we serve and who is in them.
#[derive(Clone, Debug)]
pub struct Tracker {
    peer_id: PeerId,
    listen_port: u16,
    /// The key of connection ids; nobody else knows it.
    secret: [u8; 16],
    swarms: BTreeMap<InfoHash, Swarm>,
    /// Invariant: no entry expires before this.
    next_expiry: Option<Instant>,
    /// At most [`NEWS_MAX`].
    news: Vec<News>,
}

/// Somebody has shown up for the first time, or is gone, which all members of the swarm are told. Hearsay is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the peer listens.
    pub addr: SocketAddr,
    /// `Some`: it has come, and whether it is a seeder. `None`: it is gone.
    pub came: Option<bool>,
}

/// What goes back to who asked, and what was learnt from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The whole HTTP answer, after which the connection ends; or a datagram.
    pub bytes: Vec<u8>,
    /// The announce in it, if it was a good one of somebody else.
    pub announced: Option<Announced>,
}

/// A peer has said where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the peer listens: the address it asked from and the port it announced.
    pub addr: SocketAddr,
    /// Its name.
    pub peer_id: PeerId,
    /// What has happened there.
    pub event: Event,
}

/// The remote end of a connection, as far as it names an entry: by the port on which it listens,
/// or, where it has not said one, by the name under which it announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its address.
    pub ip: IpAddr,
    /// The port on which it listens, if it has said so.
    pub port: Option<u16>,
    /// Its name.
    pub peer_id: PeerId,
}

#[derive(Clone, Debug)]
struct Swarm {
    /// Bytes that we ourselves still miss.
    left: u64,
    /// We take no part ourselves: neither listed nor counted.
    away: bool,
    /// We want nothing more, and have not everything (BEP 21).
    partial_seed: bool,
    /// Times that somebody completed.
    downloaded: u64,
    /// Invariant: at most [`TRACKER_ENTRIES_MAX`]; the keys are unmapped and dialable.
    entries: BTreeMap<SocketAddr, Entry>,
    /// Where the next list begins, so that all get their turn when not all fit.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None` for hearsay: another peer has told us, it has not shown itself here.
    peer_id: Option<PeerId>,
    complete: bool,
    /// Its last announce said `paused` (BEP 21).
    partial_seed: bool,
    /// Its `completed` was counted. Not the same as `complete`: the wire may show that first.
    counted: bool,
    expires: Instant,
}

impl Tracker {
    /// A tracker that serves nothing yet. Who we are: the name and the port in our own entries.
    /// `secret` must not be guessed by others.
    #[must_use]
    pub const fn new(peer_id: PeerId, listen_port: u16, secret: [u8; 16]) -> Self {
        let swarms = BTreeMap::new();
        Self { peer_id, listen_port, secret, swarms, next_expiry: None, news: Vec::new() }
    }

    /// We have another name now.
    pub fn rename(&mut self, peer_id: PeerId) {
        self.peer_id = peer_id;
    }

    /// Serves this swarm, of which we are ourselves; we miss `left` bytes. To be called again
    /// when that changes.
    pub fn track(&mut self, info_hash: InfoHash, left: u64) {
        let (away, partial_seed, downloaded, entries) = (false, false, 0, BTreeMap::new());
        let new = Swarm { left, away, partial_seed, downloaded, entries, turn: 0 };
        self.swarms.entry(info_hash).or_insert(new).left = left;
    }

    /// Whether we want nothing more of this swarm and have not everything (BEP 21).
    pub fn partial_seed(&mut self, info_hash: InfoHash, is_one: bool) {
        if let Some(swarm) = self.swarms.get_mut(&info_hash) {
            swarm.partial_seed = is_one;
        }
    }

    /// We have downloaded the last piece. Not for who finds it all there at the start (BEP 3).
    pub fn completed(&mut self, info_hash: InfoHash) {
        if let Some(swarm) = self.swarms.get_mut(&info_hash) {
            swarm.left = 0;
            swarm.downloaded = swarm.downloaded.saturating_add(1);
        }
    }

    /// Whether we ourselves take no part for a while, as when the torrent is paused. The others
    /// still find each other here, but not us.
    pub fn set_away(&mut self, info_hash: InfoHash, away: bool) {
        if let Some(swarm) = self.swarms.get_mut(&info_hash) {
            swarm.away = away;
        }
    }

    /// Serves this swarm no longer and forgets who was in it.
    pub fn untrack(&mut self, info_hash: &InfoHash) {
        self.swarms.remove(info_hash);
    }

    /// Answers a request that came from `remote` to our address `local`.
    pub fn respond(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: SocketAddr,
        request: &http::Request<'_>,
    ) -> Answer {
        let mut announced = None;
        let mut bytes = match request.path() {
            "/announce" => {
                let body = match announce::parse_query(request.query()) {
                    Ok(query) => {
                        let (body, who) = self.announce(now, unmap(remote), unmap(local), &query);
                        announced = who;
                        body
                    }
                    Err(error) => refusal(error),
                };
                http::answer(200, "text/plain", &body)
            }
            "/scrape" => {
                let body = match announce::parse_scrape(request.query()) {
                    Ok(hashes) => self.scrape(&hashes),
                    Err(error) => refusal(error),
                };
                http::answer(200, "text/plain", &body)
            }
            _ => http::answer(404, "text/plain; charset=utf-8", b"Not found.\n"),
        };
        if request.method == Method::Head {
            bytes = http::without_body(bytes);
        }
        Answer { bytes, announced }
    }

    /// The connection with this peer has broken: it is no longer listed, until it is heard of
    /// again.
    pub fn handle_lost(&mut self, info_hash: InfoHash, end: End) {
        let Some(swarm) = self.swarms.get_mut(&info_hash) else { return };
        let its: Vec<_> = swarm.of(end).map(|(addr, _)| *addr).collect();
        its.into_iter().for_each(|addr| self.remove(info_hash, addr));
    }

    /// This peer is connected to us: it is there, announced again or not.
    pub fn handle_alive(&mut self, now: Instant, info_hash: InfoHash, end: End) {
        self.keep(info_hash, end, now + ENTRY_LIFE);
    }

    /// This peer has everything and so have we; it is still there.
    pub fn handle_parted(&mut self, now: Instant, info_hash: InfoHash, end: End) {
        self.keep(info_hash, end, now + PARTED_LIFE);
    }

    fn keep(&mut self, info_hash: InfoHash, end: End, until: Instant) {
        let Some(swarm) = self.swarms.get_mut(&info_hash) else { return };
        for (_, entry) in swarm.of(end) {
            entry.expires = entry.expires.max(until);
        }
    }

    /// Another peer says that one listens at `addr`. What we know ourselves weighs more.
    pub fn hear(&mut self, now: Instant, info_hash: InfoHash, addr: SocketAddr, complete: bool) {
        let known = self.swarms.get(&info_hash).and_then(|s| s.entries.get(&unmap(addr)));
        if known.is_none_or(|entry| entry.peer_id.is_none()) {
            self.enter(now, info_hash, addr, None, Some(u64::from(!complete)));
        }
    }

    /// Another peer takes back what it said of `addr`.
    pub fn unhear(&mut self, info_hash: InfoHash, addr: SocketAddr) {
        let addr = unmap(addr);
        let Some(swarm) = self.swarms.get_mut(&info_hash) else { return };
        if swarm.entries.get(&addr).is_some_and(|entry| entry.peer_id.is_none()) {
            swarm.entries.remove(&addr);
        }
    }

    /// Who has shown itself here, not by hearsay, and whether it is a seeder.
    pub fn first_hand(
        &self,
        info_hash: &InfoHash,
    ) -> impl Iterator<Item = (SocketAddr, bool)> + '_ {
        let entries = self.swarms.get(info_hash).into_iter().flat_map(|swarm| &swarm.entries);
        entries.filter(|(_, e)| e.peer_id.is_some()).map(|(&addr, e)| (addr, e.complete))
    }

    /// Who has come and gone since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        core::mem::take(&mut self.news)
    }

    fn remove(&mut self, info_hash: InfoHash, addr: SocketAddr) {
        let Some(swarm) = self.swarms.get_mut(&info_hash) else { return };
        if swarm.entries.remove(&addr).is_some_and(|entry| entry.peer_id.is_some()) {
            self.tell(News { info_hash, addr, came: None });
        }
    }

    fn tell(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push(news);
        }
    }

    /// A peer that listens at `addr` has shown itself otherwise, as by a handshake: that counts
    /// like an announce. `left` where it is known.
    pub fn learn(
        &mut self,
        now: Instant,
        info_hash: InfoHash,
        addr: SocketAddr,
        peer_id: PeerId,
        left: Option<u64>,
    ) {
        if peer_id == self.peer_id {
            return;
        }
        self.enter(now, info_hash, addr, Some(peer_id), left);
    }

    /// When [`Tracker::handle_timeout`] has something to do.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next_expiry
    }

    /// Forgets who was silent for two intervals.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_expiry.is_none_or(|at| now < at) {
            return;
        }
        let Self { swarms, news, .. } = self;
        for (&info_hash, swarm) in swarms {
            swarm.entries.retain(|&addr, entry| {
                let stays = entry.expires > now;
                if !stays && entry.peer_id.is_some() && news.len() < NEWS_MAX {
                    news.push(News { info_hash, addr, came: None });
                }
                stays
            });
        }
        let entries = self.swarms.values().flat_map(|swarm| swarm.entries.values());
        self.next_expiry = entries.map(|entry| entry.expires).min();
    }

    /// The swarm by number, ourselves included: complete, incomplete, downloaded.
    #[must_use]
    pub fn counts(&self, info_hash: &InfoHash) -> (u64, u64, u64) {
        let Counts { complete, incomplete, downloaded, .. } =
            self.swarms.get(info_hash).map(Swarm::counts).unwrap_or_default();
        (complete, incomplete, downloaded)
    }

    fn announce(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: SocketAddr,
        query: &AnnounceRequest,
    ) -> (Vec<u8>, Option<Announced>) {
        let Some((listing, announced)) = self.list(now, remote, local, query, None) else {
            return (announce::build_failure(NOT_HERE), None);
        };
        let form = if query.compact {
            PeerForm::Compact
        } else {
            PeerForm::Dictionary { peer_id: !query.no_peer_id }
        };
        (announce::build_answer(&listing, form), announced)
    }

    /// Takes an announce in and lists peers for it, those of one family if `v6` says which.
    /// `None`: the torrent is not served here.
    fn list(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: SocketAddr,
        query: &AnnounceRequest,
        v6: Option<bool>,
    ) -> Option<(Listing, Option<Announced>)> {
        if !self.swarms.contains_key(&query.info_hash) {
            return None;
        }
        self.handle_timeout(now);
        let addr = SocketAddr::new(remote.ip(), query.port);
        let own = SocketAddr::new(local.ip(), self.listen_port);
        // We are in the list anyway; an announce of our own adds nothing.
        let ours = query.peer_id == self.peer_id || addr == own;
        if !ours {
            self.handle_event(now, addr, query);
        }
        let swarm = self.swarms.get_mut(&query.info_hash)?;
        let wanted = match query.event {
            // Who leaves needs nobody.
            Event::Stopped => 0,
            _ => query.numwant.unwrap_or(NUMWANT_DEFAULT).min(TRACKER_NUMWANT_MAX),
        };
        // In dictionaries with names, who has told us none would pass for another.
        let hearsay = query.compact || query.no_peer_id;
        let counts = swarm.counts();
        let listing = Listing {
            interval: INTERVAL,
            min_interval: INTERVAL_MIN,
            complete: counts.complete,
            incomplete: counts.incomplete,
            external_ip: Some(remote.ip()),
            peers: swarm.list(addr, (own, self.peer_id), wanted, v6, hearsay),
        };
        let announced = (!ours && is_dialable(addr)).then_some(Announced {
            info_hash: query.info_hash,
            addr,
            peer_id: query.peer_id,
            event: query.event,
        });
        Some((listing, announced))
    }

    fn handle_event(&mut self, now: Instant, addr: SocketAddr, query: &AnnounceRequest) {
        let Some(swarm) = self.swarms.get_mut(&query.info_hash) else { return };
        if query.event == Event::Stopped {
            return self.remove(query.info_hash, addr);
        }
        // A `completed` whose answer got lost is said again, but has happened once.
        let same = |entry: &&Entry| entry.peer_id == Some(query.peer_id);
        let counted = swarm.entries.get(&addr).filter(same).is_some_and(|entry| entry.counted);
        let completed = query.event == Event::Completed;
        swarm.downloaded = swarm.downloaded.saturating_add(u64::from(completed && !counted));
        let left = if completed { 0 } else { query.left };
        self.enter(now, query.info_hash, addr, Some(query.peer_id), Some(left));
        let swarm = self.swarms.get_mut(&query.info_hash);
        if let Some(entry) = swarm.and_then(|swarm| swarm.entries.get_mut(&addr)) {
            entry.counted = counted || completed;
            entry.partial_seed = query.event == Event::Paused;
        }
    }

    fn enter(
        &mut self,
        now: Instant,
        info_hash: InfoHash,
        addr: SocketAddr,
        peer_id: Option<PeerId>,
        left: Option<u64>,
    ) {
        let addr = unmap(addr);
        let Some(swarm) = self.swarms.get_mut(&info_hash) else { return };
        if !is_dialable(addr) {
            return;
        }
        let known = swarm.entries.get(&addr);
        if known.is_none() && !swarm.has_room_for(addr.ip()) {
            return;
        }
        let complete = match left {
            Some(left) => left == 0,
            None => known.is_some_and(|entry| entry.complete),
        };
        let counted = known.is_some_and(|entry| entry.counted);
        let partial_seed = known.is_some_and(|entry| entry.partial_seed);
        let is_new = peer_id.is_some() && known.is_none_or(|entry| entry.peer_id.is_none());
        let expires = (now + ENTRY_LIFE).max(known.map_or(now, |entry| entry.expires));
        swarm.entries.insert(addr, Entry { peer_id, complete, partial_seed, counted, expires });
        if is_new {
            self.tell(News { info_hash, addr, came: Some(complete) });
        }
        self.next_expiry = Some(self.next_expiry.map_or(expires, |at| at.min(expires)));
    }

    fn scrape(&self, hashes: &[InfoHash]) -> Vec<u8> {
        let files = hashes.iter().filter_map(|h| Some((*h, self.swarms.get(h)?.counts())));
        announce::build_scrape_answer(&files.collect::<Vec<_>>(), INTERVAL_MIN)
    }
}

impl Swarm {
    fn counts(&self) -> Counts {
        let complete = self.entries.values().filter(|entry| entry.complete).count() as u64;
        let incomplete = self.entries.len() as u64 - complete;
        let seeding = u64::from(!self.away && self.left == 0);
        let missing = u64::from(!self.away && self.left > 0);
        let partial = |entry: &&Entry| entry.partial_seed && !entry.complete;
        let partial_seeds = self.entries.values().filter(partial).count() as u64;
        let rests = u64::from(self.partial_seed).min(missing);
        Counts {
            complete: complete + seeding,
            incomplete: incomplete + missing,
            partial_seeds: partial_seeds + rests,
            downloaded: self.downloaded,
        }
    }

    /// The entries of this remote end.
    fn of(&mut self, end: End) -> impl Iterator<Item = (&SocketAddr, &mut Entry)> {
        let ip = end.ip.to_canonical();
        let of_ip = SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX);
        self.entries.range_mut(of_ip).filter(move |(addr, entry)| {
            end.port == Some(addr.port()) || entry.peer_id == Some(end.peer_id)
        })
    }

    fn has_room_for(&self, ip: IpAddr) -> bool {
        let of_ip = SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX);
        self.entries.len() < TRACKER_ENTRIES_MAX
            && self.entries.range(of_ip).count() < ENTRIES_OF_IP_MAX
    }

    /// At most `wanted` peers for the one at `asker`, of one family if `v6` says which: we first,
    /// then the others in turn.
    fn list(
        &mut self,
        asker: SocketAddr,
        (own, own_id): (SocketAddr, PeerId),
        wanted: usize,
        v6: Option<bool>,
        hearsay: bool,
    ) -> Vec<(SocketAddr, PeerId)> {
        let mut peers = Vec::new();
        let fits = |addr: SocketAddr| v6.is_none_or(|v6| addr.is_ipv6() == v6);
        if wanted > 0 && !self.away && fits(own) && own != asker && is_dialable(own) {
            peers.push((own, own_id));
        }
        let named = self.entries.iter().filter(|(_, e)| hearsay || e.peer_id.is_some());
        let others = named.map(|(addr, e)| (*addr, e.peer_id.unwrap_or(PeerId([0; 20]))));
        let others = others
            .filter(|(addr, _)| {
                fits(*addr) && *addr != asker && *addr != own && reachable(*addr, asker)
            })
            .collect::<Vec<_>>();
        if others.is_empty() {
            return peers;
        }
        let start = self.turn % others.len();
        let count = wanted.saturating_sub(peers.len()).min(others.len());
        self.turn = self.turn.wrapping_add(count);
        peers.extend(others[start..].iter().chain(&others[..start]).take(count));
        peers
    }
}

/// Whether the peer at `asker` can mean the same as we do by `addr`.
pub(super) fn reachable(addr: SocketAddr, asker: SocketAddr) -> bool {
    match addr.ip() {
        // "This machine" is another one there.
        ip if ip.is_loopback() => asker.ip().is_loopback(),
        // Without its zone it is good on the same link at most.
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            matches!(asker.ip(), IpAddr::V6(asker) if asker.is_unicast_link_local())
        }
        _ => true,
    }
}

fn refusal(error: QueryError) -> Vec<u8> {
    announce::build_failure(&error.to_string())
}
