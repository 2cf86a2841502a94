//! Announce and scrape over HTTP (BEP 3, 7, 23, 24, 48): queries and answers, both ways.
//! Who is in a swarm and when to ask again is not known here.

use super::address::{is_dialable, unmap};
use super::bencode::{self, Dict, Value};
use super::compact;
use super::text::{decimal, printable, NOT_UNRESERVED};
use crate::units::id::{InfoHash, PeerId};
use crate::units::limits::CONTACTS_MAX;
use crate::units::time::Duration;
use bendy::encoding::{Encoder, Error as EncodeError};
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use percent_encoding::{percent_decode_str, percent_encode};

/// Shortest interval we take from a tracker, so that none makes us hammer it.
pub const INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Longest interval we take from a tracker, so that a slip of its does not make us forget it: a day. What trackers
/// ask for is half an hour to some hours.
pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest pause after a refusal that we take from a tracker.
pub const RETRY_MAX: Duration = Duration::from_secs(24 * 3600);
/// What we take where a tracker names no interval (BEP 3 says it must).
const INTERVAL_ABSENT: Duration = Duration::from_secs(300);
/// Bytes of the longest `key` kept: clients send eight.
const KEY_BYTES_MAX: usize = 64;
/// Bytes of the longest `tracker id` sent back.
const TRACKER_ID_BYTES_MAX: usize = 256;
/// Torrents one scrape may ask for: as many as fit a head of 8 KiB.
const SCRAPE_MAX: usize = 128;

/// What has happened at the announcing peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// Nothing: this is one of the regular announces.
    #[default]
    None,
    /// It begins.
    Started,
    /// The last piece has come. Never said by who was complete at start.
    Completed,
    /// It is a partial seed: it wants nothing more, and has not everything (BEP 21).
    Paused,
    /// It leaves.
    Stopped,
}

/// An announce as it goes over the wire (BEP 3, "trackers").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer that announces.
    pub peer_id: PeerId,
    /// Where it listens; never zero.
    pub port: u16,
    /// Bytes uploaded so far.
    pub uploaded: u64,
    /// Bytes downloaded so far.
    pub downloaded: u64,
    /// Bytes still missing; `u64::MAX` where it does not know, as with a magnet link.
    pub left: u64,
    /// What has happened.
    pub event: Event,
    /// Wants peers as byte strings. BEP 23 suggests them for who does not say: only
    /// `compact=0` asks for dictionaries.
    pub compact: bool,
    /// Wants no `peer id` in dictionaries.
    pub no_peer_id: bool,
    /// Number of peers wanted, if it says.
    pub numwant: Option<usize>,
    /// Proves to a tracker that it is the same peer after its address has changed.
    pub key: Option<Vec<u8>>,
    /// What the tracker's last answer had as `tracker id`.
    pub tracker_id: Option<Vec<u8>>,
}

/// What is wrong with an announce or a scrape; its text is the `failure reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// Not 20 bytes but so many.
    InfoHashLength(usize),
    /// No `info_hash`.
    InfoHashMissing,
    /// An announce is for one torrent.
    InfoHashTwice,
    /// A scrape for everything, or for too much.
    InfoHashes,
    /// `peer_id` is missing or does not have 20 bytes.
    PeerId,
    /// `port` is missing or not from 1 to 65535.
    Port,
}

/// Reads the query of an announce. `ip=` is ignored: the address of the socket cannot lie.
///
/// A `+` is a space, as HTML forms and the URL functions of most languages write it; as itself
/// it would have to be escaped anyway (BEP 3).
///
/// # Errors
/// When a key that must be there is not, or is wrong.
pub fn parse_query(query: &str) -> Result<AnnounceRequest, QueryError> {
    let get = |key: &str| pairs(query).find(|(k, _)| *k == key).map(|(_, value)| decode(value));
    let number = |key: &str| parse_number::<u64>(&get(key)?);

    let mut hashes = pairs(query).filter(|(key, _)| *key == "info_hash");
    let (_, hash) = hashes.next().ok_or(QueryError::InfoHashMissing)?;
    if hashes.next().is_some() {
        return Err(QueryError::InfoHashTwice);
    }
    let port = get("port").and_then(|v| parse_number::<u16>(&v)).filter(|&port| port != 0);
    let peer_id = get("peer_id").and_then(|v| <[u8; 20]>::try_from(v).ok());
    Ok(AnnounceRequest {
        info_hash: parse_hash(hash)?,
        peer_id: PeerId(peer_id.ok_or(QueryError::PeerId)?),
        port: port.ok_or(QueryError::Port)?,
        uploaded: number("uploaded").unwrap_or(0),
        downloaded: number("downloaded").unwrap_or(0),
        left: number("left").unwrap_or(u64::MAX),
        event: match get("event").as_deref() {
            Some(b"started") => Event::Started,
            Some(b"completed") => Event::Completed,
            Some(b"paused") => Event::Paused,
            Some(b"stopped") => Event::Stopped,
            _ => Event::None,
        },
        compact: get("compact").is_none_or(|v| v != b"0"),
        no_peer_id: get("no_peer_id").is_some_and(|v| v == b"1"),
        // Some clients say -1 for "as you like".
        numwant: get("numwant").and_then(|v| parse_number(&v)),
        tracker_id: get("trackerid").and_then(|id| tracker_id(&id)),
        key: get("key").filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len())),
    })
}

