//! Randomness that a stranger cannot foresee: SHA-1 of a secret and a counter. Transaction ids
//! and targets come from it; the generator of `units::rng` would give itself away by its outputs.

use crate::units::id::NodeId;
use crate::wire::digest::Hasher;

/// The secret, and how often it was used.
#[derive(Clone, Debug)]
pub(super) struct Random {
    secret: [u8; 20],
    counter: u64,
}

impl Random {
    pub(super) const fn new(secret: [u8; 20]) -> Self {
        Self { secret, counter: 0 }
    }

    /// The next 20 bytes.
    pub(super) fn bytes(&mut self) -> [u8; 20] {
        self.counter += 1;
        let mut hasher = Hasher::default();
        hasher.update(&self.secret);
        hasher.update(&self.counter.to_be_bytes());
        hasher.finish()
    }

    /// A secret of its own for another purpose.
    pub(super) fn derived(&self, purpose: &[u8]) -> [u8; 20] {
        let mut hasher = Hasher::default();
        hasher.update(&self.secret);
        hasher.update(purpose);
        hasher.finish()
    }

    pub(super) fn node_id(&mut self) -> NodeId {
        NodeId(self.bytes())
    }

    pub(super) fn u32(&mut self) -> u32 {
        let bytes = self.bytes();
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}
