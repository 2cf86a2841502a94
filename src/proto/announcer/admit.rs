//! Where an announce may go. A .torrent comes from a stranger: it must not make us call on the
//! services of this machine or of its network.

use super::{Announcer, State};
use crate::wire::address::{is_dialable, is_lan};
use core::net::{IpAddr, SocketAddr};

/// What only the client says in an announce (BEP 3, 7, 23).
const OURS: [&str; 12] = [
    "info_hash",
    "peer_id",
    "port",
    "uploaded",
    "downloaded",
    "left",
    "event",
    "ip",
    "ipv4",
    "ipv6",
    "compact",
    "numwant",
];

impl Announcer {
    /// Whether the attempt in flight may go to this address of its target.
    ///
    /// # Errors
    /// Why not, for people. Where the torrent itself names that tracker, it is not asked again.
    pub fn admit(&mut self, ip: IpAddr) -> Result<(), &'static str> {
        let State::InFlight(flight) = &mut self.state else { return Ok(()) };
        let place = (flight.hops == 0).then_some(flight.place);
        let judged = judge(ip.to_canonical(), flight.target.port, &flight.path, flight.outside);
        flight.outside |= !is_lan(ip);
        if let (Err(_), Some(place)) = (judged, place) {
            self.tracker_mut(place).barred = true;
        }
        judged
    }
}

fn judge(ip: IpAddr, port: u16, path: &str, outside: bool) -> Result<(), &'static str> {
    if !is_dialable(SocketAddr::new(ip, port)) {
        return Err("no single host has that address");
    }
    if is_metadata(ip) {
        return Err("that address is no tracker's, but of the machine's maker");
    }
    if outside && is_lan(ip) {
        return Err("it redirects from outside into this network");
    }
    let place = path.split('?').next().unwrap_or_default();
    if is_near(ip) && !place.ends_with("/announce") {
        return Err("on this machine only /announce is asked, nothing else");
    }
    Ok(())
}

/// Loopback and link-local: where services trust whoever comes.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Where rented machines find their secrets.
fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets() == [169, 254, 169, 254],
        IpAddr::V6(v6) => v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    }
}

/// A parameter in the query of an announce that only we may set; the tracker would believe the
/// torrent's.
pub(super) fn sets_ours(path: &str) -> Option<&'static str> {
    let query = path.split_once('?')?.1;
    let mut names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names.find_map(|name| OURS.into_iter().find(|ours| name.eq_ignore_ascii_case(ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(ip: &str, path: &str, outside: bool) -> bool {
        judge(ip.parse().unwrap(), 80, path, outside).is_ok()
    }

    #[test]
    fn where_an_announce_may_go() {
        for ip in ["10.0.0.1", "192.0.2.1", "2001:db8::1", "fd00::1"] {
            assert!(allowed(ip, "/x/y?z", false), "{ip}");
        }
        for ip in ["127.0.0.1", "169.254.7.7", "::1", "fe80::1"] {
            assert!(allowed(ip, "/announce", false), "{ip}");
            assert!(allowed(ip, "/key/announce?a=b", false), "{ip}");
            assert!(!allowed(ip, "/api/shutdown?x=/announce", false), "{ip}");
        }
        for ip in ["0.0.0.0", "239.1.2.3", "255.255.255.255", "::", "ff02::1", "169.254.169.254"] {
            assert!(!allowed(ip, "/announce", false), "{ip}");
        }
    }

    #[test]
    fn nothing_outside_leads_inside() {
        assert!(allowed("192.0.2.1", "/announce", true));
        for ip in ["10.0.0.1", "127.0.0.1", "192.168.1.1", "fd00::1", "::1"] {
            assert!(!allowed(ip, "/announce", true), "{ip}");
        }
    }

    #[test]
    fn our_parameters_are_ours() {
        assert_eq!(sets_ours("/announce?pass=1&key=2"), None);
        assert_eq!(sets_ours("/info_hash=1/announce"), None);
        assert_eq!(sets_ours("/announce?a=1&INFO_HASH=AAAA&port=1"), Some("info_hash"));
        assert_eq!(sets_ours("/announce?port"), Some("port"));
    }
}
