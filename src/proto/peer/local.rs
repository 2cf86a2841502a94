//! The local network: what discovery (BEP 14) says and hears, and which addresses we have there.

use super::Peer;
use crate::proto::lsd::Lsd;
use crate::proto::output::{Action, Event, Via};
use crate::units::id::SwarmId;
use crate::units::time::Instant;
use crate::wire::lsd::{self, GROUP_V4, GROUP_V6};
use core::net::{IpAddr, SocketAddr};

impl Peer {
    /// Announces every swarm on the local network from now on, private ones excepted (BEP 27).
    pub fn start_lsd(&mut self, now: Instant) {
        if self.lsd.is_none() {
            self.lsd = Some(Lsd::new(self.config.listen_port, &mut self.rng, now));
            let swarms: Vec<SwarmId> = self.by_hash.values().copied().collect();
            swarms.into_iter().for_each(|swarm| self.lsd_join(now, swarm));
        }
    }

    /// The hosts on the local network that run this program, as far as they were heard.
    #[must_use]
    pub fn lan_hosts(&self) -> Vec<SocketAddr> {
        self.lsd.as_ref().map(|lsd| lsd.hosts().collect()).unwrap_or_default()
    }

    /// Our addresses, after a change: an interface has come or gone.
    pub fn handle_addresses(&mut self, now: Instant, addresses: Vec<IpAddr>) {
        let news = addresses.iter().any(|ip| !self.config.own_addresses.contains(ip));
        self.config.own_addresses = addresses;
        if let Some(lsd) = self.lsd.as_mut().filter(|_| news) {
            lsd.renew(now);
        }
    }

    pub(super) fn lsd_join(&mut self, now: Instant, id: SwarmId) {
        let swarm = self.swarms.get(&id).filter(|s| !s.torrent.private && s.takes_part());
        if let (Some(lsd), Some(swarm)) = (&mut self.lsd, swarm) {
            lsd.join(now, swarm.torrent.info_hash);
        }
    }

    pub(super) fn lsd_leave(&mut self, id: SwarmId) {
        if let (Some(lsd), Some(swarm)) = (&mut self.lsd, self.swarms.get(&id)) {
            lsd.leave(&swarm.torrent.info_hash);
        }
    }

    /// Says what is due on the local network.
    pub(super) fn lsd_due(&mut self, now: Instant) {
        let Some(lsd) = self.lsd.as_mut().filter(|_| !self.stopping) else { return };
        while let Some(announce) = lsd.poll(now) {
            log::debug!("-> local announce of {} swarms", announce.hashes.len());
            for group in [SocketAddr::from(GROUP_V4), SocketAddr::from(GROUP_V6)] {
                let bytes = lsd::build(group, &announce);
                self.actions.push_back(Action::SendDatagram { via: Via::Lsd, to: group, bytes });
            }
        }
    }

    pub(super) fn lsd_timeout(&self) -> Option<Instant> {
        self.lsd.as_ref().filter(|_| !self.stopping).and_then(Lsd::poll_timeout)
    }

    /// Somebody has announced on the local network.
    pub(super) fn local_announce(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Some(lsd) = self.lsd.as_mut().filter(|_| !self.stopping) else { return };
        let heard = lsd.handle(now, from, bytes);
        if let Some(host) = heard.new_host.filter(|&host| !self.config.is_ourselves(host)) {
            log::info!("{host} is on the local network");
            self.events.push_back(Event::HostSeen(host));
            self.learn_tracker(now, host, None);
        }
        for (info_hash, addr) in heard.swarms {
            let Some(&swarm) = self.by_hash.get(&info_hash) else { continue };
            self.learn_contacts(now, swarm, [addr], false);
            if let Some(swarm) = self.swarms.get_mut(&swarm) {
                swarm.contacts.vouched(addr, now);
            }
        }
        self.dial_due(now);
    }
}
