//! A lenient reader of bencode spans beside bendy's strict writer (BEP 3, "bencoding").
//!
//! [`parse`] checks a whole value once, without recursion and without allocating; what it returns
//! borrows from the input and knows its own bytes ([`Value::raw`]), so a hash can be taken over
//! them as they stand. Keys out of order and repeated keys pass, because torrents and trackers in
//! use have them: [`Dict::get`] takes the first, [`Dict::get_once`] refuses a second. Numbers with
//! leading zeros, `-0`, keys that are not strings and lengths beyond the input do not pass.
//!
//! Writing is bendy's `Encoder`'s work, which keeps the keys sorted.

use core::fmt;

/// How much of a value is too much.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lists and dictionaries inside each other, at most [`DEPTH_MAX`].
    pub depth: u32,
    /// Strings, integers, and openings and ends of lists and dictionaries.
    pub tokens: u32,
}

/// Deepest nesting that any [`Limits`] can allow: a `u128` remembers the open containers.
pub const DEPTH_MAX: u32 = 100;

/// The limits of [`parse`]: what a .torrent of ten megabytes may hold.
pub const LIMITS: Limits = Limits { depth: DEPTH_MAX, tokens: 3_000_000 };

const _: () = assert!(DEPTH_MAX < u128::BITS);

/// Why bytes are no bencoded value, and the offset where that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in the bytes given.
    pub at: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a bencoded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An integer or a length that BEP 3 forbids: empty, a sign or digit out of place, `-0`,
    /// a leading zero.
    BadNumber,
    /// A string is longer than what is left, by a length that can never fit.
    LengthTooLarge,
    /// A dictionary key with no value after it.
    KeyWithoutValue,
    /// A dictionary key that is not a string.
    KeyNotString,
    /// The bytes end inside the value.
    Truncated,
    /// More lists and dictionaries inside each other than the limit.
    TooDeep,
    /// More tokens than the limit.
    TooManyTokens,
    /// A byte that begins no value.
    UnexpectedByte(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::BadNumber => f.write_str("a number is written wrongly")?,
            Fault::LengthTooLarge => f.write_str("a string is longer than the file")?,
            Fault::KeyWithoutValue => f.write_str("a key has no value")?,
            Fault::KeyNotString => f.write_str("a key is not a string")?,
            Fault::Truncated => f.write_str("it ends in the middle of a value")?,
            Fault::TooDeep => f.write_str("it is nested too deeply")?,
            Fault::TooManyTokens => f.write_str("it holds too many values")?,
            Fault::UnexpectedByte(byte) => {
                write!(f, "unexpected byte '{}'", core::ascii::escape_default(byte))?;
            }
        }
        write!(f, " (at byte {})", self.at)
    }
}

impl core::error::Error for Malformed {}

/// One bencoded value, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer of any size.
    Int(Int<'a>),
    /// A byte string.
    Bytes(Bytes<'a>),
    /// A list.
    List(List<'a>),
    /// A dictionary.
    Dict(Dict<'a>),
}

/// An integer, kept as its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int<'a>(
    /// From `i` to `e`, digits checked.
    &'a [u8],
);

/// A byte string with its length prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a> {
    raw: &'a [u8],
    bytes: &'a [u8],
}

/// A list whose elements were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a>(
    /// From `l` to its `e`.
    &'a [u8],
);

/// A dictionary whose keys and values were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dict<'a>(
    /// From `d` to its `e`.
    &'a [u8],
);

/// A key that stands twice in a dictionary where that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// Reads the value at the start of `bytes` within [`LIMITS`]; also gives what follows it.
///
/// # Errors
/// [`Malformed`] if no whole value stands there.
pub fn parse(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), Malformed> {
    parse_within(bytes, LIMITS)
}

/// As [`parse`], with the caller's limits.
///
/// # Errors
/// [`Malformed`] if no whole value stands there, or it is beyond the limits.
pub fn parse_within(bytes: &[u8], limits: Limits) -> Result<(Value<'_>, &[u8]), Malformed> {
    let length = scan(bytes, limits)?;
    let (raw, rest) = bytes.split_at(length);
    let value = value(raw).ok_or(Malformed { at: 0, fault: Fault::Truncated })?;
    Ok((value, rest))
}

