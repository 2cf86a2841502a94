//! The announcer by itself, in virtual time.

use super::request::NUMWANT;
use super::tracker::{HOST_PAUSE_MAX, PAUSE_MAX};
use super::*;
use crate::units::id::{InfoHash, PeerId};
use crate::wire::announce::AnnounceRequest;
use crate::wire::announce::{build_answer, build_failure, parse_query, Listing, PeerForm};
use crate::wire::udp_tracker::{self as udp, Request, Response};
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

const STATS: Stats = Stats {
    info_hash: InfoHash([1; 20]),
    peer_id: PeerId([2; 20]),
    port: 5000,
    uploaded: 3,
    downloaded: 4,
    left: 5,
};

fn ms(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn at(seconds: u64) -> Instant {
    ms(seconds * 1000)
}

fn announcer(announce: Option<&str>, tiers: &[&[&str]]) -> Announcer {
    let list: Vec<Vec<String>> =
        tiers.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect();
    let (mut a, errors) = Announcer::new(announce, &list, &mut Rng::new(7));
    assert_eq!(errors, []);
    a.start(at(0));
    a
}

/// The attempt due now, as `host:port event`.
fn poll(a: &mut Announcer, now: Instant) -> Option<String> {
    let attempt = a.poll(now)?;
    assert_eq!(a.poll(now), None, "one at a time");
    assert_eq!(a.poll_timeout(), None);
    Some(format!("{} {:?}", attempt.target, attempt.event))
}

fn body(interval: u64, min: u64) -> Vec<u8> {
    let listing = Listing {
        interval: Duration::from_secs(interval),
        min_interval: Duration::from_secs(min),
        complete: 1,
        incomplete: 0,
        external_ip: Some(IpAddr::from([9, 9, 9, 9])),
        peers: vec![("10.0.0.1:5000".parse().unwrap(), PeerId([3; 20]))],
    };
    http::answer(200, "text/plain", &build_answer(&listing, PeerForm::Compact))
}

fn succeed(a: &mut Announcer, now: Instant) {
    let done = Progress::Done(vec!["10.0.0.1:5000".parse().unwrap()]);
    assert_eq!(a.handle_answer(now, &body(60, 30), false), done);
}

fn redirect(a: &mut Announcer, now: Instant, location: &str) -> Progress {
    let bytes = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    a.handle_answer(now, bytes.as_bytes(), false)
}

fn requested(a: &Announcer) -> String {
    String::from_utf8(a.request(&STATS)).unwrap()
}

#[test]
fn started_then_nothing_at_the_interval() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    assert_eq!(a.poll_timeout(), Some(at(0)));
    assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Started");
    let bytes = body(60, 30);
    for cut in 0..bytes.len() {
        assert_eq!(a.handle_answer(at(0), &bytes[..cut], false), Progress::NeedMore);
    }
    succeed(&mut a, at(0));
    assert_eq!(a.status(), "http://10.0.0.9:5000/announce: 1 peers");
    assert_eq!(a.external_ip(), Some(IpAddr::from([9, 9, 9, 9])));
    assert_eq!(a.poll_timeout(), Some(at(60)));
    assert_eq!(poll(&mut a, ms(59_999)), None);
    assert_eq!(poll(&mut a, at(60)).unwrap(), "10.0.0.9:5000 None");
    succeed(&mut a, at(61));
    assert_eq!(a.poll_timeout(), Some(at(121)));
}

#[test]
fn the_request_says_it_all() {
    let mut a = announcer(Some("http://t.example/a?pass=1"), &[]);
    assert_eq!(a.request(&STATS), b"");
    let _ = a.poll(at(0)).unwrap();
    let text = requested(&a);
    assert!(text.starts_with("GET /a?pass=1&info_hash=%01%01"), "{text}");
    let target = text.split(' ').nth(1).unwrap();
    let query = parse_query(target.split_once('?').unwrap().1).unwrap();
    assert_eq!((query.info_hash, query.peer_id), (STATS.info_hash, STATS.peer_id));
    assert_eq!((query.port, query.uploaded, query.downloaded, query.left), (5000, 3, 4, 5));
    assert_eq!((query.event, query.numwant), (Event::Started, Some(NUMWANT)));
    assert_eq!(query.key.map(|key| key.len()), Some(8));
}

