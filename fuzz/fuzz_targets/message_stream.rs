//! A stream of messages: whatever parses is written back as the same bytes, and a length that
//! `check_length` refuses is never needed to parse.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor_peer::wire::extended;
use reactor_peer::wire::message::{check_length, Message, LENGTH_BYTES};

fuzz_target!(|stream: &[u8]| {
    let mut rest = stream;
    let mut written = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(LENGTH_BYTES) {
        let length = u32::from_be_bytes(head.try_into().expect("split at 4"));
        let Some((message, after)) = after.split_at_checked(length as usize) else { break };
        rest = after;
        // A length of 0 is a keep-alive.
        let Some((&id, body)) = message.split_first() else { continue };
        let lawful = check_length(id, length, 1 << 21);
        let Ok(parsed) = Message::parse(id, body) else { continue };
        if let Message::Unknown(same) = parsed {
            assert_eq!(same, id);
            continue;
        }
        // Fixed lengths are checked twice; both must say the same.
        if !matches!(parsed, Message::Bitfield(_) | Message::Piece(..) | Message::Extended(..)) {
            assert_eq!(lawful, Ok(()));
        }
        if let Message::Extended(0, payload) = parsed {
            if let Ok(hello) = extended::Handshake::parse(payload) {
                // A name that is not UTF-8 grows when it is read, and is cut again.
                let hello = extended::Handshake { client: None, ..hello };
                let again = extended::Handshake::parse(&hello.to_bytes());
                assert_eq!(again, Ok(hello));
            }
        }
        written.clear();
        parsed.write_to(&mut written);
        assert_eq!(written[..LENGTH_BYTES], *head);
        assert_eq!(written[LENGTH_BYTES..], *message);
        let again = Message::parse(written[LENGTH_BYTES], &written[LENGTH_BYTES + 1..]);
        assert_eq!(again, Ok(parsed));
        // What goes into logs is one line.
        assert!(!parsed.to_string().contains(['\n', '\r', '\x1b']));
    }
});
