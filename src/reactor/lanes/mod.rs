//! SHA-1 of several streams at once: one core hashes two to four times as many bytes a second
//! when it works on independent pieces side by side, because the rounds of one stream wait for
//! each other and those of different streams do not.
//!
//! With SHA instructions three streams are interleaved; without them, eight lanes of AVX2 or four
//! of SSE2 each hold one stream. What is left over (a lone stream, the last bytes of one) goes
//! through the `sha1` crate. Which engine is best is found out at run time, once.

// The kernels use instructions that not every processor has.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod shani;
#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(target_arch = "x86_64")]
mod vector;

use core::fmt;
use core::str::FromStr;
use std::sync::OnceLock;

/// Bytes of one block of SHA-1.
const BLOCK_BYTES: usize = 64;
/// Streams that any engine works on at once.
pub const STREAMS_MAX: usize = 8;
/// Names the engine to use instead of the best one, for measurements: see [`Engine`].
pub const ENGINE_VARIABLE: &str = "REACTOR_PEER_SHA1";

type State = [u32; 5];

/// FIPS 180-4, 5.3.1.
const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// How streams are hashed side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Eight lanes of AVX2.
    Avx2,
    /// Three interleaved streams of SHA instructions.
    ShaNi,
    /// One after the other, by the `sha1` crate.
    Single,
    /// Four lanes of SSE2, which every x86-64 has.
    Sse2,
}

impl Engine {
    /// All of them, whether this processor can or not.
    pub const ALL: [Self; 4] = [Self::ShaNi, Self::Avx2, Self::Sse2, Self::Single];

    /// The best one for this processor, or the one that [`ENGINE_VARIABLE`] names if it can.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Engine> = OnceLock::new();
        *BEST.get_or_init(|| {
            let named = std::env::var(ENGINE_VARIABLE).ok().and_then(|name| name.parse().ok());
            let able = |engine: &Self| engine.is_able();
            named.filter(able).or(Self::ALL.into_iter().find(able)).unwrap_or(Self::Single)
        })
    }

    /// Whether this processor has the instructions.
    #[must_use]
    pub fn is_able(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::ShaNi => {
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("ssse3")
                    && is_x86_feature_detected!("sse4.1")
            }
            Self::Single | Self::Sse2 => true,
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Single;
    }

    /// Streams that it works on at once: give it so many.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Avx2 => 8,
            Self::ShaNi => 3,
            Self::Single => 1,
            Self::Sse2 => 4,
        }
    }

    /// Fewer streams than this are faster one by one.
    #[must_use]
    pub const fn worth(self) -> usize {
        match self {
            Self::ShaNi | Self::Sse2 => 2,
            Self::Avx2 => 3,
            Self::Single => usize::MAX,
        }
    }
}

impl FromStr for Engine {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|engine| engine.to_string() == name).ok_or(())
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx2 => "avx2",
            Self::ShaNi => "sha-ni",
            Self::Single => "single",
            Self::Sse2 => "sse2",
        })
    }
}

/// The SHA-1 of bytes that come in parts.
#[derive(Clone, Debug)]
pub struct Stream {
    state: State,
    /// Bytes so far; the last `hashed % 64` of them are in `rest`.
    hashed: u64,
    rest: [u8; BLOCK_BYTES],
}

impl Default for Stream {
    fn default() -> Self {
        Self { state: START, hashed: 0, rest: [0; BLOCK_BYTES] }
    }
}

impl Stream {
    /// Bytes so far.
    #[must_use]
    pub const fn hashed(&self) -> u64 {
        self.hashed
    }

