//! The SHA instructions of x86, on two or three streams in turn.
//!
//! `sha1rnds4` takes several cycles before its result can be used, but another one can start
//! meanwhile: that of another stream.

use super::{State, BLOCK_BYTES};
use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi32, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32,
    _mm_sha1rnds4_epu32, _mm_shuffle_epi32, _mm_shuffle_epi8, _mm_storeu_si128, _mm_xor_si128,
};

/// Four rounds, number `GROUP` of twenty, of stream `lane`.
///
/// # Safety
/// The processor must have SHA, SSSE3 and SSE4.1.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
unsafe fn four_rounds<const N: usize, const GROUP: usize, const KIND: i32>(
    lane: usize,
    abcd: &mut [__m128i; N],
    e: &mut [__m128i; N],
    words: &mut [[__m128i; N]; 4],
) {
    if GROUP >= 4 {
        // FIPS 180-4, 6.1.2 step 1: w[t] from w[t-16], w[t-14], w[t-8] and w[t-3].
        let mixed = _mm_sha1msg1_epu32(words[GROUP % 4][lane], words[(GROUP + 1) % 4][lane]);
        let mixed = _mm_xor_si128(mixed, words[(GROUP + 2) % 4][lane]);
        words[GROUP % 4][lane] = _mm_sha1msg2_epu32(mixed, words[(GROUP + 3) % 4][lane]);
    }
    let word = words[GROUP % 4][lane];
    let with_e = match GROUP {
        0 => _mm_add_epi32(e[lane], word),
        _ => _mm_sha1nexte_epu32(e[lane], word),
    };
    e[lane] = abcd[lane];
    abcd[lane] = _mm_sha1rnds4_epu32::<KIND>(abcd[lane], with_e);
}

/// Runs the line for each of at most three lanes. Not a loop: the program is compiled for size,
/// and here each lane must stay in its registers.
macro_rules! each_lane {
    ($n:ident, |$lane:ident| $line:stmt) => {{
        let $lane = 0;
        $line
    }
    if $n > 1 {
        let $lane = 1;
        $line
    }
    if $n > 2 {
        let $lane = 2;
        $line
    }};
}

/// Hashes the blocks of each source into the state of the same place.
///
/// # Safety
/// The processor must have SHA, SSSE3 and SSE4.1, and the sources must be of one length.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) unsafe fn compress<const N: usize>(
    states: [&mut State; N],
    sources: [&[[u8; BLOCK_BYTES]]; N],
) {
    let big_endian = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let mut abcd = [_mm_setzero_si128(); N];
    let mut e = [_mm_setzero_si128(); N];
    for lane in 0..N {
        abcd[lane] = _mm_shuffle_epi32(_mm_loadu_si128(states[lane].as_ptr().cast()), 0x1b);
        e[lane] = _mm_set_epi32(states[lane][4] as i32, 0, 0, 0);
    }
    assert!(N >= 1 && N <= 3);
    for block in 0..sources[0].len() {
        let (abcd_before, e_before) = (abcd, e);
        let mut words = [[_mm_setzero_si128(); N]; 4];
        for (quarter, words) in words.iter_mut().enumerate() {
            each_lane!(N, |lane| words[lane] = {
                let bytes = sources[lane].get_unchecked(block).as_ptr().add(16 * quarter);
                _mm_shuffle_epi8(_mm_loadu_si128(bytes.cast()), big_endian)
            });
        }
        macro_rules! rounds {
            ($($group:literal)*) => {
                $(each_lane!(N, |lane| four_rounds::<N, $group, { $group / 5 }>(
                    lane, &mut abcd, &mut e, &mut words
                ));)*
            };
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        each_lane!(N, |lane| e[lane] = _mm_sha1nexte_epu32(e[lane], e_before[lane]));
        each_lane!(N, |lane| abcd[lane] = _mm_add_epi32(abcd[lane], abcd_before[lane]));
    }
    for (lane, state) in states.into_iter().enumerate() {
        let ordered = _mm_shuffle_epi32(abcd[lane], 0x1b);
        _mm_storeu_si128(state.as_mut_ptr().cast(), ordered);
        state[4] = _mm_extract_epi32(e[lane], 3) as u32;
    }
}
