//! Our announces to trackers, ours among them; and what we learn from those of others.

use super::leaving::announces;
use super::Peer;
use crate::proto::announcer::{Datagram, Progress};
use crate::proto::connection::{Phase, Purpose};
use crate::proto::output::{Action, Asker, Via};
use crate::proto::swarm::{Stage, Swarm};
use crate::proto::tracker::Announced;
use crate::units::id::{ConnId, SwarmId};
use crate::units::time::Instant;
use crate::wire::address::{is_dialable, is_lan, Host, HostPort, Scheme};
use crate::wire::announce::Event as Said;
use crate::wire::http;
use core::net::{IpAddr, SocketAddr};

impl Peer {
    /// Starts every announce that is due, as far as client ports reach. Says whether one of them is
    /// about to take a port, so that nothing else takes it first.
    pub(super) fn announce_due(&mut self, now: Instant) -> bool {
        let mut promised = 0;
        let swarms: Vec<SwarmId> = self.swarms.keys().copied().collect();
        for id in swarms {
            let Some(swarm) = self.swarms.get_mut(&id) else { continue };
            if swarm.announcer.poll_timeout().is_none_or(|at| at > now) {
                continue;
            }
            self.announce_datagrams(now, id);
            let Some(swarm) = self.swarms.get(&id) else { continue };
            let needs_port = swarm.announcer.needs_port(now);
            let no_port = needs_port && self.ports.free_count() <= promised;
            if no_port && (promised > 0 || self.gives_way_to(now, id).is_none()) {
                continue;
            }
            let Some(swarm) = self.swarms.get_mut(&id) else { continue };
            if let Some(attempt) = swarm.announcer.poll(now) {
                // Names may take long.
                promised += usize::from(needs_port && matches!(attempt.target.host, Host::Ip(_)));
                self.actions.push_back(Action::Resolve(attempt.target, Asker::Announcer(id)));
            }
        }
        promised > 0
    }

    /// The addresses of a tracker are known.
    pub(super) fn announcer_resolved(
        &mut self,
        now: Instant,
        id: SwarmId,
        host: &HostPort,
        answer: Result<Vec<(IpAddr, bool)>, String>,
    ) {
        let listen = self.config.listen_port;
        // The name of a tracker that was taken away meanwhile helps nobody.
        let asking = |swarm: &&mut Swarm| swarm.announcer.is_asking(host);
        let Some(swarm) = self.swarms.get_mut(&id).filter(asking) else { return };
        let ips = match answer {
            Ok(ips) => ips,
            Err(why) => return tell_failure(now, swarm, &why),
        };
        // The announce address is ours, so we are the tracker.
        let scheme = swarm.announcer.scheme();
        let own = ips.iter().any(|&(_, own)| own) && host.port == listen;
        if own && scheme != Some(Scheme::Https) {
            log::info!("{}: {host} is this host: we are the tracker", swarm.torrent.name);
            return swarm.announcer.handle_own(now);
        }
        let ips: Vec<IpAddr> = ips.iter().map(|&(ip, _)| ip).collect();
        let Some(ip) = swarm.announcer.choose(&ips) else {
            return tell_failure(now, swarm, "it has no address");
        };
        if let Err(why) = swarm.announcer.admit(ip) {
            return tell_failure(now, swarm, why);
        }
        let remote = SocketAddr::new(ip, host.port);
        if scheme == Some(Scheme::Udp) {
            swarm.announcer.open_udp(now, remote, is_lan(ip));
            return self.announce_datagrams(now, id);
        }
        if !self.ports.has_free() {
            self.make_room_for(now, id);
        }
        if !self.dial(now, remote, Purpose::Announce(id), None) {
            self.postpone_announce(now, id);
        }
    }

    /// The torrent has other trackers now; its peers stay. False where it has failed, and is to begin anew.
    pub fn change_trackers(
        &mut self,
        now: Instant,
        id: SwarmId,
        announce: Option<&str>,
        announce_list: &[Vec<String>],
    ) -> bool {
        let sound = |swarm: &&mut Swarm| swarm.stage != Stage::Failed;
        let Some(swarm) = self.swarms.get_mut(&id).filter(sound) else { return false };
        if (announce, announce_list)
            == (swarm.torrent.announce.as_deref(), &swarm.torrent.announce_list[..])
        {
            return true;
        }
        let name = swarm.torrent.name.clone();
        let errors = swarm.announcer.change(now, announce, announce_list);
        errors.iter().for_each(|error| log::warn!("{name}: {error}"));
        swarm.torrent.announce = announce.map(str::to_owned);
        swarm.torrent.announce_list = announce_list.to_vec();
        swarm.announce_told.clear();
        log::info!("{name}: other trackers, the same peers");
        self.hang_up(id, announces);
        self.resolve_bare(id);
        self.dial_due(now);
        true
    }

    /// Asks for the addresses of bare announces: they are peers, too. A seeder dials nobody, but may be
    /// that host itself under a name.
    pub(super) fn resolve_bare(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let complete = swarm.stage == Stage::Complete;
        for host in swarm.announcer.bare_peers() {
            if !(complete && matches!(host.host, Host::Ip(_))) {
                self.actions.push_back(Action::Resolve(host.clone(), Asker::Dialer(Some(id))));
            }
        }
    }

    /// It waits for the next client port that is free.
    pub(super) fn postpone_announce(&mut self, now: Instant, id: SwarmId) {
        if let Some(swarm) = self.swarms.get_mut(&id) {
            swarm.announcer.postpone(now);
        }
    }

    /// More of a tracker's answer has come.
    pub(super) fn announce_received(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        self.announce_progress(now, id, bytes, false);
    }