    /// The digest of all parts.
    #[must_use]
    pub fn finish(mut self) -> [u8; 20] {
        let bits = self.hashed.wrapping_mul(8);
        let at = self.rest_len();
        self.rest[at] = 0x80;
        self.rest[at + 1..].fill(0);
        // FIPS 180-4, 5.1.1: the length needs the last eight bytes of a block.
        if at + 1 > BLOCK_BYTES - 8 {
            single(&mut self.state, &[self.rest]);
            self.rest.fill(0);
        }
        self.rest[BLOCK_BYTES - 8..].copy_from_slice(&bits.to_be_bytes());
        single(&mut self.state, &[self.rest]);
        let mut digest = [0; 20];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    const fn rest_len(&self) -> usize {
        (self.hashed % BLOCK_BYTES as u64) as usize
    }

    /// Takes what completes the block that was begun; returns the other bytes.
    fn top_up<'a>(&mut self, part: &'a [u8]) -> &'a [u8] {
        let at = self.rest_len();
        if at == 0 {
            return part;
        }
        let (now, later) = part.split_at(part.len().min(BLOCK_BYTES - at));
        self.rest[at..at + now.len()].copy_from_slice(now);
        self.hashed += now.len() as u64;
        if self.rest_len() == 0 && !now.is_empty() {
            single(&mut self.state, &[self.rest]);
        }
        later
    }

    /// Keeps the bytes that are less than a block.
    fn keep(&mut self, rest: &[u8]) {
        debug_assert!(rest.len() < BLOCK_BYTES);
        debug_assert!(rest.is_empty() || self.rest_len() == 0);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.hashed += rest.len() as u64;
    }
}

/// Adds the next part of each stream, of whatever length.
///
/// # Panics
/// When there are not as many parts as streams, or more than [`STREAMS_MAX`].
pub fn update(engine: Engine, streams: &mut [Stream], parts: &[&[u8]]) {
    assert_eq!(streams.len(), parts.len(), "each stream has one part");
    assert!(streams.len() <= STREAMS_MAX, "at most {STREAMS_MAX} streams");
    debug_assert!(engine.is_able());
    let mut left: [&[[u8; BLOCK_BYTES]]; STREAMS_MAX] = [&[]; STREAMS_MAX];
    let mut rests: [&[u8]; STREAMS_MAX] = [&[]; STREAMS_MAX];
    for (at, (stream, part)) in streams.iter_mut().zip(parts).enumerate() {
        (left[at], rests[at]) = in_blocks(stream.top_up(part));
    }
    blocks(engine, streams, &mut left);
    for (stream, rest) in streams.iter_mut().zip(rests) {
        stream.keep(rest);
    }
}

/// Hashes whole blocks: side by side as long as enough streams have some, then one by one.
fn blocks(engine: Engine, streams: &mut [Stream], left: &mut [&[[u8; BLOCK_BYTES]]; STREAMS_MAX]) {
    loop {
        let mut group = [0; STREAMS_MAX];
        let mut members = 0;
        let mut count = usize::MAX;
        for at in (0..streams.len()).filter(|&at| !left[at].is_empty()).take(engine.width()) {
            group[members] = at;
            members += 1;
            count = count.min(left[at].len());
        }
        if members < engine.worth() {
            break;
        }
        side_by_side(engine, streams, left, &group[..members], count);
        for &at in &group[..members] {
            streams[at].hashed += (count * BLOCK_BYTES) as u64;
            left[at] = &left[at][count..];
        }
    }
    for (stream, left) in streams.iter_mut().zip(left) {
        single(&mut stream.state, left);
        stream.hashed += (left.len() * BLOCK_BYTES) as u64;
    }
}

