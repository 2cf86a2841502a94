//! The commands themselves: what each does to a running peer, and what it answers as JSON.

use super::super::text::{self, escape, percent};
use super::request::HELP;
use super::search::{Holding, Sought};
use super::tables;
use crate::proto::output::Status;
use crate::proto::swarm::Report;
use crate::reactor::contents::Content;
use crate::reactor::engine::Reactor;
use crate::reactor::state::save_atomically;
use crate::units::bitfield::Bitfield;
use crate::units::id::{InfoHash, SwarmId};
use crate::wire::catalogue::{near, Entry};
use crate::wire::choice::Choice;
use crate::wire::magnet::Magnet;
use crate::wire::metainfo::{File, Metainfo};
use serde_json::{json, Value};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What `get` says to an `add`.
pub(super) const TAKES_NO_OTHER: &str =
    "this process downloads one torrent and takes no other; start a peer without a command";

pub(super) fn help() -> Value {
    let rows = HELP.iter().map(|(command, what)| vec![(*command).to_owned(), (*what).to_owned()]);
    let table = tables::table(&["command", "what it does"], rows, "");
    json!({ "said": table.trim_end() })
}

pub(super) fn status(reactor: &mut Reactor, listen: &[SocketAddr]) -> Value {
    let reports = reactor.reports();
    let torrents: Vec<Value> = reports
        .iter()
        .map(|report| {
            json!({
                "name": report.name,
                "info_hash": report.info_hash.to_string(),
                "status": report.status.to_string(),
                "length": report.length,
                "have": report.have,
                "percent": percent_of(report),
                "down_rate": report.down_rate,
                "up_rate": report.up_rate,
                "downloaded": report.downloaded,
                "uploaded": report.uploaded,
                "wasted": report.wasted,
                "peers": report.peers,
            })
        })
        .collect();
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    json!({ "client": crate::wire::extended::CLIENT, "listen": listen, "torrents": torrents })
}

pub(super) fn peers(reactor: &mut Reactor) -> Value {
    let reports = reactor.peers();
    let peers: Vec<Value> = reports
        .iter()
        .filter_map(|peer| {
            let content = reactor.content(peer.swarm)?;
            let count = u64::from(content.metainfo.geometry.piece_count());
            Some(json!({
                "torrent": content.metainfo.name,
                "address": peer.remote.to_string(),
                "listens": peer.listens.map(|addr| addr.to_string()),
                "dialed": peer.dialed,
                "client": peer.client,
                "percent": percent(peer.pieces.into(), count),
                "down_rate": peer.down_rate,
                "up_rate": peer.up_rate,
                "am_choking": peer.am_choking,
                "am_interested": peer.am_interested,
                "peer_choking": peer.peer_choking,
                "peer_interested": peer.peer_interested,
            }))
        })
        .collect();
    json!({ "peers": peers })
}

pub(super) fn files(reactor: &mut Reactor) -> Value {
    let mut files = Vec::new();
    for report in reactor.reports() {
        let Some(content) = reactor.content(report.id) else { continue };
        let verified = reactor.verified(report.id);
        let metainfo = &content.metainfo;
        for (index, file) in metainfo.files.iter().enumerate().filter(|(_, file)| !file.pad) {
            let chosen = content.choice.as_ref().is_none_or(|choice| choice.contains(index));
            files.push(json!({
                "torrent": metainfo.name,
                "index": index,
                "path": metainfo.shown_path(file),
                "length": file.length,
                "have": verified.as_ref().map_or(0, |have| bytes_of(metainfo, file, have)),
                "chosen": chosen,
                "status": report.status.to_string(),
            }));
        }
    }
    json!({ "files": files })
}

/// Bytes of the file that lie in verified pieces.
fn bytes_of(metainfo: &Metainfo, file: &File, have: &Bitfield) -> u64 {
    let length = u64::from(metainfo.geometry.piece_length());
    let end = file.offset.saturating_add(file.length);
    if have.is_full() {
        return file.length;
    }
    let mut sum = 0;
    let mut at = file.offset;
    while at < end {
        let next = (at / length + 1).saturating_mul(length).min(end);
        if u32::try_from(at / length).is_ok_and(|piece| have.get(piece)) {
            sum += next - at;
        }
        at = next;
    }
    sum
}

pub(super) fn add(
    reactor: &mut Reactor,
    what: &str,
    select: Option<&Choice>,
) -> Result<Value, String> {
    if Magnet::is_magnet(what) {
        return add_magnet(reactor, what, select);
    }
    let bytes = super::super::read_torrent(Path::new(what)).map_err(|error| error.to_string())?;
    let metainfo = Metainfo::parse(&bytes).map_err(|error| format!("{}: {error}", escape(what)))?;
    if let (Some(choice), Some(id)) = (select, reactor.swarm_of(metainfo.info_hash)) {
        return choose_more(reactor, id, choice);
    }
    reactor.torrents().ok_or(TAKES_NO_OTHER)?;
    select.map_or(Ok(()), |choice| reactor.choose(&metainfo, choice.clone()))?;
    let path = place(reactor, &bytes)?;
    let said = format!("added {}: {}", escape(&metainfo.name), text::shown(&path));
    placed(&bytes, &path, &said)
}

