//! The one port of the core: where payload rests.

use crate::units::id::SwarmId;
use core::fmt;

/// The content of a swarm cannot be read or written; the disk's words are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    words: String,
    passes: bool,
    altered: bool,
}

impl StoreError {
    /// An error that is there to stay, in words.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), passes: false, altered: false }
    }

    /// The same write may go well later: the disk is full, a quota is used up.
    #[must_use]
    pub fn that_passes(self) -> Self {
        Self { passes: true, ..self }
    }

    /// Another program has changed what we were writing: it is to be checked again.
    #[must_use]
    pub fn of_altered(self) -> Self {
        Self { altered: true, ..self }
    }

    /// Whether nothing of what is known of the content holds any more.
    #[must_use]
    pub const fn is_altered(&self) -> bool {
        self.altered
    }

    /// Whether trying again later makes sense.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.passes
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl core::error::Error for StoreError {}

/// Part of a buffer, and where in the content it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it belongs.
    pub offset: u64,
    /// Where it begins in the buffer.
    pub from: usize,
    /// Where it ends in the buffer.
    pub to: usize,
}

/// Content by swarm and offset; the offset counts over all files of the torrent laid end to end.
pub trait Store {
    /// Fills `into` from the content at `offset`.
    ///
    /// # Errors
    /// When the range is not there or the disk fails.
    fn read(&mut self, swarm: SwarmId, offset: u64, into: &mut [u8]) -> Result<(), StoreError>;

    /// Puts `bytes` into the content at `offset`.
    ///
    /// # Errors
    /// When the content is read-only, or the disk fails.
    fn write(&mut self, swarm: SwarmId, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Puts the parts of `bytes` into the content, in order.
    ///
    /// # Errors
    /// As [`Store::write`]; parts before the bad one may then be written.
    fn write_placed(
        &mut self,
        swarm: SwarmId,
        bytes: &[u8],
        placed: &[Placed],
    ) -> Result<(), StoreError> {
        placed.iter().try_for_each(|p| self.write(swarm, p.offset, &bytes[p.from..p.to]))
    }
}
