//! Start, signals, ends of every kind, and what is there afterwards.

use crate::process::{address, program, Host, Peer, LIMIT};
use crate::torrent::{Torrent, BLOCK, PIECE};
use crate::tracker::answer_once;
use crate::wire::{self, handshake, message, name, Wire, PLAIN};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the progress of a torrent is kept.
fn record(host: &Host, torrent: &Torrent) -> PathBuf {
    host.torrents().join(format!(".reactor-peer/{}.resume", torrent.hex()))
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // A tracker that takes the goodbye and never answers keeps it waiting.
        let tracker = TcpListener::bind((address(), 0)).unwrap();
        let url = format!("http://{}/announce", tracker.local_addr().unwrap());
        let torrent = Torrent::announced("twice.bin", PIECE, &url);
        let host = Host::with_content(&torrent);
        let mut peer = host.seed();
        answer_once(&tracker, b"d8:intervali1800e5:peers0:e");
        peer.wait_for("knows 0 peers");
        peer.signal(signal);
        peer.wait_for("once more to stop at once");
        drop(Wire::connect(host.addr, address()));
        peer.wait_for("refused: stopping");
        peer.signal(signal);
        assert_eq!(peer.wait_exit().code(), Some(code), "{signal}");
    }
}

#[test]
fn the_log_tells_handshakes_in_the_order_of_the_wire() {
    let torrent = Torrent::single("order.bin", PIECE);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    Wire::join(host.addr, address(), &torrent, PLAIN);
    let lines = [peer.wait_for(" handshake reserved"), peer.wait_for(" handshake reserved")];
    assert!(lines[0].contains("] <- ") && lines[1].contains("] -> "), "{lines:?}");
    // Who keeps its peer id to itself is answered first (BEP 3).
    let theirs = handshake(PLAIN, torrent.info_hash, name());
    let mut wire = Wire::connect(host.addr, address());
    wire.send(&theirs[..48]);
    wire.expect_handshake(&torrent);
    wire.send(&theirs[48..]);
    let lines = [peer.wait_for(" handshake reserved"), peer.wait_for(" handshake reserved")];
    assert!(lines[0].contains("] -> ") && lines[1].contains("] <- "), "{lines:?}");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn a_get_that_is_stopped_ends_with_7_and_leaves_a_part() {
    let torrent = Torrent::single("half.bin", 8 * PIECE);
    let host = Host::with_torrent(&torrent);
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let arguments = ["get", "torrents/half.bin.torrent", "--peer", &known];
    let mut peer = Peer::spawn(host.command().args(arguments).args(host.arguments()));
    let mut wire = seed_from(&seeder, &torrent);
    wire.serve(&torrent, |served| served == 6);
    peer.wait_for(" ok (");
    assert_eq!(peer.stop(), Some(7));
    assert!(host.folder().join("half.bin.part").exists());
    assert!(!host.folder().join("half.bin").exists());
}

#[test]
fn after_sigkill_it_goes_on_where_it_was() {
    let torrent = Torrent::single("killed.bin", 16 * PIECE);
    let host = Host::with_torrent(&torrent);
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known]);
    let mut wire = seed_from(&seeder, &torrent);
    wire.serve(&torrent, |served| served == 20);
    let mut safe = BTreeSet::new();
    while safe.len() < 5 {
        let line = peer.wait_for(" ok (");
        let (_, after) = line.split_once("piece ").unwrap();
        safe.insert(after.split(' ').next().unwrap().parse::<u32>().unwrap());
    }
    peer.kill();
    drop(wire);
    assert!(host.shareable().join("killed.bin.part").exists());

    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    let asked = seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
    let again = asked.iter().filter(|a| safe.contains(&a.index)).count();
    assert_eq!(again, 0, "{safe:?} were there, {asked:?} was asked for");
    assert!(asked.len() < torrent.content.len() / BLOCK - 2 * 5 + 1);
}

