//! All hosts and links, and the queue of what happens next.

use super::disk::{Disk, Truth};
use super::host::{self, Host, CLIENTS, LISTEN};
use super::log;
use super::network::{End, Happening, Link};
use super::plan::Plan;
use reactor_peer::proto::outgoing::{Segment as Piece, SendPlan};
use reactor_peer::proto::output::{Action, Event, Via};
use reactor_peer::proto::peer::{Config, DialError, Peer};
use reactor_peer::proto::store::Store;
use reactor_peer::proto::swarm::{Start, Torrent};
use reactor_peer::units::bitfield::Bitfield;
use reactor_peer::units::id::{ConnId, InfoHash, PeerId};
use reactor_peer::units::rng::Rng;
use reactor_peer::units::time::{Duration, Instant};
use reactor_peer::wire::address::Host as Name;
use reactor_peer::wire::digest::sha1;
use reactor_peer::wire::magnet::Magnet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Virtual time that a swarm may take after the last fault.
const FINISH_WITHIN: u64 = 900_000_000;
/// Virtual time by which all hosts have started, and told each other of it.
const NEWS_ROUND: u64 = 5_000_000;
/// Hosts that each knows in the end, on average; in small swarms a third of all.
const FOUND_MIN: usize = 40;
/// Virtual time for which a complete swarm is watched.
const AFTERWARDS: u64 = 20_000_000;

/// How a simulation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub steps: u64,
    pub finished_at: Duration,
    pub healed_after: Duration,
    pub wasted: u64,
    pub failed_hashes: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

