//! The record from which a torrent goes on where it stopped.
