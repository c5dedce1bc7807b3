//! Compaction: few large blocks in the place of many small ones, in the background.
//!
//! A stretch of time is due when it is over and quiet: then all blocks within it become one. What crashes in between
//! leaves either the sources or, beside them, the whole block that contains them, which the next start sees.

use super::{
    block::{Block, MergeTarget, Progress, merge_blocks},
    engine::{Shared, Tsdb},
    options::WINDOW_MS,
    ticker::Ticker,
};
use crate::{
    model::Timestamp,
    store::{Compacted, StoreError},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const DAY_MS: i64 = 24 * 3_600_000;
/// What blocks grow to. A window's worth first, where late samples made several of one.
const SPANS_MS: [i64; 3] = [WINDOW_MS, DAY_MS, 5 * DAY_MS];
/// A block may be this part of the retention: its oldest sample waits for its newest before it goes.
const RETENTION_PART: i64 = 6;
/// How often the compactor looks.
const TICK: Duration = Duration::from_secs(15);
/// After a failure, such as a full disk, it looks again after this many ticks.
const FAILED_TICKS: u64 = 40;
/// So many blocks are merged although one of them is much larger than all others.
const BLOCKS_MAX: usize = 16;
/// Late samples wait this long for more of them before a large block is written again for their sake.
const LATE_WAIT_MS: i64 = 6 * 3_600_000;
/// A merge is worth it at once where what is added is at least this part of what is written again.
const GROWTH_PART: u64 = 4;

/// What compaction did since the start, and what it is doing.
#[derive(Default)]
pub(super) struct Compaction {
    /// Held while one merge runs.
    turn: Mutex<()>,
    running: Mutex<Option<Arc<Progress>>>,
    /// The last merge did not begin, because its output might not have fitted on the disk.
    pub postponed: AtomicBool,
    pub merges: AtomicU64,
    pub failures: AtomicU64,
    pub bytes_written: AtomicU64,
}

impl Compaction {
    /// The merge that is running.
    pub fn running(&self) -> Option<Arc<Progress>> {
        self.running.lock().clone()
    }

    /// What the running merge has written so far: its sources give it back.
    pub fn bytes_in_hand(&self) -> u64 {
        self.running().map_or(0, |progress| progress.bytes_written.load(Ordering::Relaxed))
    }
}

/// Blocks that shall become one.
struct Task {
    target: MergeTarget,
    blocks: Vec<Arc<Block>>,
}

impl Task {
    /// About what the result can take at most.
    fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.file_bytes()).sum()
    }
}

impl Tsdb {
    /// Seals all windows, drops what is past retention, merges whatever can be merged, due or not, and waits for it. `progress` tells how far it is
    /// and can end it early; nothing is lost then, and the next call goes on.
    pub fn compact(&self, progress: &Arc<Progress>) -> Result<Compacted, StoreError> {
        let shared = &*self.shared;
        shared.seal_where(|_| true)?;
        // What is about to go would be written once more for nothing.
        shared.drop_expired(shared.now_ms());
        let bytes = || shared.places.read().files.iter().map(|block| block.file_bytes()).sum();
        let mut done = Compacted { bytes_before: bytes(), ..Compacted::default() };
        let mut tasks = shared.all_tasks();
        while let Some(task) = tasks.pop()
            && !progress.cancelled.load(Ordering::Relaxed)
        {
            shared.check_room(task.bytes())?;
            done.merges += u64::from(shared.merge(&task, progress)?);
        }
        done.bytes_after = bytes();
        Ok(done)
    }
}

pub(super) fn start(shared: Arc<Shared>) -> Result<Ticker, StoreError> {
    Ticker::start("store-compact", TICK, move || {
        // Whoever waits for an answer goes first.
        let _ = rustix::process::nice(10);
        let mut wait = 0;
        move || {
            if wait > 0 {
                wait -= 1;
            } else if let Err(error) = shared.compact_due() {
                wait = FAILED_TICKS;
                shared.compaction.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "Blocks could not be merged; they stay as they are and are tried again.");
            }
        }
    })
}

impl Shared {
    /// Merges what is due until nothing is.
    pub fn compact_due(&self) -> Result<(), StoreError> {
        while let Some(task) = self.due_task() {
            let postponed = matches!(self.check_room(task.bytes()), Err(StoreError::NoRoom { .. }));
            if self.compaction.postponed.swap(postponed, Ordering::Relaxed) != postponed {
                match postponed {
                    true => tracing::warn!("Blocks are not merged while the disk may be too small for the result."),
                    false => tracing::info!("Blocks are merged again: the disk has room."),
                }
            }
            if postponed {
                break;
            }
            let progress = Arc::new(Progress::default());
            let merged = self.merge(&task, &progress)?;
            if !merged {
                break;
            }
        }
        Ok(())
    }

