//! The addresses known for one swarm, and when each may be dialed again.

use crate::units::id::ConnId;
use crate::units::limits::{CONTACTS_MAX, CONTACTS_SAVED_MAX, PORTS_REST};
use crate::units::time::{Duration, Instant};
use crate::wire::address::is_lan;
use core::cmp::Reverse;
use core::net::SocketAddr;
use std::collections::BTreeMap;

/// First pause before a known host is dialed again.
pub const REDIAL_FIRST: Duration = Duration::from_secs(1);
/// Dials of a LAN host that refuses, that pause apart, before the pause grows: it is up, and its program may be
/// started again within a minute.
const REDIAL_REFUSED_TRIES: u32 = 60;
/// Longest pause before a known host is dialed again.
const REDIAL_KNOWN_MAX: Duration = Duration::from_secs(5);
/// Longest pause before another address is dialed again.
const REDIAL_OTHER_MAX: Duration = Duration::from_secs(300);
/// Dials of an address nobody vouched for before it is forgotten.
const REDIAL_OTHER_TRIES: u32 = 6;
const _: () = assert!(REDIAL_FIRST.as_micros() <= REDIAL_KNOWN_MAX.as_micros());

/// Pause before a peer that wanted nothing and had nothing for us is dialed again.
const USELESS_PAUSE: Duration = Duration::from_secs(60);
/// Pause after which a proven poisoner may try again.
const BAN_PAUSE: Duration = Duration::from_secs(3600);

/// An address and what we know of it.
#[derive(Clone, Debug)]
struct Contact {
    /// The user named it, or the torrent's bare announce did: dialed for ever.
    known: bool,
    /// The connection that leads there.
    conn: Option<ConnId>,
    /// Dials in a row that led to no handshake.
    failures: u32,
    /// BEP 40.
    priority: u32,
    /// A connection has led there before.
    tried: bool,
    /// A handshake has succeeded there.
    met: bool,
    /// It has said `stopped`: with the end of the connection it is forgotten.
    left: bool,
    /// It has all content, and only gave its port to another.
    gave_way: bool,
    next: Instant,
}

/// What became of a connection to a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Proven to have sent a bad piece.
    Banned,
    /// No connection, or no handshake.
    Failed,
    /// A working connection was lost.
    Lost,
    /// We ended the connection to a seeder, for its port was needed.
    GaveWay,
    /// Every client port was busy: no fault of that host.
    NoPort,
    /// It is ourselves: never again.
    Own,
    /// The host is up, and nobody listens there.
    Refused,
    /// We had nothing for each other.
    Useless,
}

/// The addresses of one swarm in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    map: BTreeMap<SocketAddr, Contact>,
}

impl Contacts {
    /// Learns an address of this priority (BEP 40); true if it is new. `known`: the user named it.
    pub fn add(&mut self, addr: SocketAddr, known: bool, priority: u32, now: Instant) -> bool {
        if let Some(contact) = self.map.get_mut(&addr) {
            contact.known |= known;
            contact.left = false;
            return false;
        }
        let room = known || self.map.len() < CONTACTS_MAX;
        if room {
            let contact = Contact {
                known,
                conn: None,
                failures: 0,
                priority,
                tried: false,
                met: false,
                left: false,
                gave_way: false,
                next: now,
            };
            self.map.insert(addr, contact);
        }
        room
    }

    /// An address to dial now: of those not dialed yet the one of highest priority, then the longest
    /// due. `known_only`: a seeder's rule.
    #[must_use]
    pub fn due(&self, now: Instant, known_only: bool) -> Option<SocketAddr> {
        self.waiting(known_only)
            .filter(|(_, c)| c.next <= now)
            .min_by_key(|(&addr, c)| {
                (c.failures, c.tried.then_some(c.next), Reverse(c.priority), addr)
            })
            .map(|(&addr, _)| addr)
    }

    /// The address that has been due for longest, however often it has failed: where all that are
    /// connected lack the same piece, even an old one is worth a dial. A seeder that gave way goes first.
    #[must_use]
    pub fn longest_due(&self, now: Instant) -> Option<SocketAddr> {
        let due = self.waiting(false).filter(|(_, c)| c.next <= now);
        due.min_by_key(|(&addr, c)| (!c.gave_way, c.next, addr)).map(|(&addr, _)| addr)
    }

    /// When the next address is due.
    #[must_use]
    pub fn next_due(&self, known_only: bool) -> Option<Instant> {
        self.waiting(known_only).map(|(_, c)| c.next).min()
    }

