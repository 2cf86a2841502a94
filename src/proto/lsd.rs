//! Local service discovery (BEP 14): says on the local network which swarms we are in, hears who
//! else is, and keeps a list of the hosts that run this program.
//!
//! Pure: the announces go out as values, the datagrams come in as bytes.

extern crate alloc;

use crate::units::id::InfoHash;
use crate::units::limits::{LAN_HOSTS_MAX, LSD_KNOWN_MAX};
use crate::units::rng::Rng;
use crate::units::time::{Duration, Instant};
use crate::wire::address::unmap;
use crate::wire::digest;
use crate::wire::lsd::{self, LocalAnnounce, HASHES_MAX};
use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};

/// Between two announces of a swarm (BEP 14: five minutes).
const INTERVAL: Duration = Duration::from_secs(300);
/// Pauses after the first announces of a swarm: one may get lost, and a switch takes a moment to
/// learn that we listen to the group.
const FIRST_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// Between two announces of a swarm whatever happens.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// What chance adds, so that a whole class does not speak at once.
const JITTER: Duration = Duration::from_millis(200);
/// Announces that are due so soon go along with those that are due.
const ALONG: Duration = Duration::from_secs(5);
/// Who was silent so long is a stranger again, and its host is off the list.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * INTERVAL.as_secs() + 60);

/// The swarms we announce and whom we have heard.
#[derive(Clone, Debug)]
pub struct Lsd {
    port: u16,
    cookie: Vec<u8>,
    rng: Rng,
    topics: BTreeMap<InfoHash, Topic>,
    /// Hosts that announce the catalogue, and when they last did.
    hosts: BTreeMap<SocketAddr, Instant>,
    catalogue: InfoHash,
}

/// A swarm that we announce.
#[derive(Clone, Debug)]
struct Topic {
    due: Instant,
    said_at: Option<Instant>,
    /// Times said since the start, as far as it matters.
    said: usize,
    /// Who else announces it: a digest of the cookie, and when it was last heard.
    known: BTreeMap<SocketAddr, (u64, Instant)>,
}

/// Somebody on the local network is in a swarm of ours, or runs this program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Where it listens.
    pub swarms: Vec<(InfoHash, SocketAddr)>,
    /// A host that was not on the list.
    pub new_host: Option<SocketAddr>,
}

/// What every host of this program announces beside its swarms, so that a host that shares
/// nothing yet finds those that do: the SHA-1 of a fixed text.
#[must_use]
pub fn catalogue_hash() -> InfoHash {
    InfoHash(digest::sha1(b"reactor-peer catalogue"))
}

impl Lsd {
    /// One that announces `port` and, from now on, the catalogue.
    #[must_use]
    pub fn new(port: u16, rng: &mut Rng, now: Instant) -> Self {
        let mut rng = Rng::new(rng.next_u64());
        let cookie = format!("{:08x}", rng.next_u64() & 0xffff_ffff).into_bytes();
        let catalogue = catalogue_hash();
        let (topics, hosts) = (BTreeMap::new(), BTreeMap::new());
        let mut lsd = Self { port, cookie, rng, topics, hosts, catalogue };
        lsd.join(now, catalogue);
        lsd
    }

    /// Announces this swarm from now on. Never to be called for a private torrent (BEP 27).
    pub fn join(&mut self, now: Instant, info_hash: InfoHash) {
        let due = now + self.jitter();
        let topic = Topic { due, said_at: None, said: 0, known: BTreeMap::new() };
        self.topics.entry(info_hash).or_insert(topic);
    }

    /// Announces this swarm no longer.
    pub fn leave(&mut self, info_hash: &InfoHash) {
        self.topics.remove(info_hash);
    }

    /// There is a new network: everything is announced as at the start.
    pub fn renew(&mut self, now: Instant) {
        let due = now + self.jitter();
        for topic in self.topics.values_mut() {
            topic.due = topic.due.min(due);
            topic.said = 0;
        }
    }

    /// Who has announced the catalogue lately.
    pub fn hosts(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.hosts.keys().copied()
    }

