//! The extension protocol (BEP 10): its handshake both ways, and which message goes where.

use super::Peer;
use crate::proto::closed::{Closed, Misbehaved};
use crate::proto::pex::Exchange;
use crate::proto::swarm::{Stage, Swarm};
use crate::units::geometry::Block;
use crate::units::id::ConnId;
use crate::units::limits::REQUESTS_IN_MAX;
use crate::units::time::Instant;
use crate::wire::extended::{self, Extension, Ids};
use crate::wire::message::Message;
use core::fmt;
use core::net::SocketAddr;
use std::collections::VecDeque;

impl Peer {
    /// Says the extension handshake, the first or a later one. Always whole: some clients take a
    /// name that is missing in a later one for a withdrawal.
    pub(super) fn say_hello(&mut self, id: ConnId) {
        let (port, pex) = (self.config.listen_port, self.config.pex);
        let hello = self.with_peering(id, |_, swarm, _, remote| extended::Handshake {
            ids: Ids::ours(|extension| offers(pex, swarm, extension)),
            metadata_size: metadata_size(swarm),
            listen_port: Some(port),
            reqq: Some(REQUESTS_IN_MAX as u32),
            upload_only: swarm.stage == Stage::Complete,
            your_ip: Some(remote.ip()),
            client: Some(extended::CLIENT.into()),
        });
        if let Some(hello) = hello {
            self.say(id, &Message::Extended(0, &hello.to_bytes()));
        }
    }

    /// Says an extension message under the id that the other end has chosen, if it takes it.
    pub(super) fn say_extended(
        &mut self,
        id: ConnId,
        extension: Extension,
        payload: &[u8],
        words: &dyn fmt::Display,
    ) -> bool {
        let of = self.with_peering(id, |peering, _, _, _| peering.ids.get(extension)).flatten();
        let (Some(of), Some(conn)) = (of, self.connection(id)) else { return false };
        log::debug!("-> {} {}: {words}", conn.remote, extension.name());
        conn.outgoing.push(&Message::Extended(of, payload));
        self.want_send(id);
        true
    }

    /// The remote extension handshake, the first or a later one.
    pub(super) fn extended(
        &mut self,
        now: Instant,
        id: ConnId,
        payload: &[u8],
    ) -> Result<(), Closed> {
        let hello = extended::Handshake::parse(payload)
            .map_err(|_| Closed::from(Misbehaved::BadExtendedHandshake))?;
        let pex = self.config.pex;
        let Some((swarm, addr, new_listener)) =
            self.with_peering(id, |peering, swarm, _, remote| {
                peering.listen_port = hello.listen_port.or(peering.listen_port);
                peering.upload_only = hello.upload_only;
                peering.metadata_size = hello.metadata_size.or(peering.metadata_size);
                if let Some(reqq) = hello.reqq {
                    peering.reqq = (reqq as usize).max(1);
                }
                if let Some(client) = &hello.client {
                    peering.client = Some(client.clone());
                }
                let listened = peering.ids.get(Extension::RpPeers).is_some();
                peering.ids.update(&hello.ids);
                let listens = peering.ids.get(Extension::RpPeers).is_some();
                let wants = listens || peering.ids.get(Extension::Pex).is_some();
                if wants && peering.exchange.is_none() && offers(pex, swarm, Extension::Pex) {
                    peering.exchange = Some(Box::new(Exchange::new(now)));
                }
                let addr = hello.listen_port.map(|port| SocketAddr::new(remote.ip(), port));
                (swarm.id, addr, listens && !listened)
            })
        else {
            return Ok(());
        };
        if let Some(addr) = addr {
            if let Some(swarm) = self.swarms.get_mut(&swarm) {
                swarm.exchange_at = Some(Instant::ORIGIN);
            }
            self.learn_contacts(now, swarm, [addr], false);
            let Some(conn) = self.connection(id) else { return Ok(()) };
            // Another one it may have told before, or we have dialed it: with the end of the connection
            // that alone is free again.
            let its = *conn.contact.get_or_insert(addr) == addr;
            if let Some(swarm) = self.swarms.get_mut(&swarm).filter(|_| its) {
                if swarm.contacts.conn(addr).is_none() {
                    swarm.contacts.engage(addr, id);
                    swarm.contacts.proved(addr);
                }
            }
            self.met(now, id);
        }
        if new_listener {
            self.tell_whole_list(id);
        }
        self.exchange_now(now, id);
        self.fetch_metadata(now, swarm);
        self.part_if_useless(now, id);
        Ok(())
    }

