//! What each message of the wire protocol does (BEP 3, 6, 10, 21).

use super::Peer;
use crate::proto::blame::Source;
use crate::proto::closed::{Closed, Misbehaved};
use crate::proto::connection::{Connection, Phase};
use crate::proto::outgoing::span_of;
use crate::proto::output::Action;
use crate::proto::peering::Peering;
use crate::proto::picker::From;
use crate::proto::swarm::{Stage, Swarm};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::Block;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::{BLOCK_BYTES, OUTBOX_BYTES_MAX, REQUEST_BYTES_MAX, UNTOLD_AFTER};
use crate::units::time::Instant;
use crate::wire::message::{Message, Span};
use core::net::SocketAddr;

/// Requests outside the torrent before we hang up.
const BAD_REQUESTS_MAX: u32 = 10;

impl Peer {
    /// A connection in the wire protocol, its conversation and its swarm, all at once.
    pub(super) fn with_peering<T>(
        &mut self,
        id: ConnId,
        f: impl FnOnce(&mut Peering, &mut Swarm, &mut crate::proto::outgoing::Outgoing, SocketAddr) -> T,
    ) -> Option<T> {
        let Self { connections, swarms, .. } = self;
        let conn = connections.get_mut(id)?;
        let Connection { phase, outgoing, remote, .. } = conn;
        let Ok(Phase::Peering(peering)) = phase else { return None };
        let swarm = swarms.get_mut(&peering.swarm)?;
        Some(f(peering, swarm, outgoing, *remote))
    }

    pub(super) fn handle_message(
        &mut self,
        now: Instant,
        id: ConnId,
        message: &Message<'_>,
    ) -> Result<(), Closed> {
        let Some(conn) = self.connection(id) else { return Ok(()) };
        // Those of an extension are told when they are read.
        if !matches!(message, Message::Extended(1.., _)) {
            log::debug!("<- {} {message}", conn.remote);
        }
        let dialed = conn.dialed;
        let Some(peering) = conn.peering_mut() else { return Ok(()) };
        if !core::mem::replace(&mut peering.heard, true) && !dialed {
            // It has read our handshake meanwhile.
            peering.depth.answered_after(now - peering.since);
        }
        let swarm = peering.swarm;
        let is_fast = matches!(
            message,
            Message::Suggest(_)
                | Message::HaveAll
                | Message::HaveNone
                | Message::Reject(_)
                | Message::AllowedFast(_)
        );
        if is_fast && !peering.fast {
            return Err(Misbehaved::FastNotNegotiated.into());
        }
        if self.said_early(id, message)? {
            return Ok(());
        }
        let Some(peering) = self.connection(id).and_then(|c| c.peering_mut()) else {
            return Ok(());
        };
        match *message {
            Message::Choke => self.choked(now, id),
            Message::Unchoke => {
                if peering.peer_choking && !peering.fast {
                    // What it had sent before its choke has come by now.
                    peering.late.clear();
                }
                peering.peer_choking = false;
                peering.refuses = false;
                peering.last_block = now;
            }
            Message::Interested => self.interested(now, id),
            Message::NotInterested => self.not_interested(now, id),
            Message::Have(piece) => self.has(now, id, piece)?,
            Message::Bitfield(bytes) => self.has_these(now, id, |count| {
                Bitfield::from_bytes(bytes, count).ok_or(Misbehaved::BadBitfield)
            })?,
            Message::HaveNone if peering.bitfield_said => {
                return Err(Misbehaved::HaveNoneLate.into());
            }
            Message::HaveAll => self.has_these(now, id, |count| Ok(Bitfield::full(count)))?,
            Message::HaveNone => self.has_these(now, id, |count| Ok(Bitfield::new(count)))?,
            Message::Request(span) => self.requested(id, span)?,
            Message::Cancel(span) => self.cancelled(id, span),
            Message::Reject(span) => self.rejected(now, id, span)?,
            Message::Extended(0, payload) => self.extended(now, id, payload)?,
            Message::Extended(of, payload) => self.extension_message(now, id, of, payload)?,
            Message::Port(port) => self.told_port(now, id, port),
            Message::Suggest(piece) => self.suggested(now, id, piece),
            // BEP 6: a grant that we do not need. Blocks do not come this way.
            Message::AllowedFast(_) | Message::Piece(..) | Message::Unknown(_) => {}
        }
        self.refresh_status(now, swarm);
        Ok(())
    }

