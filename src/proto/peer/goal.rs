//! When a torrent has been given enough: everybody is choked then, and when the last blocks are
//! out of the sockets it is paused, once in a run.

use super::Peer;
use crate::proto::swarm::{Stage, Swarm};
use crate::units::time::{Duration, Instant};

/// Blocks that are handed to the system may take so long to get there: who hangs up before loses them.
const GETS_THERE_WITHIN: Duration = Duration::from_secs(5);

/// What a seeder gives before it stops. The first that is reached counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    /// Bytes uploaded, earlier runs included, for each thousand bytes of what is wanted.
    pub per_mille: Option<u32>,
    /// Since it is complete, in this run.
    pub time: Option<Duration>,
}

impl Goal {
    /// What of it the swarm has reached, in words.
    fn reached(&self, swarm: &Swarm, now: Instant) -> Option<String> {
        let (_, length) = swarm.wanted_bytes();
        let share = |per_mille: u32| u128::from(length) * u128::from(per_mille);
        let enough = |&per_mille: &u32| u128::from(swarm.uploaded) * 1000 >= share(per_mille);
        if let Some(per_mille) = self.per_mille.filter(enough) {
            return Some(format!("uploaded {} times its length", f64::from(per_mille) / 1000.0));
        }
        let over = |&time: &Duration| swarm.complete_since.is_some_and(|since| now - since >= time);
        self.time.filter(over).map(|time| format!("seeded for {} s", time.as_secs()))
    }
}

impl Peer {
    /// Ends what has been given enough.
    pub(super) fn end_what_is_given(&mut self, now: Instant) {
        let goal = self.config.goal;
        for id in self.swarms.keys().copied().collect::<Vec<_>>() {
            let Some(swarm) = self.swarms.get_mut(&id) else { continue };
            if swarm.stage != Stage::Complete || swarm.paused {
                continue;
            }
            match swarm.given {
                None => {
                    let Some(what) = goal.reached(swarm, now) else { continue };
                    log::info!("{}: {what}, which was the goal", swarm.torrent.name);
                    let until =
                        if swarm.wanting.is_empty() { now } else { now + GETS_THERE_WITHIN };
                    swarm.given = Some(until);
                    for member in swarm.wanting.clone() {
                        self.choke(now, member);
                    }
                }
                Some(until) if now >= until && !swarm.goal_met => {
                    swarm.goal_met = true;
                    self.pause(now, id);
                }
                Some(_) => {}
            }
        }
    }

    /// A torrent has become complete: it is seen when it was given enough, perhaps in earlier runs.
    pub(super) fn look_at_goal(&mut self, now: Instant) {
        if self.config.goal != Goal::default() {
            self.tick_soon(now);
        }
    }

    /// When the swarm has to be looked at for its goal: at its time, and while somebody is there to
    /// be given something.
    pub(super) fn goal_timeout(&self, swarm: &Swarm) -> Option<Instant> {
        let goal = self.config.goal;
        if swarm.stage != Stage::Complete || swarm.goal_met || swarm.paused {
            return None;
        }
        let gives = goal.per_mille.is_some() && !swarm.members.is_empty();
        let at = || Some(swarm.complete_since? + goal.time?);
        swarm.given.or_else(|| gives.then_some(Instant::ORIGIN)).or_else(at)
    }

    /// Whether every complete torrent was given enough, if the user has said what is.
    #[must_use]
    pub fn has_given_enough(&self) -> bool {
        let gives = |swarm: &Swarm| swarm.stage == Stage::Complete && !swarm.goal_met;
        self.config.goal == Goal::default() || !self.swarms.values().any(gives)
    }
}
