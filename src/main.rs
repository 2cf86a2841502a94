//! Parses, runs, prints one error line, picks the exit code.

fn main() {}
