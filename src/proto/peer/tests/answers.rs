//! What we say to a message, and how much of it.

use super::{bytes_of, Bench};
use crate::units::limits::{OUTBOX_BYTES_MAX, REQUESTS_OUT_START};
use crate::wire::message::{Message, Span};

const FAST: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 4];

#[test]
fn who_makes_us_answer_and_never_reads_is_left() {
    let mut bench = Bench::new(100_000, 32_768);
    let id = bench.accept(1, [0; 8], &[]);
    let both = [bytes_of(&Message::Interested), bytes_of(&Message::NotInterested)].concat();
    // An unchoke and a choke for each two messages, which are as long.
    let unsent = vec![0; OUTBOX_BYTES_MAX - 2 * both.len()];
    bench.peer.connection(id).unwrap().outgoing.push_bytes(&unsent);
    for _ in 0..2 {
        bench.peer.handle_received(bench.now, id, &both, &mut bench.store);
        assert!(bench.peer.connection(id).is_some());
    }
    bench.peer.handle_received(bench.now, id, &both, &mut bench.store);
    assert!(bench.peer.connection(id).is_none());
}

#[test]
fn interested_is_always_answered() {
    let mut bench = Bench::new(100_000, 32_768);
    let id = bench.accept(1, [0; 8], &bytes_of(&Message::Interested).repeat(2));
    assert_eq!(bench.messages(id), [(1, vec![]), (1, vec![])], "unchoke, and so it stays");
}

#[test]
fn who_becomes_complete_may_say_have_all() {
    // As aria2 does it: a bitfield, or `have all`, in the place of many `have`.
    for late in [Message::Bitfield(&[0b1110_0000]), Message::HaveAll] {
        let mut bench = Bench::new(3 * 32_768, 32_768);
        let id = bench.accept(1, FAST, &bytes_of(&Message::HaveNone));
        bench.receive(id, &bytes_of(&Message::Have(1)));
        bench.receive(id, &[bytes_of(&late), bytes_of(&Message::Unchoke)].concat());
        let asked: Vec<u32> = bench.asked(id).iter().map(|block| block.piece.get()).collect();
        assert!((0..3).all(|piece| asked.contains(&piece)), "{late}: {asked:?}");
    }
    let mut bench = Bench::new(3 * 32_768, 32_768);
    let id = bench.accept(1, FAST, &bytes_of(&Message::HaveAll));
    assert!(bench.peer.connection(id).is_some());
    bench.receive(id, &bytes_of(&Message::HaveNone));
    assert!(bench.peer.connection(id).is_none(), "nobody loses all at once");
}

#[test]
fn a_peer_that_rejects_everything_is_asked_once_a_second() {
    let mut bench = Bench::new(10 * 32_768, 32_768);
    let all = [bytes_of(&Message::HaveAll), bytes_of(&Message::Unchoke)].concat();
    let id = bench.accept(1, FAST, &all);
    let mut rejected = 0;
    for seconds in 1..5 {
        for _ in 0..10 {
            let asked = bench.asked(id);
            for block in asked.get(rejected..).unwrap_or(&[]) {
                let span =
                    Span { index: block.piece.get(), begin: block.begin, length: block.length };
                bench.receive(id, &bytes_of(&Message::Reject(span)));
            }
            rejected = asked.len();
        }
        assert_eq!(rejected, seconds * REQUESTS_OUT_START);
        bench.wait(1);
    }
    // A block is a sign of good will.
    let asked = bench.asked(id);
    let bytes = bench.block(asked[rejected]);
    let last = asked[rejected + 1];
    let span = Span { index: last.piece.get(), begin: last.begin, length: last.length };
    bench.receive(id, &bytes_of(&Message::Reject(span)));
    assert_eq!(bench.asked(id).len(), asked.len());
    bench.receive(id, &bytes);
    let sent = bench.block(asked[rejected + 2]);
    bench.receive(id, &sent);
    assert!(bench.asked(id).len() >= asked.len());
}
