//! Compaction: few large blocks in the place of many small ones, and buckets of them, in the background.
//!
//! A stretch of time is due when it is over and quiet: then all blocks within it become one. What crashes in between
//! leaves either the sources or, beside them, the whole block that contains them, which the next start sees. What
//! [`tiers`](super::tiering) lack is built when no merge is due.

use super::{
    block::{Block, Cuts, MergeTarget, Progress, merge_blocks},
    engine::{Shared, Tsdb},
    keeping::Keep,
    options::WINDOW_MS,
    ticker::Ticker,
    tiering::Build,
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
pub(super) const SPANS_MS: [i64; 3] = [WINDOW_MS, DAY_MS, 5 * DAY_MS];
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
/// Blocks that became too many wait this long: samples that trickle into all windows of a stretch make so many within
/// minutes, again and again, and each time a large block would be written for them.
const CROWDED_WAIT_MS: i64 = 3_600_000;
/// A merge is worth it at once where what is added is at least this part of what is written again.
const GROWTH_PART: u64 = 4;
/// A block is written again for what was deleted of it where that is at least this part, ...
const CUT_PART: u64 = 20;
/// ... or so many deletions, which each reader asks.
const CUTS_MAX: usize = 32;
/// It waits so long for more: whoever deletes often deletes of the same blocks.
const CLEAN_WAIT_MS: i64 = 3_600_000;

/// Whether it is one block of several windows as the head left them, a series in as many pieces.
fn is_unpacked(blocks: &[Arc<Block>]) -> bool {
    matches!(blocks, [block] if block.footer.level == 0 && block.footer.span_ms > WINDOW_MS)
}

/// What compaction did since the start, and what it is doing.
#[derive(Default)]
pub(super) struct Compaction {
    /// Held while one merge runs.
    turn: Mutex<()>,
    running: Mutex<Option<Arc<Progress>>>,
    /// Stretches of which tiers were built, again or for the first time.
    pub tiers_built: AtomicU64,
    /// The last merge did not begin, because its output might not have fitted on the disk.
    pub postponed: AtomicBool,
    /// The store is stopping: no merge begins any more.
    stopping: AtomicBool,
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
pub(super) struct Task {
    target: MergeTarget,
    blocks: Vec<Arc<Block>>,
}

impl Task {
    /// About what the result can take at most.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.file_bytes()).sum()
    }
}

/// What the compactor does next.
enum Work {
    Merge(Task),
    Build(Build),
    Keep(Keep),
}

impl Work {
    /// About what the result can take at most.
    fn bytes(&self) -> u64 {
        match self {
            Work::Merge(task) => task.bytes(),
            Work::Build(build) => build.bytes(),
            Work::Keep(keep) => keep.bytes(),
        }
    }
}

/// What is not tried again in this round.
#[derive(Default)]
struct Failed {
    merges: Vec<MergeTarget>,
    builds: Vec<MergeTarget>,
    keeps: Vec<MergeTarget>,
}

impl Failed {
    fn push(&mut self, work: &Work) {
        match work {
            Work::Merge(task) => self.merges.push(task.target),
            Work::Build(build) => self.builds.push(build.target),
            Work::Keep(keep) => self.keeps.push(keep.target),
        }
    }
}

impl Tsdb {
    /// Seals all windows, drops what is past retention, merges whatever can be merged, due or not, builds what tiers lack
    /// of what is over, writes the rest again of which something was deleted, and waits for it. `progress` tells how far
    /// it is and can end it early; nothing is lost then, and the next call goes on.
    pub fn compact(&self, progress: &Arc<Progress>) -> Result<Compacted, StoreError> {
        let shared = &*self.shared;
        shared.seal_where(|_| true)?;
        // What is about to go would be written once more for nothing.
        shared.drop_expired(shared.now_ms());
        let bytes = || shared.places.read().files.iter().map(|block| block.file_bytes()).sum();
        let mut done = Compacted { bytes_before: bytes(), ..Compacted::default() };
        let mut tasks = shared.all_tasks();
        let mut run = |tasks: &mut Vec<Task>| -> Result<(), StoreError> {
            while let Some(task) = tasks.pop()
                && !progress.cancelled.load(Ordering::Relaxed)
            {
                shared.check_room(task.bytes())?;
                done.merges += u64::from(shared.merge(&task, progress)?);
            }
            Ok(())
        };
        run(&mut tasks)?;
        // Merges leave out what is over: what is left is in blocks that none took.
        run(&mut shared.trimming(true))?;
        while !progress.cancelled.load(Ordering::Relaxed)
            && let Some(build) = shared.due_build(&[], true)
        {
            shared.check_room(build.bytes())?;
            done.tiers += u64::from(shared.build(&build, progress)?);
        }
        // Behind tiers, which let more of what is over go.
        while let Some(keep) = shared.due_keep(&[], true, |_, _| false) {
            shared.check_room(keep.bytes())?;
            if !shared.keep(&keep, progress)? {
                break;
            }
            done.merges += 1;
        }
        let cleaned = shared.clean(progress)?;
        (done.merges, done.tiers) = (done.merges + cleaned.merges, done.tiers + cleaned.tiers);
        // What tiers have now.
        shared.drop_expired(shared.now_ms());
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
                return;
            }
            // Until it is known to have gone well: a panic is a failure too.
            wait = FAILED_TICKS;
            match shared.compact_due() {
                Ok(()) => wait = 0,
                Err(error) => {
                    shared.compaction.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "Blocks could not be merged or tiers not built; what is there stays as it is, and it is tried again.");
                }
            }
        }
    })
}