/// Reads the query of a scrape (BEP 48).
///
/// # Errors
/// When it names no torrent, too many, or a wrong one.
pub fn parse_scrape(query: &str) -> Result<Vec<InfoHash>, QueryError> {
    let hashes = pairs(query).filter(|(key, _)| *key == "info_hash");
    let hashes = hashes.map(|(_, v)| parse_hash(v)).take(SCRAPE_MAX + 1);
    let hashes = hashes.collect::<Result<Vec<_>, _>>()?;
    // BEP 48 lets a scrape without hashes mean all torrents; ours are nobody's business.
    if hashes.is_empty() || hashes.len() > SCRAPE_MAX {
        return Err(QueryError::InfoHashes);
    }
    Ok(hashes)
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn decode(value: &str) -> Vec<u8> {
    percent_decode_str(&value.replace('+', " ")).collect()
}

fn parse_hash(value: &str) -> Result<InfoHash, QueryError> {
    let bytes = decode(value);
    let length = bytes.len();
    bytes.try_into().map(InfoHash).map_err(|_| QueryError::InfoHashLength(length))
}

fn parse_number<T: core::str::FromStr>(value: &[u8]) -> Option<T> {
    decimal(core::str::from_utf8(value).ok()?)
}

/// Writes the query of an announce, without the `?`.
#[must_use]
pub fn build_query(request: &AnnounceRequest) -> String {
    // BEP 3: all but the unreserved characters is escaped.
    let escape = |bytes: &[u8]| percent_encode(bytes, NOT_UNRESERVED).to_string();
    let mut query = format!(
        "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&compact={}",
        escape(&request.info_hash.0),
        escape(&request.peer_id.0),
        request.port,
        request.uploaded,
        request.downloaded,
        request.left,
        u8::from(request.compact),
    );
    if request.no_peer_id {
        query.push_str("&no_peer_id=1");
    }
    match request.event {
        Event::None => {}
        Event::Started => query.push_str("&event=started"),
        Event::Completed => query.push_str("&event=completed"),
        Event::Paused => query.push_str("&event=paused"),
        Event::Stopped => query.push_str("&event=stopped"),
    }
    if let Some(numwant) = request.numwant {
        query.push_str(&format!("&numwant={numwant}"));
    }
    if let Some(key) = &request.key {
        query.push_str(&format!("&key={}", escape(key)));
    }
    if let Some(id) = &request.tracker_id {
        query.push_str(&format!("&trackerid={}", escape(id)));
    }
    query
}

/// How peers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerForm {
    /// Byte strings: `peers` and `peers6` (BEP 23, BEP 7).
    Compact,
    /// A list of dictionaries (BEP 3), with or without `peer id`.
    Dictionary {
        /// Whether to write `peer id`.
        peer_id: bool,
    },
}

/// What our tracker tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// When to announce again.
    pub interval: Duration,
    /// When to announce again at the earliest.
    pub min_interval: Duration,
    /// Peers that have it all.
    pub complete: u64,
    /// Peers that do not.
    pub incomplete: u64,
    /// The asker's address as we see it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// The peers.
    pub peers: Vec<(SocketAddr, PeerId)>,
}

/// Writes the body of an answer.
#[must_use]
pub fn build_answer(listing: &Listing, form: PeerForm) -> Vec<u8> {
    let (mut peers4, mut peers6) = (Vec::new(), Vec::new());
    for (addr, _) in &listing.peers {
        let addr = unmap(*addr);
        compact::push(if addr.is_ipv4() { &mut peers4 } else { &mut peers6 }, addr);
    }
    encode(|e| {
        e.emit_dict(|mut e| {
            e.emit_pair(b"complete", listing.complete)?;
            if let Some(ip) = listing.external_ip {
                let mut bytes = Vec::new();
                compact::push_ip(&mut bytes, ip.to_canonical());
                e.emit_pair_with(b"external ip", |e| e.emit_bytes(&bytes))?;
            }
            e.emit_pair(b"incomplete", listing.incomplete)?;
            e.emit_pair(b"interval", listing.interval.as_secs())?;
            e.emit_pair(b"min interval", listing.min_interval.as_secs())?;
            if let PeerForm::Dictionary { peer_id } = form {
                return e.emit_pair_with(b"peers", |e| {
                    e.emit_list(|e| {
                        listing.peers.iter().try_for_each(|(addr, id)| {
                            emit_peer(e, unmap(*addr), peer_id.then_some(id))
                        })
                    })
                });
            }
            e.emit_pair_with(b"peers", |e| e.emit_bytes(&peers4))?;
            if !peers6.is_empty() {
                e.emit_pair_with(b"peers6", |e| e.emit_bytes(&peers6))?;
            }
            Ok(())
        })
    })
}

