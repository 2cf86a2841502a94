//! Two connections with one peer, and one peer with two addresses.

use super::{addr, bytes_of, Bench, HASH};
use crate::proto::contacts::REDIAL_FIRST;
use crate::proto::output::{Action, Event, Status};
use crate::units::id::{ConnId, PeerId};
use crate::wire::extended;
use crate::wire::handshake::Handshake;
use crate::wire::message::Message;
use core::net::SocketAddr;

/// The reserved bytes of a handshake that offers BEP 10.
const EXTENDED: [u8; 8] = [0, 0, 0, 0, 0, 0x10, 0, 0];

/// Whom we dial now, all others of the loop's work done.
fn dialed(bench: &mut Bench) -> Vec<(ConnId, SocketAddr)> {
    let actions: Vec<Action> = core::iter::from_fn(|| bench.peer.poll_action()).collect();
    let dials = actions.into_iter().filter_map(|action| match action {
        Action::Dial { conn, remote, .. } => Some((conn, remote)),
        Action::Close(id) => bench.sent.remove(&id).and(None),
        _ => None,
    });
    dials.collect()
}

/// We dial a peer of this name and it dials us, at the same time.
fn crossing(name: u8) -> (Bench, ConnId, ConnId) {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.learn_contacts(bench.now, bench.swarm, [addr(1)], false);
    bench.peer.dial_due(bench.now);
    let ours = dialed(&mut bench)[0].0;
    bench.sent.insert(ours, Vec::new());
    let theirs = bench.accept_from(
        SocketAddr::from(([10, 0, 0, 1], 40_000)),
        name,
        [0; 8],
        &bytes_of(&Message::Have(0)),
    );
    bench.peer.handle_connected(bench.now, ours, SocketAddr::from(([10, 0, 0, 99], 5001)));
    let handshake = Handshake::ours(HASH, PeerId([name; 20])).to_bytes();
    bench.peer.handle_received(bench.now, ours, &handshake, &mut bench.store);
    let missed = Event::StatusChanged(bench.swarm, Status::Waiting);
    let told: Vec<Event> = core::iter::from_fn(|| bench.peer.poll_event()).collect();
    assert!(!told.contains(&missed), "the peer is here all the time: {told:?}");
    bench.drain();
    (bench, ours, theirs)
}

#[test]
fn who_drops_the_other_of_two_is_dialed_anew() {
    // We are 99: the connection that the smaller name dialed stays.
    for (name, ours_stays) in [(1, false), (200, true)] {
        let (mut bench, ours, theirs) = crossing(name);
        assert_eq!((bench.is_open(ours), bench.is_open(theirs)), (ours_stays, !ours_stays));
        let stays = if ours_stays { ours } else { theirs };
        // Another one is there: it is not that all are gone.
        bench.serves(7, &[0]);
        bench.peer.handle_closed(bench.now, stays, None);
        assert_eq!(dialed(&mut bench), []);
        bench.now = bench.now + REDIAL_FIRST;
        bench.peer.handle_timeout(bench.now);
        let again: Vec<_> = dialed(&mut bench).into_iter().map(|(_, remote)| remote).collect();
        assert_eq!(again, [addr(1)], "name {name}");
    }
}

/// An extended handshake that tells where its sender listens.
fn hello(port: u16) -> Vec<u8> {
    let hello = extended::Handshake { listen_port: Some(port), ..Default::default() };
    bytes_of(&Message::Extended(0, &hello.to_bytes()))
}

#[test]
fn who_is_here_by_its_own_dial_is_not_dialed_again() {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.learn_contacts(bench.now, bench.swarm, [addr(1)], false);
    bench.peer.dial_due(bench.now);
    let ours = dialed(&mut bench)[0].0;
    bench.sent.insert(ours, Vec::new());
    // It has dialed us meanwhile, says where it listens, and drops our dial as the second of two.
    let source = SocketAddr::from(([10, 0, 0, 1], 40_000));
    let theirs = bench.accept_from(source, 1, EXTENDED, &hello(addr(1).port()));
    bench.peer.handle_connected(bench.now, ours, SocketAddr::from(([10, 0, 0, 99], 5001)));
    bench.peer.handle_closed(bench.now, ours, None);
    let _ = dialed(&mut bench);
    for _ in 0..20 {
        bench.now = bench.now + REDIAL_FIRST;
        bench.peer.handle_timeout(bench.now);
        assert_eq!(dialed(&mut bench), []);
    }
    // Once it is gone its address is as free as any other.
    bench.serves(7, &[0]);
    bench.peer.handle_closed(bench.now, theirs, None);
    bench.now = bench.now + REDIAL_FIRST;
    bench.peer.handle_timeout(bench.now);
    let again: Vec<_> = dialed(&mut bench).into_iter().map(|(_, remote)| remote).collect();
    assert_eq!(again, [addr(1)]);
}

#[test]
fn a_peer_that_tells_of_two_ports_leaves_both_free() {
    let mut bench = Bench::new(100_000, 32_768);
    let id = bench.accept(1, EXTENDED, &hello(6001));
    bench.receive(id, &hello(6002));
    bench.peer.handle_closed(bench.now, id, None);
    let _ = dialed(&mut bench);
    bench.now = bench.now + REDIAL_FIRST * 2;
    bench.peer.handle_timeout(bench.now);
    let contacts = &bench.peer.swarms[&bench.swarm].contacts;
    let conns = [6001, 6002].map(|port| contacts.conn(SocketAddr::from(([10, 0, 0, 1], port))));
    assert!(conns.iter().flatten().all(|&id| bench.peer.connections.get(id).is_some()));
    assert!(!conns.contains(&Some(id)), "{conns:?}");
}
