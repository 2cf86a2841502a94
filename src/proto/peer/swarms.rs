//! Torrents come and go, their pieces are checked and verified, their status changes.

use super::leaving::announces;
use super::Peer;
use crate::proto::announcer::Announcer;
use crate::proto::blame::Blame;
use crate::proto::broadcast::Bulletin;
use crate::proto::choker::SlotMeter;
use crate::proto::closed::Closed;
use crate::proto::connection::{Connection, Phase};
use crate::proto::contacts::Contacts;
use crate::proto::dealer::Dealer;
use crate::proto::output::{Action, Event, Status};
use crate::proto::picker::Picker;
use crate::proto::repeats::Repeats;
use crate::proto::store::Store;
use crate::proto::swarm::{Stage, Start, Swarm, Torrent};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::PieceIndex;
use crate::units::id::{ConnId, SwarmId};
use crate::units::rate::Rate;
use crate::units::time::Instant;
use crate::wire::digest;
use crate::wire::message::Message;
use core::net::SocketAddr;
use log::Level;

/// Lines about verified pieces of one torrent for people; the others are for debugging.
const PIECE_LINES_MAX: u32 = 200;

/// Peers of the last run that are asked in place of a tracker that is away.
const CONTACTS_AS_TRACKERS: usize = 4;

/// What the resume record says of a swarm; see `wire::resume`.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The verified pieces.
    pub have: Bitfield,
    /// Blocks of begun pieces.
    pub partials: Vec<(u32, Bitfield)>,
    /// Bytes uploaded in all runs.
    pub uploaded: u64,
    /// Bytes downloaded in all runs.
    pub downloaded: u64,
    /// Addresses worth dialing after a restart.
    pub contacts: Vec<SocketAddr>,
}

impl Peer {
    /// Joins a swarm. `None` if we are in it already.
    pub fn add_swarm(&mut self, now: Instant, torrent: Torrent, start: Start) -> Option<SwarmId> {
        if self.by_hash.contains_key(&torrent.info_hash) {
            return None;
        }
        self.forget_leaving(torrent.info_hash);
        let id = SwarmId(self.next_swarm);
        self.next_swarm += 1;
        let announce = torrent.announce.as_deref();
        let (announcer, errors) = Announcer::new(announce, &torrent.announce_list, &mut self.rng);
        for error in errors {
            log::warn!("{}: {error}", torrent.name);
        }
        let mut picker = Picker::new(torrent.geometry, start.have, &mut self.rng);
        picker.set_padding(torrent.padding.clone());
        for (piece, blocks) in &start.partials {
            if let Some(piece) = torrent.geometry.piece(*piece) {
                picker.restore(piece, blocks);
            }
        }
        let info_hash = torrent.info_hash;
        let swarm = Swarm {
            id,
            torrent,
            stage: Stage::Checking,
            paused: false,
            stalled: None,
            disk_told: Repeats::default(),
            picker,
            blame: Blame::default(),
            members: Vec::new(),
            wanting: Vec::new(),
            stirred: false,
            exchange_at: None,
            contacts: Contacts::default(),
            announcer,
            uploaded: start.uploaded,
            downloaded: start.downloaded,
            wasted: 0,
            up: Rate::default(),
            down: Rate::default(),
            complete_since: None,
            given: None,
            goal_met: false,
            status: Status::Checking,
            searching_since: None,
            turn_over_at: now,
            room_again_at: Instant::ORIGIN,
            announce_told: Repeats::default(),
            banned: Vec::new(),
            dealer: None,
            slots: SlotMeter::default(),
            optimistic: None,
            rounds: 0,
            bulletin: Bulletin::default(),
            fetch: None,
        };
        self.tracker.track(info_hash, swarm.left());
        self.by_hash.insert(info_hash, id);
        self.swarms.insert(id, swarm);
        self.lsd_join(now, id);
        self.learn_contacts(now, id, start.contacts, false);
        if !start.checking {
            self.handle_check_done(now, id);
        }
        Some(id)
    }

