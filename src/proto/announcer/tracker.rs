//! One tracker of a torrent: what is known of it, and when it is asked again after a failure.

use super::udp::Remembered;
use crate::units::time::{Duration, Instant};
use crate::wire::address::Announce;
use crate::wire::announce::RetryIn;

/// From one attempt at a LAN tracker that is away to the next: whoever is late is found at once,
/// and a packet a second is nothing there.
const LAN_PAUSE: Duration = Duration::from_secs(1);
/// The least after a failure, and what chance adds.
const LAN_PAUSE_LEAST: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_millis(250));
/// Longest pause before a LAN tracker that refuses is asked again: it is there, and says no.
const LAN_REFUSED_MAX: Duration = Duration::from_secs(16);
/// Longest pause before another tracker is asked again.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// Longest pause before such a host is asked again, and the pause after it has refused.
pub(super) const HOST_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A tracker and how it has answered.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    pub(super) announce: Announce,
    /// It is ourselves: never asked.
    pub(super) own: bool,
    /// It is where no announce may go, or has said `never`: not asked again.
    pub(super) barred: bool,
    /// It has taken our `started`.
    pub(super) started: bool,
    /// It is known to be on our network.
    pub(super) lan: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// What its last answer had as `tracker id`.
    pub(super) tracker_id: Option<Vec<u8>>,
    /// Its UDP connection id.
    pub(super) connection: Option<Remembered>,
    /// Not asked before this.
    pub(super) not_before: Instant,
}

impl Tracker {
    pub(super) fn new(announce: Announce) -> Self {
        Self {
            lan: announce.is_lan(),
            announce,
            own: false,
            barred: false,
            started: false,
            failures: 0,
            tracker_id: None,
            connection: None,
            not_before: Instant::ORIGIN,
        }
    }

    /// It has said when it is to be asked again, if ever.
    pub(super) fn retry(&mut self, now: Instant, retry: Option<RetryIn>) {
        match retry {
            Some(RetryIn::After(pause)) => self.not_before = now + pause,
            Some(RetryIn::Never) => self.barred = true,
            None => {}
        }
    }

    /// When it is asked again after a failure of an attempt that began at `began_at`.
    pub(super) fn again_at(
        &self,
        now: Instant,
        began_at: Instant,
        chance: u64,
        refused: bool,
        host: bool,
    ) -> Instant {
        let seconds = 1_u64 << self.failures.saturating_sub(1).min(11);
        let doubled = Duration::from_secs(seconds);
        let spread = |base: Duration, spread: Duration| {
            let spread = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
            base + Duration::from_micros(chance % spread.saturating_add(1).max(1))
        };
        // Chance keeps a class that lost its tracker from coming back as one.
        let (least, more) = LAN_PAUSE_LEAST;
        let pause = match (host, self.lan, refused) {
            (true, _, true) => spread(HOST_PAUSE_MAX, more),
            (true, ..) => spread(doubled.min(HOST_PAUSE_MAX), more),
            (false, true, true) => spread(doubled.min(LAN_REFUSED_MAX), more),
            (false, true, false) => {
                return (began_at + LAN_PAUSE).max(now + least) + spread(Duration::ZERO, more);
            }
            (false, false, _) => {
                let base = doubled.min(PAUSE_MAX) * 3 / 4;
                spread(base, base / 3)
            }
        };
        now + pause
    }
}
