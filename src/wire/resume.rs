//! The record from which a torrent goes on where it stopped.
//!
//! SHA-1 of the rest, then a bencoded dictionary. It is our own, so it is written and read
//! strictly: a record that was cut or has a flipped bit is refused as a whole, and the content
//! is then checked piece by piece instead. Whether the files are still those of the record is
//! the caller's question.

use super::address::unmap;
use super::compact;
use super::digest::{sealed, unsealed};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::Geometry;
use crate::units::id::{InfoHash, PeerId};
use crate::units::limits::CONTACTS_SAVED_MAX;
use bendy::decoding::{Decoder, DictDecoder, Error as DecodeError, ListDecoder, Object};
use bendy::encoding::{Encoder, Error as EncodeError};
use core::fmt;
use core::net::SocketAddr;

/// The version this program writes; it reads no other.
const VERSION: u64 = 1;
/// Lists in lists in a dictionary.
const DEPTH: usize = 4;

/// A file of the content as it was when the record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes of the file.
    pub length: u64,
    /// When it was last modified, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its number in the file system.
    pub inode: u64,
}

/// What is known about a torrent between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Pieces whose hash matched and whose bytes were flushed.
    pub verified: Bitfield,
    /// Pieces not verified of which some blocks are there: by index, ascending, each once.
    pub partials: Vec<(u32, Bitfield)>,
    /// The files of the content in their order.
    pub files: Vec<FileStamp>,
    /// Bytes uploaded in all runs.
    pub uploaded: u64,
    /// Bytes downloaded in all runs.
    pub downloaded: u64,
    /// Whether the trackers were told `completed` already: it is said once.
    pub completed: bool,
    /// The name under which we were in the swarm.
    pub peer_id: PeerId,
    /// Where other peers were, at most [`CONTACTS_SAVED_MAX`].
    pub contacts: Vec<SocketAddr>,
}

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeError {
    /// It was cut or changed.
    Checksum,
    /// It is whole, but what it says cannot be true of this torrent.
    Inconsistent(&'static str),
    /// It is whole, but a value is missing or of the wrong kind.
    Malformed(&'static str),
    /// Another version of the program wrote it.
    Version,
}

impl Resume {
    /// The bytes of the record. Contacts beyond [`CONTACTS_SAVED_MAX`] are left out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let dict = self
            .encode(&mut encoder)
            .and_then(|()| encoder.get_output())
            .expect("keys stand here in order, and nothing else can fail");
        sealed(&dict)
    }

    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        e.emit_dict(|mut e| {
            e.emit_pair(b"completed", u8::from(self.completed))?;
            e.emit_pair_with(b"contacts", |e| {
                e.emit_list(|e| {
                    let mut saved = self.contacts.iter().take(CONTACTS_SAVED_MAX);
                    saved.try_for_each(|&addr| e.emit_bytes(&compact::bytes_of(unmap(addr))))
                })
            })?;
            e.emit_pair(b"downloaded", self.downloaded)?;
            e.emit_pair_with(b"files", |e| {
                e.emit_list(|e| {
                    self.files.iter().try_for_each(|file| {
                        e.emit_list(|e| {
                            e.emit_int(file.length)?;
                            e.emit_int(file.mtime_ns)?;
                            e.emit_int(file.inode)
                        })
                    })
                })
            })?;
            e.emit_pair_with(b"info_hash", |e| e.emit_bytes(&self.info_hash.0))?;
            e.emit_pair_with(b"partials", |e| {
                e.emit_list(|e| {
                    self.partials.iter().try_for_each(|(piece, blocks)| {
                        e.emit_list(|e| {
                            e.emit_int(*piece)?;
                            e.emit_bytes(blocks.as_bytes())
                        })
                    })
                })
            })?;
            e.emit_pair_with(b"peer_id", |e| e.emit_bytes(&self.peer_id.0))?;
            e.emit_pair(b"uploaded", self.uploaded)?;
            e.emit_pair_with(b"verified", |e| e.emit_bytes(self.verified.as_bytes()))?;
            e.emit_pair(b"version", VERSION)
        })
    }

    /// Reads a record of a torrent of this geometry.
    ///
    /// # Errors
    /// When it is damaged, of another version, or does not fit the geometry.
    pub fn parse(bytes: &[u8], geometry: &Geometry) -> Result<Self, ResumeError> {
        let record = Record::read(unsealed(bytes).ok_or(ResumeError::Checksum)?)?;
        let piece_count = geometry.piece_count();
        let verified = Bitfield::from_bytes(record.verified, piece_count)
            .ok_or(ResumeError::Inconsistent("verified"))?;
        let partials = partials(&record.partials, &verified, geometry)?;
        Ok(Self {
            info_hash: record.info_hash,
            verified,
            partials,
            files: record.files,
            uploaded: record.uploaded,
            downloaded: record.downloaded,
            completed: record.completed,
            peer_id: record.peer_id,
            contacts: record.contacts,
        })
    }
}

