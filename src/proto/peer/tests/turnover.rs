//! Client ports go from peers that are of no use, and from swarms that have more than their share.

use super::{bytes_of, start, torrent, Memory};
use crate::proto::output::Action;
use crate::proto::peer::{Config, DialError, Peer};
use crate::proto::swarm::Torrent;
use crate::units::bitfield::Bitfield;
use crate::units::geometry::Geometry;
use crate::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use crate::units::time::{Duration, Instant};
use crate::wire::handshake::Handshake;
use crate::wire::message::Message;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;

const TRACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 77));

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 5000))
}

/// A peer with two client ports; everybody it dials has the first piece and not the second.
struct Crowd {
    peer: Peer,
    now: Instant,
    store: Memory,
    hashes: BTreeMap<SocketAddr, InfoHash>,
    open: BTreeMap<ConnId, SocketAddr>,
    /// Dials of the tracker, which is away.
    announces: u32,
    parted: u32,
    /// The tracker is there, and knows nobody.
    answers: bool,
    /// Announces that it has not answered yet.
    asked: Vec<ConnId>,
}

impl Crowd {
    fn new() -> Self {
        let config = Config { peer_id: PeerId([99; 20]), max_conns: 2, ..Config::default() };
        let now = Instant::from_micros(1_000_000);
        let peer = Peer::new(config, 7, now);
        let store = Memory { bytes: vec![0; 32_768], ..Memory::default() };
        Self {
            peer,
            now,
            store,
            hashes: BTreeMap::new(),
            open: BTreeMap::new(),
            announces: 0,
            parted: 0,
            answers: false,
            asked: Vec::new(),
        }
    }

    fn add(&mut self, hash: u8, have: &[u32], hosts: std::ops::Range<u8>) -> SwarmId {
        self.add_announced(hash, have, hosts, None)
    }

    fn add_announced(
        &mut self,
        hash: u8,
        have: &[u32],
        hosts: std::ops::Range<u8>,
        announce: Option<String>,
    ) -> SwarmId {
        let info_hash = InfoHash([hash; 20]);
        self.hashes.extend(hosts.clone().map(|n| (addr(n), info_hash)));
        let geometry = Geometry::new(32_768, 16_384).unwrap();
        let mut had = Bitfield::new(2);
        have.iter().for_each(|&piece| {
            had.set(piece);
        });
        let mut start = start(had);
        start.contacts = hosts.map(addr).collect();
        // Private: nobody is asked for peers, so no port is taken for that.
        let torrent = Torrent { info_hash, private: true, announce, ..torrent(geometry) };
        let id = self.peer.add_swarm(self.now, torrent, start).unwrap();
        self.drain();
        id
    }

    fn drain(&mut self) {
        self.act();
        while let Some(conn) = self.asked.pop() {
            self.peer.handle_connected(self.now, conn, addr(99));
            let answer = b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers0:e";
            self.peer.handle_received(self.now, conn, answer, &mut self.store);
            self.peer.handle_closed(self.now, conn, None);
            self.act();
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.peer.poll_action() {
            match action {
                Action::Resolve(host, asker) => {
                    let answer = Ok(vec![(TRACKER, false)]);
                    self.peer.handle_resolved(self.now, &host, &asker, answer);
                }
                Action::Dial { conn, remote, .. } if remote.ip() == TRACKER => {
                    self.announces += 1;
                    if self.answers {
                        self.asked.push(conn);
                        continue;
                    }
                    let refused = DialError::Refused;
                    self.peer.handle_dial_failed(self.now, conn, refused);
                }
                Action::Dial { conn, remote, .. } => {
                    self.open.insert(conn, remote);
                    self.peer.handle_connected(self.now, conn, addr(99));
                    let name =
                        PeerId([remote.ip().to_string().len() as u8 + conn.generation as u8; 20]);
                    let mut bytes = Handshake::ours(self.hashes[&remote], name).to_bytes().to_vec();
                    bytes[20..28].fill(0);
                    bytes.extend(bytes_of(&Message::Bitfield(&[0x80])));
                    self.peer.handle_received(self.now, conn, &bytes, &mut self.store);
                }
                Action::Close(conn) => {
                    self.parted += u32::from(self.open.remove(&conn).is_some());
                }
                _ => {}
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.peer.handle_timeout(self.now);
            self.drain();
            assert!(self.open.len() <= 2, "two ports, two connections");
        }
    }

    fn hosts(&self) -> Vec<SocketAddr> {
        self.open.values().copied().collect()
    }
}

#[test]
fn who_has_nothing_new_gives_way_to_who_was_not_met() {
    let mut crowd = Crowd::new();
    crowd.add(1, &[0], 1..5);
    let first = crowd.hosts();
    assert_eq!(first.len(), 2);
    crowd.pass(5);
    assert_eq!(crowd.hosts(), first, "not at once");
    let mut met: std::collections::BTreeSet<SocketAddr> = first.into_iter().collect();
    for _ in 0..40 {
        crowd.pass(1);
        met.extend(crowd.hosts());
    }
    assert_eq!(met.len(), 4, "in the end everybody was asked");
}

#[test]
fn a_peer_that_has_what_we_lack_stays() {
    let mut crowd = Crowd::new();
    crowd.add(1, &[], 1..5);
    let first = crowd.hosts();
    crowd.pass(60);
    assert_eq!(crowd.hosts(), first);
}

#[test]
fn the_only_one_with_a_piece_does_not_give_way_to_an_announce() {
    for hash in 1..20 {
        let mut crowd = Crowd::new();
        crowd.add(hash, &[], 1..2);
        crowd.pass(2);
        // The new peer has had no time to show its use, and then has none.
        crowd.add(100, &[0], 11..12);
        let announce = "http://10.0.0.77:6969/announce".to_owned();
        crowd.add_announced(101, &[0], 0..0, Some(announce));
        for _ in 0..100 {
            assert!(crowd.hosts().contains(&addr(1)));
            crowd.pass(1);
        }
        assert!(crowd.announces > 0);
    }
}

#[test]
fn a_tracker_that_is_away_does_not_take_our_peers() {
    let mut crowd = Crowd::new();
    let announce = "http://10.0.0.77:6969/announce".to_owned();
    crowd.add_announced(1, &[], 1..5, Some(announce));
    crowd.pass(60);
    assert_eq!(crowd.open.len(), 2);
    assert!((1..=3).contains(&crowd.announces), "{} announces", crowd.announces);
    assert!(crowd.parted <= 2, "{} peers hung up on", crowd.parted);
}

#[test]
fn a_second_swarm_gets_its_share() {
    let mut crowd = Crowd::new();
    crowd.add(1, &[], 1..5);
    crowd.pass(1);
    crowd.add(2, &[], 11..15);
    crowd.pass(20);
    let of = |hash: u8| crowd.hosts().iter().filter(|a| crowd.hashes[a].0[0] == hash).count();
    assert_eq!((of(1), of(2)), (1, 1));
}

#[test]
fn more_announces_than_ports_are_all_made_one_after_the_other() {
    let mut crowd = Crowd::new();
    let announce = "http://10.0.0.77:6969/announce".to_owned();
    crowd.answers = true;
    for hash in 1..20 {
        crowd.add_announced(hash, &[], 0..0, Some(announce.clone()));
    }
    crowd.pass(3);
    assert_eq!(crowd.announces, 19);
    crowd.peer.handle_stop(crowd.now);
    crowd.drain();
    crowd.pass(1);
    assert_eq!(crowd.announces, 2 * 19, "each says stopped");
    assert!(crowd.peer.is_stopped());
}
