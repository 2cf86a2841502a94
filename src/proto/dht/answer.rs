//! What is answered to the queries of others (BEP 5).

use super::table::Node;
use super::{family, Dht, EXPIRE_EVERY};
use crate::units::id::{InfoHash, NodeId};
use crate::units::time::Instant;
use crate::wire::address::{is_dialable, is_lan};
use crate::wire::krpc::{
    push_node, Body, Message, Nodes, Query, Response, Want, METHOD_UNKNOWN, PROTOCOL,
};
use core::net::SocketAddr;

/// Who asks.
pub(super) struct Asked<'a> {
    pub(super) from: SocketAddr,
    pub(super) id: NodeId,
    pub(super) transaction: &'a [u8],
}

/// The parts of an answer that a [`Response`] borrows.
#[derive(Default)]
struct Answer {
    /// `None` for a family that was not asked for.
    nodes: [Option<Vec<u8>>; 2],
    token: Option<[u8; 8]>,
    values: Vec<SocketAddr>,
}

impl Dht {
    /// A query has come.
    pub(super) fn asked(&mut self, now: Instant, asked: &Asked<'_>, query: &Query<'_>) {
        let own = self.overlays[family(asked.from)].table.own();
        // Only we ourselves are called like us.
        if asked.id == own {
            return;
        }
        log::debug!("dht: <- {} {}", asked.from, query.name().escape_ascii());
        let mut answer = Answer::default();
        match *query {
            Query::Ping => {}
            Query::FindNode { target, want } => {
                answer.nodes = self.nodes_near(asked.from, target, want);
            }
            Query::GetPeers { info_hash, want } => {
                answer.nodes = self.nodes_near(asked.from, info_hash.into(), want);
                answer.token = Some(self.tokens.make(now, asked.from.ip(), info_hash));
                answer.values = self.values(now, asked.from, info_hash);
            }
            Query::AnnouncePeer { info_hash, implied_port, port, token } => {
                if !self.tokens.accepts(now, asked.from.ip(), info_hash, token) {
                    return self.say_error(now, asked, PROTOCOL, b"bad token");
                }
                let port = if implied_port { asked.from.port() } else { port };
                let peer = SocketAddr::new(asked.from.ip(), port);
                if is_dialable(peer) {
                    if self.peers.is_empty() {
                        self.expire_at = now + EXPIRE_EVERY;
                    }
                    self.peers.announce(now, info_hash, peer);
                    self.tell_peers(info_hash, vec![peer]);
                }
            }
            Query::Unknown => {
                return self.say_error(now, asked, METHOD_UNKNOWN, b"method unknown");
            }
        }
        let mut response = Response::new(own);
        let [nodes, nodes6] = &answer.nodes;
        response.nodes = Nodes(nodes.as_deref().unwrap_or_default());
        response.nodes6 = Nodes(nodes6.as_deref().unwrap_or_default());
        response.empty_nodes =
            answer.nodes.each_ref().map(|n| n.as_ref().is_some_and(Vec::is_empty));
        response.token = answer.token.as_ref().map(<[u8; 8]>::as_slice);
        response.values = answer.values;
        let message = Message::new(asked.transaction, Body::Response(response));
        self.answer(now, asked.from, message);
    }

    /// A query with wrong arguments has come.
    pub(super) fn say_malformed(&mut self, now: Instant, from: SocketAddr, transaction: &[u8]) {
        let body = Body::Error(PROTOCOL, b"malformed query");
        self.answer(now, from, Message::new(transaction, body));
    }

    fn say_error(&mut self, now: Instant, asked: &Asked<'_>, code: i64, text: &[u8]) {
        self.answer(now, asked.from, Message::new(asked.transaction, Body::Error(code, text)));
    }

    fn answer(&mut self, now: Instant, to: SocketAddr, mut message: Message<'_>) {
        // BEP 42: everybody learns from us how they look from outside.
        message.your_addr = Some(to);
        let bytes = message.to_bytes();
        if self.flood.may_answer(now, bytes.len()) && self.transmits.len() < super::TRANSMITS_MAX {
            self.transmits.push_back((to, bytes));
        }
    }

    /// BEP 32: the nodes of the families asked for, or of the family that asks.
    fn nodes_near(&self, from: SocketAddr, name: NodeId, want: Want) -> [Option<Vec<u8>>; 2] {
        let asks = |v6: bool| match want {
            Want { v4: false, v6: false } => from.is_ipv6() == v6,
            Want { v4, v6: want6 } => (v6 && want6) || (!v6 && v4),
        };
        // What lives behind our router is nobody's business outside, nor of use there.
        let fit = |node: &Node| is_lan(from.ip()) || !is_lan(node.addr.ip());
        [false, true].map(|v6| {
            asks(v6).then(|| {
                let mut out = Vec::new();
                let nodes = self.overlays[usize::from(v6)].table.good_near(name);
                let nodes = nodes.into_iter().filter(fit).filter(|node| node.addr != from);
                nodes.for_each(|node| push_node(&mut out, node.id, node.addr));
                out
            })
        })
    }

    fn values(&mut self, now: Instant, from: SocketAddr, info_hash: InfoHash) -> Vec<SocketAddr> {
        let (v6, start) = (from.is_ipv6(), self.random.u32());
        let mut values = self.peers.get(now, info_hash, v6, start);
        // In a small network we are among those who should store our own announce.
        let search = self.searches.get(&info_hash);
        let here = search.is_some_and(|search| search.stored_here[family(from)]);
        if let Some(ip) = self.external_ip(v6).filter(|_| here) {
            values.push(SocketAddr::new(ip, self.config.port));
        }
        values.retain(|peer| is_lan(from.ip()) || !is_lan(peer.ip()));
        values
    }
}