/// The dictionary as it stands, not yet held against the geometry.
struct Record<'a> {
    completed: bool,
    contacts: Vec<SocketAddr>,
    downloaded: u64,
    files: Vec<FileStamp>,
    info_hash: InfoHash,
    partials: Vec<(u32, &'a [u8])>,
    peer_id: PeerId,
    uploaded: u64,
    verified: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ResumeError> {
        let malformed = |_: DecodeError| ResumeError::Malformed("record");
        let mut decoder = Decoder::new(bytes).with_max_depth(DEPTH);
        let object = decoder.next_object().map_err(malformed)?;
        let mut dict = match object {
            Some(Object::Dict(dict)) => Fields(dict),
            _ => return Err(ResumeError::Malformed("record")),
        };
        // bendy keeps the keys in order, so each is asked for where it must stand.
        let completed = dict.int::<u8>("completed")? != 0;
        let contacts = dict.list("contacts", |o| compact::addr(o.try_into_bytes().ok()?))?;
        let downloaded = dict.int("downloaded")?;
        let files = dict.list("files", |o| {
            let mut list = o.try_into_list().ok()?;
            let length = next_int(&mut list)?;
            let mtime_ns = next_int(&mut list)?;
            Some(FileStamp { length, mtime_ns, inode: next_int(&mut list)? })
        })?;
        let info_hash = InfoHash(dict.id("info_hash")?);
        let partials = dict.list("partials", |o| {
            let mut list = o.try_into_list().ok()?;
            let piece = next_int(&mut list)?;
            let blocks = list.next_object().ok()??.try_into_bytes().ok()?;
            Some((piece, blocks))
        })?;
        let peer_id = PeerId(dict.id("peer_id")?);
        let uploaded = dict.int("uploaded")?;
        let verified = dict.bytes("verified")?;
        if dict.int::<u64>("version")? != VERSION {
            return Err(ResumeError::Version);
        }
        if !matches!(dict.0.next_pair(), Ok(None)) {
            return Err(ResumeError::Malformed("record"));
        }
        Ok(Self {
            completed,
            contacts,
            downloaded,
            files,
            info_hash,
            partials,
            peer_id,
            uploaded,
            verified,
        })
    }
}

/// The dictionary's values, taken one after the other.
struct Fields<'obj, 'a>(DictDecoder<'obj, 'a>);

impl<'a> Fields<'_, 'a> {
    fn next(&mut self, key: &'static str) -> Result<Object<'_, 'a>, ResumeError> {
        match self.0.next_pair() {
            Ok(Some((found, value))) if found == key.as_bytes() => Ok(value),
            _ => Err(ResumeError::Malformed(key)),
        }
    }

    fn int<T: core::str::FromStr>(&mut self, key: &'static str) -> Result<T, ResumeError> {
        let text = self.next(key)?.try_into_integer();
        let number = text.ok().and_then(|text| text.parse().ok());
        number.ok_or(ResumeError::Malformed(key))
    }

    fn bytes(&mut self, key: &'static str) -> Result<&'a [u8], ResumeError> {
        self.next(key)?.try_into_bytes().map_err(|_| ResumeError::Malformed(key))
    }

    fn id(&mut self, key: &'static str) -> Result<[u8; 20], ResumeError> {
        self.bytes(key)?.try_into().map_err(|_| ResumeError::Malformed(key))
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(Object<'_, 'a>) -> Option<T>,
    ) -> Result<Vec<T>, ResumeError> {
        let malformed = ResumeError::Malformed(key);
        let mut list = self.next(key)?.try_into_list().map_err(|_| malformed)?;
        let mut items = Vec::new();
        while let Some(object) = list.next_object().map_err(|_| malformed)? {
            items.push(read(object).ok_or(malformed)?);
        }
        Ok(items)
    }
}

fn next_int<T: core::str::FromStr>(list: &mut ListDecoder<'_, '_>) -> Option<T> {
    list.next_object().ok()??.try_into_integer().ok()?.parse().ok()
}

fn partials(
    found: &[(u32, &[u8])],
    verified: &Bitfield,
    geometry: &Geometry,
) -> Result<Vec<(u32, Bitfield)>, ResumeError> {
    let wrong = ResumeError::Inconsistent("partials");
    if !found.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Err(wrong);
    }
    let check = |&(index, blocks): &(u32, &[u8])| {
        let piece = geometry.piece(index).filter(|_| !verified.get(index))?;
        Some((index, Bitfield::from_bytes(blocks, geometry.block_count(piece))?))
    };
    found.iter().map(|partial| check(partial).ok_or(wrong)).collect()
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => f.write_str("the resume record is damaged"),
            Self::Inconsistent(key) => {
                write!(f, "the resume record does not fit the torrent ({key})")
            }
            Self::Malformed(key) => write!(f, "the resume record is malformed ({key})"),
            Self::Version => f.write_str("the resume record is of another version"),
        }
    }
}

