//! KRPC, the messages of the DHT: one bencoded dictionary in one datagram (BEP 5), with the keys
//! of IPv6 (BEP 32), of the asker's own address (BEP 42) and of read-only nodes (BEP 43).
//!
//! What is read borrows from the datagram. Keys that nobody here needs are passed over.

pub mod saved;

use super::bencode::{self, Dict, Limits, Value};
use super::compact;
use crate::units::id::{InfoHash, NodeId};
use bendy::encoding::{Encoder, Error as EncodeError, SingleItemEncoder};
use core::net::SocketAddr;

/// The first byte of every KRPC message: that of a dictionary.
pub const FIRST_BYTE: u8 = b'd';
/// Bytes of the longest transaction id that is given back. Those in use have two to eight.
pub const TRANSACTION_BYTES_MAX: usize = 32;
/// Bytes of the longest token that is kept. Those in use have four to twenty.
pub const TOKEN_BYTES_MAX: usize = 64;
/// Peers read from one answer; a datagram that is not fragmented holds no more.
pub const VALUES_MAX: usize = 200;
/// Nodes read from one answer, of each family; BEP 5 knows eight.
pub const NODES_MAX: usize = 32;
/// Bytes of a compact node info of IPv4 (BEP 5): id, address, port.
pub const NODE_V4_BYTES: usize = 20 + compact::V4_BYTES;
/// The same of IPv6 (BEP 32).
pub const NODE_V6_BYTES: usize = 20 + compact::V6_BYTES;
/// Our `v`: two letters, and the version.
pub const CLIENT: &[u8; 4] = b"RP\x00\x01";
/// An honest message is flat and short.
const LIMITS: Limits = Limits { depth: 6, tokens: 600 };

/// Error code: something else went wrong.
pub const GENERIC: i64 = 201;
/// Error code: a malformed query, a wrong token.
pub const PROTOCOL: i64 = 203;
/// Error code: no such query.
pub const METHOD_UNKNOWN: i64 = 204;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `t`: chosen by who asks, given back by who answers.
    pub transaction: &'a [u8],
    /// `v`: the sender's program, if it says so.
    pub client: Option<&'a [u8]>,
    /// `ip` (BEP 42): the address under which the sender sees the receiver.
    pub your_addr: Option<SocketAddr>,
    /// `ro` (BEP 43): the sender answers no queries and must not be listed.
    pub read_only: bool,
    /// What it is about.
    pub body: Body<'a>,
}

