//! A peer as a process, with its folders, its address and its lines.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::torrent::Torrent;

/// After this a wait has failed. Far beyond what a loaded machine needs.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Client ports of a peer here.
pub const MAX_CONNS: u16 = 3;
/// From the ports of one peer to those of the next: room for a second terminal in between.
const PORTS_APART: u32 = 16;

/// The program under test.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_reactor-peer")
}

/// Runs a command to its end in `folder`.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// The exit code, with what was said if there is none.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

/// A loopback address that no other test uses: Linux answers on all of 127.0.0.0/8. A process has those of
/// four networks of 254, and shares them with every 12,800th other.
pub fn address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(next < 4 * 254, "more addresses than one process has");
    let network = std::process::id() % 12_800 * 4 + next / 254;
    let octet = |n: u32| u8::try_from(n).expect("reduced to an octet");
    let (high, low) = (octet(16 + network / 256), octet(network % 256));
    Ipv4Addr::new(127, high, low, octet(1 + next % 254)).into()
}

/// A port on `ip` that is free together with the client ports after it, and that no other test
/// gets: [::1] is one address for all.
pub fn free_port(ip: IpAddr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(5_000);
    let is_free = |port: u16| TcpListener::bind((ip, port)).is_ok();
    loop {
        // Below the ports that the system gives away itself.
        let port = NEXT.fetch_add(PORTS_APART, Ordering::Relaxed);
        let port = u16::try_from(port).expect("a loopback address has free ports");
        if (port..=port + MAX_CONNS).all(is_free) {
            return port;
        }
    }
}

/// Folders and an address for a peer, running or not.
pub struct Host {
    folder: TempDir,
    pub addr: SocketAddr,
    pub max_conns: u16,
}

impl Host {
    pub fn new() -> Self {
        Self::at(address())
    }

    pub fn at(ip: IpAddr) -> Self {
        let folder = TempDir::new().expect("a folder for the peer");
        for name in ["torrents", "shareable"] {
            fs::create_dir(folder.path().join(name)).expect("an empty folder takes another");
        }
        Self { folder, addr: SocketAddr::new(ip, free_port(ip)), max_conns: MAX_CONNS }
    }

    /// A host with the .torrent and all of its content.
    pub fn with_content(torrent: &Torrent) -> Self {
        let host = Self::with_torrent(torrent);
        torrent.write_content(&host.shareable());
        host
    }

    /// A host with the .torrent alone.
    pub fn with_torrent(torrent: &Torrent) -> Self {
        let host = Self::new();
        host.add(torrent);
        host
    }

    pub fn add(&self, torrent: &Torrent) {
        let path = self.torrents().join(format!("{}.torrent", torrent.name));
        fs::write(path, &torrent.bytes).expect("the .torrent is written");
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn torrents(&self) -> PathBuf {
        self.folder().join("torrents")
    }

    pub fn shareable(&self) -> PathBuf {
        self.folder().join("shareable")
    }

    /// The arguments of the main form on this host.
    pub fn arguments(&self) -> Vec<String> {
        let (ip, port, max_conns) = (self.addr.ip(), self.addr.port(), self.max_conns);
        let own = format!("--bind {ip} --listen {port} --max-conns {max_conns}");
        // Tests run side by side and must not find each other.
        let quiet = "--no-lsd --no-dht --log-level debug --quiet";
        own.split(' ').chain(quiet.split(' ')).map(str::to_owned).collect()
    }

    /// Starts the main form and waits until it listens.
    pub fn start(&self, more: &[&str]) -> Peer {
        let mut peer = Peer::spawn(self.command().args(self.arguments()).args(more));
        peer.wait_for(&format!("listening on {}", self.addr));
        // Other waits are for lines that may stand before this one.
        peer.seen = 0;
        peer
    }

    /// The same, and waits until it serves all it has.
    pub fn seed(&self) -> Peer {
        let mut peer = self.start(&[]);
        peer.wait_for("-> seeder");
        peer.seen = 0;
        peer
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.folder());
        command
    }
}

/// A running peer; it ends with this value.
pub struct Peer {
    child: Child,
    news: Receiver<String>,
    lines: Vec<String>,
    /// Lines that earlier waits have looked at.
    seen: usize,
}

impl Peer {
    /// Starts it with its lines at hand.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let (told, news) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, news, lines: Vec::new(), seen: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that contains `text`; lines before it are passed over.
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_for_any(&[text])
    }

    /// The next line that contains one of `texts`.
    pub fn wait_for_any(&mut self, texts: &[&str]) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            while let Some(line) = self.lines.get(self.seen) {
                self.seen += 1;
                if texts.iter().any(|text| line.contains(text)) {
                    return line.clone();
                }
            }
            if let Err(error) = self.more(deadline) {
                panic!("{texts:?} was not said ({error}); the last lines: {:#?}", self.last());
            }
        }
    }

    /// All lines so far that contain `text`. Complete only after the end of the process.
    pub fn said(&mut self, text: &str) -> Vec<String> {
        self.lines.extend(self.news.try_iter());
        self.lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    pub fn signal(&self, name: &str) {
        let done =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(done.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Its end, all its lines read.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        // The pipe closes with the process.
        loop {
            match self.more(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:#?}", self.last()),
            }
        }
        self.child.wait().expect("a child can be waited for")
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait_exit().code()
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.wait_exit();
    }

    fn more(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.push(self.news.recv_timeout(left)?);
        Ok(())
    }

    fn last(&self) -> &[String] {
        &self.lines[self.lines.len().saturating_sub(30)..]
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lines.extend(self.news.try_iter());
            eprintln!("its last lines: {:#?}", self.last());
        }
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that a test cannot run here. On a build server that is a failure.
pub fn skip(name: &str, reason: &str) {
    println!("skipped: {name} ({reason})");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} was skipped, and CI=true");
}
