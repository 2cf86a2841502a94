//! Builds the bytes of a new .torrent and rewrites the announce of one (BEP 3, 12).

use core::fmt;
use std::collections::BTreeMap;

use bendy::encoding::{Encoder, Error};

use super::address::{Announce, AnnounceError};
use super::bencode::Value;
use super::magnet::Magnet;
use super::metainfo::{self, Metainfo, MetainfoError};
use crate::units::limits::PIECE_BYTES_MAX;

/// Bytes of the smallest piece chosen: one block.
const PIECE_BYTES_MIN: u32 = 16 * 1024;
/// Pieces aimed at: enough to share early, few enough for a small file.
const PIECES_AIM: u64 = 2048;
/// Bytes of the largest piece chosen for that aim; beyond it only where there is no other way.
const PIECE_BYTES_USUAL_MAX: u32 = 16 * 1024 * 1024;
/// Pieces whose hashes fit a .torrent together with many files: 8 MB of 10.
const PIECES_FIT: u64 = 400_000;

/// What a new torrent is to hold.
#[derive(Clone, Debug, Default)]
pub struct NewTorrent<'a> {
    /// Name of the file, or of the folder.
    pub name: &'a str,
    /// The content.
    pub content: Content,
    /// Bytes of a piece.
    pub piece_length: u32,
    /// SHA-1 of the pieces, 20 bytes each.
    pub pieces: &'a [u8],
    /// BEP 12: tiers of trackers. The first address is also the `announce` of BEP 3.
    pub announce_tiers: &'a [Vec<String>],
    /// BEP 27: peers may come from the trackers only.
    pub private: bool,
    /// A note for people.
    pub comment: Option<&'a str>,
    /// Seconds since 1970. Left out unless given, so that the same content gives the same file.
    pub creation_date: Option<i64>,
}

/// One file or a folder of files.
#[derive(Clone, Debug)]
pub enum Content {
    /// One file of that many bytes.
    Single(u64),
    /// Components below the folder, and bytes.
    Multi(Vec<(Vec<String>, u64)>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Single(0)
    }
}

/// Why there is no such torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// An announce that is none.
    BadAnnounce(AnnounceError),
    /// The torrent given, or the one that would be written, is not sound.
    Metainfo(MetainfoError),
    /// No announce where one is needed.
    NoAnnounce,
    /// The bytes could not be written: an error of ours.
    NotWritten,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAnnounce(error) => error.fmt(f),
            Self::Metainfo(error) => write!(f, "{error}"),
            Self::NoAnnounce => f.write_str("no announce address given"),
            Self::NotWritten => f.write_str("the torrent could not be written"),
        }
    }
}

impl core::error::Error for CreateError {}

impl From<MetainfoError> for CreateError {
    fn from(error: MetainfoError) -> Self {
        Self::Metainfo(error)
    }
}

impl From<Error> for CreateError {
    fn from(_: Error) -> Self {
        Self::NotWritten
    }
}

/// A usual piece length: a power of two from 16 KiB on, so that there are about a thousand pieces.
#[must_use]
pub fn piece_length_for(total: u64) -> u32 {
    let mut length = PIECE_BYTES_MIN;
    while length < PIECE_BYTES_MAX {
        let pieces = total.div_ceil(u64::from(length));
        let aim = if length < PIECE_BYTES_USUAL_MAX { PIECES_AIM } else { PIECES_FIT };
        if pieces <= aim {
            break;
        }
        length *= 2;
    }
    length
}

/// The bytes of a .torrent file, the same for the same values.
///
/// # Errors
/// [`CreateError`] if this peer itself would refuse the torrent.
pub fn build(torrent: &NewTorrent<'_>) -> Result<Vec<u8>, CreateError> {
    torrent.announce_tiers.iter().try_for_each(|tier| check_announces(tier))?;
    let mut encoder = Encoder::new();
    encoder.emit_dict(|mut outer| {
        let tiers = torrent.announce_tiers;
        if let Some(first) = tiers.iter().flatten().next() {
            outer.emit_pair(b"announce", first.as_str())?;
        }
        if tiers.iter().flatten().nth(1).is_some() {
            outer.emit_pair_with(b"announce-list", |e| e.emit(&tiers))?;
        }
        if let Some(comment) = torrent.comment {
            outer.emit_pair(b"comment", comment)?;
        }
        outer.emit_pair(b"created by", concat!("reactor-peer/", env!("CARGO_PKG_VERSION")))?;
        if let Some(date) = torrent.creation_date {
            outer.emit_pair(b"creation date", date)?;
        }
        outer.emit_pair_with(b"info", |e| {
            e.emit_dict(|mut info| {
                match &torrent.content {
                    Content::Single(length) => info.emit_pair(b"length", *length)?,
                    Content::Multi(files) => {
                        info.emit_pair_with(b"files", |e| {
                            e.emit_list(|list| emit_files(list, files))
                        })?;
                    }
                }
                info.emit_pair(b"name", torrent.name)?;
                info.emit_pair(b"piece length", torrent.piece_length)?;
                info.emit_pair_with(b"pieces", |e| e.emit_bytes(torrent.pieces))?;
                if torrent.private {
                    info.emit_pair(b"private", 1_u8)?;
                }
                Ok(())
            })
        })
    })?;
    let bytes = encoder.get_output()?;
    Metainfo::parse(&bytes)?;
    Ok(bytes)
}

