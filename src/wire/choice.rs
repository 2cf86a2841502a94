//! Which files of a torrent are wanted (BEP 53): a list of their indices, as in `0,2,4-6`.
//!
//! The indices are those of the metainfo's `files`, counted from 0; files of padding (BEP 47) are
//! counted too, and never wanted for themselves.

use super::metainfo::{File, Metainfo};
use super::text::decimal;
use crate::units::bitfield::Bitfield;
use core::fmt;
use core::ops::RangeInclusive;

/// Ranges of indices in one list: far more than anybody writes by hand.
const RANGES_MAX: usize = 1_000;

/// A list of file indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Invariant: at least one, in order, apart from each other by at least one index.
    ranges: Vec<RangeInclusive<u32>>,
}

/// The text is no list of file indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChoice;

impl Choice {
    /// Reads a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, BadChoice> {
        let index = |text: &str| decimal::<u32>(text).ok_or(BadChoice);
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = index(first)?..=index(last)?;
            if range.is_empty() || ranges.len() >= RANGES_MAX {
                return Err(BadChoice);
            }
            ranges.push(range);
        }
        Ok(Self::of(ranges))
    }

    /// Both lists in one.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::of(self.ranges.iter().chain(&other.ranges).cloned().collect())
    }

    fn of(mut ranges: Vec<RangeInclusive<u32>>) -> Self {
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<u32>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => joined.push(range),
            }
        }
        Self { ranges: joined }
    }

    /// Whether the file of this index is in the list.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        let Ok(index) = u32::try_from(index) else { return false };
        let after = self.ranges.partition_point(|range| *range.start() <= index);
        after > 0 && self.ranges[after - 1].contains(&index)
    }

    /// Whether the torrent has a file that is in the list.
    ///
    /// # Errors
    /// A sentence, when it has none.
    pub fn check(&self, metainfo: &Metainfo) -> Result<(), String> {
        let mut files = metainfo.files.iter().enumerate();
        if files.any(|(index, file)| !file.pad && self.contains(index)) {
            return Ok(());
        }
        let count = metainfo.files.len();
        Err(format!(
            "no file is chosen by {self}: it has {count}, counted from 0 (show lists them)"
        ))
    }

    /// Whether every file of the torrent is in the list.
    #[must_use]
    pub fn names_all(&self, metainfo: &Metainfo) -> bool {
        let mut files = metainfo.files.iter().enumerate();
        files.all(|(index, file)| file.pad || self.contains(index))
    }

    /// What is in the list and not in the torrent, which BEP 53 passes over: the first such index.
    #[must_use]
    pub fn beyond(&self, metainfo: &Metainfo) -> Option<u32> {
        let count = u32::try_from(metainfo.files.len()).unwrap_or(u32::MAX);
        let past = self.ranges.iter().find(|range| *range.end() >= count)?;
        Some(count.max(*past.start()))
    }

    /// The pieces that hold a byte of a file in the list.
    #[must_use]
    pub fn pieces(&self, metainfo: &Metainfo) -> Bitfield {
        let geometry = &metainfo.geometry;
        let mut pieces = Bitfield::new(geometry.piece_count());
        let length = u64::from(geometry.piece_length());
        let chosen = metainfo.files.iter().enumerate().filter(|(i, _)| self.contains(*i));
        for (_, File { offset, length: bytes, .. }) in chosen.filter(|(_, f)| is_content(f)) {
            let (first, last) = (offset / length, (offset + bytes - 1) / length);
            let indices = (first..=last).filter_map(|piece| u32::try_from(piece).ok());
            for piece in indices.filter(|&piece| geometry.piece(piece).is_some()) {
                pieces.set(piece);
            }
        }
        pieces
    }
}

fn is_content(file: &File) -> bool {
    !file.pad && file.length > 0
}

impl fmt::Display for Choice {
    /// The list, in the form that [`Choice::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.ranges.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "," })?;
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for BadChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a list of file indices, such as 0,2,4-6")
    }
}

impl core::error::Error for BadChoice {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choice(text: &str) -> Choice {
        Choice::parse(text).unwrap()
    }

