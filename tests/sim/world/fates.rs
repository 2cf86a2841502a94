//! What befalls a host: it starts, crashes, comes back, and links break under it.

use super::*;

impl World {
    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].peer.is_some() {
            return;
        }
        let now = Instant::from_micros(self.now);
        let mut peer_id = PeerId(*b"-RP0100-000000000000");
        self.rng.fill(&mut peer_id.0[8..]);
        let h = &mut self.hosts[host];
        let config = Config {
            seed_dials: self.plan.seed_dials,
            upload_slots: Some(self.plan.upload_slots).filter(|&slots| slots < 8),
            ..host::config(peer_id, h.ip, CLIENTS)
        };
        log::speaker(self.now, host);
        let mut peer = Peer::new(config, self.rng.next_u64(), now);
        if self.hosts[host].magnet {
            let hash = InfoHash(sha1(&self.truth.info));
            let magnet = Magnet::parse(&format!("magnet:?xt=urn:btih:{hash}")).unwrap();
            self.hosts[host].swarm = peer.add_magnet(now, &magnet).expect("the only swarm");
        } else {
            let (torrent, start) = (self.torrent(), self.start_of(host));
            self.hosts[host].swarm = peer.add_swarm(now, torrent, start).expect("the only swarm");
        }
        let h = &mut self.hosts[host];
        if let Some(friend) = h.friend.filter(|_| self.plan.gossip) {
            peer.handle_named(now, friend.into());
        }
        h.peer = Some(peer);
        h.incarnation += 1;
        h.timer_at = None;
        self.drain(host);
    }

    pub(super) fn torrent(&self) -> Torrent {
        Torrent {
            info_hash: InfoHash(sha1(&self.truth.info)),
            name: "content".into(),
            geometry: self.truth.geometry,
            padding: Default::default(),
            private: false,
            announce: (!self.plan.gossip).then(|| "http://10.0.0.1:5000/announce".into()),
            announce_list: Vec::new(),
            info: Arc::clone(&self.truth.info),
        }
    }

    /// From what its last run has saved.
    pub(super) fn start_of(&mut self, host: usize) -> Start {
        let (geometry, h) = (self.truth.geometry, &mut self.hosts[host]);
        let saved = h.saved.take();
        let mut have = Bitfield::new(geometry.piece_count());
        for (piece, &verified) in (0u32..).zip(&h.disk.verified) {
            if verified && saved.as_ref().is_none_or(|s| s.have.get(piece)) {
                have.set(piece);
            }
        }
        // What the record does not tell of is not known to be good.
        for (piece, verified) in (0u32..).zip(&mut h.disk.verified) {
            *verified = have.get(piece);
        }
        Start {
            have,
            partials: saved.as_ref().map(|s| s.partials.clone()).unwrap_or_default(),
            uploaded: saved.as_ref().map_or(0, |s| s.uploaded),
            downloaded: saved.as_ref().map_or(0, |s| s.downloaded),
            contacts: saved.map(|s| s.contacts).unwrap_or_default(),
            checking: false,
        }
    }

    /// The metadata of a magnet link has come: from now on this host has the torrent.
    pub(super) fn metadata(&mut self, host: usize, info: &[u8]) {
        assert_eq!(info, &self.truth.info[..], "#{host} takes other metadata");
        let (now, torrent, start) =
            (Instant::from_micros(self.now), self.torrent(), self.start_of(host));
        let h = &mut self.hosts[host];
        h.magnet = false;
        if let Some(peer) = &mut h.peer {
            peer.handle_metadata(now, h.swarm, torrent, start);
            peer.handle_check_done(now, h.swarm);
        }
    }

    /// The process is gone, at once.
    pub(super) fn halt(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        if h.peer.take().is_none() {
            return;
        }
        h.incarnation += 1;
        h.to_send.clear();
        let conns: Vec<ConnId> = h.conns.keys().copied().collect();
        for conn in conns {
            self.close(host, conn, None);
        }
        self.hosts[host].ports.clear();
        let at = self.now + 50_000 + self.rng.below(8_000_000);
        self.schedule(at, Happening::Start(host));
    }

    pub(super) fn heal(&mut self) {
        self.faulty = false;
        for host in &mut self.hosts {
            host.poisons = false;
            host.disk.room = None;
        }
    }

    pub(super) fn fault(&mut self) {
        if !self.faulty {
            return;
        }
        let at = self.now + 1 + self.rng.below(self.plan.fault_pause);
        self.schedule(at, Happening::Fault);
        let host = self.rng.index(self.hosts.len());
        let h = &mut self.hosts[host];
        let Some(peer) = &mut h.peer else { return };
        match self.rng.below(13) {
            0 => {
                // Killed: the record may be older than the content.
                let fresh = h.saved.is_none() || self.rng.below(2) == 0;
                if fresh {
                    h.saved = peer.progress(h.swarm);
                }
                self.halt(host);
            }
            1 => {
                let incarnation = h.incarnation;
                self.input(host, |peer, now, _| peer.handle_stop(now));
                let h = &mut self.hosts[host];
                h.saved = h.peer.as_ref().and_then(|peer| peer.progress(h.swarm));
                self.schedule(self.now + 2_000_000, Happening::Gone(host, incarnation));
            }
            2 => {
                // Its disk is full after a few writes more, for a while.
                (h.disk.room, h.disk.filled) = (Some(self.rng.index(20)), true);
                let at = self.now + self.rng.below(30_000_000);
                self.schedule(at, Happening::Room(host));
            }
            kind => {
                let nth = self.rng.index(h.conns.len().max(1));
                let Some((&conn, &(link, end))) = h.conns.iter().nth(nth) else { return };
                if self.links[link].ends[end].dialing {
                    return;
                }
                match kind {
                    3 => self.links[link].dark = true,
                    4..=7 => self.cut(link, None),
                    _ => self.cut(link, Some("connection reset by peer")),
                }
                let _ = conn;
            }
        }
    }
}
