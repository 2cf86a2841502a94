//! The peers that others announced to us (BEP 5), for half an hour.

use crate::units::id::InfoHash;
use crate::units::time::{Duration, Instant};
use core::net::SocketAddr;
use std::collections::BTreeMap;

/// A peer announces every quarter of an hour; who missed two is gone.
pub const PEER_LASTS: Duration = Duration::from_secs(30 * 60);
/// Peers of one swarm: more than any answer can name.
const PEERS_MAX: usize = 200;
/// Peers in all: half a megabyte at most, whatever strangers do.
const STORED_MAX: usize = 6_000;
/// Peers in one answer, so that IPv6 ones and the nodes still fit an unfragmented datagram.
pub const ANSWER_MAX: usize = 40;

#[derive(Clone, Copy, Debug)]
struct Announced {
    addr: SocketAddr,
    until: Instant,
}

/// Swarms and who is in them.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerStore {
    swarms: BTreeMap<InfoHash, Vec<Announced>>,
    stored: usize,
}

impl PeerStore {
    /// Remembers a peer; the one that would leave first makes room.
    pub(super) fn announce(&mut self, now: Instant, hash: InfoHash, addr: SocketAddr) {
        let until = now + PEER_LASTS;
        if let Some(found) = self.swarms.get_mut(&hash).and_then(|s| find(s, addr)) {
            found.until = until;
            return;
        }
        if self.stored >= STORED_MAX {
            self.expire(now);
        }
        if self.stored >= STORED_MAX {
            let first = |swarm: &Vec<Announced>| swarm.iter().map(|peer| peer.until).min();
            let oldest = self.swarms.iter().min_by_key(|(_, swarm)| first(swarm));
            if let Some(hash) = oldest.map(|(hash, _)| *hash) {
                self.forget_oldest(hash);
            }
        }
        if self.swarms.get(&hash).is_some_and(|swarm| swarm.len() >= PEERS_MAX) {
            self.forget_oldest(hash);
        }
        self.swarms.entry(hash).or_default().push(Announced { addr, until });
        self.stored += 1;
    }

    /// Some peers of a swarm and of one family, beginning anywhere: `start` is random.
    pub(super) fn get(
        &self,
        now: Instant,
        hash: InfoHash,
        v6: bool,
        start: u32,
    ) -> Vec<SocketAddr> {
        let Some(swarm) = self.swarms.get(&hash) else { return Vec::new() };
        let start = start as usize % swarm.len().max(1);
        let (before, after) = swarm.split_at_checked(start).unwrap_or((swarm, &[]));
        let all = after.iter().chain(before);
        let fit = all.filter(|peer| peer.until > now && peer.addr.is_ipv6() == v6);
        fit.map(|peer| peer.addr).take(ANSWER_MAX).collect()
    }

    /// Forgets whoever has not announced for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.swarms.retain(|_, swarm| {
            swarm.retain(|peer| peer.until > now);
            swarm.shrink_to_fit();
            !swarm.is_empty()
        });
        self.stored = self.swarms.values().map(Vec::len).sum();
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.stored == 0
    }

    fn forget_oldest(&mut self, hash: InfoHash) {
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let oldest = (0..swarm.len()).min_by_key(|&at| swarm[at].until);
        if let Some(at) = oldest {
            swarm.swap_remove(at);
            self.stored -= 1;
        }
        if swarm.is_empty() {
            self.swarms.remove(&hash);
        }
    }
}

fn find(swarm: &mut [Announced], addr: SocketAddr) -> Option<&mut Announced> {
    swarm.iter_mut().find(|peer| peer.addr == addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Instant {
        Instant::from_micros(minutes * 60_000_000)
    }

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes(), 5000))
    }

    fn hash(n: u32) -> InfoHash {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        InfoHash(hash)
    }

    #[test]
    fn a_peer_lasts_half_an_hour_after_its_last_announce() {
        let mut store = PeerStore::default();
        store.announce(at(0), hash(1), addr(1));
        store.announce(at(10), hash(1), addr(1));
        store.announce(at(0), hash(1), addr(2));
        assert_eq!(store.get(at(29), hash(1), false, 0), [addr(1), addr(2)]);
        assert_eq!(store.get(at(29), hash(1), false, 7), [addr(2), addr(1)]);
        assert_eq!(store.get(at(30), hash(1), false, 0), [addr(1)]);
        assert!(store.get(at(29), hash(1), true, 0).is_empty());
        store.expire(at(40));
        assert!(store.is_empty());
    }

    #[test]
    fn it_is_bounded_in_every_direction() {
        let mut store = PeerStore::default();
        for n in 0..1000 {
            store.announce(at(0), hash(1), addr(n));
        }
        assert_eq!(store.swarms[&hash(1)].len(), PEERS_MAX);
        assert!(store.get(at(0), hash(1), false, 5).len() <= ANSWER_MAX);
        for n in 0..6_500 {
            store.announce(at(1), hash(n), addr(n));
        }
        assert_eq!(store.stored, STORED_MAX);
        assert_eq!(store.swarms.values().map(Vec::len).sum::<usize>(), STORED_MAX);
        assert!(!store.get(at(1), hash(6_499), false, 0).is_empty());
    }
}
