//! Which block to ask of whom: begun pieces first, then rarest first, then the end game (BEP 3).

mod order;
mod wanted;

use crate::units::bitfield::Bitfield;
use crate::units::geometry::{Block, Geometry, PieceIndex};
use crate::units::id::ConnId;
use crate::units::padding::Padding;
use crate::units::rng::Rng;
use std::collections::BTreeMap;

/// How often one block may be asked for at once in the end game.
const ASKED_MAX: u8 = 3;
/// Begun pieces beyond which those of others are helped with before new ones are begun.
const BEGUN_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockState {
    Missing,
    Asked(u8),
    Received,
}

/// A piece that is begun.
#[derive(Clone, Debug)]
struct Partial {
    /// A piece that failed before comes from one peer alone, so that its sender is proven.
    owner: Option<ConnId>,
    /// Who was asked for its first block: it goes on with the piece before it begins another, and
    /// the others begin pieces of their own.
    starter: Option<ConnId>,
    blocks: Vec<BlockState>,
    missing: u32,
    received: u32,
    /// Blocks that were there from the start.
    padding: u32,
}

/// What we have and what we want, with how many connected peers have it.
///
/// `order` holds the pieces that are neither had nor begun, rarest first; pieces of one
/// availability stand together in random order and `bounds[a]` is where those of availability
/// `a + 1` begin. So a piece moves by one swap when a peer gets it or goes.
#[derive(Debug)]
pub struct Picker {
    geometry: Geometry,
    padding: Padding,
    have: Bitfield,
    /// Invariant: no other piece is begun or in `order`. `None`: all are wanted.
    wanted: Option<Bitfield>,
    availability: Vec<u16>,
    /// Peers that have everything; not counted in `availability`.
    seeds: u32,
    order: Vec<u32>,
    /// Where each piece stands in `order`; `GONE` if it does not.
    place: Vec<u32>,
    bounds: Vec<u32>,
    partials: BTreeMap<PieceIndex, Partial>,
}

const GONE: u32 = u32::MAX;

/// Whom blocks are picked for.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The connection.
    pub conn: ConnId,
    /// What it has.
    pub pieces: &'a Bitfield,
    /// What it advises to fetch of it (BEP 6), the oldest advice first.
    pub suggested: &'a [PieceIndex],
}

impl Picker {
    /// A picker for content of which `have` is verified.
    #[must_use]
    pub fn new(geometry: Geometry, have: Bitfield, rng: &mut Rng) -> Self {
        let mut order: Vec<u32> = (0..geometry.piece_count()).filter(|&p| !have.get(p)).collect();
        rng.shuffle(&mut order);
        let mut place = vec![GONE; geometry.piece_count() as usize];
        for (at, &piece) in (0u32..).zip(&order) {
            place[piece as usize] = at;
        }
        let bounds = vec![u32::try_from(order.len()).expect("no more than all pieces")];
        let availability = vec![0; geometry.piece_count() as usize];
        let (padding, wanted, partials) = (Padding::default(), None, BTreeMap::new());
        let seeds = 0;
        Self {
            geometry,
            padding,
            have,
            wanted,
            availability,
            seeds,
            order,
            place,
            bounds,
            partials,
        }
    }

    /// BEP 47: blocks of nothing but padding are not asked for. A piece of nothing else is found by
    /// checking; where that fails it is one like the others.
    pub fn set_padding(&mut self, padding: Padding) {
        self.padding = padding;
    }

    /// The verified pieces.
    #[must_use]
    pub const fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Whether every piece is verified.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    /// A peer with these pieces has come.
    pub fn add_peer(&mut self, pieces: &Bitfield) {
        if pieces.is_full() {
            self.seeds += 1;
        } else {
            self.add_many(pieces);
        }
    }

    /// A peer with these pieces has gone.
    pub fn remove_peer(&mut self, pieces: &Bitfield) {
        if pieces.is_full() {
            self.seeds = self.seeds.saturating_sub(1);
        } else {
            self.remove_many(pieces);
        }
    }

    /// A peer that had `before` has got `piece` in addition.
    pub fn add_piece(&mut self, before: &Bitfield, piece: PieceIndex) {
        if before.count() + 1 == before.len() {
            self.remove_many(before);
            self.seeds += 1;
        } else {
            self.add_one(piece.get());
        }
    }

