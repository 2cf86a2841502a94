//! What the announces of a swarm do to the rest: redirects, tracker entries, what is told.

use super::*;
use crate::proto::output::{Asker, Event, Status};
use crate::proto::tracker::Announced;
use crate::wire::address::HostPort;
use crate::wire::announce::Event as Said;
use core::net::IpAddr;

/// A peer whose torrent names this announce; what it wants resolved first.
fn announcing(announce: &str) -> (Peer, SwarmId, HostPort) {
    let now = Instant::from_micros(1_000_000);
    let geometry = Geometry::new(100, 16384).unwrap();
    let mut peer = Peer::new(config(), 7, now);
    let torrent = Torrent { announce: Some(announce.into()), ..torrent(geometry) };
    let swarm = peer.add_swarm(now, torrent, start(Bitfield::new(1))).unwrap();
    let host = resolves(&mut peer).unwrap();
    (peer, swarm, host)
}

fn resolves(peer: &mut Peer) -> Option<HostPort> {
    core::iter::from_fn(|| peer.poll_action()).find_map(|action| match action {
        Action::Resolve(host, Asker::Announcer(_)) => Some(host),
        _ => None,
    })
}

fn dials(peer: &mut Peer) -> Option<(ConnId, SocketAddr)> {
    core::iter::from_fn(|| peer.poll_action()).find_map(|action| match action {
        Action::Dial { conn, remote, .. } => Some((conn, remote)),
        _ => None,
    })
}

fn resolved(peer: &mut Peer, swarm: SwarmId, host: &HostPort, ip: &str) {
    let now = Instant::from_micros(1_000_000);
    let ip: IpAddr = ip.parse().unwrap();
    peer.handle_resolved(now, host, &Asker::Announcer(swarm), Ok(vec![(ip, false)]));
}

#[test]
fn services_of_this_machine_are_never_called_on() {
    for (announce, ip) in [
        ("http://127.0.0.1:8080/api/v2/app/shutdown?x=1", "127.0.0.1"),
        ("http://localhost:9200/_shutdown", "127.0.0.1"),
        ("http://[::1]:6379/flushall", "::1"),
        ("http://tracker.example/latest/meta-data/", "169.254.169.254"),
        ("http://tracker.example/announce", "0.0.0.0"),
        ("http://tracker.example/announce", "239.1.2.3"),
    ] {
        let (mut peer, swarm, host) = announcing(announce);
        resolved(&mut peer, swarm, &host, ip);
        assert_eq!(dials(&mut peer), None, "{announce}");
        let later = Instant::from_micros(100_000_000);
        peer.handle_timeout(later);
        assert_eq!(resolves(&mut peer), None, "{announce} is not tried again");
    }
    let (mut peer, swarm, host) = announcing("http://127.0.0.1:8080/announce");
    resolved(&mut peer, swarm, &host, "127.0.0.1");
    assert!(dials(&mut peer).is_some());
}

#[test]
fn a_tracker_outside_does_not_lead_inside() {
    for (from, location, allowed) in [
        ("192.0.2.1", "http://10.0.0.1:5000/announce", false),
        ("192.0.2.1", "http://127.0.0.1:5001/announce", false),
        ("192.0.2.1", "http://192.0.2.2/announce", true),
        ("10.0.0.7", "http://10.0.0.1:5000/announce", true),
    ] {
        let now = Instant::from_micros(1_000_000);
        let (mut peer, swarm, host) = announcing("http://tracker.example/announce");
        resolved(&mut peer, swarm, &host, from);
        let (conn, _) = dials(&mut peer).unwrap();
        peer.handle_connected(now, conn, "10.0.0.99:5001".parse().unwrap());
        let answer =
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        peer.handle_received(now, conn, answer.as_bytes(), &mut Memory::default());
        let next = resolves(&mut peer).unwrap();
        let to = next.socket_addr().unwrap().ip().to_string();
        resolved(&mut peer, swarm, &next, &to);
        assert_eq!(dials(&mut peer).is_some(), allowed, "{from} to {location}");
    }
}

