//! How many bytes may move now, where the user has set a rate.

use super::time::{Duration, Instant};

/// What is left unused is kept for so long, and no more: a pause brings no flood after it.
const KEPT: Duration = Duration::from_millis(100);
/// Whoever waits is woken with so much to use, so that a fast line is not served block by block.
const WORTH_WAKING: Duration = Duration::from_millis(20);
/// Bytes counted to the millionth, so that a microsecond's share of the lowest rate is not lost.
const PARTS: i128 = 1_000_000;

/// Bytes that come in at a steady rate and are spent in units. The last unit may be larger than what
/// is there: the debt is waited for, so that in the long run the rate is kept exactly.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes a second.
    rate: u64,
    /// Millionths of bytes; below zero in debt.
    left: i128,
    /// Until when the income is counted.
    counted: Instant,
}

impl Budget {
    /// So many bytes a second from `now` on.
    #[must_use]
    pub const fn new(rate: u64, now: Instant) -> Self {
        Self { rate, left: 0, counted: now }
    }

    /// How many units of `bytes` may be spent now: as many as are there, and one if anything is.
    pub fn units(&mut self, now: Instant, bytes: u32) -> usize {
        let income = (now - self.counted).as_micros();
        self.counted = self.counted.max(now);
        let rate = i128::from(self.rate);
        let kept = rate * in_micros(KEPT);
        let kept = kept.max(i128::from(bytes) * PARTS);
        let income = rate.saturating_mul(i128::try_from(income).unwrap_or(i128::MAX));
        self.left = self.left.saturating_add(income).min(kept);
        if self.left <= 0 {
            return 0;
        }
        let units = self.left / (i128::from(bytes.max(1)) * PARTS);
        usize::try_from(units).unwrap_or(usize::MAX).max(1)
    }

    /// So many bytes are spent.
    pub fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(i128::from(bytes) * PARTS);
    }

    /// Whether nothing was left when last asked.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.left <= 0
    }

    /// When it is worth asking again, after there was nothing.
    #[must_use]
    pub fn refills_at(&self) -> Instant {
        let rate = i128::from(self.rate.max(1));
        let missing = (1 - self.left).max(0);
        let micros = (missing + rate - 1) / rate;
        let micros = micros.max(in_micros(WORTH_WAKING));
        self.counted + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

const fn in_micros(span: Duration) -> i128 {
    span.as_micros() as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: u32 = 16 * 1024;

    /// What is spent in so long by who spends all there is whenever it is worth it.
    fn spent_in(seconds: u64, rate: u64, unit: u32) -> u64 {
        let mut budget = Budget::new(rate, Instant::ORIGIN);
        let (mut now, mut sum) = (Instant::ORIGIN, 0);
        while now < Instant::ORIGIN + Duration::from_secs(seconds) {
            let units = budget.units(now, unit) as u64;
            budget.spend(units * u64::from(unit));
            sum += units * u64::from(unit);
            let next = budget.refills_at();
            assert!(next > now, "it would spin");
            now = next;
        }
        sum
    }

    proptest! {
        #[test]
        fn the_rate_is_kept_whatever_the_unit(
            rate in 1_000_u64..10_000_000_000,
            unit in 1_u32..200_000,
        ) {
            let (sum, whole) = (spent_in(60, rate, unit) as f64, 60.0 * rate as f64);
            prop_assert!(sum <= whole + f64::from(unit), "{sum} of {whole}");
            prop_assert!(sum >= whole * 0.99 - f64::from(unit), "{sum} of {whole}");
        }
    }

    #[test]
    fn a_pause_brings_no_flood() {
        let mut budget = Budget::new(1_000_000, Instant::ORIGIN);
        let later = Instant::ORIGIN + Duration::from_secs(3600);
        assert_eq!(budget.units(later, BLOCK), 6, "a tenth of a second");
        budget.spend(7 * u64::from(BLOCK));
        assert_eq!(budget.units(later, BLOCK), 0);
        assert_eq!(budget.units(Instant::ORIGIN, BLOCK), 0, "time does not go back");
        let again = budget.refills_at();
        assert_eq!(again - later, WORTH_WAKING);
        assert_eq!(budget.units(again, BLOCK), 1, "less than a block is left, which is one");
    }

    #[test]
    fn a_debt_is_waited_for() {
        let mut budget = Budget::new(1024, Instant::ORIGIN);
        assert_eq!(budget.units(Instant::ORIGIN, BLOCK), 0);
        let first = budget.refills_at();
        assert_eq!(budget.units(first, BLOCK), 1);
        budget.spend(128 * 1024);
        let again = budget.refills_at();
        assert!((again - first).as_secs_f64() > 127.9 && (again - first).as_secs_f64() < 128.1);
        assert_eq!(budget.units(again, BLOCK), 1);
    }
}
