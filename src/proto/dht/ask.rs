//! Our own queries: transactions, lookups, the search for swarms, the care of the table.

use super::lookup::{Lookup, Purpose};
use super::secure::{id_for, is_verified};
use super::table::{Placed, K};
use super::{
    family, Dht, Event, Overlay, Search, BOOTSTRAP_FIRST, BOOTSTRAP_LAST, CARE_EVERY, JOIN_FIRST,
    LOOKUPS_MAX, PENDING_MAX, SEARCH_AGAIN, SEARCH_FOUND,
};
use crate::units::id::NodeId;
use crate::units::time::{Duration, Instant};
use crate::wire::address::{is_dialable, is_lan, unmap};
use crate::wire::krpc::{Body, Message, Query, Response, Want};
use core::net::SocketAddr;

/// After that time another node is asked as well.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// After that time no answer is expected any more.
const LOST_AFTER: Duration = Duration::from_secs(8);
/// New addresses asked at a time.
const CONTACTS_AT_A_TIME: usize = 8;
/// Nodes of the other family (BEP 32) taken from one answer while that table is small.
const OTHER_FAMILY: usize = 4;

/// A query without an answer yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    addr: SocketAddr,
    /// Under which id we know the node.
    id: Option<NodeId>,
    about: About,
    slow_at: Option<Instant>,
    lost_at: Instant,
}

/// Why we asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// A new address: `find_node` of our own id.
    Contact,
    /// Still there?
    Ping,
    /// For the lookup of that number.
    Lookup(u32),
    /// `announce_peer`.
    Announce,
}

impl Pending {
    pub(super) fn next_at(&self) -> Instant {
        self.slow_at.unwrap_or(self.lost_at)
    }
}

impl Dht {
    /// Does whatever can be done now.
    pub(super) fn pump(&mut self, now: Instant) {
        self.ask_contacts(now);
        loop {
            self.join(now);
            self.search_due(now);
            // The end of one makes room for the next.
            if !self.step_lookups(now) {
                break;
            }
        }
        self.wake_at = self.plan();
    }

    /// The query that this message answers: same address, same transaction id.
    pub(super) fn take_pending(
        &mut self,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Option<Pending> {
        if matches!(message.body, Body::Query(..)) {
            return None;
        }
        let transaction = u32::from_be_bytes(message.transaction.try_into().ok()?);
        let pending = self.pending.get(&transaction).filter(|pending| pending.addr == from)?;
        let pending = *pending;
        self.pending.remove(&transaction);
        Some(pending)
    }

    /// A node has answered.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        pending: &Pending,
        your_addr: Option<SocketAddr>,
        response: &Response<'_>,
    ) {
        let (from, id) = (pending.addr, response.id);
        let overlay = &mut self.overlays[family(from)];
        if id == overlay.table.own() {
            // We have asked ourselves, by an address that others see.
            return self.refused(pending);
        }
        if let Some(ours) = your_addr.map(unmap).filter(|ours| family(*ours) == family(from)) {
            overlay.votes.add(from.ip(), ours.ip());
        }
        if let Some(other) = pending.id.filter(|other| *other != id) {
            overlay.table.remove(other);
        }
        let placed = overlay.table.answered(now, id, from);
        if let Placed::Question(id, doubted) = placed {
            self.ping(now, doubted, Some(id));
        }
        self.follow_votes(now, family(from));
        self.hear(now, pending, response);
    }

    /// A node has answered that it will not: it is there, but of no use for the lookup.
    pub(super) fn refused(&mut self, pending: &Pending) {
        if let About::Lookup(number) = pending.about {
            if let Some(lookup) = self.lookups.get_mut(&number) {
                lookup.failed(pending.addr);
            }
        }
    }

    /// A node has asked us: it is welcome if there is room, once it has answered as well.
    pub(super) fn meet(&mut self, now: Instant, from: SocketAddr, id: NodeId) {
        if self.overlays[family(from)].table.asked_us(now, id, from) {
            self.ping(now, from, Some(id));
        }
    }

