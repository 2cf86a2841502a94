//! Datagrams between the sockets and the core, a bounded number a turn; and the interfaces on
//! which the local ones go out.

use super::Reactor;
use crate::reactor::sockets;
use crate::units::time::{Duration, Instant};

/// Datagrams taken in one turn: the connections get their turn even in a flood.
const DATAGRAMS_A_TURN: usize = 64;
/// Between two looks for interfaces that have come or gone.
const INTERFACES_PAUSE: Duration = Duration::from_secs(5);

impl Reactor {
    pub(super) fn take_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_A_TURN {
            let Some((via, from, bytes)) = self.datagrams.receive() else { return };
            self.peer.handle_datagram(self.clock.now(), via, from, bytes);
            self.drain();
        }
    }

    /// An interface that comes later than we is used as well.
    pub(super) fn look_at_interfaces(&mut self, now: Instant) {
        if self.interfaces_at.is_none_or(|at| at > now) {
            return;
        }
        self.interfaces_at = Some(now + INTERFACES_PAUSE);
        match if_addrs::get_if_addrs() {
            Ok(interfaces) => {
                self.datagrams.rejoin(&interfaces);
                let addresses = sockets::own_addresses(self.options.bind);
                self.peer.handle_addresses(now, addresses);
                self.drain();
            }
            Err(error) => log::debug!("network interfaces: {}", sockets::words(&error)),
        }
    }
}
