//! The tracker asked and told by hand.

use super::*;
use crate::wire::announce::{build_query, parse_answer, AnnounceAnswer, AnswerError};

const HASH: InfoHash = InfoHash([1; 20]);
const OURS: PeerId = PeerId([b'o'; 20]);
const THEIRS: PeerId = PeerId([b't'; 20]);
const LOCAL: &str = "10.0.0.9:5000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

fn tracker() -> Tracker {
    let mut tracker = Tracker::new(OURS, 5000, [7; 16]);
    tracker.track(HASH, 0);
    tracker
}

fn query(port: u16) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: HASH,
        peer_id: THEIRS,
        port,
        uploaded: 0,
        downloaded: 0,
        left: 9,
        event: Event::None,
        compact: true,
        no_peer_id: false,
        numwant: None,
        key: None,
        tracker_id: None,
    }
}

fn ask(t: &mut Tracker, now: u64, remote: &str, local: &str, target: &str) -> (String, Answer) {
    let bytes = format!("GET {target} HTTP/1.1\r\n\r\n");
    let request = http::parse_request(bytes.as_bytes()).unwrap().unwrap();
    let answer = t.respond(at(now), addr(remote), addr(local), &request);
    let response = http::parse_response(&answer.bytes, false).unwrap().unwrap();
    (format!("{} {}", response.status, String::from_utf8_lossy(&response.body)), answer)
}

fn announce(t: &mut Tracker, now: u64, ip: &str, q: &AnnounceRequest) -> AnnounceAnswer {
    let target = format!("/announce?{}", build_query(q));
    let (_, answer) = ask(t, now, &format!("{ip}:40000"), LOCAL, &target);
    parse_answer(&http::parse_response(&answer.bytes, false).unwrap().unwrap().body).unwrap()
}

