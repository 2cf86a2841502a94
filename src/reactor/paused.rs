//! Which torrents the user has paused: a file in the state folder, one info-hash a line, so that
//! a pause survives a restart.

use super::state::save_wishes;
use crate::units::id::InfoHash;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The paused torrents.
#[derive(Debug)]
pub struct Paused {
    path: PathBuf,
    hashes: BTreeSet<InfoHash>,
}

impl Paused {
    /// What the last run has left in this folder. Lines that make no sense are passed over.
    #[must_use]
    pub fn load(state: &Path) -> Self {
        let path = state.join("paused");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut hashes = BTreeSet::new();
        hashes.extend(text.lines().filter_map(InfoHash::from_hex));
        Self { path, hashes }
    }

    /// Whether that torrent is paused.
    #[must_use]
    pub fn contains(&self, info_hash: &InfoHash) -> bool {
        self.hashes.contains(info_hash)
    }

    /// Notes it, on the disk too.
    pub fn set(&mut self, info_hash: InfoHash, paused: bool) {
        let changed = match paused {
            true => self.hashes.insert(info_hash),
            false => self.hashes.remove(&info_hash),
        };
        if !changed {
            return;
        }
        save_wishes(&self.path, self.hashes.iter().map(ToString::to_string));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (InfoHash([0xa1; 20]), InfoHash([2; 20]));
        let mut paused = Paused::load(folder.path());
        paused.set(a, true);
        paused.set(b, true);
        paused.set(b, false);
        let again = Paused::load(folder.path());
        assert!(again.contains(&a) && !again.contains(&b));
        std::fs::write(folder.path().join("paused"), b"nonsense\n\xff").unwrap();
        assert!(!Paused::load(folder.path()).contains(&a));
    }
}