    /// What is late, and what is lost.
    pub(super) fn late(&mut self, now: Instant) {
        let due: Vec<(u32, Pending)> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.next_at() <= now)
            .map(|(&transaction, &pending)| (transaction, pending))
            .collect();
        for (transaction, pending) in due {
            let lookup = match pending.about {
                About::Lookup(number) => self.lookups.get_mut(&number),
                _ => None,
            };
            if pending.lost_at > now {
                if let Some(pending) = self.pending.get_mut(&transaction) {
                    pending.slow_at = None;
                }
                if let Some(lookup) = lookup {
                    lookup.slow(pending.addr);
                }
                continue;
            }
            self.pending.remove(&transaction);
            if let Some(lookup) = lookup {
                lookup.failed(pending.addr);
            }
            let table = &mut self.overlays[family(pending.addr)].table;
            if let Some(id) = pending.id {
                table.failed(now, id, pending.addr);
            }
        }
    }

    /// Asks after silent nodes, refreshes stale buckets.
    pub(super) fn care(&mut self, now: Instant) {
        for v6 in 0..2 {
            let overlay = &mut self.overlays[v6];
            if overlay.care_at > now {
                continue;
            }
            overlay.care_at = now + CARE_EVERY;
            if overlay.table.usable() == 0 {
                overlay.join_anew(now);
            }
            let silent = overlay.table.question(now);
            let stale = overlay.table.stale(now, &mut self.random);
            if let Some((id, addr)) = silent {
                self.ping(now, addr, Some(id));
            }
            if let Some(name) = stale.filter(|_| self.lookups.len() < LOOKUPS_MAX) {
                self.start(name, Purpose::Nodes, v6 == 1);
            }
        }
    }

    /// Whether lookups in that family have somebody to begin with.
    pub(super) fn is_ready(&self, v6: usize) -> bool {
        self.overlays[v6].table.usable() > 0
    }

    /// BEP 42: the id follows the address.
    fn follow_votes(&mut self, now: Instant, v6: usize) {
        let overlay = &mut self.overlays[v6];
        let Some(ip) = overlay.votes.elected() else { return };
        if is_verified(overlay.table.own(), ip) {
            return;
        }
        let id = id_for(ip, self.random.bytes());
        log::info!("dht: others see us at {ip}: our id is now {id}");
        overlay.table.rename(id, now);
        overlay.join_anew(now);
    }

    /// What an answer says to the lookup that asked.
    fn hear(&mut self, now: Instant, pending: &Pending, response: &Response<'_>) {
        let from = pending.addr;
        let v6 = from.is_ipv6();
        let own = self.overlays[usize::from(v6)].table.own();
        // Nobody outside may send us to addresses of our own network.
        let fit = |addr: SocketAddr| is_dialable(addr) && (is_lan(from.ip()) || !is_lan(addr.ip()));
        let (mut same, mut other): (Vec<_>, Vec<_>) = response
            .nodes
            .iter_v4()
            .chain(response.nodes6.iter_v6())
            .partition(|(_, addr)| addr.is_ipv6() == v6);
        same.retain(|(id, addr)| *id != own && *addr != from && fit(*addr));
        other.truncate(OTHER_FAMILY);
        if self.overlays[usize::from(!v6)].table.usable() < K {
            let other = other.into_iter().map(|(_, addr)| addr).filter(|addr| fit(*addr));
            other.for_each(|addr| self.queue_contact(addr));
        }
        match pending.about {
            About::Contact => {
                // The lookup of our own id is given these as well.
                self.join(now);
                let ours = |l: &&mut Lookup| l.target == own && l.v6 == v6;
                if let Some(lookup) = self.lookups.values_mut().find(ours) {
                    same.into_iter().for_each(|(id, addr)| lookup.hear(id, addr, 2));
                }
            }
            About::Lookup(number) => {
                let Some(lookup) = self.lookups.get_mut(&number) else { return };
                let Some(round) = lookup.answered(from, response.id, response.token) else {
                    return;
                };
                same.into_iter().for_each(|(id, addr)| lookup.hear(id, addr, round));
                let overlay = &self.overlays[usize::from(v6)];
                let own_port = self.config.port;
                let ourselves = |v: SocketAddr| v.port() == own_port && overlay.votes.name(v.ip());
                let values = response.values.iter().map(|&peer| unmap(peer));
                let values: Vec<_> = values.filter(|&v| fit(v) && !ourselves(v)).collect();
                lookup.found |= !values.is_empty();
                if let Purpose::Peers(info_hash) = lookup.purpose {
                    self.tell_peers(info_hash, values);
                }
            }
            About::Ping | About::Announce => {}
        }
    }

    /// Asks addresses that were never asked.
    fn ask_contacts(&mut self, now: Instant) {
        let known = self.node_count();
        if known >= K {
            self.bootstrap_pause = BOOTSTRAP_FIRST;
        } else if now >= self.bootstrap_at && !self.bootstrap.is_empty() {
            // Also with a few nodes: they may be an island that lost its way to the others.
            self.bootstrap_at = now + self.bootstrap_pause;
            let last = if known == 0 { BOOTSTRAP_LAST } else { SEARCH_AGAIN };
            self.bootstrap_pause = (self.bootstrap_pause * 2).min(last);
            for addr in self.bootstrap.clone() {
                self.queue_contact(addr);
            }
        }
        let asked = |dht: &Self| {
            dht.pending
                .values()
                .filter(|p| p.about == About::Contact && p.slow_at.is_some())
                .count()
        };
        while asked(self) < CONTACTS_AT_A_TIME {
            let Some(addr) = self.contacts.pop_front() else { return };
            if self.pending.values().any(|pending| pending.addr == addr) {
                continue;
            }
            let (target, want) = (self.overlays[family(addr)].table.own(), self.want());
            let query = Query::FindNode { target, want };
            if !self.query(now, addr, None, About::Contact, query) {
                return self.contacts.push_front(addr);
            }
        }
    }

    /// The first thing a node does: it looks up its own id, so that the nodes nearest to it
    /// know each other.
    fn join(&mut self, now: Instant) {
        for v6 in 0..2 {
            let overlay = &mut self.overlays[v6];
            let nodes = overlay.table.usable();
            if overlay.join_at > now || nodes == 0 || self.lookups.len() >= LOOKUPS_MAX {
                continue;
            }
            // Where there are enough nodes, stale buckets are reason enough to look again.
            let pause = if nodes < K { overlay.join_pause } else { SEARCH_AGAIN };
            overlay.join_pause = (overlay.join_pause * 2).min(SEARCH_AGAIN);
            overlay.join_at = now + pause;
            overlay.care_at = overlay.care_at.max(now + CARE_EVERY);
            let own = overlay.table.own();
            self.start(own, Purpose::Nodes, v6 == 1);
        }
    }

    fn search_due(&mut self, now: Instant) {
        for v6 in 0..2 {
            while self.is_ready(v6) && self.lookups.len() < LOOKUPS_MAX {
                let due = self.searches.iter_mut().filter(|(_, search)| search.due[v6] <= now);
                let Some((&hash, search)) = due.min_by_key(|(_, search)| search.due[v6]) else {
                    break;
                };
                // The end of the lookup says when the next is due.
                search.due[v6] = now + SEARCH_AGAIN;
                self.start(hash.into(), Purpose::Peers(hash), v6 == 1);
            }
        }
    }

    fn start(&mut self, target: NodeId, purpose: Purpose, v6: bool) {
        let mut lookup = Lookup::new(target, purpose, v6);
        for node in self.overlays[usize::from(v6)].table.near(target, 2 * K) {
            lookup.hear(node.id, node.addr, 1);
        }
        self.lookups.insert(self.next_lookup, lookup);
        self.next_lookup = self.next_lookup.wrapping_add(1);
    }

    /// Asks whoever is next in each lookup; true if one has ended.
    fn step_lookups(&mut self, now: Instant) -> bool {
        let mut ended = false;
        let numbers: Vec<u32> = self.lookups.keys().copied().collect();
        let want = self.want();
        for number in numbers {
            while let Some(lookup) = self.lookups.get_mut(&number) {
                if self.pending.len() >= PENDING_MAX {
                    break;
                }
                let Some((id, addr)) = lookup.next() else { break };
                let query = match lookup.purpose {
                    Purpose::Nodes => Query::FindNode { target: lookup.target, want },
                    Purpose::Peers(info_hash) => Query::GetPeers { info_hash, want },
                };
                self.query(now, addr, Some(id), About::Lookup(number), query);
            }
            self.announce(now, number);
            if self.lookups.get(&number).is_some_and(Lookup::is_done) {
                if let Some(lookup) = self.lookups.remove(&number) {
                    self.finish(now, &lookup);
                    ended = true;
                }
            }
        }
        ended
    }

    fn finish(&mut self, now: Instant, lookup: &Lookup) {
        let v6 = usize::from(lookup.v6);
        let own = self.overlays[v6].table.own();
        match lookup.purpose {
            Purpose::Nodes if lookup.target == own => {
                let overlay = &mut self.overlays[v6];
                let nodes = overlay.table.usable();
                if core::mem::replace(&mut overlay.told, nodes) != nodes {
                    let known = if nodes == 1 { "node" } else { "nodes" };
                    log::info!("dht: {nodes} {known} known, our id is {own}");
                    self.tell(Event::Joined(nodes));
                }
            }
            Purpose::Nodes => {}
            Purpose::Peers(info_hash) => {
                let Some(search) = self.searches.get_mut(&info_hash) else { return };
                search.ended(now, v6, lookup, self.random.u32());
                search.stored_here[v6] = lookup.is_among_nearest(own);
                let (rounds, queries) = (lookup.rounds(), lookup.queries());
                let announced = lookup.announced;
                log::debug!("dht: {info_hash}: {queries} queries, told {announced} nodes of us");
                self.tell(Event::Searched { info_hash, rounds, queries, announced });
            }
        }
    }

    /// Announces us to whomever a lookup has found for that.
    fn announce(&mut self, now: Instant, number: u32) {
        let Some(lookup) = self.lookups.get_mut(&number) else { return };
        let Purpose::Peers(info_hash) = lookup.purpose else { return };
        let places = lookup.take_places();
        let v6 = usize::from(lookup.v6);
        if let Some(search) = self.searches.get_mut(&info_hash).filter(|_| !places.is_empty()) {
            search.stored_here[v6] = lookup.is_among_nearest(self.overlays[v6].table.own());
        }
        let port = self.config.port;
        let mut announced = 0;
        for place in places {
            let token = &place.token;
            let query = Query::AnnouncePeer { info_hash, implied_port: false, port, token };
            let said = self.query(now, place.addr, Some(place.id), About::Announce, query);
            announced += usize::from(said);
        }
        if let Some(lookup) = self.lookups.get_mut(&number) {
            lookup.announced += announced;
        }
    }

    fn ping(&mut self, now: Instant, addr: SocketAddr, id: Option<NodeId>) {
        if !self.pending.values().any(|pending| pending.addr == addr) {
            self.query(now, addr, id, About::Ping, Query::Ping);
        }
    }

    /// Asks, if there are not too many questions open.
    fn query(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        id: Option<NodeId>,
        about: About,
        query: Query<'_>,
    ) -> bool {
        if self.pending.len() >= PENDING_MAX {
            return false;
        }
        let mut transaction = self.random.u32();
        while self.pending.contains_key(&transaction) {
            transaction = self.random.u32();
        }
        let slow_at = Some(now + SLOW_AFTER);
        let pending = Pending { addr, id, about, slow_at, lost_at: now + LOST_AFTER };
        self.pending.insert(transaction, pending);
        log::debug!("dht: -> {addr} {}", query.name().escape_ascii());
        let own = self.overlays[family(addr)].table.own();
        let transaction = transaction.to_be_bytes();
        self.send(addr, &Message::new(&transaction, Body::Query(own, query)));
        true
    }

    /// BEP 32: both families, if we are in both networks.
    fn want(&self) -> Want {
        let both = self.overlays.iter().all(|overlay| overlay.open);
        Want { v4: both, v6: both }
    }
}

impl Overlay {
    fn join_anew(&mut self, now: Instant) {
        (self.join_at, self.join_pause) = (now, JOIN_FIRST);
    }
}

impl Search {
    /// A lookup has ended: when is the next?
    fn ended(&mut self, now: Instant, v6: usize, lookup: &Lookup, random: u32) {
        // At first the others may not have announced yet, nor everybody be known: too few may
        // have been told of us.
        let enough = lookup.found && lookup.announced >= K;
        let pause = if enough { self.pause.max(SEARCH_FOUND) } else { self.pause };
        self.pause = (pause * 2).min(SEARCH_AGAIN);
        // Not all at the same moment: up to an eighth earlier.
        let earlier = pause / 8 * (random % 256) / 256;
        self.due[v6] = now + (pause - earlier);
    }
}