fn peers(t: &mut Tracker, ip: &str, q: &AnnounceRequest) -> Vec<String> {
    announce(t, 0, ip, q).peers.iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_asker_gets_us_and_the_second_both() {
    let mut t = tracker();
    let target = format!("/announce?{}", build_query(&query(6000)));
    let (_, answer) = ask(&mut t, 0, "[::ffff:10.0.0.1]:40000", LOCAL, &target);
    let announced = answer.announced.unwrap();
    assert_eq!((announced.addr, announced.peer_id), (addr("10.0.0.1:6000"), THEIRS));
    assert_eq!(peers(&mut t, "10.0.0.1", &query(6000)), ["10.0.0.9:5000"]);
    assert_eq!(peers(&mut t, "10.0.0.2", &query(6000)), ["10.0.0.9:5000", "10.0.0.1:6000"]);
    let answer = announce(&mut t, 0, "10.0.0.1", &query(6000));
    assert_eq!(answer.peers, [addr("10.0.0.9:5000"), addr("10.0.0.2:6000")]);
    assert_eq!((answer.interval, answer.min_interval), (INTERVAL, Some(INTERVAL_MIN)));
    assert_eq!((answer.complete, answer.incomplete), (Some(1), Some(2)));
    assert_eq!(answer.external_ip, Some(IpAddr::from([10, 0, 0, 1])));
}

#[test]
fn the_entry_is_named_by_the_announced_port() {
    let mut t = tracker();
    let _ = announce(&mut t, 0, "10.0.0.1", &query(6000));
    let _ = announce(&mut t, 0, "10.0.0.1", &query(6001));
    let target = format!("/announce?{}&ip=8.8.8.8", build_query(&query(6000)));
    let _ = ask(&mut t, 0, "10.0.0.1:41000", LOCAL, &target);
    assert_eq!(t.counts(&HASH), (1, 2, 0));
    assert_eq!(peers(&mut t, "10.0.0.1", &query(6001)), ["10.0.0.9:5000", "10.0.0.1:6000"]);
}

#[test]
fn events_move_the_counts() {
    let mut t = tracker();
    let say = |t: &mut Tracker, event| {
        let _ = announce(t, 0, "10.0.0.1", &AnnounceRequest { event, ..query(6000) });
        t.counts(&HASH)
    };
    assert_eq!(say(&mut t, Event::Started), (1, 1, 0));
    assert_eq!(say(&mut t, Event::Completed), (2, 0, 1));
    assert_eq!(say(&mut t, Event::Completed), (2, 0, 1));
    let stopped = AnnounceRequest { event: Event::Stopped, ..query(6000) };
    assert_eq!(announce(&mut t, 0, "10.0.0.1", &stopped).peers, []);
    assert_eq!(t.counts(&HASH), (1, 0, 1));
}

#[test]
fn a_download_counts_though_the_wire_showed_it_first() {
    let mut t = tracker();
    let _ = announce(&mut t, 0, "10.0.0.1", &query(6000));
    t.learn(at(1), HASH, addr("10.0.0.1:6000"), THEIRS, Some(0));
    let completed = AnnounceRequest { event: Event::Completed, ..query(6000) };
    for _ in 0..2 {
        let _ = announce(&mut t, 2, "10.0.0.1", &completed);
        t.learn(at(3), HASH, addr("10.0.0.1:6000"), THEIRS, Some(0));
        assert_eq!(t.counts(&HASH), (2, 0, 1));
    }
}

#[test]
fn our_own_status_counts() {
    let mut t = Tracker::new(OURS, 5000, [7; 16]);
    t.track(HASH, 7);
    assert_eq!(t.counts(&HASH), (0, 1, 0));
    t.completed(HASH);
    assert_eq!(t.counts(&HASH), (1, 0, 1));
    // All was there at the start: nobody has downloaded anything.
    let other = InfoHash([2; 20]);
    t.track(other, 7);
    t.track(other, 0);
    assert_eq!(t.counts(&other), (1, 0, 0));
    t.untrack(&HASH);
    assert_eq!(t.counts(&HASH), (0, 0, 0));
}

#[test]
fn who_is_away_is_neither_listed_nor_counted_and_still_answers() {
    let mut t = tracker();
    let _ = announce(&mut t, 0, "10.0.0.1", &query(6000));
    t.set_away(HASH, true);
    assert_eq!(t.counts(&HASH), (0, 1, 0));
    assert_eq!(peers(&mut t, "10.0.0.2", &query(6000)), ["10.0.0.1:6000"]);
    t.set_away(HASH, false);
    assert_eq!(t.counts(&HASH), (1, 2, 0));
    let all = ["10.0.0.9:5000", "10.0.0.1:6000"];
    assert_eq!(peers(&mut t, "10.0.0.2", &query(6000)), all);
}

#[test]
fn silence_of_two_intervals_ends_an_entry() {
    let mut t = tracker();
    assert_eq!(t.poll_timeout(), None);
    let _ = announce(&mut t, 0, "10.0.0.1", &query(1));
    let _ = announce(&mut t, 50, "10.0.0.2", &query(1));
    let _ = announce(&mut t, 60, "10.0.0.1", &query(1));
    assert_eq!(t.poll_timeout(), Some(at(120)));
    t.handle_timeout(at(120));
    assert_eq!(t.counts(&HASH), (1, 2, 0));
    assert_eq!(t.poll_timeout(), Some(at(170)));
    t.handle_timeout(at(169));
    assert_eq!(t.counts(&HASH), (1, 2, 0));
    t.handle_timeout(at(170));
    assert_eq!(t.counts(&HASH), (1, 1, 0));
    t.handle_timeout(at(180));
    assert_eq!((t.counts(&HASH), t.poll_timeout()), ((1, 0, 0), None));
}

#[test]
fn the_wire_adds_and_removes() {
    let mut t = tracker();
    t.learn(at(0), HASH, addr("[::ffff:10.0.0.1]:6000"), THEIRS, Some(0));
    assert_eq!(t.counts(&HASH), (2, 0, 0));
    t.learn(at(0), HASH, addr("10.0.0.1:6000"), THEIRS, None);
    assert_eq!(t.counts(&HASH), (2, 0, 0));
    t.learn(at(0), HASH, addr("10.0.0.2:6000"), THEIRS, None);
    assert_eq!(t.counts(&HASH), (2, 1, 0));
    t.handle_lost(HASH, end("10.0.0.1:6000"));
    assert_eq!(t.counts(&HASH), (1, 1, 0));
    t.learn(at(0), HASH, addr("10.0.0.3:1"), OURS, None);
    t.learn(at(0), HASH, addr("0.0.0.0:1"), THEIRS, None);
    t.learn(at(0), InfoHash([2; 20]), addr("10.0.0.3:1"), THEIRS, None);
    t.handle_lost(InfoHash([2; 20]), end("10.0.0.3:1"));
    assert_eq!(t.counts(&HASH), (1, 1, 0));
}

/// The end of a connection with the one that listens there; its name is in no entry.
fn end(text: &str) -> End {
    let addr = addr(text);
    End { ip: addr.ip(), port: Some(addr.port()), peer_id: PeerId([0; 20]) }
}

#[test]
fn who_is_connected_is_listed_however_seldom_it_announces() {
    let mut t = tracker();
    let _ = announce(&mut t, 0, "10.0.0.1", &query(6000));
    let _ = announce(&mut t, 0, "10.0.0.2", &query(6000));
    let _ = announce(&mut t, 0, "10.0.0.3", &query(6000));
    // Without a port of its own saying it is known by its name.
    let named = End { ip: IpAddr::from([10, 0, 0, 2]), port: None, peer_id: THEIRS };
    for second in (10..=300).step_by(10) {
        t.handle_alive(at(second), HASH, end("10.0.0.1:6000"));
        t.handle_alive(at(second), HASH, named);
        t.handle_timeout(at(second));
    }
    assert_eq!(t.counts(&HASH), (1, 2, 0), "the third was silent for two intervals");
    t.handle_lost(HASH, named);
    assert_eq!(t.counts(&HASH), (1, 1, 0));
    t.handle_timeout(at(300 + 121));
    assert_eq!(t.counts(&HASH), (1, 0, 0), "connected no more, and silent");
}

#[test]
fn a_seeder_that_parted_from_us_is_still_there() {
    let mut t = tracker();
    let _ = announce(&mut t, 0, "10.0.0.1", &AnnounceRequest { left: 0, ..query(6000) });
    t.handle_parted(at(1), HASH, end("10.0.0.1:6000"));
    t.handle_timeout(at(330));
    assert_eq!(t.counts(&HASH), (2, 0, 0));
    // An announce never shortens its life.
    let _ = announce(&mut t, 330, "10.0.0.1", &AnnounceRequest { left: 0, ..query(6000) });
    t.handle_timeout(at(590));
    assert_eq!(t.counts(&HASH), (2, 0, 0));
    t.handle_timeout(at(602));
    assert_eq!(t.counts(&HASH), (1, 0, 0));
}

#[test]
fn hearsay_is_listed_but_is_no_news_and_gives_way() {
    let mut t = tracker();
    t.hear(at(0), HASH, addr("10.0.0.1:6000"), true);
    assert_eq!((t.counts(&HASH), t.take_news()), ((2, 0, 0), vec![]));
    assert!(peers(&mut t, "10.0.0.5", &query(9)).contains(&"10.0.0.1:6000".to_owned()));
    let asker = News { info_hash: HASH, addr: addr("10.0.0.5:9"), came: Some(false) };
    assert_eq!(t.take_news(), [asker]);
    let named = AnnounceRequest { compact: false, ..query(9) };
    assert!(!peers(&mut t, "10.0.0.5", &named).contains(&"10.0.0.1:6000".to_owned()));
    t.unhear(HASH, addr("10.0.0.1:6000"));
    t.unhear(HASH, addr("10.0.0.5:9"));
    assert_eq!(t.first_hand(&HASH).collect::<Vec<_>>(), [(addr("10.0.0.5:9"), false)]);
    assert_eq!(t.counts(&HASH), (1, 1, 0));
    // Heard of first, then seen: that is news, and hearsay does not take it back.
    t.hear(at(0), HASH, addr("10.0.0.2:1"), false);
    t.learn(at(0), HASH, addr("10.0.0.2:1"), THEIRS, None);
    t.hear(at(0), HASH, addr("10.0.0.2:1"), true);
    let came = News { info_hash: HASH, addr: addr("10.0.0.2:1"), came: Some(false) };
    assert_eq!(t.take_news(), [came]);
    t.handle_lost(HASH, end("10.0.0.2:1"));
    t.handle_timeout(at(120));
    let gone = |text| News { came: None, addr: addr(text), info_hash: HASH };
    assert_eq!(t.take_news(), [gone("10.0.0.2:1"), gone("10.0.0.5:9")]);
}

#[test]
fn who_says_stopped_is_gone() {
    let mut t = tracker();
    let _ = announce(&mut t, 0, "10.0.0.1", &query(1));
    let _ = t.take_news();
    let _ = announce(&mut t, 0, "10.0.0.1", &AnnounceRequest { event: Event::Stopped, ..query(1) });
    let gone = News { info_hash: HASH, addr: addr("10.0.0.1:1"), came: None };
    assert_eq!(t.take_news(), [gone]);
}

#[test]
fn we_are_not_a_peer_of_ourselves() {
    let mut t = tracker();
    let own = AnnounceRequest { peer_id: OURS, ..query(5000) };
    let target = format!("/announce?{}", build_query(&own));
    let (_, answer) = ask(&mut t, 0, "10.0.0.7:40000", LOCAL, &target);
    assert_eq!(answer.announced, None);
    assert_eq!(t.counts(&HASH), (1, 0, 0));
    assert_eq!(announce(&mut t, 0, "10.0.0.9", &query(5000)).peers, []);
    assert_eq!(t.counts(&HASH), (1, 0, 0));
}

#[test]
fn unknown_torrents_leave_no_trace() {
    let mut t = tracker();
    let q = AnnounceRequest { info_hash: InfoHash([2; 20]), ..query(1) };
    let target = format!("/announce?{}", build_query(&q));
    let (text, answer) = ask(&mut t, 0, "10.0.0.1:1", LOCAL, &target);
    let reason = "this peer does not have that torrent";
    assert_eq!(text, format!("200 d14:failure reason{}:{reason}e", reason.len()));
    assert_eq!((answer.announced, t.swarms.len()), (None, 1));
    let (text, _) = ask(&mut t, 0, "10.0.0.1:1", LOCAL, "/announce?port=1");
    assert_eq!(text, "200 d14:failure reason20:info_hash is missinge");
    let body = text.strip_prefix("200 ").unwrap();
    assert!(matches!(parse_answer(body.as_bytes()), Err(AnswerError::Failure(..))));
}

#[test]
fn lists_are_capped_and_take_turns() {
    let mut t = tracker();
    for i in 0..250 {
        t.learn(at(0), HASH, addr(&format!("10.0.1.{i}:1")), THEIRS, None);
    }
    let count = |t: &mut Tracker, numwant| {
        announce(t, 0, "10.0.0.1", &AnnounceRequest { numwant, ..query(1) }).peers.len()
    };
    assert_eq!(count(&mut t, None), NUMWANT_DEFAULT);
    assert_eq!(count(&mut t, Some(1_000_000)), TRACKER_NUMWANT_MAX);
    assert_eq!(count(&mut t, Some(0)), 0);
    assert_eq!(count(&mut t, Some(1)), 1);
    let mut seen = alloc::collections::BTreeSet::new();
    for _ in 0..6 {
        seen.extend(announce(&mut t, 0, "10.0.0.1", &query(1)).peers);
    }
    assert_eq!(seen.len(), 251);
}

#[test]
fn the_table_has_a_bound() {
    let mut t = tracker();
    for port in 1..=1_000 {
        t.learn(at(0), HASH, SocketAddr::from(([10, 0, 0, 1], port)), THEIRS, None);
    }
    assert_eq!(t.counts(&HASH).1, ENTRIES_OF_IP_MAX as u64);
    for i in 0..TRACKER_ENTRIES_MAX {
        let [.., a, b] = u32::try_from(i).unwrap().to_be_bytes();
        t.learn(at(0), HASH, SocketAddr::from(([10, 1, a, b], 1)), THEIRS, None);
    }
    assert_eq!(t.counts(&HASH).1, TRACKER_ENTRIES_MAX as u64);
    let _ = announce(&mut t, 0, "10.2.0.1", &query(1));
    assert_eq!(t.counts(&HASH).1, TRACKER_ENTRIES_MAX as u64);
    t.learn(at(0), HASH, addr("10.0.0.1:1"), THEIRS, Some(0));
    assert_eq!(t.counts(&HASH).0, 2);
}

#[test]
fn addresses_that_mean_nothing_to_the_asker_are_left_out() {
    let mut t = tracker();
    for peer in ["127.0.0.1:1", "[fe80::1]:2", "[2001:db8::1]:3", "10.0.0.2:4"] {
        t.learn(at(0), HASH, addr(peer), THEIRS, None);
    }
    let lan = ["10.0.0.9:5000", "10.0.0.2:4", "[2001:db8::1]:3"];
    assert_eq!(peers(&mut t, "10.0.0.1", &query(9)), lan);
    let here = peers(&mut t, "127.0.0.1", &query(9));
    assert!(here.contains(&"127.0.0.1:1".to_owned()) && here.contains(&lan[1].to_owned()));
    let link = peers(&mut t, "[fe80::2]", &query(9));
    assert!(link.contains(&"[fe80::1]:2".to_owned()));
}

#[test]
fn dictionaries_for_who_wants_them() {
    let mut t = tracker();
    let q = AnnounceRequest { compact: false, ..query(1) };
    let (text, _) = ask(&mut t, 0, "10.0.0.1:2", LOCAL, &format!("/announce?{}", build_query(&q)));
    let us = "5:peersld2:ip8:10.0.0.97:peer id20:oooooooooooooooooooo4:porti5000eee";
    assert!(text.contains(us), "{text}");
    let q = AnnounceRequest { no_peer_id: true, ..q };
    let (text, _) = ask(&mut t, 0, "10.0.0.1:2", LOCAL, &format!("/announce?{}", build_query(&q)));
    assert!(!text.contains("peer id"));
}

#[test]
fn partial_seeds_are_no_downloaders() {
    let mut t = tracker();
    t.track(HASH, 100);
    let downloaders = |t: &mut Tracker| {
        let target = format!("/scrape?info_hash={}", "%01".repeat(20));
        let (text, _) = ask(t, 0, "10.0.0.1:1", LOCAL, &target);
        let (_, text) = text.split_once("11:downloadersi").unwrap();
        let (downloaders, text) = text.split_once("e10:incompletei").unwrap();
        (downloaders.to_owned(), text.split('e').next().unwrap().to_owned())
    };
    let mut say = |event, left| {
        let query = AnnounceRequest { event, left, ..query(6000) };
        let _ = announce(&mut t, 0, "10.0.0.1", &query);
        downloaders(&mut t)
    };
    assert_eq!(say(Event::Started, 5), ("2".into(), "2".into()));
    assert_eq!(say(Event::Paused, 5), ("1".into(), "2".into()));
    assert_eq!(say(Event::None, 5), ("2".into(), "2".into()));
    assert_eq!(say(Event::Paused, 0), ("1".into(), "1".into()), "it is a seeder after all");
    t.partial_seed(HASH, true);
    assert_eq!(downloaders(&mut t), ("0".into(), "1".into()));
    t.partial_seed(HASH, false);
    assert_eq!(downloaders(&mut t), ("1".into(), "1".into()));
}

#[test]
fn scrapes_and_other_paths() {
    let mut t = tracker();
    let hash = "%01".repeat(20);
    let (text, _) = ask(&mut t, 0, "10.0.0.1:1", LOCAL, &format!("/scrape?info_hash={hash}"));
    assert!(
        text.contains("d8:completei1e10:downloadedi0e11:downloadersi0e10:incompletei0ee"),
        "{text}"
    );
    let unknown = format!("/scrape?info_hash={}", "a".repeat(20));
    assert!(ask(&mut t, 0, "10.0.0.1:1", LOCAL, &unknown).0.starts_with("200 d5:filesde"));
    assert!(ask(&mut t, 0, "10.0.0.1:1", LOCAL, "/scrape").0.contains("failure reason"));
    assert!(ask(&mut t, 0, "10.0.0.1:1", LOCAL, "/etc/passwd").0.starts_with("404 "));
    let head = http::parse_request(b"HEAD / HTTP/1.1\r\n\r\n").unwrap().unwrap();
    let answer = t.respond(at(0), addr("10.0.0.1:1"), addr(LOCAL), &head);
    assert!(answer.bytes.ends_with(b"\r\n\r\n"));
}
