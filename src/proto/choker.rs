//! Who is served: the ranking of BEP 3's choking algorithm, as a pure function.

use crate::units::id::ConnId;
use crate::units::time::{Duration, Instant};

/// Time for which a seeder serves one peer before others get their turn.
const TURN: Duration = Duration::from_secs(30);

/// A connected, interested peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which connection.
    pub conn: ConnId,
    /// Bytes a second: from the peer while we download, to the peer while we seed.
    pub rate: u64,
    /// Since when it is unchoked, if it is.
    pub unchoked_at: Option<Instant>,
    /// It owes us blocks and sends none (BEP 3: anti-snubbing).
    pub snubbed: bool,
}

/// The peers that deserve the regular slots, best first.
///
/// While downloading: those that send us the most. While seeding: round robin, so that nobody
/// waits for ever: the unchoked stay until their turn is over, then the fastest takers.
#[must_use]
pub fn rank(candidates: &[Candidate], seeding: bool, now: Instant) -> Vec<ConnId> {
    let mut ranked = candidates.to_vec();
    let had_its_turn = |c: &Candidate| c.unchoked_at.is_some_and(|at| now - at >= TURN);
    if seeding {
        ranked.sort_by_key(|c| {
            let order = match c.unchoked_at {
                Some(_) if had_its_turn(c) => 2,
                Some(_) => 0,
                None => 1,
            };
            (order, core::cmp::Reverse(c.rate), c.conn)
        });
    } else {
        ranked.sort_by_key(|c| (c.snubbed, core::cmp::Reverse(c.rate), c.conn));
    }
    ranked.iter().map(|c| c.conn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(slot: u32, rate: u64, unchoked: Option<u64>) -> Candidate {
        let unchoked_at = unchoked.map(|s| Instant::from_micros(s * 1_000_000));
        Candidate { conn: ConnId { slot, generation: 0 }, rate, unchoked_at, snubbed: false }
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
    }
}
