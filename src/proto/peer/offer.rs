//! Torrents that others offer: who dials us for one that is not here is asked where it listens.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::Phase;
use crate::proto::output::Event;
use crate::units::id::{ConnId, InfoHash};
use crate::units::limits::OFFER_BYTES_MAX;
use crate::units::time::Instant;
use crate::wire::extended;
use crate::wire::handshake::{Handshake, HANDSHAKE_BYTES};
use crate::wire::message::{EXTENDED_ID, LENGTH_BYTES};
use core::net::SocketAddr;

impl Peer {
    /// Somebody dials us for a torrent that is not here. Where the user takes what is offered, we
    /// answer the handshake to learn where the other end listens; otherwise we hang up.
    pub(super) fn offered(
        &mut self,
        id: ConnId,
        info_hash: InfoHash,
        bytes: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), Closed> {
        if !self.config.accept_torrents || self.stopping {
            return Err(Closed::UnknownInfoHash);
        }
        let handshake = Handshake::ours(info_hash, self.config.peer_id);
        if let Some(conn) = self.connection(id) {
            conn.say_handshake(&handshake);
            conn.phase = Ok(Phase::Offered { info_hash, bytes, deadline });
        }
        self.want_send(id);
        Ok(())
    }

    /// More of an offer has come; ends it with the offer told, once its port is known.
    pub(super) fn offer_received(&mut self, id: ConnId, more: &[u8]) -> Result<(), Closed> {
        let own_id = self.config.peer_id;
        let Some(conn) = self.connection(id) else { return Ok(()) };
        let remote = conn.remote;
        let Ok(Phase::Offered { info_hash, bytes, .. }) = &mut conn.phase else { return Ok(()) };
        bytes.extend_from_slice(more);
        let info_hash = *info_hash;
        let Some((head, messages)) = bytes.split_first_chunk::<HANDSHAKE_BYTES>() else {
            return Ok(());
        };
        let theirs = Handshake::parse(head)?;
        log::debug!("<- {remote} {theirs}");
        if theirs.peer_id == own_id {
            return Err(Closed::Own);
        }
        if !theirs.extended() {
            return Err(Closed::UnknownInfoHash);
        }
        match extension_handshake(messages) {
            None if bytes.len() > OFFER_BYTES_MAX => Err(Closed::UnknownInfoHash),
            None => Ok(()),
            Some(payload) => {
                let hello = extended::Handshake::parse(payload);
                let port = hello.ok().and_then(|hello| hello.listen_port);
                let port = port.ok_or(Closed::UnknownInfoHash)?;
                let addr = SocketAddr::new(remote.ip(), port);
                self.events.push_back(Event::Offered(info_hash, addr));
                Err(Closed::OfferNoted)
            }
        }
    }
}

/// The payload of the first extension handshake (BEP 10) among whole messages.
fn extension_handshake(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let message = rest.get(..length)?;
        if let [EXTENDED_ID, 0, payload @ ..] = message {
            return Some(payload);
        }
        bytes = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_handshake_is_found_once_it_is_whole() {
        let stream = b"\0\0\0\0\0\0\0\x01\x0e\0\0\0\x04\x14\0de\0\0\0\x03\x14\0x";
        for n in 0..stream.len() {
            let found = extension_handshake(&stream[..n]);
            assert_eq!(found, (n >= 17).then_some(&b"de"[..]), "{n}");
        }
        assert_eq!(extension_handshake(b"\xff\xff\xff\xff\x14\0de"), None);
    }
}
