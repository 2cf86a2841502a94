//! The tracker in every peer, byte by byte; and what a peer says to a tracker.

use crate::process::{address, run, Host, Peer};
use crate::torrent::{Torrent, PIECE};
use crate::wire::{
    accept, escape, handshake, http, http_raw, message, split_answer, Wire, EXTENDED, EXTENSION,
    INTERESTED, PLAIN, UNCHOKE,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

/// A seeder that tracks its torrent.
fn tracking(name: &str) -> (Torrent, Host, Peer) {
    let torrent = Torrent::single(name, 3 * PIECE);
    let host = Host::with_content(&torrent);
    let peer = host.seed();
    (torrent, host, peer)
}

/// The target of an announce.
pub fn announce(torrent: &Torrent, name: u8, port: u16, more: &str) -> String {
    let (hash, name) = (escape(&torrent.info_hash), escape(&[name; 20]));
    format!("/announce?info_hash={hash}&peer_id={name}&port={port}&left=9{more}")
}

/// `peers` in compact form.
fn compact(peers: &[SocketAddr]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for peer in peers {
        match peer.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
        bytes.extend(peer.port().to_be_bytes());
    }
    bytes
}

/// A byte string in bencode.
fn string(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

/// The whole body of a compact answer.
pub fn expected(complete: u32, incomplete: u32, asker: IpAddr, peers: &[SocketAddr]) -> Vec<u8> {
    let ip = compact(&[SocketAddr::new(asker, 0)]);
    let ip = string(&ip[..ip.len() - 2]);
    let counts = format!("8:completei{complete}e11:external ip");
    let rest = format!("10:incompletei{incomplete}e8:intervali60e12:min intervali30e5:peers");
    let of = |v4| peers.iter().copied().filter(|p| p.is_ipv4() == v4).collect::<Vec<_>>();
    let six = compact(&of(false));
    let six = if six.is_empty() { vec![] } else { [&b"6:peers6"[..], &string(&six)].concat() };
    let four = string(&compact(&of(true)));
    [b"d", counts.as_bytes(), &ip, rest.as_bytes(), &four, &six, b"e"].concat()
}

#[track_caller]
pub fn same(found: &(String, Vec<u8>), body: &[u8]) {
    assert_eq!(found.0, "HTTP/1.1 200 OK");
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    assert_eq!(shown(&found.1), shown(body));
}

#[test]
fn an_announce_names_the_announced_port_and_never_the_source_port() {
    let (torrent, host, mut peer) = tracking("announced.bin");
    let (one, two) = (address(), address());
    let answer = http(host.addr, one, &announce(&torrent, b'1', 6_881, "&ip=192.0.2.1&compact=1"));
    same(&answer, &expected(1, 1, one, &[host.addr]));
    let answer = http(host.addr, two, &announce(&torrent, b'2', 7_000, "&compact=1"));
    same(&answer, &expected(1, 2, two, &[host.addr, SocketAddr::new(one, 6_881)]));
    // A peer that announces again has one entry.
    let again = announce(&torrent, b'1', 6_881, "&event=completed");
    let answer = http(host.addr, one, &again);
    same(&answer, &expected(2, 1, one, &[host.addr, SocketAddr::new(two, 7_000)]));
    // The old entry of who leaves goes at once, and it is told nothing.
    let answer = http(host.addr, one, &announce(&torrent, b'1', 6_881, "&event=stopped"));
    same(&answer, &expected(1, 1, one, &[]));
    let answer = http(host.addr, address(), &announce(&torrent, b'3', 1, "&numwant=0"));
    assert!(answer.1.ends_with(b"5:peers0:e"));
    (0..5).for_each(|_| drop(peer.wait_for(" announces")));
}

#[test]
fn a_handshake_counts_like_an_announce() {
    let (torrent, host, mut peer) = tracking("shaken.bin");
    let ip = address();
    let mut wire = Wire::connect(host.addr, ip);
    wire.send(&handshake(EXTENDED, torrent.info_hash, [b'h'; 20]));
    wire.send(&message(EXTENSION, b"\0d1:pi6999ee"));
    peer.wait_for("extended");
    let source = wire.local();
    let asker = address();
    let answer = http(host.addr, asker, &announce(&torrent, b'a', 6_881, ""));
    same(&answer, &expected(1, 2, asker, &[host.addr, SocketAddr::new(ip, 6_999)]));
    assert_ne!(source.port(), 6_999);
    // An abrupt loss takes it out.
    drop(wire);
    peer.wait_for(&format!("{ip} disconnected"));
    let answer = http(host.addr, asker, &announce(&torrent, b'a', 6_881, ""));
    same(&answer, &expected(1, 1, asker, &[host.addr]));
}

#[test]
fn the_dictionary_form_with_and_without_peer_id() {
    let (torrent, host, _peer) = tracking("dictionary.bin");
    let (one, two) = (address(), address());
    http(host.addr, one, &announce(&torrent, b'1', 6_881, ""));
    let ask = |more: &str| {
        let target = announce(&torrent, b'2', 6_882, &format!("&compact=0{more}"));
        let (status, body) = http(host.addr, two, &target);
        assert_eq!(status, "HTTP/1.1 200 OK");
        body.escape_ascii().to_string()
    };
    let entry = |ip: IpAddr, id: &str, port: u16| {
        format!("d2:ip{}:{ip}{id}4:porti{port}ee", ip.to_string().len())
    };
    let theirs = format!("7:peer id20:{}", "1".repeat(20));
    let full = ask("");
    assert!(full.contains(&entry(one, &theirs, 6_881)), "{full}");
    assert!(full.contains("7:peer id20:-RP0"), "{full}");
    let short = ask("&no_peer_id=1");
    let us = entry(host.addr.ip(), "", host.addr.port());
    assert!(short.ends_with(&format!("5:peersl{us}{}ee", entry(one, "", 6_881))), "{short}");
}

#[test]
fn numwant_and_everyone_in_turn() {
    let (torrent, host, _peer) = tracking("many.bin");
    let ip = address();
    for port in 1..=80 {
        http(host.addr, ip, &announce(&torrent, b'm', port, "&numwant=0"));
    }
    let listed = |more: &str| {
        let (_, body) = http(host.addr, address(), &announce(&torrent, b'z', 9, more));
        let at = body.windows(7).position(|part| part == b"5:peers").unwrap() + 7;
        let text = &body[at..];
        let colon = text.iter().position(|&byte| byte == b':').unwrap();
        let length: usize = String::from_utf8_lossy(&text[..colon]).parse().unwrap();
        text[colon + 1..][..length].chunks(6).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    assert_eq!(listed("").len(), 50, "50 for who does not say");
    assert_eq!(listed("&numwant=7").len(), 7);
    assert_eq!(listed("&numwant=-1").len(), 50);
    let all = listed("&numwant=4294967296");
    assert!(all.len() >= 81, "{}", all.len());
    assert_eq!(all.len(), all.iter().collect::<std::collections::BTreeSet<_>>().len());
}

#[test]
fn scrape_counts_without_listing() {
    let (torrent, host, _peer) = tracking("scraped.bin");
    let ip = address();
    http(host.addr, ip, &announce(&torrent, b'1', 6_881, ""));
    http(host.addr, ip, &announce(&torrent, b'2', 6_882, "&event=completed"));
    let hash = escape(&torrent.info_hash);
    let unknown = escape(&[7; 20]);
    let body = [
        b"d5:filesd20:",
        &torrent.info_hash[..],
        b"d8:completei2e10:downloadedi1e11:downloadersi1e10:incompletei1eee",
        b"5:flagsd20:min_request_intervali30eee",
    ]
    .concat();
    for query in [
        format!("info_hash={hash}"),
        format!("info_hash={unknown}&info_hash={hash}&info_hash={hash}"),
    ] {
        same(&http(host.addr, ip, &format!("/scrape?{query}")), &body);
    }
    let none = http(host.addr, ip, &format!("/scrape?info_hash={unknown}"));
    assert!(none.1.starts_with(b"d5:filesde"));
    // What we have is nobody's business.
    assert!(http(host.addr, ip, "/scrape").1.starts_with(b"d14:failure reason"));
}

#[test]
fn what_is_wrong_is_said_as_a_failure_reason() {
    let (torrent, host, mut peer) = tracking("wrong.bin");
    let ip = address();
    let good = announce(&torrent, b'1', 6_881, "");
    let hash = escape(&torrent.info_hash);
    let unknown = good.replace(&hash, &escape(&[7; 20]));
    for target in [
        unknown.clone(),
        good.replace(&hash, &hash[3..]),
        good.replace(&hash, ""),
        good.replace("port=6881", "port=0"),
        good.replace("port=6881", "port=65536"),
        good.replace("port=6881", "port=x"),
        good.replace("peer_id=", "peer_id=%00"),
        format!("{good}&info_hash={hash}"),
        "/announce".to_owned(),
        "/announce?".to_owned(),
        "/announce?%%%&&&===".to_owned(),
    ] {
        let (status, body) = http(host.addr, ip, &target);
        assert_eq!(status, "HTTP/1.1 200 OK", "trackers refuse in the body: {target}");
        assert!(body.starts_with(b"d14:failure reason"), "{target}: {}", body.escape_ascii());
    }
    let reason = b"d14:failure reason36:this peer does not have that torrente";
    same(&http(host.addr, ip, &unknown), reason);
    let page = |request: &[u8]| http_raw(host.addr, ip, request).0;
    for bad in [
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "POST / HTTP/1.1\r\n\r\n",
        "GARBAGE",
        "GET x HTTP/1.1\r\n\r\n",
    ] {
        let status = page(bad.as_bytes());
        assert!(status.starts_with("HTTP/1.1 4"), "{bad:?}: {status}");
    }
    // Too long a head is not read to its end; whether its sender sees the answer is up to TCP.
    let mut wire = Wire::connect(host.addr, ip);
    wire.try_send(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(9_000)).as_bytes());
    wire.expect_closed();
    assert_eq!(peer.stop(), Some(0));
    assert_eq!(peer.said(" announces").len(), 0, "none of them entered");
}

#[test]
fn a_request_one_byte_at_a_time_and_a_head() {
    let (torrent, host, _peer) = tracking("bytes.bin");
    let ip = address();
    let target = announce(&torrent, b'1', 6_881, "");
    let mut wire = Wire::connect(host.addr, ip);
    wire.send_slowly(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    same(&split_answer(&wire.read_to_end()), &expected(1, 1, ip, &[host.addr]));
    let head = http_raw(host.addr, ip, format!("HEAD {target} HTTP/1.1\r\n\r\n").as_bytes());
    assert_eq!(head, ("HTTP/1.1 200 OK".to_owned(), vec![]));
}

/// An answer that is followed by a reset may be lost, and one that is not awaited is none.
#[test]
fn the_answer_reaches_who_asks_too_much_or_ends_its_half() {
    let (torrent, host, _peer) = tracking("odd.bin");
    let ip = address();
    for (request, status) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(60_000)), "431"),
        (format!("POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n{}", "a".repeat(60_000)), "405"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "200"),
        (format!("GET {} HTTP/1.0\r\n\r\n", announce(&torrent, b'1', 6_881, "")), "200"),
    ] {
        let mut stream = TcpStream::connect(host.addr).unwrap();
        stream.set_read_timeout(Some(crate::process::LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{status}: {error}"));
        assert!(split_answer(&answer).0.contains(status), "{}", answer.escape_ascii());
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(9_000));
    assert!(http_raw(host.addr, ip, long.as_bytes()).0.contains("431"), "and ends by itself");
}

#[test]
fn ipv6_peers_are_listed_as_peers6() {
    let ip = IpAddr::from(Ipv6Addr::LOCALHOST);
    if TcpListener::bind((ip, 0)).is_err() {
        return crate::process::skip("ipv6_peers_are_listed_as_peers6", "this host has no [::1]");
    }
    let torrent = Torrent::single("six.bin", PIECE);
    let host = Host::at(ip);
    host.add(&torrent);
    torrent.write_content(&host.shareable());
    let _peer = host.seed();
    http(host.addr, ip, &announce(&torrent, b'1', 6_881, ""));
    let answer = http(host.addr, ip, &announce(&torrent, b'2', 6_882, ""));
    same(&answer, &expected(1, 2, ip, &[host.addr, SocketAddr::new(ip, 6_881)]));
    let answer = http(host.addr, ip, &announce(&torrent, b'2', 6_882, "&compact=0&no_peer_id=1"));
    assert!(answer.1.ends_with(b"d2:ip3:::14:porti6881eeee"), "{}", answer.1.escape_ascii());
}

/// One request to a tracker written by hand; answers it and returns its target.
pub fn answer_once(tracker: &TcpListener, body: &[u8]) -> String {
    answer_once_after(tracker, body, || {})
}

/// The same; `meanwhile` comes between request and answer.
fn answer_once_after(tracker: &TcpListener, body: &[u8], meanwhile: impl FnOnce()) -> String {
    let (mut stream, _) = accept(std::slice::from_ref(tracker));
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut target = String::new();
    reader.read_line(&mut target).unwrap();
    while {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.len() > 2
    } {}
    meanwhile();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    target.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn what_a_peer_tells_a_tracker_and_what_it_takes_from_it() {
    let tracker = TcpListener::bind((address(), 0)).unwrap();
    let url = format!("http://{}/announce", tracker.local_addr().unwrap());
    let torrent = Torrent::announced("told.bin", 3 * PIECE, &url);
    let host = Host::with_torrent(&torrent);
    let mut peer = host.start(&[]);
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let listed = compact(&[host.addr, seeder.local_addr().unwrap()]);
    let body = [&b"d8:intervali1800e5:peers"[..], &string(&listed), b"e"].concat();
    let started = answer_once(&tracker, &body);
    // A class reads it in the log as it was said.
    peer.wait_for(&format!("-> {} GET {started} HTTP/1.1", tracker.local_addr().unwrap()));
    peer.wait_for(&format!(
        "<- {} d8:intervali1800e5:peers12:\\x7f",
        tracker.local_addr().unwrap()
    ));
    let has = |target: &str, pair: &str| {
        let query = target.split_once('?').unwrap().1;
        assert!(query.split('&').any(|part| part == pair), "{pair} in {query}");
    };
    let port = format!("port={}", host.addr.port());
    for pair in ["event=started", "left=98304", "downloaded=0", "uploaded=0", "compact=1", &port] {
        has(&started, pair);
    }
    // The peer of the list is dialed; its own address, which is there as well, is not.
    let (mut wire, _) = Wire::accept(std::slice::from_ref(&seeder));
    wire.expect_handshake(&torrent);
    wire.send(&handshake([0; 8], torrent.info_hash, [b's'; 20]));
    wire.send(&message(crate::wire::BITFIELD, &torrent.full_bitfield()));
    wire.send(&message(UNCHOKE, &[]));
    wire.serve(&torrent, |_| false);
    let completed = answer_once(&tracker, b"d8:intervali1800e5:peers0:e");
    for pair in ["event=completed", "left=0", "downloaded=98304"] {
        has(&completed, pair);
    }
    peer.wait_for("knows 0 peers");
    peer.signal("TERM");
    let stopped = answer_once(&tracker, b"d8:intervali1800e5:peers0:e");
    has(&stopped, "event=stopped");
    assert_eq!(peer.wait_exit().code(), Some(0));
    torrent.expect_content(&host.shareable());
}

#[test]
fn who_is_complete_at_start_never_says_completed() {
    let tracker = TcpListener::bind((address(), 0)).unwrap();
    let url = format!("http://{}/announce", tracker.local_addr().unwrap());
    let torrent = Torrent::announced("had.bin", 3 * PIECE, &url);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let empty = b"d8:intervali1800e5:peers0:e";
    let started = answer_once(&tracker, empty);
    assert!(started.contains("event=started") && started.contains("left=0"), "{started}");
    peer.wait_for("knows 0 peers");
    peer.signal("INT");
    let stopped = answer_once(&tracker, empty);
    assert!(stopped.contains("event=stopped"), "{stopped}");
    assert_eq!(peer.wait_exit().code(), Some(0));
}

#[test]
fn a_torrent_that_is_removed_says_stopped() {
    let tracker = TcpListener::bind((address(), 0)).unwrap();
    let url = format!("http://{}/announce", tracker.local_addr().unwrap());
    let torrent = Torrent::announced("away.bin", 3 * PIECE, &url);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let empty = b"d8:intervali1800e5:peers0:e";
    assert!(answer_once(&tracker, empty).contains("event=started"));
    peer.wait_for("knows 0 peers");
    std::fs::remove_file(host.torrents().join("away.bin.torrent")).unwrap();
    let stopped = answer_once(&tracker, empty);
    assert!(stopped.contains("event=stopped"), "{stopped}");
    peer.wait_for("told: stopped");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn another_tracker_for_a_torrent_at_work_costs_no_peer() {
    let trackers = [0, 1].map(|_| TcpListener::bind((address(), 0)).unwrap());
    let [old, new] =
        [0, 1].map(|n| format!("http://{}/announce", trackers[n].local_addr().unwrap()));
    let torrent = Torrent::announced("moved.bin", 3 * PIECE, &old);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let empty = b"d8:intervali1800e5:peers0:e";
    assert!(answer_once(&trackers[0], empty).contains("event=started"));
    peer.wait_for("knows 0 peers");
    let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
    wire.send(&message(INTERESTED, &[]));
    wire.next_of(UNCHOKE);
    let done = run(host.folder(), &["set-announce", "torrents/moved.bin.torrent", &new]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(answer_once(&trackers[1], empty).contains("event=started"));
    peer.wait_for("moved.bin: other trackers, the same peers");
    wire.expect_block(&torrent, 0, 0, 16 << 10);
    peer.signal("TERM");
    assert!(answer_once(&trackers[1], empty).contains("event=stopped"));
    assert_eq!(peer.wait_exit().code(), Some(0));
}

#[test]
fn who_is_stopped_while_the_tracker_thinks_says_so_still() {
    let tracker = TcpListener::bind((address(), 0)).unwrap();
    let url = format!("http://{}/announce", tracker.local_addr().unwrap());
    let torrent = Torrent::announced("brief.bin", 3 * PIECE, &url);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let empty = b"d8:intervali1800e5:peers0:e";
    let started = answer_once_after(&tracker, empty, || {
        peer.signal("TERM");
        peer.wait_for("stopping");
    });
    assert!(started.contains("event=started"));
    assert!(answer_once(&tracker, empty).contains("event=stopped"));
    assert_eq!(peer.wait_exit().code(), Some(0));
    assert_eq!(peer.said("announce failed"), [""; 0]);
}
