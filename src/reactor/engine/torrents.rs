//! The torrents at work: they come and go with the folder, their pieces are hashed in slices,
//! their content gets its final name, their progress is saved.

use super::magnets::{is_magnet_file, torrent_of};
use super::refused::Refused;
use super::{Reactor, FLUSH_PAUSE, SCAN_PAUSE, SETTLE_PAUSE};
use crate::proto::store::{Store, StoreError};
use crate::reactor::contents::Content;
use crate::reactor::flush::{FlushJob, Flushed};
use crate::reactor::folders::{self, Place};
use crate::reactor::hash::{Done, Kind, HASH_SLICE_BYTES};
use crate::reactor::helper::PENDING_MAX;
use crate::reactor::opening::expect_place;
use crate::reactor::watch::Change;
use crate::units::geometry::{Block, PieceIndex};
use crate::units::id::SwarmId;
use crate::units::time::{Duration, Instant};
use crate::wire::metainfo::Metainfo;
use crate::wire::resume::Resume;
use std::path::{Path, PathBuf};

/// Bytes hashed between two looks at the clock.
const HASH_STEP_BYTES: usize = 768 * 1024;
/// After so long no more is hashed in this turn.
const HASH_WITHIN: Duration = Duration::from_millis(1);

impl Reactor {
    /// Joins the swarm of a torrent.
    ///
    /// # Errors
    /// Why not, when the torrent is bad or its content cannot be opened.
    pub fn add_torrent(&mut self, source: &Path, bytes: &[u8]) -> Result<SwarmId, Refused> {
        let metainfo = Metainfo::parse(bytes).map_err(|error| Refused::Bad(error.to_string()))?;
        self.take_in(source, metainfo, None)
    }

    /// The same of what was read. Of one that was here just now this is `known`.
    pub(super) fn take_in(
        &mut self,
        source: &Path,
        metainfo: Metainfo,
        known: Option<Resume>,
    ) -> Result<SwarmId, Refused> {
        let now = self.clock.now();
        let twin = self.contents.values().find(|c| c.metainfo.info_hash == metainfo.info_hash);
        if let Some(twin) = twin {
            let twin = folders::shown(&twin.source);
            return Err(Refused::Twin(format!("the same torrent as {twin}")));
        }
        if let Some(other) = self.contents.values().find(|c| c.metainfo.name == metainfo.name) {
            let other = folders::shown(&other.source);
            let why = format!("its content has the same name as that of {other}");
            return Err(Refused::Name(why));
        }
        self.check_choice(&metainfo).map_err(Refused::Bad)?;
        // The torrent of a magnet link that is being fetched: its swarm goes on.
        let info_hash = metainfo.info_hash;
        let waiting = self.peer.swarm_of(&info_hash).filter(|id| self.magnets.contains_key(id));
        let id = waiting.unwrap_or_else(|| self.peer.next_swarm_id());
        let torrent = torrent_of(&metainfo);
        let choice = self.choice_for(&metainfo);
        let (places, storage) = (&self.options.places, &mut self.storage);
        let opened = Content::open(now, id, source, (metainfo, choice), known, places, storage);
        let (content, start) = opened.map_err(|error| {
            self.storage.close(id);
            Refused::Disk(error.to_string())
        })?;
        let wanted = content.wanted.clone();
        let nodes =
            if content.metainfo.private { Vec::new() } else { content.metainfo.nodes.clone() };
        self.contents.insert(id, content);
        if waiting.is_some() {
            self.forget_magnet(id);
            self.peer.handle_metadata(now, id, torrent, start);
        } else {
            let added = self.peer.add_swarm(now, torrent, start);
            debug_assert_eq!(added, Some(id));
        }
        wanted.into_iter().for_each(|wanted| self.peer.want_only(id, wanted));
        nodes.iter().for_each(|node| self.add_torrent_node(node));
        if self.paused.contains(&info_hash) {
            self.peer.pause(now, id);
        }
        if !self.reserve(id) {
            self.check(id);
        }
        self.drain();
        Ok(id)
    }

    pub(super) fn verify(&mut self, swarm: SwarmId, piece: PieceIndex) {
        if let Some(content) = self.contents.get(&swarm) {
            self.hashes.push(self.clock.now(), content.job(swarm, piece, Kind::Verify));
        }
    }

    /// Does the disk take this block again?
    pub(super) fn try_write(&mut self, now: Instant, swarm: SwarmId, block: Block) {
        let Some(content) = self.contents.get_mut(&swarm) else { return };
        if content.place == Place::Doubtful {
            let places = &self.options.places;
            let Some(progress) = self.peer.progress(swarm) else { return };
            let writable = expect_place(&places.shareable, &content.layout);
            let settle = |()| content.settle(swarm, &progress.have, places, &mut self.storage);
            match writable.and_then(settle) {
                Ok(true) => {}
                Ok(false) => return self.begin_again(now, swarm),
                Err(error) => return self.peer.handle_tried(now, swarm, Err(error)),
            }
        }
        if self.reserve(swarm) {
            let waits = StoreError::new("its space is being reserved").that_passes();
            return self.peer.handle_tried(now, swarm, Err(waits));
        }
        let Some(content) = self.contents.get(&swarm) else { return };
        let offset = content.metainfo.geometry.block_offset(block);
        let zeros = vec![0; block.length as usize];
        let outcome = self.storage.write(swarm, offset, &zeros);
        self.peer.handle_tried(now, swarm, outcome);
    }