#[test]
fn who_resumes_says_started_again_after_stopped() {
    let mut a = announcer(Some("http://x.a/"), &[]);
    a.start(at(0));
    assert!(poll(&mut a, at(0)).unwrap().ends_with("Started"));
    succeed(&mut a, at(0));
    // Resumed before `stopped` was said: as if nothing had been.
    a.stop(at(1));
    a.resume(at(1));
    assert!(poll(&mut a, at(1)).unwrap().ends_with("None"));
    succeed(&mut a, at(1));
    // Resumed while it was on its way.
    a.stop(at(2));
    assert!(poll(&mut a, at(2)).unwrap().ends_with("Stopped"));
    a.resume(at(2));
    succeed(&mut a, at(2));
    assert!(poll(&mut a, at(2)).unwrap().ends_with("Started"));
    succeed(&mut a, at(2));
    // Resumed long after.
    a.stop(at(3));
    assert!(poll(&mut a, at(3)).unwrap().ends_with("Stopped"));
    succeed(&mut a, at(3));
    assert!(a.is_idle());
    a.resume(at(99));
    assert!(poll(&mut a, at(99)).unwrap().ends_with("Started"));
}

#[test]
fn which_announces_count() {
    let hosts = |a: &Announcer| {
        let all = a.tiers.iter().filter(|tier| !tier.is_empty()).map(|tier| {
            tier.iter().map(|t| t.announce.target.to_string()).collect::<Vec<_>>().join(" ")
        });
        all.collect::<Vec<_>>().join(", ")
    };
    // BEP 12: the list overrides the URL; a bare announce comes before the list.
    assert_eq!(hosts(&announcer(Some("http://x.a/"), &[&["http://y.a/"]])), "y.a:80");
    let a = announcer(Some("10.0.0.9"), &[&["http://y.a/"], &["10.0.0.9", "10.0.0.8"]]);
    assert_eq!(hosts(&a), "10.0.0.9:5000, y.a:80, 10.0.0.8:5000");
    let bare: Vec<_> = a.bare_peers().map(ToString::to_string).collect();
    assert_eq!(bare, ["10.0.0.9:5000", "10.0.0.8:5000"]);
    assert_eq!(hosts(&announcer(Some("http://x.a/"), &[&[], &[""]])), "x.a:80");
    let list = [vec!["wss://t:1".to_owned(), "http://a b".to_owned()]];
    let (a, errors) = Announcer::new(Some("http://x.a/"), &list, &mut Rng::new(1));
    assert_eq!((hosts(&a).as_str(), errors.len()), ("x.a:80", 2));
    let (mut a, errors) = Announcer::new(None, &[], &mut Rng::new(1));
    a.start(at(0));
    assert!(a.is_idle() && errors.is_empty() && a.poll_timeout().is_none());
}

#[test]
fn a_tier_is_shuffled_and_a_long_list_is_cut() {
    let tier: Vec<_> = (0..200).map(|i| format!("http://t{i}.a/")).collect();
    let (a, _) = Announcer::new(None, core::slice::from_ref(&tier), &mut Rng::new(1));
    let (b, _) = Announcer::new(None, &[tier], &mut Rng::new(2));
    let order =
        |a: &Announcer| a.tiers[0].iter().map(|t| t.announce.url.clone()).collect::<Vec<_>>();
    assert_eq!(order(&a).len(), TRACKERS_MAX);
    assert_ne!(order(&a), order(&b));
}

