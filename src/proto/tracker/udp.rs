//! The same tracker over UDP (BEP 15): same swarms, same entries.
//!
//! The address of a datagram may be a lie, so nothing is kept and little is said before the other
//! end has sent back a connection id, which is a keyed hash of its address and the time.

use super::{Answer, Tracker, NOT_HERE};
use crate::units::time::Instant;
use crate::wire::address::unmap;
use crate::wire::announce::QueryError;
use crate::wire::digest::Hasher;
use crate::wire::udp_tracker::{self as udp, Malformed, Request, Response};
use core::net::{IpAddr, SocketAddr};

/// Length of a time slot. An id is good in its own slot and the two after it: for two minutes at
/// least (BEP 15).
const SLOT_SECS: u64 = 60;
/// Slots in which an id is good.
const SLOTS: u64 = 3;
/// In every id of ours: so a request never looks like a KRPC message (`d`), a connect or an answer.
pub const CONNECTION_ID_BIT: u64 = 1 << 63;
/// The refusal of an id. No longer than the shortest request that has one, so that a forged
/// address gets no more than its forger sent.
const BAD_ID: &str = "connect again: id expired";

impl Tracker {
    /// Answers a datagram that came from `remote` to our address `local`, if it deserves one.
    pub fn respond_datagram(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: SocketAddr,
        bytes: &[u8],
    ) -> Option<Answer> {
        let (remote, local) = (unmap(remote), unmap(local));
        let request = match udp::parse_request(bytes) {
            Ok(request) => request,
            Err(error) => {
                log::debug!("<- {remote} a bad tracker request: {error}");
                let port = error == Malformed::Port;
                return port.then(|| self.refuse_port(now, remote, bytes)).flatten();
            }
        };
        log::debug!("<- {remote} UDP {request}");
        let transaction = request.transaction();
        let mut announced = None;
        let refused = |message: &str| Response::Error { transaction, message: message.to_owned() };
        let slot = now.as_micros() / 1_000_000 / SLOT_SECS;
        let response = match request {
            Request::Connect { .. } => {
                Response::Connect { transaction, connection: self.connection(remote.ip(), slot) }
            }
            Request::Announce { connection, .. } | Request::Scrape { connection, .. }
                if !self.is_good(connection, remote.ip(), slot) =>
            {
                refused(BAD_ID)
            }
            Request::Announce { announce, .. } => {
                match self.list(now, remote, local, &announce, Some(remote.is_ipv6())) {
                    None => refused(NOT_HERE),
                    Some((listing, who)) => {
                        announced = who;
                        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
                        Response::Announce {
                            transaction,
                            interval: number(listing.interval.as_secs()),
                            leechers: number(listing.incomplete),
                            seeders: number(listing.complete),
                            peers: listing.peers.into_iter().map(|(addr, _)| addr).collect(),
                        }
                    }
                }
            }
            Request::Scrape { hashes, .. } => {
                let count = |hash| self.swarms.get(hash).map(super::Swarm::counts);
                let counts = hashes.iter().map(|hash| count(hash).unwrap_or_default()).collect();
                Response::Scrape { transaction, counts }
            }
        };
        log::debug!("-> {remote} UDP {response}");
        Some(Answer { bytes: udp::build_response(&response), announced })
    }

    /// Who has shown its id and announces port 0 is told so, or it would ask again for hours.
    fn refuse_port(&self, now: Instant, remote: SocketAddr, bytes: &[u8]) -> Option<Answer> {
        let (connection, transaction) = udp::ids(bytes)?;
        let slot = now.as_micros() / 1_000_000 / SLOT_SECS;
        let good = self.is_good(connection, remote.ip(), slot);
        let message = if good { QueryError::Port.to_string() } else { BAD_ID.to_owned() };
        let response = Response::Error { transaction, message };
        log::debug!("-> {remote} UDP {response}");
        Some(Answer { bytes: udp::build_response(&response), announced: None })
    }

    fn connection(&self, ip: IpAddr, slot: u64) -> u64 {
        let mut hasher = Hasher::default();
        hasher.update(&self.secret);
        hasher.update(&slot.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => hasher.update(&ip.octets()),
            IpAddr::V6(ip) => hasher.update(&ip.octets()),
        }
        let digest = hasher.finish();
        let first = digest.first_chunk::<8>().expect("SHA-1 has twenty bytes");
        u64::from_be_bytes(*first) | CONNECTION_ID_BIT
    }

