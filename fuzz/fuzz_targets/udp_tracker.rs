//! Datagrams of the UDP tracker protocol, both sides: what is read is written and read the same,
//! and a tracker never answers a stranger with more than it was sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::proto::tracker::Tracker;
use reactor_peer::units::id::{InfoHash, PeerId};
use reactor_peer::units::time::Instant;
use reactor_peer::wire::udp_tracker::{
    build_request, build_response, parse_request, parse_response, ANSWER_BYTES_MAX,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = parse_request(bytes) {
        assert_eq!(parse_request(&build_request(&request)), Ok(request));
    }
    for v6 in [false, true] {
        if let Ok(response) = parse_response(bytes, v6) {
            let _ = build_response(&response);
        }
    }
    let mut tracker = Tracker::new(PeerId([1; 20]), 5000, [7; 16]);
    tracker.track(InfoHash([0; 20]), 0);
    let (remote, local) = (([10, 0, 0, 1], 1).into(), ([10, 0, 0, 9], 5000).into());
    if let Some(answer) = tracker.respond_datagram(Instant::ORIGIN, remote, local, bytes) {
        assert!(answer.bytes.len() <= ANSWER_BYTES_MAX);
        assert!(answer.bytes.len() <= bytes.len(), "the connection id was guessed");
    }
});
