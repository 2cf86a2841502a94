//! When to announce a torrent to which tracker (BEP 3, 12), as a state machine without sockets.