    /// A peer that has `before` has lost `piece` of it (BEP 54).
    pub fn remove_piece(&mut self, before: &Bitfield, piece: PieceIndex) {
        if before.is_full() {
            self.seeds = self.seeds.saturating_sub(1);
            self.add_many(before);
            self.remove_one(piece.get());
        } else {
            self.remove_one(piece.get());
        }
    }

    /// Whether some piece we lack is with no connected peer.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let rarest = self.order.first().is_some_and(|&p| self.availability[p as usize] == 0);
        let begun = || self.partials.keys().any(|p| self.availability[p.index()] == 0);
        self.seeds == 0 && (rarest || begun())
    }

    /// Whether some piece we lack is with this connected peer alone.
    #[must_use]
    pub fn is_sole_source(&self, pieces: &Bitfield) -> bool {
        let seed = pieces.is_full();
        if self.seeds > u32::from(seed) {
            return false;
        }
        let alone = |&p: &u32| pieces.get(p) && self.availability[p as usize] == u16::from(!seed);
        let rare = |&p: &u32| self.availability[p as usize] <= 1;
        let listed = self.order.iter().copied().take_while(rare);
        listed.chain(self.partials.keys().map(|p| p.get())).any(|p| alone(&p))
    }

    /// Whether every block we lack is asked for: from now on some are asked for twice.
    #[must_use]
    pub fn is_end_game(&self) -> bool {
        self.order.is_empty() && self.partials.values().all(|p| p.missing == 0)
    }

    /// Picks up to `count` blocks of what `from` can send: first the pieces it was asked for
    /// already, then whole new ones, then what is left of pieces that others were asked for. So
    /// few pieces are half there, and two connections do not fetch one piece while there are
    /// others. A `suspect` piece is left to one peer alone.
    pub fn pick(
        &mut self,
        from: &From<'_>,
        suspect: &dyn Fn(PieceIndex) -> bool,
        count: usize,
        out: &mut Vec<Block>,
    ) {
        let target = out.len() + count;
        self.pick_begun(from, true, target, out);
        if self.partials.len() > BEGUN_MAX {
            self.pick_begun(from, false, target, out);
        }
        while out.len() < target {
            let Some(piece) = self.best(from) else { break };
            self.unlist(piece.get());
            let mut partial = self.begin(piece);
            partial.owner = suspect(piece).then_some(from.conn);
            partial.starter = Some(from.conn);
            partial.take(piece, &self.geometry, target, out);
            self.partials.insert(piece, partial);
        }
        self.pick_begun(from, false, target, out);
    }

    /// How many of the connected peers that lack something have this piece.
    #[must_use]
    pub fn availability(&self, piece: PieceIndex) -> u16 {
        self.availability[piece.index()]
    }

    fn pick_begun(&mut self, from: &From<'_>, own: bool, target: usize, out: &mut Vec<Block>) {
        for (&piece, partial) in &mut self.partials {
            if out.len() >= target {
                return;
            }
            let open = partial.owner.is_none_or(|owner| owner == from.conn);
            let mine = partial.starter.is_none_or(|starter| starter == from.conn);
            if open && (mine || !own) && partial.missing > 0 && from.pieces.get(piece.get()) {
                partial.take(piece, &self.geometry, target, out);
            }
        }
    }

    /// The piece to begin: one that the peer suggests (BEP 6), if none is rarer, or the rarest.
    fn best(&self, from: &From<'_>) -> Option<PieceIndex> {
        let rarest = self.rarest(from.pieces)?;
        let as_rare = |p: &&PieceIndex| {
            self.place[p.index()] != GONE
                && self.availability[p.index()] <= self.availability[rarest.index()]
                && from.pieces.get(p.get())
        };
        Some(from.suggested.iter().find(as_rare).copied().unwrap_or(rarest))
    }

    /// The block has come. False where it was there before: a waste.
    pub fn received(&mut self, block: Block) -> bool {
        let Some(partial) = self.partials.get_mut(&block.piece) else { return false };
        let Some(state) = partial.blocks.get_mut(nth(block)) else { return false };
        match core::mem::replace(state, BlockState::Received) {
            BlockState::Received => return false,
            BlockState::Missing => partial.missing -= 1,
            BlockState::Asked(_) => {}
        }
        partial.received += 1;
        true
    }

    /// This connection is gone: the pieces left to it are open to all.
    pub fn disown(&mut self, who: ConnId) {
        for partial in self.partials.values_mut() {
            partial.owner = partial.owner.filter(|&owner| owner != who);
            partial.starter = partial.starter.filter(|&starter| starter != who);
        }
    }

    /// Whether all blocks of the piece are there and wait to be verified.
    #[must_use]
    pub fn is_received(&self, piece: PieceIndex) -> bool {
        self.partials.get(&piece).is_some_and(|p| p.received as usize == p.blocks.len())
    }

    /// Whether this block would still be of use.
    #[must_use]
    pub fn wants(&self, block: Block) -> bool {
        let state = self.partials.get(&block.piece).and_then(|p| p.blocks.get(nth(block)));
        state.is_some_and(|&state| state != BlockState::Received)
            && block == self.geometry.nth_block(block.piece, nth(block) as u32)
    }

    /// How many connections owe us this block now.
    #[must_use]
    pub fn times_asked(&self, block: Block) -> u8 {
        let state = self.partials.get(&block.piece).and_then(|p| p.blocks.get(nth(block)));
        match state {
            Some(&BlockState::Asked(times)) => times,
            _ => 0,
        }
    }

    /// A block that was given back comes after all: its sender counts again.
    pub fn comes_late(&mut self, block: Block) {
        let Some(partial) = self.partials.get_mut(&block.piece) else { return };
        let Some(state) = partial.blocks.get_mut(nth(block)) else { return };
        match *state {
            BlockState::Missing => {
                *state = BlockState::Asked(1);
                partial.missing -= 1;
            }
            BlockState::Asked(times) => *state = BlockState::Asked(times.saturating_add(1)),
            BlockState::Received => {}
        }
    }

    /// A request for the block will not be answered.
    pub fn give_back(&mut self, block: Block) {
        let Some(partial) = self.partials.get_mut(&block.piece) else { return };
        let Some(state) = partial.blocks.get_mut(nth(block)) else { return };
        match *state {
            BlockState::Asked(1) => {
                *state = BlockState::Missing;
                partial.missing += 1;
            }
            BlockState::Asked(n) => *state = BlockState::Asked(n - 1),
            BlockState::Missing | BlockState::Received => {}
        }
        let untouched = partial.received == partial.padding;
        if untouched && (partial.received + partial.missing) as usize == partial.blocks.len() {
            self.partials.remove(&block.piece);
            self.list(block.piece.get());
        }
    }

    /// The block has come, but could not be kept: it is missing again.
    pub fn lost(&mut self, block: Block) {
        let Some(partial) = self.partials.get_mut(&block.piece) else { return };
        let Some(state) = partial.blocks.get_mut(nth(block)) else { return };
        if *state == BlockState::Received {
            // As if it were still under way, and then is not.
            *state = BlockState::Asked(1);
            partial.received -= 1;
            self.give_back(block);
        }
    }

    /// The piece matches its hash.
    pub fn verified(&mut self, piece: PieceIndex) {
        self.partials.remove(&piece);
        self.unlist(piece.get());
        self.have.set(piece.get());
    }

    /// The piece does not match its hash, or is lost: it is wanted again.
    pub fn failed(&mut self, piece: PieceIndex) {
        self.partials.remove(&piece);
        self.have.clear(piece.get());
        self.list(piece.get());
    }

    /// The blocks of a begun piece that are there already (from the resume record).
    pub fn restore(&mut self, piece: PieceIndex, blocks: &Bitfield) {
        let count = self.geometry.block_count(piece);
        if self.have.get(piece.get()) || blocks.len() != count || blocks.is_empty() {
            return;
        }
        self.unlist(piece.get());
        let mut partial = self.begin(piece);
        blocks.iter().for_each(|n| partial.is_there(n));
        self.partials.insert(piece, partial);
    }

    /// The begun pieces with the blocks that are there, for the resume record.
    pub fn partials(&self) -> impl Iterator<Item = (PieceIndex, Bitfield)> + '_ {
        self.partials.iter().filter(|(_, p)| p.received > p.padding).map(|(&piece, partial)| {
            let mut blocks = Bitfield::new(self.geometry.block_count(piece));
            for (n, state) in (0u32..).zip(&partial.blocks) {
                if *state == BlockState::Received {
                    blocks.set(n);
                }
            }
            (piece, blocks)
        })
    }

    /// For the end game: up to `count` blocks that others were asked for and this peer was not,
    /// the least asked first.
    pub fn pick_again(
        &mut self,
        theirs: &Bitfield,
        asked: &dyn Fn(Block) -> bool,
        count: usize,
        out: &mut Vec<Block>,
    ) {
        let target = out.len() + count;
        for times in 1..ASKED_MAX {
            for (&piece, partial) in &mut self.partials {
                if !theirs.get(piece.get()) {
                    continue;
                }
                for (n, state) in (0u32..).zip(&mut partial.blocks) {
                    let block = self.geometry.nth_block(piece, n);
                    if out.len() < target && *state == BlockState::Asked(times) && !asked(block) {
                        *state = BlockState::Asked(times + 1);
                        out.push(block);
                    }
                }
            }
            if !out.is_empty() {
                return;
            }
        }
    }

    /// The piece with its padding, and nothing else.
    fn begin(&self, piece: PieceIndex) -> Partial {
        let mut partial = Partial::new(self.geometry.block_count(piece));
        let offset = self.geometry.piece_offset(piece);
        let bytes = offset..offset + u64::from(self.geometry.piece_size(piece));
        if !self.padding.touches(&bytes) || self.padding.covers(&bytes) {
            return partial;
        }
        for n in 0..self.geometry.block_count(piece) {
            let block = self.geometry.nth_block(piece, n);
            let offset = self.geometry.block_offset(block);
            if self.padding.covers(&(offset..offset + u64::from(block.length))) {
                partial.is_there(n);
            }
        }
        partial.padding = partial.received;
        partial
    }
}

