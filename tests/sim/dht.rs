//! The DHT in virtual time: a thousand nodes (a hundred without optimisation), of which some die,
//! some lie and some flood, while strangers forge answers. Prints its figures:
//! `cargo test --release --test sim dht -- --nocapture`.

use reactor_peer::proto::dht::secure::is_verified;
use reactor_peer::proto::dht::{Config, Dht, Event};
use reactor_peer::units::id::{InfoHash, NodeId};
use reactor_peer::units::rng::Rng;
use reactor_peer::units::time::{Duration, Instant};
use reactor_peer::wire::address::is_lan;
use reactor_peer::wire::krpc::{push_node, Body, Message, Nodes, Query, Response};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

const PORT: u16 = 6881;
/// Datagrams that the network loses, of a thousand.
const LOST_PER_MILLE: u64 = 10;

fn nodes() -> usize {
    let default = if cfg!(debug_assertions) { 100 } else { 1_000 };
    super::number("DHT_NODES").map_or(default, |n| usize::try_from(n).unwrap())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Honest,
    Dead,
    /// Answers every question with eight nodes that do not exist, nearer than any that does.
    Liar,
}

struct Node {
    addr: SocketAddr,
    dht: Dht,
    kind: Kind,
    wakes_at: Option<Instant>,
    events: Vec<(Instant, Event)>,
    bytes_sent: u64,
}

enum Happening {
    Datagram { from: SocketAddr, to: usize, bytes: Vec<u8> },
    Wake(usize),
}

struct World {
    now: Instant,
    rng: Rng,
    nodes: Vec<Node>,
    by_addr: BTreeMap<SocketAddr, usize>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next: u64,
    /// Forged answers for each question under way.
    forged_each: u64,
    forged: u64,
    delivered: u64,
}

/// An address of the open internet, a different one for each `n`.
fn addr(n: usize) -> SocketAddr {
    let [_, b, c, d] = u32::try_from(n).unwrap().wrapping_mul(7919).to_be_bytes();
    let addr = SocketAddr::from(([130 + b % 30, b, c, d], PORT));
    // A node on loopback or on a LAN is named to nobody outside, so nobody would find it.
    assert!(!is_lan(addr.ip()));
    addr
}

fn hash(n: u64) -> InfoHash {
    let mut bytes = [0; 20];
    Rng::new(n).fill(&mut bytes);
    InfoHash(bytes)
}

/// An address where nobody is, for lies.
fn nowhere(rng: &mut Rng) -> SocketAddr {
    let [a, b, c, _] = u32::try_from(rng.below(1 << 32)).unwrap().to_be_bytes();
    SocketAddr::from(([203, a, b, c], 1))
}

