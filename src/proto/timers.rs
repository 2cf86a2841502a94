//! When each connection is to be looked at next, in order of time: a connection costs when its own
//! time has come, and nothing at any other.

use crate::units::id::ConnId;
use crate::units::time::Instant;
use std::collections::BTreeSet;

/// At most one date for each connection. The connection itself knows its date, and tells it with
/// every change.
#[derive(Debug, Default)]
pub struct Timers {
    dates: BTreeSet<(Instant, ConnId)>,
}

impl Timers {
    /// The date of `conn` is now `at`; it was `before`.
    pub fn set(&mut self, conn: ConnId, before: Option<Instant>, at: Option<Instant>) {
        if before == at {
            return;
        }
        if let Some(before) = before {
            let there = self.dates.remove(&(before, conn));
            debug_assert!(there, "a connection does not know its date");
        }
        self.dates.extend(at.map(|at| (at, conn)));
    }

    /// The earliest date.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.dates.first().map(|&(at, _)| at)
    }

    /// Takes out all whose date has come. They have none from now on.
    pub fn take_due(&mut self, now: Instant) -> Vec<ConnId> {
        let mut due = Vec::new();
        while let Some(&(at, conn)) = self.dates.first().filter(|&&(at, _)| at <= now) {
            self.dates.remove(&(at, conn));
            due.push(conn);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_micros(s * 1_000_000)
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    #[test]
    fn each_has_one_date_and_comes_once() {
        let mut timers = Timers::default();
        assert_eq!((timers.next(), timers.take_due(at(9))), (None, vec![]));
        timers.set(conn(1), None, Some(at(5)));
        timers.set(conn(2), None, Some(at(3)));
        timers.set(conn(3), None, Some(at(3)));
        timers.set(conn(2), Some(at(3)), Some(at(7)));
        timers.set(conn(3), Some(at(3)), None);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.take_due(at(4)), []);
        assert_eq!(timers.take_due(at(7)), [conn(1), conn(2)]);
        assert_eq!(timers.next(), None);
    }
}
