//! Where there is no room for all: who goes.

use super::{exchange, Peer};
use crate::proto::closed::Closed;
use crate::proto::connection::Connection;
use crate::proto::priority::priority;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::EARLY_BYTES_MAX;
use crate::units::time::Instant;
use core::net::SocketAddr;

impl Peer {
    /// A remote end that has connected to us is about to join the swarm. When there are as many of
    /// its kind as the user allows, the one of lowest priority goes (BEP 40: within the swarm), be
    /// it the new one.
    ///
    /// # Errors
    /// [`Closed::MakeRoom`], if that is the new one.
    pub(super) fn find_room(
        &mut self,
        now: Instant,
        id: ConnId,
        swarm: SwarmId,
    ) -> Result<(), Closed> {
        let guests = || {
            let all = self.connections.iter().map(|(_, conn)| conn);
            all.filter(|conn| !conn.dialed && conn.peering().is_some())
        };
        if guests().count() < self.config.max_inbound {
            return Ok(());
        }
        let Some(new) = self.connections.get(id.slot as usize) else { return Ok(()) };
        let new = self.priority_of_connection(new);
        let lowest = guests()
            .filter(|conn| conn.peering().is_some_and(|p| p.swarm == swarm))
            .map(|conn| (self.priority_of_connection(conn), conn.id))
            .min();
        match lowest {
            Some((lowest, guest)) if lowest < new => {
                self.close(now, guest, Closed::MakeRoom);
                Ok(())
            }
            _ => Err(Closed::MakeRoom),
        }
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
            let all = self.connections.iter().map(|(_, conn)| (kept(conn), conn.id));
            let (sum, most) =
                all.fold((0, None), |(sum, most), one| (sum + one.0, most.max(Some(one))));
            let Some((_, most)) = most.filter(|_| sum > EARLY_BYTES_MAX) else { return };
            self.close(now, most, Closed::MakeRoom);
        }
    }
}