impl World {
    fn new(count: usize, seed: u64) -> Self {
        let mut world = Self {
            now: Instant::from_micros(1_000_000),
            rng: Rng::new(seed),
            nodes: Vec::new(),
            by_addr: BTreeMap::new(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next: 0,
            forged_each: 0,
            forged: 0,
            delivered: 0,
        };
        for n in 0..count {
            let mut secret = [0; 20];
            world.rng.fill(&mut secret);
            let config = Config { secret, port: PORT, families: [true, false] };
            let (addr, dht) = (addr(n), Dht::new(config, None, world.now));
            assert_eq!(world.by_addr.insert(addr, n), None);
            let (kind, events) = (Kind::Honest, Vec::new());
            world.nodes.push(Node { addr, dht, kind, wakes_at: None, events, bytes_sent: 0 });
        }
        world
    }

    /// Node by node comes in, each knowing one that is there already.
    fn join_all(&mut self) {
        for n in 1..self.nodes.len() {
            let known = self.nodes[self.rng.index(n)].addr;
            let now = self.now;
            self.nodes[n].dht.add_bootstrap(now, known);
            self.drain(n);
            self.run(Duration::from_millis(200));
        }
    }

    fn at(&mut self, when: Instant, happening: Happening) {
        self.next += 1;
        self.queue.push(Reverse((when, self.next)));
        self.happenings.insert(self.next, happening);
    }

    /// Takes what a node has to say.
    fn drain(&mut self, n: usize) {
        let now = self.now;
        while let Some((to, bytes)) = self.nodes[n].dht.poll_transmit() {
            self.nodes[n].bytes_sent += bytes.len() as u64;
            let from = self.nodes[n].addr;
            self.forge(n, to, &bytes);
            self.post(from, to, bytes);
        }
        let node = &mut self.nodes[n];
        node.events.extend(std::iter::from_fn(|| node.dht.poll_event()).map(|event| (now, event)));
        let wake = node.dht.poll_timeout().map(|at| at.max(now));
        if node.kind != Kind::Dead && wake != node.wakes_at {
            node.wakes_at = wake;
            if let Some(wake) = wake {
                self.at(wake, Happening::Wake(n));
            }
        }
    }

    fn post(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if self.rng.below(1000) < LOST_PER_MILLE {
            return;
        }
        if let Some(&to) = self.by_addr.get(&to) {
            let delay = Duration::from_millis(10 + self.rng.below(140));
            self.at(self.now + delay, Happening::Datagram { from, to, bytes });
        }
    }

    /// Somebody who knows who asks whom, but sees no datagram, answers first.
    fn forge(&mut self, asker: usize, asked: SocketAddr, question: &[u8]) {
        let is_query =
            matches!(Message::parse(question), Ok(m) if matches!(m.body, Body::Query(..)));
        for _ in 0..if is_query { self.forged_each } else { 0 } {
            let transaction = u32::try_from(self.rng.below(1 << 32)).unwrap().to_be_bytes();
            let mut nodes = Vec::new();
            let nowhere = nowhere(&mut self.rng);
            (0..8).for_each(|_| push_node(&mut nodes, NodeId([0; 20]), nowhere));
            let values = vec![nowhere];
            let id = NodeId([7; 20]);
            let response = Response { nodes: Nodes(&nodes), values, ..Response::new(id) };
            let bytes = Message::new(&transaction, Body::Response(response)).to_bytes();
            self.forged += 1;
            let when = self.now + Duration::from_millis(5);
            self.at(when, Happening::Datagram { from: asked, to: asker, bytes });
        }
    }

    fn lie(&mut self, liar: usize, to: SocketAddr, bytes: &[u8]) {
        let Ok(Message { transaction, body: Body::Query(_, query), .. }) = Message::parse(bytes)
        else {
            return;
        };
        let target = match query {
            Query::FindNode { target, .. } => target,
            Query::GetPeers { info_hash, .. } => info_hash.into(),
            _ => return,
        };
        let mut nodes = Vec::new();
        for _ in 0..8 {
            let mut near = target;
            self.rng.fill(&mut near.0[10..]);
            push_node(&mut nodes, near, nowhere(&mut self.rng));
        }
        let own = self.nodes[liar].dht.id(false);
        let response =
            Response { nodes: Nodes(&nodes), token: Some(b"lies"), ..Response::new(own) };
        let bytes = Message::new(transaction, Body::Response(response)).to_bytes();
        let from = self.nodes[liar].addr;
        self.post(from, to, bytes);
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(&Reverse((when, number))) = self.queue.peek() {
            if when > end {
                break;
            }
            self.queue.pop();
            assert!(when >= self.now);
            self.now = when;
            match self.happenings.remove(&number).unwrap() {
                Happening::Datagram { from, to, bytes } => match self.nodes[to].kind {
                    Kind::Dead => {}
                    Kind::Liar if bytes.windows(6).any(|w| w == b"1:y1:q") => {
                        self.lie(to, from, &bytes);
                    }
                    Kind::Honest | Kind::Liar => {
                        self.delivered += 1;
                        self.nodes[to].dht.handle_datagram(when, from, &bytes);
                        self.drain(to);
                    }
                },
                Happening::Wake(n) => {
                    if self.nodes[n].kind != Kind::Dead && self.nodes[n].wakes_at == Some(when) {
                        self.nodes[n].wakes_at = None;
                        self.nodes[n].dht.handle_timeout(when);
                        self.drain(n);
                    }
                }
            }
        }
        self.now = end;
    }

    fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&n| self.nodes[n].kind == Kind::Honest).collect()
    }

    /// A random part of the honest nodes becomes something else.
    fn turn(&mut self, count: usize, kind: Kind) {
        for _ in 0..count {
            let honest = self.honest();
            let n = honest[self.rng.index(honest.len())];
            self.nodes[n].kind = kind;
        }
    }

    fn track(&mut self, n: usize, hash: InfoHash) {
        let now = self.now;
        self.nodes[n].events.clear();
        self.nodes[n].dht.track(now, hash);
        self.drain(n);
    }

    /// How many of the eight nodes nearest to `hash`, of those alive, would name the giver.
    fn keepers(&self, hash: InfoHash, giver: usize) -> usize {
        let mut honest = self.honest();
        honest.sort_by_key(|&n| self.nodes[n].dht.id(false).distance(hash.into()));
        let query = Query::GetPeers { info_hash: hash, want: Default::default() };
        let asker = addr(5_000);
        let bytes = Message::new(b"k", Body::Query(NodeId([1; 20]), query)).to_bytes();
        let knows = |&&n: &&usize| {
            let mut dht = self.nodes[n].dht.clone();
            dht.handle_datagram(self.now, asker, &bytes);
            std::iter::from_fn(|| dht.poll_transmit()).any(|(_, answer)| {
                match Message::parse(&answer).map(|message| message.body) {
                    Ok(Body::Response(r)) => r.values.contains(&self.nodes[giver].addr),
                    _ => false,
                }
            })
        };
        honest.iter().take(8).filter(knows).count()
    }

    /// `count` times: one honest node announces, another finds it. Prints and checks.
    fn measure(&mut self, what: &str, count: u64) -> Figures {
        let mut figures = Figures::default();
        for n in 0..count {
            let (honest, hash) = (self.honest(), hash(self.now.as_micros() ^ n));
            let giver = honest[self.rng.index(honest.len())];
            let taker = honest[self.rng.index(honest.len())];
            if giver == taker {
                continue;
            }
            self.track(giver, hash);
            self.run(Duration::from_secs(15));
            figures.kept += self.keepers(hash, giver);
            let asked_at = self.now;
            self.track(taker, hash);
            self.run(Duration::from_secs(15));
            figures.count(&self.nodes[giver], &self.nodes[taker], asked_at);
            self.nodes[giver].dht.untrack(hash);
            self.nodes[taker].dht.untrack(hash);
        }
        println!("{what}: {figures}");
        figures
    }
}

