//! Whether a swarm has met anybody who has what it lacks, for who will not wait for ever.

use super::Peer;
use crate::proto::swarm::Stage;
use crate::units::id::SwarmId;
use crate::units::time::Instant;

/// A search that has found nobody yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// When it began.
    pub since: Instant,
    /// A tracker, or a host that the user named, has not answered: it may be on its way back.
    pub unanswered: bool,
    /// Whom it has asked and what they said, for people.
    pub asked: String,
}

impl Peer {
    /// The search of this swarm. `None` where nothing is missing, or once somebody who has a
    /// missing piece was met: then it goes on for ever, for that one may return.
    #[must_use]
    pub fn search(&self, id: SwarmId) -> Option<Search> {
        let swarm = self.swarms.get(&id)?;
        let searches = match swarm.stage {
            Stage::Downloading => true,
            // Whoever is connected may bring the metadata yet.
            Stage::Metadata => swarm.members.is_empty(),
            Stage::Checking | Stage::Complete | Stage::Failed | Stage::Left(_) => false,
        };
        let since = swarm.searching_since.filter(|_| searches)?;
        let (hosts, away) = swarm.contacts.known_and_away();
        let nameless = self.named.iter().filter(|named| named.addrs.is_empty()).count();
        let unanswered = swarm.announcer.is_unanswered() || away + nameless > 0;
        let mut asked = Vec::new();
        if swarm.announcer.has_trackers() {
            asked.push(swarm.announcer.status().to_owned());
        }
        if hosts + nameless > 0 {
            asked.push(format!("{} of {} hosts answered", hosts - away, hosts + nameless));
        }
        if asked.is_empty() {
            asked.push("no tracker and no host to ask".to_owned());
        }
        Some(Search { since, unanswered, asked: asked.join(", ") })
    }
}
