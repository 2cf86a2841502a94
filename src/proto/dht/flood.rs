//! How much one address, and all together, may ask of us. Beyond that nothing is answered: a
//! source address can be forged, and every answer would go to whoever is named there.

use crate::units::time::{Duration, Instant};
use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeMap;

/// What one datagram costs its source: twenty a second for ever.
const DATAGRAM_COST: Duration = Duration::from_millis(50);
/// How far a source may be ahead: a hundred datagrams at once.
const SOURCE_AHEAD: Duration = Duration::from_secs(5);
/// Sources watched at a time. A busy node hears a few dozen in the time that counts.
const SOURCES_MAX: usize = 256;
/// What a byte of an answer costs: 64 KiB a second to all together.
const BYTE_COST: Duration = Duration::from_nanos(15_259);
/// Half a second's worth of answers at once.
const ANSWERS_AHEAD: Duration = Duration::from_millis(500);

/// For each source, the moment up to which it has used its share.
#[derive(Clone, Debug, Default)]
pub(super) struct Flood {
    used: BTreeMap<IpAddr, Instant>,
    answered: Instant,
}

impl Flood {
    /// Counts a datagram; false if the source sends too many.
    pub(super) fn admits(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = network(source);
        let until = self.used.get(&source).copied().unwrap_or(now).max(now) + DATAGRAM_COST;
        if until - now > SOURCE_AHEAD {
            return false;
        }
        if self.used.len() >= SOURCES_MAX && !self.used.contains_key(&source) {
            self.used.retain(|_, until| *until > now);
            // All busy: the quietest is forgotten, never the loudest.
            let quietest = self.used.iter().min_by_key(|(_, until)| **until).map(|(ip, _)| *ip);
            if let Some(quietest) = quietest.filter(|_| self.used.len() >= SOURCES_MAX) {
                self.used.remove(&quietest);
            }
        }
        self.used.insert(source, until);
        true
    }

    /// Counts an answer; false if there were too many for everybody together.
    pub(super) fn may_answer(&mut self, now: Instant, bytes: usize) -> bool {
        let cost = BYTE_COST * u32::try_from(bytes).unwrap_or(u32::MAX);
        let until = self.answered.max(now) + cost;
        let admitted = until - now <= ANSWERS_AHEAD;
        if admitted {
            self.answered = until;
        }
        admitted
    }
}

/// A customer of IPv6 has 2^64 addresses: they are one source.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_the_others_are_not() {
        let at = |ms: u64| Instant::from_micros(1_000_000 + ms * 1000);
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        let mut flood = Flood::default();
        let admitted = (0..10_000).filter(|ms| flood.admits(at(*ms), ip(1))).count();
        assert_eq!(admitted, 100 + 199, "a hundred at once, then twenty a second");
        assert!(flood.admits(at(9_999), ip(2)));
        for source in 100..10_000 {
            assert!(flood.admits(at(9_999), ip(source)));
        }
        assert!(flood.used.len() <= SOURCES_MAX);
        assert!(!flood.admits(at(9_999), ip(1)), "many others do not wash it clean");
        assert!(flood.admits(at(20_000), ip(1)));
        let v6 = |low: u128| IpAddr::from((0x2001_0db8_u128 << 96 | low).to_be_bytes());
        let admitted = (0..1000).filter(|n| flood.admits(at(20_000), v6(*n))).count();
        assert_eq!(admitted, 100);
    }

    #[test]
    fn answers_of_all_together() {
        let mut flood = Flood::default();
        let now = Instant::from_micros(1);
        let answered = (0..1000).filter(|_| flood.may_answer(now, 300)).count();
        assert!((100..120).contains(&answered), "{answered}");
    }
}
