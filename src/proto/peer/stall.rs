//! A disk that takes nothing for a while: full, over quota, or failing to write. The torrent stops
//! to download and serves what it has; every few seconds one block of zeros is written where a lost
//! one belongs, and when that goes well the download goes on.

use super::Peer;
use crate::proto::output::Action;
use crate::proto::store::{Placed, StoreError};
use crate::proto::swarm::{Stage, Stall};
use crate::units::geometry::{Block, Geometry};
use crate::units::id::{ConnId, SwarmId};
use crate::units::limits::{BLOCK_BYTES, DISK_AGAIN};
use crate::units::time::Instant;
use crate::wire::message::Message;

impl Peer {
    /// The answer to [`Action::TryWrite`].
    pub fn handle_tried(&mut self, now: Instant, id: SwarmId, outcome: Result<(), StoreError>) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(stall) = swarm.stalled.filter(|_| swarm.stage == Stage::Downloading) else {
            return;
        };
        match outcome {
            Err(error) if error.passes() => self.stall(now, id, stall.block, &error),
            Err(error) => self.handle_store_error(now, id, &error),
            Ok(()) => {
                log::info!("{}: the disk takes data again, going on", swarm.torrent.name);
                swarm.stalled = None;
                self.interest_all(now, id);
                self.request_all(now, id);
                self.refresh_status(now, id);
            }
        }
    }

    /// What has just come could not be written, at least not all of it: none of it counts.
    pub(super) fn write_failed(
        &mut self,
        now: Instant,
        id: SwarmId,
        placed: &[Placed],
        error: &StoreError,
    ) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let lost = blocks_of(&swarm.torrent.geometry, placed);
        let Some(&first) = lost.first() else { return };
        for &block in &lost {
            swarm.picker.lost(block);
            swarm.wasted += u64::from(block.length);
        }
        let downloads = swarm.stage == Stage::Downloading;
        self.actions.retain(|action| match action {
            Action::Verify(of, piece) => {
                *of != id || lost.iter().all(|block| block.piece != *piece)
            }
            _ => true,
        });
        if !error.passes() || !downloads {
            return self.handle_store_error(now, id, error);
        }
        self.stall(now, id, first, error);
        let members = self.swarms.get(&id).map(|s| s.members.clone()).unwrap_or_default();
        members.into_iter().for_each(|member| self.take_back_requests(member));
        self.interest_all(now, id);
        self.refresh_status(now, id);
    }

    /// Tries the disks whose turn it is.
    pub(super) fn try_stalled(&mut self, now: Instant) {
        for swarm in self.swarms.values_mut().filter(|s| s.stage == Stage::Downloading) {
            let Some(stall) = &mut swarm.stalled else { continue };
            if stall.again_at.is_some_and(|at| at <= now) {
                stall.again_at = None;
                self.actions.push_back(Action::TryWrite(swarm.id, stall.block));
            }
        }
    }

    /// When to try a disk again.
    pub(super) fn stall_timeout(&self) -> Option<Instant> {
        let waiting = self.swarms.values().filter(|s| s.stage == Stage::Downloading);
        waiting.filter_map(|swarm| swarm.stalled?.again_at).min()
    }

    fn stall(&mut self, now: Instant, id: SwarmId, block: Block, error: &StoreError) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        swarm.stalled = Some(Stall { block, again_at: Some(now + DISK_AGAIN) });
        let (name, seconds) = (&swarm.torrent.name, DISK_AGAIN.as_secs());
        if let Some(line) = swarm.disk_told.say(now, &error.to_string()) {
            log::warn!("{name}: {line}; the download waits and tries again every {seconds} s");
        }
    }

    /// Whatever is on its way from this member would have no place.
    fn take_back_requests(&mut self, id: ConnId) {
        let requests = self.with_peering(id, |peering, swarm, _, _| {
            let requests: Vec<Block> = peering.requests.drain(..).collect();
            requests.iter().for_each(|&block| swarm.picker.give_back(block));
            if let Some(block) = peering.incoming.filling() {
                peering.incoming.forget(block);
                swarm.picker.give_back(block);
            }
            // Each may be answered or rejected still.
            let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
            peering.cancelled = peering.cancelled.saturating_add(count);
            requests
        });
        for block in requests.unwrap_or_default() {
            self.say(id, &Message::Cancel(crate::proto::outgoing::span_of(block)));
        }
    }

    fn interest_all(&mut self, now: Instant, id: SwarmId) {
        let members = self.swarms.get(&id).map(|s| s.members.clone()).unwrap_or_default();
        members.into_iter().for_each(|member| self.update_interest(now, member));
    }
}

/// The blocks that these places are in.
fn blocks_of(geometry: &Geometry, placed: &[Placed]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let size = u64::from(geometry.piece_length());
    for place in placed.iter().filter(|place| place.from < place.to) {
        // Places lie in blocks that the geometry has given, so both numbers fit.
        let index = u32::try_from(place.offset / size).unwrap_or(u32::MAX);
        let nth = u32::try_from(place.offset % size).unwrap_or(u32::MAX) / BLOCK_BYTES;
        let block = geometry.piece(index).map(|piece| geometry.nth_block(piece, nth));
        blocks.extend(block.filter(|block| blocks.last() != Some(block)));
    }
    blocks
}
