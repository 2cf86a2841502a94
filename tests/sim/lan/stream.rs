//! What is on its way from one host to another: message bytes as they are, payload as a length.
//!
//! Nothing here depends on what the payload is, so none is kept; content of any size costs nothing.

use reactor_peer::proto::outgoing::{Segment as Piece, SendPlan};
use reactor_peer::proto::store::{Store, StoreError};
use reactor_peer::units::id::SwarmId;
use std::collections::VecDeque;

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

    /// The bytes, payload as zeros.
    pub fn read_into(&self, into: &mut Vec<u8>) {
        into.clear();
        for run in &self.runs {
            match run {
                Run::Bytes(bytes) => into.extend_from_slice(bytes),
                Run::Payload(len) => into.resize(into.len() + len, 0),
            }
        }
    }
}

/// A disk on which payload is nothing.
#[derive(Debug)]
pub struct Nothing;

impl Store for Nothing {
    fn read(&mut self, _: SwarmId, _: u64, into: &mut [u8]) -> Result<(), StoreError> {
        into.fill(0);
        Ok(())
    }

    fn write(&mut self, _: SwarmId, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}
