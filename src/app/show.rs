//! `show`: everything a .torrent or a magnet link says, for people and for programs.

mod magnet;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use super::text::{self, date, escape, escape_bytes, json_string, size};
use super::{read_torrent, Failure, DONE};
use crate::units::geometry::PieceIndex;
use crate::wire::magnet::Magnet;
use crate::wire::metainfo::Metainfo;
use crate::wire::text::lossless;

/// Prints what the .torrent at `file` says, and the hash of `piece` if one is asked for.
///
/// # Errors
/// [`Failure`] if there is no sound torrent, it has no such piece, or `out` fails.
pub fn show(
    file: &Path,
    json: bool,
    piece: Option<u32>,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let refused = |what: &dyn Display| Failure::Refused(format!("{}: {what}", text::shown(file)));
    if let Some(link) = file.to_str().filter(|text| Magnet::is_magnet(text)) {
        let magnet = Magnet::parse(link).map_err(|error| Failure::Refused(error.to_string()))?;
        if piece.is_some() {
            let why = "a magnet link has no piece hashes; get the torrent first";
            return Err(Failure::Refused(why.to_owned()));
        }
        match json {
            true => magnet::write_json(&magnet, out)?,
            false => magnet::write_text(&magnet, out)?,
        }
        out.flush()?;
        return Ok(DONE);
    }
    let metainfo = Metainfo::parse(&read_torrent(file)?).map_err(|error| refused(&error))?;
    let count = metainfo.geometry.piece_count();
    let find = |index| {
        metainfo.geometry.piece(index).ok_or_else(|| {
            refused(&format_args!("there is no piece {index}: it has {count}, counted from 0"))
        })
    };
    let piece = piece.map(find).transpose()?;
    if json {
        write_json(&metainfo, piece, out)?;
    } else {
        write_text(&metainfo, piece, out)?;
    }
    out.flush()?;
    Ok(DONE)
}

fn write_text(
    metainfo: &Metainfo,
    piece: Option<PieceIndex>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let geometry = &metainfo.geometry;
    let mut row = |label: &str, value: &dyn Display| writeln!(out, "{label:<15} {value}");
    row("name", &escape(&metainfo.name))?;
    row("info-hash", &metainfo.info_hash)?;
    let length = geometry.length();
    row("length", &format_args!("{length} bytes ({})", size(length)))?;
    row("pieces", &geometry.piece_count())?;
    row("piece length", &format_args!("{} bytes", geometry.piece_length()))?;
    row("last piece", &format_args!("{} bytes", last_piece_length(metainfo)))?;
    row("private", &if metainfo.private { "yes" } else { "no" })?;
    let texts = [
        ("announce", &metainfo.announce),
        ("comment", &metainfo.comment),
        ("created by", &metainfo.created_by),
        ("encoding", &metainfo.encoding),
        ("source", &metainfo.source),
    ];
    for (label, value) in texts {
        row(label, &value.as_deref().map_or_else(|| "-".into(), escape))?;
    }
    match metainfo.creation_date {
        Some(seconds) => match date(seconds) {
            Some(date) => row("creation date", &format_args!("{seconds} ({date})"))?,
            None => row("creation date", &seconds)?,
        },
        None => row("creation date", &"-")?,
    }
    for (tier, addresses) in metainfo.announce_list.iter().enumerate() {
        let addresses: Vec<_> = addresses.iter().map(|address| escape(address)).collect();
        row("announce-list", &format_args!("tier {}: {}", tier + 1, addresses.join(", ")))?;
    }
    for (host, port) in &metainfo.nodes {
        row("node", &format_args!("{}:{port}", escape(host)))?;
    }
    for url in &metainfo.url_list {
        row("url-list", &escape(url))?;
    }
    for (key, value) in &metainfo.other {
        row(&escape_bytes(key), value)?;
    }
    if let Some(piece) = piece {
        let label = format!("piece {}", piece.get());
        row(&label, &hex(metainfo.piece_hash(piece)))?;
    }
    row("files", &metainfo.files.len())?;
    for (index, file) in metainfo.files.iter().enumerate() {
        let note = if file.pad { " (padding, not stored)" } else { "" };
        let (length, path) = (file.length, escape(&metainfo.shown_path(file)));
        writeln!(out, "{index:>5} {length:>15} {path}{note}")?;
    }
    Ok(())
}

