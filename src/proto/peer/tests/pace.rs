//! The rates that the user has set, and when a torrent was given enough.

use super::*;
use crate::proto::output::Status;
use crate::proto::peer::goal::Goal;

const KIB: u64 = 1024;
const BLOCK: u64 = 16 * KIB;

/// A peer of this kind with all of 4 MiB or nothing of them.
fn bench(config: Config, complete: bool) -> Bench {
    let mut bench = Bench::new(4 * 1024 * KIB, 256 * 1024);
    let count = bench.geometry.piece_count();
    let have = if complete { Bitfield::full(count) } else { Bitfield::new(count) };
    bench.peer = Peer::new(config, 7, bench.now);
    bench.peer.add_swarm(bench.now, torrent(bench.geometry), start(have)).unwrap();
    if complete {
        bench.store.bytes = bench.truth.clone();
    }
    bench.drain();
    bench
}

/// Somebody who asks for these pieces, block by block.
fn asks(bench: &mut Bench, n: u8, pieces: impl Iterator<Item = u32>) -> ConnId {
    let mut then = bytes_of(&Message::Interested);
    for piece in pieces {
        for nth in 0..16 {
            let block = bench.geometry.block(piece, nth * 16_384, 16_384).unwrap();
            then.extend(bytes_of(&Message::Request(span_of(block))));
        }
    }
    bench.accept(n, [0; 8], &then)
}

/// Lets time pass as the loop does, from one date to the next, and does `then` after each.
fn pass(bench: &mut Bench, seconds: u64, mut then: impl FnMut(&mut Bench)) {
    let end = bench.now + Duration::from_secs(seconds);
    let mut turns = 0;
    while let Some(at) = bench.peer.poll_timeout().filter(|&at| at <= end) {
        bench.now = bench.now.max(at);
        bench.peer.handle_timeout(bench.now);
        bench.drain();
        then(bench);
        let next = bench.peer.poll_timeout();
        assert!(next.is_none_or(|next| next > bench.now), "it would spin at {at:?}");
        turns += 1;
    }
    assert!(turns <= 60 * seconds, "{turns} turns in {seconds} s");
    bench.now = end;
}

fn served(bench: &Bench, id: ConnId) -> u64 {
    bench.named_blocks(id).len() as u64 * BLOCK
}

#[test]
fn uploads_keep_the_rate_and_go_piece_by_piece() {
    let mut bench =
        bench(Config { max_up: Some(64 * KIB), upload_slots: Some(5), ..config() }, true);
    let ids: Vec<_> = (1..=5).map(|n| asks(&mut bench, n, 0..4)).collect();
    pass(&mut bench, 12, |_| {});
    let sums: Vec<u64> = ids.iter().map(|&id| served(&bench, id)).collect();
    let sum: u64 = sums.iter().sum();
    assert!(sum.abs_diff(12 * 64 * KIB) <= 2 * BLOCK, "{sum}");
    assert_eq!(sums.iter().filter(|&&sum| sum == 0).count(), 2, "two still wait: {sums:?}");
    pass(&mut bench, 80, |_| {});
    let all = 5 * 4 * 256 * KIB;
    assert_eq!(ids.iter().map(|&id| served(&bench, id)).sum::<u64>(), all);
}

#[test]
fn who_is_choked_while_the_rate_holds_it_back_is_served_again() {
    let mut bench = bench(Config { max_up: Some(16 * KIB), ..config() }, true);
    let id = asks(&mut bench, 1, 0..2);
    pass(&mut bench, 4, |_| {});
    let before = served(&bench, id);
    assert!(before.abs_diff(64 * KIB) <= BLOCK, "{before}");
    bench.receive(id, &bytes_of(&Message::NotInterested));
    let block = bench.geometry.block(9, 0, 16_384).unwrap();
    bench.peer.choke(bench.now, id);
    bench.drain();
    pass(&mut bench, 3, |_| {});
    assert_eq!(served(&bench, id), before, "choked");
    bench.receive(id, &bytes_of(&Message::Interested));
    bench.receive(id, &bytes_of(&Message::Request(span_of(block))));
    pass(&mut bench, 3, |_| {});
    assert_eq!(bench.named_blocks(id).last(), Some(&(9, 0)));
}

#[test]
fn downloads_keep_the_rate_and_ask_everybody() {
    let mut bench = bench(Config { max_down: Some(100 * KIB), ..config() }, false);
    let all: Vec<u32> = (0..16).collect();
    let ids: Vec<_> = (1..=3).map(|n| bench.serves(n, &all)).collect();
    let answer = |bench: &mut Bench| {
        for &id in &ids {
            let asked = bench.asked(id);
            let owed =
                bench.peer.connection(id).and_then(|conn| conn.peering()?.requests.len().into());
            let answered = owed.unwrap_or(0);
            for &block in &asked[asked.len() - answered..] {
                let bytes = bench.block(block);
                bench.receive(id, &bytes);
            }
        }
        bench.hash();
    };
    pass(&mut bench, 20, answer);
    let each: Vec<usize> = ids.iter().map(|&id| bench.asked(id).len()).collect();
    let sum = each.iter().sum::<usize>() as u64 * BLOCK;
    assert!(sum.abs_diff(20 * 100 * KIB) <= 2 * BLOCK, "{sum}");
    assert!(each.iter().all(|&blocks| blocks >= 30), "{each:?}");
    pass(&mut bench, 25, answer);
    assert!(bench.finished);
    let (next, now) = (bench.peer.poll_timeout(), bench.now);
    assert!(next.is_none_or(|next| next > now + Duration::from_millis(500)), "nothing to ask for");
}

fn status(bench: &mut Bench) -> Status {
    bench.peer.report(bench.now)[0].status
}

#[test]
fn a_torrent_is_given_so_many_times_and_no_more() {
    let goal = Goal { per_mille: Some(500), time: None };
    let mut bench = bench(Config { goal, ..config() }, true);
    assert!(!bench.peer.has_given_enough());
    let first = asks(&mut bench, 1, 0..7);
    pass(&mut bench, 3, |_| {});
    assert_eq!(status(&mut bench), Status::Seeder, "7 of 16 pieces are less than half");
    assert!(bench.is_open(first));
    let second = asks(&mut bench, 2, 0..1);
    pass(&mut bench, 3, |_| {});
    assert_eq!(status(&mut bench), Status::Seeder, "the last blocks may be on their way");
    bench.receive(second, &bytes_of(&Message::NotInterested));
    bench.receive(second, &bytes_of(&Message::Interested));
    assert_eq!(bench.messages(second).last(), Some(&(0, Vec::new())), "choked, and stays so");
    assert!(bench.is_open(first) && bench.is_open(second));
    pass(&mut bench, 4, |_| {});
    assert_eq!(status(&mut bench), Status::Paused);
    assert!(bench.peer.has_given_enough() && !bench.is_open(first) && !bench.is_open(second));
    assert!(bench.peer.resume(bench.now, bench.swarm), "the user wants it all the same");
    asks(&mut bench, 3, 0..2);
    pass(&mut bench, 3, |_| {});
    assert_eq!(status(&mut bench), Status::Seeder);
}

#[test]
fn a_torrent_is_given_for_so_long() {
    let goal = Goal { per_mille: None, time: Some(Duration::from_secs(90)) };
    let mut bench = bench(Config { goal, ..config() }, true);
    pass(&mut bench, 88, |_| {});
    assert_eq!(status(&mut bench), Status::Seeder);
    pass(&mut bench, 4, |_| {});
    assert_eq!(status(&mut bench), Status::Paused);
    assert!(bench.peer.has_given_enough());
}
