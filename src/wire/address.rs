//! Addresses as people, torrents and peers write them: hosts with ports, and announces.
//! Parses text only; finding the addresses of a name is the reactor's work.

use super::text::{decimal, printable};
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The port a peer listens on when nothing else is said.
pub const PORT_DEFAULT: u16 = 5000;
/// What a bare announce asks for.
const ANNOUNCE_PATH: &str = "/announce";
/// Bytes of the longest announce: it must fit a request head beside its query.
const ANNOUNCE_BYTES_MAX: usize = 4 * 1024;

/// The address with an IPv4-mapped IPv6 address written as the IPv4 address it is, and without
/// flow label and scope: one peer, one key.
#[must_use]
pub const fn unmap(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether the address belongs to this machine or its network: loopback, private (RFC 1918),
/// link-local, unique local (RFC 4193).
#[must_use]
pub const fn is_lan(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether a TCP connection to the address can make sense at all.
#[must_use]
pub const fn is_dialable(addr: SocketAddr) -> bool {
    if addr.port() == 0 {
        return false;
    }
    match addr.ip().to_canonical() {
        // RFC 1122: 0.0.0.0/8 is "this network", never a destination.
        IpAddr::V4(v4) => v4.octets()[0] != 0 && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

/// A machine, by address or by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address, never an IPv4-mapped one.
    Ip(IpAddr),
    /// A name in lower case.
    Name(String),
}

/// A machine and a port on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The machine.
    pub host: Host,
    /// Never zero when parsed.
    pub port: u16,
}

/// Why a text is not the address of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// There is no text.
    Empty,
    /// Neither an IP address nor a host name.
    Host(String),
    /// Not a port from 1 to 65535.
    Port(String),
    /// A zone (`%eth0`) behind an IPv6 address.
    Zone(String),
}

impl HostPort {
    /// Reads `ip`, `ip:port`, `ip/port`, `[v6]`, `[v6]:port`, `v6`, `host`, `host:port` and
    /// `host/port`.
    ///
    /// # Errors
    /// When the text is none of these, or the port is 0 or above 65535.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { host: Host::from(ip), port: default_port });
        }
        if text.contains("://") {
            return Err(AddressError::Host(printable(text)));
        }
        if text.contains('%') {
            return Err(not_a_host(text.trim_start_matches('[')));
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) =
                rest.split_once(']').ok_or_else(|| AddressError::Host(printable(text)))?;
            let ip: Ipv6Addr = inside.parse().map_err(|_| AddressError::Host(printable(inside)))?;
            let port = match after.strip_prefix([':', '/']) {
                Some(port) => parse_port(port)?,
                None if after.is_empty() => default_port,
                None => return Err(AddressError::Port(printable(after))),
            };
            return Ok(Self { host: Host::from(IpAddr::V6(ip)), port });
        }
        // A slash comes first: `fe80::1/5000` has colons that are not for a port.
        let (host, port) = match text.rsplit_once('/').or_else(|| text.split_once(':')) {
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, default_port),
        };
        Ok(Self { host: parse_host(host)?, port })
    }

    /// The socket address, if the host is not a name.
    #[must_use]
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    match decimal(text) {
        Some(port @ 1..) => Ok(port),
        _ => Err(AddressError::Port(printable(text))),
    }
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Host::from(ip));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    // A name that ends in a number is a mistyped address (`10.0.0.256`), not a name.
    let number = name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if name.len() > 253 || number || !name.split('.').all(label_ok) {
        return Err(AddressError::Host(printable(text)));
    }
    Ok(Host::Name(name.to_ascii_lowercase()))
}

