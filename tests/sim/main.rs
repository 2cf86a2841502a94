//! A swarm in virtual time: many peers, slow links, faults, one seed for all chances. What holds
//! for every peer is asserted at each step; in the end every honest one must have all content.
//!
//! `SIM_SEEDS=1000 cargo test --release --test sim` tries more seeds, `SIM_SEED=7` one of them,
//! with the log of every peer on standard error if `SIM_LOG` is set.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod dht;
mod disk;
mod host;
mod lan;
mod log;
mod network;
mod plan;
mod world;

use plan::Plan;
use std::panic::{catch_unwind, AssertUnwindSafe};
use world::World;

const SEEDS: u64 = 100;

/// Why a call comes to nothing where nobody listens.
fn refused() -> reactor_peer::proto::peer::DialError {
    reactor_peer::proto::peer::DialError::Refused
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn every_honest_peer_finishes() {
    if let Some(seed) = number("SIM_SEED") {
        log::install();
        println!("{}", World::new(Plan::of(seed)).run());
        return;
    }
    let (seeds, mut bad, mut slowest) = (number("SIM_SEEDS").unwrap_or(SEEDS), Vec::new(), 0);
    for seed in 0..seeds {
        let plan = Plan::of(seed);
        let shown = format!("{plan:?}");
        match catch_unwind(AssertUnwindSafe(|| World::new(plan).run())) {
            Ok(outcome) => slowest = slowest.max(outcome.healed_after.as_secs()),
            Err(_) => {
                println!("seed {seed} failed: {shown}");
                bad.push(seed);
            }
        }
    }
    assert!(bad.is_empty(), "{} of {seeds} seeds failed: SIM_SEED= {bad:?}", bad.len());
    println!("{seeds} seeds; the slowest swarm was done {slowest} s after the last fault");
}

#[test]
fn the_same_seed_takes_the_same_course() {
    let run = |seed| World::new(Plan::of(seed)).run();
    assert_eq!(run(3), run(3));
}
