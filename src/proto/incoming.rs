//! The inbound half of a connection: bytes in, messages out, and where the blocks among them belong.
//!
//! One system call brings many messages. Their blocks stay where the call has put them; only the
//! places they belong to are noted, so that all of them go into the content with few calls. What a
//! connection keeps between two calls is the beginning of one message at most, and how much of the
//! block under way is still to come.

use super::store::Placed;
use crate::units::geometry::Block;
use crate::wire::message::{self, Malformed, Message, Span};
use crate::wire::message::{LENGTH_BYTES, PIECE_HEAD_BYTES, PIECE_ID};

/// What the next bytes mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// All of a block has come; its last bytes are among those noted.
    Filled(Block),
    /// The head of a block; answer with [`Incoming::fill`] or [`Incoming::discard`].
    Head(Span),
    /// BEP 3: a message of length zero.
    KeepAlive,
    /// Any other message.
    Message(Message<'a>),
}

/// The bytes of one read, as far as they are not read yet, and where those of blocks belong.
#[derive(Debug)]
pub struct Received<'a> {
    bytes: &'a [u8],
    at: usize,
    placed: &'a mut Vec<Placed>,
}

impl<'a> Received<'a> {
    /// All of `bytes` from `at` on; the places are added to `placed`.
    pub fn new(bytes: &'a [u8], at: usize, placed: &'a mut Vec<Placed>) -> Self {
        Self { bytes, at: at.min(bytes.len()), placed }
    }

