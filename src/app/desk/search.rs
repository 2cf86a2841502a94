//! Who has NAME? Every known host is asked for its catalogue, the answers are ranked, and the
//! .torrent is fetched from a holder.
//!
//! Pure but for the requests it returns: what was asked and answered comes in, what to ask goes
//! out.

use crate::app::text::{escape, percent};
use crate::proto::output::FetchId;
use crate::units::id::InfoHash;
use crate::units::limits::{CATALOGUE_NEAR_MAX, SEARCH_HOSTS_MAX};
use crate::units::time::{Duration, Instant};
use crate::wire::address::is_lan;
use crate::wire::catalogue::{ask_for_hash, ask_for_name, torrent_path, Catalogue, Entry};
use crate::wire::http::Response;
use crate::wire::metainfo::Metainfo;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// So long further hosts may show themselves before the answers are counted.
const GATHER: Duration = Duration::from_millis(700);
/// After that hosts that have not answered are taken for away, if somebody has it.
const ENOUGH: Duration = Duration::from_millis(3_000);
/// After that nobody has it.
const GIVE_UP: Duration = Duration::from_millis(6_000);
/// Pause before a host that did not answer is asked again.
const AGAIN: Duration = Duration::from_millis(1_000);
/// Times that one host is asked.
const TRIES_MAX: u32 = 4;
/// Hosts without an answer that are named in the one line that says so.
const UNANSWERED_NAMED: usize = 3;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Content of that name.
    Name(String),
    /// That torrent.
    Hash(InfoHash),
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    sought: Sought,
    began: Instant,
    hosts: BTreeMap<SocketAddr, Asked>,
    answers: Vec<(SocketAddr, Catalogue)>,
    /// The .torrent is being fetched: from whom, and from whom else it can be.
    torrent: Option<Fetching>,
    /// Only the answers are wanted.
    who_only: bool,
    /// We have it ourselves.
    here: bool,
    /// Nobody had it, and all are asked again.
    again: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    /// Why it has no answer so far.
    why_not: String,
    tries: u32,
    fetch: Option<FetchId>,
    /// When it is to be asked (again); `None` once it has answered or was given up.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Fetching {
    holding: Holding,
    next: usize,
    fetch: Option<FetchId>,
    why_not: String,
    /// Other torrents of that name, the best last: who is in front may have lied.
    others: Vec<Holding>,
}

/// A torrent and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Which.
    pub info_hash: InfoHash,
    /// Everybody who has it or a part of it, the most complete first.
    pub holders: Vec<(SocketAddr, Entry)>,
}

/// What came of a search, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A line for the person.
    Say(String),
    /// The .torrent, and where its holders listen.
    Found(Vec<u8>, InfoHash, Vec<SocketAddr>),
    /// The answers to `who` are complete: these are all.
    Done(Vec<Holding>),
    /// Nobody has it: a sentence.
    Nobody(String),
}

impl Search {
    /// Begins to ask. `who_only`: without a download.
    #[must_use]
    pub fn new(sought: Sought, who_only: bool, now: Instant) -> Self {
        let (hosts, answers) = (BTreeMap::new(), Vec::new());
        let (torrent, here, again) = (None, false, false);
        Self { sought, began: now, hosts, answers, torrent, who_only, here, again }
    }

    /// Asks all once more, for a download; true for the first time.
    pub fn begin_again(&mut self, now: Instant) -> bool {
        let first = !self.again;
        *self = Self { again: true, ..Self::new(self.sought.clone(), false, now) };
        first
    }

    /// What is looked for.
    #[must_use]
    pub const fn sought(&self) -> &Sought {
        &self.sought
    }

    /// Whether nothing is to be downloaded.
    #[must_use]
    pub const fn is_who_only(&self) -> bool {
        self.who_only
    }

    /// We have it ourselves; only others are asked.
    pub fn is_here(&mut self) {
        self.here = true;
    }

    /// Learns of hosts to ask.
    pub fn add_hosts(&mut self, now: Instant, hosts: impl IntoIterator<Item = SocketAddr>) {
        for host in hosts {
            if self.hosts.len() < SEARCH_HOSTS_MAX {
                let why_not = "no answer".to_owned();
                let new = Asked { why_not, tries: 0, fetch: None, due: Some(now) };
                self.hosts.entry(host).or_insert(new);
            }
        }
    }

    /// What to fetch now; each is to be named by [`Search::fetching`].
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<(SocketAddr, String)> {
        if let Some(torrent) = &self.torrent {
            let holder = torrent.holding.holders.get(torrent.next);
            let holder = holder.filter(|_| torrent.fetch.is_none());
            return holder.iter().map(|(addr, e)| (*addr, torrent_path(&e.name))).collect();
        }
        let target = match &self.sought {
            Sought::Name(name) => ask_for_name(name),
            Sought::Hash(info_hash) => ask_for_hash(*info_hash),
        };
        let due = self.hosts.iter().filter(|(_, asked)| asked.due.is_some_and(|at| at <= now));
        due.map(|(addr, _)| (*addr, target.clone())).collect()
    }

