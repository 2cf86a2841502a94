//! : everything a .torrent says, for people and for programs.
