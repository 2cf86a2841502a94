//! A lab: one seeder, many leechers, each with a line of its own, in virtual time. How long until
//! all have all of it, beside the least time in which it can be done.
//!
//! `cargo test --release --test sim lan -- --nocapture` prints the figures.

mod lines;
mod shapes;
mod stream;

use super::host::LISTEN;
use super::log;
use lines::{Flow, Line, LineEvent, Lines};
use reactor_peer::proto::outgoing::SendPlan;
use reactor_peer::proto::output::{Action, Event};
use reactor_peer::proto::peer::Peer;
use reactor_peer::proto::swarm::{Start, Torrent};
use reactor_peer::units::bitfield::Bitfield;
use reactor_peer::units::geometry::{Geometry, PieceIndex};
use reactor_peer::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use reactor_peer::units::rng::Rng;
use reactor_peer::units::time::Instant;
use reactor_peer::wire::address::Host as Name;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use stream::{Nothing, Stream};

/// Of a line's rate, what is left for TCP's payload with packets of 1,500 bytes.
const PAYLOAD_PER_MILLE: u64 = 956;
/// From the end of one line to the beginning of the next.
const LATENCY: u64 = 150;
/// Bytes of one connection that the system takes ahead of the line, as we ask it to
/// (`TCP_NOTSENT_LOWAT`); it takes more when half of them are gone.
const UNSENT_MAX: usize = 64 * 1024;
/// Until the end of a connection is told, behind the bytes that are on their way.
const FAREWELL: u64 = 60_000;
/// Reading a packet and doing what follows from it.
const WAKE: u64 = 100;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Lab {
    pub seed: u64,
    pub leechers: usize,
    /// Of them, how many have a slow line, and its rate in bits a second.
    pub slow: usize,
    pub slow_rate: u64,
    pub length: u64,
    pub piece_length: u32,
    /// Bits a second, of every line in each direction.
    pub rate: u64,
    pub max_conns: u16,
    /// Between the starts of two leechers, in microseconds.
    pub stagger: u64,
}

impl Lab {
    /// The lab of the first measurement: 64 MiB to 15 leechers at 50 Mbit/s.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            leechers: 15,
            slow: 0,
            slow_rate: 1_000_000,
            length: 64 << 20,
            piece_length: 256 << 10,
            rate: 50_000_000,
            max_conns: 64,
            stagger: 0,
        }
    }

    /// Seconds in which the bytes themselves fit through the lines: the seeder's out, a
    /// leecher's in, and all lines out together; from the arrival of the last leecher on.
    pub fn optimum(&self) -> f64 {
        let last = (self.leechers as u64 - 1) * self.stagger;
        last as f64 / 1e6 + self.length as f64 * 8.0 / self.rate as f64
    }
}

/// What came of it. Times are in seconds from the start of the leechers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub optimum: f64,
    /// The last of the fast leechers has all.
    pub makespan: f64,
    pub first_done: f64,
    pub first_byte_max: f64,
    /// Every piece is with some leecher.
    pub all_out: f64,
    /// What the seeder had sent by then, in copies of the content, and in the end.
    pub copies_at_all_out: f64,
    pub copies: f64,
    /// Payload that came twice, of all that was needed.
    pub wasted: f64,
    pub least_sent: f64,
    pub most_sent: f64,
    pub steps: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "all done {:.2} s = {:.3} of the optimum; first done {:.2}, last first byte {:.2}; all \
             pieces out at {:.2} by {:.3} copies, {:.2} in the end; wasted {:.2} %; a leecher sent \
             {:.2}-{:.2}; {} steps",
            self.makespan,
            self.makespan / self.optimum,
            self.first_done,
            self.first_byte_max,
            self.all_out,
            self.copies_at_all_out,
            self.copies,
            self.wasted * 100.0,
            self.least_sent,
            self.most_sent,
            self.steps
        )
    }
}

struct Host {
    ip: IpAddr,
    peer: Peer,
    swarm: SwarmId,
    started: bool,
    ends: BTreeMap<ConnId, usize>,
    to_send: VecDeque<ConnId>,
    timer_at: Option<u64>,
    first_byte: Option<u64>,
    done: Option<u64>,
}

