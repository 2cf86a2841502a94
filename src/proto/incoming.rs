//! The inbound half of a connection: where its next bytes belong, and what they meant.
//!
//! Blocks go from the socket to their place in the content without a stop. The plan for one
//! system call holds the rest of the block under way, then for each request still unanswered, in
//! the order asked, the head we expect and the place of its block. Where the remote end sends
//! something else, the bytes behind it have landed in the wrong place; they are taken out again
//! (those places hold nothing yet) and read one message at a time.

use super::store::{Store, StoreError};
use crate::units::geometry::{Block, Geometry};
use crate::units::id::SwarmId;
use crate::units::limits::BLOCKS_A_CALL;
use crate::wire::message::Malformed;
use crate::wire::message::{self, Message, Span, LENGTH_BYTES, PIECE_HEAD_BYTES, PIECE_ID};

/// Bytes for whatever comes behind what is expected.
const TAIL_BYTES: usize = 4 * 1024;
/// Bytes read at once where no block is expected.
const IDLE_BYTES: usize = 16 * 1024;
/// Scratch bytes that the largest plan asks for.
pub const SCRATCH_BYTES: usize = IDLE_BYTES + TAIL_BYTES + BLOCKS_A_CALL * PIECE_HEAD_BYTES;

/// One part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// So many bytes of the caller's scratch buffer, laid end to end.
    Scratch(usize),
    /// A range of the swarm's content.
    Content {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: usize,
    },
}

/// Where the bytes of one read belong.
#[derive(Clone, Debug, Default)]
pub struct ReceivePlan {
    /// Whose content the segments mean; `None` where there are only scratch segments.
    pub swarm: Option<SwarmId>,
    /// In order.
    pub segments: Vec<Segment>,
    /// The blocks whose heads are expected, in order.
    predicted: Vec<Block>,
}

/// What the bytes of one read meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A block is complete in the content.
    Filled(Block),
    /// The head of a block; answer with [`Incoming::fill`] or [`Incoming::discard`].
    Head(Span),
    /// BEP 3: a message of length zero.
    KeepAlive,
    /// Any other message.
    Message(Message<'a>),
}

/// Why reading stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The octets are no message.
    Malformed(Malformed),
    /// The block cannot be written.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[derive(Clone, Copy, Debug)]
struct Filling {
    /// `None`: nobody wants these bytes.
    block: Option<Block>,
    offset: u64,
    left: u32,
}

/// The state between two reads: at most one message, or one block under way.
#[derive(Debug, Default)]
pub struct Incoming {
    inbox: Vec<u8>,
    /// The inbox holds a message that was handed out; it goes with the next call.
    taken: bool,
    filling: Option<Filling>,
}

impl Incoming {
    /// The block under way, if it is one we want.
    #[must_use]
    pub fn filling(&self) -> Option<Block> {
        self.filling.and_then(|f| f.block)
    }

    /// Plans the next read. `expected`: our unanswered requests in the order asked; empty where a
    /// wrong guess could overwrite what another connection has received (end game).
    pub fn plan(
        &self,
        swarm: SwarmId,
        geometry: &Geometry,
        expected: impl Iterator<Item = Block>,
        plan: &mut ReceivePlan,
    ) {
        plan.swarm = Some(swarm);
        plan.segments.clear();
        plan.predicted.clear();
        let inbox: &[u8] = if self.taken { &[] } else { &self.inbox };
        match self.filling {
            Some(Filling { block: None, left, .. }) => {
                let len = (left as usize).min(IDLE_BYTES);
                plan.segments.push(Segment::Scratch(len));
                return;
            }
            Some(Filling { offset, left, .. }) => {
                plan.segments.push(Segment::Content { offset, len: left as usize });
            }
            None => {}
        }
        for block in expected.take(BLOCKS_A_CALL) {
            let first = plan.predicted.is_empty();
            let known = if first && self.filling.is_none() { inbox } else { &[] };
            if !head_of(block).starts_with(known) {
                break;
            }
            plan.segments.push(Segment::Scratch(PIECE_HEAD_BYTES - known.len()));
            let (offset, len) = (geometry.block_offset(block), block.length as usize);
            plan.segments.push(Segment::Content { offset, len });
            plan.predicted.push(block);
        }
        let tail = if plan.predicted.is_empty() { IDLE_BYTES } else { TAIL_BYTES };
        plan.segments.push(Segment::Scratch(tail));
    }

