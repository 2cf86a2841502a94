//! Bytes in: which protocol it is, the handshake, then the items of the wire protocol.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::{dialed_by_smaller, Phase};
use crate::proto::incoming::{Item, Received};
use crate::proto::output::Action;
use crate::proto::output::{Event, Met};
use crate::proto::peering::Peering;
use crate::proto::store::{Store, StoreError};
use crate::proto::swarm::Stage;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::{HTTP_WITHIN, RECEIVE_BYTES};
use crate::units::time::{Duration, Instant};
use crate::wire::handshake::{Handshake, FIRST_BYTE, HANDSHAKE_BYTES};
use crate::wire::message::Message;
use core::net::SocketAddr;

/// Silence after which a connection gives way to one that its remote end has just dialed.
const TWIN_SILENT: Duration = Duration::from_secs(5);
/// Bytes read at once before the wire protocol has begun.
const EARLY_BYTES: usize = 4 * 1024;

impl Peer {
    /// How many bytes to read at most from this connection now; zero if it is gone.
    #[must_use]
    pub fn receive_room(&self, id: ConnId) -> usize {
        match self.connections.get(id) {
            None => 0,
            Some(conn) if conn.peering().is_some() => RECEIVE_BYTES,
            Some(_) => EARLY_BYTES,
        }
    }

    /// Whether it sends us blocks that go to the disk.
    #[must_use]
    pub fn is_downloading_from(&self, id: ConnId) -> bool {
        let conn = self.connections.get(id);
        let swarm = conn.and_then(|conn| self.swarms.get(&conn.peering()?.swarm));
        swarm.is_some_and(|swarm| swarm.stage == Stage::Downloading)
    }

    /// These bytes have come.
    pub fn handle_received(
        &mut self,
        now: Instant,
        id: ConnId,
        bytes: &[u8],
        store: &mut dyn Store,
    ) {
        let Some(conn) = self.connection(id) else { return };
        conn.received_at = now;
        let mut rest = bytes;
        // The handshake may be split at any byte, and the first messages may come with it.
        while self.connection(id).is_some_and(|c| c.peering().is_none()) {
            let before = rest.len();
            match self.early_received(now, id, &mut rest) {
                Err(why) => return self.close(now, id, why),
                Ok(()) if rest.is_empty() || rest.len() == before => break,
                Ok(()) => {}
            }
        }
        if !rest.is_empty() && self.connection(id).is_some_and(|c| c.peering().is_some()) {
            self.peering_received(now, id, bytes, bytes.len() - rest.len(), store);
        }
        self.tick_soon(now);
        self.arm(now, id);
    }

    /// The content of a swarm cannot be read or written: it stops, everything else goes on.
    pub fn handle_store_error(&mut self, now: Instant, swarm_id: SwarmId, error: &StoreError) {
        let Some(swarm) = self.swarms.get_mut(&swarm_id) else { return };
        if swarm.stage == Stage::Failed {
            return;
        }
        if error.is_altered() {
            let is = |action: &Action| matches!(action, Action::CheckAgain(id) if *id == swarm_id);
            if !self.actions.iter().any(is) {
                log::warn!("{}: {error}; checking again", swarm.torrent.name);
                self.actions.push_back(Action::CheckAgain(swarm_id));
            }
            return;
        }
        log::error!("{}: {error}; this torrent stops", swarm.torrent.name);
        swarm.stage = Stage::Failed;
        self.events.push_back(Event::Failed(swarm_id, error.to_string()));
        self.withdraw(now, swarm_id, &Closed::Stopping);
        self.refresh_status(now, swarm_id);
        self.dial_due(now);
    }

