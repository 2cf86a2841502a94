//! One datagram socket. Edges are not repeated, so it stays ready here until a read says otherwise.

use crate::reactor::sockets;
use crate::units::limits::DATAGRAM_BYTES_MAX;
use crate::wire::address::unmap;
use mio::net::UdpSocket;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};

/// A socket, and whether a read may bring something: edges are not repeated.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) socket: UdpSocket,
    /// An IPv6 socket reaches IPv4 by mapped addresses.
    pub(super) v6: bool,
    pub(super) ready: bool,
}

impl Open {
    /// The next datagram: from whom, and how long.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<(SocketAddr, usize)> {
        while self.ready {
            match self.socket.recv_from(buffer) {
                // What fills it was cut off: nothing we speak is that long.
                Ok((count, _)) if count > DATAGRAM_BYTES_MAX => {}
                Ok((count, from)) => return Some((unmap(from), count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An ICMP error of an earlier send ends up here; it says nothing about the next.
                Err(error) => log::debug!("UDP: {}", sockets::words(&error)),
            }
        }
        None
    }

    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let to = match to {
            SocketAddr::V4(v4) if self.v6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            to => to,
        };
        self.socket.send_to(bytes, to).map(|_| ())
    }
}
