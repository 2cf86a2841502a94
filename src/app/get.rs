//! `get`: download one torrent, verify it, exit.

use super::cli::Network;
use super::run::{start_log, Session};
use super::Failure;
use crate::reactor::folders::shown;
use crate::wire::magnet::Magnet;
use crate::wire::metainfo::Metainfo;
use std::path::{Path, PathBuf};

/// Downloads the content of `torrent`, a .torrent file or a magnet link, into `output`. Returns the
/// exit code: 0 when all of it is there, 7 when stopped before.
///
/// # Errors
/// When the torrent is bad, or the port or a folder cannot be used.
pub fn get(torrent: &str, output: &Path, network: &Network) -> Result<u8, Failure> {
    start_log(network)?;
    let wanted = Wanted::read(torrent)?;
    std::fs::create_dir_all(output)
        .map_err(|error| Failure::Failed(format!("{}: {error}", shown(output))))?;
    let state = network.state.clone().unwrap_or_else(|| output.join(".reactor-peer"));
    let network = Network { exit_when_complete: true, ..network.clone() };
    let mut session = Session::open(&network, output, state, None, &mut |reactor| {
        let added = match &wanted {
            Wanted::Torrent(source, bytes) => reactor.add_torrent(source, bytes),
            Wanted::Magnet(magnet) => reactor.add_magnet(magnet.clone()),
        };
        added.map(drop).map_err(|why| Failure::Failed(format!("{}: {why}", wanted.shown())))
    })?;
    session.serve(&mut |reactor| reactor.is_complete())
}

/// What is to be downloaded.
enum Wanted {
    Torrent(PathBuf, Vec<u8>),
    Magnet(Magnet),
}

impl Wanted {
    fn read(text: &str) -> Result<Self, Failure> {
        if Magnet::is_magnet(text) {
            let magnet = Magnet::parse(text);
            return magnet.map(Self::Magnet).map_err(|error| Failure::Refused(error.to_string()));
        }
        let source = PathBuf::from(text);
        let bytes = super::read_torrent(&source)?;
        Metainfo::parse(&bytes)
            .map_err(|error| Failure::Refused(format!("{}: {error}", shown(&source))))?;
        Ok(Self::Torrent(source, bytes))
    }

    fn shown(&self) -> String {
        match self {
            Self::Torrent(source, _) => shown(source),
            Self::Magnet(magnet) => magnet.shown_name(),
        }
    }
}
