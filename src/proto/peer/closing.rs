//! The end of a connection, and what it gives back.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::{Connection, Phase, Purpose};
use crate::proto::contacts::Ending;
use crate::proto::output::{Action, Event, Met};
use crate::proto::peering::Peering;
use crate::proto::swarm::Stage;
use crate::proto::tracker::End;
use crate::units::id::{ConnId, SwarmId};
use crate::units::time::Instant;
use core::net::SocketAddr;

impl Peer {
    /// The socket has ended: `None` is FIN, otherwise the system's words.
    pub fn handle_closed(&mut self, now: Instant, id: ConnId, error: Option<String>) {
        let Some(conn) = self.connection(id) else { return };
        let why = match (&conn.phase, error) {
            // Some ask, and end their own half at once: the answer goes out all the same, and then we close.
            (Ok(Phase::Answering { .. }), None) => return,
            (&Ok(Phase::Refusing { deadline, .. }), None) if !conn.outgoing.is_empty() => {
                return conn.phase = Ok(Phase::Answering { deadline });
            }
            (Ok(Phase::Refusing { .. }), None) => Closed::HttpDone,
            (Ok(Phase::Peering(p)), error) if p.is_seeder() => {
                let swarm = p.swarm;
                match error {
                    _ if self.has_all_of(swarm) => Closed::BothSeeders,
                    Some(error) => Closed::Reset(error),
                    None => Closed::Fin,
                }
            }
            (Ok(Phase::Announcing { .. }), None) => {
                // The end of the answer, where it gave no length.
                self.announce_ended(now, id);
                return self.dial_due(now);
            }
            (Ok(Phase::Fetching { .. }), None) => {
                self.fetch_ended(now, id);
                return self.dial_due(now);
            }
            (_, None) => Closed::Fin,
            (_, Some(error)) => Closed::Reset(error),
        };
        self.close(now, id, why);
        self.dial_due(now);
    }

    pub(super) fn has_all_of(&self, swarm: SwarmId) -> bool {
        self.swarms.get(&swarm).is_some_and(|s| s.stage == Stage::Complete)
    }

    /// Ends the connection and gives back all it held.
    pub(super) fn close(&mut self, now: Instant, id: ConnId, why: Closed) {
        let Some(mut conn) = self.connections.remove(id) else { return };
        self.timers.set(id, conn.look_at, None);
        self.tick_soon(now);
        self.turns.forget(id);
        self.next_turn(now);
        self.actions.push_back(Action::Close(id));
        self.return_loans(&conn);
        let listened_at = super::exchange::listens_at(&conn);
        let phase = core::mem::replace(&mut conn.phase, Err(why.clone()));
        let ending = ending_of(&why, &phase);
        match phase {
            Ok(Phase::Peering(mut peering)) => {
                self.tell_lost(&peering, (conn.remote, conn.dialed), &why);
                let from = (conn.remote, listened_at);
                self.leave(now, id, from, &mut peering, &why);
            }
            Ok(Phase::Handshaking { swarm, .. }) => {
                self.tell_stranger(now, conn.remote, &why);
                if matches!(why, Closed::Fin | Closed::Reset(_)) {
                    self.not_taken(swarm, &conn);
                }
            }
            Ok(Phase::Sniffing { .. }) => self.tell_stranger(now, conn.remote, &why),
            Ok(Phase::Dialing { purpose: Purpose::Peer(_), .. }) => {
                log::debug!("{}: {why}", conn.remote);
            }
            Ok(
                Phase::Dialing { purpose: Purpose::Fetch(fetch), .. }
                | Phase::Fetching { fetch, .. },
            ) => self.fetch_failed(fetch, &why.to_string()),
            Ok(
                Phase::Dialing { purpose: Purpose::Announce(swarm), .. }
                | Phase::Announcing { swarm, .. },
            ) => {
                let purpose = Purpose::Announce(swarm);
                return self.release_purpose(now, purpose, None, ending, &why.to_string());
            }
            _ => log::debug!("{} disconnected: {why}", conn.remote),
        }
        if let Some(addr) = conn.contact {
            self.leads_no_more(now, id, addr, ending);
        }
    }

    /// The connection that led to the address is gone. Where the peer has dialed us meanwhile, the
    /// other one does now: of two connections one end drops one, often before its handshake.
    fn leads_no_more(&mut self, now: Instant, id: ConnId, addr: SocketAddr, ending: Ending) {
        let Self { connections, swarms, .. } = self;
        for swarm in swarms.values_mut().filter(|swarm| swarm.contacts.conn(addr) == Some(id)) {
            let leads_there = |&&member: &&ConnId| {
                let conn = connections.get(member);
                conn.is_some_and(|conn| conn.contact == Some(addr))
            };
            if let Some(&other) = swarm.members.iter().find(leads_there) {
                swarm.contacts.engage(addr, other);
                swarm.contacts.proved(addr);
            } else {
                swarm.contacts.release(addr, ending, now);
            }
        }
    }

