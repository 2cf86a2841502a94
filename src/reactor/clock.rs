//! The clock: monotonic time as the core counts it.

use crate::units::time::Instant;

/// Counts from its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

impl Clock {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        let micros = self.origin.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
