//! A peer at work: the reactor, with what people see of it and say to it, from the listening socket
//! to the exit code.

use super::cli::{Network, Run};
use super::console::Console;
use super::desk::{Desk, Out};
use super::hosts::{dht_hosts, known_hosts};
use super::logging;
use super::progress::Progress;
use super::stream::Stream;
use super::{Ending, Failure, DONE};
use crate::proto::output::{Event, Status};
use crate::proto::peer::Config;
use crate::reactor::contents::Places;
use crate::reactor::engine::{Options, Reactor};
use crate::reactor::signals::Signal;
use crate::reactor::sockets;
use crate::reactor::state::{self, keep_peer_id, peer_id_path};
use crate::units::id::PeerId;
use crate::units::rng::Rng;
use crate::units::time::Duration;
use rustix::io::Errno;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Exit code: a signal came before everything was there.
const STOPPED_BEFORE_COMPLETE: u8 = 7;
/// Between two looks whether it is time to end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether who reads the log takes what waits.
const CATCH_UP_EVERY: Duration = Duration::from_millis(100);

/// A reactor at work, with its display.
pub(super) struct Session {
    pub(super) reactor: Reactor,
    pub(super) desk: Desk,
    console: Option<Console>,
    progress: Progress,
    stream: Stream,
    /// Why the first torrent that failed did.
    failed: Option<String>,
    network: Network,
    /// Other processes must not use the same records.
    _lock: state::StateLock,
}

impl Session {
    /// With the torrents of the folder.
    pub(super) fn of(run: &Run) -> Result<Self, Failure> {
        let torrents = Some(run.torrents.as_path());
        Self::open(&run.network, &run.shareable, run.state(), torrents, &mut |reactor| {
            reactor.load();
            Ok(())
        })
    }

    /// Listens, lets `load` bring the torrents, names the known hosts. Only then is it said that
    /// we listen: whoever asks from that line on finds what is here.
    pub(super) fn open(
        network: &Network,
        shareable: &Path,
        state: PathBuf,
        torrents: Option<&Path>,
        load: &mut dyn FnMut(&mut Reactor) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        sockets::take_descriptors();
        let hosts = known_hosts(network)?;
        let dht_hosts = dht_hosts(network)?;
        let id_file = peer_id_path(&state);
        let lock = state::lock_state(&state).map_err(Failure::Failed)?;
        let seed = seed()?;
        let (peer_id, id_is_new) = peer_id(&id_file, seed);
        let options = Options {
            config: config(network, peer_id, random()?),
            bind: network.bind,
            lsd: network.lsd,
            dht: network.dht,
            torrents: torrents.map(Path::to_owned),
            map_budget: network.map_budget,
            places: Places { shareable: shareable.to_owned(), state, peer_id },
        };
        let port = network.listen;
        let mut reactor = listen(options, seed)?;
        if network.stats {
            reactor.meter().measure_processor();
        }
        if id_is_new {
            // Behind the socket: the disk may take its time.
            keep_peer_id(&id_file, peer_id);
        }
        load(&mut reactor)?;
        hosts.into_iter().for_each(|host| reactor.add_host(host));
        dht_hosts.into_iter().for_each(|host| reactor.add_dht_host(host));
        if let Err(error) = reactor.open_control() {
            log::warn!(
                "no control socket, so status, add and so on will not find this peer: {error}"
            );
        }
        let listen = sockets::own_addresses(network.bind).into_iter();
        let listen: Vec<_> = listen.map(|ip| SocketAddr::new(ip, port)).collect();
        for addr in &listen {
            log::info!("listening on {addr}");
        }
        if let (None, Some(why)) = (network.bind, alone(&listen)) {
            log::warn!("{why}");
        }
        let progress = Progress::new(network.quiet);
        let stream = Stream::new(network.json);
        let network = network.clone();
        let desk = Desk::new(listen);
        Ok(Self {
            reactor,
            desk,
            console: None,
            progress,
            stream,
            failed: None,
            network,
            _lock: lock,
        })
    }

    /// Takes commands, and turns until a signal, or until complete where that was asked for.
    pub(super) fn serve_on(&mut self) -> Result<u8, Failure> {
        self.open_console();
        let done_when_complete = self.network.exit_when_complete;
        if done_when_complete && self.reports().is_empty() {
            log::warn!("no torrent is here yet: waiting for the first one to come and be complete");
        }
        self.serve(&mut |reactor| {
            let done = reactor.is_at_rest() && reactor.peer().has_given_enough();
            (done_when_complete && done).then_some(Ending::Done)
        })
    }

