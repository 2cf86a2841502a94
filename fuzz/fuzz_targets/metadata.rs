//! The messages of ut_metadata: what is read survives being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::metadata::MetadataMessage;

fuzz_target!(|bytes: &[u8]| {
    match MetadataMessage::parse(bytes) {
        Ok(MetadataMessage::Unknown) | Err(_) => {}
        Ok(message) => {
            let again = message.to_bytes();
            assert_eq!(MetadataMessage::parse(&again), Ok(message));
        }
    }
});
