//! The client ports, which are few: who may dial, from where.

use crate::units::time::Instant;
use std::collections::VecDeque;

/// The client port lent to one dialed connection, until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Whichever the system chooses.
    Any,
    /// This one.
    Port(u16),
}

impl Lease {
    /// The port to bind, if it is not for the system to choose.
    #[must_use]
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Any => None,
            Self::Port(port) => Some(port),
        }
    }
}

/// The client ports listen+1 ..= listen+max-conns, each lent to one socket at a time.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Free ports, the one given back last at the end: so a port rests before it is used again.
    free: VecDeque<u16>,
    /// Ports that were found busy, and until when each is left alone; the first to come back first.
    busy: VecDeque<(Instant, u16)>,
    /// Without a range every loan is [`Lease::Any`], but still counted.
    any: bool,
    lent: u16,
    count: u16,
}

impl Ports {
    /// `count` loans of the ports behind `listen`, or of any port.
    #[must_use]
    pub fn new(listen: u16, count: u16, any: bool) -> Self {
        let free = (1..=count).filter_map(|n| listen.checked_add(n)).collect();
        Self { free, busy: VecDeque::new(), any, lent: 0, count }
    }

    /// Whether a loan can be had.
    #[must_use]
    pub fn has_free(&self) -> bool {
        self.free_count() > 0
    }

    /// How many loans can be had.
    #[must_use]
    pub fn free_count(&self) -> usize {
        if self.any {
            usize::from(self.count.saturating_sub(self.lent))
        } else {
            self.free.len()
        }
    }

    /// Takes a loan, if one can be had.
    pub fn take(&mut self) -> Option<Lease> {
        if !self.has_free() {
            return None;
        }
        self.lent += 1;
        if self.any {
            return Some(Lease::Any);
        }
        self.free.pop_front().map(Lease::Port)
    }

    /// Gives a loan back.
    pub fn give_back(&mut self, lease: Lease) {
        self.lent = self.lent.saturating_sub(1);
        self.free.extend(lease.port());
    }

    /// The free port was found busy: it is left alone until `until`, later than all before. So each
    /// is tried once in that time, and a dial that finds one port after the other busy has an end.
    pub fn rest(&mut self, port: u16, until: Instant) {
        if let Some(at) = self.free.iter().position(|&free| free == port) {
            self.free.remove(at);
            self.busy.push_back((until, port));
        }
    }

    /// The ports that were busy long enough ago may be tried again.
    pub fn wake(&mut self, now: Instant) {
        while let Some(&(_, port)) = self.busy.front().filter(|(until, _)| *until <= now) {
            self.busy.pop_front();
            self.free.push_back(port);
        }
    }

    /// From when on there is a port to try, if none must be given back first.
    #[must_use]
    pub fn next_free(&self) -> Option<Instant> {
        let rested = self.busy.front().map(|&(until, _)| until);
        if self.has_free() {
            Some(Instant::from_micros(0))
        } else {
            rested
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_micros(s * 1_000_000)
    }

    #[test]
    fn ports_rotate_and_never_leave_the_range() {
        let mut ports = Ports::new(5000, 2, false);
        assert_eq!(
            (ports.take(), ports.take(), ports.take()),
            (Some(Lease::Port(5001)), Some(Lease::Port(5002)), None)
        );
        ports.give_back(Lease::Port(5002));
        ports.give_back(Lease::Port(5001));
        assert_eq!(ports.take(), Some(Lease::Port(5002)));
        let mut any = Ports::new(5000, 1, true);
        assert_eq!((any.take(), any.take()), (Some(Lease::Any), None));
        any.give_back(Lease::Any);
        assert!(any.has_free());
    }

    #[test]
    fn a_busy_port_is_left_alone_for_a_while() {
        let mut ports = Ports::new(5000, 3, false);
        let lent = ports.take().unwrap();
        for (port, until) in [(5002, 10), (5003, 11)] {
            assert_eq!(ports.take(), Some(Lease::Port(port)));
            ports.give_back(Lease::Port(port));
            ports.rest(port, at(until));
        }
        assert_eq!((ports.take(), ports.next_free()), (None, Some(at(10))));
        ports.wake(at(10));
        assert_eq!((ports.take(), ports.take()), (Some(Lease::Port(5002)), None));
        ports.give_back(lent);
        assert_eq!((ports.next_free(), ports.take()), (Some(at(0)), Some(Lease::Port(5001))));
        ports.wake(at(11));
        assert_eq!(ports.take(), Some(Lease::Port(5003)));
    }
}
