//! What the app asks of a reactor at work: pauses, catalogue requests, the control socket,
//! standard input.

use super::Reactor;
use crate::proto::output::FetchId;
use crate::proto::peer::listing::PeerReport;
use crate::proto::swarm::Report;
use crate::proto::swarm::Swarm;
use crate::reactor::contents::{Content, Places};
use crate::reactor::control::{ClientId, Control};
use crate::reactor::stdin::Stdin;
use crate::units::bitfield::Bitfield;
use crate::units::id::{ConnId, InfoHash, SwarmId};
use crate::wire::address::HostPort;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

impl Reactor {
    /// Every torrent at work.
    pub fn contents(&self) -> impl Iterator<Item = (SwarmId, &Content)> {
        self.contents.iter().map(|(&id, content)| (id, content))
    }

    /// The swarm of that torrent.
    #[must_use]
    pub fn swarm_of(&self, info_hash: InfoHash) -> Option<SwarmId> {
        self.contents().find(|(_, c)| c.metainfo.info_hash == info_hash).map(|(id, _)| id)
    }

    /// Where contents and records are.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.options.places
    }

    /// The folder of .torrent files that is watched, if any.
    #[must_use]
    pub fn torrents(&self) -> Option<&Path> {
        self.options.torrents.as_deref()
    }

    /// How far every torrent is.
    pub fn reports(&mut self) -> Vec<Report> {
        let now = self.clock.now();
        let mut reports = self.peer.report(now);
        reports.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        reports
    }

    /// Who is connected.
    pub fn peers(&mut self) -> Vec<PeerReport> {
        let now = self.clock.now();
        self.peer.peers(now)
    }

    /// The verified pieces of a torrent.
    #[must_use]
    pub fn verified(&self, swarm: SwarmId) -> Option<Bitfield> {
        self.peer.progress(swarm).map(|progress| progress.have)
    }

    /// Pauses or resumes a torrent, now and after a restart. False where it was so already.
    pub fn set_paused(&mut self, swarm: SwarmId, paused: bool) -> bool {
        let now = self.clock.now();
        let changed = match paused {
            true => self.peer.pause(now, swarm),
            false => self.peer.resume(now, swarm),
        };
        if let Some(content) = self.contents.get(&swarm) {
            self.paused.set(content.metainfo.info_hash, paused);
        }
        self.drain();
        changed
    }

    /// Whether others may hear of that torrent from us: neither paused nor failed.
    #[must_use]
    pub fn takes_part(&self, swarm: SwarmId) -> bool {
        self.peer.swarm(swarm).is_some_and(Swarm::takes_part)
    }

    /// The torrent is to go: nothing of its pause or its choice is to be remembered.
    pub fn forget_wishes(&mut self, swarm: SwarmId) {
        if let Some(content) = self.contents.get(&swarm) {
            self.paused.set(content.metainfo.info_hash, false);
            self.chosen.set(content.metainfo.info_hash, None);
        }
    }

    /// Answers a request of another peer or a browser.
    pub fn answer(&mut self, conn: ConnId, bytes: &[u8]) {
        let now = self.clock.now();
        self.peer.answer(now, conn, bytes);
        self.drain();
    }

    /// Asks another peer's catalogue. `None` where too many are being asked.
    pub fn fetch(&mut self, remote: SocketAddr, target: String) -> Option<FetchId> {
        let now = self.clock.now();
        let id = self.peer.fetch(now, remote, target);
        self.drain();
        id
    }

    /// These peers are in that swarm.
    pub fn add_contacts(&mut self, swarm: SwarmId, addrs: &[SocketAddr]) {
        let now = self.clock.now();
        self.peer.add_contacts(now, swarm, addrs);
        self.drain();
    }

    /// Dials this host in this swarm, again and again, though we may be a seeder there.
    pub fn push_to(&mut self, swarm: SwarmId, host: HostPort) {
        self.peer.name_for(swarm, host);
        self.drain();
    }

    /// Listens on the control socket in the state folder.
    ///
    /// # Errors
    /// As the file system says.
    pub fn open_control(&mut self) -> io::Result<()> {
        let state = &self.options.places.state;
        self.control = Some(Control::open(self.poll.registry(), state)?);
        Ok(())
    }

    /// The next line from the control socket.
    pub fn poll_control(&mut self) -> Option<(ClientId, String)> {
        self.control.as_mut()?.poll_line()
    }

    /// Answers it.
    pub fn reply(&mut self, client: ClientId, line: &str) {
        if let Some(control) = &mut self.control {
            control.reply(client, line);
        }
    }

    /// Reads standard input from now on.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn open_stdin(&mut self) -> io::Result<()> {
        self.stdin = Some(Stdin::open(Arc::clone(&self.waker))?);
        Ok(())
    }

    /// The next bytes of standard input; empty at its end, after which there is nothing more.
    pub fn poll_stdin(&mut self) -> Option<Vec<u8>> {
        let bytes = self.stdin.as_mut()?.poll()?;
        if bytes.is_empty() {
            self.stdin = None;
        }
        Some(bytes)
    }
}
