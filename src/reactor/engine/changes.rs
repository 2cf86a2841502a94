//! Complete content that another program changes while it is served: that is seen before more of it
//! goes out, and the torrent begins anew, with a check like that of content found at the start.

use super::Reactor;
use crate::reactor::contents::Content;
use crate::reactor::folders::shown;
use crate::reactor::folders::Place;
use crate::units::id::SwarmId;
use crate::units::time::{Duration, Instant};

/// Between two looks while content is sent. Who sends nothing need not look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Reactor {
    /// Before something is sent, once in a while: whether a torrent had to begin anew.
    pub(super) fn looked_and_changed(&mut self, now: Instant) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + LOOK_EVERY;
        self.begin_anew(now).is_some()
    }

    /// Begins anew with a torrent whose open files are not as they were; says which.
    pub(super) fn begin_anew(&mut self, now: Instant) -> Option<SwarmId> {
        let complete = |swarm: &SwarmId| {
            let content = self.contents.get(swarm);
            content.is_some_and(|c| c.place == Place::Final && c.is_settled())
        };
        let mut changed = self.storage.changed().into_iter();
        let (swarm, index) = changed.find(|(swarm, _)| complete(swarm))?;
        let content = self.contents.get(&swarm)?;
        let path = self.storage.path(swarm, index);
        let (name, path) = (&content.metainfo.name, shown(&path));
        log::warn!("{name}: {path} was changed by another program; checking again");
        self.begin_again(now, swarm);
        Some(swarm)
    }

    /// The torrent is taken out, and in again.
    pub(super) fn begin_again(&mut self, now: Instant, swarm: SwarmId) {
        if self.contents.get(&swarm).is_some_and(|content| !content.disown()) {
            self.save(now, swarm);
        }
        let Some(Content { source, metainfo, .. }) = self.take_out(swarm) else { return };
        if let Err(why) = self.take_in(&source, metainfo, None) {
            self.refuse(now, source, why);
        }
    }
}
