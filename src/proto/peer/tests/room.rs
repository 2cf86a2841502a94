//! Who goes where there is no room for all.

use super::{addr, bytes_of, Bench, HASH};
use crate::proto::peer::Config;
use crate::proto::priority::priority;
use crate::units::limits::{EARLY_BYTES_MAX, INBOUND_SPARE, PIECES_MAX};
use crate::wire::magnet::Magnet;
use crate::wire::message::Message;
use core::net::SocketAddr;

const LOCAL: ([u8; 4], u16) = ([10, 0, 0, 99], 5000);

fn worth(n: u8) -> u32 {
    let port = Config::default().listen_port;
    priority(SocketAddr::from((LOCAL.0, port)), addr(n))
}

#[test]
fn of_those_who_dial_us_the_lowest_priority_goes() {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.config.max_inbound = 3;
    let mut all: Vec<(u8, _)> = Vec::new();
    for n in 1..=12 {
        all.push((n, bench.accept(n, [0; 8], &[])));
        let mut ranked: Vec<u8> = (1..=n).collect();
        ranked.sort_by_key(|&n| core::cmp::Reverse(worth(n)));
        ranked.truncate(3);
        ranked.sort_unstable();
        let open = all.iter().filter(|(_, id)| bench.is_open(*id)).map(|(n, _)| *n);
        assert_eq!(open.collect::<Vec<_>>(), ranked, "after {n}");
    }
}

#[test]
fn nobody_alone_takes_all_the_room() {
    // Whatever the priorities are.
    for other in 2..12 {
        let mut bench = Bench::new(100_000, 32_768);
        bench.peer.config.max_inbound = 3;
        let from = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let crowd = (100..103).map(|n| bench.accept_from(from(n.into()), n, [0; 8], &[]));
        let crowd: Vec<_> = crowd.collect();
        let end = bench.accept(other, [0; 8], &[]);
        assert!(bench.is_open(end), "host {other}");
        assert_eq!(crowd.iter().filter(|id| bench.is_open(**id)).count(), 2, "host {other}");
        (103..110).for_each(|n| {
            bench.accept_from(from(n.into()), n, [0; 8], &[]);
        });
        assert!(bench.is_open(end), "host {other}");
        assert_eq!(bench.peer.swarms[&bench.swarm].members.len(), 3);
    }
}

#[test]
fn nobody_alone_keeps_others_from_the_door() {
    let mut bench = Bench::new(100_000, 32_768);
    let most = bench.peer.config.max_inbound + INBOUND_SPARE;
    let mut knock = |n| bench.peer.handle_accepted(bench.now, addr(n), SocketAddr::from(LOCAL));
    let crowd: Vec<_> = (0..most).map(|_| knock(1).unwrap()).collect();
    assert_eq!(knock(1), None);
    let other = knock(2).unwrap();
    assert!(bench.peer.connection(crowd[0]).is_none(), "the oldest goes");
    assert!(bench.peer.connection(crowd[1]).is_some() && bench.peer.connection(other).is_some());
    assert_eq!(bench.peer.inbound, most);
}

#[test]
fn some_may_knock_beyond_that() {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.config.max_inbound = 3;
    let mut knock = |n| bench.peer.handle_accepted(bench.now, addr(n), SocketAddr::from(LOCAL));
    let room = 3 + u8::try_from(INBOUND_SPARE).unwrap();
    assert!((1..=room).all(|n| knock(n).is_some()));
    assert_eq!(knock(room + 1), None);
}

#[test]
fn bitfields_of_a_magnet_link_are_bounded_together() {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.remove_swarm(bench.now, bench.swarm);
    let magnet = Magnet::parse(&format!("magnet:?xt=urn:btih:{HASH}")).unwrap();
    bench.swarm = bench.peer.add_magnet(bench.now, &magnet).unwrap();
    bench.drain();
    let honest = bench.accept(1, [0; 8], &bytes_of(&Message::Bitfield(&[0xff; 200])));
    let huge = vec![0xff; PIECES_MAX as usize / 8];
    // Half of them never end their message.
    let said = bytes_of(&Message::Bitfield(&huge));
    let liars: Vec<_> = (2..42)
        .map(|n| {
            let cut = said.len() - usize::from(n % 2);
            bench.accept(n, [0; 8], &said[..cut])
        })
        .collect();
    let kept: usize =
        bench.peer.connections.iter().map(|c| c.peering().unwrap().early_bytes()).sum();
    assert!(kept <= EARLY_BYTES_MAX, "{kept}");
    assert!(bench.is_open(honest), "who says little stays");
    assert!(liars.iter().filter(|id| bench.is_open(**id)).count() >= 4);
}
