//! What goes wrong with the files of a content, in words: one line that says the mend where there is one.

use super::folders;
use crate::proto::store::StoreError;
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// The disk did not do it. No symbolic link below the root of a content is followed.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let path = folders::shown(path);
    match Errno::from_io_error(error) {
        Some(Errno::LOOP) => StoreError::new(format!(
            "cannot {what} {path}: it is a symbolic link, which could lead anywhere; remove it"
        )),
        _ => StoreError::new(format!("cannot {what} {path}: {error}")),
    }
}

/// No content of that number is open: our own mistake.
pub(super) fn not_open() -> StoreError {
    StoreError::new("the content is not open".to_owned())
}

/// Complete content is never written to; this is what was found in a place where we may not write.
pub(super) fn read_only(root: &Path) -> StoreError {
    let root = folders::shown(root);
    StoreError::new(format!("{root} is only read: make it and its folder writable")).that_passes()
}

/// A full disk, a quota that is used up and a disk that fails or was made read-only may all be mended while we run.
pub(super) fn not_written(path: &Path, error: &io::Error) -> StoreError {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC) => StoreError::new(format!(
            "the disk is full: no space for {}; remove files there",
            folders::shown(path)
        ))
        .that_passes(),
        Some(Errno::DQUOT) => StoreError::new(format!(
            "the disk quota is used up: no space for {}; remove files, or have it raised",
            folders::shown(path)
        ))
        .that_passes(),
        Some(Errno::IO | Errno::ROFS) => failed("write", path, error).that_passes(),
        _ => failed("write", path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_mended_passes() {
        let quota = not_written(Path::new("a"), &Errno::DQUOT.into());
        assert!(quota.passes() && quota.to_string().contains("quota"), "{quota}");
        assert!(not_written(Path::new("a"), &Errno::IO.into()).passes());
        assert!(not_written(Path::new("a"), &Errno::ROFS.into()).passes());
        assert!(!not_written(Path::new("a"), &Errno::FBIG.into()).passes());
    }
}
