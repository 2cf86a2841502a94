//! What the core wants done, and what it tells people and tests.

use super::closed::Closed;
use crate::units::geometry::{Block, PieceIndex};
use crate::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use crate::wire::address::{Host, HostPort};
use crate::wire::http::Response;
use core::fmt;
use core::net::SocketAddr;
use std::sync::Arc;

/// Something for the reactor to do. Drain after every input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the connection's socket back; its id is free at once.
    Close(ConnId),
    /// Connect to `remote`, bound to `local_port` if there is one.
    Dial {
        /// The connection this will be.
        conn: ConnId,
        /// Whom to dial.
        remote: SocketAddr,
        /// The leased client port.
        local_port: Option<u16>,
    },
    /// The same with TLS between, for a tracker.
    DialTls(TlsDial),
    /// Every piece that is wanted is verified: give the content its final name.
    Finish(SwarmId),
    /// A magnet link's metadata is complete and verified; answer with `handle_metadata` or
    /// `handle_metadata_refused`.
    Metadata(SwarmId, Arc<[u8]>),
    /// Find the addresses of a host; answer with `handle_resolved`.
    Resolve(HostPort, Asker),
    /// This connection has something to send.
    Send(ConnId),
    /// Send this datagram; it may get lost.
    SendDatagram {
        /// From which socket.
        via: Via,
        /// To whom.
        to: SocketAddr,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// Another program has changed the content: begin anew with this torrent.
    CheckAgain(SwarmId),
    /// Write zeros where this block belongs, which is not there yet: does the disk take data
    /// again? Answer with `handle_tried`.
    TryWrite(SwarmId, Block),
    /// Hash this piece; answer with `handle_verified`.
    Verify(SwarmId, PieceIndex),
}

/// Whom to dial with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsDial {
    /// The connection this will be.
    pub conn: ConnId,
    /// Whom to dial.
    pub remote: SocketAddr,
    /// The leased client port.
    pub local_port: Option<u16>,
    /// Whose certificate the other end must show: the host as the announce names it.
    pub host: Host,
}

/// The socket of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Those of local service discovery, which send to and hear the groups of BEP 14.
    Lsd,
    /// The one with the number of the listening port.
    Port,
}

/// Who wants a name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The announcer of this swarm.
    Announcer(SwarmId),
    /// The DHT, of a host to begin at.
    Dht,
    /// A host to dial in one swarm (`Some`) or in all (`None`).
    Dialer(Option<SwarmId>),
}

/// What has happened, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An HTTP request that is not for the tracker; to be answered by `Peer::answer`.
    Asked(Asked),
    /// The last piece of a swarm that is wanted was verified.
    Completed(SwarmId),
    /// Handshakes are exchanged with a peer.
    Connected(Met),
    /// A swarm's content cannot be read or written; the swarm has stopped.
    Failed(SwarmId, String),
    /// What a `Peer::fetch` has brought, or why nothing.
    Fetched(FetchId, Result<Response, String>),
    /// A host on the local network runs this program and listens there.
    HostSeen(SocketAddr),
    /// The connection to a peer has ended, and why.
    Lost(Met, Closed),
    /// The peer that listens there has dialed us for a torrent that is not here.
    Offered(InfoHash, SocketAddr),
    /// Another host has our name; from now on we have this one.
    Renamed(PeerId),
    /// A swarm's status has changed.
    StatusChanged(SwarmId, Status),
    /// A piece is verified.
    Verified(SwarmId, PieceIndex),
}

/// A peer that is or was connected. Its torrent may be gone already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The torrent's name, safe to print.
    pub name: String,
    /// The other end of the connection.
    pub remote: SocketAddr,
    /// We dialed.
    pub dialed: bool,
}

/// The name of one `Peer::fetch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchId(pub u32);

/// An HTTP request for the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where the answer goes.
    pub conn: ConnId,
    /// Our address as the asker sees it.
    pub local: SocketAddr,
    /// HEAD: the answer goes without its body.
    pub head: bool,
    /// Path and query as they stand, still percent-encoded.
    pub target: String,
}

/// What we are in one swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Finding out what is there.
    Checking,
    /// The disk failed us; the swarm has stopped.
    Failed,
    /// Missing a piece that no connected peer has.
    Leech,
    /// Only its magnet link is known: fetching the metadata.
    Metadata,
    /// The user has stopped it for a while.
    Paused,
    /// Has every piece of the files chosen, and others are missing (BEP 21).
    PartialSeed,
    /// Missing pieces that connected peers have.
    Peer,
    /// Has every piece.
    Seeder,
    /// Missing pieces, and the disk takes none for now.
    Stalled,
    /// Missing pieces, and no peer is connected.
    Waiting,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checking => "checking",
            Self::Failed => "failed",
            Self::Leech => "leech",
            Self::Metadata => "metadata",
            Self::Paused => "paused",
            Self::PartialSeed => "partial seed",
            Self::Peer => "peer",
            Self::Seeder => "seeder",
            Self::Stalled => "stalled",
            Self::Waiting => "waiting",
        })
    }
}
