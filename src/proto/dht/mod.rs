//! A full node of the DHT (BEP 5; IPv6 by BEP 32, ids by BEP 42, read-only askers by BEP 43) as
//! one state machine without I/O.
//!
//! One input at a time: [`Dht::handle_datagram`], [`Dht::handle_timeout`], or a wish
//! ([`Dht::track`], [`Dht::add_contact`], ...); then drain [`Dht::poll_transmit`] and
//! [`Dht::poll_event`]. [`Dht::poll_timeout`] says when to come back.
//!
//! What a stranger can make us do is bounded: every list has a greatest length, every source a
//! rate, an answer counts only from the address that was asked and with the transaction id that
//! nobody else has seen, and no node is in the routing table before it has answered.

mod answer;
mod ask;
mod flood;
mod lookup;
pub mod peers;
mod random;
pub mod secure;
mod table;
mod tokens;

use crate::units::id::{InfoHash, NodeId};
use crate::units::time::{Duration, Instant};
use crate::wire::address::{is_dialable, unmap};
use crate::wire::krpc::saved::{SavedTable, SAVED_MAX};
use crate::wire::krpc::{Body, Malformed, Message};
use ask::Pending;
use core::net::{IpAddr, SocketAddr};
use flood::Flood;
use lookup::Lookup;
use peers::PeerStore;
use random::Random;
use secure::Votes;
use std::collections::{BTreeMap, VecDeque};
use table::{Table, K};
use tokens::Tokens;

/// Swarms announced and looked up: each costs a lookup every quarter of an hour.
const SEARCHES_MAX: usize = 1_000;
/// Lookups at a time; the next swarm waits for its turn.
const LOOKUPS_MAX: usize = 8;
/// Queries without an answer yet: those of all lookups, and as many besides.
const PENDING_MAX: usize = 128;
/// Datagrams that wait for the socket; what is beyond is lost, as datagrams may be.
const TRANSMITS_MAX: usize = 256;
/// Events that wait for the caller.
const EVENTS_MAX: usize = 256;
/// Addresses that wait to be asked for the first time: a saved table of both families.
const CONTACTS_MAX: usize = 2 * SAVED_MAX;
/// Addresses to begin at again when every node is gone.
const BOOTSTRAP_MAX: usize = 32;
/// BEP 5: `announce_peer` again after a quarter of an hour.
const SEARCH_AGAIN: Duration = Duration::from_secs(15 * 60);
/// First pause after a search that found nobody, or fewer nodes than should know us; it doubles.
const SEARCH_FIRST: Duration = Duration::from_secs(5);
/// The same of one that found enough.
const SEARCH_FOUND: Duration = Duration::from_secs(60);
/// Pause before a swarm that is short of peers is looked up once more.
const SEARCH_HURRY: Duration = Duration::from_secs(30);
/// Nodes that went silent are asked one by one, each time of this: ninety in a quarter of an hour.
const CARE_EVERY: Duration = Duration::from_secs(10);
/// How often the announced peers are looked through.
const EXPIRE_EVERY: Duration = Duration::from_secs(3 * 60);
/// First pause before our own id is looked up again while there are few nodes: those who come
/// at the same moment find each other only then. It doubles.
const JOIN_FIRST: Duration = Duration::from_secs(2);
/// First pause before the addresses to begin at are asked again, while few nodes are known; it
/// doubles.
const BOOTSTRAP_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause while nobody is known.
const BOOTSTRAP_LAST: Duration = Duration::from_secs(60);

/// What the node is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// All its chances come from it; nobody else may know it.
    pub secret: [u8; 20],
    /// Where our peer listens, for `announce_peer`.
    pub port: u16,
    /// Whether our socket reaches IPv4, and IPv6.
    pub families: [bool; 2],
}

/// What the node has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first nodes are known: how many.
    Joined(usize),
    /// Peers of a swarm, told by others.
    Peers(InfoHash, Vec<SocketAddr>),
    /// A search has ended: `rounds` answers led to its end, `queries` were made for it, and
    /// `announced` nodes were told of us.
    Searched {
        /// The swarm.
        info_hash: InfoHash,
        /// The longest chain of answers.
        rounds: u32,
        /// Queries made.
        queries: usize,
        /// Nodes that were told of us.
        announced: usize,
    },
}

