//! One host: a peer, its disk, its sockets, and what must always hold of them.

use super::disk::Disk;
use reactor_peer::proto::peer::swarms::Progress;
use reactor_peer::proto::peer::{Config, Peer};
use reactor_peer::units::id::{ConnId, PeerId, SwarmId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub const LISTEN: u16 = 5000;
pub const CLIENTS: u16 = 6;
/// Calls of the timer in one virtual second.
const TIMERS_MAX: u32 = 200;
/// Actions in one virtual second, beyond what bytes and connections explain.
const ACTIONS_MAX: u64 = 20_000;

/// What every peer is told, where a simulation says nothing else.
pub fn config(peer_id: PeerId, ip: IpAddr, max_conns: u16) -> Config {
    Config {
        peer_id,
        listen_port: LISTEN,
        max_conns,
        max_inbound: 400,
        own_addresses: vec![ip],
        ..Config::default()
    }
}

#[derive(Debug)]
pub struct Host {
    pub ip: IpAddr,
    pub peer: Option<Peer>,
    pub incarnation: u32,
    pub swarm: SwarmId,
    pub disk: Disk,
    /// What a crash leaves of the progress.
    pub saved: Option<Progress>,
    /// Link and end of each connection.
    pub conns: BTreeMap<ConnId, (usize, usize)>,
    pub ports: BTreeMap<ConnId, u16>,
    pub to_send: VecDeque<ConnId>,
    pub timer_at: Option<u64>,
    pub poisons: bool,
    /// It starts with the magnet link only.
    pub magnet: bool,
    /// The one other host it is told of where there is no tracker.
    pub friend: Option<SocketAddr>,
    second: u64,
    timers: u32,
    actions: u64,
}

impl Host {
    pub fn new(index: usize, disk: Disk) -> Self {
        let (high, low) = ((index + 1) / 250, (index + 1) % 250);
        Self {
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, high as u8, low as u8)),
            peer: None,
            incarnation: 0,
            swarm: SwarmId(0),
            disk,
            saved: None,
            conns: BTreeMap::new(),
            ports: BTreeMap::new(),
            to_send: VecDeque::new(),
            timer_at: None,
            poisons: false,
            magnet: false,
            friend: None,
            second: 0,
            timers: 0,
            actions: 0,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, LISTEN)
    }

    pub fn is_complete(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::is_complete)
    }

    pub fn dials(&mut self, conn: ConnId, port: Option<u16>) -> u16 {
        let port = port.expect("every dial has a client port");
        assert!(port > LISTEN && port <= LISTEN + CLIENTS, "client port {port}");
        assert!(self.ports.values().all(|&p| p != port), "client port {port} is lent twice");
        self.ports.insert(conn, port);
        assert!(self.ports.len() <= usize::from(CLIENTS), "too many client connections");
        port
    }

    pub fn count_action(&mut self, now: u64) {
        self.turn_second(now);
        self.actions += 1;
        let most = ACTIONS_MAX + 100 * self.conns.len() as u64;
        assert!(self.actions <= most, "{} actions in a second", self.actions);
    }

    pub fn count_timer(&mut self, now: u64) {
        self.turn_second(now);
        self.timers += 1;
        assert!(self.timers <= TIMERS_MAX, "{} timers in a second: it spins", self.timers);
    }

    fn turn_second(&mut self, now: u64) {
        let second = now / 1_000_000;
        if self.second != second {
            (self.second, self.timers, self.actions) = (second, 0, 0);
        }
    }
}
