//! The one port of the core: where payload rests.

use crate::units::id::SwarmId;
use core::fmt;

/// The content of a swarm cannot be read or written; the disk's words are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for StoreError {}

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
}
