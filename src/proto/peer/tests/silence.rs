//! Who is silent costs at its own times, and at no other.

use super::{bytes_of, Bench};
use crate::units::limits::{KEEP_ALIVE_AFTER, SILENCE_MAX};
use crate::units::time::{Duration, Instant};
use crate::wire::message::Message;

const PEERS: u8 = 90;

/// Lets time pass until `end`, as the loop does: from one date to the next. How often it woke, and
/// the most keep-alives that went out in one turn.
fn sleep_until(bench: &mut Bench, end: Instant) -> (usize, usize) {
    let (mut turns, mut most) = (0, 0);
    while let Some(at) = bench.peer.poll_timeout().filter(|&at| at <= end) {
        bench.now = bench.now.max(at);
        let before: usize = bench.sent.values().map(Vec::len).sum();
        bench.peer.handle_timeout(bench.now);
        assert!(bench.peer.poll_timeout().is_none_or(|next| next > bench.now), "a loop at {at:?}");
        bench.drain();
        let after: usize = bench.sent.values().map(Vec::len).sum();
        most = most.max(after.saturating_sub(before) / 4);
        turns += 1;
    }
    bench.now = end;
    (turns, most)
}

#[test]
fn the_loop_sleeps_while_everybody_is_silent() {
    let mut bench = Bench::new(100_000, 32_768);
    let began = bench.now;
    let ids: Vec<_> = (0..PEERS).map(|n| bench.accept(n, [0; 8], &[])).collect();
    sleep_until(&mut bench, began + Duration::from_secs(3));
    let said: Vec<usize> = ids.iter().map(|id| bench.sent[id].len()).collect();
    let (turns, _) = sleep_until(&mut bench, began + Duration::from_secs(93));
    assert!(turns <= 6, "{turns} turns in 90 seconds");
    let again: Vec<usize> = ids.iter().map(|id| bench.sent[id].len()).collect();
    assert_eq!(said, again, "nothing is to be said yet");
    let (turns, most) = sleep_until(&mut bench, began + KEEP_ALIVE_AFTER + Duration::from_secs(4));
    assert!(turns <= 25 && most <= 10, "{turns} turns, {most} keep-alives in one of them");
    for (id, before) in ids.iter().zip(said) {
        assert_eq!(bench.sent[id][before..], [0; 4], "a keep-alive each");
    }
    // One that says something stays.
    bench.receive(ids[7], &[0; 4]);
    sleep_until(&mut bench, began + SILENCE_MAX + Duration::from_secs(2));
    let open: Vec<_> = ids.iter().filter(|&&id| bench.is_open(id)).collect();
    assert_eq!(open, [&ids[7]]);
    assert_eq!(bench.peer.timers.next(), bench.peer.connection(ids[7]).unwrap().look_at);
}

#[test]
fn one_that_we_ask_is_looked_at_every_second() {
    let mut bench = Bench::new(100_000, 32_768);
    let began = bench.now;
    let silent: Vec<_> = (1..PEERS).map(|n| bench.accept(n, [0; 8], &[])).collect();
    let id = bench.accept(0, [0; 8], &bytes_of(&Message::Bitfield(&[0xf0])));
    bench.receive(id, &bytes_of(&Message::Unchoke));
    assert!(!bench.asked(id).is_empty());
    let (turns, _) = sleep_until(&mut bench, began + Duration::from_secs(59));
    assert!((57..=61).contains(&turns), "{turns} turns in a minute");
    assert!(!bench.peer.connection(id).unwrap().peering().unwrap().snubbed);
    sleep_until(&mut bench, began + Duration::from_secs(63));
    assert!(bench.peer.connection(id).unwrap().peering().unwrap().snubbed);
    assert!(silent.iter().all(|&id| bench.is_open(id)));
}