    /// Bytes before the wire protocol: sniffing, handshakes, HTTP.
    fn early_received(
        &mut self,
        now: Instant,
        id: ConnId,
        bytes: &mut &[u8],
    ) -> Result<(), Closed> {
        let Some(conn) = self.connection(id) else { return Ok(()) };
        match &mut conn.phase {
            Ok(Phase::Sniffing { bytes: had, deadline }) => {
                let deadline = *deadline;
                if had.is_empty() && bytes[0].is_ascii_uppercase() {
                    let deadline = now + HTTP_WITHIN;
                    conn.phase =
                        Ok(Phase::Asked { bytes: core::mem::take(bytes).to_vec(), deadline });
                    self.asked(now, id);
                    return Ok(());
                }
                if had.is_empty() && bytes[0] != FIRST_BYTE {
                    return Err(Closed::NotBitTorrent);
                }
                take_up_to(had, HANDSHAKE_BYTES, bytes);
                Handshake::check_prefix(had)?;
                let Some(info_hash) = Handshake::info_hash_of(had) else { return Ok(()) };
                let had = core::mem::take(had);
                let whole = <&[u8; HANDSHAKE_BYTES]>::try_from(had.as_slice()).ok();
                let theirs = whole.map(Handshake::parse).transpose()?;
                // Said before ours, as it was; who has not said its peer id is answered first.
                if let Some(theirs) = &theirs {
                    log::debug!("<- {} {theirs}", conn.remote);
                }
                self.sniffed(id, info_hash, had, deadline)?;
                self.try_handshake(now, id, theirs.is_some())
            }
            Ok(Phase::Handshaking { bytes: had, .. }) => {
                take_up_to(had, HANDSHAKE_BYTES, bytes);
                Handshake::check_prefix(had)?;
                self.try_handshake(now, id, false)
            }
            Ok(Phase::Asked { bytes: had, .. }) => {
                had.extend_from_slice(bytes);
                *bytes = &[];
                self.asked(now, id);
                Ok(())
            }
            Ok(Phase::Announcing { .. }) => {
                let all = core::mem::take(bytes);
                self.announce_received(now, id, all);
                Ok(())
            }
            Ok(Phase::Refusing { left, .. }) => {
                let rest = left.checked_sub(core::mem::take(bytes).len());
                *left = rest.ok_or(Closed::HttpDone)?;
                Ok(())
            }
            Ok(Phase::Fetching { .. }) => {
                let all = core::mem::take(bytes);
                self.fetch_received(now, id, all);
                Ok(())
            }
            Ok(Phase::Offered { .. }) => self.offer_received(id, core::mem::take(bytes)),
            // Nothing is expected here; what comes behind a request is not read.
            _ => {
                *bytes = &[];
                Ok(())
            }
        }
    }

    /// The info-hash is known: answer with our handshake, or hang up without a word.
    fn sniffed(
        &mut self,
        id: ConnId,
        info_hash: crate::units::id::InfoHash,
        bytes: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), Closed> {
        let Some(swarm) = self.by_hash.get(&info_hash).copied() else {
            return self.offered(id, info_hash, bytes, deadline);
        };
        if self.swarms.get(&swarm).is_none_or(|s| !s.takes_part()) {
            return Err(Closed::UnknownInfoHash);
        }
        let handshake = Handshake::ours(info_hash, self.config.peer_id);
        let handshake = handshake.with_dht(self.says_dht(info_hash));
        if let Some(conn) = self.connection(id) {
            conn.say_handshake(&handshake);
            conn.phase = Ok(Phase::Handshaking { swarm, bytes, deadline });
        }
        self.want_send(id);
        Ok(())
    }

