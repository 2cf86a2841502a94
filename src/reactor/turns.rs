//! How long the turns of the loop are: while one lasts, nobody is answered.

use crate::units::time::Duration;
use core::fmt;

/// Buckets for one doubling.
const STEPS: usize = 8;
/// Doublings of a microsecond: up to 70 minutes.
const DOUBLINGS: usize = 32;

/// A histogram of durations, an eighth of a doubling wide: figures are at most a tenth too high.
#[derive(Clone, Debug)]
pub struct Turns {
    counts: Box<[u64; STEPS * DOUBLINGS]>,
    longest: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self { counts: Box::new([0; STEPS * DOUBLINGS]), longest: Duration::ZERO }
    }
}

impl Turns {
    /// One more turn.
    pub fn add(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.longest = self.longest.max(span);
    }

    /// What `part` of a thousand turns did not exceed.
    #[must_use]
    pub fn quantile(&self, part: u64) -> Duration {
        let count: u64 = self.counts.iter().sum();
        let rank = (count * part).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, &here) in self.counts.iter().enumerate() {
            seen += here;
            if seen >= rank {
                return Duration::from_micros(end_of(at)).min(self.longest);
            }
        }
        self.longest
    }

    /// The longest turn.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.longest
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |span: Duration| span.as_secs_f64() * 1000.0;
        let (half, most) = (ms(self.quantile(500)), ms(self.quantile(990)));
        let count: u64 = self.counts.iter().sum();
        write!(
            f,
            "{count} turns, p50 {half:.2} ms, p99 {most:.2} ms, max {:.2} ms",
            ms(self.longest)
        )
    }
}

/// Below eight microseconds each has its own; then eight for each doubling.
fn bucket(micros: u64) -> usize {
    if micros < STEPS as u64 {
        return micros as usize;
    }
    let doubling = micros.ilog2() as usize;
    let step = (micros >> (doubling - 3)) as usize - STEPS;
    ((doubling - 2) * STEPS + step).min(STEPS * DOUBLINGS - 1)
}

/// The longest span of a bucket.
fn end_of(bucket: usize) -> u64 {
    let (doubling, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    match doubling.checked_sub(1) {
        None => step,
        Some(shift) => ((STEPS as u64 + step + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_lies_in_its_bucket() {
        for micros in (0..5000).chain([1 << 20, (1 << 30) + 12_345, 1 << 33]) {
            let at = bucket(micros);
            assert!(end_of(at) >= micros, "{micros}");
            assert!(at == 0 || end_of(at - 1) < micros, "{micros}");
        }
        assert_eq!(bucket(u64::MAX), STEPS * DOUBLINGS - 1);
    }

    #[test]
    fn quantiles() {
        let mut turns = Turns::default();
        assert_eq!(turns.quantile(990), Duration::ZERO);
        (0..980).for_each(|_| turns.add(Duration::from_micros(100)));
        (0..19).for_each(|_| turns.add(Duration::from_millis(3)));
        turns.add(Duration::from_millis(40));
        assert_eq!(turns.quantile(500), Duration::from_micros(103));
        let most = turns.quantile(990).as_micros();
        assert!((3000..3300).contains(&most), "{most}");
        assert_eq!(turns.longest(), Duration::from_millis(40));
        let text = turns.to_string();
        assert!(text.starts_with("1000 turns, p50 0.10 ms, p99 3."), "{text}");
        assert!(text.ends_with("max 40.00 ms"), "{text}");
    }
}