fn emit_peer(e: &mut Encoder, addr: SocketAddr, id: Option<&PeerId>) -> Result<(), EncodeError> {
    e.emit_dict(|mut e| {
        e.emit_pair(b"ip", addr.ip().to_string())?;
        if let Some(id) = id {
            e.emit_pair_with(b"peer id", |e| e.emit_bytes(&id.0))?;
        }
        e.emit_pair(b"port", addr.port())
    })
}

/// Writes the body that refuses.
#[must_use]
pub fn build_failure(reason: &str) -> Vec<u8> {
    encode(|e| e.emit_dict(|mut e| e.emit_pair(b"failure reason", reason)))
}

/// Peers of one torrent by number (BEP 48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Peers that have it all.
    pub complete: u64,
    /// Peers that do not.
    pub incomplete: u64,
    /// Those of them that want nothing more (BEP 21). Not told over UDP.
    pub partial_seeds: u64,
    /// Times that somebody said `completed`.
    pub downloaded: u64,
}

/// Writes the body of an answer to a scrape (BEP 48, 21).
#[must_use]
pub fn build_scrape_answer(files: &[(InfoHash, Counts)], min_interval: Duration) -> Vec<u8> {
    let mut files = files.to_vec();
    files.sort_unstable_by_key(|(hash, _)| *hash);
    files.dedup_by_key(|(hash, _)| *hash);
    encode(|e| {
        e.emit_dict(|mut e| {
            e.emit_pair_with(b"files", |e| {
                e.emit_dict(|mut e| {
                    files.iter().try_for_each(|(hash, counts)| {
                        e.emit_pair_with(&hash.0, |e| {
                            e.emit_dict(|mut e| {
                                e.emit_pair(b"complete", counts.complete)?;
                                e.emit_pair(b"downloaded", counts.downloaded)?;
                                let rest = counts.incomplete.saturating_sub(counts.partial_seeds);
                                e.emit_pair(b"downloaders", rest)?;
                                e.emit_pair(b"incomplete", counts.incomplete)
                            })
                        })
                    })
                })
            })?;
            e.emit_pair_with(b"flags", |e| {
                e.emit_dict(|mut e| e.emit_pair(b"min_request_interval", min_interval.as_secs()))
            })
        })
    })
}

fn encode(write: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    write(&mut encoder)
        .and_then(|()| encoder.get_output())
        .expect("keys stand here in order, and nothing else can fail")
}

/// What a tracker told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceAnswer {
    /// When to announce again, from [`INTERVAL_MIN`] to [`INTERVAL_MAX`].
    pub interval: Duration,
    /// When to announce again at the earliest, within the same bounds, if the tracker says.
    pub min_interval: Option<Duration>,
    /// Peers that can be dialed, at most [`CONTACTS_MAX`]. Ourselves may be among them.
    pub peers: Vec<SocketAddr>,
    /// Peers that have it all.
    pub complete: Option<u64>,
    /// Peers that do not.
    pub incomplete: Option<u64>,
    /// Words for a person.
    pub warning: Option<String>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// To be sent back with the next announce.
    pub tracker_id: Option<Vec<u8>>,
}

/// When a tracker that refuses wants to be asked again (BEP 31, `retry in`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryIn {
    /// Not before so long, at most [`RETRY_MAX`].
    After(Duration),
    /// It is no tracker, or not for us.
    Never,
}

/// Why an answer of a tracker has no peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The tracker refuses, in its own words made printable; and when it wants to be asked again,
    /// if it says (BEP 31).
    Failure(String, Option<RetryIn>),
    /// Not bencode.
    Malformed(bencode::Malformed),
    /// Bencode, but no dictionary.
    NotDictionary,
}

