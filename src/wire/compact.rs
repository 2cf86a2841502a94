//! Compact addresses: an IP address and behind it the port, most significant byte first. 6 bytes for
//! IPv4 (BEP 23), 18 for IPv6 (BEP 7, BEP 32).
//!
//! Says what the octets say: an IPv4-mapped address stays mapped, and no address is judged.

use core::net::{IpAddr, SocketAddr};

/// Bytes of an IPv4 address with its port.
pub const V4_BYTES: usize = 6;
/// Bytes of an IPv6 address with its port.
pub const V6_BYTES: usize = 18;

/// Appends the 4 or 16 bytes of the address.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
}

/// Appends the address and the port.
pub fn push(out: &mut Vec<u8>, addr: SocketAddr) {
    push_ip(out, addr.ip());
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// The address and the port, alone.
#[must_use]
pub fn bytes_of(addr: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(V6_BYTES);
    push(&mut out, addr);
    out
}

/// The address that 4 or 16 bytes are.
#[must_use]
pub fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// The address and port that 6 or 18 bytes are.
#[must_use]
pub fn addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (address, port) = bytes.split_last_chunk()?;
    Some(SocketAddr::new(ip(address)?, u16::from_be_bytes(*port)))
}

/// Addresses that follow each other, each of `BYTES`: [`V4_BYTES`] or [`V6_BYTES`]. A last one that is cut
/// off is left out: the others are no worse for it.
pub fn addrs<const BYTES: usize>(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.chunks_exact(BYTES).filter_map(addr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_both_families() {
        let v4 = "10.0.0.1:6881".parse().unwrap();
        assert_eq!(bytes_of(v4), [10, 0, 0, 1, 0x1a, 0xe1]);
        let v6 = "[fe80::1]:1".parse().unwrap();
        let mut bytes = [0; V6_BYTES];
        (bytes[0], bytes[1], bytes[15], bytes[17]) = (0xfe, 0x80, 1, 1);
        assert_eq!(bytes_of(v6), bytes);
        assert_eq!((addr(&bytes_of(v4)), addr(&bytes)), (Some(v4), Some(v6)));
    }

    #[test]
    fn no_other_length_is_an_address() {
        for length in (0..32).filter(|length| ![V4_BYTES, V6_BYTES].contains(length)) {
            assert_eq!(addr(&vec![1; length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_what_is_cut_off_is_left_out(
            peers in prop::collection::vec((any::<[u8; 16]>(), any::<u16>()), 0..5),
            cut in 0..V6_BYTES,
        ) {
            let peers: Vec<SocketAddr> = peers.into_iter().map(SocketAddr::from).collect();
            let mut bytes = Vec::new();
            peers.iter().for_each(|&peer| push(&mut bytes, peer));
            prop_assert_eq!(&addrs::<V6_BYTES>(&bytes).collect::<Vec<_>>(), &peers);
            bytes.extend_from_slice(&[0; V6_BYTES][..cut]);
            prop_assert_eq!(addrs::<V6_BYTES>(&bytes).count(), peers.len());
        }
    }
}
