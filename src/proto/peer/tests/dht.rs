//! The DHT within the peer: handshake bit, PORT, searches, finds, and what a private torrent does.

use super::*;
use crate::proto::output::{Asker, Via};
use crate::wire::address::HostPort;

const DHT_BIT: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0x01];

fn peer(n: u8, private: bool, complete: bool) -> Peer {
    let now = Instant::from_micros(1_000_000);
    let config = Config {
        peer_id: PeerId([n; 20]),
        secret: [n; 16],
        own_addresses: vec![[10, 0, 0, n].into()],
        ..Config::default()
    };
    let mut peer = Peer::new(config, n.into(), now);
    peer.start_dht(now, None, [true, false]);
    let geometry = Geometry::new(100, 16_384).unwrap();
    let have = if complete { Bitfield::full(1) } else { Bitfield::new(1) };
    peer.add_swarm(now, Torrent { private, ..torrent(geometry) }, start(have)).unwrap();
    peer
}

fn here(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 5000))
}

/// Lets the peers exchange datagrams until nobody has more; whom each dials.
fn settle(now: Instant, peers: &mut [(u8, Peer)]) -> Vec<(u8, SocketAddr)> {
    let mut dials = Vec::new();
    loop {
        let mut datagrams = Vec::new();
        for (n, peer) in &mut *peers {
            while let Some(action) = peer.poll_action() {
                match action {
                    Action::SendDatagram { via: Via::Port, to, bytes } => {
                        datagrams.push((here(*n), to, bytes));
                    }
                    Action::Dial { remote, .. } => dials.push((*n, remote)),
                    _ => {}
                }
            }
        }
        if datagrams.is_empty() {
            return dials;
        }
        for (from, to, bytes) in datagrams {
            let to = peers.iter_mut().find(|(n, _)| here(*n) == to);
            if let Some((_, peer)) = to {
                peer.handle_datagram(now, Via::Port, from, &bytes);
            }
        }
    }
}

fn enter(now: Instant, peer: &mut Peer, n: u8) {
    let host = HostPort::from(here(n));
    peer.add_dht_host(now, host.clone());
    let asked = core::iter::from_fn(|| peer.poll_action())
        .any(|action| action == Action::Resolve(host.clone(), Asker::Dht));
    assert!(asked);
    let answer = Ok(vec![(here(n).ip(), false)]);
    peer.handle_resolved(now, &host, &Asker::Dht, answer);
}

#[test]
fn peers_without_a_tracker_find_each_other() {
    let mut now = Instant::from_micros(1_000_000);
    let mut peers = [(1, peer(1, false, true)), (2, peer(2, false, false))];
    enter(now, &mut peers[1].1, 1);
    let mut dials = settle(now, &mut peers);
    for _ in 0..20 {
        now = now + Duration::from_secs(1);
        peers.iter_mut().for_each(|(_, peer)| peer.handle_timeout(now));
        dials.extend(settle(now, &mut peers));
    }
    assert!(dials.contains(&(2, here(1))), "{dials:?}");
    assert!(dials.iter().all(|(n, _)| *n == 2), "a seeder dials nobody: {dials:?}");
}

#[test]
fn a_private_torrent_uses_no_dht() {
    let mut now = Instant::from_micros(1_000_000);
    let mut peers = [(1, peer(1, true, true)), (2, peer(2, true, false))];
    enter(now, &mut peers[1].1, 1);
    for _ in 0..60 {
        now = now + Duration::from_secs(1);
        peers.iter_mut().for_each(|(_, peer)| peer.handle_timeout(now));
        assert_eq!(settle(now, &mut peers), []);
    }
    assert_eq!(peers[0].1.dht().unwrap().node_count(), 1, "the DHT itself is there");
    assert!(!peers[0].1.says_dht(HASH));
}

#[test]
fn who_sets_the_bit_is_told_our_port_and_is_asked_at_theirs() {
    let mut bench = Bench::new(100, 16_384);
    bench.peer.start_dht(bench.now, None, [true, false]);
    let with = bench.accept(1, DHT_BIT, &bytes_of(&Message::Port(6881)));
    let handshake = &bench.sent[&with][..HANDSHAKE_BYTES];
    assert!(Handshake::parse(handshake.try_into().unwrap()).unwrap().dht());
    assert!(bench.sent[&with].ends_with(&bytes_of(&Message::Port(5000))));
    let without = bench.accept(2, [0; 8], &[]);
    assert!(!bench.sent[&without].ends_with(&bytes_of(&Message::Port(5000))));
    assert!(bench.peer.dht_timeout().is_some(), "the node of the PORT message was asked");
    let mut plain = Bench::new(100, 16_384);
    let with = plain.accept(1, DHT_BIT, &bytes_of(&Message::Port(6881)));
    let handshake = &plain.sent[&with][..HANDSHAKE_BYTES];
    assert!(!Handshake::parse(handshake.try_into().unwrap()).unwrap().dht());
    assert!(plain.peer.dht_timeout().is_none());
}
