//! Whose name is whose: we may meet ourselves, and others that have our name.
//!
//! The name is kept in the state folder, so that trackers and peers know us again after a restart.
//! Who copies that folder to another host (a whole class is often set up so) copies the name. Each
//! would take the other for itself and hang up.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::output::Event;
use crate::units::id::{ConnId, PeerId};
use crate::units::time::Instant;

impl Peer {
    /// Tells ourselves from another host with our name: of a connection to ourselves, both ends are
    /// here. For another host we take a new name, once; the next connection is between two names.
    ///
    /// # Errors
    /// Why the connection ends, if it does.
    pub(super) fn not_ourselves(
        &mut self,
        now: Instant,
        id: ConnId,
        theirs: PeerId,
    ) -> Result<(), Closed> {
        let ours = theirs == self.config.peer_id;
        if !ours && Some(theirs) != self.former_id {
            return Ok(());
        }
        let Some(conn) = self.connection(id) else { return Ok(()) };
        let (local, remote) = (conn.local, conn.remote);
        let is_other_end =
            |local_there, remote_there| local_there == Some(remote) && Some(remote_there) == local;
        let twin = self.connections.iter().find(|conn| is_other_end(conn.local, conn.remote));
        if let Some(twin) = twin.map(|twin| twin.id) {
            self.close(now, twin, Closed::Own);
            return Err(Closed::Own);
        }
        if !ours {
            return Ok(());
        }
        // A second time, it may be ourselves behind a translation of addresses.
        if self.former_id.is_some() {
            return Err(Closed::Own);
        }
        let new = PeerId::new(&mut self.rng);
        log::warn!("{remote} has our peer id, as a copy of our folders would: now we are {new}");
        self.former_id = Some(core::mem::replace(&mut self.config.peer_id, new));
        self.tracker.rename(new);
        self.events.push_back(Event::Renamed(new));
        Err(Closed::SameName)
    }
}
