//! A live remote end, from the first byte to the last.

use super::closed::Closed;
use super::outgoing::Outgoing;
use super::output::FetchId;
use super::peering::Peering;
use super::ports::Lease;
use crate::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use crate::units::limits::{KEEP_ALIVE_AFTER, KEEP_ALIVE_SPREAD, SILENCE_MAX, UNTOLD_AFTER};
use crate::units::time::{Duration, Instant};
use crate::wire::handshake::Handshake;
use core::net::SocketAddr;

/// What a dialed connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One announce of this swarm.
    Announce(SwarmId),
    /// One HTTP GET from another peer's catalogue.
    Fetch(FetchId),
    /// The peer wire protocol in this swarm.
    Peer(SwarmId),
}

impl Purpose {
    /// The swarm it serves, if it is one.
    #[must_use]
    pub const fn swarm(self) -> Option<SwarmId> {
        match self {
            Self::Announce(swarm) | Self::Peer(swarm) => Some(swarm),
            Self::Fetch(_) => None,
        }
    }
}

/// Where a connection stands. Each variant holds what is true in that state and nothing else.
#[derive(Debug)]
pub enum Phase {
    /// Dialed; the socket is not connected yet.
    Dialing {
        /// For what.
        purpose: Purpose,
        /// When to give up.
        deadline: Instant,
    },
    /// Accepted; the first byte will tell which protocol it is.
    Sniffing {
        /// What has come.
        bytes: Vec<u8>,
        /// When to give up.
        deadline: Instant,
    },
    /// Our handshake is sent, theirs is not complete.
    Handshaking {
        /// The swarm both mean.
        swarm: SwarmId,
        /// What has come.
        bytes: Vec<u8>,
        /// When to give up.
        deadline: Instant,
    },
    /// The peer wire protocol.
    Peering(Box<Peering>),
    /// An HTTP request is coming in.
    Asked {
        /// What has come.
        bytes: Vec<u8>,
        /// When to give up.
        deadline: Instant,
    },
    /// An HTTP answer is going out; then the connection ends.
    Answering {
        /// When to give up.
        deadline: Instant,
    },
    /// An HTTP request is refused before all of it has come. What still comes is dropped: a close that leaves bytes
    /// unread is a reset, which takes the answer away from who has not read it yet.
    Refusing {
        /// When to give up.
        deadline: Instant,
        /// Bytes that may still come.
        left: usize,
    },
    /// Our request is sent; the answer of another peer's catalogue is coming in.
    Fetching {
        /// Which request.
        fetch: FetchId,
        /// What has come.
        bytes: Vec<u8>,
        /// When to give up.
        deadline: Instant,
    },
    /// A handshake for a torrent that is not here, and we take those that are offered: its
    /// extension handshake (BEP 10) will say where the remote end listens.
    Offered {
        /// The torrent.
        info_hash: InfoHash,
        /// What has come, the handshake first.
        bytes: Vec<u8>,
        /// When to give up.
        deadline: Instant,
    },
    /// Our announce is sent; the tracker's answer is coming in.
    Announcing {
        /// Of which swarm.
        swarm: SwarmId,
        /// What has come.
        bytes: Vec<u8>,
        /// When to give up.
        deadline: Instant,
    },
}

/// A connection, its addresses and its loans.
#[derive(Debug)]
pub struct Connection {
    /// Its id; an id of the same slot with another generation is another connection's.
    pub id: ConnId,
    /// Where it stands, or why it ended: then it is about to be removed.
    pub phase: Result<Phase, Closed>,
    /// The other end.
    pub remote: SocketAddr,
    /// Our end, once known.
    pub local: Option<SocketAddr>,
    /// We dialed.
    pub dialed: bool,
    /// The client port lent to it, if we dialed.
    pub lease: Option<Lease>,
    /// The address under which the swarm knows the remote end.
    pub contact: Option<SocketAddr>,
    /// The outbound bytes.
    pub outgoing: Outgoing,
    /// The reactor was told that there is something to send.
    pub send_told: bool,
    /// When something last came.
    pub received_at: Instant,
    /// When something was last sent.
    pub sent_at: Instant,
    /// The date it has among the timers.
    pub look_at: Option<Instant>,
}

