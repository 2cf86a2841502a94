//! Where there is no room for all: who goes.

use super::{exchange, Peer, TICK};
use crate::proto::closed::Closed;
use crate::proto::connection::{Connection, Phase, Purpose};
use crate::proto::priority::priority;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::EARLY_BYTES_MAX;
use crate::units::time::{Duration, Instant};
use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

/// Between two dialed peers that give way to announces of one swarm: who has no free port has peers,
/// and is in no hurry for more.
const ROOM_AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Peer {
    /// A remote end that has connected to us is about to join the swarm. When there are as many of
    /// its kind as the user allows, one goes, be it the new one: of the address with most of them in
    /// one swarm, so that nobody alone takes all the room; then of the largest swarm; then the one
    /// of lowest priority (BEP 40).
    ///
    /// # Errors
    /// [`Closed::MakeRoom`], if that is the new one.
    pub(super) fn find_room(
        &mut self,
        now: Instant,
        id: ConnId,
        swarm: SwarmId,
    ) -> Result<(), Closed> {
        let joined = |conn: &Connection| match conn.peering() {
            Some(peering) if !conn.dialed => Some(peering.swarm),
            _ => (conn.id == id).then_some(swarm),
        };
        let all = || self.connections.iter().filter_map(|c| Some((joined(c)?, c)));
        if all().count() <= self.config.max_inbound {
            return Ok(());
        }
        let (mut ends, mut swarms) = (BTreeMap::new(), BTreeMap::new());
        for (swarm, conn) in all() {
            *ends.entry((swarm, conn.remote.ip())).or_insert(0) += 1;
            *swarms.entry(swarm).or_insert(0) += 1;
        }
        let rank = |(swarm, conn): (SwarmId, &Connection)| {
            let crowd = (ends[&(swarm, conn.remote.ip())], swarms[&swarm]);
            (Reverse(crowd), self.priority_of_connection(conn), conn.id)
        };
        match all().map(rank).min() {
            Some((_, _, guest)) if guest != id => {
                self.close(now, guest, Closed::MakeRoom);
                Ok(())
            }
            _ => Err(Closed::MakeRoom),
        }
    }

    /// Every accepted socket is in use: of the address with most of those that have not said yet
    /// what they want, the oldest goes for one from `ip`. False if that would be its own.
    pub(super) fn find_socket(&mut self, now: Instant, ip: IpAddr) -> bool {
        let new = |conn: &&Connection| !conn.dialed && conn.peering().is_none();
        let all = || self.connections.iter().filter(new);
        let mut ends = BTreeMap::from([(ip, 1)]);
        all().for_each(|conn| *ends.entry(conn.remote.ip()).or_insert(0) += 1);
        let oldest =
            all().min_by_key(|conn| (Reverse(ends[&conn.remote.ip()]), conn.id.generation));
        let guest = oldest.filter(|conn| ends[&conn.remote.ip()] > ends[&ip]).map(|conn| conn.id);
        guest.inspect(|&guest| self.close(now, guest, Closed::MakeRoom)).is_some()
    }

    /// Who gives way to an announce of this swarm, if the last one is long enough ago: a tracker that
    /// is away would take one peer after the other from us.
    pub(super) fn gives_way_to(&mut self, now: Instant, id: SwarmId) -> Option<ConnId> {
        let swarm = self.swarms.get(&id).filter(|swarm| swarm.room_again_at <= now)?;
        // Where nobody has answered yet, there is more to lose than to win.
        let idle = swarm.announcer.is_unanswered() && swarm.room_again_at > Instant::ORIGIN;
        self.gives_way(now, idle)
    }

    /// Frees a client port for an announce of this swarm, where that is worth a peer.
    pub(super) fn make_room_for(&mut self, now: Instant, id: SwarmId) {
        let Some(gives_way) = self.gives_way_to(now, id) else { return };
        if let Some(swarm) = self.swarms.get_mut(&id) {
            swarm.room_again_at = now + ROOM_AGAIN_AFTER;
        }
        self.close(now, gives_way, Closed::MakeRoom);
    }

    /// Frees a client port for a fetch: the dialed peer of least use goes.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        let Some(id) = self.gives_way(now, false) else { return false };
        self.close(now, id, Closed::MakeRoom);
        self.ports.has_free()
    }

    /// The dialed peer of least use, or one of no use now; who alone has a piece after all others.
    /// Announces and fetches take a port for a moment, and have no other way out. Nobody, where a port
    /// comes back by itself in a moment, or where a new peer may soon prove of less use.
    fn gives_way(&mut self, now: Instant, idle: bool) -> Option<ConnId> {
        let soon_back = |conn: &Connection| match &conn.phase {
            Ok(Phase::Announcing { .. } | Phase::Fetching { .. }) => true,
            Ok(Phase::Dialing { purpose, .. }) => !matches!(purpose, Purpose::Peer(_)),
            // Two that have all they want part as soon as that is said.
            Ok(Phase::Peering(p)) => {
                conn.lease.is_some() && p.is_seeder() && self.has_all_of(p.swarm)
            }
            _ => false,
        };
        if self.connections.iter().any(soon_back) {
            return None;
        }
        let (mut used, mut new) = (Vec::new(), false);
        for conn in self.connections.iter_mut() {
            let id = conn.id;
            if let (Some(_), Some(peering)) = (conn.lease, conn.peering_mut()) {
                let use_now = peering.down.get(now) + peering.up.get(now);
                if now - peering.since <= TICK {
                    new = true;
                } else if !(idle && use_now > 0) {
                    used.push((use_now, id));
                }
            }
        }
        let priority = |id: ConnId| {
            let conn = self.connections.get(id);
            conn.map_or(0, |conn| self.priority_of_connection(conn))
        };
        let rank = |(use_now, id)| (self.is_sole_source(id), use_now, priority(id), id);
        let (sole, use_now, _, least) = used.into_iter().map(rank).min()?;
        let of_use = sole || use_now > 0;
        (!(new && of_use)).then_some(least)
    }

    /// BEP 40: what the connection is worth to both ends.
    pub(super) fn priority_of_connection(&self, conn: &Connection) -> u32 {
        let remote = exchange::listens_at(conn).unwrap_or(conn.remote);
        let port = self.config.listen_port;
        conn.local.map_or(0, |local| priority(SocketAddr::new(local.ip(), port), remote))
    }

    /// What peers say to have before the number of pieces is known is kept as they say it. Nobody
    /// knows yet what of it can be true: when it is too much, who says the most goes.
    pub(super) fn bound_early(&mut self, now: Instant) {
        loop {
            let kept = |conn: &Connection| conn.peering().map_or(0, |p| p.early_bytes());
            let all = self.connections.iter().map(|conn| (kept(conn), conn.id));
            let (sum, most) =
                all.fold((0, None), |(sum, most), one| (sum + one.0, most.max(Some(one))));
            let Some((_, most)) = most.filter(|_| sum > EARLY_BYTES_MAX) else { return };
            self.close(now, most, Closed::MakeRoom);
        }
    }
}
