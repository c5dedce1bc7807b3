//! What goes so that there is room: the oldest blocks, first for time, then for the bytes allowed, then for the disk.
//!
//! A disk below its floor is the last case: what memory holds is sealed early, which makes a tenth of its log; then the
//! oldest blocks go; and when nothing can, appends are refused until there is room again. Sealing, checkpoints and
//! reads go on all the while, for they are what gives room back.

use super::{
    block::Block,
    engine::{Places, Shared, Tsdb},
    options::Options,
    stretch::{self, stretches},
};
use crate::{
    model::{TimeRange, Timestamp},
    stdx::{size::format_bytes, vfs::Space},
    store::StoreError,
};
use parking_lot::Mutex;
use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

/// The floor of free disk is this part of the whole, ...
const FLOOR_PART: u64 = 50;
/// ... but at least what the log takes for its next two segments, ...
const FLOOR_BYTES_MIN: u64 = 16 << 20;
/// ... and at most what nobody can use up between two looks.
const FLOOR_BYTES_MAX: u64 = 1 << 30;
/// A disk that was full counts as free again at this part above its floor, so that it does not change every second.
const RECOVERY_PART: u64 = 8;
/// Memory is sealed early for the sake of its log no more often than this: each time makes another small block.
const EARLY_SEAL_MS: i64 = 10 * 60_000;
/// A log of fewer segments than this gives back too little: spare ones and the newest stay.
const EARLY_SEAL_SEGMENTS: u64 = 4;

/// What was seen and done about the disk since the start.
#[derive(Default)]
pub(super) struct Disk {
    /// Below the floor, and nothing more could go: appends are refused.
    pub full: AtomicBool,
    /// As of the last look, for the messages of refusals.
    free: AtomicU64,
    floor: AtomicU64,
    /// Blocks on their way out that somebody still reads.
    leaving: Mutex<Vec<Weak<Block>>>,
    /// Of the clock's elapsed time; 0 for never.
    sealed_early_ms: AtomicI64,
    pub dropped_by_time: AtomicU64,
    pub dropped_by_size: AtomicU64,
    /// Appends refused.
    pub refused: AtomicU64,
    /// Whether the last look failed, which is logged once.
    unknown: AtomicBool,
}

impl Disk {
    /// Whether an append may be tried.
    pub fn check(&self) -> Result<(), StoreError> {
        if !self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let [free_bytes, floor_bytes] = [&self.free, &self.floor].map(|bytes| bytes.load(Ordering::Relaxed));
        Err(StoreError::DiskFull { free_bytes, floor_bytes })
    }

    /// Bytes of dropped blocks that come back when their readers are done.
    fn leaving_bytes(&self) -> u64 {
        let mut leaving = self.leaving.lock();
        leaving.retain(|block| block.strong_count() > 0);
        leaving.iter().filter_map(Weak::upgrade).map(|block| block.file_bytes()).sum()
    }
}

/// Room on the disk and what we make of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub space: Space,
    /// Below this much free, room has to be made.
    pub floor: u64,
    /// What blocks and log may take together; `None` for no limit but the disk.
    pub allowed: Option<u64>,
    /// What they take.
    pub used: u64,
}

/// Free bytes that are kept on a file system of `total` bytes.
pub(super) fn floor_of(total: u64) -> u64 {
    (total / FLOOR_PART).clamp(FLOOR_BYTES_MIN, FLOOR_BYTES_MAX)
}

impl Tsdb {
    /// Looks at the disk now and makes room where it is short, as is done once a second.
    pub fn keep_room(&self) {
        self.shared.keep_room();
    }
}

impl Shared {
    /// Looks at the disk.
    pub fn room(&self) -> Result<Room, StoreError> {
        let space = self.options.vfs.space(&self.options.directory);
        let space = space.map_err(StoreError::io("asking how much disk is free"))?;
        let percent = u64::from(self.options.disk_percent_max);
        let of_disk = (percent > 0).then(|| (u128::from(space.total) * u128::from(percent) / 100) as u64);
        let set = (self.options.bytes_max > 0).then_some(self.options.bytes_max);
        let allowed = set.into_iter().chain(of_disk).min();
        let blocks: u64 = self.places.read().all().map(|block| block.file_bytes()).sum();
        let used = blocks.saturating_add(self.log.stats().bytes);
        Ok(Room { space, floor: floor_of(space.total), allowed, used })
    }

