//! `ut_metadata` (BEP 9): serves the metadata of our torrents, and fetches that of a magnet link.
//!
//! A swarm without metadata is one like the others: it announces, dials, and keeps what its peers
//! say they have, as they said it, until the geometry is known. Then it goes on with the same
//! connections.

use super::Peer;
use crate::proto::announcer::Announcer;
use crate::proto::blame::Source;
use crate::proto::closed::{Closed, Misbehaved};
use crate::proto::early::Early;
use crate::proto::metadata::{Holder, Progress};
use crate::proto::output::{Action, Asker, Event};
use crate::proto::picker::Picker;
use crate::proto::swarm::{Stage, Start, Swarm, Torrent};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::Geometry;
use crate::units::id::{ConnId, InfoHash, SwarmId};
use crate::units::limits::{BLOCK_BYTES, METADATA_BYTES_MAX, PIECES_MAX};
use crate::units::padding::Padding;
use crate::units::time::Instant;
use crate::wire::address::HostPort;
use crate::wire::digest;
use crate::wire::extended::Extension;
use crate::wire::magnet::Magnet;
use crate::wire::message::Message;
use crate::wire::metadata::{MetadataMessage, METADATA_PIECE_BYTES};
use std::sync::Arc;

/// Pieces of the metadata that one peer may have asked for: all there can be.
const OWED_MAX: usize = METADATA_BYTES_MAX.div_ceil(METADATA_PIECE_BYTES) as usize;
/// Unsent bytes with which the next piece of metadata waits.
const UNSENT_MAX: usize = 64 * 1024;

impl Peer {
    /// Joins the swarm of a magnet link; its metadata is fetched from the peers, and
    /// [`Action::Metadata`] brings it. `None` if we are in it already.
    pub fn add_magnet(&mut self, now: Instant, magnet: &Magnet) -> Option<SwarmId> {
        let nothing = Geometry::new(0, BLOCK_BYTES)?;
        let torrent = Torrent {
            info_hash: magnet.info_hash,
            name: magnet.shown_name(),
            geometry: nothing,
            padding: Padding::default(),
            private: false,
            announce: magnet.trackers.first().cloned(),
            announce_list: magnet.announce_list(),
            info: Arc::default(),
        };
        let start = Start {
            have: Bitfield::new(0),
            partials: Vec::new(),
            uploaded: 0,
            downloaded: 0,
            contacts: Vec::new(),
            checking: true,
        };
        let id = self.add_swarm(now, torrent, start)?;
        let swarm = self.swarms.get_mut(&id)?;
        swarm.stage = Stage::Metadata;
        swarm.searching_since = Some(now);
        swarm.fetch = Some(Box::default());
        swarm.announcer.start(now);
        let bare: Vec<HostPort> = swarm.announcer.bare_peers().cloned().collect();
        let left = swarm.left();
        self.tracker.track(magnet.info_hash, left);
        self.handle_hints(id, &magnet.peers);
        self.handle_hints(id, &bare);
        let named = self.named_addrs();
        self.learn_contacts(now, id, named, true);
        self.dht_join(now, id);
        self.refresh_status(now, id);
        self.dial_due(now);
        Some(id)
    }

    /// Hosts that a link or a torrent names as peers of this swarm: dialed as if the user had
    /// named them.
    pub fn handle_hints(&mut self, id: SwarmId, hosts: &[HostPort]) {
        for host in hosts.iter().cloned() {
            self.actions.push_back(Action::Resolve(host, Asker::Dialer(Some(id))));
        }
    }

