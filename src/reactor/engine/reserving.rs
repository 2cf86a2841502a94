//! Room for what is to be downloaded is made before the check of what is there, and where much is
//! lacking, on a thread. Until then the torrent is one that is being checked.

use super::refused::Refused;
use super::Reactor;
use crate::reactor::reserve::Reserved;
use crate::units::id::SwarmId;
use std::path::Path;

impl Reactor {
    /// Whether this content gets its room first; then [`Reactor::check`] comes after that.
    pub(super) fn reserve(&mut self, swarm: SwarmId) -> bool {
        let Some(content) = self.contents.get_mut(&swarm) else { return false };
        if content.reserving {
            return true;
        }
        let Some(job) = self.storage.take_reservation(swarm) else { return false };
        content.reserving = true;
        if !self.refusals.knows(&content.source) {
            log::info!("{}: {}", content.metainfo.name, job.in_words());
        }
        self.to_reserve.push_back(job);
        self.submit_reservations();
        true
    }

    /// Hands on as many as the helper takes.
    pub(super) fn submit_reservations(&mut self) {
        while let Some(job) = self.to_reserve.pop_front() {
            if let Err(job) = self.reserver.submit(job) {
                return self.to_reserve.push_front(job);
            }
        }
    }

    /// Whether the content of the torrent in this file gets its room still.
    pub(super) fn reserves(&self, source: &Path) -> bool {
        self.contents.values().any(|content| content.reserving && content.source == source)
    }

    /// There is room now, or there is none.
    pub(super) fn reserved(&mut self, reserved: Reserved) {
        let swarm = reserved.swarm;
        let Some(content) = self.contents.get_mut(&swarm) else { return };
        if self.stop_by.is_some() {
            return;
        }
        match reserved.outcome {
            Ok(()) => {
                content.reserving = false;
                self.refusals.forget(&content.source);
                self.storage.reserved(swarm);
                self.check(swarm);
            }
            Err(error) => {
                let (now, source) = (self.clock.now(), content.source.clone());
                self.take_out(swarm);
                self.refuse(now, source, Refused::Disk(error.to_string()));
                self.give_place(now);
            }
        }
        self.drain();
    }

    /// Finds out what of the content is there and good.
    pub(super) fn check(&mut self, swarm: SwarmId) {
        let Some(content) = self.contents.get(&swarm) else { return };
        if content.unchecked == 0 {
            return self.checked(swarm);
        }
        if let Some(progress) = self.peer.progress(swarm) {
            content.queue_checks(self.clock.now(), swarm, &progress.have, &mut self.hashes);
        }
    }
}