/// The three kinds of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// `y` = `e`: the code and a text of the sender's.
    Error(i64, &'a [u8]),
    /// `y` = `q`: who asks, and what.
    Query(NodeId, Query<'a>),
    /// `y` = `r`.
    Response(Response<'a>),
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// Remember that this peer is in that swarm.
    AnnouncePeer {
        /// The swarm.
        info_hash: InfoHash,
        /// `implied_port`: the source port of the datagram counts, not `port`.
        implied_port: bool,
        /// Where the peer listens.
        port: u16,
        /// What `get_peers` was answered with.
        token: &'a [u8],
    },
    /// Which nodes are next to this name?
    FindNode {
        /// The name.
        target: NodeId,
        /// Families of the answer.
        want: Want,
    },
    /// Who is in this swarm, and which nodes are next to it?
    GetPeers {
        /// The swarm.
        info_hash: InfoHash,
        /// Families of the answer.
        want: Want,
    },
    /// Are you there?
    Ping,
    /// Something that BEP 5 does not know.
    Unknown,
}

/// `want` (BEP 32): families of the nodes asked for. Neither: that of the datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

/// What was answered, to whichever query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Who answers.
    pub id: NodeId,
    /// `nodes`: 26 bytes each.
    pub nodes: Nodes<'a>,
    /// `nodes6` (BEP 32): 38 bytes each.
    pub nodes6: Nodes<'a>,
    /// Which of the two keys stand in the answer though they name nobody: BEP 5 has `nodes` in every
    /// answer that could name some.
    pub empty_nodes: [bool; 2],
    /// For a later `announce_peer`.
    pub token: Option<&'a [u8]>,
    /// Peers of the swarm, of either family.
    pub values: Vec<SocketAddr>,
}

/// Compact node infos as they stand in the message: id, address, port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nodes<'a>(pub &'a [u8]);

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed<'a> {
    /// A query with this transaction id, but its arguments are wrong: worth an error in answer.
    Query(&'a [u8]),
    /// Anything else: worth no answer.
    NotKrpc,
}

impl<'a> Message<'a> {
    /// A message of ours.
    #[must_use]
    pub const fn new(transaction: &'a [u8], body: Body<'a>) -> Self {
        Self { transaction, client: Some(CLIENT), your_addr: None, read_only: false, body }
    }

    /// Reads a datagram. Bytes after the dictionary are passed over, as everybody does.
    ///
    /// # Errors
    /// When it is no message, or says something impossible.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed<'a>> {
        Self::read(datagram).unwrap_or(Err(Malformed::NotKrpc))
    }

    fn read(datagram: &'a [u8]) -> Option<Result<Self, Malformed<'a>>> {
        let (value, _) = bencode::parse_within(datagram, LIMITS).ok()?;
        let dict = value.as_dict()?;
        let bytes = |key: &str| dict.get(key).and_then(Value::as_bytes);
        let transaction = bytes("t").filter(|t| t.len() <= TRANSACTION_BYTES_MAX)?;
        let body = match bytes("y")? {
            b"q" => match read_query(dict) {
                Some((id, query)) => Body::Query(id, query),
                None => return Some(Err(Malformed::Query(transaction))),
            },
            b"r" => Body::Response(Response::read(dict.get("r")?.as_dict()?)?),
            b"e" => {
                let mut parts = dict.get("e")?.as_list()?.iter();
                let code = parts.next().and_then(Value::as_int).unwrap_or(GENERIC);
                Body::Error(code, parts.next().and_then(Value::as_bytes).unwrap_or_default())
            }
            _ => return None,
        };
        let read_only = dict.get("ro").and_then(Value::as_int) == Some(1);
        // BEP 42 sends the port, too; some send an IPv4 address only.
        let bare = |ip: &[u8]| <[u8; 4]>::try_from(ip).ok().map(|ip| SocketAddr::from((ip, 0)));
        let your_addr = bytes("ip").and_then(|ip| compact::addr(ip).or_else(|| bare(ip)));
        Some(Ok(Self { transaction, client: bytes("v"), your_addr, read_only, body }))
    }

    /// The datagram, its keys in order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let written = self.encode(&mut encoder);
        written.and_then(|()| encoder.get_output()).expect("keys are in order, nothing is deep")
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.emit_dict(|mut e| {
            if let Body::Query(id, query) = &self.body {
                e.emit_pair_with(b"a", |e| write_query(e, *id, query))?;
            }
            if let Body::Error(code, text) = &self.body {
                e.emit_pair_with(b"e", |e| {
                    e.emit_list(|e| {
                        e.emit_int(*code)?;
                        e.emit_bytes(text)
                    })
                })?;
            }
            if let Some(addr) = self.your_addr {
                e.emit_pair_with(b"ip", |e| e.emit_bytes(&compact::bytes_of(addr)))?;
            }
            if let Body::Query(_, query) = &self.body {
                e.emit_pair_with(b"q", |e| e.emit_bytes(query.name()))?;
            }
            if let Body::Response(response) = &self.body {
                e.emit_pair_with(b"r", |e| response.write(e))?;
            }
            if self.read_only {
                e.emit_pair(b"ro", 1)?;
            }
            e.emit_pair_with(b"t", |e| e.emit_bytes(self.transaction))?;
            if let Some(client) = self.client {
                e.emit_pair_with(b"v", |e| e.emit_bytes(client))?;
            }
            e.emit_pair_with(b"y", |e| {
                e.emit_bytes(match self.body {
                    Body::Error(..) => b"e",
                    Body::Query(..) => b"q",
                    Body::Response(_) => b"r",
                })
            })
        })
    }
}

fn read_query<'a>(dict: Dict<'a>) -> Option<(NodeId, Query<'a>)> {
    let arguments = dict.get("a")?.as_dict()?;
    let id20 = |key: &str| <[u8; 20]>::try_from(arguments.get(key)?.as_bytes()?).ok();
    let int = |key: &str| arguments.get(key).and_then(Value::as_int);
    let want = Want::read(arguments.get("want"));
    let query = match dict.get("q")?.as_bytes()? {
        b"announce_peer" => {
            let implied_port = int("implied_port").is_some_and(|i| i != 0);
            let port = int("port").and_then(|port| u16::try_from(port).ok());
            if port.is_none_or(|port| port == 0) && !implied_port {
                return None;
            }
            let token = arguments.get("token")?.as_bytes()?;
            let (info_hash, port) = (InfoHash(id20("info_hash")?), port.unwrap_or(0));
            Query::AnnouncePeer { info_hash, implied_port, port, token }
        }
        b"find_node" => Query::FindNode { target: NodeId(id20("target")?), want },
        b"get_peers" => Query::GetPeers { info_hash: InfoHash(id20("info_hash")?), want },
        b"ping" => Query::Ping,
        // What a later BEP asks about a name is answered with the nodes next to it.
        _ => match id20("target").or_else(|| id20("info_hash")) {
            Some(target) => Query::FindNode { target: NodeId(target), want },
            None => Query::Unknown,
        },
    };
    Some((NodeId(id20("id")?), query))
}

