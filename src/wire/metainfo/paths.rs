//! Names from a .torrent made safe as names in a file system, or refused.
//!
//! What would lead out of the folder is refused: `..`, `/`, NUL. What would only surprise is
//! replaced: control characters, direction overrides and `\` by `_`, bytes that are not UTF-8 by
//! `%xx`, so that two such names stay two. What a file system cannot hold is shortened.

use super::{Field, File, MetainfoError};
use crate::wire::digest::sha1;
use crate::wire::text;

/// Bytes of the longest name that common file systems take.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Bytes that a longer name is shortened to; leaves room for a suffix such as `.part`.
const SHORTENED_BYTES: usize = 240;
/// Bytes of the longest ending that shortening keeps.
const EXTENSION_BYTES_MAX: usize = 16;
/// Folders inside each other, the file included.
pub const COMPONENTS_MAX: usize = 100;
/// Bytes of a whole path: PATH_MAX (4096) less one component for where the content lies.
pub const PATH_BYTES_MAX: usize = 4096 - 256;
/// Where a peer keeps its own records; no content may be called so.
const STATE_NAME: &str = ".reactor-peer";
/// What content that is not complete is called; a name that ends so would be mistaken for it.
const PART_SUFFIX: &str = ".part";

/// What a name from a .torrent cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// `..`, which leads out of the folder.
    DotDot,
    /// Nothing, or only parts that mean nothing.
    Empty,
    /// A zero byte, at which C functions stop reading.
    Nul,
    /// A `/` inside one part.
    Slash,
    /// More folders inside each other than [`COMPONENTS_MAX`].
    TooDeep,
    /// More bytes than [`PATH_BYTES_MAX`].
    TooLong,
}

impl core::fmt::Display for BadName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::DotDot => "leads out of its folder",
            Self::Empty => "is empty",
            Self::Nul => "holds a zero byte",
            Self::Slash => "holds a '/'",
            Self::TooDeep => "has too many folders",
            Self::TooLong => "is too long for a file system",
        })
    }
}

/// One component as a file system can hold it; `None` where it means nothing (empty or `.`).
///
/// # Errors
/// [`BadName`] where it must not be used at all.
pub fn component(name: &[u8]) -> Result<Option<String>, BadName> {
    match name {
        b"" | b"." => return Ok(None),
        b".." => return Err(BadName::DotDot),
        _ if name.contains(&b'/') => return Err(BadName::Slash),
        _ if name.contains(&0) => return Err(BadName::Nul),
        _ => {}
    }
    let mut safe = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        let replaced = |c| if text::is_unsafe(c) || c == '\\' { '_' } else { c };
        safe.extend(chunk.valid().chars().map(replaced));
        for byte in chunk.invalid() {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    if safe.len() > COMPONENT_BYTES_MAX {
        safe = shortened(&safe, name);
    }
    safe.shrink_to_fit();
    Ok(Some(safe))
}

/// The head of the name, a mark of the whole of it, so that two long names stay two, and its
/// ending.
fn shortened(safe: &str, whole: &[u8]) -> String {
    let dot = safe.rfind('.').filter(|&dot| dot > 0 && safe.len() - dot <= EXTENSION_BYTES_MAX);
    let (stem, extension) = safe.split_at(dot.unwrap_or(safe.len()));
    let [a, b, c, d, ..] = sha1(whole);
    let mark = format!("~{a:02x}{b:02x}{c:02x}{d:02x}");
    let mut end = SHORTENED_BYTES - mark.len() - extension.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}{extension}", &stem[..end])
}

/// The torrent's `name`: one component that can stand beside our own files.
///
/// # Errors
/// [`BadName`] where it must not be used.
pub fn content_name(name: &[u8]) -> Result<String, BadName> {
    let mut safe = component(name)?.ok_or(BadName::Empty)?;
    if safe == STATE_NAME || safe.ends_with(PART_SUFFIX) {
        if safe.len() >= COMPONENT_BYTES_MAX {
            safe = shortened(&safe, name);
        }
        safe.push('_');
    }
    Ok(safe)
}

/// The components of one file's `path`. Parts that mean nothing are left out.
///
/// # Errors
/// [`BadName`] where one must not be used, or the whole is too much for a file system.
pub fn file_path<'a>(
    name: &str,
    parts: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<String>, BadName> {
    let mut path = Vec::with_capacity(1);
    let mut bytes = name.len();
    for part in parts {
        let Some(part) = component(part)? else { continue };
        bytes += 1 + part.len();
        if path.len() + 1 >= COMPONENTS_MAX {
            return Err(BadName::TooDeep);
        }
        if bytes > PATH_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        path.push(part);
    }
    if path.is_empty() {
        return Err(BadName::Empty);
    }
    Ok(path)
}