    /// Takes at most `most` bytes; says from where to where.
    fn take(&mut self, most: usize) -> (usize, usize) {
        let from = self.at;
        self.at += most.min(self.bytes.len() - from);
        (from, self.at)
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
    /// Bytes of a message that is not whole yet.
    #[must_use]
    pub fn inbox_bytes(&self) -> usize {
        self.inbox.capacity()
    }

    /// The block under way, if it is one we want.
    #[must_use]
    pub fn filling(&self) -> Option<Block> {
        self.filling.and_then(|f| f.block)
    }

    /// Reads the next item; `None` when the bytes are used up.
    ///
    /// # Errors
    /// When the octets are no message.
    pub fn next(
        &mut self,
        received: &mut Received<'_>,
        piece_count: u32,
    ) -> Result<Option<Item<'_>>, Malformed> {
        if core::mem::take(&mut self.taken) {
            self.clear_inbox();
        }
        while self.filling.is_some() {
            match self.fill_from(received) {
                Some(block) => return Ok(Some(Item::Filled(block))),
                None if self.filling.is_some() => return Ok(None),
                None => {}
            }
        }
        if !self.top_up(LENGTH_BYTES, received) {
            return Ok(None);
        }
        let length = u32::from_be_bytes(core::array::from_fn(|i| self.inbox[i]));
        if length == 0 {
            self.taken = true;
            return Ok(Some(Item::KeepAlive));
        }
        if !self.top_up(LENGTH_BYTES + 1, received) {
            return Ok(None);
        }
        let id = self.inbox[LENGTH_BYTES];
        message::check_length(id, length, piece_count)?;
        let is_block = id == PIECE_ID;
        let wanted = if is_block { PIECE_HEAD_BYTES } else { LENGTH_BYTES + length as usize };
        if !self.top_up(wanted, received) {
            return Ok(None);
        }
        self.taken = true;
        if is_block {
            let head: [u8; PIECE_HEAD_BYTES] = core::array::from_fn(|i| self.inbox[i]);
            return Ok(Some(Item::Head(message::parse_piece_head(&head))));
        }
        Message::parse(id, &self.inbox[LENGTH_BYTES + 1..]).map(|m| Some(Item::Message(m)))
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

    /// Takes what has come of the block under way; says which block that completes.
    fn fill_from(&mut self, received: &mut Received<'_>) -> Option<Block> {
        let filling = self.filling.as_mut()?;
        let (from, to) = received.take(filling.left as usize);
        let offset = filling.offset;
        if filling.block.is_some() && from < to {
            received.placed.push(Placed { offset, from, to });
        }
        filling.offset += (to - from) as u64;
        // No more was taken than was left.
        filling.left -= (to - from) as u32;
        if filling.left > 0 {
            return None;
        }
        self.filling.take().and_then(|f| f.block)
    }

    fn top_up(&mut self, wanted: usize, received: &mut Received<'_>) -> bool {
        let (from, to) = received.take(wanted.saturating_sub(self.inbox.len()));
        self.inbox.extend_from_slice(&received.bytes[from..to]);
        self.inbox.len() >= wanted
    }

    /// A connection that once took a large message must not hold its memory while silent.
    fn clear_inbox(&mut self) {
        self.inbox.clear();
        self.inbox.shrink_to(256);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::geometry::Geometry;
    use proptest::prelude::*;

    const PIECES: u32 = 8;

    fn geometry() -> Geometry {
        Geometry::new(8 * 64, 64).unwrap()
    }

    /// A message with its length before it, its block whole.
    fn octets(message: &Message<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write_to(&mut bytes);
        bytes
    }

    /// What came, in words, and what lies where in the content.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Read {
        items: Vec<String>,
        content: Vec<u8>,
    }

    /// Reads the parts one after the other; blocks of odd pieces are not wanted.
    fn read(parts: &[&[u8]]) -> Result<Read, Malformed> {
        let (geometry, mut incoming) = (geometry(), Incoming::default());
        let mut read = Read { items: Vec::new(), content: vec![0; 512] };
        for &part in parts {
            let mut placed = Vec::new();
            let mut received = Received::new(part, 0, &mut placed);
            loop {
                let head = match incoming.next(&mut received, PIECES)? {
                    None => break,
                    Some(Item::Head(span)) => Some(span),
                    Some(item) => {
                        read.items.push(format!("{item:?}"));
                        None
                    }
                };
                let Some(span) = head else { continue };
                match geometry.block(span.index, span.begin, span.length) {
                    Some(block) if span.index % 2 == 0 => {
                        incoming.fill(block, geometry.block_offset(block));
                    }
                    _ => incoming.discard(span.length),
                }
            }
            for place in placed {
                let at = place.offset as usize;
                let bytes = &part[place.from..place.to];
                read.content[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        Ok(read)
    }

    fn stream() -> Vec<u8> {
        let (a, b, c) = ([1; 64], [2; 30], [3; 64]);
        [
            octets(&Message::Have(3)),
            octets(&Message::Piece(0, 0, &a)),
            octets(&Message::Piece(2, 10, &b)),
            vec![0; 4],
            octets(&Message::Piece(1, 0, &c)),
            octets(&Message::Bitfield(&[0xff])),
            octets(&Message::Piece(4, 63, &c[..1])),
            octets(&Message::Choke),
            octets(&Message::Piece(3, 0, &[])),
            octets(&Message::Unchoke),
        ]
        .concat()
    }

    #[test]
    fn every_split_point_gives_the_same() {
        let stream = stream();
        let whole = read(&[&stream]).unwrap();
        assert_eq!(whole.items.len(), 8, "{whole:?}");
        assert_eq!(whole.content[..64], [1; 64]);
        assert_eq!(whole.content[64..138], [0; 74]);
        assert_eq!(whole.content[138..168], [2; 30]);
        assert_eq!(whole.content[4 * 64 + 63], 3);
        for first in 0..=stream.len() {
            let (a, b) = stream.split_at(first);
            assert_eq!(read(&[a, b]).unwrap(), whole, "split at {first}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes).unwrap(), whole);
    }

    proptest! {
        #[test]
        fn any_splits_give_the_same(mut cuts in proptest::collection::vec(0..300_usize, 0..9)) {
            let stream = stream();
            cuts.sort_unstable();
            let (mut parts, mut from) = (Vec::new(), 0);
            for cut in cuts {
                let cut = cut.clamp(from, stream.len());
                parts.push(&stream[from..cut]);
                from = cut;
            }
            parts.push(&stream[from..]);
            prop_assert_eq!(read(&parts), read(&[&stream]));
        }
    }

    #[test]
    fn a_block_forgotten_half_way_is_read_to_its_end() {
        let bytes = octets(&Message::Piece(0, 0, &[9; 64]));
        let (mut incoming, mut placed) = (Incoming::default(), Vec::new());
        let block = geometry().block(0, 0, 64).unwrap();
        let mut received = Received::new(&bytes[..20], 0, &mut placed);
        assert!(matches!(incoming.next(&mut received, PIECES), Ok(Some(Item::Head(_)))));
        incoming.fill(block, 0);
        assert_eq!(incoming.next(&mut received, PIECES), Ok(None));
        assert_eq!(placed, [Placed { offset: 0, from: 13, to: 20 }]);
        assert_eq!(incoming.filling(), Some(block));
        assert!(incoming.forget(block));
        assert!(!incoming.forget(block));
        let rest = [&bytes[20..], &octets(&Message::Have(5))].concat();
        let mut received = Received::new(&rest, 0, &mut placed);
        let next = incoming.next(&mut received, PIECES);
        assert_eq!(next, Ok(Some(Item::Message(Message::Have(5)))));
        assert_eq!(placed.len(), 1, "what nobody wants has no place");
    }

    #[test]
    fn lengths_are_refused_before_anything_is_kept() {
        let long = [&100_000_u32.to_be_bytes()[..], &[20]].concat();
        assert!(matches!(read(&[&long]), Err(Malformed::TooLong { id: 20, .. })));
        let short = [&8_u32.to_be_bytes()[..], &[7]].concat();
        assert!(matches!(read(&[&short]), Err(Malformed::WrongLength { id: 7, .. })));
    }
}