#[test]
fn tiers_in_order_and_the_one_that_answers_first() {
    let mut a = announcer(None, &[&["http://a.a/", "http://b.a/"], &["http://c.a/"]]);
    let first = poll(&mut a, at(0)).unwrap();
    a.handle_failure(at(0), "refused");
    let second = poll(&mut a, at(0)).unwrap();
    assert_ne!(first, second);
    succeed(&mut a, at(0));
    // BEP 12: the second is now the first of its tier.
    assert_eq!(poll(&mut a, at(60)).unwrap(), second.replace("Started", "None"));
    a.handle_failure(at(60), "refused");
    assert_eq!(poll(&mut a, at(60)).unwrap(), first);
    a.handle_failure(at(60), "refused");
    assert_eq!(poll(&mut a, at(60)).unwrap(), "c.a:80 Started");
    a.handle_failure(at(60), "refused\n");
    assert_eq!(a.status(), "http://c.a/: refused\\n");
    assert_eq!(poll(&mut a, at(60)), None);
    assert!(a.poll_timeout().unwrap() > at(60));
}

#[test]
fn a_lan_tracker_that_is_late_is_found_at_once() {
    for announce in ["10.0.0.9", "http://192.168.1.1:5000/announce", "http://lab/announce"] {
        let mut a = announcer(Some(announce), &[]);
        let mut now = at(0);
        while now < at(600) {
            assert!(poll(&mut a, now).unwrap().ends_with("Started"));
            a.handle_failure(now, "refused");
            let next = a.poll_timeout().unwrap();
            let (low, high) = (1000, 1250);
            let pause = u64::try_from((next - now).as_millis()).unwrap();
            assert!((low..=high).contains(&pause), "{pause} at {now:?}");
            now = next;
        }
        let _ = poll(&mut a, now).unwrap();
        succeed(&mut a, now);
        assert_eq!(a.poll_timeout(), Some(now + Duration::from_secs(60)));
    }
}

#[test]
fn another_tracker_is_left_alone_longer_and_longer() {
    let mut a = announcer(Some("http://t.example/"), &[]);
    let (mut now, mut pauses) = (at(0), Vec::new());
    for _ in 0..20 {
        let _ = poll(&mut a, now).unwrap();
        a.handle_failure(now, "refused");
        let next = a.poll_timeout().unwrap();
        pauses.push(next - now);
        now = next;
    }
    assert!(pauses[0] <= Duration::from_secs(1) && pauses[0] >= Duration::from_millis(750));
    assert!(pauses.windows(2).take(9).all(|pair| pair[0] < pair[1]));
    assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
    assert!(pauses[19] >= PAUSE_MAX * 3 / 4);
}

#[test]
fn completed_is_said_once() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    a.completed(at(1));
    succeed(&mut a, at(2));
    assert_eq!(poll(&mut a, at(2)).unwrap(), "10.0.0.9:5000 Completed");
    a.handle_failure(at(2), "reset");
    assert!(a.owes_completed());
    assert_eq!(poll(&mut a, at(4)).unwrap(), "10.0.0.9:5000 Completed");
    succeed(&mut a, at(4));
    assert!(!a.owes_completed());
    assert_eq!(poll(&mut a, at(5)), None);
    assert_eq!(poll(&mut a, at(64)).unwrap(), "10.0.0.9:5000 None");
    succeed(&mut a, at(64));
    a.completed(at(65));
    assert_eq!(poll(&mut a, at(65)).unwrap(), "10.0.0.9:5000 Completed");
}

#[test]
fn a_tracker_that_does_not_know_us_hears_started_first() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    a.completed(at(0));
    assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Started");
    succeed(&mut a, at(0));
    assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Completed");
}

