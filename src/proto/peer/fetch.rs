//! HTTP beyond the tracker: questions to other peers' catalogues, answers of ours, and torrents
//! that others offer.

use super::Peer;
use crate::proto::closed::Closed;
use crate::proto::connection::{Connection, Phase, Purpose};
use crate::proto::output::{Event, FetchId};
use crate::units::id::{ConnId, InfoHash};
use crate::units::limits::{
    ANSWERS_BYTES_MAX, ANSWER_BYTES_MAX, ANSWER_RATE_MIN, FETCHES_MAX, FETCH_WITHIN, HTTP_WITHIN,
    OFFER_BYTES_MAX,
};
use crate::units::time::{Duration, Instant};
use crate::wire::address::HostPort;
use crate::wire::extended;
use crate::wire::handshake::{Handshake, HANDSHAKE_BYTES};
use crate::wire::http;
use crate::wire::message::{EXTENDED_ID, LENGTH_BYTES};
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

    /// Answers a request told by [`Event::Asked`] with these bytes, head and body; the
    /// connection ends after them. An asker that is gone is no matter.
    pub fn answer(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let waiting = |conn: &Connection| match conn.phase {
            Ok(Phase::Answering { .. }) => conn.outgoing.outbox_len(),
            _ => 0,
        };
        let waiting: usize = self.connections.iter().map(waiting).sum();
        let Some(conn) = self.connection(id) else { return };
        if !matches!(conn.phase, Ok(Phase::Answering { .. })) || !conn.outgoing.is_empty() {
            return;
        }
        if bytes.len() > ANSWER_BYTES_MAX || waiting.saturating_add(bytes.len()) > ANSWERS_BYTES_MAX
        {
            conn.outgoing.push_bytes(&http::answer(503, "text/plain", b"Busy; ask again.\n"));
        } else {
            conn.outgoing.push_bytes(bytes);
        }
        let long = Duration::from_secs((bytes.len() / ANSWER_RATE_MIN) as u64);
        conn.phase = Ok(Phase::Answering { deadline: now + HTTP_WITHIN + long });
        self.arm(now, id);
        self.want_send(id);
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
    use crate::proto::outgoing::{Segment, SendPlan};
    use crate::proto::output::Action;
    use crate::proto::peer::Config;
    use crate::proto::store::{Store, StoreError};
    use crate::proto::swarm::{Start, Torrent};
    use crate::units::bitfield::Bitfield;
    use crate::units::geometry::Geometry;
    use crate::units::id::{PeerId, SwarmId};

    const NOW: Instant = Instant::from_micros(1_000_000);

    struct NoStore;

    impl Store for NoStore {
        fn read(&mut self, _: SwarmId, _: u64, _: &mut [u8]) -> Result<(), StoreError> {
            Ok(())
        }
        fn write(&mut self, _: SwarmId, _: u64, _: &[u8]) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// Two peers: the first has dialed the second.
    struct Pair {
        peers: [Peer; 2],
        conns: [Option<ConnId>; 2],
        events: [Vec<Event>; 2],
    }

    fn addr(host: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host as u8 + 1], 5000))
    }

    impl Pair {
        fn new(accept_torrents: bool) -> Self {
            let peer = |host: usize| {
                let config = Config {
                    peer_id: PeerId([b'a' + host as u8; 20]),
                    max_conns: 1,
                    max_inbound: 10,
                    own_addresses: vec![addr(host).ip()],
                    accept_torrents,
                    ..Config::default()
                };
                Peer::new(config, 1, NOW)
            };
            Self { peers: [peer(0), peer(1)], conns: [None; 2], events: Default::default() }
        }

        /// Moves bytes until all is said.
        fn run(&mut self) {
            for _ in 0..20 {
                for host in 0..2 {
                    while let Some(event) = self.peers[host].poll_event() {
                        self.events[host].push(event);
                    }
                    while let Some(action) = self.peers[host].poll_action() {
                        self.obey(host, action);
                    }
                }
            }
        }

        fn obey(&mut self, host: usize, action: Action) {
            let other = 1 - host;
            match action {
                Action::Dial { conn, remote, local_port } => {
                    assert_eq!((remote, local_port), (addr(other), Some(5001)));
                    let local = SocketAddr::new(addr(host).ip(), 5001);
                    let accepted = self.peers[other].handle_accepted(NOW, local, remote);
                    self.conns[host] = Some(conn);
                    self.conns[other] = accepted;
                    self.peers[host].handle_connected(NOW, conn, local);
                }
                Action::Send(id) => {
                    let mut plan = SendPlan::default();
                    while self.peers[host].send_plan(id, &mut plan) {
                        let mut bytes = Vec::new();
                        for segment in &plan.segments {
                            let Segment::Bytes(from, to) = *segment else { panic!() };
                            bytes.extend_from_slice(&plan.bytes[from..to]);
                        }
                        if let Some(to) = self.conns[other] {
                            for part in bytes.chunks(1000) {
                                self.peers[other].handle_received(NOW, to, part, &mut NoStore);
                            }
                        }
                        self.peers[host].handle_sent(NOW, id, bytes.len());
                    }
                }
                Action::Close(id) if self.conns[host] == Some(id) => {
                    self.conns[host] = None;
                    if let Some(theirs) = self.conns[other].take() {
                        self.peers[other].handle_closed(NOW, theirs, None);
                    }
                }
                _ => {}
            }
        }

        fn add(&mut self, host: usize, has_it: bool) -> SwarmId {
            let geometry = Geometry::new(10, 5).unwrap();
            let torrent = Torrent {
                info_hash: InfoHash([7; 20]),
                name: "n".into(),
                geometry,
                padding: Default::default(),
                private: false,
                announce: None,
                announce_list: Vec::new(),
                info: Default::default(),
            };
            let have = if has_it { Bitfield::full(2) } else { Bitfield::new(2) };
            let start = Start {
                have,
                partials: Vec::new(),
                uploaded: 0,
                downloaded: 0,
                contacts: Vec::new(),
                checking: false,
            };
            self.peers[host].add_swarm(NOW, torrent, start).unwrap()
        }
    }

    #[test]
    fn a_fetch_is_asked_answered_and_over() {
        let mut pair = Pair::new(false);
        let fetch = pair.peers[0].fetch(NOW, addr(1), "/catalog.json?name=a%20b".into()).unwrap();
        pair.run();
        let Event::Asked(asked) = pair.events[1].remove(0) else { panic!() };
        assert_eq!((asked.head, asked.target.as_str()), (false, "/catalog.json?name=a%20b"));
        assert_eq!(asked.local, addr(1));
        let body = vec![b'x'; 100_000];
        pair.peers[1].answer(NOW, asked.conn, &http::answer(200, "text/plain", &body));
        pair.run();
        let [Event::Fetched(id, Ok(response))] = &pair.events[0][..] else { panic!() };
        assert_eq!((*id, response.status, response.body.len()), (fetch, 200, 100_000));
        assert_eq!(pair.conns, [None; 2]);
        // The client port is back.
        assert!(pair.peers[0].ports.has_free());
    }

    #[test]
    fn a_fetch_that_fails_says_why() {
        let mut pair = Pair::new(false);
        let fetch = pair.peers[0].fetch(NOW, addr(1), "/".into()).unwrap();
        pair.run();
        let id = pair.conns[1].unwrap();
        pair.peers[1].close(NOW, id, Closed::MakeRoom);
        pair.run();
        let Event::Fetched(id, Err(why)) = &pair.events[0][0] else { panic!() };
        assert_eq!((*id, why.is_empty()), (fetch, false));
    }

    #[test]
    fn an_offer_is_told_where_it_is_wanted_only() {
        for accepts in [false, true] {
            let mut pair = Pair::new(accepts);
            let swarm = pair.add(0, true);
            pair.peers[0].add_contacts(NOW, swarm, &[addr(1)]);
            pair.run();
            let told = Event::Offered(InfoHash([7; 20]), addr(0));
            assert_eq!(pair.events[1].contains(&told), accepts);
            assert_eq!(pair.conns, [None; 2]);
        }
    }

    #[test]
    fn a_paused_swarm_hangs_up_and_neither_dials_nor_answers() {
        let mut pair = Pair::new(false);
        let (a, b) = (pair.add(0, false), pair.add(1, false));
        pair.peers[0].add_contacts(NOW, a, &[addr(1)]);
        pair.run();
        assert_eq!(pair.peers[1].peers(NOW).len(), 1);
        assert!(pair.peers[1].pause(NOW, b) && !pair.peers[1].pause(NOW, b));
        pair.run();
        assert_eq!(pair.conns, [None; 2]);
        let later = NOW + Duration::from_secs(10);
        pair.peers[0].handle_timeout(later);
        pair.run();
        assert_eq!((pair.conns, pair.peers[0].peers(NOW).len()), ([None; 2], 0));
        assert!(pair.peers[1].resume(later, b));
        pair.run();
        assert_eq!(pair.peers[0].peers(NOW).len(), 1);
        // The one who pauses does not dial either.
        assert!(pair.peers[0].pause(later, a));
        assert_eq!(pair.peers[0].swarm_timeout(pair.peers[0].swarm(a).unwrap()), None);
    }

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
