//! Announces and scrapes, both ways.

use super::*;
use proptest::prelude::*;

const HASH: &str = "%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";

fn hash() -> InfoHash {
    InfoHash::from_hex("123456789abcdef123456789abcdef123456789a").unwrap()
}

fn asked(rest: &str) -> Result<AnnounceRequest, QueryError> {
    parse_query(&format!("info_hash={HASH}&peer_id=-RP0100-abcdefghijkl{rest}"))
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn listing(peers: &[&str]) -> Listing {
    Listing {
        interval: Duration::from_secs(60),
        min_interval: Duration::from_secs(30),
        complete: 1,
        incomplete: 2,
        external_ip: Some(IpAddr::from([10, 0, 0, 9])),
        peers: peers.iter().map(|p| (addr(p), PeerId(*b"-RP0100-abcdefghijkl"))).collect(),
    }
}

#[test]
fn the_example_of_the_specification_is_read() {
    let r = asked(
        "&port=6881&uploaded=1&downloaded=2&left=3&event=completed&compact=0\
        &no_peer_id=1&numwant=7&key=ab%20c&ip=8.8.8.8&trackerid=%00t%26&&=&flag",
    )
    .unwrap();
    let expected = AnnounceRequest {
        info_hash: hash(),
        peer_id: PeerId(*b"-RP0100-abcdefghijkl"),
        port: 6881,
        uploaded: 1,
        downloaded: 2,
        left: 3,
        event: Event::Completed,
        compact: false,
        no_peer_id: true,
        numwant: Some(7),
        key: Some(b"ab c".to_vec()),
        tracker_id: Some(b"\x00t&".to_vec()),
    };
    assert_eq!(r, expected);
}

#[test]
fn what_is_absent_or_odd_has_a_meaning() {
    let r = asked("&port=1&left=-1&event=resumed&numwant=-1&uploaded=x&port=2").unwrap();
    assert_eq!((r.port, r.left, r.event, r.numwant), (1, u64::MAX, Event::None, None));
    assert!(r.compact && !r.no_peer_id && r.key.is_none());
    assert!(asked("&port=1&compact=1").unwrap().compact);
    let event = |name: &str| asked(&format!("&port=1&event={name}")).unwrap().event;
    assert_eq!([event("started"), event("paused")], [Event::Started, Event::Paused]);
    assert_eq!([event("stopped"), event("stop")], [Event::Stopped, Event::None]);
}

#[test]
fn wrong_announces_are_refused_in_words() {
    use QueryError as E;
    for port in ["", "&port=", "&port=0", "&port=65536", "&port=-1", "&port=%2B1", "&port=x"] {
        assert_eq!(asked(port), Err(E::Port), "{port}");
    }
    assert_eq!(asked(&format!("&port=1&info_hash={HASH}")), Err(E::InfoHashTwice));
    assert_eq!(parse_query(""), Err(E::InfoHashMissing));
    assert_eq!(parse_query("info_hash=&peer_id="), Err(E::InfoHashLength(0)));
    assert_eq!(parse_query(&format!("info_hash={HASH}&peer_id=x")), Err(E::PeerId));
    let id = "peer_id=-RP0100-abcdefghijkl&port=1";
    assert_eq!(parse_query(&format!("{id}&info_hash=%zz")), Err(E::InfoHashLength(3)));
    let hex = format!("{id}&info_hash={}", hash());
    assert_eq!(parse_query(&hex), Err(E::InfoHashLength(40)));
    assert_eq!(E::InfoHashLength(40).to_string(), "info_hash has 40 bytes, not 20");
}

#[test]
fn forms_write_a_space_as_plus() {
    let r = parse_query("peer_id=a+b%2Bdefghijklmnopqrs&port=1&info_hash=++++++++++++++++++++");
    let r = r.unwrap();
    assert_eq!((r.info_hash, &r.peer_id.0[..4]), (InfoHash([b' '; 20]), &b"a b+"[..]));
}

#[test]
fn scrapes() {
    let two = format!("info_hash={HASH}&x&info_hash={}", "a".repeat(20));
    assert_eq!(parse_scrape(&two), Ok(vec![hash(), InfoHash([b'a'; 20])]));
    assert_eq!(parse_scrape(""), Err(QueryError::InfoHashes));
    assert_eq!(parse_scrape("info_hash=a"), Err(QueryError::InfoHashLength(1)));
    let one = format!("info_hash={HASH}&");
    assert_eq!(parse_scrape(&one.repeat(SCRAPE_MAX)).unwrap().len(), SCRAPE_MAX);
    let many = one.repeat(SCRAPE_MAX + 1);
    assert_eq!(parse_scrape(&many), Err(QueryError::InfoHashes));
    let counts = Counts { complete: 1, incomplete: 2, partial_seeds: 1, downloaded: 3 };
    let files = [(InfoHash([b'b'; 20]), counts), (InfoHash([b'a'; 20]), Counts::default())];
    let body = build_scrape_answer(&files, Duration::from_secs(30));
    assert_eq!(
        String::from_utf8(body).unwrap(),
        "d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei0e10:downloadedi0e11:downloadersi0e\
         10:incompletei0ee\
         20:bbbbbbbbbbbbbbbbbbbbd8:completei1e10:downloadedi3e11:downloadersi1e\
         10:incompletei2eee\
         5:flagsd20:min_request_intervali30eee"
    );
}

#[test]
fn compact_answers_to_the_byte() {
    let listing = listing(&["10.0.0.1:5000", "[::ffff:10.0.0.2]:1", "[2001:db8::1]:256"]);
    let body = build_answer(&listing, PeerForm::Compact);
    let mut expected = b"d8:completei1e11:external ip4:\x0a\0\0\x0910:incompletei2e\
        8:intervali60e12:min intervali30e5:peers12:\x0a\0\0\x01\x13\x88\x0a\0\0\x02\0\x01\
        6:peers618:\x20\x01\x0d\xb8"
        .to_vec();
    expected.extend([0; 11]);
    expected.extend(b"\x01\x01\0e");
    assert_eq!(body, expected);
    let answer = parse_answer(&body).unwrap();
    assert_eq!(answer.peers, ["10.0.0.1:5000", "10.0.0.2:1", "[2001:db8::1]:256"].map(addr));
    assert_eq!(answer.external_ip, Some(IpAddr::from([10, 0, 0, 9])));
    assert_eq!((answer.complete, answer.incomplete), (Some(1), Some(2)));
    assert_eq!(
        (answer.interval, answer.min_interval),
        (listing.interval, Some(listing.min_interval))
    );
}

#[test]
fn dictionary_answers_to_the_byte() {
    let mut listing = listing(&["10.0.0.1:5000", "[::1]:2"]);
    listing.external_ip = None;
    let body = build_answer(&listing, PeerForm::Dictionary { peer_id: true });
    assert_eq!(
        String::from_utf8(body.clone()).unwrap(),
        "d8:completei1e10:incompletei2e8:intervali60e12:min intervali30e5:peersl\
         d2:ip8:10.0.0.17:peer id20:-RP0100-abcdefghijkl4:porti5000ee\
         d2:ip3:::17:peer id20:-RP0100-abcdefghijkl4:porti2eeee"
    );
    assert_eq!(parse_answer(&body).unwrap().peers, ["10.0.0.1:5000", "[::1]:2"].map(addr));
    let body = build_answer(&listing, PeerForm::Dictionary { peer_id: false });
    assert!(!String::from_utf8(body).unwrap().contains("peer id"));
}

#[test]
fn refusals() {
    let body = build_failure("no such torrent");
    assert_eq!(body, b"d14:failure reason15:no such torrente");
    assert_eq!(parse_answer(&body), Err(AnswerError::Failure("no such torrent".into(), None)));
    let retry = |value: &str| {
        let body = format!("d14:failure reason1:x8:retry in{value}e");
        match parse_answer(body.as_bytes()) {
            Err(AnswerError::Failure(_, retry)) => retry,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(retry("5:never"), Some(RetryIn::Never));
    let after = |seconds| Some(RetryIn::After(Duration::from_secs(seconds)));
    assert_eq!((retry("i5e"), retry("2:90")), (after(300), after(5400)));
    assert_eq!(retry("i9223372036854775807e"), Some(RetryIn::After(RETRY_MAX)));
    for nonsense in ["i0e", "i-1e", "3:abc", "le", "0:"] {
        assert_eq!(retry(nonsense), None, "{nonsense}");
    }
    let evil = parse_answer(b"d14:failure reason3:\x1b\n\xffe").unwrap_err();
    assert_eq!(evil.to_string(), "the tracker refuses: \\u{1b}\\n\u{fffd}");
    assert_eq!(parse_answer(b"le"), Err(AnswerError::NotDictionary));
    assert!(matches!(parse_answer(b"<html>"), Err(AnswerError::Malformed(_))));
}

#[test]
fn sloppy_answers_are_understood() {
    // Unsorted, two bytes too many, ports and addresses that nobody can dial, a line end.
    let answer = parse_answer(
        b"d5:peers20:\x01\x02\x03\x04\0\x05\0\0\0\0\0\x05\x01\x02\x03\x04\0\0xx8:intervali-5ee\n",
    )
    .unwrap();
    assert_eq!(answer.peers, [addr("1.2.3.4:5")]);
    assert_eq!((answer.interval, answer.min_interval), (INTERVAL_MIN, None));
    let answer = parse_answer(
        b"d8:intervali999999999e12:min intervali0e15:warning message2:hm5:peersl\
          d2:ip7:1.2.3.44:porti5eed2:ip4:name4:porti5eed2:ip7:1.2.3.44:porti70000eei5ed2:ip0:eee",
    )
    .unwrap();
    assert_eq!(answer.peers, [addr("1.2.3.4:5")]);
    assert_eq!((answer.interval, answer.min_interval), (INTERVAL_MAX, Some(INTERVAL_MIN)));
    assert_eq!(answer.warning.as_deref(), Some("hm"));
    assert_eq!(parse_answer(b"de").unwrap().interval, INTERVAL_ABSENT);
}

#[test]
fn a_list_has_an_end() {
    let mut body = b"d5:peers60000:".to_vec();
    body.extend([1; 60_000]);
    body.push(b'e');
    assert_eq!(parse_answer(&body).unwrap().peers.len(), CONTACTS_MAX);
}

proptest! {
    #[test]
    fn a_query_comes_back(
        ids in any::<([u8; 20], [u8; 20])>(),
        numbers in any::<(u64, u64, u64)>(),
        port in 1_u16..,
        flags in any::<(bool, bool)>(),
        event in prop::sample::select(
            vec![Event::None, Event::Started, Event::Completed, Event::Paused, Event::Stopped]),
        numwant in prop::option::of(0_usize..1000),
        key in prop::option::of(prop::collection::vec(any::<u8>(), 1..64)),
        tracker_id in prop::option::of(prop::collection::vec(any::<u8>(), 1..64)),
    ) {
        let request = AnnounceRequest {
            info_hash: InfoHash(ids.0),
            peer_id: PeerId(ids.1),
            port,
            uploaded: numbers.0,
            downloaded: numbers.1,
            left: numbers.2,
            event,
            compact: flags.0,
            no_peer_id: flags.1,
            numwant,
            key,
            tracker_id,
        };
        prop_assert_eq!(parse_query(&build_query(&request)), Ok(request));
    }

    #[test]
    fn any_text_and_bytes_are_survived(
        text in "(info_hash|peer_id|port|&|=|%|\\+|[0-9]|.){0,40}",
        bytes in prop::collection::vec(prop::sample::select(b"d5:pers6lie0123:".to_vec()), 0..60),
    ) {
        let _ = parse_query(&text);
        let _ = parse_scrape(&text);
        let _ = parse_answer(&bytes);
    }
}
