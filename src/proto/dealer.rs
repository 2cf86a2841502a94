//! A seeder deals its pieces out: whom it suggests which (BEP 6), so that each leaves once before
//! any leaves twice.
//!
//! Leechers choose the rarest piece, but what others fetch of the seeder at this moment they cannot
//! know: without advice some choose the same. Every piece that nobody has is suggested to one of
//! them; who does not take advice is free to ask for what it likes. Who is far slower than the others
//! does not keep them waiting for what it was dealt: that is dealt to somebody else, too.

use super::picker::Picker;
use crate::units::geometry::{Geometry, PieceIndex};
use crate::units::rng::Rng;

/// Pieces that a seeder suggests to one peer before that has asked for them (BEP 6).
const SUGGESTED_AHEAD: usize = 2;
/// Pieces that one peer was dealt and has not got: more it does not get on with.
const DEALT_MAX: usize = 32;
/// What was dealt is dealt to a second peer when this many times as many pieces are out since as are under
/// way: among peers that are equally fast it is once as many.
const OVERDUE_TIMES: u64 = 3;

/// The pieces to deal out.
#[derive(Debug)]
pub struct Dealer {
    /// Those that nobody was dealt, in random order.
    stack: Vec<PieceIndex>,
    /// Those that somebody was dealt and nobody has, the oldest first.
    under_way: Vec<Dealt>,
    /// How many that were dealt somebody has got.
    out: u64,
}

#[derive(Clone, Copy, Debug)]
struct Dealt {
    piece: PieceIndex,
    /// How many were out when it was dealt.
    out: u64,
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
        Self { stack, under_way: Vec::new(), out: 0 }
    }

    /// The next piece for this hand, if it is short of them: one that nobody has.
    pub fn deal(&mut self, hand: &mut Hand, picker: &Picker) -> Option<PieceIndex> {
        let open = hand.0.iter().filter(|(_, asked)| !asked).count();
        if open >= SUGGESTED_AHEAD || hand.0.len() >= DEALT_MAX {
            return None;
        }
        let piece = self.overdue(hand, picker).or_else(|| self.new_one(picker))?;
        hand.0.push((piece, false));
        self.under_way.push(Dealt { piece, out: self.out });
        Some(piece)
    }

    /// Takes the oldest piece that another was dealt long ago: meanwhile so many are out that
    /// everybody had all it was dealt several times.
    fn overdue(&mut self, hand: &Hand, picker: &Picker) -> Option<PieceIndex> {
        let before = self.under_way.len();
        self.under_way.retain(|dealt| picker.availability(dealt.piece) == 0);
        self.out += (before - self.under_way.len()) as u64;
        let due = OVERDUE_TIMES * self.under_way.len() as u64;
        let is_overdue = |dealt: &Dealt| self.out - dealt.out > due && !hand.holds(dealt.piece);
        let at = self.under_way.iter().position(is_overdue)?;
        Some(self.under_way.remove(at).piece)
    }

    fn new_one(&mut self, picker: &Picker) -> Option<PieceIndex> {
        loop {
            let piece = self.stack.pop()?;
            if picker.availability(piece) == 0 {
                return Some(piece);
            }
        }
    }

    /// The peer is gone or not served any more: what nobody has got is dealt again.
    pub fn take_back(&mut self, hand: &mut Hand, picker: &Picker) {
        for (piece, _) in hand.0.drain(..) {
            let at = self.under_way.iter().position(|dealt| dealt.piece == piece);
            let Some(at) = at else { continue };
            self.under_way.remove(at);
            if picker.availability(piece) == 0 {
                self.stack.push(piece);
            }
        }
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
    fn what_a_slow_peer_was_dealt_goes_to_another_once_it_is_overdue() {
        let geometry = Geometry::new(40 * 16_384, 16_384).unwrap();
        let mut rng = Rng::new(1);
        let mut picker = Picker::new(geometry, Bitfield::full(40), &mut rng);
        let mut dealer = Dealer::new(&geometry, &mut rng);
        let (mut slow, mut fast) = (Hand::default(), Hand::default());
        let first = dealer.deal(&mut slow, &picker).unwrap();
        let second = dealer.deal(&mut slow, &picker).unwrap();
        let mut dealt = Vec::new();
        while let Some(piece) = dealer.deal(&mut fast, &picker) {
            fast.asked(piece);
            picker.add_piece(&Bitfield::new(40), piece);
            fast.got(piece);
            dealt.push(piece);
        }
        // With the two of the slow one, and nothing else under way, seven must be out in between.
        let at = |piece| dealt.iter().position(|&p| p == piece);
        assert_eq!((at(first), at(second)), (Some(7), Some(8)));
        assert_eq!(dealt.len(), 40, "none of them twice: {dealt:?}");
        assert!(slow.holds(first) && slow.holds(second), "it may still fetch them");
        assert_eq!(dealer.deal(&mut slow, &picker), None);
    }

    #[test]
    fn what_two_were_dealt_is_dealt_again_when_the_last_of_them_is_gone() {
        let geometry = Geometry::new(9 * 16_384, 16_384).unwrap();
        let mut rng = Rng::new(1);
        let mut picker = Picker::new(geometry, Bitfield::full(9), &mut rng);
        let mut dealer = Dealer::new(&geometry, &mut rng);
        let (mut slow, mut fast, mut third) = (Hand::default(), Hand::default(), Hand::default());
        let only = dealer.deal(&mut slow, &picker).unwrap();
        loop {
            let piece = dealer.deal(&mut fast, &picker).unwrap();
            if piece == only {
                break;
            }
            fast.asked(piece);
            picker.add_piece(&Bitfield::new(9), piece);
            fast.got(piece);
        }
        dealer.take_back(&mut fast, &picker);
        let again: Vec<_> =
            std::iter::from_fn(|| dealer.deal(&mut third, &picker)).take(2).collect();
        assert!(again.contains(&only));
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
