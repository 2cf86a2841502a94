//! Floor 3: the only place that waits. Sockets, mapped files, folders, clock, signals.

mod adopt;
pub mod arrange;
mod asked;
pub mod chosen;
pub mod clock;
pub mod contents;
pub mod control;
pub mod datagram;
pub mod engine;
mod faults;
pub mod flush;
pub mod folders;
pub mod gather;
pub mod guard;
pub mod hash;
pub mod helper;
pub mod lanes;
pub mod link;
pub mod mmap;
pub mod multicast;
mod open_files;
mod opening;
pub mod paused;
pub mod reserve;
mod resident;
pub mod signals;
pub mod sockets;
pub mod state;
pub mod stdin;
#[cfg(test)]
mod tests;
#[cfg(feature = "https")]
pub mod tls;
#[cfg(not(feature = "https"))]
#[path = "no_tls.rs"]
pub mod tls;
pub mod turns;
mod udp;
pub mod watch;
pub mod window;
mod write;
pub mod write_back;
