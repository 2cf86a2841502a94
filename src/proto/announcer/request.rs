//! What an announce says, to which address, and how over HTTP.

use super::{Announcer, State};
use crate::units::id::{InfoHash, PeerId};
use crate::units::time::Instant;
use crate::wire::address::{is_lan, Host, Scheme};
use crate::wire::announce::{build_query, AnnounceRequest, Event};
use crate::wire::http;
use core::net::IpAddr;

/// Peers asked for.
pub(super) const NUMWANT: usize = 100;

/// What the announce tells about us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Our name.
    pub peer_id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// Bytes uploaded.
    pub uploaded: u64,
    /// Bytes downloaded.
    pub downloaded: u64,
    /// Bytes missing.
    pub left: u64,
}

impl Announcer {
    /// The HTTP request of the attempt in flight; empty if there is none.
    #[must_use]
    pub fn request(&self, stats: &Stats) -> Vec<u8> {
        let State::InFlight(flight) = &self.state else { return Vec::new() };
        // A redirection may carry the whole query already.
        if flight.hops > 0 && flight.path.contains("info_hash=") {
            return http::get(&flight.target, &flight.path);
        }
        let mut announce = self.announce(stats, flight.event);
        announce.key = Some(format!("{:08x}", self.key).into_bytes());
        announce.tracker_id.clone_from(&self.tracker(flight.place).tracker_id);
        let query = build_query(&announce);
        let joint = if flight.path.contains('?') { '&' } else { '?' };
        http::get(&flight.target, &format!("{}{joint}{query}", flight.path))
    }

    /// BEP 21: we want nothing more, and have not everything. Every announce says so from now on,
    /// the first as soon as the `min interval` allows.
    pub fn partial_seed(&mut self, now: Instant) {
        self.partial_seed = true;
        self.want_peers(now);
    }

    pub(super) fn announce(&self, stats: &Stats, event: Event) -> AnnounceRequest {
        AnnounceRequest {
            info_hash: stats.info_hash,
            peer_id: stats.peer_id,
            port: stats.port,
            uploaded: stats.uploaded,
            downloaded: stats.downloaded,
            left: stats.left,
            event,
            compact: true,
            no_peer_id: false,
            numwant: Some(if event == Event::Stopped { 0 } else { NUMWANT }),
            key: None,
            tracker_id: None,
        }
    }

    /// How the tracker of the attempt in flight is talked to.
    #[must_use]
    pub fn scheme(&self) -> Option<Scheme> {
        match &self.state {
            State::InFlight(flight) => Some(flight.scheme),
            State::Idle | State::Waiting { .. } | State::Redirected(_) => None,
        }
    }

    /// Whose certificate the tracker of the attempt in flight must show, where TLS is spoken.
    #[must_use]
    pub fn tls_host(&self) -> Option<Host> {
        match &self.state {
            State::InFlight(flight) if flight.scheme == Scheme::Https => {
                Some(flight.target.host.clone())
            }
            _ => None,
        }
    }

    /// Which of its addresses to ask: after a failure the next one has its turn.
    pub fn choose(&mut self, ips: &[IpAddr]) -> Option<IpAddr> {
        let State::InFlight(flight) = &self.state else { return None };
        let place = flight.place;
        let tracker = self.tracker_mut(place);
        let turn = usize::try_from(tracker.failures).unwrap_or(0);
        let ip = ips.get(turn % ips.len().max(1)).copied()?;
        tracker.lan |= is_lan(ip);
        Some(ip)
    }
}
