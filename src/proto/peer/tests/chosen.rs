//! Some pieces are wanted and the others are not (BEP 21).

use super::*;
use crate::proto::output::Status;
use crate::wire::extended;

const BLOCK: u32 = 16 * 1024;
const BITFIELD: u8 = 5;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const PIECE: u8 = 7;
const EXTENDED: u8 = 20;
const BEP10: [u8; 8] = [0, 0, 0, 0, 0, 0x10, 0, 4];

/// Four pieces of two blocks, of which 1 and 3 are wanted, and 3 is short.
fn bench() -> Bench {
    let mut bench = Bench::new(7 * u64::from(BLOCK), 2 * BLOCK);
    let geometry = bench.geometry;
    bench.peer = Peer::new(config(), 7, bench.now);
    let checking = Start { checking: true, ..start(Bitfield::new(4)) };
    bench.swarm = bench.peer.add_swarm(bench.now, torrent(geometry), checking).unwrap();
    let mut wanted = Bitfield::new(4);
    wanted.set(1);
    wanted.set(3);
    bench.peer.want_only(bench.swarm, wanted);
    bench.peer.handle_check_done(bench.now, bench.swarm);
    bench.drain();
    bench
}

fn report(bench: &mut Bench) -> (Status, u64, u64) {
    let report = bench.peer.report(bench.now).remove(0);
    (report.status, report.have, report.length)
}

fn count(bench: &Bench, conn: ConnId, message: u8) -> usize {
    bench.messages(conn).iter().filter(|(id, _)| *id == message).count()
}

/// All that was asked for comes and is verified.
fn answered(bench: &mut Bench, from: ConnId) {
    for block in bench.asked(from) {
        let bytes = bench.block(block);
        bench.receive(from, &bytes);
    }
    bench.hash();
}

#[test]
fn only_what_is_wanted_is_asked_for() {
    let mut bench = bench();
    assert_eq!(report(&mut bench), (Status::Waiting, 0, 3 * u64::from(BLOCK)));
    let none_of_it = bench.serves(1, &[0, 2]);
    assert_eq!(count(&bench, none_of_it, INTERESTED), 0);
    assert!(bench.is_open(none_of_it), "it may want something of us later");
    assert_eq!(report(&mut bench).0, Status::Leech);
    let all = bench.serves(2, &[0, 1, 2, 3]);
    assert_eq!(count(&bench, all, INTERESTED), 1);
    let mut asked: Vec<_> = bench.asked(all).iter().map(|b| (b.piece.get(), b.begin)).collect();
    asked.sort_unstable();
    assert_eq!(asked, [(1, 0), (1, BLOCK), (3, 0)]);
    // What fails is wanted again.
    let bad = bench.bad_block(bench.asked(all)[0]);
    bench.receive(all, &bad);
    answered(&mut bench, all);
    assert_eq!(bench.have().len(), 1);
    assert!(!bench.finished);
}

#[test]
fn with_all_that_is_wanted_it_is_a_partial_seed() {
    let mut bench = bench();
    let all = bench.serves(1, &[0, 1, 2, 3]);
    let leech = bench.accept(2, BEP10, &bytes_of(&Message::Interested));
    answered(&mut bench, all);
    assert_eq!(bench.have(), [1, 3]);
    assert_eq!(report(&mut bench), (Status::PartialSeed, 3 * 16384, 3 * 16384));
    assert!(bench.finished && bench.peer.is_complete());
    assert!(!bench.is_open(all), "it is a seeder, and we want nothing of it");
    assert_eq!(bench.peer.swarm(bench.swarm).unwrap().left(), 4 * u64::from(BLOCK));
    // Who wants something of ours stays, learns that we want nothing, and is served.
    assert!(bench.is_open(leech));
    let hellos = bench.messages(leech).into_iter().filter(|(id, _)| *id == EXTENDED);
    let hellos: Vec<_> =
        hellos.filter_map(|(_, body)| extended::Handshake::parse(&body[1..]).ok()).collect();
    let said: Vec<_> = hellos.iter().map(|hello| hello.upload_only).collect();
    assert_eq!(said, [false, true]);
    let mut request = vec![0, 0, 0, 13, 6];
    request.extend([3, 0, BLOCK].iter().flat_map(|n| n.to_be_bytes()));
    bench.receive(leech, &request);
    assert_eq!(count(&bench, leech, PIECE), 1);
    // One that has only what we do not want, and wants what we have, is not hung up on either.
    let other = bench.serves(3, &[0]);
    bench.wait(30);
    assert!(bench.is_open(other));
    assert_eq!(count(&bench, other, INTERESTED), 0);
    assert_eq!(bench.asked(other), []);
    // To a newcomer we say what we have: never that it is all.
    let fast = bench.accept(4, BEP10, &[]);
    assert_eq!(bench.messages(fast)[0], (BITFIELD, vec![0b0101_0000]));
}

#[test]
fn who_wants_no_more_says_so() {
    let mut bench = bench();
    let partial = bench.serves(1, &[1, 3]);
    answered(&mut bench, partial);
    assert_eq!(report(&mut bench).0, Status::PartialSeed);
    assert!(bench.is_open(partial), "a leecher with the same pieces");
    assert_eq!(count(&bench, partial, NOT_INTERESTED), 1);
}

#[test]
fn nothing_wanted_is_nothing_missing() {
    let mut bench = bench();
    bench.peer = Peer::new(config(), 7, bench.now);
    let checking = Start { checking: true, ..start(Bitfield::new(4)) };
    let torrent = torrent(bench.geometry);
    bench.swarm = bench.peer.add_swarm(bench.now, torrent, checking).unwrap();
    bench.peer.want_only(bench.swarm, Bitfield::new(4));
    bench.peer.handle_check_done(bench.now, bench.swarm);
    assert_eq!(report(&mut bench), (Status::PartialSeed, 0, 0));
}
