//! Requests and answers in the words of BEP 15, for the log that a class reads.

use super::{Request, Response};
use crate::units::limits::LOGGED_PEERS_MAX;
use crate::wire::announce::Event;
use crate::wire::text::printable;
use core::fmt;

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connection, transaction, announce, url_data) = match self {
            Self::Connect { transaction } => {
                return write!(f, "connect, transaction_id={transaction:08x}");
            }
            Self::Scrape { connection, transaction, hashes } => {
                write!(f, "scrape, connection_id={connection:016x}, ")?;
                write!(f, "transaction_id={transaction:08x}, info_hash={}", hashes[0])?;
                let more = hashes.len() - 1;
                return if more == 0 { Ok(()) } else { write!(f, " and {more} more") };
            }
            Self::Announce { connection, transaction, announce, url_data } => {
                (connection, transaction, announce, url_data)
            }
        };
        write!(f, "announce, connection_id={connection:016x}, transaction_id={transaction:08x}, ")?;
        write!(f, "info_hash={}, peer_id={}, ", announce.info_hash, announce.peer_id)?;
        write!(f, "downloaded={}, left={}, ", announce.downloaded, announce.left)?;
        write!(f, "uploaded={}, event={}, ", announce.uploaded, event(announce.event))?;
        if let Some(key) = &announce.key {
            f.write_str("key=")?;
            key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str(", ")?;
        }
        match announce.numwant {
            Some(wanted) => write!(f, "num_want={wanted}, ")?,
            None => f.write_str("num_want=-1, ")?,
        }
        write!(f, "port={}", announce.port)?;
        if url_data.is_empty() {
            return Ok(());
        }
        write!(f, ", URLData={}", printable(url_data))
    }
}

/// The number in the datagram, and what it means.
const fn event(event: Event) -> &'static str {
    match event {
        Event::None | Event::Paused => "0 (none)",
        Event::Completed => "1 (completed)",
        Event::Started => "2 (started)",
        Event::Stopped => "3 (stopped)",
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { transaction, connection } => {
                write!(
                    f,
                    "connect, transaction_id={transaction:08x}, connection_id={connection:016x}"
                )
            }
            Self::Announce { transaction, interval, leechers, seeders, peers } => {
                write!(f, "announce, transaction_id={transaction:08x}, interval={interval}, ")?;
                write!(f, "leechers={leechers}, seeders={seeders}, peers=")?;
                let shown = peers.iter().take(LOGGED_PEERS_MAX);
                let mut joints = core::iter::once("").chain(core::iter::repeat(" "));
                shown.zip(&mut joints).try_for_each(|(peer, joint)| write!(f, "{joint}{peer}"))?;
                f.write_str(if peers.len() > LOGGED_PEERS_MAX { " …" } else { "" })
            }
            Self::Scrape { transaction, counts } => {
                write!(f, "scrape, transaction_id={transaction:08x}")?;
                counts.iter().take(LOGGED_PEERS_MAX).try_for_each(|c| {
                    write!(
                        f,
                        ", seeders={} completed={} leechers={}",
                        c.complete, c.downloaded, c.incomplete
                    )
                })?;
                f.write_str(if counts.len() > LOGGED_PEERS_MAX { " …" } else { "" })
            }
            Self::Error { transaction, message } => {
                write!(f, "error, transaction_id={transaction:08x}, message={message}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_request, parse_response};

    /// An announce to the byte: every field another number.
    fn announce(event: u8, wanted: [u8; 4], options: &[u8]) -> String {
        let head = [&[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0xca, 0xfe, 0, 2][..], &[0x11; 20]];
        let mut bytes = [&head.concat()[..], b"-XX0001-abc\n%fghijkl"].concat();
        for number in [3, 4, 5] {
            bytes.extend([0, 0, 0, 0, 0, 0, 0, number]);
        }
        bytes.extend([0, 0, 0, event, 9, 9, 9, 9, 0xde, 0xad, 0xbe, 0xef]);
        bytes.extend(wanted);
        bytes.extend([0x13, 0x88]);
        bytes.extend(options);
        parse_request(&bytes).unwrap().to_string()
    }

    #[test]
    fn requests_name_every_field() {
        let head = "announce, connection_id=8000000000000001, transaction_id=cafe0002, \
                    info_hash=1111111111111111111111111111111111111111, \
                    peer_id=-XX0001-abc%0a%25fghijkl, downloaded=3, left=4, uploaded=5, ";
        let started = "event=2 (started), key=deadbeef, num_want=100, port=5000";
        assert_eq!(announce(2, [0, 0, 0, 100], &[]), format!("{head}{started}"));
        let rest = "event=3 (stopped), key=deadbeef, num_want=-1, port=5000, URLData=/a\\u{1b}";
        assert_eq!(announce(3, [0xff; 4], b"\x02\x03/a\x1b"), format!("{head}{rest}"));
        let connect = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(
            parse_request(&connect).unwrap().to_string(),
            "connect, transaction_id=00000007"
        );
        let mut scrape = vec![0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 8];
        scrape.extend([0x22; 20]);
        let one = "scrape, connection_id=8000000000000001, transaction_id=00000008, \
                   info_hash=2222222222222222222222222222222222222222";
        assert_eq!(parse_request(&scrape).unwrap().to_string(), one);
        scrape.extend([0x33; 40]);
        assert_eq!(parse_request(&scrape).unwrap().to_string(), format!("{one} and 2 more"));
    }

    #[test]
    fn answers_too() {
        let shown = |bytes: &[u8]| parse_response(bytes, false).unwrap().to_string();
        let head = [0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 60, 0, 0, 0, 2, 0, 0, 0, 1];
        let words = "announce, transaction_id=00000007, interval=60, leechers=2, seeders=1";
        let peers = |count: u8| (1..=count).flat_map(|n| [10, 0, 0, n, 0, 80]).collect::<Vec<_>>();
        assert_eq!(shown(&head), format!("{words}, peers="));
        let two = shown(&[&head[..], &peers(2)].concat());
        assert_eq!(two, format!("{words}, peers=10.0.0.1:80 10.0.0.2:80"));
        assert!(shown(&[&head[..], &peers(200)].concat()).ends_with(" …"));
        assert_eq!(
            shown(&[0, 0, 0, 0, 0, 0, 0, 7, 9, 8, 7, 6, 5, 4, 3, 2]),
            "connect, transaction_id=00000007, connection_id=0908070605040302"
        );
        assert_eq!(
            shown(&[0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]),
            "scrape, transaction_id=00000007, seeders=1 completed=2 leechers=3"
        );
        assert_eq!(
            shown(b"\0\0\0\x03\0\0\0\x07no\x1b"),
            "error, transaction_id=00000007, message=no\\u{1b}"
        );
    }
}
