//! `share`: makes a torrent of a file or a folder, puts it where the peer looks, and runs.
//!
//! Content that lies elsewhere is linked into the shareable folder, not copied: a 20 GB image is
//! not to be there twice. The link is one that the user can see and remove, and through it the
//! content is only ever read.

use super::cli::Run;
use super::control::ask;
use super::create;
use super::desk::request::Request;
use super::page::get_command;
use super::run;
use super::session::Session;
use super::{read_torrent, text, Failure};
use crate::reactor::contents::{self, Places};
use crate::reactor::folders::{self, shown};
use crate::reactor::{control, sockets};
use crate::wire::address::{HostPort, PORT_DEFAULT};
use crate::wire::metainfo::Metainfo;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A running peer takes a new torrent within its settling time; its content may be large.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Between two questions whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Shares `path` until told to stop; pushes it to the hosts `to`. Returns the exit code.
///
/// # Errors
/// When the content cannot be shared, or the peer cannot run.
pub fn share(path: &Path, to: &[String], run: &Run, out: &mut dyn Write) -> Result<u8, Failure> {
    run::start_log(&run.network)?;
    // With --json stdout is for programs only.
    let out = if run.network.json { &mut ToLog(Vec::new()) } else { out };
    let to = to.iter().map(|text| {
        HostPort::parse(text, PORT_DEFAULT)
            .map_err(|error| Failure::Refused(format!("--to {}: {error}", text::escape(text))))
    });
    let to = to.collect::<Result<Vec<_>, _>>()?;
    let content = fs::canonicalize(path).map_err(|error| refused(path, &error))?;
    run::make_folders(run)?;
    let name = content.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.starts_with('.') {
        return Err(refused(path, &"hidden files are not shared; rename it first"));
    }
    let ips = sockets::own_addresses(run.network.bind);
    let ip = ips.first().copied().unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    let here = SocketAddr::new(ip, run.network.listen);
    let link = link(&content, &run.shareable)?;
    let torrent = run.torrents.join(format!("{name}.torrent"));
    let state = run.state();
    if torrent.symlink_metadata().is_ok() {
        expect_same(&torrent, &content)?;
        writeln!(out, "{} is a torrent already: {}", text::shown(path), text::shown(&torrent))?;
    } else {
        make(&content, &torrent, here, run, out).inspect_err(|_| {
            // Nothing names it now.
            link.map(fs::remove_file);
        })?;
    }
    let metainfo =
        Metainfo::parse(&read_torrent(&torrent)?).map_err(|error| refused(&torrent, &error))?;
    let name = metainfo.name.clone();
    writeln!(out, "to get it on a host of this LAN:  {}", get_command(&name, None))?;
    writeln!(out, "or, where that finds nobody:      {}", get_command(&name, Some(here)))?;
    out.flush()?;
    if control::connect(&state).is_ok() {
        if !to.is_empty() {
            return Err(Failure::Failed(
                "a peer runs here already and shares it now; to push it, stop that peer and \
                 share again"
                    .to_owned(),
            ));
        }
        await_running_peer(&state, &name)?;
        writeln!(out, "a peer runs here already and shares it now")?;
        out.flush()?;
        return Ok(super::DONE);
    }
    let mut session = Session::of(run)?;
    if let Some(swarm) = session.reactor.swarm_of(metainfo.info_hash) {
        for host in to {
            log::info!("{}: to be pushed to {host}", text::escape(&name));
            session.reactor.push_to(swarm, host);
        }
    }
    session.serve_on()
}

