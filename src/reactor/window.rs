//! Bounded windows of mapped memory: which are mapped, which are in use, which go first.
//!
//! Those that one call needs at the same time (`gather.rs`) are pinned until it is done.

// Asking which pages are in memory takes a pointer.
#![allow(unsafe_code)]

use super::guard;
use crate::units::id::SwarmId;
use memmap2::MmapRaw;
use slab::Slab;
use std::collections::BTreeMap;
use std::io::IoSlice;

/// Windows at once, however small: far below the 65,530 maps a process may have.
const WINDOWS_MAX: usize = 1024;
/// What a window is counted as at least: a page.
const PAGE_BYTES: usize = 4096;

/// Which part of which file a window shows. A window never spans files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) swarm: SwarmId,
    pub(super) file: u32,
    /// Counted in whole windows from the start of the file.
    pub(super) number: u64,
}

struct Window {
    key: Key,
    map: MmapRaw,
    /// When it was last asked for, by the clock of [`Windows`].
    used: u64,
    /// The gather that holds it, if that still lives.
    pinned_by: u64,
    /// Nobody but a check in order has looked at it.
    sequential: bool,
    /// And the check has seen its end.
    finished: bool,
    /// A bit for each unit that was found in memory since it was mapped.
    resident: u64,
}

/// The windows of all swarms, the least recently used given up first.
pub(super) struct Windows {
    slots: Slab<Window>,
    by_key: BTreeMap<Key, usize>,
    /// Invariant: the sum of the windows' sizes in whole pages.
    bytes: usize,
    budget_bytes: usize,
    clock: u64,
    /// The number of the gather that lives now or comes next; one lives at a time.
    gather: u64,
}

impl Windows {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self {
            slots: Slab::new(),
            by_key: BTreeMap::new(),
            bytes: 0,
            budget_bytes,
            clock: 0,
            gather: 1,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The window's slot, if it is mapped.
    pub(super) fn find(&mut self, key: &Key, sequential: bool) -> Option<usize> {
        let slot = *self.by_key.get(key)?;
        let window = &mut self.slots[slot];
        self.clock += 1;
        window.used = self.clock;
        window.sequential &= sequential;
        window.finished &= sequential;
        Some(slot)
    }

    pub(super) fn insert(&mut self, key: Key, map: MmapRaw, sequential: bool) -> usize {
        self.make_room(size(&map));
        self.bytes += size(&map);
        self.clock += 1;
        let window = Window {
            key,
            map,
            used: self.clock,
            pinned_by: 0,
            sequential,
            finished: false,
            resident: 0,
        };
        let slot = self.slots.insert(window);
        let old = self.by_key.insert(key, slot);
        debug_assert!(old.is_none(), "{key:?} is mapped twice");
        slot
    }

    pub(super) fn map(&self, slot: usize) -> &MmapRaw {
        &self.slots[slot].map
    }

    pub(super) fn key(&self, slot: usize) -> Key {
        self.slots[slot].key
    }

    pub(super) fn is_known_resident(&self, slot: usize, unit: usize) -> bool {
        unit < 64 && self.slots[slot].resident >> unit & 1 == 1
    }

    pub(super) fn set_resident(&mut self, slot: usize, unit: usize) {
        if unit < 64 {
            self.slots[slot].resident |= 1 << unit;
        }
    }

    /// Whether the page with this byte of the window is in memory. Of files that are not ours the
    /// system says so of every page.
    pub(super) fn is_in_core(&self, slot: usize, byte: usize) -> bool {
        let (map, page) = (self.map(slot), guard::page_bytes());
        let mut answer = 0;
        // SAFETY: the page lies in the map, which is mapped, and the answer is one byte.
        let result = unsafe {
            let at = map.as_mut_ptr().add(byte.min(map.len() - 1) / page * page);
            libc::mincore(at.cast(), 1, &mut answer)
        };
        result != 0 || answer & 1 == 1
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let window = self.slots.remove(slot);
        self.by_key.remove(&window.key);
        self.bytes -= size(&window.map);
    }

    /// A check in order has come to the end of the window. Another piece that is checked beside
    /// it may still need it.
    pub(super) fn finish_sequential(&mut self, slot: usize) {
        let window = &mut self.slots[slot];
        window.finished = window.sequential;
    }

    /// Gives up windows that only a check in order has used, and has left behind.
    pub(super) fn remove_finished(&mut self) {
        let gather = self.gather;
        self.remove_where(|window| window.finished && window.pinned_by != gather);
    }

    pub(super) fn remove_swarm(&mut self, swarm: SwarmId) {
        self.remove_where(|window| window.key.swarm == swarm);
    }

    /// Gives up least recently used windows until `more` bytes fit, as far as none is pinned.
    pub(super) fn make_room(&mut self, more: usize) {
        while self.bytes + more > self.budget_bytes || self.slots.len() >= WINDOWS_MAX {
            let free = self.slots.iter().filter(|(_, window)| window.pinned_by != self.gather);
            let Some((slot, _)) = free.min_by_key(|(_, window)| window.used) else { break };
            self.remove(slot);
        }
    }

    pub(super) fn pin(&mut self, slot: usize) {
        self.slots[slot].pinned_by = self.gather;
    }

    /// Unpins all windows, and gives them up if a call failed on one.
    pub(super) fn end_gather(&mut self, faulted: bool) {
        let gather = self.gather;
        if faulted {
            self.remove_where(|window| window.pinned_by == gather);
        }
        self.gather += 1;
        self.make_room(0);
    }

    fn remove_where(&mut self, mut unwanted: impl FnMut(&Window) -> bool) {
        let (by_key, bytes) = (&mut self.by_key, &mut self.bytes);
        self.slots.retain(|_, window| {
            let goes = unwanted(window);
            if goes {
                by_key.remove(&window.key);
                *bytes -= size(&window.map);
            }
            !goes
        });
    }
}

/// What the window takes of the budget.
fn size(map: &MmapRaw) -> usize {
    map.len().next_multiple_of(PAGE_BYTES)
}

/// The list of slices, empty between two gathers but with its memory kept.
pub(super) type Slices = Vec<IoSlice<'static>>;
