//! The whole core driven by hand: remote ends as bytes, content as a vector, time as a number.

mod announces;
mod answers;
mod chosen;
mod dht;
mod full_disk;
mod http;
mod late_blocks;
mod names;
mod pace;
mod pair;
mod ports;
mod refused;
mod room;
mod silence;
mod turnover;
mod twins;

use super::{Config, Peer};
use crate::proto::outgoing::{span_of, Segment as Piece, SendPlan};
use crate::proto::output::Action;
use crate::proto::store::{Store, StoreError};
use crate::proto::swarm::{Start, Torrent};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::{Block, Geometry, PieceIndex};
use crate::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use crate::units::rng::Rng;
use crate::units::time::{Duration, Instant};
use crate::wire::handshake::{Handshake, HANDSHAKE_BYTES};
use crate::wire::message::{piece_head, Message, LENGTH_BYTES};
use core::net::SocketAddr;
use std::collections::BTreeMap;

pub(super) const HASH: InfoHash = InfoHash([7; 20]);

/// Content in memory that can be read-only, as a finished file is.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) read_only: bool,
    /// Writes that still fit, if it fills up.
    pub(super) room: Option<usize>,
    /// Where was written, since the last look.
    pub(super) written: Vec<(u64, u64)>,
}

impl Store for Memory {
    fn read(&mut self, _: SwarmId, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        into.copy_from_slice(&self.bytes[offset as usize..][..into.len()]);
        Ok(())
    }

    fn write(&mut self, _: SwarmId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        assert!(!self.read_only, "finished content is written");
        match &mut self.room {
            Some(0) => return Err(StoreError::new("the disk is full").that_passes()),
            Some(room) => *room -= 1,
            None => {}
        }
        self.written.push((offset, offset + bytes.len() as u64));
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// A peer, its content, and what it wanted of the loop.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) peer: Peer,
    pub(super) now: Instant,
    pub(super) store: Memory,
    pub(super) truth: Vec<u8>,
    pub(super) geometry: Geometry,
    pub(super) swarm: SwarmId,
    /// Pieces whose hash is asked for.
    pub(super) verify: Vec<PieceIndex>,
    /// What was sent on each connection that is open, the handshake included.
    pub(super) sent: BTreeMap<ConnId, Vec<u8>>,
    pub(super) finished: bool,
    /// The block that the disk is tried with.
    pub(super) tries: Option<Block>,
}

pub(super) fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 4000))
}

pub(super) fn config() -> Config {
    Config { peer_id: PeerId([99; 20]), ..Config::default() }
}

pub(super) fn torrent(geometry: Geometry) -> Torrent {
    Torrent {
        info_hash: HASH,
        name: "age.txt".into(),
        geometry,
        padding: Default::default(),
        private: false,
        announce: None,
        announce_list: Vec::new(),
        info: Default::default(),
    }
}

pub(super) fn start(have: Bitfield) -> Start {
    Start {
        have,
        partials: Vec::new(),
        uploaded: 0,
        downloaded: 0,
        contacts: Vec::new(),
        checking: false,
    }
}

/// A message as it goes over the wire.
pub(super) fn bytes_of(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write_to(&mut bytes);
    bytes
}

impl Bench {
    /// A peer with nothing yet of content with this shape.
    pub(super) fn new(length: u64, piece_length: u32) -> Self {
        let geometry = Geometry::new(length, piece_length).unwrap();
        let mut truth = vec![0; length as usize];
        Rng::new(length).fill(&mut truth);
        let now = Instant::from_micros(1_000_000);
        let mut peer = Peer::new(config(), 7, now);
        let nothing = start(Bitfield::new(geometry.piece_count()));
        let swarm = peer.add_swarm(now, torrent(geometry), nothing).unwrap();
        let mut bench = Self {
            peer,
            now,
            store: Memory { bytes: vec![0; length as usize], ..Memory::default() },
            truth,
            geometry,
            swarm,
            verify: Vec::new(),
            sent: BTreeMap::new(),
            finished: false,
            tries: None,
        };
        bench.drain();
        bench
    }

    /// A remote end connects to us and says these bytes after its handshake.
    pub(super) fn accept(&mut self, n: u8, reserved: [u8; 8], then: &[u8]) -> ConnId {
        self.accept_from(addr(n), n, reserved, then)
    }

    /// The same from an address that others may have, too.
    pub(super) fn accept_from(
        &mut self,
        remote: SocketAddr,
        n: u8,
        reserved: [u8; 8],
        then: &[u8],
    ) -> ConnId {
        let local = SocketAddr::from(([10, 0, 0, 99], 5000));
        let id = self.peer.handle_accepted(self.now, remote, local).unwrap();
        self.sent.insert(id, Vec::new());
        let mut bytes = Handshake::ours(HASH, PeerId([n; 20])).to_bytes().to_vec();
        bytes[20..28].copy_from_slice(&reserved);
        bytes.extend_from_slice(then);
        self.receive(id, &bytes);
        id
    }

    /// A plain peer of BEP 3 with these pieces that serves us.
    pub(super) fn serves(&mut self, n: u8, pieces: &[u32]) -> ConnId {
        let mut field = Bitfield::new(self.geometry.piece_count());
        pieces.iter().for_each(|&piece| {
            field.set(piece);
        });
        let mut then = bytes_of(&Message::Bitfield(field.as_bytes()));
        then.extend(bytes_of(&Message::Unchoke));
        self.accept(n, [0; 8], &then)
    }

