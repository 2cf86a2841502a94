//! Bytes in and out: each connection that can move something has its turn, one call at a time.

use super::Reactor;
use crate::proto::outgoing::{Segment, BLOCKS_A_CALL};
use crate::reactor::link::{Link, Moved};
use crate::reactor::sockets;
use crate::reactor::turns::Work;
use crate::units::id::ConnId;
use crate::units::limits::{BLOCK_BYTES, COLD_AGAIN, COLD_PAUSE, COLD_WITHIN};
use crate::units::time::{Duration, Instant};
use crate::wire::address::unmap;
use mio::{Interest, Token};

/// Bytes that all connections together move in one turn of the loop: about 2 ms.
const TURN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// After so long they move nothing more in this turn.
const MOVE_WITHIN: Duration = Duration::from_millis(1);
/// Links that have their turn in one turn of the loop, whatever they move.
const MOVES_A_TURN: usize = 1024;
/// The disk is asked ahead for so long after it had to be waited for.
const COLD_FOR: Duration = Duration::from_secs(10);
const _: () = assert!(BLOCKS_A_CALL * (BLOCK_BYTES as usize) <= TURN_BYTES_MAX);

impl Reactor {
    /// Lets the ready links move bytes, one after the other and again, until none can or this
    /// turn's share is used up.
    pub(super) fn move_bytes(&mut self) {
        let mut left = TURN_BYTES_MAX;
        let until = self.clock.now() + MOVE_WITHIN;
        for _ in 0..MOVES_A_TURN {
            if left == 0 || self.clock.now() >= until {
                return;
            }
            let Some(id) = self.ready.pop_front() else { return };
            let Some(link) = self.link(id) else { continue };
            link.queued = false;
            if link.dialing {
                self.dialed(id);
            } else {
                let received = if link.can_receive() { self.receive(id) } else { 0 };
                left = left.saturating_sub(received);
                let sends = self.link(id).is_some_and(|l| l.can_send());
                let sent = if sends { self.send(id) } else { 0 };
                if sends {
                    self.lap(Work::Send);
                }
                left = left.saturating_sub(sent);
            }
            let again = self.link(id).and_then(Link::becomes_ready);
            self.ready.extend(again);
        }
    }

    /// The core has something to send there.
    pub(super) fn want_send(&mut self, id: ConnId) {
        let ready = self.link(id).and_then(|link| {
            link.wants_send = true;
            link.becomes_ready()
        });
        self.ready.extend(ready);
    }

    /// One read; says how many bytes it brought.
    fn receive(&mut self, id: ConnId) -> usize {
        let room = self.peer.receive_room(id).min(self.received.len());
        if self.write_back.is_full(&self.storage) && self.peer.is_downloading_from(id) {
            self.hold(id);
            return 0;
        }
        let link = self.links.get_mut(id.slot as usize).and_then(Option::as_mut);
        let Some(link) = link.filter(|link| link.id == id) else { return 0 };
        if room == 0 {
            link.readable = false;
            return 0;
        }
        let outcome = link.receive(&mut self.received[..room]);
        let now = self.clock.now();
        self.meter.lap(now, Work::Receive);
        let mut moved = 0;
        match outcome {
            Moved::Bytes(count) => {
                moved = count;
                let bytes = &self.received[..count];
                self.peer.handle_received(now, id, bytes, &mut self.storage);
                let written = self.clock.now();
                self.meter.lap(written, Work::Write);
                self.write_back.wrote(&self.storage, written - now);
            }
            Moved::Blocked | Moved::Cold => {}
            Moved::End => {
                self.peer.handle_closed(now, id, None);
                // It may have ended its half only, and wait for our answer.
                self.link(id).into_iter().for_each(|link| link.readable = false);
            }
            Moved::Failed(error) => {
                self.peer.handle_closed(now, id, Some(sockets::words(&error)));
            }
            Moved::BadContent(swarm, error) => self.peer.handle_store_error(now, swarm, &error),
        }
        self.drain();
        moved
    }

    /// What it sends would be more than the disk takes: it is read from later.
    fn hold(&mut self, id: ConnId) {
        let Some(link) = self.link(id) else { return };
        link.held = true;
        self.held.push(id);
    }

    /// What was received goes on to the disk, and those that were held for it have their turn again.
    pub(super) fn write_back(&mut self) {
        if !self.write_back.turn(&mut self.storage) {
            return;
        }
        for id in core::mem::take(&mut self.held) {
            let ready = self.link(id).and_then(|link| {
                link.held = false;
                link.becomes_ready()
            });
            self.ready.extend(ready);
        }
    }

