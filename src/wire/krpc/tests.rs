//! Literal bytes of BEP 5, both ways; everything else by property.

use super::*;
use proptest::prelude::*;

const ASKER: NodeId = NodeId(*b"abcdefghij0123456789");
const OTHER: NodeId = NodeId(*b"mnopqrstuvwxyz123456");

/// The message of these bytes, and these bytes of the message.
fn check(bytes: &[u8], body: Body<'_>) {
    let message =
        Message { transaction: b"aa", client: None, your_addr: None, read_only: false, body };
    assert_eq!(Message::parse(bytes).as_ref(), Ok(&message));
    let shown = String::from_utf8_lossy(&message.to_bytes()).into_owned();
    assert_eq!(message.to_bytes(), bytes, "{shown}");
}

#[test]
fn the_examples_of_bep_5() {
    check(
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
        Body::Query(ASKER, Query::Ping),
    );
    check(b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", Body::Response(Response::new(OTHER)));
    check(
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
        Body::Query(ASKER, Query::FindNode { target: OTHER, want: Want::default() }),
    );
    let info_hash = InfoHash(OTHER.0);
    check(
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
        Body::Query(ASKER, Query::GetPeers { info_hash, want: Want::default() }),
    );
    let values = ["97.120.106.101:11893", "105.100.104.116:28269"]; // "axje.u", "idhtnm"
    let values = values.iter().map(|v| v.parse().unwrap()).collect();
    check(
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
        Body::Response(Response { token: Some(b"aoeusnth"), values, ..Response::new(ASKER) }),
    );
    check(
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
        Body::Query(
            ASKER,
            Query::AnnouncePeer { info_hash, implied_port: true, port: 6881, token: b"aoeusnth" },
        ),
    );
    check(
        b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
        Body::Error(GENERIC, b"A Generic Error Ocurred"),
    );
}

#[test]
fn keys_of_the_later_beps() {
    let bytes = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee1:q9:find_node2:roi1e1:t2:aa1:v4:RP\0\x011:y1:qe";
    let want = Want { v4: true, v6: true };
    let mut message =
        Message::new(b"aa", Body::Query(ASKER, Query::FindNode { target: OTHER, want }));
    message.read_only = true;
    assert_eq!(Message::parse(bytes).as_ref(), Ok(&message));
    assert_eq!(message.to_bytes(), bytes);

    let mut nodes6 = Vec::new();
    push_node(&mut nodes6, OTHER, "[2001:db8::1]:6881".parse().unwrap());
    let mut answer = Message::new(
        b"aa",
        Body::Response(Response { nodes6: Nodes(&nodes6), ..Response::new(ASKER) }),
    );
    answer.your_addr = Some("10.0.0.1:5000".parse().unwrap());
    let bytes = answer.to_bytes();
    assert!(bytes.starts_with(b"d2:ip6:\x0a\0\0\x01\x13\x881:rd2:id20:abcdefghij01234567896:nodes638:mnopqrstuvwxyz123456\x20\x01\x0d\xb8"));
    assert_eq!(Message::parse(&bytes), Ok(answer));
    let short = Message::parse(b"d2:ip4:\x0a\0\0\x011:rd2:id20:mnopqrstuvwxyz123456e1:t1:a1:y1:re");
    assert_eq!(short.unwrap().your_addr, Some("10.0.0.1:0".parse().unwrap()));
}

#[test]
fn what_is_wrong_is_refused_and_queries_get_their_error() {
    for bad in [
        &b""[..],
        b"d",
        b"le",
        b"de",
        b"d1:y1:qe",
        b"d1:t2:aa1:y1:xe",
        b"d1:rd2:id19:mnopqrstuvwxyz12345e1:t2:aa1:y1:re",
        b"d1:t2:aa1:y1:re",
        b"d1:ei5e1:t2:aa1:y1:ee",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t33:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1:y1:qe",
    ] {
        assert_eq!(Message::parse(bad), Err(Malformed::NotKrpc), "{}", bad.escape_ascii());
    }
    for bad in [
        &b"d1:t2:aa1:y1:qe"[..],
        b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567896:target2:mne1:q9:find_node1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti0e5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti65536e5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti6ee1:q13:announce_peer1:t2:aa1:y1:qe",
    ] {
        assert_eq!(Message::parse(bad), Err(Malformed::Query(b"aa")), "{}", bad.escape_ascii());
    }
    let unknown = b"d1:ad2:id20:abcdefghij0123456789e1:q4:vote1:t2:aa1:y1:qe";
    assert_eq!(Message::parse(unknown).unwrap().body, Body::Query(ASKER, Query::Unknown));
    let later = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q6:sample1:t2:aa1:y1:qe";
    assert!(matches!(
        Message::parse(later).unwrap().body,
        Body::Query(_, Query::FindNode { target: OTHER, .. })
    ));
}

#[test]
fn a_rest_that_is_no_node_and_endless_lists_are_cut() {
    let nodes = Nodes(&[7; 26 * 3 + 25]);
    assert_eq!(nodes.iter_v4().count(), 3);
    let many = [1; 38 * 100];
    assert_eq!(Nodes(&many).iter_v6().count(), NODES_MAX);
    let values = b"6:abcdef".repeat(500);
    let bytes =
        [&b"d1:rd2:id20:mnopqrstuvwxyz1234566:valuesl"[..], &values, b"ee1:t1:a1:y1:re"].concat();
    match Message::parse(&bytes).map(|m| m.body) {
        Ok(Body::Response(response)) => assert_eq!(response.values.len(), VALUES_MAX),
        other => panic!("{other:?}"),
    }
    let values = b"6:abcdef".repeat(700);
    let bytes =
        [&b"d1:rd2:id20:mnopqrstuvwxyz1234566:valuesl"[..], &values, b"ee1:t1:a1:y1:re"].concat();
    assert_eq!(Message::parse(&bytes), Err(Malformed::NotKrpc));
}

#[test]
fn cut_at_every_byte() {
    let whole = b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe";
    for end in 0..whole.len() {
        assert_eq!(Message::parse(&whole[..end]), Err(Malformed::NotKrpc), "cut at {end}");
    }
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
    ]
}

