//! The poll loop: waits for sockets, signals, folders and helpers; gives the core one input at a
//! time and does what the core asks for.

mod changes;
mod chosen;
mod datagrams;
mod dht;
mod magnets;
mod moving;
mod names;
mod refused;
mod requests;
mod reserving;
mod tls;
mod torrents;

use crate::proto::outgoing::SendPlan;
use crate::proto::output::{Action, Event};
use crate::proto::peer::{Config, Peer};
use crate::reactor::chosen::Chosen;
use crate::reactor::clock::Clock;
use crate::reactor::contents::{Content, Places};
use crate::reactor::control::Control;
use crate::reactor::datagram::Datagrams;
use crate::reactor::flush::{self, FlushJob, Flushed};
use crate::reactor::folders::Place;
use crate::reactor::hash::{HashQueue, Kind};
use crate::reactor::helper::Helper;
use crate::reactor::link::Link;
use crate::reactor::mmap::Storage;
use crate::reactor::paused::Paused;
use crate::reactor::reserve::{self, Reservation, Reserved};
use crate::reactor::signals::{Signal, Signals};
use crate::reactor::sockets;
use crate::reactor::state::{keep_peer_id, peer_id_path};
use crate::reactor::stdin::Stdin;
use crate::reactor::tls::Authorities;
use crate::reactor::turns::{TurnMeter, Work};
use crate::reactor::watch::TorrentsFolder;
use crate::reactor::write_back::WriteBack;
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::RECEIVE_BYTES;
use crate::units::time::{Duration, Instant};
use crate::wire::address::{unmap, HostPort};
use crate::wire::choice::Choice;
use magnets::Wanted;
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use refused::Refusals;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const FOLDER: Token = Token(usize::MAX - 3);
const DATAGRAMS: Token = Token(usize::MAX - 4);
const LSD: Token = Token(usize::MAX - 5);

/// Events taken from the system at once.
const EVENTS_A_TURN: usize = 256;
/// Connections accepted in one turn.
const ACCEPTS_A_TURN: usize = 64;
/// Pause after the system had no descriptor left for an accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at a folder that cannot be watched.
const SCAN_PAUSE: Duration = Duration::from_secs(2);
/// Between two looks at a .torrent that is being written.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// Between two flushes of one download: what a power cut can cost.
const FLUSH_PAUSE: Duration = Duration::from_secs(5);
/// For saying stopped to trackers (DESIGN: at most 2 s).
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Where the process works.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the core is told.
    pub config: Config,
    /// The one address to use, if the user named one.
    pub bind: Option<IpAddr>,
    /// Discover others on the local network (BEP 14).
    pub lsd: bool,
    /// Take part in the DHT (BEP 5).
    pub dht: bool,
    /// Folder of .torrent files to watch, if any.
    pub torrents: Option<PathBuf>,
    /// Contents and records.
    pub places: Places,
    /// Bytes of content mapped at once.
    pub map_budget: usize,
}

/// The process at work.
pub struct Reactor {
    poll: Poll,
    events: Events,
    clock: Clock,
    listener: TcpListener,
    accept_ready: bool,
    accept_again_at: Option<Instant>,
    datagrams: Datagrams,
    /// When to look for new network interfaces.
    interfaces_at: Option<Instant>,
    signals: Signals,
    authorities: Authorities,
    peer: Peer,
    storage: Storage,
    hashes: HashQueue,
    resolver: Helper<names::ResolveJob, names::Resolved>,
    flusher: Helper<FlushJob, Flushed>,
    reserver: Helper<Reservation, Reserved>,
    /// What it does not take yet.
    to_reserve: VecDeque<Reservation>,
    write_back: WriteBack,
    /// Those that are not read from until the disk has taken more, each once.
    held: Vec<ConnId>,
    links: Vec<Option<Link>>,
    /// The links that can move something now, each once.
    ready: VecDeque<ConnId>,
    /// When to look again whether the disk has brought what these are to send.
    cold: VecDeque<(Instant, ConnId)>,
    /// Until then the disk is asked ahead for what is to be sent.
    cold_until: Instant,
    /// When to see next whether complete content was changed by others.
    look_at: Instant,
    /// When what had not come was last asked for again.
    asked_at: Instant,
    meter: TurnMeter,
    contents: BTreeMap<SwarmId, Content>,
    /// Swarms whose metadata is still being fetched.
    magnets: BTreeMap<SwarmId, Wanted>,
    options: Options,
    folder: Option<TorrentsFolder>,
    /// Torrents of the folder that are not at work.
    refusals: Refusals,
    scan_at: Option<Instant>,
    send_plan: SendPlan,
    /// What one read brings; nothing of it is left behind.
    received: Box<[u8]>,
    told: VecDeque<Event>,
    waker: Arc<Waker>,
    control: Option<Control>,
    stdin: Option<Stdin>,
    paused: Paused,
    chosen: Chosen,
    /// What is chosen of every torrent that is added, if that is not left to `chosen`.
    choose_all: Option<Option<Choice>>,
    /// Why the last choice that was refused was.
    refused_choice: Option<String>,
    /// When the DHT's table is saved next.
    table_at: Option<Instant>,
    stop_by: Option<Instant>,
    /// What is still to be saved at the end.
    unsaved: VecDeque<SwarmId>,
}

