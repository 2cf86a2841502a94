//! Floor 2: the rules of a peer, without I/O. Time, randomness and bytes come in as arguments;
//! what is to be done comes out as values.

pub mod announcer;
pub mod store;
pub mod tracker;
