//! Floor 0: plain values. No clocks, no files, no sockets, no crates; only `core` and `alloc`.

pub mod bitfield;
pub mod budget;
pub mod geometry;
pub mod id;
pub mod limits;
pub mod padding;
pub mod rate;
pub mod rng;
pub mod time;
