//! The whole process as a state machine: every swarm, every connection, the tracker.
//!
//! One input at a time: call a `handle_*`, then drain [`Peer::poll_action`] and
//! [`Peer::poll_event`] to `None`, then give the next input. [`Peer::poll_timeout`] says when to
//! call [`Peer::handle_timeout`]; a call that is early or repeated does nothing. An input for a
//! connection that is gone does nothing either.

mod announce;
mod answer;
mod chosen;
mod closing;
mod datagrams;
mod dht;
mod dial;
mod exchange;
mod extensions;
mod fetch;
pub mod goal;
mod leaving;
pub mod listing;
mod local;
mod messages;
mod metadata;
mod names;
mod offer;
mod pace;
mod pause;
mod push;
mod receive;
mod room;
pub mod search;
mod send;
mod stall;
mod suggest;
pub mod swarms;
#[cfg(test)]
mod tests;
mod tick;
mod turnover;

use super::connection::{Connection, Phase};
use super::connections::Connections;
use super::lsd::Lsd;
use super::output::{Action, Event, FetchId};
use super::ports::Ports;
use super::repeats::Repeats;
use super::store::Placed;
use super::swarm::{Report, Swarm};
use super::timers::Timers;
use super::tracker::Tracker;
use super::turns::Turns;
use crate::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use crate::units::limits::{HANDSHAKE_WITHIN, INBOUND_SPARE, LISTED_AGAIN};
use crate::units::rng::Rng;
use crate::units::time::{Duration, Instant};
use crate::wire::address::HostPort;
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

use goal::Goal;
use pace::Pace;

/// How often the peer looks at everything that is late.
const TICK: Duration = Duration::from_secs(1);

/// What the user has decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name.
    pub peer_id: PeerId,
    /// Nobody else knows it: what we hand out and take back is made with it.
    pub secret: [u8; 16],
    /// The port of the one listening socket.
    pub listen_port: u16,
    /// Client sockets at once.
    pub max_conns: u16,
    /// Client sockets bind any port, not listen+1 ..= listen+max-conns.
    pub any_client_port: bool,
    /// Accepted connections at once.
    pub max_inbound: usize,
    /// A seeder dials, too.
    pub seed_dials: bool,
    /// Peers served at once in one swarm; `None`: as many as the line is fast enough for.
    pub upload_slots: Option<usize>,
    /// Bytes of blocks a second that all peers together are sent, if the user says.
    pub max_up: Option<u64>,
    /// Bytes of blocks a second that all peers together are asked for, if the user says.
    pub max_down: Option<u64>,
    /// When we have given enough of a torrent.
    pub goal: Goal,
    /// Tell peers of each other (BEP 11, and our `rp_peers`).
    pub pex: bool,
    /// Addresses that are our own.
    pub own_addresses: Vec<IpAddr>,
    /// Listen to peers that dial us for a torrent that is not here.
    pub accept_torrents: bool,
}

/// What holds where the user says nothing; the name and the secret are still to be chosen.
impl Default for Config {
    fn default() -> Self {
        Self {
            peer_id: PeerId([0; 20]),
            secret: [0; 16],
            listen_port: crate::wire::address::PORT_DEFAULT,
            max_conns: 6,
            any_client_port: false,
            max_inbound: 100,
            seed_dials: false,
            upload_slots: None,
            max_up: None,
            max_down: None,
            goal: Goal::default(),
            pex: true,
            own_addresses: Vec::new(),
            accept_torrents: false,
        }
    }
}

impl Config {
    /// Whether that is where we listen ourselves, as far as our addresses are known.
    fn is_ourselves(&self, addr: SocketAddr) -> bool {
        addr.port() == self.listen_port && self.own_addresses.contains(&addr.ip())
    }
}

/// Why a dialed socket is not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The local port is in use, or its last connection to that address rests in TIME_WAIT.
    PortBusy,
    /// The host is there, and nobody listens.
    Refused,
    /// Anything else, in the system's words.
    Failed(String),
}

/// A peer: client, server and tracker at once.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    rng: Rng,
    connections: Connections,
    inbound: usize,
    swarms: BTreeMap<SwarmId, Swarm>,
    by_hash: BTreeMap<InfoHash, SwarmId>,
    next_swarm: u32,
    ports: Ports,
    /// Busy client ports that the user was told of; each once until it was free again.
    ports_warned: Vec<u16>,
    /// The swarm that dialed last; the next one has the next turn.
    last_dialer: SwarmId,
    /// Hosts that the user named, for every swarm.
    named: Vec<Named>,
    /// Requests to other peers' catalogues, waiting or under way; at most `FETCHES_MAX`.
    fetches: BTreeMap<FetchId, fetch::Fetch>,
    next_fetch: u32,
    /// Our name before another host was met that has it, too.
    former_id: Option<PeerId>,
    tracker: Tracker,
    /// Discovery on the local network, if wanted.
    lsd: Option<Lsd>,
    /// The DHT, if we take part in it.
    nodes: Option<dht::Nodes>,
    /// When each connection is looked at, though nothing comes.
    timers: Timers,
    /// Not before this.
    next_tick: Instant,
    /// When the tick has something else to do.
    tick_at: Option<Instant>,
    next_round: Instant,
    /// When our tracker next hears who is connected.
    listed_again: Instant,
    /// When connected peers are next told the whole list.
    list_again: Instant,
    turns: Turns,
    /// The rates that the user has set.
    pace: Pace,
    /// When something was last told to us; [`Peer::send_plan`] brings no time of its own.
    clock: Instant,
    stopping: bool,
    /// Lines of connections that came to nothing: some hosts try for ever.
    told: Repeats,
    /// Empty between two inputs; kept for its memory.
    placed: Vec<Placed>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

