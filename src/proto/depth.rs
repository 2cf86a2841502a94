//! How many requests one connection keeps open.
//!
//! Enough for the line never to wait for the next request, and no more: what is asked for is no
//! longer free to be chosen, and a slow peer would owe it for long. Near peers need 0.2 s of the
//! rate of late. Far ones need what is under way in a round trip, and to learn how much that is
//! they begin with little and double it, as TCP does.

use crate::units::limits::{BLOCK_BYTES, REQUESTS_OUT_MAX, REQUESTS_OUT_START};
use crate::units::time::{Duration, Instant};

/// Time at the rate of late for which requests are kept open: more than most round trips, and no
/// more than leaves the choice of the next piece open for long.
const AHEAD: Duration = Duration::from_millis(200);
/// Requests beyond that, so that a small rate can grow.
const MORE: u64 = 4;
/// Longest round trip that is believed: two satellites.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);
/// Shortest time over which the growth of a rate is measured.
const WINDOW_MIN: Duration = Duration::from_millis(50);

/// The depth of one connection's pipe of requests, in blocks.
#[derive(Clone, Debug)]
pub struct Depth {
    blocks: u64,
    /// The least that was seen; zero as long as it is not known.
    round_trip: Duration,
    window: Option<Instant>,
    window_bytes: u64,
    /// What two round trips took in the fastest window since the last tick.
    far: u64,
    /// Another second without a block would change nothing.
    rests: bool,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            blocks: REQUESTS_OUT_START as u64,
            round_trip: Duration::ZERO,
            window: None,
            window_bytes: 0,
            far: 0,
            rests: true,
        }
    }
}

impl Depth {
    /// Requests to keep open towards a peer that takes `reqq` (BEP 10).
    #[must_use]
    pub fn get(&self, reqq: usize) -> usize {
        let most = REQUESTS_OUT_MAX.min(reqq.max(1));
        usize::try_from(self.blocks).unwrap_or(most).min(most)
    }

    /// A question was answered after so long.
    pub fn answered_after(&mut self, round_trip: Duration) {
        self.round_trip = round_trip.min(ROUND_TRIP_MAX);
    }

    /// A block has come: where round trips are long, more may be under way soon.
    pub fn received(&mut self, now: Instant, bytes: u64) {
        self.rests = false;
        let Some(since) = self.window else {
            self.window = Some(now);
            return;
        };
        self.window_bytes += bytes;
        let passed = now - since;
        if passed < self.round_trip.max(WINDOW_MIN) {
            return;
        }
        let rate = self.window_bytes.saturating_mul(1_000_000) / micros(passed);
        (self.window, self.window_bytes) = (Some(now), 0);
        self.far = self.far.max(blocks_in(self.round_trip * 2, rate) + MORE);
        self.blocks = self.blocks.max(self.far);
    }

    /// Once a second: the rate of late is `rate`; `None` if nothing has ever come.
    pub fn adapt(&mut self, rate: Option<u64>) {
        let far = core::mem::take(&mut self.far);
        self.rests = far == 0 && rate.is_none_or(|rate| rate == 0);
        self.blocks = match rate {
            None => REQUESTS_OUT_START as u64,
            Some(rate) => far.max(blocks_in(AHEAD.max(self.round_trip * 2), rate) + MORE),
        };
    }

    /// It owes us blocks and sends none: one at a time.
    pub fn shut(&mut self) {
        (self.blocks, self.far, self.window, self.rests) = (1, 0, None, true);
    }

    /// Whether [`Depth::adapt`] would change nothing as long as no block comes.
    #[must_use]
    pub const fn rests(&self) -> bool {
        self.rests
    }
}

fn blocks_in(time: Duration, rate: u64) -> u64 {
    let bytes = u128::from(rate) * time.as_micros() / 1_000_000;
    u64::try_from(bytes / u128::from(BLOCK_BYTES)).unwrap_or(u64::MAX / 2)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until `depth` fills a line of so many blocks a second, `round_trip` away.
    fn fills_after(line: u64, round_trip: Duration) -> Option<f64> {
        let mut depth = Depth::default();
        depth.answered_after(round_trip);
        let (step, mut now, mut ticks, mut got) = (1_000, 0_u64, 1, 0.0_f64);
        let trip = micros(round_trip).max(step) as f64 / 1e6;
        let mut recent = std::collections::VecDeque::new();
        while now < 30_000_000 {
            now += step;
            let rate = (line as f64).min(depth.get(512) as f64 / trip);
            got += rate * step as f64 / 1e6;
            while got >= 1.0 {
                got -= 1.0;
                recent.push_back(now);
                depth.received(Instant::from_micros(now), 16_384);
            }
            if depth.get(512) as f64 / trip >= line as f64 {
                return Some(now as f64 / 1e6);
            }
            if now >= ticks * 1_000_000 {
                ticks += 1;
                recent.retain(|&at| at + 5_000_000 > now);
                depth.adapt(Some(recent.len() as u64 * 16_384 / ticks.min(5)));
            }
        }
        None
    }

    #[test]
    fn a_far_line_is_filled_soon() {
        // 100 Mbit/s at 100 ms, 1 Gbit/s at 20 ms, 20 Mbit/s by satellite.
        for (line, ms, most) in [(763, 100, 0.6), (7_630, 20, 0.5), (153, 700, 3.0)] {
            let after = fills_after(line, Duration::from_millis(ms));
            assert!(after.is_some_and(|s| s <= most), "{line} blocks/s at {ms} ms: {after:?} s");
        }
    }

    #[test]
    fn a_near_line_is_not_asked_far_ahead() {
        let mut depth = Depth::default();
        depth.answered_after(Duration::from_millis(1));
        for ms in 0..1_000 {
            depth.received(Instant::from_micros(ms * 1_000), 16_384);
        }
        assert_eq!(depth.get(512), REQUESTS_OUT_START);
        depth.adapt(Some(100 * 16_384));
        assert_eq!(depth.get(512), 20 + 4);
        depth.shut();
        assert_eq!(depth.get(512), 1);
        depth.adapt(None);
        assert_eq!((depth.get(512), depth.get(5), depth.get(0)), (16, 5, 1));
        depth.adapt(Some(u64::MAX));
        assert_eq!(depth.get(9_999), REQUESTS_OUT_MAX);
    }
}
