//! Dialing: whom, when, from which client port.

use super::{DialError, Named, Peer};
use crate::proto::closed::Closed;
use crate::proto::connection::{Phase, Purpose};
use crate::proto::contacts::Ending;
use crate::proto::output::{Action, Asker, TlsDial};
use crate::proto::ports::Lease;
use crate::proto::priority::{nearest, priority};
use crate::proto::swarm::{Stage, Swarm};
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::{
    ANNOUNCE_WITHIN, DIAL_WITHIN, HANDSHAKE_WITHIN, LAN_DIAL_WITHIN, PORTS_REST,
};
use crate::units::time::{Duration, Instant};
use crate::wire::address::{is_dialable, is_lan, HostPort};
use crate::wire::handshake::Handshake;
use crate::wire::http;
use core::net::{IpAddr, SocketAddr};

/// Pause before a name that could not be resolved is tried again.
const RESOLVE_PAUSE: Duration = Duration::from_secs(5);

impl Peer {
    /// The user named a host: it is dialed in every swarm, again and again.
    pub fn handle_named(&mut self, now: Instant, host: HostPort) {
        if !self.named.iter().any(|n| n.host == host) {
            let resolve_at = Some(now);
            self.named.push(Named { host, addrs: Vec::new(), resolve_at, resolving: true });
            self.resolve_named(now);
        }
    }