#[test]
fn a_partial_seed_says_paused_in_every_announce() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Started");
    succeed(&mut a, at(0));
    a.partial_seed(at(10));
    assert_eq!(poll(&mut a, at(29)), None, "not before the min interval");
    assert_eq!(poll(&mut a, at(30)).unwrap(), "10.0.0.9:5000 Paused");
    assert!(requested(&a).contains("&event=paused"));
    succeed(&mut a, at(30));
    assert_eq!(poll(&mut a, at(90)).unwrap(), "10.0.0.9:5000 Paused");
    succeed(&mut a, at(90));
    a.stop(at(91));
    assert_eq!(poll(&mut a, at(91)).unwrap(), "10.0.0.9:5000 Stopped");
    // So at the start as well, and who has heard it hears that we leave.
    let mut a = announcer(Some("10.0.0.9"), &[]);
    a.partial_seed(at(0));
    a.start(at(0));
    assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Paused");
    succeed(&mut a, at(0));
    assert!(!a.owes_completed());
    a.stop(at(1));
    assert_eq!(poll(&mut a, at(1)).unwrap(), "10.0.0.9:5000 Stopped");
}

#[test]
fn stopped_goes_to_who_answered() {
    let mut a = announcer(None, &[&["http://a.a/"], &["http://b.a/"]]);
    let _ = poll(&mut a, at(0)).unwrap();
    a.handle_failure(at(0), "refused");
    let _ = poll(&mut a, at(0)).unwrap();
    succeed(&mut a, at(0));
    a.stop(at(10));
    assert!(!a.is_idle());
    assert_eq!(a.poll_timeout(), Some(at(10)));
    assert_eq!(poll(&mut a, at(10)).unwrap(), "b.a:80 Stopped");
    assert!(requested(&a).contains("event=stopped&numwant=0"));
    succeed(&mut a, at(11));
    assert!(a.is_idle() && a.poll(at(1000)).is_none());
    a.start(at(20));
    assert_eq!(poll(&mut a, at(20)).unwrap(), "a.a:80 Started");
}

