//! The UDP tracker protocol (BEP 15) and its options (BEP 41): requests and answers, both ways.
//! Whom to believe and when to ask again is not known here.

mod shown;

use super::address::{is_dialable, unmap};
use super::announce::{AnnounceRequest, Counts, Event};
use super::compact;
use super::text::printable;
use crate::units::id::{InfoHash, PeerId};
use core::fmt;
use core::net::SocketAddr;

/// What a connect request has in place of a connection id.
pub const MAGIC: u64 = 0x0417_2710_1980;
/// Bytes of the longest answer: it fits every path without fragments.
pub const ANSWER_BYTES_MAX: usize = 1400;
/// Torrents one scrape may ask for (BEP 15: "up to about 74").
pub const SCRAPE_MAX: usize = 74;
/// Bytes of an announce before its options.
const ANNOUNCE_BYTES: usize = 98;
/// Bytes before the peers of an answer.
const ANSWER_HEAD_BYTES: usize = 20;
/// Bytes of one URLData option (BEP 41): its length is one byte.
const URL_DATA_MAX: usize = 255;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

const END_OF_OPTIONS: u8 = 0;
const NOP: u8 = 1;
const URL_DATA: u8 = 2;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// For a connection id.
    Connect {
        /// Comes back in the answer.
        transaction: u32,
    },
    /// For peers.
    Announce {
        /// From the tracker.
        connection: u64,
        /// Comes back in the answer.
        transaction: u32,
        /// The announce. Its `key` has four bytes; `left` and the rest are as over HTTP.
        announce: AnnounceRequest,
        /// Path and query of the tracker's URL (BEP 41), as they were sent: not fit to be printed.
        url_data: String,
    },
    /// For numbers.
    Scrape {
        /// From the tracker.
        connection: u64,
        /// Comes back in the answer.
        transaction: u32,
        /// At most [`SCRAPE_MAX`] torrents, at least one.
        hashes: Vec<InfoHash>,
    },
}

/// What a tracker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To a connect.
    Connect {
        /// Of the request.
        transaction: u32,
        /// Proves from now on that the client is at its address.
        connection: u64,
    },
    /// To an announce.
    Announce {
        /// Of the request.
        transaction: u32,
        /// Seconds until the next announce.
        interval: u32,
        /// Peers that miss something.
        leechers: u32,
        /// Peers that have it all.
        seeders: u32,
        /// All of one family: that of the datagram.
        peers: Vec<SocketAddr>,
    },
    /// To a scrape: the numbers in the order of its torrents.
    Scrape {
        /// Of the request.
        transaction: u32,
        /// One for each torrent.
        counts: Vec<Counts>,
    },
    /// To anything: no.
    Error {
        /// Of the request.
        transaction: u32,
        /// In the tracker's words.
        message: String,
    },
}

/// Why bytes are no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No such action.
    Action(u32),
    /// A connect without the magic number.
    Magic,
    /// An option of BEP 41 that is cut off.
    Option,
    /// The port is zero.
    Port,
    /// Shorter than such a message is.
    Short,
}

/// Takes numbers and strings off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
}

/// Reads a request. The address field of an announce is ignored: that of the datagram cannot lie
/// once the connection id is right.
///
/// # Errors
/// When it is none.
pub fn parse_request(bytes: &[u8]) -> Result<Request, Malformed> {
    let mut r = Reader(bytes);
    let connection = r.u64()?;
    let action = r.u32()?;
    let transaction = r.u32()?;
    match action {
        CONNECT if connection == MAGIC => Ok(Request::Connect { transaction }),
        CONNECT => Err(Malformed::Magic),
        ANNOUNCE => {
            let announce = announce(&mut r)?;
            let url_data = url_data(r.0)?;
            Ok(Request::Announce { connection, transaction, announce, url_data })
        }
        SCRAPE => {
            let mut hashes = Vec::new();
            while let (true, Ok(hash)) = (hashes.len() < SCRAPE_MAX, r.bytes()) {
                hashes.push(InfoHash(hash));
            }
            if hashes.is_empty() {
                return Err(Malformed::Short);
            }
            Ok(Request::Scrape { connection, transaction, hashes })
        }
        other => Err(Malformed::Action(other)),
    }
}

/// Connection and transaction id of a request, whatever else is wrong with it.
#[must_use]
pub fn ids(bytes: &[u8]) -> Option<(u64, u32)> {
    let mut r = Reader(bytes);
    let connection = r.u64().ok()?;
    let _action = r.u32().ok()?;
    Some((connection, r.u32().ok()?))
}