/// What is told of a .torrent that is now in the folder.
pub(super) fn placed(bytes: &[u8], path: &Path, said: &str) -> Result<Value, String> {
    let metainfo = Metainfo::parse(bytes).map_err(|error| error.to_string())?;
    Ok(json!({
        "name": metainfo.name,
        "info_hash": metainfo.info_hash.to_string(),
        "torrent": path.to_string_lossy(),
        "said": said,
    }))
}

/// That this peer has content of that name itself, as a line; `None` if it has not.
pub(super) fn here(reactor: &mut Reactor, name: &str) -> Option<String> {
    let report = own(reactor, name)?;
    let (percent, info_hash) = (percent_of(&report), report.info_hash);
    let (name, status) = (escape(name), report.status);
    Some(format!("{name}: here, {percent}%  {status}, info-hash {info_hash}"))
}

fn own(reactor: &mut Reactor, name: &str) -> Option<Report> {
    reactor.reports().into_iter().find(|report| report.name == name)
}

/// The answer to `who`.
pub(super) fn who(
    reactor: &mut Reactor,
    sought: &Sought,
    holdings: &[Holding],
    said: &[String],
) -> Value {
    let Sought::Name(name) = sought else { return Value::Null };
    let here = own(reactor, name).map(|report| {
        json!({
            "info_hash": report.info_hash.to_string(),
            "percent": percent_of(&report),
            "status": report.status.to_string(),
        })
    });
    let holder = |(addr, entry): &(SocketAddr, Entry)| {
        json!({
            "address": addr.to_string(),
            "percent": percent(entry.have, entry.length),
            "status": entry.status,
        })
    };
    let torrents = holdings.iter().map(|holding| {
        let holders: Vec<Value> = holding.holders.iter().map(holder).collect();
        json!({ "info_hash": holding.info_hash.to_string(), "holders": holders })
    });
    let lines = self::here(reactor, name).into_iter().chain(said.iter().cloned());
    let (torrents, lines): (Vec<Value>, Vec<String>) = (torrents.collect(), lines.collect());
    json!({ "name": name, "here": here, "torrents": torrents, "said": lines.join("\n") })
}

fn percent_of(report: &Report) -> u64 {
    match report.status {
        // Nobody knows yet how much there is.
        Status::Metadata => 0,
        _ => percent(report.have, report.length),
    }
}

/// BEP 53: of a torrent that is here, these files too.
fn choose_more(reactor: &mut Reactor, id: SwarmId, choice: &Choice) -> Result<Value, String> {
    let content = reactor.content(id).ok_or("it is gone")?;
    let (name, info_hash) = (content.metainfo.name.clone(), content.metainfo.info_hash);
    let torrent = content.source.clone();
    let said = match reactor.choose_more(id, Some(choice))? {
        true => {
            format!("{} is here already; of its files {choice} are fetched, too", escape(&name))
        }
        false => format!("{} is here already, and these files are chosen", escape(&name)),
    };
    let info_hash = info_hash.to_string();
    Ok(
        json!({ "name": name, "info_hash": info_hash, "torrent": torrent.to_string_lossy(), "said": said }),
    )
}

/// Puts the link into the torrents folder; its .torrent takes its place once it is fetched.
fn add_magnet(reactor: &mut Reactor, link: &str, select: Option<&Choice>) -> Result<Value, String> {
    let mut magnet = Magnet::parse(link).map_err(|error| error.to_string())?;
    let mut link = link.to_owned();
    if let Some(choice) = select {
        magnet.select = Some(choice.clone());
        link = magnet.to_string();
    }
    let folder = reactor.torrents().ok_or(TAKES_NO_OTHER)?;
    if let Some(id) = reactor.swarm_of(magnet.info_hash) {
        return match &magnet.select {
            Some(choice) => choose_more(reactor, id, choice),
            None => Err(format!("{} is here already", magnet.shown_name())),
        };
    }
    let path = folder.join(format!("{}.magnet", magnet.info_hash));
    save_atomically(&path, link.as_bytes())
        .map_err(|error| format!("{}: {error}", text::shown(&path)))?;
    reactor.rescan();
    let mut said = format!("added {}: its metadata is being fetched", magnet.shown_name());
    if let Some(choice) = &magnet.select {
        let _ = write!(said, "; it is refused then if {choice} names none of its files");
    }
    Ok(json!({
        "name": magnet.name,
        "info_hash": magnet.info_hash.to_string(),
        "torrent": path.to_string_lossy(),
        "said": said,
    }))
}

