//! What this peer shares, over HTTP on the wire port: a page for people, the catalogue for
//! programs, the .torrent files. Read-only, and nothing that is not for everybody: private
//! torrents (BEP 27) are left out, since their announces may hold a secret of the user, and so are
//! paused and failed ones, since nobody would get them.

use super::page;
use crate::proto::output::Asked;
use crate::proto::swarm::Report;
use crate::reactor::contents::Content;
use crate::reactor::engine::Reactor;
use crate::units::id::SwarmId;
use crate::units::limits::{CATALOGUE_ENTRIES_MAX, CATALOGUE_HOSTS_MAX};
use crate::wire::address::is_lan;
use crate::wire::catalogue::{encode, near, Catalogue, Entry, Wanted};
use crate::wire::http;
use std::os::unix::fs::MetadataExt;

/// A browser is to take nothing in an answer for anything else, and to load nothing.
const HEADERS: &str = "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\
    Content-Security-Policy: default-src 'none'; style-src 'nonce-page'\r\n";

/// The whole answer to a request.
pub fn answer(reactor: &mut Reactor, asked: &Asked) -> Vec<u8> {
    let text = "text/plain; charset=utf-8";
    let bytes = match Wanted::parse(&asked.target) {
        None => http::answer(404, text, b"Not found.\n"),
        Some(Wanted::Page) => {
            let shared = shared(reactor);
            let page = page::page(&shared, asked.local);
            http::answer_with(200, "text/html; charset=utf-8", HEADERS, page.as_bytes())
        }
        Some(Wanted::Torrent(name)) => match torrent(reactor, &name) {
            None => http::answer(404, text, b"No such torrent here.\n"),
            Some(bytes) => {
                let file = encode(&format!("{name}.torrent"));
                let headers = format!(
                    "{HEADERS}Content-Disposition: attachment; filename*=UTF-8''{file}\r\n"
                );
                http::answer_with(200, "application/x-bittorrent", &headers, &bytes)
            }
        },
        Some(wanted) => {
            let json = catalogue(reactor, &wanted).to_json();
            http::answer_with(200, "application/json", HEADERS, json.as_bytes())
        }
    };
    if asked.head {
        return http::without_body(bytes);
    }
    bytes
}

/// Whether others may hear of that torrent.
fn is_offered(reactor: &Reactor, id: SwarmId, content: &Content) -> bool {
    !content.metainfo.private && reactor.takes_part(id)
}

/// All torrents that are for everybody, with what people are told of each.
fn shared(reactor: &mut Reactor) -> Vec<Entry> {
    let reports = reactor.reports();
    let entries = reports.iter().filter_map(|report| {
        let content = reactor.content(report.id)?;
        is_offered(reactor, report.id, content).then(|| entry(content, report))
    });
    entries.take(CATALOGUE_ENTRIES_MAX).collect()
}

fn entry(content: &Content, report: &Report) -> Entry {
    let metainfo = &content.metainfo;
    let made = metainfo.creation_date.and_then(|date| u64::try_from(date).ok());
    // Most torrents of ours have no date in them, so that the same content gives the same file.
    let file = || content.source.metadata().ok().and_then(|f| u64::try_from(f.mtime()).ok());
    Entry {
        name: metainfo.name.clone(),
        info_hash: metainfo.info_hash,
        length: metainfo.geometry.length(),
        have: report.verified,
        files: metainfo.files.iter().filter(|file| !file.pad).count() as u64,
        status: report.status.to_string(),
        peers: report.peers as u64,
        made: made.or_else(file).unwrap_or(0),
    }
}

fn catalogue(reactor: &mut Reactor, wanted: &Wanted) -> Catalogue {
    let mut torrents = shared(reactor);
    let (mut inside, mut likely) = (Vec::new(), Vec::new());
    match wanted {
        Wanted::Named(name) => {
            likely = near(name, torrents.iter().map(|entry| entry.name.as_str()));
            torrents.retain(|entry| entry.name == *name);
            if torrents.is_empty() {
                inside = torrents_with_file(reactor, name);
            }
        }
        Wanted::Hashed(info_hash) => torrents.retain(|entry| entry.info_hash == *info_hash),
        Wanted::All | Wanted::Page | Wanted::Torrent(_) => {}
    }
    let hosts = reactor.peer().hosts(CATALOGUE_HOSTS_MAX);
    let hosts = hosts.into_iter().filter(|addr| is_lan(addr.ip()) && !addr.ip().is_loopback());
    Catalogue { torrents, inside, near: likely, hosts: hosts.collect() }
}

/// Torrents with a file of that name in one of their folders.
fn torrents_with_file(reactor: &Reactor, name: &str) -> Vec<String> {
    let has = |content: &Content| {
        content.metainfo.files.iter().any(|f| f.path.last().is_some_and(|last| last == name))
    };
    let found = reactor.contents().filter(|(id, c)| is_offered(reactor, *id, c) && has(c));
    found.take(5).map(|(_, content)| content.metainfo.name.clone()).collect()
}

/// The .torrent of the content of that name, byte for byte. Names are only compared, so that no
/// request can name a file.
fn torrent(reactor: &Reactor, name: &str) -> Option<Vec<u8>> {
    let mut offered = reactor.contents().filter(|(id, c)| is_offered(reactor, *id, c));
    let (_, content) = offered.find(|(_, content)| content.metainfo.name == name)?;
    match super::read_torrent(&content.source) {
        Ok(bytes) => Some(bytes),
        // Its file is gone or never was one; all that matters of it is still here.
        Err(_) => Some([&b"d4:info"[..], content.metainfo.raw_info(), b"e"].concat()),
    }
}
