//! Where a tracker sends us instead (RFC 9110, 15.4).

use super::{Announcer, Flight, Progress, State};
use crate::units::time::Instant;
use crate::wire::address::{Announce, HostPort, Scheme};
use crate::wire::http::Response;
use crate::wire::text::printable;

/// Redirections followed for one announce.
const HOPS_MAX: u8 = 5;

impl Announcer {
    /// The tracker sends us elsewhere: that is polled next, as a part of the same attempt.
    pub(super) fn redirected(&mut self, now: Instant, response: &Response) -> Progress {
        let Some(mut flight) = self.land() else { return Progress::Redirect };
        let next = match response.location.as_deref() {
            None => Err(String::from("it redirects to nowhere")),
            Some(_) if flight.hops >= HOPS_MAX => Err(String::from("it redirects without end")),
            Some(location) => resolve(flight.scheme, &flight.target, &flight.path, location),
        };
        // A failure needs the flight to know whose it is.
        let why = match next {
            Ok((scheme, target, path)) => {
                let hops = flight.hops + 1;
                self.state = State::Redirected(Flight { hops, scheme, target, path, ..flight });
                return Progress::Redirect;
            }
            Err(why) => why,
        };
        flight.exchange = None;
        self.state = State::InFlight(flight);
        self.useless(now, &why)
    }
}

/// Where a `Location` leads (RFC 9110, 10.2.2) that came from `path` of that tracker.
fn resolve(
    scheme: Scheme,
    from: &HostPort,
    path: &str,
    location: &str,
) -> Result<(Scheme, HostPort, String), String> {
    let name = scheme.name();
    let place = path.split('?').next().unwrap_or_default();
    let folder = place.rfind('/').map_or("/", |slash| &place[..=slash]);
    let is_url = location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
    let url = if location.starts_with("//") {
        format!("{name}:{location}")
    } else if location.starts_with('/') {
        format!("{name}://{from}{location}")
    } else if is_url {
        location.to_owned()
    } else if location.starts_with('?') {
        format!("{name}://{from}{place}{location}")
    } else {
        format!("{name}://{from}{folder}{location}")
    };
    match Announce::parse(&url) {
        Ok(a) if !a.bare && a.scheme != Scheme::Udp => Ok((a.scheme, a.target, a.path)),
        Ok(_) => Err(format!("it redirects to '{}'", printable(location))),
        Err(error) => Err(format!("it redirects: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_every_form() {
        let from: HostPort = HostPort::parse("10.0.0.1:80", 80).unwrap();
        let path = "/a/announce?key=1";
        for (location, expected) in [
            ("http://10.0.0.2/x", "http 10.0.0.2:80 /x"),
            ("https://b.org/x?y", "https b.org:443 /x?y"),
            ("//b.org/x", "http b.org:80 /x"),
            ("/x", "http 10.0.0.1:80 /x"),
            ("x/announce", "http 10.0.0.1:80 /a/x/announce"),
            ("x?u=http://c", "http 10.0.0.1:80 /a/x?u=http://c"),
            ("?key=2", "http 10.0.0.1:80 /a/announce?key=2"),
        ] {
            let (scheme, target, path) =
                resolve(Scheme::Http, &from, path, location).expect(location);
            assert_eq!(format!("{} {target} {path}", scheme.name()), expected);
        }
        for location in ["udp://b.org:1", "file:///etc/passwd", "javascript:x", "10.0.0.1:5000/x"] {
            assert!(resolve(Scheme::Http, &from, path, location).is_err(), "{location}");
        }
    }
}