proptest! {
    #[test]
    fn queries_come_back(
        t in prop::collection::vec(any::<u8>(), 0..=TRANSACTION_BYTES_MAX),
        (id, hash) in any::<([u8; 20], [u8; 20])>(),
        token in prop::collection::vec(any::<u8>(), 0..20),
        port in 1u16..,
        flags in any::<[bool; 4]>(),
        kind in 0..4,
    ) {
        let want = Want { v4: flags[0], v6: flags[1] };
        let query = match kind {
            0 => Query::Ping,
            1 => Query::FindNode { target: NodeId(hash), want },
            2 => Query::GetPeers { info_hash: InfoHash(hash), want },
            _ => Query::AnnouncePeer {
                info_hash: InfoHash(hash), implied_port: flags[2], port, token: &token,
            },
        };
        let mut message = Message::new(&t, Body::Query(NodeId(id), query));
        message.read_only = flags[3];
        let bytes = message.to_bytes();
        prop_assert_eq!(Message::parse(&bytes), Ok(message));
    }

    #[test]
    fn responses_come_back(
        id in any::<[u8; 20]>(),
        token in prop::option::of(prop::collection::vec(any::<u8>(), 0..=TOKEN_BYTES_MAX)),
        nodes in prop::collection::vec(any::<u8>(), 0..300),
        values in prop::collection::vec(addr(), 0..50),
        your_addr in prop::option::of(addr()),
    ) {
        let response = Response {
            id: NodeId(id), nodes: Nodes(&nodes), nodes6: Nodes(&nodes), empty_nodes: [nodes.is_empty(); 2],
            token: token.as_deref(), values,
        };
        let mut message = Message::new(b"t", Body::Response(response));
        message.your_addr = your_addr;
        let bytes = message.to_bytes();
        prop_assert_eq!(Message::parse(&bytes), Ok(message));
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&bytes);
        let _ = Message::parse(&[b"d1:ad2:id20:abcdefghij0123456789", &bytes[..]].concat());
    }
}
