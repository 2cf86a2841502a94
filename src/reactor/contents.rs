//! From a .torrent to content that can be served: what is there, what it is worth, and the record
//! from which it goes on.

use super::adopt::{self, Kept};
use super::arrange;
use super::faults::failed;
use super::flush::{find_stamps, stamps, FlushJob};
use super::folders::{self, Layout, Located, Place};
use super::hash::{HashQueue, Job, Kind};
use super::mmap::{Storage, Unflushed};
use super::opening::expect_place;
use super::state;
use crate::proto::peer::swarms::Progress;
use crate::proto::repeats::Repeats;
use crate::proto::store::StoreError;
use crate::proto::swarm::Start;
use crate::units::bitfield::Bitfield;
use crate::units::geometry::PieceIndex;
use crate::units::id::{PeerId, SwarmId};
use crate::units::padding::Padding;
use crate::units::time::{Duration, Instant};
use crate::wire::choice::Choice;
use crate::wire::digest::sha1;
use crate::wire::metainfo::Metainfo;
use crate::wire::resume::{FileStamp, Resume};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The content of one swarm.
#[derive(Debug)]
pub struct Content {
    /// The .torrent it came from.
    pub source: PathBuf,
    /// Its hashes and names.
    pub metainfo: Metainfo,
    /// The files wanted, where those are not all (BEP 53).
    pub choice: Option<Choice>,
    /// The pieces with something of them.
    pub wanted: Option<Bitfield>,
    /// Its files.
    pub layout: Layout,
    /// Where it stands.
    pub place: Place,
    /// How its files were when they were found good, as far as only others can have changed them since: then
    /// they must be checked again.
    stamps: Option<Vec<FileStamp>>,
    /// How those of a download were when its progress was saved last.
    last: Option<Vec<FileStamp>>,
    /// Another program has changed them: what is being saved does not hold.
    void: Arc<AtomicBool>,
    /// Nothing was there when it was opened.
    fresh: bool,
    /// Bytes that were nowhere when it was opened.
    nowhere: Padding,
    /// Its files get their room still: nothing is checked before.
    pub reserving: bool,
    /// Its files that are kept as they are, once they are being copied.
    kept: Option<Vec<Kept>>,
    /// Pieces whose check has not ended.
    pub unchecked: u32,
    /// Pieces that were found good by checking.
    pub found: u32,
    /// Wanted pieces that were not.
    lacking: u32,
    /// When the resume record was last written, or its writing begun.
    pub saved_at: Instant,
    /// The digest of the record on the disk, its stamps left out, if they hold.
    saved: Option<[u8; 20]>,
    /// It got its final name, which is perhaps not on the disk yet.
    renamed: bool,
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

/// What tells one record from another.
fn digest(record: &Resume) -> [u8; 20] {
    sha1(&record.to_bytes())
}

/// The layout that a metainfo describes, each file under its name.
#[must_use]
pub fn layout_of(metainfo: &Metainfo, choice: Option<&Choice>) -> Layout {
    let file = |(index, file): (usize, &crate::wire::metainfo::File)| folders::LayoutFile {
        path: arrange::path_of(metainfo, index),
        length: file.length,
        pad: file.pad,
        chosen: choice.is_none_or(|choice| choice.contains(index)),
    };
    Layout {
        files: metainfo.files.iter().enumerate().map(file).collect(),
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
    let layout = layout_of(metainfo, None);
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
    state::save_atomically(&places.record_path(metainfo), &record.to_bytes())
}

impl Content {
    /// Finds out what there is and opens it. `known` stands in for the record. Pieces that must be checked are queued in `hashes`
    /// by [`Content::queue_checks`] afterwards.
    ///
    /// # Errors
    /// When the disk has no room or says no otherwise.
    pub fn open(
        now: Instant,
        swarm: SwarmId,
        source: &Path,
        (metainfo, choice): (Metainfo, Option<Choice>),
        known: Option<Resume>,
        places: &Places,
        storage: &mut Storage,
    ) -> Result<(Self, Start), StoreError> {
        let mut layout = layout_of(&metainfo, choice.as_ref());
        let wanted = choice.as_ref().map(|choice| choice.pieces(&metainfo));
        let pieces = metainfo.geometry.piece_count();
        let given = known.is_some();
        let record = known.or_else(|| places.load(&metainfo));
        let Stand { place, root, fresh, before } =
            stand(&mut layout, &metainfo, record.as_ref(), places)?;
        let lengths = before.iter().map(|stamp| stamp.length);
        let nowhere = arrange::nowhere(&layout, &metainfo, lengths);
        match place {
            Place::Final | Place::Doubtful => storage.open_read(swarm, &layout, &root)?,
            Place::Part => storage.open_write(swarm, &layout, &root)?,
        }
        let trusted = record.as_ref().filter(|record| match place {
            Place::Final => record.files == before,
            Place::Part => same_files(&record.files, &before),
            Place::Doubtful => false,
        });
        if trusted.is_none() && !fresh {
            let readable = folders::expect_readable(&root, &layout);
            readable.map_err(|(path, error)| failed("read", &path, &error))?;
        }
        let have = trusted.map_or_else(|| Bitfield::new(pieces), |r| r.verified.clone());
        // Of what is complete, the record on the disk stands as it is.
        let on_disk = trusted.filter(|_| !given);
        let saved = on_disk.map(|r| digest(&Resume { files: Vec::new(), ..r.clone() }));
        let dirty = given || trusted.is_none() || place != Place::Final || !have.is_full();
        let unchecked = to_check(&metainfo, &have, fresh, &nowhere).count();
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
        let lacking = match &wanted {
            Some(wanted) => wanted.count() - have.count_with(wanted),
            None => pieces - found,
        };
        let content = Self {
            source: source.to_owned(),
            metainfo,
            choice,
            wanted,
            layout,
            place,
            stamps: (place == Place::Final).then_some(before),
            last: None,
            void: Arc::default(),
            fresh,
            nowhere,
            reserving: false,
            kept: None,
            unchecked,
            found,
            lacking,
            saved_at: now,
            saved,
            renamed: false,
            dirty,
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
        to_check(&self.metainfo, have, self.fresh, &self.nowhere)
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

    /// This piece was found good by checking.
    pub fn found(&mut self, piece: PieceIndex) {
        self.found += 1;
        if self.wanted.as_ref().is_none_or(|wanted| wanted.get(piece.get())) {
            self.lacking = self.lacking.saturating_sub(1);
        }
    }

    /// Whether checking has found all that is wanted.
    #[must_use]
    pub const fn has_found_all(&self) -> bool {
        self.lacking == 0
    }

    /// Every piece on disk was checked: puts the content where it can be completed. False where what was
    /// found good is set aside with the rest: then the torrent is to begin anew.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn settle(
        &mut self,
        swarm: SwarmId,
        have: &Bitfield,
        places: &Places,
        storage: &mut Storage,
    ) -> Result<bool, StoreError> {
        let total = self.metainfo.geometry.piece_count();
        let name = self.metainfo.name.clone();
        if self.place == Place::Part || (self.place == Place::Final && self.has_found_all()) {
            return Ok(true);
        }
        if self.found > 0 {
            if let Err(error) = expect_place(&places.shareable, &self.layout) {
                log::warn!(
                    "{name}: {} of {total} pieces are good and served, but {error}",
                    self.found
                );
                self.place = Place::Doubtful;
                return Ok(true);
            }
        }
        if (self.found == 0 && total > 0) || !folders::is_own(&places.shareable, &self.layout) {
            storage.close(swarm);
            let aside = folders::set_aside(&places.shareable, &self.layout);
            let aside =
                aside.map_err(|error| StoreError::new(format!("set aside {name}: {error}")))?;
            let aside = folders::shown(&aside);
            if self.found > 0 {
                let found = self.found;
                log::warn!("{name}: {found} of {total} pieces are good, but it is a link: what it leads to is left alone, {aside} leads there, and all is fetched");
                return Ok(false);
            }
            log::warn!("{name} is another file: it is kept as {aside}");
            self.layout = layout_of(&self.metainfo, self.choice.as_ref());
            let root = folders::part_path(&places.shareable, &self.layout);
            arrange::find(&mut self.layout, &self.metainfo, &root);
        } else {
            let Some(kept) = self.copied(swarm, have, places, storage)? else { return Ok(true) };
            storage.close(swarm);
            adopt::adopt(&places.shareable, &self.layout, &kept)
                .map_err(|e| adopt::not_adopted(&self.layout, &e))?;
            let root = folders::part_path(&places.shareable, &self.layout);
            uncover(&mut self.layout, &self.metainfo, &root)?;
            log::warn!("{name}: {} of {total} pieces are good, fetching the rest", self.found);
        }
        self.place = Place::Part;
        (self.stamps, self.saved) = (None, None);
        storage.open_write(swarm, &self.layout, &self.root(places))?;
        Ok(true)
    }

    /// The files that were copied, perhaps none; `None` where that is only now asked for.
    fn copied(
        &mut self,
        swarm: SwarmId,
        have: &Bitfield,
        places: &Places,
        storage: &mut Storage,
    ) -> Result<Option<Vec<Kept>>, StoreError> {
        if self.reserving {
            return Ok(None);
        }
        if let Some(kept) = self.kept.take() {
            return Ok(Some(kept));
        }
        let kept = adopt::prepare(&places.shareable, &self.layout, &self.metainfo, have)?;
        if kept.is_empty() {
            return Ok(Some(kept));
        }
        self.place = Place::Doubtful;
        storage.reserve_copies(swarm, &self.layout, &kept);
        self.kept = Some(kept);
        Ok(None)
    }

    /// Gives content its final name: all that is wanted of it is there, and `have` says what else.
    ///
    /// # Errors
    /// When the disk says no; the content is then still there as NAME.part.
    pub fn finish(
        &mut self,
        swarm: SwarmId,
        have: &Bitfield,
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
        let part = folders::part_path(&places.shareable, &self.layout);
        let covered = arrange::cover(&mut self.layout, &self.metainfo, &part, have);
        let renamed = covered.and_then(|()| folders::finish(&places.shareable, &self.layout));
        let root = match &renamed {
            Ok(root) => {
                log::info!("{name}: saved as {}", folders::shown(root));
                (self.place, self.renamed) = (Place::Final, true);
                root.clone()
            }
            Err(_) => self.root(places),
        };
        unflushed.iter_mut().for_each(|file| file.moved_to(&root, &self.layout));
        storage.open_read(swarm, &self.layout, &root)?;
        self.dirty = true;
        renamed.map_err(|error| StoreError::new(format!("rename {name}.part: {error}")))?;
        Ok(unflushed)
    }

    /// Whether the record on the disk says all this, so that there is nothing to save.
    #[must_use]
    pub fn says(&self, progress: &Progress, places: &Places) -> bool {
        self.saved.is_some_and(|saved| saved == digest(&self.record(progress.clone(), places)))
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
        let record = self.record(progress, places);
        self.saved = Some(digest(&record));
        FlushJob {
            swarm,
            files,
            root: self.root(places),
            layout: self.layout.clone(),
            path: places.record_path(&self.metainfo),
            record,
            stamps: self.stamps.clone(),
            last: self.last.clone(),
            void: Arc::clone(&self.void),
            place: self.place,
            renamed: core::mem::take(&mut self.renamed),
        }
    }

    /// A flush did not get as far as the record.
    pub fn not_saved(&mut self) {
        self.dirty = true;
        self.saved = None;
    }

    /// A flush has written these stamps: of complete content they hold from now on.
    pub fn stamped(&mut self, (place, stamps): &(Place, Vec<FileStamp>)) {
        if self.stamps.is_none() {
            self.last = Some(stamps.clone());
        }
        if *place == Place::Final && self.place == Place::Final {
            self.stamps.get_or_insert_with(|| stamps.clone());
        }
    }

    /// Another program has changed its files: what is known of them is saved no more. False where the stamps
    /// in the record will tell.
    pub fn disown(&self) -> bool {
        let tell = self.stamps.is_some();
        self.void.fetch_or(!tell, Ordering::SeqCst);
        !tell
    }

    /// The record as it is now; what it claims need not be on the disk yet. `None` while that is
    /// being found out.
    #[must_use]
    pub fn known(&self, progress: Progress, places: &Places) -> Option<Resume> {
        let now = || stamps(&self.root(places), &self.layout);
        let files = self.stamps.clone().unwrap_or_else(now);
        self.is_known().then(|| Resume { files, ..self.record(progress, places) })
    }

    /// The record, its stamps left out.
    fn record(&self, progress: Progress, places: &Places) -> Resume {
        Resume {
            info_hash: self.metainfo.info_hash,
            completed: progress.have.is_full(),
            verified: progress.have,
            partials: progress.partials,
            files: Vec::new(),
            uploaded: progress.uploaded,
            downloaded: progress.downloaded,
            peer_id: places.peer_id,
            contacts: progress.contacts,
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
        self.is_known() && self.place != Place::Doubtful
    }

    const fn is_known(&self) -> bool {
        self.unchecked == 0 && !self.reserving
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

/// Where a content stands when it is opened.
struct Stand {
    place: Place,
    root: PathBuf,
    /// Nothing is there.
    fresh: bool,
    /// The files as they are, for comparison with the record.
    before: Vec<FileStamp>,
}

fn stand(
    layout: &mut Layout,
    metainfo: &Metainfo,
    record: Option<&Resume>,
    places: &Places,
) -> Result<Stand, StoreError> {
    let (mut place, mut root) = match folders::locate(&places.shareable, layout) {
        Located::Complete(root) => (Place::Final, root),
        Located::Differs(root) => (Place::Doubtful, root),
        Located::Partial(root) => (Place::Part, root),
        Located::Absent => (Place::Part, folders::part_path(&places.shareable, layout)),
    };
    let fresh = place == Place::Part && !root.exists();
    arrange::find(layout, metainfo, &root);
    // For want of a descriptor nothing is taken for missing.
    let found = if fresh { Ok(Vec::new()) } else { find_stamps(&root, layout) };
    let before = found.map_err(|error| failed("look at", &root, &error))?;
    // More files are chosen than were: what is there is as we left it, and goes on.
    let as_left = |r: &Resume| !r.verified.is_empty() && r.files == before;
    if let Some(r) = record.filter(|r| place == Place::Doubtful && as_left(r)) {
        let is_whole = |index| arrange::is_whole(metainfo, index, &r.verified);
        let kept = adopt::kept_files(&places.shareable, layout, is_whole);
        if kept.is_ok_and(|kept| kept.is_empty()) {
            if let Ok(part) = adopt::adopt(&places.shareable, layout, &[]) {
                (place, root) = (Place::Part, part);
            }
        }
    }
    if place == Place::Part && !fresh {
        uncover(layout, metainfo, &root)?;
    }
    Ok(Stand { place, root, fresh, before })
}

fn uncover(layout: &mut Layout, metainfo: &Metainfo, root: &Path) -> Result<(), StoreError> {
    let uncovered = arrange::uncover(layout, metainfo, root);
    uncovered
        .map_err(|error| StoreError::new(format!("rename in {}: {error}", folders::shown(root))))
}

/// The pieces that may be there beside those of `have`. Of `fresh` content only padding is there.
fn to_check<'a>(
    metainfo: &'a Metainfo,
    have: &'a Bitfield,
    fresh: bool,
    nowhere: &'a Padding,
) -> impl Iterator<Item = PieceIndex> + 'a {
    let (geometry, padding) = (metainfo.geometry, metainfo.padding());
    geometry.pieces().filter(move |&piece| {
        let offset = geometry.piece_offset(piece);
        let bytes = offset..offset + u64::from(geometry.piece_size(piece));
        let there = if fresh { padding.covers(&bytes) } else { !nowhere.touches(&bytes) };
        there && !have.get(piece.get())
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
