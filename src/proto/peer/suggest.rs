//! Advice what to fetch (BEP 6, Suggest Piece): a seeder gives it, a leecher follows it.

use super::Peer;
use crate::units::id::ConnId;
use crate::units::limits::SUGGESTED_MAX;
use crate::units::time::Instant;
use crate::wire::message::Message;

impl Peer {
    /// Suggests to a peer that we serve what nobody has, a little ahead of what it asks for.
    pub(super) fn deal(&mut self, id: ConnId) {
        while let Some(Some(piece)) = self.with_peering(id, |peering, swarm, _, _| {
            let serves = peering.fast && !peering.am_choking;
            let dealer = swarm.dealer.as_mut().filter(|_| serves)?;
            dealer.deal(&mut peering.hand, &swarm.picker)
        }) {
            self.say(id, &Message::Suggest(piece.get()));
        }
    }

    /// The peer advises us to fetch this piece of it. An index outside the torrent is no advice.
    pub(super) fn suggested(&mut self, now: Instant, id: ConnId, index: u32) {
        let taken = self.with_peering(id, |peering, swarm, _, _| {
            let piece = swarm.torrent.geometry.piece(index)?;
            peering.suggested.retain(|p| !swarm.picker.have().get(p.get()));
            if swarm.picker.have().get(index) || peering.suggested.contains(&piece) {
                return None;
            }
            if peering.suggested.len() == SUGGESTED_MAX {
                peering.suggested.remove(0);
            }
            peering.suggested.push(piece);
            Some(())
        });
        if taken.flatten().is_some() {
            self.request_more(now, id);
        }
    }
}
