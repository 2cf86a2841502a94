//! Magnet links (BEP 9, "magnet URI format"; BEP 53): a torrent by its info-hash, with the hints
//! where to find it.

use super::address::HostPort;
use super::choice::Choice;
use super::text::{printable, NOT_UNRESERVED};
use crate::units::id::InfoHash;
use core::fmt;
use percent_encoding::{percent_decode_str, utf8_percent_encode, AsciiSet};

/// Bytes of the longest link that is read: a hundred long announce URLs.
pub const MAGNET_BYTES_MAX: usize = 64 * 1024;
/// Trackers, peers and web seeds that are kept, of each.
const HINTS_MAX: usize = 100;
/// Characters of the longest name that is kept.
const NAME_CHARS_MAX: usize = 255;
/// What stands for itself in a value: RFC 3986's unreserved, and what URLs are made of.
const ESCAPED: &AsciiSet = &NOT_UNRESERVED.remove(b':').remove(b'/');

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// `xt=urn:btih:`
    pub info_hash: InfoHash,
    /// `dn`: what to call it until its own name is known.
    pub name: Option<String>,
    /// `tr`: trackers as they stand, not checked.
    pub trackers: Vec<String>,
    /// `x.pe`: peers to dial.
    pub peers: Vec<HostPort>,
    /// `ws`: web seeds as they stand, not checked.
    pub web_seeds: Vec<String>,
    /// `so` (BEP 53): the files wanted, by index; `None` where all are.
    pub select: Option<Choice>,
}

/// Why a text is not a magnet link we can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MagnetError {
    /// `urn:btih:` is not 40 hexadecimal or 32 base32 characters.
    BadHash(String),
    /// `so` is not a list of file indices.
    BadSelection(String),
    /// No `xt` with an info-hash.
    NoHash,
    /// It does not begin with `magnet:?`.
    NotMagnet,
    /// Longer than any link in use.
    TooLong,
    /// Two different info-hashes.
    TwoHashes,
    /// Only the hash of BEP 52 (`urn:btmh:`).
    Version2Only,
}

impl Magnet {
    /// Whether the text claims to be a magnet link.
    #[must_use]
    pub fn is_magnet(text: &str) -> bool {
        text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
    }

    /// Reads a link. A hint that cannot be used is left out; keys may be numbered (`tr.1`).
    ///
    /// # Errors
    /// When it names no torrent, or more than one.
    pub fn parse(text: &str) -> Result<Self, MagnetError> {
        if text.len() > MAGNET_BYTES_MAX {
            return Err(MagnetError::TooLong);
        }
        let query = Some(text).filter(|text| Self::is_magnet(text));
        let query = query.and_then(|text| text[7..].strip_prefix('?'));
        let query = query.ok_or(MagnetError::NotMagnet)?;
        let (mut info_hash, mut version2) = (None, false);
        let mut magnet = Self {
            info_hash: InfoHash([0; 20]),
            name: None,
            trackers: Vec::new(),
            peers: Vec::new(),
            web_seeds: Vec::new(),
            select: None,
        };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = decode(value);
            match unnumbered(key) {
                "xt" => match topic(&value)? {
                    Topic::Hash(hash) if info_hash.is_some_and(|known| known != hash) => {
                        return Err(MagnetError::TwoHashes);
                    }
                    Topic::Hash(hash) => info_hash = Some(hash),
                    Topic::Version2 => version2 = true,
                    Topic::Other => {}
                },
                "dn" if magnet.name.is_none() && !value.is_empty() => {
                    magnet.name = Some(value.chars().take(NAME_CHARS_MAX).collect());
                }
                "tr" => keep(&mut magnet.trackers, value),
                "ws" => keep(&mut magnet.web_seeds, value),
                // BEP 9: host:port; without a port nobody can be dialed.
                "x.pe" => {
                    let peer = HostPort::parse(&value, 0).ok().filter(|peer| peer.port != 0);
                    peer.into_iter().for_each(|peer| keep(&mut magnet.peers, peer));
                }
                "so" => {
                    let choice = Choice::parse(&value);
                    let bad = |_| MagnetError::BadSelection(printable(&value));
                    magnet.select = Some(choice.map_err(bad)?);
                }
                _ => {}
            }
        }
        magnet.info_hash = info_hash.ok_or(match version2 {
            true => MagnetError::Version2Only,
            false => MagnetError::NoHash,
        })?;
        Ok(magnet)
    }

    /// The trackers as a .torrent has them (BEP 12): each a tier, where there are several.
    #[must_use]
    pub fn announce_list(&self) -> Vec<Vec<String>> {
        match &self.trackers[..] {
            [] | [_] => Vec::new(),
            trackers => trackers.iter().map(|tracker| vec![tracker.clone()]).collect(),
        }
    }

    /// What to call the torrent until its own name is known; safe to print.
    #[must_use]
    pub fn shown_name(&self) -> String {
        self.name.as_deref().map_or_else(|| self.info_hash.to_string(), printable)
    }
}

