//! The program from outside: started as a process on a loopback address of its own, spoken to over
//! real sockets, its folders looked at. Every wait is for an event (a line, bytes, an end) and has
//! a limit only so that a failure ends. `tests/sim` has the swarms, `tests/lab` the other clients.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod commands;
mod control;
mod fetching;
mod frames;
mod life;
mod magnets;
mod pausing;
mod ports;
mod process;
mod refusals;
mod selection;
mod serving;
mod torrent;
mod tracker;
mod transfer;
mod wire;
