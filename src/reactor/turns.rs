//! How long the turns of the loop are: while one lasts, nobody is answered. And what the longest was spent
//! on, which of it is ours: while another thread has the processor, or the disk is waited for, the turn lasts on.

use crate::units::time::{Duration, Instant};
use core::fmt;
use rustix::time::{clock_gettime, ClockId};

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

/// What a turn is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reading from sockets.
    Receive,
    /// Taking what came apart, and writing it to the files.
    Write,
    /// Writing content and messages to sockets.
    Send,
    /// Hashing.
    Hash,
    /// Opening torrents and contents, renaming what is complete.
    Folders,
    /// All else: events, accepts, dials, timers, records.
    Other,
}

/// Their names, in their order.
const WORKS: [&str; 6] = ["receive", "write", "send", "hash", "folders", "other"];

/// The turns, and the one that is under way.
#[derive(Clone, Debug, Default)]
pub struct TurnMeter {
    /// All of them.
    pub turns: Turns,
    /// How long each had the processor, if that is measured.
    on_processor: Option<Turns>,
    /// What the longest was spent on, and how long it had the processor.
    longest: ([Duration; WORKS.len()], Option<Duration>),
    spent: [Duration; WORKS.len()],
    began: Instant,
    at: Instant,
    processor_at: Duration,
}

impl TurnMeter {
    /// Measures from now on, too, how long a turn has the processor: one call of the system more at both ends.
    pub fn measure_processor(&mut self) {
        self.on_processor = Some(Turns::default());
    }

    /// A turn begins.
    pub fn begin(&mut self, now: Instant) {
        (self.began, self.at, self.spent) = (now, now, Default::default());
        if self.on_processor.is_some() {
            self.processor_at = processor_time();
        }
    }

    /// The time since the last call went to this.
    pub fn lap(&mut self, now: Instant, work: Work) {
        self.spent[work as usize] += now - self.at;
        self.at = now;
    }

    /// The turn ends.
    pub fn end(&mut self, now: Instant) {
        self.lap(now, Work::Other);
        let span = now - self.began;
        let mut on_processor = None;
        if let Some(turns) = &mut self.on_processor {
            let had = processor_time().saturating_sub(self.processor_at);
            turns.add(had);
            on_processor = Some(had);
        }
        if span > self.turns.longest() {
            self.longest = (self.spent, on_processor);
        }
        self.turns.add(span);
    }

    /// What is told of them, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.turns.to_string()];
        if let Some(turns) = &self.on_processor {
            let (most, longest) = (ms(turns.quantile(990)), ms(turns.longest()));
            lines.push(format!("on the processor p99 {most:.2} ms, max {longest:.2} ms"));
        }
        let (spent, had) = &self.longest;
        let mut parts = String::new();
        for (name, span) in WORKS.iter().zip(spent).filter(|(_, span)| ms(**span) >= 0.1) {
            let comma = if parts.is_empty() { "" } else { ", " };
            parts += &format!("{comma}{name} {:.2}", ms(*span));
        }
        let had =
            had.map_or_else(String::new, |had| format!("; {:.2} ms on the processor", ms(had)));
        lines.push(format!("longest turn {:.2} ms: {}{had}", ms(self.turns.longest()), parts));
        lines
    }
}

/// How long this thread has had the processor.
fn processor_time() -> Duration {
    let spec = clock_gettime(ClockId::ThreadCPUTime);
    let (secs, nanos) = (u64::try_from(spec.tv_sec), u64::try_from(spec.tv_nsec));
    Duration::from_secs(secs.unwrap_or(0)) + Duration::from_micros(nanos.unwrap_or(0) / 1000)
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    fn the_longest_turn_says_what_it_was_spent_on() {
        let at = |micros: u64| Instant::from_micros(1_000_000 + micros);
        let mut meter = TurnMeter::default();
        for (began, scale) in [(0, 1), (1_000_000, 10), (2_000_000, 2)] {
            meter.begin(at(began));
            meter.lap(at(began + 100 * scale), Work::Hash);
            meter.lap(at(began + 400 * scale), Work::Receive);
            meter.lap(at(began + 401 * scale), Work::Write);
            meter.lap(at(began + 600 * scale), Work::Hash);
            meter.end(at(began + 600 * scale));
        }
        let lines = meter.lines();
        assert!(lines[0].starts_with("3 turns"), "{lines:?}");
        assert_eq!(lines[1..], ["longest turn 6.00 ms: receive 3.00, hash 2.99"]);
        meter.measure_processor();
        meter.begin(at(5_000_000));
        meter.end(at(15_000_000));
        let lines = meter.lines();
        assert!(lines[1].starts_with("on the processor p99 0."), "{lines:?}");
        assert!(lines[2].starts_with("longest turn 10000.00 ms: other 10000.00; 0."), "{lines:?}");
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
