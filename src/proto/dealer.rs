//! A seeder deals its pieces out: whom it suggests which (BEP 6), so that each leaves once before
//! any leaves twice.
//!
//! Leechers choose the rarest piece, but what others fetch of the seeder at this moment they cannot
//! know: without advice some choose the same. Every piece that nobody has is suggested to one of
//! them; who does not take advice is free to ask for what it likes.

use super::picker::Picker;
use crate::units::geometry::{Geometry, PieceIndex};
use crate::units::limits::{DEALT_MAX, SUGGESTED_AHEAD};
use crate::units::rng::Rng;

/// The pieces to deal out.
#[derive(Debug)]
pub struct Dealer {
    /// Those that nobody was dealt, in random order.
    stack: Vec<PieceIndex>,
}

/// What one peer was dealt, the oldest first, and whether it has asked for it.
#[derive(Debug, Default)]
pub struct Hand(Vec<(PieceIndex, bool)>);

impl Dealer {
    /// All pieces, in random order.
    #[must_use]
    pub fn new(geometry: &Geometry, rng: &mut Rng) -> Self {
        let mut stack: Vec<PieceIndex> = geometry.pieces().collect();
        rng.shuffle(&mut stack);
        Self { stack }
    }

    /// The next piece for this hand, if it is short of them: one that nobody has.
    pub fn deal(&mut self, hand: &mut Hand, picker: &Picker) -> Option<PieceIndex> {
        let open = hand.0.iter().filter(|(_, asked)| !asked).count();
        if open >= SUGGESTED_AHEAD || hand.0.len() >= DEALT_MAX {
            return None;
        }
        while let Some(piece) = self.stack.pop() {
            if picker.availability(piece) == 0 {
                hand.0.push((piece, false));
                return Some(piece);
            }
        }
        None
    }

    /// The peer is gone or not served any more: what nobody has got is dealt again.
    pub fn take_back(&mut self, hand: &mut Hand, picker: &Picker) {
        let lost = hand.0.drain(..).map(|(piece, _)| piece);
        self.stack.extend(lost.filter(|&piece| picker.availability(piece) == 0));
    }
}

impl Hand {
    /// The peer asks for a block of this piece. True if it is the first of a dealt piece.
    pub fn asked(&mut self, piece: PieceIndex) -> bool {
        let dealt = self.0.iter_mut().find(|(dealt, asked)| *dealt == piece && !asked);
        dealt.map(|(_, asked)| *asked = true).is_some()
    }

    /// Whether it was dealt this piece, and has not got it.
    #[must_use]
    pub fn holds(&self, piece: PieceIndex) -> bool {
        self.0.iter().any(|&(dealt, _)| dealt == piece)
    }

    /// The peer has got the piece.
    pub fn got(&mut self, piece: PieceIndex) {
        self.0.retain(|&(dealt, _)| dealt != piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::bitfield::Bitfield;

    #[test]
    fn every_piece_is_dealt_once() {
        let geometry = Geometry::new(40 * 16_384, 16_384).unwrap();
        let mut rng = Rng::new(1);
        let mut picker = Picker::new(geometry, Bitfield::full(40), &mut rng);
        let mut dealer = Dealer::new(&geometry, &mut rng);
        let (mut a, mut b) = (Hand::default(), Hand::default());
        let mut dealt = Vec::new();
        loop {
            let before = dealt.len();
            for hand in [&mut a, &mut b] {
                while let Some(piece) = dealer.deal(hand, &picker) {
                    dealt.push(piece);
                }
                assert!(hand.0.len() <= SUGGESTED_AHEAD);
                let Some(&(piece, _)) = hand.0.first() else { continue };
                assert!(hand.asked(piece) && !hand.asked(piece));
                picker.add_piece(&Bitfield::new(40), piece);
                hand.got(piece);
            }
            if dealt.len() == before {
                break;
            }
        }
        dealt.sort_unstable();
        assert_eq!(dealt, geometry.pieces().collect::<Vec<_>>());
    }

    #[test]
    fn what_a_lost_peer_was_dealt_goes_to_another() {
        let geometry = Geometry::new(16_384, 16_384).unwrap();
        let mut rng = Rng::new(1);
        let picker = Picker::new(geometry, Bitfield::full(1), &mut rng);
        let mut dealer = Dealer::new(&geometry, &mut rng);
        let (mut a, mut b) = (Hand::default(), Hand::default());
        let only = dealer.deal(&mut a, &picker);
        assert!(only.is_some());
        assert_eq!(dealer.deal(&mut b, &picker), None);
        dealer.take_back(&mut a, &picker);
        assert_eq!(dealer.deal(&mut b, &picker), only);
    }
}
