//! What a .torrent says, and what is refused, by literal bytes.

use super::*;
use proptest::prelude::*;

/// A sound torrent around the entries of `info` besides `pieces` and `piece length`.
fn torrent(info: &str, piece_count: usize) -> Vec<u8> {
    let pieces = "h".repeat(20 * piece_count);
    let count = pieces.len();
    format!("d4:infod{info}12:piece lengthi16384e6:pieces{count}:{pieces}ee").into_bytes()
}

fn parse(info: &str, piece_count: usize) -> Result<Metainfo, MetainfoError> {
    Metainfo::parse(&torrent(info, piece_count))
}

#[test]
fn course_fixture_shape() {
    let torrent = torrent("6:lengthi2920050e4:name7:age.txt", 179);
    let torrent = String::from_utf8(torrent).unwrap();
    let end = torrent.len() - 2;
    let torrent = format!("d8:announce10:10.0.0.248{}6:source3:LABee", &torrent[1..end]);
    let metainfo = Metainfo::parse(torrent.as_bytes()).unwrap();
    assert_eq!(metainfo.name, "age.txt");
    assert_eq!(metainfo.announce.as_deref(), Some("10.0.0.248"));
    assert_eq!(metainfo.source.as_deref(), Some("LAB"));
    assert_eq!(metainfo.geometry.piece_count(), 179);
    let last = metainfo.geometry.piece(178).unwrap();
    assert_eq!(metainfo.geometry.piece_size(last), 3_698);
    assert_eq!(metainfo.piece_hash(last), [b'h'; 20]);
    assert_eq!(metainfo.files, [File { path: vec![], length: 2_920_050, offset: 0, pad: false }]);
    assert_eq!(metainfo.shown_path(&metainfo.files[0]), "age.txt");
    assert!(!metainfo.multi_file && !metainfo.private && metainfo.other.is_empty());
    let info = torrent.find("4:info").unwrap() + 6;
    assert_eq!(metainfo.raw_info()[..], torrent.as_bytes()[info..torrent.len() - 1]);
    assert_eq!(metainfo.info_hash, InfoHash(sha1(metainfo.raw_info())));
}

#[test]
fn many_files_lie_end_to_end() {
    let files = "5:filesl\
        d6:lengthi20000e4:pathl5:a.txtee\
        d4:attr1:p6:lengthi12768e4:pathl2:..ee\
        d6:lengthi0e4:pathl3:sub5:emptyee\
        d4:attr1:l6:lengthi0e4:pathl4:linke12:symlink pathl2:..ee\
        d6:lengthi5e4:pathl3:sub5:b.binee\
        e4:name3:lab";
    let metainfo = parse(files, 3).unwrap();
    let shown: Vec<_> = metainfo
        .files
        .iter()
        .map(|file| (metainfo.shown_path(file), file.offset, file.length, file.pad))
        .collect();
    assert_eq!(
        shown,
        [
            ("lab/a.txt".into(), 0, 20000, false),
            ("lab/.pad/12768".into(), 20000, 12768, true),
            ("lab/sub/empty".into(), 32768, 0, false),
            ("lab/sub/b.bin".into(), 32768, 5, false),
        ]
    );
    assert!(metainfo.multi_file);
}

#[test]
fn the_hash_is_over_the_bytes_as_they_stand() {
    let unsorted = torrent("4:name1:a6:lengthi1e", 1);
    let metainfo = Metainfo::parse(&unsorted).unwrap();
    assert_eq!(metainfo.info_hash, InfoHash(sha1(&unsorted[7..unsorted.len() - 1])));
    let trailing = [&unsorted[..], b"\nnoise"].concat();
    assert_eq!(Metainfo::parse(&trailing).unwrap(), metainfo);
}

#[test]
fn what_stands_beside_info() {
    let info = torrent("6:lengthi1e4:name1:a7:privatei1e5:weirdli1ee", 1);
    let rest = std::str::from_utf8(&info[1..]).unwrap();
    let outer = "d8:announcei5e13:announce-listll3:one0:e3:twole l5:threeee".replace(' ', "")
        + "7:comment2:\x1b[10:created by1:x13:creation datei-9223372036854775808e\
           8:encoding5:UTF-85:nodesll4:hosti6881eel4:hosti0eei1ee8:url-list3:url5:weirdi2e";
    let metainfo = Metainfo::parse((outer + rest).as_bytes()).unwrap();
    assert_eq!(metainfo.announce, None);
    let tiers: [&[&str]; 3] = [&["one"], &["two"], &["three"]];
    assert_eq!(metainfo.announce_list, tiers);
    assert_eq!(metainfo.nodes, [("host".into(), 6881)]);
    assert_eq!(metainfo.url_list, ["url"]);
    assert_eq!(metainfo.comment.as_deref(), Some("\x1b["));
    assert_eq!(metainfo.creation_date, Some(i64::MIN));
    assert!(metainfo.private);
    let other: Vec<_> = metainfo
        .other
        .iter()
        .map(|(key, value)| (std::str::from_utf8(key).unwrap(), value.as_str()))
        .collect();
    assert_eq!(other, [("announce", "5"), ("weird", "2"), ("info.weird", "[1]")]);
}

