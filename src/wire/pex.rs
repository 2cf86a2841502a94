//! The payload of `ut_pex` (BEP 11), which is also that of our own `rp_peers`: who was added to
//! the sender's list and who was dropped from it, as compact addresses (BEP 23, BEP 7).

use super::address::{is_dialable, unmap};
use super::bencode::{self, Limits};
use super::compact;
use super::extended::NotADictionary;
use bendy::encoding::Encoder;
use core::net::SocketAddr;

/// Flag of an added peer: it is a seeder, or wants nothing (BEP 11).
pub const SEED: u8 = 0x02;
/// Flag of an added peer: the sender has dialed it, so it can be reached (BEP 11).
pub const REACHABLE: u8 = 0x10;
/// Addresses of each kind that are read from one message: BEP 11 allows 50 and tolerates 100 in
/// the first; what is beyond is not looked at.
pub const LIST_MAX: usize = 200;
/// Six strings in a dictionary, and some room for keys we do not know.
const LIMITS: Limits = Limits { depth: 5, tokens: 100 };

/// What one message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerList {
    /// `added` and `added6` with the flags of `added.f` and `added6.f`.
    pub added: Vec<(SocketAddr, u8)>,
    /// `dropped` and `dropped6`.
    pub dropped: Vec<SocketAddr>,
}

impl PeerList {
    /// Reads a payload. Addresses that nobody can dial are left out, and so is what is cut short;
    /// a key of the wrong type counts as absent.
    ///
    /// # Errors
    /// When the payload is not one bencoded dictionary.
    pub fn parse(payload: &[u8]) -> Result<Self, NotADictionary> {
        let (value, _) = bencode::parse_within(payload, LIMITS).map_err(|_| NotADictionary)?;
        let dict = value.as_dict().ok_or(NotADictionary)?;
        let bytes = |key: &str| dict.get(key).and_then(|v| v.as_bytes()).unwrap_or_default();
        let mut list = Self::default();
        let v4 = v4_of(bytes("added")).zip(flags_of(bytes("added.f")));
        let v6 = v6_of(bytes("added6")).zip(flags_of(bytes("added6.f")));
        let added = v4.take(LIST_MAX).chain(v6.take(LIST_MAX));
        list.added.extend(added.filter(|&(addr, _)| is_dialable(addr)));
        let (v4, v6) = (v4_of(bytes("dropped")), v6_of(bytes("dropped6")));
        let dropped = v4.take(LIST_MAX).chain(v6.take(LIST_MAX));
        list.dropped.extend(dropped.filter(|&addr| is_dialable(addr)));
        Ok(list)
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.dropped.is_empty()
    }

    /// The payload. The keys of IPv4 are always there, as some readers expect.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (mut added, mut dropped) = (Compact::default(), Compact::default());
        self.added.iter().for_each(|&(addr, flags)| added.push(addr, flags));
        self.dropped.iter().for_each(|&addr| dropped.push(addr, 0));
        let mut encoder = Encoder::new();
        let written = encoder.emit_dict(|mut dict| {
            dict.emit_pair_with(b"added", |e| e.emit_bytes(&added.v4))?;
            dict.emit_pair_with(b"added.f", |e| e.emit_bytes(&added.v4_flags))?;
            if !added.v6.is_empty() {
                dict.emit_pair_with(b"added6", |e| e.emit_bytes(&added.v6))?;
                dict.emit_pair_with(b"added6.f", |e| e.emit_bytes(&added.v6_flags))?;
            }
            dict.emit_pair_with(b"dropped", |e| e.emit_bytes(&dropped.v4))?;
            if !dropped.v6.is_empty() {
                dict.emit_pair_with(b"dropped6", |e| e.emit_bytes(&dropped.v6))?;
            }
            Ok(())
        });
        written.and_then(|()| encoder.get_output()).expect("keys are in order and nothing is deep")
    }
}

