//! Threads for the two calls that only wait: name resolution and flushing to disk.