    pub(super) fn is_open(&self, id: ConnId) -> bool {
        self.sent.contains_key(&id)
    }

    /// Bytes come on a connection.
    pub(super) fn receive(&mut self, id: ConnId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.peer.receive_room(id);
            if room == 0 {
                return;
            }
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            bytes = rest;
            let taken = self.taken();
            self.store.written.clear();
            self.peer.handle_received(self.now, id, part, &mut self.store);
            for &(from, to) in &self.store.written {
                let hit = taken.iter().find(|&&(a, b)| from < b && a < to);
                assert_eq!(hit, None, "{from}..{to} is written over what is there");
            }
            self.drain();
        }
    }

    /// What is received or verified: nothing may be written there.
    fn taken(&self) -> Vec<(u64, u64)> {
        let Some(progress) = self.peer.progress(self.swarm) else {
            return vec![(0, self.geometry.length())];
        };
        let mut taken = Vec::new();
        for piece in self.geometry.pieces() {
            let begun = progress.partials.iter().find(|(p, _)| *p == piece.get());
            for n in 0..self.geometry.block_count(piece) {
                let there = progress.have.get(piece.get())
                    || begun.is_some_and(|(_, blocks)| blocks.get(n));
                let block = self.geometry.nth_block(piece, n);
                let from = self.geometry.block_offset(block);
                if there {
                    taken.push((from, from + u64::from(block.length)));
                }
            }
        }
        taken
    }

    /// Does what the core asks for, but hashes nothing.
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.peer.poll_action() {
            match action {
                Action::Close(id) => {
                    self.sent.remove(&id);
                }
                Action::Finish(_) => {
                    self.finished = true;
                    self.store.read_only = true;
                }
                Action::Send(id) => self.send(id),
                Action::TryWrite(_, block) => self.tries = Some(block),
                Action::Verify(_, piece) => self.verify.push(piece),
                _ => {}
            }
        }
        while self.peer.poll_event().is_some() {}
    }

    fn send(&mut self, id: ConnId) {
        let mut plan = SendPlan::default();
        while self.peer.send_plan(id, &mut plan) {
            let mut bytes = Vec::new();
            for segment in &plan.segments {
                match *segment {
                    Piece::Bytes(from, to) => bytes.extend_from_slice(&plan.bytes[from..to]),
                    Piece::Content { offset, len } => {
                        bytes.extend_from_slice(&self.store.bytes[offset as usize..][..len]);
                    }
                }
            }
            self.sent.entry(id).or_default().extend_from_slice(&bytes);
            self.peer.handle_sent(self.now, id, bytes.len());
        }
    }

    /// Time passes.
    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.peer.handle_timeout(self.now);
            self.drain();
        }
    }

    /// The messages sent on a connection, as id and body.
    pub(super) fn messages(&self, id: ConnId) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = self.sent.get(&id).and_then(|s| s.get(HANDSHAKE_BYTES..)).unwrap_or(&[]);
        let mut found = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
            let (body, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            if let Some((&id, body)) = body.split_first() {
                found.push((id, body.to_vec()));
            }
            bytes = rest;
        }
        found
    }

    /// Messages of this id that were sent on a connection, as the block they name.
    pub(super) fn named(&self, id: ConnId, message: u8) -> Vec<Block> {
        let of = self.messages(id).into_iter().filter(|(found, _)| *found == message);
        let number =
            |body: &[u8], at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        of.map(|(_, b)| self.geometry.block(number(&b, 0), number(&b, 4), number(&b, 8)).unwrap())
            .collect()
    }

    /// The blocks sent on a connection: piece and first byte.
    pub(super) fn named_blocks(&self, id: ConnId) -> Vec<(u32, u32)> {
        let number =
            |body: &[u8], at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        let blocks = self.messages(id).into_iter().filter(|(found, _)| *found == 7);
        blocks.map(|(_, body)| (number(&body, 0), number(&body, 4))).collect()
    }

    /// The blocks asked for on a connection, in order, whatever became of them.
    pub(super) fn asked(&self, id: ConnId) -> Vec<Block> {
        self.named(id, 6)
    }

    /// A block as the remote end sends it, head and bytes.
    pub(super) fn block(&self, block: Block) -> Vec<u8> {
        let from = self.geometry.block_offset(block) as usize;
        let mut bytes = piece_head(span_of(block)).to_vec();
        bytes.extend_from_slice(&self.truth[from..][..block.length as usize]);
        bytes
    }

    /// The same with other bytes in it.
    pub(super) fn bad_block(&self, block: Block) -> Vec<u8> {
        let mut bytes = piece_head(span_of(block)).to_vec();
        bytes.resize(bytes.len() + block.length as usize, 0xee);
        bytes
    }

    /// Whether the store holds the right bytes of this piece.
    pub(super) fn is_right(&self, piece: PieceIndex) -> bool {
        let from = self.geometry.piece_offset(piece) as usize;
        let range = from..from + self.geometry.piece_size(piece) as usize;
        self.store.bytes[range.clone()] == self.truth[range]
    }

    /// Hashes all that waits for it.
    pub(super) fn hash(&mut self) {
        for piece in core::mem::take(&mut self.verify) {
            let good = self.is_right(piece);
            self.peer.handle_verified(self.now, self.swarm, piece, good, &mut self.store);
            self.drain();
        }
    }

    /// The verified pieces.
    pub(super) fn have(&self) -> Vec<u32> {
        self.peer.progress(self.swarm).map(|p| p.have.iter().collect()).unwrap_or_default()
    }
}