/// Puts a .torrent into the torrents folder, from where it starts.
pub(super) fn place(reactor: &mut Reactor, bytes: &[u8]) -> Result<PathBuf, String> {
    let folder = reactor.torrents().ok_or(TAKES_NO_OTHER)?;
    let metainfo = Metainfo::parse(bytes).map_err(|error| error.to_string())?;
    if reactor.swarm_of(metainfo.info_hash).is_some() {
        return Err(format!("{} is here already", escape(&metainfo.name)));
    }
    let mut same = reactor.contents().filter(|(_, c)| c.metainfo.name == metainfo.name);
    if same.next().is_some() {
        let name = escape(&metainfo.name);
        return Err(format!("another torrent of the name {name} is here; remove it first"));
    }
    drop(same);
    let path = folder.join(file_name(bytes)?);
    if path.symlink_metadata().is_ok() && std::fs::read(&path).ok().as_deref() != Some(bytes) {
        return Err(format!("{} is there already, and another", text::shown(&path)));
    }
    save_atomically(&path, bytes).map_err(|error| format!("{}: {error}", text::shown(&path)))?;
    reactor.rescan();
    Ok(path)
}

/// What the .torrent is to be called: `NAME.torrent`, the name cut if it is too long for that.
pub(super) fn file_name(bytes: &[u8]) -> Result<String, String> {
    /// Of a file name, `.torrent`, and what stands around it while it is written.
    const NAME_BYTES_MAX: usize = 255 - ".".len() - ".torrent.new".len();
    let metainfo = Metainfo::parse(bytes).map_err(|error| error.to_string())?;
    // A name that begins with a dot would be hidden from the scan.
    let name = metainfo.name.trim_start_matches('.');
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Ok(match &name[..end] {
        "" => format!("{}.torrent", metainfo.info_hash),
        name => format!("{name}.torrent"),
    })
}

pub(super) fn remove(reactor: &mut Reactor, name: &str) -> Result<Value, String> {
    if let Some((source, name)) = reactor.magnet_file(name) {
        std::fs::remove_file(source)
            .map_err(|error| format!("{}: {error}", text::shown(source)))?;
        reactor.rescan();
        let said = format!("removed {}", escape(&name));
        return Ok(json!({ "name": name, "content": null, "said": said }));
    }
    let swarm = find(reactor, name)?;
    let content = reactor.content(swarm).ok_or("it is gone")?;
    if reactor.torrents().is_none() {
        return Err("this process downloads one torrent; stop it to end that".to_owned());
    }
    let (source, name) = (content.source.clone(), content.metainfo.name.clone());
    let place = text::shown(&content.root(reactor.places()));
    std::fs::remove_file(&source).map_err(|error| format!("{}: {error}", text::shown(&source)))?;
    // A torrent that comes again is not to be paused, and all of it is wanted.
    reactor.forget_wishes(swarm);
    reactor.rescan();
    let said = format!("removed {}; its content stays: {place}", escape(&name));
    Ok(json!({ "name": name, "content": place, "said": said }))
}

pub(super) fn pause(reactor: &mut Reactor, name: &str, paused: bool) -> Result<Value, String> {
    if let Some((_, name)) = reactor.magnet_file(name) {
        let name = escape(&name);
        return Err(format!("of {name} only the metadata is being fetched; remove it instead"));
    }
    let swarm = find(reactor, name)?;
    let name = reactor.content(swarm).map(|c| c.metainfo.name.clone()).unwrap_or_default();
    let changed = reactor.set_paused(swarm, paused);
    let said = match (paused, changed) {
        (true, true) => format!("{} is paused", escape(&name)),
        (true, false) => format!("{} was paused already", escape(&name)),
        (false, true) => format!("{} goes on", escape(&name)),
        (false, false) => format!("{} was not paused", escape(&name)),
    };
    Ok(json!({ "name": name, "changed": changed, "said": said }))
}

/// The torrent that is meant: by its name, its info-hash or its file.
pub(super) fn find(reactor: &Reactor, name: &str) -> Result<SwarmId, String> {
    let by = |is: &dyn Fn(&Content) -> bool| {
        reactor.contents().find(|(_, content)| is(content)).map(|(id, _)| id)
    };
    let file = Path::new(name).file_name();
    let hash = InfoHash::from_hex(name);
    by(&|c| c.metainfo.name == name)
        .or_else(|| by(&|c| Some(c.metainfo.info_hash) == hash))
        .or_else(|| by(&|c| c.source.file_name() == file))
        .ok_or_else(|| {
            let names = reactor.contents().map(|(_, c)| c.metainfo.name.as_str());
            let near = near(name, names).iter().map(|n| escape(n)).collect::<Vec<_>>().join(", ");
            let hint = if near.is_empty() { near } else { format!("; there is: {near}") };
            format!("no torrent {} here{hint}", escape(name))
        })
}
