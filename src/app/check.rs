//! `check`: whether the content of a torrent is complete.

use super::{read_torrent, Failure, DONE};
use crate::proto::store::StoreError;
use crate::reactor::arrange;
use crate::reactor::contents::layout_of;
use crate::reactor::folders::{self, Layout, Located, Open};
use crate::reactor::hash::{HashQueue, Job, Kind, HASH_SLICE_BYTES};
use crate::reactor::mmap::{Storage, DEFAULT_BUDGET};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::PieceIndex;
use crate::units::id::SwarmId;
use crate::units::time::Instant;
use crate::wire::metainfo::Metainfo;
use std::io::{self, Write};
use std::path::Path;

/// Exit code: something is missing.
const NOT_COMPLETE: u8 = 1;

/// Verifies the content of the .torrent `file` in the folder `shareable` and says what is there.
/// Returns the exit code: 0 complete, 1 not.
///
/// # Errors
/// When the torrent is bad, or a file may not be read.
pub fn check(file: &Path, shareable: &Path, out: &mut dyn Write) -> Result<u8, Failure> {
    let refused = |error: &dyn std::fmt::Display| {
        Failure::Refused(format!("{}: {error}", super::text::shown(file)))
    };
    let metainfo = Metainfo::parse(&read_torrent(file)?).map_err(|error| refused(&error))?;
    let mut layout = layout_of(&metainfo, None);
    let located = folders::locate(shareable, &layout);
    let whole = matches!(located, Located::Complete(_));
    let absent = matches!(located, Located::Absent);
    let root = match located {
        Located::Complete(root) | Located::Differs(root) | Located::Partial(root) => root,
        Located::Absent => folders::final_path(shareable, &layout),
    };
    // What lies in FILE.part, because the file was not chosen.
    arrange::find(&mut layout, &metainfo, &root);
    let good = check_content(&layout, &root, &|piece| metainfo.piece_hash(piece))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let complete = good.is_full() && whole;
    let verdict = if complete { "complete" } else { "not complete" };
    let (count, total) = (good.count(), good.len());
    let name = &metainfo.name;
    write!(out, "{name}  {verdict}: {count} of {total} pieces are good")?;
    if absent && !complete {
        let place = super::text::shown(&root);
        write!(out, "; nothing is at {place}, --shareable names another folder")?;
    }
    writeln!(out)?;
    if metainfo.multi_file && !complete {
        let (there, all) = whole_files(&metainfo, &root, &good);
        writeln!(out, "{name}  {there} of {all} files are complete")?;
    }
    out.flush()?;
    Ok(if complete { DONE } else { NOT_COMPLETE })
}

/// Files that are there under their names with all their pieces, and files in all.
fn whole_files(metainfo: &Metainfo, root: &Path, good: &Bitfield) -> (usize, usize) {
    let there = |index: usize| {
        let length = metainfo.files[index].length;
        let file = folders::open_content(root, &arrange::path_of(metainfo, index), Open::Stat);
        arrange::is_whole(metainfo, index, good)
            && file.and_then(|file| file.metadata()).is_ok_and(|about| about.len() == length)
    };
    let stored: Vec<usize> =
        (0..metainfo.files.len()).filter(|&index| !metainfo.files[index].pad).collect();
    (stored.iter().filter(|&&index| there(index)).count(), stored.len())
}

/// Pieces handed to the queue at once: a torrent may have two million.
const PIECES_A_TURN: usize = 64;

/// The pieces that are there and good. `root` is the content itself, complete or as NAME.part;
/// nothing is changed. A file that is missing or short is missing pieces and no error.
///
/// # Errors
/// When a file is there but may not be read.
pub fn check_content(
    layout: &Layout,
    root: &Path,
    expected: &dyn Fn(PieceIndex) -> [u8; 20],
) -> Result<Bitfield, StoreError> {
    check_content_with(layout, root, expected, &mut |_, _| {})
}

/// As [`check_content`], telling `progress` of each piece and whether it is good.
///
/// # Errors
/// When a file is there but may not be read.
pub fn check_content_with(
    layout: &Layout,
    root: &Path,
    expected: &dyn Fn(PieceIndex) -> [u8; 20],
    progress: &mut dyn FnMut(PieceIndex, bool),
) -> Result<Bitfield, StoreError> {
    const SWARM: SwarmId = SwarmId(0);
    let geometry = &layout.geometry;
    let mut good = Bitfield::new(geometry.piece_count());
    if !root.exists() {
        return Ok(good);
    }
    may_be_read(layout, root)?;
    let mut storage = Storage::new(DEFAULT_BUDGET);
    storage.open_read(SWARM, layout, root)?;
    let mut queue = HashQueue::new();
    let mut pieces = geometry.pieces();
    loop {
        for piece in pieces.by_ref().take(PIECES_A_TURN) {
            queue.push(
                Instant::ORIGIN,
                Job {
                    swarm: SWARM,
                    piece,
                    offset: geometry.piece_offset(piece),
                    len: geometry.piece_size(piece),
                    expected: expected(piece),
                    kind: Kind::Check,
                },
            );
        }
        if queue.is_empty() {
            return Ok(good);
        }
        while !queue.is_empty() {
            for done in queue.run(Instant::ORIGIN, &mut storage, HASH_SLICE_BYTES) {
                let present = done.outcome.unwrap_or(false);
                if present {
                    good.set(done.job.piece.get());
                }
                progress(done.job.piece, present);
            }
        }
    }
}

/// A file that may not be read is no missing file: the person must learn why.
fn may_be_read(layout: &Layout, root: &Path) -> Result<(), StoreError> {
    for file in layout.stored().filter(|file| file.length > 0) {
        match folders::open_content(root, &file.path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let path = folders::content_path(root, &file.path);
                let path = folders::shown(&path);
                return Err(StoreError::new(format!("cannot read {path}: {error}")));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::folders::LayoutFile;
    use crate::units::geometry::Geometry;
    use crate::wire::digest::sha1;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn missing_and_short_files_are_missing_pieces() {
        let content: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
        let file =
            |path: &str, length| LayoutFile { path: path.into(), length, pad: false, chosen: true };
        let layout = Layout {
            files: vec![file("1/2/3/4/a", 40_000), file("none", 0), file("b", 60_000)],
            geometry: Geometry::new(100_000, 10_000).unwrap(),
            name: "name".to_owned(),
            multi_file: true,
        };
        let expected = |piece: PieceIndex| {
            let start = piece.index() * 10_000;
            sha1(&content[start..start + 10_000])
        };
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("name");
        let found = || check_content(&layout, &root, &expected).unwrap().iter().collect();
        let nothing: Vec<u32> = found();
        assert!(nothing.is_empty());
        fs::create_dir_all(root.join("1/2/3/4")).unwrap();
        fs::write(root.join("b"), &content[40_000..75_000]).unwrap();
        let short: Vec<u32> = found();
        assert_eq!(short, [4, 5, 6]);
        fs::write(root.join("1/2/3/4/a"), &content[..40_000]).unwrap();
        fs::write(root.join("b"), &content[40_000..]).unwrap();
        assert!(check_content(&layout, &root, &expected).unwrap().is_full());
        let mut told = 0;
        check_content_with(&layout, &root, &expected, &mut |_, _| told += 1).unwrap();
        assert_eq!(told, 10);
    }
}
