//! Where no descriptor is free: tests, each in a process of its own, for the limit is that of all threads.

use super::contents::{Content, Places};
use super::flush::flush;
use super::folders::tests::layout;
use super::folders::{self, Place};
use super::mmap::{Storage, DEFAULT_BUDGET};
use crate::proto::peer::swarms::Progress;
use crate::proto::store::Store;
use crate::units::bitfield::Bitfield;
use crate::units::id::{PeerId, SwarmId};
use crate::units::time::Instant;
use crate::wire::digest::sha1;
use crate::wire::metainfo::Metainfo;
use rustix::process::{getrlimit, setrlimit, Resource};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const S: SwarmId = SwarmId(3);
const ALONE: &str = "REACTOR_PEER_TEST_ALONE";

/// Runs the test of this path in a process of its own.
pub(super) fn alone(name: &str, test: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).env(ALONE, "1");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Does something while so many descriptors are free.
pub(super) fn with_free<T>(free: usize, work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let mut low = before;
    low.current = Some(100);
    setrlimit(Resource::Nofile, low).unwrap();
    let mut taken: Vec<File> = core::iter::from_fn(|| File::open("/").ok()).collect();
    taken.truncate(taken.len() - free);
    let done = work();
    drop(taken);
    setrlimit(Resource::Nofile, before).unwrap();
    done
}

/// A folder `c` with two files, of a piece each.
fn torrent() -> Metainfo {
    let pieces = [sha1(&[b'a'; 16_384]), sha1(&[b'b'; 9])].concat();
    let mut bytes = b"d4:infod5:filesl\
        d6:lengthi16384e4:pathl1:aeed6:lengthi9e4:pathl1:d1:beee\
        4:name1:c12:piece lengthi16384e6:pieces40:"
        .to_vec();
    bytes.extend(pieces);
    bytes.extend(b"ee");
    Metainfo::parse(&bytes).unwrap()
}

fn places(folder: &Path) -> Places {
    let (shareable, state) = (folder.join("shareable"), folder.join("state"));
    fs::create_dir_all(&state).unwrap();
    fs::create_dir_all(shareable.join("c/d")).unwrap();
    fs::write(shareable.join("c/a"), [b'a'; 16_384]).unwrap();
    fs::write(shareable.join("c/d/b"), [b'b'; 9]).unwrap();
    Places { shareable, state, peer_id: PeerId([1; 20]) }
}

#[test]
fn a_file_that_cannot_be_opened_now_is_not_missing() {
    alone("reactor::tests::a_file_that_cannot_be_opened_now_is_not_missing", || {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("c");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), b"12345").unwrap();
        let layout = layout(&[("a", 5), ("gone", 5)], 16_384);
        // Two are needed: the folder's and the file's.
        for free in [0, 1] {
            with_free(free, || {
                assert!(folders::find(&root, Path::new("a")).is_err());
                assert!(folders::find_all(&root, &layout).is_err());
            });
        }
        let found = with_free(2, || folders::find_all(&root, &layout).unwrap());
        assert_eq!((found[0].0, found[1]), (5, (0, 0, 0)));
        assert_eq!(folders::find(&root, Path::new("gone")).unwrap(), None);
    });
}

#[test]
fn content_is_not_opened_before_it_can_be_looked_at() {
    alone("reactor::tests::content_is_not_opened_before_it_can_be_looked_at", || {
        let folder = TempDir::new().unwrap();
        let places = places(folder.path());
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let now = Instant::ORIGIN;
        let open = |storage: &mut Storage| {
            let torrent = (torrent(), None);
            let opened = Content::open(now, S, Path::new("t"), torrent, None, &places, storage);
            opened.map(|(content, _)| content.place)
        };
        for free in [0, 1] {
            let error = with_free(free, || open(&mut storage)).unwrap_err().to_string();
            assert!(error.contains("Too many open files"), "{error}");
        }
        // What opens with so few can be read, whoever takes the rest.
        let (place, bytes) = with_free(2, || {
            let place = open(&mut storage);
            let mut bytes = [0; 16_393];
            let _last: Vec<File> = core::iter::from_fn(|| File::open("/").ok()).collect();
            (place, storage.read(S, 0, &mut bytes).map(|()| bytes))
        });
        assert_eq!(place, Ok(Place::Final));
        assert_eq!(bytes.unwrap()[16_380..], *b"aaaabbbbbbbbb");
    });
}

#[test]
fn what_cannot_be_looked_at_is_saved_later() {
    alone("reactor::tests::what_cannot_be_looked_at_is_saved_later", || {
        let folder = TempDir::new().unwrap();
        let places = places(folder.path());
        fs::rename(places.shareable.join("c"), places.shareable.join("c.part")).unwrap();
        let mut storage = Storage::new(DEFAULT_BUDGET);
        let now = Instant::ORIGIN;
        let torrent = (torrent(), None);
        let opened = Content::open(now, S, Path::new("t"), torrent, None, &places, &mut storage);
        let mut content = opened.unwrap().0;
        let progress = Progress {
            have: Bitfield::new(2),
            partials: Vec::new(),
            uploaded: 0,
            downloaded: 0,
            contacts: Vec::new(),
        };
        let mut save = |files| content.flush_job(now, S, files, progress.clone(), &places);
        let first = flush(save(Vec::new()));
        assert_eq!((first.error, first.replaced), (None, false));
        let before = first.stamps.1;
        assert!(before.iter().all(|stamp| stamp.inode != 0));
        storage.write(S, 0, b"x").unwrap();
        let job = save(storage.files(S));
        // Enough for the record, not for the files.
        let second = with_free(1, || flush(job));
        assert!(second.error.is_some_and(|error| error.contains("Too many open files")));
        assert!(!second.replaced, "nobody has");
        let third = flush(save(second.files));
        assert_eq!((third.error, third.replaced), (None, false));
        assert_eq!(third.stamps.1[1], before[1]);
    });
}