/// One end of a connection: flow `n` leads away from it, flow `n ^ 1` to it.
#[derive(Default)]
struct End {
    host: usize,
    conn: Option<ConnId>,
    dialing: bool,
    client_port: u16,
    wants_room: bool,
    /// It has closed; what is unsent still goes out, then the other end is told.
    closed: bool,
    inbox: Stream,
}

enum Happening {
    Line(LineEvent),
    Called(usize),
    Answered(usize, bool),
    Ended(usize),
    Timer(usize),
    Hashed(usize, PieceIndex),
    Start(usize),
    Read(usize),
}

pub struct Room {
    lab: Lab,
    rng: Rng,
    now: u64,
    hosts: Vec<Host>,
    ends: Vec<End>,
    lines: Lines,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    send_plan: SendPlan,
    received: Vec<u8>,
    out: Bitfield,
    all_out: Option<(u64, u64)>,
}

impl Room {
    pub fn new(lab: Lab) -> Self {
        let mut rng = Rng::new(lab.seed);
        let geometry = Geometry::new(lab.length, lab.piece_length).unwrap();
        let hosts: Vec<Host> = (0..=lab.leechers).map(|i| host(i, &lab, &mut rng)).collect();
        let slow_from = 1 + lab.leechers - lab.slow;
        let line = |i| {
            let rate = if i >= slow_from { lab.slow_rate } else { lab.rate };
            let bytes = rate / 8 * PAYLOAD_PER_MILLE / 1000;
            Line::new(bytes)
        };
        let lines = Lines { lines: (0..=lab.leechers).map(line).collect(), flows: Vec::new() };
        let mut room = Self {
            rng,
            now: 0,
            hosts,
            ends: Vec::new(),
            lines,
            queue: BTreeMap::new(),
            sequence: 0,
            send_plan: SendPlan::default(),
            received: Vec::new(),
            out: Bitfield::new(geometry.piece_count()),
            all_out: None,
            lab,
        };
        for i in 0..room.hosts.len() {
            let later = (i as u64).saturating_sub(1) * room.lab.stagger;
            let at = if i == 0 { 0 } else { START + later + room.rng.below(100_000) };
            room.schedule(at, Happening::Start(i));
        }
        room
    }