/// Addresses by family, as they go over the wire.
#[derive(Default)]
struct Compact {
    v4: Vec<u8>,
    v4_flags: Vec<u8>,
    v6: Vec<u8>,
    v6_flags: Vec<u8>,
}

impl Compact {
    fn push(&mut self, addr: SocketAddr, flags: u8) {
        let addr = unmap(addr);
        let (addrs, all_flags) = match addr {
            SocketAddr::V4(_) => (&mut self.v4, &mut self.v4_flags),
            SocketAddr::V6(_) => (&mut self.v6, &mut self.v6_flags),
        };
        compact::push(addrs, addr);
        all_flags.push(flags);
    }
}

fn v4_of(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    compact::addrs::<{ compact::V4_BYTES }>(bytes)
}

fn v6_of(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    compact::addrs::<{ compact::V6_BYTES }>(bytes).map(unmap)
}

/// One byte a peer; where there are too few, nothing is known of the rest.
fn flags_of(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().copied().chain(core::iter::repeat(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn literal_bytes_both_ways() {
        let list = PeerList {
            added: vec![(addr("10.0.0.1:5000"), SEED), (addr("[fd00::1]:5001"), REACHABLE)],
            dropped: vec![addr("10.0.0.2:80"), addr("[fd00::2]:81")],
        };
        let mut bytes = b"d5:added6:\x0a\0\0\x01\x13\x887:added.f1:\x026:added618:\xfd".to_vec();
        bytes.extend_from_slice(&[&[0; 14][..], b"\x01\x13\x898:added6.f1:\x10"].concat());
        bytes.extend_from_slice(b"7:dropped6:\x0a\0\0\x02\0\x508:dropped618:\xfd");
        bytes.extend_from_slice(&[&[0; 14][..], b"\x02\0\x51e"].concat());
        assert_eq!(list.to_bytes(), bytes);
        assert_eq!(PeerList::parse(&bytes), Ok(list));
        let empty = PeerList::default();
        assert_eq!(empty.to_bytes(), b"d5:added0:7:added.f0:7:dropped0:e");
        assert_eq!(PeerList::parse(b"de"), Ok(empty));
    }

    #[test]
    fn what_cannot_be_dialed_takes_its_flags_along() {
        let bytes = b"d5:added20:\0\0\0\0\0\x01\x0a\0\0\x01\0\x01\x0a\0\0\x02\0\x02xx\
            7:added.f2:\x02\x107:dropped5:12345e";
        let list = PeerList::parse(bytes).unwrap();
        assert_eq!(list.added, [(addr("10.0.0.1:1"), REACHABLE), (addr("10.0.0.2:2"), 0)]);
        assert_eq!(list.dropped, []);
        assert_eq!(PeerList::parse(b"d5:addedi5ee"), Ok(PeerList::default()));
        assert_eq!(PeerList::parse(b"le"), Err(NotADictionary));
    }

    #[test]
    fn a_message_says_only_so_much() {
        let many = [b"d5:added6000:".as_slice(), &[7; 6000], b"e"].concat();
        assert_eq!(PeerList::parse(&many).unwrap().added.len(), LIST_MAX);
    }

    proptest! {
        #[test]
        fn lists_survive_the_wire(
            v4: Vec<([u8; 4], u16, u8)>, v6: Vec<([u8; 16], u16, u8)>, dropped: Vec<([u8; 4], u16)>
        ) {
            let v4 = v4.into_iter().map(|(ip, port, f)| (SocketAddr::from((ip, port)), f));
            let v6 = v6.into_iter().map(|(ip, port, f)| (SocketAddr::from((ip, port)), f));
            let v6 = v6.filter(|(addr, _)| unmap(*addr).is_ipv6());
            let added = v4.chain(v6).filter(|(addr, _)| is_dialable(*addr)).collect();
            let dropped = dropped.into_iter().map(SocketAddr::from).filter(|&a| is_dialable(a));
            let list = PeerList { added, dropped: dropped.collect() };
            prop_assert_eq!(PeerList::parse(&list.to_bytes()), Ok(list));
        }
    }
}
