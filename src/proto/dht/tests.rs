//! A few nodes in virtual time; the thousand are in `tests/sim`.

use super::*;
use crate::wire::krpc::{Query, Response, Want, PROTOCOL};

/// Nodes that reach each other at once.
struct Net {
    now: Instant,
    nodes: Vec<(SocketAddr, Dht)>,
    events: Vec<Vec<Event>>,
}

const HASH: InfoHash = InfoHash([0x55; 20]);

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 5000 + u16::from(n)))
}

fn node(n: u8, now: Instant) -> Dht {
    let config = Config { secret: [n; 20], port: addr(n).port(), families: [true; 2] };
    Dht::new(config, None, now)
}

impl Net {
    fn new(count: u8) -> Self {
        let now = Instant::from_micros(1_000_000_000);
        let nodes: Vec<_> = (1..=count).map(|n| (addr(n), node(n, now))).collect();
        Self { now, events: vec![Vec::new(); nodes.len()], nodes }
    }

    /// Delivers until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut under_way = Vec::new();
            for (at, (from, dht)) in self.nodes.iter_mut().enumerate() {
                under_way.extend(core::iter::from_fn(|| dht.poll_transmit()).map(|t| (*from, t)));
                self.events[at].extend(core::iter::from_fn(|| dht.poll_event()));
            }
            if under_way.is_empty() {
                return;
            }
            for (from, (to, bytes)) in under_way {
                let to = self.nodes.iter_mut().find(|(addr, _)| *addr == to);
                if let Some((_, dht)) = to {
                    dht.handle_datagram(self.now, from, &bytes);
                }
            }
        }
    }

    /// Lets time pass, each node called when it wants to be.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        loop {
            let next = self.nodes.iter().filter_map(|(_, dht)| dht.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            assert!(next >= self.now || next == self.now, "a wake-up lies in the past");
            self.now = next.max(self.now);
            for (_, dht) in &mut self.nodes {
                dht.handle_timeout(self.now);
                assert!(dht.poll_timeout().is_none_or(|at| at > self.now), "it would spin");
            }
            self.settle();
        }
        self.now = end;
    }

    fn peers(&self, at: usize) -> Vec<SocketAddr> {
        let peers = self.events[at].iter().filter_map(|event| match event {
            Event::Peers(HASH, peers) => Some(peers.clone()),
            _ => None,
        });
        let mut peers: Vec<_> = peers.flatten().collect();
        peers.sort();
        peers.dedup();
        peers
    }
}

fn query(id: u8, query: Query<'_>) -> Vec<u8> {
    Message::new(b"tt", Body::Query(NodeId([id; 20]), query)).to_bytes()
}

/// What one stranger's datagram is answered with.
fn ask(net: &mut Net, from: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
    let dht = &mut net.nodes[0].1;
    dht.handle_datagram(net.now, from, bytes);
    core::iter::from_fn(|| dht.poll_transmit())
        .filter(|(to, _)| *to == from)
        .map(|(_, bytes)| bytes)
        .filter(|bytes| matches!(Message::parse(bytes), Ok(m) if m.transaction == b"tt"))
        .collect()
}

#[test]
fn a_node_that_knows_nobody_says_so() {
    let mut net = Net::new(1);
    let find = Query::FindNode { target: NodeId([1; 20]), want: Want::default() };
    let answer = &ask(&mut net, addr(9), &query(9, find))[0];
    assert!(answer.windows(9).any(|part| part == b"5:nodes0:"), "{}", answer.escape_ascii());
    let ping = &ask(&mut net, addr(9), &query(9, Query::Ping))[0];
    assert!(!ping.windows(5).any(|part| part == b"nodes"), "{}", ping.escape_ascii());
}

#[test]
fn two_nodes_find_each_other_and_both_peers() {
    let mut net = Net::new(2);
    let now = net.now;
    net.nodes[0].1.track(now, HASH);
    net.nodes[1].1.track(now, HASH);
    net.nodes[1].1.add_bootstrap(now, addr(1));
    net.run(Duration::from_secs(10));
    assert_eq!(net.nodes[0].1.node_count(), 1, "who asks is asked, and known once it answers");
    assert_eq!(net.peers(0), [addr(2)]);
    assert_eq!(net.peers(1), [addr(1)]);
    assert_eq!(net.nodes[0].1.external_ip(false), Some(addr(1).ip()));
    assert!(net.events[1].contains(&Event::Joined(1)));
}

