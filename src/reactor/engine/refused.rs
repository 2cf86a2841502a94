//! Torrents of the folder that did not come in: why that is told, and when they have their next
//! chance. What is no torrent has none until the file changes; where another torrent has the place,
//! it is when one goes; where the disk said no, it is tried again by timer, too.

use super::Reactor;
use crate::reactor::folders::shown;
use crate::units::limits::DISK_AGAIN;
use crate::units::time::{Duration, Instant};
use core::fmt;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Between two lines about the same torrent, where it is tried again and again.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Why a torrent does not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no torrent, or none for us.
    Bad(String),
    /// The disk says no. It may say yes later.
    Disk(String),
    /// Other content of its name is here.
    Name(String),
    /// It is here already.
    Twin(String),
    /// The file cannot be read.
    Unreadable(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why)
            | Self::Disk(why)
            | Self::Name(why)
            | Self::Twin(why)
            | Self::Unreadable(why) => f.write_str(why),
        }
    }
}

impl From<Refused> for String {
    fn from(refused: Refused) -> Self {
        refused.to_string()
    }
}

/// All of them, by their files.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    files: BTreeMap<PathBuf, (Refused, Instant)>,
    /// Those that were among them, and whose space is being reserved: perhaps they soon are again.
    tried: BTreeMap<PathBuf, (Refused, Instant)>,
    /// When those that the disk refused are tried again.
    again_at: Option<Instant>,
}

impl Refusals {
    /// When to call [`Reactor::try_refused`] next.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.again_at
    }

    /// Files that are gone are refused no longer.
    pub(super) fn keep(&mut self, is_there: impl Fn(&Path) -> bool) {
        self.files.retain(|path, _| is_there(path));
        self.tried.retain(|path, _| is_there(path));
    }

    /// The torrent of this file is here, if there is room for it.
    pub(super) fn try_again(&mut self, path: &Path) {
        if let Some((path, told)) = self.files.remove_entry(path) {
            self.tried.insert(path, told);
        }
    }

    /// Whether the torrent of this file was refused when it came last.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path) || self.tried.contains_key(path)
    }

    /// The torrent of this file is here.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
        self.tried.remove(path);
    }
}

impl Reactor {
    /// Why the first torrent of the folder that is not at work is not.
    #[must_use]
    pub fn first_refused(&self) -> Option<String> {
        let mut lacking =
            self.refusals.files.iter().filter(|(_, (why, _))| !matches!(why, Refused::Twin(_)));
        lacking.next().map(|(path, (why, _))| format!("{}: {why}", shown(path)))
    }

    /// Tells why a torrent is refused, and remembers it.
    pub(super) fn refuse(&mut self, now: Instant, path: PathBuf, why: Refused) {
        if matches!(why, Refused::Disk(_)) {
            self.refusals.again_at = Some(now + DISK_AGAIN);
        }
        let tried = self.refusals.tried.remove(&path);
        let before = self.refusals.files.get(&path).or(tried.as_ref());
        let told_at = match before.map(|&(ref before, at)| (before, at)) {
            // How much is free may be other words every time.
            Some((Refused::Disk(_), at)) if now - at < TELL_AGAIN_AFTER => at,
            Some((before, at)) if *before == why && !matches!(why, Refused::Disk(_)) => at,
            _ => {
                log::error!("{}: refused: {why}", shown(&path));
                now
            }
        };
        self.refusals.files.insert(path, (why, told_at));
    }

    /// The disk has had its time.
    pub(super) fn try_refused(&mut self, now: Instant) {
        if self.refusals.again_at.is_some_and(|at| at <= now) {
            self.refusals.again_at = None;
            self.reconsider(now, |why| matches!(why, Refused::Disk(_)));
        }
    }

    /// A torrent is gone: those that were kept out have a chance.
    pub(super) fn let_in(&mut self, now: Instant) {
        self.reconsider(now, |why| !matches!(why, Refused::Bad(_)));
    }

    /// This one had the place of another, and there is no room for it.
    pub(super) fn give_place(&mut self, now: Instant) {
        self.reconsider(now, |why| matches!(why, Refused::Name(_) | Refused::Twin(_)));
    }

    /// The user wants everything to be looked at again, and to hear of it.
    pub(super) fn forget_refused(&mut self, now: Instant) {
        self.reconsider(now, |_| true);
        self.refusals = Refusals::default();
    }

    /// With the next scan those come again that are refused for such a reason.
    fn reconsider(&mut self, now: Instant, such: impl Fn(&Refused) -> bool) {
        let Some(folder) = &mut self.folder else { return };
        for (path, _) in self.refusals.files.iter().filter(|(_, (why, _))| such(why)) {
            folder.reconsider(path);
            self.scan_at = Some(now);
        }
    }
}
