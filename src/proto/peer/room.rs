//! Where there is no room for all: who goes.

use super::{exchange, Peer};
use crate::proto::closed::Closed;
use crate::proto::connection::Connection;
use crate::proto::priority::priority;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::EARLY_BYTES_MAX;
use crate::units::time::Instant;
use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

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
