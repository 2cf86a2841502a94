//! The contents of a .torrent file, checked (BEP 3, 12, 27, 47).
//!
//! [`Metainfo::parse`] answers with values that need no further check, or with the reason why not:
//! names are safe in a file system, lengths add up, there is a hash for every piece. What is only
//! for people or for other peers' convenience (comments, addresses) is never a reason to refuse.
//! The limits: a file of 10 MB, pieces of 1 byte to 512 MiB, 2^21 of them, paths of 100 parts.

mod error;
mod info;
mod outer;
pub mod paths;

pub use error::{Field, MetainfoError};
pub use paths::BadName;

use crate::units::geometry::{Geometry, PieceIndex};
use crate::units::id::InfoHash;
use crate::units::limits::TORRENT_BYTES_MAX;
use crate::units::padding::Padding;
use crate::wire::bencode::{self, Dict, Value};
use crate::wire::digest::sha1;
use crate::wire::text;
use std::sync::Arc;

/// Unknown keys that are kept to be shown.
const OTHER_MAX: usize = 1000;

/// A .torrent file whose every value was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// SHA-1 of the `info` value as it stands in the file.
    pub info_hash: InfoHash,
    /// The content's name, safe as one path component: of the file, or of the folder of files.
    pub name: String,
    /// How the content falls into pieces.
    pub geometry: Geometry,
    /// The files in the order of their bytes; at least one.
    pub files: Vec<File>,
    /// Whether `name` is a folder. If not, `files` is one file with an empty path.
    pub multi_file: bool,
    /// BEP 27: peers may come from the trackers only. Any value but 0 counts.
    pub private: bool,
    /// The tracker's address as it stands, not checked: it may hold anything.
    pub announce: Option<String>,
    /// BEP 12: the tiers of trackers, none empty; the addresses are not checked.
    pub announce_list: Vec<Vec<String>>,
    /// BEP 5: hosts and ports (never 0) of the DHT; the hosts are not checked.
    pub nodes: Vec<(String, u16)>,
    /// BEP 19: web seeds, not checked.
    pub url_list: Vec<String>,
    /// What its maker said about it.
    pub comment: Option<String>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// Seconds since 1970, as it stands.
    pub creation_date: Option<i64>,
    /// The encoding that its maker claims for its texts; this peer reads UTF-8.
    pub encoding: Option<String>,
    /// Where it was published: from `info`, or else from beside it.
    pub source: Option<String>,
    /// All further keys by name, those of `info` after those beside it, with their values as JSON.
    pub other: Vec<(Vec<u8>, String)>,
    /// The bytes of the `info` value.
    raw_info: Arc<[u8]>,
    /// Where the piece hashes begin in `raw_info`; there are 20 bytes for each piece.
    pieces_at: usize,
}

/// One file of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Components below the content's folder, each safe in a file system. Empty for the file of a
    /// torrent with one file only: that file is the content itself.
    pub path: Vec<String>,
    /// Bytes of the file.
    pub length: u64,
    /// Where its bytes begin in the content.
    pub offset: u64,
    /// BEP 47: zeros between files, which are hashed but never stored; `path` is of our making.
    pub pad: bool,
}

