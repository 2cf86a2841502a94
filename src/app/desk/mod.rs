//! What a running peer does for people and other peers beside sharing: answers the catalogue's
//! requests, obeys the console and the control socket (one implementation for both), looks for
//! names, takes torrents that are offered.

mod commands;
pub mod request;
pub mod search;
pub mod tables;

use super::{catalogue, Ending, Failure};
use crate::proto::output::{Event, FetchId};
use crate::reactor::control::ClientId;
use crate::reactor::engine::Reactor;
use crate::units::id::InfoHash;
use crate::units::limits::{OFFERS_MAX, SEARCHES_MAX, SEARCH_HOSTS_MAX};
use crate::units::time::{Duration, Instant};
use crate::wire::http::Response;
use request::Request;
use search::{News, Search, Sought};
use serde_json::{json, Value};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Who wants to know what comes of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// The console: the torrent goes into the torrents folder.
    Console,
    /// A client of the control socket: the same, and it is owed one answer.
    Control(ClientId),
    /// The command `get`, which ends with it: the torrent goes beside the records.
    Get,
    /// Nobody: another peer has offered it.
    Offer,
}

/// What the session is to do or say.
#[derive(Debug)]
pub enum Out {
    /// Lines for the person at the console.
    Print(String),
    /// End: as after a signal, or because the command `get` has failed.
    End(Ending),
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    /// Our addresses, for `status`.
    listen: Vec<SocketAddr>,
    searches: Vec<(Asker, Search)>,
    /// Torrents placed in the folder whose swarms are to learn of these peers.
    coming: Vec<(InfoHash, Vec<SocketAddr>)>,
    /// Hosts that answered or were named before, for searches.
    hosts: Vec<SocketAddr>,
    /// The command `get` asks again and again until then.
    until: Instant,
}

