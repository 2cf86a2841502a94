//! Two peers that talk to each other: fetches, offers, pauses.

use super::{start, torrent, Memory, HASH};
use crate::proto::closed::Closed;
use crate::proto::outgoing::{Segment, SendPlan};
use crate::proto::output::{Action, Event};
use crate::proto::peer::{Config, Peer};
use crate::units::bitfield::Bitfield;
use crate::units::geometry::Geometry;
use crate::units::id::{ConnId, PeerId, SwarmId};
use crate::units::time::{Duration, Instant};
use crate::wire::http;
use core::net::SocketAddr;

const NOW: Instant = Instant::from_micros(1_000_000);

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
                            self.peers[other].handle_received(
                                NOW,
                                to,
                                part,
                                &mut Memory::default(),
                            );
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
        let have = if has_it { Bitfield::full(2) } else { Bitfield::new(2) };
        let torrent = torrent(Geometry::new(10, 5).unwrap());
        self.peers[host].add_swarm(NOW, torrent, start(have)).unwrap()
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
        let told = Event::Offered(HASH, addr(0));
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
