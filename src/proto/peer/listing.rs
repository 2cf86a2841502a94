//! What people are told of connections and hosts.

use super::Peer;
use crate::proto::output::{Action, Asker};
use crate::units::id::SwarmId;
use crate::units::time::Instant;
use crate::wire::address::{is_dialable, HostPort};
use core::net::SocketAddr;
use std::collections::BTreeSet;

/// What people are told of one connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// In which swarm.
    pub swarm: SwarmId,
    /// The other end of the socket.
    pub remote: SocketAddr,
    /// Where it listens, if it has said so.
    pub listens: Option<SocketAddr>,
    /// We dialed it.
    pub dialed: bool,
    /// Its program and version; remote text.
    pub client: Option<String>,
    /// Pieces it has.
    pub pieces: u32,
    /// Payload from it, in bytes a second.
    pub down_rate: u64,
    /// Payload to it, in bytes a second.
    pub up_rate: u64,
    /// We do not serve it.
    pub am_choking: bool,
    /// We want something of it.
    pub am_interested: bool,
    /// It does not serve us.
    pub peer_choking: bool,
    /// It wants something of ours.
    pub peer_interested: bool,
}

impl Peer {
    /// Every connected peer, swarm after swarm.
    pub fn peers(&mut self, now: Instant) -> Vec<PeerReport> {
        let Self { swarms, connections, .. } = self;
        let mut reports = Vec::new();
        for (&swarm, members) in swarms.iter().map(|(id, s)| (id, &s.members)) {
            for member in members {
                let Some(conn) = connections.get_mut(*member) else { continue };
                let (remote, dialed) = (conn.remote, conn.dialed);
                let Some(p) = conn.peering_mut() else { continue };
                let listens = p.listen_port.map(|port| SocketAddr::new(remote.ip(), port));
                reports.push(PeerReport {
                    swarm,
                    remote,
                    listens: listens.or(dialed.then_some(remote)),
                    dialed,
                    client: p.client.clone(),
                    pieces: p.pieces.as_ref().map_or(0, |pieces| pieces.count()),
                    down_rate: p.down.get(now),
                    up_rate: p.up.get(now),
                    am_choking: p.am_choking,
                    am_interested: p.am_interested,
                    peer_choking: p.peer_choking,
                    peer_interested: p.peer_interested,
                });
            }
        }
        reports
    }

    /// Every host that may have a catalogue, each once: those the user named, those heard on the
    /// local network, those that are connected, and the contacts of swarms that are not private, at most `most` in all.
    #[must_use]
    pub fn hosts(&self, most: usize) -> Vec<SocketAddr> {
        let named = self.named_addrs();
        let swarms = || self.swarms.values().filter(|s| !s.torrent.private);
        let listening = |id: &crate::units::id::ConnId| {
            let conn = self.connections.get(*id)?;
            let port = conn.peering()?.listen_port?;
            Some(SocketAddr::new(conn.remote.ip(), port))
        };
        let connected = swarms().flat_map(|s| s.members.iter().filter_map(listening));
        let contacts = swarms().flat_map(|s| s.contacts.best());
        let mut seen = BTreeSet::new();
        let all = named.into_iter().chain(self.lan_hosts()).chain(connected).chain(contacts);
        all.filter(|addr| is_dialable(*addr) && seen.insert(*addr)).take(most).collect()
    }

    /// Whether the name of a host that the user named is still being resolved.
    #[must_use]
    pub fn is_resolving(&self) -> bool {
        self.named.iter().any(|named| named.resolving)
    }

    /// The user named a host for this swarm alone.
    pub fn name_for(&mut self, swarm: SwarmId, host: HostPort) {
        self.actions.push_back(Action::Resolve(host, Asker::Dialer(Some(swarm))));
    }

    /// These peers are in the swarm, the user or a catalogue says so: they are dialed for ever.
    pub fn add_contacts(&mut self, now: Instant, swarm: SwarmId, addrs: &[SocketAddr]) {
        self.learn_contacts(now, swarm, addrs.iter().copied(), true);
        self.dial_due(now);
    }
}
