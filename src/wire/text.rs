//! Foreign text. Made safe to show: control characters, direction overrides and bytes that are not
//! UTF-8 become visible escapes. Any bencoded value as JSON. And the numbers and URLs in texts, where the
//! libraries are more lenient than the formats.

use super::bencode::{Dict, List, Value};
use core::str::FromStr;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// Raw bytes of an unknown value shown in full; a larger one is described by its size.
const SHOWN_BYTES_MAX: usize = 4096;
/// Characters of remote text that one message may quote.
const QUOTED_CHARS_MAX: usize = 120;
/// What must be percent-encoded in a part of a URL: all but the unreserved characters of RFC 3986, 2.3.
pub const NOT_UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The number that decimal digits spell: nothing else, not even the plus sign that `from_str` takes.
#[must_use]
pub fn decimal<T: FromStr>(digits: &str) -> Option<T> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Remote text made fit for a line of a message: no control characters, not endless.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    for c in chars.by_ref().take(QUOTED_CHARS_MAX) {
        if matches!(c, '"' | '\'') {
            out.push(c);
        } else {
            out.extend(c.escape_debug());
        }
    }
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// Whether showing the character could move a cursor, reorder the text or begin a line.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' // direction marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings, overrides
            | '\u{2066}'..='\u{2069}' // isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` on one line that a terminal or a log can show.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_bytes(text.as_bytes())
}

/// As [`escape`], for bytes that may not be UTF-8: those become `\xff`.
#[must_use]
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_unsafe(c) {
                safe.extend(c.escape_default());
            } else {
                safe.push(c);
            }
        }
        push_hex(&mut safe, chunk.invalid());
    }
    safe
}

/// As [`escape_bytes`], cut to about `bytes_max` bytes with a word on how long it was.
#[must_use]
pub fn escape_cut(bytes: &[u8], bytes_max: usize) -> String {
    match bytes.get(..bytes_max) {
        Some(head) if head.len() < bytes.len() => {
            // A character cut in two would show as an escape: leave it out.
            let head = match core::str::from_utf8(head) {
                Err(error) if error.error_len().is_none() => &head[..error.valid_up_to()],
                _ => head,
            };
            format!("{}... ({} bytes)", escape_bytes(head), bytes.len())
        }
        _ => escape_bytes(bytes),
    }
}

/// The text as it is, or with escapes where it is not UTF-8.
#[must_use]
pub fn lossless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        text.extend(core::ascii::escape_default(byte).map(char::from));
    }
}

/// `text` as a JSON string (RFC 8259, section 7), safe to show as it stands.
#[must_use]
pub fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if is_unsafe(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    json.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// The value as JSON: strings that are not UTF-8 with escapes, integers beyond 64 bits as strings,
/// what is too large for a person described by its size.
#[must_use]
pub fn json_value(value: Value<'_>) -> String {
    if let Value::Bytes(bytes) = value {
        let bytes = bytes.get();
        if bytes.len() > SHOWN_BYTES_MAX {
            return json_string(&escape_cut(bytes, SHOWN_BYTES_MAX));
        }
    } else if value.raw().len() > SHOWN_BYTES_MAX {
        let kind = match value {
            Value::Int(_) => "an integer",
            Value::List(_) => "a list",
            Value::Dict(_) | Value::Bytes(_) => "a dictionary",
        };
        return json_string(&format!("{kind} of {} bytes", value.raw().len()));
    }
    let mut json = String::new();
    push_json(&mut json, value);
    json
}

/// Recursion ends: the reader lets nothing through that is nested beyond its `DEPTH_MAX`.
fn push_json(json: &mut String, value: Value<'_>) {
    match value {
        Value::Int(int) => match int.get() {
            Some(n) => json.push_str(&n.to_string()),
            None => json.push_str(&json_string(int.text())),
        },
        Value::Bytes(bytes) => json.push_str(&json_string(&lossless(bytes.get()))),
        Value::List(list) => push_json_list(json, list),
        Value::Dict(dict) => push_json_dict(json, dict),
    }
}

fn push_json_list(json: &mut String, list: List<'_>) {
    json.push('[');
    for (n, value) in list.iter().enumerate() {
        if n > 0 {
            json.push(',');
        }
        push_json(json, value);
    }
    json.push(']');
}

fn push_json_dict(json: &mut String, dict: Dict<'_>) {
    json.push('{');
    for (n, (key, value)) in dict.iter().enumerate() {
        if n > 0 {
            json.push(',');
        }
        json.push_str(&json_string(&lossless(key)));
        json.push(':');
        push_json(json, value);
    }
    json.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bencode;

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!(decimal::<u16>("65535"), Some(65_535));
        for bad in ["", "+1", "-1", " 1", "1 ", "0x1", "1_0", "65536", "١"] {
            assert_eq!(decimal::<u16>(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn terminals_and_logs_stay_as_they_were() {
        assert_eq!(escape("a\x1b[2J\r\nb\u{202e}c\u{9b}"), r"a\u{1b}[2J\r\nb\u{202e}c\u{9b}");
        assert_eq!(escape("résumé 漢字"), "résumé 漢字");
        assert_eq!(escape_bytes(b"a\xff\xc0\xafb"), r"a\xff\xc0\xafb");
        assert_eq!(escape_cut("äöü".as_bytes(), 3), "ä... (6 bytes)");
        assert_eq!(escape_cut(b"abc", 3), "abc");
        assert_eq!(lossless(b"a\n\xff"), "a\n\\xff");
        assert_eq!(printable("a\u{1b}[2J'\n\u{202e}"), "a\\u{1b}[2J'\\n\\u{202e}");
        assert_eq!(printable(&"y".repeat(200)).chars().count(), 121);
    }

    #[test]
    fn json_of_every_kind() {
        let text = b"d1:ai-1e1:bl1:\"2:\xff\n0:e1:ci99999999999999999999e1:dde1:elee";
        let json = json_value(bencode::parse(text).unwrap().0);
        assert_eq!(
            json,
            r#"{"a":-1,"b":["\"","\\xff\n",""],"c":"99999999999999999999","d":{},"e":[]}"#
        );
        assert_eq!(json_string("\u{1b}\u{e0001}"), r#""\u001b\udb40\udc01""#);
        let long = [&b"5000:"[..], &[b'x'; 5000]].concat();
        let json = json_value(bencode::parse(&long).unwrap().0);
        assert!(json.ends_with("x... (5000 bytes)\"") && json.len() < 4200);
    }
}