/// No file may be another one, or the folder of another one.
///
/// # Errors
/// [`MetainfoError::SamePath`] or [`MetainfoError::FileIsFolder`], with the path.
pub(super) fn check_distinct(files: &[File]) -> Result<(), MetainfoError> {
    let mut paths: Vec<&[String]> =
        files.iter().filter(|file| !file.pad).map(|file| &file.path[..]).collect();
    paths.sort_unstable();
    // A path sorts directly before the first path it is a beginning of.
    for pair in paths.windows(2) {
        let [one, next] = pair else { continue };
        if one == next {
            return Err(MetainfoError::SamePath(shown(one)));
        }
        if next.starts_with(one) {
            return Err(MetainfoError::FileIsFolder(shown(one)));
        }
    }
    Ok(())
}

fn shown(path: &[String]) -> String {
    text::escape_cut(path.join("/").as_bytes(), 100)
}

impl BadName {
    pub(super) const fn of(self, field: Field) -> MetainfoError {
        MetainfoError::Name(field, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(bytes: impl AsRef<[u8]>) -> String {
        content_name(bytes.as_ref()).unwrap()
    }

    #[test]
    fn what_leads_out_is_refused() {
        assert_eq!(content_name(b".."), Err(BadName::DotDot));
        for bad in ["../evil", "/etc/passwd", "a/b", "/"] {
            assert_eq!(content_name(bad.as_bytes()), Err(BadName::Slash), "{bad}");
        }
        assert_eq!(content_name(b"a\0b"), Err(BadName::Nul));
        assert_eq!(content_name(b""), Err(BadName::Empty));
        assert_eq!(content_name(b"."), Err(BadName::Empty));
    }

    #[test]
    fn what_surprises_is_replaced() {
        assert_eq!(name("a\nb\x1b[2J\u{202e}c\\d"), "a_b_[2J_c_d");
        assert_eq!(name(b"age\xff\xfe.txt"), "age%FF%FE.txt");
        assert_eq!(name(b"..\xc0\xafevil"), "..%C0%AFevil");
        for fine in ["foo... bar..txt", ".bashrc", "-rf", "   ", "CON", "résumé 😀 漢字.txt", "..."]
        {
            assert_eq!(name(fine), fine);
        }
        assert_eq!(name(".reactor-peer"), ".reactor-peer_");
        assert_eq!(name("age.txt.part"), "age.txt.part_");
    }

    #[test]
    fn long_names_are_shortened_apart() {
        assert_eq!(name("n".repeat(255)).len(), 255);
        let long = |n: usize, end: &str| "é".repeat(n) + end;
        let (one, two) = (name(long(130, "1.tar")), name(long(130, "2.tar")));
        assert_ne!(one, two);
        assert!(one.ends_with(".tar") && one.len() <= SHORTENED_BYTES);
        assert!(name("n".repeat(250) + ".part").len() <= COMPONENT_BYTES_MAX);
        assert!(name("n".repeat(300) + ".part").ends_with(".part_"));
    }

    #[test]
    fn paths_as_a_whole() {
        let path = |parts: &[&str]| file_path("lab", parts.iter().map(|part| part.as_bytes()));
        assert_eq!(path(&["a", "", ".", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(path(&[]), Err(BadName::Empty));
        assert_eq!(path(&["", "."]), Err(BadName::Empty));
        assert_eq!(path(&["a", "..", "b"]), Err(BadName::DotDot));
        assert!(path(&["d"; 99]).is_ok());
        assert_eq!(path(&["d"; 100]), Err(BadName::TooDeep));
        assert_eq!(path(&["p".repeat(250).as_str(); 20]), Err(BadName::TooLong));
    }

    #[test]
    fn files_stay_apart() {
        let files = |paths: &[&str]| -> Vec<File> {
            let file = |path: &&str| File {
                path: path.split('/').map(String::from).collect(),
                length: 1,
                offset: 0,
                pad: false,
            };
            paths.iter().map(file).collect()
        };
        assert_eq!(check_distinct(&files(&["a/b", "a b", "a-b", "b", "a/c/b"])), Ok(()));
        let same = check_distinct(&files(&["b", "a", "b"]));
        assert_eq!(same, Err(MetainfoError::SamePath("b".into())));
        let inside = check_distinct(&files(&["a/c", "a b", "a"]));
        assert_eq!(inside, Err(MetainfoError::FileIsFolder("a".into())));
    }

    proptest! {
        #[test]
        fn every_component_is_one_safe_component(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(Some(safe)) = component(&bytes) {
                prop_assert!(!safe.is_empty() && safe != "." && safe != "..");
                prop_assert!(safe.len() <= COMPONENT_BYTES_MAX);
                prop_assert!(!safe.contains(['/', '\0']) && !safe.contains(text::is_unsafe));
                prop_assert_eq!(component(safe.as_bytes()), Ok(Some(safe)));
            }
        }
    }
}
