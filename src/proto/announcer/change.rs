//! Other trackers for a torrent that is at work.

use super::{Announcer, State};
use crate::units::time::Instant;
use crate::wire::address::{AnnounceError, HostPort};

impl Announcer {
    /// The torrent has these trackers from now on; says what is wrong with those that cannot be used. One
    /// that stays goes on as it was. One that goes hears nothing: peers that it sends find us still.
    pub fn change(
        &mut self,
        now: Instant,
        announce: Option<&str>,
        announce_list: &[Vec<String>],
    ) -> Vec<AnnounceError> {
        let (mut new, errors) = Self::new(announce, announce_list, &mut self.rng);
        let hosts = self.tiers.pop().unwrap_or_default();
        for tracker in new.tiers.iter_mut().flatten() {
            let mut old = self.tiers.iter().flatten();
            if let Some(old) = old.find(|old| old.announce == tracker.announce) {
                tracker.clone_from(old);
            }
        }
        // The last tier of the new ones is empty.
        new.tiers.pop();
        new.tiers.push(hosts);
        (self.tiers, self.bare) = (new.tiers, new.bare);
        // What is under way names a place in the old list.
        self.state = State::Idle;
        self.answered = None;
        let known = self.candidates().next().is_some_and(|place| self.tracker(place).started);
        if self.running {
            self.wait(if known { now.max(self.earliest) } else { now });
        }
        errors
    }

    /// Whether the attempt in flight is for this host.
    #[must_use]
    pub fn is_asking(&self, host: &HostPort) -> bool {
        matches!(&self.state, State::InFlight(flight) if flight.target == *host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::announcer::Progress;
    use crate::units::rng::Rng;
    use crate::units::time::Duration;
    use crate::wire::announce::Event;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\nd8:intervali60e5:peers0:ee";

    fn answered(announcer: &mut Announcer, now: Instant) -> (String, Event) {
        let attempt = announcer.poll(now).unwrap();
        assert!(announcer.is_asking(&attempt.target));
        assert_eq!(announcer.handle_answer(now, ANSWER, true), Progress::Done(vec![]));
        (attempt.target.to_string(), attempt.event)
    }

    #[test]
    fn a_new_tracker_is_told_at_once_and_one_that_stays_when_it_is_due() {
        let (now, mut rng) = (Instant::ORIGIN, Rng::new(7));
        let mut announcer = Announcer::new(Some("http://a/x"), &[], &mut rng).0;
        announcer.start(now);
        assert_eq!(answered(&mut announcer, now), ("a:80".to_owned(), Event::Started));
        let list = |hosts: &[&str]| hosts.iter().map(|host| vec![(*host).to_owned()]).collect();
        let both: Vec<_> = list(&["http://a/x", "http://b/x"]);
        assert_eq!(announcer.change(now, Some("http://a/x"), &both), []);
        assert_eq!(announcer.poll_timeout(), Some(now + Duration::from_secs(60)));
        // The old one is being asked: its answer is nobody's now.
        let later = now + Duration::from_secs(60);
        assert_eq!(announcer.poll(later).unwrap().event, Event::None);
        assert_eq!(announcer.change(later, Some("b:7"), &[]), []);
        assert!(matches!(announcer.handle_answer(later, ANSWER, true), Progress::Failed(_)));
        assert_eq!(announcer.bare_peers().count(), 1);
        assert_eq!(answered(&mut announcer, later), ("b:7".to_owned(), Event::Started));
        announcer.stop(later);
        assert_eq!(answered(&mut announcer, later), ("b:7".to_owned(), Event::Stopped));
        // Nothing is said for who is not there.
        assert_eq!(announcer.change(later, Some("c"), &[]).len(), 0);
        assert!(announcer.is_idle());
    }
}
