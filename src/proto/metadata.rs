//! The metadata of a magnet link, fetched from several peers at once (BEP 9). Only the whole can be
//! verified; so when it is wrong and had several senders, it is fetched again from one peer alone,
//! and then there is no doubt who lied.

use crate::units::id::ConnId;
use crate::units::limits::METADATA_BYTES_MAX;
use crate::units::time::{Duration, Instant};
use crate::wire::metadata::METADATA_PIECE_BYTES;
use std::collections::{BTreeMap, BTreeSet};

/// Requests that one peer may owe us: enough to hide a round trip, few enough for the strictest.
const ASKED_MAX: usize = 4;
/// A piece that has not come by then is asked of another.
const WITHIN: Duration = Duration::from_secs(8);
/// So long a peer that rejects or does not answer is left alone.
const REST: Duration = Duration::from_secs(20);

/// A peer that says it has the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its connection.
    pub conn: ConnId,
    /// Bytes of the metadata, as it says.
    pub size: u32,
}

/// What a piece has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody asked for it (any more): it is left.
    Unasked,
    /// More are needed.
    NeedMore,
    /// It is not what its sender said it would be: a proof.
    Bad,
    /// All are there. To be verified: [`Fetch::failed`] if they are wrong.
    Whole(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Piece {
    Missing,
    Asked(ConnId, Instant),
    Got(ConnId, Box<[u8]>),
}

/// The state of the fetch.
#[derive(Clone, Debug, Default)]
pub struct Fetch {
    /// The size that this attempt is for.
    size: u32,
    /// Empty between two attempts. Memory is taken as the pieces come, not as somebody promises.
    pieces: Vec<Piece>,
    /// An attempt with several senders was wrong: from now on, one at a time.
    alone: bool,
    /// The one sender of this attempt.
    only: Option<ConnId>,
    /// Those whose turn alone is over.
    tried: BTreeSet<ConnId>,
    resting: BTreeMap<ConnId, Instant>,
}

impl Fetch {
    /// Whom to ask for which piece now.
    pub fn requests(&mut self, now: Instant, holders: &[Holder]) -> Vec<(ConnId, u32)> {
        self.resting.retain(|_, until| *until > now);
        self.give_up_late(now);
        let fit = |h: &&Holder| h.size > 0 && h.size <= METADATA_BYTES_MAX;
        let fit: Vec<Holder> = holders.iter().filter(fit).copied().collect();
        let mut out = Vec::new();
        for _ in 0..2 {
            if self.pieces.is_empty() {
                self.begin(&fit);
            }
            let part = fit.iter().filter(|h| h.size == self.size);
            let part = part.filter(|h| self.only.is_none_or(|only| only == h.conn));
            let part = part.filter(|h| !self.resting.contains_key(&h.conn));
            let part: Vec<ConnId> = part.map(|h| h.conn).collect();
            let waits = self.pieces.iter().any(|p| matches!(p, Piece::Asked(..)));
            if part.is_empty() && !waits {
                // Nobody is left for this attempt; perhaps for another.
                self.abandon();
                continue;
            }
            for conn in part {
                self.ask(now, conn, &mut out);
            }
            break;
        }
        out
    }

    /// A piece has come.
    pub fn received(
        &mut self,
        conn: ConnId,
        piece: u32,
        total_size: Option<u32>,
        bytes: &[u8],
    ) -> Progress {
        let expected = self.piece_size(piece);
        let Some(slot) = self.pieces.get_mut(piece as usize) else { return Progress::Unasked };
        if !matches!(slot, Piece::Asked(of, _) if *of == conn) {
            return Progress::Unasked;
        }
        if bytes.len() != expected as usize || total_size.is_some_and(|size| size != self.size) {
            *slot = Piece::Missing;
            return Progress::Bad;
        }
        *slot = Piece::Got(conn, bytes.into());
        let whole = self.pieces.iter().map(|piece| match piece {
            Piece::Got(_, bytes) => Some(&bytes[..]),
            _ => None,
        });
        match whole.collect::<Option<Vec<_>>>() {
            Some(parts) => Progress::Whole(parts.concat()),
            None => Progress::NeedMore,
        }
    }

    /// A piece will not come from there.
    pub fn rejected(&mut self, now: Instant, conn: ConnId, piece: u32) {
        let slot = self.pieces.get_mut(piece as usize);
        if let Some(slot) = slot.filter(|p| matches!(p, Piece::Asked(of, _) if *of == conn)) {
            *slot = Piece::Missing;
            self.resting.insert(conn, now + REST);
        }
    }

    /// The connection is gone.
    pub fn gone(&mut self, conn: ConnId) {
        self.resting.remove(&conn);
        for piece in &mut self.pieces {
            if matches!(piece, Piece::Asked(of, _) if *of == conn) {
                *piece = Piece::Missing;
            }
        }
    }

    /// The whole is wrong. The liar, if there was one sender only.
    pub fn failed(&mut self) -> Option<ConnId> {
        let mut senders = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Got(conn, _) => Some(*conn),
            _ => None,
        });
        let liar = senders.next().filter(|first| senders.all(|sender| sender == *first));
        self.alone = true;
        self.abandon();
        self.tried.extend(liar);
        liar
    }

    /// Chooses the size that most holders name; alone, the next holder.
    fn begin(&mut self, holders: &[Holder]) {
        let free = holders.iter().filter(|h| !self.resting.contains_key(&h.conn));
        let free: Vec<&Holder> = free.collect();
        let votes = |size: u32| free.iter().filter(|h| h.size == size).count();
        let chosen = if self.alone {
            if free.iter().all(|h| self.tried.contains(&h.conn)) {
                self.tried.clear();
            }
            free.iter().find(|h| !self.tried.contains(&h.conn))
        } else {
            // The first of those with the most votes.
            free.iter().rev().max_by_key(|h| votes(h.size))
        };
        let Some(chosen) = chosen else { return };
        self.size = chosen.size;
        self.only = self.alone.then_some(chosen.conn);
        let count = chosen.size.div_ceil(METADATA_PIECE_BYTES);
        self.pieces = (0..count).map(|_| Piece::Missing).collect();
    }

    fn ask(&mut self, now: Instant, conn: ConnId, out: &mut Vec<(ConnId, u32)>) {
        let owed = self.pieces.iter().filter(|p| matches!(p, Piece::Asked(of, _) if *of == conn));
        let mut room = ASKED_MAX.saturating_sub(owed.count());
        for (index, piece) in (0u32..).zip(&mut self.pieces) {
            if room == 0 {
                return;
            }
            if matches!(piece, Piece::Missing) {
                *piece = Piece::Asked(conn, now);
                out.push((conn, index));
                room -= 1;
            }
        }
    }

    /// Pieces that are late may be asked of others; who owes them rests.
    fn give_up_late(&mut self, now: Instant) {
        for piece in &mut self.pieces {
            if let Piece::Asked(conn, at) = *piece {
                if now - at >= WITHIN {
                    *piece = Piece::Missing;
                    self.resting.insert(conn, now + REST);
                }
            }
        }
    }

    fn abandon(&mut self) {
        self.pieces.clear();
        self.tried.extend(self.only.take());
    }

    fn piece_size(&self, piece: u32) -> u32 {
        let begin = u64::from(piece) * u64::from(METADATA_PIECE_BYTES);
        let left = u64::from(self.size).saturating_sub(begin);
        u32::try_from(left).unwrap_or(u32::MAX).min(METADATA_PIECE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = METADATA_PIECE_BYTES as usize;

    fn at(s: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(s)
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    fn holders(sizes: &[u32]) -> Vec<Holder> {
        (0..).zip(sizes).map(|(n, &size)| Holder { conn: conn(n), size }).collect()
    }

    /// Answers all that is asked; `honest` says who sends the right bytes.
    fn run(
        fetch: &mut Fetch,
        truth: &[u8],
        mut holders: Vec<Holder>,
        honest: impl Fn(ConnId) -> bool,
    ) -> Vec<ConnId> {
        let mut liars = Vec::new();
        for turn in 0..100 {
            for (of, piece) in fetch.requests(at(turn * 30), &holders) {
                let size = holders.iter().find(|h| h.conn == of).map_or(0, |h| h.size as usize);
                let begin = piece as usize * PIECE;
                let mut bytes = truth.to_vec();
                bytes.resize(size, 0);
                let bytes = &mut bytes[begin..size.min(begin + PIECE)];
                if !honest(of) {
                    bytes[0] ^= 1;
                }
                match fetch.received(of, piece, Some(size as u32), bytes) {
                    Progress::Whole(whole) if whole == truth => return liars,
                    Progress::Whole(_) => {
                        if let Some(liar) = fetch.failed() {
                            liars.push(liar);
                            holders.retain(|h| h.conn != liar);
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        panic!("never whole");
    }

    #[test]
    fn pieces_come_from_several_peers() {
        let mut fetch = Fetch::default();
        let size = 10 * PIECE as u32 + 7;
        let all = fetch.requests(at(0), &holders(&[size, size, size]));
        assert_eq!(all.len(), 11);
        assert_eq!(all.iter().filter(|(of, _)| *of == conn(0)).count(), ASKED_MAX);
        assert_eq!(fetch.received(conn(0), 0, Some(size), &[1; PIECE]), Progress::NeedMore);
        assert_eq!(fetch.received(conn(0), 0, Some(size), &[1; PIECE]), Progress::Unasked);
        assert_eq!(fetch.received(conn(0), 10, Some(size), &[1; 7]), Progress::Unasked);
        assert_eq!(fetch.received(conn(2), 10, Some(size), &[1; 8]), Progress::Bad);
        assert_eq!(fetch.received(conn(1), 4, Some(size - 1), &[1; PIECE]), Progress::Bad);
        assert_eq!(fetch.received(conn(9), 99, None, &[]), Progress::Unasked);
    }

    #[test]
    fn one_liar_among_many_is_found_by_asking_each_alone() {
        let truth: Vec<u8> = (0..6 * PIECE + 9).map(|n| (n / 999) as u8).collect();
        let size = truth.len() as u32;
        let liars = run(&mut Fetch::default(), &truth, holders(&[size; 3]), |of| of != conn(0));
        assert_eq!(liars, [conn(0)]);
        let liars = run(&mut Fetch::default(), &truth, holders(&[size; 5]), |of| of == conn(4));
        assert!(!liars.contains(&conn(4)));
    }

    #[test]
    fn liars_about_the_size_are_outvoted_or_found_out() {
        let truth = vec![5; 3 * PIECE];
        let size = truth.len() as u32;
        let some = holders(&[7, size, size]);
        assert_eq!(run(&mut Fetch::default(), &truth, some, |of| of != conn(0)), []);
        let most = holders(&[7, 7, size]);
        let liars = run(&mut Fetch::default(), &truth, most, |of| of == conn(2));
        assert!(!liars.is_empty() && !liars.contains(&conn(2)));
        let huge = holders(&[u32::MAX, METADATA_BYTES_MAX + 1, 0]);
        assert_eq!(Fetch::default().requests(at(0), &huge), []);
    }

    #[test]
    fn who_is_silent_or_rejects_rests_and_others_go_on() {
        let mut fetch = Fetch::default();
        let both = holders(&[100, 100]);
        assert_eq!(fetch.requests(at(0), &both), [(conn(0), 0)]);
        assert_eq!(fetch.requests(at(7), &both), []);
        assert_eq!(fetch.requests(at(8), &both), [(conn(1), 0)]);
        fetch.rejected(at(9), conn(0), 0);
        fetch.rejected(at(9), conn(1), 0);
        assert_eq!(fetch.requests(at(9), &both), []);
        assert_eq!(fetch.requests(at(28), &both), [(conn(0), 0)]);
        fetch.gone(conn(0));
        assert_eq!(fetch.requests(at(28), &both[1..]), []);
        assert_eq!(fetch.requests(at(29), &both[1..]), [(conn(1), 0)]);
        assert_eq!(fetch.received(conn(1), 0, None, &[1; 100]), Progress::Whole(vec![1; 100]));
    }
}
