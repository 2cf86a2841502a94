//! The peers that others announced to us (BEP 5), for half an hour.

use crate::units::id::InfoHash;
use crate::units::time::{Duration, Instant};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::btree_map::{BTreeMap, Range};

/// A peer announces every quarter of an hour; who missed two is gone.
pub const PEER_LASTS: Duration = Duration::from_secs(30 * 60);
/// Peers of one swarm: more than any answer can name.
const PEERS_MAX: usize = 200;
/// Peers in all, in all swarms: the map takes 230 KiB at most (measured), whatever strangers do.
const STORED_MAX: usize = 2_000;
/// Peers in one answer, so that IPv6 ones and the nodes still fit an unfragmented datagram.
pub const ANSWER_MAX: usize = 40;

/// Who is in which swarm, and until when. One map, and no list for each swarm: strangers choose
/// how many swarms there are, and a list takes room for several peers from the first on.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerStore(BTreeMap<(InfoHash, SocketAddr), Instant>);

impl PeerStore {
    /// Remembers a peer; the one that would leave first makes room.
    pub(super) fn announce(&mut self, now: Instant, hash: InfoHash, addr: SocketAddr) {
        if !self.0.contains_key(&(hash, addr)) {
            if self.0.len() >= STORED_MAX {
                self.expire(now);
            }
            let swarm = self.range(hash, false).chain(self.range(hash, true));
            let full = swarm.clone().count() >= PEERS_MAX;
            let oldest = if full {
                swarm.min_by_key(|(_, until)| **until)
            } else if self.0.len() >= STORED_MAX {
                self.0.iter().min_by_key(|(_, until)| **until)
            } else {
                None
            };
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert((hash, addr), now + PEER_LASTS);
    }

    /// Some peers of a swarm and of one family, beginning anywhere: `start` is random.
    pub(super) fn get(
        &self,
        now: Instant,
        hash: InfoHash,
        v6: bool,
        start: u32,
    ) -> Vec<SocketAddr> {
        let here = self.range(hash, v6).filter(|(_, until)| **until > now);
        let peers: Vec<SocketAddr> = here.map(|((_, addr), _)| *addr).collect();
        let start = start as usize % peers.len().max(1);
        peers.iter().cycle().skip(start).take(peers.len().min(ANSWER_MAX)).copied().collect()
    }

    /// Forgets whoever has not announced for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, until| *until > now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The peers of a swarm and of one family. IPv4 comes before IPv6.
    fn range(&self, hash: InfoHash, v6: bool) -> Range<'_, (InfoHash, SocketAddr), Instant> {
        let lowest: IpAddr =
            if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let highest: IpAddr =
            if v6 { Ipv6Addr::from_bits(u128::MAX).into() } else { Ipv4Addr::BROADCAST.into() };
        let [lowest, highest] = [(lowest, 0), (highest, u16::MAX)].map(SocketAddr::from);
        self.0.range((hash, lowest)..=(hash, highest))
    }
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
        let v6 = SocketAddr::from(([0xffff; 8], 65535));
        store.announce(at(0), hash(1), v6);
        assert_eq!(store.get(at(29), hash(1), true, 0), [v6]);
        assert_eq!(store.get(at(30), hash(1), false, 0), [addr(1)]);
        assert!(store.get(at(29), hash(2), true, 0).is_empty());
        store.expire(at(40));
        assert!(store.is_empty());
    }

    #[test]
    fn it_is_bounded_in_every_direction() {
        let mut store = PeerStore::default();
        for n in 0..1000 {
            store.announce(at(0), hash(1), addr(n));
        }
        assert_eq!(store.0.len(), PEERS_MAX);
        assert!(store.0.contains_key(&(hash(1), addr(999))), "the newest is never the one to go");
        assert_eq!(store.get(at(0), hash(1), false, 190).len(), ANSWER_MAX);
        for n in 0..2_500 {
            store.announce(at(1), hash(n), addr(n));
        }
        assert_eq!(store.0.len(), STORED_MAX);
        assert!(!store.get(at(1), hash(2_499), false, 0).is_empty());
        assert!(store.get(at(1), hash(100), false, 0).is_empty(), "the oldest makes room");
    }
}
