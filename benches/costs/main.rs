//! What the core costs: `cargo bench`, or `cargo bench -- picker` for a part of it.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod hash;
mod parse;
mod picker;
mod timers;

use criterion::{criterion_group, criterion_main};

criterion_group!(all, hash::all, parse::all, picker::all, timers::all);
criterion_main!(all);