    /// Takes note of `count` bytes that a read has put where `plan` said. Calls `head` and
    /// `filled` for each block that came as expected; what else came is moved to `spill`.
    ///
    /// # Errors
    /// When misplaced bytes cannot be read back.
    pub fn land(
        &mut self,
        plan: &ReceivePlan,
        count: usize,
        scratch: &[u8],
        store: &mut dyn Store,
        spill: &mut Vec<u8>,
        mut landed: impl FnMut(Landed),
    ) -> Result<(), StoreError> {
        if core::mem::take(&mut self.taken) {
            self.clear_inbox();
        }
        let (mut left, mut at) = (count, 0);
        let mut predicted = plan.predicted.iter().copied();
        let mut next = predicted.next();
        let mut as_expected = true;
        for segment in &plan.segments {
            if left == 0 {
                break;
            }
            match *segment {
                Segment::Content { offset, len } => {
                    let len = len.min(left);
                    left -= len;
                    if as_expected {
                        if let Some(block) = self.advance(len) {
                            landed(Landed::Filled(block));
                        }
                    } else if let Some(swarm) = plan.swarm {
                        let from = spill.len();
                        spill.resize(from + len, 0);
                        store.read(swarm, offset, &mut spill[from..])?;
                    }
                }
                Segment::Scratch(size) => {
                    let bytes = &scratch[at..at + size.min(left)];
                    at += size;
                    left -= bytes.len();
                    let head = next.map(head_of);
                    let from = self.inbox.len();
                    match (next, head) {
                        _ if !as_expected => spill.extend_from_slice(bytes),
                        (None, _) if self.filling.is_some() => {
                            self.advance(bytes.len());
                        }
                        (Some(block), Some(head)) if head[from..].starts_with(bytes) => {
                            self.inbox.extend_from_slice(bytes);
                            if self.inbox.len() == PIECE_HEAD_BYTES {
                                self.inbox.clear();
                                let offset = plan.offset_of(block);
                                self.filling = Some(Filling {
                                    block: Some(block),
                                    offset,
                                    left: block.length,
                                });
                                landed(Landed::Head(block));
                                next = predicted.next();
                            }
                        }
                        _ => {
                            as_expected = false;
                            spill.extend_from_slice(bytes);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the next item from `bytes`; `None` when they are used up.
    ///
    /// # Errors
    /// When the octets are no message, or a block cannot be written.
    pub fn next<'a>(
        &'a mut self,
        bytes: &mut &[u8],
        swarm: SwarmId,
        piece_count: u32,
        store: &mut dyn Store,
    ) -> Result<Option<Item<'a>>, Trouble> {
        if core::mem::take(&mut self.taken) {
            self.clear_inbox();
        }
        while let Some(filling) = self.filling {
            let len = bytes.len().min(filling.left as usize);
            let (part, rest) = bytes.split_at(len);
            *bytes = rest;
            if filling.block.is_some() && len > 0 {
                store.write(swarm, filling.offset, part)?;
            }
            match self.advance(len) {
                Some(block) => return Ok(Some(Item::Filled(block))),
                None if self.filling.is_some() => return Ok(None),
                None => {}
            }
        }
        if !self.top_up(LENGTH_BYTES, bytes) {
            return Ok(None);
        }
        let length = u32::from_be_bytes(core::array::from_fn(|i| self.inbox[i]));
        if length == 0 {
            self.taken = true;
            return Ok(Some(Item::KeepAlive));
        }
        if !self.top_up(LENGTH_BYTES + 1, bytes) {
            return Ok(None);
        }
        let id = self.inbox[LENGTH_BYTES];
        message::check_length(id, length, piece_count).map_err(Trouble::Malformed)?;
        let is_block = id == PIECE_ID;
        let wanted = if is_block { PIECE_HEAD_BYTES } else { LENGTH_BYTES + length as usize };
        if !self.top_up(wanted, bytes) {
            return Ok(None);
        }
        self.taken = true;
        if is_block {
            let head: [u8; PIECE_HEAD_BYTES] = core::array::from_fn(|i| self.inbox[i]);
            return Ok(Some(Item::Head(message::parse_piece_head(&head))));
        }
        Message::parse(id, &self.inbox[LENGTH_BYTES + 1..])
            .map(|message| Some(Item::Message(message)))
            .map_err(Trouble::Malformed)
    }

    /// The bytes after the head just read are this block; it rests at `offset`.
    pub fn fill(&mut self, block: Block, offset: u64) {
        self.filling = Some(Filling { block: Some(block), offset, left: block.length });
    }

    /// The rest of the block under way is not wanted any more, if it is this one.
    pub fn forget(&mut self, block: Block) -> bool {
        match &mut self.filling {
            Some(filling) if filling.block == Some(block) => {
                filling.block = None;
                true
            }
            _ => false,
        }
    }

    /// The `length` bytes after the head just read are not wanted.
    pub fn discard(&mut self, length: u32) {
        let left = length;
        self.filling = (left > 0).then_some(Filling { block: None, offset: 0, left });
    }

    /// `len` more bytes of the block under way are in place; says which block that completes.
    fn advance(&mut self, len: usize) -> Option<Block> {
        let filling = self.filling.as_mut()?;
        filling.left -= u32::try_from(len).expect("no more than was left");
        filling.offset += len as u64;
        if filling.left > 0 {
            return None;
        }
        self.filling.take().and_then(|f| f.block)
    }

    fn top_up(&mut self, wanted: usize, bytes: &mut &[u8]) -> bool {
        let len = wanted.saturating_sub(self.inbox.len()).min(bytes.len());
        let (part, rest) = bytes.split_at(len);
        self.inbox.extend_from_slice(part);
        *bytes = rest;
        self.inbox.len() >= wanted
    }

    /// A connection that once took a large message must not hold its memory while silent.
    fn clear_inbox(&mut self) {
        self.inbox.clear();
        self.inbox.shrink_to(256);
    }
}

/// What [`Incoming::land`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The block is complete in the content.
    Filled(Block),
    /// The head of this block, the first of those expected, has come.
    Head(Block),
}

impl ReceivePlan {
    fn offset_of(&self, block: Block) -> u64 {
        let nth = self.predicted.iter().position(|&b| b == block).unwrap_or(0);
        let from_end = 2 * (self.predicted.len() - nth);
        match self.segments.get(self.segments.len() - from_end) {
            Some(&Segment::Content { offset, .. }) => offset,
            _ => unreachable!("each predicted head is followed by the place of its block"),
        }
    }
}

fn head_of(block: Block) -> [u8; PIECE_HEAD_BYTES] {
    message::piece_head(Span { index: block.piece.get(), begin: block.begin, length: block.length })
}
