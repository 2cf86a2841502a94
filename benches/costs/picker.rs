//! The picker in a swarm of 500 peers that shares 100,000 pieces: who comes, goes, gets a piece, and
//! what is asked of whom.

use criterion::{BatchSize, Criterion};
use reactor_peer::proto::picker::{From, Picker};
use reactor_peer::units::bitfield::Bitfield;
use reactor_peer::units::geometry::Geometry;
use reactor_peer::units::id::ConnId;
use reactor_peer::units::rng::Rng;
use std::hint::black_box;

const PIECES: u32 = 100_000;
const PEERS: usize = 500;
const PIECE_BYTES: u32 = 256 * 1024;

/// A peer that has each piece with this chance.
fn peer(rng: &mut Rng, percent: u64) -> Bitfield {
    let mut pieces = Bitfield::new(PIECES);
    for piece in 0..PIECES {
        if rng.below(100) < percent {
            pieces.set(piece);
        }
    }
    pieces
}

/// We have nothing; of the others each has from 0 to 99 percent.
fn swarm() -> (Picker, Vec<Bitfield>) {
    let mut rng = Rng::new(1);
    let geometry = Geometry::new(u64::from(PIECES) * u64::from(PIECE_BYTES), PIECE_BYTES).unwrap();
    let mut picker = Picker::new(geometry, Bitfield::new(PIECES), &mut rng);
    let peers: Vec<_> = (0..PEERS as u64).map(|n| peer(&mut rng, n % 100)).collect();
    peers.iter().for_each(|pieces| picker.add_peer(pieces));
    (picker, peers)
}

fn from(pieces: &Bitfield) -> From<'_> {
    From { conn: ConnId { slot: 0, generation: 1 }, pieces, suggested: &[] }
}

/// Picks the blocks of one whole piece and gives them back.
fn pick(picker: &mut Picker, pieces: &Bitfield) {
    let mut out = Vec::with_capacity(16);
    picker.pick(&from(pieces), &|_| false, 16, &mut out);
    black_box(&out).iter().for_each(|&block| picker.give_back(block));
}

pub fn all(c: &mut Criterion) {
    let (mut picker, peers) = swarm();
    let mut group = c.benchmark_group("picker");
    let mut rng = Rng::new(2);
    group.bench_function("a peer comes and goes", |b| {
        b.iter(|| {
            let pieces = &peers[rng.index(PEERS)];
            picker.remove_peer(pieces);
            picker.add_peer(pieces);
        });
    });
    group.bench_function("have", |b| {
        let have_one = |picker: &mut Picker, mut pieces: Bitfield| {
            let piece = (0..PIECES).find(|&p| !pieces.get(p)).unwrap();
            picker.add_piece(&pieces, picker_piece(piece));
            pieces.set(piece);
            picker.remove_piece(&pieces, picker_piece(piece));
        };
        let setup = || peers[1].clone();
        b.iter_batched(setup, |pieces| have_one(&mut picker, pieces), BatchSize::LargeInput);
    });
    group.bench_function("pick, of a seed", |b| {
        let full = Bitfield::full(PIECES);
        picker.add_peer(&full);
        b.iter(|| pick(&mut picker, &full));
        picker.remove_peer(&full);
    });
    group.bench_function("pick, of one with half", |b| b.iter(|| pick(&mut picker, &peers[50])));
    // The rarest pieces are what most peers lack.
    let (mut few, mut common) = (Bitfield::new(PIECES), Bitfield::full(PIECES));
    few.set(PIECES / 2);
    for piece in 0..PIECES / 2 {
        common.clear(piece);
    }
    for _ in 0..200 {
        picker.add_peer(&common);
    }
    group
        .bench_function("pick, of one with a single piece", |b| b.iter(|| pick(&mut picker, &few)));
    group.bench_function("pick, of one that lacks the rare half", |b| {
        b.iter(|| pick(&mut picker, &common));
    });
    for piece in few.iter() {
        picker.verified(picker_piece(piece));
    }
    group
        .bench_function("pick, of one with nothing for us", |b| b.iter(|| pick(&mut picker, &few)));
    group.finish();
}

fn picker_piece(index: u32) -> reactor_peer::units::geometry::PieceIndex {
    Geometry::new(u64::from(PIECES) * u64::from(PIECE_BYTES), PIECE_BYTES)
        .unwrap()
        .piece(index)
        .unwrap()
}
