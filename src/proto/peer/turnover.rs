//! Where all client ports are taken by peers that lack what we lack, one of them gives way to an
//! address that is not connected: otherwise a group of peers with few ports could close in on itself,
//! each waiting for the others, though the one that has the piece is known to all of them.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::Purpose;
use crate::proto::swarm::Stage;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::TURN_OVER_AFTER;
use crate::units::time::Instant;
use core::net::SocketAddr;

impl Peer {
    /// Every now and then, in each swarm that is short of a piece: the dialed peer of least use
    /// goes, the address that has waited for longest is dialed.
    pub(super) fn turn_over(&mut self, now: Instant) {
        let swarms: Vec<SwarmId> = self.swarms.keys().copied().collect();
        for id in swarms {
            if self.stopping || self.ports.has_free() {
                return;
            }
            let Some((addr, gives_way)) = self.exchange_of(now, id) else { continue };
            self.close(now, gives_way, Closed::NothingNew);
            self.dial(now, addr, Purpose::Peer(id), Some(addr));
        }
    }

    /// Whom to dial, and who gives way for it.
    fn exchange_of(&mut self, now: Instant, id: SwarmId) -> Option<(SocketAddr, ConnId)> {
        let Self { swarms, connections, .. } = self;
        let swarm = swarms.get_mut(&id)?;
        let short = swarm.stage == Stage::Downloading && !swarm.paused && swarm.picker.is_short();
        if !short {
            // A piece that is late by a moment is no reason.
            swarm.turn_over_at = now + TURN_OVER_AFTER;
        }
        if swarm.turn_over_at > now {
            return None;
        }
        let addr = swarm.contacts.longest_due(now)?;
        let mut least: Option<(u64, Instant, ConnId)> = None;
        for &member in &swarm.members {
            let Some(conn) = connections.get_mut(member.slot as usize) else { continue };
            let dialed = conn.lease.is_some();
            let Some(peering) = conn.peering_mut() else { continue };
            let useless = !peering.am_interested && now - peering.since > TURN_OVER_AFTER;
            if dialed && useless {
                let rank = (peering.up.get(now), peering.since, member);
                least = Some(least.map_or(rank, |least| least.min(rank)));
            }
        }
        let (_, _, gives_way) = least?;
        swarm.turn_over_at = now + TURN_OVER_AFTER;
        Some((addr, gives_way))
    }
}
