//! Client ports that other programs have.

use super::{addr, Bench};
use crate::proto::output::Action;
use crate::proto::peer::DialError;
use crate::units::time::Duration;
use core::net::SocketAddr;

/// What is dialed until the loop has nothing more to do, where only `usable` ports are not busy:
/// from which ports, and whom from those that are.
fn dials(bench: &mut Bench, usable: &[u16]) -> (Vec<u16>, Vec<SocketAddr>) {
    let (mut tried, mut under_way) = (Vec::new(), Vec::new());
    while let Some(action) = bench.peer.poll_action() {
        let Action::Dial { conn, remote, local_port } = action else { continue };
        let port = local_port.expect("a port of the range");
        tried.push(port);
        assert!(tried.len() < 100, "{tried:?}");
        if usable.contains(&port) {
            under_way.push(remote);
        } else {
            bench.peer.handle_dial_failed(bench.now, conn, DialError::PortBusy);
        }
    }
    tried.sort_unstable();
    (tried, under_way)
}

#[test]
fn each_busy_port_is_tried_once_a_second() {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.learn_contacts(bench.now, bench.swarm, [addr(1), addr(2)], true);
    bench.peer.dial_due(bench.now);
    // Of two dials one has the only port that works: the other must not look for it for ever.
    let (tried, first) = dials(&mut bench, &[5004]);
    assert_eq!(tried, [5001, 5002, 5003, 5004, 5005, 5006]);
    assert_eq!(first.len(), 1);
    assert!(bench.peer.poll_timeout().is_some_and(|at| at > bench.now));
    bench.now = bench.now + Duration::from_millis(999);
    bench.peer.handle_timeout(bench.now);
    assert_eq!(dials(&mut bench, &[]), (vec![], vec![]));
    // The other host is not to blame for our ports: it is dialed as soon as one is there.
    bench.now = bench.now + Duration::from_millis(1);
    bench.peer.handle_timeout(bench.now);
    let (_, second) = dials(&mut bench, &[5006]);
    let mut both = [first, second].concat();
    both.sort_unstable();
    assert_eq!(both, [addr(1), addr(2)]);
}

#[test]
fn an_announce_is_not_given_up_for_our_ports() {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.learn_tracker(bench.now, addr(9), Some(bench.swarm));
    bench.peer.dial_due(bench.now);
    for _ in 0..3 {
        while let Some(action) = bench.peer.poll_action() {
            let (ip, now) = (addr(9).ip(), bench.now);
            match action {
                Action::Resolve(host, asker) => {
                    bench.peer.handle_resolved(now, &host, &asker, Ok(vec![(ip, false)]));
                }
                Action::Dial { conn, .. } => {
                    bench.peer.handle_dial_failed(now, conn, DialError::PortBusy);
                }
                _ => {}
            }
        }
        let status = bench.peer.swarms[&bench.swarm].announcer.status().to_owned();
        assert!(!status.contains("port"), "{status}");
        assert!(bench.peer.poll_timeout().is_some_and(|at| at > bench.now), "no spinning");
        bench.now = bench.now + Duration::from_secs(1);
        bench.peer.handle_timeout(bench.now);
    }
}

#[test]
fn a_host_is_not_forgotten_for_our_ports() {
    let mut bench = Bench::new(100_000, 32_768);
    bench.peer.learn_contacts(bench.now, bench.swarm, [addr(1)], false);
    for _ in 0..20 {
        bench.peer.dial_due(bench.now);
        assert_eq!(dials(&mut bench, &[]).0.len(), 6);
        bench.now = bench.now + Duration::from_secs(1);
        bench.peer.handle_timeout(bench.now);
    }
    assert_eq!(dials(&mut bench, &[5001]).1, [addr(1)]);
}
