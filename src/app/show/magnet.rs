//! What `show` says of a magnet link: its hash and its hints; the rest only its swarm knows.

use super::{list, text_member};
use crate::app::text::{escape, json_string};
use crate::wire::magnet::Magnet;
use std::fmt::Display;
use std::io::{self, Write};

pub(super) fn write_text(magnet: &Magnet, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |label: &str, value: &dyn Display| writeln!(out, "{label:<15} {value}");
    row("name", &magnet.name.as_deref().map_or_else(|| "-".into(), escape))?;
    row("info-hash", &magnet.info_hash)?;
    for tracker in &magnet.trackers {
        row("announce", &escape(tracker))?;
    }
    for peer in &magnet.peers {
        row("peer", peer)?;
    }
    for seed in &magnet.web_seeds {
        row("url-list", &escape(seed))?;
    }
    if let Some(choice) = &magnet.select {
        row("files wanted", choice)?;
    }
    row("link", magnet)
}

/// One object on one line with the keys of a .torrent, those of the metadata null or empty, and
/// `peers`, `select` and `magnet` after them.
pub(super) fn write_json(magnet: &Magnet, out: &mut dyn Write) -> io::Result<()> {
    write!(out, r#"{{"info_hash":"{}""#, magnet.info_hash)?;
    text_member(out, "name", magnet.name.as_deref())?;
    out.write_all(
        br#","length":null,"piece_length":null,"piece_count":null,"last_piece_length":null"#,
    )?;
    out.write_all(br#","private":null,"files":[]"#)?;
    text_member(out, "announce", magnet.trackers.first().map(String::as_str))?;
    out.write_all(br#","announce_list":"#)?;
    list(out, &magnet.announce_list(), |tier| {
        let addresses: Vec<_> = tier.iter().map(|address| json_string(address)).collect();
        format!("[{}]", addresses.join(","))
    })?;
    out.write_all(br#","nodes":[],"url_list":"#)?;
    list(out, &magnet.web_seeds, |url| json_string(url))?;
    for key in ["comment", "created_by", "creation_date", "encoding", "source"] {
        text_member(out, key, None)?;
    }
    out.write_all(br#","other":{},"peers":"#)?;
    list(out, &magnet.peers, |peer| json_string(&peer.to_string()))?;
    let select = magnet.select.as_ref().map(ToString::to_string);
    text_member(out, "select", select.as_deref())?;
    text_member(out, "magnet", Some(&magnet.to_string()))?;
    out.write_all(b"}\n")
}
