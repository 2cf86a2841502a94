//! The dates of 5,000 connections: those that are busy have a new one every second, the others wait.

use criterion::Criterion;
use reactor_peer::proto::timers::Timers;
use reactor_peer::units::id::ConnId;
use reactor_peer::units::time::{Duration, Instant};
use std::hint::black_box;

const CONNECTIONS: u32 = 5_000;

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: slot }
}

fn at(second: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(second)
}

pub fn all(c: &mut Criterion) {
    let mut timers = Timers::default();
    for slot in 0..CONNECTIONS {
        timers.set(conn(slot), None, Some(at(1_000_000 + u64::from(slot))));
    }
    let mut group = c.benchmark_group("timers");
    group.bench_function("a second in which nobody's date comes", |b| {
        b.iter(|| black_box(timers.take_due(black_box(at(1)))).len());
    });
    group.bench_function("a connection gets another date", |b| {
        let (mut slot, mut before) = (0, at(1_000_000));
        b.iter(|| {
            let next = at(2_000_000 + u64::from(slot));
            timers.set(conn(slot), Some(before), Some(next));
            timers.set(conn(slot), Some(next), Some(before));
            slot = (slot + 1) % CONNECTIONS;
            before = at(1_000_000 + u64::from(slot));
        });
    });
    group.finish();
}
