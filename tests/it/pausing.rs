//! A torrent that the user pauses: gone for everybody, without taking the swarm along.

use crate::process::{address, run, Host};
use crate::torrent::{Torrent, PIECE};
use crate::tracker::{announce, answer_once, expected, same};
use crate::wire::{escape, handshake, http, Wire, EXTENDED};
use std::net::TcpListener;

#[test]
fn a_paused_torrent_is_offered_nowhere_until_it_is_resumed() {
    let tracker = TcpListener::bind((address(), 0)).unwrap();
    let url = format!("http://{}/announce", tracker.local_addr().unwrap());
    let torrent = Torrent::announced("paused.bin", 3 * PIECE, &url);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let nobody = b"d8:intervali1800e5:peers0:e";
    let command = |command: &str| {
        let done = run(host.folder(), &[command, "paused.bin"]);
        assert!(done.status.success(), "{done:?}");
    };
    let catalogue = || {
        let (_, body) = http(host.addr, address(), "/catalog.json");
        let catalogue: serde_json::Value = serde_json::from_slice(&body).unwrap();
        catalogue["torrents"].as_array().unwrap().len()
    };
    assert!(answer_once(&tracker, nobody).contains("event=started"));
    peer.wait_for("knows 0 peers");
    let (one, two) = (address(), address());
    same(
        &http(host.addr, one, &announce(&torrent, b'1', 6_881, "")),
        &expected(1, 1, one, &[host.addr]),
    );
    assert_eq!(catalogue(), 1);

    command("pause");
    assert!(answer_once(&tracker, nobody).contains("event=stopped"));
    // Our own tracker goes on for the others: they find each other, and not us.
    let one_listens = std::net::SocketAddr::new(one, 6_881);
    let answer = http(host.addr, two, &announce(&torrent, b'2', 6_882, ""));
    same(&answer, &expected(0, 2, two, &[one_listens]));
    let scraped =
        http(host.addr, two, &format!("/scrape?info_hash={}", escape(&torrent.info_hash)));
    let counts = b"d8:completei0e10:downloadedi0e11:downloadersi2e10:incompletei2ee";
    assert!(scraped.1.windows(counts.len()).any(|part| part == counts));
    assert_eq!(catalogue(), 0);
    let (status, _) = http(host.addr, address(), "/torrents/paused.bin.torrent");
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    let mut wire = Wire::connect(host.addr, address());
    wire.send(&handshake(EXTENDED, torrent.info_hash, [b'w'; 20]));
    assert_eq!(wire.read_to_end(), b"", "it hangs up without a word");

    // A restart changes nothing of that, and says nothing to the tracker.
    assert_eq!(peer.stop(), Some(0));
    let mut peer = host.start(&[]);
    peer.wait_for("-> paused");
    assert_eq!(catalogue(), 0);
    command("resume");
    assert!(answer_once(&tracker, nobody).contains("event=started"));
    assert_eq!(catalogue(), 1);
    Wire::join(host.addr, address(), &torrent, EXTENDED);
    let answer = http(host.addr, two, &announce(&torrent, b'2', 6_882, ""));
    same(&answer, &expected(1, 1, two, &[host.addr]));
}
