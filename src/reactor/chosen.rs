//! Which files of a torrent the user has chosen, where those are not all: a file in the state
//! folder, one info-hash and its list a line, so that a choice survives a restart.

use super::state::save_wishes;
use crate::units::id::InfoHash;
use crate::wire::choice::Choice;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The choices.
#[derive(Debug)]
pub struct Chosen {
    path: PathBuf,
    choices: BTreeMap<InfoHash, Choice>,
}

impl Chosen {
    /// What the last run has left in this folder. Lines that make no sense are passed over.
    #[must_use]
    pub fn load(state: &Path) -> Self {
        let path = state.join("chosen");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let choice = |line: &str| {
            let (hash, list) = line.split_once(' ')?;
            Some((InfoHash::from_hex(hash)?, Choice::parse(list).ok()?))
        };
        let mut choices = BTreeMap::new();
        choices.extend(text.lines().filter_map(choice));
        Self { path, choices }
    }

    /// The files chosen of that torrent; `None`: all.
    #[must_use]
    pub fn of(&self, info_hash: &InfoHash) -> Option<&Choice> {
        self.choices.get(info_hash)
    }

    /// Notes it, on the disk too.
    pub fn set(&mut self, info_hash: InfoHash, choice: Option<Choice>) {
        let before = match choice.clone() {
            Some(choice) => self.choices.insert(info_hash, choice),
            None => self.choices.remove(&info_hash),
        };
        if before == choice {
            return;
        }
        save_wishes(
            &self.path,
            self.choices.iter().map(|(hash, choice)| format!("{hash} {choice}")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (InfoHash([0xa1; 20]), InfoHash([2; 20]));
        let mut chosen = Chosen::load(folder.path());
        chosen.set(a, Choice::parse("0,4-7").ok());
        chosen.set(b, Choice::parse("1").ok());
        chosen.set(b, None);
        let again = Chosen::load(folder.path());
        assert_eq!(again.of(&a).unwrap().to_string(), "0,4-7");
        assert_eq!(again.of(&b), None);
        let text = format!("{a}\n{a} x\nnonsense 1\n{b} 3\n");
        std::fs::write(folder.path().join("chosen"), text).unwrap();
        let again = Chosen::load(folder.path());
        assert_eq!(again.of(&a), None);
        assert!(again.of(&b).is_some());
    }
}