fn not_a_host(text: &str) -> AddressError {
    match text.split_once('%') {
        Some((ip, _)) if ip.parse::<Ipv6Addr>().is_ok() => AddressError::Zone(printable(text)),
        _ => AddressError::Host(printable(text)),
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> Self {
        Self { host: Host::from(addr.ip()), port: addr.port() }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostPort {
    /// The form that [`HostPort::parse`] reads back: `10.0.0.1:5000`, `[fe80::1]:5000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
            ref host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the address is empty"),
            Self::Host(text) => write!(f, "'{text}' is neither an IP address nor a host name"),
            Self::Port(text) => write!(f, "'{text}' is not a port from 1 to 65535"),
            Self::Zone(text) => write!(f, "'{text}': IPv6 zones are not supported"),
        }
    }
}

impl core::error::Error for AddressError {}

/// How a tracker is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP over TCP (BEP 3).
    Http,
    /// HTTP over TLS.
    Https,
    /// Datagrams (BEP 15).
    Udp,
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Udp => "udp",
        }
    }

    /// The port where a URL names none. BEP 15 knows none for UDP; others take this one.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::Udp => 80,
            Self::Https => 443,
        }
    }
}

/// Where a torrent says its tracker is (BEP 3, `announce`; BEP 12, `announce-list`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// How to talk to it.
    pub scheme: Scheme,
    /// Whom to dial.
    pub target: HostPort,
    /// What to ask for, with the query if there is one: `/announce?x=y`. Printable ASCII.
    pub path: String,
    /// No URL but a mere address: its host is a peer to dial as well.
    pub bare: bool,
    /// The whole as a URL, for people.
    pub url: String,
}

/// Why an announce cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnounceError {
    /// The host or port in it is wrong.
    Address(AddressError),
    /// It has spaces or control characters.
    Characters(String),
    /// Longer than any URL in use.
    Long,
    /// Its query sets what only the client may say.
    Parameter(&'static str),
    /// A scheme that no tracker uses.
    Scheme(String),
    /// A tracker we cannot talk to yet.
    Unsupported(String),
    /// A URL with a user name or a password.
    User,
}

impl Announce {
    /// Reads an `http://`, `https://` or `udp://` URL, or a bare address, which means `http://IP:5000/announce` (port
    /// and path as given) and a peer.
    ///
    /// # Errors
    /// When it is neither, or of a kind we cannot announce to.
    pub fn parse(text: &str) -> Result<Self, AnnounceError> {
        if text.len() > ANNOUNCE_BYTES_MAX {
            return Err(AnnounceError::Long);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AnnounceError::Characters(printable(text)));
        }
        match text.split_once("://") {
            Some((scheme, rest)) => Self::parse_url(text, scheme, rest),
            None => Self::parse_bare(text),
        }
    }

    fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<Self, AnnounceError> {
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "udp" => Scheme::Udp,
            known @ ("ws" | "wss") => return Err(AnnounceError::Unsupported(known.to_owned())),
            _ => return Err(AnnounceError::Scheme(printable(scheme))),
        };
        // RFC 3986, 3.5: the fragment stays with the client.
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(AnnounceError::User);
        }
        // RFC 3986, 3.2.2: IPv6 needs its brackets in a URL, and a slash is never a port there.
        if authority.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::Host(printable(authority)).into());
        }
        let authority = authority.strip_suffix(':').unwrap_or(authority);
        let path = match path {
            // No tracker lives at the root: the usual place is meant.
            "" => ANNOUNCE_PATH.to_owned(),
            _ if path.starts_with('?') => format!("/{}", ascii(path)),
            _ => ascii(path),
        };
        let target = HostPort::parse(authority, scheme.default_port())?;
        Ok(Self { scheme, target, path, bare: false, url: text.to_owned() })
    }

    fn parse_bare(text: &str) -> Result<Self, AnnounceError> {
        // `10.0.0.1:5000/announce` is an address too, only that somebody forgot the scheme.
        let address = text.strip_suffix(ANNOUNCE_PATH).unwrap_or(text);
        let target = HostPort::parse(address, PORT_DEFAULT)?;
        let url = format!("http://{target}{ANNOUNCE_PATH}");
        let scheme = Scheme::Http;
        Ok(Self { scheme, target, path: ANNOUNCE_PATH.to_owned(), bare: true, url })
    }

    /// Whether the tracker is on our network, as far as its address tells: a bare address, a LAN
    /// address, or a name that only a local resolver knows.
    #[must_use]
    pub fn is_lan(&self) -> bool {
        self.bare
            || match &self.target.host {
                Host::Ip(ip) => is_lan(*ip),
                Host::Name(name) => {
                    !name.contains('.') || name.ends_with(".local") || name.ends_with(".lan")
                }
            }
    }
}

