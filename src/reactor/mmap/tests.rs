//! Windows of real files.

use super::super::folders::tests::layout;
use super::super::gather::GatherWrite;
use super::super::open_files::OPEN_MAX;
use super::*;
use crate::units::geometry::Geometry;
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

const S: SwarmId = SwarmId(3);

#[derive(Clone, Debug)]
enum Step {
    Read(u64, usize),
    Write(u64, usize, u8),
    Receive(u64, usize, u8),
    Send(u64, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = (0..90_000_u64, 0..40_000_usize, any::<u8>(), 0..4);
    let step = place.prop_map(|(offset, len, byte, kind)| match kind {
        0 => Step::Read(offset, len),
        1 => Step::Write(offset, len, byte),
        2 => Step::Receive(offset, len, byte),
        _ => Step::Send(offset, len),
    });
    proptest::collection::vec(step, 1..30)
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn like_a_vec(
        lengths in proptest::collection::vec(prop_oneof![Just(0), 0..20_000_u64], 1..8),
        steps in steps(),
    ) {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("content");
        let files: Vec<_> = (0..lengths.len()).map(|i| format!("a/b{i}/c/d/f{i}")).collect();
        let files: Vec<_> = files.iter().map(String::as_str).zip(lengths).collect();
        let layout = layout(&files, 16_384);
        // Windows of a page, four of them: every block spans several.
        let mut storage = Storage::with_windows(16_384, 4096);
        storage.open_write(S, &layout, &root).unwrap();
        let mut oracle = vec![0; usize::try_from(layout.geometry.length()).unwrap()];
        for step in steps {
            one_step(&mut storage, &mut oracle, step)?;
            prop_assert!(storage.mapped_bytes() <= 16_384);
            prop_assert!(storage.open.len() <= OPEN_MAX);
        }
        for file in storage.files(S) {
            file.sync_data().unwrap();
        }
        storage.close(S);
        let mut whole = Vec::new();
        for file in &layout.files {
            let bytes = fs::read(root.join(&file.path)).unwrap();
            prop_assert_eq!(bytes.len() as u64, file.length);
            whole.extend(bytes);
        }
        prop_assert_eq!(whole, oracle);
    }
}

fn one_step(storage: &mut Storage, oracle: &mut [u8], step: Step) -> Result<(), TestCaseError> {
    let (Step::Read(offset, len)
    | Step::Write(offset, len, _)
    | Step::Receive(offset, len, _)
    | Step::Send(offset, len)) = step;
    let start = offset as usize;
    let lies_within = start + len <= oracle.len();
    match step {
        Step::Read(..) => {
            let mut bytes = vec![1; len];
            let result = storage.read(S, offset, &mut bytes);
            prop_assert_eq!(result.is_ok(), lies_within || len == 0);
            if result.is_ok() && len > 0 {
                prop_assert_eq!(&bytes[..], &oracle[start..start + len]);
            }
        }
        Step::Write(_, _, seed) if lies_within => {
            let bytes = pattern(len, seed);
            storage.write(S, offset, &bytes).unwrap();
            oracle[start..start + len].copy_from_slice(&bytes);
        }
        Step::Receive(_, _, seed) if lies_within => {
            // In three parts, with heads between.
            let bytes = pattern(len + 39, seed);
            let (third, mut placed) = (len / 3, Vec::new());
            for (n, len) in [third, third, len - 2 * third].into_iter().enumerate() {
                let from = 13 * (n + 1) + third * n;
                let offset = offset + (third * n) as u64;
                placed.push(Placed { offset, from, to: from + len });
            }
            storage.write_placed(S, &bytes, &placed).unwrap();
            for Placed { offset, from, to } in placed {
                oracle[offset as usize..][..to - from].copy_from_slice(&bytes[from..to]);
            }
        }
        Step::Send(..) if lies_within => {
            let mut sent = Vec::new();
            let mut gather = GatherWrite::new(storage);
            gather.wait_for_disk();
            gather.push_const(b"head");
            gather.push_content(S, offset, len).unwrap();
            gather.push_content(S, offset, len).unwrap();
            gather.write_to(&mut sent).unwrap();
            drop(gather);
            let block = &oracle[start..start + len];
            prop_assert_eq!(sent, [b"head", block, block].concat());
        }
        _ => {}
    }
    Ok(())
}

#[test]
fn complete_content_is_read_only_and_short_files_are_named() {
    let folder = TempDir::new().unwrap();
    let layout = layout(&[("a", 10), ("b", 5000), ("gone", 1)], 16);
    fs::write(folder.path().join("a"), [1; 10]).unwrap();
    fs::write(folder.path().join("b"), [2; 4999]).unwrap();
    let mut storage = Storage::new(DEFAULT_BUDGET);
    storage.open_read(S, &layout, folder.path()).unwrap();
    assert!(storage.write(S, 0, b"x").is_err());
    let mut bytes = [0; 100];
    storage.read(S, 0, &mut bytes).unwrap();
    assert_eq!(bytes[8..12], [1, 1, 2, 2]);
    let short = storage.read(S, 5000, &mut bytes[..10]).unwrap_err();
    assert!(short.to_string().ends_with("b is shorter than the torrent says"), "{short}");
    let gone = storage.read(S, 5010, &mut bytes[..1]).unwrap_err();
    assert!(gone.to_string().contains("gone"), "{gone}");
    assert!(storage.read(S, 5011, &mut bytes[..1]).is_err());
    assert!(storage.read(S, u64::MAX, &mut bytes[..2]).is_err());
    assert!(storage.read(SwarmId(9), 0, &mut bytes[..1]).is_err());
    let missing = folder.path().join("missing");
    assert!(storage.open_read(S, &layout, &missing).is_err());
}

#[test]
fn truncated_while_in_use() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("name.part");
    let layout = layout(&[("", 100_000)], 16_384);
    let mut storage = Storage::new(DEFAULT_BUDGET);
    storage.open_write(S, &layout, &root).unwrap();
    storage.write(S, 50_000, &[5; 50_000]).unwrap();
    let file = File::options().write(true).open(&root).unwrap();
    let mut bytes = [9; 100];
    storage.read(S, 60_000, &mut bytes).unwrap();
    assert_eq!(bytes, [5; 100]);
    file.set_len(0).unwrap();
    let error = storage.read(S, 60_000, &mut bytes).unwrap_err();
    assert!(error.to_string().contains("name.part was cut short"), "{error}");
    assert_eq!(storage.mapped_bytes(), 0);
    file.set_len(100_000).unwrap();
    storage.read(S, 60_000, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 100]);
    file.set_len(0).unwrap();
    let error = storage.write(S, 60_000, &bytes).unwrap_err();
    assert!(error.to_string().ends_with("name.part is shorter than the torrent says"), "{error}");
}

