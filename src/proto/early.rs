//! What peers say to have before the number of pieces is known: the swarm of a magnet link has no
//! geometry to hold it against, so it is kept as it was said.

use super::closed::Misbehaved;
use crate::units::bitfield::Bitfield;

/// What a peer has said to have before the number of pieces was known. The first piece is in the high
/// bit of the first byte (BEP 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early {
    /// Everything (BEP 6, `have all`).
    All,
    /// A bitfield, so the number of its bytes must be right; and each `have` that came after it.
    Bitfield(Vec<u8>),
    /// The bits of each `have`; those that are missing at the end are zero.
    Haves(Vec<u8>),
}

impl Early {
    /// Nothing is said yet.
    pub const NOTHING: Self = Self::Haves(Vec::new());

    /// It says `have`. The caller bounds `piece`: the bytes grow with it.
    pub fn add(&mut self, piece: u32) {
        match self {
            Self::All => {}
            Self::Bitfield(bytes) | Self::Haves(bytes) => {
                let at = piece as usize / 8;
                bytes.resize(bytes.len().max(at + 1), 0);
                bytes[at] |= 0x80 >> (piece % 8);
            }
        }
    }

    /// Bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Bitfield(bytes) | Self::Haves(bytes) => bytes.capacity(),
        }
    }

    /// What it comes to, now that the torrent is known to have `count` pieces.
    ///
    /// # Errors
    /// When that cannot be: then its sender ought not to have said it.
    pub fn into_pieces(self, count: u32) -> Result<Bitfield, Misbehaved> {
        match self {
            Self::All => Ok(Bitfield::full(count)),
            Self::Bitfield(bytes) => {
                Bitfield::from_bytes(&bytes, count).ok_or(Misbehaved::BadBitfield)
            }
            Self::Haves(mut bytes) => {
                bytes.resize(bytes.len().max(count.div_ceil(8) as usize), 0);
                Bitfield::from_bytes(&bytes, count).ok_or(Misbehaved::HaveOutOfRange)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bitfield_must_have_the_size_that_it_turns_out_to_need() {
        let said = |bytes: &[u8]| Early::Bitfield(bytes.to_vec()).into_pieces(10);
        assert_eq!(said(&[0xff, 0xc0]), Ok(Bitfield::full(10)));
        for bad in [&[0xff][..], &[0xff, 0xc0, 0], &[0xff, 0xe0]] {
            assert_eq!(said(bad), Err(Misbehaved::BadBitfield), "{bad:?}");
        }
    }

    #[test]
    fn a_have_after_everything_says_nothing_new() {
        let mut early = Early::All;
        early.add(3);
        assert_eq!(early.into_pieces(2), Ok(Bitfield::full(2)));
    }

    proptest! {
        #[test]
        fn each_have_counts_if_the_torrent_has_that_piece(
            haves in prop::collection::vec(0..200_u32, 0..20),
            count in 0..200_u32,
        ) {
            let mut early = Early::NOTHING;
            haves.iter().for_each(|&piece| early.add(piece));
            let pieces = early.into_pieces(count);
            if haves.iter().all(|&piece| piece < count) {
                let pieces = pieces.expect("all of them are in the torrent");
                prop_assert!((0..count).all(|piece| pieces.get(piece) == haves.contains(&piece)));
            } else {
                prop_assert_eq!(pieces, Err(Misbehaved::HaveOutOfRange));
            }
        }
    }
}
