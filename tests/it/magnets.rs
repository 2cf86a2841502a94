//! `get` of a magnet link, with no tracker, no DHT and no discovery: a peer named with the link is
//! all there is.

use crate::process::{address, Host, Peer};
use crate::torrent::Torrent;
use crate::wire::{self, handshake, message, name, Wire, EXTENDED};
use sha1::{Digest, Sha1};
use std::fs;
use std::net::{SocketAddr, TcpListener};

/// Our own id for `ut_metadata` (BEP 10), as this end of the wire says it.
const UT_METADATA: u8 = 3;

fn get(host: &Host, info_hash: &str, from: SocketAddr) -> Peer {
    let (link, from) = (format!("magnet:?xt=urn:btih:{info_hash}"), from.to_string());
    let arguments = ["get", &link, "--peer", &from, "--output", "downloads"];
    Peer::spawn(host.command().args(arguments).args(host.arguments()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn get_ends_with_0_when_all_is_there() {
    let torrent = Torrent::of("lab", 32 * 1024, &[("a/b", 100_000), ("c", 5)], None);
    let seeder = Host::with_content(&torrent);
    let mut seeding = seeder.seed();
    let other = Host::new();
    let mut getting = get(&other, &torrent.hex(), seeder.addr);
    assert_eq!(getting.wait_exit().code(), Some(0), "{:#?}", getting.said(""));
    torrent.expect_content(&other.folder().join("downloads"));
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn get_ends_with_1_when_the_content_cannot_be_written() {
    let torrent = Torrent::of("lab", 32 * 1024, &[("a/b", 100_000), ("c", 5)], None);
    let seeder = Host::with_content(&torrent);
    let mut seeding = seeder.seed();
    let other = Host::new();
    fs::create_dir(other.folder().join("downloads")).unwrap();
    fs::write(other.folder().join("downloads/lab.part"), "a file, and no folder").unwrap();
    let mut getting = get(&other, &torrent.hex(), seeder.addr);
    assert_eq!(getting.wait_exit().code(), Some(1), "{:#?}", getting.said(""));
    let sentence = getting.said("reactor-peer: ");
    assert!(sentence[0].contains(": cannot create downloads/lab.part"), "{sentence:?}");
    assert_eq!(seeding.stop(), Some(0));
}

#[test]
fn get_ends_with_1_when_the_torrent_is_of_version_2() {
    let info =
        b"d9:file treed1:xd0:d6:lengthi1eeee12:meta versioni2e4:name1:x12:piece lengthi16384ee";
    let info_hash: [u8; 20] = Sha1::digest(info).into();
    let seeder = [TcpListener::bind((address(), 0)).unwrap()];
    let other = Host::new();
    let mut getting = get(&other, &hex(&info_hash), seeder[0].local_addr().unwrap());

    let (mut wire, _) = Wire::accept(&seeder);
    wire.read::<68>();
    wire.send(&handshake(EXTENDED, info_hash, name()));
    let size = info.len();
    let hello = format!("d1:md11:ut_metadatai{UT_METADATA}ee13:metadata_sizei{size}ee");
    wire.send(&message(wire::EXTENSION, &[b"\0", hello.as_bytes()].concat()));
    let theirs = wire.next_of(wire::EXTENSION);
    let key = b"11:ut_metadatai";
    let at = theirs.windows(key.len()).position(|part| part == key).unwrap();
    let id = theirs[at + key.len()] - b'0';
    let asked = wire.next_of(wire::EXTENSION);
    assert_eq!(asked, [&[UT_METADATA][..], b"d8:msg_typei0e5:piecei0ee"].concat());
    let head = format!("d8:msg_typei1e5:piecei0e10:total_sizei{size}ee");
    wire.send(&message(wire::EXTENSION, &[&[id], head.as_bytes(), &info[..]].concat()));
    assert_eq!(getting.wait_exit().code(), Some(1), "{:#?}", getting.said(""));
    let sentence = getting.said("reactor-peer: ");
    assert!(sentence[0].contains("version 2"), "{sentence:?}");
}
