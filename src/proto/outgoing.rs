//! The outbound half of a connection: small messages as bytes, blocks as what they are.
//!
//! A block that we owe is twelve bytes until the socket can take it. Choke and cancel therefore
//! drop blocks, not bytes, and nothing is copied that is not sent.

use crate::units::geometry::{Block, Geometry};
use crate::units::id::SwarmId;
use crate::units::limits::{BLOCK_BYTES, REQUESTS_IN_MAX};
use crate::wire::message::{self, Message, Span, PIECE_HEAD_BYTES};
use std::collections::VecDeque;

/// Blocks gathered into one system call at least, where so many wait: twice what a socket on a slow line takes.
const BLOCKS_A_CALL_MIN: usize = 8;
/// Blocks gathered into one system call at most: 1 MiB, which a fast socket takes at once.
pub const BLOCKS_A_CALL: usize = 64;
/// Blocks behind those of a call that the disk is asked for, where it has to be waited for: 1 MiB, what a slow
/// disk brings in one go.
const BLOCKS_AHEAD: usize = 64;
/// Bytes of one turn at most, where pieces are longer.
const TURN_PAYLOAD_MAX: usize = 1024 * 1024;
const _: () = assert!(BLOCKS_A_CALL_MIN <= BLOCKS_A_CALL);

/// Bytes of small messages in one call; the rest goes with the next.
const BYTES_A_CALL: usize = 64 * 1024;

/// Blocks of one turn at most.
const BLOCKS_A_TURN: usize = TURN_PAYLOAD_MAX / BLOCK_BYTES as usize;

/// Bytes of an outbox when its first message comes: a batch of requests.
const OUTBOX_BYTES: usize = 256;

/// One part of what to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A range of [`SendPlan::bytes`].
    Bytes(usize, usize),
    /// A range of the swarm's content.
    Content {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: usize,
    },
}

/// What to send in one call.
#[derive(Clone, Debug, Default)]
pub struct SendPlan {
    /// Whose content the segments mean.
    pub swarm: Option<SwarmId>,
    /// Messages and heads of blocks.
    pub bytes: Vec<u8>,
    /// In order.
    pub segments: Vec<Segment>,
    /// Whether `ahead` is wanted.
    pub look_ahead: bool,
    /// What will have to be sent after this: first byte and number of bytes.
    pub ahead: Vec<(u64, usize)>,
}

impl SendPlan {
    /// Forgets the last call.
    pub fn clear(&mut self) {
        self.swarm = None;
        self.bytes.clear();
        self.segments.clear();
        self.ahead.clear();
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.segments.push(Segment::Bytes(from, self.bytes.len()));
        }
    }

    fn push_ahead(&mut self, block: Block, geometry: &Geometry) {
        let (offset, len) = (geometry.block_offset(block), block.length as usize);
        match self.ahead.last_mut() {
            Some((start, before)) if *start + *before as u64 == offset => *before += len,
            _ => self.ahead.push((offset, len)),
        }
    }

    fn push_block(&mut self, block: Block, geometry: &Geometry, sent: usize) {
        let head = message::piece_head(span_of(block));
        self.push_bytes(head.get(sent..).unwrap_or(&[]));
        let skip = sent.saturating_sub(PIECE_HEAD_BYTES);
        let offset = geometry.block_offset(block) + skip as u64;
        self.segments.push(Segment::Content { offset, len: block.length as usize - skip });
    }
}

/// The state between two writes.
#[derive(Debug, Default)]
pub struct Outgoing {
    outbox: Vec<u8>,
    /// Bytes of the outbox that are sent.
    outbox_sent: usize,
    /// The block that is half sent, and how much of it, its head counted.
    current: Option<(Block, usize)>,
    /// At most [`REQUESTS_IN_MAX`].
    backlog: VecDeque<Block>,
    /// Blocks of the backlog that may be sent before others have their turn.
    granted: usize,
    /// Blocks that the socket may take with one call, by what it took: twice that.
    reach: usize,
    /// The last block of the last turn, and how many blocks of its piece had their turn in a row.
    last: Option<Block>,
    in_a_row: usize,
    /// It stands in the queue for its turn, which comes without being asked for again.
    waits: bool,
    /// It has its turn, and goes on when the rate that the user has set allows it.
    paced: bool,
}

