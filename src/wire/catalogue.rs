//! What a peer shares, for other programs: `/catalog.json`, both ways.
//!
//! docs/CONTROL.md describes the format. What comes from others is checked and cut here: names
//! are only names, numbers only numbers, and nothing in an answer is ever used as a path.

use super::text::NOT_UNRESERVED;
use crate::units::id::InfoHash;
use crate::units::limits::{CATALOGUE_ENTRIES_MAX, CATALOGUE_HOSTS_MAX, CATALOGUE_NEAR_MAX};
use core::fmt::Write;
use core::net::SocketAddr;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde_json::{json, Map, Value};

/// Where the catalogue is.
pub const CATALOGUE_PATH: &str = "/catalog.json";
/// Below this are the .torrent files.
const TORRENTS_PATH: &str = "/torrents/";
const TORRENT_SUFFIX: &str = ".torrent";
/// Characters of a name from outside: more than any file system takes.
const NAME_CHARS_MAX: usize = 1024;
/// Characters of a name that are compared for likeness.
const LIKENESS_CHARS_MAX: usize = 64;

/// One torrent of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The content's name.
    pub name: String,
    /// Its torrent.
    pub info_hash: InfoHash,
    /// Bytes in all.
    pub length: u64,
    /// Verified bytes.
    pub have: u64,
    /// Number of files.
    pub files: u64,
    /// What the peer is in the swarm: `seeder`, `peer` and so on.
    pub status: String,
    /// Peers connected to it there.
    pub peers: u64,
    /// When it was made, in seconds since 1970; 0 if that is not known.
    pub made: u64,
}

/// What a peer shares, or the part that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The torrents, at most [`CATALOGUE_ENTRIES_MAX`].
    pub torrents: Vec<Entry>,
    /// Torrents that have a file of the asked name inside.
    pub inside: Vec<String>,
    /// Names like the asked one.
    pub near: Vec<String>,
    /// Other hosts to ask, at most [`CATALOGUE_HOSTS_MAX`].
    pub hosts: Vec<SocketAddr>,
}

/// What a request asks of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `/`: the page for people.
    Page,
    /// `/catalog.json`: everything.
    All,
    /// `/catalog.json?name=NAME`: the torrents of that name, and names like it.
    Named(String),
    /// `/catalog.json?info_hash=HEX`: that torrent.
    Hashed(InfoHash),
    /// `/torrents/NAME.torrent`: the file.
    Torrent(String),
}

impl Wanted {
    /// Reads the target of a request; `None` if there is nothing of that kind.
    #[must_use]
    pub fn parse(target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
        if path == "/" {
            return Some(Self::Page);
        }
        if path == CATALOGUE_PATH {
            for pair in query.split('&') {
                match pair.split_once('=') {
                    Some(("name", name)) => return decode(name).map(Self::Named),
                    Some(("info_hash", hex)) => return InfoHash::from_hex(hex).map(Self::Hashed),
                    _ => {}
                }
            }
            return Some(Self::All);
        }
        let name = path.strip_prefix(TORRENTS_PATH)?.strip_suffix(TORRENT_SUFFIX)?;
        decode(name).filter(|name| !name.is_empty()).map(Self::Torrent)
    }
}

/// The target that asks for the torrents of that name.
#[must_use]
pub fn ask_for_name(name: &str) -> String {
    format!("{CATALOGUE_PATH}?name={}", encode(name))
}

/// The target that asks for that torrent.
#[must_use]
pub fn ask_for_hash(info_hash: InfoHash) -> String {
    format!("{CATALOGUE_PATH}?info_hash={info_hash}")
}

/// The target of the .torrent file of that name.
#[must_use]
pub fn torrent_path(name: &str) -> String {
    format!("{TORRENTS_PATH}{}{TORRENT_SUFFIX}", encode(name))
}

/// A name as part of an address.
#[must_use]
pub fn encode(name: &str) -> String {
    utf8_percent_encode(name, NOT_UNRESERVED).to_string()
}