impl Reactor {
    /// Listens, but answers nobody before the first turn; [`Reactor::load`] comes before that.
    ///
    /// # Errors
    /// When the port is in use, or the system has no descriptor for us.
    pub fn new(options: Options, seed: u64) -> io::Result<Self> {
        let clock = Clock::default();
        let poll = Poll::new()?;
        let mut listener = sockets::listen(options.bind, options.config.listen_port)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (bind, port) = (options.bind, options.config.listen_port);
        let mut datagrams = Datagrams::open(bind, port, poll.registry(), DATAGRAMS);
        if options.lsd {
            datagrams.open_lsd(bind, poll.registry(), LSD);
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let signals = Signals::new(poll.registry(), SIGNALS)?;
        let folder = options.torrents.as_deref().map(TorrentsFolder::open);
        if let Some(fd) = folder.as_ref().and_then(TorrentsFolder::watch_fd) {
            poll.registry().register(&mut SourceFd(&fd), FOLDER, Interest::READABLE)?;
        }
        let now = clock.now();
        let paused = Paused::load(&options.places.state);
        let chosen = Chosen::load(&options.places.state);
        let mut peer = Peer::new(options.config.clone(), seed, now);
        if options.lsd {
            peer.start_lsd(now);
        }
        let mut reactor = Self {
            poll,
            events: Events::with_capacity(EVENTS_A_TURN),
            clock,
            listener,
            accept_ready: false,
            accept_again_at: None,
            datagrams,
            signals,
            authorities: Authorities::new(Arc::clone(&waker)),
            peer,
            interfaces_at: options.lsd.then_some(now),
            storage: Storage::new(options.map_budget),
            hashes: HashQueue::never_waiting(),
            resolver: Helper::spawn("resolver", Arc::clone(&waker), names::resolve),
            flusher: Helper::spawn("flusher", Arc::clone(&waker), flush::flush),
            reserver: Helper::spawn("reserver", Arc::clone(&waker), reserve::reserve),
            to_reserve: VecDeque::new(),
            write_back: WriteBack::new(Arc::clone(&waker)),
            held: Vec::new(),
            links: Vec::new(),
            ready: VecDeque::new(),
            cold: VecDeque::new(),
            cold_until: Instant::ORIGIN,
            look_at: Instant::ORIGIN,
            asked_at: Instant::ORIGIN,
            meter: TurnMeter::default(),
            contents: BTreeMap::new(),
            magnets: BTreeMap::new(),
            scan_at: folder.is_some().then_some(now),
            folder,
            refusals: Refusals::default(),
            options,
            send_plan: SendPlan::default(),
            received: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            told: VecDeque::new(),
            waker,
            control: None,
            stdin: None,
            paused,
            chosen,
            choose_all: None,
            refused_choice: None,
            table_at: None,
            stop_by: None,
            unsaved: VecDeque::new(),
        };
        reactor.start_dht();
        Ok(reactor)
    }

    /// One turn: waits at most `most` for something to happen, then does all of it that fits
    /// into one turn.
    ///
    /// # Errors
    /// When the system's poll fails; nothing can go on then.
    pub fn turn(&mut self, most: Duration) -> io::Result<()> {
        let timeout = self.timeout().min(most);
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        self.meter.begin(self.clock.now());
        self.write_back.begin(&self.storage);
        let (mut folder_changed, mut controlled) = (false, false);
        for event in &self.events {
            match event.token() {
                LISTENER => self.accept_ready = true,
                DATAGRAMS | LSD => self.datagrams.set_ready(),
                FOLDER => folder_changed = true,
                token if Control::owns(token) => controlled = true,
                WAKER | SIGNALS => {}
                Token(slot) => {
                    if let Some(Some(link)) = self.links.get_mut(slot) {
                        link.ending |= event.is_read_closed() || event.is_error();
                        link.readable |= event.is_readable() || link.ending;
                        link.writable |= event.is_writable() || event.is_error();
                        if !link.dialing && event.is_writable() {
                            if let Err(error) = link.flush() {
                                log::debug!("TLS: {}", sockets::words(&error));
                            }
                        }
                        self.ready.extend(link.becomes_ready());
                    }
                }
            }
        }
        if let (true, Some(control)) = (controlled, &mut self.control) {
            control.turn(self.poll.registry());
        }
        self.take_helpers();
        self.take_datagrams();
        self.look_at_disk();
        self.lap(Work::Other);
        self.move_bytes();
        self.write_back();
        self.accept();
        self.lap(Work::Other);
        self.hash();
        self.lap(Work::Hash);
        let now = self.clock.now();
        self.look_at_interfaces(now);
        self.peer.handle_timeout(now);
        self.drain();
        if folder_changed && self.folder.as_mut().is_some_and(TorrentsFolder::drain) {
            self.scan_at = Some(now);
        }
        self.try_refused(now);
        if self.scan_at.is_some_and(|at| at <= now) {
            self.lap(Work::Other);
            self.scan();
            self.lap(Work::Folders);
        }
        self.save_due(now);
        self.save_last(now);
        self.save_table_due(now);
        self.meter.end(self.clock.now());
        Ok(())
    }

    /// The time since the last call went to this.
    fn lap(&mut self, work: Work) {
        self.meter.lap(self.clock.now(), work);
    }

    /// How long the turns were.
    #[must_use]
    pub fn meter(&mut self) -> &mut TurnMeter {
        &mut self.meter
    }

    /// Something to tell people.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.told.pop_front()
    }

