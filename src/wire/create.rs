//! Builds the bytes of a new .torrent and rewrites the announce of one (BEP 3, 12).
