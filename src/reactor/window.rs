//! Bounded windows of mapped memory, and the gathering of them for one system call.