    /// An extension message under an id of ours.
    pub(super) fn extension_message(
        &mut self,
        now: Instant,
        id: ConnId,
        of: u8,
        payload: &[u8],
    ) -> Result<(), Closed> {
        let pex = self.config.pex;
        let offered = |extension: &Extension| {
            let swarm = self.connections.get(id).and_then(|c| c.swarm());
            swarm.and_then(|s| self.swarms.get(&s)).is_some_and(|s| offers(pex, s, *extension))
        };
        // BEP 10: an id that we never gave out, or took back, means nothing.
        let Some(extension) = Extension::of_our_id(of).filter(offered) else {
            if let Some(conn) = self.connection(id) {
                log::debug!("<- {} extended message {of}, which we did not offer", conn.remote);
            }
            return Ok(());
        };
        match extension {
            Extension::DontHave => self.has_not(now, id, payload),
            Extension::RpPeers => self.peers_told(now, id, payload),
            Extension::Metadata => self.metadata_message(now, id, payload),
            Extension::Pex => self.pex_told(now, id, payload),
        }
    }

    /// BEP 54: it no longer has a piece.
    fn has_not(&mut self, now: Instant, id: ConnId, payload: &[u8]) -> Result<(), Closed> {
        let index = <[u8; 4]>::try_from(payload).map(u32::from_be_bytes);
        let index = index.map_err(|_| Misbehaved::BadExtendedMessage)?;
        let lost = self.with_peering(id, |peering, swarm, _, remote| {
            log::debug!("<- {remote} lt_donthave piece {index}");
            let Some(piece) = swarm.torrent.geometry.piece(index) else {
                return Err(Misbehaved::HaveOutOfRange);
            };
            let pieces = peering.pieces.as_mut().filter(|pieces| pieces.get(index));
            if let Some(pieces) = pieces {
                swarm.picker.remove_piece(pieces, piece);
                pieces.clear(index);
                // What was asked of it cannot come; whoever has it is asked.
                let asked = peering.requests.iter().filter(|block| block.piece == piece);
                asked.for_each(|&block| swarm.picker.give_back(block));
                let (gone, rest) = peering.requests.drain(..).partition(|b| b.piece == piece);
                peering.requests = rest;
                let gone: VecDeque<Block> = gone;
                gone.into_iter().for_each(|block| peering.drop_late(block));
            }
            Ok(swarm.id)
        });
        if let Some(swarm) = lost.transpose()? {
            self.update_interest(now, id);
            self.request_all(now, swarm);
        }
        Ok(())
    }
}

/// Whether we take this message in this swarm. BEP 27: in a private one, peers come from its
/// trackers only, and nobody gets its metadata from us.
pub(super) fn offers(pex: bool, swarm: &Swarm, extension: Extension) -> bool {
    match extension {
        Extension::DontHave => true,
        Extension::RpPeers | Extension::Pex => pex && !swarm.torrent.private,
        Extension::Metadata => !swarm.torrent.private,
    }
}

/// BEP 9: bytes of the metadata, if it is to be had from us.
fn metadata_size(swarm: &Swarm) -> Option<u32> {
    let size = u32::try_from(swarm.torrent.info.len()).ok();
    size.filter(|&size| size > 0 && !swarm.torrent.private)
}
