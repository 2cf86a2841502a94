//! The search in virtual time, the hosts played by hand.

use super::*;

const NAME: &str = "big.iso";

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

fn host(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 5000))
}

fn entry(hash: u8, have: u64, made: u64) -> Entry {
    Entry {
        name: NAME.into(),
        info_hash: InfoHash([hash; 20]),
        length: 100,
        have,
        files: 1,
        status: "peer".into(),
        peers: 0,
        made,
    }
}

fn answer(torrents: Vec<Entry>, hosts: Vec<SocketAddr>) -> Result<Response, String> {
    let near = vec!["bug.iso".to_owned()];
    let body = Catalogue { torrents, hosts, near, inside: Vec::new() }.to_json().into_bytes();
    Ok(Response { status: 200, location: None, body })
}

/// Makes the requests that are due, numbered by the host.
fn ask(search: &mut Search, now: Instant) -> Vec<(SocketAddr, String)> {
    let due = search.due(now);
    for (addr, _) in &due {
        let SocketAddr::V4(v4) = addr else { panic!() };
        search.fetching(now, *addr, Some(FetchId(v4.ip().octets()[3].into())));
    }
    due
}

fn search() -> Search {
    Search::new(Sought::Name(NAME.into()), false, at(0))
}

fn torrent() -> (Vec<u8>, InfoHash) {
    let bytes = crate::wire::create::build(&crate::wire::create::NewTorrent {
        name: NAME,
        content: crate::wire::create::Content::Single(3),
        piece_length: 16384,
        pieces: &[b'h'; 20],
        ..Default::default()
    })
    .unwrap();
    let info_hash = Metainfo::parse(&bytes).unwrap().info_hash;
    (bytes, info_hash)
}

#[test]
fn everybody_is_asked_and_the_torrent_is_fetched_from_a_holder_that_has_it() {
    let (bytes, info_hash) = torrent();
    let mut of = search();
    of.add_hosts(at(0), [host(1)]);
    let asked = ask(&mut of, at(0));
    assert_eq!(asked, [(host(1), "/catalog.json?name=big.iso".to_owned())]);
    assert!(ask(&mut of, at(0)).is_empty());
    // One host is enough: it names the others of the LAN, and only those.
    let public = "8.8.8.8:5000".parse().unwrap();
    of.handle_answer(at(1), FetchId(1), &answer(vec![], vec![host(2), host(3), public]));
    assert_eq!(ask(&mut of, at(1)).len(), 2);
    let with = |have| Entry { info_hash, ..entry(0, have, 0) };
    of.handle_answer(at(2), FetchId(2), &answer(vec![with(10)], vec![]));
    assert_eq!(of.turn(at(699), false), []);
    of.handle_answer(at(3), FetchId(3), &answer(vec![with(100)], vec![]));
    let said = of.turn(at(1000), false);
    assert_eq!(said[0], News::Say(format!("big.iso: 2 hosts have it, info-hash {info_hash}")));
    // The first sends something else, so the second is asked.
    assert_eq!(ask(&mut of, at(1000)), [(host(3), "/torrents/big.iso.torrent".to_owned())]);
    let other = Response { status: 200, location: None, body: b"de".to_vec() };
    assert_eq!(of.handle_answer(at(1001), FetchId(3), &Ok(other)), []);
    assert_eq!(ask(&mut of, at(1001)).len(), 1);
    let good = Response { status: 200, location: None, body: bytes.clone() };
    let found = of.handle_answer(at(1002), FetchId(2), &Ok(good));
    assert_eq!(found, [News::Found(bytes, info_hash, vec![host(3), host(2)])]);
}

