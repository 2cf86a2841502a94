//! Bytes a second, averaged over the last few seconds.

extern crate alloc;
use super::time::{Duration, Instant};
use alloc::boxed::Box;

const SLOTS: usize = 5;
const SLOT: Duration = Duration::from_secs(1);

/// A moving average over five whole seconds. Where no byte ever comes it takes no more than this.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// The second in which counting began, since the origin.
    first: Option<u32>,
    window: Option<Box<Window>>,
}

#[derive(Clone, Debug, Default)]
struct Window {
    slots: [u64; SLOTS],
    current: u64,
    /// Index of the second that `current` counts, since the origin.
    second: u64,
    total: u64,
}

impl Rate {
    /// Counts `bytes` at `now`.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.first.get_or_insert(u32::try_from(second_of(now)).unwrap_or(u32::MAX));
        if bytes > 0 {
            let window = self.window.get_or_insert_default();
            window.advance(now);
            window.current += bytes;
            window.total += bytes;
        }
    }

    /// Bytes a second lately.
    pub fn get(&mut self, now: Instant) -> u64 {
        let (Some(first), Some(window)) = (self.first, &mut self.window) else { return 0 };
        window.advance(now);
        // In the first seconds there is no history to average over.
        let seconds = window.second.saturating_sub(u64::from(first));
        if seconds == 0 {
            return window.current;
        }
        let sum: u64 = window.slots.iter().sum();
        sum / seconds.min(SLOTS as u64)
    }

    /// Bytes since the beginning.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.window.as_ref().map_or(0, |window| window.total)
    }
}

fn second_of(now: Instant) -> u64 {
    now.as_micros() / u64::try_from(SLOT.as_micros()).unwrap_or(u64::MAX)
}

impl Window {
    fn advance(&mut self, now: Instant) {
        let second = second_of(now);
        let passed = second.saturating_sub(self.second);
        if passed == 0 {
            return;
        }
        for i in 0..passed.min(SLOTS as u64) {
            let index = ((self.second + i) % SLOTS as u64) as usize;
            self.slots[index] = core::mem::take(&mut self.current);
        }
        if passed > SLOTS as u64 {
            self.slots = [0; SLOTS];
        }
        self.second = second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seconds_are_averaged_since_counting_began() {
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        let mut rate = Rate::default();
        assert_eq!((rate.get(at(1)), rate.total()), (0, 0));
        // Nothing was sent, but something might have been.
        rate.add(at(1), 0);
        assert_eq!(rate.get(at(2)), 0);
        rate.add(at(2), 600);
        assert_eq!(rate.get(at(4)), 200);
        let mut rate = Rate::default();
        rate.add(at(2), 600);
        assert_eq!((rate.get(at(2)), rate.get(at(4))), (600, 300));
    }

    #[test]
    fn steady_stream_then_silence() {
        let mut rate = Rate::default();
        for ms in 0..10_000 {
            rate.add(Instant::from_micros(ms * 1_000), 7);
        }
        assert_eq!(rate.get(Instant::from_micros(10_000_000)), 7_000);
        assert_eq!(rate.get(Instant::from_micros(60_000_000)), 0);
        assert_eq!(rate.total(), 70_000);
    }
}
