//! The main form: share what is complete, download what is not, until told to stop.

use super::cli::{Network, Run};
use super::logging;
use super::session::Session;
use super::text::{quote, shown};
use super::Failure;
use crate::reactor::contents::Content;
use crate::reactor::engine::Reactor;
use crate::reactor::folders::Place;
use crate::reactor::sockets;
use std::net::SocketAddr;
use std::path::Path;

/// Runs until a signal, or until complete where that was asked for. Returns the exit code.
///
/// # Errors
/// When the port is in use, or a folder cannot be used.
pub fn run(run: &Run) -> Result<u8, Failure> {
    start_log(&run.network)?;
    make_folders(run)?;
    let mut session = Session::of(run)?;
    introduce(&session.reactor, run);
    session.serve_on()
}

/// Says what is shared, at which address, and how others get it.
fn introduce(reactor: &Reactor, run: &Run) {
    let Run { network, torrents, shareable, .. } = run;
    let port = network.listen;
    let ips = sockets::own_addresses(network.bind);
    let Some(ip) = ips.first() else { return };
    let here = SocketAddr::new(*ip, port);
    let (first, last) = (port.saturating_add(1), port.saturating_add(network.max_conns));
    log::info!("reactor-peer {}: client, server and tracker", env!("CARGO_PKG_VERSION"));
    if !network.client_ports_any {
        log::info!("client ports {first} to {last}; tracker http://{here}/announce");
    }
    log::info!("torrents in {}, content in {}", shown(torrents), shown(shareable));
    let Some(sample) = sample(reactor) else {
        log::info!("no torrents yet: put a .torrent file into {}", shown(torrents));
        return;
    };
    let program = std::env::args().next().unwrap_or_else(|| "reactor-peer".to_owned());
    let get = |program: &str, torrent: &Path, more: &str| {
        let (program, torrent) = (quote(program), quote(&torrent.to_string_lossy()));
        let here = quote(&here.to_string());
        format!("{program} get {torrent}{more} --peer {here} --output downloads")
    };
    let other = format!(" --listen {}", last.saturating_add(1));
    log::info!("to get it in a second terminal: {}", get(&program, sample, &other));
    let copied = sample.file_name().map(Path::new).unwrap_or(sample);
    log::info!(
        "to get it on another host, with the .torrent copied there: {}",
        get("reactor-peer", copied, "")
    );
}

/// The torrent for the example: the first that is good, of those whose content is here if any is.
fn sample(reactor: &Reactor) -> Option<&Path> {
    let offered = reactor.contents().filter(|(id, _)| reactor.takes_part(*id));
    let key =
        |(_, content): &(_, &Content)| (content.place != Place::Final, content.source.clone());
    offered.min_by_key(key).map(|(_, content)| content.source.as_path())
}

/// Makes the folders where they are missing.
pub(super) fn make_folders(run: &Run) -> Result<(), Failure> {
    for folder in [&run.torrents, &run.shareable] {
        make_folder(folder)?;
    }
    Ok(())
}

/// Makes a folder if it is not there.
pub(super) fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let folder = shown(folder);
        Failure::Failed(match error.kind() {
            std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
                format!("{folder} is no folder: name another, or move what is there")
            }
            _ => format!("cannot make the folder {folder}: {error}"),
        })
    })
}

/// The log as the user wants it.
pub(super) fn start_log(network: &Network) -> Result<(), Failure> {
    logging::start(network.log_level, network.log_file.as_deref()).map_err(|error| {
        let file = network.log_file.as_deref().map(shown).unwrap_or_default();
        Failure::Failed(format!("cannot log to {file}: {error}"))
    })
}