    /// Sends one message, in the log too.
    pub(super) fn say(&mut self, id: ConnId, message: &Message<'_>) {
        if let Some(conn) = self.connection(id) {
            log::debug!("-> {} {message}", conn.remote);
            conn.outgoing.push(message);
            self.want_send(id);
        }
    }

    /// Asks for as many blocks as the peer can have under way.
    pub(super) fn request_more(&mut self, now: Instant, id: ConnId) {
        self.request_up_to(now, id, 0);
    }

    /// The same; an idle peer is also asked for up to `again` blocks that others owe us.
    pub(super) fn request_up_to(&mut self, now: Instant, id: ConnId, again: usize) {
        let mut wanted = Vec::new();
        let most = self.pace.blocks_down(now);
        let mut short = false;
        let asked = self.with_peering(id, |peering, swarm, outgoing, remote| {
            let open = !peering.peer_choking && peering.am_interested && !peering.refuses;
            if !open || swarm.stage != Stage::Downloading || swarm.stalled.is_some() {
                return false;
            }
            let owed = peering.owed();
            // Requests go in batches: one write for many, while the pipe is still well filled.
            let depth = peering.depth.get(peering.reqq);
            if owed > 0 && owed > depth * 3 / 4 {
                return false;
            }
            let Some(pieces) = &peering.pieces else { return false };
            let requests = &peering.requests;
            let filling = peering.incoming.filling();
            let has_asked = |b: Block| requests.contains(&b) || filling == Some(b);
            let suspect = |piece| swarm.blame.is_suspect(piece);
            let count = depth.saturating_sub(owed).min(most);
            let again = again.min(most);
            let from = From { conn: id, pieces, suggested: &peering.suggested };
            swarm.picker.pick(&from, &suspect, count, &mut wanted);
            if owed == 0 && wanted.is_empty() && swarm.picker.is_end_game() {
                swarm.picker.pick_again(pieces, &has_asked, again, &mut wanted);
            }
            short = count == most && wanted.len() >= count;
            if owed == 0 && !wanted.is_empty() {
                peering.last_block = now;
            }
            for &block in &wanted {
                let request = Message::Request(span_of(block));
                log::debug!("-> {remote} {request}");
                outgoing.push(&request);
                peering.requests.push_back(block);
            }
            !wanted.is_empty()
        });
        if short {
            self.pace.asks_later(id);
        }
        if asked == Some(true) {
            self.pace.asked_for(&wanted);
            self.arm(now, id);
            self.want_send(id);
        }
    }

    /// Asks every member for more: something has become wanted again.
    pub(super) fn request_all(&mut self, now: Instant, swarm: SwarmId) {
        let members = self.swarms.get(&swarm).map(|s| s.members.clone()).unwrap_or_default();
        for member in members {
            self.request_more(now, member);
        }
    }

    /// Whether the block that this head announces is wanted, and where it rests.
    pub(super) fn accept_head(&mut self, id: ConnId, span: Span) -> Option<(Block, u64)> {
        let accepted = self.judge_head(id, span)?;
        self.take_over(id, accepted.0);
        Some(accepted)
    }

    /// A block has one writer: two copies that come at once would mix, and the later one would
    /// write into a piece that is verified. The newer writes all of it, so the older gives way.
    fn take_over(&mut self, id: ConnId, block: Block) {
        let swarm = self.connection(id).and_then(|c| c.swarm());
        let Some(swarm) = swarm.and_then(|id| self.swarms.get(&id)) else { return };
        let others = swarm.members.iter().copied().filter(|&member| member != id);
        if swarm.picker.times_asked(block) <= 1 {
            // It is asked of this one alone, as most blocks are: nobody else can be at it.
            let other = |member: ConnId| self.connections.get(member)?.peering();
            let writes =
                |member| other(member).is_some_and(|p| p.incoming.filling() == Some(block));
            debug_assert!(!others.into_iter().any(writes), "{block:?} has two writers");
            return;
        }
        for member in others.collect::<Vec<_>>() {
            self.with_peering(member, |peering, swarm, _, _| {
                if peering.incoming.forget(block) {
                    swarm.picker.give_back(block);
                    swarm.wasted += u64::from(block.length);
                }
            });
        }
    }

