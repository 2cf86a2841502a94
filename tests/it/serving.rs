//! What a seeder says to a stranger, message by message.

use crate::process::{address, Host, Peer};
use crate::torrent::{Torrent, BLOCK, PIECE};
use crate::wire::{self, handshake, message, name, span, Wire, EXTENDED, FAST, PLAIN};

struct Served {
    torrent: Torrent,
    host: Host,
    peer: Peer,
}

/// A seeder of ten pieces of 32 KiB, the last one short.
fn seeder(name: &str) -> Served {
    let torrent = Torrent::single(name, 9 * PIECE + 1_234);
    let host = Host::with_content(&torrent);
    let peer = host.seed();
    Served { torrent, host, peer }
}

impl Served {
    fn join(&self, reserved: [u8; 8]) -> Wire {
        Wire::join(self.host.addr, address(), &self.torrent, reserved)
    }

    /// A connection that may ask.
    fn unchoked(&self, reserved: [u8; 8]) -> Wire {
        let mut wire = self.join(reserved);
        wire.send(&message(wire::INTERESTED, &[]));
        wire.next_of(wire::UNCHOKE);
        wire
    }
}

#[test]
fn the_course_order_interested_first_and_a_late_bitfield() {
    let served = seeder("course.bin");
    let mut wire = served.join(PLAIN);
    wire.send(&message(wire::INTERESTED, &[]));
    // Bitfield first, as BEP 3 wants it, then the answer at once.
    assert_eq!(wire.next(), (wire::BITFIELD, served.torrent.full_bitfield()));
    assert_eq!(wire.next(), (wire::UNCHOKE, vec![]));
    wire.send(&message(wire::BITFIELD, &[0, 0]));
    wire.expect_block(&served.torrent, 3, 0, BLOCK as u32);
    wire.send(&message(wire::BITFIELD, &[0x80, 0]));
    wire.expect_block(&served.torrent, 4, 0, BLOCK as u32);
}

#[test]
fn requests_of_every_size_that_is_lawful() {
    let served = seeder("sizes.bin");
    for reserved in [PLAIN, FAST] {
        let mut wire = served.unchoked(reserved);
        let torrent = &served.torrent;
        wire.expect_block(torrent, 0, 0, 1);
        wire.expect_block(torrent, 1, PIECE as u32 - 1, 1);
        wire.expect_block(torrent, 2, 77, 16 * 1024);
        wire.expect_block(torrent, 2, 0, PIECE as u32);
        wire.expect_block(torrent, 9, 0, 1_234);
    }
    // 128 KiB need a piece that long.
    let torrent = Torrent::of("long.bin", 256 * 1024, &[("", 300_000)], None);
    let host = Host::with_content(&torrent);
    let _peer = host.seed();
    let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
    wire.send(&message(wire::INTERESTED, &[]));
    wire.next_of(wire::UNCHOKE);
    wire.expect_block(&torrent, 0, 100_000, 128 * 1024);
    wire.send(&span(wire::REQUEST, 0, 0, 128 * 1024 + 1));
    wire.expect_closed();
}

#[test]
fn requests_beyond_the_torrent_are_refused_and_harmless() {
    let served = seeder("beyond.bin");
    let beyond = [
        (0, u32::MAX, BLOCK as u32),
        (0, u32::MAX - 16_383, BLOCK as u32),
        (0, PIECE as u32, 1),
        (9, 1_234, 1),
        (9, 1_000, 235),
        (10, 0, 1),
        (u32::MAX, 0, 1),
        (0, 0, 0),
    ];
    let mut fast = served.unchoked(FAST);
    let mut plain = served.unchoked(PLAIN);
    for (index, begin, length) in beyond {
        fast.send(&span(wire::REQUEST, index, begin, length));
        let rejected = fast.next_of(wire::REJECT);
        assert_eq!(rejected, wire::words(&[index, begin, length]));
        plain.send(&span(wire::REQUEST, index, begin, length));
    }
    // BEP 3 has no word for a refusal: nothing comes, and the connection works.
    plain.send(&span(wire::REQUEST, 1, 0, 5));
    assert_eq!(plain.next().0, wire::PIECE);
    fast.expect_block(&served.torrent, 1, 0, 5);
}

#[test]
fn choked_requests_are_not_served() {
    let served = seeder("choked.bin");
    let mut fast = served.join(FAST);
    fast.send(&span(wire::REQUEST, 0, 0, 100));
    assert_eq!(fast.next_of(wire::REJECT), wire::words(&[0, 0, 100]));
    let mut plain = served.join(PLAIN);
    plain.send(&span(wire::REQUEST, 0, 0, 100));
    plain.send(&message(wire::INTERESTED, &[]));
    assert_eq!(plain.next().0, wire::BITFIELD);
    assert_eq!(plain.next().0, wire::UNCHOKE, "the request before it was dropped");
    plain.expect_block(&served.torrent, 5, 0, 100);
}

