//! Four lanes of SSE2: for the oldest machines that run a 64-bit system.

use super::vector::{self, Vector};
use super::{State, BLOCK_BYTES};
use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_and_si128, _mm_loadu_si128, _mm_or_si128, _mm_set1_epi32,
    _mm_shufflehi_epi16, _mm_shufflelo_epi16, _mm_slli_epi16, _mm_slli_epi32, _mm_srli_epi16,
    _mm_srli_epi32, _mm_storeu_si128, _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32,
    _mm_unpacklo_epi64, _mm_xor_si128,
};

#[derive(Clone, Copy)]
struct Four(__m128i);

impl Vector<4> for Four {
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        Self(_mm_set1_epi32(word as i32))
    }

    #[inline(always)]
    unsafe fn from_words(words: &[u32; 4]) -> Self {
        Self(_mm_loadu_si128(words.as_ptr().cast()))
    }

    #[inline(always)]
    unsafe fn to_words(self) -> [u32; 4] {
        let mut words = [0; 4];
        _mm_storeu_si128(words.as_mut_ptr().cast(), self.0);
        words
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        Self(_mm_and_si128(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        Self(_mm_or_si128(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(_mm_xor_si128(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        Self(_mm_or_si128(_mm_slli_epi32::<LEFT>(self.0), _mm_srli_epi32::<RIGHT>(self.0)))
    }

    #[inline(always)]
    unsafe fn load(sources: &[*const u8; 4]) -> [Self; 4] {
        let (a, b) = (swapped(sources[0]), swapped(sources[1]));
        let (c, d) = (swapped(sources[2]), swapped(sources[3]));
        let (low_ab, low_cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
        let (high_ab, high_cd) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
        [
            Self(_mm_unpacklo_epi64(low_ab, low_cd)),
            Self(_mm_unpackhi_epi64(low_ab, low_cd)),
            Self(_mm_unpacklo_epi64(high_ab, high_cd)),
            Self(_mm_unpackhi_epi64(high_ab, high_cd)),
        ]
    }
}

/// Four words from big-endian, without the byte shuffle that came with SSSE3.
#[inline(always)]
unsafe fn swapped(source: *const u8) -> __m128i {
    let words = _mm_loadu_si128(source.cast());
    let bytes = _mm_or_si128(_mm_slli_epi16::<8>(words), _mm_srli_epi16::<8>(words));
    _mm_shufflehi_epi16::<0xb1>(_mm_shufflelo_epi16::<0xb1>(bytes))
}

/// Hashes the blocks of each source into the state of the same place.
pub(super) fn compress(states: [&mut State; 4], sources: [&[[u8; BLOCK_BYTES]]; 4]) {
    let least = sources.iter().map(|source| source.len()).min().unwrap_or(0);
    // SAFETY: every x86-64 has SSE2; the sources are cut to one length.
    unsafe { vector::compress::<Four, 4>(states, sources.map(|source| &source[..least])) }
}
