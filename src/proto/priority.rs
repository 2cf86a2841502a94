//! Canonical peer priority (BEP 40): a number that both ends of a connection come to, so that where
//! there is no room for all, the same connections are kept on both sides, and whoever fills our
//! slots with many addresses of one network gains little.

use crate::wire::digest::crc32c;
use core::net::{IpAddr, SocketAddr};

/// How much the connection between these two is worth: the higher, the sooner it is made and the
/// later it is given up. Zero between addresses of two kinds.
#[must_use]
pub fn priority(one: SocketAddr, other: SocketAddr) -> u32 {
    match (one.ip().to_canonical(), other.ip().to_canonical()) {
        (a, b) if a == b => {
            let (a, b) = (one.port().min(other.port()), one.port().max(other.port()));
            crc32c(&[a.to_be_bytes(), b.to_be_bytes()].concat())
        }
        (IpAddr::V4(a), IpAddr::V4(b)) => of_masked(a.octets(), b.octets(), 2),
        (IpAddr::V6(a), IpAddr::V6(b)) => of_masked(a.octets(), b.octets(), 6),
        _ => 0,
    }
}

/// Which of our addresses the host at `remote` is likely to see: the one most like it.
#[must_use]
pub fn nearest(own: &[IpAddr], remote: IpAddr) -> Option<IpAddr> {
    let like = |ip: &IpAddr| match (ip, remote) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    };
    let same_kind = own.iter().filter(|ip| ip.is_ipv4() == remote.is_ipv4());
    same_kind.copied().max_by_key(like)
}

/// The first `whole` bytes count as they are, and of each further byte every other bit; bytes that
/// are the same in both make one more count whole.
fn of_masked<const N: usize>(mut a: [u8; N], mut b: [u8; N], whole: usize) -> u32 {
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let whole = whole.max(if same >= whole { same + 1 } else { 0 });
    let masked = a.iter_mut().skip(whole).chain(b.iter_mut().skip(whole));
    masked.for_each(|byte| *byte &= 0x55);
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    crc32c(&[low, high].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(one: &str, other: &str) -> u32 {
        let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
        assert_eq!(priority(one, other), priority(other, one), "both ends agree");
        priority(one, other)
    }

    #[test]
    fn the_vectors_of_the_bep() {
        assert_eq!(of("123.213.32.10:1", "98.76.54.32:2"), 0xec2d_7224);
        assert_eq!(of("123.213.32.10:1", "123.213.32.234:2"), 0x9956_8189);
    }

    #[test]
    fn masks_follow_what_the_addresses_share() {
        let crc = |hex: &str| {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            crc32c(&(0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>())
        };
        // The same /16, not the same /24.
        assert_eq!(of("10.0.1.255:1", "10.0.2.254:1"), crc("0a0001550a000254"));
        // One address: the ports.
        assert_eq!(of("10.0.0.1:6881", "10.0.0.1:5000"), crc("13881ae1"));
        assert_eq!(
            of("[2001:db8:0:ffff::ffff]:1", "[2001:db8:1:ffff::]:1"),
            crc("20010db800005555000000000000555520010db8000155550000000000000000")
        );
        // The same /48.
        assert_eq!(
            of("[2001:db8::1ff:0:0:0:ff]:1", "[2001:db8::2ff:0:0:0:0]:1"),
            crc("20010db800000155000000000000005520010db8000002550000000000000000")
        );
        assert_eq!(of("10.0.0.1:1", "[2001:db8::1]:1"), 0);
    }

    #[test]
    fn the_nearest_of_our_addresses() {
        let own: Vec<IpAddr> =
            ["10.1.0.1", "192.168.7.1", "::1"].map(|ip| ip.parse().unwrap()).to_vec();
        let to = |ip: &str| nearest(&own, ip.parse().unwrap()).map(|ip| ip.to_string());
        assert_eq!(to("192.168.9.9").as_deref(), Some("192.168.7.1"));
        assert_eq!(to("10.1.0.77").as_deref(), Some("10.1.0.1"));
        assert_eq!(to("2001:db8::1").as_deref(), Some("::1"));
        assert_eq!(nearest(&[], own[0]), None);
    }
}