    /// Ends the merge that is running.
    pub fn cancel_compaction(&self) {
        if let Some(progress) = &*self.compaction.running.lock() {
            progress.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Writes one block for several and puts it in their place; `false` where it was cancelled.
    fn merge(&self, task: &Task, progress: &Arc<Progress>) -> Result<bool, StoreError> {
        let _turn = self.compaction.turn.lock();
        // Another merge may have taken them in the meantime.
        let all_there = {
            let places = self.places.read();
            task.blocks.iter().all(|block| places.files.iter().any(|file| Arc::ptr_eq(file, block)))
        };
        if !all_there {
            return Ok(true);
        }
        *self.compaction.running.lock() = Some(progress.clone());
        let vfs = &self.options.vfs;
        let written = merge_blocks(&**vfs, &self.blocks_directory(), &task.blocks, task.target, progress);
        *self.compaction.running.lock() = None;
        let cancelled = progress.cancelled.load(Ordering::Relaxed);
        let path = written?;
        if path.is_none() && cancelled {
            return Ok(false);
        }
        let block = path.map(|path| Block::open(vfs, &path, &self.damaged, self.options.clock.elapsed_ms()));
        let block = block.transpose()?.map(Arc::new);
        let bytes = block.as_ref().map_or(0, |block| block.file_bytes());
        self.compaction.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.compaction.merges.fetch_add(1, Ordering::Relaxed);
        let mut places = self.places.write();
        places.files.retain(|file| {
            let is_source = task.blocks.iter().any(|source| Arc::ptr_eq(source, file));
            if is_source {
                file.dropped.store(true, Ordering::Release);
            }
            !is_source
        });
        places.files.extend(block);
        Ok(true)
    }

    /// Spans that blocks may grow to, the largest first.
    fn spans_ms(&self) -> impl Iterator<Item = i64> + '_ {
        let allowed = |span: &i64| *span == WINDOW_MS || *span <= self.options.retention_ms / RETENTION_PART;
        SPANS_MS.into_iter().rev().filter(allowed)
    }

    /// All blocks by the stretch of `span_ms` they lie in; larger ones are left out.
    fn by_stretch(&self, span_ms: i64) -> BTreeMap<Timestamp, Vec<Arc<Block>>> {
        let mut stretches: BTreeMap<Timestamp, Vec<Arc<Block>>> = BTreeMap::new();
        let places = self.places.read();
        // Before the first stretch there is a piece of one, which stays in windows.
        let stretch_of = |block: &Arc<Block>| block.footer.start.checked_sub(block.footer.start.rem_euclid(span_ms));
        for block in places.files.iter().filter(|block| block.footer.span_ms <= span_ms) {
            if let Some(stretch) = stretch_of(block) {
                stretches.entry(stretch).or_default().push(block.clone());
            }
        }
        stretches
    }

    /// What can be merged at all.
    fn all_tasks(&self) -> Vec<Task> {
        let Some(span_ms) = self.spans_ms().next() else { return Vec::new() };
        let stretches = self.by_stretch(span_ms).into_iter();
        // One block alone is written again where its values are still packed as the head does it.
        let worth = |blocks: &Vec<Arc<Block>>| blocks.len() > 1 || blocks.iter().any(|block| block.footer.level == 0);
        let tasks = stretches.filter(|(_, blocks)| worth(blocks));
        tasks.map(|(start, blocks)| Task { target: MergeTarget { start, span_ms }, blocks }).collect()
    }

    fn due_task(&self) -> Option<Task> {
        let now_ms = self.now_ms();
        let live: Vec<Timestamp> = self.head.windows(now_ms).iter().map(|window| window.window).collect();
        for span_ms in self.spans_ms() {
            for (start, blocks) in self.by_stretch(span_ms) {
                let end = start.saturating_add(span_ms);
                let over = end.saturating_add(self.options.quiet_ms) <= now_ms;
                let is_live = live.iter().any(|window| (start..end).contains(window));
                let quiet = over && !is_live || blocks.len() >= BLOCKS_MAX;
                // Within a window a few blocks are as good as one, and the day takes them all.
                let count_min = if span_ms == WINDOW_MS { 4 } else { 2 };
                if quiet && blocks.len() >= count_min && self.is_worth_it(&blocks) {
                    return Some(Task { target: MergeTarget { start, span_ms }, blocks });
                }
            }
        }
        None
    }

    fn is_worth_it(&self, blocks: &[Arc<Block>]) -> bool {
        let largest = blocks.iter().map(|block| block.file_bytes()).max().unwrap_or_default();
        let others = blocks.iter().map(|block| block.file_bytes()).sum::<u64>() - largest;
        let elapsed_ms = self.options.clock.elapsed_ms();
        let waited = blocks.iter().all(|block| elapsed_ms - block.opened_ms >= LATE_WAIT_MS);
        others >= largest / GROWTH_PART || blocks.len() >= BLOCKS_MAX || waited
    }
}