/// A host that the user named.
#[derive(Clone, Debug)]
struct Named {
    host: HostPort,
    addrs: Vec<SocketAddr>,
    /// When to resolve it (again).
    resolve_at: Option<Instant>,
    /// Its first answer is still to come.
    resolving: bool,
}

impl Peer {
    /// A peer without swarms. All its chances come from `seed`.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let tracker = Tracker::new(config.peer_id, config.listen_port, config.secret);
        let ports = Ports::new(config.listen_port, config.max_conns, config.any_client_port);
        let pace = Pace::new(config.max_up, config.max_down, now);
        Self {
            config,
            rng: Rng::new(seed),
            connections: Connections::default(),
            inbound: 0,
            swarms: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            next_swarm: 0,
            ports,
            ports_warned: Vec::new(),
            last_dialer: SwarmId(0),
            named: Vec::new(),
            fetches: BTreeMap::new(),
            next_fetch: 0,
            former_id: None,
            tracker,
            lsd: None,
            nodes: None,
            timers: Timers::default(),
            next_tick: now + TICK,
            tick_at: None,
            next_round: now,
            listed_again: now + LISTED_AGAIN,
            list_again: now + exchange::LIST_AGAIN,
            turns: Turns::default(),
            pace,
            clock: now,
            stopping: false,
            told: Repeats::default(),
            placed: Vec::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Peer::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tick = self.tick_timeout();
        let swarms = self.swarms.values().filter_map(|swarm| self.swarm_timeout(swarm)).min();
        let named = self.named.iter().filter_map(|n| n.resolve_at).min();
        let fetch = self.fetch_timeout();
        let news = self.swarms.values().filter_map(|swarm| swarm.bulletin.due()).min();
        let (lsd, tracker) = (self.lsd_timeout(), self.tracker.poll_timeout());
        let (turn, stall) = (self.turn_timeout(), self.stall_timeout());
        [
            self.leaving_timeout(),
            tick,
            swarms,
            named,
            fetch,
            news,
            lsd,
            self.dht_timeout(),
            tracker,
            turn,
            self.pace.asks_at(),
            stall,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A remote end has connected to our listening socket. `None`: there is no room for it.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Option<ConnId> {
        let full = self.inbound >= self.config.max_inbound + INBOUND_SPARE;
        if self.stopping || full && !self.find_socket(now, remote.ip()) {
            let why = match self.stopping {
                true => "stopping".to_owned(),
                false => format!("{} connections already", self.inbound),
            };
            self.tell_again(now, format!("{} refused: {why}", remote.ip()));
            return None;
        }
        self.inbound += 1;
        let deadline = now + HANDSHAKE_WITHIN;
        let id = self.insert(now, remote, Phase::Sniffing { bytes: Vec::new(), deadline });
        if let Some(conn) = self.connection(id) {
            conn.local = Some(local);
        }
        Some(id)
    }

    /// What people are told of every swarm.
    pub fn report(&mut self, now: Instant) -> Vec<Report> {
        let report = |swarm: &mut Swarm| {
            let (have, length) = swarm.wanted_bytes();
            Report {
                id: swarm.id,
                info_hash: swarm.torrent.info_hash,
                name: swarm.torrent.name.clone(),
                status: swarm.status,
                have,
                length,
                verified: swarm.have_bytes(),
                down_rate: swarm.down.get(now),
                up_rate: swarm.up.get(now),
                downloaded: swarm.downloaded,
                uploaded: swarm.uploaded,
                wasted: swarm.wasted,
                peers: swarm.members.len(),
            }
        };
        self.swarms.values_mut().filter(|swarm| swarm.is_here()).map(report).collect()
    }

    /// The swarm of this torrent.
    #[must_use]
    pub fn swarm_of(&self, info_hash: &InfoHash) -> Option<SwarmId> {
        self.by_hash.get(info_hash).copied()
    }

    /// The swarm of this id.
    #[must_use]
    pub fn swarm(&self, id: SwarmId) -> Option<&Swarm> {
        self.swarms.get(&id)
    }

    /// Whether every swarm has every piece that is wanted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let mut here = self.swarms.values().filter(|swarm| swarm.is_here()).peekable();
        here.peek().is_some() && here.all(|s| s.stage == super::swarm::Stage::Complete)
    }

    /// Whether nothing will become complete any more: some swarm has failed, the others have
    /// every piece.
    #[must_use]
    pub fn has_only_failed_or_complete(&self) -> bool {
        use super::swarm::Stage::{Complete, Failed};
        let mut stages = self.swarms.values().filter(|s| s.is_here()).map(|s| s.stage);
        stages.clone().any(|stage| stage == Failed)
            && stages.all(|stage| matches!(stage, Complete | Failed))
    }

    /// The id that the next swarm will have.
    #[must_use]
    pub const fn next_swarm_id(&self) -> SwarmId {
        SwarmId(self.next_swarm)
    }

    fn insert(&mut self, now: Instant, remote: SocketAddr, phase: Phase) -> ConnId {
        let id = self.connections.insert(|id| Connection::new(id, remote, phase, now));
        if self.connections.len() == 1 {
            self.next_tick = now + TICK;
        }
        self.tick_soon(now);
        self.arm(now, id);
        id
    }

    fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id)
    }

    /// Tells the reactor, once, that this connection has something to send.
    fn want_send(&mut self, id: ConnId) {
        let Some(conn) = self.connections.get_mut(id) else {
            return;
        };
        if conn.outgoing.is_ready() && !core::mem::replace(&mut conn.send_told, true) {
            self.actions.push_back(Action::Send(id));
        }
    }
}
