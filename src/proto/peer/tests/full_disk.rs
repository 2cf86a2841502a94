//! A disk that takes nothing for a while: the download waits, loses nothing, and goes on by itself.

use super::*;
use crate::proto::output::Status;
use proptest::prelude::*;

const BLOCK: u32 = 16 * 1024;
const CANCEL: u8 = 8;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const PIECE: u8 = 7;

/// Four pieces of two blocks, of which a peer is asked.
fn asked() -> (Bench, ConnId, Vec<Block>) {
    let mut bench = Bench::new(8 * u64::from(BLOCK), 2 * BLOCK);
    let seeder = bench.serves(1, &[0, 1, 2, 3]);
    let asked = bench.asked(seeder);
    assert_eq!(asked.len(), 8);
    (bench, seeder, asked)
}

fn status(bench: &mut Bench) -> Status {
    bench.peer.report(bench.now)[0].status
}

fn count(bench: &Bench, conn: ConnId, message: u8) -> usize {
    bench.messages(conn).iter().filter(|(id, _)| *id == message).count()
}

/// The disk is tried, as the loop would.
fn try_again(bench: &mut Bench) {
    let block = bench.tries.take().expect("the disk is tried again");
    let (offset, zeros) = (bench.geometry.block_offset(block), vec![0; block.length as usize]);
    let outcome = bench.store.write(bench.swarm, offset, &zeros);
    bench.peer.handle_tried(bench.now, bench.swarm, outcome);
    bench.drain();
}

#[test]
fn the_download_waits_and_goes_on() {
    let (mut bench, seeder, asked) = asked();
    for &block in &asked[..2] {
        let bytes = bench.block(block);
        bench.receive(seeder, &bytes);
    }
    bench.hash();
    let first = bench.have();
    assert_eq!(first.len(), 1, "one piece is there");

    bench.store.room = Some(1);
    let bytes = [bench.block(asked[2]), bench.block(asked[3]), bench.block(asked[4])].concat();
    bench.receive(seeder, &bytes[..bytes.len() - 5000]);
    assert_eq!(status(&mut bench), Status::Stalled);
    assert!(bench.is_open(seeder), "a full disk is no reason to hang up");
    assert!(bench.verify.is_empty(), "a piece that is not all there is not verified");
    assert_eq!(count(&bench, seeder, CANCEL), 3, "what has not begun to come is cancelled");
    assert_eq!(count(&bench, seeder, NOT_INTERESTED), 1);
    let progress = bench.peer.progress(bench.swarm).unwrap();
    assert_eq!((progress.have.count(), progress.partials.len()), (1, 0));

    // What comes all the same has no place; what is there is served.
    let rest = [&bytes[bytes.len() - 5000..], &bench.block(asked[5])[..]].concat();
    bench.receive(seeder, &rest);
    let leech = bench.accept(2, [0; 8], &bytes_of(&Message::Interested));
    let mut request = vec![0, 0, 0, 13, 6];
    request.extend([first[0], 0, BLOCK].iter().flat_map(|n| n.to_be_bytes()));
    bench.receive(leech, &request);
    assert_eq!(count(&bench, leech, PIECE), 1);

    // Not before its time, and still full.
    bench.wait(9);
    assert_eq!(bench.tries, None);
    bench.wait(1);
    try_again(&mut bench);
    assert_eq!(status(&mut bench), Status::Stalled);
    bench.store.room = None;
    bench.wait(10);
    try_again(&mut bench);
    assert_eq!(status(&mut bench), Status::Peer);
    assert_eq!(count(&bench, seeder, INTERESTED), 2);
    // All that is missing is asked for again, as fast as it comes.
    let mut answered = 8;
    while let Some(&block) = bench.asked(seeder).get(answered) {
        answered += 1;
        let bytes = bench.block(block);
        bench.receive(seeder, &bytes);
    }
    assert_eq!(answered, 8 + 6);
    bench.hash();
    assert!(bench.finished);
    assert_eq!(bench.store.bytes, bench.truth);
}

#[test]
fn an_error_that_stays_ends_the_torrent() {
    let (mut bench, seeder, asked) = asked();
    bench.store.room = Some(0);
    let bytes = bench.block(asked[0]);
    bench.receive(seeder, &bytes);
    bench.wait(10);
    let info_hash = bench.peer.swarms[&bench.swarm].torrent.info_hash;
    assert_eq!(bench.peer.tracker.counts(&info_hash), (0, 1, 0), "we, who lack some");
    let error = StoreError::new("read-only file system");
    bench.peer.handle_tried(bench.now, bench.swarm, Err(error));
    bench.drain();
    assert_eq!(status(&mut bench), Status::Failed);
    assert!(!bench.is_open(seeder));
    assert_eq!(bench.peer.tracker.counts(&info_hash), (0, 0, 0), "nobody is sent to us any more");
    bench.wait(20);
    assert!(bench.tries.is_some(), "the try before the error");
}

#[test]
fn a_peer_that_ends_with_the_blocks_it_sent_last() {
    let (mut bench, seeder, asked) = asked();
    bench.store.room = Some(0);
    // A block, and a message that is no message.
    let bytes = [bench.block(asked[0]), vec![0, 0, 0, 9, 0, 0, 0, 0, 0]].concat();
    bench.receive(seeder, &bytes);
    assert!(!bench.is_open(seeder));
    assert_eq!(status(&mut bench), Status::Stalled);
    assert_eq!(bench.peer.progress(bench.swarm).unwrap().partials.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two peers send in any parts while the disk fills and empties: all is right in the end.
    #[test]
    fn nothing_is_lost(
        rooms in proptest::collection::vec(0..12_usize, 1..6),
        part in 1_000..90_000_usize,
    ) {
        let mut bench = Bench::new(12 * u64::from(BLOCK) + 77, 2 * BLOCK);
        let conns = [bench.serves(1, &[0, 1, 2, 3, 4, 5]), bench.serves(2, &[0, 1, 2, 3, 4, 5, 6])];
        let mut answered = [0, 0];
        let mut rooms = rooms.into_iter();
        for _ in 0..200 {
            if bench.finished {
                break;
            }
            bench.store.room = rooms.next();
            for (n, conn) in conns.into_iter().enumerate() {
                if !bench.is_open(conn) {
                    continue; // A seeder, and the last piece came from the other one.
                }
                let asked = bench.asked(conn);
                let blocks: Vec<u8> =
                    asked[answered[n]..].iter().flat_map(|&b| bench.block(b)).collect();
                answered[n] = asked.len();
                for part in blocks.chunks(part) {
                    bench.receive(conn, part);
                }
                bench.receive(conn, &[0; 4]);
                bench.hash();
            }
            bench.wait(10);
            if bench.tries.is_some() {
                try_again(&mut bench);
            }
        }
        prop_assert!(bench.finished, "has {:?}", bench.have());
        prop_assert!(bench.store.bytes == bench.truth);
    }
}