    /// Turns until `done` says how it ends, or a signal comes; then says stopped, flushes and
    /// saves. Returns the exit code.
    pub(super) fn serve(
        &mut self,
        done: &mut dyn FnMut(&mut Reactor) -> Option<Ending>,
    ) -> Result<u8, Failure> {
        let mut ending = None;
        let mut interrupted = false;
        while !self.reactor.is_stopped() {
            let looks = self.network.exit_when_complete || self.network.json;
            let most = if looks { LOOK_EVERY } else { Duration::from_secs(3600) };
            let most = most.min(self.desk.pause(self.reactor.now()));
            // At the end no more progress is shown: it would be due all the time.
            let most = if ending.is_none() { most.min(self.progress.pause()) } else { most };
            let most = if self.catch_up() { most.min(CATCH_UP_EVERY) } else { most };
            self.reactor.turn(most).map_err(|error| Failure::Failed(format!("poll: {error}")))?;
            let mut changed = false;
            let mut out = Vec::new();
            while let Some(event) = self.reactor.poll_event() {
                changed |= matches!(event, Event::StatusChanged(..) | Event::Completed(_));
                if let Event::Failed(swarm, why) = &event {
                    let name = self.reactor.peer().swarm(*swarm).map(|swarm| swarm.name());
                    let name = name.unwrap_or("a torrent that is gone");
                    self.failed.get_or_insert_with(|| format!("{name}: {why}"));
                }
                self.stream.tell(&mut self.reactor, &event);
                self.desk.handle_event(&mut self.reactor, &event, &mut out);
            }
            ending = ending.or(self.attend(out));
            while let Some(signal) = self.reactor.poll_signal() {
                match signal {
                    Signal::Rescan => {
                        logging::reopen();
                        self.reactor.look_again();
                    }
                    Signal::Status => {
                        let reports = self.reports();
                        self.progress.show_all(&reports);
                        self.show_stats();
                    }
                    Signal::Stop(number) if interrupted => {
                        return Ok(128u8.saturating_add(u8::try_from(number).unwrap_or(0)));
                    }
                    Signal::Stop(_) => {
                        interrupted = true;
                        log::info!("stopping; once more to stop at once");
                        ending.get_or_insert(Ending::Interrupted);
                    }
                }
            }
            if ending.is_none() {
                ending = done(&mut self.reactor);
            }
            if ending.is_some() {
                self.progress.clear();
                self.reactor.stop();
            } else if changed || self.progress.is_due() || self.stream.is_due() {
                let reports = self.reports();
                self.progress.show(&reports);
                self.stream.show(&reports);
            }
        }
        self.show_stats();
        while let Some(event) = self.reactor.poll_event() {
            self.stream.tell(&mut self.reactor, &event);
        }
        let reports = self.reports();
        self.stream.show(&reports);
        let complete = reports.iter().all(|report| {
            report.have == report.length
                && !matches!(report.status, Status::Metadata | Status::Failed)
        });
        self.exit_code(ending, complete)
    }

    fn exit_code(&mut self, ending: Option<Ending>, complete: bool) -> Result<u8, Failure> {
        let until_complete = self.network.exit_when_complete;
        let refused = self.reactor.first_refused();
        match (ending, self.failed.take()) {
            (Some(Ending::Failed(failure)), _) => Err(failure),
            (_, Some(why)) if until_complete && !complete => Err(Failure::Failed(why)),
            _ if until_complete && !complete => Ok(STOPPED_BEFORE_COMPLETE),
            (Some(Ending::Done), _) if until_complete && refused.is_some() => {
                Err(Failure::Failed(refused.unwrap_or_default()))
            }
            _ => Ok(DONE),
        }
    }

    /// Writes what waited for its reader; true if more waits.
    fn catch_up(&mut self) -> bool {
        if !logging::is_behind() {
            return false;
        }
        match logging::catch_up() {
            Some(lines) if self.network.json => self.stream.tell_gap(lines),
            Some(lines) => {
                log::warn!("standard output was not read: {lines} lines are left out there");
            }
            None => {}
        }
        logging::is_behind()
    }

    fn show_stats(&mut self) {
        if self.network.stats {
            let lines = self.reactor.meter().lines();
            lines.iter().for_each(|line| log::info!("loop: {line}"));
        }
    }

