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

/// Twenty rounds of one kind.
///
/// # Safety
/// As [`Vector`] says.
#[inline(always)]
unsafe fn twenty<V: Vector<N>, const N: usize, const KIND: usize>(
    state: &mut [V; 5],
    words: &mut [V; 16],
) {
    let constant = V::splat(CONSTANTS[KIND]);
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for round in KIND * 20..KIND * 20 + 20 {
        let mut word = words[round % 16];
        if round >= 16 {
            let mixed = words[(round + 13) % 16].xor(words[(round + 8) % 16]);
            word = mixed.xor(words[(round + 2) % 16]).xor(word).rotate::<1, 31>();
            words[round % 16] = word;
        }
        let mixed = match KIND {
            // Ch and Maj in the forms that need the fewest instructions.
            0 => b.and(c.xor(d)).xor(d),
            2 => b.and(c).or(d.and(b.or(c))),
            _ => b.xor(c).xor(d),
        };
        let next = a.rotate::<5, 27>().add(mixed).add(e.add(constant).add(word));
        (e, d, c, b, a) = (d, c, b.rotate::<30, 2>(), a, next);
    }
    *state = [a, b, c, d, e];
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
        twenty::<V, N, 0>(&mut state, &mut words);
        twenty::<V, N, 1>(&mut state, &mut words);
        twenty::<V, N, 2>(&mut state, &mut words);
        twenty::<V, N, 3>(&mut state, &mut words);
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
