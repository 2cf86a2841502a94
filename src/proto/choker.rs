//! Who is served: the ranking of BEP 3's choking algorithm, as a pure function.

use crate::units::id::ConnId;
use crate::units::time::{Duration, Instant};

/// Between two rounds of choking (BEP 3).
pub const CHOKE_ROUND: Duration = Duration::from_secs(10);
/// Rounds for which one optimistic unchoke lasts (BEP 3: 30 seconds).
pub const OPTIMISTIC_ROUNDS: u32 = 3;
/// Peers served at once in one swarm: three regular slots and one optimistic (BEP 3).
pub const SLOTS_MIN: usize = 4;
/// Peers served at once in one swarm on the fastest line.
const SLOTS_MAX: usize = 500;

/// Time for which a seeder serves one peer before others get their turn.
const TURN: Duration = Duration::from_secs(30);

/// Time over which a growing rate is measured.
const METER: Duration = Duration::from_millis(50);

/// A connected, interested peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which connection.
    pub conn: ConnId,
    /// Bytes a second: from the peer while we download, to the peer while we seed.
    pub rate: u64,
    /// Since when it is unchoked, if it is.
    pub unchoked_at: Option<Instant>,
    /// When it was choked last, or came.
    pub choked_at: Instant,
    /// It owes us blocks and sends none (BEP 3: anti-snubbing).
    pub snubbed: bool,
}

/// The peers that deserve the regular slots, best first.
///
/// While downloading: those that send us the most. While seeding: round robin, so that nobody
/// waits for ever: the unchoked stay until their turn is over, then those who have waited for longest. Not
/// the fastest of them: who was choked just now has a rate still, and who was never served has none.
#[must_use]
pub fn rank(candidates: &[Candidate], seeding: bool, now: Instant) -> Vec<ConnId> {
    let mut ranked = candidates.to_vec();
    let had_its_turn = |c: &Candidate| c.unchoked_at.is_some_and(|at| now - at >= TURN);
    ranked.sort_unstable_by_key(|c| {
        let (order, since) = match c.unchoked_at {
            _ if !seeding => (u8::from(c.snubbed), Instant::ORIGIN),
            Some(_) if had_its_turn(c) => (2, Instant::ORIGIN),
            Some(_) => (0, Instant::ORIGIN),
            None => (1, c.choked_at),
        };
        (order, since, core::cmp::Reverse(c.rate), c.conn)
    });
    ranked.iter().map(|c| c.conn).collect()
}

/// How many peers are served at once where the user has not said: four (BEP 3), and on a fast line
/// as many as the first client chose, the root of 0.6 times its KiB a second. A line that carries
/// much carries it to many, so that all they have between them is passed on at once.
#[must_use]
pub fn slots_at(rate: u64) -> usize {
    let root = (rate / 1024 * 6 / 10).isqrt();
    usize::try_from(root).unwrap_or(usize::MAX).clamp(SLOTS_MIN, SLOTS_MAX)
}

/// Measures over a short time how fast we serve a swarm, and says how many slots that is worth.
#[derive(Clone, Debug)]
pub struct SlotMeter {
    slots: usize,
    since: Option<Instant>,
    bytes: u64,
}

impl Default for SlotMeter {
    fn default() -> Self {
        Self { slots: SLOTS_MIN, since: None, bytes: 0 }
    }
}

impl SlotMeter {
    /// The slots at present.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Counts payload that was sent; true if there are more slots now. They grow at once, and
    /// shrink with [`SlotMeter::settle`] only.
    pub fn sent(&mut self, now: Instant, bytes: u64) -> bool {
        let Some(since) = self.since else {
            self.since = Some(now);
            return false;
        };
        self.bytes += bytes;
        let passed = now - since;
        if passed < METER {
            return false;
        }
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let slots = slots_at(self.bytes.saturating_mul(1_000_000) / micros);
        (self.since, self.bytes) = (Some(now), 0);
        let grown = slots > self.slots;
        self.slots = self.slots.max(slots);
        grown
    }

    /// A round of choking: no more slots than the rate of late is worth.
    pub fn settle(&mut self, rate: u64) {
        self.slots = slots_at(rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(slot: u32, rate: u64, unchoked: Option<u64>) -> Candidate {
        let unchoked_at = unchoked.map(|s| Instant::from_micros(s * 1_000_000));
        let (conn, choked_at) = (ConnId { slot, generation: 0 }, Instant::ORIGIN);
        Candidate { conn, rate, unchoked_at, choked_at, snubbed: false }
    }

    #[test]
    fn slots_grow_with_the_line() {
        let rates = [0, 50 << 10, 500 << 10, 1 << 20, 6 << 20, u64::MAX];
        assert_eq!(rates.map(slots_at), [4, 5, 17, 24, 60, SLOTS_MAX]);
        let mut meter = SlotMeter::default();
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        assert!(!meter.sent(at(0), 1 << 20), "one moment tells nothing");
        assert!(!meter.sent(at(1), 1 << 20));
        assert!(meter.sent(at(100), 0) && meter.slots() == 78);
        meter.settle(0);
        assert_eq!(meter.slots(), SLOTS_MIN);
    }

    #[test]
    fn leechers_serve_who_serves_them() {
        let mut slow = candidate(1, 5, None);
        let fast = candidate(2, 9, None);
        let now = Instant::from_micros(0);
        assert_eq!(rank(&[slow, fast], false, now), [fast.conn, slow.conn]);
        slow.rate = 100;
        slow.snubbed = true;
        assert_eq!(rank(&[slow, fast], false, now), [fast.conn, slow.conn]);
    }

    #[test]
    fn seeders_let_everybody_have_a_turn() {
        let long = candidate(1, 9, Some(0));
        let fresh = candidate(2, 1, Some(39));
        let waiting = candidate(3, 0, None);
        let now = Instant::from_micros(40_000_000);
        assert_eq!(rank(&[long, fresh, waiting], true, now), [fresh.conn, waiting.conn, long.conn]);
        // Who was choked just now still has a rate, and has had its turn.
        let choked_at = Instant::from_micros(39_000_000);
        let before = Candidate { choked_at, ..candidate(4, 9, None) };
        assert_eq!(rank(&[before, waiting], true, now), [waiting.conn, before.conn]);
    }
}