    /// When [`Lsd::poll`] has something to say.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.topics.values().map(|topic| topic.due).min()
    }

    /// The next announce that is due.
    pub fn poll(&mut self, now: Instant) -> Option<LocalAnnounce> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.hosts.retain(|_, heard_at| now - *heard_at < FORGOTTEN_AFTER);
        let chance = self.jitter();
        let mut hashes = Vec::new();
        // Those that are due come before those that may go along.
        for along in [false, true] {
            for (hash, topic) in &mut self.topics {
                let rested = topic.said_at.is_none_or(|at| at + PAUSE_MIN <= now);
                let wanted =
                    if along { rested && topic.due <= now + ALONG } else { topic.due <= now };
                if !wanted || hashes.len() >= HASHES_MAX {
                    continue;
                }
                hashes.push(*hash);
                topic.said_at = Some(now);
                let pause = FIRST_PAUSES.get(topic.said).copied().unwrap_or(INTERVAL);
                topic.due = now + pause + chance;
                topic.said = topic.said.saturating_add(1);
                topic.known.retain(|_, (_, heard_at)| now - *heard_at < FORGOTTEN_AFTER);
            }
        }
        Some(LocalAnnounce { port: self.port, hashes, cookie: Some(self.cookie.clone()) })
    }

    /// A datagram has come to a group. Our own are known by their cookie.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Heard {
        let announce = match lsd::parse(bytes) {
            Ok(announce) => announce,
            Err(error) => {
                log::debug!("<- {from} a bad local announce: {error}");
                return Heard::default();
            }
        };
        let addr = unmap(SocketAddr::new(from.ip(), announce.port));
        let ours = announce.cookie.as_ref() == Some(&self.cookie);
        if ours || needs_zone(addr.ip()) {
            return Heard::default();
        }
        let mark = mark(announce.cookie.as_deref().unwrap_or_default());
        let mut heard = Heard::default();
        for hash in announce.hashes {
            let chance = self.jitter();
            let Some(topic) = self.topics.get_mut(&hash) else { continue };
            topic.meet(now, addr, mark, chance);
            if hash != self.catalogue {
                heard.swarms.push((hash, addr));
                continue;
            }
            let known = self.hosts.contains_key(&addr);
            if known || self.hosts.len() < LAN_HOSTS_MAX {
                self.hosts.insert(addr, now);
                heard.new_host = (!known).then_some(addr);
            }
        }
        heard
    }

    fn jitter(&mut self) -> Duration {
        let most = u64::try_from(JITTER.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.below(most))
    }
}

impl Topic {
    /// A stranger is answered soon: it cannot know of us before it hears us.
    fn meet(&mut self, now: Instant, addr: SocketAddr, mark: u64, chance: Duration) {
        let known = self
            .known
            .get(&addr)
            .is_some_and(|&(before, heard_at)| before == mark && now - heard_at < FORGOTTEN_AFTER);
        if known || self.known.contains_key(&addr) || self.known.len() < LSD_KNOWN_MAX {
            self.known.insert(addr, (mark, now));
        }
        if !known {
            let rested = self.said_at.map_or(now, |at| at + PAUSE_MIN);
            self.due = self.due.min(rested.max(now) + chance);
        }
    }
}

