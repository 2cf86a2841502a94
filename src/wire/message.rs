//! The messages of the peer wire protocol (BEP 3, 5, 6, 10).
//!
//! Says what the octets say: an index may be out of range and a block may be unasked for; that is
//! for the rules to judge. The payload of `piece` is not read here: it goes where it belongs as it
//! arrives, and only its head is parsed.

use crate::units::limits::{LOGGED_BYTES_MAX, MESSAGE_BYTES_MAX};
use core::fmt;

/// Bytes of the length that starts every message.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of a `piece` message before its block: length, id, index, begin.
pub const PIECE_HEAD_BYTES: usize = 13;
/// The id of `piece`.
pub const PIECE_ID: u8 = 7;
/// Id of the messages of the extension protocol (BEP 10).
pub const EXTENDED_ID: u8 = 20;

/// The three numbers of request, cancel, reject and of the head of `piece`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Piece index.
    pub index: u32,
    /// First byte within the piece.
    pub begin: u32,
    /// Number of bytes.
    pub length: u32,
}

/// One message, as the octets have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// BEP 3: the sender will not serve us.
    Choke,
    /// BEP 3: the sender will serve us.
    Unchoke,
    /// BEP 3: the sender wants something of ours.
    Interested,
    /// BEP 3: the sender wants nothing of ours.
    NotInterested,
    /// BEP 3: the sender has this piece now.
    Have(u32),
    /// BEP 3: all the sender has.
    Bitfield(&'a [u8]),
    /// BEP 3: send us this.
    Request(Span),
    /// BEP 3: a block, whole. Only tests and fuzzing meet it in one buffer.
    Piece(u32, u32, &'a [u8]),
    /// BEP 3: no longer send us this.
    Cancel(Span),
    /// BEP 5: the sender's DHT port.
    Port(u16),
    /// BEP 6: this piece would be cheap to serve.
    Suggest(u32),
    /// BEP 6: the sender has everything.
    HaveAll,
    /// BEP 6: the sender has nothing.
    HaveNone,
    /// BEP 6: this request will not be served.
    Reject(Span),
    /// BEP 6: this piece is served even to the choked.
    AllowedFast(u32),
    /// BEP 10: id of the extension message, and its payload.
    Extended(u8, &'a [u8]),
    /// None of the above; to be skipped.
    Unknown(u8),
}

/// Why octets are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message has more bytes than any of its id may have.
    TooLong {
        /// The id.
        id: u8,
        /// What the length says.
        length: u32,
    },
    /// The message has not the length that its id demands.
    WrongLength {
        /// The id.
        id: u8,
        /// What the length says.
        length: u32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { id, length } => write!(f, "message {id} of {length} bytes is too long"),
            Self::WrongLength { id, length } => {
                write!(f, "message {id} of {length} bytes has the wrong length")
            }
        }
    }
}

/// Refuses a length before anything of the message is kept. `length` counts the id.
///
/// # Errors
/// When no lawful message of this id can be so long in a torrent of `piece_count` pieces.
pub const fn check_length(id: u8, length: u32, piece_count: u32) -> Result<(), Malformed> {
    let most = match id {
        0..=3 | 14 | 15 => 1,
        4 | 13 | 17 => 5,
        5 => 1 + piece_count.div_ceil(8),
        6 | 8 | 16 => 13,
        PIECE_ID => 9 + crate::units::limits::REQUEST_BYTES_MAX,
        9 => 3,
        _ => MESSAGE_BYTES_MAX,
    };
    if length > most {
        return Err(Malformed::TooLong { id, length });
    }
    if id == PIECE_ID && length < 9 {
        return Err(Malformed::WrongLength { id, length });
    }
    Ok(())
}