impl<'a> Value<'a> {
    /// The bytes of the value as they stand in the input.
    #[must_use]
    pub const fn raw(self) -> &'a [u8] {
        match self {
            Self::Int(Int(raw)) | Self::List(List(raw)) | Self::Dict(Dict(raw)) => raw,
            Self::Bytes(bytes) => bytes.raw,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub const fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes.bytes),
            _ => None,
        }
    }

    /// The string as text, if it is one and is UTF-8.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        core::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The integer, if it is one and fits.
    #[must_use]
    pub fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(int) => int.get(),
            _ => None,
        }
    }

    /// The list, if it is one.
    #[must_use]
    pub const fn as_list(self) -> Option<List<'a>> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The dictionary, if it is one.
    #[must_use]
    pub const fn as_dict(self) -> Option<Dict<'a>> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }
}

impl<'a> Int<'a> {
    /// The number, if it fits.
    #[must_use]
    pub fn get(self) -> Option<i64> {
        self.text().parse().ok()
    }

    /// Its digits, with a minus sign where there is one; as many as the sender liked.
    #[must_use]
    pub fn text(self) -> &'a str {
        let digits = self.0.get(1..self.0.len().saturating_sub(1)).unwrap_or_default();
        core::str::from_utf8(digits).unwrap_or_default()
    }
}

impl<'a> Bytes<'a> {
    /// The string without its length prefix.
    #[must_use]
    pub const fn get(self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> List<'a> {
    /// The elements in their order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        Values { left: inside(self.0) }
    }
}

impl<'a> Dict<'a> {
    /// Keys and values in the order they stand in, repeated keys and all.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        let mut values = Values { left: inside(self.0) };
        core::iter::from_fn(move || {
            let key = values.next()?.as_bytes()?;
            Some((key, values.next()?))
        })
    }

    /// The value of the first such key.
    #[must_use]
    pub fn get(self, key: impl AsRef<[u8]>) -> Option<Value<'a>> {
        let key = key.as_ref();
        self.iter().find_map(|(k, value)| (k == key).then_some(value))
    }

    /// The value of the only such key.
    ///
    /// # Errors
    /// [`Repeated`] if the key stands there twice.
    pub fn get_once(self, key: impl AsRef<[u8]>) -> Result<Option<Value<'a>>, Repeated> {
        let key = key.as_ref();
        let mut found = self.iter().filter(|(k, _)| *k == key).map(|(_, value)| value);
        let first = found.next();
        if found.next().is_some() {
            return Err(Repeated);
        }
        Ok(first)
    }
}

/// Values that follow each other in checked bytes.
struct Values<'a> {
    /// Whole values only.
    left: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        // The tokens were counted when the whole was checked; this part of it has no more.
        let length = scan(self.left, Limits { depth: DEPTH_MAX, tokens: u32::MAX }).ok()?;
        let (raw, left) = self.left.split_at(length);
        self.left = left;
        value(raw)
    }
}

/// The contents of a checked list or dictionary.
fn inside(raw: &[u8]) -> &[u8] {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// `raw` is one whole checked value.
fn value(raw: &[u8]) -> Option<Value<'_>> {
    match raw.first()? {
        b'i' => Some(Value::Int(Int(raw))),
        b'l' => Some(Value::List(List(raw))),
        b'd' => Some(Value::Dict(Dict(raw))),
        _ => {
            let prefix = raw.iter().position(|&byte| byte == b':')? + 1;
            Some(Value::Bytes(Bytes { raw, bytes: raw.get(prefix..)? }))
        }
    }
}

/// The containers that are open at some byte.
struct Open {
    depth: u32,
    /// Bit `n` is set where the container at depth `n` is a dictionary.
    dicts: u128,
    /// In a dictionary: the next token is a key, or its end.
    want_key: bool,
}