/// A number for a cookie: a peer that was started again has another.
fn mark(cookie: &[u8]) -> u64 {
    let digest = digest::sha1(cookie);
    digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// A link-local IPv6 address cannot be dialed without the name of the link.
const fn needs_zone(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::lsd::GROUP_V4;

    const HASH: InfoHash = InfoHash([1; 20]);

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn peer(seed: u64) -> Lsd {
        Lsd::new(5000, &mut Rng::new(seed), ms(0))
    }

    /// All that is said until then, with the times in milliseconds.
    fn said(lsd: &mut Lsd, until: Instant) -> Vec<(u64, Vec<InfoHash>)> {
        let mut all = Vec::new();
        while let Some(at) = lsd.poll_timeout().filter(|&at| at <= until) {
            let announce = lsd.poll(at).unwrap();
            all.push((at.as_micros() / 1000, announce.hashes));
        }
        all
    }

    fn hear(lsd: &mut Lsd, now: Instant, from: &str, announce: &LocalAnnounce) -> Heard {
        lsd.handle(now, addr(from), &lsd::build(GROUP_V4.into(), announce))
    }

    fn announce(hash: InfoHash, cookie: &str) -> LocalAnnounce {
        LocalAnnounce { port: 6000, hashes: vec![hash], cookie: Some(cookie.as_bytes().to_vec()) }
    }

    #[test]
    fn three_times_at_the_start_then_every_five_minutes_all_in_one() {
        let mut lsd = peer(1);
        lsd.join(ms(0), HASH);
        let times = said(&mut lsd, ms(700_000));
        assert_eq!(times.len(), 5, "{times:?}");
        assert!(times.iter().all(|(_, hashes)| hashes.len() == 2));
        for ((at, _), expected) in times.iter().zip([0, 1_000, 5_000, 305_000, 605_000]) {
            assert!((expected..expected + 1_100).contains(at), "{at} is not {expected}");
        }
    }

    #[test]
    fn many_swarms_take_many_datagrams() {
        let mut lsd = peer(1);
        for n in 0..60 {
            lsd.join(ms(0), InfoHash([n; 20]));
        }
        let first = said(&mut lsd, ms(900));
        assert_eq!(first.iter().map(|(_, hashes)| hashes.len()).sum::<usize>(), 61);
        assert!(first.len() <= 4, "{first:?}");
    }

    #[test]
    fn a_stranger_is_answered_within_a_second_or_so_and_once() {
        let mut lsd = peer(1);
        lsd.join(ms(0), HASH);
        let _ = said(&mut lsd, ms(100_000));
        let heard = hear(&mut lsd, ms(100_000), "10.0.0.2:6771", &announce(HASH, "a"));
        let expected = vec![(HASH, addr("10.0.0.2:6000"))];
        assert_eq!(heard, Heard { swarms: expected.clone(), new_host: None });
        let answer = said(&mut lsd, ms(101_000));
        assert_eq!(answer.len(), 1);
        assert_eq!(answer[0].1, [HASH]);
        // It is known now; and it is learnt again all the same.
        let heard = hear(&mut lsd, ms(102_000), "10.0.0.2:6771", &announce(HASH, "a"));
        assert_eq!(heard.swarms, expected);
        assert_eq!(said(&mut lsd, ms(103_000)), []);
        // Started again it has another cookie.
        let _ = hear(&mut lsd, ms(103_000), "10.0.0.2:6771", &announce(HASH, "b"));
        assert_eq!(said(&mut lsd, ms(104_000)).len(), 1);
        // A crowd gets one answer a second, not one each.
        for n in 0..50 {
            let from = format!("10.0.1.{n}:6771");
            let _ = hear(&mut lsd, ms(104_000 + n), &from, &announce(HASH, "c"));
        }
        assert!(said(&mut lsd, ms(105_500)).len() <= 2);
    }

    #[test]
    fn two_peers_fall_silent() {
        let (mut a, mut b) = (peer(1), peer(2));
        let mut count = 0;
        for now in (0..20_000).step_by(10).map(ms) {
            for from_a in [true, false] {
                let (from, to) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
                let ip = if from_a { "10.0.0.1:6771" } else { "10.0.0.2:6771" };
                if let Some(announce) = from.poll(now) {
                    count += 1;
                    let _ = hear(to, now, ip, &announce);
                }
            }
        }
        assert!((6..=10).contains(&count), "{count}");
    }

    #[test]
    fn hosts_of_this_program_are_listed_and_forgotten() {
        let mut lsd = peer(1);
        let hello = announce(catalogue_hash(), "a");
        let host = addr("10.0.0.2:6000");
        let heard = hear(&mut lsd, ms(0), "10.0.0.2:6771", &hello);
        assert_eq!(heard, Heard { swarms: Vec::new(), new_host: Some(host) });
        assert_eq!(hear(&mut lsd, ms(1), "10.0.0.2:6771", &hello).new_host, None);
        assert_eq!(lsd.hosts().collect::<Vec<_>>(), [host]);
        let _ = said(&mut lsd, ms(1_000_000));
        assert_eq!(lsd.hosts().count(), 0);
        for n in 0..300_u16 {
            let from = format!("10.0.{}.{}:6771", n / 250, n % 250);
            let _ = hear(&mut lsd, ms(1_000_000), &from, &hello);
        }
        assert_eq!(lsd.hosts().count(), LAN_HOSTS_MAX);
    }

    #[test]
    fn our_own_and_strange_ones_are_not_heard() {
        let mut lsd = peer(1);
        lsd.join(ms(0), HASH);
        let own = lsd.poll(ms(1_000)).unwrap();
        assert_eq!(hear(&mut lsd, ms(0), "10.0.0.1:6771", &own), Heard::default());
        let other = announce(InfoHash([9; 20]), "a");
        assert_eq!(hear(&mut lsd, ms(0), "10.0.0.1:6771", &other), Heard::default());
        let here = announce(HASH, "a");
        assert_eq!(hear(&mut lsd, ms(0), "[fe80::1]:6771", &here), Heard::default());
        lsd.leave(&HASH);
        assert_eq!(hear(&mut lsd, ms(0), "10.0.0.1:6771", &here), Heard::default());
        assert_eq!(lsd.handle(ms(0), addr("10.0.0.1:1"), b"BT-SEARCH"), Heard::default());
    }
}
