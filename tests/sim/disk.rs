//! The model of a disk: the content as one vector, and which of it is verified.

use reactor_peer::proto::store::{Store, StoreError};
use reactor_peer::units::geometry::{Geometry, PieceIndex};
use reactor_peer::units::id::SwarmId;
use reactor_peer::units::rng::Rng;
use reactor_peer::wire::digest::sha1;
use std::rc::Rc;
use std::sync::Arc;

/// The content as it should be.
#[derive(Debug)]
pub struct Truth {
    pub bytes: Vec<u8>,
    pub hashes: Vec<[u8; 20]>,
    pub geometry: Geometry,
    /// Stands for the `info` dictionary: the core does not look into it.
    pub info: Arc<[u8]>,
}

impl Truth {
    pub fn new(length: usize, piece_length: u32, rng: &mut Rng) -> Self {
        let mut bytes = vec![0; length];
        rng.fill(&mut bytes);
        let geometry = Geometry::new(length as u64, piece_length).unwrap();
        let hashes = bytes.chunks(piece_length as usize).map(sha1).collect();
        let mut info = vec![0; 1 + rng.index(100_000)];
        rng.fill(&mut info);
        Self { bytes, hashes, geometry, info: info.into() }
    }
}

/// What one host has of it.
#[derive(Clone, Debug)]
pub struct Disk {
    pub bytes: Vec<u8>,
    pub verified: Vec<bool>,
    /// Writes that still fit, if it fills up.
    pub room: Option<usize>,
    /// It was full at some time.
    pub filled: bool,
    pub truth: Rc<Truth>,
}

impl Disk {
    pub fn empty(truth: &Rc<Truth>) -> Self {
        let count = truth.hashes.len();
        Self {
            bytes: vec![0; truth.bytes.len()],
            verified: vec![false; count],
            room: None,
            filled: false,
            truth: Rc::clone(truth),
        }
    }

    /// The piece comes from elsewhere.
    pub fn bring(&mut self, piece: PieceIndex) {
        let range = self.range(piece);
        self.bytes[range.clone()].copy_from_slice(&self.truth.bytes[range]);
        self.verified[piece.index()] = true;
    }

    pub fn hash_is_good(&self, piece: PieceIndex) -> bool {
        sha1(&self.bytes[self.range(piece)]) == self.truth.hashes[piece.index()]
    }

    /// Bytes that are about to be served.
    pub fn serve(&self, offset: u64, len: usize) -> &[u8] {
        let from = offset as usize;
        let bytes = &self.bytes[from..from + len];
        for piece in self.pieces_of(from, len) {
            assert!(self.verified[piece], "piece {piece} is served and was not verified");
        }
        assert!(bytes == &self.truth.bytes[from..from + len], "bad bytes are served");
        bytes
    }

    pub fn put(&mut self, offset: u64, bytes: &[u8]) {
        let from = offset as usize;
        for piece in self.pieces_of(from, bytes.len()) {
            let good = bytes == &self.bytes[from..from + bytes.len()];
            assert!(good || !self.verified[piece], "verified piece {piece} is overwritten");
        }
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
    }

    fn range(&self, piece: PieceIndex) -> std::ops::Range<usize> {
        let from = self.truth.geometry.piece_offset(piece) as usize;
        from..from + self.truth.geometry.piece_size(piece) as usize
    }

    fn pieces_of(&self, from: usize, len: usize) -> std::ops::Range<usize> {
        let size = self.truth.geometry.piece_length() as usize;
        from / size..(from + len).div_ceil(size)
    }
}

impl Store for Disk {
    fn read(&mut self, _: SwarmId, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        into.copy_from_slice(&self.bytes[offset as usize..offset as usize + into.len()]);
        Ok(())
    }

    fn write(&mut self, _: SwarmId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.room {
            Some(0) => return Err(StoreError::new("the disk is full").that_passes()),
            Some(room) => *room -= 1,
            None => {}
        }
        self.put(offset, bytes);
        Ok(())
    }
}
