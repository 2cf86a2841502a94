//! The torrents folder: which *.torrent files come, change and go.

use super::folders::{is_want, mtime_ns, shown};
use crate::units::limits::TORRENT_BYTES_MAX;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A torrent changed less long ago may still be being written.
const SETTLES_AFTER: Duration = Duration::from_millis(200);

/// What has happened in the torrents folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new torrent and its bytes. Comes again for the same path when the bytes have changed.
    Added(PathBuf, Vec<u8>),
    /// A torrent that was added is gone.
    Removed(PathBuf),
    /// A torrent cannot be read, and why; said once until the file changes, or with each look if that is for
    /// want of a descriptor.
    Unreadable(PathBuf, String),
}

/// The folder of *.torrent files.
pub struct TorrentsFolder {
    folder: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    /// Torrents passed over because their names hide them; each is told of once.
    hidden: BTreeSet<PathBuf>,
    /// `None` where it cannot be had: then the loop scans by timer.
    watch: Option<OwnedFd>,
    /// Files whose writer has closed them since the last scan: they need not settle.
    closed: BTreeSet<OsString>,
    unsettled: bool,
    /// No scan yet: nothing need settle, for somebody may ask for it at once. What is still being
    /// copied changes later, and is looked at again.
    first: bool,
    /// The folder itself could not be read at the last scan.
    lost: bool,
    /// No descriptor was free for one of the files: that is no change of it that would be told.
    lacking: bool,
    /// The folder that was watched has been moved or removed; another may have its name.
    stray: bool,
}

/// What the last look at a file saw.
struct Known {
    /// Length and time of change.
    stamp: (u64, u64),
    settled: bool,
    /// The digest of the bytes that were last handed out as added.
    added: Option<[u8; 20]>,
}

impl TorrentsFolder {
    /// Watches the folder, if the system lets us.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let watch = watch(folder).inspect_err(|error| {
            log::info!("{} is looked at by timer only: {error}", shown(folder));
        });
        Self {
            folder: folder.to_owned(),
            known: BTreeMap::new(),
            hidden: BTreeSet::new(),
            watch: watch.ok(),
            closed: BTreeSet::new(),
            unsettled: false,
            first: true,
            lost: false,
            lacking: false,
            stray: false,
        }
    }

    /// Becomes readable when something has happened in the folder.
    #[must_use]
    pub fn watch_fd(&self) -> Option<RawFd> {
        self.watch.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Takes all tidings from the watch; whether there were any, so that a scan is due.
    pub fn drain(&mut self) -> bool {
        let Some(watch) = &self.watch else { return false };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    any = true;
                    let gone = inotify::ReadFlags::DELETE_SELF | inotify::ReadFlags::MOVE_SELF;
                    self.stray |= event.events().intersects(gone);
                    let complete = inotify::ReadFlags::CLOSE_WRITE | inotify::ReadFlags::MOVED_TO;
                    if let (true, Some(name)) =
                        (event.events().intersects(complete), event.file_name())
                    {
                        self.closed.insert(OsStr::from_bytes(name.to_bytes()).to_owned());
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }

    /// Whether a file is still being written: scan again after 200 ms.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Whether nothing will tell when there is more to see, though there is a watch: scan by timer.
    #[must_use]
    pub fn is_untold(&self) -> bool {
        self.stray || self.lost || self.lacking
    }

    /// Somebody has put this torrent here, and knows it: it will not be told as new.
    pub fn adopt(&mut self, path: &Path, bytes: &[u8]) {
        let stamp = fs::metadata(path).map_or((0, 0), |about| (about.len(), mtime_ns(&about)));
        let added = Some(crate::wire::digest::sha1(bytes));
        self.known.insert(path.to_owned(), Known { stamp, settled: true, added });
    }

    /// What was told of this file led to nothing then and may lead to something now: the next scan
    /// tells of it again.
    pub fn reconsider(&mut self, path: &Path) {
        self.known.remove(path);
    }

    /// Whether there was this file at the last scan.
    #[must_use]
    pub fn knows(&self, path: &Path) -> bool {
        self.known.contains_key(path)
    }

    /// Looks at the folder and says what has changed since the last look.
    pub fn scan(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let closed = core::mem::take(&mut self.closed);
        (self.unsettled, self.lacking) = (false, false);
        if let Some(watch) = self.watch.as_ref().filter(|_| self.stray) {
            self.stray = add_watch(watch, &self.folder).is_err();
        }
        let paths = match self.list() {
            Ok(paths) => paths,
            Err(error) => {
                // Perhaps a disk was unplugged: that takes no torrent away.
                if !core::mem::replace(&mut self.lost, true) {
                    let reason = format!("cannot read the folder: {error}");
                    changes.push(Change::Unreadable(self.folder.clone(), reason));
                }
                return changes;
            }
        };
        self.lost = false;
        self.known.retain(|path, known| {
            let stays = paths.contains(path);
            if !stays && known.added.is_some() {
                changes.push(Change::Removed(path.clone()));
            }
            stays
        });
        for path in paths {
            let is_closed = path.file_name().is_some_and(|name| closed.contains(name));
            changes.extend(self.look(path, is_closed));
        }
        self.first = false;
        changes
    }

    fn list(&mut self) -> io::Result<BTreeSet<PathBuf>> {
        let (mut paths, mut hidden) = (BTreeSet::new(), BTreeSet::new());
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let ends = |ending| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
            let torrent = ends("torrent") || ends("magnet");
            let name = name.as_bytes();
            // What macOS writes beside a file (`._NAME`) is no torrent, whatever it is called.
            if torrent && name.starts_with(b".") && !name.starts_with(b"._") {
                hidden.insert(path);
            } else if torrent && !name.starts_with(b".") {
                paths.insert(path);
            }
        }
        for path in hidden.difference(&self.hidden) {
            log::warn!("{} is passed over: a dot hides it; rename it", shown(path));
        }
        self.hidden = hidden;
        Ok(paths)
    }

    fn look(&mut self, path: PathBuf, is_closed: bool) -> Option<Change> {
        let about = fs::metadata(&path);
        let stamp = about.as_ref().map_or((0, 0), |about| (about.len(), mtime_ns(about)));
        let known = self.known.get(&path);
        if known.is_some_and(|known| known.settled && known.stamp == stamp) {
            return None;
        }
        let unchanged = known.is_some_and(|known| known.stamp == stamp);
        let settled = is_closed
            || self.first
            || about.as_ref().map_or(true, |about| is_old(about, unchanged));
        let added = known.and_then(|known| known.added);
        let mut known = Known { stamp, settled, added };
        self.unsettled |= !settled;
        let change = if settled {
            match about.and_then(|about| read_torrent(&path, &about)) {
                Ok(bytes) => {
                    let digest = crate::wire::digest::sha1(&bytes);
                    let same = known.added.replace(digest) == Some(digest);
                    (!same).then(|| Change::Added(path.clone(), bytes))
                }
                Err(error) => {
                    let want = is_want(&error);
                    (known.settled, self.lacking) = (!want, self.lacking || want);
                    Some(Change::Unreadable(path.clone(), error.to_string()))
                }
            }
        } else {
            None
        };
        self.known.insert(path, known);
        change
    }
}

