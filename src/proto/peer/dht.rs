//! The DHT's place in the peer: which swarms it searches, what its finds become, whom it begins at.
//! The DHT itself is `proto::dht`.

use super::Peer;
use crate::proto::dht::{self, Dht, Event};
use crate::proto::output::{Action, Asker, Via};
use crate::proto::swarm::{Stage, Swarm};
use crate::units::id::{ConnId, InfoHash, SwarmId};
use crate::units::time::{Duration, Instant};
use crate::wire::address::HostPort;
use crate::wire::digest::Hasher;
use crate::wire::krpc::saved::SavedTable;
use crate::wire::message::Message;
use core::net::{IpAddr, SocketAddr};

/// Hosts at which the DHT begins: those of the user, and those that torrents name.
const HOSTS_MAX: usize = 64;
/// First pause before a name that could not be resolved is tried again; it doubles.
const RESOLVE_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause.
const RESOLVE_LAST: Duration = Duration::from_secs(60);

/// The node, and the hosts it begins at.
#[derive(Debug)]
pub(super) struct Nodes {
    dht: Dht,
    hosts: Vec<DhtHost>,
}

/// A host where a node of the DHT is said to be.
#[derive(Debug)]
struct DhtHost {
    host: HostPort,
    resolve_at: Option<Instant>,
    pause: Duration,
}

impl Peer {
    /// Takes part in the DHT from now on. `families`: whether our datagrams reach IPv4, and IPv6.
    pub fn start_dht(&mut self, now: Instant, saved: Option<SavedTable>, families: [bool; 2]) {
        // Its own secret: what the DHT shows of its chances tells nothing of other tokens.
        let mut hasher = Hasher::default();
        hasher.update(b"dht");
        hasher.update(&self.config.secret);
        let config =
            dht::Config { secret: hasher.finish(), port: self.config.listen_port, families };
        let dht = Dht::new(config, saved, now);
        self.nodes = Some(Nodes { dht, hosts: Vec::new() });
        let swarms: Vec<SwarmId> = self.by_hash.values().copied().collect();
        swarms.into_iter().for_each(|swarm| self.dht_join(now, swarm));
        self.drain_dht(now);
    }

    /// A host where the DHT can be entered: named by the user, or by a torrent (`nodes`, BEP 5).
    pub fn add_dht_host(&mut self, now: Instant, host: HostPort) {
        let Some(nodes) = &mut self.nodes else { return };
        if nodes.hosts.len() < HOSTS_MAX && !nodes.hosts.iter().any(|known| known.host == host) {
            nodes.hosts.push(DhtHost { host, resolve_at: Some(now), pause: RESOLVE_FIRST });
            self.resolve_dht_hosts(now);
        }
    }

    /// The node of the DHT, for reports and for saving its table.
    #[must_use]
    pub fn dht(&self) -> Option<&Dht> {
        self.nodes.as_ref().map(|nodes| &nodes.dht)
    }

    /// Searches and announces a swarm from now on, if it may (BEP 27: a private one may not).
    pub(super) fn dht_join(&mut self, now: Instant, id: SwarmId) {
        let Self { swarms, nodes, .. } = self;
        let (Some(swarm), Some(nodes)) = (swarms.get(&id), nodes) else { return };
        if swarm.uses_dht() && !self.stopping {
            nodes.dht.track(now, swarm.torrent.info_hash);
            self.drain_dht(now);
        }
    }

    pub(super) fn dht_leave(&mut self, id: SwarmId) {
        if let (Some(swarm), Some(nodes)) = (self.swarms.get(&id), &mut self.nodes) {
            nodes.dht.untrack(swarm.torrent.info_hash);
        }
    }

    /// The swarm is short of peers.
    pub(super) fn dht_want_peers(&mut self, now: Instant, hash: InfoHash) {
        if let Some(nodes) = &mut self.nodes {
            nodes.dht.want_peers(now, hash);
            self.drain_dht(now);
        }
    }

    /// Whether a handshake for that swarm should say that we take part in the DHT (BEP 5).
    pub(super) fn says_dht(&self, hash: InfoHash) -> bool {
        let swarm = self.by_hash.get(&hash).and_then(|id| self.swarms.get(id));
        self.nodes.is_some() && swarm.is_some_and(|swarm| !swarm.torrent.private)
    }

