//! .torrent files: a verdict on any bytes, and what is accepted holds together.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::metainfo::Metainfo;

fuzz_target!(|bytes: &[u8]| {
    match Metainfo::parse(bytes) {
        Ok(first) => {
            // Reading is a function of the bytes.
            let second = Metainfo::parse(bytes).expect("the same bytes");
            assert_eq!(first.info_hash, second.info_hash);
        }
        Err(refusal) => {
            // What goes into logs is one line.
            assert!(!refusal.to_string().contains(['\n', '\r', '\x1b']));
        }
    }
});
