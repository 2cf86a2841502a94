//! From a .torrent to content that can be served: what is there, what it is worth, and the record
//! from which it goes on.

use super::folders::{self, Layout, Located};
use super::hash::{HashQueue, Job, Kind};
use super::mmap::{Storage, Unflushed};
use crate::proto::peer::swarms::Progress;
use crate::proto::repeats::Repeats;
use crate::proto::store::StoreError;
use crate::proto::swarm::Start;
use crate::units::bitfield::Bitfield;
use crate::units::geometry::PieceIndex;
use crate::units::id::{PeerId, SwarmId};
use crate::units::time::{Duration, Instant};
use crate::wire::metainfo::Metainfo;
use crate::wire::resume::{FileStamp, Resume};
use std::path::{Path, PathBuf};

/// Where a content stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Under its final name, complete as far as we know.
    Final,
    /// Under its final name, but perhaps not what the torrent means.
    Doubtful,
    /// As NAME.part.
    Part,
}

/// The content of one swarm.
#[derive(Debug)]
pub struct Content {
    /// The .torrent it came from.
    pub source: PathBuf,
    /// Its hashes and names.
    pub metainfo: Metainfo,
    /// Its files.
    pub layout: Layout,
    /// Where it stands.
    pub place: Place,
    /// Nothing was there when it was opened.
    fresh: bool,
    /// Pieces whose check has not ended.
    pub unchecked: u32,
    /// Pieces that were found good by checking.
    pub found: u32,
    /// When the resume record was last written, or its writing begun.
    pub saved_at: Instant,
    /// Something has changed since.
    pub dirty: bool,
    /// A flush is under way.
    pub flushing: bool,
    /// The last flush has failed; there will be another.
    pub flush_failed: bool,
    /// Failures of flushes that were told.
    pub flush_told: Repeats,
}

/// Where contents and records are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder of contents.
    pub shareable: PathBuf,
    /// The folder of records.
    pub state: PathBuf,
    /// Our name, for the records.
    pub peer_id: PeerId,
}

/// A flush, and the record to write once what it claims is on the disk.
pub struct FlushJob {
    swarm: SwarmId,
    files: Vec<Unflushed>,
    root: PathBuf,
    layout: Layout,
    record: Resume,
    path: PathBuf,
}

/// A flush that has ended.
pub struct Flushed {
    /// Whose content.
    pub swarm: SwarmId,
    /// What was to be flushed.
    pub files: Vec<Unflushed>,
    /// Why the record was not written.
    pub error: Option<String>,
}

/// The work of the flush helper: data first, then the record that claims it.
#[must_use]
pub fn flush(mut job: FlushJob) -> Flushed {
    let mut save = || {
        job.files.iter().try_for_each(Unflushed::sync_data)?;
        job.record.files = stamps(&job.root, &job.layout);
        folders::save_atomically(&job.path, &job.record.to_bytes())
    };
    let error = save().err().map(|error| error.to_string());
    Flushed { swarm: job.swarm, files: job.files, error }
}

fn stamps(root: &Path, layout: &Layout) -> Vec<FileStamp> {
    let stamp = |(length, mtime_ns, inode): (u64, u64, u64)| FileStamp {
        length,
        mtime_ns: i64::try_from(mtime_ns).unwrap_or(i64::MAX),
        inode,
    };
    folders::stamps(root, layout).into_iter().map(stamp).collect()
}

/// The layout that a metainfo describes.
#[must_use]
pub fn layout_of(metainfo: &Metainfo) -> Layout {
    let file = |file: &crate::wire::metainfo::File| folders::LayoutFile {
        path: if metainfo.multi_file { file.path.iter().collect() } else { PathBuf::new() },
        length: file.length,
        pad: file.pad,
    };
    Layout {
        files: metainfo.files.iter().map(file).collect(),
        geometry: metainfo.geometry,
        name: metainfo.name.clone(),
        multi_file: metainfo.multi_file,
    }
}

impl Places {
    fn record_path(&self, metainfo: &Metainfo) -> PathBuf {
        self.state.join(format!("{}.resume", metainfo.info_hash))
    }

    /// The record of an earlier run. A damaged one costs a check, never data.
    fn load(&self, metainfo: &Metainfo) -> Option<Resume> {
        let path = self.record_path(metainfo);
        let bytes = std::fs::read(&path).ok()?;
        let record = Resume::parse(&bytes, &metainfo.geometry)
            .inspect_err(|error| log::warn!("{}: {error}; checking again", folders::shown(&path)));
        record.ok().filter(|record| record.info_hash == metainfo.info_hash)
    }
}

