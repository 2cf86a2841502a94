//! Sizes, shares, dates and foreign names as people read them.

pub use crate::reactor::folders::shown;
pub use crate::wire::text::{escape, escape_bytes, is_unsafe, json_string};

/// A word that a shell takes as it stands, or in quotes.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._+/:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("'");
    for c in word.chars().filter(|&c| !is_unsafe(c)) {
        match c {
            '\'' => quoted.push_str("'\\''"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// Bytes in the largest decimal unit that leaves at least one: `3.0 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut thousandths = u128::from(bytes);
    for unit in UNITS {
        let tenths = (thousandths + 50) / 100;
        if tenths < 10_000 || unit == "EB" {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        thousandths /= 1000;
    }
    unreachable!("the last unit takes every number")
}

/// Whole hundredths of `length` that are there: 100 only when it is all, of nothing too.
#[must_use]
pub fn percent(have: u64, length: u64) -> u64 {
    let percent = (u128::from(have) * 100).checked_div(u128::from(length));
    u64::try_from(percent.unwrap_or(100)).unwrap_or(u64::MAX)
}

/// Columns that a terminal gives the character: two for those of East Asia and for pictures. Where one
/// takes less than we think, a row is shorter than it could be.
fn column(c: char) -> usize {
    let wide = matches!(u32::from(c),
        0x1100..=0x115f | 0x231a..=0x231b | 0x2329..=0x232a | 0x23e9..=0x23f3 | 0x25fd..=0x27bf
        | 0x2b1b..=0x2b55 | 0x2e80..=0xa4cf | 0xa960..=0xa97c | 0xac00..=0xd7a3 | 0xf900..=0xfaff
        | 0xfe10..=0xfe6f | 0xff01..=0xff60 | 0xffe0..=0xffe6 | 0x16fe0..=0x18cff
        | 0x1af00..=0x1b2ff | 0x1f000..=0x1faff | 0x20000..=0x3ffff);
    1 + usize::from(wide)
}

/// Columns that a text takes on a terminal, at most.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

/// As much of the beginning as has room in so many columns.
#[must_use]
pub fn head(text: &str, most: usize) -> &str {
    let mut taken = 0;
    let fits = |(_, c): &(usize, char)| {
        taken += column(*c);
        taken <= most
    };
    let end = text.char_indices().take_while(fits).last().map_or(0, |(at, c)| at + c.len_utf8());
    &text[..end]
}

/// As much of the end as has room in so many columns.
#[must_use]
pub fn tail(text: &str, most: usize) -> &str {
    let mut taken = 0;
    let fits = |(_, c): &(usize, char)| {
        taken += column(*c);
        taken <= most
    };
    let start = text.char_indices().rev().take_while(fits).last().map_or(text.len(), |(at, _)| at);
    &text[start..]
}

/// The text in so many columns; of a longer one the middle is left out, since names of one kind
/// differ at their ends.
#[must_use]
pub fn middle(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(1);
    format!("{}~{}", head(text, room - room / 2), tail(text, room / 2))
}

/// A piece length as its makers count: `32 KiB`, or bytes if it is no whole number of KiB.
#[must_use]
pub fn piece_size(bytes: u32) -> String {
    match bytes {
        0 => "0 bytes".into(),
        n if n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

/// Seconds since 1970 as a date of the Gregorian calendar in UTC, within the years 1970 to 9999.
#[must_use]
pub fn date(seconds: i64) -> Option<String> {
    let seconds = u64::try_from(seconds).ok().filter(|&seconds| seconds < 253_402_300_800)?;
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", days + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_so_many_columns() {
        assert_eq!((head("abc", 2), tail("abc", 2), columns("abc")), ("ab", "bc", 3));
        assert_eq!((head("abc", 9), tail("abc", 9), head("abc", 0)), ("abc", "abc", ""));
        let wide = "\u{65e5}\u{672c}\u{8a9e}";
        assert_eq!((columns(wide), head(wide, 3), tail(wide, 5)), (6, &wide[..3], &wide[3..]));
        assert_eq!(middle("disc-0000001.iso", 12), "disc-0~1.iso");
        assert_eq!(
            (middle("abc", 3), middle("abcd", 1), middle(wide, 0)),
            ("abc".into(), "~".into(), "~".into())
        );
    }

    #[test]
    fn sizes_and_shares() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (2_920_050, "2.9 MB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!((percent(0, 0), percent(999, 1000), percent(1000, 1000)), (100, 99, 100));
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(piece_size(32768), "32 KiB");
        assert_eq!(piece_size(1 << 20), "1 MiB");
        assert_eq!(piece_size(50001), "50001 bytes");
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(date(seconds).as_deref(), Some(text));
        }
        assert_eq!(date(-1), None);
        assert_eq!(date(i64::MAX), None);
    }
}