    pub fn run(mut self) -> Outcome {
        let mut steps = 0;
        let fast = 1 + self.lab.leechers - self.lab.slow;
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            steps += 1;
            self.now = at;
            self.happens(happening);
            if self.hosts[1..fast].iter().all(|host| host.done.is_some()) {
                return self.outcome(steps, fast);
            }
            assert!(at < 600_000_000, "not finished after ten minutes");
        }
        panic!("nothing happens any more");
    }

    fn outcome(mut self, steps: u64, fast: usize) -> Outcome {
        let seconds = |at: u64| at.saturating_sub(START) as f64 / 1e6;
        let now = Instant::from_micros(self.now);
        let copies = |bytes: u64| bytes as f64 / self.lab.length as f64;
        let done: Vec<u64> = self.hosts[1..fast].iter().filter_map(|h| h.done).collect();
        let sent: Vec<u64> =
            self.hosts.iter_mut().map(|h| h.peer.report(now)[0].uploaded).collect();
        let wasted: u64 = self.hosts.iter_mut().map(|h| h.peer.report(now)[0].wasted).sum();
        let first = self.hosts[1..fast].iter().filter_map(|h| h.first_byte).max();
        let (all_out, sent_at_all_out) = self.all_out.unwrap_or_default();
        Outcome {
            optimum: self.lab.optimum(),
            makespan: seconds(done.iter().copied().max().unwrap_or(0)),
            first_done: seconds(done.iter().copied().min().unwrap_or(0)),
            first_byte_max: seconds(first.unwrap_or(0)),
            all_out: seconds(all_out),
            copies_at_all_out: copies(sent_at_all_out),
            copies: copies(sent[0]),
            wasted: copies(wasted) / self.lab.leechers as f64,
            least_sent: copies(*sent[1..fast].iter().min().unwrap()),
            most_sent: copies(*sent[1..fast].iter().max().unwrap()),
            steps,
        }
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn schedule_line(&mut self, event: Option<(u64, LineEvent)>) {
        if let Some((within, event)) = event {
            self.schedule(self.now + within, Happening::Line(event));
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Line(event) => self.line(event),
            Happening::Called(end) => self.called(end),
            Happening::Answered(end, taken) => self.answered(end, taken),
            Happening::Ended(end) => self.ended(end),
            Happening::Timer(host) => {
                if self.hosts[host].timer_at == Some(self.now) {
                    self.hosts[host].timer_at = None;
                    self.input(host, |peer, now| peer.handle_timeout(now));
                }
            }
            Happening::Hashed(host, piece) => self.hashed(host, piece),
            Happening::Start(host) => self.start(host),
            Happening::Read(end) => self.read(end),
        }
    }

    fn line(&mut self, event: LineEvent) {
        match event {
            LineEvent::Left(flow, packet) => {
                let at = self.now + LATENCY;
                self.schedule(at, Happening::Line(LineEvent::Queued(flow, packet)));
                let next = self.lines.left(flow);
                self.schedule_line(next);
                if self.ends[flow].closed && self.lines.flows[flow].unsent.len() == 0 {
                    self.schedule(at + FAREWELL, Happening::Ended(flow ^ 1));
                }
                let room = self.lines.flows[flow].unsent.len() < UNSENT_MAX / 2;
                if room && std::mem::take(&mut self.ends[flow].wants_room) {
                    let End { host, conn, .. } = self.ends[flow];
                    if let Some(conn) = conn {
                        self.pump(host, conn);
                        self.drain(host);
                    }
                }
            }
            LineEvent::Queued(flow, packet) => {
                let next = self.lines.queued(flow, packet, false);
                self.schedule_line(next);
            }
            LineEvent::Again(flow, packet) => {
                let next = self.lines.queued(flow, packet, true);
                self.schedule_line(next);
            }
            LineEvent::Through(host) => {
                let (flow, in_order) = self.lines.through(host);
                for next in [self.lines.receive(host), self.lines.wake(flow)] {
                    self.schedule_line(next);
                }
                let end = flow ^ 1;
                if in_order.len() == 0 {
                    return;
                }
                if self.ends[end].conn.is_some() {
                    if self.ends[end].inbox.len() == 0 {
                        self.schedule(self.now + WAKE, Happening::Read(end));
                    }
                    self.ends[end].inbox.append(in_order);
                }
            }
        }
    }

    fn read(&mut self, end: usize) {
        loop {
            let End { host, conn: Some(conn), .. } = self.ends[end] else { return };
            let waiting = self.ends[end].inbox.len();
            if waiting == 0 {
                return;
            }
            let count = waiting.min(self.hosts[host].peer.receive_room(conn));
            assert!(count > 0, "an open connection can receive");
            let mut bytes = std::mem::take(&mut self.received);
            self.ends[end].inbox.split(count).read_into(&mut bytes);
            if count > 4096 && self.hosts[host].first_byte.is_none() {
                self.hosts[host].first_byte = Some(self.now);
            }
            self.input(host, |peer, now| peer.handle_received(now, conn, &bytes, &mut Nothing));
            self.received = bytes;
        }
    }

    fn input(&mut self, host: usize, f: impl FnOnce(&mut Peer, Instant)) {
        log::speaker(self.now, host);
        let now = Instant::from_micros(self.now);
        f(&mut self.hosts[host].peer, now);
        self.drain(host);
    }

    fn drain(&mut self, host: usize) {
        loop {
            while let Some(action) = self.hosts[host].peer.poll_action() {
                self.obey(host, action);
            }
            while let Some(event) = self.hosts[host].peer.poll_event() {
                match event {
                    Event::Completed(_) => self.hosts[host].done = Some(self.now),
                    Event::Verified(_, piece) if host > 0 => self.spread(piece),
                    _ => {}
                }
            }
            let Some(conn) = self.hosts[host].to_send.pop_front() else { break };
            self.pump(host, conn);
        }
        if !self.hosts[host].started {
            return;
        }
        let Some(at) = self.hosts[host].peer.poll_timeout() else { return };
        let at = at.as_micros().max(self.now + 100);
        if self.hosts[host].timer_at.is_none_or(|armed| at < armed) {
            self.hosts[host].timer_at = Some(at);
            self.schedule(at, Happening::Timer(host));
        }
    }

    /// A leecher has the piece.
    fn spread(&mut self, piece: PieceIndex) {
        self.out.set(piece.get());
        if self.out.is_full() && self.all_out.is_none() {
            let now = Instant::from_micros(self.now);
            let sent = self.hosts[0].peer.report(now)[0].uploaded;
            self.all_out = Some((self.now, sent));
        }
    }

    fn obey(&mut self, host: usize, action: Action) {
        let now = Instant::from_micros(self.now);
        match action {
            Action::Close(conn) => self.close(host, conn),
            Action::Dial { conn, remote, local_port } => {
                let end = self.ends.len();
                let to = self.hosts.iter().position(|h| h.ip == remote.ip()).unwrap();
                let client_port = local_port.unwrap();
                let dialer =
                    End { host, conn: Some(conn), dialing: true, client_port, ..End::default() };
                self.ends.push(dialer);
                self.ends.push(End { host: to, ..End::default() });
                for (from, to) in [(host, to), (to, host)] {
                    self.lines.flows.push(Flow::new(from, to));
                }
                self.hosts[host].ends.insert(conn, end);
                self.schedule(self.now + LATENCY, Happening::Called(end));
            }
            Action::Resolve(name, asker) => {
                let Name::Ip(ip) = name.host else { panic!("no names here: {name}") };
                let h = &mut self.hosts[host];
                let answer = Ok(vec![(ip, ip == h.ip)]);
                h.peer.handle_resolved(now, &name, &asker, answer);
            }
            Action::Send(conn) => self.hosts[host].to_send.push_back(conn),
            Action::Verify(_, piece) => {
                let at = self.now + 500 + u64::from(self.lab.piece_length) / 1000;
                self.schedule(at, Happening::Hashed(host, piece));
            }
            _ => {}
        }
    }

    fn hashed(&mut self, host: usize, piece: PieceIndex) {
        let swarm = self.hosts[host].swarm;
        self.input(host, |peer, now| {
            peer.handle_verified(now, swarm, piece, true, &mut Nothing);
        });
    }

    fn called(&mut self, end: usize) {
        if self.ends[end].conn.is_none() {
            return;
        }
        let remote =
            SocketAddr::new(self.hosts[self.ends[end].host].ip, self.ends[end].client_port);
        let to = self.ends[end ^ 1].host;
        let local = SocketAddr::new(self.hosts[to].ip, LISTEN);
        let mut accepted = None;
        if self.hosts[to].started {
            self.input(to, |peer, now| accepted = peer.handle_accepted(now, remote, local));
        }
        self.schedule(self.now + LATENCY, Happening::Answered(end, accepted.is_some()));
        if let Some(conn) = accepted {
            self.ends[end ^ 1].conn = Some(conn);
            self.hosts[to].ends.insert(conn, end ^ 1);
        }
    }

    fn answered(&mut self, end: usize, taken: bool) {
        let End { host, conn: Some(conn), client_port, .. } = self.ends[end] else { return };
        self.ends[end].dialing = false;
        let local = SocketAddr::new(self.hosts[host].ip, client_port);
        self.input(host, |peer, now| {
            if taken {
                peer.handle_connected(now, conn, local);
            } else {
                peer.handle_dial_failed(now, conn, super::refused());
            }
        });
    }

    fn close(&mut self, host: usize, conn: ConnId) {
        let Some(end) = self.hosts[host].ends.remove(&conn) else { return };
        self.ends[end].conn = None;
        self.ends[end].closed = true;
        if self.lines.flows[end].unsent.len() == 0 {
            self.schedule(self.now + FAREWELL, Happening::Ended(end ^ 1));
        }
    }

    fn ended(&mut self, end: usize) {
        let End { host, conn: Some(conn), .. } = self.ends[end] else { return };
        self.input(host, |peer, now| peer.handle_closed(now, conn, None));
    }

    fn pump(&mut self, host: usize, conn: ConnId) {
        log::speaker(self.now, host);
        while let Some(&end) = self.hosts[host].ends.get(&conn) {
            let room = UNSENT_MAX.saturating_sub(self.lines.flows[end].unsent.len());
            if self.ends[end].dialing || room == 0 {
                self.ends[end].wants_room = true;
                return;
            }
            let mut plan = std::mem::take(&mut self.send_plan);
            let planned = self.hosts[host].peer.send_plan(conn, &mut plan);
            if planned {
                let count = self.lines.flows[end].unsent.push_plan(&plan, room);
                let next = self.lines.wake(end);
                self.schedule_line(next);
                let now = Instant::from_micros(self.now);
                self.hosts[host].peer.handle_sent(now, conn, count);
                while let Some(action) = self.hosts[host].peer.poll_action() {
                    self.obey(host, action);
                }
            }
            self.send_plan = plan;
            if !planned {
                return;
            }
        }
    }

    fn start(&mut self, host: usize) {
        self.hosts[host].started = true;
        let now = Instant::from_micros(self.now);
        let geometry = Geometry::new(self.lab.length, self.lab.piece_length).unwrap();
        let count = geometry.piece_count();
        let have = if host == 0 { Bitfield::full(count) } else { Bitfield::new(count) };
        let h = &mut self.hosts[host];
        h.swarm = h.peer.add_swarm(now, torrent(geometry), from(have)).unwrap();
        self.drain(host);
    }
}

