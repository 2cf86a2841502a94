//! Client ports, and dialing again.

use crate::process::{address, Host, MAX_CONNS};
use crate::torrent::Torrent;
use crate::wire::{handshake, name, Wire, PLAIN};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

fn listeners(count: usize) -> Vec<TcpListener> {
    (0..count).map(|_| TcpListener::bind((address(), 0)).unwrap()).collect()
}

fn named(listeners: &[TcpListener]) -> Vec<String> {
    listeners.iter().map(|l| format!("--peer={}", l.local_addr().unwrap())).collect()
}

fn strings(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn client_sockets_use_the_ports_behind_the_listening_one_and_no_others() {
    let torrent = Torrent::single("ports.bin", 1_000);
    let host = Host::with_torrent(&torrent);
    let listeners = listeners(MAX_CONNS as usize + 2);
    let _peer = host.start(&strings(&named(&listeners)));
    let mut wires = Vec::new();
    for _ in 0..MAX_CONNS {
        let (mut wire, remote) = Wire::accept(&listeners);
        wire.expect_handshake(&torrent);
        wire.send(&handshake(PLAIN, torrent.info_hash, name()));
        wires.push((wire, remote.port()));
    }
    let first = host.addr.port() + 1;
    let used: BTreeSet<u16> = wires.iter().map(|(_, port)| *port).collect();
    assert_eq!(used, (first..first + MAX_CONNS).collect());
    // All are lent: the next dial can only come from the port that is given back.
    let (gone, port) = wires.remove(1);
    drop(gone);
    let (_wire, remote) = Wire::accept(&listeners);
    assert_eq!(remote.port(), port);
}

#[test]
fn a_port_that_another_program_has_is_passed_over() {
    let torrent = Torrent::single("busy.bin", 1_000);
    let host = Host::with_torrent(&torrent);
    let (ip, first) = (host.addr.ip(), host.addr.port() + 1);
    let _taken = TcpListener::bind((ip, first)).unwrap();
    let listeners = listeners(1);
    let mut peer = host.start(&strings(&named(&listeners)));
    peer.wait_for(&format!("client port {first} is busy"));
    let (_wire, remote) = Wire::accept(&listeners);
    assert!((first + 1..first + MAX_CONNS).contains(&remote.port()), "{remote}");
}

#[test]
fn one_port_that_is_left_serves_all_dials_in_turn() {
    let torrent = Torrent::single("left.bin", 1_000);
    let host = Host::with_torrent(&torrent);
    let (ip, first) = (host.addr.ip(), host.addr.port() + 1);
    let taken: Vec<_> =
        (first + 1..first + MAX_CONNS).map(|port| TcpListener::bind((ip, port)).unwrap()).collect();
    let listeners = listeners(2);
    let mut peer = host.start(&strings(&named(&listeners)));
    for _ in 0..4 {
        // Each host in its turn, and their trackers are asked, too.
        let (mut wire, remote) = Wire::accept(&listeners);
        assert_eq!(remote.port(), first);
        wire.expect_handshake(&torrent);
    }
    drop(taken);
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn any_client_port_where_the_user_says_so() {
    let torrent = Torrent::single("any.bin", 1_000);
    let host = Host::with_torrent(&torrent);
    let listeners = listeners(1);
    let known = named(&listeners);
    let options = [&["--client-ports", "any"][..], &strings(&known)].concat();
    let _peer = host.start(&options);
    let (_wire, remote) = Wire::accept(&listeners);
    let range = host.addr.port()..=host.addr.port() + MAX_CONNS;
    assert!(!range.contains(&remote.port()), "{remote}");
}

#[test]
fn a_redial_right_after_a_close_works() {
    let torrent = Torrent::single("redial.bin", 1_000);
    let mut host = Host::with_torrent(&torrent);
    // One client port: each redial meets the last connection in TIME_WAIT.
    host.max_conns = 1;
    let listeners = listeners(1);
    let mut peer = host.start(&strings(&named(&listeners)));
    for _ in 0..3 {
        let (mut wire, remote) = Wire::accept(&listeners);
        assert_eq!(remote, SocketAddr::new(host.addr.ip(), host.addr.port() + 1));
        wire.expect_handshake(&torrent);
        // An answer for another torrent: the peer closes, so the wait is on its side.
        wire.send(&handshake(PLAIN, [9; 20], name()));
        wire.expect_closed();
    }
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn a_known_host_that_was_away_is_reached_when_it_comes() {
    let torrent = Torrent::single("away.bin", 1_000);
    let host = Host::with_torrent(&torrent);
    let away = SocketAddr::new(address(), 5_000);
    let mut peer = host.start(&["--peer", &away.to_string()]);
    // Refused at once, after 1 s, after 2 more; then every 5 s at the latest.
    (0..2).for_each(|_| drop(peer.wait_for("connection refused")));
    let back = Instant::now();
    let listener = TcpListener::bind(away).unwrap();
    Wire::accept(&[listener]);
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
}

#[test]
fn nobody_dials_itself() {
    let torrent = Torrent::announced("self.bin", 1_000, "127.0.0.1:1/announce");
    let host = Host::with_torrent(&torrent);
    let listeners = listeners(1);
    let own = format!("--peer={}", host.addr);
    let known = named(&listeners);
    let options = [&[own.as_str()][..], &strings(&known)].concat();
    let mut peer = host.start(&options);
    Wire::accept(&listeners);
    assert_eq!(peer.stop(), Some(0));
    assert_eq!(peer.said(&format!("dialing {}", host.addr)).len(), 0);
}
