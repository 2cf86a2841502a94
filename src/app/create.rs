//!  and : new .torrent files and new announces.
