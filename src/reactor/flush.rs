//! What the flush helper does: what was received is on the disk before the record says so, and the record says
//! nothing of files that are not those that were written.

use super::folders::{self, Layout, Place};
use super::mmap::Unflushed;
use super::state::save_atomically;
use crate::units::id::SwarmId;
use crate::wire::resume::{FileStamp, Resume};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A flush, and the record to write once what it claims is on the disk.
pub struct FlushJob {
    pub(super) swarm: SwarmId,
    /// What is to be flushed.
    pub files: Vec<Unflushed>,
    pub(super) root: PathBuf,
    pub(super) layout: Layout,
    pub(super) record: Resume,
    pub(super) path: PathBuf,
    pub(super) stamps: Option<Vec<FileStamp>>,
    pub(super) last: Option<Vec<FileStamp>>,
    pub(super) void: Arc<AtomicBool>,
    pub(super) place: Place,
    /// The content has its final name since the last one.
    pub(super) renamed: bool,
}

/// A flush that has ended.
pub struct Flushed {
    /// Whose content.
    pub swarm: SwarmId,
    /// What was to be flushed.
    pub files: Vec<Unflushed>,
    /// Why the record was not written.
    pub error: Option<String>,
    /// It is because a file is not the one that was written: nothing of what is known holds.
    pub replaced: bool,
    /// The stamps in the record, and where the files stood.
    pub stamps: (Place, Vec<FileStamp>),
}

/// The work of the flush helper: data first, then the record that claims it.
#[must_use]
pub fn flush(mut job: FlushJob) -> Flushed {
    let mut replaced = false;
    let mut save = || {
        job.files.iter().try_for_each(Unflushed::sync_data)?;
        if job.renamed {
            folders::make_last(&job.root);
        }
        let is_download = job.stamps.is_none();
        job.record.files = match job.stamps.take() {
            Some(stamps) => stamps,
            None => find_stamps(&job.root, &job.layout)?,
        };
        // Asked last: of files that were there until now the stamps are right.
        let altered = || is_altered(&job.layout, job.last.as_deref(), &job.record.files);
        replaced = !job.files.iter().all(Unflushed::is_in_place)
            || (is_download && altered())
            || job.void.load(Ordering::SeqCst);
        if replaced {
            return Err(io::Error::other(
                "a file was cut short, removed or replaced by another program",
            ));
        }
        save_atomically(&job.path, &job.record.to_bytes())
    };
    let error = save().err().map(|error| error.to_string());
    let stamps = (job.place, job.record.files);
    Flushed { swarm: job.swarm, files: job.files, error, replaced, stamps }
}

/// The files as they are, for the record.
pub(super) fn stamps(root: &Path, layout: &Layout) -> Vec<FileStamp> {
    of_record(folders::stamps(root, layout))
}

/// The same, if that can be found out of all of them.
pub(super) fn find_stamps(root: &Path, layout: &Layout) -> io::Result<Vec<FileStamp>> {
    folders::find_all(root, layout).map(of_record)
}

fn of_record(stamps: Vec<folders::Stamp>) -> Vec<FileStamp> {
    let stamp = |(length, mtime_ns, inode): folders::Stamp| FileStamp {
        length,
        mtime_ns: i64::try_from(mtime_ns).unwrap_or(i64::MAX),
        inode,
    };
    stamps.into_iter().map(stamp).collect()
}

/// Whether these files are others than those that were there `before`, or have not their lengths. One that
/// is not there has zeros. Some file systems give a file a new inode now and then, so that alone does not count.
pub(super) fn is_altered(layout: &Layout, before: Option<&[FileStamp]>, now: &[FileStamp]) -> bool {
    layout.stored().zip(now).enumerate().any(|(n, (file, now))| {
        let cut = file.chosen && now.inode != 0 && now.length != file.length;
        let before = before.and_then(|before| before.get(n)).filter(|before| before.inode != 0);
        let same_time =
            |before: &FileStamp| before.mtime_ns == now.mtime_ns && before.length == now.length;
        cut || before.is_some_and(|before| before.inode != now.inode && !same_time(before))
    })
}

#[cfg(test)]
mod tests {
    use super::super::folders::tests::layout;
    use super::*;

    #[test]
    fn files_that_are_not_those_that_were_there() {
        let layout = layout(&[("a", 10), ("b", 20)], 16);
        let stamp = |length, mtime_ns, inode| FileStamp { length, mtime_ns, inode };
        let before = [stamp(10, 5, 1), stamp(0, 0, 0)];
        let altered = |now: [FileStamp; 2]| is_altered(&layout, Some(&before), &now);
        assert!(!altered(before));
        assert!(!altered([stamp(10, 6, 1), stamp(20, 6, 2)]), "written, and created");
        assert!(!altered([stamp(10, 5, 7), stamp(0, 0, 0)]), "a new number");
        assert!(altered([stamp(10, 6, 7), stamp(0, 0, 0)]), "replaced");
        assert!(altered([stamp(0, 0, 0), stamp(0, 0, 0)]), "removed");
        assert!(altered([stamp(9, 6, 1), stamp(0, 0, 0)]), "cut short");
        assert!(is_altered(&layout, None, &[stamp(9, 6, 1), stamp(0, 0, 0)]));
        assert!(!is_altered(&layout, None, &before));
    }
}
