//! The commands that need no network: what they print, write, and end with.

use crate::process::{code, program, run, Host, Peer};
use crate::torrent::Torrent;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints UTF-8")
}

/// One line on stderr, and nothing on stdout.
fn refusal(output: &Output) -> &str {
    assert!(output.stdout.is_empty(), "{output:?}");
    let line = text(&output.stderr).trim_end();
    assert!(line.starts_with("reactor-peer: ") && line.lines().count() == 1, "{line:?}");
    line
}

#[test]
fn create_makes_the_bytes_that_another_hand_makes() {
    let folder = TempDir::new().unwrap();
    let torrent =
        Torrent::of("lab", 16 * 1024, &[("a/b/c/d/e", 40_000), ("none", 0), ("z", 5)], None);
    torrent.write_content(folder.path());
    // What is left out: hidden files, unfinished ones, links.
    fs::write(folder.path().join("lab/.hidden"), "x").unwrap();
    fs::write(folder.path().join("lab/film.part"), "x").unwrap();
    symlink("/etc/passwd", folder.path().join("lab/link")).unwrap();

    let options = ["--piece-length", "16K", "--output", "out.torrent", "--announce", "10.0.0.9"];
    let done = run(folder.path(), &[&["create", "lab"], &options[..]].concat());
    assert_eq!(code(&done), 0, "{done:?}");
    let made = fs::read(folder.path().join("out.torrent")).unwrap();
    assert!(made.starts_with(b"d8:announce8:10.0.0.9"));
    let shown = run(folder.path(), &["show", "--json", "out.torrent"]);
    assert_eq!(code(&shown), 0, "{shown:?}");
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["info_hash"], torrent.hex());
    assert_eq!(shown["length"], 40_005);
    assert_eq!(shown["piece_count"], 3);
    assert_eq!(shown["last_piece_length"], 40_005 - 2 * 16_384);
    assert_eq!(shown["announce"], "10.0.0.9");
    assert_eq!(shown["files"].as_array().unwrap().len(), 3);
    assert_eq!(shown["comment"], serde_json::Value::Null);

    let again = run(folder.path(), &["create", "lab", "--output", "out.torrent"]);
    assert_eq!(code(&again), 2, "it never writes over a file");
    assert!(refusal(&again).contains("out.torrent is there already"));
    assert_eq!(fs::read(folder.path().join("out.torrent")).unwrap(), made);
}

#[test]
fn create_writes_to_stdout_where_that_is_asked_for() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), "x").unwrap();
    assert_eq!(code(&run(folder.path(), &["create", "a", "--output", "a.torrent"])), 0);
    let done = run(folder.path(), &["create", "a", "--output", "-"]);
    assert_eq!(code(&done), 0, "{done:?}");
    assert_eq!(done.stdout, fs::read(folder.path().join("a.torrent")).unwrap());
    assert!(text(&done.stderr).starts_with("info-hash "), "{done:?}");
    assert!(!folder.path().join("-").exists());
}

#[test]
fn create_gives_no_name_that_the_torrents_folder_passes_over() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(".a"), "x").unwrap();
    let done = run(folder.path(), &["create", ".a"]);
    assert!(text(&done.stdout).starts_with("a.torrent  .a  1 B"), "{done:?}");
    assert!(folder.path().join("a.torrent").exists());
}

#[test]
fn create_does_not_die_of_a_closed_stderr() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("lab")).unwrap();
    for name in ["a", ".left-out"] {
        fs::write(folder.path().join("lab").join(name), name).unwrap();
    }
    let (closed, stderr) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(closed);
    let mut command = Command::new(program());
    command.current_dir(folder.path()).args(["create", "lab"]);
    command.stderr(std::os::fd::OwnedFd::from(stderr));
    assert_eq!(command.output().unwrap().status.code(), Some(0));
}