    /// The metadata has led to this: the swarm goes on as any other, with the same connections.
    /// `handle_check_done` follows when the content is checked.
    pub fn handle_metadata(&mut self, now: Instant, id: SwarmId, torrent: Torrent, start: Start) {
        let Some(swarm) = self.swarms.get_mut(&id).filter(|s| s.stage == Stage::Metadata) else {
            return;
        };
        let (geometry, members) = (torrent.geometry, swarm.members.clone());
        // What was there before can be told in one bitfield only: those come back at once.
        let fresh = start.have.is_empty();
        swarm.picker = Picker::new(geometry, start.have, &mut self.rng);
        swarm.picker.set_padding(torrent.padding.clone());
        for (piece, blocks) in &start.partials {
            if let Some(piece) = geometry.piece(*piece) {
                swarm.picker.restore(piece, blocks);
            }
        }
        if torrent.announce_list != swarm.torrent.announce_list {
            swarm.announcer =
                Announcer::new(torrent.announce.as_deref(), &torrent.announce_list, &mut self.rng)
                    .0;
        }
        let private = torrent.private;
        swarm.torrent = torrent;
        swarm.fetch = None;
        swarm.stage = Stage::Checking;
        swarm.uploaded += start.uploaded;
        swarm.downloaded += start.downloaded;
        for member in members {
            let sound = self.with_peering(member, |peering, swarm, _, _| {
                let Some(early) = peering.early.take() else { return Ok(()) };
                let pieces = early.into_pieces(geometry.piece_count())?;
                swarm.picker.add_peer(&pieces);
                peering.pieces = Some(Box::new(pieces));
                Ok::<(), Misbehaved>(())
            });
            match sound {
                Some(Err(why)) => self.close(now, member, why.into()),
                _ if fresh => self.say_hello(member),
                _ => self.close(now, member, Closed::MakeRoom),
            }
        }
        self.learn_contacts(now, id, start.contacts, false);
        if private {
            self.lsd_leave(id);
            self.dht_leave(id);
        }
    }

    /// The metadata is what the link means, but we cannot use it.
    pub fn handle_metadata_refused(&mut self, now: Instant, id: SwarmId, why: &str) {
        let Some(swarm) = self.swarms.get_mut(&id).filter(|s| s.stage == Stage::Metadata) else {
            return;
        };
        log::error!("{}: refused: {why}", swarm.torrent.name);
        swarm.stage = Stage::Failed;
        swarm.fetch = None;
        self.events.push_back(Event::Failed(id, why.to_owned()));
        self.withdraw(now, id, &Closed::Stopping);
        self.refresh_status(now, id);
    }

    /// Keeps what a peer says to have while the number of pieces is not known; true if it was
    /// that.
    pub(super) fn said_early(
        &mut self,
        id: ConnId,
        message: &Message<'_>,
    ) -> Result<bool, Misbehaved> {
        let early = self.with_peering(id, |peering, swarm, _, _| {
            if swarm.stage != Stage::Metadata {
                return Ok(false);
            }
            match *message {
                Message::HaveAll => peering.early = Some(Early::All),
                Message::HaveNone => peering.early = None,
                Message::Bitfield(bytes) => peering.early = Some(Early::Bitfield(bytes.to_vec())),
                Message::Have(piece) if piece >= PIECES_MAX => {
                    return Err(Misbehaved::HaveOutOfRange);
                }
                Message::Have(piece) => peering.early.get_or_insert(Early::NOTHING).add(piece),
                _ => return Ok(false),
            }
            peering.bitfield_said = true;
            Ok(true)
        });
        early.unwrap_or(Ok(false))
    }

    /// A message of `ut_metadata` has come.
    pub(super) fn metadata_message(
        &mut self,
        now: Instant,
        id: ConnId,
        payload: &[u8],
    ) -> Result<(), Closed> {
        let message =
            MetadataMessage::parse(payload).map_err(|_| Misbehaved::BadExtendedMessage)?;
        let swarm = self.with_peering(id, |_, swarm, _, remote| {
            log::debug!("<- {remote} ut_metadata: {message}");
            swarm.id
        });
        let Some(swarm) = swarm else { return Ok(()) };
        match message {
            MetadataMessage::Request(piece) => self.metadata_asked(id, piece),
            MetadataMessage::Data { piece, total_size, bytes } => {
                self.metadata_came(now, id, piece, total_size, bytes)?;
            }
            MetadataMessage::Reject(piece) => {
                let fetch = self.swarms.get_mut(&swarm).and_then(|s| s.fetch.as_mut());
                fetch.into_iter().for_each(|fetch| fetch.rejected(now, id, piece));
            }
            MetadataMessage::Unknown => {}
        }
        self.fetch_metadata(now, swarm);
        Ok(())
    }

