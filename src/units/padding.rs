//! Which bytes of a content are padding (BEP 47): zeros that are hashed, and that nobody stores or
//! need send.

extern crate alloc;
use alloc::vec::Vec;
use core::ops::Range;

/// The padding of a content, as ranges of its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Invariant: in order, apart from each other, none empty.
    ranges: Vec<Range<u64>>,
}

impl Padding {
    /// Padding of these ranges, which come in order and do not overlap.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            debug_assert!(joined.last().is_none_or(|last| last.end <= range.start), "in order");
            match joined.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => joined.push(range),
            }
        }
        Self { ranges: joined }
    }

    /// Whether all of these bytes are padding.
    #[must_use]
    pub fn covers(&self, bytes: &Range<u64>) -> bool {
        self.ending_after(bytes.start)
            .is_some_and(|range| range.start <= bytes.start && bytes.end <= range.end)
    }

    /// Whether any of these bytes is padding.
    #[must_use]
    pub fn touches(&self, bytes: &Range<u64>) -> bool {
        self.ending_after(bytes.start).is_some_and(|range| range.start < bytes.end)
    }

    fn ending_after(&self, offset: u64) -> Option<&Range<u64>> {
        self.ranges.get(self.ranges.partition_point(|range| range.end <= offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn none_covers_nothing() {
        let none = Padding::new([5..5, 7..7]);
        assert_eq!(none, Padding::default());
        assert!(!none.covers(&(0..1)) && !none.touches(&(0..u64::MAX)));
    }

    #[test]
    fn neighbours_are_one() {
        let padding = Padding::new([3..5, 5..9, 12..13]);
        assert!(padding.covers(&(3..9)) && padding.covers(&(4..6)) && padding.covers(&(12..13)));
        assert!(!padding.covers(&(2..5)) && !padding.covers(&(8..10)) && !padding.covers(&(3..13)));
        assert!(padding.touches(&(0..4)) && padding.touches(&(8..11)) && padding.touches(&(0..99)));
        assert!(!padding.touches(&(0..3)) && !padding.touches(&(9..12)));
    }

    proptest! {
        #[test]
        fn like_a_list_of_bytes(
            lengths in proptest::collection::vec(0..6_u64, 0..12),
            start in 0..60_u64,
            length in 1..20_u64,
        ) {
            let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
            for (n, &length) in lengths.iter().enumerate() {
                let from = bytes.len() as u64;
                bytes.extend((0..length).map(|_| n % 2 == 1));
                if n % 2 == 1 {
                    ranges.push(from..bytes.len() as u64);
                }
            }
            bytes.resize(100, false);
            let (padding, range) = (Padding::new(ranges), start..start + length);
            let part = &bytes[start as usize..(start + length) as usize];
            prop_assert_eq!(padding.covers(&range), part.iter().all(|&pad| pad));
            prop_assert_eq!(padding.touches(&range), part.contains(&true));
        }
    }
}
