//! The end of an HTTP exchange: nobody loses the answer to a question that was odd.

use super::{addr, config, Memory};
use crate::proto::outgoing::SendPlan;
use crate::proto::output::{Action, Event};
use crate::proto::peer::Peer;
use crate::units::id::ConnId;
use crate::units::limits::{HTTP_HEAD_MAX, HTTP_REFUSED_MAX, HTTP_REFUSED_WITHIN, HTTP_WITHIN};
use crate::units::time::{Duration, Instant};

const NOW: Instant = Instant::from_micros(1_000_000);

/// Somebody asks this of a peer.
fn asked(bytes: &[u8]) -> (Peer, ConnId) {
    let mut peer = Peer::new(config(), 7, NOW);
    let id = peer.handle_accepted(NOW, addr(1), addr(99)).unwrap();
    came(&mut peer, id, bytes);
    (peer, id)
}

fn came(peer: &mut Peer, id: ConnId, bytes: &[u8]) {
    for part in bytes.chunks(1_000) {
        peer.handle_received(NOW, id, part, &mut Memory::default());
    }
}

/// Sends what waits; its first line.
fn answer(peer: &mut Peer, id: ConnId) -> String {
    let (mut plan, mut sent) = (SendPlan::default(), Vec::new());
    while peer.send_plan(id, &mut plan) {
        sent.extend_from_slice(&plan.bytes);
        peer.handle_sent(NOW, id, plan.bytes.len());
    }
    String::from_utf8_lossy(&sent).lines().next().unwrap_or_default().to_owned()
}

fn is_closed(peer: &mut Peer, id: ConnId) -> bool {
    core::iter::from_fn(|| peer.poll_action()).any(|action| action == Action::Close(id))
}

#[test]
fn what_is_refused_is_read_on_until_its_sender_hangs_up() {
    let long = [b"GET /".as_slice(), &[b'a'; HTTP_HEAD_MAX]].concat();
    for (request, status) in [(&long[..], "431"), (b"POST /announce HTTP/1.1\r\n\r\n", "405")] {
        let (mut peer, id) = asked(request);
        came(&mut peer, id, &[b'a'; 10_000]);
        assert_eq!(answer(&mut peer, id).split(' ').nth(1), Some(status));
        came(&mut peer, id, &[b'a'; 10_000]);
        assert!(!is_closed(&mut peer, id), "{status}: a close would be a reset");
        peer.handle_closed(NOW, id, None);
        assert!(is_closed(&mut peer, id));
    }
}

#[test]
fn who_goes_on_for_ever_is_hung_up_on() {
    let (mut peer, id) = asked(b"POST / HTTP/1.1\r\n\r\n");
    assert_ne!(answer(&mut peer, id), "");
    let late = Duration::from_millis(1);
    peer.handle_timeout(NOW + (HTTP_REFUSED_WITHIN - late));
    assert!(!is_closed(&mut peer, id));
    peer.handle_timeout(NOW + HTTP_REFUSED_WITHIN);
    assert!(is_closed(&mut peer, id));
    // Who does not read has no longer than others.
    let (mut peer, id) = asked(b"POST / HTTP/1.1\r\n\r\n");
    peer.handle_timeout(NOW + HTTP_WITHIN);
    assert!(is_closed(&mut peer, id));
    let (mut peer, id) = asked(b"POST / HTTP/1.1\r\n\r\n");
    came(&mut peer, id, &vec![0; HTTP_REFUSED_MAX]);
    assert!(!is_closed(&mut peer, id));
    came(&mut peer, id, &[0]);
    assert!(is_closed(&mut peer, id));
}

#[test]
fn who_has_ended_its_half_gets_its_answer() {
    for (request, status) in [
        ("GET /announce HTTP/1.0\r\n\r\n", "200"),
        ("POST / HTTP/1.0\r\n\r\n", "405"),
        ("GET / HTTP/1.0\r\n\r\n", "204"),
    ] {
        let (mut peer, id) = asked(request.as_bytes());
        peer.handle_closed(NOW, id, None);
        assert!(!is_closed(&mut peer, id), "{request:?}");
        // The catalogue answers later.
        while let Some(event) = peer.poll_event() {
            if matches!(event, Event::Asked(_)) {
                peer.answer(NOW, id, b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
        assert_eq!(answer(&mut peer, id).split(' ').nth(1), Some(status));
        assert!(is_closed(&mut peer, id), "{request:?}");
    }
    // Half a question has none.
    let (mut peer, id) = asked(b"GET / HTTP/1.0\r\n");
    peer.handle_closed(NOW, id, None);
    assert!(is_closed(&mut peer, id));
}