    /// Takes commands from standard input from now on.
    pub(super) fn open_console(&mut self) {
        match self.reactor.open_stdin() {
            Ok(()) => self.console = Some(Console::open()),
            Err(error) => log::warn!("no console: {error}"),
        }
    }

    /// Lets the desk and the console do what is due; says how it all ends, if it does.
    fn attend(&mut self, mut out: Vec<Out>) -> Option<Ending> {
        self.desk.turn(&mut self.reactor, &mut out);
        self.read_console(&mut out);
        // In one piece, so that nothing comes between a command and its answer.
        let (mut printed, mut ending) = (String::new(), None);
        for one in out {
            match one {
                Out::Print(text) => printed.push_str(&text),
                Out::End(end) => drop(ending.get_or_insert(end)),
            }
        }
        if !printed.is_empty() {
            logging::print(&printed);
        }
        ending
    }

    fn read_console(&mut self, out: &mut Vec<Out>) {
        let Some(console) = &mut self.console else { return };
        while let Some(bytes) = self.reactor.poll_stdin() {
            for line in console.take(&bytes) {
                if console.echoes() {
                    out.push(Out::Print(format!("> {}\n", super::text::escape(&line))));
                }
                self.desk.console(&mut self.reactor, &line, out);
            }
        }
    }

    fn reports(&mut self) -> Vec<crate::proto::swarm::Report> {
        let now = self.reactor.now();
        self.reactor.peer().report(now)
    }
}

/// Why no other host reaches a peer that listens there, if none does.
fn alone(listen: &[SocketAddr]) -> Option<&'static str> {
    match listen {
        [] => Some("no network: nobody reaches this peer before an interface has an address"),
        _ if listen.iter().all(|addr| addr.ip().is_loopback()) => {
            Some("no network but loopback: only this host reaches this peer")
        }
        _ => None,
    }
}

/// What the rules are told of the command line.
fn config(network: &Network, peer_id: PeerId, secret: [u8; 16]) -> Config {
    Config {
        secret,
        peer_id,
        listen_port: network.listen,
        max_conns: network.max_conns,
        any_client_port: network.client_ports_any,
        max_inbound: network.max_inbound,
        seed_dials: network.seed_dials,
        upload_slots: network.upload_slots,
        max_up: network.max_up,
        max_down: network.max_down,
        goal: network.goal,
        pex: network.pex,
        own_addresses: sockets::own_addresses(network.bind),
        accept_torrents: network.accept_torrents,
    }
}

fn listen(options: Options, seed: u64) -> Result<Reactor, Failure> {
    let (port, bind) = (options.config.listen_port, options.bind);
    Reactor::new(options, seed).map_err(|error| {
        let why = sockets::words(&error);
        let mend = match (error.kind(), bind) {
            (std::io::ErrorKind::AddrNotAvailable, Some(ip)) => {
                format!("{ip} is no address of this host; --bind takes one that is")
            }
            (std::io::ErrorKind::PermissionDenied, _) => {
                "take a --listen PORT from 1024 on".to_owned()
            }
            _ if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {
                "raise the limit of open files (ulimit -n)".to_owned()
            }
            _ => "use --listen PORT, or stop the program that has it".to_owned(),
        };
        Failure::CannotListen(format!("cannot listen on port {port}: {why}; {mend}"))
    })
}

fn seed() -> Result<u64, Failure> {
    random().map(u64::from_le_bytes)
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Failed(format!("no random numbers: {error}")))?;
    Ok(bytes)
}

/// The same name as in the last run, so that trackers and peers know us again; true if there was
/// none.
fn peer_id(file: &Path, seed: u64) -> (PeerId, bool) {
    let kept = std::fs::read(file).ok().and_then(|bytes| <[u8; 20]>::try_from(bytes).ok());
    match kept.filter(|id| id.starts_with(PeerId::PREFIX)) {
        Some(id) => (PeerId(id), false),
        None => (PeerId::new(&mut Rng::new(seed ^ 0x7065_6572)), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_network_is_told_so() {
        let told = |addrs: &[&str]| {
            let addrs: Vec<_> = addrs.iter().map(|text| text.parse().unwrap()).collect();
            alone(&addrs).unwrap_or_default()
        };
        assert!(told(&[]).starts_with("no network: "));
        assert!(told(&["127.0.0.1:5000", "[::1]:5000"]).starts_with("no network but loopback"));
        assert_eq!(told(&["127.0.0.1:5000", "10.0.0.1:5000"]), "");
    }
}