    /// A connection leads there (dialing counts).
    pub fn engage(&mut self, addr: SocketAddr, conn: ConnId) {
        if let Some(contact) = self.map.get_mut(&addr) {
            contact.conn = Some(conn);
            contact.tried = true;
        }
    }

    /// The connection that leads there.
    #[must_use]
    pub fn conn(&self, addr: SocketAddr) -> Option<ConnId> {
        self.map.get(&addr).and_then(|c| c.conn)
    }

    /// Whether the user named it.
    #[must_use]
    pub fn is_known(&self, addr: SocketAddr) -> bool {
        self.map.get(&addr).is_some_and(|c| c.known)
    }

    /// Whether the last dial led to no handshake.
    #[must_use]
    pub fn has_failed(&self, addr: SocketAddr) -> bool {
        self.map.get(&addr).is_some_and(|c| c.failures > 0)
    }

    /// The handshake succeeded.
    pub fn proved(&mut self, addr: SocketAddr) {
        if let Some(contact) = self.map.get_mut(&addr) {
            contact.failures = 0;
            contact.met = true;
        }
    }

    /// The peer there has just shown itself alive: a pause after failures is over.
    pub fn vouched(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(contact) = self.map.get_mut(&addr).filter(|c| c.failures > 0) {
            contact.next = contact.next.min(now);
        }
    }

    /// The connection has ended; sets when the address may be dialed again.
    pub fn release(&mut self, addr: SocketAddr, ending: Ending, now: Instant) {
        let Some(contact) = self.map.get_mut(&addr) else { return };
        contact.conn = None;
        contact.gave_way = ending == Ending::GaveWay;
        // A program that was killed is often started again, and asking a host that answers costs nobody anything.
        // Where we have not met a peer, only the user's word makes us so stubborn.
        let stubborn = ending == Ending::Refused
            && is_lan(addr.ip())
            && (contact.known || contact.met)
            && contact.failures < REDIAL_REFUSED_TRIES;
        let cap = if contact.known { REDIAL_KNOWN_MAX } else { REDIAL_OTHER_MAX };
        let pause = match ending {
            Ending::Own => {
                contact.next = Instant::from_micros(u64::MAX);
                return;
            }
            Ending::Banned => BAN_PAUSE,
            Ending::Useless => USELESS_PAUSE,
            Ending::NoPort => PORTS_REST,
            Ending::GaveWay => REDIAL_FIRST,
            Ending::Failed | Ending::Lost | Ending::Refused => {
                let doubled = REDIAL_FIRST * (1 << contact.failures.min(10));
                contact.failures += 1;
                let doubled = if stubborn { REDIAL_FIRST } else { doubled };
                doubled.min(cap)
            }
        };
        contact.next = now + pause;
        let given_up = contact.failures > REDIAL_OTHER_TRIES && !stubborn;
        if !contact.known && (contact.left || given_up) {
            self.map.remove(&addr);
        }
    }

    /// Nobody listens there, as was seen just now for another torrent: the next dial can wait as long.
    pub fn refused(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(contact) = self.map.get_mut(&addr).filter(|c| c.conn.is_none()) {
            contact.next = contact.next.max(now + REDIAL_FIRST);
        }
    }

    /// Nobody is there any more, as we are told: whom we never met, and the user has not named, is
    /// forgotten. Whom we have met is dialed a few times first: connections break.
    pub fn forget(&mut self, addr: SocketAddr) {
        if self.map.get(&addr).is_some_and(|c| !c.known && !c.tried) {
            self.map.remove(&addr);
        }
    }

    /// The peer there has said itself that it leaves (BEP 3, `stopped`). It is not dialed again before it is heard
    /// of again, unless the user named it. A connection that still leads there may end as it likes.
    pub fn left(&mut self, addr: SocketAddr) {
        match self.map.get_mut(&addr).filter(|c| !c.known) {
            Some(contact) if contact.conn.is_some() => contact.left = true,
            Some(_) => {
                self.map.remove(&addr);
            }
            None => {}
        }
    }

    /// Whether there is room for addresses that nobody vouches for: some is left for trackers.
    #[must_use]
    pub fn has_room_for_hearsay(&self) -> bool {
        self.map.len() < CONTACTS_MAX / 4 * 3
    }

    /// Every address may be dialed at once (all peers are gone, or the network came back).
    pub fn hurry(&mut self, now: Instant) {
        for contact in self.map.values_mut().filter(|c| c.failures == 0) {
            contact.next = contact.next.min(now);
        }
    }

