//! One socket: reads to where the bytes belong, writes from where they rest.

use super::mmap::Storage;
use super::window::{GatherRead, GatherWrite};
use crate::proto::incoming::{ReceivePlan, Segment as Place};
use crate::proto::outgoing::{Segment as Piece, SendPlan};
use crate::proto::store::StoreError;
use crate::units::id::{ConnId, SwarmId};
use mio::net::TcpStream;
use std::io;

/// A socket and what we know of its readiness. Edges are not repeated, so a socket stays ready
/// here until a call says otherwise.
#[derive(Debug)]
pub struct Link {
    /// Whose it is.
    pub id: ConnId,
    /// The socket.
    pub stream: TcpStream,
    /// It was dialed and is not connected yet.
    pub dialing: bool,
    /// A read may bring something.
    pub readable: bool,
    /// A write may take something.
    pub writable: bool,
}

/// What became of one read or write.
#[derive(Debug)]
pub enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// The socket is not ready; an event will tell.
    Blocked,
    /// The remote end has closed.
    End,
    /// The socket has failed.
    Failed(io::Error),
    /// The content of this swarm is bad, not the socket.
    BadContent(SwarmId, StoreError),
}

impl Link {
    /// One `readv` to where `plan` says.
    pub fn receive(
        &mut self,
        plan: &ReceivePlan,
        mut scratch: &mut [u8],
        storage: &mut Storage,
    ) -> Moved {
        let mut gather = GatherRead::new(storage);
        let swarm = plan.swarm.unwrap_or(SwarmId(u32::MAX));
        for segment in &plan.segments {
            match *segment {
                Place::Scratch(len) => {
                    let (part, rest) = scratch.split_at_mut(len);
                    gather.push_bytes(part);
                    scratch = rest;
                }
                Place::Content { offset, len } => {
                    if let Err(error) = gather.push_content(swarm, offset, len) {
                        return Moved::BadContent(swarm, error);
                    }
                }
            }
        }
        let wanted = gather.len();
        loop {
            return match gather.read_from(&mut self.stream) {
                Ok(0) => Moved::End,
                Ok(count) => {
                    // A short read has emptied the socket; new bytes raise a new edge.
                    self.readable = count == wanted;
                    Moved::Bytes(count)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed(error, swarm, false),
            };
        }
    }

    /// One `writev` of what `plan` says.
    pub fn send(&mut self, plan: &SendPlan, storage: &mut Storage) -> Moved {
        let mut gather = GatherWrite::new(storage);
        let swarm = plan.swarm.unwrap_or(SwarmId(u32::MAX));
        for segment in &plan.segments {
            match *segment {
                Piece::Bytes(from, to) => gather.push_const(&plan.bytes[from..to]),
                Piece::Content { offset, len } => {
                    if let Err(error) = gather.push_content(swarm, offset, len) {
                        return Moved::BadContent(swarm, error);
                    }
                }
            }
        }
        let wanted = gather.len();
        loop {
            return match gather.write_to(&mut self.stream) {
                Ok(count) => {
                    self.writable = count == wanted;
                    Moved::Bytes(count)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed(error, swarm, true),
            };
        }
    }

    fn failed(&mut self, error: io::Error, swarm: SwarmId, sending: bool) -> Moved {
        if error.kind() == io::ErrorKind::WouldBlock {
            if sending {
                self.writable = false;
            } else {
                self.readable = false;
            }
            return Moved::Blocked;
        }
        if error.raw_os_error() == Some(libc::EFAULT) {
            return Moved::BadContent(swarm, StoreError("a file was cut short".to_owned()));
        }
        Moved::Failed(error)
    }
}
