//! The state folder: one process has it, and what is saved there is saved whole.

use super::folders::shown;
use crate::units::id::PeerId;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Saves a list of what the user wishes, an entry a line. A list that cannot be saved is told of.
pub(super) fn save_wishes(path: &Path, lines: impl Iterator<Item = String>) {
    let text: String = lines.map(|line| line + "\n").collect();
    if let Err(error) = save_atomically(path, text.as_bytes()) {
        log::warn!("{}: {error}; it will not be known after a restart", shown(path));
    }
}

/// Replaces the file by one with these bytes, so that a reader, or a start after a crash, finds
/// either the old or the new bytes whole.
///
/// # Errors
/// As the file system says; the old file is then as it was.
pub fn save_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // One fixed name, so that what a crash left behind is overwritten by the next attempt.
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".new");
    let beside = folder.join(beside);
    let written = (|| {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let mut options = File::options();
        options.write(true).create(true).truncate(true).custom_flags(flags);
        let mut file = options.open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // The error to tell is the first one.
        let _ = fs::remove_file(&beside);
        return written;
    }
    File::open(folder)?.sync_all()
}

/// Held as long as this process uses the state folder.
#[derive(Debug)]
pub struct StateLock {
    /// The lock goes with the descriptor, also when the process is killed.
    _file: File,
}

/// Claims the state folder, which is created if need be, for this process.
///
/// # Errors
/// A sentence for the person, when another process has it or the folder cannot be used.
pub fn lock_state(folder: &Path) -> Result<StateLock, String> {
    let shown_folder = shown(folder);
    let sentence =
        |error: io::Error| format!("cannot use the state folder {shown_folder}: {error}");
    fs::create_dir_all(folder).map_err(sentence)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(folder.join("lock")).map_err(sentence)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Only for the sentence below: without it the lock holds as well.
            let id = std::process::id().to_string();
            let _ = file.set_len(0).and_then(|()| file.write_all(id.as_bytes()));
        }
        Err(Errno::WOULDBLOCK) => {
            let mut id = String::new();
            let _ = file.take(20).read_to_string(&mut id);
            let id: String = id.chars().filter(char::is_ascii_digit).collect();
            return Err(format!(
                "another reactor-peer (process {id}) uses the state folder {shown_folder}: stop \
                 it, or give this one a folder of its own with --state"
            ));
        }
        Err(error) => log::warn!("cannot lock the state folder {shown_folder}: {error}"),
    }
    Ok(StateLock { _file: file })
}

/// The file that keeps our name from one run to the next.
#[must_use]
pub fn peer_id_path(state: &Path) -> PathBuf {
    state.join("peer-id")
}

/// Notes our name in that file.
pub fn keep_peer_id(file: &Path, id: PeerId) {
    if let Err(error) = save_atomically(file, &id.0) {
        log::warn!("{}: {error}", shown(file));
    }
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::{names, put};
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn save_replaces_and_leaves_nothing_beside() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("record");
        put(&folder, ".record.new", b"left by a crash, and longer");
        for bytes in [&b"one"[..], b"two", b""] {
            save_atomically(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(names(&folder), ["record"]);
        }
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(save_atomically(&taken, b"x").is_err());
        assert_eq!(names(&folder), ["record", "taken"]);
    }

    #[test]
    fn the_second_on_one_state_folder_is_told() {
        let folder = TempDir::new().unwrap();
        let state = folder.path().join("a/b");
        let lock = lock_state(&state).unwrap();
        let sentence = lock_state(&state).unwrap_err();
        assert!(sentence.contains(&format!("process {}", std::process::id())), "{sentence}");
        drop(lock);
        assert!(lock_state(&state).is_ok());
    }
}
