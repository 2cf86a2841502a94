//! Frames that no honest client sends: each ends its connection, or nothing, and never the peer.

use crate::process::{self, address, Host, Peer};
use crate::torrent::{Torrent, PIECE};
use crate::wire::{self, message, piece, span, words, Wire, EXTENDED, FAST, PLAIN};
use std::process::Command;

#[test]
fn every_hostile_frame_ends_its_own_connection_only() {
    let torrent = Torrent::single("target.bin", 9 * PIECE);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let frames: &[(&str, [u8; 8], Vec<u8>)] = &[
        ("length 2^32-1", PLAIN, vec![0xff; 4 + 1]),
        ("length 2^31 of an unknown id", PLAIN, vec![0x80, 0, 0, 0, 99]),
        ("a piece of 2^32-1", PLAIN, vec![0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0, 0]),
        ("a piece without a head", PLAIN, message(wire::PIECE, &[0; 7])),
        ("choke with a body", PLAIN, message(wire::CHOKE, &[0])),
        ("have without a piece", PLAIN, message(wire::HAVE, &[])),
        ("have of a piece beyond", PLAIN, message(wire::HAVE, &9_u32.to_be_bytes())),
        ("bitfield with spare bits", PLAIN, message(wire::BITFIELD, &[0, 0x01])),
        ("bitfield too long", PLAIN, message(wire::BITFIELD, &[0, 0, 0])),
        ("bitfield too short", PLAIN, message(wire::BITFIELD, &[0])),
        ("request of 11 bytes", PLAIN, message(wire::REQUEST, &[0; 11])),
        ("request of 128 KiB + 1", PLAIN, span(wire::REQUEST, 0, 0, (128 << 10) + 1)),
        ("request of 2^32-1", PLAIN, span(wire::REQUEST, 0, 0, u32::MAX)),
        ("have all without agreement", PLAIN, message(14, &[])),
        ("reject of what was not asked", FAST, span(wire::REJECT, 0, 0, 16 << 10)),
        ("have none, late", FAST, [message(14, &[]), message(15, &[])].concat()),
        ("extension handshake of no dictionary", EXTENDED, message(wire::EXTENSION, b"\0le")),
        ("extension without an id", EXTENDED, message(wire::EXTENSION, &[])),
        ("extension handshake of depth 9000", EXTENDED, deep()),
    ];
    for (what, reserved, frame) in frames {
        println!("{what}");
        let mut wire = Wire::join(host.addr, address(), &torrent, *reserved);
        wire.try_send(frame);
        wire.expect_closed();
    }
    for opening in [&b"\x12BitTorrent protocol"[..], b"\x13BitTorrent protocoL", b"\0", b"\xff"] {
        let mut wire = Wire::connect(host.addr, address());
        wire.send(opening);
        wire.expect_closed();
    }
    still_serves(&host, &torrent);
    assert_eq!(peer.said("ERROR").len() + peer.said("panicked").len(), 0);
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn who_tries_in_vain_again_and_again_is_told_of_once() {
    let torrent = Torrent::single("one.bin", PIECE);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let from = address();
    for _ in 0..50 {
        let mut wire = Wire::connect(host.addr, from);
        wire.send(&wire::handshake(PLAIN, [9; 20], wire::name()));
        wire.expect_closed();
    }
    still_serves(&host, &torrent);
    assert_eq!(peer.stop(), Some(0));
    let of_it = |line: &&String| line.contains("[INFO]") && line.contains(&from.to_string());
    let told = peer.said("before the handshake");
    assert_eq!(told.iter().filter(of_it).count(), 1, "{told:?}");
}

#[test]
fn what_is_unknown_is_skipped() {
    let torrent = Torrent::single("skips.bin", 9 * PIECE);
    let host = Host::with_content(&torrent);
    let _peer = host.seed();
    let mut wire = Wire::join(host.addr, address(), &torrent, EXTENDED);
    let hello = b"\0d1:md11:ut_metadatai3eee";
    for frame in [
        vec![0; 40],
        message(9, &[0x1a, 0xe1]),
        message(10, b"none has this id"),
        message(21, &[0; 4000]),
        message(255, &[]),
        message(wire::EXTENSION, hello),
        message(wire::EXTENSION, b"\x07an extension message we never offered"),
        piece(0, 0, &[0; 16 << 10]),
        message(wire::PIECE, &words(&[0, 0])),
        span(wire::CANCEL, 5, 6, 7),
        span(wire::CANCEL, u32::MAX, u32::MAX, u32::MAX),
    ] {
        wire.send(&frame);
    }
    wire.send(&message(wire::INTERESTED, &[]));
    wire.next_of(wire::UNCHOKE);
    wire.expect_block(&torrent, 4, 5, 6);
}

#[test]
fn a_reader_that_never_reads_costs_a_bounded_queue() {
    let torrent = Torrent::single("greedy.bin", 64 * PIECE);
    let host = Host::with_content(&torrent);
    let peer = host.seed();
    let mut wire = Wire::join(host.addr, address(), &torrent, FAST);
    wire.send(&message(wire::INTERESTED, &[]));
    wire.next_of(wire::UNCHOKE);
    // 40,000 requests of 16 KiB: 640 MiB owed, if they were all kept.
    let before = memory_kib(peer.pid());
    let request = span(wire::REQUEST, 1, 0, 16 << 10);
    let many = request.repeat(1_000);
    for _ in 0..40 {
        wire.try_send(&many);
    }
    still_serves(&host, &torrent);
    let more = memory_kib(peer.pid()).saturating_sub(before);
    assert!(more < 8 << 10, "{more} KiB more");
}

#[test]
fn connections_never_take_the_last_descriptor() {
    let names: Vec<String> = (0..40).map(|n| format!("{n}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), PIECE)).collect();
    let torrent = Torrent::of("descriptors", PIECE, &files, None);
    let host = Host::with_content(&torrent);
    let mut peer = with_40_descriptors(&host);
    peer.wait_for("-> seeder");
    let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
    wire.send(&message(wire::INTERESTED, &[]));
    wire.next_of(wire::UNCHOKE);
    let crowd: Vec<_> = (0..60).map(|_| Wire::connect(host.addr, host.addr.ip())).collect();
    peer.wait_for("cannot accept");
    // Each piece is another file.
    (0..40).for_each(|piece| wire.expect_block(&torrent, piece, 0, 16 << 10));
    drop(crowd);
    still_serves(&host, &torrent);
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn a_download_without_a_free_descriptor_is_saved() {
    let torrent = Torrent::single("crowded.bin", 4 * PIECE);
    let host = Host::with_torrent(&torrent);
    let mut peer = with_40_descriptors(&host);
    let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
    let crowd: Vec<_> = (0..60).map(|_| Wire::connect(host.addr, host.addr.ip())).collect();
    peer.wait_for("cannot accept");
    wire.send(&message(wire::BITFIELD, &torrent.full_bitfield()));
    wire.send(&message(wire::UNCHOKE, &[]));
    wire.serve(&torrent, |served| served == 8);
    peer.wait_for("saved as");
    drop(crowd);
    still_serves(&host, &torrent);
    torrent.expect_content(&host.shareable());
    assert_eq!(peer.stop(), Some(0));
    assert_eq!(peer.said("this torrent stops").len(), 0);
}

/// The peer of this host, which may have 40 descriptors.
fn with_40_descriptors(host: &Host) -> Peer {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40; exec \"$@\"", "sh", process::program()]);
    limited.current_dir(host.folder()).args(host.arguments());
    let mut peer = Peer::spawn(&mut limited);
    peer.wait_for("listening on");
    peer
}

/// Anonymous memory of a process.
fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn deep() -> Vec<u8> {
    let nested = [&b"\0"[..], &b"d1:a".repeat(9_000), b"0:", &b"e".repeat(9_000)].concat();
    message(wire::EXTENSION, &nested)
}

fn still_serves(host: &Host, torrent: &Torrent) {
    let mut wire = Wire::join(host.addr, address(), torrent, PLAIN);
    wire.send(&message(wire::INTERESTED, &[]));
    wire.next_of(wire::UNCHOKE);
    wire.expect_block(torrent, 0, 0, 16 << 10);
}