/// Reads the body of an answer, be it compact or in dictionaries.
///
/// Peers that cannot be dialed are left out, and so is a last peer that is cut off: the others
/// are no worse for it.
///
/// # Errors
/// When it is a refusal or no answer at all.
pub fn parse_answer(body: &[u8]) -> Result<AnnounceAnswer, AnswerError> {
    let (value, _) = bencode::parse(body).map_err(AnswerError::Malformed)?;
    let dict = value.as_dict().ok_or(AnswerError::NotDictionary)?;
    let text = |key: &str| {
        let bytes = dict.get(key)?.as_bytes()?;
        Some(printable(&String::from_utf8_lossy(bytes)))
    };
    if let Some(reason) = text("failure reason") {
        return Err(AnswerError::Failure(reason, retry_in(dict)));
    }
    let mut peers = Vec::new();
    match dict.get("peers") {
        Some(Value::List(list)) => {
            let listed = list.iter().filter_map(|peer| dictionary_peer(peer.as_dict()?));
            peers.extend(listed.take(CONTACTS_MAX));
        }
        Some(Value::Bytes(bytes)) => {
            peers.extend(compact_peers::<{ compact::V4_BYTES }>(bytes.get()))
        }
        _ => {}
    }
    if let Some(bytes) = dict.get("peers6").and_then(Value::as_bytes) {
        peers.extend(compact_peers::<{ compact::V6_BYTES }>(bytes));
    }
    peers.retain(|&addr| is_dialable(addr));
    peers.truncate(CONTACTS_MAX);
    let external_ip = dict.get("external ip").and_then(Value::as_bytes).and_then(compact::ip);
    Ok(AnnounceAnswer {
        interval: seconds(dict, "interval").unwrap_or(INTERVAL_ABSENT),
        min_interval: seconds(dict, "min interval"),
        peers,
        complete: count(dict, "complete"),
        incomplete: count(dict, "incomplete"),
        warning: text("warning message"),
        tracker_id: dict.get("tracker id").and_then(Value::as_bytes).and_then(tracker_id),
        external_ip: external_ip.map(|ip| ip.to_canonical()),
    })
}

/// Minutes or `never`; a number is taken as text as well.
fn retry_in(dict: Dict<'_>) -> Option<RetryIn> {
    let value = dict.get("retry in")?;
    let minutes = match value.as_bytes() {
        Some(b"never") => return Some(RetryIn::Never),
        Some(text) => parse_number::<u64>(text)?,
        None => u64::try_from(value.as_int()?).ok()?,
    };
    let pause = Duration::from_secs(minutes.saturating_mul(60)).min(RETRY_MAX);
    (minutes > 0).then_some(RetryIn::After(pause))
}

/// One that would not fit a request head is left out.
fn tracker_id(bytes: &[u8]) -> Option<Vec<u8>> {
    (1..=TRACKER_ID_BYTES_MAX).contains(&bytes.len()).then(|| bytes.to_vec())
}

fn count(dict: Dict<'_>, key: &str) -> Option<u64> {
    u64::try_from(dict.get(key)?.as_int()?).ok()
}

fn seconds(dict: Dict<'_>, key: &str) -> Option<Duration> {
    let seconds = u64::try_from(dict.get(key)?.as_int()?).unwrap_or(0);
    Some(Duration::from_secs(seconds).clamp(INTERVAL_MIN, INTERVAL_MAX))
}

fn compact_peers<const BYTES: usize>(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    compact::addrs::<BYTES>(bytes).take(CONTACTS_MAX).map(unmap)
}

fn dictionary_peer(peer: Dict<'_>) -> Option<SocketAddr> {
    // BEP 3 allows a DNS name here; no tracker sends one, and we do not resolve at its word.
    let ip: IpAddr = peer.get("ip")?.as_str()?.parse().ok()?;
    let port = u16::try_from(peer.get("port")?.as_int()?).ok()?;
    Some(SocketAddr::new(ip.to_canonical(), port))
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InfoHashLength(n) => write!(f, "info_hash has {n} bytes, not 20"),
            Self::InfoHashMissing => f.write_str("info_hash is missing"),
            Self::InfoHashTwice => f.write_str("info_hash is given more than once"),
            Self::InfoHashes => write!(f, "a scrape names from 1 to {SCRAPE_MAX} info_hash"),
            Self::PeerId => f.write_str("peer_id must have 20 bytes"),
            Self::Port => f.write_str("port must be from 1 to 65535"),
        }
    }
}

impl core::error::Error for QueryError {}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(reason, _) => write!(f, "the tracker refuses: {reason}"),
            Self::Malformed(error) => write!(f, "the tracker's answer is malformed: {error}"),
            Self::NotDictionary => f.write_str("the tracker's answer is no dictionary"),
        }
    }
}

impl core::error::Error for AnswerError {}

#[cfg(test)]
mod tests;
