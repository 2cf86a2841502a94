//! Floor 2: the rules of a peer, without I/O. Time, randomness and bytes come in as arguments;
//! what is to be done comes out as values.

pub mod announcer;
pub mod blame;
pub mod broadcast;
pub mod choker;
pub mod closed;
pub mod connection;
pub mod contacts;
pub mod dealer;
pub mod depth;
pub mod dht;
pub mod incoming;
pub mod lsd;
pub mod metadata;
pub mod outgoing;
pub mod output;
pub mod peer;
pub mod peering;
pub mod pex;
pub mod picker;
pub mod priority;
pub mod repeats;
pub mod store;
pub mod swarm;
pub mod timers;
pub mod tracker;
pub mod turns;