#[test]
fn set_announce_changes_the_outer_dictionary_only() {
    let folder = TempDir::new().unwrap();
    let before = Torrent::announced("age.txt", 100_000, "http://10.0.0.1:5000/announce");
    fs::write(folder.path().join("age.torrent"), &before.bytes).unwrap();
    let done = run(folder.path(), &["set-announce", "age.torrent", "10.0.0.7"]);
    assert_eq!(code(&done), 0, "{done:?}");
    assert!(text(&done.stdout).contains(&format!("{} unchanged", before.hex())));
    let after = fs::read(folder.path().join("age.torrent")).unwrap();
    let info = before.bytes.windows(7).position(|part| part == b"4:infod").unwrap();
    assert!(after.ends_with(&before.bytes[info..]), "the info bytes stay");
    assert!(after.starts_with(b"d8:announce8:10.0.0.7"));
}

#[test]
fn check_tells_complete_from_not() {
    let torrent = Torrent::of("lab", 16 * 1024, &[("a", 40_000), ("none", 0), ("b", 9)], None);
    let host = Host::with_content(&torrent);
    let check = || run(host.folder(), &["check", "torrents/lab.torrent"]);
    let done = check();
    assert_eq!(code(&done), 0, "{done:?}");
    assert_eq!(text(&done.stdout), "lab  complete: 3 of 3 pieces are good\n");
    let done = run(host.folder(), &["check", "torrents/lab.torrent", "--shareable", "no"]);
    assert_eq!(code(&done), 1, "{done:?}");
    let absent = "lab  not complete: 0 of 3 pieces are good; nothing is at no/lab, --shareable names another";
    assert!(text(&done.stdout).starts_with(absent), "{done:?}");

    let mut bytes = fs::read(host.shareable().join("lab/a")).unwrap();
    bytes[20_000] ^= 1;
    fs::write(host.shareable().join("lab/a"), &bytes).unwrap();
    let done = check();
    assert_eq!(code(&done), 1, "{done:?}");
    assert_eq!(
        text(&done.stdout),
        "lab  not complete: 2 of 3 pieces are good\nlab  2 of 3 files are complete\n"
    );
    assert_eq!(fs::read(host.shareable().join("lab/a")).unwrap(), bytes, "it only looks");

    fs::remove_file(host.shareable().join("lab/none")).unwrap();
    bytes[20_000] ^= 1;
    fs::write(host.shareable().join("lab/a"), &bytes).unwrap();
    assert_eq!(code(&check()), 1, "an empty file is a part of it");
}

#[test]
fn bad_torrents_and_bad_usage_are_refused_with_2() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bad.torrent"), b"d4:infod6:lengthi9eee").unwrap();
    for arguments in [
        &["show", "bad.torrent"][..],
        &["show", "--json", "bad.torrent"],
        &["check", "bad.torrent"],
        &["get", "bad.torrent"],
        &["set-announce", "bad.torrent", "10.0.0.1"],
        &["show", "missing.torrent"],
        &["create", "missing"],
        &["create", "bad.torrent", "--announce", "ftp://x/"],
        &["show"],
        &["shwo"],
        &["--listen", "70000"],
        &["--no-such-option"],
        &["--peer", "http://nonsense"],
    ] {
        let done = run(folder.path(), arguments);
        assert_eq!(code(&done), 2, "{arguments:?}: {done:?}");
        refusal(&done);
    }
}

#[test]
fn show_goes_quietly_when_nobody_reads_on() {
    let torrent = Torrent::of("wide", 1, &[("", 40_000)], None);
    let host = Host::with_torrent(&torrent);
    let mut child = Command::new(crate::process::program())
        .args(["show", "torrents/wide.torrent"])
        .current_dir(host.folder())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((code(&done), text(&done.stderr)), (0, ""));
}

#[test]
fn a_port_in_use_is_4_and_no_other_port_is_taken() {
    let host = Host::new();
    let taken = TcpListener::bind(host.addr).unwrap();
    for form in [&[][..], &["get", "torrents/x.torrent"]] {
        host.add(&Torrent::single("x", 10));
        let mut peer = Peer::spawn(host.command().args(form).args(host.arguments()));
        let status = peer.wait_exit();
        assert_eq!(status.code(), Some(4), "{form:?}");
        let told = peer.said("cannot listen");
        assert!(told[0].contains(&format!("port {}: the port is in use", host.addr.port())));
    }
    drop(taken);
}

