//! The saved routing table of the DHT: read at the start, written now and then and at the end.

use super::Reactor;
use crate::reactor::folders::shown;
use crate::units::time::{Duration, Instant};
use crate::wire::address::HostPort;
use crate::wire::krpc::saved::SavedTable;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The record in the state folder.
const FILE: &str = "dht-table";
/// Bytes of the largest record that is read: two families of nodes, and a little more.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// The first record is written after a minute, when the first nodes are known.
const SAVE_FIRST: Duration = Duration::from_secs(60);
/// Between two records: nodes that last, last for hours.
const SAVE_EVERY: Duration = Duration::from_secs(15 * 60);

impl Reactor {
    /// A host where the DHT can be entered.
    pub fn add_dht_host(&mut self, host: HostPort) {
        let now = self.clock.now();
        self.peer.add_dht_host(now, host);
        self.drain();
    }

    /// A node that a torrent names (`nodes`, BEP 5).
    pub(super) fn add_torrent_node(&mut self, (host, port): &(String, u16)) {
        match HostPort::parse(host, *port) {
            Ok(node) if node.port != 0 => self.add_dht_host(node),
            Ok(_) => {}
            Err(error) => log::warn!("nodes: {error}"),
        }
    }

    /// Takes part in the DHT, if datagrams can come and go.
    pub(super) fn start_dht(&mut self) {
        if !self.options.dht || !self.datagrams.is_open() {
            return;
        }
        let now = self.clock.now();
        let path = self.options.places.state.join(FILE);
        let saved = read(&path).and_then(|bytes| {
            let table = SavedTable::parse(&bytes);
            if table.is_none() {
                log::warn!("{}: damaged; the DHT begins anew", shown(&path));
            }
            table
        });
        let families = match self.options.bind {
            None => [true; 2],
            Some(ip) => [ip.is_ipv4(), ip.is_ipv6()],
        };
        self.peer.start_dht(now, saved, families);
        self.table_at = Some(now + SAVE_FIRST);
        self.drain();
    }

    pub(super) fn save_table_due(&mut self, now: Instant) {
        if self.table_at.is_some_and(|at| at <= now) {
            self.table_at = Some(now + SAVE_EVERY);
            self.save_table();
        }
    }

    /// Writes the record beside and renames it. It is not flushed: the loop would wait for the
    /// disk, and a record that a power cut damages is known by its checksum.
    pub(super) fn save_table(&self) {
        let Some(table) = self.peer.dht().and_then(crate::proto::dht::Dht::snapshot) else {
            return;
        };
        let path = self.options.places.state.join(FILE);
        let beside = self.options.places.state.join(".dht-table.new");
        let written =
            fs::write(&beside, table.to_bytes()).and_then(|()| fs::rename(&beside, &path));
        if let Err(error) = written {
            log::warn!("{}: {error}", shown(&path));
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            log::warn!("{}: {error}", shown(path));
            None
        }
    }
}
