//! The pieces we lack in order of rarity: which is the rarest that a peer has, and what a peer that comes
//! or goes changes in it. `order` is cut into groups of equal availability, whose ends are `bounds`.

use super::{Picker, GONE};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::PieceIndex;

/// Of the pieces we lack, how many are looked at one by one for one that a peer has: at least this
/// many,
const LOOKS_MIN: usize = 64;
/// and this part of them, which takes as long as to compare both bitfields.
const LOOKS_SHARE: usize = 32;

/// Pieces we lack from which on it may be worth while to sort them anew,
pub(super) const SORT_MIN: usize = 4096;
/// where more than this part of them moves.
const SORT_SHARE: usize = 8;

impl Picker {
    /// The first piece in `order` that they have. Of who has more than half of what we lack that is
    /// in the first half; of who has less, unless one of the first is theirs, all they have is
    /// looked at.
    pub(super) fn rarest(&self, theirs: &Bitfield) -> Option<PieceIndex> {
        let listed = self.order.len();
        let news = theirs.count().saturating_sub(self.have.count()) as usize;
        let has_most = news > listed / 2;
        let looks = if has_most { listed } else { LOOKS_MIN + listed / LOOKS_SHARE };
        let first = self.order.iter().take(looks).position(|&piece| theirs.get(piece));
        let at = first.or_else(|| {
            let places = theirs.without(&self.have).map(|piece| self.place[piece as usize]);
            places.filter(|&at| at != GONE).min().map(|at| at as usize)
        })?;
        self.geometry.piece(self.order[at])
    }

    pub(super) fn add_many(&mut self, pieces: &Bitfield) {
        if !self.is_worth_sorting(pieces) {
            return pieces.iter().for_each(|piece| self.add_one(piece));
        }
        pieces.iter().for_each(|piece| self.availability[piece as usize] += 1);
        self.sort();
    }

    pub(super) fn remove_many(&mut self, pieces: &Bitfield) {
        if !self.is_worth_sorting(pieces) {
            return pieces.iter().for_each(|piece| self.remove_one(piece));
        }
        for piece in pieces.iter() {
            let availability = &mut self.availability[piece as usize];
            *availability = availability.saturating_sub(1);
        }
        self.sort();
    }

    /// Whether one pass over `order` is less than to move each of these pieces by itself.
    fn is_worth_sorting(&self, pieces: &Bitfield) -> bool {
        let listed = self.order.len();
        listed >= SORT_MIN && pieces.count() as usize > listed / SORT_SHARE
    }

    /// Puts `order` in order again, each group as it was.
    fn sort(&mut self) {
        let group = |piece: u32| usize::from(self.availability[piece as usize]);
        let groups = self.order.iter().map(|&piece| group(piece) + 1).max().unwrap_or(1);
        let mut ends = vec![0_u32; groups];
        self.order.iter().for_each(|&piece| ends[group(piece)] += 1);
        let mut places = Vec::with_capacity(groups);
        let mut end = 0;
        for size in &mut ends {
            places.push(end);
            end += *size;
            *size = end;
        }
        let mut sorted = vec![0; self.order.len()];
        for &piece in &self.order {
            let place = &mut places[group(piece)];
            sorted[*place as usize] = piece;
            self.place[piece as usize] = *place;
            *place += 1;
        }
        (self.order, self.bounds) = (sorted, ends);
    }

    pub(super) fn add_one(&mut self, piece: u32) {
        let a = usize::from(self.availability[piece as usize]);
        self.availability[piece as usize] += 1;
        if self.place[piece as usize] == GONE {
            return;
        }
        // The last of its group, which then ends one earlier.
        if self.bounds.len() <= a + 1 {
            self.bounds.resize(a + 2, self.order.len() as u32);
        }
        self.bounds[a] -= 1;
        self.swap(self.place[piece as usize], self.bounds[a]);
    }

    pub(super) fn remove_one(&mut self, piece: u32) {
        let a = usize::from(self.availability[piece as usize]);
        debug_assert!(a > 0, "a peer leaves with a piece that nobody had");
        let Some(below) = a.checked_sub(1) else { return };
        self.availability[piece as usize] -= 1;
        if self.place[piece as usize] == GONE {
            return;
        }
        self.swap(self.place[piece as usize], self.bounds[below]);
        self.bounds[below] += 1;
    }

    /// Takes the piece out of `order`: to the end of its group, then of each later one.
    pub(super) fn unlist(&mut self, piece: u32) {
        if self.place[piece as usize] == GONE {
            return;
        }
        for group in usize::from(self.availability[piece as usize])..self.bounds.len() {
            self.bounds[group] -= 1;
            self.swap(self.place[piece as usize], self.bounds[group]);
        }
        let last = self.order.pop();
        debug_assert_eq!(last, Some(piece));
        self.place[piece as usize] = GONE;
    }

    /// Puts the piece back into `order`: from the end, down to the end of its group.
    pub(super) fn list(&mut self, piece: u32) {
        let unwanted = self.wanted.as_ref().is_some_and(|wanted| !wanted.get(piece));
        if unwanted || self.place[piece as usize] != GONE {
            return;
        }
        let end = self.order.len() as u32;
        let a = usize::from(self.availability[piece as usize]);
        if self.bounds.len() <= a {
            self.bounds.resize(a + 1, end);
        }
        self.order.push(piece);
        self.place[piece as usize] = end;
        for group in (a..self.bounds.len()).rev() {
            self.swap(self.place[piece as usize], self.bounds[group]);
            self.bounds[group] += 1;
        }
        // The swaps above walk the piece to the first place of each later group.
    }

    fn swap(&mut self, a: u32, b: u32) {
        self.order.swap(a as usize, b as usize);
        self.place[self.order[a as usize] as usize] = a;
        self.place[self.order[b as usize] as usize] = b;
    }
}
