//! Some files of a torrent only (BEP 53): what is fetched, what lies on the disk, what comes later.

use crate::process::{code, run, Host, Peer};
use crate::torrent::Torrent;
use std::fs;
use std::path::{Path, PathBuf};

/// Pieces 4 to 6 hold `sub/c.bin`; with it the end of `sub/b.bin` and the beginning of `d.bin`.
const FILES: &[(&str, usize)] = &[
    ("a.bin", 100_000),
    ("sub/b.bin", 50_000),
    ("sub/c.bin", 70_000),
    ("empty", 0),
    ("d.bin", 40_000),
    ("far.bin", 90_000),
];
const PIECE: usize = 32 * 1024;

fn torrent() -> Torrent {
    Torrent::of("lab", PIECE, FILES, None)
}

fn get(host: &Host, what: &str, from: &Host, more: &[&str]) -> Peer {
    let from = from.addr.to_string();
    let arguments = ["get", what, "--peer", &from, "--output", "downloads"];
    Peer::spawn(host.command().args(arguments).args(more).args(host.arguments()))
}

fn link(torrent: &Torrent, more: &str) -> String {
    format!("magnet:?xt=urn:btih:{}{more}", torrent.hex())
}

/// All files below a folder, hidden ones left out.
fn files_in(folder: &Path) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = left.pop() {
        for entry in fs::read_dir(folder.join(&below)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = below.join(&name);
            if name.starts_with('.') {
                continue;
            }
            match folder.join(&path).is_dir() {
                true => left.push(path),
                false => found.push(path.to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// The bytes of a file of the torrent.
fn bytes_of<'a>(torrent: &'a Torrent, path: &str) -> &'a [u8] {
    let at = FILES.iter().position(|(found, _)| *found == path).unwrap();
    let start: usize = FILES[..at].iter().map(|(_, length)| length).sum();
    &torrent.content[start..start + FILES[at].1]
}

fn expect_chosen(torrent: &Torrent, folder: &Path) {
    let part = ["lab/d.bin.part", "lab/empty", "lab/sub/b.bin.part", "lab/sub/c.bin"];
    assert_eq!(files_in(folder), part);
    let read = |path: &str| fs::read(folder.join("lab").join(path)).unwrap();
    assert!(read("sub/c.bin") == bytes_of(torrent, "sub/c.bin"));
    // The neighbours' bytes in the pieces at the border, and holes.
    let (b, d) = (read("sub/b.bin.part"), read("d.bin.part"));
    let (at, end) = (4 * PIECE - 100_000, 7 * PIECE - 220_000);
    assert!(b[at..] == bytes_of(torrent, "sub/b.bin")[at..] && b[..at].iter().all(|&b| b == 0));
    assert!(d[..end] == bytes_of(torrent, "d.bin")[..end] && d[end..].iter().all(|&b| b == 0));
}

#[test]
fn a_link_names_the_files_and_more_can_be_got_later() {
    let torrent = torrent();
    let seeder = Host::with_content(&torrent);
    let mut seeding = seeder.seed();
    let host = Host::with_torrent(&torrent);
    let downloads = host.folder().join("downloads");

    let mut getting = get(&host, &link(&torrent, "&so=2-3"), &seeder, &[]);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    assert_eq!(getting.said(" ok (").len(), 3, "the pieces 4 to 6 and no other");
    assert_eq!(getting.said("-> partial seed").len(), 1);
    assert!(getting.said("-> seeder").is_empty());
    expect_chosen(&torrent, &downloads);

    let check = run(host.folder(), &["check", "torrents/lab.torrent", "--shareable", "downloads"]);
    assert_eq!(code(&check), 1);
    let said = String::from_utf8(check.stdout).unwrap();
    let told = "lab  not complete: 3 of 11 pieces are good\nlab  2 of 6 files are complete\n";
    assert_eq!(said, told);

    // Again: nothing is fetched, nothing changes.
    let mut getting = get(&host, &link(&torrent, "&so=2-3"), &seeder, &[]);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    assert!(getting.said(" ok (").is_empty());
    expect_chosen(&torrent, &downloads);

    // Another file, then the rest: what is there is not fetched again.
    let select = ["--select", "5"];
    let mut getting = get(&host, "torrents/lab.torrent", &seeder, &select);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    assert_eq!(getting.said(" ok (").len(), 4, "the pieces 7 to 10");
    assert!(fs::read(downloads.join("lab/far.bin")).unwrap() == bytes_of(&torrent, "far.bin"));
    assert!(fs::read(downloads.join("lab/sub/c.bin")).unwrap() == bytes_of(&torrent, "sub/c.bin"));
    let mut getting = get(&host, "torrents/lab.torrent", &seeder, &[]);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    assert_eq!(getting.said(" ok (").len(), 4, "the pieces 0 to 3");
    torrent.expect_content(&downloads);
    assert_eq!(files_in(&downloads).len(), FILES.len(), "no .part is left");
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn a_list_that_names_no_file_is_wrong_usage() {
    let torrent = torrent();
    let seeder = Host::with_content(&torrent);
    let mut seeding = seeder.seed();
    let host = Host::with_torrent(&torrent);
    let only = link(&torrent, "&so=9,11");
    for (what, more) in [
        ("torrents/lab.torrent", &["--select", "6-8"][..]),
        (only.as_str(), &[]),
        ("lab", &["--select", "6"]),
        ("torrents/lab.torrent", &["--select", "1-"]),
    ] {
        let mut getting = get(&host, what, &seeder, more);
        assert_eq!(getting.wait_exit().code(), Some(2), "{what}: {:#?}", getting.said(""));
        let sentence = getting.said("reactor-peer: ").pop().unwrap();
        let told = sentence.contains("it has 6, counted from 0") || more.contains(&"1-");
        assert!(told, "{sentence}");
        assert!(files_in(&host.folder().join("downloads")).is_empty());
    }
    // Of a list with some that are there, those count (BEP 53).
    let mut getting = get(&host, &link(&torrent, "&so=9"), &seeder, &["--select", "2-3,9"]);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    assert_eq!(getting.said("there is no file 9: it has 6").len(), 1);
    expect_chosen(&torrent, &host.folder().join("downloads"));
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn the_main_form_keeps_the_choice_and_serves_what_it_has() {
    let torrent = torrent();
    let seeder = Host::with_content(&torrent);
    let mut seeding = seeder.seed();
    let host = Host::new();
    fs::write(host.torrents().join("lab.magnet"), link(&torrent, "&so=2,3")).unwrap();
    let known = seeder.addr.to_string();
    let mut peer = host.start(&["--peer", &known]);
    peer.wait_for("saved as shareable/lab");
    peer.kill();
    expect_chosen(&torrent, &host.shareable());

    // Killed, it comes back as what it was, and another gets from it what it has.
    assert_eq!(seeding.stop(), Some(0));
    let mut peer = host.start(&["--peer", &known]);
    peer.wait_for("checking -> partial seed");
    expect_chosen(&torrent, &host.shareable());
    let other = Host::with_torrent(&torrent);
    let select = ["--select", "2-3"];
    let mut getting = get(&other, "torrents/lab.torrent", &host, &select);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    expect_chosen(&torrent, &other.folder().join("downloads"));

    // More is chosen while it runs (BEP 53: a link to a torrent that is here).
    let mut seeding = seeder.seed();
    let add = ["add", &link(&torrent, ""), "--select", "4"];
    let added = run(host.folder(), &add);
    assert_eq!(code(&added), 0, "{added:?}");
    peer.wait_for("the chosen files are complete");
    peer.wait_for("saved as");
    assert_eq!(peer.said(" ok (").len(), 1, "only piece 7 was missing");
    let d = fs::read(host.shareable().join("lab/d.bin")).unwrap();
    assert!(d == bytes_of(&torrent, "d.bin"));
    let files = String::from_utf8(run(host.folder(), &["files"]).stdout).unwrap();
    assert_eq!(files.matches("not chosen").count(), 3, "{files}");
    let json = String::from_utf8(run(host.folder(), &["files", "--json"]).stdout).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["files"][4]["chosen"], true);
    assert_eq!(json["files"][5]["chosen"], false);
    assert_eq!(json["files"][5]["index"], 5);
    assert_eq!((peer.stop(), seeding.stop()), (Some(0), Some(0)));
}
