//! Results as tables for people. Programs get the same results as JSON.

use super::super::text::{escape, percent, size};
use serde_json::Value;

/// A result of a command as text, each line ended.
#[must_use]
pub fn render(result: &Value) -> String {
    if let Some(said) = result.get("said").and_then(Value::as_str) {
        return format!("{said}\n");
    }
    let list = |key: &str| result.get(key).and_then(Value::as_array);
    if let Some(torrents) = list("torrents") {
        let listen = list("listen").map_or(&[][..], |v| v);
        let listen: Vec<_> = listen.iter().filter_map(Value::as_str).collect();
        return format!("listening on {}\n{}", listen.join(", "), status(torrents));
    }
    match (list("peers"), list("files")) {
        (Some(peers), _) => self::peers(peers),
        (_, Some(files)) => self::files(files),
        _ => format!("{result}\n"),
    }
}

fn status(torrents: &[Value]) -> String {
    let rows = torrents.iter().map(|of| {
        let (down, up) = (rate(of, "down_rate"), rate(of, "up_rate"));
        let (have, length) = (number(of, "have"), number(of, "length"));
        vec![
            text(of, "name"),
            text(of, "status"),
            format!("{}%", number(of, "percent")),
            format!("{} of {}", size(have), size(length)),
            down,
            up,
            number(of, "peers").to_string(),
        ]
    });
    table(&["name", "status", "", "there", "down", "up", "peers"], rows, "no torrents")
}

fn peers(peers: &[Value]) -> String {
    let rows = peers.iter().map(|of| {
        vec![
            text(of, "torrent"),
            text(of, "address"),
            (if flag(of, "dialed") { "we dialed" } else { "it dialed" }).to_owned(),
            format!("{}%", number(of, "percent")),
            rate(of, "down_rate"),
            rate(of, "up_rate"),
            states(of),
            text(of, "client"),
        ]
    });
    let heads = ["torrent", "address", "", "has", "down", "up", "states", "program"];
    table(&heads, rows, "no peers are connected")
}

/// The four states of BEP 3, in its words, where they are not the ones of the start.
fn states(of: &Value) -> String {
    let words = [
        (flag(of, "am_interested"), "we are interested"),
        (flag(of, "peer_choking") && flag(of, "am_interested"), "it chokes us"),
        (flag(of, "peer_interested"), "it is interested"),
        (flag(of, "am_choking") && flag(of, "peer_interested"), "we choke it"),
    ];
    let words: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    words.join(", ")
}

fn files(files: &[Value]) -> String {
    let rows = files.iter().map(|of| {
        let (have, length) = (number(of, "have"), number(of, "length"));
        let percent = percent(have, length);
        let status = match of.get("chosen").and_then(Value::as_bool) {
            Some(false) => "not chosen".to_owned(),
            _ => text(of, "status"),
        };
        let index = number(of, "index").to_string();
        vec![index, text(of, "path"), size(length), format!("{percent}%"), status]
    });
    table(&["", "file", "size", "there", "status"], rows, "no files")
}

fn text(of: &Value, key: &str) -> String {
    of.get(key).and_then(Value::as_str).map(escape).unwrap_or_default()
}

fn number(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn flag(of: &Value, key: &str) -> bool {
    of.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn rate(of: &Value, key: &str) -> String {
    match number(of, key) {
        0 => "-".to_owned(),
        rate => format!("{}/s", size(rate)),
    }
}

/// Columns as wide as their widest cell; the last is not filled up.
#[must_use]
pub fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>, when_empty: &str) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return format!("{when_empty}\n");
    }
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = core::iter::once(&heads).chain(&rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in core::iter::once(&heads).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_line_up_and_foreign_text_is_escaped() {
        let result = json!({ "files": [
            { "index": 0, "path": "a", "length": 3_000_000, "have": 1_500_000, "status": "peer" },
            { "index": 9, "path": "b\u{1b}[2Jc", "length": 0, "have": 0, "status": "seeder" },
            { "index": 10, "path": "d", "length": 2, "have": 1, "chosen": false, "status": "peer" },
        ]});
        let expected = "    file         size    there  status\n\
                        0   a            3.0 MB  50%    peer\n\
                        9   b\\u{1b}[2Jc  0 B     100%   seeder\n\
                        10  d            2 B     50%    not chosen\n";
        assert_eq!(render(&result), expected);
        assert_eq!(render(&json!({ "peers": [] })), "no peers are connected\n");
        assert_eq!(render(&json!({ "said": "done" })), "done\n");
        assert_eq!(
            render(&json!({ "listen": ["10.0.0.1:5000"], "torrents": [] })),
            "listening on 10.0.0.1:5000\nno torrents\n"
        );
    }
}
