//! One socket: reads into a buffer, writes from where the content rests.

use super::gather::GatherWrite;
use super::mmap::Storage;
use super::tls::Tls;
use crate::proto::outgoing::{Segment as Piece, SendPlan};
use crate::proto::store::StoreError;
use crate::units::id::{ConnId, SwarmId};
use crate::units::time::Instant;
use mio::net::TcpStream;
use std::io::{self, Read};

/// A socket and what we know of its readiness. Edges are not repeated, so a socket stays ready
/// here until a call says otherwise.
#[derive(Debug)]
pub struct Link {
    /// Whose it is.
    pub id: ConnId,
    /// The socket.
    pub stream: TcpStream,
    /// What stands between the socket and the bytes, if anything.
    pub tls: Option<Tls>,
    /// It was dialed and is not connected yet.
    pub dialing: bool,
    /// A read may bring something.
    pub readable: bool,
    /// It is not read from for a while, because the disk does not keep up.
    pub held: bool,
    /// The remote end has closed or the socket has failed: its last edge has come, so only a read
    /// that says so is the end.
    pub ending: bool,
    /// A write may take something.
    pub writable: bool,
    /// The core may have something to send.
    pub wants_send: bool,
    /// It waits for its turn already.
    pub queued: bool,
    /// What it is to send next is still on the disk: a look at it is due later.
    pub cold: bool,
    /// Since when nothing could be sent for that reason.
    pub cold_since: Option<Instant>,
}

/// What became of one read or write.
#[derive(Debug)]
pub enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// The socket is not ready; an event will tell.
    Blocked,
    /// What comes next must come from the disk first.
    Cold,
    /// The remote end has closed.
    End,
    /// The socket has failed.
    Failed(io::Error),
    /// The content of this swarm is bad, not the socket.
    BadContent(SwarmId, StoreError),
}

impl Link {
    /// A link of which nothing is known yet.
    #[must_use]
    pub fn new(id: ConnId, stream: TcpStream, dialing: bool) -> Self {
        Self {
            id,
            stream,
            tls: None,
            dialing,
            readable: false,
            held: false,
            ending: false,
            writable: !dialing,
            wants_send: false,
            queued: false,
            cold: false,
            cold_since: None,
        }
    }

    /// Its id, if it can move something and does not wait for its turn yet; then it does.
    pub fn becomes_ready(&mut self) -> Option<ConnId> {
        let ready = match self.dialing {
            true => self.writable,
            false => self.can_receive() || self.can_send(),
        };
        (ready && !core::mem::replace(&mut self.queued, true)).then_some(self.id)
    }

    /// Whether a read is worth a try.
    #[must_use]
    pub const fn can_receive(&self) -> bool {
        self.readable && !self.held
    }

    /// Whether a write is worth a try.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.writable && self.wants_send && !self.cold
    }

    /// One `read`.
    pub fn receive(&mut self, into: &mut [u8]) -> Moved {
        if let Some(tls) = &mut self.tls {
            // There may be more within TLS when the socket is empty, so it stays readable.
            return match tls.read(&mut self.stream, into) {
                Ok(0) => Moved::End,
                Ok(count) => Moved::Bytes(count),
                Err(error) => self.failed(error, None),
            };
        }
        loop {
            return match self.stream.read(into) {
                Ok(0) => Moved::End,
                Ok(count) => {
                    // A short read has emptied the socket; new bytes raise a new edge. The end
                    // that came with them does not.
                    self.readable = self.ending || count == into.len();
                    Moved::Bytes(count)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed(error, None),
            };
        }
    }

    /// One `writev` of what `plan` says, as far as that is in memory, or of all of it if it `may_wait` for the disk.
    pub fn send(&mut self, plan: &SendPlan, storage: &mut Storage, may_wait: bool) -> Moved {
        if let Some(tls) = &mut self.tls {
            return match tls.write(&mut self.stream, &plan.bytes) {
                Ok(count) => Moved::Bytes(count),
                Err(error) => self.failed(error, None),
            };
        }
        let mut gather = GatherWrite::new(storage);
        if may_wait {
            gather.wait_for_disk();
        }
        let swarm = plan.swarm.unwrap_or(SwarmId(u32::MAX));
        let mut before_head = gather.mark();
        for segment in &plan.segments {
            match *segment {
                Piece::Bytes(from, to) => {
                    before_head = gather.mark();
                    gather.push_const(&plan.bytes[from..to]);
                }
                Piece::Content { offset, len } => match gather.push_content(swarm, offset, len) {
                    Ok(true) => before_head = gather.mark(),
                    // Its head waits with it: other messages may go between.
                    Ok(false) => {
                        gather.back_to(before_head);
                        break;
                    }
                    Err(error) => return Moved::BadContent(swarm, error),
                },
            }
        }
        let wanted = gather.len();
        if wanted == 0 && !plan.segments.is_empty() {
            return Moved::Cold;
        }
        loop {
            return match gather.write_to(&mut self.stream) {
                Ok(count) => {
                    self.writable = count == wanted;
                    Moved::Bytes(count)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed(error, Some(swarm)),
            };
        }
    }

    /// Sends what TLS has to say of itself, if it is there.
    ///
    /// # Errors
    /// As the socket says.
    pub fn flush(&mut self) -> io::Result<()> {
        let Self { tls, stream, .. } = self;
        tls.as_mut().map_or(Ok(()), |tls| tls.flush(stream))
    }

    /// `sending`: whose content, if the call was a write.
    fn failed(&mut self, error: io::Error, sending: Option<SwarmId>) -> Moved {
        match sending {
            _ if error.kind() != io::ErrorKind::WouldBlock => {}
            Some(_) => self.writable = false,
            None => self.readable = false,
        }
        match sending {
            _ if error.kind() == io::ErrorKind::WouldBlock => Moved::Blocked,
            Some(swarm) if error.raw_os_error() == Some(libc::EFAULT) => {
                Moved::BadContent(swarm, StoreError::new("a file was cut short".to_owned()))
            }
            _ => Moved::Failed(error),
        }
    }
}