    /// The request to this host is under way; `None`: it cannot be made now.
    pub fn fetching(&mut self, now: Instant, host: SocketAddr, fetch: Option<FetchId>) {
        if let Some(torrent) = &mut self.torrent {
            match fetch {
                Some(fetch) => torrent.fetch = Some(fetch),
                None => torrent.next += 1,
            }
        } else if let Some(asked) = self.hosts.get_mut(&host) {
            asked.fetch = fetch;
            asked.due = fetch.is_none().then_some(now + AGAIN);
            asked.tries += 1;
        }
    }

    /// An answer, if it is one of this search's.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        fetch: FetchId,
        answer: &Result<Response, String>,
    ) -> Vec<News> {
        if self.torrent.as_ref().is_some_and(|torrent| torrent.fetch == Some(fetch)) {
            return self.torrent_came(answer);
        }
        let Some((&host, asked)) = self.hosts.iter_mut().find(|(_, a)| a.fetch == Some(fetch))
        else {
            return Vec::new();
        };
        asked.fetch = None;
        match answer {
            Ok(response) => {
                let catalogue = Catalogue::parse(&response.body);
                let Some(catalogue) = catalogue.filter(|_| response.status == 200) else {
                    "it has no catalogue".clone_into(&mut asked.why_not);
                    return Vec::new();
                };
                // Who knows us only through others need not know of hosts beyond the LAN.
                let more = catalogue.hosts.iter().copied().filter(|addr| is_lan(addr.ip()));
                let more: Vec<_> = more.collect();
                self.add_hosts(now, more);
                self.answers.push((host, catalogue));
            }
            // Just starting, perhaps.
            Err(why) => {
                why.clone_into(&mut asked.why_not);
                asked.due = (asked.tries < TRIES_MAX).then_some(now + AGAIN);
            }
        }
        Vec::new()
    }

    /// When [`Search::turn`] has something to do, without further answers.
    #[must_use]
    pub fn timeout(&self, now: Instant) -> Instant {
        if self.torrent.is_some() {
            return now + AGAIN;
        }
        let steps = [GATHER, ENOUGH, GIVE_UP].map(|after| self.began + after);
        let steps = steps.into_iter().filter(|&at| at > now);
        let dues = self.hosts.values().filter_map(|asked| asked.due);
        steps.chain(dues).min().unwrap_or(now + AGAIN)
    }

    /// Time has passed or an answer has come. `more_may_come`: names are being resolved still.
    pub fn turn(&mut self, now: Instant, more_may_come: bool) -> Vec<News> {
        if let Some(torrent) = &mut self.torrent {
            if torrent.fetch.is_some() || torrent.next < torrent.holding.holders.len() {
                return Vec::new();
            }
            let why = format!("nobody gives the .torrent: {}", torrent.why_not);
            let Some(holding) = torrent.others.pop() else { return vec![News::Nobody(why)] };
            let say = News::Say(format!("{why}; taking {}", holding.info_hash));
            (torrent.holding, torrent.next) = (holding, 0);
            return vec![say];
        }
        let age = now - self.began;
        let asking = self.hosts.values().any(|asked| asked.fetch.is_some());
        let mut ranked = rank(&self.sought, &self.answers);
        let over = match ranked.is_empty() {
            true => age >= GIVE_UP || (age >= ENOUGH && !asking && !more_may_come),
            false => age >= ENOUGH || (age >= GATHER && !asking && !more_may_come),
        };
        if !over {
            return Vec::new();
        }
        if ranked.is_empty() {
            return vec![News::Nobody(self.nobody())];
        }
        let mut news: Vec<News> = self.describe(&ranked).into_iter().map(News::Say).collect();
        if self.who_only {
            news.push(News::Done(ranked));
        } else {
            ranked.reverse();
            self.torrent = ranked.pop().map(|holding| {
                let (fetch, why_not) = (None, String::new());
                Fetching { holding, next: 0, fetch, why_not, others: ranked }
            });
        }
        news
    }

    fn torrent_came(&mut self, answer: &Result<Response, String>) -> Vec<News> {
        let Some(torrent) = &mut self.torrent else { return Vec::new() };
        torrent.fetch = None;
        let wanted = torrent.holding.info_hash;
        let read = |response: &Response| match (response.status, Metainfo::parse(&response.body)) {
            (200, Ok(metainfo)) if metainfo.info_hash == wanted => Ok(response.body.clone()),
            (200, Ok(_)) => Err("it sent another torrent".to_owned()),
            (200, Err(error)) => Err(error.to_string()),
            (status, _) => Err(format!("HTTP {status}")),
        };
        match answer.as_ref().map_err(Clone::clone).and_then(read) {
            Ok(bytes) => {
                let holders = torrent.holding.holders.iter().map(|(addr, _)| *addr).collect();
                vec![News::Found(bytes, wanted, holders)]
            }
            Err(why) => {
                let from = torrent.holding.holders.get(torrent.next).map(|(addr, _)| *addr);
                torrent.why_not = match from {
                    Some(from) => format!("{from}: {}", escape(&why)),
                    None => escape(&why),
                };
                torrent.next += 1;
                Vec::new()
            }
        }
    }

    fn describe(&self, ranked: &[Holding]) -> Vec<String> {
        let name = match &self.sought {
            Sought::Name(name) => escape(name),
            Sought::Hash(info_hash) => info_hash.to_string(),
        };
        let mut lines = Vec::new();
        for holding in ranked {
            let (info_hash, count) = (holding.info_hash, holding.holders.len());
            let hosts = if count == 1 { "host has" } else { "hosts have" };
            lines.push(match self.sought {
                Sought::Name(_) => format!("{name}: {count} {hosts} it, info-hash {info_hash}"),
                Sought::Hash(_) => format!("{name}: {count} {hosts} it"),
            });
            for (addr, entry) in &holding.holders {
                let percent = percent_of(entry);
                lines.push(format!("  {addr}  {percent}%  {}", escape(&entry.status)));
            }
        }
        if ranked.len() > 1 {
            let which = if self.who_only { "get takes" } else { "taking" };
            lines.push(format!(
                "{name}: {} different torrents of that name; {which} the first",
                ranked.len()
            ));
        }
        lines
    }

    fn nobody(&self) -> String {
        let name = match &self.sought {
            Sought::Name(name) => escape(name),
            Sought::Hash(info_hash) => info_hash.to_string(),
        };
        let no_host = if self.here { "no other host" } else { "no host" };
        if self.hosts.is_empty() {
            return format!(
                "{no_host} has {name}: no other host is known here; name one with --peer ADDR"
            );
        }
        if self.answers.is_empty() {
            let why = |(addr, asked): (&SocketAddr, &Asked)| {
                format!("{addr}: {}", escape(&asked.why_not))
            };
            let whys: Vec<_> = self.hosts.iter().map(why).take(UNANSWERED_NAMED).collect();
            let (count, whys) = (self.hosts.len(), whys.join(", "));
            return format!(
                "{no_host} has {name}: {count} asked, none answered ({whys}); name another with \
                 --peer ADDR"
            );
        }
        let all = |pick: fn(&Catalogue) -> &Vec<String>| {
            let mut names = BTreeSet::new();
            names.extend(self.answers.iter().flat_map(|(_, c)| pick(c)));
            let names = names.into_iter().take(CATALOGUE_NEAR_MAX).map(|name| escape(name));
            names.collect::<Vec<_>>().join(", ")
        };
        let (inside, near) = (all(|c| &c.inside), all(|c| &c.near));
        let hint = match (inside.as_str(), near.as_str()) {
            ("", "") => String::new(),
            ("", near) => format!("; there is: {near}"),
            (inside, _) => format!("; a file of that name is in: {inside}"),
        };
        let check = if self.here { "" } else { ", check the spelling" };
        format!("{no_host} has {name}{check} ({} asked{hint})", self.answers.len())
    }
}

