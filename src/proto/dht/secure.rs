//! Node ids that follow from the address (BEP 42), so that nobody chooses a place in the DHT.

use crate::units::id::NodeId;
use crate::wire::address::is_lan;
use crate::wire::digest::crc32c;
use core::net::IpAddr;

/// Voters that are remembered.
const VOTERS_MAX: usize = 16;
/// Voters who must agree before our id follows: fewer could be one liar with several addresses.
const VOTES_MIN: usize = 5;

/// Whether a node of this id may live at this address. On a LAN every id may.
#[must_use]
pub fn is_verified(id: NodeId, ip: IpAddr) -> bool {
    is_lan(ip) || {
        let expected = prefix(ip, id.0[19]);
        id.0[..2] == expected[..2] && (id.0[2] ^ expected[2]) & 0xf8 == 0
    }
}

/// An id for that address; what the address leaves open is taken from `random`.
#[must_use]
pub fn id_for(ip: IpAddr, random: [u8; 20]) -> NodeId {
    let [a, b, c] = prefix(ip, random[19]);
    let mut id = random;
    (id[0], id[1]) = (a, b);
    id[2] = (c & 0xf8) | (random[2] & 7);
    NodeId(id)
}

/// The first 21 bits; `last` is the last byte of the id.
fn prefix(ip: IpAddr, last: u8) -> [u8; 3] {
    const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
    const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];
    let mut bytes: Vec<u8> = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().iter().zip(MASK_V4).map(|(byte, mask)| byte & mask).collect(),
        IpAddr::V6(ip) => ip.octets().iter().zip(MASK_V6).map(|(byte, mask)| byte & mask).collect(),
    };
    bytes[0] |= (last & 7) << 5;
    let [a, b, c, _] = crc32c(&bytes).to_be_bytes();
    [a, b, c]
}

/// What others say our address is. One vote an address, the newest count.
#[derive(Clone, Debug, Default)]
pub(super) struct Votes(Vec<(IpAddr, IpAddr)>);

impl Votes {
    pub(super) fn add(&mut self, voter: IpAddr, ours: IpAddr) {
        self.0.retain(|(by, _)| *by != voter);
        if self.0.len() == VOTERS_MAX {
            self.0.remove(0);
        }
        self.0.push((voter, ours));
    }

    /// The address with the most votes.
    pub(super) fn leader(&self) -> Option<IpAddr> {
        let votes = |ip: IpAddr| self.0.iter().filter(|(_, voted)| *voted == ip).count();
        self.0.iter().map(|&(_, ip)| (votes(ip), ip)).max().map(|(_, ip)| ip)
    }

    /// Whether anybody says that this is our address.
    pub(super) fn name(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|(_, voted)| *voted == ip)
    }

    /// The address that enough voters, and most of them, agree on.
    pub(super) fn elected(&self) -> Option<IpAddr> {
        let leader = self.leader()?;
        let votes = self.0.iter().filter(|(_, voted)| *voted == leader).count();
        (votes >= VOTES_MIN && votes * 2 > self.0.len()).then_some(leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::id::InfoHash;

    #[test]
    fn the_examples_of_bep_42() {
        for (ip, id) in [
            ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
            ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
            ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
            ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
            ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
        ] {
            let (ip, id) = (ip.parse().unwrap(), NodeId(InfoHash::from_hex(id).unwrap().0));
            assert!(is_verified(id, ip), "{ip}");
            assert_eq!(id_for(ip, id.0), id);
            let other: IpAddr = "124.31.75.22".parse().unwrap();
            assert!(!is_verified(id, other));
            assert!(is_verified(id, "10.0.0.1".parse().unwrap()));
        }
        let v6 = "2001:db8:1:2:3::4".parse().unwrap();
        assert!(is_verified(id_for(v6, [7; 20]), v6));
        assert!(!is_verified(NodeId([7; 20]), v6));
    }

    #[test]
    fn one_liar_elects_nobody() {
        let ip = |n: u8| IpAddr::from([198, 51, 100, n]);
        let mut votes = Votes::default();
        for _ in 0..20 {
            votes.add(ip(1), ip(200));
        }
        assert_eq!(votes.leader(), Some(ip(200)));
        assert_eq!(votes.elected(), None);
        (2..7).for_each(|voter| votes.add(ip(voter), ip(100)));
        assert_eq!(votes.elected(), Some(ip(100)));
        (7..13).for_each(|voter| votes.add(ip(voter), ip(voter)));
        assert_eq!(votes.elected(), None);
    }
}