/// Keeps a hint that is new, as long as there is room.
fn keep<T: PartialEq>(hints: &mut Vec<T>, hint: T) {
    if hints.len() < HINTS_MAX && !hints.contains(&hint) {
        hints.push(hint);
    }
}

/// `+` is a space, as HTML forms write it.
fn decode(value: &str) -> String {
    percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The key without the number that tells several of a kind apart: `tr.1`.
fn unnumbered(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((key, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => key,
        _ => key,
    }
}

enum Topic {
    Hash(InfoHash),
    Version2,
    Other,
}

fn topic(urn: &str) -> Result<Topic, MagnetError> {
    let lower = urn.to_ascii_lowercase();
    if lower.starts_with("urn:btmh:") {
        return Ok(Topic::Version2);
    }
    let Some(text) = lower.strip_prefix("urn:btih:") else { return Ok(Topic::Other) };
    let hash = InfoHash::from_hex(text).or_else(|| from_base32(text));
    hash.map(Topic::Hash).ok_or_else(|| MagnetError::BadHash(printable(text)))
}

/// RFC 4648, in lower case: 32 characters of five bits.
fn from_base32(text: &str) -> Option<InfoHash> {
    let mut hash = [0; 20];
    if text.len() != 32 {
        return None;
    }
    let (mut bits, mut count, mut at) = (0_u32, 0, 0);
    for byte in text.bytes() {
        let five = match byte {
            b'a'..=b'z' => byte - b'a',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(five);
        count += 5;
        if count >= 8 {
            count -= 8;
            hash[at] = (bits >> count) as u8;
            bits &= (1 << count) - 1;
            at += 1;
        }
    }
    Some(InfoHash(hash))
}

impl fmt::Display for Magnet {
    /// The link, in the form that [`Magnet::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        write!(f, "magnet:?xt=urn:btih:{}", self.info_hash)?;
        if let Some(name) = &self.name {
            write!(f, "&dn={}", escape(name))?;
        }
        for tracker in &self.trackers {
            write!(f, "&tr={}", escape(tracker))?;
        }
        for peer in &self.peers {
            write!(f, "&x.pe={}", escape(&peer.to_string()))?;
        }
        for seed in &self.web_seeds {
            write!(f, "&ws={}", escape(seed))?;
        }
        if let Some(choice) = &self.select {
            write!(f, "&so={choice}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MagnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHash(text) => {
                write!(f, "'{text}' is not an info-hash: 40 hexadecimal or 32 base32 characters")
            }
            Self::BadSelection(text) => write!(f, "so={text}: not a list of file indices"),
            Self::NoHash => f.write_str("the magnet link has no xt=urn:btih: with an info-hash"),
            Self::NotMagnet => f.write_str("a magnet link begins with magnet:?"),
            Self::TooLong => write!(f, "the magnet link is longer than {MAGNET_BYTES_MAX} bytes"),
            Self::TwoHashes => f.write_str("the magnet link names two torrents"),
            Self::Version2Only => f.write_str(
                "the magnet link is for BitTorrent version 2 only (urn:btmh:), which this peer \
                 does not speak; ask for a link with urn:btih:",
            ),
        }
    }
}

impl core::error::Error for MagnetError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse(rest: &str) -> Result<Magnet, MagnetError> {
        Magnet::parse(&format!("magnet:?xt=urn:btih:{HEX}{rest}"))
    }

    #[test]
    fn every_hint() {
        let magnet = parse(
            "&dn=A+b%20%C3%A4&tr=http%3A%2F%2Ft%2Fannounce&tr.1=udp://u:1&tr=udp://u:1\
             &x.pe=10.0.0.1:5000&x.pe=[fd00::1]:6&x.pe=10.0.0.2&x.pe=bad host:1&ws=http://w/\
             &so=0,2,4-6&xl=5",
        );
        let magnet = magnet.unwrap();
        assert_eq!(magnet.info_hash.to_string(), HEX);
        assert_eq!(magnet.name.as_deref(), Some("A b \u{e4}"));
        assert_eq!(magnet.trackers, ["http://t/announce", "udp://u:1"]);
        let peers: Vec<_> = magnet.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["10.0.0.1:5000", "[fd00::1]:6"]);
        assert_eq!(magnet.web_seeds, ["http://w/"]);
        assert_eq!(magnet.select, Choice::parse("0,2,4-6").ok());
        let text = magnet.to_string();
        assert!(text.ends_with(
            "&dn=A%20b%20%C3%A4&tr=http://t/announce&tr=udp://u:1&x.pe=10.0.0.1:5000\
             &x.pe=%5Bfd00::1%5D:6&ws=http://w/&so=0,2,4-6"
        ));
        assert_eq!(Magnet::parse(&text), Ok(magnet));
    }

    #[test]
    fn base32_and_upper_case_are_the_same_torrent() {
        let hash = parse("").unwrap().info_hash;
        let base32 = "AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH";
        for text in [
            format!("magnet:?xt=urn:btih:{base32}"),
            format!("MAGNET:?dn=x&xt.1=URN:BTIH:{}", base32.to_lowercase()),
            format!("magnet:?xt=urn:btih:{}&xt=urn:btmh:1220aa", HEX.to_uppercase()),
            format!("magnet:?xt=urn%3Abtih%3A{HEX}&xt=urn:sha1:abc&xt=urn:btih:{base32}"),
        ] {
            assert_eq!(Magnet::parse(&text).unwrap().info_hash, hash, "{text}");
        }
    }

    #[test]
    fn refusals_in_words() {
        let refused = |text: &str| Magnet::parse(text).unwrap_err();
        assert_eq!(refused("http://x"), MagnetError::NotMagnet);
        assert_eq!(refused("magnet:xt=urn:btih:aa"), MagnetError::NotMagnet);
        assert_eq!(refused("magnet:?dn=x"), MagnetError::NoHash);
        assert_eq!(refused("magnet:?xt=urn:btmh:1220aabb"), MagnetError::Version2Only);
        assert_eq!(refused("magnet:?xt=urn:btih:abc"), MagnetError::BadHash("abc".into()));
        assert!(matches!(parse("&so=1-"), Err(MagnetError::BadSelection(_))));
        assert!(matches!(parse("&so=5-4"), Err(MagnetError::BadSelection(_))));
        let other = parse(&format!("&xt=urn:btih:{}", "f".repeat(40)));
        assert_eq!(other, Err(MagnetError::TwoHashes));
        assert_eq!(parse(&"&tr=x".repeat(20_000)), Err(MagnetError::TooLong));
        assert_eq!(
            parse(&(0..200).map(|n| format!("&tr={n}")).collect::<String>())
                .unwrap()
                .trackers
                .len(),
            HINTS_MAX
        );
    }

    #[test]
    fn names_are_safe_to_print() {
        assert_eq!(parse("&dn=%1b%5bA").unwrap().shown_name(), "\\u{1b}[A");
        assert_eq!(parse("&dn=").unwrap().shown_name(), HEX);
    }

    proptest! {
        #[test]
        fn links_survive_being_written(text in "(&(tr|dn|x\\.pe|ws|so|xt)=[ -~]{0,30}){0,6}") {
            if let Ok(magnet) = parse(&text) {
                prop_assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
            }
        }
    }
}
