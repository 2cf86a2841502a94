//! One bit a piece, the first piece in the high bit of the first byte (BEP 3).

extern crate alloc;
use alloc::{vec, vec::Vec};

/// A set of the indices `0..len`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitfield {
    /// Invariant: `len.div_ceil(8)` bytes, spare bits zero.
    bytes: Vec<u8>,
    len: u32,
    /// Invariant: the number of set bits.
    count: u32,
}

impl Bitfield {
    /// The empty set.
    #[must_use]
    pub fn new(len: u32) -> Self {
        Self { bytes: vec![0; len.div_ceil(8) as usize], len, count: 0 }
    }

    /// The set of all indices.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut bytes = vec![0xff; len.div_ceil(8) as usize];
        if let (Some(last), spare @ 1..) = (bytes.last_mut(), len.wrapping_neg() % 8) {
            *last = 0xff << spare;
        }
        Self { bytes, len, count: len }
    }

    /// The set a remote end sent: `None` if the size is wrong or a spare bit is set.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let spare = len.wrapping_neg() % 8;
        if bytes.last().is_some_and(|last| last & ((1 << spare) - 1) as u8 != 0) {
            return None;
        }
        let count = bytes.iter().map(|b| b.count_ones()).sum();
        Some(Self { bytes: bytes.to_vec(), len, count })
    }

    /// The bytes as they go over the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of indices, set or not.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether no index is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether every index is set.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Number of set indices.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether `index` is set; false past the end.
    #[must_use]
    pub fn get(&self, index: u32) -> bool {
        index < self.len && self.bytes[index as usize / 8] & (0x80 >> (index % 8)) != 0
    }

    /// Sets `index`; true if it was not set before.
    ///
    /// # Panics
    /// If `index` is past the end.
    pub fn set(&mut self, index: u32) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        let new = !self.get(index);
        self.bytes[index as usize / 8] |= 0x80 >> (index % 8);
        self.count += u32::from(new);
        new
    }

    /// Clears `index`; true if it was set before.
    ///
    /// # Panics
    /// If `index` is past the end.
    pub fn clear(&mut self, index: u32) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        let old = self.get(index);
        self.bytes[index as usize / 8] &= !(0x80 >> (index % 8));
        self.count -= u32::from(old);
        old
    }

    /// The set indices in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        indices(words(&self.bytes))
    }

    /// The indices of this set that `other` lacks, in order.
    pub fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let pairs = words(&self.bytes).zip(words(&other.bytes));
        indices(pairs.map(|(mine, theirs)| mine & !theirs))
    }

    /// Number of indices that both sets have.
    #[must_use]
    pub fn count_with(&self, other: &Self) -> u32 {
        self.bytes.iter().zip(&other.bytes).map(|(a, b)| (a & b).count_ones()).sum()
    }

    /// Whether `other` has an index of `wanted` that this set lacks.
    #[must_use]
    pub fn lacks_any_of_wanted(&self, other: &Self, wanted: &Self) -> bool {
        let theirs = other.bytes.iter().zip(&wanted.bytes).map(|(a, b)| a & b);
        self.bytes.iter().zip(theirs).any(|(mine, theirs)| theirs & !mine != 0)
    }

    /// Whether `other` has an index that this set lacks.
    #[must_use]
    pub fn lacks_any_of(&self, other: &Self) -> bool {
        !self.is_full() && other.without(self).next().is_some()
    }
}

/// Sixty-four indices at a time, the first in the highest bit; what is missing at the end is zero.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_be_bytes(word)
    })
}

/// The indices of the set bits, in order.
fn indices(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u32> {
    (0..).step_by(64).zip(words).filter(|&(_, word)| word != 0).flat_map(|(first, mut word)| {
        core::iter::from_fn(move || {
            let at = word.leading_zeros();
            word ^= 1_u64.checked_shl(63_u32.checked_sub(at)?)?;
            Some(first + at)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_equals_all_set_one_by_one() {
        for len in 0..40 {
            let mut set = Bitfield::new(len);
            assert!((0..len).all(|i| set.set(i)));
            assert_eq!(set, Bitfield::full(len));
            assert_eq!(Bitfield::from_bytes(set.as_bytes(), len), Some(set));
        }
    }

    #[test]
    fn many_at_a_time_is_as_one_by_one() {
        let mut rng = crate::units::rng::Rng::new(7);
        for len in (0..200).chain([1000, 4096]) {
            let (mut a, mut b) = (Bitfield::new(len), Bitfield::new(len));
            for index in 0..len {
                (rng.below(3) == 0).then(|| a.set(index));
                (rng.below(3) > 0).then(|| b.set(index));
            }
            let one_by_one: Vec<u32> = (0..len).filter(|&i| a.get(i)).collect();
            assert_eq!(a.iter().collect::<Vec<_>>(), one_by_one);
            let one_by_one: Vec<u32> = (0..len).filter(|&i| a.get(i) && !b.get(i)).collect();
            assert_eq!(a.without(&b).collect::<Vec<_>>(), one_by_one);
            assert_eq!(b.lacks_any_of(&a), !one_by_one.is_empty());
            assert!(!Bitfield::full(len).lacks_any_of(&a));
        }
    }

    #[test]
    fn wrong_size_and_spare_bits_are_refused() {
        assert_eq!(Bitfield::from_bytes(&[0xff], 7), None);
        assert_eq!(Bitfield::from_bytes(&[0xfe, 0], 7), None);
        assert!(Bitfield::from_bytes(&[0xfe], 7).unwrap().is_full());
        assert!(Bitfield::from_bytes(&[], 0).is_some());
    }

    #[test]
    fn clear_and_compare() {
        let mut a = Bitfield::full(10);
        assert!(a.clear(9) && !a.clear(9));
        assert!(a.lacks_any_of(&Bitfield::full(10)));
        assert!(!Bitfield::full(10).lacks_any_of(&a));
        assert_eq!(a.iter().count(), 9);
        let mut wanted = Bitfield::new(10);
        wanted.set(3);
        assert!(!a.lacks_any_of_wanted(&Bitfield::full(10), &wanted));
        wanted.set(9);
        assert!(a.lacks_any_of_wanted(&Bitfield::full(10), &wanted));
        assert!(!a.lacks_any_of_wanted(&a, &wanted));
        assert_eq!(a.count_with(&wanted), 1);
    }
}
