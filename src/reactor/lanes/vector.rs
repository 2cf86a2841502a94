//! SHA-1 in the lanes of a vector: each lane is one stream, and all do the same round at once.

use super::{State, BLOCK_BYTES};

/// A vector of `N` words of 32 bits, one for each stream.
///
/// # Safety
/// Every function may be called only where the processor has the instructions of the type, and
/// only from a function that is compiled for them.
pub(super) trait Vector<const N: usize>: Copy {
    unsafe fn splat(word: u32) -> Self;
    unsafe fn from_words(words: &[u32; N]) -> Self;
    unsafe fn to_words(self) -> [u32; N];
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
    /// The next `N` words of each source, big-endian: one vector for each word.
    unsafe fn load(sources: &[*const u8; N]) -> [Self; N];
}

/// FIPS 180-4, 4.2.1.
const CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

/// Round `ROUND` of eighty; the names of the five words have moved on by one with each round.
///
/// # Safety
/// As [`Vector`] says.
#[inline(always)]
unsafe fn round<V: Vector<N>, const N: usize, const ROUND: usize>(
    constant: V,
    state: &mut [V; 5],
    words: &mut [V; 16],
) {
    let mut word = words[ROUND % 16];
    if ROUND >= 16 {
        let mixed = words[(ROUND + 13) % 16].xor(words[(ROUND + 8) % 16]);
        word = mixed.xor(words[(ROUND + 2) % 16]).xor(word).rotate::<1, 31>();
        words[ROUND % 16] = word;
    }
    let [a, b, c, d, e] = *state;
    let mixed = match ROUND / 20 {
        // Ch and Maj in the forms that need the fewest instructions.
        0 => b.and(c.xor(d)).xor(d),
        2 => b.and(c).or(d.and(b.or(c))),
        _ => b.xor(c).xor(d),
    };
    let next = a.rotate::<5, 27>().add(mixed).add(e.add(constant).add(word));
    *state = [next, a, b.rotate::<30, 2>(), c, d];
}

/// Rounds of one kind. Not a loop: the program is compiled for size, and here every number of a
/// round must be known.
macro_rules! rounds {
    ($state:ident, $words:ident, $kind:literal: $($round:literal)*) => {
        let constant = V::splat(CONSTANTS[$kind]);
        $(round::<V, N, $round>(constant, &mut $state, &mut $words);)*
    };
}

/// Hashes the blocks of each source into the state of the same place.
///
/// # Safety
/// As [`Vector`] says; the sources must be of one length.
#[inline(always)]
pub(super) unsafe fn compress<V: Vector<N>, const N: usize>(
    states: [&mut State; N],
    sources: [&[[u8; BLOCK_BYTES]]; N],
) {
    let mut words_of = [[0; N]; 5];
    for (at, words) in words_of.iter_mut().enumerate() {
        *words = core::array::from_fn(|lane| states[lane][at]);
    }
    let mut state = [V::splat(0); 5];
    for (vector, words) in state.iter_mut().zip(&words_of) {
        *vector = V::from_words(words);
    }
    for block in 0..sources[0].len() {
        let mut words = [V::splat(0); 16];
        for part in 0..16 / N {
            let mut at = [core::ptr::null(); N];
            for lane in 0..N {
                at[lane] = sources[lane].get_unchecked(block).as_ptr().add(part * N * 4);
            }
            words[part * N..][..N].copy_from_slice(&V::load(&at));
        }
        let before = state;
        rounds!(state, words, 0: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        rounds!(state, words, 1: 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
        rounds!(state, words, 2: 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
        rounds!(state, words, 3: 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
        for (vector, before) in state.iter_mut().zip(before) {
            *vector = vector.add(before);
        }
    }
    for (vector, words) in state.iter().zip(&mut words_of) {
        *words = vector.to_words();
    }
    for (lane, state) in states.into_iter().enumerate() {
        *state = core::array::from_fn(|at| words_of[at][lane]);
    }
}