fn announce(r: &mut Reader<'_>) -> Result<AnnounceRequest, Malformed> {
    let info_hash = InfoHash(r.bytes()?);
    let peer_id = PeerId(r.bytes()?);
    let (downloaded, left, uploaded) = (r.u64()?, r.u64()?, r.u64()?);
    let event = match r.u32()? {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        _ => Event::None,
    };
    let _address = r.u32()?;
    let key = r.bytes::<4>()?;
    let wanted = i32::from_be_bytes(r.bytes()?);
    let port = u16::from_be_bytes(r.bytes()?);
    if port == 0 {
        return Err(Malformed::Port);
    }
    Ok(AnnounceRequest {
        info_hash,
        peer_id,
        port,
        uploaded,
        downloaded,
        left,
        event,
        compact: true,
        no_peer_id: true,
        // BEP 15: -1 is "as you like".
        numwant: usize::try_from(wanted).ok(),
        key: Some(key.to_vec()),
        tracker_id: None,
    })
}

/// BEP 41: the parts of the URL put together again. Unknown options are skipped.
fn url_data(options: &[u8]) -> Result<String, Malformed> {
    let mut r = Reader(options);
    let mut url = Vec::new();
    while let Some([option]) = r.take(1) {
        match *option {
            END_OF_OPTIONS => break,
            NOP => {}
            kind => {
                let length = r.take(1).and_then(<[u8]>::first).ok_or(Malformed::Option)?;
                let data = r.take(usize::from(*length)).ok_or(Malformed::Option)?;
                if kind == URL_DATA {
                    url.extend_from_slice(data);
                }
            }
        }
    }
    Ok(String::from_utf8_lossy(&url).into_owned())
}

/// Writes a request.
#[must_use]
pub fn build_request(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    let mut head = |connection: u64, action: u32, transaction: u32| {
        out.extend_from_slice(&connection.to_be_bytes());
        out.extend_from_slice(&action.to_be_bytes());
        out.extend_from_slice(&transaction.to_be_bytes());
    };
    match request {
        Request::Connect { transaction } => head(MAGIC, CONNECT, *transaction),
        Request::Scrape { connection, transaction, hashes } => {
            head(*connection, SCRAPE, *transaction);
            hashes.iter().take(SCRAPE_MAX).for_each(|hash| out.extend_from_slice(&hash.0));
        }
        Request::Announce { connection, transaction, announce, url_data } => {
            head(*connection, ANNOUNCE, *transaction);
            write_announce(&mut out, announce);
            for part in url_data.as_bytes().chunks(URL_DATA_MAX) {
                let length = u8::try_from(part.len()).unwrap_or(u8::MAX);
                out.extend_from_slice(&[URL_DATA, length]);
                out.extend_from_slice(part);
            }
        }
    }
    out
}

fn write_announce(out: &mut Vec<u8>, announce: &AnnounceRequest) {
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(&announce.peer_id.0);
    for number in [announce.downloaded, announce.left, announce.uploaded] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let event: u32 = match announce.event {
        // BEP 15 has no number for `paused`.
        Event::None | Event::Paused => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    };
    out.extend_from_slice(&event.to_be_bytes());
    // BEP 15: the address 0 is that of the datagram.
    out.extend_from_slice(&[0; 4]);
    let key = announce.key.as_deref().and_then(|key| <[u8; 4]>::try_from(key).ok());
    out.extend_from_slice(&key.unwrap_or_default());
    let wanted = announce.numwant.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX));
    out.extend_from_slice(&wanted.to_be_bytes());
    out.extend_from_slice(&announce.port.to_be_bytes());
    debug_assert!(out.len() >= ANNOUNCE_BYTES);
}

/// Reads an answer that came over IPv6 (`v6`) or IPv4: that says how long an address in it is.
///
/// Peers that cannot be dialed are left out, and so is a last peer that is cut off.
///
/// # Errors
/// When it is none.
pub fn parse_response(bytes: &[u8], v6: bool) -> Result<Response, Malformed> {
    let mut r = Reader(bytes);
    let action = r.u32()?;
    let transaction = r.u32()?;
    match action {
        CONNECT => Ok(Response::Connect { transaction, connection: r.u64()? }),
        ANNOUNCE => {
            let (interval, leechers, seeders) = (r.u32()?, r.u32()?, r.u32()?);
            let peers = match v6 {
                true => compact::addrs::<{ compact::V6_BYTES }>(r.0).map(unmap).collect(),
                false => compact::addrs::<{ compact::V4_BYTES }>(r.0).collect::<Vec<_>>(),
            };
            let peers = peers.into_iter().filter(|&peer| is_dialable(peer)).collect();
            Ok(Response::Announce { transaction, interval, leechers, seeders, peers })
        }
        SCRAPE => {
            let mut counts = Vec::new();
            while let (Ok(complete), Ok(downloaded), Ok(incomplete)) = (r.u32(), r.u32(), r.u32()) {
                let [complete, downloaded, incomplete] =
                    [complete, downloaded, incomplete].map(u64::from);
                counts.push(Counts { complete, incomplete, downloaded, partial_seeds: 0 });
            }
            Ok(Response::Scrape { transaction, counts })
        }
        ERROR => {
            let message = printable(String::from_utf8_lossy(r.0).trim_end_matches('\0'));
            Ok(Response::Error { transaction, message })
        }
        other => Err(Malformed::Action(other)),
    }
}