impl Shared {
    /// Merges what is due until nothing is. What fails is left for the next time and does not keep the rest from being
    /// merged: the disk may be too small for five days and have room for one.
    pub fn compact_due(&self) -> Result<(), StoreError> {
        let (mut failed, mut result, mut postponed) = (Failed::default(), Ok(()), false);
        while let Some(work) = self.due_work(&failed) {
            if matches!(self.check_room(work.bytes()), Err(StoreError::NoRoom { .. })) {
                failed.push(&work);
                postponed = true;
                continue;
            }
            match self.work(&work, &Arc::default()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    failed.push(&work);
                    result = result.and(Err(error));
                }
            }
        }
        if self.compaction.postponed.swap(postponed, Ordering::Relaxed) != postponed {
            match postponed {
                true => tracing::warn!("Blocks are not merged while the disk may be too small for the result."),
                false => tracing::info!("Blocks are merged again: the disk has room."),
            }
        }
        result
    }

    fn due_work(&self, failed: &Failed) -> Option<Work> {
        // Merges first: what is built of few large blocks is built once.
        let merge = self.due_task(&failed.merges).map(Work::Merge);
        let keep = merge.or_else(|| {
            let keep = self.due_keep(&failed.keeps, false, |block, cuts| self.is_worth_cleaning(block, cuts));
            keep.map(Work::Keep)
        });
        let build = keep.or_else(|| self.due_build(&failed.builds, false).map(Work::Build));
        build.or_else(|| {
            let clean = self.cleaning_build(false, |block, cuts| self.is_worth_cleaning(block, cuts));
            clean.filter(|build| !failed.builds.contains(&build.target)).map(Work::Build)
        })
    }

    fn work(&self, work: &Work, progress: &Arc<Progress>) -> Result<bool, StoreError> {
        match work {
            Work::Merge(task) => self.merge(task, progress),
            Work::Build(build) => self.build(build, progress),
            Work::Keep(keep) => self.keep(keep, progress),
        }
    }

    /// Ends the merge that is running, and lets none begin any more.
    pub fn cancel_compaction(&self) {
        self.compaction.stopping.store(true, Ordering::SeqCst);
        if let Some(progress) = &*self.compaction.running.lock() {
            progress.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Writes one block for several and puts it in their place; `false` where it was cancelled.
    pub fn merge(&self, task: &Task, progress: &Arc<Progress>) -> Result<bool, StoreError> {
        self.in_turn(progress, || self.merge_now(task, progress))
    }

    /// Does one piece of work while no other is done, seen by those who ask and those who stop; `false` where it does
    /// not begin any more.
    pub fn in_turn(
        &self,
        progress: &Arc<Progress>,
        work: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let _turn = self.compaction.turn.lock();
        self.settle_tombstones()?;
        *self.compaction.running.lock() = Some(progress.clone());
        // Asked when it can be seen running: who stops either finds it there or has said so before.
        let done = if self.compaction.stopping.load(Ordering::SeqCst) { Ok(false) } else { work() };
        *self.compaction.running.lock() = None;
        done
    }

    /// Whether all of these blocks of samples are still served: another merge may have taken them in the meantime.
    pub fn are_served(&self, blocks: &[Arc<Block>]) -> bool {
        let places = self.places.read();
        blocks.iter().all(|block| places.files.iter().any(|file| Arc::ptr_eq(file, block)))
    }

    fn merge_now(&self, task: &Task, progress: &Arc<Progress>) -> Result<bool, StoreError> {
        if !self.are_served(&task.blocks) {
            return Ok(true);
        }
        let vfs = &self.options.vfs;
        let reference = self.reference(&self.places.read(), self.now_ms());
        let newest = task.blocks.iter().map(|block| block.footer.newest).max().unwrap_or(Timestamp::MIN);
        let stays = self.stays(reference, newest);
        let path = merge_blocks(&**vfs, &self.blocks_directory(), &task.blocks, task.target, &stays, progress)?;
        let Some(path) = path else { return Ok(false) };
        let block = Arc::new(Block::open(vfs, &path, &self.damaged, self.options.clock.elapsed_ms())?);
        // Here and not under the lock: it may take a while.
        let tombstones = self.places.read().tombstones.clone();
        block.cut(block.cuts_by(&tombstones));
        self.compaction.bytes_written.fetch_add(block.file_bytes(), Ordering::Relaxed);
        self.compaction.merges.fetch_add(1, Ordering::Relaxed);
        let mut places = self.places.write();
        places.files.retain(|file| !task.blocks.iter().any(|source| Arc::ptr_eq(source, file)));
        places.add(block);
        drop(places);
        task.blocks.iter().for_each(|source| source.dropped.store(true, Ordering::Release));
        if let Err(error) = self.forget_tombstones() {
            tracing::warn!(%error, "Tombstones that nothing needs any more could not be forgotten; it is tried again.");
        }
        Ok(true)
    }

    /// Whether blocks of this span do not keep what is in them for much too long.
    pub fn may_grow_to(&self, span_ms: i64) -> bool {
        span_ms == WINDOW_MS || span_ms <= self.options.retention_ms / RETENTION_PART
    }

    /// What could become one block of `span_ms`, by the start of its stretch. A merge takes all that is there, or its
    /// result would count as newer than something older. So a stretch is left out within a larger block, and while a
    /// window of it waits to be written.
    fn by_stretch(&self, span_ms: i64) -> BTreeMap<Timestamp, Vec<Arc<Block>>> {
        let mut stretches: BTreeMap<Timestamp, Vec<Arc<Block>>> = BTreeMap::new();
        let places = self.places.read();
        // Before the first stretch there is a piece of one, which stays in windows.
        let stretch_of = |start: Timestamp| start.checked_sub(start.rem_euclid(span_ms));
        for block in places.files.iter().filter(|block| block.footer.span_ms <= span_ms) {
            if let Some(stretch) = stretch_of(block.footer.start) {
                stretches.entry(stretch).or_default().push(block.clone());
            }
        }
        for frozen in &places.sealing {
            stretch_of(frozen.window).and_then(|stretch| stretches.remove(&stretch));
        }
        for larger in places.files.iter().filter(|block| block.footer.span_ms > span_ms) {
            stretches.retain(|start, _| *start < larger.footer.start || larger.footer.end() <= *start);
        }
        // Where retention has become shorter, blocks of a larger span than allowed take what comes late.
        let is_that_large = |blocks: &[Arc<Block>]| blocks.iter().any(|block| block.footer.span_ms == span_ms);
        // Samples go with the stretch that their tier files are of, unless a block is longer than that already.
        for file in places.tiers.iter().flatten().filter(|file| file.footer.span_ms < span_ms) {
            let stretch = stretch_of(file.footer.start);
            stretch
                .and_then(|stretch| stretches.extract_if(stretch..=stretch, |_, blocks| !is_that_large(blocks)).next());
        }
        stretches.retain(|_, blocks| self.may_grow_to(span_ms) || is_that_large(blocks));
        stretches
    }

    /// What can be merged at all.
    fn all_tasks(&self) -> Vec<Task> {
        // One block alone is written again where its values are still packed as the head does it.
        let worth = |blocks: &Vec<Arc<Block>>| blocks.len() > 1 || blocks.iter().any(|block| block.footer.level == 0);
        let mut tasks = Vec::new();
        for span_ms in SPANS_MS.into_iter().rev() {
            let stretches = self.by_stretch(span_ms).into_iter().filter(|(_, blocks)| worth(blocks));
            tasks.extend(stretches.map(|(start, blocks)| Task { target: MergeTarget { start, span_ms }, blocks }));
            if self.may_grow_to(span_ms) {
                break;
            }
        }
        tasks
    }

    fn due_task(&self, failed: &[MergeTarget]) -> Option<Task> {
        let now_ms = self.now_ms();
        let live: Vec<Timestamp> = self.head.windows(now_ms).iter().map(|window| window.window).collect();
        for span_ms in SPANS_MS.into_iter().rev() {
            for (start, blocks) in self.by_stretch(span_ms) {
                let target = MergeTarget { start, span_ms };
                let end = start.saturating_add(span_ms);
                let over = end.saturating_add(self.options.quiet_ms) <= now_ms;
                let is_live = live.iter().any(|window| (start..end).contains(window));
                let quiet = over && !is_live || blocks.len() >= BLOCKS_MAX;
                // Within a window a few blocks are as good as one, and the day takes them all.
                let count_min = if span_ms == WINDOW_MS { 4 } else { 2 };
                let due = blocks.len() >= count_min && self.is_worth_it(&blocks) || is_unpacked(&blocks);
                if quiet && due && !failed.contains(&target) {
                    return Some(Task { target, blocks });
                }
            }
        }
        let is_worth = |block: &Block, cuts: &Cuts| self.is_worth_cleaning(block, cuts);
        let cleaning = self.cleaning(is_worth).map(|(_, task)| task);
        let cleaning = cleaning.filter(|task| !failed.contains(&task.target));
        cleaning.or_else(|| self.trimming(false).into_iter().find(|task| !failed.contains(&task.target)))
    }

    /// Merges of blocks that have enough of series whose time is over; `at_once`: that have any.
    fn trimming(&self, at_once: bool) -> Vec<Task> {
        if self.keeping.policies.is_empty() || !self.options.drops_blocks {
            return Vec::new();
        }
        self.learn_shares();
        let (files, reference) = {
            let places = self.places.read();
            (places.files.clone(), self.reference(&places, self.now_ms()))
        };
        let Some(reference) = reference else { return Vec::new() };
        let is_worth = |blocks: &[&Arc<Block>]| self.is_worth_merging_without(blocks, reference, at_once);
        let mut tasks: Vec<Task> = Vec::new();
        for block in files.iter().filter(|block| is_worth(&[block])) {
            let is_taken = |task: &Task| task.blocks.iter().any(|other| Arc::ptr_eq(other, block));
            if tasks.iter().any(is_taken) {
                continue;
            }
            let task = self.task_with(block, &files);
            tasks.extend(task.filter(|task| is_worth(&task.blocks.iter().collect::<Vec<_>>())));
        }
        tasks
    }

    /// Whether so much was deleted of a block that it is written again for that.
    fn is_worth_cleaning(&self, block: &Block, cuts: &Cuts) -> bool {
        let waited = self.options.clock.elapsed_ms() - block.opened_ms >= CLEAN_WAIT_MS;
        waited && !cuts.is_empty() && (cuts.bytes >= block.file_bytes() / CUT_PART || cuts.count() >= CUTS_MAX)
    }

    /// The merge that takes a block and all that it has to be merged with: what lies in the largest of `files` that has
    /// its time. `None` while a window of that waits to be written.
    pub fn task_with(&self, block: &Block, files: &[Arc<Block>]) -> Option<Task> {
        let has_its_time = |file: &&Arc<Block>| (file.footer.start..file.footer.end()).contains(&block.footer.start);
        let largest = files.iter().filter(has_its_time).max_by_key(|file| file.footer.span_ms)?;
        let target = MergeTarget { start: largest.footer.start, span_ms: largest.footer.span_ms };
        let blocks = self.by_stretch(target.span_ms).remove(&target.start)?;
        Some(Task { target, blocks })
    }

    fn is_worth_it(&self, blocks: &[Arc<Block>]) -> bool {
        let largest = blocks.iter().map(|block| block.file_bytes()).max().unwrap_or_default();
        let others = blocks.iter().map(|block| block.file_bytes()).sum::<u64>() - largest;
        let elapsed_ms = self.options.clock.elapsed_ms();
        let since_ms = |block: &Arc<Block>| elapsed_ms - block.opened_ms;
        let waited = blocks.iter().all(|block| since_ms(block) >= LATE_WAIT_MS);
        let crowded = blocks.len() >= BLOCKS_MAX && blocks.iter().any(|block| since_ms(block) >= CROWDED_WAIT_MS);
        others >= largest / GROWTH_PART || crowded || waited
    }
}