/// What is told, but that a peer is gone.
fn news(peer: &mut Peer) -> Vec<Event> {
    let told = core::iter::from_fn(|| peer.poll_event());
    told.filter(|event| !matches!(event, Event::Lost(..))).collect()
}

#[test]
fn nobody_is_missed_by_who_stops() {
    let mut bench = Bench::new(100, 16384);
    let end = bench.serves(1, &[0]);
    assert!(bench.is_open(end));
    assert_eq!(bench.peer.report(bench.now)[0].status, Status::Peer);
    bench.peer.handle_stop(bench.now);
    assert_eq!(news(&mut bench.peer), [], "no 'all peers gone, waiting'");
}

#[test]
fn nobody_is_missed_by_a_torrent_that_is_removed() {
    let mut bench = Bench::new(100, 16384);
    bench.serves(1, &[0]);
    bench.peer.remove_swarm(bench.now, bench.swarm);
    assert_eq!(news(&mut bench.peer), []);
}

#[test]
fn a_connected_peer_stays_in_our_tracker() {
    let mut bench = Bench::new(100, 16384);
    let hello = crate::wire::extended::Handshake { listen_port: Some(6000), ..Default::default() };
    let then = bytes_of(&Message::Extended(0, &hello.to_bytes()));
    let end = bench.accept(1, [0, 0, 0, 0, 0, 0x10, 0, 0], &then);
    for _ in 0..10 {
        bench.wait(100);
        bench.receive(end, &[0; 4]);
    }
    assert_eq!(bench.peer.tracker.counts(&HASH), (0, 2, 0));
    bench.peer.handle_closed(bench.now, end, None);
    assert_eq!(bench.peer.tracker.counts(&HASH), (0, 1, 0));
}

#[test]
fn a_search_ends_with_the_first_who_has_a_missing_piece() {
    let mut bench = Bench::new(100, 16384);
    let began = bench.now;
    let search = bench.peer.search(bench.swarm).unwrap();
    assert_eq!((search.since, search.unanswered), (began, false));
    assert_eq!(search.asked, "no tracker and no host to ask");
    bench.wait(5);
    // One who has nothing is not whom we look for.
    bench.serves(1, &[]);
    assert_eq!(bench.peer.search(bench.swarm).map(|s| s.since), Some(began));
    let end = bench.serves(2, &[0]);
    assert_eq!(bench.peer.search(bench.swarm), None);
    // Once met, it is waited for without end.
    bench.peer.handle_closed(bench.now, end, None);
    assert_eq!(bench.peer.search(bench.swarm), None);
}

#[test]
fn a_tracker_or_host_that_is_away_may_come_back() {
    let (mut peer, swarm, host) = announcing("http://tracker.example/announce");
    assert!(peer.search(swarm).unwrap().unanswered);
    resolved(&mut peer, swarm, &host, "10.0.0.7");
    let (conn, _) = dials(&mut peer).unwrap();
    let now = Instant::from_micros(1_000_000);
    peer.handle_connected(now, conn, "10.0.0.99:5001".parse().unwrap());
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\nd8:intervali60e5:peers0:e";
    peer.handle_received(now, conn, answer, &mut Memory::default());
    assert!(!peer.search(swarm).unwrap().unanswered);

    let named = HostPort::parse("10.0.0.8", 5000).unwrap();
    peer.handle_named(now, named.clone());
    let ip = "10.0.0.8".parse().unwrap();
    peer.handle_resolved(now, &named, &Asker::Dialer(None), Ok(vec![(ip, false)]));
    let (conn, _) = dials(&mut peer).unwrap();
    let refused = crate::proto::peer::DialError::Refused;
    peer.handle_dial_failed(now, conn, refused);
    let search = peer.search(swarm).unwrap();
    assert!(search.unanswered);
    assert!(search.asked.ends_with("0 of 1 hosts answered"), "{}", search.asked);
}