    /// If the remote handshake is whole, the conversation begins. `told`: the log has it.
    fn try_handshake(&mut self, now: Instant, id: ConnId, told: bool) -> Result<(), Closed> {
        let Some(conn) = self.connection(id) else { return Ok(()) };
        let Ok(Phase::Handshaking { swarm, bytes, .. }) = &conn.phase else { return Ok(()) };
        let Ok(whole) = <&[u8; HANDSHAKE_BYTES]>::try_from(bytes.as_slice()) else {
            return Ok(());
        };
        let theirs = Handshake::parse(whole)?;
        let (swarm, remote, dialed, contact) = (*swarm, conn.remote, conn.dialed, conn.contact);
        let round_trip = dialed.then(|| now - conn.sent_at);
        if !told {
            log::debug!("<- {remote} {theirs}");
        }
        let Some(of) = self.swarms.get_mut(&swarm) else { return Err(Closed::Stopping) };
        if theirs.info_hash != of.torrent.info_hash {
            return Err(Closed::WrongInfoHash);
        }
        if of.stage == Stage::Failed {
            return Err(Closed::Stopping);
        }
        self.not_ourselves(now, id, theirs.peer_id)?;
        let Some(of) = self.swarms.get_mut(&swarm) else { return Err(Closed::Stopping) };
        let own_id = self.config.peer_id;
        let source = crate::proto::blame::Source { ip: remote.ip(), peer_id: theirs.peer_id };
        if of.is_banned(source) {
            return Err(Closed::Banned);
        }
        let members = of.members.clone();
        let twin = members.into_iter().find(|&member| {
            let other = self.connections.get(member);
            other.and_then(|c| c.peering()).is_some_and(|p| p.peer_id == theirs.peer_id)
        });
        if let Some(twin) = twin {
            let by_smaller = dialed_by_smaller(own_id, theirs.peer_id, dialed);
            if !self.replaces(now, twin, remote, dialed, by_smaller) {
                self.hand_over(swarm, id, twin);
                return Err(Closed::Duplicate);
            }
            self.hand_over(swarm, twin, id);
        } else if !dialed {
            self.find_room(now, id, swarm)?;
        }
        let mut peering =
            Peering::new(swarm, theirs.peer_id, theirs.fast(), theirs.extended(), now);
        round_trip.into_iter().for_each(|time| peering.depth.answered_after(time));
        if let Some(conn) = self.connection(id) {
            conn.phase = Ok(Phase::Peering(Box::new(peering)));
        }
        if let Some(of) = self.swarms.get_mut(&swarm) {
            let met =
                Met { info_hash: theirs.info_hash, name: of.torrent.name.clone(), remote, dialed };
            self.events.push_back(Event::Connected(met));
            of.members.push(id);
            of.exchange_at = Some(Instant::ORIGIN);
            if let Some(addr) = contact {
                of.contacts.proved(addr);
            }
        }
        if !dialed {
            log::info!("{remote} connected");
        }
        // The peer is here all the time: nobody is missed.
        if let Some(twin) = twin {
            self.close(now, twin, Closed::Duplicate);
        }
        self.greet(id);
        if theirs.dht() && self.says_dht(theirs.info_hash) {
            self.say_port(id);
        }
        if dialed {
            self.met(now, id);
        }
        self.refresh_status(now, swarm);
        Ok(())
    }

    /// Whether a new connection takes the place of `twin`, which leads to the same peer. Of two
    /// dialed at once both ends keep the one that `by_smaller` says; but who dials although we
    /// believe to be connected was cut off: its host is back, and the old connection is dead.
    fn replaces(
        &mut self,
        now: Instant,
        twin: ConnId,
        remote: SocketAddr,
        dialed: bool,
        by_smaller: bool,
    ) -> bool {
        let Some(twin) = self.connection(twin) else { return true };
        let silent = now - twin.received_at > TWIN_SILENT;
        // From another address anyone may use that name.
        let came_back = !dialed && twin.remote.ip() == remote.ip() && (!twin.dialed || silent);
        came_back || (dialed != twin.dialed && by_smaller)
    }

    /// Of two connections with one peer `gone` is about to end: its address is that of `stays` now.
    /// Programs of other kinds choose in other ways. Where the other end drops `stays`, the address
    /// is dialed anew, as after any loss.
    fn hand_over(&mut self, swarm: SwarmId, gone: ConnId, stays: ConnId) {
        let Some(addr) = self.connection(gone).and_then(|conn| conn.contact) else { return };
        let Some(conn) = self.connection(stays) else { return };
        if *conn.contact.get_or_insert(addr) == addr {
            if let Some(swarm) = self.swarms.get_mut(&swarm) {
                swarm.contacts.engage(addr, stays);
            }
        }
    }