impl Open {
    fn push(&mut self, dict: bool) {
        self.depth += 1;
        let bit = 1 << self.depth;
        self.dicts = if dict { self.dicts | bit } else { self.dicts & !bit };
        self.want_key = dict;
    }

    fn in_dict(&self) -> bool {
        self.dicts >> self.depth & 1 == 1
    }

    /// A value has ended: in a dictionary a key comes next.
    fn value_ended(&mut self) {
        self.want_key = self.in_dict();
    }
}

/// The length of the value at the start of `bytes`, all of it checked.
fn scan(bytes: &[u8], limits: Limits) -> Result<usize, Malformed> {
    let mut open = Open { depth: 0, dicts: 0, want_key: false };
    let mut at = 0;
    for _ in 0..limits.tokens {
        let fail = |fault| Malformed { at, fault };
        let rest = bytes.get(at..).unwrap_or_default();
        let first = *rest.first().ok_or(fail(Fault::Truncated))?;
        match first {
            b'0'..=b'9' => {
                at += string_length(rest).map_err(fail)?;
                if open.want_key {
                    open.want_key = false;
                    continue;
                }
                open.value_ended();
            }
            b'e' if open.depth > 0 => {
                if open.in_dict() && !open.want_key {
                    return Err(fail(Fault::KeyWithoutValue));
                }
                at += 1;
                open.depth -= 1;
                open.value_ended();
            }
            b'i' | b'l' | b'd' if open.want_key => return Err(fail(Fault::KeyNotString)),
            b'i' => {
                at += int_length(rest).map_err(fail)?;
                open.value_ended();
            }
            b'l' | b'd' => {
                if open.depth >= limits.depth.min(DEPTH_MAX) {
                    return Err(fail(Fault::TooDeep));
                }
                at += 1;
                open.push(first == b'd');
            }
            byte => return Err(fail(Fault::UnexpectedByte(byte))),
        }
        if open.depth == 0 {
            return Ok(at);
        }
    }
    Err(Malformed { at, fault: Fault::TooManyTokens })
}

/// Bytes of the string at the start of `rest`, prefix included.
fn string_length(rest: &[u8]) -> Result<usize, Fault> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits) {
        Some(b':') => {}
        Some(_) => return Err(Fault::BadNumber),
        None => return Err(Fault::Truncated),
    }
    if digits > 1 && rest.first() == Some(&b'0') {
        return Err(Fault::BadNumber);
    }
    let length = rest.iter().take(digits).try_fold(0_usize, |length, digit| {
        length.checked_mul(10)?.checked_add(usize::from(digit - b'0'))
    });
    // A length that no memory can hold is not one that more bytes would mend.
    let end = length.and_then(|length| length.checked_add(digits + 1));
    let end = end.filter(|&end| end <= isize::MAX.unsigned_abs()).ok_or(Fault::LengthTooLarge)?;
    if end > rest.len() {
        return Err(Fault::Truncated);
    }
    Ok(end)
}