    /// How many addresses the user or the torrent named, and how many of them do not answer.
    #[must_use]
    pub fn known_and_away(&self) -> (usize, usize) {
        let known = self.map.values().filter(|c| c.known);
        (known.clone().count(), known.filter(|c| c.failures > 0).count())
    }

    /// The addresses for the resume record, those that failed least first: after a restart any of
    /// them may be the one that is still there.
    #[must_use]
    pub fn best(&self) -> Vec<SocketAddr> {
        let never = Instant::from_micros(u64::MAX);
        let usable = self.map.iter().filter(|(_, c)| c.next < never);
        let mut ranked: Vec<_> = usable.map(|(&addr, c)| (c.failures, addr)).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, addr)| addr).take(CONTACTS_SAVED_MAX).collect()
    }

    fn waiting(&self, known_only: bool) -> impl Iterator<Item = (&SocketAddr, &Contact)> {
        let never = Instant::from_micros(u64::MAX);
        let open = move |c: &Contact| c.conn.is_none() && c.next < never;
        self.map.iter().filter(move |(_, c)| open(c) && (c.known || !known_only))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_micros(s * 1_000_000)
    }

    #[test]
    fn known_hosts_are_dialed_for_ever_within_the_cap() {
        let addr: SocketAddr = "10.0.0.1:5000".parse().unwrap();
        let mut contacts = Contacts::default();
        assert!(contacts.add(addr, true, 0, at(0)) && !contacts.add(addr, false, 0, at(0)));
        let mut now = 0;
        for pause in [1, 2, 4, 5, 5, 5, 5, 5, 5, 5] {
            assert_eq!(contacts.due(at(now), true), Some(addr));
            contacts.release(addr, Ending::Failed, at(now));
            assert_eq!(contacts.next_due(true), Some(at(now + pause)));
            now += pause;
        }
        contacts.proved(addr);
        contacts.release(addr, Ending::Lost, at(now));
        assert_eq!(contacts.next_due(true), Some(at(now + 1)));
    }

    #[test]
    fn a_lan_host_that_refuses_is_dialed_every_second_for_a_minute() {
        let (lan, far) =
            (SocketAddr::from(([10, 0, 0, 1], 5000)), SocketAddr::from(([8, 8, 8, 8], 1)));
        let pauses = |addr, known, met, ending| {
            let mut contacts = Contacts::default();
            contacts.add(addr, known, 0, at(0));
            if met {
                contacts.proved(addr);
                contacts.release(addr, Ending::Lost, at(0));
            }
            let next = |_| {
                contacts.release(addr, ending, at(100));
                contacts.next_due(false).map(|next| (next - at(100)).as_secs())
            };
            (0..70).map_while(next).collect::<Vec<_>>()
        };
        let known = pauses(lan, true, true, Ending::Refused);
        assert_eq!((known.len(), &known[57..61]), (70, &[1, 1, 5, 5][..]));
        assert!(known[..59].iter().all(|&pause| pause == 1), "{known:?}");
        assert_eq!(pauses(lan, false, true, Ending::Refused), [1; 59], "then it is forgotten");
        assert_eq!(pauses(lan, true, false, Ending::Refused)[..61], [&[1; 60][..], &[5]].concat());
        // Who never answered, who does not answer now, and who is far away, costs more.
        assert_eq!(pauses(lan, false, false, Ending::Refused), [1, 2, 4, 8, 16, 32]);
        assert_eq!(pauses(lan, true, true, Ending::Failed)[..4], [2, 4, 5, 5]);
        assert_eq!(pauses(far, true, true, Ending::Refused)[..4], [2, 4, 5, 5]);
        assert_eq!(pauses(far, false, true, Ending::Refused), [2, 4, 8, 16, 32]);
    }

    #[test]
    fn who_refused_for_another_torrent_is_not_dialed_in_the_same_moment() {
        let addr = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let mut contacts = Contacts::default();
        (1..=3).for_each(|n| assert!(contacts.add(addr(n), true, 0, at(0))));
        contacts.release(addr(2), Ending::Useless, at(0));
        contacts.release(addr(3), Ending::Own, at(0));
        (1..=4).for_each(|n| contacts.refused(addr(n), at(2)));
        assert_eq!((contacts.due(at(2), true), contacts.due(at(3), true)), (None, Some(addr(1))));
        contacts.refused(addr(1), at(100));
        assert_eq!(contacts.due(at(100), true), Some(addr(2)), "no date comes nearer");
    }

    #[test]
    fn new_ones_by_priority_and_then_the_longest_due() {
        let addr = |n: u8| SocketAddr::from(([10, 0, 0, n], 5000));
        let conn = ConnId { slot: 0, generation: 0 };
        let mut contacts = Contacts::default();
        for (n, priority) in [(1, 5), (2, 9), (3, 7)] {
            contacts.add(addr(n), false, priority, at(0));
        }
        let mut dialed = Vec::new();
        for s in 0..6 {
            let next = contacts.due(at(100 * s), false).unwrap();
            contacts.engage(next, conn);
            contacts.release(next, Ending::Useless, at(100 * s));
            dialed.push(next);
        }
        assert_eq!(dialed, [2, 3, 1, 2, 3, 1].map(addr));
    }

    #[test]
    fn the_longest_due_may_have_failed() {
        let addr = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let mut contacts = Contacts::default();
        contacts.add(addr(1), true, 0, at(0));
        contacts.release(addr(1), Ending::Failed, at(0));
        contacts.add(addr(2), false, 0, at(3));
        contacts.add(addr(3), false, 0, at(4));
        contacts.release(addr(3), Ending::Useless, at(4));
        assert_eq!(
            (contacts.due(at(9), false), contacts.longest_due(at(9))),
            (Some(addr(2)), Some(addr(1)))
        );
        assert_eq!(contacts.longest_due(at(0)), None);
        contacts.engage(addr(1), ConnId { slot: 0, generation: 0 });
        assert_eq!(contacts.longest_due(at(9)), Some(addr(2)));
    }

    #[test]
    fn a_seeder_that_gave_way_comes_back_before_others_until_it_is_lost() {
        let addr = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let mut contacts = Contacts::default();
        (1..=3).for_each(|n| assert!(contacts.add(addr(n), false, 0, at(0))));
        contacts.release(addr(3), Ending::GaveWay, at(0));
        assert_eq!(contacts.longest_due(at(0)), Some(addr(1)), "not at once");
        assert_eq!(contacts.longest_due(at(1)), Some(addr(3)));
        contacts.release(addr(3), Ending::Lost, at(1));
        assert_eq!(contacts.longest_due(at(9)), Some(addr(1)));
    }

    #[test]
    fn only_who_is_neither_known_nor_connected_is_forgotten() {
        let addr = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let mut contacts = Contacts::default();
        for n in 1..=3 {
            contacts.add(addr(n), n == 1, 0, at(0));
        }
        contacts.engage(addr(2), ConnId { slot: 0, generation: 0 });
        (1..=4).for_each(|n| contacts.forget(addr(n)));
        contacts.release(addr(2), Ending::Useless, at(0));
        let there = |contacts: &Contacts, n| contacts.map.contains_key(&addr(n));
        assert_eq!([1, 2, 3].map(|n| there(&contacts, n)), [true, true, false]);
    }

    #[test]
    fn who_has_said_stopped_is_not_dialed_again() {
        let addr = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let mut contacts = Contacts::default();
        for n in 1..=4 {
            contacts.add(addr(n), n == 1, 0, at(0));
            contacts.engage(addr(n), ConnId { slot: n.into(), generation: 0 });
        }
        // Before the end of the connection, or after it.
        (1..=2).for_each(|n| contacts.left(addr(n)));
        (1..=4).for_each(|n| contacts.release(addr(n), Ending::Lost, at(0)));
        contacts.left(addr(3));
        let there = |contacts: &Contacts, n| contacts.map.contains_key(&addr(n));
        assert_eq!([1, 2, 3, 4].map(|n| there(&contacts, n)), [true, false, false, true]);
        // It has come again before that connection has ended.
        contacts.engage(addr(4), ConnId { slot: 4, generation: 1 });
        contacts.left(addr(4));
        assert!(!contacts.add(addr(4), false, 0, at(1)));
        contacts.release(addr(4), Ending::Lost, at(1));
        assert!(there(&contacts, 4));
    }

    #[test]
    fn others_are_forgotten_and_ourselves_never_dialed() {
        let addr: SocketAddr = "10.0.0.1:5000".parse().unwrap();
        let mut contacts = Contacts::default();
        contacts.add(addr, false, 0, at(0));
        assert_eq!(contacts.due(at(0), true), None);
        for _ in 0..=REDIAL_OTHER_TRIES {
            contacts.release(addr, Ending::Failed, at(0));
        }
        assert_eq!(contacts.next_due(false), None);
        contacts.add(addr, false, 0, at(0));
        contacts.release(addr, Ending::Own, at(0));
        assert_eq!(contacts.next_due(false), None);
        assert!(!contacts.add(addr, false, 0, at(0)));
    }
}