/// The path with what is not ASCII percent-encoded (RFC 3987, 3.1).
fn ascii(path: &str) -> String {
    percent_encoding::utf8_percent_encode(path, percent_encoding::CONTROLS).to_string()
}

impl From<AddressError> for AnnounceError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl fmt::Display for Announce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.url))
    }
}

impl fmt::Display for AnnounceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => write!(f, "announce: {error}"),
            Self::Parameter(name) => write!(f, "announce sets {name}, which only the peer may"),
            Self::Characters(text) => {
                write!(f, "announce '{text}' has spaces or control characters")
            }
            Self::Long => write!(f, "announce is longer than {ANNOUNCE_BYTES_MAX} bytes"),
            Self::Scheme(scheme) => {
                write!(f, "announce: '{scheme}://' is no tracker; use http, https or udp")
            }
            Self::Unsupported(scheme) => {
                write!(f, "announce: {scheme}:// trackers are for browsers; use http, https or udp")
            }
            Self::User => f.write_str("announce: user names in URLs are not supported"),
        }
    }
}

impl core::error::Error for AnnounceError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        HostPort::parse(text, 5000).map_or_else(|e| e.to_string(), |a| a.to_string())
    }

    #[test]
    fn every_form_of_a_peer() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:5000"),
            ("10.0.0.1:6000", "10.0.0.1:6000"),
            ("10.0.0.1/6000", "10.0.0.1:6000"),
            ("[fe80::1]:6000", "[fe80::1]:6000"),
            ("[fe80::1]/6000", "[fe80::1]:6000"),
            ("[fe80::1]", "[fe80::1]:5000"),
            ("fe80::1", "[fe80::1]:5000"),
            ("fe80::1/6000", "[fe80::1]:6000"),
            ("::ffff:10.0.0.1", "10.0.0.1:5000"),
            ("[::ffff:10.0.0.1]:7", "10.0.0.1:7"),
            ("Lab-3", "lab-3:5000"),
            ("lab_3.example.org.:65535", "lab_3.example.org:65535"),
            ("host/7", "host:7"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(shown(expected), expected);
        }
    }

    #[test]
    fn what_is_no_peer_is_refused() {
        for text in [
            "",
            ":",
            ":5000",
            "/",
            "10.0.0.256",
            "10.0.0",
            "1",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:+5",
            "10.0.0.1:",
            "10.0.0.1:5:6",
            "[::1",
            "[::1]x",
            "[::1]5",
            "[10.0.0.1]",
            "a b",
            "a\r\n",
            "ho..st",
            "-x",
            "hö",
            "fe80::1%eth0",
            "[fe80::1%eth0]:5000",
            "a@b",
        ] {
            assert!(HostPort::parse(text, 5000).is_err(), "{text:?}");
        }
        assert!(shown("fe80::1%eth0").contains("zones"));
        assert!(shown("http://x").starts_with("'http://x' is neither"));
        assert_eq!(shown("a\r\nb"), "'a\\r\\nb' is neither an IP address nor a host name");
    }

    #[test]
    fn bare_announces() {
        for (text, url) in [
            ("10.0.0.1", "http://10.0.0.1:5000/announce"),
            ("10.0.0.1:81", "http://10.0.0.1:81/announce"),
            ("10.0.0.1/81", "http://10.0.0.1:81/announce"),
            ("10.0.0.1:81/announce", "http://10.0.0.1:81/announce"),
            ("[::1]:81", "http://[::1]:81/announce"),
            ("tracker", "http://tracker:5000/announce"),
        ] {
            let a = Announce::parse(text).unwrap();
            assert_eq!((a.url.as_str(), a.bare, a.is_lan()), (url, true, true));
            let b = Announce::parse(url).unwrap();
            assert_eq!((b.target, b.path.as_str(), b.bare), (a.target, "/announce", false));
        }
    }

    #[test]
    fn urls() {
        for (text, target, path) in [
            ("http://t.example/announce?x=y", "t.example:80", "/announce?x=y"),
            ("HTTP://t.example:8080/a/b#c", "t.example:8080", "/a/b"),
            ("http://t.example:/x", "t.example:80", "/x"),
            ("http://t.example", "t.example:80", "/announce"),
            ("http://t.example/", "t.example:80", "/"),
            ("http://t.example?k=1", "t.example:80", "/?k=1"),
            ("http://[::1]:5000/ä", "[::1]:5000", "/%C3%A4"),
            ("HTTPS://t.example/a", "t.example:443", "/a"),
            ("udp://t.example:6969", "t.example:6969", "/announce"),
        ] {
            let a = Announce::parse(text).unwrap();
            assert_eq!((a.target.to_string().as_str(), a.path.as_str()), (target, path));
        }
        assert!(!Announce::parse("http://t.example/").unwrap().is_lan());
        assert!(Announce::parse("http://192.168.3.4/").unwrap().is_lan());
    }

    #[test]
    fn announces_we_refuse() {
        use AnnounceError as E;
        let error = |text: &str| Announce::parse(text).unwrap_err();
        assert_eq!(error("WSS://t.example"), E::Unsupported("wss".into()));
        assert!(error("ws://t").to_string().contains("ws:// trackers are for browsers"));
        assert_eq!(error("ftp://t.example"), E::Scheme("ftp".into()));
        assert_eq!(error("http://u:p@t.example/"), E::User);
        assert_eq!(error(&"x".repeat(5000)), E::Long);
        for text in ["http://t/a b", "http://t/a\r\nX: y", "10.0.0.1 ", "http://t/\u{a0}"] {
            assert!(matches!(error(text), E::Characters(_)), "{text:?}");
        }
        for text in ["", "http://", "http:///announce", "http://::1/a", "http://t:0/", "a:b"] {
            assert!(matches!(error(text), E::Address(_)), "{text:?}");
        }
    }

    #[test]
    fn kinds_of_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for lan in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_lan(ip(lan)), "{lan}");
        }
        for far in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "100.64.0.1", "::ffff:8.8.8.8"] {
            assert!(!is_lan(ip(far)), "{far}");
        }
        for dead in [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "::ffff:0.0.0.0",
        ] {
            assert!(!is_dialable(SocketAddr::new(ip(dead), 1)), "{dead}");
        }
        assert!(is_dialable(SocketAddr::new(ip("10.0.0.1"), 1)));
        assert!(!is_dialable(SocketAddr::new(ip("10.0.0.1"), 0)));
        assert_eq!(unmap("[::ffff:1.2.3.4]:5".parse().unwrap()), "1.2.3.4:5".parse().unwrap());
    }

    #[test]
    fn remote_text_is_tamed() {}

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}|[0-9a-z:./\\[\\]%#?@-]{0,40}") {
            if let Ok(a) = HostPort::parse(&text, 5000) {
                prop_assert_eq!(HostPort::parse(&a.to_string(), 1), Ok(a));
            }
            if let Ok(a) = Announce::parse(&text) {
                prop_assert!(a.path.starts_with('/'));
                prop_assert!(a.path.bytes().all(|b| b.is_ascii_graphic()));
                let again = Announce::parse(&a.url).unwrap();
                prop_assert_eq!((again.target, again.path), (a.target, a.path));
            }
        }
    }
}
