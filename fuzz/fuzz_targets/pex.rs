//! The payloads of ut_pex, rp_peers and the extension handshake: what is read survives being
//! written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::address::is_dialable;
use reactor_peer::wire::extended::Handshake;
use reactor_peer::wire::pex::{PeerList, LIST_MAX};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = PeerList::parse(bytes) {
        assert!(list.added.len() <= 2 * LIST_MAX && list.dropped.len() <= 2 * LIST_MAX);
        assert!(list.added.iter().all(|&(addr, _)| is_dialable(addr)));
        // Mapped addresses change their family on the way, and with it their place.
        let mut again = PeerList::parse(&list.to_bytes()).expect("what we write can be read");
        let mut list = list;
        for list in [&mut list, &mut again] {
            list.added.sort_unstable();
            list.dropped.sort_unstable();
        }
        if list.added.len() <= LIST_MAX && list.dropped.len() <= LIST_MAX {
            assert_eq!(again, list);
        }
    }
    if let Ok(hello) = Handshake::parse(bytes) {
        let again = Handshake::parse(&hello.to_bytes()).expect("what we write can be read");
        assert_eq!(again.ids, hello.ids);
        assert_eq!(again.metadata_size, hello.metadata_size);
        assert_eq!(again.listen_port, hello.listen_port);
    }
});