fn write_query(e: SingleItemEncoder, id: NodeId, query: &Query<'_>) -> Result<(), EncodeError> {
    e.emit_dict(|mut e| {
        e.emit_pair_with(b"id", |e| e.emit_bytes(&id.0))?;
        let want = match query {
            Query::AnnouncePeer { info_hash, implied_port, port, token } => {
                if *implied_port {
                    e.emit_pair(b"implied_port", 1)?;
                }
                e.emit_pair_with(b"info_hash", |e| e.emit_bytes(&info_hash.0))?;
                e.emit_pair(b"port", *port)?;
                e.emit_pair_with(b"token", |e| e.emit_bytes(token))?;
                Want::default()
            }
            Query::FindNode { target, want } => {
                e.emit_pair_with(b"target", |e| e.emit_bytes(&target.0))?;
                *want
            }
            Query::GetPeers { info_hash, want } => {
                e.emit_pair_with(b"info_hash", |e| e.emit_bytes(&info_hash.0))?;
                *want
            }
            Query::Ping | Query::Unknown => Want::default(),
        };
        if want == Want::default() {
            return Ok(());
        }
        e.emit_pair_with(b"want", |e| {
            e.emit_list(|e| {
                if want.v4 {
                    e.emit_bytes(b"n4")?;
                }
                if want.v6 {
                    e.emit_bytes(b"n6")?;
                }
                Ok(())
            })
        })
    })
}

impl Query<'_> {
    /// `q`, as it stands on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static [u8] {
        match self {
            Self::AnnouncePeer { .. } => b"announce_peer",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::Ping => b"ping",
            Self::Unknown => b"?",
        }
    }
}

impl Want {
    fn read(value: Option<Value<'_>>) -> Self {
        let list = value.and_then(Value::as_list);
        let mut want = Self::default();
        for family in list.into_iter().flat_map(|list| list.iter()) {
            want.v4 |= family.as_bytes() == Some(b"n4");
            want.v6 |= family.as_bytes() == Some(b"n6");
        }
        want
    }
}

impl<'a> Response<'a> {
    /// An answer that says no more than who gives it.
    #[must_use]
    pub const fn new(id: NodeId) -> Self {
        let (nodes, nodes6) = (Nodes(&[]), Nodes(&[]));
        Self { id, nodes, nodes6, empty_nodes: [false; 2], token: None, values: Vec::new() }
    }

    fn read(dict: Dict<'a>) -> Option<Self> {
        let bytes = |key: &str| dict.get(key).and_then(Value::as_bytes);
        let id = NodeId(bytes("id")?.try_into().ok()?);
        let values = dict.get("values").and_then(Value::as_list);
        let values = values.into_iter().flat_map(|list| list.iter());
        let values = values.filter_map(|peer| compact::addr(peer.as_bytes()?));
        Some(Self {
            id,
            nodes: Nodes(bytes("nodes").unwrap_or_default()),
            nodes6: Nodes(bytes("nodes6").unwrap_or_default()),
            empty_nodes: ["nodes", "nodes6"].map(|key| bytes(key).is_some_and(<[u8]>::is_empty)),
            token: bytes("token").filter(|token| token.len() <= TOKEN_BYTES_MAX),
            values: values.take(VALUES_MAX).collect(),
        })
    }

    fn write(&self, e: SingleItemEncoder) -> Result<(), EncodeError> {
        e.emit_dict(|mut e| {
            e.emit_pair_with(b"id", |e| e.emit_bytes(&self.id.0))?;
            if self.empty_nodes[0] || !self.nodes.0.is_empty() {
                e.emit_pair_with(b"nodes", |e| e.emit_bytes(self.nodes.0))?;
            }
            if self.empty_nodes[1] || !self.nodes6.0.is_empty() {
                e.emit_pair_with(b"nodes6", |e| e.emit_bytes(self.nodes6.0))?;
            }
            if let Some(token) = self.token {
                e.emit_pair_with(b"token", |e| e.emit_bytes(token))?;
            }
            if self.values.is_empty() {
                return Ok(());
            }
            e.emit_pair_with(b"values", |e| {
                e.emit_list(|e| {
                    self.values.iter().try_for_each(|&v| e.emit_bytes(&compact::bytes_of(v)))
                })
            })
        })
    }
}

impl<'a> Nodes<'a> {
    /// The nodes of `nodes`, at most [`NODES_MAX`]; a rest that is no whole node is left out.
    pub fn iter_v4(self) -> impl Iterator<Item = (NodeId, SocketAddr)> + 'a {
        nodes::<NODE_V4_BYTES>(self.0)
    }

    /// The nodes of `nodes6`, likewise.
    pub fn iter_v6(self) -> impl Iterator<Item = (NodeId, SocketAddr)> + 'a {
        nodes::<NODE_V6_BYTES>(self.0)
    }
}

fn nodes<const SIZE: usize>(bytes: &[u8]) -> impl Iterator<Item = (NodeId, SocketAddr)> + '_ {
    bytes.chunks_exact(SIZE).take(NODES_MAX).filter_map(|node| {
        let (id, addr) = node.split_first_chunk::<20>()?;
        Some((NodeId(*id), compact::addr(addr)?))
    })
}

/// Appends a compact node info (BEP 5, BEP 32).
pub fn push_node(out: &mut Vec<u8>, id: NodeId, addr: SocketAddr) {
    out.extend_from_slice(&id.0);
    compact::push(out, addr);
}

#[cfg(test)]
mod tests;
