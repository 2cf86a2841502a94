//! Peers tell each other of the others: `ut_pex` once a minute (BEP 11), and `rp_peers`, our own,
//! within a second. Never in a private swarm (BEP 27).
//!
//! `rp_peers` tells first-hand news only: who has shaken hands with us or announced to us, and who
//! of them is gone. What others told us is not told on; so nothing goes round in circles, and a
//! peer that is gone is not kept alive by rumour. Each minute the list is told again, so that who
//! hears it can trust what it heard of late and forget the rest.

use super::Peer;
use crate::proto::broadcast::{self, Bulletin};
use crate::proto::closed::{Closed, Misbehaved};
use crate::proto::connection::Connection;
use crate::proto::pex::{Verdict, HEARD_MAX};
use crate::proto::tracker::reachable;
use crate::units::id::{ConnId, SwarmId};
use crate::units::time::{Duration, Instant};
use crate::wire::extended::Extension;
use crate::wire::pex::{PeerList, REACHABLE, SEED};
use core::fmt;
use core::net::SocketAddr;
use std::collections::BTreeMap;

/// Between two tellings of the whole list by `rp_peers`: half the life of an entry in the table.
pub(super) const LIST_AGAIN: Duration = Duration::from_secs(60);

impl Peer {
    /// The other end is a peer that can be dialed: it enters the table, and if it is new there,
    /// everybody will be told.
    pub(super) fn met(&mut self, now: Instant, id: ConnId) {
        let conn = self.connections.get(id);
        let Some(conn) = conn else { return };
        let (addr, peering) = (listens_at(conn), conn.peering());
        let (Some(addr), Some(peering)) = (addr, peering) else { return };
        // A partial seed (BEP 21) is no seeder.
        let has_all = peering.pieces.as_ref().is_some_and(|pieces| pieces.is_full());
        let (peer_id, left) = (peering.peer_id, has_all.then_some(0));
        let Some(swarm) = self.swarms.get(&peering.swarm) else { return };
        if !swarm.torrent.private {
            self.tracker.learn(now, swarm.torrent.info_hash, addr, peer_id, left);
        }
    }

    /// Takes the tracker's news to the bulletins of the swarms, and sends those that are due.
    pub(super) fn spread_news(&mut self, now: Instant) {
        for news in self.tracker.take_news() {
            let swarm = self.by_hash.get(&news.info_hash);
            let Some(swarm) = swarm.and_then(|id| self.swarms.get_mut(id)) else { continue };
            if news.came.is_none() {
                swarm.contacts.forget(news.addr);
            }
            let told = self.config.pex && !swarm.torrent.private && !swarm.members.is_empty();
            if told {
                swarm.bulletin.add(now, news.addr, news.came);
            }
        }
        let due = |bulletin: &Bulletin| bulletin.due().is_some_and(|due| due <= now);
        let due = self.swarms.values().filter(|swarm| due(&swarm.bulletin));
        let due: Vec<SwarmId> = due.map(|swarm| swarm.id).collect();
        for id in due {
            let Some(swarm) = self.swarms.get_mut(&id) else { continue };
            let (list, members) = (swarm.bulletin.take(now), swarm.members.clone());
            for member in members {
                list.iter().for_each(|list| self.tell_peers(member, list));
            }
        }
    }

    /// One that has just said it takes `rp_peers` gets the whole list at once.
    pub(super) fn tell_whole_list(&mut self, id: ConnId) {
        let info_hash = self.with_peering(id, |_, swarm, _, _| swarm.torrent.info_hash);
        let Some(info_hash) = info_hash else { return };
        let lists = broadcast::whole(self.tracker.first_hand(&info_hash).take(HEARD_MAX));
        lists.iter().for_each(|list| self.tell_peers(id, list));
    }

