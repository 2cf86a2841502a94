//! Local service discovery (BEP 14): who shares what on this network, in multicast datagrams that
//! look like HTTP.

use super::text::decimal;
use crate::units::id::InfoHash;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The IPv4 group.
pub const GROUP_V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 152, 143), 6771);
/// The IPv6 group.
pub const GROUP_V6: SocketAddrV6 =
    SocketAddrV6::new(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f), 6771, 0, 0);
/// Torrents one datagram announces: BEP 14 keeps it below 1400 bytes, a line has 52.
pub const HASHES_MAX: usize = 24;
/// Bytes of the longest cookie kept; those in use have eight or so.
const COOKIE_BYTES_MAX: usize = 64;
/// Lines read of one datagram.
const LINES_MAX: usize = 64;

/// One announce on the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAnnounce {
    /// Where the peer listens, at the address the datagram comes from.
    pub port: u16,
    /// The torrents, at most [`HASHES_MAX`].
    pub hashes: Vec<InfoHash>,
    /// Tells one's own datagrams from those of others.
    pub cookie: Option<Vec<u8>>,
}

/// Why a datagram is no announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Without a usable `Infohash`.
    InfoHash,
    /// Without a usable `Port`.
    Port,
    /// It does not begin as one.
    Start,
}

/// Reads an announce. Names of headers are read in any case, unknown headers are skipped, and so
/// are hashes that are none.
///
/// # Errors
/// When it is none.
pub fn parse(bytes: &[u8]) -> Result<LocalAnnounce, Malformed> {
    let mut lines = bytes.split(|&b| b == b'\n').map(<[u8]>::trim_ascii).take(LINES_MAX);
    let start = lines.next().unwrap_or_default();
    if !start.starts_with(b"BT-SEARCH * HTTP/1.") {
        return Err(Malformed::Start);
    }
    let (mut port, mut hashes, mut cookie) = (None, Vec::new(), None);
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let text = core::str::from_utf8(value);
        match name.to_ascii_lowercase().as_slice() {
            b"port" => port = text.ok().and_then(decimal::<u16>),
            b"infohash" if hashes.len() < HASHES_MAX => {
                hashes.extend(text.ok().and_then(InfoHash::from_hex));
            }
            b"cookie" => {
                cookie = (1..=COOKIE_BYTES_MAX).contains(&value.len()).then(|| value.to_vec());
            }
            _ => {}
        }
    }
    let port = port.filter(|&port| port != 0).ok_or(Malformed::Port)?;
    if hashes.is_empty() {
        return Err(Malformed::InfoHash);
    }
    Ok(LocalAnnounce { port, hashes, cookie })
}

/// Writes an announce to `group`. Hashes beyond [`HASHES_MAX`] are left out.
#[must_use]
pub fn build(group: SocketAddr, announce: &LocalAnnounce) -> Vec<u8> {
    let mut text = format!("BT-SEARCH * HTTP/1.1\r\nHost: {group}\r\nPort: {}\r\n", announce.port);
    for hash in announce.hashes.iter().take(HASHES_MAX) {
        text.push_str(&format!("Infohash: {hash}\r\n"));
    }
    let mut bytes = text.into_bytes();
    if let Some(cookie) = &announce.cookie {
        bytes.extend_from_slice(b"cookie: ");
        bytes.extend_from_slice(cookie);
        bytes.extend_from_slice(b"\r\n");
    }
    // BEP 14 ends with two empty lines.
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InfoHash => "no Infohash of 40 hexadecimal digits",
            Self::Port => "no Port from 1 to 65535",
            Self::Start => "it does not begin with BT-SEARCH",
        })
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> LocalAnnounce {
        LocalAnnounce {
            port: 5000,
            hashes: vec![InfoHash([0xab; 20]), InfoHash([1; 20])],
            cookie: Some(b"c0ffee".to_vec()),
        }
    }

    #[test]
    fn to_the_byte() {
        let bytes = format!(
            "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 5000\r\n\
             Infohash: {}\r\nInfohash: {}\r\ncookie: c0ffee\r\n\r\n\r\n",
            "ab".repeat(20),
            "01".repeat(20)
        );
        assert_eq!(parse(bytes.as_bytes()), Ok(sample()));
        assert_eq!(build(GROUP_V4.into(), &sample()), bytes.as_bytes());
        let v6 = String::from_utf8(build(GROUP_V6.into(), &sample())).unwrap();
        assert!(v6.contains("Host: [ff15::efc0:988f]:6771\r\n"), "{v6}");
        // A cut never gives another port or another hash.
        for cut in 0..bytes.len() {
            if let Ok(cut) = parse(&bytes.as_bytes()[..cut]) {
                assert!(sample().hashes.starts_with(&cut.hashes));
                assert_eq!(cut.port, 5000);
            }
        }
    }

    #[test]
    fn as_others_write_it() {
        let bytes = format!(
            "BT-SEARCH * HTTP/1.1\nHOST: 239.192.152.143:6771\nPORT:6881\nINFOHASH:  {}\nX-Y: z\n\n",
            "AB".repeat(20)
        );
        let read = parse(bytes.as_bytes()).unwrap();
        assert_eq!((read.port, read.cookie), (6881, None));
        assert_eq!(read.hashes, [InfoHash([0xab; 20])]);
    }

    #[test]
    fn what_is_refused() {
        let hash = "ab".repeat(20);
        for (text, error) in [
            (String::new(), Malformed::Start),
            ("M-SEARCH * HTTP/1.1\r\n\r\n".into(), Malformed::Start),
            (format!("BT-SEARCH * HTTP/1.1\r\nInfohash: {hash}\r\n\r\n"), Malformed::Port),
            (format!("BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: {hash}\r\n"), Malformed::Port),
            (format!("BT-SEARCH * HTTP/1.1\r\nPort: +5\r\nInfohash: {hash}\r\n"), Malformed::Port),
            (
                "BT-SEARCH * HTTP/1.1\r\nPort: 5\r\nInfohash: abc\r\n\r\n".into(),
                Malformed::InfoHash,
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn the_longest_fits_a_frame() {
        let hashes: Vec<_> = (0..100).map(|n| InfoHash([n; 20])).collect();
        let announce = LocalAnnounce { port: 65_535, hashes: hashes.clone(), ..sample() };
        let bytes = build(GROUP_V6.into(), &announce);
        assert!(bytes.len() < 1400, "{}", bytes.len());
        assert_eq!(parse(&bytes).unwrap().hashes, hashes[..HASHES_MAX]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&tail);
            let bytes = [b"BT-SEARCH * HTTP/1.1\r\nPort: 7\r\n", &tail[..]].concat();
            if let Ok(read) = parse(&bytes) {
                prop_assert_eq!(parse(&build(GROUP_V4.into(), &read)), Ok(read));
            }
        }
    }
}