    fn judge_head(&mut self, id: ConnId, span: Span) -> Option<(Block, u64)> {
        self.with_peering(id, |peering, swarm, _, remote| {
            let geometry = swarm.torrent.geometry;
            let block = geometry.block(span.index, span.begin, span.length)?;
            let asked = peering.requests.iter().position(|&b| b == block);
            let late = peering.late.iter().position(|&b| b == block);
            if let Some(at) = asked {
                peering.requests.remove(at);
            } else if let Some(at) = late {
                peering.late.swap_remove(at);
            } else {
                peering.cancelled = peering.cancelled.saturating_sub(1);
            }
            let ours = asked.is_some() || late.is_some();
            let wanted = ours && swarm.stalled.is_none() && swarm.picker.wants(block);
            if !wanted {
                log::debug!("<- {remote} {span}: not wanted");
                swarm.wasted += u64::from(span.length);
            } else if asked.is_none() {
                swarm.picker.comes_late(block);
            }
            wanted.then(|| (block, geometry.block_offset(block)))
        })?
    }

    /// A block is in place.
    pub(super) fn block_filled(&mut self, now: Instant, id: ConnId, block: Block) {
        let length = u64::from(block.length);
        let outcome = self.with_peering(id, |peering, swarm, _, remote| {
            log::debug!("<- {remote} {}", span_of(block));
            peering.down.add(now, length);
            peering.depth.received(now, length);
            peering.last_block = now;
            peering.snubbed = false;
            peering.refuses = false;
            swarm.down.add(now, length);
            swarm.downloaded += length;
            let others_owe_it = swarm.picker.times_asked(block) > 1;
            if !swarm.picker.received(block) {
                swarm.wasted += length;
                return None;
            }
            let source = Source { ip: remote.ip(), peer_id: peering.peer_id };
            swarm.blame.supplied(block.piece, block.begin / BLOCK_BYTES, source);
            let complete = swarm.picker.is_received(block.piece);
            Some((swarm.id, complete, others_owe_it))
        });
        let Some(Some((swarm, complete, others_owe_it))) = outcome else { return };
        if complete {
            self.actions.push_back(Action::Verify(swarm, block.piece));
        }
        if others_owe_it {
            self.cancel_elsewhere(swarm, id, block);
        }
    }

    /// In the end game the others need no longer send what one has sent.
    fn cancel_elsewhere(&mut self, swarm: SwarmId, sender: ConnId, block: Block) {
        let members = self.swarms.get(&swarm).map(|s| s.members.clone()).unwrap_or_default();
        for member in members.into_iter().filter(|&member| member != sender) {
            let cancel = self.with_peering(member, |peering, _, _, _| {
                let at = peering.requests.iter().position(|&b| b == block);
                at.and_then(|at| peering.requests.remove(at)).is_some_and(|_| {
                    peering.cancelled += 1;
                    true
                })
            });
            if cancel == Some(true) {
                self.say(member, &Message::Cancel(span_of(block)));
            }
        }
    }

    fn choked(&mut self, now: Instant, id: ConnId) {
        let swarm = self.with_peering(id, |peering, swarm, _, _| {
            peering.peer_choking = true;
            // BEP 6: each request will be rejected or answered. Without it they are dropped, but
            // a block that is under way already is still welcome.
            if !peering.fast {
                while let Some(block) = peering.requests.pop_front() {
                    swarm.picker.give_back(block);
                    peering.drop_late(block);
                }
            }
            swarm.id
        });
        if let Some(swarm) = swarm {
            self.request_all(now, swarm);
        }
    }