impl Connection {
    /// One that has just come, or is about to be dialed.
    pub fn new(id: ConnId, remote: SocketAddr, phase: Phase, now: Instant) -> Self {
        Self {
            id,
            phase: Ok(phase),
            remote,
            local: None,
            dialed: false,
            lease: None,
            contact: None,
            outgoing: Outgoing::default(),
            send_told: false,
            received_at: now,
            sent_at: now,
            look_at: None,
        }
    }

    /// The conversation, if the connection has come that far.
    #[must_use]
    pub fn peering(&self) -> Option<&Peering> {
        match &self.phase {
            Ok(Phase::Peering(peering)) => Some(peering),
            _ => None,
        }
    }

    /// The same, to change it.
    pub fn peering_mut(&mut self) -> Option<&mut Peering> {
        match &mut self.phase {
            Ok(Phase::Peering(peering)) => Some(peering),
            _ => None,
        }
    }

    /// The swarm it belongs to, once that is clear.
    #[must_use]
    pub fn swarm(&self) -> Option<SwarmId> {
        match &self.phase {
            Ok(Phase::Dialing { purpose, .. }) => purpose.swarm(),
            Ok(Phase::Handshaking { swarm: s, .. } | Phase::Announcing { swarm: s, .. }) => {
                Some(*s)
            }
            Ok(Phase::Peering(peering)) => Some(peering.swarm),
            _ => None,
        }
    }

    /// Sends our handshake, in the log too.
    pub fn say_handshake(&mut self, ours: &Handshake) {
        log::debug!("-> {} {ours}", self.remote);
        self.outgoing.push_bytes(&ours.to_bytes());
    }

    /// When the state it is in must be over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Ok(
                Phase::Dialing { deadline, .. }
                | Phase::Sniffing { deadline, .. }
                | Phase::Handshaking { deadline, .. }
                | Phase::Asked { deadline, .. }
                | Phase::Answering { deadline }
                | Phase::Refusing { deadline, .. }
                | Phase::Fetching { deadline, .. }
                | Phase::Offered { deadline, .. }
                | Phase::Announcing { deadline, .. },
            ) => Some(*deadline),
            _ => None,
        }
    }
}

impl Connection {
    /// When it is lost, if nothing comes.
    #[must_use]
    pub fn silent_at(&self) -> Instant {
        self.received_at + SILENCE_MAX
    }

    /// When the other end is to hear of us, if we have nothing to say (BEP 3). Connections that
    /// began together do not all say it at the same time.
    #[must_use]
    pub fn keep_alive_at(&self) -> Instant {
        let earlier = Duration::from_secs(u64::from(self.id.slot) % KEEP_ALIVE_SPREAD.as_secs());
        self.sent_at + (KEEP_ALIVE_AFTER - earlier)
    }

    /// When it must be looked at, though nothing comes. A time that is past means every second.
    #[must_use]
    pub fn next_look(&self, now: Instant) -> Instant {
        let Some(peering) = self.peering() else { return self.deadline().unwrap_or(now) };
        if peering.is_busy() {
            return Instant::ORIGIN;
        }
        let at = self.silent_at().min(self.keep_alive_at());
        let untold = peering.since + UNTOLD_AFTER;
        if peering.bitfield_said || untold <= now {
            at
        } else {
            at.min(untold)
        }
    }
}

/// Which of two connections between the same two peers survives: both ends must choose alike, so
/// it is the one that the peer with the smaller id dialed.
#[must_use]
pub fn dialed_by_smaller(ours: PeerId, theirs: PeerId, we_dialed: bool) -> bool {
    (ours < theirs) == we_dialed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_keep_the_same_connection() {
        let (a, b) = (PeerId([1; 20]), PeerId([2; 20]));
        for a_dialed in [true, false] {
            let seen_by_a = dialed_by_smaller(a, b, a_dialed);
            let seen_by_b = dialed_by_smaller(b, a, !a_dialed);
            assert_eq!(seen_by_a, seen_by_b);
        }
    }
}
