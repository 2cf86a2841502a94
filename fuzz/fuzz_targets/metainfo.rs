//! .torrent files: a verdict on any bytes; what is accepted holds together, stays inside its folder,
//! and keeps its info-hash when its announce is changed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::create::set_announce;
use reactor_peer::wire::digest::sha1;
use reactor_peer::wire::metainfo::Metainfo;

fuzz_target!(|bytes: &[u8]| {
    match Metainfo::parse(bytes) {
        Ok(torrent) => {
            assert_eq!(torrent.info_hash.0, sha1(torrent.raw_info()));
            check_files(&torrent);
            if let Some(last) = torrent.geometry.pieces().last() {
                let _ = torrent.piece_hash(last);
            }
            if let Ok(changed) = set_announce(bytes, &["10.0.0.1".into()]) {
                let changed = Metainfo::parse(&changed).expect("as sound as it was");
                assert_eq!(changed.info_hash, torrent.info_hash);
                assert_eq!(changed.announce.as_deref(), Some("10.0.0.1"));
            }
        }
        Err(refusal) => {
            // What goes into logs is one line.
            assert!(!refusal.to_string().contains(|c: char| c.is_control()), "{refusal:?}");
        }
    }
});

fn check_files(torrent: &Metainfo) {
    check_component(&torrent.name);
    let mut offset = 0;
    for file in &torrent.files {
        assert_eq!(file.offset, offset);
        offset += file.length;
        assert_eq!(file.path.is_empty(), !torrent.multi_file);
        file.path.iter().for_each(|part| check_component(part));
    }
    assert_eq!(offset, torrent.geometry.length());
}

fn check_component(part: &str) {
    assert!(!part.is_empty() && part.len() <= 255, "{part:?}");
    assert!(part != "." && part != ".." && !part.contains(['/', '\0']), "{part:?}");
}