    /// One write; says how many bytes it took.
    fn send(&mut self, id: ConnId) -> usize {
        let now = self.clock.now();
        if self.looked_and_changed(now) {
            return 0;
        }
        self.send_plan.look_ahead = self.cold_until > now;
        let planned = self.peer.send_plan(id, &mut self.send_plan);
        if self.send_plan.look_ahead {
            self.ask_disk();
        }
        let link = self.links.get_mut(id.slot as usize).and_then(Option::as_mut);
        let Some(link) = link.filter(|link| link.id == id) else { return 0 };
        if !planned {
            link.wants_send = false;
            return 0;
        }
        let mut outcome = link.send(&self.send_plan, &mut self.storage, false);
        if !matches!(outcome, Moved::Cold) {
            link.cold_since = None;
        } else if link.cold_since.is_some_and(|since| since + COLD_WITHIN <= now) {
            outcome = link.send(&self.send_plan, &mut self.storage, true);
        }
        let now = self.clock.now();
        let mut moved = 0;
        match outcome {
            Moved::Bytes(count) => {
                moved = count;
                self.peer.handle_sent(now, id, count);
            }
            Moved::Blocked | Moved::End => {}
            Moved::Cold => self.wait_for_disk(now, id),
            Moved::Failed(error) => {
                self.peer.handle_closed(now, id, Some(sockets::words(&error)));
            }
            Moved::BadContent(swarm, error) => {
                if self.begin_anew(now) != Some(swarm) {
                    self.peer.handle_store_error(now, swarm, &error);
                }
            }
        }
        self.drain();
        moved
    }

    /// What this connection is to send is not in memory: it is asked for, and there will be another look.
    fn wait_for_disk(&mut self, now: Instant, id: ConnId) {
        if self.cold_until <= now {
            self.asked_at = now;
        }
        self.cold_until = now + COLD_FOR;
        let Some(link) = self.link(id) else { return };
        link.cold = true;
        let since = *link.cold_since.get_or_insert(now);
        if since + COLD_AGAIN <= now && self.asked_at + COLD_AGAIN <= now {
            self.asked_at = now;
            self.storage.ask_again();
        }
        self.ask_disk();
        self.cold.push_back((now + COLD_PAUSE, id));
    }

    /// Asks for all content of the plan, and what is to follow it.
    fn ask_disk(&mut self) {
        let Some(swarm) = self.send_plan.swarm else { return };
        for segment in &self.send_plan.segments {
            if let Segment::Content { offset, len } = *segment {
                self.storage.ask(swarm, offset, len);
            }
        }
        for &(offset, len) in &self.send_plan.ahead {
            self.storage.ask(swarm, offset, len);
        }
    }

    /// Those who wait for the disk look again.
    pub(super) fn look_at_disk(&mut self) {
        let now = self.clock.now();
        while self.cold.front().is_some_and(|&(at, _)| at <= now) {
            let Some((_, id)) = self.cold.pop_front() else { return };
            let ready = self.link(id).and_then(|link| {
                link.cold = false;
                link.becomes_ready()
            });
            self.ready.extend(ready);
        }
    }

    fn dialed(&mut self, id: ConnId) {
        let now = self.clock.now();
        let Some(link) = self.link(id) else { return };
        match sockets::connected(&link.stream) {
            Ok(None) => link.writable = false,
            Ok(Some(local)) => {
                sockets::prepare(&link.stream);
                link.dialing = false;
                self.peer.handle_connected(now, id, unmap(local));
            }
            Err(error) => self.peer.handle_dial_failed(now, id, error),
        }
        self.drain();
    }

    pub(super) fn attach(&mut self, id: ConnId, mut stream: mio::net::TcpStream, dialing: bool) {
        let slot = id.slot as usize;
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(slot), both) {
            let now = self.clock.now();
            self.peer.handle_closed(now, id, Some(sockets::words(&error)));
            return;
        }
        if self.links.len() <= slot {
            self.links.resize_with(slot + 1, || None);
        }
        self.links[slot] = Some(Link::new(id, stream, dialing));
    }

    pub(super) fn detach(&mut self, id: ConnId) {
        self.authorities.forget(id);
        let slot = id.slot as usize;
        if let Some(link) = self.links.get_mut(slot) {
            if link.as_ref().is_some_and(|link| link.id == id) {
                // Dropping the stream takes it out of the poll as well.
                *link = None;
                self.accept_again_at = None;
            }
        }
    }

    pub(super) fn link(&mut self, id: ConnId) -> Option<&mut Link> {
        let link = self.links.get_mut(id.slot as usize)?.as_mut()?;
        (link.id == id).then_some(link)
    }
}