    /// Our first messages: what we have (BEP 3, BEP 6), then the extension handshake (BEP 10).
    fn greet(&mut self, id: ConnId) {
        let Self { connections, swarms, .. } = self;
        let Some(conn) = connections.get_mut(id) else {
            return;
        };
        let remote = conn.remote;
        let Ok(Phase::Peering(peering)) = &conn.phase else { return };
        let Some(swarm) = swarms.get(&peering.swarm) else { return };
        let have = swarm.picker.have();
        let message = match (peering.fast, have.is_empty(), have.is_full()) {
            (true, true, _) => Some(Message::HaveNone),
            (true, _, true) => Some(Message::HaveAll),
            (false, true, _) => None,
            _ => Some(Message::Bitfield(have.as_bytes())),
        };
        if let Some(message) = message {
            log::debug!("-> {remote} {message}");
            conn.outgoing.push(&message);
        }
        if peering.extended {
            self.say_hello(id);
        }
        self.want_send(id);
    }

    /// The messages from `at` on. Their blocks are written together at the end, also if the
    /// connection ends meanwhile: each counts as received.
    fn peering_received(
        &mut self,
        now: Instant,
        id: ConnId,
        bytes: &[u8],
        at: usize,
        store: &mut dyn Store,
    ) {
        let Some(swarm) = self.connection(id).and_then(|c| c.swarm()) else { return };
        let mut placed = core::mem::take(&mut self.placed);
        placed.clear();
        let outcome = self.read_items(now, id, Received::new(bytes, at, &mut placed));
        if let Err(error) = store.write_placed(swarm, bytes, &placed) {
            self.write_failed(now, swarm, &placed, &error);
        }
        self.placed = placed;
        match outcome {
            Err(why) => self.close(now, id, why),
            Ok(()) => self.settle(now, id),
        }
        if self.swarms.get(&swarm).is_some_and(|swarm| swarm.stage == Stage::Metadata) {
            self.bound_early(now);
        }
    }

    fn read_items(
        &mut self,
        now: Instant,
        id: ConnId,
        mut received: Received<'_>,
    ) -> Result<(), Closed> {
        while let Some(peering) = self.connection(id).and_then(|c| c.peering_mut()) {
            let swarm_id = peering.swarm;
            let mut incoming = core::mem::take(&mut peering.incoming);
            let Some(swarm) = self.swarms.get(&swarm_id) else { return Ok(()) };
            let piece_count = super::metadata::piece_count(swarm);
            let outcome = match incoming.next(&mut received, piece_count) {
                Ok(None) => Ok(false),
                Ok(Some(Item::KeepAlive)) => {
                    let remote = self.connection(id).map(|conn| conn.remote);
                    remote.iter().for_each(|remote| log::debug!("<- {remote} keep-alive"));
                    Ok(true)
                }
                Ok(Some(Item::Filled(block))) => {
                    self.block_filled(now, id, block);
                    Ok(true)
                }
                Ok(Some(Item::Message(message))) => {
                    self.handle_message(now, id, &message).map(|()| true)
                }
                Ok(Some(Item::Head(span))) => {
                    match self.accept_head(id, span) {
                        Some((block, offset)) => incoming.fill(block, offset),
                        None => incoming.discard(span.length),
                    }
                    Ok(true)
                }
                Err(malformed) => Err(Closed::Malformed(malformed)),
            };
            if let Some(peering) = self.connection(id).and_then(|c| c.peering_mut()) {
                peering.incoming = incoming;
            }
            if !outcome? {
                break;
            }
        }
        Ok(())
    }

    /// After a batch of input: ask for more, and let the socket go out.
    fn settle(&mut self, now: Instant, id: ConnId) {
        self.request_more(now, id);
        self.want_send(id);
        self.part_if_deaf(now, id);
    }
}

fn take_up_to(had: &mut Vec<u8>, most: usize, bytes: &mut &[u8]) {
    let len = most.saturating_sub(had.len()).min(bytes.len());
    let (part, rest) = bytes.split_at(len);
    had.extend_from_slice(part);
    *bytes = rest;
}