impl Catalogue {
    /// The JSON that [`Catalogue::parse`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let torrents = self.torrents.iter().take(CATALOGUE_ENTRIES_MAX).map(|entry| {
            json!({
                "name": entry.name,
                "info_hash": entry.info_hash.to_string(),
                "length": entry.length,
                "have": entry.have,
                "files": entry.files,
                "status": entry.status,
                "peers": entry.peers,
                "made": entry.made,
                "torrent": torrent_path(&entry.name),
            })
        });
        let hosts: Vec<String> =
            self.hosts.iter().take(CATALOGUE_HOSTS_MAX).map(ToString::to_string).collect();
        let mut json = json!({
            "client": crate::wire::extended::CLIENT,
            "torrents": torrents.collect::<Vec<_>>(),
            "inside": self.inside,
            "near": self.near,
            "hosts": hosts,
        })
        .to_string();
        // For people who look at it with curl.
        let _ = writeln!(json);
        json
    }

    /// Reads the answer of another peer; what makes no sense in it is left out. `None` if it is no
    /// catalogue at all.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let Value::Object(root) = serde_json::from_slice(bytes).ok()? else { return None };
        let list = |key: &str| root.get(key).and_then(Value::as_array).map_or(&[][..], |v| v);
        let names = |key: &str| {
            let names = list(key).iter().filter_map(Value::as_str).filter(|name| is_name(name));
            names.take(CATALOGUE_NEAR_MAX).map(String::from).collect()
        };
        root.get("torrents")?.as_array()?;
        let entries = list("torrents").iter().filter_map(|v| entry(v.as_object()?));
        let hosts = list("hosts").iter().filter_map(|v| v.as_str()?.parse().ok());
        Some(Self {
            torrents: entries.take(CATALOGUE_ENTRIES_MAX).collect(),
            inside: names("inside"),
            near: names("near"),
            hosts: hosts.take(CATALOGUE_HOSTS_MAX).collect(),
        })
    }
}