    /// BEP 5: whoever takes part in the DHT is told our port.
    pub(super) fn say_port(&mut self, id: ConnId) {
        self.say(id, &Message::Port(self.config.listen_port));
    }

    /// A PORT message: its sender has a node there.
    pub(super) fn told_port(&mut self, now: Instant, id: ConnId, port: u16) {
        let Some(conn) = self.connection(id) else { return };
        let (swarm, addr) = (conn.swarm(), SocketAddr::new(conn.remote.ip(), port));
        let private = swarm.and_then(|id| self.swarms.get(&id)).is_none_or(|s| s.torrent.private);
        if let Some(nodes) = self.nodes.as_mut().filter(|_| !private) {
            nodes.dht.add_contact(now, addr);
            self.drain_dht(now);
        }
    }

    pub(super) fn krpc_received(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if let Some(nodes) = self.nodes.as_mut().filter(|_| !self.stopping) {
            nodes.dht.handle_datagram(now, from, bytes);
            self.drain_dht(now);
            self.dial_due(now);
        }
    }

    pub(super) fn dht_due(&mut self, now: Instant) {
        self.resolve_dht_hosts(now);
        if let Some(nodes) = self.nodes.as_mut().filter(|_| !self.stopping) {
            nodes.dht.handle_timeout(now);
            self.drain_dht(now);
        }
    }

    pub(super) fn dht_timeout(&self) -> Option<Instant> {
        let nodes = self.nodes.as_ref().filter(|_| !self.stopping)?;
        let resolve = nodes.hosts.iter().filter_map(|host| host.resolve_at).min();
        [resolve, nodes.dht.poll_timeout()].into_iter().flatten().min()
    }

    /// The addresses of such a host are known, or not.
    pub(super) fn dht_host_resolved(
        &mut self,
        now: Instant,
        host: &HostPort,
        answer: Result<Vec<(IpAddr, bool)>, String>,
    ) {
        let listen = self.config.listen_port;
        let Some(nodes) = &mut self.nodes else { return };
        let Some(known) = nodes.hosts.iter_mut().find(|known| known.host == *host) else { return };
        match answer {
            Err(why) => {
                if known.pause == RESOLVE_FIRST {
                    log::warn!("dht: {host}: {why}");
                }
                known.resolve_at = Some(now + known.pause);
                known.pause = (known.pause * 2).min(RESOLVE_LAST);
            }
            Ok(ips) => {
                for (ip, own) in ips {
                    if !(own && host.port == listen) {
                        nodes.dht.add_bootstrap(now, SocketAddr::new(ip, host.port));
                    }
                }
            }
        }
        self.drain_dht(now);
    }

    fn resolve_dht_hosts(&mut self, now: Instant) {
        let Some(nodes) = self.nodes.as_mut().filter(|_| !self.stopping) else { return };
        for known in &mut nodes.hosts {
            if known.resolve_at.is_some_and(|at| at <= now) {
                known.resolve_at = None;
                self.actions.push_back(Action::Resolve(known.host.clone(), Asker::Dht));
            }
        }
    }

    /// Sends what the DHT says; what it has found become contacts.
    fn drain_dht(&mut self, now: Instant) {
        let Some(nodes) = &mut self.nodes else { return };
        while let Some((to, bytes)) = nodes.dht.poll_transmit() {
            self.actions.push_back(Action::SendDatagram { via: Via::Port, to, bytes });
        }
        let events: Vec<Event> = core::iter::from_fn(|| nodes.dht.poll_event()).collect();
        for event in events {
            if let Event::Peers(info_hash, peers) = event {
                self.dht_found(now, info_hash, peers);
            }
        }
    }

    fn dht_found(&mut self, now: Instant, info_hash: InfoHash, peers: Vec<SocketAddr>) {
        let Some(&id) = self.by_hash.get(&info_hash) else { return };
        if self.swarms.get(&id).is_none_or(|swarm| swarm.torrent.private) {
            return;
        }
        let new = self.learn_contacts(now, id, peers, false);
        if let Some(swarm) = self.swarms.get(&id).filter(|_| new > 0) {
            let peers = if new == 1 { "peer" } else { "peers" };
            log::info!("{}: the DHT knows {new} more {peers}", swarm.torrent.name);
        }
    }
}

impl Swarm {
    fn uses_dht(&self) -> bool {
        self.stage != Stage::Checking && self.takes_part() && !self.torrent.private
    }
}