fn emit_files(list: &mut Encoder, files: &[(Vec<String>, u64)]) -> Result<(), Error> {
    files.iter().try_for_each(|(path, length)| {
        list.emit_dict(|mut file| {
            file.emit_pair(b"length", *length)?;
            file.emit_pair(b"path", path.as_slice())
        })
    })
}

/// The torrent with these trackers, each a tier of its own, in place of those it had. Nothing else
/// changes; `info` is copied as it stands, so the info-hash stays.
///
/// # Errors
/// [`CreateError`] if the torrent is not sound or an address is not.
pub fn set_announce(torrent: &[u8], announces: &[String]) -> Result<Vec<u8>, CreateError> {
    let first = announces.first().ok_or(CreateError::NoAnnounce)?;
    check_announces(announces)?;
    let before = Metainfo::parse(torrent)?;
    let root = metainfo::root(torrent)?;
    let had_list = root.get("announce-list").is_some();

    let announce = encoded(|e| e.emit_str(first))?;
    let tiers: Vec<_> = announces.iter().map(core::slice::from_ref).collect();
    let list = encoded(|e| e.emit_list(|e| tiers.iter().try_for_each(|tier| e.emit(*tier))))?;

    // Sorted, as BEP 3 asks. Of a key that stands there twice the first counts, as on reading.
    let mut entries: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for (key, value) in root.iter() {
        entries.entry(key).or_insert(Value::raw(value));
    }
    entries.insert(b"announce", &announce);
    entries.remove(&b"announce-list"[..]);
    // Other clients ask the list alone where there is one: an old one must not stay.
    if had_list || announces.len() > 1 {
        entries.insert(b"announce-list", &list);
    }
    let bytes = dictionary(&entries);

    let after = Metainfo::parse(&bytes)?;
    if after.info_hash != before.info_hash || after.raw_info() != before.raw_info() {
        return Err(CreateError::NotWritten);
    }
    Ok(bytes)
}

/// The .torrent of a magnet link whose `info` has been fetched: the link's trackers and web seeds
/// stand beside it.
///
/// # Errors
/// [`CreateError`] if this peer would refuse the torrent.
pub fn from_magnet(magnet: &Magnet, info: &[u8]) -> Result<Vec<u8>, CreateError> {
    let (announce, list) = (magnet.trackers.first(), magnet.announce_list());
    let announce = announce.map(|first| encoded(|e| e.emit_str(first))).transpose()?;
    let list = encoded(|e| e.emit_list(|e| list.iter().try_for_each(|tier| e.emit(tier))))?;
    let seeds = encoded(|e| e.emit(&magnet.web_seeds))?;
    let mut entries: BTreeMap<&[u8], &[u8]> = BTreeMap::from([(&b"info"[..], info)]);
    if let Some(announce) = &announce {
        entries.insert(b"announce", announce);
    }
    if magnet.trackers.len() > 1 {
        entries.insert(b"announce-list", &list);
    }
    if !magnet.web_seeds.is_empty() {
        entries.insert(b"url-list", &seeds);
    }
    let bytes = dictionary(&entries);
    let metainfo = Metainfo::parse(&bytes)?;
    match metainfo.info_hash == magnet.info_hash && metainfo.raw_info()[..] == *info {
        true => Ok(bytes),
        false => Err(CreateError::NotWritten),
    }
}

/// One value in bencode.
fn encoded(emit: impl FnOnce(&mut Encoder) -> Result<(), Error>) -> Result<Vec<u8>, Error> {
    let mut encoder = Encoder::new();
    emit(&mut encoder)?;
    encoder.get_output()
}

/// By hand and not with bendy, which would refuse an `info` with keys out of order.
fn dictionary(entries: &BTreeMap<&[u8], &[u8]>) -> Vec<u8> {
    let mut bytes = vec![b'd'];
    for (key, raw) in entries {
        bytes.extend(key.len().to_string().as_bytes());
        bytes.push(b':');
        bytes.extend(*key);
        bytes.extend(*raw);
    }
    bytes.push(b'e');
    bytes
}

