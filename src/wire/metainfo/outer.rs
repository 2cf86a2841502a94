//! What stands beside `info`: trackers and notes. Nothing of it is vouched for by the info-hash,
//! so nothing of it is a reason to refuse a torrent: what cannot be read is shown with the unknown.

use super::Other;
use crate::wire::bencode::{Dict, Value};
use crate::wire::text::{escape_cut, lossless};

/// Addresses of one kind that are kept.
const ADDRESSES_MAX: usize = 10_000;
/// Bytes of one text that are kept; an address that was cut holds a blank, so nobody can dial it.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// The known keys of the outer dictionary; of a key that stands there twice, the first.
#[derive(Default)]
pub(super) struct Outer {
    pub(super) announce: Option<String>,
    pub(super) announce_list: Vec<Vec<String>>,
    pub(super) nodes: Vec<(String, u16)>,
    pub(super) url_list: Vec<String>,
    pub(super) comment: Option<String>,
    pub(super) created_by: Option<String>,
    pub(super) creation_date: Option<i64>,
    pub(super) encoding: Option<String>,
    pub(super) source: Option<String>,
}

pub(super) fn read(root: Dict<'_>, other: &mut Other) -> Outer {
    let mut outer = Outer::default();
    for (key, value) in root.iter() {
        let known = match key {
            b"info" => true,
            b"announce" => set(&mut outer.announce, text(value)),
            b"announce-list" => set_list(&mut outer.announce_list, tiers(value)),
            b"nodes" => set_list(&mut outer.nodes, nodes(value)),
            b"url-list" => set_list(&mut outer.url_list, urls(value)),
            b"comment" => set(&mut outer.comment, text(value)),
            b"created by" => set(&mut outer.created_by, text(value)),
            b"creation date" => set(&mut outer.creation_date, value.as_int()),
            b"encoding" => set(&mut outer.encoding, text(value)),
            b"source" => set(&mut outer.source, text(value)),
            _ => false,
        };
        if !known {
            other.push(key, value);
        }
    }
    outer
}

/// Whether the value could be read.
fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let known = value.is_some();
    if slot.is_none() {
        *slot = value;
    }
    known
}

fn set_list<T>(slot: &mut Vec<T>, value: Option<Vec<T>>) -> bool {
    let Some(value) = value else { return false };
    if slot.is_empty() {
        *slot = value;
    }
    true
}

fn text(value: Value<'_>) -> Option<String> {
    value.as_bytes().map(|bytes| match bytes.len() {
        0..=TEXT_BYTES_MAX => lossless(bytes),
        _ => escape_cut(bytes, TEXT_BYTES_MAX),
    })
}

/// An address, if there is one.
fn address(value: Value<'_>) -> Option<String> {
    text(value).filter(|address| !address.is_empty())
}

/// BEP 12: a list of lists of addresses. A plain list, as some write it, is tiers of one.
fn tiers(value: Value<'_>) -> Option<Vec<Vec<String>>> {
    let tiers = value.as_list()?.iter().map(|tier| match tier.as_list() {
        Some(tier) => tier.iter().filter_map(address).collect(),
        None => Vec::from_iter(address(tier)),
    });
    let mut left = ADDRESSES_MAX;
    let mut kept = Vec::new();
    for mut tier in tiers.filter(|tier| !tier.is_empty()) {
        tier.truncate(left);
        left -= tier.len();
        if tier.is_empty() {
            break;
        }
        kept.push(tier);
    }
    Some(kept)
}

/// BEP 5: a list of pairs of host and port.
fn nodes(value: Value<'_>) -> Option<Vec<(String, u16)>> {
    let node = |value: Value<'_>| {
        let mut pair = value.as_list()?.iter();
        let (host, port) = (address(pair.next()?)?, pair.next()?.as_int()?);
        let port = u16::try_from(port).ok().filter(|&port| port != 0)?;
        pair.next().is_none().then_some((host, port))
    };
    Some(value.as_list()?.iter().filter_map(node).take(ADDRESSES_MAX).collect())
}

/// BEP 19: one address, or a list of them.
fn urls(value: Value<'_>) -> Option<Vec<String>> {
    match value {
        Value::Bytes(_) => Some(Vec::from_iter(address(value))),
        Value::List(list) => Some(list.iter().filter_map(address).take(ADDRESSES_MAX).collect()),
        _ => None,
    }
}
