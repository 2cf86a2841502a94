//! Sockets: the one that listens, and those that are bound before they connect.

use crate::proto::peer::DialError;
use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use rustix::process::{getrlimit, setrlimit, Resource};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Silence before the system asks the other host whether it is still there. One that was
/// restarted says no: then it is dialed again within the 5 s promised for known hosts.
const PROBE_AFTER: Duration = Duration::from_secs(3);
/// Between two such probes.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// What the other host leaves unanswered so long ends the connection: probes and data alike. Long
/// enough for a slow reader to make room again.
const UNANSWERED_MAX: Duration = Duration::from_secs(20);
/// Bytes that the system takes beyond what is on its way. What is decided afterwards, such as a
/// `have`, a `choke` or who comes and goes, must not wait behind seconds of blocks on a slow line.
const UNSENT_BYTES: u32 = 64 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The listening socket: IPv4 and IPv6 at once, or `bind` alone.
///
/// # Errors
/// As the system says; the port is never another than asked for.
pub fn listen(bind: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let listener = match bind {
        Some(ip) => listen_on(SocketAddr::new(ip, port)),
        None => match listen_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            // A host without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            other => other,
        },
    };
    listener.map(TcpListener::from_std)
}

fn listen_on(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // Restarting must not wait for the last connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket on its way to `remote`, bound to `bind` and to the client port `port` first.
///
/// # Errors
/// [`DialError::PortBusy`] where another local port may do better.
pub fn dial(
    remote: SocketAddr,
    bind: Option<IpAddr>,
    port: Option<u16>,
) -> Result<TcpStream, DialError> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    if !reaches(bind, remote.ip()) {
        return Err(DialError::Failed("--bind is an address of the other kind".into()));
    }
    let local = bind.filter(|ip| ip.is_ipv4() == remote.is_ipv4()).unwrap_or(any);
    let connect = || {
        let domain = Domain::for_address(remote);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        // With it a redial right after a close works: the port may rest in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::new(local, port.unwrap_or(0)).into())?;
        match socket.connect(&remote.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                Err(error)
            }
            _ => Ok(socket),
        }
    };
    match connect() {
        Ok(socket) => Ok(TcpStream::from_std(socket.into())),
        Err(error) => Err(dial_error(&error)),
    }
}

/// Whether a socket bound to this address can reach that one: IPv4 does not lead to IPv6. Only who is
/// bound to `::` has both.
#[must_use]
pub fn reaches(bind: Option<IpAddr>, remote: IpAddr) -> bool {
    let bind = bind.filter(|&ip| ip != IpAddr::from(Ipv6Addr::UNSPECIFIED));
    bind.is_none_or(|ip| ip.is_ipv4() == remote.is_ipv4())
}

/// Whether a dialed socket is connected by now. `Ok(None)`: not yet.
///
/// # Errors
/// Why it never will be.
pub fn connected(stream: &TcpStream) -> Result<Option<SocketAddr>, DialError> {
    if let Ok(Some(error)) | Err(error) = stream.take_error() {
        return Err(dial_error(&error));
    }
    match stream.peer_addr() {
        Ok(_) => stream.local_addr().map(Some).map_err(|error| dial_error(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(dial_error(&error)),
    }
}

/// Small messages must not wait for large ones, and a host that is gone without a word must be
/// found out while it is away, not minutes later.
pub fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    let prepared = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&probes))
        .and_then(|()| socket.set_tcp_user_timeout(Some(UNANSWERED_MAX)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES));
    if let Err(error) = prepared {
        log::debug!("socket options: {error}");
    }
}

/// Takes as many descriptors as the system grants: the usual soft limit is for programs that use
/// `select`. Where it grants no more, accepts pause when none is left.
pub fn take_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::debug!("the limit of descriptors stays: {error}");
        }
    }
}

/// Whether the address is ours: the one that we are bound to, else any of this host, for only to
/// those can a socket be bound. Another address of the host may be that of another peer.
#[must_use]
pub fn is_own(ip: IpAddr, bind: Option<IpAddr>) -> bool {
    if let Some(bind) = bind.filter(|bind| !bind.is_unspecified()) {
        return ip == bind;
    }
    !ip.is_unspecified() && !ip.is_multicast() && UdpSocket::bind((ip, 0)).is_ok()
}

/// The addresses of this host, those that others can reach first.
#[must_use]
pub fn own_addresses(bind: Option<IpAddr>) -> Vec<IpAddr> {
    if let Some(ip) = bind.filter(|ip| !ip.is_unspecified()) {
        return vec![ip];
    }
    let mut ips: Vec<IpAddr> = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            log::warn!("cannot list the network interfaces: {error}");
            vec![Ipv4Addr::LOCALHOST.into()]
        }
    };
    let link_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    };
    ips.retain(|&ip| reaches(bind, ip));
    ips.sort_unstable_by_key(|ip| (ip.is_loopback(), link_local(ip), ip.is_ipv6(), *ip));
    ips.dedup();
    ips
}

/// The system's words for a person: `reset by peer`, not `Connection reset by peer (os error 104)`.
#[must_use]
pub fn words(error: &io::Error) -> String {
    // Words of our own.
    if let Some(inner) = error.get_ref() {
        return inner.to_string();
    }
    use io::ErrorKind::{
        AddrInUse, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkUnreachable, TimedOut,
    };
    let known = match error.kind() {
        AddrInUse => "the port is in use",
        ConnectionAborted => "connection aborted",
        ConnectionRefused => "connection refused",
        ConnectionReset => "reset by peer",
        HostUnreachable => "no route to host",
        NetworkUnreachable => "network unreachable",
        TimedOut => "timed out",
        _ => {
            let text = error.to_string();
            return text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        }
    };
    known.to_owned()
}

fn dial_error(error: &io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => DialError::PortBusy,
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        _ => DialError::Failed(words(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_told_by_binding() {
        let (local, other) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        assert!(is_own(local, None));
        assert!(!is_own("192.0.2.1".parse().unwrap(), None));
        assert!(!is_own(Ipv4Addr::UNSPECIFIED.into(), None));
        // Several peers on one machine, each with an address of its own.
        assert!(is_own(local, Some(local)));
        assert!(!is_own(other, Some(local)));
        assert!(is_own(other, Some(Ipv4Addr::UNSPECIFIED.into())));
        assert!(own_addresses(Some(Ipv4Addr::UNSPECIFIED.into())).iter().all(IpAddr::is_ipv4));
    }

    #[test]
    fn nothing_is_dialed_from_another_address_than_the_bound_one() {
        let [v4, v6] = ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert!(reaches(Some(v4), v4) && reaches(Some(v6), v6));
        assert!(!reaches(Some(v4), v6) && !reaches(Some(v6), v4));
        assert!(reaches(None, v6) && reaches(Some(Ipv6Addr::UNSPECIFIED.into()), v4));
        assert!(!reaches(Some(Ipv4Addr::UNSPECIFIED.into()), v6));
        let refused = dial(SocketAddr::new(v6, 1), Some(v4), None);
        assert!(matches!(refused, Err(DialError::Failed(why)) if why.contains("--bind")));
    }

    #[test]
    fn errors_in_plain_words() {
        assert_eq!(words(&io::Error::from_raw_os_error(104)), "reset by peer");
        assert_eq!(words(&io::Error::from_raw_os_error(32)), "broken pipe");
    }
}