    /// Signals since the last call.
    pub fn poll_signal(&mut self) -> Option<Signal> {
        self.signals.poll()
    }

    /// The core, for reports.
    pub fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    /// The time of the core.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The name and folder of a swarm's content.
    #[must_use]
    pub fn content(&self, id: SwarmId) -> Option<&Content> {
        self.contents.get(&id)
    }

    /// Dials this host in every swarm.
    pub fn add_host(&mut self, host: HostPort) {
        let now = self.clock.now();
        self.peer.handle_named(now, host);
        self.drain();
    }

    /// Joins the swarms of all torrents in the folder.
    pub fn load(&mut self) {
        self.scan();
    }

    /// Looks at the torrents folder again with the next turn.
    pub fn rescan(&mut self) {
        self.scan_at = self.folder.is_some().then(|| self.clock.now());
    }

    /// The same, and tries what was refused as if it had never been.
    pub fn look_again(&mut self) {
        self.forget_refused(self.clock.now());
        self.rescan();
    }

    /// Whether all content is complete, in place, flushed and announced.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let saved = |c: &Content| !c.flushing && (!c.dirty || c.flush_failed);
        let at_rest = |c: &Content| c.place == Place::Final && saved(c);
        self.peer.is_complete()
            && self.scan_at.is_none()
            && self.contents.values().all(at_rest)
            && self.peer.announces_done(self.clock.now())
    }

    /// The same, but a torrent that has failed or was refused is not waited for.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let none_here = self.contents.is_empty() && self.magnets.is_empty();
        let only_refused = none_here && self.first_refused().is_some();
        let at_work = || only_refused || self.peer.has_only_failed_or_complete();
        self.is_complete() || (self.scan_at.is_none() && at_work())
    }

    /// Begins to stop: says so to trackers, flushes. Turn until [`Reactor::is_stopped`].
    pub fn stop(&mut self) {
        let now = self.clock.now();
        if self.stop_by.is_none() {
            self.stop_by = Some(now + STOP_WITHIN);
            self.peer.handle_stop(now);
            self.drain();
            self.save_table();
            self.unsaved = self.contents.keys().copied().collect();
            self.save_last(now);
        }
    }

    /// Whether all is said and saved.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let said = self.peer.is_stopped() || self.stop_by.is_some_and(|by| by <= self.clock.now());
        let saved = self.unsaved.is_empty() && self.flusher.pending() == 0;
        self.stop_by.is_some() && said && saved
    }

    fn timeout(&self) -> Duration {
        let busy = !self.ready.is_empty()
            || self.datagrams.is_ready()
            || (self.accept_ready && self.accept_again_at.is_none());
        if busy {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let save = self.saves().map(|(at, _)| at).min();
        let hash = self.hashes.poll_timeout();
        let cold = self.cold.front().map(|&(at, _)| at);
        // Later only flushes are waited for, and their end wakes the loop.
        let stop_by = self.stop_by.filter(|&by| by > now);
        let wakes =
            [self.scan_at, self.accept_again_at, self.interfaces_at, self.table_at, stop_by];
        [self.peer.poll_timeout(), hash, cold, save, self.refusals.poll_timeout()]
            .into_iter()
            .chain(wakes)
            .flatten()
            .min()
            .map_or(Duration::MAX, |at| at - now)
    }

    fn accept(&mut self) {
        let now = self.clock.now();
        if self.accept_again_at.is_some_and(|at| at <= now) {
            self.accept_again_at = None;
        }
        for _ in 0..ACCEPTS_A_TURN {
            if !self.accept_ready || self.accept_again_at.is_some() {
                return;
            }
            match self.listener.accept() {
                Ok((stream, remote)) => {
                    let Ok(local) = stream.local_addr() else { continue };
                    sockets::prepare(&stream);
                    let accepted = self.peer.handle_accepted(now, unmap(remote), unmap(local));
                    if let Some(id) = accepted {
                        self.attach(id, stream, false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accept_ready = false;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    // No second edge comes for those that wait: look again by timer, and after
                    // every close.
                    log::warn!("cannot accept: {}", sockets::words(&error));
                    self.accept_again_at = Some(now + ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Does all that the core asks for, and what follows from it.
    fn drain(&mut self) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Verified(swarm, piece) => {
                    if let Some(content) = self.contents.get_mut(&swarm) {
                        content.dirty = true;
                        let job = content.job(swarm, piece, Kind::Verify);
                        self.storage.note_verified(swarm, job.offset, job.len);
                    }
                }
                Event::Renamed(id) => {
                    self.options.places.peer_id = id;
                    keep_peer_id(&peer_id_path(&self.options.places.state), id);
                }
                _ => {}
            }
            self.told.push_back(event);
        }
        while let Some(action) = self.peer.poll_action() {
            let now = self.clock.now();
            match action {
                Action::CheckAgain(swarm) => self.begin_again(now, swarm),
                Action::Close(id) => self.detach(id),
                Action::Dial { conn, remote, local_port } => {
                    match sockets::dial(remote, self.options.bind, local_port) {
                        Ok(stream) => self.attach(conn, stream, true),
                        Err(error) => self.peer.handle_dial_failed(now, conn, error),
                    }
                }
                Action::DialTls(dial) => self.dial_tls(dial),
                Action::Finish(swarm) => {
                    self.lap(Work::Other);
                    self.finish(now, swarm);
                    self.lap(Work::Folders);
                }
                Action::Metadata(swarm, info) => self.metadata(now, swarm, &info),
                Action::Resolve(host, asker) => self.resolve(now, host, asker),
                Action::Send(id) => self.want_send(id),
                Action::SendDatagram { via, to, bytes } => self.datagrams.send(via, to, &bytes),
                Action::TryWrite(swarm, block) => self.try_write(now, swarm, block),
                Action::Verify(swarm, piece) => self.verify(swarm, piece),
            }
        }
    }

    fn take_helpers(&mut self) {
        self.take_certificates();
        while let Some(done) = self.resolver.poll() {
            let now = self.clock.now();
            self.peer.handle_resolved(now, &done.host, &done.asker, done.answer);
            self.drain();
        }
        while let Some(flushed) = self.flusher.poll() {
            self.flushed(&flushed);
        }
        while let Some(reserved) = self.reserver.poll() {
            self.reserved(reserved);
        }
        self.submit_reservations();
    }
}

/// Errors of accept that mean the one connection, not the listener.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
