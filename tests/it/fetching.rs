//! What a peer that downloads says to a seeder written by hand, and what it takes from it.

use crate::process::{address, Host, Peer};
use crate::torrent::{Torrent, BLOCK, PIECE};
use crate::wire::{self, handshake, message, name, piece, Asked, Wire, PLAIN};
use std::collections::BTreeSet;
use std::net::TcpListener;

struct Fetching {
    torrent: Torrent,
    host: Host,
    peer: Peer,
    /// The seeders that it knows of.
    seeders: Vec<TcpListener>,
}

/// A peer that lacks all of a torrent of eight pieces and knows `count` seeders.
fn fetching(name: &str, count: usize) -> Fetching {
    let torrent = Torrent::single(name, 7 * PIECE + 5_000);
    let host = Host::with_torrent(&torrent);
    let bind = || TcpListener::bind((address(), 0)).unwrap();
    let seeders: Vec<TcpListener> = (0..count).map(|_| bind()).collect();
    let known: Vec<String> =
        seeders.iter().map(|s| format!("--peer={}", s.local_addr().unwrap())).collect();
    let mut options = vec!["--exit-when-complete"];
    options.extend(known.iter().map(String::as_str));
    let peer = host.start(&options);
    Fetching { torrent, host, peer, seeders }
}

impl Fetching {
    /// The connection to a seeder, hands shaken.
    fn accept(&self, seeder: usize) -> Wire {
        let (mut wire, _) = Wire::accept(&self.seeders[seeder..=seeder]);
        wire.expect_handshake(&self.torrent);
        wire.send(&handshake(PLAIN, self.torrent.info_hash, name()));
        wire
    }

    /// The same, and it has been told that everything is there.
    fn accept_interested(&self, seeder: usize) -> Wire {
        let mut wire = self.accept(seeder);
        wire.send(&message(wire::BITFIELD, &self.torrent.full_bitfield()));
        wire.next_of(wire::INTERESTED);
        wire
    }

    /// It ends by itself, with everything.
    fn expect_complete(mut self) -> Peer {
        let status = self.peer.wait_exit();
        assert_eq!(status.code(), Some(0), "{:#?}", self.peer.said(""));
        self.torrent.expect_content(&self.host.shareable());
        self.peer
    }
}

/// Every block of the torrent once.
fn every_block(torrent: &Torrent) -> BTreeSet<Asked> {
    let mut all = BTreeSet::new();
    for start in (0..torrent.content.len()).step_by(BLOCK) {
        let index = u32::try_from(start / PIECE).unwrap();
        let begin = u32::try_from(start % PIECE).unwrap();
        let length = u32::try_from(BLOCK.min(torrent.content.len() - start)).unwrap();
        all.insert(Asked { index, begin, length });
    }
    all
}

#[test]
fn requests_are_16_kib_many_ahead_and_each_block_once() {
    let fetching = fetching("ahead.bin", 1);
    let mut wire = fetching.accept_interested(0);
    // Somebody who has nothing hears of each piece.
    let mut other = Wire::join(fetching.host.addr, address(), &fetching.torrent, PLAIN);
    wire.send(&message(wire::UNCHOKE, &[]));
    let all = every_block(&fetching.torrent);
    // All of them come before the first is answered: a deep pipeline.
    let asked: Vec<Asked> = (0..all.len()).map(|_| wire.next_request()).collect();
    assert_eq!(asked.iter().copied().collect::<BTreeSet<_>>(), all);
    // Whole pieces before new ones, even if answered in the opposite order.
    let pieces: Vec<u32> = asked.iter().map(|a| a.index).collect();
    let mut runs = pieces.clone();
    runs.dedup();
    assert_eq!(runs.len(), fetching.torrent.piece_count(), "{pieces:?}");
    for &Asked { index, begin, length } in asked.iter().rev() {
        wire.send(&piece(index, begin, fetching.torrent.block(index, begin, length)));
    }
    assert!(!wire.try_next_of(wire::REQUEST), "a block was asked for twice");
    let count = fetching.torrent.piece_count();
    let told: BTreeSet<Vec<u8>> = (0..count).map(|_| other.next_of(wire::HAVE)).collect();
    assert_eq!(told.len(), count, "`have` for each piece, once");
    fetching.expect_complete();
}

#[test]
fn the_course_order_of_a_seeder_bitfield_after_interested() {
    let fetching = fetching("late.bin", 1);
    let mut wire = fetching.accept(0);
    // The seeder of the course says what it has only to those who are interested.
    wire.next_of(wire::INTERESTED);
    wire.send(&message(wire::UNCHOKE, &[]));
    wire.send(&message(wire::BITFIELD, &fetching.torrent.full_bitfield()));
    wire.serve(&fetching.torrent, |_| false);
    fetching.expect_complete();
}

#[test]
fn pieces_may_be_told_one_by_one() {
    let fetching = fetching("haves.bin", 1);
    let mut wire = fetching.accept(0);
    wire.send(&message(wire::UNCHOKE, &[]));
    for index in 0..u32::try_from(fetching.torrent.piece_count()).unwrap() {
        wire.send(&message(wire::HAVE, &index.to_be_bytes()));
    }
    wire.serve(&fetching.torrent, |_| false);
    fetching.expect_complete();
}