    /// The tracker has closed: its answer is complete, if it ever will be.
    pub(super) fn announce_ended(&mut self, now: Instant, id: ConnId) {
        self.announce_progress(now, id, &[], true);
    }

    fn announce_progress(&mut self, now: Instant, id: ConnId, more: &[u8], ended: bool) {
        let Self { connections, swarms, .. } = self;
        let Some(conn) = connections.get_mut(id) else {
            return;
        };
        let remote = conn.remote;
        let Ok(Phase::Announcing { swarm, bytes, .. }) = &mut conn.phase else { return };
        bytes.extend_from_slice(more);
        let Some(swarm) = swarms.get_mut(swarm) else { return };
        let id_of_swarm = swarm.id;
        let event = swarm.announcer.event_in_flight();
        match swarm.announcer.handle_answer(now, bytes, ended) {
            Progress::NeedMore => return,
            Progress::Done(peers) => {
                log::debug!("<- {remote} {}", http::body_shown(bytes));
                self.announce_done(now, id_of_swarm, remote, event, peers);
            }
            Progress::Failed(why) => tell_failure(now, swarm, &why),
            Progress::Redirect => log::debug!("{}: tracker {remote} redirects", swarm.torrent.name),
        }
        // Already told: the close must not count as another failure.
        self.remove_quietly(id);
        self.dial_due(now);
    }

    /// A tracker has answered with these peers.
    fn announce_done(
        &mut self,
        now: Instant,
        id: SwarmId,
        remote: SocketAddr,
        event: Option<Said>,
        peers: Vec<SocketAddr>,
    ) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let name = &swarm.torrent.name;
        match swarm.announcer.warning() {
            None => swarm.announce_told.clear(),
            Some(warning) => {
                if let Some(line) = swarm.announce_told.say(now, warning) {
                    log::warn!("{name}: tracker {remote} warns: {line}");
                }
            }
        }
        if event == Some(Said::Stopped) {
            log::info!("{name}: tracker {remote} told: stopped");
        } else {
            let known = match peers.len() {
                1 => "1 peer".to_owned(),
                count => format!("{count} peers"),
            };
            log::info!("{name}: tracker {remote} knows {known}");
        }
        // Where a dial has failed before, somebody may be now.
        peers.iter().for_each(|&peer| swarm.contacts.vouched(peer, now));
        self.learn_contacts(now, id, peers, false);
    }

    /// Sends what an announce over UDP has to send.
    fn announce_datagrams(&mut self, now: Instant, id: SwarmId) {
        let (peer_id, port) = (self.config.peer_id, self.config.listen_port);
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let stats = swarm.stats(peer_id, port);
        match swarm.announcer.poll_datagram(now, &stats) {
            Some(Datagram::Send(to, bytes)) => {
                self.actions.push_back(Action::SendDatagram { via: Via::Port, to, bytes });
            }
            Some(Datagram::GaveUp(why)) => tell_failure(now, swarm, &why),
            None => {}
        }
    }

    /// A datagram that may be a tracker's answer has come.
    pub(super) fn tracker_answer(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let answers = |(&id, swarm): (&SwarmId, &mut Swarm)| {
            let event = swarm.announcer.event_in_flight();
            Some((id, event, swarm.announcer.handle_datagram(now, from, bytes)?))
        };
        let Some((id, event, progress)) = self.swarms.iter_mut().find_map(answers) else {
            return log::debug!("<- {from} a tracker's answer that nobody waits for");
        };
        match progress {
            Progress::Done(peers) => self.announce_done(now, id, from, event, peers),
            Progress::Failed(why) => {
                if let Some(swarm) = self.swarms.get_mut(&id) {
                    tell_failure(now, swarm, &why);
                }
            }
            Progress::NeedMore | Progress::Redirect => self.announce_datagrams(now, id),
        }
        self.dial_due(now);
    }

    /// The host at this address runs this program: it is a tracker for every swarm that is not
    /// private (BEP 27), in case the torrent's own are away.
    pub(super) fn learn_tracker(&mut self, now: Instant, addr: SocketAddr, only: Option<SwarmId>) {
        if !is_dialable(addr) || self.config.is_ourselves(addr) {
            return;
        }
        for (id, swarm) in &mut self.swarms {
            if only.is_none_or(|only| only == *id) && !swarm.torrent.private {
                swarm.announcer.add_host(now, addr);
            }
        }
    }

    /// A peer has announced itself to our tracker, over HTTP or UDP.
    pub(super) fn heard_announce(&mut self, now: Instant, announced: &Announced) {
        let event = match announced.event {
            Said::None => "",
            Said::Started => ": started",
            Said::Completed => ": completed",
            Said::Paused => ": paused, a partial seed",
            Said::Stopped => ": stopped",
        };
        log::info!("tracker: {} announces{event}", announced.addr);
        let Some(&swarm) = self.by_hash.get(&announced.info_hash) else { return };
        if announced.event != Said::Stopped {
            self.learn_contacts(now, swarm, [announced.addr], false);
        } else if let Some(swarm) = self.swarms.get_mut(&swarm) {
            swarm.contacts.left(announced.addr);
        }
    }
}

/// The announce under way has failed. A tracker that is away fails every second: that is said
/// once, and then once a minute.
pub(super) fn tell_failure(now: Instant, swarm: &mut Swarm, why: &str) {
    swarm.announcer.handle_failure(now, why);
    let (name, status) = (&swarm.torrent.name, swarm.announcer.status());
    if swarm.announcer.failed_at_host() {
        return log::debug!("{name}: announce failed: {status}");
    }
    match swarm.announce_told.say(now, status) {
        Some(line) => log::warn!("{name}: announce failed: {line}"),
        None => log::debug!("{name}: announce failed: {status}"),
    }
}