/// Whether addresses can be announced to; not whether a tracker answers there.
///
/// # Errors
/// [`CreateError::BadAnnounce`] with the first to which no peer of this kind could announce.
pub fn check_announces(addresses: &[String]) -> Result<(), CreateError> {
    let mut parsed = addresses.iter().map(|address| Announce::parse(address).map(drop));
    parsed.find_map(Result::err).map_or(Ok(()), |error| Err(CreateError::BadAnnounce(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_by_its_bytes() {
        let tiers = [vec!["http://10.0.0.1:5000/announce".to_string()]];
        let torrent = NewTorrent {
            name: "age.txt",
            content: Content::Single(3),
            piece_length: 16384,
            pieces: &[b'h'; 20],
            announce_tiers: &tiers,
            comment: Some("x"),
            ..NewTorrent::default()
        };
        let text = String::from_utf8(build(&torrent).unwrap()).unwrap();
        let version = concat!("reactor-peer/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            text,
            format!(
                "d8:announce29:http://10.0.0.1:5000/announce7:comment1:x10:created by{}:{version}\
                 4:infod6:lengthi3e4:name7:age.txt12:piece lengthi16384e6:pieces20:{}ee",
                version.len(),
                "h".repeat(20)
            )
        );
    }

    #[test]
    fn many_files_and_trackers() {
        let tiers = [vec!["udp://a:1".to_string(), "10.0.0.1".to_string()], vec!["c".to_string()]];
        let files =
            vec![(vec!["a.txt".to_string()], 20000), (vec!["sub".to_string(), "b".to_string()], 5)];
        let torrent = NewTorrent {
            name: "lab",
            content: Content::Multi(files),
            piece_length: 16384,
            pieces: &[b'h'; 40],
            announce_tiers: &tiers,
            private: true,
            creation_date: Some(7),
            ..NewTorrent::default()
        };
        let metainfo = Metainfo::parse(&build(&torrent).unwrap()).unwrap();
        assert_eq!(metainfo.announce.as_deref(), Some("udp://a:1"));
        assert_eq!(metainfo.announce_list, tiers);
        assert_eq!(metainfo.files[1].path, ["sub", "b"]);
        assert!(metainfo.private && metainfo.creation_date == Some(7));
    }

    #[test]
    fn what_this_peer_would_refuse_is_not_written() {
        let mut torrent = NewTorrent {
            name: "..",
            content: Content::Single(3),
            piece_length: 16384,
            pieces: &[b'h'; 20],
            ..NewTorrent::default()
        };
        assert!(matches!(build(&torrent), Err(CreateError::Metainfo(_))));
        torrent.name = "a";
        assert!(build(&torrent).is_ok());
        let tiers = [vec!["http://a/\r\nHost: b".to_string()]];
        torrent.announce_tiers = &tiers;
        assert!(matches!(build(&torrent), Err(CreateError::BadAnnounce(_))));
    }

    #[test]
    fn piece_lengths() {
        for (total, length) in [
            (0, 16 << 10),
            (2_920_050, 16 << 10),
            (32 << 20, 16 << 10),
            ((32 << 20) + 1, 32 << 10),
            (1 << 30, 512 << 10),
            (100 << 30, 16 << 20),
            (u64::MAX, PIECE_BYTES_MAX),
        ] {
            assert_eq!(piece_length_for(total), length, "{total}");
        }
    }

    #[test]
    fn only_the_announce_changes() {
        let info =
            "d6:pieces20:hhhhhhhhhhhhhhhhhhhh4:name1:a6:lengthi1e12:piece lengthi16384e1:xi7ee";
        let old = format!("d3:zzzi1e13:announce-listll3:oldee4:info{info}8:announce3:olde");
        let set = |torrent: &str, announces: &[&str]| {
            let announces: Vec<_> = announces.iter().map(ToString::to_string).collect();
            set_announce(torrent.as_bytes(), &announces)
                .map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(
            set(&old, &["10.0.0.1"]).unwrap(),
            format!("d8:announce8:10.0.0.113:announce-listll8:10.0.0.1ee4:info{info}3:zzzi1ee")
        );
        let bare = format!("d4:info{info}e");
        assert_eq!(set(&bare, &["b"]).unwrap(), format!("d8:announce1:b4:info{info}e"));
        assert_eq!(
            set(&bare, &["b", "c"]).unwrap(),
            format!("d8:announce1:b13:announce-listll1:bel1:cee4:info{info}e")
        );
        assert_eq!(set(&bare, &[]), Err(CreateError::NoAnnounce));
        for bad in ["", "a b", "ftp://x/", "10.0.0.256", "http://u@x/"] {
            let refused = set(&bare, &["b", bad]);
            assert!(matches!(refused, Err(CreateError::BadAnnounce(_))), "{bad}: {refused:?}");
        }
        assert!(set("de", &["b"]).is_err());
    }
}