    fn tell_stranger(&mut self, now: Instant, remote: SocketAddr, why: &Closed) {
        let ip = remote.ip();
        self.tell_again(now, format!("{ip} disconnected before the handshake: {why}"));
    }

    /// Says a line that a stranger can cause as often as it likes: the same one once a minute.
    pub(super) fn tell_again(&mut self, now: Instant, line: String) {
        match self.told.say(now, &line) {
            Some(line) => log::info!("{line}"),
            None => log::debug!("{line}"),
        }
    }

    /// Removes a connection that never was one.
    pub(super) fn remove_quietly(&mut self, id: ConnId) {
        if let Some(conn) = self.connections.remove(id) {
            self.timers.set(id, conn.look_at, None);
            self.actions.push_back(Action::Close(id));
            self.return_loans(&conn);
        }
    }

    /// What a dial was for learns that it came to nothing.
    pub(super) fn release_purpose(
        &mut self,
        now: Instant,
        purpose: Purpose,
        contact: Option<SocketAddr>,
        ending: Ending,
        why: &str,
    ) {
        match purpose {
            Purpose::Announce(swarm) => {
                if let Some(swarm) = self.swarms.get_mut(&swarm) {
                    super::announce::tell_failure(now, swarm, why);
                }
            }
            Purpose::Fetch(fetch) => self.fetch_failed(fetch, why),
            Purpose::Peer(swarm) => {
                if let (Some(swarm), Some(addr)) = (self.swarms.get_mut(&swarm), contact) {
                    swarm.contacts.release(addr, ending, now);
                }
            }
        }
    }

    fn tell_lost(&mut self, peering: &Peering, from: (SocketAddr, bool), why: &Closed) {
        if let Some(swarm) = self.swarms.get(&peering.swarm) {
            let (remote, dialed) = from;
            let (info_hash, name) = (swarm.torrent.info_hash, swarm.torrent.name.clone());
            let met = Met { info_hash, name, remote, dialed };
            self.events.push_back(Event::Lost(met, why.clone()));
        }
    }

    fn return_loans(&mut self, conn: &Connection) {
        if let Some(lease) = conn.lease {
            self.ports.give_back(lease);
        }
        if !conn.dialed {
            self.inbound = self.inbound.saturating_sub(1);
        }
    }

    /// A member leaves its swarm: its blocks are wanted again, its slot is free.
    fn leave(
        &mut self,
        now: Instant,
        id: ConnId,
        (remote, listened_at): (SocketAddr, Option<SocketAddr>),
        peering: &mut Peering,
        why: &Closed,
    ) {
        log::info!("{} disconnected: {why}", remote.ip());
        let Some(swarm) = self.swarms.get_mut(&peering.swarm) else { return };
        swarm.members.retain(|&member| member != id);
        if peering.peer_interested {
            swarm.wanting.retain(|&member| member != id);
        }
        if listened_at.is_some() {
            swarm.exchange_at = Some(Instant::ORIGIN);
        }
        if swarm.optimistic == Some(id) {
            swarm.optimistic = None;
        }
        if let Some(pieces) = &peering.pieces {
            swarm.picker.remove_peer(pieces);
        }
        for block in peering.requests.iter().copied().chain(peering.incoming.filling()) {
            swarm.picker.give_back(block);
        }
        swarm.picker.disown(id);
        swarm.fetch.iter_mut().for_each(|fetch| fetch.gone(id));
        if let Some(dealer) = &mut swarm.dealer {
            dealer.take_back(&mut peering.hand, &swarm.picker);
        }
        let (swarm_id, info_hash) = (swarm.id, swarm.torrent.info_hash);
        // The other end may have dropped one of two connections to us: then it is still there.
        let members = swarm.members.iter();
        let twin = members.filter_map(|m| self.connections.get(*m)?.peering());
        let lost = why.is_loss() && !twin.into_iter().any(|p| p.peer_id == peering.peer_id);
        let end = End { port: listened_at.map(|addr| addr.port()), ..peering.end(remote.ip()) };
        if lost {
            self.tracker.handle_lost(info_hash, end);
        } else if *why == Closed::BothSeeders {
            self.tracker.handle_parted(now, info_hash, end);
        }
        if !peering.am_choking {
            self.fill_slots(now, swarm_id);
        }
        self.refresh_status(now, swarm_id);
        // What it owed can be asked of the others at once.
        self.request_all(now, swarm_id);
    }
}

fn ending_of(why: &Closed, phase: &Result<Phase, Closed>) -> Ending {
    match why {
        Closed::Banned => Ending::Banned,
        Closed::Own => Ending::Own,
        Closed::BothSeeders | Closed::Duplicate | Closed::NothingNew => Ending::Useless,
        Closed::Refused => Ending::Refused,
        Closed::MakeRoom if matches!(phase, Ok(Phase::Peering(p)) if p.is_seeder()) => {
            Ending::GaveWay
        }
        _ if matches!(phase, Ok(Phase::Peering(_))) => Ending::Lost,
        _ => Ending::Failed,
    }
}