/// How much of it a host has, in percent.
fn percent_of(entry: &Entry) -> u64 {
    percent(entry.have, entry.length)
}

/// The torrents that were found, the best first: the most holders, then the most complete, then
/// the newest.
#[must_use]
pub fn rank(sought: &Sought, answers: &[(SocketAddr, Catalogue)]) -> Vec<Holding> {
    let mut by_hash: BTreeMap<InfoHash, Vec<(SocketAddr, Entry)>> = BTreeMap::new();
    for (addr, catalogue) in answers {
        for entry in &catalogue.torrents {
            let meant = match sought {
                Sought::Name(name) => entry.name == *name,
                Sought::Hash(info_hash) => entry.info_hash == *info_hash,
            };
            let holders = by_hash.entry(entry.info_hash).or_default();
            if meant && entry.status != "paused" && !holders.iter().any(|(a, _)| a == addr) {
                holders.push((*addr, entry.clone()));
            }
        }
    }
    let holdings = by_hash.into_iter().filter(|(_, holders)| !holders.is_empty());
    let mut ranked: Vec<Holding> =
        holdings.map(|(info_hash, holders)| Holding { info_hash, holders }).collect();
    for holding in &mut ranked {
        holding
            .holders
            .sort_unstable_by_key(|(addr, e)| (core::cmp::Reverse(percent_of(e)), *addr));
    }
    let made = |holding: &Holding| holding.holders.iter().map(|(_, e)| e.made).max();
    let complete = |holding: &Holding| holding.holders.iter().map(|(_, e)| percent_of(e)).max();
    let best = |h: &Holding| core::cmp::Reverse((h.holders.len(), complete(h), made(h)));
    ranked.sort_unstable_by_key(|holding| (best(holding), holding.info_hash));
    ranked
}

#[cfg(test)]
mod tests;
