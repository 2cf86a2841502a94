//! Datagrams: which protocol each belongs to. Nothing is answered that is not understood, and no
//! answer leaves a state behind: the address of a datagram may be a lie.

use super::Peer;
use crate::proto::output::Via;
use crate::units::time::Instant;
use crate::wire::address::unmap;
use core::net::SocketAddr;

impl Peer {
    /// A datagram has come from `from`.
    pub fn handle_datagram(&mut self, now: Instant, via: Via, from: SocketAddr, bytes: &[u8]) {
        let from = unmap(from);
        // The first byte tells: `d` begins every KRPC message (BEP 5).
        match (via, bytes.first()) {
            (Via::Port, _) => {
                log::debug!("<- {from} {} bytes nobody understands, at {now:?}", bytes.len());
            }
        }
    }
}