/// Writes an answer of at most [`ANSWER_BYTES_MAX`] bytes; peers that do not fit, and those of
/// another family than the first, are left out.
#[must_use]
pub fn build_response(response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    let mut numbers = |numbers: &[u32]| {
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    };
    match response {
        Response::Connect { transaction, connection } => {
            numbers(&[CONNECT, *transaction]);
            out.extend_from_slice(&connection.to_be_bytes());
        }
        Response::Announce { transaction, interval, leechers, seeders, peers } => {
            numbers(&[ANNOUNCE, *transaction, *interval, *leechers, *seeders]);
            let v6 = peers.first().is_some_and(|peer| peer.is_ipv6());
            let room = peers_max(v6);
            for peer in peers.iter().filter(|peer| peer.is_ipv6() == v6).take(room) {
                compact::push(&mut out, *peer);
            }
        }
        Response::Scrape { transaction, counts } => {
            numbers(&[SCRAPE, *transaction]);
            let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            for c in counts.iter().take(SCRAPE_MAX) {
                numbers(&[c.complete, c.downloaded, c.incomplete].map(number));
            }
        }
        Response::Error { transaction, message } => {
            numbers(&[ERROR, *transaction]);
            out.extend_from_slice(message.as_bytes());
            out.truncate(ANSWER_BYTES_MAX);
        }
    }
    out
}

/// Peers of that family that fit into one answer.
#[must_use]
pub const fn peers_max(v6: bool) -> usize {
    (ANSWER_BYTES_MAX - ANSWER_HEAD_BYTES) / if v6 { compact::V6_BYTES } else { compact::V4_BYTES }
}

impl Request {
    /// What the answer must carry.
    #[must_use]
    pub const fn transaction(&self) -> u32 {
        match self {
            Self::Connect { transaction }
            | Self::Announce { transaction, .. }
            | Self::Scrape { transaction, .. } => *transaction,
        }
    }
}

