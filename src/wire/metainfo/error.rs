//! Why a .torrent file is refused, in words for the person who has it.

use core::fmt;

use super::paths::BadName;
use crate::units::limits::{PIECES_MAX, PIECE_BYTES_MAX, TORRENT_BYTES_MAX};
use crate::wire::bencode::{Fault, Malformed};

/// A key of a .torrent file that must be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The files of a torrent of many.
    Files,
    /// What the info-hash is taken over.
    Info,
    /// Bytes of one file.
    Length,
    /// The name of the content.
    Name,
    /// Where a file lies below the content's folder.
    Path,
    /// Bytes of one piece.
    PieceLength,
    /// The SHA-1 digests of the pieces.
    Pieces,
}

/// Why bytes are no .torrent that this peer can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetainfoError {
    /// Both `length` and `files`: one reader would take the one, another the other.
    BothLengthAndFiles,
    /// A file stands where another file needs a folder; the path, safe to show.
    FileIsFolder(String),
    /// No sound bencode.
    Malformed(Malformed),
    /// A key is not there.
    Missing(Field),
    /// A name that must not be used.
    Name(Field, BadName),
    /// Not one file.
    NoFiles,
    /// Something else under the name of a torrent; what it looks like.
    NotATorrent(&'static str),
    /// A number is negative or too large.
    OutOfRange(Field),
    /// Another number of digests than the content has pieces.
    PieceCount {
        /// Digests in `pieces`.
        given: u64,
        /// Pieces of the content.
        needed: u64,
    },
    /// `pieces` is not a row of 20-byte digests.
    PiecesNot20(usize),
    /// A key stands there twice: one reader would take the one, another the other.
    Repeated(Field),
    /// Two files with one path, safe to show.
    SamePath(String),
    /// A symbolic link (BEP 47) that claims bytes of the content.
    SymlinkWithLength,
    /// More than [`TORRENT_BYTES_MAX`].
    TooLarge,
    /// More than [`PIECES_MAX`].
    TooManyPieces(u64),
    /// BEP 52 without the keys of BEP 3, or a version of it that is not known.
    Version2Only,
    /// A key holds another kind of value than it must.
    WrongType(Field),
}

impl MetainfoError {
    /// Whether more bytes could mend it: the file may still be on its way.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        matches!(self, Self::Malformed(Malformed { fault: Fault::Truncated, .. }))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files",
            Self::Info => "info",
            Self::Length => "length",
            Self::Name => "name",
            Self::Path => "path",
            Self::PieceLength => "piece length",
            Self::Pieces => "pieces",
        })
    }
}

impl fmt::Display for MetainfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothLengthAndFiles => f.write_str("it has both 'length' and 'files'"),
            Self::FileIsFolder(path) => write!(f, "'{path}' is a file and also a folder"),
            Self::Malformed(malformed) => write!(f, "not sound bencode: {malformed}"),
            Self::Missing(field) => write!(f, "'{field}' is missing"),
            Self::Name(field, bad) => write!(f, "'{field}' {bad}"),
            Self::NoFiles => f.write_str("it has no files"),
            Self::NotATorrent(what) => write!(f, "not a torrent: {what}"),
            Self::OutOfRange(Field::PieceLength) => {
                write!(f, "'piece length' is not within 1 to {PIECE_BYTES_MAX} bytes")
            }
            Self::OutOfRange(field) => write!(f, "'{field}' is negative or too large"),
            Self::PieceCount { given, needed } => {
                write!(f, "it has {given} piece hashes for {needed} pieces")
            }
            Self::PiecesNot20(length) => {
                write!(f, "'pieces' has {length} bytes, which is no multiple of 20")
            }
            Self::Repeated(field) => write!(f, "'{field}' stands there twice"),
            Self::SamePath(path) => write!(f, "two files have the path '{path}'"),
            Self::SymlinkWithLength => f.write_str("a symbolic link claims bytes of the content"),
            Self::TooLarge => write!(f, "it is larger than {TORRENT_BYTES_MAX} bytes"),
            Self::TooManyPieces(count) => {
                write!(f, "it has {count} pieces, more than {PIECES_MAX}")
            }
            Self::Version2Only => f.write_str(
                "it is for version 2 of BitTorrent only (BEP 52), which is not supported yet",
            ),
            Self::WrongType(field) => write!(f, "'{field}' holds the wrong kind of value"),
        }
    }
}

impl core::error::Error for MetainfoError {}