/// Whether the writer seems to be done with the file.
fn is_old(about: &Metadata, unchanged: bool) -> bool {
    match about.modified().map(|changed| SystemTime::now().duration_since(changed)) {
        Ok(Ok(age)) => age >= SETTLES_AFTER,
        // A time in the future, or none, says nothing: two equal looks must do.
        Ok(Err(_)) | Err(_) => unchanged,
    }
}

fn read_torrent(path: &Path, about: &Metadata) -> io::Result<Vec<u8>> {
    let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    if !about.is_file() {
        return refuse("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    file.take(TORRENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TORRENT_BYTES_MAX {
        return refuse(format!("it is larger than {} MiB", TORRENT_BYTES_MAX >> 20));
    }
    Ok(bytes)
}

fn watch(folder: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    add_watch(&watch, folder)?;
    Ok(watch)
}

fn add_watch(watch: &OwnedFd, folder: &Path) -> io::Result<()> {
    let flags = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ONLYDIR;
    inotify::add_watch(watch, folder, flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::put;
    use super::super::tests::{alone, with_free};
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn age(path: &Path, seconds: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn torrents_come_and_go() {
        let folder = TempDir::new().unwrap();
        let mut torrents = TorrentsFolder::open(folder.path());
        let a = put(&folder, "a.torrent", b"aa");
        put(&folder, ".hidden.torrent", b"h");
        put(&folder, "other", b"o");
        torrents.watch = None;
        torrents.first = false;
        // Just written and no watch: it may still grow.
        assert_eq!(torrents.scan(), []);
        assert!(torrents.is_unsettled());
        age(&a, 5);
        assert_eq!(torrents.scan(), [Change::Added(a.clone(), b"aa".to_vec())]);
        assert_eq!(torrents.scan(), []);
        // Touched, but the same bytes.
        age(&a, 50);
        assert_eq!(torrents.scan(), []);
        put(&folder, "a.torrent", b"ab");
        age(&a, 7);
        assert_eq!(torrents.scan(), [Change::Added(a.clone(), b"ab".to_vec())]);
        fs::remove_file(&a).unwrap();
        assert_eq!(torrents.scan(), [Change::Removed(a)]);
    }

    #[test]
    fn nothing_need_settle_at_the_start() {
        let folder = TempDir::new().unwrap();
        let mut torrents = TorrentsFolder::open(folder.path());
        torrents.watch = None;
        let whole = b"d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e\
            6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
        let a = put(&folder, "a.torrent", whole);
        let half = put(&folder, "half.torrent", &whole[..40]);
        let (a, b) = (Change::Added(a, whole.to_vec()), Change::Added(half, whole[..40].to_vec()));
        assert_eq!(torrents.scan(), [a, b]);
        assert!(!torrents.is_unsettled());
        // The copy goes on: the file is looked at again.
        let half = put(&folder, "half.torrent", whole);
        age(&half, 5);
        assert_eq!(torrents.scan(), [Change::Added(half, whole.to_vec())]);
        // Later on, only the file's writer or its age says that it is whole.
        put(&folder, "b.torrent", whole);
        assert_eq!(torrents.scan(), []);
    }

    #[test]
    fn bad_torrents_are_told_of_once() {
        let folder = TempDir::new().unwrap();
        let mut torrents = TorrentsFolder::open(folder.path());
        fs::create_dir(folder.path().join("folder.torrent")).unwrap();
        let large = put(&folder, "large.torrent", b"");
        let file = File::options().write(true).open(&large).unwrap();
        file.set_len(TORRENT_BYTES_MAX + 1).unwrap();
        age(&large, 5);
        let link = folder.path().join("link.torrent");
        symlink("/nowhere", &link).unwrap();
        std::thread::sleep(SETTLES_AFTER);
        let changes = torrents.scan();
        assert_eq!(changes.len(), 3, "{changes:?}");
        assert!(changes.iter().all(|change| matches!(change, Change::Unreadable(..))));
        assert_eq!(torrents.scan(), []);

        let path = folder.path().to_owned();
        drop(folder);
        assert!(matches!(&torrents.scan()[..], [Change::Unreadable(lost, _)] if *lost == path));
        assert_eq!(torrents.scan(), []);
    }

    #[test]
    fn the_watch_tells_and_a_closed_file_need_not_settle() {
        let folder = TempDir::new().unwrap();
        let mut torrents = TorrentsFolder::open(folder.path());
        assert!(torrents.watch_fd().is_some());
        assert!(!torrents.drain());
        let a = put(&folder, "a.torrent", b"aa");
        assert!(torrents.drain());
        assert!(!torrents.drain());
        assert_eq!(torrents.scan(), [Change::Added(a, b"aa".to_vec())]);
    }

    #[test]
    fn a_folder_that_is_made_anew_is_watched_again() {
        let above = TempDir::new().unwrap();
        let path = above.path().join("torrents");
        fs::create_dir(&path).unwrap();
        let mut torrents = TorrentsFolder::open(&path);
        fs::rename(&path, above.path().join("away")).unwrap();
        assert!(torrents.drain() && torrents.is_untold());
        assert!(matches!(&torrents.scan()[..], [Change::Unreadable(..)]));
        assert!(torrents.is_untold(), "nothing tells when it is back");
        fs::create_dir(&path).unwrap();
        assert_eq!(torrents.scan(), []);
        assert!(!torrents.is_untold());
        let a = path.join("a.torrent");
        fs::write(&a, b"aa").unwrap();
        assert!(torrents.drain());
        assert_eq!(torrents.scan(), [Change::Added(a, b"aa".to_vec())]);
    }

    #[test]
    fn a_torrent_is_looked_at_until_it_can_be_read() {
        alone("reactor::watch::tests::a_torrent_is_looked_at_until_it_can_be_read", || {
            let folder = TempDir::new().unwrap();
            let mut torrents = TorrentsFolder::open(folder.path());
            assert_eq!(torrents.scan(), []);
            let a = put(&folder, "a.torrent", b"aa");
            age(&a, 5);
            assert!(torrents.drain());
            let changes = with_free(0, || torrents.scan());
            let [Change::Unreadable(path, why)] = &changes[..] else { panic!("{changes:?}") };
            assert_eq!(path, folder.path());
            assert!(why.contains("Too many open files"), "{why}");
            assert!(torrents.is_untold());
            // The folder could be read, and now not the file.
            let change = with_free(0, || torrents.look(a.clone(), true));
            assert!(matches!(change, Some(Change::Unreadable(path, _)) if path == a));
            torrents.lost = false;
            assert!(torrents.is_untold());
            assert_eq!(torrents.scan(), [Change::Added(a, b"aa".to_vec())]);
            assert!(!torrents.is_untold());
        });
    }
}
