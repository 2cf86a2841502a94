//! Two peers of ours: everything from .torrent to identical bytes.

use crate::process::{Host, Peer};
use crate::torrent::{Torrent, PIECE};
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Stdio;

/// A `get` on `host` from a peer at `from`.
fn get(host: &Host, torrent: &Torrent, from: SocketAddr) -> Peer {
    let file = format!("torrents/{}.torrent", torrent.name);
    let from = from.to_string();
    let arguments = ["get", &file, "--peer", &from, "--output", "downloads"];
    Peer::spawn(host.command().args(arguments).args(host.arguments()))
}

#[test]
fn get_brings_identical_bytes_and_ends_with_0() {
    let files = [("a/b/c/d/e.bin", 300_000), ("empty", 0), ("f", 1), ("g/h", 100_001)];
    let torrent = Torrent::of("lab", 32 * 1024, &files, None);
    let seeder = Host::with_content(&torrent);
    let mut seeding = seeder.seed();
    let other = Host::with_torrent(&torrent);
    let mut getting = get(&other, &torrent, seeder.addr);
    let status = getting.wait_exit();
    assert_eq!(status.code(), Some(0), "{:#?}", getting.said(""));
    torrent.expect_content(&other.folder().join("downloads"));
    let seeder_lines = getting.said("-> seeder");
    assert_eq!(seeder_lines.len(), 1, "one line for one change: {seeder_lines:?}");
    // Nobody has lost or fetched anything twice.
    assert_eq!(getting.said("does not match").len(), 0);
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn a_name_is_asked_for_until_somebody_has_it() {
    let torrent = Torrent::single("later.bin", PIECE);
    let (seeder, other) = (Host::with_content(&torrent), Host::new());
    let from = seeder.addr.to_string();
    let arguments = ["get", "later.bin", "--peer", &from, "--output", ".", "--wait", "0"];
    let mut getting = Peer::spawn(other.command().args(arguments).args(other.arguments()));
    getting.wait_for("no host has later.bin: 1 asked, none answered");
    let mut seeding = seeder.seed();
    assert_eq!(getting.wait_exit().code(), Some(0));
    torrent.expect_content(other.folder());
    assert_eq!(getting.said("no host has").len(), 1, "once");
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn padding_is_hashed_and_neither_asked_for_nor_stored() {
    // A block and two whole pieces of padding, and blocks that are so in part.
    let files = [("a", 10_000), (".pad/88304", 88_304), ("b/c", 50_000), (".pad/15536", 15_536)];
    let torrent = Torrent::of("padded", 32 * 1024, &files, None);
    let seeder = Host::with_content(&torrent);
    let mut seeding = seeder.seed();
    let other = Host::with_torrent(&torrent);
    let mut getting = get(&other, &torrent, seeder.addr);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    torrent.expect_content(&other.folder().join("downloads"));
    for folder in [seeder.shareable(), other.folder().join("downloads")] {
        assert!(!folder.join("padded/.pad").exists());
    }
    // One block of the first file, four of the second.
    let to = format!("-> {} request", seeder.addr);
    let asked = getting.said(&to);
    assert_eq!(asked.len(), 5, "{asked:#?}");
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn the_announce_alone_brings_two_peers_to_the_first() {
    let first = Host::new();
    let torrent = Torrent::announced("age.txt", 500_000, &first.addr.to_string());
    first.add(&torrent);
    torrent.write_content(&first.shareable());
    let mut tracking = first.start(&[]);
    tracking.wait_for("we are the tracker");

    let others = [Host::with_torrent(&torrent), Host::with_torrent(&torrent)];
    let mut fetching: Vec<Peer> =
        others.iter().map(|host| host.start(&["--exit-when-complete"])).collect();
    for (host, peer) in others.iter().zip(&mut fetching) {
        let status = peer.wait_exit();
        assert_eq!(status.code(), Some(0), "{:#?}", peer.said(""));
        torrent.expect_content(&host.shareable());
    }
    assert_eq!(tracking.stop(), Some(0));
    for host in &others {
        let told = tracking.said(&format!("{} announces: completed", host.addr));
        assert_eq!(told.len(), 1, "completed is said exactly once");
    }
}

#[test]
fn the_command_that_is_printed_works_as_printed() {
    let torrent = Torrent::single("sam's ple.bin", 200_000);
    let seeder = Host::with_content(&torrent);
    // Neither a bad .torrent nor one without content is an example, be it the first or the last.
    for name in ["a.torrent", "z.torrent"] {
        std::fs::write(seeder.torrents().join(name), "no").unwrap();
    }
    seeder.add(&Torrent::single("not here.bin", 200_000));
    // As a student would start it, but for the address.
    let (ip, port) = (seeder.addr.ip().to_string(), seeder.addr.port().to_string());
    let mut peer =
        Peer::spawn(seeder.command().args(["--bind", &ip, "--listen", &port, "--max-conns", "3"]));
    let line = peer.wait_for("to get it in a second terminal: ");
    peer.wait_for("-> seeder");
    let (_, command) = line.split_once("terminal: ").unwrap();
    let done = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(seeder.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{command}: {done:?}");
    torrent.expect_content(&seeder.folder().join("downloads"));
}

#[test]
fn a_torrent_added_and_removed_while_running() {
    let (one, two) = (Torrent::single("one.bin", 70_000), Torrent::single("two.bin", 70_000));
    let host = Host::with_content(&one);
    let mut peer = host.seed();
    two.write_content(&host.shareable());
    host.add(&two);
    peer.wait_for("two.bin: checking -> seeder");
    std::fs::write(host.torrents().join("bad.torrent"), "no").unwrap();
    peer.wait_for("bad.torrent: refused");
    std::fs::remove_file(host.torrents().join("one.bin.torrent")).unwrap();
    peer.wait_for("one.bin.torrent: removed");
    assert_eq!(peer.said("bad.torrent").len(), 1, "said once");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn a_torrent_that_another_kept_out_comes_in_when_that_one_goes() {
    let torrent = Torrent::single("twice.bin", 70_000);
    let host = Host::with_content(&torrent);
    let twin = |name: &str| host.torrents().join(name);
    std::fs::write(twin("twin.torrent"), &torrent.bytes).unwrap();
    let mut peer = host.seed();
    peer.wait_for("twin.torrent: refused: the same torrent as torrents/twice.bin.torrent");
    std::fs::remove_file(twin("twice.bin.torrent")).unwrap();
    peer.wait_for("twice.bin.torrent: removed");
    peer.wait_for("twice.bin: checking -> seeder");
    assert_eq!(peer.said("refused").len(), 1, "said once");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn ipv6_works_alike() {
    let ip = IpAddr::from(Ipv6Addr::LOCALHOST);
    if TcpListener::bind((ip, 0)).is_err() {
        return crate::process::skip("ipv6_works_alike", "this host has no [::1]");
    }
    let torrent = Torrent::single("six.bin", 300_000);
    let seeder = Host::at(ip);
    seeder.add(&torrent);
    torrent.write_content(&seeder.shareable());
    let mut seeding = seeder.seed();
    let other = Host::at(ip);
    other.add(&torrent);
    let mut getting = get(&other, &torrent, seeder.addr);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    torrent.expect_content(&other.folder().join("downloads"));
    let connected = getting.said("connected to [::1]:");
    assert!(!connected.is_empty());
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn hosts_with_copied_state_folders_still_find_each_other() {
    let torrent = Torrent::single("copied.bin", 3 * PIECE);
    let first = Host::with_content(&torrent);
    let mut seeder = first.seed();
    let second = Host::with_torrent(&torrent);
    let name = ".reactor-peer/peer-id";
    fs::create_dir(second.torrents().join(".reactor-peer")).unwrap();
    fs::copy(first.torrents().join(name), second.torrents().join(name)).unwrap();
    let known = first.addr.to_string();
    let mut peer = second.start(&["--peer", &known, "--exit-when-complete"]);
    seeder.wait_for("has our peer id");
    assert_eq!(peer.wait_exit().code(), Some(0));
    torrent.expect_content(&second.shareable());
    let [first, second] = [first, second].map(|host| fs::read(host.torrents().join(name)).unwrap());
    assert_ne!(first, second, "the new name is kept");
}
