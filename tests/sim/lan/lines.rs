//! The hosts' lines: each has a rate up and a rate down, and its flows share them.
//!
//! A host's line out takes from its flows in turn, a packet each, and never from one whose
//! receiver has a full queue: so the flows share fairly at both ends, as TCP's do in the long run.

use super::stream::Stream;
use std::collections::VecDeque;

/// Bytes that a line sends of one flow before the next has its turn.
const PACKET: usize = 8 * 1024;
/// Bytes that wait before a host's line in: 40 ms at 50 Mbit/s.
const QUEUE: usize = 256 * 1024;

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    /// Written, and not on the line yet.
    pub unsent: Stream,
    /// It stands in its host's turn.
    queued: bool,
}

impl Flow {
    pub fn new(from: usize, to: usize) -> Self {
        Self { from, to, ..Self::default() }
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
    waiting: VecDeque<(usize, Stream)>,
    queue: usize,
    /// Hosts that have something for this one and found its queue full.
    held: Vec<usize>,
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
    Left(usize, Stream),
    /// It arrives at the receiver's line in.
    Queued(usize, Stream),
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
        if f.unsent.len() > 0 && !std::mem::replace(&mut f.queued, true) {
            self.lines[f.from].turn.push_back(flow);
        }
        self.send(self.flows[flow].from)
    }

    /// Starts the next packet of a host, if its line is free.
    pub fn send(&mut self, host: usize) -> Option<(u64, LineEvent)> {
        if self.lines[host].sending {
            return None;
        }
        for _ in 0..self.lines[host].turn.len() {
            let flow = self.lines[host].turn.pop_front()?;
            let to = self.flows[flow].to;
            if self.lines[to].queue >= QUEUE {
                self.lines[host].turn.push_back(flow);
                if !self.lines[to].held.contains(&host) {
                    self.lines[to].held.push(host);
                }
                continue;
            }
            let f = &mut self.flows[flow];
            let packet = f.unsent.split(PACKET);
            f.queued = f.unsent.len() > 0;
            if f.queued {
                self.lines[host].turn.push_back(flow);
            }
            self.lines[to].queue += packet.len();
            self.lines[host].sending = true;
            let takes = packet.len() as u64 * 1_000_000 / self.lines[host].up;
            return Some((takes, LineEvent::Left(flow, packet)));
        }
        None
    }

    /// A packet has left the host: its line is free.
    pub fn left(&mut self, flow: usize) -> Option<(u64, LineEvent)> {
        let host = self.flows[flow].from;
        self.lines[host].sending = false;
        self.send(host)
    }

    /// A packet stands before the receiver's line in.
    pub fn queued(&mut self, flow: usize, packet: Stream) -> Option<(u64, LineEvent)> {
        let host = self.flows[flow].to;
        self.lines[host].waiting.push_back((flow, packet));
        self.receive(host)
    }

    /// The packet at the head is through; the hosts that waited for room are to be asked to send.
    pub fn through(&mut self, host: usize) -> (usize, Stream, Vec<usize>) {
        let line = &mut self.lines[host];
        line.receiving = false;
        let (flow, packet) = line.waiting.pop_front().expect("a packet was under way");
        line.queue -= packet.len();
        (flow, packet, std::mem::take(&mut line.held))
    }

    pub fn receive(&mut self, host: usize) -> Option<(u64, LineEvent)> {
        let line = &mut self.lines[host];
        let len = line.waiting.front()?.1.len() as u64;
        if std::mem::replace(&mut line.receiving, true) {
            return None;
        }
        Some((len * 1_000_000 / line.down, LineEvent::Through(host)))
    }
}