#[test]
fn a_note_of_megabytes_is_cut() {
    let mut bytes = b"d7:comment2000000:".to_vec();
    bytes.resize(bytes.len() + 2_000_000, 0xff);
    bytes.extend(&torrent("6:lengthi1e4:name1:a", 1)[1..]);
    let comment = Metainfo::parse(&bytes).unwrap().comment.unwrap();
    assert!(comment.len() < 5_000_000 && comment.ends_with("\\xff... (2000000 bytes)"));
}

#[test]
fn private_on_the_safe_side() {
    for (value, private) in [("i0e", false), ("i1e", true), ("i2e", true), ("1:1", true)] {
        let info = format!("6:lengthi1e4:name1:a7:private{value}");
        assert_eq!(parse(&info, 1).unwrap().private, private, "{value}");
    }
}

#[test]
fn names_in_an_old_encoding() {
    let mut bytes = torrent("6:lengthi1e4:name2:a?10:name.utf-83:\u{e4}b", 1);
    let at = bytes.iter().position(|&byte| byte == b'?').unwrap();
    assert_eq!(Metainfo::parse(&bytes).unwrap().name, "a?");
    bytes[at] = 0xe4;
    assert_eq!(Metainfo::parse(&bytes).unwrap().name, "äb");
}

#[test]
fn refusals_in_words() {
    let error = |info: &str, count| parse(info, count).unwrap_err().to_string();
    let one = "6:lengthi1e4:name1:a";
    assert_eq!(error(one, 2), "it has 2 piece hashes for 1 pieces");
    assert_eq!(error("4:name1:a", 1), "'length' is missing");
    assert_eq!(error("6:lengthi-1e4:name1:a", 1), "'length' is negative or too large");
    assert_eq!(error("6:lengthi1e4:name2:..", 1), "'name' leads out of its folder");
    assert_eq!(error("6:lengthi1e4:name1:a4:name1:b", 1), "'name' stands there twice");
    assert_eq!(error("5:filesle6:lengthi1e4:name1:a", 1), "it has both 'length' and 'files'");
    assert_eq!(error("5:filesle4:name1:a", 0), "it has no files");
    let words = |bytes: &[u8]| Metainfo::parse(bytes).unwrap_err().to_string();
    assert_eq!(words(b""), "not a torrent: the file is empty");
    assert_eq!(words(b"<!DOCTYPE html>"), "not a torrent: it is a web page");
    assert_eq!(words(b"de"), "'info' is missing");
    assert_eq!(
        words(b"d4:infod4:"),
        "not sound bencode: it ends in the middle of a value (at byte 8)"
    );
    assert!(Metainfo::parse(b"d4:infod4:").unwrap_err().is_truncated());
    let large = vec![b'd'; usize::try_from(TORRENT_BYTES_MAX).unwrap() + 1];
    assert_eq!(words(&large), "it is larger than 10485760 bytes");
}

#[test]
fn piece_lengths_within_bounds() {
    let of = |length: &str| {
        let text = format!("d4:infod6:lengthi1e4:name1:a12:piece lengthi{length}e6:pieces20:");
        Metainfo::parse((text + &"h".repeat(20) + "ee").as_bytes()).map(|m| m.geometry)
    };
    assert_eq!(of("1").unwrap().piece_length(), 1);
    assert_eq!(of("536870912").unwrap().piece_length(), 536_870_912);
    for bad in ["0", "-1", "536870913", "4294967296", "4294983680", "9223372036854775808"] {
        assert_eq!(of(bad), Err(MetainfoError::OutOfRange(Field::PieceLength)), "{bad}");
    }
}

#[test]
fn repeated_unknown_keys_cost_no_square() {
    let mut bytes = b"d".to_vec();
    (0..200_000).for_each(|n| bytes.extend(format!("6:k{:05}0:", n % 1500).as_bytes()));
    bytes.extend(&torrent("6:lengthi1e4:name1:a", 1)[1..]);
    assert_eq!(Metainfo::parse(&bytes).unwrap().other.len(), OTHER_MAX);
}

proptest! {
    /// Any change of one byte gives a torrent or a reason, and never a panic.
    #[test]
    fn any_byte_changed(at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200) {
        let files = "5:filesld6:lengthi20000e4:pathl5:a.txteee4:name3:lab";
        let mut bytes = torrent(files, 2);
        let at = at % bytes.len();
        bytes[at] = byte;
        for bytes in [&bytes[..], &bytes[..cut % bytes.len()]] {
            if let Ok(metainfo) = Metainfo::parse(bytes) {
                prop_assert!(!metainfo.name.contains('/') && !metainfo.files.is_empty());
                prop_assert!(metainfo.geometry.pieces().all(|piece| metainfo.piece_hash(piece).len() == 20));
            }
        }
    }
}
