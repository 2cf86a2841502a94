//! Floor 3: the only place that waits. Sockets, mapped files, folders, clock, signals.

pub mod folders;
pub mod guard;
pub mod hash;
pub mod helper;
pub mod mmap;
pub mod watch;
pub mod window;
