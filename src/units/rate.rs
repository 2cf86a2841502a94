//! Bytes a second, averaged over the last few seconds.

use super::time::{Duration, Instant};

const SLOTS: usize = 5;
const SLOT: Duration = Duration::from_secs(1);

/// A moving average over five whole seconds. Ten words, no allocation.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    slots: [u64; SLOTS],
    current: u64,
    /// Index of the second that `current` counts, since the origin.
    second: u64,
    first: Option<u64>,
    total: u64,
}

impl Rate {
    /// Counts `bytes` at `now`.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.advance(now);
        self.first.get_or_insert(self.second);
        self.current += bytes;
        self.total += bytes;
    }

    /// Bytes a second lately.
    pub fn get(&mut self, now: Instant) -> u64 {
        self.advance(now);
        let Some(first) = self.first else { return 0 };
        // In the first seconds there is no history to average over.
        let seconds = (self.second - first).clamp(1, SLOTS as u64);
        let sum: u64 = self.slots.iter().sum();
        if self.second == first {
            return self.current;
        }
        sum / seconds
    }

    /// Bytes since the beginning.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    fn advance(&mut self, now: Instant) {
        let second = now.as_micros() / u64::try_from(SLOT.as_micros()).unwrap_or(u64::MAX);
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
