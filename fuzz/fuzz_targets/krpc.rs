//! What strangers may send to the DHT: any datagram. What can be read is written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::krpc::saved::SavedTable;
use reactor_peer::wire::krpc::{Body, Message, Query, NODES_MAX, VALUES_MAX};

fuzz_target!(|bytes: &[u8]| {
    let _ = SavedTable::parse(bytes);
    let Ok(message) = Message::parse(bytes) else { return };
    if let Body::Response(response) = &message.body {
        assert!(response.values.len() <= VALUES_MAX);
        assert!(response.nodes.iter_v4().count() <= NODES_MAX);
        assert!(response.nodes6.iter_v6().count() <= NODES_MAX);
    }
    if matches!(message.body, Body::Query(_, Query::Unknown)) {
        return;
    }
    let written = message.to_bytes();
    assert_eq!(Message::parse(&written).as_ref(), Ok(&message));
});