#[test]
fn interested_is_answered_at_once_by_choke_where_no_slot_is_free() {
    let torrent = Torrent::single("slots.bin", 100_000);
    let host = Host::with_content(&torrent);
    let mut peer = host.start(&["--upload-slots", "1"]);
    peer.wait_for("-> seeder");
    let mut first = Wire::join(host.addr, address(), &torrent, PLAIN);
    first.send(&message(wire::INTERESTED, &[]));
    first.next_of(wire::UNCHOKE);
    let mut second = Wire::join(host.addr, address(), &torrent, PLAIN);
    second.send(&message(wire::INTERESTED, &[]));
    assert_eq!(second.next().0, wire::BITFIELD);
    assert_eq!(second.next().0, wire::CHOKE);
    // The slot is given on as soon as it is free, not with the next round.
    drop(first);
    assert_eq!(second.next().0, wire::UNCHOKE);
}

#[test]
fn one_byte_at_a_time_means_the_same() {
    let served = seeder("slow.bin");
    let mut wire = Wire::connect(served.host.addr, address());
    let request = span(wire::REQUEST, 2, 3, 4);
    let all = [
        handshake(PLAIN, served.torrent.info_hash, name()),
        message(wire::BITFIELD, &[0, 0]),
        vec![0; 4],
        message(wire::INTERESTED, &[]),
    ];
    wire.send_slowly(&all.concat());
    wire.expect_handshake(&served.torrent);
    wire.next_of(wire::UNCHOKE);
    wire.send_slowly(&request);
    assert_eq!(wire.next_of(wire::PIECE)[8..], *served.torrent.block(2, 3, 4));

    // And all at once: the messages come with the handshake.
    let mut wire = Wire::connect(served.host.addr, address());
    let opening = handshake(PLAIN, served.torrent.info_hash, name());
    wire.send(&[&opening[..], &message(wire::INTERESTED, &[])].concat());
    wire.expect_handshake(&served.torrent);
    wire.next_of(wire::UNCHOKE);
    wire.expect_block(&served.torrent, 2, 3, 4);
}

#[test]
fn the_answer_to_a_handshake_needs_no_peer_id() {
    // BEP 3: the answer may come as soon as the info-hash is known; trackers that probe send
    // no peer id at all.
    let served = seeder("probe.bin");
    let mut wire = Wire::connect(served.host.addr, address());
    wire.send(&handshake(PLAIN, served.torrent.info_hash, name())[..48]);
    let (reserved, name) = wire.expect_handshake(&served.torrent);
    assert_eq!(reserved, [0, 0, 0, 0, 0, 0x10, 0, 4]);
    assert!(name.starts_with(b"-RP"), "BEP 20");
}

#[test]
fn an_unknown_info_hash_is_told_nothing() {
    let served = seeder("known.bin");
    let mut wire = Wire::connect(served.host.addr, address());
    wire.send(&handshake(PLAIN, [7; 20], name()));
    assert!(wire.read_to_end().is_empty(), "not a byte");
    // The next one is served.
    served.unchoked(PLAIN).expect_block(&served.torrent, 0, 0, 9);
}

#[test]
fn a_cancelled_request_is_not_served() {
    let served = seeder("cancel.bin");
    let mut wire = served.unchoked(FAST);
    // In one packet: the cancel is read before anything is sent.
    let both = [span(wire::REQUEST, 0, 0, 1000), span(wire::CANCEL, 0, 0, 1000)].concat();
    wire.send(&both);
    assert_eq!(wire.next_of(wire::REJECT), wire::words(&[0, 0, 1000]));
    wire.expect_block(&served.torrent, 1, 0, 1000);
}

#[test]
fn the_extension_handshake_says_where_we_listen() {
    let served = seeder("hello.bin");
    let mut wire = served.join(EXTENDED);
    let hello = wire.next_of(wire::EXTENSION);
    let text = String::from_utf8_lossy(&hello);
    assert_eq!(hello[0], 0, "BEP 10: id 0 is the handshake");
    let port = served.host.addr.port();
    assert!(text.contains(&format!("1:pi{port}e")), "{text}");
    assert!(text.contains("11:upload_onlyi1e"), "{text}");
}

#[test]
fn who_dials_twice_has_lost_the_first_connection() {
    let mut served = seeder("twice.bin");
    let (ip, name) = (address(), name());
    let opening = handshake(PLAIN, served.torrent.info_hash, name);
    let mut first = Wire::connect(served.host.addr, ip);
    first.send(&opening);
    first.expect_handshake(&served.torrent);
    // A peer that dials has no connection, whatever we believe: its host was cut off.
    let mut second = Wire::connect(served.host.addr, ip);
    second.send(&opening);
    second.expect_handshake(&served.torrent);
    served.peer.wait_for("already connected to that peer");
    first.expect_closed();
    second.send(&message(wire::INTERESTED, &[]));
    second.next_of(wire::UNCHOKE);
    second.expect_block(&served.torrent, 0, 0, 9);
    // From another address it is somebody else who says so.
    let mut thief = Wire::connect(served.host.addr, address());
    thief.send(&opening);
    thief.expect_closed();
    second.expect_block(&served.torrent, 1, 0, 9);
}
