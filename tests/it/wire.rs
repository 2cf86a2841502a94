//! The other end of the wire, written by hand from BEP 3, 6 and 10, so that two mistakes of one
//! hand do not cancel out.

use crate::process::LIMIT;
use crate::torrent::Torrent;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A name for this end: one peer is one name.
pub fn name() -> [u8; 20] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let text = format!("-XX0000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
    text.as_bytes().try_into().expect("8 and 12 bytes")
}

/// Reserved bits of this end: none.
pub const PLAIN: [u8; 8] = [0; 8];
/// The fast extension (BEP 6).
pub const FAST: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 4];
/// The extension protocol (BEP 10).
pub const EXTENDED: [u8; 8] = [0, 0, 0, 0, 0, 0x10, 0, 0];

pub const CHOKE: u8 = 0;
pub const UNCHOKE: u8 = 1;
pub const INTERESTED: u8 = 2;
pub const HAVE: u8 = 4;
pub const BITFIELD: u8 = 5;
pub const REQUEST: u8 = 6;
pub const PIECE: u8 = 7;
pub const CANCEL: u8 = 8;
pub const REJECT: u8 = 16;
pub const EXTENSION: u8 = 20;

/// The 68 bytes of a handshake.
pub fn handshake(reserved: [u8; 8], info_hash: [u8; 20], peer_id: [u8; 20]) -> Vec<u8> {
    [b"\x13BitTorrent protocol", &reserved[..], &info_hash, &peer_id].concat()
}

/// A message with its length.
pub fn message(id: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).expect("messages are short");
    [&length.to_be_bytes()[..], &[id], body].concat()
}

/// Numbers as they go over the wire.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A `request`, `cancel` or `reject`.
pub fn span(id: u8, index: u32, begin: u32, length: u32) -> Vec<u8> {
    message(id, &words(&[index, begin, length]))
}

/// A `piece`.
pub fn piece(index: u32, begin: u32, block: &[u8]) -> Vec<u8> {
    message(PIECE, &[&words(&[index, begin])[..], block].concat())
}

/// What a `request` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub index: u32,
    pub begin: u32,
    pub length: u32,
}

impl Asked {
    fn parse(body: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("4 bytes"));
        Self { index: word(0), begin: word(4), length: word(8) }
    }
}

