//! Not faster than the user says (D5, G5): blocks go out, and are asked for, as a budget allows.
//!
//! A download is held back by asking for less: what is not asked for does not come, so nobody's bytes
//! wait in sockets, and no peer is kept from being heard. Messages other than blocks are not counted.

use super::Peer;
use crate::units::budget::Budget;
use crate::units::geometry::Block;
use crate::units::id::ConnId;
use crate::units::limits::BLOCK_BYTES;
use crate::units::time::Instant;
use std::collections::VecDeque;

/// The rates, and who waits for them.
#[derive(Debug)]
pub(super) struct Pace {
    up: Option<Budget>,
    down: Option<Budget>,
    /// Connections with a turn that go on when the budget allows it, each once.
    held: Vec<ConnId>,
    /// Connections that would be asked for more, each once, who waits longest first.
    asks: VecDeque<ConnId>,
}

impl Pace {
    pub(super) fn new(up: Option<u64>, down: Option<u64>, now: Instant) -> Self {
        let budget = |rate: Option<u64>| rate.map(|rate| Budget::new(rate, now));
        Self { up: budget(up), down: budget(down), held: Vec::new(), asks: VecDeque::new() }
    }

    /// Blocks that may be sent now.
    pub(super) fn blocks_up(&mut self, now: Instant) -> usize {
        self.up.as_mut().map_or(usize::MAX, |up| up.units(now, BLOCK_BYTES))
    }

    /// So many bytes of blocks are sent.
    pub(super) fn sent(&mut self, bytes: u64) {
        if let Some(up) = &mut self.up {
            up.spend(bytes);
        }
    }

    /// It has its turn, and nothing may be sent.
    pub(super) fn hold(&mut self, id: ConnId) {
        if !self.held.contains(&id) {
            self.held.push(id);
        }
    }

    /// Those that were held, in that order.
    pub(super) fn take_held(&mut self) -> Vec<ConnId> {
        core::mem::take(&mut self.held)
    }

    /// Blocks that may be asked for now.
    pub(super) fn blocks_down(&mut self, now: Instant) -> usize {
        self.down.as_mut().map_or(usize::MAX, |down| down.units(now, BLOCK_BYTES))
    }

    /// These are asked for.
    pub(super) fn asked_for(&mut self, blocks: &[Block]) {
        if let Some(down) = &mut self.down {
            down.spend(blocks.iter().map(|block| u64::from(block.length)).sum());
        }
    }

    /// It would be asked for more, and comes behind the others.
    pub(super) fn asks_later(&mut self, id: ConnId) {
        if self.down.is_some() && !self.asks.contains(&id) {
            self.asks.push_back(id);
        }
    }

    /// When somebody can be asked for more.
    pub(super) fn asks_at(&self) -> Option<Instant> {
        self.down.filter(|_| !self.asks.is_empty()).map(|down| down.refills_at())
    }
}

impl Peer {
    /// Asks those for more that the rate has kept waiting, one after the other.
    pub(super) fn ask_on(&mut self, now: Instant) {
        for _ in 0..self.pace.asks.len() {
            if self.pace.blocks_down(now) == 0 {
                return;
            }
            if let Some(id) = self.pace.asks.pop_front() {
                self.request_more(now, id);
            }
        }
    }

    /// When the next that waits may send.
    pub(super) fn turn_timeout(&self) -> Option<Instant> {
        let waits = !(self.pace.held.is_empty() && self.turns.is_idle());
        match self.pace.up.filter(Budget::is_spent) {
            Some(up) => waits.then(|| up.refills_at()),
            None => self.turns.poll_timeout(),
        }
    }
}
