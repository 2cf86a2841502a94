//! All hosts and links, and the queue of what happens next.

mod fates;
mod links;

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
            Action::CheckAgain(_) => {}
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
}