#[test]
fn after_sigkill_it_goes_on_in_the_middle_of_a_piece() {
    // One piece: nothing is verified before all of it is there.
    let torrent = Torrent::of("long.bin", 64 * BLOCK, &[("", 64 * BLOCK)], None);
    let host = Host::with_torrent(&torrent);
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known]);
    let record = record(&host, &torrent);
    // The first record has none of them.
    wait_until(|| record.exists());
    let mut wire = seed_from(&seeder, &torrent);
    wire.serve(&torrent, |served| served == 20);
    let begun = b"8:partialslli0e8:";
    wait_until(|| fs::read(&record).unwrap().windows(begun.len()).any(|part| part == begun));
    peer.kill();
    drop(wire);

    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    let asked = seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
    assert!(asked.len() <= 64 - 20, "{} blocks were asked for", asked.len());
}

#[test]
fn content_changed_by_others_while_it_runs_is_checked_at_the_next_start() {
    let torrent = Torrent::single("edited.bin", 4 * PIECE);
    let host = Host::with_content(&torrent);
    host.seed().stop();
    // This time it knows that all is good, and need not look.
    let mut peer = host.seed();
    let mut edited = torrent.content.clone();
    edited[PIECE..2 * PIECE].fill(0);
    fs::write(host.shareable().join("edited.bin"), edited).unwrap();
    assert_eq!(peer.stop(), Some(0));
    let mut peer = host.start(&[]);
    peer.wait_for("3 of 4 pieces are good, fetching the rest");
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn a_start_and_a_stop_that_change_nothing_write_nothing() {
    let [whole, half] = ["whole.bin", "half.bin"].map(|name| Torrent::single(name, 4 * PIECE));
    let host = Host::with_content(&whole);
    host.add(&half);
    let mut part = half.content.clone();
    part[PIECE..2 * PIECE].fill(0);
    fs::write(host.shareable().join("half.bin.part"), part).unwrap();
    let records = [&whole, &half].map(|torrent| record(&host, torrent));
    let inodes = || records.each_ref().map(|path| fs::metadata(path).unwrap().ino());
    let mut before = [0; 2];
    for turn in 0..3 {
        let mut peer = host.start(&[]);
        let known =
            ["whole.bin: checking -> seeder", "half.bin: waiting", "half.bin: checking -> waiting"];
        (0..2).for_each(|_| drop(peer.wait_for_any(&known)));
        assert_eq!(peer.stop(), Some(0));
        // Each record that is written is another file.
        assert!(turn == 0 || inodes() == before, "after start {turn}");
        before = inodes();
    }
}

#[test]
fn a_torrent_whose_file_is_renamed_goes_on() {
    let torrent = Torrent::single("kept.bin", PIECE);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    let (old, new) = (host.torrents().join("kept.bin.torrent"), host.torrents().join("z.torrent"));
    fs::rename(&old, &new).unwrap();
    peer.wait_for("torrents/kept.bin.torrent: renamed torrents/z.torrent");
    // It is known by that name from now on.
    fs::remove_file(&new).unwrap();
    peer.wait_for("torrents/z.torrent: removed");
    assert_eq!(peer.stop(), Some(0));
    assert!(peer.said("kept.bin.torrent: removed").is_empty());
}

#[test]
fn without_a_torrent_the_first_one_is_waited_for_and_that_is_said() {
    let torrent = Torrent::single("first.bin", PIECE);
    let host = Host::new();
    let mut peer = host.start(&["--exit-when-complete"]);
    peer.wait_for("no torrent is here yet: waiting for the first one");
    torrent.write_content(&host.shareable());
    host.add(&torrent);
    peer.wait_for("-> seeder");
    assert_eq!(peer.wait_exit().code(), Some(0));
}

#[test]
fn at_the_end_all_is_saved_however_many_there_are() {
    let host = Host::new();
    let torrents: Vec<_> = (0..300).map(|n| Torrent::single(&format!("t{n}"), BLOCK)).collect();
    for torrent in &torrents {
        host.add(torrent);
        torrent.write_content(&host.shareable());
    }
    let mut peer = host.start(&[]);
    torrents.iter().for_each(|_| drop(peer.wait_for("-> seeder")));
    assert_eq!(peer.stop(), Some(0));
    let unsaved = torrents.iter().filter(|torrent| !record(&host, torrent).exists()).count();
    assert_eq!(unsaved, 0);
}

#[test]
fn content_changed_by_others_is_not_served() {
    let torrent = Torrent::single("changed.bin", 4 * PIECE);
    let host = Host::with_content(&torrent);
    for cut in [false, true] {
        torrent.write_content(&host.shareable());
        let mut peer = host.seed();
        let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
        wire.send(&message(wire::INTERESTED, &[]));
        wire.next_of(wire::UNCHOKE);
        wire.expect_block(&torrent, 0, 0, 16 << 10);
        let path = host.shareable().join("changed.bin");
        let mut edited = torrent.content.clone();
        edited[PIECE..].fill(0);
        edited.truncate(if cut { PIECE } else { 4 * PIECE });
        fs::write(&path, edited).unwrap();
        // Not at once, but soon.
        let deadline = Instant::now() + LIMIT;
        let ask = |wire: &mut Wire| wire.try_send(&wire::span(wire::REQUEST, 0, 0, 9));
        ask(&mut wire);
        while wire.try_next().is_some() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(20));
            ask(&mut wire);
        }
        peer.wait_for("was changed by another program");
        peer.wait_for("1 of 4 pieces are good, fetching the rest");
        let mut wire = Wire::join(host.addr, address(), &torrent, PLAIN);
        wire.send(&message(wire::INTERESTED, &[]));
        assert_eq!(wire.next_of(wire::BITFIELD), [0x80]);
        wire.next_of(wire::UNCHOKE);
        wire.expect_block(&torrent, 0, 0, 16 << 10);
        assert_eq!(peer.stop(), Some(0));
        fs::remove_file(host.shareable().join("changed.bin.part")).unwrap();
    }
}

