//! The `info` dictionary: what the info-hash vouches for, and what must be right.

use super::paths::{self, check_distinct};
use super::{Field, File, MetainfoError, Other};
use crate::units::geometry::Geometry;
use crate::units::limits::{PIECES_MAX, PIECE_BYTES_MAX};
use crate::wire::bencode::{Dict, List, Value};
use crate::wire::text::lossless;

/// The checked values of `info`.
pub(super) struct Info {
    pub(super) name: String,
    pub(super) geometry: Geometry,
    pub(super) files: Vec<File>,
    pub(super) multi_file: bool,
    pub(super) private: bool,
    pub(super) source: Option<String>,
    pub(super) pieces_at: usize,
}

/// The values of `info` as they stand.
#[derive(Default)]
struct Keys<'a> {
    files: Option<Value<'a>>,
    length: Option<Value<'a>>,
    meta_version: Option<Value<'a>>,
    name: Option<Value<'a>>,
    name_utf8: Option<Value<'a>>,
    piece_length: Option<Value<'a>>,
    pieces: Option<Value<'a>>,
    private: Option<Value<'a>>,
    source: Option<Value<'a>>,
}

pub(super) fn read(info: Value<'_>) -> Result<Info, MetainfoError> {
    let dict = info.as_dict().ok_or(MetainfoError::WrongType(Field::Info))?;
    let keys = keys(dict)?;
    check_version(&keys)?;
    let pieces = keys.pieces.ok_or(MetainfoError::Missing(Field::Pieces))?;
    let pieces = pieces.as_bytes().ok_or(MetainfoError::WrongType(Field::Pieces))?;
    let name = name(&keys)?;
    let piece_length = piece_length(keys.piece_length)?;
    let files = match (keys.length, keys.files) {
        (Some(_), Some(_)) => return Err(MetainfoError::BothLengthAndFiles),
        (Some(length), None) => {
            vec![File { path: Vec::new(), length: size(length)?, offset: 0, pad: false }]
        }
        (None, Some(list)) => {
            let list = list.as_list().ok_or(MetainfoError::WrongType(Field::Files))?;
            files(&name, list)?
        }
        (None, None) => return Err(MetainfoError::Missing(Field::Length)),
    };
    let total = files.last().map_or(0, |last| last.offset + last.length);
    Ok(Info {
        name,
        geometry: geometry(total, piece_length, pieces)?,
        files,
        multi_file: keys.files.is_some(),
        // BEP 27 knows only 1; no two clients agree on the rest, and this side is the safe one.
        private: keys.private.is_some_and(|value| value.as_int() != Some(0)),
        source: keys.source.and_then(Value::as_bytes).map(lossless),
        pieces_at: offset_in(info.raw(), pieces),
    })
}

/// The keys of `info` that [`read`] does not know, or cannot read, to be shown.
pub(super) fn read_other(info: Value<'_>, other: &mut Other) {
    let Some(dict) = info.as_dict() else { return };
    for (key, value) in dict.iter() {
        let known = match key {
            b"files" | b"length" | b"name" | b"piece length" | b"pieces" => true,
            b"private" => value.as_int().is_some(),
            b"source" => value.as_bytes().is_some(),
            _ => false,
        };
        if !known {
            other.push_of_info(key, value);
        }
    }
}

