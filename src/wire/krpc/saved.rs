//! The saved routing table: what a node of the DHT remembers from one run to the next.
//!
//! SHA-1 of the rest, then a bencoded dictionary. A record that was cut or changed is refused as
//! a whole; without it the node begins anew.

use super::{push_node, Nodes, NODES_MAX, NODE_V4_BYTES, NODE_V6_BYTES};
use crate::units::id::NodeId;
use crate::wire::bencode::{self, Limits, Value};
use crate::wire::digest::{sealed, unsealed};
use bendy::encoding::{Encoder, Error as EncodeError};
use core::net::SocketAddr;

/// Nodes kept of each family: a few buckets' worth, a good hundred of which will still be there.
pub const SAVED_MAX: usize = 128;
const LIMITS: Limits = Limits { depth: 2, tokens: 32 };

/// What is known of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedTable {
    /// Our name towards IPv4 nodes, and towards IPv6 nodes.
    pub ids: [NodeId; 2],
    /// Nodes that answered, of either family; at most [`SAVED_MAX`] of each.
    pub nodes: Vec<(NodeId, SocketAddr)>,
}

impl SavedTable {
    /// The bytes of the record. Nodes beyond [`SAVED_MAX`] are left out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let dict = self
            .encode(&mut encoder)
            .and_then(|()| encoder.get_output())
            .expect("keys stand here in order, and nothing is deep");
        sealed(&dict)
    }

    fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        let family = |v6: bool| {
            let mut out = Vec::new();
            let of_it = self.nodes.iter().filter(|(_, addr)| addr.is_ipv6() == v6);
            of_it.take(SAVED_MAX).for_each(|&(id, addr)| push_node(&mut out, id, addr));
            out
        };
        e.emit_dict(|mut e| {
            e.emit_pair_with(b"id4", |e| e.emit_bytes(&self.ids[0].0))?;
            e.emit_pair_with(b"id6", |e| e.emit_bytes(&self.ids[1].0))?;
            e.emit_pair_with(b"nodes", |e| e.emit_bytes(&family(false)))?;
            e.emit_pair_with(b"nodes6", |e| e.emit_bytes(&family(true)))
        })
    }

    /// Reads a record; `None` if it is damaged.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let dict = bencode::parse_within(unsealed(bytes)?, LIMITS).ok()?.0.as_dict()?;
        let bytes = |key: &str| dict.get(key).and_then(Value::as_bytes);
        let id = |key: &str| bytes(key)?.try_into().ok().map(NodeId);
        let mut nodes = Vec::new();
        for batch in bytes("nodes")?.chunks(NODE_V4_BYTES * NODES_MAX).take(4) {
            nodes.extend(Nodes(batch).iter_v4());
        }
        for batch in bytes("nodes6")?.chunks(NODE_V6_BYTES * NODES_MAX).take(4) {
            nodes.extend(Nodes(batch).iter_v6());
        }
        Some(Self { ids: [id("id4")?, id("id6")?], nodes })
    }
}

const _: () = assert!(SAVED_MAX == 4 * NODES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_and_damage_is_noticed() {
        let node = |i: u8| (NodeId([i; 20]), SocketAddr::from(([10, 0, 0, i], 5000)));
        let mut nodes: Vec<_> = (0..100).map(node).collect();
        nodes.push((NodeId([9; 20]), "[fe80::1]:1".parse().unwrap()));
        let table = SavedTable { ids: [NodeId([1; 20]), NodeId([2; 20])], nodes };
        let bytes = table.to_bytes();
        assert_eq!(SavedTable::parse(&bytes), Some(table));
        for cut in 0..bytes.len() {
            assert_eq!(SavedTable::parse(&bytes[..cut]), None);
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x40;
            assert_eq!(SavedTable::parse(&wrong), None);
        }
    }

    #[test]
    fn it_has_a_bound() {
        let node = (NodeId([3; 20]), SocketAddr::from(([10, 0, 0, 1], 5000)));
        let table = SavedTable { ids: [NodeId([1; 20]); 2], nodes: vec![node; 1000] };
        assert_eq!(SavedTable::parse(&table.to_bytes()).unwrap().nodes.len(), SAVED_MAX);
    }
}