    fn is_good(&self, connection: u64, ip: IpAddr, slot: u64) -> bool {
        (0..SLOTS).any(|ago| {
            slot.checked_sub(ago).is_some_and(|slot| self.connection(ip, slot) == connection)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::id::{InfoHash, PeerId};
    use crate::units::time::Duration;
    use crate::wire::announce::{AnnounceRequest, Counts, Event};

    const HASH: InfoHash = InfoHash([1; 20]);
    const LOCAL: &str = "10.0.0.9:5000";

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn tracker() -> Tracker {
        let mut tracker = Tracker::new(PeerId([b'o'; 20]), 5000, [7; 16]);
        tracker.track(HASH, 0);
        tracker
    }

    fn announce(info_hash: InfoHash, port: u16, event: Event) -> AnnounceRequest {
        AnnounceRequest {
            info_hash,
            peer_id: PeerId([b't'; 20]),
            port,
            uploaded: 0,
            downloaded: 0,
            left: 9,
            event,
            compact: true,
            no_peer_id: true,
            numwant: None,
            key: None,
            tracker_id: None,
        }
    }

    fn ask(t: &mut Tracker, now: u64, remote: &str, request: &Request) -> Response {
        let remote: SocketAddr = remote.parse().unwrap();
        let local: SocketAddr =
            if remote.is_ipv4() { LOCAL } else { "[2001:db8::9]:5000" }.parse().unwrap();
        let bytes = udp::build_request(request);
        let answer = t.respond_datagram(at(now), remote, local, &bytes).unwrap();
        assert!(answer.bytes.len() <= bytes.len() || !matches!(answer.bytes[3], 0 | 3));
        udp::parse_response(&answer.bytes, remote.is_ipv6()).unwrap()
    }

    fn connect(t: &mut Tracker, now: u64, remote: &str) -> u64 {
        let Response::Connect { transaction: 5, connection } =
            ask(t, now, remote, &Request::Connect { transaction: 5 })
        else {
            panic!("no connection id")
        };
        assert_ne!(connection & CONNECTION_ID_BIT, 0);
        connection
    }

    fn peers(t: &mut Tracker, remote: &str, port: u16) -> Vec<String> {
        let connection = connect(t, 0, remote);
        let request = announce(HASH, port, Event::Started);
        let request = Request::Announce {
            connection,
            transaction: 6,
            announce: request,
            url_data: "/a".into(),
        };
        match ask(t, 0, remote, &request) {
            Response::Announce { transaction: 6, interval: 60, peers, .. } => {
                peers.iter().map(ToString::to_string).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_table_for_both_families_and_each_gets_its_own() {
        let mut t = tracker();
        assert_eq!(peers(&mut t, "10.0.0.1:40000", 6000), ["10.0.0.9:5000"]);
        assert_eq!(peers(&mut t, "10.0.0.2:40000", 6000), ["10.0.0.9:5000", "10.0.0.1:6000"]);
        assert_eq!(peers(&mut t, "[2001:db8::1]:4", 6000), ["[2001:db8::9]:5000"]);
        assert_eq!(
            peers(&mut t, "[2001:db8::2]:4", 6000),
            ["[2001:db8::9]:5000", "[2001:db8::1]:6000"]
        );
        assert_eq!(t.counts(&HASH), (1, 4, 0));
    }

    #[test]
    fn an_id_is_good_for_two_minutes_and_for_one_address() {
        let mut t = tracker();
        let connection = connect(&mut t, 59, "10.0.0.1:40000");
        let scrape = Request::Scrape { connection, transaction: 1, hashes: vec![HASH] };
        let refused = Response::Error { transaction: 1, message: BAD_ID.to_owned() };
        let counts = vec![Counts { complete: 1, ..Counts::default() }];
        let scraped = Response::Scrape { transaction: 1, counts };
        assert_eq!(ask(&mut t, 59 + 120, "10.0.0.1:50000", &scrape), scraped);
        assert_eq!(ask(&mut t, 60 * SLOTS, "10.0.0.1:40000", &scrape), refused);
        assert_eq!(ask(&mut t, 59, "10.0.0.2:40000", &scrape), refused);
        let forged = Request::Scrape { connection: 0, transaction: 1, hashes: vec![HASH] };
        assert_eq!(ask(&mut t, 59, "10.0.0.1:40000", &forged), refused);
        let mut other = Tracker::new(PeerId([b'o'; 20]), 5000, [8; 16]);
        other.track(HASH, 0);
        assert_eq!(ask(&mut other, 59, "10.0.0.1:40000", &scrape), refused);
    }

    #[test]
    fn leaving_and_torrents_that_are_not_here() {
        let mut t = tracker();
        let _ = peers(&mut t, "10.0.0.1:40000", 6000);
        let connection = connect(&mut t, 0, "10.0.0.1:1");
        let mut say = |announce| {
            let request =
                Request::Announce { connection, transaction: 1, announce, url_data: String::new() };
            ask(&mut t, 0, "10.0.0.1:1", &request)
        };
        let Response::Announce { peers, leechers: 0, seeders: 1, .. } =
            say(announce(HASH, 6000, Event::Stopped))
        else {
            panic!("not counted")
        };
        assert_eq!(peers, []);
        let message = NOT_HERE.to_owned();
        let unknown = say(announce(InfoHash([2; 20]), 6000, Event::None));
        assert_eq!(unknown, Response::Error { transaction: 1, message });
        let nowhere = say(announce(HASH, 0, Event::Started));
        let message = "port must be from 1 to 65535".to_owned();
        assert_eq!(nowhere, Response::Error { transaction: 1, message });
        let remote = "10.0.0.1:1".parse().unwrap();
        assert_eq!(t.respond_datagram(at(0), remote, remote, b"\x80 nothing of ours"), None);
    }
}
