//! The messages of `ut_metadata` (BEP 9): a dictionary, and behind it, in `data`, the bytes of one
//! piece of the `info` dictionary.

use super::bencode::{self, Limits};
use bendy::encoding::Encoder;
use core::fmt;

/// Bytes of every piece of the metadata but the last (BEP 9).
pub const METADATA_PIECE_BYTES: u32 = 16 * 1024;
/// Three integers in a dictionary, and some room for keys we do not know.
const LIMITS: Limits = Limits { depth: 5, tokens: 100 };

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMessage<'a> {
    /// Send this piece.
    Request(u32),
    /// Here is a piece.
    Data {
        /// Which.
        piece: u32,
        /// Bytes of the whole metadata, if said.
        total_size: Option<u32>,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// The piece will not be sent.
    Reject(u32),
    /// A type that BEP 9 tells us to ignore.
    Unknown,
}

/// The payload is none of the messages of BEP 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMetadata;

impl<'a> MetadataMessage<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// When it does not begin with a dictionary that names a type and a piece.
    pub fn parse(payload: &'a [u8]) -> Result<Self, NotMetadata> {
        let (value, bytes) = bencode::parse_within(payload, LIMITS).map_err(|_| NotMetadata)?;
        let dict = value.as_dict().ok_or(NotMetadata)?;
        let int = |key: &str| dict.get(key).and_then(|v| v.as_int());
        let number = |key: &str| int(key).and_then(|n| u32::try_from(n).ok());
        let piece = number("piece").ok_or(NotMetadata);
        Ok(match int("msg_type").ok_or(NotMetadata)? {
            0 => Self::Request(piece?),
            1 => Self::Data { piece: piece?, total_size: number("total_size"), bytes },
            2 => Self::Reject(piece?),
            _ => Self::Unknown,
        })
    }

    /// The payload. There is none for `Unknown`, which is never sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, piece, total_size, bytes) = match *self {
            Self::Request(piece) => (0, piece, None, &[][..]),
            Self::Data { piece, total_size, bytes } => (1, piece, total_size, bytes),
            Self::Reject(piece) => (2, piece, None, &[][..]),
            Self::Unknown => return Vec::new(),
        };
        let mut encoder = Encoder::new();
        let written = encoder.emit_dict(|mut dict| {
            dict.emit_pair(b"msg_type", kind)?;
            dict.emit_pair(b"piece", piece)?;
            total_size.map_or(Ok(()), |size| dict.emit_pair(b"total_size", size))
        });
        let head = written.and_then(|()| encoder.get_output());
        let mut payload = head.expect("keys are in order and nothing is deep");
        payload.extend_from_slice(bytes);
        payload
    }
}

impl fmt::Display for MetadataMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(piece) => write!(f, "metadata request piece {piece}"),
            Self::Data { piece, bytes, .. } => {
                write!(f, "metadata piece {piece}, {} bytes", bytes.len())
            }
            Self::Reject(piece) => write!(f, "metadata reject piece {piece}"),
            Self::Unknown => f.write_str("metadata message of unknown type"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_bep_9_both_ways() {
        let data = MetadataMessage::Data { piece: 0, total_size: Some(3425), bytes: b"xxx" };
        let table: [(MetadataMessage<'_>, &[u8]); 3] = [
            (MetadataMessage::Request(0), b"d8:msg_typei0e5:piecei0ee"),
            (data, b"d8:msg_typei1e5:piecei0e10:total_sizei3425eexxx"),
            (MetadataMessage::Reject(7), b"d8:msg_typei2e5:piecei7ee"),
        ];
        for (message, bytes) in table {
            assert_eq!(message.to_bytes(), bytes, "{message}");
            assert_eq!(MetadataMessage::parse(bytes), Ok(message));
            for cut in 1..bytes.len() - 3 {
                assert_eq!(MetadataMessage::parse(&bytes[..cut]), Err(NotMetadata), "{cut}");
            }
        }
    }

    #[test]
    fn oddities() {
        let parse = MetadataMessage::parse;
        assert_eq!(parse(b"d8:msg_typei3ee"), Ok(MetadataMessage::Unknown));
        assert_eq!(parse(b"d8:msg_typei0ee"), Err(NotMetadata));
        assert_eq!(parse(b"d8:msg_typei0e5:piecei-1ee"), Err(NotMetadata));
        assert_eq!(parse(b"d8:msg_typei0e5:piecei4294967296ee"), Err(NotMetadata));
        assert_eq!(parse(b"d5:piecei0ee"), Err(NotMetadata));
        assert_eq!(parse(b"i0e"), Err(NotMetadata));
        let data = MetadataMessage::Data { piece: 1, total_size: None, bytes: b"" };
        assert_eq!(parse(b"d8:msg_typei1e5:piecei1e10:total_sizei-5ee"), Ok(data));
    }
}