    /// Hashes for one slice of time.
    pub(super) fn hash(&mut self) {
        let until = self.clock.now() + HASH_WITHIN;
        for _ in 0..HASH_SLICE_BYTES / HASH_STEP_BYTES {
            let now = self.clock.now();
            if now >= until || self.hashes.poll_timeout().is_none_or(|at| at > now) {
                return;
            }
            for done in self.hashes.run(now, &mut self.storage, HASH_STEP_BYTES) {
                self.hashed(done);
                self.drain();
            }
        }
    }

    fn hashed(&mut self, done: Done) {
        let now = self.clock.now();
        let swarm = done.job.swarm;
        match (done.job.kind, done.outcome) {
            (Kind::Verify, Ok(good)) => {
                let storage = &mut self.storage;
                self.peer.handle_verified(now, swarm, done.job.piece, good, storage);
            }
            (Kind::Verify, Err(error)) => self.peer.handle_store_error(now, swarm, &error),
            // A file that cannot be read has no good pieces.
            (Kind::Check, outcome) => {
                self.check_done(swarm, done.job.piece, outcome == Ok(true));
            }
        }
    }

    pub(super) fn check_done(&mut self, swarm: SwarmId, piece: PieceIndex, good: bool) {
        let now = self.clock.now();
        let Some(content) = self.contents.get_mut(&swarm) else { return };
        content.unchecked = content.unchecked.saturating_sub(1);
        let last = content.unchecked == 0;
        if good {
            content.found(piece);
            let job = content.job(swarm, piece, Kind::Check);
            self.storage.flush_too(swarm, job.offset, job.len);
            self.peer.handle_checked(now, swarm, piece);
        }
        if last {
            self.checked(swarm);
        }
    }

    /// It is clear what there is: the swarm starts.
    pub(super) fn checked(&mut self, swarm: SwarmId) {
        let now = self.clock.now();
        let Some(content) = self.contents.get_mut(&swarm) else { return };
        let Some(progress) = self.peer.progress(swarm) else { return };
        match content.settle(swarm, &progress.have, &self.options.places, &mut self.storage) {
            Ok(true) => {}
            Ok(false) => return self.begin_again(now, swarm),
            Err(error) => return self.peer.handle_store_error(now, swarm, &error),
        }
        if self.reserve(swarm) {
            return;
        }
        let Some(content) = self.contents.get(&swarm) else { return };
        if content.place == Place::Part && content.has_found_all() {
            self.finish(now, swarm);
        }
        self.peer.handle_check_done(now, swarm);
        // A check is not to be made again, nor is who waits for its end to wait for the next save.
        if self.contents.get(&swarm).is_some_and(|c| c.dirty && c.place == Place::Final) {
            self.save(now, swarm);
        }
    }

    pub(super) fn finish(&mut self, now: Instant, swarm: SwarmId) {
        let Some(content) = self.contents.get_mut(&swarm) else { return };
        let Some(progress) = self.peer.progress(swarm) else { return };
        let places = &self.options.places;
        match content.finish(swarm, &progress.have, places, &mut self.storage) {
            Err(error) => self.peer.handle_store_error(now, swarm, &error),
            Ok(files) => {
                let job = content.flush_job(now, swarm, files, progress, places);
                self.submit_flush(job, swarm);
            }
        }
    }

