//! One torrent and the peers that share it.

use super::announcer::{Announcer, Stats};
use super::blame::{Blame, Source};
use super::broadcast::Bulletin;
use super::choker::SlotMeter;
use super::contacts::Contacts;
use super::dealer::Dealer;
use super::metadata::Fetch;
use super::output::Status;
use super::picker::Picker;
use super::repeats::Repeats;
use crate::units::bitfield::Bitfield;
use crate::units::geometry::{Block, Geometry, PieceIndex};
use crate::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use crate::units::limits::BLOCK_BYTES;
use crate::units::padding::Padding;
use crate::units::rate::Rate;
use crate::units::time::Instant;
use core::net::SocketAddr;
use std::sync::Arc;

/// What the core must know of a torrent to join its swarm.
#[derive(Clone, Debug)]
pub struct Torrent {
    /// SHA-1 of the raw `info`.
    pub info_hash: InfoHash,
    /// For people; safe to print.
    pub name: String,
    /// Its pieces.
    pub geometry: Geometry,
    /// BEP 47: bytes that are zeros and need not be fetched.
    pub padding: Padding,
    /// BEP 27: peers come from its trackers and from the user only.
    pub private: bool,
    /// `announce`.
    pub announce: Option<String>,
    /// `announce-list` (BEP 12).
    pub announce_list: Vec<Vec<String>>,
    /// The raw `info`, for who asks by BEP 9; empty where it is not to be had.
    pub info: Arc<[u8]>,
}

/// Where a torrent goes on from.
#[derive(Clone, Debug)]
pub struct Start {
    /// The verified pieces.
    pub have: Bitfield,
    /// Blocks of begun pieces that are there.
    pub partials: Vec<(u32, Bitfield)>,
    /// Bytes uploaded in earlier runs.
    pub uploaded: u64,
    /// Bytes downloaded in earlier runs.
    pub downloaded: u64,
    /// Addresses known from earlier runs.
    pub contacts: Vec<SocketAddr>,
    /// More pieces are being checked; `handle_checked` brings the results.
    pub checking: bool,
}

/// How far the swarm's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Pieces on disk are being verified.
    Checking,
    /// Only the info-hash is known (BEP 9): no pieces, no content.
    Metadata,
    /// Missing pieces.
    Downloading,
    /// All there that is wanted.
    Complete,
    /// The disk failed.
    Failed,
    /// Its torrent was removed: only trackers are still to hear of it, until then.
    Left(Instant),
}

/// A download that waits for its disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    /// A block that could not be written.
    pub(super) block: Block,
    /// When to try again; `None` while that is under way.
    pub(super) again_at: Option<Instant>,
}

/// A swarm we are in.
#[derive(Debug)]
pub struct Swarm {
    pub(super) id: SwarmId,
    pub(super) torrent: Torrent,
    pub(super) stage: Stage,
    /// The user has stopped it for a while.
    pub(super) paused: bool,
    /// Since when everything wanted is there, in this run.
    pub(super) complete_since: Option<Instant>,
    /// It was given enough: nobody is served any more, and at this time it is paused.
    pub(super) given: Option<Instant>,
    /// It was paused for that; once in a run.
    pub(super) goal_met: bool,
    /// The disk takes nothing for now.
    pub(super) stalled: Option<Stall>,
    /// What the disk said that was told.
    pub(super) disk_told: Repeats,
    pub(super) picker: Picker,
    pub(super) blame: Blame,
    /// Connections in the peer wire protocol, in the order of their handshakes.
    pub(super) members: Vec<ConnId>,
    /// Of the members, those that want something of ours.
    pub(super) wanting: Vec<ConnId>,
    /// What we lack has changed: each member is looked at with the next tick.
    pub(super) stirred: bool,
    /// When somebody is next to be told of the others by `ut_pex`; a time that is past: who is
    /// there has changed.
    pub(super) exchange_at: Option<Instant>,
    pub(super) contacts: Contacts,
    pub(super) announcer: Announcer,
    pub(super) uploaded: u64,
    pub(super) downloaded: u64,
    pub(super) wasted: u64,
    pub(super) up: Rate,
    pub(super) down: Rate,
    pub(super) status: Status,
    /// Since when nobody who has a missing piece was met.
    pub(super) searching_since: Option<Instant>,
    /// No dialed peer gives way to an untried address before this.
    pub(super) turn_over_at: Instant,
    /// No dialed peer gives way to an announce before this.
    pub(super) room_again_at: Instant,
    /// Failures of announces that were told.
    pub(super) announce_told: Repeats,
    pub(super) banned: Vec<Source>,
    /// While we have everything.
    pub(super) dealer: Option<Dealer>,
    pub(super) slots: SlotMeter,
    pub(super) optimistic: Option<ConnId>,
    pub(super) rounds: u32,
    pub(super) bulletin: Bulletin,
    /// In [`Stage::Metadata`].
    pub(super) fetch: Option<Box<Fetch>>,
}