/// One object on one line; the keys are a contract with scripts.
fn write_json(
    metainfo: &Metainfo,
    piece: Option<PieceIndex>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let geometry = &metainfo.geometry;
    write!(
        out,
        r#"{{"info_hash":"{}","name":{}"#,
        metainfo.info_hash,
        json_string(&metainfo.name)
    )?;
    write!(out, r#","length":{}"#, geometry.length())?;
    write!(out, r#","piece_length":{}"#, geometry.piece_length())?;
    write!(out, r#","piece_count":{}"#, geometry.piece_count())?;
    write!(out, r#","last_piece_length":{}"#, last_piece_length(metainfo))?;
    write!(out, r#","private":{}"#, metainfo.private)?;
    out.write_all(br#","files":"#)?;
    let mut index = 0..;
    list(out, &metainfo.files, |file| {
        let (path, length) = (json_string(&metainfo.shown_path(file)), file.length);
        let pad = if file.pad { r#","pad":true"# } else { "" };
        let index: u32 = index.next().unwrap_or(u32::MAX);
        format!(r#"{{"index":{index},"path":{path},"length":{length}{pad}}}"#)
    })?;
    text_member(out, "announce", metainfo.announce.as_deref())?;
    out.write_all(br#","announce_list":"#)?;
    list(out, &metainfo.announce_list, |tier| {
        let addresses: Vec<_> = tier.iter().map(|address| json_string(address)).collect();
        format!("[{}]", addresses.join(","))
    })?;
    out.write_all(br#","nodes":"#)?;
    list(out, &metainfo.nodes, |(host, port)| format!("[{},{port}]", json_string(host)))?;
    out.write_all(br#","url_list":"#)?;
    list(out, &metainfo.url_list, |url| json_string(url))?;
    text_member(out, "comment", metainfo.comment.as_deref())?;
    text_member(out, "created_by", metainfo.created_by.as_deref())?;
    match metainfo.creation_date {
        Some(seconds) => write!(out, r#","creation_date":{seconds}"#)?,
        None => out.write_all(br#","creation_date":null"#)?,
    }
    text_member(out, "encoding", metainfo.encoding.as_deref())?;
    text_member(out, "source", metainfo.source.as_deref())?;
    out.write_all(br#","other":{"#)?;
    for (n, (key, value)) in metainfo.other.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(out, "{comma}{}:{value}", json_string(&lossless(key)))?;
    }
    out.write_all(b"}")?;
    if let Some(piece) = piece {
        let hash = hex(metainfo.piece_hash(piece));
        write!(out, r#","piece":{{"index":{},"hash":"{hash}"}}"#, piece.get())?;
    }
    out.write_all(b"}\n")
}

fn list<T>(out: &mut dyn Write, items: &[T], mut json: impl FnMut(&T) -> String) -> io::Result<()> {
    out.write_all(b"[")?;
    for (n, item) in items.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(out, "{comma}{}", json(item))?;
    }
    out.write_all(b"]")
}

fn text_member(out: &mut dyn Write, key: &str, value: Option<&str>) -> io::Result<()> {
    let value = value.map_or_else(|| "null".into(), json_string);
    write!(out, r#","{key}":{value}"#)
}

fn last_piece_length(metainfo: &Metainfo) -> u32 {
    let geometry = &metainfo.geometry;
    let last = geometry.piece_count().checked_sub(1).and_then(|last| geometry.piece(last));
    last.map_or(0, |last| geometry.piece_size(last))
}

fn hex(hash: [u8; 20]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(torrent: &[u8], json: bool, piece: Option<u32>) -> Result<String, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(torrent).unwrap();
        let mut out = Vec::new();
        show(file.path(), json, piece, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    const TORRENT: &[u8] = b"d8:announce8:10.0.0.17:comment3:\x1b[A4:infod\
        5:filesld6:lengthi3e4:pathl1:a2:\xffbeee4:name3:lab12:piece lengthi16384e\
        6:pieces20:hhhhhhhhhhhhhhhhhhhhe5:nodesll1:hi1eee3:zzzd1:qli7eeee";

    #[test]
    fn json_is_one_object_with_every_key() {
        let json = shown(TORRENT, true, Some(0)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = "info_hash name length piece_length piece_count last_piece_length private \
                        files announce announce_list nodes url_list comment created_by \
                        creation_date encoding source other piece";
        assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
        assert_eq!(value["files"][0]["path"], "lab/a/%FFb");
        assert_eq!(value["files"][0]["length"], 3);
        assert_eq!(value["last_piece_length"], 3);
        assert_eq!(value["comment"], "\u{1b}[A");
        assert_eq!(value["created_by"], serde_json::Value::Null);
        assert_eq!(value["announce_list"], serde_json::json!([]));
        assert_eq!(value["nodes"], serde_json::json!([["h", 1]]));
        assert_eq!(value["other"], serde_json::json!({"zzz": {"q": [7]}}));
        assert_eq!(value["piece"]["hash"], "68".repeat(20));
        assert!(!json.contains('\u{1b}'));
    }

    #[test]
    fn text_says_everything_and_moves_no_cursor() {
        let text = shown(TORRENT, false, None).unwrap();
        for part in
            ["lab/a/%FFb", "\\u{1b}[A", "16384 bytes", "3 bytes (3 B)", "h:1", "{\"q\":[7]}"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn refusals_name_the_file() {
        let Err(Failure::Refused(line)) = shown(TORRENT, false, Some(1)) else { panic!("piece 1") };
        assert!(line.ends_with("there is no piece 1: it has 1, counted from 0"), "{line}");
        let Err(Failure::Refused(line)) = shown(b"<html>", true, None) else { panic!("html") };
        assert!(line.contains("it is a web page"), "{line}");
        let missing = show(Path::new("/no\n/such"), true, None, &mut Vec::new());
        let Err(Failure::Refused(line)) = missing else { panic!("missing") };
        assert!(line.starts_with("/no\\n/such: "), "{line}");
    }

    #[test]
    fn a_magnet_link_says_what_it_says() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let link = format!(
            "magnet:?xt=urn:btih:{hash}&dn=%1b%5bA&tr=http://a/&tr=http://b/&x.pe=10.0.0.1:5&so=1-2"
        );
        let shown = |link: &str, json, piece| {
            let mut out = Vec::new();
            show(Path::new(link), json, piece, &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        };
        let value: serde_json::Value =
            serde_json::from_str(&shown(&link, true, None).unwrap()).unwrap();
        assert_eq!(value["info_hash"], hash);
        assert_eq!(value["name"], "\u{1b}[A");
        assert_eq!(value["length"], serde_json::Value::Null);
        assert_eq!(value["announce"], "http://a/");
        assert_eq!(value["announce_list"], serde_json::json!([["http://a/"], ["http://b/"]]));
        assert_eq!(value["peers"], serde_json::json!(["10.0.0.1:5"]));
        assert_eq!(value["select"], "1-2");
        let text = shown(&link, false, None).unwrap();
        assert!(text.contains(hash) && text.contains("10.0.0.1:5") && !text.contains('\u{1b}'));
        let refused: Result<String, Failure> = shown("magnet:?xt=urn:btmh:1220", false, None);
        assert!(matches!(refused, Err(Failure::Refused(why)) if why.contains("version 2")));
        assert!(shown(&link, false, Some(0)).is_err());
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(TORRENT).unwrap();
        let end = show(file.path(), false, None, &mut Closed).unwrap_err();
        assert_eq!((end.code(), end), (0, Failure::StdoutClosed));
    }
}
