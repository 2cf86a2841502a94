//! Some pieces only are wanted (BEP 53): the others are neither begun nor waited for.

use super::Picker;
use crate::units::bitfield::Bitfield;

impl Picker {
    /// Only these pieces are to be fetched. Before anything is asked for.
    pub fn want_only(&mut self, wanted: Bitfield) {
        for piece in self.geometry.pieces().filter(|piece| !wanted.get(piece.get())) {
            self.partials.remove(&piece);
            self.unlist(piece.get());
        }
        self.wanted = Some(wanted);
    }

    /// The pieces to be fetched, where those are not all.
    #[must_use]
    pub const fn wanted(&self) -> Option<&Bitfield> {
        self.wanted.as_ref()
    }

    /// How many of the pieces that are wanted are verified, and how many are wanted.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        match &self.wanted {
            Some(wanted) => (self.have.count_with(wanted), wanted.count()),
            None => (self.have.count(), self.have.len()),
        }
    }

    /// Whether every piece that is wanted is verified.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.order.is_empty() && self.partials.is_empty()
    }

    /// Whether there is among `theirs` a piece that is wanted.
    #[must_use]
    pub fn lacks_any_of(&self, theirs: &Bitfield) -> bool {
        match &self.wanted {
            Some(wanted) => self.have.lacks_any_of_wanted(theirs, wanted),
            None => self.have.lacks_any_of(theirs),
        }
    }
}