impl<'a> Message<'a> {
    /// The message of this `id` whose bytes after the id are `body`.
    ///
    /// # Errors
    /// When the length is not what the id demands.
    pub fn parse(id: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).saturating_add(1);
        let wrong = Malformed::WrongLength { id, length };
        let exactly = |n: usize| if body.len() == n { Ok(()) } else { Err(wrong) };
        let word = |at: usize| -> u32 {
            body.get(at..at + 4).and_then(|w| w.try_into().ok()).map_or(0, u32::from_be_bytes)
        };
        let span = || Span { index: word(0), begin: word(4), length: word(8) };
        Ok(match id {
            0 => exactly(0).map(|()| Self::Choke)?,
            1 => exactly(0).map(|()| Self::Unchoke)?,
            2 => exactly(0).map(|()| Self::Interested)?,
            3 => exactly(0).map(|()| Self::NotInterested)?,
            4 => exactly(4).map(|()| Self::Have(word(0)))?,
            5 => Self::Bitfield(body),
            6 => exactly(12).map(|()| Self::Request(span()))?,
            PIECE_ID => Self::Piece(word(0), word(4), body.get(8..).ok_or(wrong)?),
            8 => exactly(12).map(|()| Self::Cancel(span()))?,
            9 => exactly(2).map(|()| Self::Port(u16::from_be_bytes([body[0], body[1]])))?,
            13 => exactly(4).map(|()| Self::Suggest(word(0)))?,
            14 => exactly(0).map(|()| Self::HaveAll)?,
            15 => exactly(0).map(|()| Self::HaveNone)?,
            16 => exactly(12).map(|()| Self::Reject(span()))?,
            17 => exactly(4).map(|()| Self::AllowedFast(word(0)))?,
            20 => {
                let (&id, payload) = body.split_first().ok_or(wrong)?;
                Self::Extended(id, payload)
            }
            _ => Self::Unknown(id),
        })
    }

    /// Appends the message, its length first. `Unknown` is written without a body.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        out.push(self.id());
        match *self {
            Self::Have(piece) | Self::Suggest(piece) | Self::AllowedFast(piece) => {
                out.extend_from_slice(&piece.to_be_bytes());
            }
            Self::Bitfield(bytes) => out.extend_from_slice(bytes),
            Self::Request(span) | Self::Cancel(span) | Self::Reject(span) => {
                for word in [span.index, span.begin, span.length] {
                    out.extend_from_slice(&word.to_be_bytes());
                }
            }
            Self::Piece(index, begin, block) => {
                out.extend_from_slice(&index.to_be_bytes());
                out.extend_from_slice(&begin.to_be_bytes());
                out.extend_from_slice(block);
            }
            Self::Port(port) => out.extend_from_slice(&port.to_be_bytes()),
            Self::Extended(id, payload) => {
                out.push(id);
                out.extend_from_slice(payload);
            }
            _ => {}
        }
        let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
        out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    const fn id(&self) -> u8 {
        match self {
            Self::Choke => 0,
            Self::Unchoke => 1,
            Self::Interested => 2,
            Self::NotInterested => 3,
            Self::Have(_) => 4,
            Self::Bitfield(_) => 5,
            Self::Request(_) => 6,
            Self::Piece(..) => PIECE_ID,
            Self::Cancel(_) => 8,
            Self::Port(_) => 9,
            Self::Suggest(_) => 13,
            Self::HaveAll => 14,
            Self::HaveNone => 15,
            Self::Reject(_) => 16,
            Self::AllowedFast(_) => 17,
            Self::Extended(..) => 20,
            Self::Unknown(id) => *id,
        }
    }
}

/// The 13 bytes before a block.
#[must_use]
pub fn piece_head(span: Span) -> [u8; PIECE_HEAD_BYTES] {
    let mut head = [0; PIECE_HEAD_BYTES];
    head[..4].copy_from_slice(&(9 + span.length).to_be_bytes());
    head[4] = PIECE_ID;
    head[5..9].copy_from_slice(&span.index.to_be_bytes());
    head[9..].copy_from_slice(&span.begin.to_be_bytes());
    head
}

/// The block that these 13 bytes announce. The caller has checked id and length.
#[must_use]
pub fn parse_piece_head(head: &[u8; PIECE_HEAD_BYTES]) -> Span {
    let word = |at: usize| u32::from_be_bytes(core::array::from_fn(|i| head[at + i]));
    Span { index: word(5), begin: word(9), length: word(0).saturating_sub(9) }
}

/// Bytes as a line of the log quotes them: not more than a few hundred.
pub fn logged(bytes: &[u8]) -> core::slice::EscapeAscii<'_> {
    bytes.get(..LOGGED_BYTES_MAX).unwrap_or(bytes).escape_ascii()
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "piece {} begin {} length {}", self.index, self.begin, self.length)
    }
}