/// Waits for what shows in a file only.
fn wait_until(there: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !there() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A seeder's side of the next connection, up to where it serves.
fn seed_from(listener: &TcpListener, torrent: &Torrent) -> Wire {
    let (mut wire, _) = Wire::accept(std::slice::from_ref(listener));
    wire.expect_handshake(torrent);
    wire.send(&handshake(PLAIN, torrent.info_hash, name()));
    wire.send(&message(wire::BITFIELD, &torrent.full_bitfield()));
    wire.send(&message(wire::UNCHOKE, &[]));
    wire
}

#[test]
fn any_stdin_will_do() {
    let torrent = Torrent::single("stdin.bin", PIECE);
    let host = Host::with_content(&torrent);
    let script = |redirect: &str| {
        let mut command = Command::new("sh");
        command.current_dir(host.folder()).args(["-c", &format!("exec \"$0\" \"$@\" {redirect}")]);
        command.arg(program()).args(host.arguments());
        Peer::spawn(&mut command)
    };
    // epoll refuses the first two; the third is a descriptor that something else may get.
    for redirect in ["</dev/null", "<torrents/stdin.bin.torrent", "<&-"] {
        let mut peer = script(redirect);
        peer.wait_for("-> seeder");
        Wire::join(host.addr, address(), &torrent, PLAIN);
        assert_eq!(peer.stop(), Some(0), "{redirect}");
    }
}

#[test]
fn a_closed_stderr_does_not_end_it() {
    let torrent = Torrent::single("mute.bin", PIECE);
    let host = Host::with_content(&torrent);
    let log = host.folder().join("log.txt");
    let mut child = Command::new(program())
        .current_dir(host.folder())
        .args(host.arguments())
        .args(["--log-file", "log.txt"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let deadline = std::time::Instant::now() + crate::process::LIMIT;
    while !fs::read_to_string(&log).unwrap_or_default().contains("-> seeder") {
        assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Wire::join(host.addr, address(), &torrent, PLAIN);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let torrent = Torrent::of("unread.bin", 1024, &[("", 1000 * 1024)], None);
    let host = Host::with_content(&torrent);
    let mut child = host
        .command()
        .args(host.arguments())
        .args(["--json", "--log-file", "log.txt"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let leecher = Host::with_torrent(&torrent);
    let mut peer = leecher.start(&["--peer", &host.addr.to_string()]);
    peer.wait_for("-> seeder");
    assert_eq!(peer.stop(), Some(0));
    // A reader who comes late misses nothing.
    let mut stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let said = "announces: stopped";
    wait_until(|| fs::read_to_string(host.folder().join("log.txt")).unwrap().contains(said));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let text = reader.join().unwrap().unwrap();
    assert!(text.len() > 128 << 10, "more than two pipes full");
    assert_eq!(text, fs::read_to_string(host.folder().join("log.txt")).unwrap());
}

#[test]
fn without_descriptors_it_waits_and_does_not_spin() {
    let torrent = Torrent::single("full.bin", PIECE);
    let host = Host::with_content(&torrent);
    let mut command = Command::new("sh");
    command.current_dir(host.folder()).args(["-c", "ulimit -n 32; exec \"$0\" \"$@\""]);
    let mut peer = Peer::spawn(command.arg(program()).args(host.arguments()));
    peer.wait_for("-> seeder");
    let ip = address();
    let crowd: Vec<Wire> = (0..40).map(|_| Wire::connect(host.addr, ip)).collect();
    peer.wait_for("cannot accept");
    let before = cpu_ticks(peer.pid());
    // It says so again with each try; between two tries it rests.
    (0..4).for_each(|_| drop(peer.wait_for("cannot accept")));
    let ticks = cpu_ticks(peer.pid()) - before;
    assert!(ticks < 50, "{ticks} hundredths of a second of CPU in 2 s of rest");
    // When the crowd has gone, the next one is served.
    drop(crowd);
    Wire::join(host.addr, address(), &torrent, PLAIN);
    assert_eq!(peer.stop(), Some(0));
}

#[test]
fn a_torrent_that_comes_while_no_descriptor_is_free_is_taken_later() {
    let torrent = Torrent::single("late.bin", PIECE);
    let host = Host::new();
    torrent.write_content(&host.shareable());
    let mut command = Command::new("sh");
    command.current_dir(host.folder()).args(["-c", "ulimit -n 32; exec \"$0\" \"$@\""]);
    let mut peer = Peer::spawn(command.arg(program()).args(host.arguments()));
    peer.wait_for("no torrents yet");
    let ip = address();
    // More than there is room for, so that others come in where one is hung up on.
    let crowd: Vec<Wire> = (0..100).map(|_| Wire::connect(host.addr, ip)).collect();
    peer.wait_for("cannot accept");
    host.add(&torrent);
    peer.wait_for("cannot read the folder");
    // Nothing in the folder changes from here on.
    drop(crowd);
    peer.wait_for("-> seeder");
    assert_eq!(peer.stop(), Some(0));
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_file_of_the_same_name_is_set_aside_and_never_destroyed() {
    let torrent = Torrent::single("mine.txt", 4 * PIECE);
    let host = Host::with_torrent(&torrent);
    let mine = vec![b'm'; 4 * PIECE];
    fs::write(host.shareable().join("mine.txt"), &mine).unwrap();
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
    assert_eq!(fs::read(host.shareable().join("mine.txt.before")).unwrap(), mine);
}

#[test]
fn good_pieces_of_a_damaged_file_are_kept() {
    let torrent = Torrent::single("adopted.bin", 8 * PIECE);
    let host = Host::with_torrent(&torrent);
    let mut damaged = torrent.content.clone();
    damaged[3 * PIECE + 7] ^= 1;
    fs::write(host.shareable().join("adopted.bin"), &damaged).unwrap();
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    let asked = seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
    let pieces: BTreeSet<u32> = asked.iter().map(|a| a.index).collect();
    assert_eq!(pieces, BTreeSet::from([3]));
    assert_eq!(peer.said("7 of 8 pieces are good, fetching the rest").len(), 1);
}

#[test]
fn damaged_content_behind_a_link_is_left_alone_and_fetched_whole() {
    let torrent = Torrent::single("linked.bin", 8 * PIECE);
    let host = Host::with_torrent(&torrent);
    let mut damaged = torrent.content.clone();
    damaged[3 * PIECE + 7] ^= 1;
    let elsewhere = host.folder().join("mine.bin");
    fs::write(&elsewhere, &damaged).unwrap();
    symlink(&elsewhere, host.shareable().join("linked.bin")).unwrap();
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    let asked = seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
    assert_eq!(asked.len(), 16, "the blocks of all pieces");
    assert_eq!(peer.said("7 of 8 pieces are good, but it is a link").len(), 1);
    assert_eq!(fs::read(elsewhere).unwrap(), damaged);
}

#[test]
fn what_is_replaced_under_a_download_is_not_taken_for_what_was_written() {
    let torrent = Torrent::single("replaced.bin", 8 * PIECE);
    let host = Host::with_torrent(&torrent);
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    let mut wire = seed_from(&seeder, &torrent);
    wire.serve(&torrent, |served| served == 14);
    peer.wait_for("ok (3/8)");
    let part = host.shareable().join("replaced.bin.part");
    fs::remove_file(&part).unwrap();
    fs::write(&part, vec![b'n'; 8 * PIECE]).unwrap();
    // Another one after that, if a flush was in between.
    wire.serve(&torrent, |served| served == 1);
    peer.wait_for("removed or replaced by another program; checking again");
    seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
}

#[test]
fn what_is_cut_short_under_a_download_is_checked_and_goes_on() {
    let torrent = Torrent::single("cut.bin", 8 * PIECE);
    let host = Host::with_torrent(&torrent);
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    let mut wire = seed_from(&seeder, &torrent);
    wire.serve(&torrent, |served| served == 14);
    peer.wait_for("ok (3/8)");
    let part = host.shareable().join("cut.bin.part");
    fs::File::options().write(true).open(&part).unwrap().set_len(PIECE as u64).unwrap();
    wire.serve(&torrent, |served| served == 1);
    peer.wait_for("; checking again");
    seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
}

#[test]
fn a_file_that_is_replaced_after_its_last_write_is_noticed() {
    let torrent = Torrent::of("two", PIECE, &[("a", 4 * PIECE), ("b", 4 * PIECE)], None);
    let host = Host::with_torrent(&torrent);
    let seeder = TcpListener::bind((address(), 0)).unwrap();
    let known = seeder.local_addr().unwrap().to_string();
    let mut peer = host.start(&["--peer", &known, "--exit-when-complete"]);
    let mut wire = seed_from(&seeder, &torrent);
    let asked = wire.serve(&torrent, |served| served == 15);
    wait_until(|| record(&host, &torrent).exists());
    let in_a = asked.iter().filter(|asked| asked.index < 4).count();
    let whole = host.shareable().join("two.part").join(if in_a == 8 { "a" } else { "b" });
    // Both are there at once: the number of a file that is gone may be given to the next one.
    let other = host.shareable().join("other");
    fs::write(&other, vec![b'n'; 4 * PIECE]).unwrap();
    fs::rename(&other, &whole).unwrap();
    wire.serve(&torrent, |served| served == 1);
    peer.wait_for("replaced by another program; checking again");
    seed_from(&seeder, &torrent).serve(&torrent, |_| false);
    assert_eq!(peer.wait_exit().code(), Some(0), "{:#?}", peer.said(""));
    torrent.expect_content(&host.shareable());
}

#[test]
fn usr1_tells_the_status_and_hup_looks_again() {
    let torrent = Torrent::single("signal.bin", PIECE);
    let host = Host::with_content(&torrent);
    let mut peer = host.seed();
    peer.signal("USR1");
    peer.wait_for("signal.bin  seeder  100%");
    peer.signal("HUP");
    peer.signal("USR1");
    peer.wait_for("signal.bin  seeder  100%");
    assert_eq!(peer.stop(), Some(0));
}