#[test]
fn the_announce_is_there_at_once_though_a_node_is_gone() {
    let mut net = Net::new(3);
    net.nodes[2].1.add_bootstrap(net.now, addr(2));
    net.run(Duration::from_secs(10));
    net.nodes.pop();
    assert_eq!(net.nodes[1].1.node_count(), 1, "it names a node that is gone");
    net.nodes[0].1.add_bootstrap(net.now, addr(2));
    net.nodes[0].1.track(net.now, HASH);
    net.settle();
    assert_eq!(net.nodes[1].1.peers.get(net.now, HASH, false, 0), [addr(1)]);
    let get = query(7, Query::GetPeers { info_hash: HASH, want: Default::default() });
    let answers = ask(&mut net, addr(7), &get);
    assert!(matches!(Message::parse(&answers[0]).unwrap().body,
        Body::Response(response) if response.values == [addr(1)]));
    // Fewer than eight nodes know it: it looks again soon, though it has found somebody.
    net.nodes[1].1.track(net.now, HASH);
    net.run(Duration::from_secs(25));
    let searched = net.events[0].iter().filter(|e| matches!(e, Event::Searched { .. })).count();
    assert!(searched >= 3, "{searched}");
}

#[test]
fn everybody_finds_everybody_through_one() {
    let mut net = Net::new(30);
    let now = net.now;
    for (_, dht) in &mut net.nodes[1..] {
        dht.add_bootstrap(now, addr(1));
    }
    net.run(Duration::from_secs(60));
    net.nodes[4].1.track(net.now, HASH);
    net.run(Duration::from_secs(5));
    net.nodes[20].1.track(net.now, HASH);
    net.run(Duration::from_secs(5));
    assert_eq!(net.peers(20), [addr(5)]);
    net.run(Duration::from_secs(40));
    assert_eq!(net.peers(4), [addr(21)]);
    // Whoever is gone is forgotten after half an hour.
    net.nodes[4].1.untrack(HASH);
    net.run(Duration::from_secs(31 * 60));
    net.nodes[10].1.track(net.now, HASH);
    net.run(Duration::from_secs(5));
    assert_eq!(net.peers(10), [addr(21)]);
}

#[test]
fn a_lost_network_is_found_again() {
    let mut net = Net::new(5);
    let now = net.now;
    (1..5).for_each(|at| net.nodes[at].1.add_bootstrap(now, addr(1)));
    net.run(Duration::from_secs(30));
    let (gone, mut dht) = net.nodes.pop().unwrap();
    assert!(dht.node_count() >= 4);
    // For an hour nothing reaches it.
    let end = net.now + Duration::from_secs(3600);
    while let Some(at) = dht.poll_timeout().filter(|at| *at <= end) {
        dht.handle_timeout(at);
        while dht.poll_transmit().is_some() {}
    }
    assert_eq!(dht.node_count(), 0);
    net.run(Duration::from_secs(3600));
    net.nodes.push((gone, dht));
    net.run(Duration::from_secs(65));
    assert!(net.nodes[4].1.node_count() >= 1, "a minute after its return");
    net.run(Duration::from_secs(600));
    assert_eq!(net.nodes[4].1.node_count(), 4);
}

#[test]
fn an_island_finds_the_others_again() {
    let mut net = Net::new(4);
    let now = net.now;
    // The second asks the first in vain, and is found by the third before it asks again.
    let (first, dht) = net.nodes.remove(0);
    net.nodes[0].1.add_bootstrap(now, first);
    net.nodes[1].1.add_bootstrap(now, addr(2));
    net.run(Duration::from_millis(500));
    assert_eq!(net.nodes[0].1.node_count(), 1);
    net.nodes.insert(0, (first, dht));
    net.events.push(Vec::new());
    net.run(Duration::from_secs(60));
    assert_eq!(net.nodes[2].1.node_count(), 2);
}

#[test]
fn a_saved_table_is_enough_to_begin_with() {
    let mut net = Net::new(10);
    let now = net.now;
    (1..10).for_each(|at| net.nodes[at].1.add_bootstrap(now, addr(1)));
    net.run(Duration::from_secs(60));
    let saved = net.nodes[7].1.snapshot().unwrap();
    assert!(saved.nodes.len() >= 8);
    let id = net.nodes[7].1.id(false);
    let config = Config { secret: [99; 20], port: 1, families: [true, false] };
    net.nodes[7].1 = Dht::new(config, Some(saved), net.now);
    assert_eq!(net.nodes[7].1.id(false), id);
    assert_eq!(net.nodes[7].1.node_count(), 0, "nobody is believed to be there still");
    net.run(Duration::from_secs(5));
    assert!(net.nodes[7].1.node_count() >= 8);
    assert_eq!(node(1, now).snapshot(), None);
}

