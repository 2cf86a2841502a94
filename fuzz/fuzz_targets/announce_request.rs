//! HTTP requests and the announces in them: splitting the bytes changes nothing, and an announce
//! survives being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::announce::{build_query, parse_query, parse_scrape};
use reactor_peer::wire::http::parse_request;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse_request(bytes);
    // Some splits, not all: every prefix would make this quadratic.
    for at in [1, bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let Some(prefix) = bytes.get(..at) else { continue };
        match parse_request(prefix) {
            Ok(None) => {}
            Ok(Some(early)) => assert_eq!(whole, Ok(Some(early))),
            Err(early) => assert_eq!(whole, Err(early)),
        }
    }
    if let Ok(Some(request)) = whole {
        assert!(request.length <= bytes.len());
        assert!(request.path().starts_with('/'));
        check_query(request.query());
    }
    // The query alone, so that the fuzzer need not find a whole head first.
    if let Ok(query) = core::str::from_utf8(bytes) {
        check_query(query);
    }
});

fn check_query(query: &str) {
    if let Ok(announce) = parse_query(query) {
        assert_ne!(announce.port, 0);
        assert_eq!(parse_query(&build_query(&announce)).as_ref(), Ok(&announce));
    }
    if let Ok(hashes) = parse_scrape(query) {
        assert!(!hashes.is_empty());
    }
}
