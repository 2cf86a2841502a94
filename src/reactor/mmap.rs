//! The content of torrents as mapped files, by swarm and offset.