impl Desk {
    /// A desk for the peer that listens there.
    #[must_use]
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        let (searches, coming, hosts) = (Vec::new(), Vec::new(), Vec::new());
        Self { listen, searches, coming, hosts, until: Instant::ORIGIN }
    }

    /// Begins to look for a name, for the command `get`: once, or for so long; zero is for ever.
    pub fn get(&mut self, now: Instant, name: &str, wait: Option<Duration>) {
        self.until = match wait {
            Some(Duration::ZERO) => now + Duration::MAX,
            wait => now + wait.unwrap_or_default(),
        };
        let search = Search::new(Sought::Name(name.to_owned()), false, now);
        self.searches.push((Asker::Get, search));
    }

    /// How long the desk can wait.
    #[must_use]
    pub fn pause(&self, now: Instant) -> Duration {
        let timeouts = self.searches.iter().map(|(_, search)| search.timeout(now));
        timeouts.min().map_or(Duration::MAX, |at| at - now)
    }

    /// Something has happened.
    pub fn handle_event(&mut self, reactor: &mut Reactor, event: &Event, out: &mut Vec<Out>) {
        match event {
            Event::Asked(asked) => {
                let answer = catalogue::answer(reactor, asked);
                reactor.answer(asked.conn, &answer);
            }
            Event::Fetched(fetch, answer) => self.fetched(reactor, *fetch, answer, out),
            Event::Offered(info_hash, from) => self.offered(reactor, *info_hash, *from),
            _ => {}
        }
    }

    /// Does what is due: requests of the control socket, the next steps of the searches.
    pub fn turn(&mut self, reactor: &mut Reactor, out: &mut Vec<Out>) {
        self.coming.retain(|(info_hash, holders)| match reactor.swarm_of(*info_hash) {
            Some(swarm) => {
                reactor.add_contacts(swarm, holders);
                false
            }
            None => true,
        });
        self.search(reactor, out);
        // Only now, since a search that is over may let its client's next line through.
        while let Some((client, line)) = reactor.poll_control() {
            match Request::from_json(&line) {
                Err(why) => reply(reactor, client, Err(why)),
                Ok(Request::Quit) => {
                    out.push(Out::End(Ending::Interrupted));
                    reply(reactor, client, Ok(json!({ "said": "stopping" })));
                }
                Ok(request @ (Request::Get(_) | Request::Who(_))) => {
                    let begun = self.begin(reactor, Asker::Control(client), &request, out);
                    if let Err(why) = begun {
                        reply(reactor, client, Err(why));
                    }
                }
                Ok(request) => {
                    let result = self.obey(reactor, &request);
                    reply(reactor, client, result);
                }
            }
        }
    }

    /// One line of the console.
    pub fn console(&mut self, reactor: &mut Reactor, line: &str, out: &mut Vec<Out>) {
        let request = match Request::parse(line) {
            Ok(request) => request,
            Err(_) if line.trim().is_empty() => return,
            Err(why) => return out.push(Out::Print(format!("{why}\n"))),
        };
        match &request {
            Request::Quit => out.push(Out::End(Ending::Interrupted)),
            Request::Get(_) | Request::Who(_) => {
                if let Err(why) = self.begin(reactor, Asker::Console, &request, out) {
                    out.push(Out::Print(format!("{why}\n")));
                }
            }
            _ => out.push(Out::Print(match self.obey(reactor, &request) {
                Ok(result) => tables::render(&result),
                Err(why) => format!("{why}\n"),
            })),
        }
    }

    /// Begins to look for a name; what comes of it is told by [`Desk::report`].
    fn begin(
        &mut self,
        reactor: &mut Reactor,
        asker: Asker,
        request: &Request,
        out: &mut Vec<Out>,
    ) -> Result<(), String> {
        let (Request::Get(name) | Request::Who(name)) = request else { return Ok(()) };
        let who_only = matches!(request, Request::Who(_));
        if !who_only && commands::find(reactor, name).is_ok() {
            return Err(format!("{} is here already", super::text::escape(name)));
        }
        if !who_only && reactor.torrents().is_none() {
            return Err(commands::TAKES_NO_OTHER.to_owned());
        }
        if self.searches.len() >= SEARCHES_MAX {
            return Err("too many searches at once; wait for an answer".to_owned());
        }
        let mut search = Search::new(Sought::Name(name.clone()), who_only, reactor.now());
        if let Some(line) = commands::here(reactor, name).filter(|_| who_only) {
            say(asker, &line, out);
            search.is_here();
        }
        self.searches.push((asker, search));
        self.search(reactor, out);
        Ok(())
    }

    /// Does what is asked at once; the result is for [`tables::render`] or for programs.
    fn obey(&mut self, reactor: &mut Reactor, request: &Request) -> Result<Value, String> {
        match request {
            Request::Status => Ok(commands::status(reactor, &self.listen)),
            Request::Peers => Ok(commands::peers(reactor)),
            Request::Files => Ok(commands::files(reactor)),
            Request::Add(what, select) => commands::add(reactor, what, select.as_ref()),
            Request::Remove(name) => commands::remove(reactor, name),
            Request::Pause(name) => commands::pause(reactor, name, true),
            Request::Resume(name) => commands::pause(reactor, name, false),
            Request::Help => Ok(commands::help()),
            // Those take their time: see [`Desk::begin`].
            Request::Get(_) | Request::Who(_) => Err("that is not answered at once".into()),
            Request::Quit => Ok(json!({ "said": "stopping" })),
        }
    }

    fn fetched(
        &mut self,
        reactor: &mut Reactor,
        fetch: FetchId,
        answer: &Result<Response, String>,
        out: &mut Vec<Out>,
    ) {
        let now = reactor.now();
        for at in 0..self.searches.len() {
            let news = self.searches[at].1.handle_answer(now, fetch, answer);
            if !news.is_empty() {
                self.report(reactor, at, news, out);
                break;
            }
        }
        self.search(reactor, out);
    }

    /// Another peer has dialed us for a torrent that is not here, and the user takes what is
    /// offered: its .torrent is fetched from there.
    fn offered(&mut self, reactor: &mut Reactor, info_hash: InfoHash, from: SocketAddr) {
        let known = reactor.swarm_of(info_hash).is_some()
            || self.coming.iter().any(|(hash, _)| *hash == info_hash)
            || self.searches.iter().any(|(_, s)| *s.sought() == Sought::Hash(info_hash));
        let offers = self.searches.iter().filter(|(asker, _)| *asker == Asker::Offer).count();
        if known || offers >= OFFERS_MAX || reactor.torrents().is_none() {
            return;
        }
        log::info!("{from} offers the torrent {info_hash}");
        let now = reactor.now();
        let mut search = Search::new(Sought::Hash(info_hash), false, now);
        search.add_hosts(now, [from]);
        self.searches.push((Asker::Offer, search));
    }

    /// Lets every search go on as far as it can.
    fn search(&mut self, reactor: &mut Reactor, out: &mut Vec<Out>) {
        let now = reactor.now();
        let hosts = match self.searches.is_empty() {
            true => return,
            false => reactor.peer().hosts(SEARCH_HOSTS_MAX),
        };
        let resolving = reactor.peer().is_resolving();
        let mut at = 0;
        while at < self.searches.len() {
            let (asker, search) = &mut self.searches[at];
            if *asker != Asker::Offer {
                search.add_hosts(now, hosts.iter().chain(&self.hosts).copied());
            }
            let news = search.turn(now, resolving);
            for (host, target) in search.due(now) {
                let fetch = reactor.fetch(host, target);
                search.fetching(now, host, fetch);
            }
            let before = self.searches.len();
            self.report(reactor, at, news, out);
            at += usize::from(self.searches.len() == before);
        }
    }

    /// Tells what came of the search at this place, and ends it where it is over.
    fn report(&mut self, reactor: &mut Reactor, at: usize, news: Vec<News>, out: &mut Vec<Out>) {
        let Some((asker, search)) = self.searches.get(at) else { return };
        let (asker, who_only, sought) = (*asker, search.is_who_only(), search.sought().clone());
        let mut said = Vec::new();
        for one in news {
            let result = match one {
                News::Say(line) => {
                    say(asker, &line, out);
                    said.push(line);
                    continue;
                }
                News::Done(holdings) => Ok(commands::who(reactor, &sought, &holdings, &said)),
                News::Nobody(why) if who_only => {
                    say(asker, &why, out);
                    Ok(commands::who(reactor, &sought, &[], &[why]))
                }
                News::Nobody(why) if asker == Asker::Get && reactor.now() < self.until => {
                    if self.searches[at].1.begin_again(reactor.now()) {
                        log::info!("{why}; asking again and again");
                    }
                    return;
                }
                News::Nobody(why) => Err(Failure::NobodyHasIt(why)),
                News::Found(bytes, info_hash, holders) => {
                    let taken = self.take(reactor, asker, &bytes, out);
                    if taken.is_ok() {
                        self.coming.push((info_hash, holders));
                    }
                    taken.map_err(|why| match reactor.refused_choice() {
                        Some(why) if asker == Asker::Get => Failure::Refused(why.to_owned()),
                        _ => Failure::Failed(why),
                    })
                }
            };
            match (asker, result) {
                (Asker::Control(client), result) => {
                    reply(reactor, client, result.map_err(|failure| failure.to_string()));
                }
                (Asker::Get, Err(failure)) => out.push(Out::End(Ending::Failed(failure))),
                (_, Err(failure)) => say(asker, &failure.to_string(), out),
                (_, Ok(_)) => {}
            }
            self.searches.remove(at);
            return;
        }
    }

    /// Takes the .torrent that was found.
    fn take(
        &mut self,
        reactor: &mut Reactor,
        asker: Asker,
        bytes: &[u8],
        out: &mut Vec<Out>,
    ) -> Result<Value, String> {
        if asker == Asker::Get {
            return self.start(reactor, bytes).map(|()| Value::Null);
        }
        let path = commands::place(reactor, bytes)?;
        let line = format!("placed {}", super::text::shown(&path));
        say(asker, &line, out);
        commands::placed(bytes, &path, &line)
    }

    /// Begins to download for the command `get`.
    fn start(&mut self, reactor: &mut Reactor, bytes: &[u8]) -> Result<(), String> {
        let name = commands::file_name(bytes)?;
        let path: PathBuf = reactor.places().state.join(name);
        crate::reactor::state::save_atomically(&path, bytes)
            .map_err(|error| format!("{}: {error}", super::text::shown(&path)))?;
        reactor.add_torrent(&path, bytes).map(drop).map_err(String::from)
    }
}

/// A line about a search, for whoever can read it. A client of the control socket gets one answer.
fn say(asker: Asker, line: &str, out: &mut Vec<Out>) {
    match asker {
        Asker::Console => out.push(Out::Print(format!("{line}\n"))),
        Asker::Control(_) => {}
        Asker::Get | Asker::Offer => log::info!("{line}"),
    }
}

fn reply(reactor: &mut Reactor, client: ClientId, result: Result<Value, String>) {
    let reply = match result {
        Ok(result) => json!({ "ok": true, "result": result }),
        Err(error) => json!({ "ok": false, "error": error }),
    };
    reactor.reply(client, &reply.to_string());
}
