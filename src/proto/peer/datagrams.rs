//! Datagrams: which protocol each belongs to. Nothing is answered that is not understood, and no
//! answer leaves a state behind: the address of a datagram may be a lie.

use super::Peer;
use crate::proto::output::{Action, Via};
use crate::proto::tracker::CONNECTION_ID_BIT;
use crate::units::time::Instant;
use crate::wire::address::unmap;
use crate::wire::{krpc, udp_tracker};
use core::net::{IpAddr, SocketAddr};

/// Whose a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The DHT's (BEP 5).
    Krpc,
    /// An answer to an announce of ours (BEP 15).
    TrackerAnswer,
    /// A request to our tracker (BEP 15).
    TrackerRequest,
    /// Nobody's.
    Unknown,
}

/// The first bytes tell. Our connection ids have their highest bit set, a connect has its magic
/// number.
fn kind(bytes: &[u8]) -> Kind {
    match bytes.first_chunk().map(|head| u64::from_be_bytes(*head)) {
        Some(head) if head == udp_tracker::MAGIC || head & CONNECTION_ID_BIT != 0 => {
            Kind::TrackerRequest
        }
        _ if bytes.first() == Some(&krpc::FIRST_BYTE) => Kind::Krpc,
        // An answer begins with its action, of which there are four.
        Some(head) if head >> 32 < 4 => Kind::TrackerAnswer,
        _ => Kind::Unknown,
    }
}

impl Peer {
    /// A datagram has come from `from`.
    pub fn handle_datagram(&mut self, now: Instant, via: Via, from: SocketAddr, bytes: &[u8]) {
        let from = unmap(from);
        match via {
            Via::Lsd => self.local_announce(now, from, bytes),
            Via::Port => match kind(bytes) {
                Kind::Krpc => self.krpc_received(now, from, bytes),
                Kind::TrackerAnswer => self.tracker_answer(now, from, bytes),
                Kind::TrackerRequest => self.tracker_request(now, from, bytes),
                Kind::Unknown => log::debug!("<- {from} a datagram of no protocol we know"),
            },
        }
    }

    fn tracker_request(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if self.stopping {
            return;
        }
        let local = SocketAddr::new(self.own_address_for(from.ip()), self.config.listen_port);
        let Some(answer) = self.tracker.respond_datagram(now, from, local, bytes) else { return };
        self.actions.push_back(Action::SendDatagram {
            via: Via::Port,
            to: from,
            bytes: answer.bytes,
        });
        if let Some(announced) = answer.announced {
            self.heard_announce(now, &announced);
            self.dial_due(now);
        }
    }

    /// Which of our addresses a remote end is likely to know us by: a datagram does not say. It is
    /// the one that has the longest beginning in common with its own.
    fn own_address_for(&self, remote: IpAddr) -> IpAddr {
        // Of equals the first counts, so it comes last here.
        let own = self.config.own_addresses.iter().rev().copied();
        own.filter(|own| own.is_ipv4() == remote.is_ipv4())
            .max_by_key(|&own| common_bits(own, remote))
            // Unspecified: left out of every list.
            .unwrap_or_else(|| match remote {
                IpAddr::V4(_) => IpAddr::from([0; 4]),
                IpAddr::V6(_) => IpAddr::from([0; 16]),
            })
    }
}

fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_whose_it_is() {
        let connect = udp_tracker::Request::Connect { transaction: 1 };
        assert_eq!(kind(&udp_tracker::build_request(&connect)), Kind::TrackerRequest);
        assert_eq!(kind(&[0x80, 0, 0, 0, 0, 0, 0, 1]), Kind::TrackerRequest);
        assert_eq!(kind(b"d1:ad2:id20:"), Kind::Krpc);
        assert_eq!(kind(b"d"), Kind::Krpc);
        assert_eq!(kind(&[0, 0, 0, 3, 1, 2, 3, 4]), Kind::TrackerAnswer);
        for other in [&b""[..], b"\x80", &[0x41; 20]] {
            assert_eq!(kind(other), Kind::Unknown);
        }
    }

    #[test]
    fn the_nearest_of_our_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(common_bits(ip("10.0.0.9"), ip("10.0.0.1")), 28);
        assert_eq!(common_bits(ip("2001:db8::9"), ip("2001:db8::9")), 128);
        assert_eq!(common_bits(ip("10.0.0.9"), ip("::1")), 0);
    }
}
