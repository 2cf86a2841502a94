//! Torrents that cannot come in, and what becomes of them when that changes.

use crate::process::{address, program, run, Host, Peer};
use crate::torrent::{Torrent, PIECE};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{chown, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Content that gets its room on a thread.
const ROOM_BYTES: usize = 5 << 20;
/// Somebody without rights.
const NOBODY: u32 = 65_534;

/// A host where a folder has the place of the file that is to be downloaded.
fn in_the_way(torrent: &Torrent) -> Host {
    let host = Host::with_torrent(torrent);
    fs::create_dir(host.shareable().join(format!("{}.part", torrent.name))).unwrap();
    host
}

#[test]
fn what_the_disk_refused_is_tried_again_by_itself() {
    let torrent = Torrent::single("waits.bin", PIECE);
    let host = in_the_way(&torrent);
    let mut peer = host.start(&[]);
    peer.wait_for("waits.bin.torrent: refused: cannot create");
    fs::remove_dir(host.shareable().join("waits.bin.part")).unwrap();
    peer.wait_for("waits.bin: waiting for peers");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn two_that_get_no_room_do_not_chase_each_other() {
    let torrents = ["one.bin", "two.bin"].map(|name| Torrent::single(name, ROOM_BYTES));
    let host = in_the_way(&torrents[0]);
    fs::create_dir(host.shareable().join("two.bin.part")).unwrap();
    host.add(&torrents[1]);
    let mut peer = host.start(&[]);
    peer.wait_for("one.bin.torrent: refused: cannot create");
    peer.wait_for("two.bin.torrent: refused: cannot create");
    fs::remove_dir(host.shareable().join("two.bin.part")).unwrap();
    peer.wait_for("two.bin: waiting for peers");
    for line in ["one.bin: reserving", "two.bin: reserving", "refused: cannot create"] {
        let expected = if line.starts_with("refused") { 2 } else { 1 };
        assert_eq!(peer.said(line).len(), expected, "{line}");
    }
    let length = host.shareable().join("two.bin.part").metadata().unwrap().len();
    assert_eq!(length, ROOM_BYTES as u64);
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn get_fails_where_there_is_no_room() {
    let torrent = Torrent::single("none.bin", ROOM_BYTES);
    let host = in_the_way(&torrent);
    let get = ["get", "torrents/none.bin.torrent", "--output", "shareable"].map(str::to_owned);
    let arguments = [get.to_vec(), host.arguments()].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run(host.folder(), &arguments);
    let last = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{last}");
    assert!(last.lines().last().is_some_and(|line| line.contains("cannot create")), "{last}");
}

#[test]
fn a_torrent_that_a_dot_hides_is_told_of() {
    let torrent = Torrent::single(".dotted.bin", PIECE);
    let host = Host::with_torrent(&torrent);
    fs::write(host.torrents().join("._else.torrent"), "what macOS writes").unwrap();
    let mut peer = host.start(&[]);
    peer.wait_for("no torrents yet");
    assert_eq!(peer.said(".dotted.bin.torrent is passed over: a dot hides it").len(), 1);
    assert_eq!(peer.said("_else"), [""; 0]);
    let (hidden, seen) = (".dotted.bin.torrent", "dotted.torrent");
    fs::rename(host.torrents().join(hidden), host.torrents().join(seen)).unwrap();
    peer.wait_for(".dotted.bin: waiting for peers");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn too_few_descriptors_are_called_by_their_name() {
    let host = Host::new();
    let mut command = Command::new("sh");
    command.current_dir(host.folder()).args(["-c", "ulimit -n 8; exec \"$0\" \"$@\""]);
    let done = command.arg(program()).args(host.arguments()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(4), "{said}");
    assert!(said.contains("too many open files; raise the limit"), "{said}");
}

#[test]
fn hup_tries_what_was_refused() {
    let torrent = Torrent::single("again.bin", PIECE);
    let host = in_the_way(&torrent);
    let mut peer = host.start(&[]);
    peer.wait_for("again.bin.torrent: refused");
    peer.signal("HUP");
    // Who asks is told.
    peer.wait_for("again.bin.torrent: refused");
    fs::remove_dir(host.shareable().join("again.bin.part")).unwrap();
    torrent.write_content(&host.shareable());
    peer.signal("HUP");
    peer.wait_for("again.bin: checking -> seeder");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn exit_when_complete_fails_where_a_torrent_is_refused() {
    let torrent = Torrent::single("good.bin", PIECE);
    let host = Host::with_content(&torrent);
    fs::write(host.torrents().join("bad.torrent"), "no").unwrap();
    let arguments = [host.arguments(), vec!["--exit-when-complete".to_owned()]].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run(host.folder(), &arguments);
    let last = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{last}");
    assert!(last.lines().last().is_some_and(|line| line.contains("bad.torrent: ")), "{last}");
    // A bad one alone is not waited for.
    fs::remove_file(host.torrents().join("good.bin.torrent")).unwrap();
    assert_eq!(run(host.folder(), &arguments).status.code(), Some(1));
    // Twice the same is no failure: the content is there.
    fs::remove_file(host.torrents().join("bad.torrent")).unwrap();
    host.add(&torrent);
    fs::write(host.torrents().join("twin.torrent"), &torrent.bytes).unwrap();
    assert_eq!(run(host.folder(), &arguments).status.code(), Some(0));
}

#[test]
fn content_that_we_may_not_read_stays_where_it_is() {
    let torrent = Torrent::single("theirs.bin", 2 * PIECE);
    let host = Host::with_content(&torrent);
    let content = host.shareable().join("theirs.bin");
    let mode = |mode| fs::set_permissions(&content, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o200);
    // The super-user may read everything.
    let own = host.folder().join("program");
    fs::copy(program(), &own).unwrap();
    let mut command = Command::new(&own);
    if chown(host.folder(), Some(NOBODY), None).is_ok() {
        [host.torrents(), host.shareable(), content.clone()]
            .iter()
            .for_each(|path| chown(path, Some(NOBODY), None).unwrap());
        command.uid(NOBODY);
    }
    let mut peer = Peer::spawn(command.current_dir(host.folder()).args(host.arguments()));
    peer.wait_for("theirs.bin.torrent: refused: cannot read shareable/theirs.bin");
    assert!(content.exists());
    mode(0o600);
    peer.wait_for("theirs.bin: checking -> seeder");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn what_is_still_refused_is_not_told_again_when_a_torrent_goes() {
    let torrent = Torrent::single("goes.bin", PIECE);
    let host = Host::with_content(&torrent);
    fs::create_dir(host.torrents().join("folder.torrent")).unwrap();
    let mut peer = host.seed();
    peer.wait_for("folder.torrent: refused: it is not a regular file");
    fs::remove_file(host.torrents().join("goes.bin.torrent")).unwrap();
    peer.wait_for("goes.bin.torrent: removed");
    host.add(&torrent);
    peer.wait_for("goes.bin: checking -> seeder");
    assert_eq!(peer.stop(), Some(0));
    assert_eq!(peer.said("folder.torrent: refused").len(), 1);
}

#[test]
fn share_leaves_no_link_where_it_fails() {
    let host = Host::new();
    let output = run(host.folder(), &["share", "/dev/null"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(fs::read_dir(host.shareable()).unwrap().count(), 0);
}

#[test]
fn a_host_that_we_leave_is_not_said_to_lack_the_torrent() {
    let torrent = Torrent::single("pushed.bin", PIECE);
    let host = Host::with_content(&torrent);
    let silent = TcpListener::bind((address(), 0)).unwrap();
    let known = silent.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known]);
    peer.wait_for(&format!("-> {known} handshake"));
    assert_eq!(peer.stop(), Some(0));
    assert_eq!(peer.said("does not have this torrent").len(), 0);
}
