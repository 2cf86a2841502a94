//! Whose blocks go out now: a few connections at a time, a piece each, the others wait their turn.
//!
//! A line that is shared out among many at once brings each of them its piece late, and all at the
//! same time. One after the other they have theirs early, on average in half the time, and can
//! pass it on meanwhile: a new piece spreads through the swarm as fast as the lines allow. Who asks
//! for less than a piece at a time gets the rest of it before others begin with theirs: otherwise
//! all would have halves of pieces, which nobody can pass on. Where the line is not the limit a
//! turn is over at once. A connection that does not get on with its turn keeps it, but is not
//! counted as long as it stands still: what the receiver's line does not take is no reason for ours
//! to be idle. The more have a turn, the longer each waits for its share of the line, and the later
//! it counts as standing still: otherwise each that is let in slows the others down until all are in.

use crate::units::id::ConnId;
use crate::units::limits::{TURNS_AT_ONCE, TURN_STANDS};
use crate::units::time::{Duration, Instant};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Turn {
    conn: ConnId,
    /// When it began, or got on last.
    since: Instant,
}

/// What a connection waits for with its turn; the first goes before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The rest of a piece that the turn before was for.
    Rest,
    /// A piece that nobody has yet.
    New,
    /// A piece that some have.
    Spread,
}

/// The connections that may send blocks, and those that wait for it.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Vec<Turn>,
    /// By need, each in the order in which they get their turn.
    waiting: [VecDeque<ConnId>; 3],
}

impl Turns {
    /// Asks for a turn. False: it waits, and [`Turns::next`] will name it.
    pub fn take(&mut self, conn: ConnId, need: Need, now: Instant) -> bool {
        if self.taken.iter().any(|turn| turn.conn == conn) {
            return true;
        }
        let before_it = self.waiting[..=need as usize].iter().any(|queue| !queue.is_empty());
        if self.is_full(now) || before_it {
            self.wait(conn, need);
            return false;
        }
        self.taken.push(Turn { conn, since: now });
        true
    }

    /// Stands in the queue, even if there is room.
    pub fn wait(&mut self, conn: ConnId, need: Need) {
        if !self.waiting.iter().any(|queue| queue.contains(&conn)) {
            self.waiting[need as usize].push_back(conn);
        }
    }

    /// Whether nobody waits for a turn.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Some of its blocks went out.
    pub fn gets_on(&mut self, conn: ConnId, now: Instant) {
        if let Some(turn) = self.taken.iter_mut().find(|turn| turn.conn == conn) {
            turn.since = now;
        }
    }

    /// The turn is over. False where it had none.
    pub fn give_back(&mut self, conn: ConnId) -> bool {
        let at = self.taken.iter().position(|turn| turn.conn == conn);
        at.map(|at| self.taken.swap_remove(at)).is_some()
    }

    /// The connection is gone.
    pub fn forget(&mut self, conn: ConnId) {
        self.give_back(conn);
        self.waiting.iter_mut().for_each(|queue| queue.retain(|&waiting| waiting != conn));
    }

    /// Gives a turn to the next that waits, if there is room.
    pub fn next(&mut self, now: Instant) -> Option<ConnId> {
        if self.is_full(now) {
            return None;
        }
        let conn = self.waiting.iter_mut().find_map(VecDeque::pop_front)?;
        self.taken.push(Turn { conn, since: now });
        Some(conn)
    }

    /// When the next that waits gets a turn even if none is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_idle() {
            return None;
        }
        let mut ends: Vec<Instant> =
            self.taken.iter().map(|turn| turn.since + self.stands()).collect();
        ends.sort_unstable();
        ends.len().checked_sub(TURNS_AT_ONCE).map(|at| ends[at])
    }

    fn is_full(&self, now: Instant) -> bool {
        let stands = self.stands();
        self.taken.iter().filter(|turn| turn.since + stands > now).count() >= TURNS_AT_ONCE
    }

    /// Who has not got on for so long stands still.
    fn stands(&self) -> Duration {
        TURN_STANDS * u32::try_from(self.taken.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    #[test]
    fn a_few_at_a_time_in_the_order_asked() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        for slot in 0..slots + 2 {
            assert_eq!(turns.take(conn(slot), Need::Spread, now), slot < slots);
            assert_eq!(
                turns.take(conn(slot), Need::Spread, now),
                slot < slots,
                "asking again changes nothing"
            );
        }
        assert_eq!(turns.next(now), None);
        turns.give_back(conn(0));
        assert!(!turns.take(conn(0), Need::Spread, now), "others wait: it is not its turn again");
        assert_eq!(turns.next(now), Some(conn(slots)));
        assert_eq!(turns.next(now), None);
    }

    #[test]
    fn who_does_not_get_on_holds_nobody_up() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        for slot in 0..=slots {
            let _ = turns.take(conn(slot), Need::Spread, now);
        }
        let late = now + TURN_STANDS * slots;
        assert_eq!(turns.poll_timeout(), Some(late));
        assert_eq!(turns.next(late), Some(conn(slots)));
        assert!(turns.take(conn(0), Need::Spread, late), "it has its turn still");
        assert_eq!(turns.poll_timeout(), None, "nobody waits");
        for slot in 0..slots {
            turns.gets_on(conn(slot), late);
        }
        assert!(!turns.take(conn(slots + 1), Need::Spread, late), "all of them get on");
        assert_eq!(turns.next(late), None);
        let later = late + TURN_STANDS * (slots + 1);
        assert_eq!(turns.poll_timeout(), Some(later), "one more has a turn: each waits longer");
        assert_eq!(turns.next(later), Some(conn(slots + 1)));
    }

    #[test]
    fn the_rest_of_a_piece_goes_before_what_is_new_and_that_before_the_others() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        (0..slots).for_each(|slot| assert!(turns.take(conn(slot), Need::Spread, now)));
        for (slot, need) in [(10, Need::Spread), (11, Need::New), (12, Need::Rest), (13, Need::New)]
        {
            assert!(!turns.take(conn(slot), need, now));
        }
        let mut order = Vec::new();
        for slot in [0, 12, 11, 13] {
            assert!(turns.give_back(conn(slot)));
            order.extend(turns.next(now).map(|conn| conn.slot));
        }
        assert_eq!(order, [12, 11, 13, 10]);
    }
}
