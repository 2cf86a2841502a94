//! What a seeder that dials tells its user: which pieces the other end has confirmed.

use super::Peer;
use crate::proto::connection::Connection;
use crate::proto::swarm::Stage;
use crate::units::id::{ConnId, SwarmId};

/// Lines about confirmed pieces for one push; a torrent with more pieces tells only some.
const CONFIRMED_LINES: u32 = 200;

impl Peer {
    /// BEP 3: `have` confirms a piece. It is told where the user named the host and we have all.
    pub(super) fn confirmed(&self, id: ConnId, index: u32) {
        let Some(conn) = self.connections.get(id) else {
            return;
        };
        let Some(peering) = conn.peering() else { return };
        let Some(swarm) = self.swarms.get(&peering.swarm) else { return };
        let named = conn.contact.is_some_and(|addr| swarm.contacts.is_known(addr));
        if swarm.stage != Stage::Complete || !named {
            return;
        }
        let count = swarm.geometry().piece_count();
        let have = peering.pieces.as_ref().map_or(0, |pieces| pieces.count());
        let (ip, name) = (conn.remote.ip(), &swarm.torrent.name);
        if have % (count / CONFIRMED_LINES + 1) == 0 || have == count {
            log::info!("{name}: {ip} confirmed piece {index} ({have}/{count})");
        }
    }

    /// A host that the user named hung up before the handshake: the reason is told once.
    pub(super) fn not_taken(&self, swarm: SwarmId, conn: &Connection) {
        let Some(swarm) = self.swarms.get(&swarm) else { return };
        let new = |addr| swarm.contacts.is_known(addr) && !swarm.contacts.has_failed(addr);
        if conn.dialed && swarm.stage == Stage::Complete && conn.contact.is_some_and(new) {
            let (ip, name) = (conn.remote.ip(), &swarm.torrent.name);
            log::info!(
                "{name}: {ip} does not have this torrent; with --accept-torrents it takes it"
            );
        }
    }
}
