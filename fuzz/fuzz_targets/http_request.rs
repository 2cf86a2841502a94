//! What a stranger sends to our port as HTTP, in any portions: to the tracker, the catalogue or the
//! page, or to nobody. How the bytes are split changes nothing of the answer.

#![no_main]

use core::net::SocketAddr;
use libfuzzer_sys::fuzz_target;
use reactor_peer::proto::outgoing::{Segment, SendPlan};
use reactor_peer::proto::output::{Action, Event};
use reactor_peer::proto::peer::{Config, Peer};
use reactor_peer::proto::store::{Store, StoreError};
use reactor_peer::proto::swarm::{Start, Torrent};
use reactor_peer::units::bitfield::Bitfield;
use reactor_peer::units::geometry::Geometry;
use reactor_peer::units::id::{ConnId, InfoHash, PeerId, SwarmId};
use reactor_peer::units::time::Instant;
use reactor_peer::wire::catalogue::Wanted;
use reactor_peer::wire::http::parse_request;

const NOW: Instant = Instant::from_micros(1_000_000);

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let whole = outcome(&[bytes]);
    let at = bytes.len() * usize::from(seed) / 256;
    let (first, second) = bytes.split_at(at);
    let parts: Vec<&[u8]> = [first, second].into_iter().filter(|part| !part.is_empty()).collect();
    assert_eq!(outcome(&parts), whole);
    if let Outcome::Routed(target) = &whole {
        let request = parse_request(bytes).ok().flatten();
        assert_eq!(request.map(|request| request.target), Some(target.as_str()));
        if let Some(Wanted::Torrent(name) | Wanted::Named(name)) = Wanted::parse(target) {
            // A name is only compared; it must not be more than the target says.
            assert!(name.len() <= target.len());
        }
    }
});

#[derive(Debug, PartialEq)]
enum Outcome {
    /// It waits for more.
    Waits,
    /// It was answered by the core: with a refusal, or by the tracker.
    Answered(Vec<u8>),
    /// It goes to the catalogue or the page.
    Routed(String),
    /// Hung up, or another protocol than HTTP.
    Closed,
}

/// What comes of these portions.
fn outcome(parts: &[&[u8]]) -> Outcome {
    let mut peer = Peer::new(Config { peer_id: PeerId([9; 20]), ..Config::default() }, 7, NOW);
    let _ = peer.add_swarm(NOW, torrent(), start());
    let [remote, local] =
        ["10.0.0.1:40000", "10.0.0.9:5000"].map(|addr| addr.parse::<SocketAddr>().unwrap());
    let Some(id) = peer.handle_accepted(NOW, remote, local) else { return Outcome::Closed };
    let (mut sent, mut closed) = (Vec::new(), false);
    for part in parts {
        let mut part = *part;
        while !part.is_empty() && !closed {
            let room = peer.receive_room(id).min(part.len());
            if room == 0 {
                break;
            }
            peer.handle_received(NOW, id, &part[..room], &mut Nothing);
            part = &part[room..];
            closed |= drain(&mut peer, id, &mut sent);
        }
    }
    let mut routed = None;
    while let Some(event) = peer.poll_event() {
        if let Event::Asked(asked) = event {
            assert!(routed.replace(asked.target).is_none(), "one request, one answer");
        }
    }
    match (routed, sent.starts_with(b"HTTP/1.1 "), closed) {
        (Some(target), ..) => Outcome::Routed(target),
        (None, true, _) => Outcome::Answered(sent),
        (None, false, true) => Outcome::Closed,
        (None, false, false) => Outcome::Waits,
    }
}

/// Sends what is to be sent; whether the connection is closed.
fn drain(peer: &mut Peer, id: ConnId, sent: &mut Vec<u8>) -> bool {
    let mut closed = false;
    while let Some(action) = peer.poll_action() {
        closed |= action == Action::Close(id);
        let mut plan = SendPlan::default();
        while action == Action::Send(id) && peer.send_plan(id, &mut plan) {
            for segment in &plan.segments {
                if let Segment::Bytes(from, to) = *segment {
                    sent.extend_from_slice(&plan.bytes[from..to]);
                }
            }
            let count = plan.bytes.len();
            peer.handle_sent(NOW, id, count);
        }
    }
    closed
}

fn torrent() -> Torrent {
    Torrent {
        info_hash: InfoHash([b'h'; 20]),
        name: "age.txt".into(),
        geometry: Geometry::new(20_000, 16_384).unwrap(),
        padding: Default::default(),
        private: false,
        announce: None,
        announce_list: Vec::new(),
        info: Default::default(),
    }
}

fn start() -> Start {
    let mut have = Bitfield::new(2);
    for piece in 0..2 {
        have.set(piece);
    }
    Start {
        have,
        partials: Vec::new(),
        uploaded: 0,
        downloaded: 0,
        contacts: Vec::new(),
        checking: false,
    }
}

/// No content is touched by HTTP.
struct Nothing;

impl Store for Nothing {
    fn read(&mut self, _: SwarmId, _: u64, _: &mut [u8]) -> Result<(), StoreError> {
        Err(StoreError::new("there is none"))
    }

    fn write(&mut self, _: SwarmId, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::new("there is none"))
    }
}