    /// Says an `rp_peers` with what concerns this one: not itself, nobody it cannot reach.
    fn tell_peers(&mut self, id: ConnId, list: &PeerList) {
        let takes = |conn: &Connection| conn.peering().is_some_and(|p| p.exchange.is_some());
        let Some(conn) = self.connection(id).filter(|conn| takes(conn)) else { return };
        let (remote, own) = (conn.remote, listens_at(conn));
        let concerns = |addr: SocketAddr| Some(addr) != own && reachable(addr, remote);
        let list = PeerList {
            added: list.added.iter().copied().filter(|&(addr, _)| concerns(addr)).collect(),
            dropped: list.dropped.iter().copied().filter(|&addr| concerns(addr)).collect(),
        };
        if !list.is_empty() {
            self.say_extended(id, Extension::RpPeers, &list.to_bytes(), &Words(&list));
        }
    }

    /// An `rp_peers` has come: its peers are dialed and stand in our table from now on.
    pub(super) fn peers_told(
        &mut self,
        now: Instant,
        id: ConnId,
        payload: &[u8],
    ) -> Result<(), Closed> {
        let list = PeerList::parse(payload).map_err(|_| Misbehaved::BadExtendedMessage)?;
        let kept = self.with_peering(id, |peering, swarm, _, remote| {
            log::debug!("<- {remote} rp_peers: {}", Words(&list));
            let exchange = peering.exchange.as_mut()?;
            if exchange.peers_came(now) == Verdict::Flood {
                return Some(Err(Misbehaved::PexFlood));
            }
            let added = list.added.iter().copied().filter(|&(addr, _)| exchange.heard(addr));
            let added: Vec<_> = added.collect();
            let dropped = list.dropped.iter().copied().filter(|&addr| exchange.unheard(addr));
            let room = swarm.contacts.has_room_for_hearsay();
            Some(Ok((swarm.id, swarm.torrent.info_hash, added, dropped.collect::<Vec<_>>(), room)))
        });
        let Some(Some(kept)) = kept else { return Ok(()) };
        let (swarm, info_hash, added, dropped, room) = kept?;
        let added = added.into_iter().filter(|&(addr, _)| !self.config.is_ourselves(addr));
        let added: Vec<_> = added.collect();
        for &(addr, flags) in &added {
            self.tracker.hear(now, info_hash, addr, flags & SEED != 0);
        }
        if room {
            self.learn_contacts(now, swarm, added.into_iter().map(|(addr, _)| addr), false);
        }
        for addr in dropped {
            self.tracker.unhear(info_hash, addr);
            if let Some(swarm) = self.swarms.get_mut(&swarm) {
                swarm.contacts.forget(addr);
            }
        }
        self.dial_due(now);
        Ok(())
    }

    /// A `ut_pex` has come. `dropped` says only that the two are no longer connected: nothing to
    /// us.
    pub(super) fn pex_told(
        &mut self,
        now: Instant,
        id: ConnId,
        payload: &[u8],
    ) -> Result<(), Closed> {
        let list = PeerList::parse(payload).map_err(|_| Misbehaved::BadExtendedMessage)?;
        let verdict = self.with_peering(id, |peering, swarm, _, remote| {
            log::debug!("<- {remote} ut_pex: {}", Words(&list));
            let exchange = peering.exchange.as_mut()?;
            let room =
                exchange.room(0).min(usize::from(swarm.contacts.has_room_for_hearsay()) * 100);
            Some((swarm.id, exchange.pex_came(now), room))
        });
        let Some(Some((swarm, verdict, room))) = verdict else { return Ok(()) };
        match verdict {
            Verdict::Flood => return Err(Misbehaved::PexFlood.into()),
            Verdict::Skip => return Ok(()),
            Verdict::Read => {}
        }
        let addrs = list.added.into_iter().map(|(addr, _)| addr).take(room);
        let learnt = self.learn_contacts(now, swarm, addrs, false);
        self.with_peering(id, |peering, _, _, _| {
            peering.exchange.as_mut().map(|exchange| exchange.room(learnt))
        });
        self.dial_due(now);
        Ok(())
    }

