//! Names of things: torrents, peers, connections.

use super::rng::Rng;
use core::fmt;

/// SHA-1 of a torrent's raw `info` dictionary (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// A peer's self-chosen name (BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

/// The name of a node of the DHT, in the same space as the info-hashes (BEP 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 20]);

/// A swarm of this process. Never used again after the swarm is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwarmId(pub u32);

/// A connection of this process: a slot and the generation of its tenant, so that an event for
/// an old tenant never reaches a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Index in the slab.
    pub slot: u32,
    /// Which tenant of that slot.
    pub generation: u32,
}

impl PeerId {
    /// What the names of this program begin with (BEP 20).
    pub const PREFIX: &'static [u8; 8] = b"-RP0100-";

    /// A name that nobody has.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        let letters = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut id = [0; 20];
        let (prefix, rest) = id.split_at_mut(Self::PREFIX.len());
        prefix.copy_from_slice(Self::PREFIX);
        rest.fill_with(|| letters[rng.index(letters.len())]);
        Self(id)
    }
}

impl InfoHash {
    /// The hash that 40 hexadecimal digits spell, if they do.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return None;
        }
        let mut hash = [0; 20];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(hash))
    }
}

impl NodeId {
    /// How far two names are from each other (BEP 5): exclusive or, compared as a number.
    #[must_use]
    pub fn distance(self, other: Self) -> [u8; 20] {
        core::array::from_fn(|i| self.0[i] ^ other.0[i])
    }

    /// Leading bits that two names share, at most 160.
    #[must_use]
    pub fn shared_bits(self, other: Self) -> usize {
        let distance = self.distance(other);
        let whole = distance.iter().take_while(|&&byte| byte == 0).count();
        whole * 8 + distance.get(whole).map_or(0, |byte| byte.leading_zeros() as usize)
    }
}

impl From<InfoHash> for NodeId {
    fn from(hash: InfoHash) -> Self {
        Self(hash.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for PeerId {
    /// Printable bytes as they are, others as `%xx`: a peer id comes from the network.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| {
            if byte.is_ascii_graphic() && byte != b'%' {
                write!(f, "{}", char::from(byte))
            } else {
                write!(f, "%{byte:02x}")
            }
        })
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn distances_of_nodes() {
        let (a, b) = (NodeId([0; 20]), NodeId(core::array::from_fn(|i| u8::from(i == 2) * 0x10)));
        assert_eq!(a.shared_bits(b), 19);
        assert_eq!(a.shared_bits(a), 160);
        assert_eq!(a.distance(b), b.0);
        assert!(a.distance(a) < a.distance(b));
    }

    #[test]
    fn hex_round_trip() {
        let hash = InfoHash(core::array::from_fn(|i| u8::try_from(i * 13).unwrap()));
        assert_eq!(InfoHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(InfoHash::from_hex("zz"), None);
        assert_eq!(PeerId(*b"-RP0100-\n%abcdefghij").to_string(), "-RP0100-%0a%25abcdefghij");
    }
}
