//! The hosts' lines: each has a rate up and a rate down, and its flows share them.
//!
//! A host's line out takes from its flows in turn, a packet each, as far as their windows go. A
//! packet that finds the queue before the receiver's line full is dropped and comes again after a
//! while; what follows it waits until then, as it does in TCP. So a connection whose receiver has
//! many senders stands still now and then, and its sender does well to have another to serve.

use super::stream::Stream;
use std::collections::{BTreeMap, VecDeque};

/// Bytes that a line sends of one flow before the next has its turn.
const PACKET: usize = 8 * 1024;
/// Bytes that wait before a host's line in: 40 ms at 50 Mbit/s.
const QUEUE: usize = 256 * 1024;
/// Bytes of one flow that are under way at most: 44 packets, as measured on shaped links.
const WINDOW: usize = 64 * 1024;
/// Microseconds until a dropped packet is sent again: a round trip with full queues, and then some.
const RECOVERY: u64 = 60_000;

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    /// Written, and not on the line yet.
    pub unsent: Stream,
    /// It stands in its host's turn.
    queued: bool,
    /// Bytes that are sent, and bytes that are received in order.
    sent: u64,
    received: u64,
    /// What has come ahead of a dropped packet, by its place.
    ahead: BTreeMap<u64, Stream>,
}

/// Part of a flow.
#[derive(Debug)]
pub struct Packet {
    at: u64,
    bytes: Stream,
}

impl Flow {
    pub fn new(from: usize, to: usize) -> Self {
        Self { from, to, ..Self::default() }
    }

    fn can_send(&self) -> bool {
        self.unsent.len() > 0 && self.sent - self.received < WINDOW as u64
    }
}

#[derive(Debug, Default)]
pub struct Line {
    /// Bytes a second, each way.
    up: u64,
    down: u64,
    sending: bool,
    receiving: bool,
    turn: VecDeque<usize>,
    waiting: VecDeque<(usize, Packet)>,
    queue: usize,
}

impl Line {
    pub fn new(rate: u64) -> Self {
        Self { up: rate, down: rate, ..Self::default() }
    }
}

/// What a line does next, and when.
#[derive(Debug)]
pub enum LineEvent {
    /// A packet has left: the flow, and what it carries.
    Left(usize, Packet),
    /// It arrives at the receiver's line in.
    Queued(usize, Packet),
    /// It was dropped there, and arrives again.
    Again(usize, Packet),
    /// It has come through.
    Through(usize),
}

#[derive(Debug, Default)]
pub struct Lines {
    pub lines: Vec<Line>,
    pub flows: Vec<Flow>,
}

impl Lines {
    /// The flow has something to send. The answer is what to schedule, in how many microseconds.
    pub fn wake(&mut self, flow: usize) -> Option<(u64, LineEvent)> {
        let f = &mut self.flows[flow];
        if f.can_send() && !std::mem::replace(&mut f.queued, true) {
            self.lines[f.from].turn.push_back(flow);
        }
        self.send(self.flows[flow].from)
    }

    /// Starts the next packet of a host, if its line is free.
    pub fn send(&mut self, host: usize) -> Option<(u64, LineEvent)> {
        if self.lines[host].sending {
            return None;
        }
        let flow = self.lines[host].turn.pop_front()?;
        let f = &mut self.flows[flow];
        let packet = Packet { at: f.sent, bytes: f.unsent.split(PACKET) };
        let len = packet.bytes.len() as u64;
        f.sent += len;
        f.queued = f.can_send();
        if f.queued {
            self.lines[host].turn.push_back(flow);
        }
        self.lines[host].sending = true;
        Some((len * 1_000_000 / self.lines[host].up, LineEvent::Left(flow, packet)))
    }

    /// A packet has left the host: its line is free.
    pub fn left(&mut self, flow: usize) -> Option<(u64, LineEvent)> {
        let host = self.flows[flow].from;
        self.lines[host].sending = false;
        self.send(host)
    }

    /// A packet stands before the receiver's line in. One that comes `again` is let in.
    pub fn queued(&mut self, flow: usize, packet: Packet, again: bool) -> Option<(u64, LineEvent)> {
        let host = self.flows[flow].to;
        if self.lines[host].queue >= QUEUE && !again {
            return Some((RECOVERY, LineEvent::Again(flow, packet)));
        }
        self.lines[host].queue += packet.bytes.len();
        self.lines[host].waiting.push_back((flow, packet));
        self.receive(host)
    }

    /// The packet at the head is through: its flow, and what can be read of that now.
    pub fn through(&mut self, host: usize) -> (usize, Stream) {
        let line = &mut self.lines[host];
        line.receiving = false;
        let (flow, packet) = line.waiting.pop_front().expect("a packet was under way");
        line.queue -= packet.bytes.len();
        let f = &mut self.flows[flow];
        f.ahead.insert(packet.at, packet.bytes);
        let mut in_order = Stream::default();
        while let Some(next) = f.ahead.remove(&f.received) {
            f.received += next.len() as u64;
            in_order.append(next);
        }
        (flow, in_order)
    }

    pub fn receive(&mut self, host: usize) -> Option<(u64, LineEvent)> {
        let line = &mut self.lines[host];
        let len = line.waiting.front()?.1.bytes.len() as u64;
        if std::mem::replace(&mut line.receiving, true) {
            return None;
        }
        Some((len * 1_000_000 / line.down, LineEvent::Through(host)))
    }
}