    /// Whose progress has changed, and when it is to be saved. Blocks count, too: a piece may be an
    /// hour of a slow line.
    pub(super) fn saves(&self) -> impl Iterator<Item = (Instant, SwarmId)> + '_ {
        let written = |id, c: &Content| c.place == Place::Part && self.storage.has_unflushed(id);
        let due = move |id, c: &Content| c.save_at(FLUSH_PAUSE, c.dirty || written(id, c));
        self.contents.iter().filter_map(move |(&id, c)| Some((due(id, c)?, id)))
    }

    pub(super) fn save_due(&mut self, now: Instant) {
        let due = self.saves().filter(|&(at, _)| at <= now);
        let due: Vec<SwarmId> = due.map(|(_, id)| id).collect();
        due.into_iter().for_each(|swarm| self.save(now, swarm));
    }

    pub(super) fn save(&mut self, now: Instant, swarm: SwarmId) {
        let Some(content) = self.contents.get_mut(&swarm) else { return };
        if !content.is_settled() {
            return;
        }
        if let Some(progress) = self.peer.progress(swarm) {
            let places = &self.options.places;
            if !self.storage.has_unflushed(swarm) && content.says(&progress, places) {
                content.dirty = false;
                return;
            }
            let files = self.storage.files(swarm);
            let job = content.flush_job(now, swarm, files, progress, &self.options.places);
            self.submit_flush(job, swarm);
        }
    }

    pub(super) fn submit_flush(&mut self, job: FlushJob, swarm: SwarmId) {
        if let Err(job) = self.flusher.submit(job) {
            self.storage.take_back(swarm, &job.files);
            if let Some(content) = self.contents.get_mut(&swarm) {
                content.flushing = false;
                content.not_saved();
            }
        }
    }

    /// At the end everything is saved once more, as fast as the helper takes it.
    pub(super) fn save_last(&mut self, now: Instant) {
        while self.flusher.pending() < PENDING_MAX {
            let Some(swarm) = self.unsaved.pop_front() else { return };
            self.save(now, swarm);
        }
    }

    /// A flush has ended. After a failure the record on the disk is still the one before, and the
    /// next flush takes the same files again.
    pub(super) fn flushed(&mut self, flushed: &Flushed) {
        let now = self.clock.now();
        let Some(content) = self.contents.get_mut(&flushed.swarm) else { return };
        if flushed.replaced && flushed.stamps.0 != content.place {
            // It has its final name since, and the flush of that is under way.
            return;
        }
        content.flushing = false;
        content.flush_failed = flushed.error.is_some();
        if flushed.replaced && self.stop_by.is_none() {
            let name = &content.metainfo.name;
            log::warn!("{name}: a file was cut short, removed or replaced by another program; checking again");
            return self.begin_again(now, flushed.swarm);
        }
        let Some(error) = &flushed.error else {
            content.stamped(&flushed.stamps);
            return content.flush_told.clear();
        };
        content.not_saved();
        self.storage.take_back(flushed.swarm, &flushed.files);
        if let Some(line) = content.flush_told.say(now, error) {
            log::warn!("{}: cannot save its progress: {line}", content.metainfo.name);
        }
    }

    pub(super) fn scan(&mut self) {
        let now = self.clock.now();
        let Some(folder) = &mut self.folder else { return };
        let mut changes = folder.scan();
        self.refusals.keep(|path| folder.knows(path));
        self.scan_at = match (folder.is_unsettled(), folder.watch_fd()) {
            (true, _) => Some(now + SETTLE_PAUSE),
            (false, None) => Some(now + SCAN_PAUSE),
            (false, Some(_)) => folder.is_untold().then(|| now + SCAN_PAUSE),
        };
        self.follow_changes(now, &mut changes);
        for change in changes {
            match change {
                Change::Added(path, bytes) => {
                    self.remove_torrent(&path);
                    let added = match is_magnet_file(&path) {
                        true => self.add_magnet_file(&path, &bytes).map_err(Refused::Bad),
                        false => self.add_torrent(&path, &bytes).map(drop),
                    };
                    match added {
                        Ok(()) if self.reserves(&path) => self.refusals.try_again(&path),
                        Ok(()) => self.refusals.forget(&path),
                        Err(why) => self.refuse(now, path, why),
                    }
                }
                Change::Removed(path) => self.remove_torrent(&path),
                Change::Unreadable(path, why) => {
                    self.refuse(now, path, Refused::Unreadable(why));
                }
            }
        }
    }

    /// A torrent whose file has another name, or other trackers, goes on: it is neither removed nor added.
    fn follow_changes(&mut self, now: Instant, changes: &mut Vec<Change>) {
        let gone = |change: &Change| match change {
            Change::Removed(path) => Some(path.clone()),
            _ => None,
        };
        let gone: Vec<PathBuf> = changes.iter().filter_map(gone).collect();
        changes.retain(|change| {
            let Change::Added(path, bytes) = change else { return true };
            let Ok(metainfo) = Metainfo::parse(bytes) else { return true };
            let was = |(_, c): &(&SwarmId, &mut Content)| {
                let same = c.metainfo.info_hash == metainfo.info_hash;
                same && (c.source == *path || gone.contains(&c.source))
            };
            let Some((&id, content)) = self.contents.iter_mut().find(was) else { return true };
            let (announce, list) = (metainfo.announce.as_deref(), &metainfo.announce_list);
            if !self.peer.change_trackers(now, id, announce, list) {
                return true;
            }
            if content.source != *path {
                log::info!("{}: renamed {}", folders::shown(&content.source), folders::shown(path));
            }
            content.source.clone_from(path);
            content.metainfo = metainfo;
            false
        });
        self.drain();
    }

    pub(super) fn remove_torrent(&mut self, source: &Path) {
        self.remove_magnet(source);
        let found = self.contents.iter().find(|(_, c)| c.source == source).map(|(&id, _)| id);
        let Some(swarm) = found else { return };
        log::info!("{}: removed", folders::shown(source));
        self.save(self.clock.now(), swarm);
        self.take_out(swarm);
        self.let_in(self.clock.now());
        self.drain();
    }

    /// The torrent is at work no more; perhaps it comes again at once, from what is answered.
    pub(super) fn take_out(&mut self, swarm: SwarmId) -> Option<Content> {
        self.peer.remove_swarm(self.clock.now(), swarm);
        self.hashes.forget(swarm);
        self.storage.close(swarm);
        self.contents.remove(&swarm)
    }
}
