//! Ourselves, and others with our name.

use super::{Bench, HASH};
use crate::proto::output::Action;
use crate::units::id::PeerId;
use crate::wire::handshake::Handshake;
use core::net::SocketAddr;

const OURS: u8 = 99;

#[test]
fn for_a_host_with_our_name_we_take_another_once() {
    let mut bench = Bench::new(100_000, 32_768);
    let copy = bench.accept(OURS, [0; 8], &[]);
    assert!(!bench.is_open(copy));
    let new = bench.peer.config.peer_id;
    assert!(new.0.starts_with(PeerId::PREFIX), "{new}");
    // It comes again, and if it has not noticed, with the old name.
    let again = bench.accept(OURS, [0; 8], &[]);
    assert!(bench.is_open(again));
    let answer = &bench.sent[&again][..68];
    assert_eq!(answer, Handshake::ours(HASH, new).to_bytes());
    // Who repeats whatever name we have is not a host that was set up as a copy.
    let mirror = bench.peer.handle_accepted(bench.now, super::addr(7), super::addr(99)).unwrap();
    bench.sent.insert(mirror, Vec::new());
    bench.receive(mirror, &Handshake::ours(HASH, new).to_bytes());
    assert!(!bench.is_open(mirror));
    assert_eq!(bench.peer.config.peer_id, new);
}

#[test]
fn a_connection_to_ourselves_ends_and_is_not_made_again() {
    let mut bench = Bench::new(100_000, 32_768);
    let there = SocketAddr::from(([10, 0, 0, 99], 5000));
    bench.peer.learn_contacts(bench.now, bench.swarm, [there], true);
    bench.peer.dial_due(bench.now);
    let Some(Action::Dial { conn, remote, local_port }) = bench.peer.poll_action() else {
        panic!("it is not known yet that it is ourselves");
    };
    let here = SocketAddr::new(remote.ip(), local_port.unwrap());
    bench.sent.insert(conn, Vec::new());
    bench.peer.handle_connected(bench.now, conn, here);
    let other = bench.peer.handle_accepted(bench.now, here, there).unwrap();
    bench.sent.insert(other, Vec::new());
    bench.drain();
    let said = bench.sent[&conn].clone();
    bench.receive(other, &said);
    assert!(!bench.is_open(conn) && !bench.is_open(other));
    assert_eq!(bench.peer.config.peer_id, PeerId([OURS; 20]));
    for _ in 0..60 {
        bench.now = bench.now + crate::units::time::Duration::from_secs(1);
        bench.peer.handle_timeout(bench.now);
        assert_eq!(bench.peer.poll_action(), None);
    }
}