impl Outgoing {
    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.current.is_none() && self.backlog.is_empty()
    }

    /// Bytes of small messages not yet sent.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.outbox.len() - self.outbox_sent
    }

    /// Queues a message. Blocks go by [`Outgoing::owe`].
    pub fn push(&mut self, message: &Message<'_>) {
        self.make_room();
        message.write_to(&mut self.outbox);
    }

    /// Queues bytes that are not a message: a handshake, a keep-alive, HTTP.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.make_room();
        self.outbox.extend_from_slice(bytes);
    }

    fn make_room(&mut self) {
        if self.outbox.capacity() == 0 {
            self.outbox.reserve(OUTBOX_BYTES);
        }
    }

    /// Queues a block; false where too many wait already.
    #[must_use]
    pub fn owe(&mut self, block: Block) -> bool {
        let room = self.backlog.len() < REQUESTS_IN_MAX;
        if room {
            self.backlog.push_back(block);
        }
        room
    }

    /// Drops a queued block; false where it is not queued, or under way already.
    pub fn cancel(&mut self, block: Block) -> bool {
        let at = self.backlog.iter().position(|&b| b == block);
        at.is_some_and(|at| self.backlog.remove(at).is_some())
    }

    /// Drops all queued blocks (we choke).
    pub fn drop_backlog(&mut self) -> impl Iterator<Item = Block> {
        (self.granted, self.last) = (0, None);
        core::mem::take(&mut self.backlog).into_iter()
    }

    /// The first block that waits, if none may be sent yet.
    #[must_use]
    pub fn needs_turn(&self) -> Option<Block> {
        let none = self.current.is_none() && self.granted == 0;
        self.backlog.front().copied().filter(|_| none)
    }

    /// Whether no block that may be sent is left.
    #[must_use]
    pub fn turn_is_over(&self) -> bool {
        self.current.is_none() && (self.granted == 0 || self.backlog.is_empty())
    }

    /// It must wait for its turn.
    pub fn wait(&mut self) {
        self.waits = true;
    }

    /// Whether blocks that have their turn wait for the rate, from now on.
    pub fn set_paced(&mut self, paced: bool) {
        self.paced = paced;
    }

    /// Whether a block that may be sent waits behind the one that is half sent, if one is.
    #[must_use]
    pub fn has_granted(&self) -> bool {
        self.granted > 0 && !self.backlog.is_empty()
    }

    /// Whether a write would send something, or at least ask for a turn.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let held = self.waits || self.paced || self.backlog.is_empty();
        let blocks = self.current.is_some() || !held;
        blocks || !self.outbox.is_empty()
    }

    /// Whether the block that waits goes on with the piece of the last turn. Not for ever: a block
    /// that is asked for again, and what is more than one turn may take, is as new.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        let (Some(first), Some(last)) = (self.backlog.front(), self.last) else { return false };
        let follows = first.piece == last.piece && first.begin > last.begin;
        follows && self.in_a_row < BLOCKS_A_TURN
    }

    /// It is this connection's turn: the blocks of one piece may go, as far as they are queued.
    pub fn grant(&mut self) {
        self.waits = false;
        if !self.goes_on() {
            self.in_a_row = 0;
        }
        let Some(first) = self.backlog.front() else { return };
        let most = self.backlog.iter().take(BLOCKS_A_TURN - self.in_a_row);
        let run = most.take_while(|block| block.piece == first.piece);
        self.granted = run.count();
        self.in_a_row += self.granted;
        self.last = self.backlog.get(self.granted - 1).copied();
    }

    /// Says what to send next, with `most` blocks that are not begun. The geometry is that of the
    /// swarm; `None` before the handshake.
    pub fn plan(&self, of: Option<(SwarmId, &Geometry)>, most: usize, plan: &mut SendPlan) {
        plan.clear();
        plan.swarm = of.map(|(swarm, _)| swarm);
        if let (Some((block, sent)), Some((_, geometry))) = (self.current, of) {
            plan.push_block(block, geometry, sent);
        }
        let unsent = &self.outbox[self.outbox_sent..];
        plan.push_bytes(&unsent[..unsent.len().min(BYTES_A_CALL)]);
        let Some((_, geometry)) = of else { return };
        let most = self.blocks_a_call().min(most);
        let blocks = if unsent.len() > BYTES_A_CALL { 0 } else { most };
        for &block in self.backlog.iter().take(blocks) {
            plan.push_block(block, geometry, 0);
        }
        if plan.look_ahead {
            let ahead = self.backlog.iter().skip(blocks).take(BLOCKS_AHEAD);
            ahead.for_each(|&block| plan.push_ahead(block, geometry));
        }
    }

    /// Blocks for the next call: to gather more than the socket takes is work for nothing.
    fn blocks_a_call(&self) -> usize {
        self.granted.min(self.reach.max(BLOCKS_A_CALL_MIN))
    }

    /// Takes note that the first `count` bytes of the plan are sent; calls `block_sent` for each
    /// block that is gone in full. Returns the payload bytes among them.
    pub fn sent(&mut self, mut count: usize, mut block_sent: impl FnMut(Block)) -> usize {
        let mut payload = 0;
        if let Some((block, before)) = self.current {
            let step = count.min(PIECE_HEAD_BYTES + block.length as usize - before);
            count -= step;
            payload += payload_in(before, step);
            self.current = Some((block, before + step));
            if before + step < PIECE_HEAD_BYTES + block.length as usize {
                self.reach = 0;
                return payload;
            }
            self.current = None;
            block_sent(block);
        }
        let step = count.min(self.outbox.len() - self.outbox_sent);
        count -= step;
        self.outbox_sent += step;
        if self.outbox_sent == self.outbox.len() {
            // Who is silent holds no memory for what it might say.
            self.outbox = Vec::new();
            self.outbox_sent = 0;
        }
        let planned = self.blocks_a_call();
        let mut taken = 0;
        while count > 0 {
            let block = self.backlog.pop_front().expect("no more is sent than was planned");
            taken += 1;
            self.granted = self.granted.saturating_sub(1);
            let whole = PIECE_HEAD_BYTES + block.length as usize;
            let step = count.min(whole);
            count -= step;
            payload += payload_in(0, step);
            if step < whole {
                self.current = Some((block, step));
            } else {
                block_sent(block);
            }
        }
        let all = taken == planned && self.current.is_none();
        let least = if all { self.reach } else { 0 };
        self.reach = (2 * taken).clamp(least, BLOCKS_A_CALL);
        payload
    }
}

