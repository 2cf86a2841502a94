//! Where the bytes of each file lie when only some files of a content are wanted (BEP 53).
//!
//! A piece at the border of a chosen file holds bytes of its neighbours, too. Those lie in
//! FILE.part, where FILE would be: sparse, made when the first of them comes, no space reserved.
//! A neighbour of which no byte is wanted is nowhere. A file that is not chosen and is there under
//! its name is left as it is, and served.
//!
//! When it is chosen later, FILE.part becomes FILE, with all that is in it.

use super::folders::{self, rename_new, Layout};
use crate::units::bitfield::Bitfield;
use crate::units::padding::Padding;
use crate::wire::metainfo::Metainfo;
use std::io;
use std::path::{Path, PathBuf};

/// More names of that kind than anybody has beside one file.
const NAMES_TRIED_MAX: u32 = 100;

/// The path of a file below the root, as the torrent says it.
#[must_use]
pub fn path_of(metainfo: &Metainfo, index: usize) -> PathBuf {
    match metainfo.files.get(index) {
        Some(file) if metainfo.multi_file => file.path.iter().collect(),
        _ => PathBuf::new(),
    }
}

/// Finds out which files lie in FILE.part: those not there under their names, if chosen, and those
/// not chosen that have one. A FILE.part of ours has the length of FILE, or none yet; any other is
/// somebody else's and stays as it is.
pub fn find(layout: &mut Layout, metainfo: &Metainfo, root: &Path) {
    if !layout.multi_file {
        return;
    }
    let beside = Beside::new(metainfo);
    let fresh = root.symlink_metadata().is_err();
    for (index, file) in layout.files.iter_mut().enumerate() {
        if file.pad || file.length == 0 || (fresh && file.chosen) {
            continue;
        }
        let is_there = |path: &Path| !fresh && folders::stamp(root, path).is_some();
        let part = beside.of(index, |part| {
            let found = folders::stamp(root, part).filter(|_| !fresh);
            found.is_none_or(|(length, ..)| length == file.length || length == 0)
        });
        let takes = match file.chosen {
            true => !is_there(&file.path) && is_there(&part),
            false => is_there(&part) || !is_there(&file.path),
        };
        if takes {
            file.path = part;
        }
    }
}

/// Chosen files that lie in FILE.part get their names.
///
/// # Errors
/// As the file system says.
pub fn uncover(layout: &mut Layout, metainfo: &Metainfo, root: &Path) -> io::Result<()> {
    for (index, file) in layout.files.iter_mut().enumerate().filter(|(_, f)| f.chosen && !f.pad) {
        let path = path_of(metainfo, index);
        if file.path != path {
            rename_new(&root.join(&file.path), &root.join(&path))?;
            file.path = path;
        }
    }
    Ok(())
}

/// Files that are neither chosen nor complete lose their names: what has its name is complete.
///
/// # Errors
/// As the file system says.
pub fn cover(
    layout: &mut Layout,
    metainfo: &Metainfo,
    root: &Path,
    have: &Bitfield,
) -> io::Result<()> {
    if layout.files.iter().all(|file| file.chosen) {
        return Ok(());
    }
    let beside = Beside::new(metainfo);
    for (index, file) in layout.files.iter_mut().enumerate().filter(|(_, f)| !f.chosen && !f.pad) {
        let named = file.path == path_of(metainfo, index);
        if !named || is_whole(metainfo, index, have) {
            continue;
        }
        let part = beside.of(index, |part| folders::stamp(root, part).is_none());
        rename_new(&root.join(&file.path), &root.join(&part))?;
        file.path = part;
    }
    Ok(())
}

/// Bytes of files that are nowhere, the file missing or too short: no piece with any of them can be
/// good. `lengths` are those of the files that are stored; where they end, nothing is there.
#[must_use]
pub fn nowhere(
    layout: &Layout,
    metainfo: &Metainfo,
    mut lengths: impl Iterator<Item = u64>,
) -> Padding {
    let files = layout.files.iter().zip(&metainfo.files).filter(|(file, _)| !file.pad);
    Padding::new(files.map(|(_, file)| {
        let there = lengths.next().unwrap_or(0).min(file.length);
        file.offset + there..file.offset + file.length
    }))
}

/// Whether all pieces with bytes of this file are in `have`.
#[must_use]
pub fn is_whole(metainfo: &Metainfo, index: usize, have: &Bitfield) -> bool {
    let Some(file) = metainfo.files.get(index) else { return false };
    let length = u64::from(metainfo.geometry.piece_length());
    let (first, end) = (file.offset / length, (file.offset + file.length).div_ceil(length));
    let mut pieces = first..if file.length > 0 { end } else { first };
    pieces.all(|piece| u32::try_from(piece).is_ok_and(|piece| have.get(piece)))
}