/// The network of one family (BEP 32: two that do not mix).
#[derive(Clone, Debug)]
struct Overlay {
    open: bool,
    table: Table,
    votes: Votes,
    /// When to look around our own id (again).
    join_at: Instant,
    /// After the next time.
    join_pause: Duration,
    /// Nodes that people were told of.
    told: usize,
    care_at: Instant,
}

/// A swarm of ours.
#[derive(Clone, Copy, Debug)]
struct Search {
    /// When to look next, in each family.
    due: [Instant; 2],
    /// After the next search that finds nobody.
    pause: Duration,
    /// We are ourselves among the nodes that store it.
    stored_here: [bool; 2],
}

/// A node of the DHT.
#[derive(Clone, Debug)]
pub struct Dht {
    config: Config,
    random: Random,
    overlays: [Overlay; 2],
    tokens: Tokens,
    peers: PeerStore,
    expire_at: Instant,
    flood: Flood,
    pending: BTreeMap<u32, Pending>,
    lookups: BTreeMap<u32, Lookup>,
    next_lookup: u32,
    searches: BTreeMap<InfoHash, Search>,
    contacts: VecDeque<SocketAddr>,
    bootstrap: Vec<SocketAddr>,
    bootstrap_at: Instant,
    bootstrap_pause: Duration,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
    wake_at: Option<Instant>,
}

/// 0 for IPv4, 1 for IPv6.
const fn family(addr: SocketAddr) -> usize {
    addr.is_ipv6() as usize
}

impl Dht {
    /// A node that knows nobody but those of its saved table.
    #[must_use]
    pub fn new(config: Config, saved: Option<SavedTable>, now: Instant) -> Self {
        let mut random = Random::new(config.secret);
        let fresh = [random.node_id(), random.node_id()];
        let ids = saved.as_ref().map_or(fresh, |table| table.ids);
        let overlay = |v6: usize| Overlay {
            open: config.families[v6],
            table: Table::new(ids[v6], now),
            votes: Votes::default(),
            join_at: now,
            join_pause: JOIN_FIRST,
            told: 0,
            care_at: now + CARE_EVERY,
        };
        let mut dht = Self {
            tokens: Tokens::new(random.derived(b"token")),
            overlays: [overlay(0), overlay(1)],
            random,
            config,
            peers: PeerStore::default(),
            expire_at: now,
            flood: Flood::default(),
            pending: BTreeMap::new(),
            lookups: BTreeMap::new(),
            next_lookup: 0,
            searches: BTreeMap::new(),
            contacts: VecDeque::new(),
            bootstrap: Vec::new(),
            bootstrap_at: now,
            bootstrap_pause: BOOTSTRAP_FIRST,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            wake_at: None,
        };
        for (_, addr) in saved.map(|table| table.nodes).unwrap_or_default() {
            dht.queue_contact(addr);
        }
        dht.pump(now);
        dht
    }

    /// What to keep for the next run; `None` while nobody is known.
    #[must_use]
    pub fn snapshot(&self) -> Option<SavedTable> {
        let [v4, v6] = &self.overlays;
        let mut nodes = v4.table.worth_saving();
        nodes.extend(v6.table.worth_saving());
        let ids = [v4.table.own(), v6.table.own()];
        (!nodes.is_empty()).then_some(SavedTable { ids, nodes })
    }

    /// Our id in the network of that family.
    #[must_use]
    pub const fn id(&self, v6: bool) -> NodeId {
        self.overlays[v6 as usize].table.own()
    }

