//! What a tracker or another peer's catalogue may answer over HTTP: lengths, chunks, redirections,
//! and any bencode or JSON in them; in any portions, and with the connection cut anywhere.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::proto::announcer::{Announcer, Progress};
use reactor_peer::units::limits::HTTP_BODY_MAX;
use reactor_peer::units::rng::Rng;
use reactor_peer::units::time::Instant;
use reactor_peer::wire::catalogue::Catalogue;
use reactor_peer::wire::http::{parse_long_response, parse_response};

const NOW: Instant = Instant::from_micros(1_000_000);

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let open = parse_response(bytes, false);
    let closed = parse_response(bytes, true);
    assert!(!matches!(closed, Ok(None)), "after the end nothing is waited for");
    // What is decided stays so, whatever follows.
    let at = bytes.len() * usize::from(seed) / 256;
    match parse_response(&bytes[..at], false) {
        Ok(None) => {}
        Ok(Some(early)) => assert_eq!(open.as_ref().ok(), Some(&Some(early))),
        Err(_) => assert!(open.is_err()),
    }
    if let Ok(Some(answer)) = &open {
        assert!(answer.body.len() <= HTTP_BODY_MAX);
        assert_eq!(closed.as_ref().ok(), Some(&Some(answer.clone())));
        assert_eq!(parse_long_response(bytes, false, 2 * HTTP_BODY_MAX), open);
    }
    if let Ok(Some(answer)) = &closed {
        if let Some(catalogue) = Catalogue::parse(&answer.body) {
            let again = Catalogue::parse(catalogue.to_json().as_bytes());
            assert_eq!(again.as_ref(), Some(&catalogue));
        }
    }
    let _ = Catalogue::parse(bytes);
    ask(bytes, at);
});

/// The announcer takes the answer in two portions, then the end of the connection.
fn ask(bytes: &[u8], at: usize) {
    let mut rng = Rng::new(1);
    let announce = Some("http://10.0.0.1:5000/announce");
    let (mut announcer, errors) = Announcer::new(announce, &[], &mut rng);
    assert!(errors.is_empty());
    announcer.start(NOW);
    assert!(announcer.poll(NOW).is_some());
    for (portion, ended) in [(&bytes[..at], false), (bytes, false), (bytes, true)] {
        match announcer.handle_answer(NOW, portion, ended) {
            Progress::NeedMore => assert!(!ended),
            Progress::Redirect => {
                let next = announcer.poll(NOW).expect("it says whom to ask");
                assert_ne!(next.target.port, 0);
                return;
            }
            Progress::Done(peers) => {
                assert!(peers.iter().all(|peer| peer.port() != 0 && !peer.ip().is_unspecified()));
                return;
            }
            Progress::Failed(why) => {
                assert!(!why.chars().any(char::is_control), "{why:?}");
                return;
            }
        }
    }
}
