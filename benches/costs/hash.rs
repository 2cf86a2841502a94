//! SHA-1 of pieces side by side, with every engine that this processor has, beside the `sha1` crate.

use criterion::{Criterion, Throughput};
use reactor_peer::reactor::lanes::{update, Engine, Stream, STREAMS_MAX};
use sha1::{Digest, Sha1};
use std::hint::black_box;

/// Bytes of each stream in one step: what the loop hashes of a piece before it turns to the next.
const PART: usize = 64 * 1024;

pub fn all(c: &mut Criterion) {
    let content = vec![0x5a; STREAMS_MAX * PART];
    let parts: Vec<&[u8]> = content.chunks(PART).collect();
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Bytes(content.len() as u64));
    for engine in Engine::ALL.into_iter().filter(|engine| engine.is_able()) {
        let mut streams = vec![Stream::default(); STREAMS_MAX];
        group.bench_function(format!("{STREAMS_MAX} streams, {engine}"), |b| {
            b.iter(|| update(engine, &mut streams, black_box(&parts)));
        });
    }
    group.bench_function("the sha1 crate", |b| {
        b.iter(|| {
            for part in &parts {
                black_box(Sha1::digest(black_box(part)));
            }
        });
    });
    group.finish();
}
