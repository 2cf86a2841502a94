//! Peer exchange with one connection (BEP 11): what we have told it, what it may tell us, and when.
//! Also keeps what it told by `rp_peers`, so that it can take back only what it said itself.

use crate::units::time::{Duration, Instant};
use crate::wire::pex::PeerList;
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

/// BEP 11: no more than one `ut_pex` a minute.
const PAUSE: Duration = Duration::from_secs(60);
/// BEP 11: at most 50 added and 50 dropped in a message.
const LIST_MAX: usize = 50;
/// `ut_pex` that come sooner than this after the last are early.
const EARLY: Duration = Duration::from_secs(45);
/// Early `ut_pex` that are still read: some clients say it twice at the start.
const EARLY_READ: u32 = 5;
/// Early `ut_pex` after which we hang up: by then it is no accident.
const EARLY_MAX: u32 = 20;
/// Addresses that one connection can give us by `ut_pex`: four times a full message.
const LEARNT_MAX: usize = 200;
/// Addresses that one connection can have in our tracker's table by `rp_peers`.
pub const HEARD_MAX: usize = 200;
/// `rp_peers` that may come at once: a long list takes several messages.
const BURST: u32 = 40;
/// After it, one more in this time: twice as often as an honest sender says anything.
const BURST_REFILL: Duration = Duration::from_millis(100);

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read it.
    Read,
    /// It came too early: leave it.
    Skip,
    /// Far too many: hang up.
    Flood,
}

/// What one connection and we have told each other about the swarm.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What our `ut_pex` so far add up to.
    sent: BTreeSet<SocketAddr>,
    /// When the next may go out.
    next: Instant,
    /// When the last came in.
    last: Option<Instant>,
    early: u32,
    learnt: usize,
    /// What its `rp_peers` so far add up to; at most [`HEARD_MAX`].
    heard: BTreeSet<SocketAddr>,
    burst: u32,
    refilled: Instant,
}

