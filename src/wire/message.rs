//! The messages of the peer wire protocol (BEP 3, 5, 6, 10).