impl Metainfo {
    /// Reads the bytes of a .torrent file. Bytes after its end are not looked at.
    ///
    /// # Errors
    /// [`MetainfoError`] if this peer cannot or must not take it.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetainfoError> {
        let root = root(bytes)?;
        let info = info_of(root)?;
        let checked = info::read(info)?;
        let mut other = Other::default();
        let outer = outer::read(root, &mut other);
        info::read_other(info, &mut other);
        Ok(Self {
            info_hash: InfoHash(sha1(info.raw())),
            name: checked.name,
            geometry: checked.geometry,
            files: checked.files,
            multi_file: checked.multi_file,
            private: checked.private,
            announce: outer.announce,
            announce_list: outer.announce_list,
            nodes: outer.nodes,
            url_list: outer.url_list,
            comment: outer.comment,
            created_by: outer.created_by,
            creation_date: outer.creation_date,
            encoding: outer.encoding,
            source: checked.source.or(outer.source),
            other: other.kept,
            raw_info: info.raw().into(),
            pieces_at: checked.pieces_at,
        })
    }

    /// The SHA-1 that the piece must have.
    ///
    /// # Panics
    /// If the index is from another torrent's geometry.
    #[must_use]
    pub fn piece_hash(&self, piece: PieceIndex) -> [u8; 20] {
        assert!(piece.get() < self.geometry.piece_count(), "the piece is of this torrent");
        let begin = self.pieces_at + 20 * piece.index();
        let mut hash = [0; 20];
        hash.copy_from_slice(&self.raw_info[begin..begin + 20]);
        hash
    }

    /// The bytes of the `info` value as they stand in the file: what the info-hash is taken over
    /// and what BEP 9 sends.
    #[must_use]
    pub fn raw_info(&self) -> &Arc<[u8]> {
        &self.raw_info
    }

    /// Which bytes of the content are padding (BEP 47).
    #[must_use]
    pub fn padding(&self) -> Padding {
        let pads = self.files.iter().filter(|file| file.pad);
        Padding::new(pads.map(|file| file.offset..file.offset + file.length))
    }

    /// The path of a file with the content's name in front, for people: `lab/sub/a.txt`.
    #[must_use]
    pub fn shown_path(&self, file: &File) -> String {
        let mut path = self.name.clone();
        for component in &file.path {
            path.push('/');
            path.push_str(component);
        }
        path
    }
}

/// The outer dictionary of a .torrent file.
pub(super) fn root(bytes: &[u8]) -> Result<Dict<'_>, MetainfoError> {
    if u64::try_from(bytes.len()).map_or(true, |length| length > TORRENT_BYTES_MAX) {
        return Err(MetainfoError::TooLarge);
    }
    if let Some(what) = looks_like(bytes) {
        return Err(MetainfoError::NotATorrent(what));
    }
    let (value, _) = bencode::parse(bytes).map_err(MetainfoError::Malformed)?;
    value.as_dict().ok_or(MetainfoError::NotATorrent("it is not a dictionary"))
}

/// The one `info` value of a .torrent file.
pub(super) fn info_of(root: Dict<'_>) -> Result<Value<'_>, MetainfoError> {
    root.get_once("info")
        .map_err(|_| MetainfoError::Repeated(Field::Info))?
        .ok_or(MetainfoError::Missing(Field::Info))
}

/// What people save under the name of a torrent by mistake.
fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [] => Some("the file is empty"),
        [0xef, 0xbb, 0xbf, ..] => Some("it begins with a byte order mark, as from a text editor"),
        [0x1f, 0x8b, ..] => Some("it is gzip data; unpack it first"),
        [b'<', ..] => Some("it is a web page"),
        [0, ..] => Some("it begins with zero bytes, as after a power cut"),
        [b' ' | b'\t' | b'\r' | b'\n', ..] => Some("it begins with white space"),
        _ if bytes.starts_with(b"magnet:") => Some("it is the text of a magnet link"),
        [b'd', ..] => None,
        _ => Some("it does not begin with a dictionary"),
    }
}

/// Unknown keys and their values as JSON.
#[derive(Default)]
struct Other {
    kept: Vec<(Vec<u8>, String)>,
    /// Also those that stand there twice: looking for them must have an end.
    seen: usize,
}

impl Other {
    /// Keeps a key; of one that stands there twice, the first.
    fn push(&mut self, key: &[u8], value: Value<'_>) {
        self.seen += 1;
        if self.seen <= OTHER_MAX && !self.has(key) {
            self.kept.push((key.to_vec(), text::json_value(value)));
        }
    }

    /// Keeps a key of `info`; one that also stands outside becomes `info.KEY`.
    fn push_of_info(&mut self, key: &[u8], value: Value<'_>) {
        if self.seen < OTHER_MAX && self.has(key) {
            self.push(&[b"info.", key].concat(), value);
        } else {
            self.push(key, value);
        }
    }

    fn has(&self, key: &[u8]) -> bool {
        self.kept.iter().any(|(known, _)| known == key)
    }
}

#[cfg(test)]
mod tests;