    /// Says a `ut_pex` to this one if its time has come.
    pub(super) fn exchange_now(&mut self, now: Instant, id: ConnId) {
        let swarm = self.connection(id).and_then(|conn| conn.swarm());
        let Some(swarm) = swarm.and_then(|id| self.swarms.get(&id)) else { return };
        let present = self.present(&swarm.members);
        self.exchange_with(now, id, &present);
    }

    /// Where each of these listens, with its flags.
    fn present(&self, members: &[ConnId]) -> BTreeMap<SocketAddr, u8> {
        let conns = members.iter().filter_map(|m| self.connections.get(*m));
        let mut present = BTreeMap::new();
        present.extend(conns.filter_map(|c| Some((listens_at(c)?, flags_of(c)))));
        present
    }

    /// `ut_pex` to whom it is due; each minute the whole list by `rp_peers`.
    pub(super) fn exchange_tick(&mut self, now: Instant) {
        if !self.config.pex {
            return;
        }
        let again = now >= self.list_again;
        if again {
            self.list_again = now + LIST_AGAIN;
        }
        let open = self.swarms.values_mut().filter(|s| !s.torrent.private && !s.members.is_empty());
        let due = open.filter(|s| again || s.exchange_at.is_some_and(|at| at <= now));
        let due = due.map(|swarm| {
            swarm.exchange_at = None;
            (swarm.id, swarm.members.clone())
        });
        for (id, members) in due.collect::<Vec<(SwarmId, Vec<ConnId>)>>() {
            let present = self.present(&members);
            for &member in &members {
                self.exchange_with(now, member, &present);
                if again {
                    self.met(now, member);
                }
            }
            if again {
                self.tell_list_again(now, id);
            }
        }
    }

    fn tell_list_again(&mut self, now: Instant, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        for (addr, complete) in self.tracker.first_hand(&swarm.torrent.info_hash).take(HEARD_MAX) {
            swarm.bulletin.add(now, addr, Some(complete));
        }
    }

    fn exchange_with(&mut self, now: Instant, id: ConnId, present: &BTreeMap<SocketAddr, u8>) {
        let list = {
            let Some(conn) = self.connection(id) else { return };
            let (remote, own) = (conn.remote, listens_at(conn));
            let Some(peering) = conn.peering_mut() else { return };
            if peering.ids.get(Extension::Pex).is_none() {
                return;
            }
            let swarm = peering.swarm;
            let Some(exchange) = peering.exchange.as_mut() else { return };
            let concerns = |addr: SocketAddr| Some(addr) != own && reachable(addr, remote);
            let list = exchange.message(now, present, concerns);
            // Who is due and hears nothing now waits for somebody to come or go.
            let next = Some(exchange.next()).filter(|&at| at > now);
            if let (Some(next), Some(swarm)) = (next, self.swarms.get_mut(&swarm)) {
                swarm.exchange_at = Some(swarm.exchange_at.map_or(next, |at| at.min(next)));
            }
            list
        };
        if let Some(list) = list {
            self.say_extended(id, Extension::Pex, &list.to_bytes(), &Words(&list));
        }
    }
}

/// Where the other end listens: the address that we have dialed, or its own word (BEP 10 `p`).
/// Never its source port.
pub(super) fn listens_at(conn: &Connection) -> Option<SocketAddr> {
    let peering = conn.peering()?;
    if conn.dialed {
        return Some(conn.remote);
    }
    peering.listen_port.map(|port| SocketAddr::new(conn.remote.ip(), port))
}

fn flags_of(conn: &Connection) -> u8 {
    let seed = conn.peering().is_some_and(|p| p.is_seeder());
    broadcast::flags(seed) | if conn.dialed { REACHABLE } else { 0 }
}

/// A list in words, for the log.
struct Words<'a>(&'a PeerList);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeerList { added, dropped } = self.0;
        write!(f, "{} added, {} dropped", added.len(), dropped.len())?;
        if let (Some((addr, _)), _) | (None, Some(addr)) = (added.first(), dropped.first()) {
            write!(f, ": {addr}{}", if added.len() + dropped.len() > 1 { ", ..." } else { "" })?;
        }
        Ok(())
    }
}
