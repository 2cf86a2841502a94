//! : whether the content of a torrent is complete.