/// `count` blocks of each member of the group, which has at least `count`.
fn side_by_side(
    engine: Engine,
    streams: &mut [Stream],
    left: &[&[[u8; BLOCK_BYTES]]; STREAMS_MAX],
    group: &[usize],
    count: usize,
) {
    // Lanes beyond the group hash the first member's bytes once more, and are thrown away.
    let mut states = [streams[group[0]].state; STREAMS_MAX];
    let mut sources = [&left[group[0]][..count]; STREAMS_MAX];
    for (lane, &at) in group.iter().enumerate() {
        states[lane] = streams[at].state;
        sources[lane] = &left[at][..count];
    }
    #[cfg(target_arch = "x86_64")]
    match engine {
        // SAFETY: `Engine::best` chose it, or a test that asked `is_able`: the processor has the
        // instructions. All sources hold `count` blocks.
        Engine::Avx2 => unsafe { avx2::compress(&mut states, &sources) },
        Engine::ShaNi if group.len() == 2 => {
            let [first, second, ..] = &mut states;
            // SAFETY: as above.
            unsafe { shani::compress([first, second], [sources[0], sources[1]]) };
        }
        Engine::ShaNi => {
            let [first, second, third, ..] = &mut states;
            let sources = [sources[0], sources[1], sources[2]];
            // SAFETY: as above.
            unsafe { shani::compress([first, second, third], sources) };
        }
        Engine::Sse2 => {
            let [first, second, third, fourth, ..] = &mut states;
            let sources = [sources[0], sources[1], sources[2], sources[3]];
            sse2::compress([first, second, third, fourth], sources);
        }
        Engine::Single => {
            states.iter_mut().zip(sources).for_each(|(state, source)| single(state, source));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = engine;
        states.iter_mut().zip(sources).for_each(|(state, source)| single(state, source));
    }
    for (lane, &at) in group.iter().enumerate() {
        streams[at].state = states[lane];
    }
}

/// The whole blocks of `part`, and what is less than one.
fn in_blocks(part: &[u8]) -> (&[[u8; BLOCK_BYTES]], &[u8]) {
    let count = part.len() / BLOCK_BYTES;
    let (whole, rest) = part.split_at(count * BLOCK_BYTES);
    // SAFETY: `whole` is `count` times 64 bytes long, and an array of bytes has no alignment.
    (unsafe { core::slice::from_raw_parts(whole.as_ptr().cast(), count) }, rest)
}

fn single(state: &mut State, blocks: &[[u8; BLOCK_BYTES]]) {
    sha1::block_api::compress(state, blocks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::digest;
    use proptest::prelude::*;

    fn able() -> impl Iterator<Item = Engine> {
        Engine::ALL.into_iter().filter(|engine| engine.is_able())
    }

    fn hex(digest: [u8; 20]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn official_vectors() {
        // FIPS 180-2, appendix A, and the empty message.
        let long = vec![b'a'; 1_000_000];
        let vectors: [(&[u8], &str); 4] = [
            (b"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (&long, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        ];
        for engine in able() {
            for (message, digest) in vectors {
                let every = if message.len() < 100 { 1 } else { STREAMS_MAX - 1 };
                for together in (1..=STREAMS_MAX).step_by(every) {
                    let mut streams = vec![Stream::default(); together];
                    update(engine, &mut streams, &vec![message; together]);
                    for stream in streams {
                        assert_eq!(hex(stream.finish()), digest, "{engine}, {together} streams");
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for engine in Engine::ALL {
            assert_eq!(engine.to_string().parse(), Ok(engine));
            assert!(engine.width() <= STREAMS_MAX);
        }
        assert_eq!("mmx".parse::<Engine>(), Err(()));
        assert!(Engine::best().is_able());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn like_the_crate(
            bytes in proptest::collection::vec(any::<u8>(), 0..6000),
            cuts in proptest::collection::vec(
                proptest::collection::vec(0..700_usize, 0..8), 1..=STREAMS_MAX),
        ) {
            // Each stream sees its own stretch of the bytes, in parts of its own.
            let stretch = |at: usize| &bytes[bytes.len().min(at * 37)..];
            for engine in able() {
                let mut streams = vec![Stream::default(); cuts.len()];
                let mut left: Vec<_> = (0..cuts.len()).map(stretch).collect();
                for round in 0..9 {
                    let mut parts = Vec::new();
                    for (at, left) in left.iter_mut().enumerate() {
                        let cut = cuts[at].get(round).copied().unwrap_or(usize::MAX);
                        let cut = if round == 8 { left.len() } else { cut.min(left.len()) };
                        let (now, later) = left.split_at(cut);
                        parts.push(now);
                        *left = later;
                    }
                    update(engine, &mut streams, &parts);
                }
                for (at, stream) in streams.into_iter().enumerate() {
                    prop_assert_eq!(stream.hashed(), stretch(at).len() as u64);
                    prop_assert_eq!(stream.finish(), digest::sha1(stretch(at)), "{}", engine);
                }
            }
        }
    }
}
