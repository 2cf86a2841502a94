//! The control socket: a Unix socket in the state folder on which the commands of the same user
//! reach the running peer. Lines in, lines out; what they mean is the app's affair.
//!
//! Only the owner can connect (mode 0600), and there is no control over TCP.

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::units::limits::{CONTROL_CLIENTS_MAX, CONTROL_LINE_MAX, CONTROL_OUT_MAX};

/// The socket's name in the state folder.
pub const SOCKET_NAME: &str = "control";
/// The listener's token; those of the clients lie below it.
const FIRST_TOKEN: usize = usize::MAX - 64;
/// Bytes of a path that a socket address can hold, its zero counted out.
const SOCKET_PATH_MAX: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// One client: its slot, and which tenant of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(usize, u64);

/// The socket and its clients.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    clients: [Option<Client>; CONTROL_CLIENTS_MAX],
    tenants: u64,
}

#[derive(Debug)]
struct Client {
    tenant: u64,
    stream: UnixStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Lines handed out and not replied to.
    owed: usize,
    /// No more lines will come.
    ended: bool,
}

/// The address of the socket in this folder. A folder whose path is too long for a socket address
/// is reached through its descriptor, which must stay open as long as the address is used.
fn address(state: &Path) -> io::Result<(SockAddr, Option<File>)> {
    let plain = state.join(SOCKET_NAME);
    if plain.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((SockAddr::unix(plain)?, None));
    }
    let folder = File::open(state)?;
    let short = format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd());
    Ok((SockAddr::unix(short)?, Some(folder)))
}

/// Connects to the peer that runs on this state folder.
///
/// # Errors
/// As the system says: there is no socket, or nobody listens on it.
pub fn connect(state: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    let (address, _folder) = address(state)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect(&address)?;
    Ok(OwnedFd::from(socket).into())
}

impl Control {
    /// Listens in this state folder, which the caller has locked: a socket there is a stale one,
    /// of a process that was killed, and is taken over.
    ///
    /// # Errors
    /// As the file system says; also when something else has the socket's name.
    pub fn open(registry: &Registry, state: &Path) -> io::Result<Self> {
        let path = state.join(SOCKET_NAME);
        match path.symlink_metadata() {
            Ok(about) if about.file_type().is_socket() => std::fs::remove_file(&path)?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        let (address, _folder) = address(state)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Before the bind, so that there is no moment in which others could connect.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(&address)?;
        socket.listen(BACKLOG)?;
        let mut listener = UnixListener::from_std(OwnedFd::from(socket).into());
        registry.register(&mut listener, Token(FIRST_TOKEN), Interest::READABLE)?;
        Ok(Self { path, listener, clients: Default::default(), tenants: 0 })
    }

    /// Whether an event of this token is the socket's or a client's.
    #[must_use]
    pub const fn owns(token: Token) -> bool {
        token.0 <= FIRST_TOKEN && token.0 >= FIRST_TOKEN - CONTROL_CLIENTS_MAX
    }

    /// Accepts, reads and writes whatever is ready; to be called after an event.
    pub fn turn(&mut self, registry: &Registry) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(registry, stream),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        for slot in &mut self.clients {
            if slot.as_mut().is_some_and(|client| !client.read()) {
                *slot = None;
            }
        }
        self.write();
    }

    /// The next line that a client has sent. Each is to be answered by [`Control::reply`], in its own
    /// time; the client's next line comes only then, so that answers come in order.
    pub fn poll_line(&mut self) -> Option<(ClientId, String)> {
        for (slot, client) in self.clients.iter_mut().enumerate() {
            let Some(client) = client.as_mut().filter(|client| client.owed == 0) else { continue };
            let Some(end) = client.inbox.iter().position(|&byte| byte == b'\n') else { continue };
            let line: Vec<u8> = client.inbox.drain(..=end).collect();
            client.owed += 1;
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            return Some((ClientId(slot, client.tenant), line));
        }
        None
    }

