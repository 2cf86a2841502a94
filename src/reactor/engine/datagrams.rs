//! Datagrams between the sockets and the core, a bounded number a turn.

use super::Reactor;

/// Datagrams taken in one turn: the connections get their turn even in a flood.
const DATAGRAMS_A_TURN: usize = 64;

impl Reactor {
    pub(super) fn take_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_A_TURN {
            let Some((via, from, bytes)) = self.datagrams.receive() else { return };
            self.peer.handle_datagram(self.clock.now(), via, from, bytes);
            self.drain();
        }
    }
}