    /// Makes room where blocks and log take more than they may, or where the disk is short; where nothing can go, appends
    /// are refused until there is room.
    pub fn keep_room(&self) {
        let room = match self.room() {
            Ok(room) => room,
            Err(error) => {
                if !self.disk.unknown.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "How full the disk is cannot be told; what it refuses is answered as it comes.");
                }
                return;
            }
        };
        self.disk.unknown.store(false, Ordering::Relaxed);
        if let Some(allowed) = room.allowed
            && room.used > allowed
        {
            self.drop_oldest(
                room.used - allowed,
                "More is stored than `storage.max_bytes` and `max_disk_percent` allow",
            );
        }
        let was_full = self.disk.full.load(Ordering::Relaxed);
        let wanted = if was_full { room.floor + room.floor / RECOVERY_PART } else { room.floor };
        if self.free_soon(room.space) < wanted {
            self.seal_early();
            let missing = wanted.saturating_sub(self.free_now());
            self.drop_oldest(missing, "The disk is short");
        }
        let free = self.free_now();
        let full = free < wanted;
        self.disk.free.store(free, Ordering::Relaxed);
        self.disk.floor.store(room.floor, Ordering::Relaxed);
        if self.disk.full.swap(full, Ordering::Relaxed) != full {
            let (free, floor) = (format_bytes(free), format_bytes(room.floor));
            match full {
                true => tracing::error!(
                    free,
                    floor,
                    "The disk is full: writes are refused until there is room, reads go on."
                ),
                false => tracing::info!(free, floor, "The disk has room again: writes are taken."),
            }
        }
    }

    /// What is free, what readers will give back, and what a merge that is running will.
    fn free_soon(&self, space: Space) -> u64 {
        space.free.saturating_add(self.disk.leaving_bytes()).saturating_add(self.compaction.bytes_in_hand())
    }

    fn free_now(&self) -> u64 {
        self.options.vfs.space(&self.options.directory).map_or(0, |space| self.free_soon(space))
    }

    /// Seals what is in memory where its log is long: the block takes a tenth of that.
    fn seal_early(&self) {
        let elapsed_ms = self.options.clock.elapsed_ms().max(1);
        let last_ms = self.disk.sealed_early_ms.load(Ordering::Relaxed);
        let is_long = self.log.stats().bytes >= EARLY_SEAL_SEGMENTS * self.options.log.segment_bytes;
        if !is_long || last_ms > 0 && elapsed_ms - last_ms < EARLY_SEAL_MS {
            return;
        }
        self.disk.sealed_early_ms.store(elapsed_ms, Ordering::Relaxed);
        tracing::info!("The disk is short: what is in memory is sealed early, so that its log can go.");
        if let Err(error) = self.seal_where(|_| true) {
            tracing::warn!(%error, "Not everything in memory could be sealed; it is tried again.");
        }
    }

    /// The blocks that may go for the sake of room, in this order: first samples that all tiers have, of which only the
    /// resolution is lost, then samples and buckets, oldest first, the finer before the coarser. Not those of the newest
    /// window, which was live a moment ago where it was sealed early. `places` is held by the caller.
    pub fn droppable(&self, places: &Places) -> Vec<Arc<Block>> {
        let newest_file = places.all().map(|block| block.footer.newest).max();
        let newest = self.head.bounds().map(|(_, newest)| newest).max(newest_file).unwrap_or(i64::MIN);
        let live = self.head.window_of(newest);
        let reference = self.reference(places, self.now_ms()).unwrap_or(i64::MIN);
        let mut spare = Vec::new();
        if places.tiers.iter().any(|files| !files.is_empty()) {
            let stretches = stretches(places, self.stretch_ms(), TimeRange::ALL);
            spare.extend(stretches.iter().flat_map(|stretch| stretch.spare(&self.options.tiers, reference)));
            // Of some of it more than resolution would be lost.
            spare.retain(|block| !self.has_longer(block, reference));
        }
        let is_spare = |block: &Arc<Block>| spare.iter().any(|known| Arc::ptr_eq(known, block));
        let others = places.all().filter(|block| !is_spare(block)).cloned().collect();
        let sorted = |mut blocks: Vec<Arc<Block>>| {
            blocks.retain(|block| block.footer.newest < live);
            blocks.sort_by_key(|block| (block.footer.newest, block.footer.start));
            blocks
        };
        [sorted(others), sorted(spare)].into_iter().rev().flatten().collect()
    }

    /// How long stretches are, see [`stretch`].
    pub fn stretch_ms(&self) -> i64 {
        stretch::span_ms(self.options.retention_ms)
    }

    /// Drops blocks, oldest first, until so many bytes are on their way out. Windows in memory never go.
    fn drop_oldest(&self, bytes: u64, reason: &str) {
        let mut dropped: Vec<Arc<Block>> = Vec::new();
        if bytes > 0 && self.options.drops_blocks {
            let mut places = self.places.write();
            let mut left = bytes;
            for block in self.droppable(&places) {
                places.remove(&block);
                left = left.saturating_sub(block.file_bytes());
                dropped.push(block);
                if left == 0 {
                    break;
                }
            }
        }
        for block in &dropped {
            self.disk.dropped_by_size.fetch_add(1, Ordering::Relaxed);
            let size = format_bytes(block.file_bytes());
            tracing::warn!(path = %block.path.display(), size, "{reason}: the oldest block goes.");
            self.disk.leaving.lock().push(Arc::downgrade(block));
        }
        self.let_go(dropped);
    }

    /// The blocks whose time is over: samples as far as all tiers have them, and buckets.
    pub fn expired(&self, places: &Places, reference: Timestamp) -> Vec<Arc<Block>> {
        let Options { retention_ms, tiers, .. } = &self.options;
        let is_older = |block: &Arc<Block>, retention_ms: i64| {
            let oldest = reference.saturating_sub(retention_ms);
            (block.footer.newest < oldest).then(|| block.clone())
        };
        let mut going: Vec<_> = places.files.iter().filter_map(|block| is_older(block, *retention_ms)).collect();
        if !tiers.is_empty() && !going.is_empty() {
            let oldest = reference.saturating_sub(*retention_ms);
            let stretches = stretches(places, self.stretch_ms(), TimeRange::ALL);
            going = stretches.iter().flat_map(|stretch| stretch.expired(tiers, reference, oldest)).collect();
        }
        for (files, tier) in places.tiers.iter().zip(tiers) {
            going.extend(files.iter().filter_map(|file| is_older(file, tier.retention_ms)));
        }
        going
    }

    /// Drops blocks that are wholly past retention. The reference is our clock, the newest sample or the time that can
    /// have passed, whichever is oldest: a clock that jumps ahead deletes nothing.
    pub fn drop_expired(&self, now_ms: i64) {
        if !self.options.drops_blocks {
            return;
        }
        let mut dropped = Vec::new();
        self.learn_shares();
        {
            let mut places = self.places.write();
            let Some(reference) = self.reference(&places, now_ms) else { return };
            dropped.extend(self.leaving(&places, reference).dropped);
            dropped.iter().for_each(|block| places.remove(block));
        }
        for block in &dropped {
            self.disk.dropped_by_time.fetch_add(1, Ordering::Relaxed);
            tracing::info!(path = %block.path.display(), "A block is past its retention and goes.");
        }
        self.let_go(dropped);
    }

    /// Has the files of blocks removed that are not served any more, once nobody reads them. The checkpoint forgets them
    /// first, so that the next start misses none.
    pub fn let_go(&self, blocks: Vec<Arc<Block>>) {
        if blocks.is_empty() {
            return;
        }
        if let Err(error) = self.checkpoint() {
            tracing::warn!(%error, "The checkpoint could not be written: the next start may count what goes now as missing.");
        }
        blocks.iter().for_each(|block| block.dropped.store(true, Ordering::Release));
        blocks.iter().for_each(|block| self.forget_waiting(block.footer.start));
    }

    /// Fails where the output of a merge of so many bytes may not fit: half the floor stays free.
    pub fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        let room = self.room()?;
        let needed_bytes = bytes.saturating_add(room.floor / 2);
        if room.space.free >= needed_bytes {
            return Ok(());
        }
        Err(StoreError::NoRoom { needed_bytes, free_bytes: room.space.free })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_a_fiftieth_within_bounds() {
        assert_eq!(floor_of(100 << 20), 16 << 20);
        assert_eq!(floor_of(10 << 30), (10 << 30) / 50);
        assert_eq!(floor_of(10 << 40), 1 << 30);
    }
}
