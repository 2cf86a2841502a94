//! Some files only (BEP 21, 53): the core knows the pieces that are wanted, and is done when it has
//! those. It is a partial seed then: it serves what it has, and asks and dials for nothing more.

use super::Peer;
use crate::units::bitfield::Bitfield;
use crate::units::id::SwarmId;

impl Peer {
    /// Only these pieces are wanted. To be called before `handle_check_done`.
    pub fn want_only(&mut self, id: SwarmId, wanted: Bitfield) {
        if let Some(swarm) = self.swarms.get_mut(&id) {
            debug_assert_eq!(wanted.len(), swarm.geometry().piece_count(), "of this torrent");
            swarm.picker.want_only(wanted);
        }
    }
}