impl Exchange {
    /// Nothing is said yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            sent: BTreeSet::new(),
            next: now,
            last: None,
            early: 0,
            learnt: 0,
            heard: BTreeSet::new(),
            burst: BURST,
            refilled: now,
        }
    }

    /// Whether a `ut_pex` may go out.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// When it may next be told something.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// The `ut_pex` that makes its list the same as those `present` that concern it, as far as one
    /// message goes.
    pub fn message(
        &mut self,
        now: Instant,
        present: &BTreeMap<SocketAddr, u8>,
        concerns: impl Fn(SocketAddr) -> bool,
    ) -> Option<PeerList> {
        if !self.is_due(now) {
            return None;
        }
        let new = present.iter().filter(|(addr, _)| concerns(**addr) && !self.sent.contains(addr));
        let gone = self.sent.iter().filter(|addr| !concerns(**addr) || !present.contains_key(addr));
        let list = PeerList {
            added: new.map(|(&addr, &flags)| (addr, flags)).take(LIST_MAX).collect(),
            dropped: gone.copied().take(LIST_MAX).collect(),
        };
        if list.is_empty() {
            return None;
        }
        self.sent.extend(list.added.iter().map(|&(addr, _)| addr));
        list.dropped.iter().for_each(|addr| {
            self.sent.remove(addr);
        });
        self.next = now + PAUSE;
        Some(list)
    }

    /// A `ut_pex` has come.
    pub fn pex_came(&mut self, now: Instant) -> Verdict {
        let early = self.last.is_some_and(|last| now - last < EARLY);
        self.last = Some(now);
        self.early = if early { self.early + 1 } else { self.early.saturating_sub(1) };
        match self.early {
            0..=EARLY_READ => Verdict::Read,
            _ if self.early < EARLY_MAX => Verdict::Skip,
            _ => Verdict::Flood,
        }
    }

    /// How many more addresses it may give us; takes note that it gave `learnt` of them.
    pub fn room(&mut self, learnt: usize) -> usize {
        self.learnt += learnt;
        LEARNT_MAX.saturating_sub(self.learnt)
    }

    /// An `rp_peers` has come.
    pub fn peers_came(&mut self, now: Instant) -> Verdict {
        let refill = (now - self.refilled).as_micros() / BURST_REFILL.as_micros();
        if refill > 0 {
            self.burst = BURST.min(self.burst.saturating_add(refill.min(1_000) as u32));
            self.refilled = now;
        }
        match self.burst.checked_sub(1) {
            Some(left) => self.burst = left,
            None => return Verdict::Flood,
        }
        Verdict::Read
    }

    /// It says by `rp_peers` that one listens there; false where it has said enough.
    pub fn heard(&mut self, addr: SocketAddr) -> bool {
        let room = self.heard.len() < HEARD_MAX || self.heard.contains(&addr);
        if room {
            self.heard.insert(addr);
        }
        room
    }

    /// It takes that back; false where it never said it.
    pub fn unheard(&mut self, addr: SocketAddr) -> bool {
        self.heard.remove(&addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(s)
    }

    fn peers(range: core::ops::Range<u8>) -> BTreeMap<SocketAddr, u8> {
        range.map(|n| (SocketAddr::from(([10, 0, 0, n], 5000)), 0)).collect()
    }

    #[test]
    fn one_message_a_minute_with_at_most_fifty_of_each() {
        let mut exchange = Exchange::new(at(0));
        assert_eq!(exchange.message(at(0), &peers(0..0), |_| true), None);
        let first = exchange.message(at(1), &peers(0..120), |_| true).unwrap();
        assert_eq!((first.added.len(), first.dropped.len()), (50, 0));
        assert_eq!(exchange.message(at(60), &peers(0..120), |_| true), None);
        let second = exchange.message(at(61), &peers(0..120), |_| true).unwrap();
        assert_eq!(
            (second.added.len(), second.added[0].0.ip().to_string()),
            (50, "10.0.0.50".into())
        );
        let third = exchange.message(at(121), &peers(30..40), |_| true).unwrap();
        assert_eq!((third.added.len(), third.dropped.len()), (0, 50));
        let fourth = exchange.message(at(200), &peers(30..40), |_| true).unwrap();
        assert_eq!((fourth.added.len(), fourth.dropped.len()), (0, 40));
        assert_eq!(exchange.message(at(300), &peers(30..40), |_| true), None);
    }

    #[test]
    fn it_hears_of_whom_it_can_reach_and_no_longer_of_others() {
        let mut exchange = Exchange::new(at(0));
        let odd = |addr: SocketAddr| addr.ip().to_string().ends_with(['1', '3']);
        let list = exchange.message(at(1), &peers(0..4), odd).unwrap();
        assert_eq!(
            list.added,
            [("10.0.0.1:5000".parse().unwrap(), 0), ("10.0.0.3:5000".parse().unwrap(), 0)]
        );
        let list = exchange
            .message(at(61), &peers(0..4), |addr| odd(addr) && addr.ip().to_string() != "10.0.0.1")
            .unwrap();
        assert_eq!((list.added.len(), list.dropped), (0, vec!["10.0.0.1:5000".parse().unwrap()]));
    }

    #[test]
    fn hasty_senders_are_read_then_skipped_then_left() {
        let mut exchange = Exchange::new(at(0));
        let verdicts: Vec<Verdict> = (0..30).map(|s| exchange.pex_came(at(s))).collect();
        assert!(verdicts[..6].iter().all(|&v| v == Verdict::Read));
        assert!(verdicts[6..20].iter().all(|&v| v == Verdict::Skip));
        assert_eq!(verdicts[20], Verdict::Flood);
        let mut honest = Exchange::new(at(0));
        assert!((0..100).all(|n| honest.pex_came(at(n * 59)) == Verdict::Read));
    }

    #[test]
    fn broadcasts_have_a_burst_and_a_rate() {
        let mut exchange = Exchange::new(at(0));
        assert!((0..BURST).all(|_| exchange.peers_came(at(0)) == Verdict::Read));
        assert_eq!(exchange.peers_came(at(0)), Verdict::Flood);
        assert!((1..1000).all(|s| exchange.peers_came(at(s)) == Verdict::Read));
    }

    #[test]
    fn one_source_says_only_so_much() {
        let mut exchange = Exchange::new(at(0));
        let addr = |n| SocketAddr::from(([10, 0, 0, 1], n));
        let kept = (1..1000).filter(|&n| exchange.heard(addr(n))).count();
        assert_eq!(kept, HEARD_MAX);
        assert!(
            exchange.heard(addr(1)) && exchange.unheard(addr(1)) && !exchange.unheard(addr(999))
        );
        assert!(exchange.heard(addr(999)));
        assert_eq!((exchange.room(0), exchange.room(150), exchange.room(150)), (200, 50, 0));
    }
}
