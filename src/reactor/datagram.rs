//! The datagram sockets: one with the number of the listening port, and those of local discovery.
//! What cannot be sent is lost, as datagrams may be.

use crate::proto::output::Via;
use crate::reactor::multicast::Multicast;
use crate::reactor::sockets;
use crate::reactor::udp::Open;
use crate::units::limits::DATAGRAM_BYTES_MAX;
use if_addrs::Interface;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// All datagram sockets of the process.
#[derive(Debug)]
pub struct Datagrams {
    port: Option<Open>,
    lsd: Option<Multicast>,
    buffer: Box<[u8]>,
}

impl Datagrams {
    /// Opens the socket with the number of the listening port. Where another program has it,
    /// everything over TCP goes on without.
    #[must_use]
    pub fn open(bind: Option<IpAddr>, port: u16, registry: &Registry, token: Token) -> Self {
        let opened = open_port(bind, port).and_then(|mut open| {
            registry.register(&mut open.socket, token, Interest::READABLE)?;
            Ok(open)
        });
        let port = match opened {
            Ok(open) => Some(open),
            Err(error) => {
                let why = sockets::words(&error);
                log::warn!("UDP port {port}: {why}; going on without UDP");
                None
            }
        };
        Self { port, lsd: None, buffer: vec![0; DATAGRAM_BYTES_MAX + 1].into_boxed_slice() }
    }

    /// Opens the sockets of local discovery; they hear nothing before [`Datagrams::rejoin`].
    pub fn open_lsd(&mut self, bind: Option<IpAddr>, registry: &Registry, token: Token) {
        self.lsd = Some(Multicast::open(bind, registry, token));
    }

    /// Hears local announces on these interfaces from now on.
    pub fn rejoin(&mut self, interfaces: &[Interface]) {
        if let Some(lsd) = &mut self.lsd {
            lsd.rejoin(interfaces);
        }
    }

    /// Something has come.
    pub fn set_ready(&mut self) {
        self.all_mut().for_each(|(_, open)| open.ready = true);
    }

    /// Whether the socket with the number of the listening port is there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.port.is_some()
    }

    /// Whether a read may bring something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let lsd = self.lsd.iter().flat_map(|lsd| [&lsd.v4, &lsd.v6]);
        lsd.chain([&self.port]).flatten().any(|open| open.ready)
    }

    /// The next datagram that is waiting.
    pub fn receive(&mut self) -> Option<(Via, SocketAddr, &[u8])> {
        let mut buffer = core::mem::take(&mut self.buffer);
        let received = self.all_mut().find_map(|(via, open)| {
            let (from, count) = open.receive(&mut buffer)?;
            Some((via, from, count))
        });
        self.buffer = buffer;
        let (via, from, count) = received?;
        Some((via, from, &self.buffer[..count]))
    }

    /// Sends, if the system takes it.
    pub fn send(&mut self, via: Via, to: SocketAddr, bytes: &[u8]) {
        match via {
            Via::Lsd => {
                if let Some(lsd) = &self.lsd {
                    lsd.send(to, bytes);
                }
            }
            Via::Port => {
                if let Some(Err(error)) = self.port.as_ref().map(|open| open.send(to, bytes)) {
                    log::debug!("UDP to {to}: {}", sockets::words(&error));
                }
            }
        }
    }

    fn all_mut(&mut self) -> impl Iterator<Item = (Via, &mut Open)> {
        let lsd = self.lsd.iter_mut().flat_map(|lsd| [&mut lsd.v4, &mut lsd.v6]).flatten();
        let port = self.port.iter_mut().map(|open| (Via::Port, open));
        port.chain(lsd.map(|open| (Via::Lsd, open)))
    }
}

fn open_port(bind: Option<IpAddr>, port: u16) -> io::Result<Open> {
    match bind {
        Some(ip) => open_on(SocketAddr::new(ip, port)),
        None => match open_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            // A host without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                open_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            other => other,
        },
    }
}

/// Without `SO_REUSEADDR`: two programs with one UDP port would take each other's datagrams.
fn open_on(addr: SocketAddr) -> io::Result<Open> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(Open { socket: UdpSocket::from_std(socket.into()), v6: addr.is_ipv6(), ready: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    fn arrives(poll: &mut Poll, datagrams: &mut Datagrams) {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty());
        datagrams.set_ready();
    }

    #[test]
    fn both_families_on_one_port_and_nothing_too_long() {
        let mut poll = Poll::new().unwrap();
        let mut datagrams = Datagrams::open(None, 0, poll.registry(), Token(1));
        let port = datagrams.port.as_ref().unwrap().socket.local_addr().unwrap().port();
        assert!(datagrams.receive().is_none());
        let families = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        for ip in families {
            let Ok(other) = std::net::UdpSocket::bind((ip, 0)) else { continue };
            let here = other.local_addr().unwrap();
            other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            other.send_to(&[b'x'; DATAGRAM_BYTES_MAX + 1], (ip, port)).unwrap();
            other.send_to(b"hello", (ip, port)).unwrap();
            let received = loop {
                if let Some((via, from, bytes)) = datagrams.receive() {
                    break (via, from, bytes.to_vec());
                }
                arrives(&mut poll, &mut datagrams);
            };
            assert_eq!(received, (Via::Port, here, b"hello".to_vec()));
            datagrams.send(Via::Port, here, b"answer");
            let mut buffer = [0; 16];
            assert_eq!(other.recv(&mut buffer).unwrap(), 6);
        }
    }

    #[test]
    fn a_port_in_use_costs_udp_only() {
        let poll = Poll::new().unwrap();
        let taken = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let bind = Some(Ipv4Addr::LOCALHOST.into());
        let mut datagrams = Datagrams::open(bind, port, poll.registry(), Token(1));
        assert!(!datagrams.is_ready());
        assert!(datagrams.receive().is_none());
        datagrams.send(Via::Port, taken.local_addr().unwrap(), b"lost");
    }
}