impl fmt::Display for Message<'_> {
    /// The protocol's own words, for the log that a class reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choke => f.write_str("choke"),
            Self::Unchoke => f.write_str("unchoke"),
            Self::Interested => f.write_str("interested"),
            Self::NotInterested => f.write_str("not interested"),
            Self::Have(piece) => write!(f, "have piece {piece}"),
            Self::Bitfield(bytes) => {
                let set: u32 = bytes.iter().map(|b| b.count_ones()).sum();
                write!(f, "bitfield, {set} pieces")
            }
            Self::Request(span) => write!(f, "request {span}"),
            Self::Piece(index, begin, block) => {
                write!(f, "piece {index} begin {begin} length {}", block.len())
            }
            Self::Cancel(span) => write!(f, "cancel {span}"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Suggest(piece) => write!(f, "suggest piece {piece}"),
            Self::HaveAll => f.write_str("have all"),
            Self::HaveNone => f.write_str("have none"),
            Self::Reject(span) => write!(f, "reject request {span}"),
            Self::AllowedFast(piece) => write!(f, "allowed fast piece {piece}"),
            Self::Extended(0, payload) => {
                write!(f, "extended handshake {}", logged(payload))
            }
            Self::Extended(id, payload) => {
                write!(f, "extended message {id}, {} bytes", payload.len())
            }
            Self::Unknown(id) => write!(f, "unknown message {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_handshake_is_told_whole_but_not_endless() {
        let told = |payload: &[u8]| Message::Extended(0, payload).to_string();
        assert_eq!(told(b"d1:pi5000e\x00e"), "extended handshake d1:pi5000e\\x00e");
        assert_eq!(told(&[b'x'; 9000]).len(), "extended handshake ".len() + LOGGED_BYTES_MAX);
    }

    const SPAN: Span = Span { index: 1, begin: 0x4000, length: 0x2000 };

    #[test]
    fn literal_bytes_both_ways() {
        let table: &[(Message<'_>, &[u8])] = &[
            (Message::Choke, b"\0\0\0\x01\0"),
            (Message::Unchoke, b"\0\0\0\x01\x01"),
            (Message::Interested, b"\0\0\0\x01\x02"),
            (Message::NotInterested, b"\0\0\0\x01\x03"),
            (Message::Have(258), b"\0\0\0\x05\x04\0\0\x01\x02"),
            (Message::Bitfield(b"\xf0"), b"\0\0\0\x02\x05\xf0"),
            (Message::Request(SPAN), b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x20\0"),
            (Message::Piece(1, 2, b"xy"), b"\0\0\0\x0b\x07\0\0\0\x01\0\0\0\x02xy"),
            (Message::Cancel(SPAN), b"\0\0\0\x0d\x08\0\0\0\x01\0\0\x40\0\0\0\x20\0"),
            (Message::Port(6881), b"\0\0\0\x03\x09\x1a\xe1"),
            (Message::Suggest(3), b"\0\0\0\x05\x0d\0\0\0\x03"),
            (Message::HaveAll, b"\0\0\0\x01\x0e"),
            (Message::HaveNone, b"\0\0\0\x01\x0f"),
            (Message::Reject(SPAN), b"\0\0\0\x0d\x10\0\0\0\x01\0\0\x40\0\0\0\x20\0"),
            (Message::AllowedFast(3), b"\0\0\0\x05\x11\0\0\0\x03"),
            (Message::Extended(0, b"de"), b"\0\0\0\x04\x14\0de"),
            (Message::Unknown(99), b"\0\0\0\x01\x63"),
        ];
        for (message, bytes) in table {
            let mut out = Vec::new();
            message.write_to(&mut out);
            assert_eq!(&out, bytes, "{message}");
            assert_eq!(Message::parse(bytes[4], &bytes[5..]), Ok(*message));
            let length = u32::try_from(bytes.len() - 4).unwrap();
            assert_eq!(check_length(bytes[4], length, 8), Ok(()));
            for other in [&bytes[5..bytes.len().max(6) - 1], &[&bytes[5..], &[0]].concat()] {
                let fixed = !matches!(bytes[4], 5 | 7 | 20 | 99);
                let same = other.len() == bytes.len() - 5;
                assert!(!fixed || same || Message::parse(bytes[4], other).is_err(), "{message}");
            }
        }
    }

    #[test]
    fn lengths_are_refused_before_buffering() {
        assert!(check_length(5, 3, 8).is_err());
        assert!(check_length(6, 14, 8).is_err());
        assert!(check_length(7, 8, 8).is_err());
        assert!(check_length(7, u32::MAX, 8).is_err());
        assert!(check_length(20, MESSAGE_BYTES_MAX + 1, 8).is_err());
        assert!(check_length(200, u32::MAX, 8).is_err());
    }

    #[test]
    fn head_of_a_block() {
        let head = piece_head(SPAN);
        assert_eq!(&head, b"\0\0\x20\x09\x07\0\0\0\x01\0\0\x40\0");
        assert_eq!(parse_piece_head(&head), SPAN);
    }
}
