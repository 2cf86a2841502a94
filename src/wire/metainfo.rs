//! The contents of a .torrent file, checked (BEP 3, 12, 27).
