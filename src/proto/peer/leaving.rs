//! A torrent is removed: its swarm is gone at once for everybody but its trackers, which are still
//! told `stopped`.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::{Connection, Phase, Purpose};
use crate::proto::swarm::Stage;
use crate::units::id::{ConnId, InfoHash, SwarmId};
use crate::units::time::{Duration, Instant};

/// A tracker must have been told by then that we have left a swarm.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

impl Peer {
    /// Leaves a swarm: its torrent was removed.
    pub fn remove_swarm(&mut self, now: Instant, id: SwarmId) {
        self.lsd_leave(id);
        self.dht_leave(id);
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        // First the stage: then nobody's end asks others for blocks or counts as a loss.
        swarm.stage = Stage::Left(now + LEAVE_WITHIN);
        swarm.fetch = None;
        swarm.announcer.stop(now);
        let members = core::mem::take(&mut swarm.members);
        swarm.wanting.clear();
        let info_hash = swarm.torrent.info_hash;
        self.by_hash.remove(&info_hash);
        self.tracker.untrack(&info_hash);
        for member in members {
            self.close(now, member, Closed::Stopping);
        }
        self.hang_up(id, |conn| !announces(conn));
        self.announce_due(now);
        self.end_leaving(now);
    }

    /// Forgets the swarms that have told their trackers, or had time enough for it.
    pub(super) fn end_leaving(&mut self, now: Instant) {
        let over = self.swarms.values().filter(|swarm| match swarm.stage {
            Stage::Left(by) => by <= now || swarm.announcer.is_idle(),
            _ => false,
        });
        let over: Vec<SwarmId> = over.map(|swarm| swarm.id).collect();
        over.into_iter().for_each(|id| self.forget_swarm(id));
    }

    /// The torrent is back: a `stopped` that comes behind its `started` would undo that.
    pub(super) fn forget_leaving(&mut self, info_hash: InfoHash) {
        let left = |stage| matches!(stage, Stage::Left(_));
        let same = |s: &&crate::proto::swarm::Swarm| s.torrent.info_hash == info_hash;
        let found = self.swarms.values().filter(|s| left(s.stage)).find(same).map(|s| s.id);
        if let Some(id) = found {
            self.forget_swarm(id);
        }
    }

    /// When the next swarm that leaves is given up.
    pub(super) fn leaving_timeout(&self) -> Option<Instant> {
        let by = |swarm: &crate::proto::swarm::Swarm| match swarm.stage {
            Stage::Left(_) if swarm.announcer.is_idle() => Some(Instant::ORIGIN),
            Stage::Left(by) => Some(by),
            _ => None,
        };
        self.swarms.values().filter_map(by).min()
    }

    fn forget_swarm(&mut self, id: SwarmId) {
        self.swarms.remove(&id);
        self.hang_up(id, |_| true);
    }

    /// Ends connections of the swarm that are no members, or not yet.
    pub(super) fn hang_up(&mut self, id: SwarmId, which: impl Fn(&Connection) -> bool) {
        let of = self.connections.iter().filter(|c| c.swarm() == Some(id) && which(c));
        let of: Vec<ConnId> = of.map(|conn| conn.id).collect();
        of.into_iter().for_each(|conn| self.remove_quietly(conn));
    }
}

/// Whether the connection is an announce.
pub(super) fn announces(conn: &Connection) -> bool {
    matches!(
        conn.phase,
        Ok(Phase::Announcing { .. } | Phase::Dialing { purpose: Purpose::Announce(_), .. })
    )
}
