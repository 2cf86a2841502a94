//! The control socket: lines of JSON, those that take a while among them.

use crate::process::{run, Host};
use crate::torrent::Torrent;
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// Sends lines in one go; the answers, in order.
fn ask(host: &Host, lines: &[Value]) -> Vec<Value> {
    let path = host.torrents().join(".reactor-peer/control");
    let mut stream = UnixStream::connect(path).unwrap();
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    stream.write_all(lines.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = BufReader::new(stream).lines().map(|line| line.unwrap());
    answers.map(|line| serde_json::from_str(&line).unwrap()).collect()
}

#[test]
fn who_and_get_are_answered_in_their_time_and_in_order() {
    let torrent = Torrent::single("sought.bin", 90_000);
    let holder = Host::with_content(&torrent);
    let _holding = holder.seed();
    let host = Host::new();
    let mut peer = host.start(&["--peer", &holder.addr.to_string()]);

    let line = |command: &str, name: &str| json!({ "command": command, "argument": name });
    let answers = ask(
        &host,
        &[
            line("who", "sought.bin"),
            json!({ "command": "status" }),
            line("who", "sougth.bin"),
            line("get", "sougth.bin"),
            line("get", "sought.bin"),
            json!({ "command": "peers" }),
        ],
    );
    assert_eq!(answers.len(), 6, "{answers:#?}");
    let holders = json!([{
        "address": holder.addr.to_string(), "percent": 100, "status": "seeder",
    }]);
    let found = json!([{ "info_hash": torrent.hex(), "holders": holders }]);
    assert_eq!(answers[0]["result"]["torrents"], found);
    assert_eq!(answers[0]["result"]["here"], Value::Null);
    assert_eq!(answers[1]["result"]["torrents"], json!([]), "status comes behind who");
    assert_eq!(answers[2]["result"]["torrents"], json!([]));
    let why = answers[3]["error"].as_str().unwrap();
    assert!(why.contains("check the spelling (1 asked; there is: sought.bin)"), "{why}");
    assert_eq!(answers[4]["result"]["info_hash"], torrent.hex());
    assert!(answers[5]["result"]["peers"].is_array());
    peer.wait_for("peer -> seeder");

    // From the command line; nobody is exit code 3.
    let who = |name: &str| run(host.folder(), &["who", name, "--json"]);
    let done = who("sought.bin");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((done.status.code(), &told["here"]["percent"]), (Some(0), &json!(100)));
    torrent.expect_content(&host.shareable());
    let done = who("sougth.bin");
    assert_eq!(done.status.code(), Some(3), "{done:?}");
}

#[test]
fn a_magnet_link_is_removed_while_its_metadata_is_being_fetched() {
    let host = Host::new();
    let mut peer = host.start(&[]);
    let hash = "b".repeat(40);
    let link = format!("magnet:?xt=urn:btih:{hash}&dn=nowhere.bin");
    let line = |command: &str, name: &str| json!({ "command": command, "argument": name });
    assert_eq!(ask(&host, &[line("add", &link)])[0]["ok"], true);
    peer.wait_for("nowhere.bin: fetching the metadata");
    let answers = ask(&host, &[line("pause", "nowhere.bin"), line("remove", "nowhere.bin")]);
    assert!(answers[0]["error"].as_str().unwrap().contains("only the metadata"), "{answers:?}");
    assert_eq!(answers[1]["ok"], true, "{answers:?}");
    peer.wait_for(&format!("{hash}.magnet: removed"));
    assert_eq!(ask(&host, &[json!({ "command": "status" })])[0]["result"]["torrents"], json!([]));
    assert_eq!(peer.stop(), Some(0));
}