    /// Nodes in the routing tables that are not known to be bad.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.overlays.iter().map(|overlay| overlay.table.usable()).sum()
    }

    /// The address under which others see us, as most of them say.
    #[must_use]
    pub fn external_ip(&self, v6: bool) -> Option<IpAddr> {
        self.overlays[usize::from(v6)].votes.leader()
    }

    /// An address where a node may be: of a torrent's `nodes`, or of a PORT message.
    pub fn add_contact(&mut self, now: Instant, addr: SocketAddr) {
        self.queue_contact(addr);
        self.pump(now);
    }

    /// An address to begin at, and to begin at again whenever every node is gone.
    pub fn add_bootstrap(&mut self, now: Instant, addr: SocketAddr) {
        let addr = unmap(addr);
        if !self.bootstrap.contains(&addr) && self.bootstrap.len() < BOOTSTRAP_MAX {
            self.bootstrap.push(addr);
            self.bootstrap_pause = BOOTSTRAP_FIRST;
        }
        self.add_contact(now, addr);
    }

    /// Looks for the peers of a swarm, and announces us there, now and again and again.
    pub fn track(&mut self, now: Instant, info_hash: InfoHash) {
        if self.searches.len() < SEARCHES_MAX {
            let search = Search { due: [now; 2], pause: SEARCH_FIRST, stored_here: [false; 2] };
            self.searches.entry(info_hash).or_insert(search);
        }
        let here = [false, true].map(|v6| self.peers.get(now, info_hash, v6, 0)).concat();
        self.tell_peers(info_hash, here);
        self.pump(now);
    }

    /// We have left that swarm.
    pub fn untrack(&mut self, info_hash: InfoHash) {
        self.searches.remove(&info_hash);
        self.lookups.retain(|_, lookup| lookup.purpose != lookup::Purpose::Peers(info_hash));
    }

    /// The swarm is short of peers: it is looked up soon, not in a quarter of an hour.
    pub fn want_peers(&mut self, now: Instant, info_hash: InfoHash) {
        if let Some(search) = self.searches.get_mut(&info_hash) {
            search.pause = SEARCH_FIRST;
            search.due = search.due.map(|due| due.min(now + SEARCH_HURRY));
        }
        self.pump(now);
    }

    /// A datagram has come that begins like a dictionary.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let from = unmap(from);
        if !is_dialable(from) || !self.overlays[family(from)].open {
            return;
        }
        let message = Message::parse(bytes);
        let pending = match &message {
            Ok(message) => self.take_pending(from, message),
            Err(_) => None,
        };
        // Answers that we asked for are no flood.
        if pending.is_none() && !self.flood.admits(now, from.ip()) {
            return;
        }
        match message {
            Ok(message) => match (message.body, pending) {
                (Body::Query(id, query), _) => {
                    let asked = answer::Asked { from, id, transaction: message.transaction };
                    self.asked(now, &asked, &query);
                    // BEP 43: who answers nothing has no place in a table.
                    if !message.read_only {
                        self.meet(now, from, id);
                    }
                }
                (Body::Response(response), Some(pending)) => {
                    self.answered(now, &pending, message.your_addr, &response);
                }
                (Body::Error(code, text), Some(pending)) => {
                    log::debug!("dht: <- {from} error {code}: {}", text.escape_ascii());
                    self.refused(&pending);
                }
                (Body::Response(_) | Body::Error(..), None) => {}
            },
            Err(Malformed::Query(transaction)) => self.say_malformed(now, from, transaction),
            Err(Malformed::NotKrpc) => {}
        }
        self.pump(now);
    }

    /// Time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake_at.is_some_and(|at| at <= now) {
            self.late(now);
            self.care(now);
            if now >= self.expire_at {
                self.peers.expire(now);
                self.expire_at = now + EXPIRE_EVERY;
            }
            self.pump(now);
        }
    }

    /// When to call [`Dht::handle_timeout`] at the latest.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, to: SocketAddr, message: &Message<'_>) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back((to, message.to_bytes()));
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    fn tell_peers(&mut self, info_hash: InfoHash, peers: Vec<SocketAddr>) {
        if !peers.is_empty() && self.searches.contains_key(&info_hash) {
            self.tell(Event::Peers(info_hash, peers));
        }
    }

    fn queue_contact(&mut self, addr: SocketAddr) {
        let addr = unmap(addr);
        let useful = is_dialable(addr) && self.overlays[family(addr)].open;
        let known = self.contacts.contains(&addr);
        if useful && !known && self.contacts.len() < CONTACTS_MAX {
            self.contacts.push_back(addr);
        }
    }

    /// Works out when to come back.
    fn plan(&self) -> Option<Instant> {
        let queries = self.pending.values().map(Pending::next_at).min();
        let care = |overlay: &Overlay| (!overlay.table.is_empty()).then_some(overlay.care_at);
        let care = self.overlays.iter().filter_map(care).min();
        let room = self.lookups.len() < LOOKUPS_MAX;
        let due = |v6: usize| self.searches.values().map(move |search| search.due[v6]).min();
        let ready = (0..2).filter(|&v6| room && self.is_ready(v6));
        let next = |v6: usize| [due(v6), Some(self.overlays[v6].join_at)].into_iter().flatten();
        let search = ready.flat_map(next).min();
        let alone = !self.bootstrap.is_empty() && self.node_count() < K;
        let bootstrap = alone.then_some(self.bootstrap_at);
        let expire = (!self.peers.is_empty()).then_some(self.expire_at);
        [queries, care, search, bootstrap, expire].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
