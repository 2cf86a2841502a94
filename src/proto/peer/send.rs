//! Bytes out: what a connection sends next, whose turn it is, and what follows once it is sent.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::Phase;
use crate::proto::outgoing::{span_of, SendPlan};
use crate::proto::turns::{Need, Wish};
use crate::units::id::ConnId;
use crate::units::limits::HTTP_REFUSED_WITHIN;
use crate::units::time::Instant;

/// Pieces as long as this are gone on with before others begin: a host asks for less than one at a time, and
/// halves of pieces cannot be passed on. Shorter ones spread as fast without it, and beside a slow host faster.
const LONG_PIECE_BYTES: u32 = 512 * 1024;

impl Peer {
    /// Fills `plan` with what to send next on this connection; false if that is nothing.
    pub fn send_plan(&mut self, id: ConnId, plan: &mut SendPlan) -> bool {
        plan.clear();
        let Some(conn) = self.connections.get_mut(id) else {
            return false;
        };
        conn.send_told = false;
        let peering = conn.peering();
        let swarm = peering.and_then(|p| self.swarms.get(&p.swarm));
        let most = self.pace.blocks_up(self.clock);
        if let Some(block) = conn.outgoing.needs_turn() {
            let long = swarm.is_some_and(|s| s.geometry().piece_length() >= LONG_PIECE_BYTES);
            let need = match peering {
                _ if long && conn.outgoing.goes_on() => Need::Rest,
                Some(peering) if peering.hand.holds(block.piece) => Need::New,
                _ => Need::Spread,
            };
            let wish = Wish { conn: id, need, long };
            if most == 0 {
                self.turns.wait(wish);
                conn.outgoing.wait();
            } else if self.turns.take(wish, self.clock) {
                conn.outgoing.grant();
            } else {
                conn.outgoing.wait();
            }
        }
        if most == 0 && conn.outgoing.has_granted() {
            self.pace.hold(id);
            conn.outgoing.set_paced(true);
        }
        let of = swarm.map(|s| (s.id, s.geometry()));
        conn.outgoing.plan(of, most, plan);
        !plan.segments.is_empty()
    }

    /// The first `count` bytes of the plan are sent.
    pub fn handle_sent(&mut self, now: Instant, id: ConnId, count: usize) {
        let Self { connections, swarms, .. } = self;
        let Some(conn) = connections.get_mut(id) else {
            return;
        };
        if count > 0 {
            conn.sent_at = now;
        }
        self.clock = now;
        let remote = conn.remote;
        let payload = conn.outgoing.sent(count, |block| {
            log::debug!("-> {remote} {}", span_of(block));
        }) as u64;
        self.pace.sent(payload);
        let turn_is_over = conn.outgoing.turn_is_over();
        let mut more_slots = None;
        if let Ok(Phase::Peering(peering)) = &mut conn.phase {
            peering.up.add(now, payload);
            if let Some(swarm) = swarms.get_mut(&peering.swarm) {
                swarm.uploaded += payload;
                swarm.up.add(now, payload);
                more_slots = swarm.slots.sent(now, payload).then_some(swarm.id);
            }
        }
        if let Some(swarm) = more_slots {
            self.fill_slots(now, swarm);
        }
        if turn_is_over && self.turns.give_back(id) {
            self.next_turn(now);
        } else if payload > 0 {
            self.turns.gets_on(id, now);
        }
        let Some(conn) = self.connection(id) else { return };
        if !conn.outgoing.is_empty() {
            return self.send_metadata(id);
        }
        match conn.phase {
            Ok(Phase::Answering { .. }) => self.close(now, id, Closed::HttpDone),
            Ok(Phase::Refusing { ref mut deadline, .. }) => {
                *deadline = (*deadline).min(now + HTTP_REFUSED_WITHIN);
                self.arm(now, id);
            }
            Ok(Phase::Peering(_)) => {
                self.send_metadata(id);
                self.part_if_useless(now, id);
            }
            _ => {}
        }
    }

    /// Lets those send whose turn it is now, as far as the rate allows it.
    pub(super) fn next_turn(&mut self, now: Instant) {
        self.clock = now;
        if self.pace.blocks_up(now) == 0 {
            return;
        }
        for id in self.pace.take_held() {
            if let Some(conn) = self.connection(id) {
                conn.outgoing.set_paced(false);
                self.turns.gets_on(id, now);
                self.want_send(id);
            }
        }
        while let Some(id) = self.turns.next(now) {
            match self.connection(id) {
                Some(conn) if conn.outgoing.needs_turn().is_some() => {
                    conn.outgoing.grant();
                    self.want_send(id);
                }
                // Choked or cancelled meanwhile.
                Some(conn) => {
                    conn.outgoing.grant();
                    self.turns.forget(id);
                }
                None => self.turns.forget(id),
            }
        }
    }
}