/// Notes that the content of this torrent, which was hashed just now, is complete: the next
/// start need not check it.
///
/// # Errors
/// As the file system says.
pub fn note_complete(places: &Places, metainfo: &Metainfo) -> std::io::Result<()> {
    let layout = layout_of(metainfo);
    let root = folders::final_path(&places.shareable, &layout);
    let record = Resume {
        info_hash: metainfo.info_hash,
        verified: Bitfield::full(metainfo.geometry.piece_count()),
        partials: Vec::new(),
        files: stamps(&root, &layout),
        uploaded: 0,
        downloaded: 0,
        completed: true,
        peer_id: places.peer_id,
        contacts: Vec::new(),
    };
    folders::save_atomically(&places.record_path(metainfo), &record.to_bytes())
}

impl Content {
    /// Finds out what there is and opens it. Pieces that must be checked are queued in `hashes`
    /// by [`Content::queue_checks`] afterwards.
    ///
    /// # Errors
    /// When the disk has no room or says no otherwise.
    pub fn open(
        now: Instant,
        swarm: SwarmId,
        source: &Path,
        metainfo: Metainfo,
        places: &Places,
        storage: &mut Storage,
    ) -> Result<(Self, Start), StoreError> {
        let layout = layout_of(&metainfo);
        let pieces = metainfo.geometry.piece_count();
        let record = places.load(&metainfo);
        let (place, root) = match folders::locate(&places.shareable, &layout) {
            Located::Complete(root) => (Place::Final, root),
            Located::Differs(root) => (Place::Doubtful, root),
            Located::Partial(root) => (Place::Part, root),
            Located::Absent => (Place::Part, folders::part_path(&places.shareable, &layout)),
        };
        let fresh = place == Place::Part && !root.exists();
        let before = if fresh { Vec::new() } else { stamps(&root, &layout) };
        match place {
            Place::Final | Place::Doubtful => storage.open_read(swarm, &layout, &root)?,
            Place::Part => storage.open_write(swarm, &layout, &root)?,
        }
        let trusted = record.as_ref().filter(|record| match place {
            Place::Final => record.files == before,
            Place::Part => same_files(&record.files, &before),
            Place::Doubtful => false,
        });
        let have = trusted.map_or_else(|| Bitfield::new(pieces), |r| r.verified.clone());
        let unchecked = to_check(&metainfo, &have, fresh).count();
        let unchecked = u32::try_from(unchecked).expect("no more than all pieces");
        let start = Start {
            partials: trusted.map(|r| r.partials.clone()).unwrap_or_default(),
            uploaded: record.as_ref().map_or(0, |r| r.uploaded),
            downloaded: record.as_ref().map_or(0, |r| r.downloaded),
            contacts: record.map(|r| r.contacts).unwrap_or_default(),
            checking: true,
            have: have.clone(),
        };
        let found = have.count();
        let content = Self {
            source: source.to_owned(),
            metainfo,
            layout,
            place,
            fresh,
            unchecked,
            found,
            saved_at: now,
            dirty: true,
            flushing: false,
            flush_failed: false,
            flush_told: Repeats::default(),
        };
        Ok((content, start))
    }

    /// Queues every piece that is not in `have`.
    pub fn queue_checks(
        &self,
        now: Instant,
        swarm: SwarmId,
        have: &Bitfield,
        hashes: &mut HashQueue,
    ) {
        to_check(&self.metainfo, have, self.fresh)
            .for_each(|piece| hashes.push(now, self.job(swarm, piece, Kind::Check)));
    }

    /// What to hash for this piece.
    #[must_use]
    pub fn job(&self, swarm: SwarmId, piece: PieceIndex, kind: Kind) -> Job {
        let geometry = &self.metainfo.geometry;
        Job {
            swarm,
            piece,
            offset: geometry.piece_offset(piece),
            len: geometry.piece_size(piece),
            expected: self.metainfo.piece_hash(piece),
            kind,
        }
    }

