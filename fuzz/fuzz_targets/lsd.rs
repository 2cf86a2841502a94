//! Announces on the local network: what is read is written and read the same, and hearing any
//! bytes leaves a peer that goes on speaking as it should.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::proto::lsd::Lsd;
use reactor_peer::units::rng::Rng;
use reactor_peer::units::time::Instant;
use reactor_peer::wire::lsd::{build, parse, GROUP_V4};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(announce) = parse(bytes) {
        assert_ne!(announce.port, 0);
        assert_eq!(parse(&build(GROUP_V4.into(), &announce)), Ok(announce));
    }
    let mut lsd = Lsd::new(5000, &mut Rng::new(1), Instant::ORIGIN);
    let heard = lsd.handle(Instant::ORIGIN, ([10, 0, 0, 1], 6771).into(), bytes);
    assert!(heard.swarms.is_empty(), "in no swarm but the catalogue");
    assert_eq!(heard.new_host.is_some(), lsd.hosts().next().is_some());
    assert!(lsd.poll_timeout().is_some());
});