/// Bytes of the integer at the start of `rest`, `i` and `e` included.
fn int_length(rest: &[u8]) -> Result<usize, Fault> {
    let sign = usize::from(rest.get(1) == Some(&b'-'));
    let digits = rest.get(1 + sign..).unwrap_or_default();
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match digits.get(count) {
        Some(b'e') => {}
        Some(_) => return Err(Fault::BadNumber),
        None => return Err(Fault::Truncated),
    }
    let zero_first = digits.first() == Some(&b'0');
    if count == 0 || (zero_first && (count > 1 || sign == 1)) {
        return Err(Fault::BadNumber);
    }
    Ok(1 + sign + count + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bendy::decoding::{Decoder, Object};
    use bendy::encoding::{SingleItemEncoder, ToBencode};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn fault(bytes: &[u8]) -> Fault {
        parse(bytes).unwrap_err().fault
    }

    #[test]
    fn values_and_their_raw_bytes() {
        let (value, rest) = parse(b"d1:bli-7e0:e1:a3:xyzetail").unwrap();
        assert_eq!(rest, b"tail");
        let dict = value.as_dict().unwrap();
        assert_eq!(dict.get("a").and_then(Value::as_bytes), Some(&b"xyz"[..]));
        assert_eq!(dict.get("a").and_then(Value::as_str), Some("xyz"));
        assert_eq!(dict.get("c"), None);
        let list = dict.get("b").and_then(Value::as_list).unwrap();
        let raws: Vec<_> = list.iter().map(Value::raw).collect();
        assert_eq!(raws, [&b"i-7e"[..], b"0:"]);
        assert_eq!(list.iter().next().and_then(Value::as_int), Some(-7));
        assert_eq!(dict.iter().map(|(key, _)| key).collect::<Vec<_>>(), [b"b", b"a"]);
    }

    #[test]
    fn repeated_keys_are_the_callers_choice() {
        let dict = parse(b"d1:ai1e1:ai2ee").unwrap().0.as_dict().unwrap();
        assert_eq!(dict.get("a").and_then(Value::as_int), Some(1));
        assert_eq!(dict.get_once("a"), Err(Repeated));
        assert_eq!(dict.get_once("b"), Ok(None));
    }

    #[test]
    fn numbers_as_bep_3_writes_them() {
        for bad in ["i-0e", "i00e", "i01e", "ie", "i-e", "i+1e", "i 1e", "i1.0e", "i0x1e", "i1-1e"]
        {
            assert_eq!(fault(bad.as_bytes()), Fault::BadNumber, "{bad}");
        }
        for bad in ["01:a", "00:", "1 :a", "1a:"] {
            assert_eq!(fault(bad.as_bytes()), Fault::BadNumber, "{bad}");
        }
        assert_eq!(parse(b"i0e").unwrap().0.as_int(), Some(0));
        let huge = parse(b"i9223372036854775808e").unwrap().0;
        assert_eq!(huge.as_int(), None);
        assert!(matches!(huge, Value::Int(int) if int.text() == "9223372036854775808"));
    }

    #[test]
    fn lengths_do_not_wrap() {
        for length in ["9223372036854775807", "18446744073709551615", "18446744073709551607"] {
            assert_eq!(fault(format!("{length}:abc").as_bytes()), Fault::LengthTooLarge);
        }
        assert_eq!(fault(&[&[b'9'; 30][..], b":a"].concat()), Fault::LengthTooLarge);
        assert_eq!(fault(b"4:abc"), Fault::Truncated);
        assert_eq!(fault(b"-7:abc"), Fault::UnexpectedByte(b'-'));
    }

    #[test]
    fn dictionaries_out_of_shape() {
        assert_eq!(fault(b"di1e1:ae"), Fault::KeyNotString);
        assert_eq!(fault(b"dle1:ae"), Fault::KeyNotString);
        assert_eq!(fault(b"d1:ae"), Fault::KeyWithoutValue);
        assert_eq!(fault(b"e"), Fault::UnexpectedByte(b'e'));
        assert_eq!(
            parse(b"d1:a").unwrap_err().to_string(),
            "it ends in the middle of a value (at byte 4)"
        );
    }

    #[test]
    fn depth_and_tokens_are_bounded() {
        let nested = |n: usize| [vec![b'l'; n], vec![b'e'; n]].concat();
        assert!(parse(&nested(100)).is_ok());
        assert_eq!(fault(&nested(101)), Fault::TooDeep);
        assert_eq!(fault(&vec![b'l'; 1_000_000]), Fault::TooDeep);
        assert_eq!(fault(&b"d1:a".repeat(1000)), Fault::TooDeep);
        let limits = Limits { depth: 3, tokens: 6 };
        assert!(parse_within(b"l0:0:0:0:e", limits).is_ok());
        let fault = parse_within(b"l0:0:0:0:0:e", limits).unwrap_err().fault;
        assert_eq!(fault, Fault::TooManyTokens);
    }

    #[test]
    fn cut_at_every_byte() {
        let whole = b"d4:infod5:filesld6:lengthi5e4:pathl1:aeeee3:zzzi-10ee";
        for end in 0..whole.len() {
            assert_eq!(fault(&whole[..end]), Fault::Truncated, "cut at {end}");
        }
        assert!(parse(whole).is_ok());
    }

    #[derive(Clone, Debug)]
    enum Tree {
        Int(i64),
        Bytes(Vec<u8>),
        List(Vec<Tree>),
        Dict(BTreeMap<Vec<u8>, Tree>),
    }

    impl ToBencode for Tree {
        const MAX_DEPTH: usize = 20;

        fn encode(&self, encoder: SingleItemEncoder) -> Result<(), bendy::encoding::Error> {
            match self {
                Self::Int(n) => encoder.emit_int(*n),
                Self::Bytes(bytes) => encoder.emit_bytes(bytes),
                Self::List(list) => encoder
                    .emit_list(|e| list.iter().try_for_each(|v| e.emit_with(|e| v.encode(e)))),
                Self::Dict(dict) => encoder.emit_dict(|mut e| {
                    dict.iter().try_for_each(|(k, v)| e.emit_pair_with(k, |e| v.encode(e)))
                }),
            }
        }
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..12);
        let leaf = prop_oneof![any::<i64>().prop_map(Tree::Int), bytes().prop_map(Tree::Bytes)];
        leaf.prop_recursive(6, 48, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
                proptest::collection::btree_map(bytes(), inner, 0..6).prop_map(Tree::Dict),
            ]
        })
    }

    fn same(value: Value<'_>, tree: &Tree) -> bool {
        match tree {
            Tree::Int(n) => value.as_int() == Some(*n),
            Tree::Bytes(bytes) => value.as_bytes() == Some(bytes),
            Tree::List(list) => value.as_list().is_some_and(|values| {
                values.iter().count() == list.len()
                    && values.iter().zip(list).all(|(v, t)| same(v, t))
            }),
            Tree::Dict(dict) => value.as_dict().is_some_and(|values| {
                values.iter().count() == dict.len()
                    && values.iter().zip(dict).all(|((k, v), (key, t))| k == key && same(v, t))
            }),
        }
    }

    /// Whether bendy can walk the value to its end, and how long it is.
    fn bendy_length(bytes: &[u8]) -> Option<usize> {
        fn walk(object: Object<'_, '_>) -> Result<(), bendy::decoding::Error> {
            match object {
                Object::Integer(_) | Object::Bytes(_) => {}
                Object::List(mut list) => {
                    while let Some(inner) = list.next_object()? {
                        walk(inner)?;
                    }
                }
                Object::Dict(mut dict) => {
                    while let Some((_, inner)) = dict.next_pair()? {
                        walk(inner)?;
                    }
                }
            }
            Ok(())
        }
        walk(Decoder::new(bytes).with_max_depth(100).next_object().ok()??).ok()?;
        let mut decoder = Decoder::new(bytes).with_max_depth(100);
        let length = match decoder.next_object().ok()?? {
            Object::Integer(text) => Some(text.len() + 2),
            Object::Bytes(text) => Some(text.len() + text.len().to_string().len() + 1),
            Object::List(list) => Some(list.into_raw().ok()?.len()),
            Object::Dict(dict) => Some(dict.into_raw().ok()?.len()),
        };
        length
    }

    proptest! {
        #[test]
        fn reads_what_bendy_writes(tree in tree(), tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut bytes = tree.to_bencode().unwrap();
            let length = bytes.len();
            bytes.extend(&tail);
            let (value, rest) = parse(&bytes).unwrap();
            prop_assert_eq!(value.raw(), &bytes[..length]);
            prop_assert_eq!(rest, &tail[..]);
            prop_assert!(same(value, &tree));
        }

        /// On every input: what bendy takes we take, with the same length.
        #[test]
        fn takes_all_that_bendy_takes(bytes in "[dlie0-3:a-]{0,24}") {
            let ours = parse(bytes.as_bytes()).map(|(value, _)| value.raw().len());
            if let Some(length) = bendy_length(bytes.as_bytes()) {
                prop_assert_eq!(ours, Ok(length));
            }
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((value, rest)) = parse(&bytes) {
                prop_assert_eq!(value.raw().len() + rest.len(), bytes.len());
            }
        }
    }
}