    /// A piece on disk was checked at the start: only good ones are told here.
    pub fn handle_checked(&mut self, now: Instant, id: SwarmId, piece: PieceIndex) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if !swarm.picker.have().get(piece.get()) {
            swarm.picker.verified(piece);
            self.announce_have(now, id, piece);
        }
    }

    /// Every piece on disk was checked: the swarm starts.
    pub fn handle_check_done(&mut self, now: Instant, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if swarm.stage != Stage::Checking {
            return;
        }
        let complete = swarm.picker.is_done();
        swarm.stage = if complete { Stage::Complete } else { Stage::Downloading };
        swarm.complete_since = complete.then_some(now);
        swarm.searching_since = Some(now);
        if swarm.is_partial_seed() {
            swarm.announcer.partial_seed(now);
        } else if complete {
            swarm.dealer = Some(Dealer::new(swarm.geometry(), &mut self.rng));
        }
        if !swarm.paused {
            swarm.announcer.start(now);
        }
        let (info_hash, left, members) =
            (swarm.torrent.info_hash, swarm.left(), swarm.members.clone());
        self.tracker.track(info_hash, left);
        self.tracker.partial_seed(info_hash, swarm.is_partial_seed());
        // The last run may have ended between a piece's last block and its hash.
        let received: Vec<_> =
            swarm.geometry().pieces().filter(|&p| swarm.picker.is_received(p)).collect();
        self.actions.extend(received.into_iter().map(|piece| Action::Verify(id, piece)));
        self.resolve_bare(id);
        // Hosts that are likely to run this program, and so a tracker.
        let Some(swarm) = self.swarms.get(&id) else { return };
        let best = swarm.contacts.best().into_iter().take(CONTACTS_AS_TRACKERS);
        let hosts: Vec<_> = best.chain(self.named_addrs()).chain(self.lan_hosts()).collect();
        hosts.into_iter().for_each(|host| self.learn_tracker(now, host, Some(id)));
        let named = self.named_addrs();
        self.learn_contacts(now, id, named, true);
        for member in members {
            self.update_interest(now, member);
        }
        self.dht_join(now, id);
        self.refresh_status(now, id);
        self.dial_due(now);
        self.look_at_goal(now);
    }

    /// The hash of a downloaded piece is known.
    pub fn handle_verified(
        &mut self,
        now: Instant,
        id: SwarmId,
        piece: PieceIndex,
        good: bool,
        store: &mut dyn Store,
    ) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if !swarm.picker.is_received(piece) {
            return;
        }
        swarm.stirred = true;
        let geometry = swarm.torrent.geometry;
        let mut digest_of = |n: u32| {
            let block = geometry.nth_block(piece, n);
            let mut bytes = vec![0; block.length as usize];
            let read = store.read(id, geometry.block_offset(block), &mut bytes);
            read.ok().map(|()| digest::sha1(&bytes))
        };
        let liars = if good {
            swarm.blame.verified(piece, digest_of)
        } else {
            let count = geometry.block_count(piece);
            swarm.blame.failed(piece, count, &mut digest_of).into_iter().collect()
        };
        if good {
            swarm.picker.verified(piece);
            let (have, count) = swarm.picker.counts();
            // Of a large torrent not every line: they would drown all else.
            let step = count.div_ceil(PIECE_LINES_MAX);
            let level = if have % step == 0 || have == count { Level::Info } else { Level::Debug };
            let name = &swarm.torrent.name;
            log::log!(level, "{name}: piece {} ok ({have}/{count})", piece.get());
            self.events.push_back(Event::Verified(id, piece));
            self.announce_have(now, id, piece);
        } else {
            log::warn!(
                "{}: piece {} does not match its hash, fetching it again",
                swarm.torrent.name,
                piece.get()
            );
            swarm.wasted += u64::from(geometry.piece_size(piece));
            swarm.picker.failed(piece);
        }
        for liar in liars {
            self.ban(now, id, liar);
        }
        let complete = self.swarms.get(&id).is_some_and(|s| s.picker.is_done());
        if complete {
            self.complete(now, id);
        } else if !good {
            self.request_all(now, id);
        }
    }

    /// What to write into the resume record.
    #[must_use]
    pub fn progress(&self, id: SwarmId) -> Option<Progress> {
        let swarm = self.swarms.get(&id)?;
        // Of blocks that the disk has refused nobody knows which are there.
        let sound = swarm.stage != Stage::Failed;
        let partials = swarm.picker.partials().filter(|_| sound);
        Some(Progress {
            have: swarm.picker.have().clone(),
            partials: partials.map(|(p, blocks)| (p.get(), blocks)).collect(),
            uploaded: swarm.uploaded,
            downloaded: swarm.downloaded,
            contacts: swarm.contacts.best(),
        })
    }

    /// Says stopped to trackers, hangs up on everybody. Done when [`Peer::is_stopped`].
    pub fn handle_stop(&mut self, now: Instant) {
        if core::mem::replace(&mut self.stopping, true) {
            return;
        }
        // A tracker that has our announce may answer it: who it knows must tell it `stopped`.
        let asked = |conn: &Connection| matches!(conn.phase, Ok(Phase::Announcing { .. }));
        let rest = self.connections.iter().filter(|conn| !asked(conn));
        let rest: Vec<_> =
            rest.map(|conn| (conn.id, conn.swarm().filter(|_| announces(conn)))).collect();
        for (id, announcing) in rest {
            match announcing.and_then(|swarm| self.swarms.get_mut(&swarm)) {
                Some(swarm) => {
                    swarm.announcer.handle_failure(now, "stopping");
                    self.remove_quietly(id);
                }
                None => self.close(now, id, Closed::Stopping),
            }
        }
        for swarm in self.swarms.values_mut() {
            swarm.announcer.stop(now);
        }
        self.fetches.clear();
        self.announce_due(now);
    }

    /// Whether nothing is left to say.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.swarms.values().all(|s| s.announcer.is_idle())
    }

    /// Whether every tracker that can be reached has heard of our completions.
    #[must_use]
    pub fn announces_done(&self, now: Instant) -> bool {
        // A tracker that is away is waited for no longer: its next turn lies in the future. Where
        // there is none, nobody waits to hear of it.
        let away = |at: Option<Instant>| at.is_some_and(|at| at > now);
        self.swarms
            .values()
            .map(|s| &s.announcer)
            .all(|a| !a.owes_completed() || away(a.poll_timeout()))
    }

    /// Works out what we are in the swarm, and says so when it has changed.
    pub(super) fn refresh_status(&mut self, now: Instant, id: SwarmId) {
        let Self { swarms, connections, .. } = self;
        let Some(swarm) = swarms.get_mut(&id) else { return };
        // What somebody new has is not known before its first message.
        let heard = |id: &ConnId| {
            let peering = connections.get(*id).and_then(|conn| conn.peering());
            peering.is_none_or(|peering| peering.heard)
        };
        let settled = || swarm.status == Status::Leech || swarm.members.iter().all(heard);
        let is_leech = || swarm.picker.is_short() && settled();
        let status = match swarm.stage {
            Stage::Checking => Status::Checking,
            Stage::Failed => Status::Failed,
            Stage::Left(_) => return,
            Stage::Metadata => Status::Metadata,
            _ if swarm.paused => Status::Paused,
            Stage::Complete if swarm.is_partial_seed() => Status::PartialSeed,
            Stage::Complete => Status::Seeder,
            Stage::Downloading if swarm.stalled.is_some() => Status::Stalled,
            Stage::Downloading if swarm.members.is_empty() => Status::Waiting,
            Stage::Downloading if is_leech() => Status::Leech,
            Stage::Downloading => Status::Peer,
        };
        let before = core::mem::replace(&mut swarm.status, status);
        // Who stops hangs up on everybody: that is no news.
        if before == status || self.stopping {
            return;
        }
        let name = &swarm.torrent.name;
        match (before, status) {
            (Status::Peer | Status::Leech, Status::Waiting) => {
                log::info!("{name}: all peers gone, waiting");
                swarm.contacts.hurry(now);
                swarm.announcer.want_peers(now);
                let info_hash = swarm.torrent.info_hash;
                self.dht_want_peers(now, info_hash);
            }
            (Status::Checking, Status::Waiting) => log::info!("{name}: waiting for peers"),
            _ => log::info!("{name}: {before} -> {status}"),
        }
        self.events.push_back(Event::StatusChanged(id, status));
    }

    /// From peer to seeder, or to partial seed.
    fn complete(&mut self, now: Instant, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if swarm.stage != Stage::Downloading {
            return;
        }
        swarm.stage = Stage::Complete;
        swarm.complete_since = Some(now);
        let (info_hash, members) = (swarm.torrent.info_hash, swarm.members.clone());
        let (name, (_, count)) = (&swarm.torrent.name, swarm.picker.counts());
        if swarm.is_partial_seed() {
            log::info!("{name}: the chosen files are complete, all their {count} pieces verified");
            swarm.announcer.partial_seed(now);
            self.tracker.partial_seed(info_hash, true);
        } else {
            log::info!("{name}: complete, all {count} pieces verified");
            swarm.dealer = Some(Dealer::new(swarm.geometry(), &mut self.rng));
            swarm.announcer.completed(now);
            self.tracker.completed(info_hash);
        }
        self.actions.push_back(Action::Finish(id));
        self.events.push_back(Event::Completed(id));
        for member in members {
            self.update_interest(now, member);
            self.say_upload_only(member);
            self.part_if_useless(now, member);
        }
        self.refresh_status(now, id);
        self.dial_due(now);
        self.look_at_goal(now);
    }

    /// BEP 21, in a second extension handshake as BEP 10 allows.
    fn say_upload_only(&mut self, id: ConnId) {
        let extended = self.with_peering(id, |peering, _, _, _| peering.extended);
        if extended == Some(true) {
            self.say_hello(id);
        }
    }

    /// Tells everybody that we have the piece: a seeder, too, which so learns what is out.
    fn announce_have(&mut self, now: Instant, id: SwarmId, piece: PieceIndex) {
        let members = self.swarms.get(&id).map(|s| s.members.clone()).unwrap_or_default();
        for member in members {
            self.say(member, &Message::Have(piece.get()));
            self.request_more(now, member);
        }
    }

    /// Proven to have sent a bad block: its connections end, and it is not let in again.
    pub(super) fn ban(&mut self, now: Instant, id: SwarmId, liar: crate::proto::blame::Source) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        log::warn!("{} sent a bad block and is banned", liar.ip);
        swarm.banned.push(liar);
        for member in swarm.members.clone() {
            let is_it = self.connection(member).is_some_and(|conn| {
                let ip = conn.remote.ip();
                conn.peering().is_some_and(|p| p.peer_id == liar.peer_id) && ip == liar.ip
            });
            if is_it {
                self.close(now, member, Closed::Banned);
            }
        }
    }
}