#[test]
fn unsolicited_blocks_are_refused() {
    let fetching = fetching("unasked.bin", 1);
    let mut wire = fetching.accept_interested(0);
    // Wrong bytes for the first block, and blocks that the torrent does not have.
    wire.send(&piece(0, 0, &[b'x'; BLOCK]));
    wire.send(&piece(999, 0, &[b'x'; 10]));
    wire.send(&piece(0, u32::MAX, &[b'x'; 10]));
    wire.send(&message(wire::UNCHOKE, &[]));
    let asked = wire.serve(&fetching.torrent, |_| false);
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), every_block(&fetching.torrent));
    let mut peer = fetching.expect_complete();
    assert_eq!(peer.said("does not match").len(), 0, "nothing of it was kept");
}

#[test]
fn one_byte_at_a_time_means_the_same() {
    let fetching = fetching("slow.bin", 1);
    let (mut wire, _) = Wire::accept(&fetching.seeders[..1]);
    wire.expect_handshake(&fetching.torrent);
    wire.send_slowly(&handshake(PLAIN, fetching.torrent.info_hash, name()));
    wire.send_slowly(&message(wire::BITFIELD, &fetching.torrent.full_bitfield()));
    wire.send_slowly(&message(wire::UNCHOKE, &[]));
    let Asked { index, begin, length } = wire.next_request();
    wire.send_slowly(&piece(index, begin, fetching.torrent.block(index, begin, length)));
    wire.serve(&fetching.torrent, |_| false);
    fetching.expect_complete();
}

#[test]
fn a_bad_piece_is_fetched_again_from_another_and_its_sender_is_banned() {
    let fetching = fetching("poison.bin", 2);
    let mut liar = fetching.accept_interested(0);
    let mut honest = fetching.accept_interested(1);
    liar.send(&message(wire::UNCHOKE, &[]));
    let first = liar.next_request();
    let lie = vec![b'x'; first.length as usize];
    liar.send(&piece(first.index, first.begin, &lie));
    liar.serve(&fetching.torrent, |served| served + 1 >= every_block(&fetching.torrent).len());
    honest.send(&message(wire::UNCHOKE, &[]));
    let asked = honest.serve(&fetching.torrent, |_| false);
    assert!(asked.iter().any(|a| a.index == first.index), "{first:?} in {asked:?}");
    let mut peer = fetching.expect_complete();
    assert_eq!(peer.said("does not match its hash").len(), 1);
    assert_eq!(peer.said("is banned").len(), 1);
}

#[test]
fn a_choke_in_the_middle_costs_no_block() {
    let fetching = fetching("choked.bin", 1);
    let mut wire = fetching.accept_interested(0);
    wire.send(&message(wire::UNCHOKE, &[]));
    let all = every_block(&fetching.torrent).len();
    wire.serve(&fetching.torrent, |served| served == 3);
    wire.send(&message(wire::CHOKE, &[]));
    wire.send(&message(wire::UNCHOKE, &[]));
    let asked = wire.serve(&fetching.torrent, |_| false);
    // What was asked before the choke is asked again; no answer to it is given here twice.
    assert!(asked.len() >= all - 3);
    fetching.expect_complete();
}

#[test]
fn a_seeder_that_hangs_up_is_dialed_again() {
    let fetching = fetching("lost.bin", 1);
    for served in [2, 5] {
        let mut wire = fetching.accept_interested(0);
        wire.send(&message(wire::UNCHOKE, &[]));
        wire.serve(&fetching.torrent, |n| n == served);
    }
    let mut wire = fetching.accept_interested(0);
    wire.send(&message(wire::UNCHOKE, &[]));
    wire.serve(&fetching.torrent, |_| false);
    let mut peer = fetching.expect_complete();
    assert_eq!(peer.said("all peers gone, waiting").len(), 2);
}

#[test]
fn a_reset_in_the_middle_of_a_block_is_told_as_one_and_costs_no_block() {
    let torrent = Torrent::single("reset.bin", 4 * PIECE);
    let host = Host::with_torrent(&torrent);
    let mut peer = host.start(&[]);
    let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
    wire.send(&message(wire::BITFIELD, &torrent.full_bitfield()));
    wire.send(&message(wire::UNCHOKE, &[]));
    let asked = wire.next_of(wire::REQUEST);
    let index = u32::from_be_bytes(asked[..4].try_into().unwrap());
    let begin = u32::from_be_bytes(asked[4..8].try_into().unwrap());
    wire.send(&piece(index, begin, &[0; 16 << 10])[..5_000]);
    wire.reset();
    peer.wait_for("disconnected: reset by peer");
    let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
    wire.send(&message(wire::BITFIELD, &torrent.full_bitfield()));
    wire.send(&message(wire::UNCHOKE, &[]));
    wire.serve(&torrent, |_| false);
    peer.wait_for("saved as");
    torrent.expect_content(&host.shareable());
    assert_eq!(peer.stop(), Some(0));
}
