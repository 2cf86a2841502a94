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

/// Whether so much fits beside `root`.
///
/// # Errors
/// With both figures, when it does not.
pub(super) fn expect_room(root: &Path, needed: u64) -> Result<(), StoreError> {
    let folder = root.parent().filter(|folder| !folder.as_os_str().is_empty());
    let free = folders::free_bytes(folder.unwrap_or(Path::new(".")));
    match free {
        Ok(free) if free < needed => Err(no_room(root, needed, free)),
        Ok(_) => Ok(()),
        Err(error) => Err(failed("find the folder of", root, &error)),
    }
}

/// What does not fit, and what would.
pub(super) fn no_room(path: &Path, needed: u64, free: u64) -> StoreError {
    let (path, needed, free) = (folders::shown(path), in_words(needed), in_words(free));
    StoreError::new(format!("not enough space for {path}: {needed} are needed, {free} are free"))
}

/// So many bytes, to people.
pub(super) fn in_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(4);
    if unit == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit as usize])
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

    #[test]
    fn bytes_in_words() {
        assert_eq!(in_words(1023), "1023 bytes");
        assert_eq!(in_words(1_600_000), "1.5 MiB");
    }
}
