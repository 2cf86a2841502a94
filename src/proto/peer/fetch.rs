//! What we ask of others over HTTP: catalogues and torrents of other peers.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::{Phase, Purpose};
use crate::proto::output::{Event, FetchId};
use crate::units::id::ConnId;
use crate::units::limits::{ANSWER_BYTES_MAX, FETCHES_MAX, FETCH_WITHIN};
use crate::units::time::Instant;
use crate::wire::address::HostPort;
use crate::wire::http;
use core::net::SocketAddr;

/// A request that waits for a client port, or is under way.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    remote: SocketAddr,
    target: String,
    dialed: bool,
}

impl Peer {
    /// Asks the peer that listens at `remote` for `target` (path and query, percent-encoded).
    /// [`Event::Fetched`] brings the answer. `None` where too many are under way.
    pub fn fetch(&mut self, now: Instant, remote: SocketAddr, target: String) -> Option<FetchId> {
        if self.stopping || self.fetches.len() >= FETCHES_MAX {
            return None;
        }
        let id = FetchId(self.next_fetch);
        self.next_fetch = self.next_fetch.wrapping_add(1);
        self.fetches.insert(id, Fetch { remote, target, dialed: false });
        self.dial_due(now);
        Some(id)
    }

    /// Dials for every request that waits, as far as client ports reach.
    pub(super) fn fetch_due(&mut self, now: Instant) {
        let waiting = self.fetches.iter().filter(|(_, fetch)| !fetch.dialed);
        let waiting: Vec<(FetchId, SocketAddr)> = waiting.map(|(&id, f)| (id, f.remote)).collect();
        for (id, remote) in waiting {
            if !self.ports.has_free() && !self.make_room(now) {
                return;
            }
            if !self.dial(now, remote, Purpose::Fetch(id), None) {
                return;
            }
            if let Some(fetch) = self.fetches.get_mut(&id) {
                fetch.dialed = true;
            }
        }
    }

    /// When a request that waits can be dialed. Without a free port one comes back first.
    pub(super) fn fetch_timeout(&self) -> Option<Instant> {
        let waits = self.fetches.values().any(|fetch| !fetch.dialed);
        waits.then(|| self.ports.next_free()).flatten()
    }

    pub(super) fn fetch_connected(&mut self, now: Instant, id: ConnId, fetch: FetchId) {
        let Some(Fetch { remote, target, .. }) = self.fetches.get(&fetch) else {
            return self.close(now, id, Closed::Stopping);
        };
        log::debug!("-> {remote} GET {}", target.escape_debug());
        let request = http::get(&HostPort::from(*remote), target);
        if let Some(conn) = self.connection(id) {
            conn.outgoing.push_bytes(&request);
            let deadline = now + FETCH_WITHIN;
            conn.phase = Ok(Phase::Fetching { fetch, bytes: Vec::new(), deadline });
        }
        self.arm(now, id);
        self.want_send(id);
    }

    /// More of an answer has come.
    pub(super) fn fetch_received(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        self.fetch_progress(now, id, bytes, false);
    }

    /// The other end has closed: the answer is complete, if it ever will be.
    pub(super) fn fetch_ended(&mut self, now: Instant, id: ConnId) {
        self.fetch_progress(now, id, &[], true);
    }

    fn fetch_progress(&mut self, now: Instant, id: ConnId, more: &[u8], ended: bool) {
        let Some(conn) = self.connection(id) else { return };
        let Ok(Phase::Fetching { fetch, bytes, .. }) = &mut conn.phase else { return };
        let fetch = *fetch;
        bytes.extend_from_slice(more);
        let outcome = match http::parse_long_response(bytes, ended, ANSWER_BYTES_MAX) {
            Ok(None) => return,
            Ok(Some(response)) => Ok(response),
            Err(error) => Err(error.to_string()),
        };
        self.remove_quietly(id);
        if self.fetches.remove(&fetch).is_some() {
            self.events.push_back(Event::Fetched(fetch, outcome));
        }
        self.dial_due(now);
    }

    pub(super) fn fetch_failed(&mut self, fetch: FetchId, why: &str) {
        if self.fetches.remove(&fetch).is_some() {
            self.events.push_back(Event::Fetched(fetch, Err(why.to_owned())));
        }
    }
}