pub struct World {
    pub plan: Plan,
    pub rng: Rng,
    pub now: u64,
    pub hosts: Vec<Host>,
    pub links: Vec<Link>,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub faulty: bool,
    truth: Rc<Truth>,
    send_plan: SendPlan,
    failed_hashes: u64,
    wasted: u64,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let truth = Rc::new(Truth::new(plan.length, plan.piece_length, &mut rng));
        let mut hosts: Vec<Host> =
            (0..plan.hosts).map(|i| Host::new(i, Disk::empty(&truth))).collect();
        let addrs: Vec<SocketAddr> = hosts.iter().map(Host::addr).collect();
        for (i, host) in hosts.iter_mut().enumerate() {
            let share = if i < plan.seeders { 100 } else { [0, 0, 0, 30][rng.index(4)] };
            for piece in truth.geometry.pieces() {
                if rng.below(100) < share {
                    host.disk.bring(piece);
                }
            }
            host.poisons = plan.poisoner == Some(i);
            host.magnet = plan.gossip && i >= plan.seeders && rng.below(2) == 0;
            // Any of those before: so all hang together, and nobody is in the middle.
            host.friend = (i > 0).then(|| addrs[rng.index(i)]);
        }
        let faulty = plan.faults_until > 0;
        let mut world = Self {
            now: 0,
            hosts,
            links: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            faulty,
            truth,
            send_plan: SendPlan::default(),
            failed_hashes: 0,
            wasted: 0,
            rng,
            plan,
        };
        for i in 0..world.hosts.len() {
            let at = if i == 0 { 0 } else { world.rng.below(3_000_000) };
            world.schedule(at, Happening::Start(i));
        }
        if faulty {
            world.schedule(500_000, Happening::Fault);
            world.schedule(world.plan.faults_until, Happening::Heal);
        }
        world
    }

    /// Lets it all happen.
    pub fn run(mut self) -> Outcome {
        let (mut steps, mut finished_at) = (0, None);
        let finish_by = self.plan.faults_until + FINISH_WITHIN;
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            steps += 1;
            self.now = at;
            self.happens(happening);
            if finished_at.is_none() && self.is_finished() {
                finished_at = Some(at);
            }
            if finished_at.is_some_and(|finished| at > finished + AFTERWARDS) {
                break;
            }
            if at > finish_by {
                break;
            }
        }
        let finished = finished_at.unwrap_or_else(|| panic!("not finished: {}", self.laggards()));
        for (i, host) in self.hosts.iter().enumerate() {
            let same = host.disk.bytes == self.truth.bytes;
            assert!(same || self.plan.poisoner == Some(i), "#{i} has other content");
        }
        self.count_waste();
        let known = self.hosts.iter().filter_map(|h| h.peer.as_ref()?.progress(h.swarm));
        let known: usize = known.map(|progress| progress.contacts.len()).sum();
        // One address was enough to find many of the others, unless all was over before the news
        // went round. Who is complete early leaves early, and hears of few.
        let hosts = self.plan.hosts;
        let told = self.plan.gossip && self.plan.faults_until == 0 && finished > NEWS_ROUND;
        assert!(!told || known >= hosts * (hosts / 3).min(FOUND_MIN), "{known} of {hosts}^2");
        Outcome {
            steps,
            finished_at: Duration::from_micros(finished),
            healed_after: Duration::from_micros(finished.saturating_sub(self.plan.faults_until)),
            wasted: self.wasted,
            failed_hashes: self.failed_hashes,
        }
    }

    fn is_finished(&self) -> bool {
        let done = |(i, host): (usize, &Host)| host.is_complete() || self.plan.poisoner == Some(i);
        !self.faulty && self.hosts.iter().enumerate().all(done)
    }

    fn laggards(&self) -> String {
        let lag = |(i, host): (usize, &Host)| {
            let peer = host.peer.as_ref()?;
            let progress = peer.progress(host.swarm)?;
            let (have, count) = (progress.have.count(), self.truth.hashes.len());
            let conns = host.conns.len();
            let ports = host.ports.len();
            (!host.is_complete()).then(|| {
                format!(
                    "#{i} has {have}/{count} and {conns} connections, {ports} dialed, partials {:?}",
                    progress.partials
                )
            })
        };
        self.hosts.iter().enumerate().filter_map(lag).take(5).collect::<Vec<_>>().join("; ")
    }

    /// Without faults each byte comes about once.
    fn count_waste(&mut self) {
        let now = Instant::from_micros(self.now);
        for i in 0..self.hosts.len() {
            let Some(peer) = &mut self.hosts[i].peer else { continue };
            let wasted: u64 = peer.report(now).iter().map(|r| r.wasted).sum();
            self.wasted += wasted;
            // The end game of a small torrent is all of it: each block may be asked for again.
            let most = self.plan.length as u64 * 3 + 16 * 16_384;
            // What is on its way to a disk that fills up is lost.
            if self.plan.poisoner.is_none() && !self.hosts[i].disk.filled {
                assert!(wasted <= most, "#{i} wasted {wasted} of {} bytes", self.plan.length);
            }
        }
    }

    pub fn schedule(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), happening);
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Called(link) => self.called(link),
            Happening::Answered(link, answer) => self.answered(link, answer),
            Happening::Bytes(link, end, bytes) => self.arrived(link, end, bytes),
            Happening::Ended(link, end, words) => self.ended(link, end, words),
            Happening::Datagram(host, via, from, bytes) => {
                self.input(host, |peer, now, _| peer.handle_datagram(now, via, from, &bytes));
            }
            Happening::Timer(host, incarnation) => self.timer(host, incarnation),
            Happening::Hash(host, incarnation, piece) => self.hashed(host, incarnation, piece),
            Happening::Fault => self.fault(),
            Happening::Room(host) => self.hosts[host].disk.room = None,
            Happening::Start(host) => self.start(host),
            Happening::Gone(host, incarnation) => {
                if self.hosts[host].incarnation == incarnation {
                    self.halt(host);
                }
            }
            Happening::Heal => self.heal(),
        }
    }

    /// One input for a peer that runs, then all that follows from it.
    fn input(&mut self, host: usize, f: impl FnOnce(&mut Peer, Instant, &mut Disk)) {
        log::speaker(self.now, host);
        let now = Instant::from_micros(self.now);
        let Host { peer, disk, .. } = &mut self.hosts[host];
        if let Some(peer) = peer {
            f(peer, now, disk);
            self.drain(host);
        }
    }

    fn drain(&mut self, host: usize) {
        loop {
            while let Some(action) = self.hosts[host].peer.as_mut().and_then(Peer::poll_action) {
                self.hosts[host].count_action(self.now);
                self.obey(host, action);
            }
            while let Some(event) = self.hosts[host].peer.as_mut().and_then(Peer::poll_event) {
                assert!(!matches!(event, Event::Failed(..)), "no disk has failed");
            }
            let Some(conn) = self.hosts[host].to_send.pop_front() else { break };
            self.pump(host, conn);
        }
        self.arm(host);
    }

    fn arm(&mut self, host: usize) {
        let (now, h) = (self.now, &mut self.hosts[host]);
        let Some(at) = h.peer.as_ref().and_then(Peer::poll_timeout) else { return };
        // What is due already is asked for at once, again and again, but not in no time.
        let at = at.as_micros().max(now + 100);
        if h.timer_at.is_none_or(|armed| at < armed) {
            h.timer_at = Some(at);
            let incarnation = h.incarnation;
            self.schedule(at, Happening::Timer(host, incarnation));
        }
    }

    fn timer(&mut self, host: usize, incarnation: u32) {
        let h = &mut self.hosts[host];
        if h.incarnation != incarnation || h.timer_at != Some(self.now) {
            return;
        }
        h.timer_at = None;
        h.count_timer(self.now);
        self.input(host, |peer, now, _| peer.handle_timeout(now));
    }

    fn obey(&mut self, host: usize, action: Action) {
        let now = Instant::from_micros(self.now);
        match action {
            Action::Close(conn) => self.close(host, conn, None),
            Action::Dial { conn, remote, local_port } => self.dial(host, conn, remote, local_port),
            Action::DialTls(dial) => panic!("no TLS here: {dial:?}"),
            Action::Finish(_) => {
                let disk = &self.hosts[host].disk;
                assert!(disk.verified.iter().all(|&v| v), "finished with a piece missing");
                assert!(disk.bytes == disk.truth.bytes, "finished with other content");
            }
            Action::Resolve(name, asker) => {
                let h = &mut self.hosts[host];
                let Name::Ip(ip) = name.host else { panic!("no names here: {name}") };
                let answer = Ok(vec![(ip, ip == h.ip)]);
                if let Some(peer) = &mut h.peer {
                    peer.handle_resolved(now, &name, &asker, answer);
                }
            }
            Action::Metadata(_, info) => self.metadata(host, &info),
            Action::Send(conn) => self.hosts[host].to_send.push_back(conn),
            Action::SendDatagram { via, to, bytes } => self.send_datagram(host, via, to, bytes),
            Action::TryWrite(swarm, block) => {
                let h = &mut self.hosts[host];
                let offset = h.disk.truth.geometry.block_offset(block);
                let outcome = h.disk.write(swarm, offset, &vec![0; block.length as usize]);
                if let Some(peer) = &mut h.peer {
                    peer.handle_tried(now, swarm, outcome);
                }
            }
            Action::Verify(_, piece) => {
                let at = self.now + self.rng.below(5_000);
                let incarnation = self.hosts[host].incarnation;
                self.schedule(at, Happening::Hash(host, incarnation, piece));
            }
        }
    }

    /// Datagrams get lost while there are faults, and none comes twice.
    fn send_datagram(&mut self, host: usize, via: Via, to: SocketAddr, bytes: Vec<u8>) {
        let from = self.hosts[host].addr();
        let lost = self.faulty && self.rng.below(10) == 0;
        let target = self.hosts.iter().position(|h| h.ip == to.ip() && to.port() == LISTEN);
        if let Some(target) = target.filter(|_| !lost) {
            let at = self.now + 1 + self.rng.below(self.plan.latency);
            self.schedule(at, Happening::Datagram(target, via, from, bytes));
        }
    }

    fn hashed(
        &mut self,
        host: usize,
        incarnation: u32,
        piece: reactor_peer::units::geometry::PieceIndex,
    ) {
        let h = &mut self.hosts[host];
        if h.incarnation != incarnation {
            return;
        }
        let good = h.disk.hash_is_good(piece);
        if good {
            h.disk.verified[piece.index()] = true;
        } else {
            self.failed_hashes += 1;
            assert!(self.plan.poisoner.is_some(), "#{host}: piece {} spoiled itself", piece.get());
        }
        let swarm = h.swarm;
        self.input(host, |peer, now, disk| peer.handle_verified(now, swarm, piece, good, disk));
        if self.rng.below(3) == 0 {
            let h = &mut self.hosts[host];
            h.saved = h.peer.as_ref().and_then(|peer| peer.progress(h.swarm));
        }
    }

    fn dial(&mut self, host: usize, conn: ConnId, remote: SocketAddr, port: Option<u16>) {
        let now = Instant::from_micros(self.now);
        let client_port = self.hosts[host].dials(conn, port);
        assert_ne!(remote, self.hosts[host].addr(), "dials itself");
        if self.faulty && self.rng.below(15) == 0 {
            let error = match self.rng.below(2) {
                0 => DialError::PortBusy,
                _ => DialError::Failed("network is unreachable".into()),
            };
            if let Some(peer) = &mut self.hosts[host].peer {
                peer.handle_dial_failed(now, conn, error);
            }
            return;
        }
        let to = self.hosts.iter().position(|h| h.ip == remote.ip());
        let to = to.filter(|_| remote.port() == LISTEN);
        let to = to.unwrap_or_else(|| panic!("dials {remote}, where nobody can be"));
        let latency = 1 + self.rng.below(self.plan.latency);
        let dialer = End { host, conn: Some(conn), dialing: true, ..End::default() };
        let listener = End { host: to, ..End::default() };
        let link = self.links.len();
        self.links.push(Link { ends: [dialer, listener], latency, client_port, dark: false });
        self.hosts[host].conns.insert(conn, (link, 0));
        self.schedule(self.now + latency, Happening::Called(link));
    }

    fn called(&mut self, link: usize) {
        let [dialer, listener] = &self.links[link].ends;
        let (from, to) = (dialer.host, listener.host);
        let at = self.now + self.links[link].latency;
        if dialer.conn.is_none() {
            return;
        }
        let lost = self.faulty && self.rng.below(30) == 0;
        if lost {
            return;
        }
        let refused = self.faulty && self.rng.below(10) == 0;
        if refused || self.hosts[to].peer.is_none() {
            return self.schedule(at, Happening::Answered(link, Err("connection refused")));
        }
        self.links[link].ends[1].arrives_at = at;
        self.schedule(at, Happening::Answered(link, Ok(())));
        let remote = SocketAddr::new(self.hosts[from].ip, self.links[link].client_port);
        let local = self.hosts[to].addr();
        let mut accepted = None;
        self.input(to, |peer, now, _| accepted = peer.handle_accepted(now, remote, local));
        match accepted {
            Some(conn) => {
                self.links[link].ends[1].conn = Some(conn);
                self.hosts[to].conns.insert(conn, (link, 1));
            }
            None => self.schedule(at, Happening::Ended(link, 0, None)),
        }
    }

    fn answered(&mut self, link: usize, answer: Result<(), &'static str>) {
        let client_port = self.links[link].client_port;
        let end = &mut self.links[link].ends[0];
        let (host, Some(conn)) = (end.host, end.conn) else { return };
        end.dialing = false;
        let local = SocketAddr::new(self.hosts[host].ip, client_port);
        self.input(host, |peer, now, _| match answer {
            Ok(()) => peer.handle_connected(now, conn, local),
            Err(why) => peer.handle_dial_failed(now, conn, DialError::Failed(why.into())),
        });
    }

    /// This end closes: what it has sent still arrives, then the other end is told.
    pub fn close(&mut self, host: usize, conn: ConnId, words: Option<&'static str>) {
        self.hosts[host].ports.remove(&conn);
        let Some((link, end)) = self.hosts[host].conns.remove(&conn) else { return };
        let l = &mut self.links[link];
        // Closing with unread bytes resets.
        let unread = !l.ends[end].inbox.is_empty();
        l.ends[end].conn = None;
        l.ends[end].inbox = Default::default();
        let words = words.or(unread.then_some("connection reset by peer"));
        let at = l.ends[end].arrives_at.max(self.now + l.latency);
        let dark = l.dark;
        if !dark {
            self.schedule(at, Happening::Ended(link, 1 - end, words));
        }
    }

    fn ended(&mut self, link: usize, end: usize, words: Option<&'static str>) {
        let End { host, conn, .. } = self.links[link].ends[end];
        let Some(conn) = conn else { return };
        let error = words.map(str::to_owned);
        self.input(host, |peer, now, _| peer.handle_closed(now, conn, error));
        let left = self.hosts[host].conns.contains_key(&conn);
        assert!(!left, "#{host} keeps a connection that has ended");
    }

    fn arrived(&mut self, link: usize, end: usize, bytes: Vec<u8>) {
        let l = &mut self.links[link];
        if l.dark {
            return;
        }
        let (sender, receiver) = (1 - end, &mut l.ends[end]);
        let (host, conn) = (receiver.host, receiver.conn);
        let count = bytes.len();
        if conn.is_some() {
            receiver.inbox.extend(bytes);
        }
        l.ends[sender].in_flight -= count;
        // RFC 1122: a window that opens by little is not told of.
        let open = l.ends[sender].in_flight * 4 <= self.plan.window * 3;
        let wants = open && std::mem::take(&mut l.ends[sender].wants_window);
        let (other, other_conn) = (l.ends[sender].host, l.ends[sender].conn);
        if let Some(conn) = conn {
            self.receive(host, conn, link, end);
        }
        if let (true, Some(conn)) = (wants, other_conn) {
            self.pump(other, conn);
            self.drain(other);
        }
    }

    /// As many bytes as one call moves.
    fn share(&mut self, most: usize) -> usize {
        let most = match self.rng.below(self.plan.tiny) {
            0 => most.min(40),
            1 => most.min(3_000),
            _ => return most,
        };
        1 + self.rng.index(most)
    }

    fn receive(&mut self, host: usize, conn: ConnId, link: usize, end: usize) {
        loop {
            let waiting = self.links[link].ends[end].inbox.len();
            if waiting == 0 || self.links[link].ends[end].conn != Some(conn) {
                return;
            }
            let room = self.hosts[host].peer.as_ref().map_or(0, |p| p.receive_room(conn));
            assert!(room > 0, "an open connection can receive");
            let count = self.share(waiting.min(room));
            let bytes: Vec<u8> = self.links[link].ends[end].inbox.drain(..count).collect();
            self.input(host, |peer, now, disk| peer.handle_received(now, conn, &bytes, disk));
        }
    }

    /// Sends until nothing waits or the window is full.
    fn pump(&mut self, host: usize, conn: ConnId) {
        while let Some(&(link, end)) = self.hosts[host].conns.get(&conn) {
            let sender = &mut self.links[link].ends[end];
            let room = self.plan.window.saturating_sub(sender.in_flight);
            if sender.dialing || room == 0 {
                sender.wants_window = true;
                return;
            }
            let mut plan = std::mem::take(&mut self.send_plan);
            let planned =
                self.hosts[host].peer.as_mut().is_some_and(|p| p.send_plan(conn, &mut plan));
            if planned {
                let count = self.share(room);
                let bytes = self.gather(host, &plan, count);
                let count = bytes.len();
                assert!(count > 0, "a plan of nothing");
                self.travel(link, end, bytes);
                log::speaker(self.now, host);
                let now = Instant::from_micros(self.now);
                if let Some(peer) = &mut self.hosts[host].peer {
                    peer.handle_sent(now, conn, count);
                }
                while let Some(action) = self.hosts[host].peer.as_mut().and_then(Peer::poll_action)
                {
                    self.hosts[host].count_action(self.now);
                    self.obey(host, action);
                }
            }
            self.send_plan = plan;
            if !planned {
                return;
            }
        }
    }

    fn gather(&mut self, host: usize, plan: &SendPlan, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for segment in &plan.segments {
            let left = most - bytes.len();
            match *segment {
                Piece::Bytes(from, to) => {
                    bytes.extend_from_slice(&plan.bytes[from..to.min(from + left)]);
                }
                Piece::Content { offset, len } => {
                    let h = &self.hosts[host];
                    let from = bytes.len();
                    bytes.extend_from_slice(h.disk.serve(offset, len.min(left)));
                    if h.poisons && bytes.len() > from && self.rng.below(3) == 0 {
                        let at = from + self.rng.index(bytes.len() - from);
                        bytes[at] ^= 1 << self.rng.below(8);
                    }
                }
            }
            if bytes.len() == most {
                break;
            }
        }
        bytes
    }

    fn travel(&mut self, link: usize, end: usize, bytes: Vec<u8>) {
        let l = &mut self.links[link];
        let (latency, sender) = (l.latency, &mut l.ends[end]);
        sender.in_flight += bytes.len();
        let takes = bytes.len() as u64 * 1_000_000 / self.plan.bandwidth;
        sender.free_at = sender.free_at.max(self.now) + takes;
        sender.arrives_at = sender.arrives_at.max(sender.free_at + latency);
        let at = sender.arrives_at;
        self.schedule(at, Happening::Bytes(link, 1 - end, bytes));
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].peer.is_some() {
            return;
        }
        let now = Instant::from_micros(self.now);
        let mut peer_id = PeerId(*b"-RP0100-000000000000");
        self.rng.fill(&mut peer_id.0[8..]);
        let h = &mut self.hosts[host];
        let config = Config {
            seed_dials: self.plan.seed_dials,
            upload_slots: Some(self.plan.upload_slots).filter(|&slots| slots < 8),
            ..host::config(peer_id, h.ip, CLIENTS)
        };
        log::speaker(self.now, host);
        let mut peer = Peer::new(config, self.rng.next_u64(), now);
        if self.hosts[host].magnet {
            let hash = InfoHash(sha1(&self.truth.info));
            let magnet = Magnet::parse(&format!("magnet:?xt=urn:btih:{hash}")).unwrap();
            self.hosts[host].swarm = peer.add_magnet(now, &magnet).expect("the only swarm");
        } else {
            let (torrent, start) = (self.torrent(), self.start_of(host));
            self.hosts[host].swarm = peer.add_swarm(now, torrent, start).expect("the only swarm");
        }
        let h = &mut self.hosts[host];
        if let Some(friend) = h.friend.filter(|_| self.plan.gossip) {
            peer.handle_named(now, friend.into());
        }
        h.peer = Some(peer);
        h.incarnation += 1;
        h.timer_at = None;
        self.drain(host);
    }

    fn torrent(&self) -> Torrent {
        Torrent {
            info_hash: InfoHash(sha1(&self.truth.info)),
            name: "content".into(),
            geometry: self.truth.geometry,
            padding: Default::default(),
            private: false,
            announce: (!self.plan.gossip).then(|| "http://10.0.0.1:5000/announce".into()),
            announce_list: Vec::new(),
            info: Arc::clone(&self.truth.info),
        }
    }

    /// From what its last run has saved.
    fn start_of(&mut self, host: usize) -> Start {
        let (geometry, h) = (self.truth.geometry, &mut self.hosts[host]);
        let saved = h.saved.take();
        let mut have = Bitfield::new(geometry.piece_count());
        for (piece, &verified) in (0u32..).zip(&h.disk.verified) {
            if verified && saved.as_ref().is_none_or(|s| s.have.get(piece)) {
                have.set(piece);
            }
        }
        // What the record does not tell of is not known to be good.
        for (piece, verified) in (0u32..).zip(&mut h.disk.verified) {
            *verified = have.get(piece);
        }
        Start {
            have,
            partials: saved.as_ref().map(|s| s.partials.clone()).unwrap_or_default(),
            uploaded: saved.as_ref().map_or(0, |s| s.uploaded),
            downloaded: saved.as_ref().map_or(0, |s| s.downloaded),
            contacts: saved.map(|s| s.contacts).unwrap_or_default(),
            checking: false,
        }
    }

    /// The metadata of a magnet link has come: from now on this host has the torrent.
    fn metadata(&mut self, host: usize, info: &[u8]) {
        assert_eq!(info, &self.truth.info[..], "#{host} takes other metadata");
        let (now, torrent, start) =
            (Instant::from_micros(self.now), self.torrent(), self.start_of(host));
        let h = &mut self.hosts[host];
        h.magnet = false;
        if let Some(peer) = &mut h.peer {
            peer.handle_metadata(now, h.swarm, torrent, start);
            peer.handle_check_done(now, h.swarm);
        }
    }

    /// The process is gone, at once.
    fn halt(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        if h.peer.take().is_none() {
            return;
        }
        h.incarnation += 1;
        h.to_send.clear();
        let conns: Vec<ConnId> = h.conns.keys().copied().collect();
        for conn in conns {
            self.close(host, conn, None);
        }
        self.hosts[host].ports.clear();
        let at = self.now + 50_000 + self.rng.below(8_000_000);
        self.schedule(at, Happening::Start(host));
    }

    fn heal(&mut self) {
        self.faulty = false;
        for host in &mut self.hosts {
            host.poisons = false;
            host.disk.room = None;
        }
    }

    fn fault(&mut self) {
        if !self.faulty {
            return;
        }
        let at = self.now + 1 + self.rng.below(self.plan.fault_pause);
        self.schedule(at, Happening::Fault);
        let host = self.rng.index(self.hosts.len());
        let h = &mut self.hosts[host];
        let Some(peer) = &mut h.peer else { return };
        match self.rng.below(13) {
            0 => {
                // Killed: the record may be older than the content.
                let fresh = h.saved.is_none() || self.rng.below(2) == 0;
                if fresh {
                    h.saved = peer.progress(h.swarm);
                }
                self.halt(host);
            }
            1 => {
                let incarnation = h.incarnation;
                self.input(host, |peer, now, _| peer.handle_stop(now));
                let h = &mut self.hosts[host];
                h.saved = h.peer.as_ref().and_then(|peer| peer.progress(h.swarm));
                self.schedule(self.now + 2_000_000, Happening::Gone(host, incarnation));
            }
            2 => {
                // Its disk is full after a few writes more, for a while.
                (h.disk.room, h.disk.filled) = (Some(self.rng.index(20)), true);
                let at = self.now + self.rng.below(30_000_000);
                self.schedule(at, Happening::Room(host));
            }
            kind => {
                let nth = self.rng.index(h.conns.len().max(1));
                let Some((&conn, &(link, end))) = h.conns.iter().nth(nth) else { return };
                if self.links[link].ends[end].dialing {
                    return;
                }
                match kind {
                    3 => self.links[link].dark = true,
                    4..=7 => self.cut(link, None),
                    _ => self.cut(link, Some("connection reset by peer")),
                }
                let _ = conn;
            }
        }
    }

    /// Both ends learn, each in its time, that the link is gone.
    fn cut(&mut self, link: usize, words: Option<&'static str>) {
        let latency = self.links[link].latency;
        self.schedule(self.now, Happening::Ended(link, 0, words));
        self.schedule(self.now + latency, Happening::Ended(link, 1, words));
    }
}