#[test]
fn an_answer_counts_only_from_the_asked_and_with_its_transaction() {
    let mut net = Net::new(1);
    let now = net.now;
    let dht = &mut net.nodes[0].1;
    dht.add_contact(now, addr(9));
    let (to, bytes) = dht.poll_transmit().unwrap();
    assert_eq!(to, addr(9));
    let asked = Message::parse(&bytes).unwrap();
    assert_eq!(asked.transaction.len(), 4);
    let answer = |transaction: &[u8]| {
        let body = Body::Response(Response::new(NodeId([9; 20])));
        Message::new(transaction, body).to_bytes()
    };
    dht.handle_datagram(now, addr(8), &answer(asked.transaction));
    dht.handle_datagram(now, addr(9), &answer(&[0; 4]));
    dht.handle_datagram(now, addr(9), &answer(b""));
    assert_eq!(dht.node_count(), 0);
    dht.handle_datagram(now, addr(9), &answer(asked.transaction));
    assert_eq!(dht.node_count(), 1);
}

#[test]
fn announces_need_the_token_of_their_address() {
    let mut net = Net::new(1);
    let get = query(7, Query::GetPeers { info_hash: HASH, want: Default::default() });
    let answers = ask(&mut net, addr(7), &get);
    let token = match Message::parse(&answers[0]).unwrap().body {
        Body::Response(response) => response.token.unwrap().to_vec(),
        other => panic!("{other:?}"),
    };
    let announce = |port, implied_port, token: &[u8]| {
        query(7, Query::AnnouncePeer { info_hash: HASH, implied_port, port, token })
    };
    for (from, bytes) in
        [(addr(8), announce(1, false, &token)), (addr(7), announce(1, false, b"x"))]
    {
        let answers = ask(&mut net, from, &bytes);
        let message = Message::parse(&answers[0]).unwrap();
        assert_eq!(message.body, Body::Error(PROTOCOL, b"bad token"));
    }
    assert_eq!(ask(&mut net, addr(7), &announce(6881, false, &token)).len(), 1);
    assert_eq!(ask(&mut net, addr(7), &announce(0, true, &token)).len(), 1);
    let answers = ask(&mut net, addr(8), &get);
    match Message::parse(&answers[0]).unwrap() {
        Message { body: Body::Response(response), your_addr, .. } => {
            assert_eq!(your_addr, Some(addr(8)));
            let mut values = response.values;
            values.sort();
            assert_eq!(
                values,
                ["10.0.0.7:5007".parse().unwrap(), "10.0.0.7:6881".parse().unwrap()]
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_queries_get_their_error_and_noise_gets_nothing() {
    let mut net = Net::new(1);
    let unknown = b"d1:ad2:id20:abcdefghij0123456789e1:q4:vote1:t2:tt1:y1:qe";
    assert!(ask(&mut net, addr(7), unknown)[0].starts_with(b"d1:eli204e"));
    let malformed = b"d1:ade1:q4:ping1:t2:tt1:y1:qe";
    assert!(ask(&mut net, addr(7), malformed)[0].starts_with(b"d1:eli203e"));
    assert!(ask(&mut net, addr(7), b"d").is_empty());
    assert!(ask(&mut net, addr(7), b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:tt1:y1:re").is_empty());
    assert!(ask(&mut net, SocketAddr::from(([10, 0, 0, 7], 0)), malformed).is_empty());
}

#[test]
fn who_answers_nothing_is_not_listed() {
    let mut net = Net::new(1);
    let mut ping = Message::new(b"tt", Body::Query(NodeId([7; 20]), Query::Ping));
    ping.read_only = true;
    let (now, dht) = (net.now, &mut net.nodes[0].1);
    dht.handle_datagram(now, addr(7), &ping.to_bytes());
    let (_, answer) = dht.poll_transmit().unwrap();
    assert!(matches!(Message::parse(&answer).unwrap().body, Body::Response(_)));
    assert_eq!(dht.poll_transmit(), None, "BEP 43: it is not asked back");
    ping.read_only = false;
    dht.handle_datagram(now, addr(7), &ping.to_bytes());
    assert_eq!(core::iter::from_fn(|| dht.poll_transmit()).count(), 2);
    assert_eq!(dht.node_count(), 0, "nor is anybody before the answer");
}

#[test]
fn our_id_follows_the_address_that_others_see() {
    let now = Instant::from_micros(1);
    let mut dht = node(1, now);
    let ours: IpAddr = "124.31.75.21".parse().unwrap();
    for n in 1..=5 {
        let from = SocketAddr::from(([198, 51, 100, n], 1));
        dht.add_contact(now, from);
        assert!(!secure::is_verified(dht.id(false), ours));
        let asked: Vec<_> = core::iter::from_fn(|| dht.poll_transmit()).collect();
        let (_, bytes) = asked.iter().find(|(to, _)| *to == from).unwrap();
        let transaction = Message::parse(bytes).unwrap().transaction.to_vec();
        let body = Body::Response(Response::new(NodeId([n; 20])));
        let mut answer = Message::new(&transaction, body);
        answer.your_addr = Some(SocketAddr::new(ours, 7));
        dht.handle_datagram(now, from, &answer.to_bytes());
    }
    assert!(secure::is_verified(dht.id(false), ours));
    assert_eq!(dht.node_count(), 5, "the nodes have found their new places");
}

#[test]
fn ipv6_is_a_network_of_its_own() {
    let mut net = Net::new(3);
    let v6 = |n: u16| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 5000));
    for (at, (addr, _)) in net.nodes.iter_mut().enumerate() {
        *addr = v6(u16::try_from(at).unwrap() + 1);
    }
    let now = net.now;
    net.nodes[1].1.add_bootstrap(now, v6(1));
    net.nodes[2].1.add_bootstrap(now, v6(1));
    (0..3).for_each(|at| net.nodes[at].1.track(now, HASH));
    net.run(Duration::from_secs(90));
    for at in 0..3 {
        assert_eq!(net.nodes[at].1.overlays[1].table.usable(), 2);
        assert_eq!(net.nodes[at].1.overlays[0].table.usable(), 0);
        assert_eq!(net.peers(at).len(), 2);
    }
}

#[test]
fn an_outsider_sends_nobody_into_our_network() {
    let now = Instant::from_micros(1);
    let mut dht = node(1, now);
    dht.track(now, HASH);
    let public = SocketAddr::from(([198, 51, 100, 1], 1));
    dht.add_contact(now, public);
    let mut answered = 0;
    while let Some((to, bytes)) = dht.poll_transmit() {
        assert_eq!(to, public);
        let asked = Message::parse(&bytes).unwrap();
        let mut nodes = Vec::new();
        crate::wire::krpc::push_node(&mut nodes, NodeId([0x54; 20]), addr(7));
        let response = Response {
            nodes: crate::wire::krpc::Nodes(&nodes),
            token: Some(b"t"),
            values: vec![addr(8), SocketAddr::from(([198, 51, 100, 8], 8))],
            ..Response::new(NodeId([9; 20]))
        };
        let answer = Message::new(asked.transaction, Body::Response(response)).to_bytes();
        dht.handle_datagram(now, public, &answer);
        answered += 1;
    }
    assert!(answered >= 3);
    let told = core::iter::from_fn(|| dht.poll_event()).find(|e| matches!(e, Event::Peers(..)));
    assert_eq!(told, Some(Event::Peers(HASH, vec![SocketAddr::from(([198, 51, 100, 8], 8))])));
}

#[test]
fn a_flood_is_not_answered_and_leaves_no_trace() {
    let mut net = Net::new(1);
    let mut answers = 0;
    for n in 0..5_000_u32 {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let bytes = Message::new(b"tt", Body::Query(NodeId(id), Query::Ping)).to_bytes();
        let source = SocketAddr::from(([10, 0, 0, 7], 1 + u16::try_from(n % 60_000).unwrap()));
        answers += ask(&mut net, source, &bytes).len();
    }
    assert!(answers <= 100, "{answers}");
    let dht = &net.nodes[0].1;
    assert!(dht.pending.len() <= PENDING_MAX);
    assert_eq!(dht.node_count(), 0);
}

#[test]
fn every_search_has_its_turn() {
    let mut net = Net::new(2);
    let now = net.now;
    net.nodes[1].1.add_bootstrap(now, addr(1));
    for n in 0..200_u8 {
        net.nodes[0].1.track(now, InfoHash([n; 20]));
    }
    net.run(Duration::from_secs(30));
    let searched = net.events[0].iter().filter(|e| matches!(e, Event::Searched { .. })).count();
    assert!(searched >= 200, "{searched}");
    net.nodes[0].1.want_peers(net.now, InfoHash([7; 20]));
    assert!(net.nodes[0].1.lookups.len() <= LOOKUPS_MAX);
}
