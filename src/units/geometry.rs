//! How a torrent's bytes fall into pieces and blocks (BEP 3).

use super::limits::BLOCK_BYTES;

/// A piece index that some [`Geometry`] has found in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The index as it goes over the wire.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index into a table of pieces.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Part of a piece: what a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The piece.
    pub piece: PieceIndex,
    /// First byte within the piece.
    pub begin: u32,
    /// Number of bytes, never zero.
    pub length: u32,
}

/// Length of the content, of its pieces, and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    length: u64,
    piece_length: u32,
    piece_count: u32,
}

impl Geometry {
    /// `None` where `piece_length` is zero or the pieces do not fit 32 bits.
    #[must_use]
    pub fn new(length: u64, piece_length: u32) -> Option<Self> {
        if piece_length == 0 {
            return None;
        }
        let piece_count = u32::try_from(length.div_ceil(u64::from(piece_length))).ok()?;
        Some(Self { length, piece_length, piece_count })
    }

    /// Bytes in all.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of every piece but the last.
    #[must_use]
    pub const fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Number of pieces.
    #[must_use]
    pub const fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// The piece a remote end means, if there is one.
    #[must_use]
    pub const fn piece(&self, index: u32) -> Option<PieceIndex> {
        if index < self.piece_count {
            Some(PieceIndex(index))
        } else {
            None
        }
    }

    /// All pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = PieceIndex> {
        (0..self.piece_count).map(PieceIndex)
    }

    /// Bytes of this piece.
    #[must_use]
    pub fn piece_size(&self, piece: PieceIndex) -> u32 {
        let left = self.length - self.piece_offset(piece);
        u32::try_from(left).unwrap_or(u32::MAX).min(self.piece_length)
    }

    /// Where the piece begins in the content.
    #[must_use]
    pub fn piece_offset(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// Where the block begins in the content.
    #[must_use]
    pub fn block_offset(&self, block: Block) -> u64 {
        self.piece_offset(block.piece) + u64::from(block.begin)
    }

    /// What a remote end's request means, if it lies within the piece and is not empty.
    #[must_use]
    pub fn block(&self, index: u32, begin: u32, length: u32) -> Option<Block> {
        let piece = self.piece(index)?;
        let end = u64::from(begin) + u64::from(length);
        (length > 0 && end <= u64::from(self.piece_size(piece))).then_some(Block {
            piece,
            begin,
            length,
        })
    }

    /// Number of blocks we split this piece into.
    #[must_use]
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.piece_size(piece).div_ceil(BLOCK_BYTES)
    }

    /// The `n`th block of the piece as we ask for it.
    ///
    /// # Panics
    /// If the piece has no such block.
    #[must_use]
    pub fn nth_block(&self, piece: PieceIndex, n: u32) -> Block {
        let begin = n * BLOCK_BYTES;
        let size = self.piece_size(piece);
        assert!(begin < size, "a piece of {size} bytes has no block {n}");
        Block { piece, begin, length: (size - begin).min(BLOCK_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn course_fixture() {
        let g = Geometry::new(2_920_050, 16_384).unwrap();
        assert_eq!(g.piece_count(), 179);
        let last = g.piece(178).unwrap();
        assert_eq!(g.piece_size(last), 3_698);
        assert_eq!(g.piece(179), None);
        assert_eq!(g.nth_block(last, 0).length, 3_698);
    }

    #[test]
    fn requests_do_not_wrap() {
        let g = Geometry::new(100_000, 32_768).unwrap();
        assert!(g.block(0, 0, 32_768).is_some());
        assert_eq!(g.block(0, u32::MAX, 2), None);
        assert_eq!(g.block(0, 32_767, 2), None);
        assert_eq!(g.block(0, 0, 0), None);
        assert_eq!(g.block(3, 0, 1_696).map(|b| g.block_offset(b)), Some(98_304));
        assert_eq!(g.block(3, 0, 1_697), None);
    }

    #[test]
    fn degenerate_shapes() {
        assert_eq!(Geometry::new(1, 0), None);
        assert_eq!(Geometry::new(u64::MAX, 1), None);
        assert_eq!(Geometry::new(0, 16).unwrap().piece_count(), 0);
    }
}
