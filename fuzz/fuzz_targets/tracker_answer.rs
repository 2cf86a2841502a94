//! What a tracker may send us: HTTP answers of any shape, and any bencode in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::announce::parse_answer;
use reactor_peer::wire::http::parse_response;

fuzz_target!(|bytes: &[u8]| {
    let open = parse_response(bytes, false);
    let closed = parse_response(bytes, true);
    // More bytes would change nothing, so the end of the connection does not either.
    if let Ok(Some(answer)) = &open {
        assert_eq!(closed.as_ref().ok(), Some(&Some(answer.clone())));
    }
    if let Ok(Some(answer)) = closed {
        let _ = parse_answer(&answer.body);
    }
    // The body alone, so that the fuzzer need not find a whole head first.
    let _ = parse_answer(bytes);
});