impl core::error::Error for ResumeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> Geometry {
        Geometry::new(3 * 65_536 + 20_000, 65_536).unwrap()
    }

    fn bits(len: u32, set: &[u32]) -> Bitfield {
        let mut bits = Bitfield::new(len);
        assert!(set.iter().all(|&i| bits.set(i)));
        bits
    }

    fn record() -> Resume {
        Resume {
            info_hash: InfoHash([7; 20]),
            verified: bits(4, &[0, 2]),
            partials: vec![(1, bits(4, &[3])), (3, bits(2, &[0]))],
            files: vec![
                FileStamp { length: 200_000, mtime_ns: -1, inode: u64::MAX },
                FileStamp { length: 16_608, mtime_ns: i64::MAX, inode: 0 },
            ],
            uploaded: u64::MAX,
            downloaded: 5,
            completed: true,
            peer_id: PeerId(*b"-RP0100-abcdefghijkl"),
            contacts: vec!["10.0.0.1:5000".parse().unwrap(), "[fe80::1]:1".parse().unwrap()],
        }
    }

    #[test]
    fn a_record_comes_back() {
        let record = record();
        assert_eq!(Resume::parse(&record.to_bytes(), &geometry()), Ok(record));
    }

    #[test]
    fn the_bytes_are_these() {
        let bytes = record().to_bytes();
        let mut dict = b"d9:completedi1e8:contactsl6:\x0a\0\0\x01\x13\x8818:\xfe\x80".to_vec();
        dict.extend([0; 13]);
        dict.extend(
            b"\x01\0\x01e10:downloadedi5e5:filesl\
              li200000ei-1ei18446744073709551615eeli16608ei9223372036854775807ei0eee\
              9:info_hash20:\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
              \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
              8:partialslli1e1:\x10eli3e1:\x80ee7:peer_id20:-RP0100-abcdefghijkl\
              8:uploadedi18446744073709551615e8:verified1:\xa07:versioni1ee",
        );
        assert_eq!(bytes, sealed(&dict));
    }

    #[test]
    fn a_cut_anywhere_is_noticed() {
        let bytes = record().to_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Resume::parse(&bytes[..cut], &geometry()), Err(ResumeError::Checksum));
        }
        let longer = [bytes.as_slice(), b"e"].concat();
        assert_eq!(Resume::parse(&longer, &geometry()), Err(ResumeError::Checksum));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = record().to_bytes();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Resume::parse(&bytes, &geometry()), Err(ResumeError::Checksum));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_whole_record_may_still_be_wrong() {
        let dict = record().to_bytes()[20..].to_vec();
        // Cut or flipped with a checksum that agrees: never a panic, never a wrong bitfield.
        for cut in 0..dict.len() {
            assert!(Resume::parse(&sealed(&dict[..cut]), &geometry()).is_err());
        }
        let mut flipped = dict.clone();
        for bit in 0..dict.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(record) = Resume::parse(&sealed(&flipped), &geometry()) {
                assert_eq!(record.verified.len(), 4);
            }
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
        let mut other = dict.clone();
        let n = other.len();
        other[n - 3] = b'2';
        assert_eq!(Resume::parse(&sealed(&other), &geometry()), Err(ResumeError::Version));
    }

    #[test]
    fn a_record_of_another_shape_is_refused() {
        let parse = |record: &Resume| Resume::parse(&record.to_bytes(), &geometry());
        let small = Geometry::new(100, 65_536).unwrap();
        let error = Resume::parse(&record().to_bytes(), &small).unwrap_err();
        assert_eq!(error, ResumeError::Inconsistent("verified"));
        for partials in [
            vec![(4, bits(4, &[]))],
            vec![(0, bits(4, &[]))],
            vec![(1, bits(9, &[]))],
            vec![(3, bits(3, &[2]))],
            vec![(1, bits(4, &[])), (1, bits(4, &[]))],
            vec![(3, bits(2, &[])), (1, bits(4, &[]))],
            vec![(1, bits(4, &[])), (3, bits(2, &[])), (1, bits(4, &[]))],
        ] {
            let record = Resume { partials, ..record() };
            assert_eq!(parse(&record), Err(ResumeError::Inconsistent("partials")));
        }
    }

    #[test]
    fn contacts_have_a_bound() {
        let contacts = vec!["10.0.0.1:1".parse().unwrap(); CONTACTS_SAVED_MAX + 5];
        let bytes = Resume { contacts, ..record() }.to_bytes();
        let read = Resume::parse(&bytes, &geometry()).unwrap();
        assert_eq!(read.contacts.len(), CONTACTS_SAVED_MAX);
    }

    proptest! {
        #[test]
        fn any_dictionary_is_survived(
            dict in prop::collection::vec(
                prop::sample::select(b"d9:completdi1e8:contacsl0".to_vec()), 0..60),
        ) {
            prop_assert!(Resume::parse(&sealed(&dict), &geometry()).is_err());
            prop_assert!(Resume::parse(&dict, &geometry()).is_err());
        }
    }
}
