//! What is on its way from one host to another: message bytes as they are, payload as a length.
//!
//! Nothing here depends on what the payload is, so none is kept; content of any size costs nothing.

use reactor_peer::proto::incoming::{ReceivePlan, Segment as Place};
use reactor_peer::proto::outgoing::{Segment as Piece, SendPlan};
use reactor_peer::proto::store::{Store, StoreError};
use reactor_peer::units::id::SwarmId;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
enum Run {
    Bytes(Vec<u8>),
    Payload(usize),
}

/// Bytes in order.
#[derive(Debug, Default)]
pub struct Stream {
    runs: VecDeque<Run>,
    len: usize,
}

impl Stream {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends at most `most` bytes of what a peer sends.
    pub fn push_plan(&mut self, plan: &SendPlan, most: usize) -> usize {
        let mut left = most;
        for segment in &plan.segments {
            let run = match *segment {
                Piece::Bytes(from, to) => Run::Bytes(plan.bytes[from..to.min(from + left)].into()),
                Piece::Content { len, .. } => Run::Payload(len.min(left)),
            };
            left -= self.push(run);
            if left == 0 {
                break;
            }
        }
        most - left
    }

    pub fn append(&mut self, other: Self) {
        for run in other.runs {
            self.push(run);
        }
    }

    /// Takes the first `count` bytes off.
    pub fn split(&mut self, count: usize) -> Self {
        let mut first = Self::default();
        while first.len < count {
            let Some(mut run) = self.runs.pop_front() else { break };
            let want = count - first.len;
            let rest = match &mut run {
                Run::Bytes(bytes) if bytes.len() > want => Some(Run::Bytes(bytes.split_off(want))),
                Run::Payload(len) if *len > want => {
                    let rest = *len - want;
                    *len = want;
                    Some(Run::Payload(rest))
                }
                _ => None,
            };
            first.push(run);
            if let Some(rest) = rest {
                self.runs.push_front(rest);
            }
        }
        self.len -= first.len;
        first
    }

    /// Puts all bytes where the plan says.
    pub fn place(mut self, plan: &ReceivePlan, scratch: &mut [u8], disk: &mut Strays) {
        let mut at = 0;
        for segment in &plan.segments {
            let (Place::Scratch(len) | Place::Content { len, .. }) = *segment;
            let part = self.split(len.min(self.len));
            match *segment {
                Place::Scratch(_) => {
                    part.copy_to(&mut scratch[at..]);
                    at += len;
                }
                Place::Content { offset, .. } => disk.put(offset, &part),
            }
        }
        assert_eq!(self.len, 0, "more bytes than the plan has room for");
    }

    fn push(&mut self, run: Run) -> usize {
        let len = match &run {
            Run::Bytes(bytes) => bytes.len(),
            Run::Payload(len) => *len,
        };
        self.len += len;
        match (self.runs.back_mut(), run) {
            (Some(Run::Payload(before)), Run::Payload(len)) => *before += len,
            (_, run) if len > 0 => self.runs.push_back(run),
            _ => {}
        }
        len
    }

    fn copy_to(&self, mut into: &mut [u8]) {
        for run in &self.runs {
            match run {
                Run::Bytes(bytes) => {
                    into[..bytes.len()].copy_from_slice(bytes);
                    into = &mut into[bytes.len()..];
                }
                Run::Payload(len) => {
                    into[..*len].fill(0);
                    into = &mut into[*len..];
                }
            }
        }
    }
}

/// A disk on which payload is nothing; message bytes that a plan put in the wrong place are kept.
#[derive(Debug, Default)]
pub struct Strays(BTreeMap<u64, u8>);

impl Strays {
    fn put(&mut self, mut offset: u64, part: &Stream) {
        for run in &part.runs {
            match run {
                Run::Bytes(bytes) => {
                    self.0.extend((offset..).zip(bytes.iter().copied()));
                    offset += bytes.len() as u64;
                }
                Run::Payload(len) => {
                    self.clear(offset, *len);
                    offset += *len as u64;
                }
            }
        }
    }

    fn clear(&mut self, offset: u64, len: usize) {
        while let Some((&at, _)) = self.0.range(offset..offset + len as u64).next() {
            self.0.remove(&at);
        }
    }
}

impl Store for Strays {
    fn read(&mut self, _: SwarmId, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        into.fill(0);
        for (&at, &byte) in self.0.range(offset..offset + into.len() as u64) {
            into[(at - offset) as usize] = byte;
        }
        Ok(())
    }

    fn write(&mut self, _: SwarmId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.clear(offset, bytes.len());
        Ok(())
    }
}
