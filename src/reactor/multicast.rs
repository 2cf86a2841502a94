//! The sockets of local service discovery (BEP 14): they hear its groups on every interface, and
//! send to them on every interface.

use crate::reactor::sockets;
use crate::reactor::udp::Open;
use crate::wire::lsd::{GROUP_V4, GROUP_V6};
use if_addrs::Interface;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One socket for each family, and the interfaces they have joined.
#[derive(Debug)]
pub struct Multicast {
    /// The one address to use, if the user named one.
    bind: Option<IpAddr>,
    pub(super) v4: Option<Open>,
    pub(super) v6: Option<Open>,
    joined: Vec<Membership>,
}

/// Where a group was joined. An interface that goes and comes back has another index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Membership {
    index: u32,
    ip: IpAddr,
}

impl Multicast {
    /// Opens the sockets; [`Multicast::rejoin`] makes them hear.
    #[must_use]
    pub fn open(bind: Option<IpAddr>, registry: &Registry, token: Token) -> Self {
        let open = |any: IpAddr, port: u16| {
            if bind.is_some_and(|ip| ip.is_ipv4() != any.is_ipv4()) {
                return None;
            }
            let opened = open_on(SocketAddr::new(any, port)).and_then(|mut open| {
                registry.register(&mut open.socket, token, Interest::READABLE)?;
                Ok(open)
            });
            match opened {
                Ok(open) => Some(open),
                Err(error) => {
                    log::debug!("no local discovery on {any}: {}", sockets::words(&error));
                    None
                }
            }
        };
        let v4 = open(Ipv4Addr::UNSPECIFIED.into(), GROUP_V4.port());
        let v6 = open(Ipv6Addr::UNSPECIFIED.into(), GROUP_V6.port());
        if v4.is_none() && v6.is_none() {
            log::warn!("UDP port {}: cannot be opened; no local discovery", GROUP_V4.port());
        }
        Self { bind, v4, v6, joined: Vec::new() }
    }

    /// Joins the groups on interfaces that are new, and forgets those that are gone.
    pub fn rejoin(&mut self, interfaces: &[Interface]) {
        let wanted = self.wanted(interfaces);
        self.joined.retain(|membership| wanted.contains(membership));
        for membership in wanted {
            if self.joined.contains(&membership) {
                continue;
            }
            match self.join(membership) {
                Ok(()) => log::debug!("local discovery on {}", membership.ip),
                Err(error) => {
                    log::debug!("no local discovery on {}: {error}", membership.ip);
                }
            }
            // What cannot be joined is not tried again and again.
            self.joined.push(membership);
        }
    }

    /// Sends on every interface of the group's family.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let open = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(open) = open else { return };
        for membership in self.joined.iter().filter(|m| m.ip.is_ipv4() == to.is_ipv4()) {
            let socket = SockRef::from(&open.socket);
            let through = match membership.ip {
                IpAddr::V4(ip) => socket.set_multicast_if_v4(&ip),
                IpAddr::V6(_) => socket.set_multicast_if_v6(membership.index),
            };
            if let Err(error) = through.and_then(|()| open.socket.send_to(bytes, to)) {
                let why = sockets::words(&error);
                log::debug!("local announce through {}: {why}", membership.ip);
            }
        }
    }

    /// One membership for each IPv4 address and for each interface with IPv6. The loopback only
    /// where there is nothing else: two peers of one host meet on any interface.
    fn wanted(&self, interfaces: &[Interface]) -> Vec<Membership> {
        let named = |i: &&Interface| self.bind.is_none_or(|ip| i.ip() == ip);
        let network = interfaces.iter().filter(named).any(|i| !i.is_loopback());
        let mut wanted: Vec<Membership> = Vec::new();
        for interface in interfaces.iter().filter(named) {
            let index = interface.index.unwrap_or(0);
            let membership = Membership { index, ip: interface.ip() };
            let twice = wanted.iter().any(|other| {
                let same_v6 = membership.ip.is_ipv6() && other.ip.is_ipv6() && other.index == index;
                *other == membership || same_v6
            });
            if !twice && (!network || !interface.is_loopback()) {
                wanted.push(membership);
            }
        }
        wanted
    }

    fn join(&self, membership: Membership) -> io::Result<()> {
        let joined = match (membership.ip, &self.v4, &self.v6) {
            (IpAddr::V4(ip), Some(open), _) => {
                SockRef::from(&open.socket).join_multicast_v4(GROUP_V4.ip(), &ip)
            }
            (IpAddr::V6(_), _, Some(open)) => {
                SockRef::from(&open.socket).join_multicast_v6(GROUP_V6.ip(), membership.index)
            }
            _ => Ok(()),
        };
        match joined {
            // A second address of the same interface.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
            other => other,
        }
    }
}

fn open_on(addr: SocketAddr) -> io::Result<Open> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    // Every client on this host has the port: with both options all of them get every datagram.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv4() {
        socket.set_multicast_ttl_v4(1)?;
        socket.set_multicast_loop_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_multicast_hops_v6(1)?;
        socket.set_multicast_loop_v6(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(Open { socket: UdpSocket::from_std(socket.into()), v6: addr.is_ipv6(), ready: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::output::Via;
    use crate::reactor::datagram::Datagrams;
    use mio::{Events, Poll};
    use std::time::Duration;

    /// Two programs on one host, without any network: each hears the other and itself.
    #[test]
    fn two_on_one_host_hear_each_other() {
        let bind = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
        let interfaces = if_addrs::get_if_addrs().unwrap();
        let mut poll = Poll::new().unwrap();
        let open = || {
            let mut datagrams = Datagrams::open(bind, 0, poll.registry(), Token(1));
            datagrams.open_lsd(bind, poll.registry(), Token(2));
            datagrams.rejoin(&interfaces);
            datagrams
        };
        let (mut a, mut b) = (open(), open());
        let mine = format!("BT-SEARCH test {}", std::process::id()).into_bytes();
        a.send(Via::Lsd, GROUP_V4.into(), &mine);
        let mut events = Events::with_capacity(8);
        for datagrams in [&mut a, &mut b] {
            loop {
                // Others on this host may speak as well.
                match datagrams.receive() {
                    Some((Via::Lsd, from, bytes)) if bytes == mine => {
                        assert!(from.ip().is_loopback());
                        break;
                    }
                    Some(_) => {}
                    None => {
                        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
                        assert!(!events.is_empty(), "nothing was heard");
                        datagrams.set_ready();
                    }
                }
            }
        }
    }

    #[test]
    fn the_loopback_only_where_there_is_nothing_else() {
        let poll = Poll::new().unwrap();
        let loopback = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
        let interfaces = if_addrs::get_if_addrs().unwrap();
        let multicast = Multicast::open(loopback, poll.registry(), Token(1));
        assert!(multicast.v6.is_none());
        let wanted = multicast.wanted(&interfaces);
        assert_eq!(wanted.iter().map(|m| m.ip).collect::<Vec<_>>(), loopback.as_slice());
        let multicast = Multicast { bind: None, ..multicast };
        let wanted = multicast.wanted(&interfaces);
        let network = interfaces.iter().any(|i| !i.is_loopback());
        assert!(wanted.iter().all(|m| m.ip.is_loopback() != network), "{wanted:?}");
    }
}
