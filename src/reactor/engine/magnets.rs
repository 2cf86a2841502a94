//! Magnet links at work: from the link, or a .magnet file that holds one, to the .torrent.
//!
//! The .torrent is written as soon as its metadata is verified: into the torrents folder, or where
//! there is none, beside the records. A .magnet file stays until then; so a restart goes on.

use super::Reactor;
use crate::proto::swarm::Torrent;
use crate::reactor::folders::shown;
use crate::reactor::state;
use crate::units::id::{InfoHash, SwarmId};
use crate::units::time::Instant;
use crate::wire::create;
use crate::wire::magnet::Magnet;
use crate::wire::metainfo::Metainfo;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of the longest name of a file that every file system takes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// A magnet link whose metadata is being fetched.
pub(super) struct Wanted {
    magnet: Magnet,
    /// The .magnet file it came from.
    source: Option<PathBuf>,
}

impl Reactor {
    /// Joins the swarm of a magnet link. Where its .torrent has been fetched before, that is
    /// taken.
    ///
    /// # Errors
    /// A sentence, when it is here already.
    pub fn add_magnet(&mut self, magnet: Magnet) -> Result<SwarmId, String> {
        let path = self.fetched_path(&magnet.info_hash);
        if let Some(bytes) = fetched_before(&path, &magnet.info_hash) {
            log::info!("{}: its metadata is in {}", magnet.shown_name(), shown(&path));
            let id = self.add_torrent(&path, &bytes)?;
            self.peer.handle_hints(id, &magnet.peers);
            self.drain();
            return Ok(id);
        }
        self.join_magnet(magnet, None)
    }

    /// Takes a .magnet file of the torrents folder.
    pub(super) fn add_magnet_file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        let text = core::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let magnet = Magnet::parse(text.trim()).map_err(|error| error.to_string())?;
        let twin = self.contents.values().find(|c| c.metainfo.info_hash == magnet.info_hash);
        if let Some(twin) = twin {
            // Stopped between the two: the .torrent was written, the link not yet removed.
            log::info!("{}: its torrent is {}", shown(path), shown(&twin.source));
            let id = self.swarm_of(magnet.info_hash).ok_or("it is gone")?;
            self.choose_more(id, magnet.select.as_ref())?;
            return std::fs::remove_file(path).map_err(|error| error.to_string());
        }
        self.chosen.set(magnet.info_hash, magnet.select.clone());
        self.join_magnet(magnet, Some(path.to_owned())).map(drop)
    }

    fn join_magnet(&mut self, magnet: Magnet, source: Option<PathBuf>) -> Result<SwarmId, String> {
        let now = self.clock.now();
        let name = magnet.shown_name();
        let added = self.peer.add_magnet(now, &magnet);
        let id = added.ok_or_else(|| format!("{name} is here already"))?;
        log::info!("{name}: fetching the metadata of {}", magnet.info_hash);
        self.magnets.insert(id, Wanted { magnet, source });
        self.drain();
        Ok(id)
    }

    /// The metadata of a magnet link is verified: writes the .torrent, and goes on with it.
    pub(super) fn metadata(&mut self, now: Instant, id: SwarmId, info: &[u8]) {
        let Some(wanted) = self.magnets.get_mut(&id) else { return };
        let torrent = create::from_magnet(&wanted.magnet, info).map_err(|error| error.to_string());
        let name = torrent.as_ref().ok().and_then(|bytes| Metainfo::parse(bytes).ok());
        let (Ok(bytes), Some(metainfo)) = (&torrent, name) else {
            let why = torrent.err().unwrap_or_default();
            return self.peer.handle_metadata_refused(now, id, &why);
        };
        if let Err(why) = self.check_choice(&metainfo) {
            return self.peer.handle_metadata_refused(now, id, &why);
        }
        let path = match &self.options.torrents {
            Some(folder) => free_path(folder, &metainfo),
            None => self.fetched_path(&metainfo.info_hash),
        };
        match state::save_atomically(&path, bytes) {
            Ok(()) => log::info!("{}: saved as {}", metainfo.name, shown(&path)),
            Err(error) => {
                let (name, path) = (&metainfo.name, shown(&path));
                log::warn!("{name}: cannot save {path}: {error}; a restart fetches it again");
                if let Some(wanted) = self.magnets.get_mut(&id) {
                    wanted.source = None;
                }
            }
        }
        if let Some(folder) = &mut self.folder {
            folder.adopt(&path, bytes);
        }
        if let Err(why) = self.add_torrent(&path, bytes) {
            self.peer.handle_metadata_refused(now, id, &why.to_string());
        }
    }

    /// The torrent of a link is here: the link has done its work.
    pub(super) fn forget_magnet(&mut self, id: SwarmId) {
        let source = self.magnets.remove(&id).and_then(|wanted| wanted.source);
        if let Some(source) = source {
            if let Err(error) = std::fs::remove_file(&source) {
                log::warn!("{}: {error}", shown(&source));
            }
        }
    }

    /// A .magnet file was removed before its torrent was here.
    pub(super) fn remove_magnet(&mut self, source: &Path) {
        let now = self.clock.now();
        let of = |wanted: &Wanted| wanted.source.as_deref() == Some(source);
        let found = self.magnets.iter().find(|(_, wanted)| of(wanted)).map(|(&id, _)| id);
        let Some(id) = found else { return };
        log::info!("{}: removed", shown(source));
        self.magnets.remove(&id);
        self.peer.remove_swarm(now, id);
        self.drain();
    }

    /// The .magnet file of a link whose metadata is being fetched, by its name or info-hash, and what it
    /// is called.
    #[must_use]
    pub fn magnet_file(&self, name: &str) -> Option<(&Path, String)> {
        let hash = InfoHash::from_hex(name);
        let is = |m: &Magnet| m.shown_name() == name || Some(m.info_hash) == hash;
        let wanted = self.magnets.values().find(|wanted| is(&wanted.magnet))?;
        Some((wanted.source.as_deref()?, wanted.magnet.shown_name()))
    }

    /// Where the .torrent of a link is kept when there is no torrents folder.
    fn fetched_path(&self, info_hash: &InfoHash) -> PathBuf {
        self.options.places.state.join(format!("{info_hash}.torrent"))
    }
}

/// Whether a file of the torrents folder holds a link.
pub(super) fn is_magnet_file(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("magnet"))
}

/// What the core must know of a torrent.
pub(super) fn torrent_of(metainfo: &Metainfo) -> Torrent {
    Torrent {
        info_hash: metainfo.info_hash,
        name: metainfo.name.clone(),
        geometry: metainfo.geometry,
        padding: metainfo.padding(),
        private: metainfo.private,
        announce: metainfo.announce.clone(),
        announce_list: metainfo.announce_list.clone(),
        info: Arc::clone(metainfo.raw_info()),
    }
}

/// The .torrent that an earlier run has fetched.
fn fetched_before(path: &Path, info_hash: &InfoHash) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let metainfo = Metainfo::parse(&bytes).ok()?;
    (metainfo.info_hash == *info_hash).then_some(bytes)
}

/// A name for the .torrent that nothing has yet, and that the folder shows.
fn free_path(folder: &Path, metainfo: &Metainfo) -> PathBuf {
    let named = format!("{}.torrent", metainfo.name);
    let path = folder.join(&named);
    let fits = named.len() <= FILE_NAME_BYTES_MAX && !named.starts_with('.');
    if fits && std::fs::symlink_metadata(&path).is_err() {
        path
    } else {
        folder.join(format!("{}.torrent", metainfo.info_hash))
    }
}
