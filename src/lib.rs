//! A BitTorrent peer in four floors; imports point down only.
//!
//! - [`units`]: plain values (time, ids, piece geometry, bitfields, rates, limits).
//! - [`wire`]: bytes to values and back (metainfo, handshake, messages, HTTP, tracker, resume record).
//! - [`proto`]: the rules of a peer without any I/O; time and randomness come in as arguments.
//! - [`reactor`]: the only place that waits: poll loop, sockets, mapped files, folders, clock.
//! - [`app`]: the command line, its commands, the progress display.

pub mod app;
pub mod proto;
pub mod reactor;
pub mod units;
pub mod wire;