fn entry(of: &Map<String, Value>) -> Option<Entry> {
    let number = |key: &str| of.get(key).and_then(Value::as_u64);
    let text = |key: &str| of.get(key).and_then(Value::as_str);
    let length = number("length")?;
    Some(Entry {
        name: text("name").filter(|name| is_name(name))?.to_owned(),
        info_hash: InfoHash::from_hex(text("info_hash")?)?,
        length,
        have: number("have").unwrap_or(0).min(length),
        files: number("files").unwrap_or(1),
        status: text("status").filter(|s| s.len() <= 16).unwrap_or_default().to_owned(),
        peers: number("peers").unwrap_or(0),
        made: number("made").unwrap_or(0),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().nth(NAME_CHARS_MAX).is_none()
}

/// The names that somebody may have meant by `wanted`, the likest first.
#[must_use]
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| *name != wanted)
        .filter_map(|name| Some((unlikeness(wanted, name)?, name)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(CATALOGUE_NEAR_MAX).map(|(_, name)| name.to_owned()).collect()
}

/// How unlike two names are; `None` if nobody would take one for the other.
fn unlikeness(wanted: &str, name: &str) -> Option<usize> {
    let fold = |s: &str| -> Vec<char> {
        s.chars().take(LIKENESS_CHARS_MAX).flat_map(char::to_lowercase).collect()
    };
    let (a, b) = (fold(wanted), fold(name));
    let distance = edit_distance(&a, &b);
    let (short, long) = if a.len() < b.len() { (&a, &b) } else { (&b, &a) };
    let within = short.len() >= 3 && long.windows(short.len()).any(|part| part == &short[..]);
    (within || distance <= (a.len() / 4).max(1)).then_some(distance)
}

/// Letters to change, to add, to leave out, or neighbours to swap.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let changed = row[j] + usize::from(x != y);
            let mut least = changed.min(next[j] + 1).min(row[j + 1] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = core::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (target, wanted) in [
            ("/", Some(Wanted::Page)),
            ("/?x", Some(Wanted::Page)),
            ("/catalog.json", Some(Wanted::All)),
            ("/catalog.json?name=a%20b%2Fc+d", Some(Wanted::Named("a b/c+d".into()))),
            ("/catalog.json?x=1&name=%C3%A9", Some(Wanted::Named("é".into()))),
            ("/catalog.json?name=%ff", None),
            ("/catalog.json?info_hash=12", None),
            ("/torrents/a%20b.iso.torrent", Some(Wanted::Torrent("a b.iso".into()))),
            // A name, never a path: there is no torrent of that name.
            ("/torrents/..%2f..%2fetc.torrent", Some(Wanted::Torrent("../../etc".into()))),
            ("/torrents/.torrent", None),
            ("/torrents/a", None),
            ("/etc/passwd", None),
            ("/catalog.json/", None),
        ] {
            assert_eq!(Wanted::parse(target), wanted, "{target}");
        }
        let name = "ä b/%?&#+.iso";
        assert_eq!(Wanted::parse(&ask_for_name(name)), Some(Wanted::Named(name.into())));
        assert_eq!(Wanted::parse(&torrent_path(name)), Some(Wanted::Torrent(name.into())));
        let hash = InfoHash([0xab; 20]);
        assert_eq!(Wanted::parse(&ask_for_hash(hash)), Some(Wanted::Hashed(hash)));
    }

    #[test]
    fn there_and_back() {
        let entry = Entry {
            name: "a\"b".into(),
            info_hash: InfoHash([1; 20]),
            length: 7,
            have: 5,
            files: 2,
            status: "peer".into(),
            peers: 3,
            made: 9,
        };
        let catalogue = Catalogue {
            torrents: vec![entry],
            inside: vec!["in".into()],
            near: vec!["x".into()],
            hosts: vec!["10.0.0.1:5000".parse().unwrap(), "[fd00::1]:5001".parse().unwrap()],
        };
        let json = catalogue.to_json();
        assert!(json.starts_with("{\"client\":\"reactor-peer "), "{json}");
        assert!(json.contains("\"torrent\":\"/torrents/a%22b.torrent\""), "{json}");
        assert_eq!(Catalogue::parse(json.as_bytes()), Some(catalogue));
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        assert_eq!(Catalogue::parse(b"[]"), None);
        assert_eq!(Catalogue::parse(b"{\"torrents\":1}"), None);
        assert_eq!(Catalogue::parse(b"{\"torrents\":[{]"), None);
        let hash = "00".repeat(20);
        let json = format!(
            "{{\"torrents\":[1,{{\"name\":\"\",\"info_hash\":\"{hash}\",\"length\":1}},\
             {{\"name\":\"n\",\"info_hash\":\"zz\",\"length\":1}},\
             {{\"name\":\"n\",\"info_hash\":\"{hash}\",\"length\":-1}},\
             {{\"name\":\"n\",\"info_hash\":\"{hash}\",\"length\":2,\"have\":9}}],\
             \"hosts\":[\"x\",3,\"10.0.0.1:1\"]}}"
        );
        let catalogue = Catalogue::parse(json.as_bytes()).unwrap();
        assert_eq!(catalogue.hosts.len(), 1);
        let [only] = &catalogue.torrents[..] else { panic!("{catalogue:?}") };
        assert_eq!((only.have, only.files), (2, 1));
    }

    #[test]
    fn misspelt_names() {
        let names = ["big.iso", "Big.iso", "age.txt", "classroom", "big.iso.sig"];
        assert_eq!(near("bug.iso", names), ["Big.iso", "big.iso"]);
        assert_eq!(near("big.iso", names), ["Big.iso", "big.iso.sig"]);
        assert_eq!(near("clasroom", names), ["classroom"]);
        assert_eq!(near("age", names), ["age.txt"]);
        assert_eq!(near("aeg.txt", names), ["age.txt"]);
        assert_eq!(near("zzz", names), Vec::<String>::new());
        assert_eq!(edit_distance(&['a'; 3], &[]), 3);
    }
}