impl Response {
    /// The transaction id of the request it answers.
    #[must_use]
    pub const fn transaction(&self) -> u32 {
        match self {
            Self::Connect { transaction, .. }
            | Self::Announce { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. } => *transaction,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action) => write!(f, "no tracker action has the number {action}"),
            Self::Magic => f.write_str("a connect without the magic number"),
            Self::Option => f.write_str("an option is cut off"),
            Self::Port => f.write_str("the announced port is 0"),
            Self::Short => f.write_str("the datagram is too short"),
        }
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv6Addr};
    use proptest::prelude::*;

    fn sample() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([0x11; 20]),
            peer_id: PeerId([0x22; 20]),
            port: 5000,
            uploaded: 3,
            downloaded: 1,
            left: 2,
            event: Event::Started,
            compact: true,
            no_peer_id: true,
            numwant: None,
            key: Some(vec![0xde, 0xad, 0xbe, 0xef]),
            tracker_id: None,
        }
    }

    #[test]
    fn connect_to_the_byte() {
        let bytes = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4];
        let request = Request::Connect { transaction: 0x0102_0304 };
        assert_eq!(parse_request(&bytes), Ok(request.clone()));
        assert_eq!(build_request(&request), bytes);
        let answer = [0, 0, 0, 0, 1, 2, 3, 4, 9, 8, 7, 6, 5, 4, 3, 2];
        let connection = 0x0908_0706_0504_0302;
        let response = Response::Connect { transaction: 0x0102_0304, connection };
        assert_eq!(parse_response(&answer, false), Ok(response.clone()));
        assert_eq!(build_response(&response), answer);
        let mut wrong = bytes;
        wrong[7] = 0x81;
        assert_eq!(parse_request(&wrong), Err(Malformed::Magic));
    }

    #[test]
    fn announce_to_the_byte() {
        let mut bytes = vec![9, 8, 7, 6, 5, 4, 3, 2, 0, 0, 0, 1, 0, 0, 0, 7];
        bytes.extend([0x11; 20]);
        bytes.extend([0x22; 20]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend([0, 0, 0, 2, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef]);
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0x13, 0x88]);
        assert_eq!(bytes.len(), ANNOUNCE_BYTES);
        let request = |url_data: &str| Request::Announce {
            connection: 0x0908_0706_0504_0302,
            transaction: 7,
            announce: sample(),
            url_data: url_data.to_owned(),
        };
        assert_eq!(parse_request(&bytes), Ok(request("")));
        assert_eq!(build_request(&request("")), bytes);
        for cut in 0..bytes.len() {
            assert_eq!(parse_request(&bytes[..cut]), Err(Malformed::Short), "{cut}");
        }
        bytes.extend(b"\x02\x0c/dir?a=b&c=d");
        assert_eq!(parse_request(&bytes), Ok(request("/dir?a=b&c=d")));
        assert_eq!(build_request(&request("/dir?a=b&c=d")), bytes);
        bytes.truncate(ANNOUNCE_BYTES);
        bytes.extend(b"\x01\x02\x02/a\x07\x01x\x01\x02\x01b\x00\x02");
        assert_eq!(parse_request(&bytes), Ok(request("/ab")));
        let long = request(&"/é".repeat(300));
        assert_eq!(parse_request(&build_request(&long)), Ok(long));
        bytes.truncate(ANNOUNCE_BYTES);
        bytes.extend(b"\x02\x09short");
        assert_eq!(parse_request(&bytes), Err(Malformed::Option));
        bytes[96..98].fill(0);
        assert_eq!(parse_request(&bytes), Err(Malformed::Port));
    }

    #[test]
    fn answers_to_the_byte() {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 60, 0, 0, 0, 2, 0, 0, 0, 1];
        bytes.extend([10, 0, 0, 1, 0x13, 0x88]);
        let response = Response::Announce {
            transaction: 7,
            interval: 60,
            leechers: 2,
            seeders: 1,
            peers: vec!["10.0.0.1:5000".parse().unwrap()],
        };
        assert_eq!(build_response(&response), bytes);
        assert_eq!(parse_response(&bytes, false), Ok(response.clone()));
        // Half a peer and one that cannot be dialed add nothing.
        let more = [&bytes[..], &[10, 0, 0, 2, 0, 0, 1, 2]].concat();
        assert_eq!(parse_response(&more, false), Ok(response));
        let mut v6 = bytes[..20].to_vec();
        v6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend([0x13, 0x88]);
        let Ok(Response::Announce { peers, .. }) = parse_response(&v6, true) else { panic!() };
        assert_eq!(peers, ["[2001:db8::1]:5000".parse().unwrap()]);
    }

    #[test]
    fn scrape_and_error_to_the_byte() {
        let request =
            Request::Scrape { connection: 1, transaction: 2, hashes: vec![InfoHash([3; 20])] };
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2];
        assert_eq!(parse_request(&bytes), Err(Malformed::Short));
        bytes.extend([3; 20]);
        assert_eq!(parse_request(&bytes), Ok(request.clone()));
        assert_eq!(build_request(&request), bytes);
        let answer = [0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        let counts = vec![Counts { complete: 1, downloaded: 2, incomplete: 3, partial_seeds: 0 }];
        let response = Response::Scrape { transaction: 2, counts };
        assert_eq!(parse_response(&answer, false), Ok(response.clone()));
        assert_eq!(build_response(&response), answer);
        let error = Response::Error { transaction: 2, message: "no".into() };
        assert_eq!(build_response(&error), b"\0\0\0\x03\0\0\0\x02no");
        assert_eq!(parse_response(b"\0\0\0\x03\0\0\0\x02no\0", false), Ok(error));
        assert_eq!(parse_response(&[0, 0, 0, 4, 0, 0, 0, 0], true), Err(Malformed::Action(4)));
    }

    #[test]
    fn answers_have_an_end() {
        for ip in ["10.0.0.1", "2001:db8::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let peers: Vec<_> = (1..=500).map(|port| SocketAddr::new(ip, port)).collect();
            let response = |peers| Response::Announce {
                transaction: 0,
                interval: 0,
                leechers: 0,
                seeders: 0,
                peers,
            };
            let bytes = build_response(&response(peers.clone()));
            assert!(bytes.len() <= ANSWER_BYTES_MAX);
            let fit = peers[..peers_max(ip.is_ipv6())].to_vec();
            assert_eq!(parse_response(&bytes, ip.is_ipv6()), Ok(response(fit)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), action in 0..4_u8) {
            let _ = parse_request(&bytes);
            let mut request = bytes.clone();
            if request.len() > 12 {
                request[8..12].copy_from_slice(&[0, 0, 0, action]);
            }
            if let Ok(read) = parse_request(&request) {
                let again = parse_request(&build_request(&read));
                prop_assert_eq!(again.map(|r| r.transaction()), Ok(read.transaction()));
            }
            for v6 in [false, true] {
                let answer = [&[0, 0, 0, action], &bytes[..]].concat();
                if let Ok(read) = parse_response(&answer, v6) {
                    let _ = build_response(&read);
                }
            }
        }
    }
}