#[test]
fn stopped_is_tried_once_and_only_if_we_were_known() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    a.stop(at(0));
    assert!(a.is_idle());

    let mut a = announcer(Some("10.0.0.9"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    a.stop(at(0));
    assert!(!a.is_idle());
    a.handle_failure(at(1), "reset");
    assert!(a.is_idle());

    let mut a = announcer(Some("10.0.0.9"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    a.stop(at(0));
    succeed(&mut a, at(1));
    assert_eq!(poll(&mut a, at(1)).unwrap(), "10.0.0.9:5000 Stopped");
    a.handle_failure(at(2), "reset");
    assert!(a.is_idle());
}

#[test]
fn a_pause_does_not_hold_back_stopped() {
    let mut a = announcer(Some("http://t.example/"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    succeed(&mut a, at(0));
    let _ = poll(&mut a, at(60)).unwrap();
    a.handle_failure(at(60), "reset");
    a.stop(at(60));
    assert_eq!(poll(&mut a, at(60)).unwrap(), "t.example:80 Stopped");
}

#[test]
fn wanting_peers_waits_for_the_min_interval() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    succeed(&mut a, at(0));
    a.want_peers(at(10));
    assert_eq!(a.poll_timeout(), Some(at(30)));
    a.want_peers(at(40));
    assert_eq!(a.poll_timeout(), Some(at(30)));
    let _ = poll(&mut a, at(40)).unwrap();
    succeed(&mut a, at(40));
    a.want_peers(at(75));
    assert_eq!(a.poll_timeout(), Some(at(75)));
}

#[test]
fn intervals_are_obeyed_within_reason() {
    let day = 24 * 3600;
    let cases = [(60, 30, 60), (0, 0, 5), (30, 90, 90), (7_200, 5_400, 7_200), (99_999, 5, day)];
    for (interval, min, due) in cases {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        let _ = a.handle_answer(at(0), &body(interval, min), false);
        assert_eq!(a.poll_timeout(), Some(at(due)));
    }
}

#[test]
fn ourselves_are_never_asked_again() {
    let mut a = announcer(Some("10.0.0.9"), &[&["http://b.a/"]]);
    let _ = poll(&mut a, at(0)).unwrap();
    a.handle_own(at(0));
    assert_eq!(poll(&mut a, at(0)).unwrap(), "b.a:80 Started");
    succeed(&mut a, at(0));
    assert_eq!(poll(&mut a, at(60)).unwrap(), "b.a:80 None");

    let mut a = announcer(Some("10.0.0.9"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    a.handle_own(at(0));
    assert_eq!(a.status(), "we are the tracker");
    a.completed(at(1));
    a.want_peers(at(1));
    a.start(at(1));
    assert!(a.is_idle() && a.poll(at(1000)).is_none());
}

#[test]
fn redirections_are_followed_five_times() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    assert_eq!(redirect(&mut a, at(0), "http://b.a:81/x"), Progress::Redirect);
    assert_eq!(a.poll_timeout(), Some(Instant::ORIGIN));
    assert_eq!(poll(&mut a, at(0)).unwrap(), "b.a:81 Started");
    assert!(requested(&a).starts_with("GET /x?info_hash=%01"));
    assert_eq!(redirect(&mut a, at(0), "/y?info_hash=z"), Progress::Redirect);
    assert_eq!(poll(&mut a, at(0)).unwrap(), "b.a:81 Started");
    assert!(requested(&a).starts_with("GET /y?info_hash=z HTTP"));
    for _ in 0..3 {
        assert_eq!(redirect(&mut a, at(0), "//c.a/z"), Progress::Redirect);
        assert_eq!(poll(&mut a, at(0)).unwrap(), "c.a:80 Started");
    }
    let end = Progress::Failed("it redirects without end".into());
    assert_eq!(redirect(&mut a, at(0), "/"), end);
    assert!(a.poll_timeout().unwrap() >= at(1));
    // The next attempt begins at the announce again, and its success is the announce's.
    assert_eq!(poll(&mut a, at(2)).unwrap(), "10.0.0.9:5000 Started");
    assert_eq!(redirect(&mut a, at(2), "/again"), Progress::Redirect);
    let _ = poll(&mut a, at(2)).unwrap();
    succeed(&mut a, at(2));
    assert_eq!(poll(&mut a, at(62)).unwrap(), "10.0.0.9:5000 None");
}

#[test]
fn redirections_that_lead_nowhere_fail() {
    for location in ["udp://b.a:1/", "http://b.a:0/", "ftp://b.a/"] {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        assert!(matches!(redirect(&mut a, at(0), location), Progress::Failed(_)), "{location}");
    }
    let mut a = announcer(Some("10.0.0.9"), &[]);
    let _ = poll(&mut a, at(0)).unwrap();
    let nowhere = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";
    assert!(matches!(a.handle_answer(at(0), nowhere, false), Progress::Failed(_)));
    let _ = poll(&mut a, at(2)).unwrap();
    assert_eq!(redirect(&mut a, at(2), "/x"), Progress::Redirect);
    let _ = poll(&mut a, at(2)).unwrap();
    a.handle_own(at(2));
    assert!(!a.is_idle() && a.status().ends_with("it redirects to ourselves"));
}

#[test]
fn who_refuses_says_when_to_ask_again() {
    for (retry, again) in [("i2e", Some(120)), ("5:never", None)] {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        let body = format!("d14:failure reason6:\x1b[1m\n!8:retry in{retry}e");
        let why = Progress::Failed("the tracker refuses: \\u{1b}[1m\\n!".into());
        let answer = http::answer(200, "text/plain", body.as_bytes());
        assert_eq!(a.handle_answer(at(0), &answer, false), why);
        assert_eq!(a.poll_timeout(), again.map(at), "{retry}");
        assert_eq!(a.is_idle(), again.is_none());
    }
}

#[test]
fn answers_that_do_not_help() {
    let refusal = http::answer(400, "text/plain", &build_failure("not here"));
    for (bytes, why) in [
        (refusal.as_slice(), "the tracker refuses: not here"),
        (b"HTTP/1.1 404 No\r\n\r\n<html>", "the tracker answers HTTP 404"),
        (b"SSH-2.0", "this is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-", "the connection ended within the HTTP answer"),
    ] {
        let mut a = announcer(Some("10.0.0.9"), &[]);
        let _ = poll(&mut a, at(0)).unwrap();
        assert_eq!(a.handle_answer(at(0), bytes, true), Progress::Failed(why.into()));
        assert_eq!(poll(&mut a, ms(1500)).unwrap(), "10.0.0.9:5000 Started");
    }
}

#[test]
fn inputs_at_the_wrong_time_do_nothing() {
    let mut a = announcer(Some("10.0.0.9"), &[]);
    a.handle_failure(at(0), "?");
    a.handle_own(at(0));
    assert!(matches!(a.handle_answer(at(0), &body(1, 1), true), Progress::Failed(_)));
    a.start(at(9));
    assert_eq!(a.poll_timeout(), Some(at(0)));
}

/// The datagram due now: to whom, and what was asked.
fn datagram(a: &mut Announcer, now: Instant) -> (SocketAddr, Request) {
    match a.poll_datagram(now, &STATS) {
        Some(Datagram::Send(to, bytes)) => (to, udp::parse_request(&bytes).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn answer(a: &mut Announcer, now: Instant, response: &Response) -> Option<Progress> {
    a.handle_datagram(now, "10.0.0.9:80".parse().unwrap(), &udp::build_response(response))
}

/// An announcer whose attempt is on its way over UDP.
fn over_udp(url: &str, lan: bool) -> Announcer {
    let mut a = announcer(Some(url), &[]);
    assert!(!a.needs_port(at(0)));
    let _ = a.poll(at(0)).unwrap();
    assert_eq!(a.scheme(), Some(Scheme::Udp));
    a.open_udp(at(0), "10.0.0.9:80".parse().unwrap(), lan);
    a
}

const CONNECTION: u64 = 0x8877;

fn connect(a: &mut Announcer, now: Instant) {
    let (_, Request::Connect { transaction }) = datagram(a, now) else { panic!("no connect") };
    let wrong = Response::Connect { transaction: !transaction, connection: 1 };
    assert_eq!(answer(a, now, &wrong), None);
    let right = Response::Connect { transaction, connection: CONNECTION };
    assert_eq!(answer(a, now, &right), Some(Progress::NeedMore));
}

fn announced(a: &mut Announcer, now: Instant) -> (u32, AnnounceRequest, String) {
    match datagram(a, now) {
        (_, Request::Announce { connection: CONNECTION, transaction, announce, url_data }) => {
            (transaction, announce, url_data)
        }
        other => panic!("{other:?}"),
    }
}

fn listing(transaction: u32) -> Response {
    let peers = vec!["10.0.0.1:5000".parse().unwrap()];
    Response::Announce { transaction, interval: 60, leechers: 0, seeders: 1, peers }
}

#[test]
fn over_udp_it_connects_and_announces() {
    let mut a = over_udp("udp://10.0.0.9:80/x?y=z", true);
    connect(&mut a, at(0));
    let (transaction, announce, url_data) = announced(&mut a, at(0));
    assert_eq!((announce.port, announce.left, announce.event), (5000, 5, Event::Started));
    assert_eq!((announce.info_hash, url_data.as_str()), (STATS.info_hash, "/x?y=z"));
    assert_eq!(a.poll_datagram(at(0), &STATS), None);
    let done = Some(Progress::Done(vec!["10.0.0.1:5000".parse().unwrap()]));
    assert_eq!(answer(&mut a, at(0), &listing(transaction)), done);
    assert_eq!(answer(&mut a, at(0), &listing(transaction)), None);
    assert_eq!(a.poll_timeout(), Some(at(60)));
    // Within a minute the id is used again, so who leaves says it with one datagram.
    a.stop(at(50));
    let _ = a.poll(at(50)).unwrap();
    a.open_udp(at(50), "10.0.0.9:80".parse().unwrap(), true);
    let (transaction, announce, _) = announced(&mut a, at(50));
    assert_eq!((announce.event, announce.numwant), (Event::Stopped, Some(0)));
    assert!(answer(&mut a, at(50), &listing(transaction)).is_some() && a.is_idle());
}

#[test]
fn over_udp_a_lost_datagram_is_said_again_and_then_given_up() {
    for (lan, times) in [(true, &[0, 1, 2, 3][..]), (false, &[0, 15, 45][..])] {
        let mut a = over_udp("udp://t.example:80", lan);
        for &time in &times[..times.len() - 1] {
            assert_eq!(a.poll_timeout(), Some(at(time)));
            assert!(matches!(datagram(&mut a, at(time)).1, Request::Connect { .. }));
        }
        let last = at(times[times.len() - 1]);
        assert_eq!(a.poll_timeout(), Some(last));
        assert!(matches!(a.poll_datagram(last, &STATS), Some(Datagram::GaveUp(_))));
        assert!(!a.failed_at_host());
        assert!(a.poll_timeout().unwrap() > last);
    }
}

#[test]
fn over_udp_a_forgotten_id_is_asked_for_again_once() {
    let mut a = over_udp("udp://10.0.0.9:80", true);
    connect(&mut a, at(0));
    let (transaction, ..) = announced(&mut a, at(0));
    let _ = answer(&mut a, at(0), &listing(transaction));
    a.want_peers(at(59));
    a.earliest = at(0);
    a.want_peers(at(30));
    let _ = a.poll(at(30)).unwrap();
    a.open_udp(at(30), "10.0.0.9:80".parse().unwrap(), true);
    let (transaction, ..) = announced(&mut a, at(30));
    let refused = |transaction| Response::Error { transaction, message: "who?".into() };
    assert_eq!(answer(&mut a, at(30), &refused(transaction)), Some(Progress::NeedMore));
    connect(&mut a, at(30));
    let (transaction, ..) = announced(&mut a, at(30));
    let why = Progress::Failed("the tracker refuses: who?".into());
    assert_eq!(answer(&mut a, at(30), &refused(transaction)), Some(why));
}

#[test]
fn over_udp_an_id_is_used_for_a_minute_even_where_a_datagram_is_said_again() {
    let mut a = over_udp("udp://t.example:80", false);
    connect(&mut a, at(0));
    let (transaction, ..) = announced(&mut a, at(0));
    let _ = answer(&mut a, at(0), &listing(transaction));
    a.stop(at(59));
    let _ = a.poll(at(59)).unwrap();
    a.open_udp(at(59), "10.0.0.9:80".parse().unwrap(), false);
    let _ = announced(&mut a, at(59));
    assert_eq!(a.poll_timeout(), Some(at(60)));
    connect(&mut a, at(60));
    let (transaction, announce, _) = announced(&mut a, at(60));
    assert_eq!(announce.event, Event::Stopped);
    assert!(answer(&mut a, at(60), &listing(transaction)).is_some() && a.is_idle());
}

#[test]
fn a_tracker_on_the_lan_that_answers_nonsense_is_not_asked_every_second() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let mut a = announcer(Some("http://10.0.0.9/announce"), &[]);
        let (mut now, mut times) = (at(0), 0);
        while now < at(120) {
            assert!(a.poll(now).is_some());
            assert!(matches!(a.handle_answer(now, answer.as_bytes(), true), Progress::Failed(_)));
            (now, times) = (a.poll_timeout().unwrap(), times + 1);
        }
        assert!((8..=12).contains(&times), "{times} times in two minutes: {answer}");
    }
    // One that breaks off may be there again in a moment.
    let mut a = announcer(Some("http://10.0.0.9/announce"), &[]);
    for _ in 0..9 {
        let now = a.poll_timeout().unwrap();
        assert!(a.poll(now).is_some());
        let _ = a.handle_answer(now, b"HTTP/1.1 200 OK\r\n", true);
        assert!(a.poll_timeout().unwrap() <= now + Duration::from_millis(1300));
    }
}

#[test]
fn hosts_are_asked_where_no_tracker_answers() {
    let host = "10.0.0.7:5000".parse().unwrap();
    let mut a = announcer(Some("10.0.0.9"), &[]);
    a.add_host(at(0), host);
    a.add_host(at(0), host);
    assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.9:5000 Started");
    a.completed(at(0));
    a.handle_failure(at(0), "refused");
    assert!(!a.failed_at_host());
    assert_eq!(poll(&mut a, at(0)).unwrap(), "10.0.0.7:5000 Started");
    succeed(&mut a, at(0));
    // The host is left alone for its interval, the tracker is asked on, and hears `completed`.
    assert_eq!(poll(&mut a, ms(1250)).unwrap(), "10.0.0.9:5000 Started");
    a.handle_failure(ms(1250), "refused");
    assert_eq!(poll(&mut a, ms(1250)), None);
    assert_eq!(poll(&mut a, at(3)).unwrap(), "10.0.0.9:5000 Started");
    succeed(&mut a, at(3));
    assert_eq!(poll(&mut a, at(3)).unwrap(), "10.0.0.9:5000 Completed");
    succeed(&mut a, at(3));
    assert_eq!(a.poll_timeout(), Some(at(63)));
    // Both have us in their lists, and both hear that we leave.
    a.stop(at(4));
    assert_eq!(poll(&mut a, at(4)).unwrap(), "10.0.0.9:5000 Stopped");
    succeed(&mut a, at(4));
    assert_eq!(poll(&mut a, at(4)).unwrap(), "10.0.0.7:5000 Stopped");
    a.handle_failure(at(4), "reset");
    assert!(a.is_idle());
}

#[test]
fn without_a_tracker_a_host_is_asked_as_soon_as_it_is_known() {
    let mut a = announcer(None, &[]);
    assert!(a.is_idle());
    for n in 0..100 {
        a.add_host(at(5), SocketAddr::from(([10, 0, 0, n], 5000)));
    }
    for n in 0..HOSTS_MAX {
        assert_eq!(poll(&mut a, at(5)).unwrap(), format!("10.0.0.{n}:5000 Started"));
        let refusal = http::answer(200, "text/plain", &build_failure("not here"));
        let _ = a.handle_answer(at(5), &refusal, true);
    }
    // Who has refused is left alone.
    assert!(a.poll_timeout().unwrap() >= at(5) + HOST_PAUSE_MAX);
    // Nobody waits for them before leaving.
    a.completed(at(6));
    assert!(!a.owes_completed());
}

proptest! {
    /// Whatever happens in whatever order: it never panics, never sleeps for ever while
    /// somebody is left to ask, and says `completed` no more often than it was told.
    #[test]
    fn any_order_of_inputs_is_survived(
        seed: u64,
        inputs in prop::collection::vec((0_u8..9, 0_u64..100), 0..80),
    ) {
        let list = [vec!["http://a.a/".to_owned(), "10.0.0.1".to_owned()]];
        let (mut a, _) = Announcer::new(Some("10.0.0.9"), &list, &mut Rng::new(seed));
        let (mut now, mut told, mut said) = (at(0), false, 0);
        a.start(now);
        for (input, wait) in inputs {
            now = now + Duration::from_secs(wait);
            match input {
                0 | 1 => {
                    let _ = a.poll(now);
                    said += u8::from(requested(&a).contains("event=completed"));
                }
                2 | 3 => {
                    let completed = requested(&a).contains("event=completed");
                    let done = a.handle_answer(now, &body(60, 30), false);
                    if completed && matches!(done, Progress::Done(_)) {
                        prop_assert!(!a.owes_completed());
                    }
                }
                4 => a.handle_failure(now, "x"),
                5 => { let _ = redirect(&mut a, now, "/x"); }
                6 => { a.completed(now); told = true; }
                7 => a.want_peers(now),
                _ if wait == 0 => a.stop(now),
                _ => a.start(now),
            }
            prop_assert!(told || said == 0);
            let waits = matches!(a.state, State::Waiting { .. } | State::Redirected(_));
            prop_assert_eq!(a.poll_timeout().is_some(), waits);
        }
    }
}
