//! Writes one block in the place of several.

use super::{
    draft::Draft,
    order::put_in_order,
    reader::{Block, ClockCache},
    writer::{Plan, Writer},
};
use crate::{
    model::{Labels, Samples, TimeRange, Timestamp},
    stdx::vfs::Vfs,
    store::{
        StoreError,
        tsdb::{
            head::sort_samples,
            log::Position,
            run::{Run, put_runs_in_order},
        },
    },
};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// What the new block covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeTarget {
    pub start: Timestamp,
    pub span_ms: i64,
}

/// How far a merge is, and whether it shall end early.
#[derive(Debug, Default)]
pub struct Progress {
    pub series_done: AtomicU64,
    pub series_total: AtomicU64,
    pub bytes_written: AtomicU64,
    pub cancelled: AtomicBool,
}

/// Series between two looks at [`Progress`]: a millisecond or so.
const LOOK_SERIES: u64 = 64;

/// Tells a [`Progress`] now and then how far the work is, and asks it whether to go on.
pub struct Watch<'a> {
    progress: &'a Progress,
    since_look: u64,
}

impl<'a> Watch<'a> {
    pub fn new(progress: &'a Progress, blocks: &[Arc<Block>]) -> Watch<'a> {
        let total: u64 = blocks.iter().map(|block| block.footer.series).sum();
        progress.series_total.fetch_add(total, Ordering::Relaxed);
        Watch { progress, since_look: 0 }
    }

    /// Counts series that are about to be read; `false` where the work shall end.
    pub fn goes_on(&mut self, series: usize, position: impl FnOnce() -> u64) -> bool {
        self.since_look += series as u64;
        if self.since_look < LOOK_SERIES {
            return true;
        }
        self.tell(position());
        !self.progress.cancelled.load(Ordering::Relaxed)
    }

    /// Says where it is.
    pub fn tell(&mut self, position: u64) {
        self.progress.series_done.fetch_add(std::mem::take(&mut self.since_look), Ordering::Relaxed);
        self.progress.bytes_written.store(position, Ordering::Relaxed);
    }
}

/// Reads `blocks`, all of which lie within the target, as a query would, and writes one block into `directory`; gives its
/// path, or `None` where the merge was cancelled. Memory holds one series and the index. Where nothing is left, a block
/// without series still says what was sealed.
///
/// Series that `stays` says no to are left out. What is damaged in the sources is lost with them; it has been counted
/// when it was met.
pub fn merge_blocks(
    vfs: &dyn Vfs,
    directory: &Path,
    blocks: &[Arc<Block>],
    target: MergeTarget,
    stays: &dyn Fn(&Labels) -> bool,
    progress: &Progress,
) -> Result<Option<PathBuf>, StoreError> {
    let windows: BTreeSet<(Timestamp, Position)> = blocks.iter().flat_map(|block| block.windows()).collect();
    let level = 1 + blocks.iter().map(|block| block.footer.level).max().unwrap_or_default();
    let MergeTarget { start, span_ms } = target;
    let plan = Plan { start, span_ms, level, windows: windows.into_iter().collect(), cleaned: Position::default() };
    let mut writer = Writer::new(vfs, directory, plan)?;
    match merge_series(&mut writer, blocks, start, stays, progress) {
        Ok(true) => writer.finish().map(Some),
        other => {
            writer.discard();
            other.map(|_| None)
        }
    }
}

/// `false` where it was cancelled.
fn merge_series(
    writer: &mut Writer<'_>,
    blocks: &[Arc<Block>],
    start: Timestamp,
    stays: &dyn Fn(&Labels) -> bool,
    progress: &Progress,
) -> Result<bool, StoreError> {
    let mut watch = Watch::new(progress, blocks);
    let caches: Vec<ClockCache> = blocks.iter().map(|block| block.clock_cache()).collect();
    let mut heads = Heads::new(blocks);
    let (mut draft, mut samples, mut runs) = (Draft::default(), Samples::default(), Vec::new());
    let mut parts: Vec<(usize, u32)> = Vec::new();
    while let Some(labels) = heads.next(&mut parts) {
        if !watch.goes_on(parts.len(), || writer.position()) {
            return Ok(false);
        }
        if !stays(&labels) {
            continue;
        }
        put_in_order(&mut parts, |(block, series)| blocks[*block].place(*series));
        samples.clear();
        runs.clear();
        for (block, series) in &parts {
            blocks[*block].read(*series, TimeRange::ALL, &caches[*block], &mut samples, &mut runs);
        }
        sort_samples(&mut samples, true);
        // A replay brings a run again that a block has already.
        put_runs_in_order(&mut runs);
        draft.clear();
        draft.samples(start, &samples, &mut writer.clocks);
        draft.runs(&runs);
        if let Some(bounds) = bounds(&samples, &runs) {
            writer.push(&labels, &draft, bounds)?;
        }
    }
    watch.tell(writer.position());
    Ok(true)
}

/// The first and last time there is something at.
pub fn bounds(samples: &Samples, runs: &[Run]) -> Option<(Timestamp, Timestamp)> {
    let floats = samples.timestamps.iter().take(1).chain(samples.timestamps.last()).copied();
    let histograms = samples.histograms.iter().take(1).chain(samples.histograms.last());
    let times = floats.chain(histograms.map(|sample| sample.timestamp));
    let times = times.chain(runs.iter().flat_map(|run| [run.first, run.until(run.first)]));
    times.map(|at| (at, at)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// The next series of each block, least labels first.
pub struct Heads<'a> {
    blocks: &'a [Arc<Block>],
    heap: BinaryHeap<Reverse<(Labels, usize, u32)>>,
}

impl<'a> Heads<'a> {
    pub fn new(blocks: &'a [Arc<Block>]) -> Heads<'a> {
        let mut heads = Heads { blocks, heap: BinaryHeap::new() };
        (0..blocks.len()).for_each(|block| heads.push(block, 0));
        heads
    }

    /// Puts the first series of a block from `series` on that has readable labels into the heap.
    fn push(&mut self, block: usize, series: u32) {
        let found = (series..self.blocks[block].series()).find_map(|at| Some((self.blocks[block].labels(at)?, at)));
        self.heap.extend(found.map(|(labels, at)| Reverse((labels, block, at))));
    }

    /// Gives the next labels and, in `parts`, where their series are.
    pub fn next(&mut self, parts: &mut Vec<(usize, u32)>) -> Option<Labels> {
        parts.clear();
        let Reverse((labels, block, series)) = self.heap.pop()?;
        parts.push((block, series));
        self.push(block, series + 1);
        while self.heap.peek().is_some_and(|Reverse((next, _, _))| *next == labels) {
            let Some(Reverse((_, block, series))) = self.heap.pop() else { break };
            parts.push((block, series));
            self.push(block, series + 1);
        }
        Some(labels)
    }
}
