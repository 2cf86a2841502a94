//! Handshakes: what parses is written back as the same bytes; a prefix of it is never refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::handshake::{Handshake, HANDSHAKE_BYTES};

fuzz_target!(|bytes: &[u8]| {
    let refused = bytes.len().min(HANDSHAKE_BYTES);
    let refused = (0..=refused).find(|&n| Handshake::check_prefix(&bytes[..n]).is_err());
    let Some(Ok(whole)) = bytes.get(..HANDSHAKE_BYTES).map(<&[u8; HANDSHAKE_BYTES]>::try_from)
    else {
        return;
    };
    match Handshake::parse(whole) {
        Ok(parsed) => {
            assert_eq!(refused, None);
            assert_eq!(parsed.to_bytes(), *whole);
            assert_eq!(Handshake::info_hash_of(whole), Some(parsed.info_hash));
        }
        Err(_) => assert!(refused.is_some_and(|n| n <= 20)),
    }
});
