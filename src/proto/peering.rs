//! One end of a conversation in the peer wire protocol: what both ends have said (BEP 3).

use super::dealer::Hand;
use super::depth::Depth;
use super::early::Early;
use super::incoming::Incoming;
use super::pex::Exchange;
use super::picker::Picker;
use super::tracker::End;
use crate::units::bitfield::Bitfield;
use crate::units::geometry::{Block, PieceIndex};
use crate::units::id::{PeerId, SwarmId};
use crate::units::limits::REQUESTS_OUT_MAX;
use crate::units::rate::Rate;
use crate::units::time::Instant;
use crate::wire::extended::Ids;
use core::net::IpAddr;
use std::collections::VecDeque;

/// Requests a remote end takes if it does not say (BEP 10 `reqq`).
const REQQ_UNSAID: usize = 250;

/// Dropped requests whose blocks we still take.
const LATE_MAX: usize = REQUESTS_OUT_MAX;

/// The state of a connection after both handshakes.
#[derive(Debug)]
pub struct Peering {
    /// Which swarm.
    pub swarm: SwarmId,
    /// The remote end's name.
    pub peer_id: PeerId,
    /// Both ends know the fast extension (BEP 6).
    pub fast: bool,
    /// The remote end knows the extension protocol (BEP 10).
    pub extended: bool,
    /// We do not serve it.
    pub am_choking: bool,
    /// We want something of it.
    pub am_interested: bool,
    /// It does not serve us.
    pub peer_choking: bool,
    /// It wants something of ours.
    pub peer_interested: bool,
    /// What it has; `None` as long as that is nothing.
    pub pieces: Option<Box<Bitfield>>,
    /// It has said what it has (BEP 6: `have all` and `have none` come first or never).
    pub bitfield_said: bool,
    /// It will never download (BEP 21).
    pub upload_only: bool,
    /// Its program and version (BEP 10 `v`); remote text.
    pub client: Option<String>,
    /// Its ids of extension messages (BEP 10 `m`).
    pub ids: Ids,
    /// What was said about the other peers, if it takes part in that.
    pub exchange: Option<Box<Exchange>>,
    /// Bytes of the metadata, if it has it (BEP 9).
    pub metadata_size: Option<u32>,
    /// Pieces of the metadata that it has asked for.
    pub metadata_owed: VecDeque<u32>,
    /// What it has, as it said it before we knew how many pieces there are.
    pub early: Option<Early>,
    /// Port on which it listens (BEP 10 `p`).
    pub listen_port: Option<u16>,
    /// Requests it is willing to queue.
    pub reqq: usize,
    /// Requests of ours whose blocks have not begun to come, in the order asked.
    pub requests: VecDeque<Block>,
    /// Requests that its choke dropped, or that it took too long for: such a block may still come.
    pub late: Vec<Block>,
    /// Requests we cancelled; each may be answered or rejected still.
    pub cancelled: u32,
    /// Pieces it advises to fetch of it (BEP 6), the oldest advice first.
    pub suggested: Vec<PieceIndex>,
    /// What we, a seeder, suggested to it.
    pub hand: Hand,
    /// How many requests we keep open.
    pub depth: Depth,
    /// Requests of its that were not in the torrent.
    pub bad_requests: u32,
    /// A message has come.
    pub heard: bool,
    /// The inbound bytes.
    pub incoming: Incoming,
    /// Payload from it.
    pub down: Rate,
    /// Payload to it.
    pub up: Rate,
    /// Since when.
    pub since: Instant,
    /// When it last sent a block, or was first asked for one.
    pub last_block: Instant,
    /// When we unchoked it.
    pub unchoked_at: Option<Instant>,
    /// When we choked it last, or it came.
    pub choked_at: Instant,
    /// It owes us blocks and sends none.
    pub snubbed: bool,
    /// It has rejected a request: it is asked for no more until it sends a block, or for a while.
    pub refuses: bool,
}

impl Peering {
    /// Both choked, neither interested: how every connection starts (BEP 3).
    #[must_use]
    pub fn new(swarm: SwarmId, peer_id: PeerId, fast: bool, extended: bool, now: Instant) -> Self {
        Self {
            swarm,
            peer_id,
            fast,
            extended,
            am_choking: true,
            am_interested: false,
            peer_choking: true,
            peer_interested: false,
            pieces: None,
            bitfield_said: false,
            upload_only: false,
            client: None,
            ids: Ids::default(),
            exchange: None,
            metadata_size: None,
            metadata_owed: VecDeque::new(),
            early: None,
            listen_port: None,
            reqq: REQQ_UNSAID,
            requests: VecDeque::new(),
            late: Vec::new(),
            cancelled: 0,
            suggested: Vec::new(),
            hand: Hand::default(),
            depth: Depth::default(),
            bad_requests: 0,
            heard: false,
            incoming: Incoming::default(),
            down: Rate::default(),
            up: Rate::default(),
            since: now,
            last_block: now,
            unchoked_at: None,
            choked_at: now,
            snubbed: false,
            refuses: false,
        }
    }

    /// The remote end at `ip` as a tracker knows it.
    #[must_use]
    pub const fn end(&self, ip: IpAddr) -> End {
        End { ip, port: self.listen_port, peer_id: self.peer_id }
    }

    /// Bytes kept of what it says to have, as long as the number of pieces is not known.
    #[must_use]
    pub fn early_bytes(&self) -> usize {
        let said = self.early.as_ref().map_or(0, Early::bytes);
        said + self.incoming.inbox_bytes()
    }

    /// Whether it has everything, or will never download.
    #[must_use]
    pub fn is_seeder(&self) -> bool {
        self.upload_only || self.pieces.as_ref().is_some_and(|p| p.is_full())
    }

    /// Whether it has a piece that we lack and want.
    #[must_use]
    pub fn has_any_lacking(&self, picker: &Picker) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| picker.lacks_any_of(pieces))
    }

    /// Whether time alone changes something here every second: requests may be late, or may be
    /// sent again, or the rate has not come to rest.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let asks = self.am_interested && !self.peer_choking;
        asks || self.refuses || !self.requests.is_empty() || !self.depth.rests()
    }

    /// Blocks it owes us, the one under way counted.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.requests.len() + usize::from(self.incoming.filling().is_some())
    }

    /// A request was dropped whose block may still come.
    pub fn drop_late(&mut self, block: Block) {
        if self.late.len() >= LATE_MAX {
            // What has not come for longest is the least likely to come.
            self.late.remove(0);
        }
        self.late.push(block);
    }

    /// Once a second: as many requests are kept open as the rate of late needs.
    pub fn adapt_depth(&mut self, now: Instant) {
        if self.snubbed {
            self.depth.shut();
        } else {
            let rate = self.down.get(now);
            self.depth.adapt((self.down.total() > 0).then_some(rate));
        }
    }
}
