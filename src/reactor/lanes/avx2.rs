//! Eight lanes of AVX2: for machines of the years between AVX2 and the SHA instructions.

use super::vector::{self, Vector};
use super::{State, BLOCK_BYTES};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_set_epi64x, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

#[derive(Clone, Copy)]
struct Eight(__m256i);

impl Vector<8> for Eight {
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        Self(_mm256_set1_epi32(word as i32))
    }

    #[inline(always)]
    unsafe fn from_words(words: &[u32; 8]) -> Self {
        Self(_mm256_loadu_si256(words.as_ptr().cast()))
    }

    #[inline(always)]
    unsafe fn to_words(self) -> [u32; 8] {
        let mut words = [0; 8];
        _mm256_storeu_si256(words.as_mut_ptr().cast(), self.0);
        words
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm256_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        Self(_mm256_and_si256(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        Self(_mm256_or_si256(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(_mm256_xor_si256(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        let (high, low) = (_mm256_slli_epi32::<LEFT>(self.0), _mm256_srli_epi32::<RIGHT>(self.0));
        Self(_mm256_or_si256(high, low))
    }

    #[inline(always)]
    unsafe fn load(sources: &[*const u8; 8]) -> [Self; 8] {
        let low = transposed([sources[0], sources[1], sources[2], sources[3]]);
        let high = transposed([sources[4], sources[5], sources[6], sources[7]]);
        // Each half holds words of four lanes: the first four words in its low part, the other
        // four in its high part.
        [
            Self(_mm256_permute2x128_si256::<0x20>(low[0], high[0])),
            Self(_mm256_permute2x128_si256::<0x20>(low[1], high[1])),
            Self(_mm256_permute2x128_si256::<0x20>(low[2], high[2])),
            Self(_mm256_permute2x128_si256::<0x20>(low[3], high[3])),
            Self(_mm256_permute2x128_si256::<0x31>(low[0], high[0])),
            Self(_mm256_permute2x128_si256::<0x31>(low[1], high[1])),
            Self(_mm256_permute2x128_si256::<0x31>(low[2], high[2])),
            Self(_mm256_permute2x128_si256::<0x31>(low[3], high[3])),
        ]
    }
}

/// Words 0-3 (low part) and 4-7 (high part) of four sources, one vector for each word.
#[inline(always)]
unsafe fn transposed(sources: [*const u8; 4]) -> [__m256i; 4] {
    // Reverses the bytes of each word.
    let (high, low) = (0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let big_endian = _mm256_set_epi64x(high, low, high, low);
    let (a, b) = (words(sources[0], big_endian), words(sources[1], big_endian));
    let (c, d) = (words(sources[2], big_endian), words(sources[3], big_endian));
    let (low_ab, low_cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (high_ab, high_cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(low_ab, low_cd),
        _mm256_unpackhi_epi64(low_ab, low_cd),
        _mm256_unpacklo_epi64(high_ab, high_cd),
        _mm256_unpackhi_epi64(high_ab, high_cd),
    ]
}

/// Eight words of one source.
#[inline(always)]
unsafe fn words(source: *const u8, big_endian: __m256i) -> __m256i {
    _mm256_shuffle_epi8(_mm256_loadu_si256(source.cast()), big_endian)
}

/// Hashes the blocks of each source into the state of the same place.
///
/// # Safety
/// The processor must have AVX2, and the sources must be of one length.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn compress(states: &mut [State; 8], sources: &[&[[u8; BLOCK_BYTES]]; 8]) {
    vector::compress::<Eight, 8>(states.each_mut(), *sources);
}
