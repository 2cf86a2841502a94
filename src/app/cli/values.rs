//! The values of options, checked, each with the words that say what is wrong.

use crate::units::limits::PIECE_BYTES_MAX;
use crate::wire::choice::Choice;
use crate::wire::text::decimal;
use log::LevelFilter;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

fn number<T: FromStr + PartialOrd>(
    text: &str,
    least: T,
    most: T,
    words: &str,
) -> Result<T, String> {
    decimal(text).filter(|n| *n >= least && *n <= most).ok_or_else(|| words.to_string())
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    number(text, 1, u16::MAX, "a port is a number from 1 to 65535")
}

pub(super) fn count(text: &str) -> Result<u16, String> {
    number(text, 1, u16::MAX - 1, "it must be a number from 1 to 65534")
}

pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a time is a number with s, m or h behind it".into()),
    };
    let number: u64 =
        number(digits, 0, 1_000_000, "a time is a number up to 1000000, then s, m or h")?;
    Ok(Duration::from_secs(number * unit))
}

pub(super) fn index(text: &str) -> Result<u32, String> {
    number(text, 0, u32::MAX, "the index of a piece is a number from 0 on")
}

pub(super) fn file_list(text: &str) -> Result<Choice, String> {
    Choice::parse(text).map_err(|error| format!("'{}' is {error}", text.escape_debug()))
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let one = |ip: &IpAddr| !ip.is_multicast() && *ip != Ipv4Addr::BROADCAST;
    let ip = bare.parse().ok().filter(one);
    ip.ok_or_else(|| "it must be an IPv4 or IPv6 address of this host".into())
}

pub(super) fn client_ports(text: &str) -> Result<bool, String> {
    match text {
        "range" => Ok(false),
        "any" => Ok(true),
        _ => Err("it must be 'range' or 'any'".into()),
    }
}

pub(super) fn log_level(text: &str) -> Result<LevelFilter, String> {
    let level = text.parse().ok().filter(|&level| level <= LevelFilter::Debug);
    level.ok_or_else(|| "it must be off, error, warn, info or debug".into())
}

/// Bytes a second; `None` where there is no limit.
pub(super) fn rate(text: &str) -> Result<Option<u64>, String> {
    let words =
        "a rate is a number of bytes a second, with K, M or G behind it for powers of 1024; \
                 0 is no limit";
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let bytes = thousandths(digits).ok_or(words)? * unit / 1000;
    match (bytes, digits.bytes().all(|digit| matches!(digit, b'0' | b'.'))) {
        (0, true) => Ok(None),
        (0, false) => Err(words.into()),
        _ => Ok(Some(bytes)),
    }
}

/// A ratio in thousandths.
pub(super) fn ratio(text: &str) -> Result<u32, String> {
    let ratio = thousandths(text).and_then(|number| u32::try_from(number).ok());
    ratio.ok_or_else(|| "a ratio is a number such as 2 or 1.5, with three decimals at most".into())
}

/// A decimal number with at most three decimals, below a million million.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 12 || part.len() > 3 {
        return None;
    }
    format!("{whole}{part:0<3}").parse().ok()
}

pub(super) fn piece_length(text: &str) -> Result<u32, String> {
    let words = format!("a piece has 1 to {PIECE_BYTES_MAX} bytes");
    let lower = text.to_ascii_lowercase();
    let number_of = |digits: &str| number(digits, 1, PIECE_BYTES_MAX, &words);
    let (digits, unit) = match lower.strip_suffix("ib").unwrap_or(&lower) {
        k if k.ends_with('k') => (&k[..k.len() - 1], 1 << 10),
        m if m.ends_with('m') => (&m[..m.len() - 1], 1 << 20),
        _ => (lower.as_str(), 1),
    };
    let length = number_of(digits)?.checked_mul(unit);
    length.filter(|&length| length <= PIECE_BYTES_MAX).ok_or(words)
}