    /// Every piece on disk was checked: puts the content where it can be completed.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn settle(
        &mut self,
        swarm: SwarmId,
        places: &Places,
        storage: &mut Storage,
    ) -> Result<(), StoreError> {
        let total = self.metainfo.geometry.piece_count();
        let name = self.metainfo.name.clone();
        if self.place == Place::Part || (self.place == Place::Final && self.found == total) {
            return Ok(());
        }
        if self.found == 0 && total > 0 {
            storage.close(swarm);
            let aside = folders::set_aside(&places.shareable, &self.layout);
            let aside =
                aside.map_err(|error| StoreError::new(format!("set aside {name}: {error}")))?;
            log::warn!("{name} is another file: it is kept as {}", folders::shown(&aside));
        } else {
            storage.close(swarm);
            folders::adopt(&places.shareable, &self.layout)
                .map_err(|error| StoreError::new(format!("adopt {name}: {error}")))?;
            log::warn!("{name}: {} of {total} pieces are good, fetching the rest", self.found);
        }
        self.place = Place::Part;
        storage.open_write(swarm, &self.layout, &self.root(places))
    }

    /// Gives complete content its final name.
    ///
    /// # Errors
    /// When the disk says no; the content is then still there as NAME.part.
    pub fn finish(
        &mut self,
        swarm: SwarmId,
        places: &Places,
        storage: &mut Storage,
    ) -> Result<Vec<Unflushed>, StoreError> {
        if self.place != Place::Part {
            return Ok(Vec::new());
        }
        storage.make_all(swarm)?;
        let mut unflushed = storage.files(swarm);
        storage.close(swarm);
        let name = &self.metainfo.name;
        let renamed = folders::finish(&places.shareable, &self.layout);
        let root = match &renamed {
            Ok(root) => {
                log::info!("{name}: saved as {}", folders::shown(root));
                self.place = Place::Final;
                root.clone()
            }
            Err(_) => self.root(places),
        };
        unflushed.iter_mut().for_each(|file| file.moved_to(&root));
        storage.open_read(swarm, &self.layout, &root)?;
        self.dirty = true;
        renamed.map_err(|error| StoreError::new(format!("rename {name}.part: {error}")))?;
        Ok(unflushed)
    }

    /// A flush of all that was written, with the record of what is then known to be durable.
    #[must_use]
    pub fn flush_job(
        &mut self,
        now: Instant,
        swarm: SwarmId,
        files: Vec<Unflushed>,
        progress: Progress,
        places: &Places,
    ) -> FlushJob {
        self.saved_at = now;
        self.dirty = false;
        self.flushing = true;
        let completed = progress.have.is_full();
        FlushJob {
            swarm,
            files,
            root: self.root(places),
            layout: self.layout.clone(),
            path: places.record_path(&self.metainfo),
            record: Resume {
                info_hash: self.metainfo.info_hash,
                verified: progress.have,
                partials: progress.partials,
                files: Vec::new(),
                uploaded: progress.uploaded,
                downloaded: progress.downloaded,
                completed,
                peer_id: places.peer_id,
                contacts: progress.contacts,
            },
        }
    }

    /// When its progress is to be saved next, if it has `changed`: `pause` after the last time. What is being
    /// checked has none yet.
    #[must_use]
    pub fn save_at(&self, pause: Duration, changed: bool) -> Option<Instant> {
        let ripe = changed && !self.flushing && self.is_settled();
        ripe.then(|| self.saved_at + pause)
    }

    /// Whether it is known what is there, and it stands where it belongs.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unchecked == 0 && self.place != Place::Doubtful
    }

    /// Where the content is now.
    #[must_use]
    pub fn root(&self, places: &Places) -> PathBuf {
        match self.place {
            Place::Part => folders::part_path(&places.shareable, &self.layout),
            Place::Final | Place::Doubtful => folders::final_path(&places.shareable, &self.layout),
        }
    }
}

/// The pieces that may be there beside those of `have`. Of `fresh` content only padding is there.
fn to_check<'a>(
    metainfo: &'a Metainfo,
    have: &'a Bitfield,
    fresh: bool,
) -> impl Iterator<Item = PieceIndex> + 'a {
    let (geometry, padding) = (metainfo.geometry, metainfo.padding());
    geometry.pieces().filter(move |&piece| {
        let offset = geometry.piece_offset(piece);
        let bytes = offset..offset + u64::from(geometry.piece_size(piece));
        !have.get(piece.get()) && (!fresh || padding.covers(&bytes))
    })
}

/// A NAME.part is ours alone; only its time may have moved on after a crash, and files may have
/// been created that were not there yet.
fn same_files(recorded: &[FileStamp], found: &[FileStamp]) -> bool {
    let absent = FileStamp { length: 0, mtime_ns: 0, inode: 0 };
    let same = |(a, b): (&FileStamp, &FileStamp)| {
        *a == absent || (a.length == b.length && a.inode == b.inode)
    };
    recorded.len() == found.len() && recorded.iter().zip(found).all(same)
}
