//! What the disk was asked for, for those who wait for blocks: nothing twice, and no list without end.

use crate::units::id::SwarmId;

/// Stretches of 256 KiB that are remembered as asked for: 64 MiB under way.
const ASKED_MAX: usize = 256;

/// What was asked for, not to be asked for again at every look.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Swarm and number of the stretch; at most `ASKED_MAX`, the oldest overwritten first.
    stretches: Vec<(SwarmId, u64)>,
    next: usize,
}

impl Asked {
    /// Notes the stretch; false where it was noted before.
    pub(super) fn note(&mut self, swarm: SwarmId, number: u64) -> bool {
        if self.stretches.contains(&(swarm, number)) {
            return false;
        }
        match self.stretches.get_mut(self.next) {
            Some(oldest) => *oldest = (swarm, number),
            None => self.stretches.push((swarm, number)),
        }
        self.next = (self.next + 1) % ASKED_MAX;
        true
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SwarmId = SwarmId(1);

    #[test]
    fn each_stretch_is_asked_for_once() {
        let mut asked = Asked::default();
        assert!(asked.note(S, 0));
        assert!(!asked.note(S, 0));
        (1..=ASKED_MAX as u64).for_each(|number| assert!(asked.note(S, number)));
        assert!(asked.note(S, 0), "forgotten by now");
        assert_eq!(asked.stretches.len(), ASKED_MAX);
        asked.clear();
        assert!(asked.note(S, 0));
    }
}
