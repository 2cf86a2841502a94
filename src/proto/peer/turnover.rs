//! Who gives its client port back while others need one.
//!
//! Where all ports are taken by peers that lack what we lack, one of them gives way to an address
//! that is not connected: otherwise a group of peers with few ports could close in on itself, each
//! waiting for the others, though the one that has the piece is known to all of them. And no swarm
//! keeps more than its share of the ports while another has none.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::Purpose;
use crate::proto::peering::Peering;
use crate::proto::swarm::{Stage, Swarm};
use crate::units::id::{ConnId, SwarmId};
use crate::units::time::{Duration, Instant};
use core::net::SocketAddr;
use std::collections::BTreeMap;

/// Between two dialed peers that give way to others, while a piece is with no connected peer: a
/// hundred addresses are tried in a quarter of an hour, and nobody is called in vain for long.
const TURN_OVER_AFTER: Duration = Duration::from_secs(10);

impl Peer {
    /// Once a second: a swarm that lacks its share of the ports gets one; every now and then, in
    /// each that is short of a piece, the dialed peer of least use goes, and the address that has
    /// waited for longest is dialed.
    pub(super) fn turn_over(&mut self, now: Instant) {
        let swarms: Vec<SwarmId> = self.swarms.keys().copied().collect();
        for id in swarms {
            if self.stopping || self.ports.has_free() {
                return;
            }
            let (why, found) = match self.share_of(now, id) {
                Some(found) => (Closed::MakeRoom, Some(found)),
                None => (Closed::NothingNew, self.exchange_of(now, id)),
            };
            if let Some((addr, gives_way)) = found {
                self.close(now, gives_way, why);
                self.dial(now, addr, Purpose::Peer(id), Some(addr));
            }
        }
    }

    /// For a swarm with fewer peers than its share of the ports: whom to dial, and who gives way
    /// for it in the swarm that has most ports, if those are more than its share.
    fn share_of(&mut self, now: Instant, id: SwarmId) -> Option<(SocketAddr, ConnId)> {
        let wants = |s: &Swarm| s.stage == Stage::Downloading && !s.paused;
        let swarm = self.swarms.get(&id).filter(|swarm| wants(swarm))?;
        let mut ports: BTreeMap<SwarmId, usize> = BTreeMap::new();
        for conn in self.connections.iter().filter(|conn| conn.lease.is_some()) {
            *ports.entry(conn.swarm()?).or_default() += 1;
        }
        let takers = self.swarms.values().filter(|s| wants(s) || ports.contains_key(&s.id));
        let share = usize::from(self.config.max_conns) / takers.count().max(1);
        let has = |id| ports.get(&id).copied().unwrap_or(0);
        if swarm.members.len().max(has(id)) >= share {
            return None;
        }
        let addr = swarm.contacts.longest_due(now)?;
        let richest = ports.iter().max_by_key(|(_, &count)| count).map(|(&id, _)| id)?;
        let beyond = has(richest) > share.max(has(id) + 1);
        let gives_way = beyond.then(|| self.least_useful(now, richest, false))??;
        Some((addr, gives_way))
    }

    /// Whether a download would stand still without this peer: some piece is with nobody else.
    pub(super) fn is_sole_source(&self, id: ConnId) -> bool {
        let of = |peering: &Peering| {
            let swarm = self.swarms.get(&peering.swarm)?;
            let fetches = swarm.stage == Stage::Downloading && !swarm.paused;
            Some(fetches && swarm.picker.is_sole_source(peering.pieces.as_ref()?))
        };
        self.connections.get(id).and_then(|conn| of(conn.peering()?)).unwrap_or(false)
    }

    /// The dialed peer of a swarm that brings and takes least, of those that had time to; who alone
    /// has a piece after all others.
    fn least_useful(&mut self, now: Instant, id: SwarmId, idle: bool) -> Option<ConnId> {
        let mut least: Option<(bool, u64, Instant, ConnId)> = None;
        for member in self.swarms.get(&id)?.members.clone() {
            let sole = self.is_sole_source(member);
            let Some(conn) = self.connections.get_mut(member) else { continue };
            let dialed = conn.lease.is_some();
            let Some(peering) = conn.peering_mut() else { continue };
            let had_time = now - peering.since > TURN_OVER_AFTER;
            if dialed && had_time && !(idle && peering.am_interested) {
                let rate = peering.down.get(now) + peering.up.get(now);
                let rank = (sole, rate, peering.since, member);
                least = Some(least.map_or(rank, |least| least.min(rank)));
            }
        }
        least.map(|(.., conn)| conn)
    }

    /// Whom to dial, and who gives way for it.
    fn exchange_of(&mut self, now: Instant, id: SwarmId) -> Option<(SocketAddr, ConnId)> {
        let swarm = self.swarms.get_mut(&id)?;
        let short = swarm.stage == Stage::Downloading && !swarm.paused && swarm.picker.is_short();
        if !short {
            // A piece that is late by a moment is no reason.
            swarm.turn_over_at = now + TURN_OVER_AFTER;
        }
        if swarm.turn_over_at > now {
            return None;
        }
        let addr = swarm.contacts.longest_due(now)?;
        let gives_way = self.least_useful(now, id, true)?;
        if let Some(swarm) = self.swarms.get_mut(&id) {
            swarm.turn_over_at = now + TURN_OVER_AFTER;
        }
        Some((addr, gives_way))
    }
}
