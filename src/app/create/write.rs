//! Files that appear whole or not at all: written beside, flushed, then given their name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file that must not be there yet.
pub(super) fn new_file(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = Beside::write(target, bytes)?;
    // A link, unlike a rename, never takes the place of another file.
    match fs::hard_link(&beside.0, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // No links on this file system.
        Err(_) if target.symlink_metadata().is_err() => fs::rename(&beside.0, target)?,
        Err(error) => return Err(error),
        Ok(()) => {}
    }
    sync_folder(target);
    Ok(())
}

/// Puts other contents in the place of a file, with the permissions it had.
pub(super) fn replace(target: &Path, bytes: &[u8]) -> io::Result<()> {
    // Of a symbolic link, the file it leads to.
    let target = fs::canonicalize(target)?;
    let permissions = fs::metadata(&target)?.permissions();
    if permissions.readonly() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let beside = Beside::write(&target, bytes)?;
    fs::set_permissions(&beside.0, permissions)?;
    fs::rename(&beside.0, &target)?;
    sync_folder(&target);
    Ok(())
}

/// A file beside another one, gone when it is dropped unless it was renamed.
struct Beside(PathBuf);

impl Beside {
    fn write(target: &Path, bytes: &[u8]) -> io::Result<Self> {
        // Not made from the target's name, which may have no byte to spare.
        let path = target.with_file_name(format!(".reactor-peer.{}.new", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let beside = Self(path);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// The new name outlives a power cut. Best effort: not every file system can.
fn sync_folder(target: &Path) {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
}