impl Partial {
    fn new(count: u32) -> Self {
        let blocks = vec![BlockState::Missing; count as usize];
        Self { owner: None, starter: None, blocks, missing: count, received: 0, padding: 0 }
    }

    /// The block needs no asking.
    fn is_there(&mut self, n: u32) {
        let state = &mut self.blocks[n as usize];
        if *state == BlockState::Missing {
            *state = BlockState::Received;
            self.missing -= 1;
            self.received += 1;
        }
    }

    /// Asks for missing blocks in order, until `out` has `target` blocks.
    fn take(
        &mut self,
        piece: PieceIndex,
        geometry: &Geometry,
        target: usize,
        out: &mut Vec<Block>,
    ) {
        for (n, state) in (0u32..).zip(&mut self.blocks) {
            if out.len() >= target || self.missing == 0 {
                return;
            }
            if *state == BlockState::Missing {
                *state = BlockState::Asked(1);
                self.missing -= 1;
                out.push(geometry.nth_block(piece, n));
            }
        }
    }
}

fn nth(block: Block) -> usize {
    (block.begin / crate::units::limits::BLOCK_BYTES) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::proptest;

    const ME: ConnId = ConnId { slot: 0, generation: 1 };

    fn from(pieces: &Bitfield) -> From<'_> {
        From { conn: ME, pieces, suggested: &[] }
    }

    fn check(picker: &Picker) {
        assert!(picker.order.is_sorted_by_key(|&p| picker.availability[p as usize]));
        for (at, &piece) in (0u32..).zip(&picker.order) {
            assert_eq!(picker.place[piece as usize], at);
            assert!(!picker.have.get(piece));
        }
        for (a, &bound) in picker.bounds.iter().enumerate() {
            let upto = |p: &&u32| usize::from(picker.availability[**p as usize]) <= a;
            assert_eq!(bound as usize, picker.order.iter().filter(upto).count(), "group {a}");
        }
        let wanted = |p: &u32| picker.wanted.as_ref().is_none_or(|wanted| wanted.get(*p));
        assert!(picker.order.iter().all(wanted));
        assert!(picker.partials.keys().all(|p| wanted(&p.get())));
        let missing = picker.geometry.pieces().map(PieceIndex::get).filter(wanted);
        assert_eq!(picker.is_done(), missing.filter(|&p| !picker.have.get(p)).count() == 0);
    }

    proptest! {
        #[test]
        fn order_stays_sorted(seed: u64, steps in 1usize..200) {
            let mut rng = Rng::new(seed);
            let geometry = Geometry::new(40 * 32_768 - 5, 32_768).unwrap();
            let mut picker = Picker::new(geometry, Bitfield::new(40), &mut rng);
            if rng.below(2) == 0 {
                let mut wanted = Bitfield::new(40);
                (0..40).filter(|_| rng.below(3) == 0).for_each(|p| { wanted.set(p); });
                picker.restore(geometry.piece(7).unwrap(), &Bitfield::full(2));
                picker.want_only(wanted);
            }
            let mut peers: Vec<Bitfield> = Vec::new();
            let mut asked: Vec<Block> = Vec::new();
            for _ in 0..steps {
                match rng.below(6) {
                    0 => {
                        let mut pieces = Bitfield::new(40);
                        (0..40).filter(|_| rng.below(2) == 0).for_each(|p| { pieces.set(p); });
                        picker.add_peer(&pieces);
                        peers.push(pieces);
                    }
                    1 if !peers.is_empty() => {
                        let gone = peers.swap_remove(rng.index(peers.len()));
                        picker.remove_peer(&gone);
                    }
                    2 if !peers.is_empty() => {
                        let at = rng.index(peers.len());
                        let piece = geometry.piece(rng.below(40) as u32).unwrap();
                        if !peers[at].get(piece.get()) {
                            picker.add_piece(&peers[at], piece);
                            peers[at].set(piece.get());
                        }
                    }
                    3 if !peers.is_empty() => {
                        let at = rng.index(peers.len());
                        picker.pick(&from(&peers[at]), &|_| false, 0, &mut Vec::new());
                        let mut out = Vec::new();
                        picker.pick(&from(&peers[at]), &|_| false, 3, &mut out);
                        assert!(out.iter().all(|b| peers[at].get(b.piece.get())));
                        asked.extend(out);
                    }
                    4 if !asked.is_empty() => {
                        picker.give_back(asked.swap_remove(rng.index(asked.len())));
                    }
                    5 if !asked.is_empty() => {
                        let block = asked.swap_remove(rng.index(asked.len()));
                        picker.received(block);
                        if picker.is_received(block.piece) {
                            if rng.below(3) == 0 {
                                picker.failed(block.piece);
                            } else {
                                picker.verified(block.piece);
                            }
                        }
                    }
                    _ => {}
                }
                check(&picker);
                let lacks = |p: &u32| picker.order.contains(p) || picker.partials.keys().any(|q| q.get() == *p);
                let one = |p: u32| peers.iter().filter(|had| had.get(p)).count() == 1;
                for pieces in &peers {
                    let alone = (0..40).filter(lacks).any(|p| pieces.get(p) && one(p));
                    assert_eq!(picker.is_sole_source(pieces), alone);
                }
            }
        }
    }

    #[test]
    fn who_brings_much_at_once_is_counted_as_one_by_one() {
        let count = order::SORT_MIN as u32 + 1_000;
        let geometry = Geometry::new(u64::from(count) * 32_768, 32_768).unwrap();
        let mut rng = Rng::new(6);
        let mut picker = Picker::new(geometry, Bitfield::new(count), &mut rng);
        let mut peers = Vec::new();
        for percent in [50, 1, 90, 13, 30] {
            let mut pieces = Bitfield::new(count);
            (0..count).filter(|_| rng.below(100) < percent).for_each(|p| assert!(pieces.set(p)));
            picker.add_peer(&pieces);
            peers.push(pieces);
        }
        let mut out = Vec::new();
        picker.pick(&from(&Bitfield::full(count)), &|_| false, 100, &mut out);
        (0..900).for_each(|p| picker.verified(geometry.piece(p).unwrap()));
        check(&picker);
        let had = |p: u32| peers.iter().filter(|peer| peer.get(p)).count();
        assert!((0..count).all(|p| usize::from(picker.availability[p as usize]) == had(p)));
        peers.iter().for_each(|pieces| {
            picker.remove_peer(pieces);
            check(&picker);
        });
        assert!(picker.availability.iter().all(|&a| a == 0));
    }

    #[test]
    fn the_rarest_is_found_whatever_a_peer_has() {
        let count = 3_000;
        let geometry = Geometry::new(u64::from(count) * 32_768, 32_768).unwrap();
        let mut rng = Rng::new(5);
        let mut picker = Picker::new(geometry, Bitfield::new(count), &mut rng);
        for percent in [1, 10, 50, 90, 99] {
            let mut pieces = Bitfield::new(count);
            (0..count).filter(|_| rng.below(100) < percent).for_each(|p| assert!(pieces.set(p)));
            picker.add_peer(&pieces);
        }
        for percent in [0, 1, 3, 10, 60, 100] {
            let mut theirs = Bitfield::new(count);
            (0..count).filter(|_| rng.below(100) < percent).for_each(|p| assert!(theirs.set(p)));
            // The rarest they lack, as late in the order as possible.
            for &p in picker.order[..2_000].iter().filter(|_| percent < 60) {
                theirs.clear(p);
            }
            picker.verified(geometry.piece(rng.below(u64::from(count)) as u32).unwrap());
            let slow = picker.order.iter().copied().find(|&piece| theirs.get(piece));
            assert_eq!(picker.rarest(&theirs).map(PieceIndex::get), slow);
        }
    }

    #[test]
    fn rarest_first_and_begun_pieces_before_new_ones() {
        let geometry = Geometry::new(4 * 32_768, 32_768).unwrap();
        let mut picker = Picker::new(geometry, Bitfield::new(4), &mut Rng::new(1));
        picker.add_peer(&Bitfield::full(4));
        let mut common = Bitfield::full(4);
        common.clear(2);
        picker.add_peer(&common);
        let mut out = Vec::new();
        picker.pick(&from(&Bitfield::full(4)), &|_| false, 1, &mut out);
        assert_eq!(out[0].piece.get(), 2);
        picker.pick(&from(&Bitfield::full(4)), &|_| false, 1, &mut out);
        assert_eq!((out[1].piece.get(), out[1].begin), (2, 16_384));
    }

    #[test]
    fn end_game_asks_again_but_not_the_same_peer() {
        let geometry = Geometry::new(32_768, 32_768).unwrap();
        let mut picker = Picker::new(geometry, Bitfield::new(1), &mut Rng::new(1));
        let full = Bitfield::full(1);
        picker.add_peer(&full);
        let mut first = Vec::new();
        picker.pick(&from(&full), &|_| false, 8, &mut first);
        assert_eq!(first.len(), 2);
        let (mut same, mut other) = (Vec::new(), Vec::new());
        picker.pick_again(&full, &|b| first.contains(&b), 8, &mut same);
        assert!(same.is_empty());
        picker.pick_again(&full, &|_| false, 8, &mut other);
        assert_eq!(other, first);
        assert!(picker.received(first[0]) && !picker.received(first[0]));
    }

    #[test]
    fn padding_is_not_asked_for() {
        // Pieces of two blocks: padded in the second half of piece 0, wholly in piece 1, in part of
        // a block in piece 2.
        let geometry = Geometry::new(6 * 16_384, 32_768).unwrap();
        let mut picker = Picker::new(geometry, Bitfield::new(3), &mut Rng::new(1));
        picker.set_padding(Padding::new([16_384..65_536, 98_000..98_304]));
        let theirs = Bitfield::full(3);
        picker.add_peer(&theirs);
        picker.verified(geometry.piece(1).unwrap());
        let from =
            From { conn: ConnId { slot: 0, generation: 0 }, pieces: &theirs, suggested: &[] };
        let mut out = Vec::new();
        picker.pick(&from, &|_| false, 9, &mut out);
        out.sort();
        let asked: Vec<_> = out.iter().map(|b| (b.piece.get(), b.begin, b.length)).collect();
        assert_eq!(asked, [(0, 0, 16_384), (2, 0, 16_384), (2, 16_384, 16_384)]);
        assert_eq!(picker.partials().count(), 0, "nothing has come");
        // Given back, a piece is as before.
        picker.give_back(out[0]);
        assert_eq!(picker.order, [0]);
        picker.pick(&from, &|_| false, 9, &mut out);
        assert_eq!(out.len(), 4);
        assert!(picker.received(out[0]) && picker.is_received(out[0].piece));
        assert_eq!(picker.partials().next().unwrap().1.count(), 2);
    }
}
