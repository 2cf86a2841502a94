//! `get`: download one torrent, verify it, exit.

use super::cli::Network;
use super::run::{start_log, Session};
use super::Failure;
use crate::reactor::folders::shown;
use crate::wire::metainfo::Metainfo;
use std::path::{Path, PathBuf};

/// Downloads the content of the .torrent file `torrent` into `output`. Returns the exit code: 0
/// when all of it is there, 7 when stopped before.
///
/// # Errors
/// When the torrent is bad, or the port or a folder cannot be used.
pub fn get(torrent: &str, output: &Path, network: &Network) -> Result<u8, Failure> {
    start_log(network)?;
    let source = PathBuf::from(torrent);
    let bytes = super::read_torrent(&source)?;
    Metainfo::parse(&bytes)
        .map_err(|error| Failure::Refused(format!("{}: {error}", shown(&source))))?;
    std::fs::create_dir_all(output)
        .map_err(|error| Failure::Failed(format!("{}: {error}", shown(output))))?;
    let state = network.state.clone().unwrap_or_else(|| output.join(".reactor-peer"));
    let network = Network { exit_when_complete: true, ..network.clone() };
    let mut session = Session::open(&network, output, state, None, &mut |reactor| {
        let added = reactor.add_torrent(&source, &bytes);
        added.map(drop).map_err(|why| Failure::Failed(format!("{}: {why}", shown(&source))))
    })?;
    session.serve(&mut |reactor| reactor.is_complete())
}