/// What the peer says to its HTTP tracker at 10.0.0.1 now, which answers; empty where it is silent.
fn said_to_tracker(peer: &mut Peer, swarm: SwarmId, now: Instant) -> String {
    peer.handle_timeout(now);
    let Some(host) = resolves(peer) else { return String::new() };
    resolved(peer, swarm, &host, "10.0.0.1");
    let (conn, _) = dials(peer).unwrap();
    peer.handle_connected(now, conn, "10.0.0.99:5001".parse().unwrap());
    let mut plan = SendPlan::default();
    assert!(peer.send_plan(conn, &mut plan));
    let said = String::from_utf8(plan.bytes.clone()).unwrap();
    peer.handle_sent(now, conn, plan.bytes.len());
    let body = "d8:intervali1800e5:peers0:e";
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    peer.handle_received(now, conn, answer.as_bytes(), &mut Memory::default());
    said
}

fn started(info_hash_is_back: bool) -> (Peer, SwarmId, Instant) {
    let now = Instant::from_micros(1_000_000);
    let (mut peer, swarm, host) = announcing("http://10.0.0.1:6969/announce");
    let failed = Err("no such host name".to_owned());
    peer.handle_resolved(now, &host, &Asker::Announcer(swarm), failed);
    let now = now + Duration::from_secs(5);
    assert!(said_to_tracker(&mut peer, swarm, now).contains("event=started"));
    peer.remove_swarm(now, swarm);
    assert_eq!(peer.report(now).len(), 0);
    if info_hash_is_back {
        let torrent = torrent(Geometry::new(100, 16384).unwrap());
        peer.add_swarm(now, torrent, start(Bitfield::new(1))).unwrap();
    }
    (peer, swarm, now)
}

#[test]
fn who_removes_a_torrent_says_stopped() {
    let (mut peer, swarm, now) = started(false);
    // The question for the tracker's address was the removal's last act.
    let host = HostPort::parse("10.0.0.1:6969", 80).unwrap();
    assert_eq!(resolves(&mut peer), Some(host.clone()));
    resolved(&mut peer, swarm, &host, "10.0.0.1");
    let (conn, _) = dials(&mut peer).unwrap();
    peer.handle_connected(now, conn, "10.0.0.99:5001".parse().unwrap());
    let mut plan = SendPlan::default();
    assert!(peer.send_plan(conn, &mut plan));
    assert!(String::from_utf8_lossy(&plan.bytes).contains("event=stopped"));
    peer.handle_closed(now, conn, None);
    // It is gone in the end, whether the tracker answers or not.
    for second in 0..40 {
        peer.handle_timeout(now + Duration::from_secs(second));
    }
    assert!(peer.swarm(swarm).is_none());
}

#[test]
fn a_torrent_that_is_back_at_once_is_not_stopped() {
    let (mut peer, swarm, now) = started(true);
    assert!(peer.swarm(swarm).is_none());
    let host = resolves(&mut peer).unwrap();
    resolved(&mut peer, swarm, &host, "10.0.0.1");
    peer.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(dials(&mut peer), None);
}

/// Does what is asked for, sending last as the loop does; who was hung up on.
fn hung_up(peer: &mut Peer, now: Instant) -> Vec<ConnId> {
    let (mut closed, mut sends) = (Vec::new(), Vec::new());
    while let Some(action) = peer.poll_action() {
        match action {
            Action::Close(id) => closed.push(id),
            Action::Send(id) => sends.push(id),
            Action::Resolve(host, Asker::Announcer(swarm)) => {
                let ip = host.socket_addr().unwrap().ip();
                peer.handle_resolved(now, &host, &Asker::Announcer(swarm), Ok(vec![(ip, false)]));
            }
            _ => {}
        }
    }
    let mut plan = SendPlan::default();
    for id in sends {
        while peer.send_plan(id, &mut plan) {
            peer.handle_sent(now, id, plan.bytes.len());
        }
    }
    closed
}

