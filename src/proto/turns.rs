//! Whose blocks go out now: a few connections at a time, a piece each, the others wait their turn.
//!
//! A line that is shared out among many at once brings each of them its piece late, and all at the
//! same time. One after the other they have theirs early, on average in half the time, and can
//! pass it on meanwhile: a new piece spreads through the swarm as fast as the lines allow. Of a long
//! piece each asks for a part at a time, and gets the rest of it before others begin with theirs:
//! otherwise all would have halves of pieces, which nobody can pass on. Where the line is not the
//! limit a turn is over at once. A connection that does not get on with its turn keeps it, but is not
//! counted as long as it stands still: what the receiver's line does not take is no reason for ours
//! to be idle.

use crate::units::id::ConnId;
use crate::units::time::{Duration, Instant};
use std::collections::VecDeque;

/// Connections that send blocks at the same time, where more wait for it: so few that each piece
/// is out soon, and enough that the line is not idle between two turns.
const TURNS_AT_ONCE: usize = 3;
/// A connection whose socket took nothing for so long does not keep others from their turn. A
/// socket takes 32 KiB at a time, which three at once wait 16 ms for at 50 Mbit/s.
const TURN_STANDS: Duration = Duration::from_millis(25);
/// The same for a long piece. Who is let in meanwhile slows the others down, and has only a part of one.
const LONG_TURN_STANDS: Duration = Duration::from_millis(40);

#[derive(Clone, Copy, Debug)]
struct Turn {
    conn: ConnId,
    /// Of a long piece.
    long: bool,
    /// When it stops to count, unless it gets on before.
    until: Instant,
}

/// A connection with a block to send, and what that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The connection.
    pub conn: ConnId,
    /// Why it should go before others.
    pub need: Need,
    /// The block is of a long piece.
    pub long: bool,
}

/// Of what piece a block is; the first goes before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A long one, of which the turn before was, too.
    Rest,
    /// One that nobody has yet.
    New,
    /// One that some have.
    Spread,
}

/// The connections that may send blocks, and those that wait for it.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Vec<Turn>,
    /// By need, each in the order in which they get their turn.
    waiting: [VecDeque<Wish>; 3],
}

impl Turns {
    /// Asks for a turn. False: it waits, and [`Turns::next`] will name it.
    pub fn take(&mut self, wish: Wish, now: Instant) -> bool {
        if self.taken.iter().any(|turn| turn.conn == wish.conn) {
            return true;
        }
        let before_it = self.waiting[..=wish.need as usize].iter().any(|queue| !queue.is_empty());
        if self.is_full(now) || before_it {
            self.wait(wish);
            return false;
        }
        self.begin(wish, now);
        true
    }

    /// Stands in the queue, even if there is room.
    pub fn wait(&mut self, wish: Wish) {
        if !self.waiting.iter().flatten().any(|waiting| waiting.conn == wish.conn) {
            self.waiting[wish.need as usize].push_back(wish);
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
            turn.until = now + stands(turn.long);
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
        self.waiting.iter_mut().for_each(|queue| queue.retain(|waiting| waiting.conn != conn));
    }

    /// Gives a turn to the next that waits, if there is room.
    pub fn next(&mut self, now: Instant) -> Option<ConnId> {
        if self.is_full(now) {
            return None;
        }
        let wish = self.waiting.iter_mut().find_map(VecDeque::pop_front)?;
        self.begin(wish, now);
        Some(wish.conn)
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

    fn begin(&mut self, Wish { conn, long, .. }: Wish, now: Instant) {
        self.taken.push(Turn { conn, long, until: now + stands(long) });
    }

    fn is_full(&self, now: Instant) -> bool {
        self.taken.iter().filter(|turn| turn.until > now).count() >= TURNS_AT_ONCE
    }
}

/// Who has not got on for so long stands still.
const fn stands(long: bool) -> Duration {
    if long {
        LONG_TURN_STANDS
    } else {
        TURN_STANDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    fn wish(slot: u32, need: Need) -> Wish {
        Wish { conn: conn(slot), need, long: need == Need::Rest }
    }

    #[test]
    fn a_few_at_a_time_in_the_order_asked() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        for slot in 0..slots + 2 {
            assert_eq!(turns.take(wish(slot, Need::Spread), now), slot < slots);
            assert_eq!(
                turns.take(wish(slot, Need::Spread), now),
                slot < slots,
                "asking again changes nothing"
            );
        }
        assert_eq!(turns.next(now), None);
        turns.give_back(conn(0));
        assert!(!turns.take(wish(0, Need::Spread), now), "others wait: it is not its turn again");
        assert_eq!(turns.next(now), Some(conn(slots)));
        assert_eq!(turns.next(now), None);
    }

    #[test]
    fn who_does_not_get_on_holds_nobody_up() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        for slot in 0..=slots {
            let _ = turns.take(wish(slot, Need::Spread), now);
        }
        let late = now + TURN_STANDS;
        assert_eq!(turns.poll_timeout(), Some(late));
        assert_eq!(turns.next(late), Some(conn(slots)));
        assert!(turns.take(wish(0, Need::Spread), late), "it has its turn still");
        assert_eq!(turns.poll_timeout(), None, "nobody waits");
        for slot in 0..slots {
            turns.gets_on(conn(slot), late);
        }
        assert!(!turns.take(wish(slots + 1, Need::Spread), late), "all of them get on");
        assert_eq!(turns.next(late), None);
        let later = late + TURN_STANDS;
        assert_eq!(turns.poll_timeout(), Some(later));
        assert_eq!(turns.next(later), Some(conn(slots + 1)));
    }

    #[test]
    fn the_rest_of_a_piece_goes_before_what_is_new_and_that_before_the_others() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        (0..slots).for_each(|slot| assert!(turns.take(wish(slot, Need::Spread), now)));
        for (slot, need) in [(10, Need::Spread), (11, Need::New), (12, Need::Rest), (13, Need::New)]
        {
            assert!(!turns.take(wish(slot, need), now));
        }
        let mut order = Vec::new();
        for slot in [0, 12, 11, 13] {
            assert!(turns.give_back(conn(slot)));
            order.extend(turns.next(now).map(|conn| conn.slot));
        }
        assert_eq!(order, [12, 11, 13, 10]);
    }

    #[test]
    fn a_long_piece_may_stand_longer() {
        let (mut turns, now) = (Turns::default(), Instant::ORIGIN);
        let slots = u32::try_from(TURNS_AT_ONCE).unwrap();
        (0..=slots)
            .for_each(|slot| assert_eq!(turns.take(wish(slot, Need::Rest), now), slot < slots));
        let late = now + LONG_TURN_STANDS;
        assert_eq!(turns.poll_timeout(), Some(late));
        turns.gets_on(conn(0), now + TURN_STANDS);
        assert_eq!(turns.next(now + TURN_STANDS), None);
        assert_eq!(turns.next(late), Some(conn(slots)));
    }
}
