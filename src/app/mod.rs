//! What a person meets: the command line, the commands, the progress display.

pub mod check;
pub mod cli;
pub mod create;
pub mod show;
