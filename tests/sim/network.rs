//! Links between two hosts: bytes on the way, windows, how they end.

use reactor_peer::proto::output::Via;
use reactor_peer::proto::peer::DialError;
use reactor_peer::units::id::ConnId;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// One end of a link.
#[derive(Debug, Default)]
pub struct End {
    pub host: usize,
    /// Whose connection this is; `None` once that end is closed, or before it was accepted.
    pub conn: Option<ConnId>,
    /// Not connected yet.
    pub dialing: bool,
    /// Bytes that have come and were not read.
    pub inbox: VecDeque<u8>,
    /// Bytes on the way from this end.
    pub in_flight: usize,
    /// The window was full when it last wanted to send.
    pub wants_window: bool,
    /// When the last byte from this end arrives.
    pub arrives_at: u64,
    /// When its line is free again.
    pub free_at: u64,
}

/// A connection; end 0 has dialed.
#[derive(Debug)]
pub struct Link {
    pub ends: [End; 2],
    pub latency: u64,
    pub client_port: u16,
    /// Nothing gets through any more, and nobody is told.
    pub dark: bool,
}

/// What happens at a point in time.
#[derive(Debug)]
pub enum Happening {
    /// A call arrives at the host that was dialed.
    Called(usize),
    /// The answer to a call: connected, or why not.
    Answered(usize, Result<(), DialError>),
    /// Bytes arrive at this end.
    Bytes(usize, usize, Vec<u8>),
    /// The other end has closed: FIN, or with words, RST.
    Ended(usize, usize, Option<&'static str>),
    /// A datagram arrives at a host: from whom, and what.
    Datagram(usize, Via, SocketAddr, Vec<u8>),
    /// The timer of a host (and its incarnation) is due.
    Timer(usize, u32),
    /// A piece of a host is to be hashed.
    Hash(usize, u32, reactor_peer::units::geometry::PieceIndex),
    /// Something breaks.
    Fault,
    /// A host starts.
    Start(usize),
    /// A host that said stop is gone.
    Gone(usize, u32),
    /// All faults end.
    Heal,
    /// The disk of this host has room again.
    Room(usize),
}