    /// Answers a line with one line. A client that is gone is no matter; one that takes nothing
    /// is dropped.
    pub fn reply(&mut self, id: ClientId, line: &str) {
        let ClientId(slot, tenant) = id;
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return };
        if client.tenant != tenant {
            return;
        }
        client.owed = client.owed.saturating_sub(1);
        client.outbox.extend_from_slice(line.as_bytes());
        client.outbox.push(b'\n');
        if client.outbox.len() > CONTROL_OUT_MAX {
            self.clients[slot] = None;
        }
        self.write();
    }

    fn admit(&mut self, registry: &Registry, mut stream: UnixStream) {
        // Without a free slot the stream is dropped: the client sees the end of the file.
        let Some(slot) = self.clients.iter().position(Option::is_none) else { return };
        let both = Interest::READABLE | Interest::WRITABLE;
        if registry.register(&mut stream, Token(FIRST_TOKEN - 1 - slot), both).is_err() {
            return;
        }
        self.tenants += 1;
        let (inbox, outbox) = (Vec::new(), Vec::new());
        let tenant = self.tenants;
        self.clients[slot] = Some(Client { tenant, stream, inbox, outbox, owed: 0, ended: false });
    }

    /// Writes what waits, and lets those go who have everything.
    fn write(&mut self) {
        for slot in &mut self.clients {
            if slot.as_mut().is_some_and(|client| !client.write()) {
                *slot = None;
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A socket that stays behind is taken over by the next process.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Client {
    /// Reads what is there; false if the client is to go.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        while !self.ended {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.inbox.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if self.inbox.len() > CONTROL_LINE_MAX {
                return false;
            }
        }
        true
    }

    /// Writes what waits; false if the client is to go.
    fn write(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        !self.ended || self.owed > 0 || self.inbox.contains(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    /// Turns until a line has come.
    fn line(poll: &mut Poll, control: &mut Control) -> (ClientId, String) {
        let mut events = Events::with_capacity(8);
        loop {
            if let Some(line) = control.poll_line() {
                return line;
            }
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(events.iter().all(|event| Control::owns(event.token())));
            assert!(!events.is_empty(), "nothing has come");
            control.turn(poll.registry());
        }
    }

    #[test]
    fn lines_go_both_ways_whatever_the_length_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        for state in [folder.path(), &long] {
            let mut poll = Poll::new().unwrap();
            let mut control = Control::open(poll.registry(), state).unwrap();
            let mode = state.join(SOCKET_NAME).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let mut client = connect(state).unwrap();
            client.write_all(b"one\ntwo\nthr").unwrap();
            let (id, first) = line(&mut poll, &mut control);
            assert_eq!((first.as_str(), control.poll_line()), ("one", None));
            control.reply(id, "1");
            assert_eq!(control.poll_line().unwrap().1, "two");
            control.reply(id, "2");
            client.write_all(b"ee\n").unwrap();
            // Who has said all is still answered.
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let (again, third) = line(&mut poll, &mut control);
            assert_eq!((again, third.as_str()), (id, "three"));
            control.reply(id, "3");
            control.turn(poll.registry());
            let replies: Vec<_> = BufReader::new(client).lines().map(Result::unwrap).collect();
            assert_eq!(replies, ["1", "2", "3"]);
            control.reply(id, "to nobody");
        }
    }

    #[test]
    fn a_stale_socket_is_taken_over_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET_NAME);
        let poll = Poll::new().unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(connect(folder.path()).is_err());
        let control = Control::open(poll.registry(), folder.path()).unwrap();
        assert!(connect(folder.path()).is_ok());
        drop(control);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(Control::open(poll.registry(), folder.path()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }

    #[test]
    fn endless_lines_and_too_many_clients_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut control = Control::open(poll.registry(), folder.path()).unwrap();
        let mut clients: Vec<_> =
            (0..=CONTROL_CLIENTS_MAX).map(|_| connect(folder.path()).unwrap()).collect();
        control.turn(poll.registry());
        let mut last = clients.pop().unwrap();
        assert_eq!(last.read(&mut [0; 1]).unwrap(), 0);
        let mut first = clients.remove(0);
        first.set_nonblocking(true).unwrap();
        let mut refused = false;
        for _ in 0..1000 {
            match first.write(&[b'x'; 1024]) {
                Ok(sent) => {
                    assert!(sent > 0);
                    control.turn(poll.registry());
                }
                Err(error) => refused |= error.kind() == io::ErrorKind::BrokenPipe,
            }
        }
        assert!(refused);
        clients[0].write_all(b"still here\n").unwrap();
        assert_eq!(line(&mut poll, &mut control).1, "still here");
    }
}
