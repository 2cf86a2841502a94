//! Whose blocks go out now: a few connections at a time, a piece each, the others wait their turn.
//!
//! A line that is shared out among many at once brings each of them its piece late, and all at the
//! same time. One after the other they have theirs early, on average in half the time, and can
//! pass it on meanwhile: a new piece spreads through the swarm as fast as the lines allow. Where
//! the line is not the limit a turn is over at once. A connection that does not get on with its
//! turn keeps it, but is not counted as long as it stands still: what the receiver's line does not
//! take is no reason for ours to be idle.

use crate::units::id::ConnId;
use crate::units::limits::{TURNS_AT_ONCE, TURN_STANDS};
use crate::units::time::Instant;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Turn {
    conn: ConnId,
    /// When it stops to count, unless it gets on before.
    until: Instant,
}

/// The connections that may send blocks, and those that wait for it.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Vec<Turn>,
    /// In the order in which they get their turn.
    waiting: VecDeque<ConnId>,
    /// The same, and before all others: what they wait for nobody has yet.
    first: VecDeque<ConnId>,
}

impl Turns {
    /// Asks for a turn. False: it waits, and [`Turns::next`] will name it. `first`: its block is
    /// of a piece that nobody has yet, and goes before what some have.
    pub fn take(&mut self, conn: ConnId, first: bool, now: Instant) -> bool {
        if self.taken.iter().any(|turn| turn.conn == conn) {
            return true;
        }
        let before_it = !self.first.is_empty() || !(first || self.waiting.is_empty());
        if self.is_full(now) || before_it {
            self.wait(conn, first);
            return false;
        }
        self.taken.push(Turn { conn, until: now + TURN_STANDS });
        true
    }

    /// Stands in the queue, even if there is room.
    pub fn wait(&mut self, conn: ConnId, first: bool) {
        let queue = if first { &mut self.first } else { &mut self.waiting };
        if !queue.contains(&conn) {
            queue.push_back(conn);
        }
    }

    /// Whether nobody waits for a turn.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.first.is_empty()
    }

    /// Some of its blocks went out.
    pub fn gets_on(&mut self, conn: ConnId, now: Instant) {
        if let Some(turn) = self.taken.iter_mut().find(|turn| turn.conn == conn) {
            turn.until = now + TURN_STANDS;
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
        self.waiting.retain(|&waiting| waiting != conn);
        self.first.retain(|&waiting| waiting != conn);
    }

    /// Gives a turn to the next that waits, if there is room.
    pub fn next(&mut self, now: Instant) -> Option<ConnId> {
        if self.is_full(now) {
            return None;
        }
        let conn = self.first.pop_front().or_else(|| self.waiting.pop_front())?;
        self.taken.push(Turn { conn, until: now + TURN_STANDS });
        Some(conn)
    }

    /// When the next that waits gets a turn even if none is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_idle() {
            return None;
        }
        let mut ends: Vec<Instant> = self.taken.iter().map(|turn| turn.until).collect();
        ends.sort_unstable();
        ends.len().checked_sub(TURNS_AT_ONCE).map(|at| ends[at])
    }

    fn is_full(&self, now: Instant) -> bool {
        self.taken.iter().filter(|turn| turn.until > now).count() >= TURNS_AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::time::Duration;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    #[test]
    fn a_few_at_a_time_in_the_order_asked() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        for slot in 0..slots + 2 {
            assert_eq!(turns.take(conn(slot), false, now), slot < slots);
            assert_eq!(
                turns.take(conn(slot), false, now),
                slot < slots,
                "asking again changes nothing"
            );
        }
        assert_eq!(turns.next(now), None);
        turns.give_back(conn(0));
        assert!(!turns.take(conn(0), false, now), "others wait: it is not its turn again");
        assert_eq!(turns.next(now), Some(conn(slots)));
        assert_eq!(turns.next(now), None);
    }

    #[test]
    fn who_does_not_get_on_holds_nobody_up() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        for slot in 0..=slots {
            let _ = turns.take(conn(slot), false, now);
        }
        let late = now + TURN_STANDS;
        assert_eq!(turns.poll_timeout(), Some(late));
        assert_eq!(turns.next(late), Some(conn(slots)));
        assert!(turns.take(conn(0), false, late), "it has its turn still");
        assert_eq!(turns.poll_timeout(), None, "nobody waits");
        for slot in 0..slots {
            turns.gets_on(conn(slot), late);
        }
        assert!(!turns.take(conn(slots + 1), false, late), "all of them get on");
        assert_eq!(turns.next(late), None);
        assert_eq!(turns.next(late + Duration::from_secs(9)), Some(conn(slots + 1)));
    }
}