fn keys(info: Dict<'_>) -> Result<Keys<'_>, MetainfoError> {
    let mut keys = Keys::default();
    for (key, value) in info.iter() {
        let (slot, field) = match key {
            b"files" => (&mut keys.files, Field::Files),
            b"length" => (&mut keys.length, Field::Length),
            b"meta version" => (&mut keys.meta_version, Field::Info),
            b"name" => (&mut keys.name, Field::Name),
            b"name.utf-8" => (&mut keys.name_utf8, Field::Name),
            b"piece length" => (&mut keys.piece_length, Field::PieceLength),
            b"pieces" => (&mut keys.pieces, Field::Pieces),
            b"private" => (&mut keys.private, Field::Info),
            b"source" => (&mut keys.source, Field::Info),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(MetainfoError::Repeated(field));
        }
    }
    Ok(keys)
}

/// BEP 52: a hybrid torrent has the keys of BEP 3 as well; those are used.
fn check_version(keys: &Keys<'_>) -> Result<(), MetainfoError> {
    let Some(version) = keys.meta_version else { return Ok(()) };
    if version.as_int().is_some_and(|version| version > 2) || keys.pieces.is_none() {
        return Err(MetainfoError::Version2Only);
    }
    Ok(())
}

fn name(keys: &Keys<'_>) -> Result<String, MetainfoError> {
    let name = keys.name.ok_or(MetainfoError::Missing(Field::Name))?;
    let name = name.as_bytes().ok_or(MetainfoError::WrongType(Field::Name))?;
    // Not of any BEP, but common where `name` is in an old encoding.
    let utf8 = keys.name_utf8.and_then(Value::as_str).map(str::as_bytes);
    let chosen = match core::str::from_utf8(name) {
        Ok(_) => name,
        Err(_) => utf8.unwrap_or(name),
    };
    paths::content_name(chosen).map_err(|bad| bad.of(Field::Name))
}

fn piece_length(value: Option<Value<'_>>) -> Result<u32, MetainfoError> {
    let field = Field::PieceLength;
    let length = int(value.ok_or(MetainfoError::Missing(field))?, field)?;
    let length = u32::try_from(length).map_err(|_| MetainfoError::OutOfRange(field))?;
    if length == 0 || length > PIECE_BYTES_MAX {
        return Err(MetainfoError::OutOfRange(field));
    }
    Ok(length)
}

fn geometry(total: u64, piece_length: u32, pieces: &[u8]) -> Result<Geometry, MetainfoError> {
    if pieces.len() % 20 != 0 {
        return Err(MetainfoError::PiecesNot20(pieces.len()));
    }
    let given = u64::try_from(pieces.len() / 20).unwrap_or(u64::MAX);
    let needed = total.div_ceil(u64::from(piece_length));
    if given != needed {
        return Err(MetainfoError::PieceCount { given, needed });
    }
    Geometry::new(total, piece_length)
        .filter(|geometry| geometry.piece_count() <= PIECES_MAX)
        .ok_or(MetainfoError::TooManyPieces(needed))
}

fn files(name: &str, list: List<'_>) -> Result<Vec<File>, MetainfoError> {
    let mut files = Vec::new();
    let mut offset = 0_u64;
    for value in list.iter() {
        let entry = value.as_dict().ok_or(MetainfoError::WrongType(Field::Files))?;
        let Some((path, length, pad)) = file(name, entry)? else { continue };
        files.push(File { path, length, offset, pad });
        // Within i64, as no file system has more and other clients count so.
        offset = offset
            .checked_add(length)
            .filter(|&end| i64::try_from(end).is_ok())
            .ok_or(MetainfoError::OutOfRange(Field::Length))?;
    }
    if files.is_empty() {
        return Err(MetainfoError::NoFiles);
    }
    check_distinct(&files)?;
    Ok(files)
}

/// Path, length and whether it is a padding file; `None` for a symbolic link, which this peer
/// never creates (BEP 47).
fn file(name: &str, entry: Dict<'_>) -> Result<Option<(Vec<String>, u64, bool)>, MetainfoError> {
    let (mut length, mut path, mut path_utf8, mut attr) = (None, None, None, None);
    for (key, value) in entry.iter() {
        let (slot, field) = match key {
            b"length" => (&mut length, Field::Length),
            b"path" => (&mut path, Field::Path),
            b"path.utf-8" => (&mut path_utf8, Field::Path),
            b"attr" => (&mut attr, Field::Files),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(MetainfoError::Repeated(field));
        }
    }
    let attr = attr.and_then(Value::as_bytes).unwrap_or_default();
    if attr.contains(&b'l') {
        return match length.map(size).transpose()? {
            None | Some(0) => Ok(None),
            Some(_) => Err(MetainfoError::SymlinkWithLength),
        };
    }
    let length = size(length.ok_or(MetainfoError::Missing(Field::Length))?)?;
    if attr.contains(&b'p') {
        return Ok(Some((vec![".pad".into(), length.to_string()], length, true)));
    }
    let path = path.ok_or(MetainfoError::Missing(Field::Path))?;
    let path = parts(path).ok_or(MetainfoError::WrongType(Field::Path))?;
    let is_utf8 = |path: &[&[u8]]| path.iter().all(|part| core::str::from_utf8(part).is_ok());
    let chosen = match path_utf8.and_then(parts) {
        Some(utf8) if is_utf8(&utf8) && !is_utf8(&path) => utf8,
        _ => path,
    };
    let path = paths::file_path(name, chosen.into_iter()).map_err(|bad| bad.of(Field::Path))?;
    Ok(Some((path, length, false)))
}

fn parts(path: Value<'_>) -> Option<Vec<&[u8]>> {
    path.as_list()?.iter().map(Value::as_bytes).collect()
}

fn int(value: Value<'_>, field: Field) -> Result<i64, MetainfoError> {
    match value {
        Value::Int(int) => int.get().ok_or(MetainfoError::OutOfRange(field)),
        _ => Err(MetainfoError::WrongType(field)),
    }
}

fn size(value: Value<'_>) -> Result<u64, MetainfoError> {
    let length = int(value, Field::Length)?;
    u64::try_from(length).map_err(|_| MetainfoError::OutOfRange(Field::Length))
}

/// Where `part`, which was read from `whole`, begins in it.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    let offset = part.as_ptr() as usize - whole.as_ptr() as usize;
    debug_assert!(offset + part.len() <= whole.len(), "the part lies in the whole");
    offset
}