    /// An answer to [`Action::Resolve`]: each address, and whether it is one of this host.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        host: &HostPort,
        asker: &Asker,
        answer: Result<Vec<(IpAddr, bool)>, String>,
    ) {
        match asker {
            Asker::Dht => self.dht_host_resolved(now, host, answer),
            Asker::Announcer(swarm) => self.announcer_resolved(now, *swarm, host, answer),
            Asker::Dialer(swarm) => self.dialer_resolved(now, host, *swarm, answer),
        }
        self.dial_due(now);
    }

    /// The socket is connected.
    pub fn handle_connected(&mut self, now: Instant, id: ConnId, local: SocketAddr) {
        let (peer_id, port) = (self.config.peer_id, self.config.listen_port);
        let takes_part = self.dht().is_some();
        let Self { connections, swarms, .. } = self;
        let Some(conn) = connections.get_mut(id) else {
            return;
        };
        let Ok(Phase::Dialing { purpose, .. }) = conn.phase else { return };
        conn.local = Some(local);
        self.ports_warned.retain(|&port| port != local.port());
        if let Purpose::Fetch(fetch) = purpose {
            return self.fetch_connected(now, id, fetch);
        }
        let Some(swarm) = purpose.swarm().and_then(|id| swarms.get_mut(&id)) else { return };
        conn.phase = Ok(match purpose {
            Purpose::Fetch(_) | Purpose::Announce(_) => {
                let request = swarm.announcer.request(&swarm.stats(peer_id, port));
                log::debug!("-> {} {}", conn.remote, http::first_line(&request));
                conn.outgoing.push_bytes(&request);
                let deadline = now + ANNOUNCE_WITHIN;
                Phase::Announcing { swarm: swarm.id, bytes: Vec::new(), deadline }
            }
            Purpose::Peer(_) => {
                log::info!("client {} connected to {}", local.port(), conn.remote);
                let handshake = Handshake::ours(swarm.torrent.info_hash, peer_id);
                let handshake = handshake.with_dht(takes_part && !swarm.torrent.private);
                conn.say_handshake(&handshake);
                let deadline = now + HANDSHAKE_WITHIN;
                Phase::Handshaking { swarm: swarm.id, bytes: Vec::new(), deadline }
            }
        });
        self.arm(now, id);
        self.want_send(id);
    }

    /// The socket could not be connected.
    pub fn handle_dial_failed(&mut self, now: Instant, id: ConnId, error: DialError) {
        let Some(conn) = self.connection(id) else { return };
        let (remote, port) = (conn.remote, conn.lease.and_then(Lease::port));
        let Ok(Phase::Dialing { purpose, .. }) = conn.phase else { return };
        match error {
            DialError::PortBusy => {
                return self.retry_from_next_port(now, id, remote, purpose, port);
            }
            DialError::Refused => {
                self.close(now, id, Closed::Refused);
                // It would refuse for another torrent as well.
                self.swarms.values_mut().for_each(|swarm| swarm.contacts.refused(remote, now));
            }
            DialError::Failed(why) => self.close(now, id, Closed::Dial(why)),
        }
        self.dial_due(now);
    }

    /// Dials whatever is due while there are client ports. Announces come first: they are short,
    /// and peers come from them.
    pub(super) fn dial_due(&mut self, now: Instant) {
        // What is to be dialed besides comes behind the announce.
        if self.announce_due(now) || self.stopping {
            return;
        }
        self.fetch_due(now);
        while self.ports.has_free() {
            let Some((swarm, addr)) = self.next_contact(now) else { return };
            self.dial(now, addr, Purpose::Peer(swarm), Some(addr));
        }
    }

    pub(super) fn dial(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        purpose: Purpose,
        contact: Option<SocketAddr>,
    ) -> bool {
        let Some(lease) = self.ports.take() else { return false };
        // A LAN tracker that is away is asked about once a second, so no dial waits longer.
        let announce = matches!(purpose, Purpose::Announce(_));
        let near = announce && is_lan(remote.ip());
        let deadline = now + if near { LAN_DIAL_WITHIN } else { DIAL_WITHIN };
        let local_port = lease.port();
        let id = self.insert(now, remote, Phase::Dialing { purpose, deadline });
        if let Some(conn) = self.connection(id) {
            conn.dialed = true;
            conn.lease = Some(lease);
            conn.contact = contact;
        }
        let swarm = purpose.swarm().and_then(|id| self.swarms.get_mut(&id));
        if let (Some(addr), Some(swarm)) = (contact, swarm) {
            swarm.contacts.engage(addr, id);
        }
        log::debug!("dialing {remote}");
        let swarm = purpose.swarm().and_then(|id| self.swarms.get(&id));
        let host = swarm.filter(|_| announce).and_then(|swarm| swarm.announcer.tls_host());
        self.actions.push_back(match host {
            Some(host) => Action::DialTls(TlsDial { conn: id, remote, local_port, host }),
            None => Action::Dial { conn: id, remote, local_port },
        });
        true
    }

    /// When this swarm next wants to dial or announce.
    pub(super) fn swarm_timeout(&self, swarm: &Swarm) -> Option<Instant> {
        let announce = swarm.announcer.poll_timeout();
        let Some(port) = self.ports.next_free() else {
            // Until a port comes back, an announce that is due waits for the next tick.
            return announce.map(|at| at.max(self.next_tick));
        };
        if self.stopping {
            return announce;
        }
        let contact = self.dials(swarm).and_then(|known| swarm.contacts.next_due(known));
        let next = [announce, contact].into_iter().flatten().min()?;
        Some(next.max(port))
    }

    /// Learns addresses for one swarm; how many of them were new.
    pub(super) fn learn_contacts(
        &mut self,
        now: Instant,
        swarm: SwarmId,
        addrs: impl IntoIterator<Item = SocketAddr>,
        known: bool,
    ) -> usize {
        let Self { swarms, config, .. } = self;
        let (own, port) = (&config.own_addresses, config.listen_port);
        let Some(swarm) = swarms.get_mut(&swarm) else { return 0 };
        let others =
            addrs.into_iter().filter(|&addr| is_dialable(addr) && !config.is_ourselves(addr));
        let priority_of = |addr: SocketAddr| {
            let ours = nearest(own, addr.ip());
            ours.map_or(0, |ip| priority(SocketAddr::new(ip, port), addr))
        };
        others.filter(|&addr| swarm.contacts.add(addr, known, priority_of(addr), now)).count()
    }

    pub(super) fn resolve_named(&mut self, now: Instant) {
        for named in &mut self.named {
            if named.resolve_at.is_some_and(|at| at <= now) {
                named.resolve_at = None;
                self.actions.push_back(Action::Resolve(named.host.clone(), Asker::Dialer(None)));
            }
        }
    }

    /// The addresses the user named so far, for a swarm that starts.
    pub(super) fn named_addrs(&self) -> Vec<SocketAddr> {
        self.named.iter().flat_map(|n| n.addrs.iter().copied()).collect()
    }

    fn dialer_resolved(
        &mut self,
        now: Instant,
        host: &HostPort,
        only: Option<SwarmId>,
        answer: Result<Vec<(IpAddr, bool)>, String>,
    ) {
        let listen = self.config.listen_port;
        let addrs: Vec<SocketAddr> = match &answer {
            Ok(ips) => ips
                .iter()
                .filter(|(_, own)| !(*own && host.port == listen))
                .map(|&(ip, _)| SocketAddr::new(ip, host.port))
                .collect(),
            Err(why) => {
                log::warn!("{host}: {why}");
                Vec::new()
            }
        };
        if only.is_none() {
            if let Some(named) = self.named.iter_mut().find(|n| n.host == *host) {
                named.resolve_at = answer.is_err().then_some(now + RESOLVE_PAUSE);
                named.addrs.clone_from(&addrs);
                named.resolving = false;
            }
        }
        let swarms: Vec<SwarmId> = self.swarms.keys().copied().collect();
        for swarm in swarms.into_iter().filter(|&s| only.is_none_or(|only| only == s)) {
            self.learn_contacts(now, swarm, addrs.iter().copied(), true);
        }
        addrs.into_iter().for_each(|addr| self.learn_tracker(now, addr, only));
    }

    /// Whether the swarm dials at all, and if so, whether only hosts the user named.
    fn dials(&self, swarm: &Swarm) -> Option<bool> {
        match swarm.stage {
            _ if swarm.paused => None,
            Stage::Downloading | Stage::Metadata => Some(false),
            Stage::Complete => Some(!self.config.seed_dials),
            Stage::Checking | Stage::Failed | Stage::Left(_) => None,
        }
    }

    /// The next contact, swarm after swarm in turn.
    fn next_contact(&mut self, now: Instant) -> Option<(SwarmId, SocketAddr)> {
        let after = self.swarms.range(SwarmId(self.last_dialer.0.saturating_add(1))..);
        let before = self.swarms.range(..=self.last_dialer);
        let due = |(&id, swarm): (&SwarmId, &Swarm)| {
            let addr = swarm.contacts.due(now, self.dials(swarm)?)?;
            Some((id, addr))
        };
        let found = after.chain(before).find_map(due)?;
        self.last_dialer = found.0;
        Some(found)
    }

    /// The leased port cannot be used now: the next one may.
    fn retry_from_next_port(
        &mut self,
        now: Instant,
        id: ConnId,
        remote: SocketAddr,
        purpose: Purpose,
        port: Option<u16>,
    ) {
        let Some(port) = port else {
            return self.close(now, id, Closed::Dial("no local port is free".into()));
        };
        if !self.ports_warned.contains(&port) {
            log::warn!("client port {port} is busy towards {remote}; trying the next");
            self.ports_warned.push(port);
        }
        let contact = self.connection(id).and_then(|conn| conn.contact);
        self.remove_quietly(id);
        self.ports.rest(port, now + PORTS_REST);
        if self.dial(now, remote, purpose, contact) {
            return;
        }
        match purpose {
            Purpose::Announce(swarm) => self.postpone_announce(now, swarm),
            _ => {
                self.release_purpose(
                    now,
                    purpose,
                    contact,
                    Ending::NoPort,
                    "no client port is free",
                );
            }
        }
    }
}
