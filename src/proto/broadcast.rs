//! What `rp_peers` will tell next in one swarm: comings and goings, gathered for a moment, so that
//! a class that starts all at once costs a few messages and not a storm.

use crate::units::time::{Duration, Instant};
use crate::wire::pex::{PeerList, SEED};
use core::net::SocketAddr;
use std::collections::BTreeMap;

/// How long news is gathered; a fourth of the second within which all shall know.
const GATHER: Duration = Duration::from_millis(250);
/// Addresses of each kind in one message.
const LIST_MAX: usize = 100;
/// Addresses that wait to be told. What is beyond waits for the list of the next minute.
const WAITING_MAX: usize = 1_000;

/// News of one swarm that its members have not been told of.
#[derive(Clone, Debug, Default)]
pub struct Bulletin {
    /// `Some`: has come, and whether it is a seeder. `None`: is gone.
    news: BTreeMap<SocketAddr, Option<bool>>,
    due: Option<Instant>,
}

impl Bulletin {
    /// Somebody has come or is gone. The later news about one address counts.
    pub fn add(&mut self, now: Instant, addr: SocketAddr, came: Option<bool>) {
        if self.news.len() < WAITING_MAX || self.news.contains_key(&addr) {
            self.news.insert(addr, came);
            self.due.get_or_insert(now + GATHER);
        }
    }

    /// When it is to be told.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next message, if it is time; the rest has its own.
    pub fn take(&mut self, now: Instant) -> Option<PeerList> {
        self.due.filter(|&due| due <= now)?;
        let mut list = PeerList::default();
        while let Some((&addr, &came)) = self.news.first_key_value() {
            match came {
                Some(_) if list.added.len() >= LIST_MAX => break,
                None if list.dropped.len() >= LIST_MAX => break,
                Some(complete) => list.added.push((addr, flags(complete))),
                None => list.dropped.push(addr),
            }
            self.news.remove(&addr);
        }
        self.due = (!self.news.is_empty()).then_some(now + GATHER);
        (!list.is_empty()).then_some(list)
    }
}

/// The flags of an added peer.
#[must_use]
pub const fn flags(complete: bool) -> u8 {
    if complete {
        SEED
    } else {
        0
    }
}

/// The whole list for one that is new, in messages.
pub fn whole(peers: impl Iterator<Item = (SocketAddr, bool)>) -> Vec<PeerList> {
    let added: Vec<_> = peers.map(|(addr, complete)| (addr, flags(complete))).collect();
    let message = |part: &[(SocketAddr, u8)]| PeerList { added: part.to_vec(), dropped: vec![] };
    added.chunks(LIST_MAX).map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    #[test]
    fn news_of_a_moment_go_together_and_the_last_counts() {
        let mut bulletin = Bulletin::default();
        bulletin.add(at(0), addr(1), Some(false));
        bulletin.add(at(100), addr(2), Some(false));
        bulletin.add(at(200), addr(2), None);
        bulletin.add(at(200), addr(3), None);
        bulletin.add(at(240), addr(3), Some(true));
        assert_eq!((bulletin.due(), bulletin.take(at(249))), (Some(at(250)), None));
        let list = bulletin.take(at(250)).unwrap();
        assert_eq!(list.added, [(addr(1), 0), (addr(3), SEED)]);
        assert_eq!(list.dropped, [addr(2)]);
        assert_eq!((bulletin.due(), bulletin.take(at(9_999))), (None, None));
    }

    #[test]
    fn a_crowd_takes_several_messages_and_has_a_bound() {
        let mut bulletin = Bulletin::default();
        (1..=3_000).for_each(|n| bulletin.add(at(0), addr(n), Some(false)));
        let mut told = 0;
        for turn in 1..=10 {
            told += bulletin.take(at(turn * 250)).unwrap().added.len();
        }
        assert_eq!((told, bulletin.due()), (WAITING_MAX, None));
        assert_eq!(whole((1..=250).map(|n| (addr(n), false))).len(), 3);
    }
}
