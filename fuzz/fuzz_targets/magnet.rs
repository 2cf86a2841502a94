//! Magnet links of any shape: what is read survives being written and read again, and its name
//! can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::magnet::Magnet;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    check(text);
    // The hints alone, so that the fuzzer need not find a hash first.
    check(&format!("magnet:?xt=urn:btih:{}&{text}", "0123456789".repeat(4)));
});

fn check(text: &str) {
    if let Ok(magnet) = Magnet::parse(text) {
        let again = magnet.to_string();
        if again.len() <= reactor_peer::wire::magnet::MAGNET_BYTES_MAX {
            assert_eq!(Magnet::parse(&again).as_ref(), Ok(&magnet));
        }
        assert!(!magnet.shown_name().chars().any(char::is_control));
    }
}