/// What FILE.part is called, so that no file of the torrent has that name.
struct Beside<'a> {
    metainfo: &'a Metainfo,
    /// The paths of its files, in order.
    taken: Vec<&'a [String]>,
}

impl<'a> Beside<'a> {
    fn new(metainfo: &'a Metainfo) -> Self {
        let mut taken: Vec<&[String]> = metainfo.files.iter().map(|file| &file.path[..]).collect();
        taken.sort_unstable();
        Self { metainfo, taken }
    }

    /// The first name that no file of the torrent has, and that will `do`: FILE.part, FILE.part2 and
    /// so on. The last `.part` ends the name of the file, so no two files have one of these.
    fn of(&self, index: usize, will_do: impl Fn(&Path) -> bool) -> PathBuf {
        let mut path = self.metainfo.files[index].path.clone();
        let Some(name) = path.last().cloned() else { return PathBuf::new() };
        for number in 1..=NAMES_TRIED_MAX {
            let suffix = if number == 1 { ".part".into() } else { format!(".part{number}") };
            if let Some(last) = path.last_mut() {
                *last = folders::suffixed(&name, &suffix);
            }
            if self.taken.binary_search(&&path[..]).is_err()
                && will_do(&path.iter().collect::<PathBuf>())
            {
                break;
            }
        }
        path.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::contents::layout_of;
    use super::super::folders::{part_path, tests::put};
    use super::*;
    use crate::wire::choice::Choice;
    use tempfile::TempDir;

    /// Files a, b, b.part and d/c of ten bytes each, in pieces of eight.
    fn metainfo() -> Metainfo {
        let files = ["1:a", "1:b", "6:b.part", "1:d1:c"];
        let files = files.map(|path| format!("d6:lengthi10e4:pathl{path}ee")).concat();
        let hashes = "h".repeat(5 * 20);
        let info = format!("d5:filesl{files}e4:name1:x12:piece lengthi8e6:pieces100:{hashes}e");
        Metainfo::parse(format!("d4:info{info}e").as_bytes()).unwrap()
    }

    fn paths(layout: &Layout) -> Vec<&str> {
        layout.files.iter().map(|file| file.path.to_str().unwrap()).collect()
    }

    fn found(choice: &str, root: &Path) -> Layout {
        let mut layout = layout_of(&metainfo(), Choice::parse(choice).ok().as_ref());
        find(&mut layout, &metainfo(), root);
        layout
    }

    #[test]
    fn what_is_not_chosen_lies_beside_unless_it_has_its_name() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("x.part");
        // No name of the torrent is taken for another file of it.
        assert_eq!(paths(&found("0", &root)), ["a", "b.part2", "b.part.part", "d/c.part"]);
    }

    #[test]
    fn names_are_given_and_taken() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("x.part");
        put(&folder, "x.part/d/c.part", b"0123456789");
        put(&folder, "x.part/a", b"0123456789");
        let mut layout = found("3", &root);
        assert_eq!(paths(&layout)[0], "a", "it is there under its name");
        assert_eq!(paths(&layout)[3], "d/c.part");
        uncover(&mut layout, &metainfo(), &root).unwrap();
        assert_eq!(paths(&layout)[3], "d/c");
        assert!(root.join("d/c").exists() && !root.join("d/c.part").exists());
        // Incomplete, and not chosen any more: it loses its name; a whole one keeps it.
        let mut layout = found("1", &root);
        let mut have = Bitfield::new(5);
        assert!([0, 1, 4].into_iter().all(|piece| have.set(piece)));
        cover(&mut layout, &metainfo(), &root, &have).unwrap();
        assert_eq!((paths(&layout)[0], paths(&layout)[3]), ("a", "d/c.part"));
        assert!(root.join("a").exists() && root.join("d/c.part").exists());
        assert!(is_whole(&metainfo(), 0, &have) && !is_whole(&metainfo(), 1, &have));
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("x");
        put(&folder, "x/a.part", b"a browser's");
        put(&folder, "x/d/c.part", b"short");
        assert_eq!(paths(&found("1", &root))[0], "a.part2");
        assert_eq!(paths(&found("0-3", &root)), ["a", "b", "b.part", "d/c"]);
        assert_eq!(part_path(folder.path(), &found("0", &root)), folder.path().join("x.part"));
    }

    #[test]
    fn pieces_of_files_that_are_nowhere() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("x");
        put(&folder, "x/b.part2", b"0123456789");
        let layout = found("0", &root);
        assert_eq!(paths(&layout), ["a", "b.part2", "b.part.part", "d/c.part"]);
        let nowhere = nowhere(&layout, &metainfo(), [0, 10, 0, 7].into_iter());
        assert!(nowhere.touches(&(9..10)) && nowhere.touches(&(20..30)));
        assert!(!nowhere.touches(&(10..20)) && !nowhere.touches(&(30..37)));
        assert!(nowhere.touches(&(36..38)));
    }
}