fn payload_in(before: usize, step: usize) -> usize {
    (before + step).saturating_sub(PIECE_HEAD_BYTES) - before.saturating_sub(PIECE_HEAD_BYTES)
}

/// The numbers of a block as they go over the wire.
#[must_use]
pub fn span_of(block: Block) -> Span {
    Span { index: block.piece.get(), begin: block.begin, length: block.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_call_is_told_in_runs() {
        let geometry = Geometry::new(64 * 16_384, 8 * 16_384).unwrap();
        let mut outgoing = Outgoing::default();
        let block = |n: u32| geometry.block(n / 8, n % 8 * 16_384, 16_384).unwrap();
        let asked = (0..24).chain([40, 41, 7]);
        asked.for_each(|n| assert!(outgoing.owe(block(n))));
        let mut plan = SendPlan { look_ahead: true, ..SendPlan::default() };
        let of = Some((SwarmId(1), &geometry));
        outgoing.plan(of, usize::MAX, &mut plan);
        assert!(plan.segments.is_empty(), "it has no turn yet");
        let bytes = |n: u64| n * 16_384;
        let runs = [(0, bytes(24)), (bytes(40), bytes(2)), (bytes(7), bytes(1))];
        assert_eq!(plan.ahead, runs.map(|(at, len)| (at, len as usize)));
        outgoing.grant();
        outgoing.plan(of, usize::MAX, &mut plan);
        assert_eq!(plan.segments.len(), 16);
        assert_eq!(plan.ahead[0], (bytes(8), bytes(16) as usize));
        plan.look_ahead = false;
        outgoing.plan(of, usize::MAX, &mut plan);
        assert_eq!(plan.ahead, []);
    }

    #[test]
    fn a_call_gathers_twice_what_the_last_one_took() {
        let geometry = Geometry::new(1 << 22, 1 << 22).unwrap();
        let mut outgoing = Outgoing::default();
        for n in 0..256 {
            assert!(outgoing.owe(geometry.block(0, n * 16_384, 16_384).unwrap()));
        }
        let of = Some((SwarmId(1), &geometry));
        let whole = PIECE_HEAD_BYTES + 16_384;
        let mut call = |takes: Option<usize>| {
            if outgoing.needs_turn().is_some() {
                outgoing.grant();
            }
            let mut plan = SendPlan::default();
            outgoing.plan(of, usize::MAX, &mut plan);
            let blocks = plan.segments.len().div_ceil(2);
            let len = |segment: &Segment| match *segment {
                Segment::Bytes(from, to) => to - from,
                Segment::Content { len, .. } => len,
            };
            let all = plan.segments.iter().map(len).sum();
            outgoing.sent(takes.unwrap_or(all), |_| ());
            blocks
        };
        assert_eq!([None, None, None].map(&mut call), [8, 16, 32]);
        // The rest of the piece's first 64 blocks; the next 64 in one call.
        assert_eq!([None, None].map(&mut call), [8, 64]);
        // The socket is full within the sixth block, then within that again.
        assert_eq!([Some(5 * whole + 100), Some(10)].map(&mut call), [64, 13]);
        assert_eq!([None, None].map(&mut call), [9, 16]);
    }

    #[test]
    fn the_rest_of_a_piece_goes_on_with_it_as_far_as_one_turn_reaches() {
        let geometry = Geometry::new(256 * 16_384, 128 * 16_384).unwrap();
        let block = |n: u32| geometry.block(n / 128, n % 128 * 16_384, 16_384).unwrap();
        let mut outgoing = Outgoing::default();
        let mut turn = |blocks: core::ops::Range<u32>| {
            let count = blocks.len();
            blocks.for_each(|n| assert!(outgoing.owe(block(n))));
            let goes_on = outgoing.goes_on();
            outgoing.grant();
            outgoing.sent(count * (16_384 + PIECE_HEAD_BYTES), |_| {});
            goes_on
        };
        assert!(!turn(0..6));
        assert!(turn(6..20));
        assert!(!turn(3..9), "it had these");
        assert!(turn(9..10));
        assert!(!turn(128..192), "another piece");
        assert!(!turn(192..198), "a turn has no more blocks");
        assert!(turn(198..199));
    }
}