    /// A torrent of files with these lengths; every file at an odd place of `pads` is padding.
    fn torrent(lengths: &[u64], pads: &[bool], piece_length: u64) -> Metainfo {
        let mut files = String::new();
        for (n, (length, &pad)) in lengths.iter().zip(pads).enumerate() {
            let attr = if pad { "4:attr1:p" } else { "" };
            let name = format!("f{n}");
            files.push_str(&format!("d{attr}6:lengthi{length}e4:pathl{}:{name}ee", name.len()));
        }
        let length: u64 = lengths.iter().sum();
        let hashes = "h".repeat(20 * length.div_ceil(piece_length) as usize);
        let text = format!(
            "d4:infod5:filesl{files}e4:name1:x12:piece lengthi{piece_length}e6:pieces{}:{hashes}ee",
            hashes.len()
        );
        Metainfo::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lists_in_any_order_are_told_in_order() {
        for (text, told) in [
            ("0,2,4,6-8", "0,2,4,6-8"),
            ("8,6-7,0", "0,6-8"),
            ("3-5,1-9,2", "1-9"),
            ("1,0", "0-1"),
            ("4294967295,0-4294967294", "0-4294967295"),
        ] {
            assert_eq!(choice(text).to_string(), told);
            assert_eq!(choice(told), choice(text));
        }
        for bad in ["", ",", "1,", "1-", "-1", "5-4", "a", "+1", " 1", "1 ", "4294967296", "1--2"] {
            assert_eq!(Choice::parse(bad), Err(BadChoice), "{bad}");
        }
        assert_eq!(Choice::parse(&"1,".repeat(2_000)), Err(BadChoice));
        assert_eq!(choice("1,5").and(&choice("2-3,9")).to_string(), "1-3,5,9");
    }

    #[test]
    fn borders_padding_and_empty_files() {
        // Pieces of 10 bytes; pad 2 fills the gap between 12 and 20.
        let files = [12, 0, 8, 5, 30];
        let torrent = torrent(&files, &[false, false, true, false, false], 10);
        let pieces = |text: &str| choice(text).pieces(&torrent).iter().collect::<Vec<_>>();
        assert_eq!(pieces("0"), [0, 1]);
        assert_eq!(pieces("1"), [0; 0], "an empty file has no piece");
        assert_eq!(pieces("2"), [0; 0], "padding is not wanted for itself");
        assert_eq!(pieces("3"), [2]);
        assert_eq!(pieces("4"), [2, 3, 4, 5]);
        assert!(choice("1").check(&torrent).is_ok() && choice("2").check(&torrent).is_err());
        assert!(choice("0-1,3-4").names_all(&torrent) && !choice("0-3").names_all(&torrent));
        let why = choice("5-9").check(&torrent).unwrap_err();
        assert_eq!(why, "no file is chosen by 5-9: it has 5, counted from 0 (show lists them)");
        assert_eq!(choice("0-3,7-8").beyond(&torrent), Some(7));
        assert_eq!(choice("0-8").beyond(&torrent), Some(5));
        assert_eq!(choice("0-4").beyond(&torrent), None);
    }

    proptest! {
        #[test]
        fn like_a_list_of_bytes(
            files in proptest::collection::vec((0..40_u64, any::<bool>(), any::<bool>()), 1..12),
            piece_length in 1..25_u64,
        ) {
            let lengths: Vec<_> = files.iter().map(|f| f.0).collect();
            let pads: Vec<_> = files.iter().map(|f| f.1).collect();
            let texts = files.iter().enumerate().filter(|(_, f)| f.2).map(|(n, _)| n.to_string());
            let text = texts.collect::<Vec<_>>().join(",");
            prop_assume!(!text.is_empty() && pads.contains(&false));
            let (choice, torrent) = (choice(&text), torrent(&lengths, &pads, piece_length));
            let mut expected = Bitfield::new(torrent.geometry.piece_count());
            let mut at = 0;
            for &(length, pad, chosen) in &files {
                for byte in at..at + length {
                    if chosen && !pad {
                        expected.set((byte / piece_length) as u32);
                    }
                }
                at += length;
            }
            prop_assert_eq!(choice.pieces(&torrent), expected);
            prop_assert_eq!(choice.check(&torrent).is_ok(), files.iter().any(|f| f.2 && !f.1));
            prop_assert_eq!(Choice::parse(&choice.to_string()), Ok(choice));
        }

        #[test]
        fn like_a_set(a in "[0-9,-]{1,12}", b in "[0-9,-]{1,12}", index in 0..30_usize) {
            let (Ok(a), Ok(b)) = (Choice::parse(&a), Choice::parse(&b)) else { return Ok(()) };
            prop_assert_eq!(a.and(&b).contains(index), a.contains(index) || b.contains(index));
        }
    }
}
