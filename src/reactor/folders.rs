//! The torrents and shareable folders: what is there, what it is called while incomplete, what is saved.