/// What people are told of a swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which swarm.
    pub id: SwarmId,
    /// Its torrent.
    pub info_hash: InfoHash,
    /// Its name.
    pub name: String,
    /// What we are in it.
    pub status: Status,
    /// Verified bytes of what is wanted: pieces that hold something of a chosen file.
    pub have: u64,
    /// Bytes of that in all.
    pub length: u64,
    /// Verified bytes, wanted or not.
    pub verified: u64,
    /// Bytes a second coming in.
    pub down_rate: u64,
    /// Bytes a second going out.
    pub up_rate: u64,
    /// Bytes that came in all runs.
    pub downloaded: u64,
    /// Bytes that went out in all runs.
    pub uploaded: u64,
    /// Bytes that came and were of no use.
    pub wasted: u64,
    /// Connected peers.
    pub peers: usize,
}

impl Swarm {
    /// What its content is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.torrent.name
    }

    /// Whether others may hear of us here: neither paused nor failed.
    #[must_use]
    pub fn takes_part(&self) -> bool {
        !self.paused && self.stage != Stage::Failed
    }

    /// Its geometry.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.torrent.geometry
    }

    /// Whether its torrent is still here.
    pub(super) const fn is_here(&self) -> bool {
        !matches!(self.stage, Stage::Left(_))
    }

    /// Verified bytes.
    #[must_use]
    pub fn have_bytes(&self) -> u64 {
        let have = self.picker.have();
        self.bytes_of(have.count(), |last| have.get(last))
    }

    /// Verified bytes of the pieces that are wanted, and how many bytes those have.
    #[must_use]
    pub fn wanted_bytes(&self) -> (u64, u64) {
        let have = self.picker.have();
        let Some(wanted) = self.picker.wanted() else {
            return (self.have_bytes(), self.torrent.geometry.length());
        };
        let both = |last| have.get(last) && wanted.get(last);
        (
            self.bytes_of(have.count_with(wanted), both),
            self.bytes_of(wanted.count(), |last| wanted.get(last)),
        )
    }

    /// Bytes of so many pieces; the last of all is shorter, where it is `among` them.
    fn bytes_of(&self, count: u32, among: impl Fn(u32) -> bool) -> u64 {
        let geometry = &self.torrent.geometry;
        let whole = u64::from(count) * u64::from(geometry.piece_length());
        let last = geometry.piece_count().checked_sub(1).and_then(|last| geometry.piece(last));
        match last {
            Some(last) if among(last.get()) => {
                whole - u64::from(geometry.piece_length() - geometry.piece_size(last))
            }
            _ => whole,
        }
    }

    /// It was given enough, and is about to be paused for that.
    pub(super) fn ends(&self) -> bool {
        self.given.is_some() && !self.goal_met
    }

    /// BEP 21: nothing is wanted any more, and not all is there.
    #[must_use]
    pub fn is_partial_seed(&self) -> bool {
        self.stage == Stage::Complete && !self.picker.is_complete()
    }

    /// Bytes still missing of the whole torrent (BEP 3 `left`), wanted or not: 0 would make a
    /// seeder of us. libtorrent and Transmission count alike.
    #[must_use]
    pub fn left(&self) -> u64 {
        if self.stage == Stage::Metadata {
            // Not known; but whoever says 0 is a seeder, and is told of no others.
            return u64::from(BLOCK_BYTES);
        }
        self.torrent.geometry.length() - self.have_bytes()
    }

    pub(super) fn stats(&self, peer_id: PeerId, port: u16) -> Stats {
        Stats {
            info_hash: self.torrent.info_hash,
            peer_id,
            port,
            uploaded: self.uploaded,
            downloaded: self.downloaded,
            left: self.left(),
        }
    }

    pub(super) fn is_banned(&self, source: Source) -> bool {
        self.banned.contains(&source)
    }

    /// Whether bytes of this piece may be served.
    pub(super) fn serves(&self, piece: PieceIndex) -> bool {
        self.stage != Stage::Failed && self.picker.have().get(piece.get())
    }
}