    /// Sends pieces of the metadata that are owed, as the socket takes them.
    pub(super) fn send_metadata(&mut self, id: ConnId) {
        loop {
            let next = self.with_peering(id, |peering, swarm, outgoing, _| {
                if outgoing.outbox_len() >= UNSENT_MAX {
                    return None;
                }
                let piece = peering.metadata_owed.pop_front()?;
                Some((piece, Arc::clone(&swarm.torrent.info)))
            });
            let Some(Some((piece, info))) = next else { return };
            let begin = piece as usize * METADATA_PIECE_BYTES as usize;
            let end = info.len().min(begin + METADATA_PIECE_BYTES as usize);
            let bytes = info.get(begin..end).unwrap_or_default();
            let total_size = u32::try_from(info.len()).ok();
            let message = MetadataMessage::Data { piece, total_size, bytes };
            self.say_extended(id, Extension::Metadata, &message.to_bytes(), &message);
        }
    }

    /// Asks for metadata wherever it is missing.
    pub(super) fn metadata_tick(&mut self, now: Instant) {
        let lacking = self.swarms.values().filter(|s| s.fetch.is_some()).map(|s| s.id);
        for id in lacking.collect::<Vec<_>>() {
            self.fetch_metadata(now, id);
        }
    }

    /// Asks whoever has the metadata for the pieces that are missing.
    pub(super) fn fetch_metadata(&mut self, now: Instant, id: SwarmId) {
        let Self { swarms, connections, .. } = self;
        let Some(swarm) = swarms.get_mut(&id) else { return };
        let Some(fetch) = &mut swarm.fetch else { return };
        let holder = |&conn: &ConnId| {
            let peering = connections.get(conn)?.peering()?;
            peering.ids.get(Extension::Metadata)?;
            Some(Holder { conn, size: peering.metadata_size? })
        };
        let holders: Vec<Holder> = swarm.members.iter().filter_map(holder).collect();
        for (conn, piece) in fetch.requests(now, &holders) {
            let message = MetadataMessage::Request(piece);
            self.say_extended(conn, Extension::Metadata, &message.to_bytes(), &message);
        }
    }

    fn metadata_asked(&mut self, id: ConnId, piece: u32) {
        let owed = self.with_peering(id, |peering, swarm, _, _| {
            let bytes = u64::from(piece) * u64::from(METADATA_PIECE_BYTES);
            let there = !swarm.torrent.private && bytes < swarm.torrent.info.len() as u64;
            let room = there && peering.metadata_owed.len() < OWED_MAX;
            if room {
                peering.metadata_owed.push_back(piece);
            }
            room
        });
        match owed {
            Some(true) => self.send_metadata(id),
            // One that never reads gets no more of these.
            Some(false)
                if self.connection(id).is_some_and(|c| c.outgoing.outbox_len() < UNSENT_MAX) =>
            {
                let message = MetadataMessage::Reject(piece);
                self.say_extended(id, Extension::Metadata, &message.to_bytes(), &message);
            }
            _ => {}
        }
    }

    fn metadata_came(
        &mut self,
        now: Instant,
        id: ConnId,
        piece: u32,
        total_size: Option<u32>,
        bytes: &[u8],
    ) -> Result<(), Closed> {
        let swarm = self.connection(id).and_then(|conn| conn.swarm());
        let Some(swarm) = swarm.and_then(|id| self.swarms.get_mut(&id)) else { return Ok(()) };
        let (swarm_id, name) = (swarm.id, &swarm.torrent.name);
        let Some(fetch) = &mut swarm.fetch else { return Ok(()) };
        let whole = match fetch.received(id, piece, total_size, bytes) {
            Progress::Bad => return Err(Misbehaved::BadMetadata.into()),
            Progress::Unasked | Progress::NeedMore => return Ok(()),
            Progress::Whole(whole) => whole,
        };
        if InfoHash(digest::sha1(&whole)) == swarm.torrent.info_hash {
            log::info!("{name}: metadata complete, {} bytes verified", whole.len());
            self.actions.push_back(Action::Metadata(swarm_id, whole.into()));
            return Ok(());
        }
        log::warn!("{name}: the metadata does not match the info-hash, fetching it again");
        if let Some(liar) = fetch.failed() {
            let source = self.with_peering(liar, |peering, _, _, remote| Source {
                ip: remote.ip(),
                peer_id: peering.peer_id,
            });
            source.into_iter().for_each(|source| self.ban(now, swarm_id, source));
        }
        Ok(())
    }
}

/// Of a swarm without metadata, any number of pieces may be true.
pub(super) fn piece_count(swarm: &Swarm) -> u32 {
    if swarm.stage == Stage::Metadata {
        PIECES_MAX
    } else {
        swarm.geometry().piece_count()
    }
}