    /// BEP 3 leaves the answer to the next round; that would cost ten seconds on every small
    /// file, so a free slot is given at once.
    fn interested(&mut self, now: Instant, id: ConnId) {
        let Some((swarm, was_choking)) = self.with_peering(id, |peering, swarm, _, _| {
            if !core::mem::replace(&mut peering.peer_interested, true) {
                swarm.wanting.push(id);
            }
            (swarm.id, peering.am_choking)
        }) else {
            return;
        };
        self.fill_slots(now, swarm);
        match self.with_peering(id, |peering, _, _, _| peering.am_choking) {
            Some(true) => self.say(id, &Message::Choke),
            // It asks once more; it has heard of its slot already, or has lost count.
            Some(false) if !was_choking => self.say(id, &Message::Unchoke),
            _ => {}
        }
    }

    fn not_interested(&mut self, now: Instant, id: ConnId) {
        let freed = self.with_peering(id, |peering, swarm, _, _| {
            if core::mem::replace(&mut peering.peer_interested, false) {
                swarm.wanting.retain(|&member| member != id);
            }
            (!peering.am_choking).then_some(swarm.id)
        });
        if let Some(Some(swarm)) = freed {
            self.choke(now, id);
            self.fill_slots(now, swarm);
        }
    }

    fn has(&mut self, now: Instant, id: ConnId, index: u32) -> Result<(), Closed> {
        self.with_peering(id, |peering, swarm, _, remote| {
            let geometry = swarm.torrent.geometry;
            let piece = geometry.piece(index).ok_or(Misbehaved::HaveOutOfRange)?;
            let pieces = peering
                .pieces
                .get_or_insert_with(|| Box::new(Bitfield::new(geometry.piece_count())));
            peering.bitfield_said = true;
            if !pieces.get(index) {
                swarm.picker.add_piece(pieces, piece);
                pieces.set(index);
                peering.hand.got(piece);
                if pieces.is_full() {
                    log::info!("{remote} has all of {}", swarm.torrent.name);
                }
            }
            Ok(())
        })
        .unwrap_or(Ok(()))
        .map_err(|m: Misbehaved| Closed::from(m))?;
        self.confirmed(id, index);
        self.update_interest(now, id);
        self.deal(id);
        self.part_if_useless(now, id);
        Ok(())
    }

    /// A bitfield replaces whatever was said before, so that the counts never drift. It may come late,
    /// and so may `have all`: aria2 says either in the place of many `have`.
    fn has_these(
        &mut self,
        now: Instant,
        id: ConnId,
        read: impl FnOnce(u32) -> Result<Bitfield, Misbehaved>,
    ) -> Result<(), Closed> {
        self.with_peering(id, |peering, swarm, _, remote| {
            let pieces = read(swarm.torrent.geometry.piece_count())?;
            let before = peering.pieces.take();
            if let Some(before) = &before {
                swarm.picker.remove_peer(before);
            }
            let late = core::mem::replace(&mut peering.bitfield_said, true);
            if late && pieces.is_full() && before.is_none_or(|before| !before.is_full()) {
                log::info!("{remote} has all of {}", swarm.torrent.name);
            }
            if !pieces.is_empty() {
                swarm.picker.add_peer(&pieces);
                peering.pieces = Some(Box::new(pieces));
            }
            Ok(())
        })
        .unwrap_or(Ok(()))
        .map_err(|m: Misbehaved| Closed::from(m))?;
        self.update_interest(now, id);
        self.part_if_useless(now, id);
        Ok(())
    }

    fn requested(&mut self, id: ConnId, span: Span) -> Result<(), Closed> {
        if span.length > REQUEST_BYTES_MAX {
            return Err(Misbehaved::RequestTooLong.into());
        }
        let mut dealt = false;
        let refused = self.with_peering(id, |peering, swarm, outgoing, _| {
            let Some(block) = swarm.torrent.geometry.block(span.index, span.begin, span.length)
            else {
                peering.bad_requests += 1;
                if peering.bad_requests > BAD_REQUESTS_MAX {
                    return Err(Misbehaved::RequestOutOfRange);
                }
                return Ok(peering.fast);
            };
            let serve = !peering.am_choking && swarm.serves(block.piece) && outgoing.owe(block);
            dealt = serve && peering.hand.asked(block.piece);
            Ok(!serve && peering.fast)
        });
        if dealt {
            self.deal(id);
        }
        if refused.unwrap_or(Ok(false))? {
            self.reject(id, span);
        }
        Ok(())
    }