#[test]
fn who_boasts_of_a_torrent_and_has_none_does_not_hide_the_others() {
    let (bytes, info_hash) = torrent();
    let mut of = search();
    of.add_hosts(at(0), [host(1), host(2)]);
    ask(&mut of, at(0));
    let honest = Entry { info_hash, ..entry(0, 100, 5) };
    assert_eq!(of.handle_answer(at(1), FetchId(1), &answer(vec![entry(9, 100, 99)], vec![])), []);
    assert_eq!(of.handle_answer(at(1), FetchId(2), &answer(vec![honest], vec![])), []);
    of.turn(at(800), false);
    assert_eq!(ask(&mut of, at(800))[0].0, host(1));
    let body = b"garbage".to_vec();
    let garbage = Ok(Response { status: 200, location: None, body });
    assert_eq!(of.handle_answer(at(801), FetchId(1), &garbage), []);
    let said = of.turn(at(801), false);
    assert!(matches!(&said[..], [News::Say(line)] if line.contains(&info_hash.to_string())));
    assert_eq!(ask(&mut of, at(801))[0].0, host(2));
    let given = Ok(Response { status: 200, location: None, body: bytes.clone() });
    let found = of.handle_answer(at(802), FetchId(2), &given);
    assert_eq!(found, [News::Found(bytes, info_hash, vec![host(2)])]);
}

#[test]
fn most_holders_then_most_complete_then_newest() {
    let sought = Sought::Name(NAME.into());
    let order = |answers: &[(u8, Entry)]| -> Vec<u8> {
        let answers: Vec<_> = answers
            .iter()
            .map(|(n, e)| (host(*n), Catalogue { torrents: vec![e.clone()], ..Default::default() }))
            .collect();
        rank(&sought, &answers).iter().map(|h| h.info_hash.0[0]).collect()
    };
    assert_eq!(order(&[(1, entry(1, 100, 9)), (2, entry(2, 1, 0)), (3, entry(2, 1, 0))]), [2, 1]);
    assert_eq!(order(&[(1, entry(1, 50, 9)), (2, entry(2, 60, 0))]), [2, 1]);
    assert_eq!(order(&[(1, entry(1, 50, 1)), (2, entry(2, 50, 2))]), [2, 1]);
    let other = Entry { name: "other".into(), ..entry(3, 100, 0) };
    let paused = Entry { status: "paused".into(), ..entry(4, 100, 0) };
    assert_eq!(order(&[(1, other), (2, paused)]), [0; 0]);
}

#[test]
fn nobody_has_it_is_said_with_what_there_is() {
    let mut of = search();
    assert_eq!(of.turn(at(2999), false), []);
    let [News::Nobody(why)] = &of.turn(at(3000), false)[..] else { panic!() };
    assert!(why.contains("name one with --peer"), "{why}");

    of.add_hosts(at(0), [host(1), host(2)]);
    assert_eq!(ask(&mut of, at(0)).len(), 2);
    of.handle_answer(at(1), FetchId(1), &answer(vec![], vec![]));
    // The other is silent: it is waited for, not for ever.
    assert_eq!(of.turn(at(3000), false), []);
    let [News::Nobody(why)] = &of.turn(at(6000), false)[..] else { panic!() };
    assert_eq!(why, "no host has big.iso, check the spelling (1 asked; there is: bug.iso)");
}

#[test]
fn a_host_that_is_starting_is_asked_again_and_an_unresolved_name_is_waited_for() {
    let mut of = search();
    of.add_hosts(at(0), [host(1)]);
    let mut now = at(0);
    for _ in 0..TRIES_MAX {
        assert_eq!(ask(&mut of, now).len(), 1);
        of.handle_answer(now, FetchId(1), &Err("refused".into()));
        assert!(of.timeout(now) > now && of.timeout(now) <= now + GIVE_UP);
        now = now + AGAIN;
    }
    assert_eq!(ask(&mut of, now).len(), 0);
    // Who cannot be reached is named, with the reason.
    of.add_hosts(now, [host(2)]);
    let [News::Nobody(why)] = &of.turn(at(6000), false)[..] else { panic!() };
    assert_eq!(
        why,
        "no host has big.iso: 2 asked, none answered (10.0.0.1:5000: refused, 10.0.0.2:5000: no \
         answer); name another with --peer ADDR"
    );
    let mut of = search();
    assert_eq!(of.turn(at(3000), true), []);
    assert!(matches!(of.turn(at(6000), true)[..], [News::Nobody(_)]));
}