#[derive(Default)]
struct Figures {
    searches: u32,
    /// Of the eight nodes that are nearest to each hash, those that know the giver.
    kept: usize,
    found: u32,
    bogus: usize,
    rounds: Vec<u32>,
    queries: Vec<usize>,
    announced: Vec<usize>,
    first_ms: Vec<u128>,
    whole_ms: Vec<u128>,
}

impl Figures {
    fn count(&mut self, giver: &Node, taker: &Node, asked_at: Instant) {
        self.searches += 1;
        let mut first = None;
        for (at, event) in &taker.events {
            match event {
                Event::Peers(_, peers) => {
                    self.bogus += peers.iter().filter(|peer| **peer != giver.addr).count();
                    if peers.contains(&giver.addr) {
                        first.get_or_insert(*at);
                    }
                }
                Event::Searched { rounds, queries, announced, .. } => {
                    self.rounds.push(*rounds);
                    self.queries.push(*queries);
                    self.announced.push(*announced);
                    self.whole_ms.push((*at - asked_at).as_millis());
                    break;
                }
                Event::Joined(_) => {}
            }
        }
        self.found += u32::from(first.is_some());
        self.first_ms.extend(first.map(|at| (at - asked_at).as_millis()));
    }

    fn rounds_max(&self) -> u32 {
        self.rounds.iter().copied().max().unwrap_or(0)
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn middle<T: Copy + Ord + Default>(values: &[T]) -> (T, T) {
            let mut values = values.to_vec();
            values.sort_unstable();
            let middle = values.get(values.len() / 2).copied();
            (middle.unwrap_or_default(), values.last().copied().unwrap_or_default())
        }
        let (rounds, queries) = (middle(&self.rounds), middle(&self.queries));
        let (first, whole) = (middle(&self.first_ms), middle(&self.whole_ms));
        write!(
            f,
            "{}/{} found; median (most): rounds {} ({}), queries {} ({}), first peer after {} ({}) \
             ms, whole lookup {} ({}) ms, told {} nodes, of \
             the 8 nearest {:.2} know; {} bogus peers",
            self.found, self.searches, rounds.0, rounds.1, queries.0, queries.1, first.0, first.1,
            whole.0, whole.1, middle(&self.announced).0, self.kept as f64 / f64::from(self.searches), self.bogus
        )
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn dht_lookups_converge_whatever_the_others_do() {
    let count = nodes();
    let log2 = u32::try_from(count).unwrap().ilog2() + 1;
    let (searches, idle_for) = if cfg!(debug_assertions) { (4, 300) } else { (100, 1800) };
    let searches = super::number("DHT_SEARCHES").unwrap_or(searches);
    let before = resident_kib();
    let mut world = World::new(count, 1);
    world.join_all();
    world.run(Duration::from_secs(60));
    let each = (resident_kib() - before) / count as u64;
    let known: usize = world.nodes.iter().map(|node| node.dht.node_count()).sum::<usize>() / count;
    let verified = world.nodes.iter().filter(|n| is_verified(n.dht.id(false), n.addr.ip())).count();
    println!(
        "{count} nodes joined one after the other: each knows {known}, {verified} have an id that \
         fits their address, {each} KiB a node with its share of the simulated network"
    );
    assert!(verified * 10 >= count * 9);

    let all_well = world.measure("all well", searches);
    assert_eq!(all_well.found, all_well.searches, "{all_well}");
    assert!(all_well.rounds_max() <= log2, "{} rounds", all_well.rounds_max());
    // One datagram in a hundred is lost: an announce now and then, or the answer before it.
    assert!(all_well.kept * 20 >= all_well.found as usize * 8 * 19, "{all_well}");

    let sent: u64 = world.nodes.iter().map(|node| node.bytes_sent).sum();
    world.run(Duration::from_secs(idle_for));
    let idle: u64 = world.nodes.iter().map(|node| node.bytes_sent).sum::<u64>() - sent;
    println!("an idle node sends {} bytes a second", idle / idle_for / count as u64);
    assert!(idle / idle_for / (count as u64) < 100);

    world.forged_each = 4;
    let forged = world.measure("four forged answers to every question", searches);
    // To be believed, a forger who sees nothing must guess one transaction id of 2^32.
    assert_eq!(forged.bogus, 0);
    assert_eq!(forged.found, forged.searches, "{forged}");
    assert!(forged.rounds_max() <= log2, "{} rounds", forged.rounds_max());
    println!("  {} answers were forged", world.forged);
    world.forged_each = 0;

    world.turn(count / 5, Kind::Dead);
    let dead = world.measure("20 % of the nodes dead, nobody knows yet", searches);
    // A lookup is lost only where all that it begins with are dead: 0.2^8, one in 400,000.
    assert_eq!(dead.found, dead.searches, "{dead}");
    assert!(dead.rounds_max() <= log2, "{} rounds", dead.rounds_max());

    world.turn(count / 20, Kind::Liar);
    let liars = world.measure("and 5 % name nodes that do not exist", searches);
    // Each liar that is met costs eight queries of a hundred: a lookup is lost to twelve, and
    // meets less than one.
    assert_eq!(liars.bogus, 0);
    assert_eq!(liars.found, liars.searches, "{liars}");
    assert!(liars.rounds_max() <= log2, "{} rounds", liars.rounds_max());
}

#[test]
fn dht_flooding_nodes_get_no_more_than_their_share() {
    let mut world = World::new(40, 2);
    world.join_all();
    world.run(Duration::from_secs(30));
    let victim = 7;
    let flooders: Vec<SocketAddr> = (1000..1010).map(addr).collect();
    let before = world.nodes[victim].bytes_sent;
    let mut sent = 0_u64;
    for ms in 0..3_000 {
        for &from in &flooders {
            let mut id = [0; 20];
            world.rng.fill(&mut id);
            let query = Query::FindNode { target: NodeId(id), want: Default::default() };
            let bytes = Message::new(b"x", Body::Query(NodeId(id), query)).to_bytes();
            sent += bytes.len() as u64;
            let when = world.now;
            world.at(when, Happening::Datagram { from, to: victim, bytes });
        }
        world.run(Duration::from_millis(1));
        if ms == 1_500 {
            world.track(victim, hash(1));
            world.track(20, hash(1));
        }
    }
    let answered = world.nodes[victim].bytes_sent - before;
    println!(
        "ten flooders sent one node 10,000 questions a second, {} KiB in 3 s: it sent {} KiB",
        sent / 1024,
        answered / 1024
    );
    assert!(answered < sent / 5);
    assert!(answered < 5 * 64 * 1024);
    world.run(Duration::from_secs(60));
    let giver = world.nodes[20].addr;
    let found = world.nodes[victim].events.iter().any(|(_, event)| match event {
        Event::Peers(_, peers) => peers.contains(&giver),
        _ => false,
    });
    assert!(found, "a node under attack still finds its peers");
}
