//! Who sent which block, so that a bad piece is blamed on its sender after proof and not before.

use crate::units::geometry::PieceIndex;
use crate::units::id::PeerId;
use core::net::IpAddr;
use std::collections::BTreeMap;

/// Bad copies of one piece that are remembered until a good one shows who lied.
const SUSPECTS_MAX: usize = 4096;

/// A remote end that can be blamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its address; several peers may share one.
    pub ip: IpAddr,
    /// Its name.
    pub peer_id: PeerId,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    block: u32,
    digest: [u8; 20],
    source: Source,
}

/// The senders of the pieces under way, and the suspects of those that failed.
#[derive(Clone, Debug, Default)]
pub struct Blame {
    /// By piece and number of the block.
    sources: BTreeMap<PieceIndex, BTreeMap<u32, Source>>,
    suspects: BTreeMap<PieceIndex, Vec<Suspect>>,
}

impl Blame {
    /// `source` has sent this block.
    pub fn supplied(&mut self, piece: PieceIndex, block: u32, source: Source) {
        self.sources.entry(piece).or_default().insert(block, source);
    }

    /// The piece has failed before: it is better fetched from one peer alone.
    #[must_use]
    pub fn is_suspect(&self, piece: PieceIndex) -> bool {
        self.suspects.contains_key(&piece)
    }

    /// The piece matches its hash. `digest` gives the SHA-1 of each of its blocks; those who sent
    /// something else before are proven liars.
    pub fn verified(
        &mut self,
        piece: PieceIndex,
        mut digest: impl FnMut(u32) -> Option<[u8; 20]>,
    ) -> Vec<Source> {
        self.sources.remove(&piece);
        let suspects = self.suspects.remove(&piece).unwrap_or_default();
        let lied = |s: &Suspect| digest(s.block).is_some_and(|good| good != s.digest);
        suspects.into_iter().filter(lied).map(|s| s.source).collect()
    }

    /// The piece, of `block_count` blocks, does not match its hash. One sender of all of it is
    /// proven; several become suspects.
    pub fn failed(
        &mut self,
        piece: PieceIndex,
        block_count: u32,
        mut digest: impl FnMut(u32) -> Option<[u8; 20]>,
    ) -> Option<Source> {
        let sources = self.sources.remove(&piece)?;
        let first = *sources.values().next()?;
        let all_known = sources.len() == block_count as usize;
        if all_known && sources.values().all(|&source| source == first) {
            return Some(first);
        }
        let suspects = self.suspects.entry(piece).or_default();
        for (block, source) in sources {
            if let (Some(digest), true) = (digest(block), suspects.len() < SUSPECTS_MAX) {
                suspects.push(Suspect { block, digest, source });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::geometry::Geometry;

    fn source(n: u8) -> Source {
        Source { ip: IpAddr::from([10, 0, 0, n]), peer_id: PeerId([n; 20]) }
    }

    #[test]
    fn a_single_sender_is_proven_at_once() {
        let piece = Geometry::new(100, 50).unwrap().piece(0).unwrap();
        let mut blame = Blame::default();
        blame.supplied(piece, 0, source(1));
        assert_eq!(blame.failed(piece, 2, |_| Some([0; 20])), None, "block 1 was there before");
        blame.supplied(piece, 0, source(1));
        blame.supplied(piece, 1, source(1));
        assert_eq!(blame.failed(piece, 2, |_| Some([0; 20])), Some(source(1)));
    }

    #[test]
    fn of_two_senders_the_good_copy_tells_which() {
        let piece = Geometry::new(100, 50).unwrap().piece(0).unwrap();
        let mut blame = Blame::default();
        blame.supplied(piece, 0, source(1));
        blame.supplied(piece, 1, source(2));
        assert!(!blame.is_suspect(piece), "any piece may come from several");
        assert_eq!(blame.failed(piece, 2, |n| Some([n as u8; 20])), None);
        assert!(blame.is_suspect(piece));
        let liars = blame.verified(piece, |n| Some([if n == 1 { 9 } else { 0 }; 20]));
        assert_eq!(liars, [source(2)]);
        assert!(!blame.is_suspect(piece));
    }
}