#[test]
fn what_an_earlier_process_wrote_is_flushed_too() {
    let folder = TempDir::new().unwrap();
    let layout = layout(&[("a", 10), ("b", 10), ("c", 10), ("d", 10)], 16);
    let mut storage = Storage::new(DEFAULT_BUDGET);
    let root = folder.path().join("name.part");
    storage.open_write(S, &layout, &root).unwrap();
    assert!(storage.files(S).is_empty());
    storage.flush_too(S, 16, 16);
    let paths: Vec<_> = storage.files(S).into_iter().map(|file| file.path).collect();
    assert_eq!(paths, [Path::new("b"), Path::new("c"), Path::new("d")]);
    storage.flush_too(S, 40, 1);
    storage.open_read(S, &layout, &root).unwrap();
    storage.flush_too(S, 0, 16);
    assert!(storage.files(S).is_empty());
}

#[test]
fn a_link_in_place_of_content_that_is_written_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("elsewhere"), [1; 10]).unwrap();
    let root = folder.path().join("name.part");
    std::os::unix::fs::symlink("elsewhere", &root).unwrap();
    let mut storage = Storage::new(DEFAULT_BUDGET);
    let refused = storage.open_write(S, &layout(&[("", 20)], 16_384), &root).unwrap_err();
    let words = "name.part: it is a symbolic link, which could lead anywhere; remove it";
    assert!(refused.to_string().ends_with(words), "{refused}");
    assert_eq!(fs::read(folder.path().join("elsewhere")).unwrap(), [1; 10]);
}

#[test]
fn many_files_need_few_descriptors() {
    let folder = TempDir::new().unwrap();
    let names: Vec<_> = (0..300).map(|i| format!("f{i}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 100)).collect();
    let layout = layout(&files, 16_384);
    let mut storage = Storage::with_windows(1 << 20, 1 << 20);
    let root = folder.path().join("content");
    storage.open_write(S, &layout, &root).unwrap();
    assert_eq!(storage.open.len(), 0);
    storage.write(S, 0, &pattern(30_000, 1)).unwrap();
    assert_eq!(storage.open.len(), OPEN_MAX);
    let files = storage.files(S);
    assert_eq!(files.len(), 300);
    files.iter().for_each(|file| file.sync_data().unwrap());
    assert!(storage.mapped_bytes() <= 1 << 20);
}

#[test]
fn files_must_add_up() {
    let folder = TempDir::new().unwrap();
    let mut layout = layout(&[("a", 10)], 16);
    layout.geometry = Geometry::new(11, 16).unwrap();
    let mut storage = Storage::new(0);
    assert!(storage.open_read(S, &layout, folder.path()).is_err());
}
