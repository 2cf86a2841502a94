//! What time alone brings: silence, choking rounds, redials, announces.

use super::{Peer, TICK};
use crate::proto::choker::{self, Candidate, CHOKE_ROUND, OPTIMISTIC_ROUNDS, SLOTS_MIN};
use crate::proto::closed::Closed;
use crate::proto::connection::{Connection, Phase};
use crate::proto::outgoing::span_of;
use crate::proto::swarm::{Stage, Swarm};
use crate::proto::tracker::End;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::{LISTED_AGAIN, SNUBBED_AFTER};
use crate::units::time::Instant;
use crate::wire::message::Message;

/// Blocks that an idle peer is asked for again at a time.
const END_GAME_BLOCKS: usize = 16;

/// Whether a round of choking could change anything.
fn chooses(swarm: &Swarm) -> bool {
    !swarm.wanting.is_empty() || swarm.slots.slots() > SLOTS_MIN
}

impl Peer {
    /// Time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ports.wake(now);
        self.tracker.handle_timeout(now);
        self.spread_news(now);
        self.next_turn(now);
        self.ask_on(now);
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        self.try_stalled(now);
        self.end_leaving(now);
        self.resolve_named(now);
        self.lsd_due(now);
        self.dht_due(now);
        self.dial_due(now);
    }

    /// At most once a second, and only while something is due: who is silent costs nothing.
    fn tick(&mut self, now: Instant) {
        for id in self.take_due(now) {
            self.tick_connection(now, id);
            self.arm(now, id);
        }
        self.exchange_tick(now);
        self.metadata_tick(now);
        self.turn_over(now);
        self.end_what_is_given(now);
        if now >= self.next_round {
            self.next_round = now + CHOKE_ROUND;
            let choosing = self.swarms.values().filter(|swarm| chooses(swarm));
            for swarm in choosing.map(|swarm| swarm.id).collect::<Vec<_>>() {
                self.choke_round(now, swarm);
            }
        }
        if now >= self.listed_again {
            self.listed_again = now + LISTED_AGAIN;
            self.keep_listed(now);
        }
        self.tick_at = self.next_work();
        let armed = |c: &Connection| c.look_at.is_some_and(|at| at <= c.next_look(now).max(now));
        debug_assert!(self.connections.iter().all(armed), "one would be forgotten");
    }

    /// When the tick next has something to do, by what is known now. A time that is past means
    /// every second.
    fn next_work(&self) -> Option<Instant> {
        let full = !self.stopping && !self.ports.has_free();
        let of_swarm = |swarm: &Swarm| {
            let met = !swarm.members.is_empty();
            let presses = full && swarm.stage == Stage::Downloading && !swarm.paused;
            let now = swarm.stirred || presses || (met && swarm.fetch.is_some());
            let tells = self.config.pex && !swarm.torrent.private && met;
            [
                now.then_some(Instant::ORIGIN),
                swarm.exchange_at.filter(|_| tells),
                tells.then_some(self.list_again),
                met.then_some(self.listed_again),
                chooses(swarm).then_some(self.next_round),
                self.goal_timeout(swarm),
            ]
        };
        self.swarms.values().flat_map(of_swarm).flatten().min()
    }

    /// When the next tick is, if there is anything to do.
    pub(super) fn tick_timeout(&self) -> Option<Instant> {
        let due = [self.tick_at, self.timers.next()].into_iter().flatten().min()?;
        Some(due.max(self.next_tick))
    }

    /// Something has changed: the next tick, a second from now at the latest, finds out what is
    /// due when.
    pub(super) fn tick_soon(&mut self, now: Instant) {
        self.tick_at = Some(Instant::ORIGIN);
        if self.next_tick <= now {
            // There was none for a while. Not at once: what has just begun is not late.
            self.next_tick = now + TICK;
        }
    }

    /// The connection may have to be looked at earlier than was thought.
    pub(super) fn arm(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.connections.get_mut(id) else {
            return;
        };
        let at = conn.next_look(now);
        if conn.look_at.is_none_or(|before| at < before) {
            self.timers.set(id, conn.look_at.replace(at), Some(at));
        }
    }

    /// The connections whose date has come, and all members of a swarm in which we lack another
    /// piece or one less; in the order of their slots.
    fn take_due(&mut self, now: Instant) -> Vec<ConnId> {
        let mut due = self.timers.take_due(now);
        for &id in &due {
            if let Some(conn) = self.connection(id) {
                conn.look_at = None;
            }
        }
        for swarm in self.swarms.values_mut() {
            if core::mem::take(&mut swarm.stirred) {
                due.extend(&swarm.members);
            }
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Who is connected is listed by our tracker, however seldom it announces.
    fn keep_listed(&mut self, now: Instant) {
        for conn in self.connections.iter() {
            let Some(peering) = conn.peering() else { continue };
            if let Some(swarm) = self.swarms.get(&peering.swarm) {
                let port = super::exchange::listens_at(conn).map(|addr| addr.port());
                let end = End { port, ..peering.end(conn.remote.ip()) };
                self.tracker.handle_alive(now, swarm.torrent.info_hash, end);
            }
        }
    }

    fn tick_connection(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.connection(id) else { return };
        if conn.deadline().is_some_and(|deadline| deadline <= now) {
            let why = match conn.phase {
                Ok(Phase::Dialing { .. }) => Closed::Dial("timed out".into()),
                Ok(Phase::Refusing { .. }) if conn.outgoing.is_empty() => Closed::HttpDone,
                _ => Closed::Silent,
            };
            return self.close(now, id, why);
        }
        if conn.peering().is_none() {
            return;
        }
        if conn.silent_at() <= now {
            return self.close(now, id, Closed::Silent);
        }
        if conn.keep_alive_at() <= now && conn.outgoing.is_empty() {
            conn.outgoing.push_bytes(&[0; 4]);
            log::debug!("-> {} keep-alive", conn.remote);
            self.want_send(id);
        }
        let snubbed = self.with_peering(id, |peering, swarm, _, remote| {
            peering.adapt_depth(now);
            peering.refuses = false;
            let owes = !peering.requests.is_empty();
            if !owes || now - peering.last_block < SNUBBED_AFTER {
                return None;
            }
            log::info!("{} owes us blocks and sends none: snubbed", remote.ip());
            peering.snubbed = true;
            peering.depth.shut();
            peering.last_block = now;
            while let Some(block) = peering.requests.pop_front() {
                swarm.picker.give_back(block);
                peering.drop_late(block);
            }
            Some(swarm.id)
        });
        if let Some(Some(swarm)) = snubbed {
            self.request_all(now, swarm);
        }
        self.part_if_deaf(now, id);
        self.update_interest(now, id);
        // The end game: what the others have owed for a while is asked for again. At once would
        // only fetch twice what is on its way already.
        self.request_up_to(now, id, END_GAME_BLOCKS);
    }

    /// BEP 3: every ten seconds the slots go to those who deserve them.
    fn choke_round(&mut self, now: Instant, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        swarm.rounds = swarm.rounds.wrapping_add(1);
        let new_optimistic = swarm.rounds % OPTIMISTIC_ROUNDS == 0;
        let seeding = swarm.stage == Stage::Complete;
        let rate = swarm.up.get(now);
        swarm.slots.settle(rate);
        let (members, held) = (swarm.wanting.clone(), swarm.optimistic);
        let candidates = self.candidates(now, &members, seeding);
        let slots = self.slots(id);
        if candidates.len() <= slots || slots == 0 {
            return self.fill_slots(now, id);
        }
        let mut chosen = choker::rank(&candidates, seeding, now);
        let rest = chosen.split_off(slots.saturating_sub(1).max(1).min(chosen.len()));
        if slots > 1 {
            let keep = held.filter(|held| rest.contains(held) && !new_optimistic);
            let pick = rest.get(self.rng.index(rest.len().max(1))).copied();
            let optimistic = keep.or(pick);
            chosen.extend(optimistic);
            if let Some(swarm) = self.swarms.get_mut(&id) {
                swarm.optimistic = optimistic;
            }
        }
        for candidate in &candidates {
            if !chosen.contains(&candidate.conn) && candidate.unchoked_at.is_some() {
                self.choke(now, candidate.conn);
            }
        }
        for conn in chosen {
            self.unchoke(now, conn);
        }
    }

    /// Gives free slots to whoever waits for one.
    pub(super) fn fill_slots(&mut self, now: Instant, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let seeding = swarm.stage == Stage::Complete;
        let members = swarm.wanting.clone();
        let candidates = self.candidates(now, &members, seeding);
        let taken = candidates.iter().filter(|c| c.unchoked_at.is_some()).count();
        let free = self.slots(id).saturating_sub(taken);
        let waiting: Vec<Candidate> =
            candidates.into_iter().filter(|c| c.unchoked_at.is_none()).collect();
        for conn in choker::rank(&waiting, seeding, now).into_iter().take(free) {
            self.unchoke(now, conn);
        }
    }

    /// Peers served at once in this swarm.
    fn slots(&self, id: SwarmId) -> usize {
        let Some(swarm) = self.swarms.get(&id).filter(|swarm| !swarm.ends()) else { return 0 };
        self.config.upload_slots.unwrap_or_else(|| swarm.slots.slots()).max(1)
    }

    pub(super) fn choke(&mut self, now: Instant, id: ConnId) {
        let dropped = self.with_peering(id, |peering, swarm, outgoing, _| {
            peering.am_choking = true;
            peering.unchoked_at = None;
            peering.choked_at = now;
            if let Some(dealer) = &mut swarm.dealer {
                dealer.take_back(&mut peering.hand, &swarm.picker);
            }
            let dropped: Vec<_> = outgoing.drop_backlog().collect();
            // BEP 6: every request is answered, if only by reject. Without it, choke says it all.
            if peering.fast {
                dropped
            } else {
                Vec::new()
            }
        });
        let Some(dropped) = dropped else { return };
        self.say(id, &Message::Choke);
        for block in dropped {
            self.say(id, &Message::Reject(span_of(block)));
        }
    }

    fn unchoke(&mut self, now: Instant, id: ConnId) {
        let changed = self.with_peering(id, |peering, _, _, _| {
            let changed = core::mem::replace(&mut peering.am_choking, false);
            if changed {
                peering.unchoked_at = Some(now);
            }
            changed
        });
        if changed == Some(true) {
            self.say(id, &Message::Unchoke);
            self.deal(id);
        }
    }

    /// Of those that want something of ours.
    fn candidates(&mut self, now: Instant, members: &[ConnId], seeding: bool) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for &conn in members {
            let candidate = self.with_peering(conn, |peering, _, _, _| {
                let rate = if seeding { peering.up.get(now) } else { peering.down.get(now) };
                let (unchoked_at, choked_at) = (peering.unchoked_at, peering.choked_at);
                let (snubbed, wants) = (peering.snubbed, peering.peer_interested);
                wants.then_some(Candidate { conn, rate, unchoked_at, choked_at, snubbed })
            });
            candidates.extend(candidate.flatten());
        }
        candidates
    }
}
