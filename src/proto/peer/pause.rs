//! Pause and resume: a swarm that the user has stopped for a while; and how we take no more part
//! in one that has failed.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::swarm::Stage;
use crate::units::id::{ConnId, SwarmId};
use crate::units::time::Instant;

impl Peer {
    /// Leaves the swarm for a while: hangs up on everybody, tells the tracker `stopped`, and
    /// neither dials nor answers in it. Our own tracker goes on for the others, without us.
    /// False where it is paused already, or not here.
    pub fn pause(&mut self, now: Instant, id: SwarmId) -> bool {
        let Some(swarm) = self.swarms.get_mut(&id) else { return false };
        if core::mem::replace(&mut swarm.paused, true) {
            return false;
        }
        self.withdraw(now, id, &Closed::Paused);
        self.refresh_status(now, id);
        self.dial_due(now);
        true
    }

    /// Takes part in the swarm again. False where it was not paused, or is not here.
    pub fn resume(&mut self, now: Instant, id: SwarmId) -> bool {
        let Some(swarm) = self.swarms.get_mut(&id) else { return false };
        if !core::mem::replace(&mut swarm.paused, false) {
            return false;
        }
        if !matches!(swarm.stage, Stage::Checking | Stage::Failed) {
            swarm.announcer.resume(now);
        }
        swarm.contacts.hurry(now);
        let (info_hash, failed) = (swarm.torrent.info_hash, swarm.stage == Stage::Failed);
        self.tracker.set_away(info_hash, failed);
        self.lsd_join(now, id);
        self.dht_join(now, id);
        self.refresh_status(now, id);
        self.dial_due(now);
        true
    }

    /// Takes no part any more: tells the tracker `stopped`, is listed nowhere, and hangs up on
    /// everybody. For the others our own tracker goes on.
    pub(super) fn withdraw(&mut self, now: Instant, id: SwarmId, why: &Closed) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if swarm.stage != Stage::Checking {
            swarm.announcer.stop(now);
        }
        let (members, info_hash) = (swarm.members.clone(), swarm.torrent.info_hash);
        self.tracker.set_away(info_hash, true);
        self.lsd_leave(id);
        self.dht_leave(id);
        for member in members {
            self.close(now, member, why.clone());
        }
        // Those that have not come as far as the wire protocol; an announce may end.
        let early = |c: &crate::proto::connection::Connection| {
            use crate::proto::connection::{Phase, Purpose};
            match &c.phase {
                Ok(Phase::Dialing { purpose: Purpose::Peer(swarm), .. })
                | Ok(Phase::Handshaking { swarm, .. }) => *swarm == id,
                _ => false,
            }
        };
        let early: Vec<ConnId> =
            self.connections.iter().filter(|c| early(c)).map(|c| c.id).collect();
        for conn in early {
            self.close(now, conn, why.clone());
        }
    }
}