/// A connection with the program under test.
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects from an address of its own.
    pub fn connect(to: SocketAddr, from: IpAddr) -> Self {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("a loopback address can be bound");
        socket.connect_timeout(&to.into(), LIMIT).expect("the peer listens");
        Self::new(socket.into())
    }

    /// Connects, shakes hands, and reads the answer.
    pub fn join(to: SocketAddr, from: IpAddr, torrent: &Torrent, reserved: [u8; 8]) -> Self {
        let mut wire = Self::connect(to, from);
        wire.send(&handshake(reserved, torrent.info_hash, name()));
        wire.expect_handshake(torrent);
        wire
    }

    /// The next connection of the wire protocol that the program makes to one of `listeners`. It
    /// may also ask them for peers over HTTP, as it would a host of its own kind: those connections
    /// are closed without an answer.
    pub fn accept(listeners: &[TcpListener]) -> (Self, SocketAddr) {
        loop {
            let (stream, remote) = accept(listeners);
            let wire = Self::new(stream);
            let mut first = [0];
            if wire.stream.peek(&mut first).is_ok() && first != *b"G" {
                return (wire, remote);
            }
        }
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).expect("a limit for reads");
        stream.set_write_timeout(Some(LIMIT)).expect("a limit for writes");
        stream.set_nodelay(true).expect("no delay");
        Self { stream }
    }

    /// Ends it with a reset instead of a goodbye.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a connected socket");
    }

    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer takes it");
    }

    /// Sends what the program may refuse to take: it may have hung up already.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends every byte in a packet of its own.
    pub fn send_slowly(&mut self, bytes: &[u8]) {
        bytes.chunks(1).for_each(|byte| self.send(byte));
    }

    pub fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("the peer goes on");
        bytes
    }

    /// Reads a handshake for this torrent; returns the reserved bits and the name.
    pub fn expect_handshake(&mut self, torrent: &Torrent) -> ([u8; 8], [u8; 20]) {
        let bytes = self.read::<68>();
        assert_eq!(&bytes[..20], b"\x13BitTorrent protocol");
        assert_eq!(bytes[28..48], torrent.info_hash);
        let reserved = bytes[20..28].try_into().expect("8 bytes");
        (reserved, bytes[48..].try_into().expect("20 bytes"))
    }

    /// The next message that is no keep-alive: its id and its body.
    pub fn next(&mut self) -> (u8, Vec<u8>) {
        self.try_next().expect("the peer goes on")
    }

    /// The body of the next message with this id; others are passed over.
    pub fn next_of(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (id, body) = self.next();
            if id == wanted {
                return body;
            }
        }
    }

    /// The next message that is no keep-alive; `None` at the end of the connection.
    pub fn try_next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).ok()?;
            let length = u32::from_be_bytes(length) as usize;
            assert!(length <= 1 << 20, "a message of {length} bytes");
            if length > 0 {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).ok()?;
                return Some((body.remove(0), body));
            }
        }
    }

    /// Whether a message with this id comes before the end.
    pub fn try_next_of(&mut self, wanted: u8) -> bool {
        std::iter::from_fn(|| self.try_next()).any(|(id, _)| id == wanted)
    }

    /// Answers every request with the right bytes until the other end hangs up or `enough`;
    /// returns what was asked for.
    pub fn serve(&mut self, torrent: &Torrent, enough: impl Fn(usize) -> bool) -> Vec<Asked> {
        let mut asked = Vec::new();
        while !enough(asked.len()) {
            let Some((id, body)) = self.try_next() else { break };
            if id == REQUEST {
                let request = Asked::parse(&body);
                let Asked { index, begin, length } = request;
                asked.push(request);
                self.try_send(&piece(index, begin, torrent.block(index, begin, length)));
            }
        }
        asked
    }

    /// The next `request`.
    pub fn next_request(&mut self) -> Asked {
        Asked::parse(&self.next_of(REQUEST))
    }

    /// Asks for a block and compares it.
    pub fn expect_block(&mut self, torrent: &Torrent, index: u32, begin: u32, length: u32) {
        self.send(&span(REQUEST, index, begin, length));
        let body = self.next_of(PIECE);
        assert_eq!(body[..8], words(&[index, begin]), "another block came");
        assert!(body[8..] == *torrent.block(index, begin, length), "its bytes are wrong");
    }

    /// Reads to the end, whether by FIN or by RST.
    pub fn expect_closed(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("it was not closed: {error}"),
            }
        }
    }

    /// All that comes until the end.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("it ends by FIN");
        bytes
    }
}

/// The next connection to one of `listeners`.
pub fn accept(listeners: &[TcpListener]) -> (TcpStream, SocketAddr) {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        for listener in listeners {
            listener.set_nonblocking(true).expect("a listener can be made so");
            match listener.accept() {
                Ok((stream, remote)) => {
                    stream.set_nonblocking(false).expect("a stream can be made so");
                    return (stream, remote);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        // accept has no limit of its own; this is how finely it is looked at.
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("nobody connects");
}

/// Bytes as an HTTP query has them.
pub fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

/// One HTTP exchange: status line and body.
pub fn http(to: SocketAddr, from: IpAddr, target: &str) -> (String, Vec<u8>) {
    http_raw(to, from, format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

/// The same with a request as it stands.
pub fn http_raw(to: SocketAddr, from: IpAddr, request: &[u8]) -> (String, Vec<u8>) {
    let mut wire = Wire::connect(to, from);
    wire.send(request);
    split_answer(&wire.read_to_end())
}

/// Status line and body of an answer.
pub fn split_answer(bytes: &[u8]) -> (String, Vec<u8>) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are ASCII");
    let (status, _) = head.split_once("\r\n").expect("a status line");
    (status.to_owned(), bytes[end..].to_vec())
}