/// When the first leecher starts.
const START: u64 = 1_000_000;

fn host(i: usize, lab: &Lab, rng: &mut Rng) -> Host {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1 + i as u8));
    let mut peer_id = PeerId(*b"-RP0100-000000000000");
    rng.fill(&mut peer_id.0[8..]);
    let config = super::host::config(peer_id, ip, lab.max_conns);
    Host {
        ip,
        peer: Peer::new(config, rng.next_u64(), Instant::from_micros(0)),
        swarm: SwarmId(0),
        started: false,
        ends: BTreeMap::new(),
        to_send: VecDeque::new(),
        timer_at: None,
        first_byte: None,
        done: None,
    }
}

fn torrent(geometry: Geometry) -> Torrent {
    Torrent {
        info_hash: InfoHash([7; 20]),
        info: std::sync::Arc::from(&b"de"[..]),
        name: "content".into(),
        geometry,
        padding: Default::default(),
        private: false,
        announce: Some("http://10.0.0.1:5000/announce".into()),
        announce_list: Vec::new(),
    }
}

fn from(have: Bitfield) -> Start {
    Start {
        have,
        partials: Vec::new(),
        uploaded: 0,
        downloaded: 0,
        contacts: Vec::new(),
        checking: false,
    }
}

fn runs() -> u64 {
    super::number("LAN_RUNS").unwrap_or(if cfg!(debug_assertions) { 1 } else { 3 })
}

fn check(outcome: &Outcome) {
    assert!(outcome.makespan / outcome.optimum < 1.17, "slow");
    assert!(outcome.copies_at_all_out < 1.1, "the seeder sends twice what is not out once");
    assert!(outcome.wasted < 0.01, "blocks come twice");
}

#[test]
fn lan_makespan() {
    for seed in 0..runs() {
        log::install();
        let outcome = Room::new(Lab::new(seed)).run();
        println!("{outcome}");
        check(&outcome);
    }
}

#[test]
fn lan_slow_host() {
    for seed in 0..runs() {
        let seven = Room::new(Lab { leechers: 7, ..Lab::new(seed) }).run();
        let eighth = Room::new(Lab { leechers: 8, slow: 1, ..Lab::new(seed) }).run();
        println!("seven: {seven}\nbeside a slow one: {eighth}");
        println!("slow/fast {:.3}", eighth.makespan / seven.makespan);
        check(&seven);
        check(&eighth);
        assert!(eighth.makespan < seven.makespan * 1.03, "one slow host delays the others");
    }
}