#[test]
fn an_address_of_another_host_is_4_with_the_mend() {
    let folder = TempDir::new().unwrap();
    // TEST-NET-2: nobody's.
    let done = run(folder.path(), &["--bind", "198.51.100.7"]);
    assert_eq!(code(&done), 4, "{done:?}");
    assert!(refusal(&done).contains("198.51.100.7 is no address of this host"), "{done:?}");
}

#[test]
fn what_is_complete_is_told_in_order_and_not_waited_for() {
    let torrent = Torrent::single("here.bin", 70_000);
    let host = Host::with_content(&torrent);
    let began = Instant::now();
    // The first run checks, the second finds its record.
    for _ in 0..2 {
        let more = ["--json", "--exit-when-complete"];
        let done = host.command().args(host.arguments()).args(more).stdin(Stdio::null()).output();
        let done = done.unwrap();
        assert_eq!(code(&done), 0, "{done:?}");
        let events: Vec<serde_json::Value> =
            text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (&events[0]["event"], &events[1]["event"]),
            (&"started".into(), &"status".into())
        );
        assert_eq!(events[1]["status"], "seeder");
    }
    // Saving by and by, every five seconds, is not waited for.
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[test]
fn with_json_stdout_is_for_programs_only() {
    let host = Host::new();
    fs::write(host.folder().join("told.bin"), "told").unwrap();
    let mut running = host.start(&[]);
    let share = ["share", "told.bin", "--json"];
    let done = host.command().args(share).args(host.arguments()).stdin(Stdio::null()).output();
    let done = done.unwrap();
    assert_eq!(code(&done), 0, "{done:?}");
    assert_eq!(text(&done.stdout), "", "what is said to people is in the log");
    for said in ["info-hash ", "get told.bin\n", "a peer runs here already"] {
        assert!(text(&done.stderr).contains(said), "{done:?}");
    }
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn why_it_ends_is_in_the_log_file_too_and_a_slip_makes_no_folders() {
    let folder = TempDir::new().unwrap();
    for slip in ["get no.torrent", "share no.iso"] {
        let mut words: Vec<&str> = slip.split(' ').collect();
        words.extend(["--log-file", "log"]);
        let done = run(folder.path(), &words);
        assert_eq!(code(&done), 2, "{done:?}");
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(log.ends_with(&text(&done.stderr)) && log.contains(words[1]), "{log}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the log alone");
}

#[test]
fn a_file_of_peers_may_come_from_any_editor() {
    let host = Host::with_content(&Torrent::single("known.bin", 9));
    let ended = |text: &str| {
        fs::write(host.folder().join("peers"), text).unwrap();
        let more = ["--peers-file", "peers", "--exit-when-complete"];
        let done = host.command().args(host.arguments()).args(more).stdin(Stdio::null()).output();
        done.unwrap()
    };
    let good = "\u{feff}# a class\r\n 127.0.0.1/5001 # ours\r\n\r\n[::1]:5001\nlocalhost:5001";
    assert_eq!(code(&ended(good)), 0);
    let done = ended("127.0.0.1\n\nnot a host\n");
    assert_eq!(code(&done), 2);
    assert!(refusal(&done).contains("peers, line 3: not a host: "), "{done:?}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let folder = TempDir::new().unwrap();
    let help = run(folder.path(), &["--help"]);
    assert_eq!(code(&help), 0);
    for option in ["--listen", "--max-conns", "--bind", "--peer", "--state"] {
        assert!(text(&help.stdout).contains(option), "{option}");
    }
    let version = run(folder.path(), &["--version"]);
    assert_eq!(text(&version.stdout), concat!("reactor-peer ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn the_samples_of_the_tree_are_complete() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for torrent in fs::read_dir(root.join("torrents")).unwrap() {
        let path = torrent.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "torrent") {
            let done = run(root, &["check", path.to_str().unwrap()]);
            assert_eq!(code(&done), 0, "{done:?}");
        }
    }
}