    /// BEP 6: says that a request will not be served. A peer that never reads gets no more.
    fn reject(&mut self, id: ConnId, span: Span) {
        const UNSENT_MAX: usize = 512 * 1024;
        let room = self.connection(id).is_some_and(|c| c.outgoing.outbox_len() < UNSENT_MAX);
        if room {
            self.say(id, &Message::Reject(span));
        }
    }

    fn cancelled(&mut self, id: ConnId, span: Span) {
        let dropped = self.with_peering(id, |peering, swarm, outgoing, _| {
            let block = swarm.torrent.geometry.block(span.index, span.begin, span.length);
            block.is_some_and(|block| outgoing.cancel(block)) && peering.fast
        });
        if dropped == Some(true) {
            self.reject(id, span);
        }
    }

    fn rejected(&mut self, now: Instant, id: ConnId, span: Span) -> Result<(), Closed> {
        let swarm = self.with_peering(id, |peering, swarm, _, _| {
            let block = swarm.torrent.geometry.block(span.index, span.begin, span.length);
            let at = block.and_then(|block| peering.requests.iter().position(|&b| b == block));
            if let (Some(block), Some(at)) = (block, at) {
                peering.requests.remove(at);
                peering.refuses = true;
                swarm.picker.give_back(block);
                return Ok(Some(swarm.id));
            }
            let late = block.and_then(|block| peering.late.iter().position(|&b| b == block));
            if let Some(at) = late {
                peering.late.swap_remove(at);
            } else if peering.cancelled > 0 {
                peering.cancelled -= 1;
            } else {
                return Err(Misbehaved::RejectedUnasked);
            }
            Ok(None)
        });
        let Some(swarm) = swarm.unwrap_or(Ok(None))? else { return Ok(()) };
        // One that rejects what it said it has would be asked for ever at full speed: it waits
        // for the next tick or its next block, the others are asked now.
        let members = self.swarms.get(&swarm).map(|s| s.members.clone()).unwrap_or_default();
        for member in members.into_iter().filter(|&member| member != id) {
            self.request_more(now, member);
        }
        Ok(())
    }

    /// Says whether we want something of it, when that has changed.
    pub(super) fn update_interest(&mut self, now: Instant, id: ConnId) {
        let change = self.with_peering(id, |peering, swarm, _, _| {
            // Some seeders say what they have only to who is interested; each waiting for the
            // other would last for ever. So silence about pieces counts as having some.
            let untold = !peering.bitfield_said && now - peering.since >= UNTOLD_AFTER;
            let lacking = peering.has_any_lacking(&swarm.picker);
            if lacking {
                swarm.searching_since = None;
            }
            let takes = swarm.stage == Stage::Downloading && swarm.stalled.is_none();
            let wants = takes && (untold || lacking);
            let changed = wants != peering.am_interested;
            peering.am_interested = wants;
            changed.then_some(wants)
        });
        match change.flatten() {
            Some(true) => self.say(id, &Message::Interested),
            Some(false) => self.say(id, &Message::NotInterested),
            None => {}
        }
        if change == Some(Some(true)) {
            self.arm(now, id);
            self.request_more(now, id);
        }
    }

    /// Every message is short, but one that makes us answer and never reads would fill the memory.
    pub(super) fn part_if_deaf(&mut self, now: Instant, id: ConnId) {
        let waits = self.connection(id).map_or(0, |conn| conn.outgoing.outbox_len());
        if waits > OUTBOX_BYTES_MAX {
            self.close(now, id, Closed::Unread);
        }
    }

    /// Two seeders have nothing to say to each other (BEP 21), once the last `have` is out.
    pub(super) fn part_if_useless(&mut self, now: Instant, id: ConnId) {
        let useless = self.with_peering(id, |peering, swarm, outgoing, _| {
            swarm.stage == Stage::Complete && peering.is_seeder() && outgoing.is_empty()
        });
        if useless == Some(true) {
            self.close(now, id, Closed::BothSeeders);
        }
    }
}