/// Whole lines that go into the log.
struct ToLog(Vec<u8>);

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.0.extend_from_slice(line);
            if self.0.ends_with(b"\n") {
                log::info!("{}", String::from_utf8_lossy(&self.0).trim_end());
                self.0.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn refused(path: &Path, what: &dyn std::fmt::Display) -> Failure {
    Failure::Refused(format!("{}: {what}", text::shown(path)))
}

/// Waits until the peer that runs on this state folder has taken the torrent: who is told that it
/// is shared asks for it at once.
fn await_running_peer(state: &Path, name: &str) -> Result<(), Failure> {
    let until = Instant::now() + TAKEN_WITHIN;
    loop {
        let result = ask(&Request::Status, state)?;
        let torrents = result.get("torrents").and_then(serde_json::Value::as_array);
        let is_it = |of: &serde_json::Value| of.get("name").is_some_and(|n| n == name);
        if torrents.is_some_and(|torrents| torrents.iter().any(is_it)) {
            return Ok(());
        }
        if Instant::now() > until {
            let what = "the peer that runs here does not take it; its log says why";
            return Err(Failure::Failed(format!("{}: {what}", text::escape(name))));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Makes the content visible in the shareable folder; says where, if it was not.
fn link(content: &Path, shareable: &Path) -> Result<Option<PathBuf>, Failure> {
    let failed = |error| Failure::Failed(format!("{}: {error}", shown(shareable)));
    let folder = fs::canonicalize(shareable).map_err(failed)?;
    if content.parent() == Some(folder.as_path()) {
        return Ok(None);
    }
    let Some(name) = content.file_name() else {
        return Err(refused(content, &"it has no name"));
    };
    let place = folder.join(name);
    match fs::canonicalize(&place) {
        Ok(there) if there == content => return Ok(None),
        Err(_) if place.symlink_metadata().is_err() => {}
        _ => {
            let what = "something else of that name is there; remove or rename one of the two";
            return Err(refused(&shareable.join(name), &what));
        }
    }
    std::os::unix::fs::symlink(content, &place).map_err(failed)?;
    log::info!("linked, not copied: {} -> {}", shown(&shareable.join(name)), shown(content));
    Ok(Some(place))
}

/// Hashes the content and writes its torrent; notes that it is complete, so that it is not hashed
/// a second time.
fn make(
    content: &Path,
    torrent: &Path,
    here: SocketAddr,
    run: &Run,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // Bare where it can be: so it stands for a peer to dial as well.
    let announce = match (here.port(), here) {
        (PORT_DEFAULT, here) => here.ip().to_string(),
        (_, here) => here.to_string(),
    };
    let before = newest(content);
    let request = create::Request {
        path: content,
        announces: &[announce],
        piece_length: None,
        private: false,
        comment: None,
        output: Some(torrent),
    };
    create::create(&request, out)?;
    let places = Places {
        shareable: run.shareable.clone(),
        state: run.state(),
        peer_id: crate::units::id::PeerId([0; 20]),
    };
    let metainfo = Metainfo::parse(&read_torrent(torrent)?);
    let metainfo = metainfo.map_err(|error| refused(torrent, &error))?;
    if newest(content) == before {
        let noted = fs::create_dir_all(&places.state)
            .and_then(|()| contents::note_complete(&places, &metainfo));
        if let Err(error) = noted {
            log::info!("{}: it will be checked once more: {error}", text::shown(content));
        }
    }
    Ok(())
}

/// A torrent of that name is there already: it must be of this content.
fn expect_same(torrent: &Path, content: &Path) -> Result<(), Failure> {
    let metainfo =
        Metainfo::parse(&read_torrent(torrent)?).map_err(|error| refused(torrent, &error))?;
    let made = torrent.metadata().and_then(|about| about.modified()).ok();
    let layout = contents::layout_of(&metainfo, None);
    let folder = content.parent().unwrap_or(Path::new("/"));
    let same = matches!(folders::locate(folder, &layout), folders::Located::Complete(_));
    if !same || newest(content) > made {
        return Err(Failure::Refused(format!(
            "{} is there already, of other content or of an earlier state of it: remove it and \
             share again",
            text::shown(torrent)
        )));
    }
    Ok(())
}

/// When the content was last changed.
fn newest(content: &Path) -> Option<SystemTime> {
    let mut newest = None;
    let mut left: Vec<PathBuf> = vec![content.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(about) = path.symlink_metadata() else { continue };
        if about.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        } else if about.is_file() {
            newest = newest.max(about.modified().ok());
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_elsewhere_is_linked_once_and_nothing_is_overwritten() {
        let (elsewhere, shareable) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let content = fs::canonicalize(elsewhere.path()).unwrap().join("a.iso");
        fs::write(&content, "abc").unwrap();
        link(&content, shareable.path()).unwrap();
        link(&content, shareable.path()).unwrap();
        let place = shareable.path().join("a.iso");
        assert_eq!(fs::read_link(&place).unwrap(), content);
        fs::remove_file(&place).unwrap();
        fs::write(&place, "mine").unwrap();
        assert!(matches!(link(&content, shareable.path()), Err(Failure::Refused(_))));
        assert_eq!(fs::read(&place).unwrap(), b"mine");
        // What lies there is shared as it is.
        let inside = fs::canonicalize(&place).unwrap();
        link(&inside, shareable.path()).unwrap();
        assert!(place.symlink_metadata().unwrap().is_file());
    }
}
