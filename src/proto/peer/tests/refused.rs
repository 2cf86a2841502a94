//! A host that is up and refuses: its program was killed, and comes back.

use super::{addr, config, start, torrent};
use crate::proto::output::Action;
use crate::proto::peer::{DialError, Peer};
use crate::proto::swarm::Torrent;
use crate::units::bitfield::Bitfield;
use crate::units::geometry::Geometry;
use crate::units::id::InfoHash;
use crate::units::time::{Duration, Instant};

/// When a named host that refuses is dialed within so long, by a peer that wants so many torrents of it: seconds
/// and how often.
fn dials(torrents: u8, within: u64) -> Vec<(u64, usize)> {
    let began = Instant::from_micros(1_000_000);
    let mut now = began;
    let mut peer = Peer::new(config(), 7, now);
    for n in 1..=torrents {
        let geometry = Geometry::new(100_000, 32_768).unwrap();
        let torrent = Torrent { info_hash: InfoHash([n; 20]), ..torrent(geometry) };
        let nothing = start(Bitfield::new(geometry.piece_count()));
        let swarm = peer.add_swarm(now, torrent, nothing).unwrap();
        peer.learn_contacts(now, swarm, [addr(1)], true);
    }
    peer.dial_due(now);
    let mut dialed: Vec<(u64, usize)> = Vec::new();
    while now - began <= Duration::from_secs(within) {
        // What is dialed at the same moment is refused together, as on a network.
        let mut refused = Vec::new();
        while let Some(action) = peer.poll_action() {
            if let Action::Dial { conn, remote, .. } = action {
                assert_eq!(remote, addr(1));
                refused.push(conn);
            }
        }
        if !refused.is_empty() {
            dialed.push(((now - began).as_secs(), refused.len()));
        }
        for conn in refused {
            peer.handle_dial_failed(now, conn, DialError::Refused);
        }
        assert!(peer.poll_action().is_none_or(|action| !matches!(action, Action::Dial { .. })));
        now = peer.poll_timeout().unwrap().max(now + Duration::from_millis(1));
        peer.handle_timeout(now);
    }
    dialed
}

#[test]
fn it_is_dialed_each_second_for_a_minute_then_every_five() {
    let each_second = (0..=60).map(|s| (s, 1));
    let expected: Vec<_> = each_second.chain([(65, 1), (70, 1)]).collect();
    assert_eq!(dials(1, 70), expected);
}

#[test]
fn many_torrents_do_not_multiply_the_dials() {
    let dialed = dials(40, 70);
    let most = config().max_conns;
    assert!(dialed.iter().all(|&(_, dials)| dials <= most.into()), "{dialed:?}");
    assert!(dialed.windows(2).all(|two| two[1].0 - two[0].0 == 1), "{dialed:?}");
}