#[test]
fn who_completes_announces_from_the_port_of_a_seeder_that_parts() {
    let (mut peer, swarm, host) = announcing("http://10.0.0.1:6969/announce");
    let now = Instant::from_micros(1_000_000);
    let failed = Err("no such host name".to_owned());
    peer.handle_resolved(now, &host, &Asker::Announcer(swarm), failed);
    let now = now + Duration::from_secs(5);
    assert!(said_to_tracker(&mut peer, swarm, now).contains("event=started"));
    peer.learn_contacts(now, swarm, (1..=6).map(addr), true);
    peer.dial_due(now);
    let dialed: Vec<_> = core::iter::from_fn(|| dials(&mut peer)).collect();
    let mut ends = Vec::new();
    for (n, (conn, _)) in (0..).zip(dialed) {
        peer.handle_connected(now, conn, SocketAddr::from(([10, 0, 0, 99], 5001)));
        let mut bytes = Handshake::ours(HASH, PeerId([n; 20])).to_bytes().to_vec();
        // The last one dialed is a seeder, the others want something.
        let (have, then) = match n {
            5 => (Message::HaveAll, Message::Unchoke),
            _ => (Message::HaveNone, Message::Interested),
        };
        bytes.extend(bytes_of(&have));
        bytes.extend(bytes_of(&then));
        peer.handle_received(now, conn, &bytes, &mut Memory::default());
        assert_eq!(hung_up(&mut peer, now), []);
        ends.push(conn);
    }
    assert_eq!(ends.len(), 6, "all ports are taken");
    let now = now + Duration::from_secs(9);
    let mut store = Memory { bytes: vec![0; 100], ..Memory::default() };
    peer.handle_received(now, ends[5], &bytes_of(&Message::Piece(0, 0, &[1; 100])), &mut store);
    let piece = Geometry::new(100, 16384).unwrap().piece(0).unwrap();
    peer.handle_verified(now, swarm, piece, true, &mut store);
    let mut closed = hung_up(&mut peer, now);
    peer.handle_timeout(now);
    closed.extend(hung_up(&mut peer, now));
    assert_eq!(closed, [ends[5]], "who is served stays");
    assert_eq!(peer.swarms[&swarm].announcer.event_in_flight(), Some(Said::Completed));
}

#[test]
fn who_has_said_stopped_to_our_tracker_is_not_dialed_again() {
    let now = Instant::from_micros(1_000_000);
    for met in [false, true] {
        let mut peer = Peer::new(config(), 7, now);
        let torrent = torrent(Geometry::new(100, 16384).unwrap());
        peer.add_swarm(now, torrent, start(Bitfield::new(1))).unwrap();
        let said =
            |event| Announced { info_hash: HASH, addr: addr(1), peer_id: PeerId([1; 20]), event };
        peer.heard_announce(now, &said(Said::Started));
        peer.dial_due(now);
        let (conn, to) = dials(&mut peer).unwrap();
        assert_eq!(to, addr(1));
        if met {
            peer.handle_connected(now, conn, SocketAddr::from(([10, 0, 0, 99], 5001)));
            let mut bytes = Handshake::ours(HASH, PeerId([1; 20])).to_bytes().to_vec();
            bytes.extend(bytes_of(&Message::HaveNone));
            peer.handle_received(now, conn, &bytes, &mut Memory::default());
        }
        peer.heard_announce(now, &said(Said::Stopped));
        peer.handle_closed(now, conn, None);
        let later = |seconds| now + Duration::from_secs(seconds);
        (0..200).for_each(|second| peer.handle_timeout(later(second)));
        assert_eq!(dials(&mut peer), None, "met: {met}");
        peer.heard_announce(later(200), &said(Said::Started));
        peer.dial_due(later(200));
        assert_eq!(dials(&mut peer).map(|(_, to)| to), Some(addr(1)), "it is back");
    }
}
