//! The head itself: routes batches to partitions, keeps open runs, gives whole windows to the sealer.

use super::{
    catalog::{Catalog, SHARDS},
    partition::{Cursor, IdMap, Partition},
};
use crate::{
    model::{TimeRange, Timestamp},
    store::{
        Refusal, RefusalReason, RunChange, SeriesId, WriteBatch,
        tsdb::{
            log::Position,
            run::{Run, RunEnd},
        },
    },
};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A partition outlives its place in the head: queries and the sealer hold on to it.
pub type SharedPartition = Arc<Mutex<Partition>>;

/// All partitions of one window, out of the head and unchanging.
#[derive(Clone)]
pub struct FrozenWindow {
    pub window: Timestamp,
    pub partitions: Vec<SharedPartition>,
    /// Every log record before this that has samples of the window is in these partitions or in a file.
    pub through: Position,
}

impl FrozenWindow {
    /// Whether both are the very same window, not only of the same time.
    pub fn is_same(&self, other: &FrozenWindow) -> bool {
        let pairs = self.partitions.iter().zip(&other.partitions);
        self.partitions.len() == other.partitions.len() && pairs.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// What it takes in memory.
    pub fn memory(&self) -> WindowUse {
        let mut total = WindowUse::of(self.window);
        self.partitions.iter().for_each(|partition| total.add(&partition.lock()));
        total
    }

    /// The oldest log position its partitions need as long as they are not on disk.
    pub fn needed_from(&self) -> Option<Position> {
        self.partitions.iter().map(|partition| partition.lock().first_position).min()
    }
}

pub struct Head {
    pub catalog: Catalog,
    window_ms: i64,
    shards: [RwLock<BTreeMap<Timestamp, SharedPartition>>; SHARDS],
    open_runs: Mutex<IdMap<Run>>,
}

/// What an append needs to know besides the batch.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub now_ms: i64,
    /// Samples before this are refused, ...
    pub oldest: Timestamp,
    /// ... unless their series has a limit of its own.
    pub limits: Option<&'a IdMap<Timestamp>>,
    /// The log's end before the append: its record will not lie before this.
    pub position: Position,
}

impl Moment<'_> {
    /// Fails where a sample is older than anything that is kept of its series.
    #[inline]
    fn check_age(&self, series: SeriesId, at: Timestamp) -> Result<(), RefusalReason> {
        if at >= self.oldest {
            return Ok(());
        }
        let limit = self.limits.and_then(|limits| limits.get(&series)).copied().unwrap_or(self.oldest);
        if at < limit { Err(RefusalReason::TooOld { timestamp: at, oldest: limit }) } else { Ok(()) }
    }
}

/// A figure of one window in memory.
#[derive(Debug, Clone, Copy)]
pub struct WindowUse {
    pub window: Timestamp,
    pub bytes: usize,
    pub touched_ms: i64,
    pub columns: usize,
}

impl WindowUse {
    fn of(window: Timestamp) -> WindowUse {
        WindowUse { window, bytes: 0, touched_ms: i64::MIN, columns: 0 }
    }

    fn add(&mut self, partition: &Partition) {
        self.bytes += partition.bytes;
        self.columns += partition.columns.len();
        self.touched_ms = self.touched_ms.max(partition.touched_ms);
    }
}

impl Head {
    pub fn new(catalog: Catalog, window_ms: i64) -> Head {
        Head { catalog, window_ms, shards: Default::default(), open_runs: Mutex::default() }
    }

    pub fn window_of(&self, at: Timestamp) -> Timestamp {
        at.div_euclid(self.window_ms).saturating_mul(self.window_ms)
    }

    /// The live partition of a shard and window, created where there is none.
    fn partition(&self, shard: usize, window: Timestamp, moment: &Moment) -> SharedPartition {
        if let Some(partition) = self.shards[shard].read().get(&window) {
            return partition.clone();
        }
        let fresh = || Arc::new(Mutex::new(Partition::new(window, moment.position, moment.now_ms)));
        self.shards[shard].write().entry(window).or_insert_with(fresh).clone()
    }

    /// Applies the float columns of a batch; what is refused is added to `refused`.
    pub fn append_floats(&self, batch: &WriteBatch, moment: &Moment, refused: &mut Vec<Refusal>) {
        let mut cursors = [(Timestamp::MIN, Cursor::default()); SHARDS];
        let mut index = 0;
        while index < batch.series.len() {
            let at = batch.timestamps[index];
            if let Err(reason) = moment.check_age(batch.series[index], at) {
                // Before any partition is made for it.
                refused.push(Refusal { index, reason });
                index += 1;
                continue;
            }
            let (shard, window) = (batch.series[index].shard(), self.window_of(at));
            let partition = self.partition(shard, window, moment);
            if cursors[shard].0 != window {
                cursors[shard] = (window, Cursor::default());
            }
            let cursor = &mut cursors[shard].1;
            index = self.append_stretch(batch, index, &partition, cursor, moment, refused);
        }
    }

    /// Appends from `index` on as long as the samples belong to `partition`; gives the index of the next that does not.
    fn append_stretch(
        &self,
        batch: &WriteBatch,
        mut index: usize,
        partition: &SharedPartition,
        cursor: &mut Cursor,
        moment: &Moment,
        refused: &mut Vec<Refusal>,
    ) -> usize {
        let shard = batch.series[index].shard();
        let mut held = partition.lock();
        let window = held.window;
        // Unsigned, because the last window ends with time itself.
        let inside = |at: Timestamp| (at.wrapping_sub(window) as u64) < self.window_ms as u64;
        held.touched_ms = moment.now_ms;
        while index < batch.series.len() && !held.frozen {
            let (series, at) = (batch.series[index], batch.timestamps[index]);
            if series.shard() != shard || !inside(at) {
                break;
            }
            let outcome = if let Err(reason) = moment.check_age(series, at) {
                Err(reason)
            } else {
                match held.column_of(series).ok() {
                    Some(column) => held.append(column, at, batch.values[index], batch.conflict, cursor),
                    None => {
                        drop(held);
                        let created = self.create_column(series, partition);
                        held = partition.lock();
                        match created {
                            // Looked up again; or the partition has just been frozen and the loop ends.
                            Ok(()) => continue,
                            Err(reason) => Err(reason),
                        }
                    }
                }
            };
            if let Err(reason) = outcome {
                refused.push(Refusal { index, reason });
            }
            index += 1;
        }
        index
    }

    /// Adds a column while the catalogue holds still, so that the series cannot be forgotten in between.
    fn create_column(&self, series: SeriesId, partition: &SharedPartition) -> Result<(), RefusalReason> {
        let catalog = self.catalog.read();
        if catalog.labels(series).is_none() {
            return Err(RefusalReason::UnknownSeries);
        }
        let mut partition = partition.lock();
        if !partition.frozen && partition.column_of(series).is_err() {
            partition.add_column(series);
        }
        Ok(())
    }

    /// Runs `change` on the series' column in the live partition of `at`'s window.
    fn with_column(
        &self,
        series: SeriesId,
        at: Timestamp,
        moment: &Moment,
        mut change: impl FnMut(&mut MutexGuard<'_, Partition>, usize) -> Result<(), RefusalReason>,
    ) -> Result<(), RefusalReason> {
        loop {
            let partition = self.partition(series.shard(), self.window_of(at), moment);
            self.create_column(series, &partition)?;
            let mut held = partition.lock();
            if held.frozen {
                continue;
            }
            held.touched_ms = moment.now_ms;
            if let Ok(column) = held.column_of(series) {
                return change(&mut held, column);
            }
        }
    }

    /// Applies the histograms of a batch. Indexes in `refused` go on after the float columns.
    pub fn append_histograms(&self, batch: &WriteBatch, moment: &Moment, refused: &mut Vec<Refusal>) {
        for (offset, (series, at, histogram)) in batch.histograms.iter().enumerate() {
            let outcome = moment.check_age(*series, *at).and_then(|()| {
                self.with_column(*series, *at, moment, |partition, column| {
                    partition.append_histogram(column, *at, histogram, batch.conflict)
                })
            });
            if let Err(reason) = outcome {
                refused.push(Refusal { index: batch.series.len() + offset, reason });
            }
        }
    }

    /// The open runs, held still: changes of runs and their log record go together.
    pub fn open_runs(&self) -> MutexGuard<'_, IdMap<Run>> {
        self.open_runs.lock()
    }

    /// Applies changes to the open runs, which the caller holds.
    pub fn apply_runs(&self, open: &mut IdMap<Run>, changes: &[RunChange], moment: &Moment) {
        for change in changes {
            match *change {
                RunChange::Open { series, value, first, step_ms } => {
                    let run = Run::new(value, first, step_ms, RunEnd::Open);
                    match open.get(&series) {
                        Some(before) if before.value.to_bits() == value.to_bits() && before.step_ms == run.step_ms => {}
                        before => {
                            let ended = before.filter(|before| before.first < first);
                            let ended = ended.map(|before| Run { end: RunEnd::Last(first - 1), ..*before });
                            open.insert(series, run);
                            self.keep_run(series, ended, moment);
                        }
                    }
                }
                RunChange::Close { series, at } => {
                    let ended = open.remove(&series).map(|run| Run { end: RunEnd::StaleAt(at), ..run });
                    self.keep_run(series, ended, moment);
                }
                RunChange::Whole { series, value, first, last, step_ms } => {
                    let run = Run::new(value, first, step_ms, RunEnd::Last(last));
                    self.keep_run(series, Some(run), moment);
                }
            }
        }
    }

    /// Splits the open runs of `series` that have points in `range` where that ends, or now: what is before ends, without
    /// a marker, and what follows is another open run. The caller holds the open runs; nothing of it can be seen.
    pub fn split_runs(&self, open: &mut IdMap<Run>, series: &[SeriesId], range: TimeRange, moment: &Moment) {
        for id in series {
            let split = open.get(id).and_then(|run| run.split(range.end().min(moment.now_ms)));
            if let Some((before, after)) = split.filter(|(before, _)| before.until(before.first) >= range.start()) {
                open.insert(*id, after);
                self.keep_run(*id, Some(before), moment);
            }
        }
    }

    /// The windows with something in `range` that hold any of `series`, oldest first.
    pub fn windows_with(&self, series: &[SeriesId], range: TimeRange) -> BTreeSet<Timestamp> {
        let mut windows = BTreeSet::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let of_shard = || series.iter().filter(|id| id.shard() == number);
            for (window, partition) in shard.read().iter() {
                let held = partition.lock();
                let overlaps = held.oldest <= range.end() && range.start() <= held.newest;
                if overlaps && of_shard().any(|id| held.column_of(*id).is_ok()) {
                    windows.insert(*window);
                }
            }
        }
        windows
    }

    /// Puts a closed run into the window it ended in.
    pub fn keep_run(&self, series: SeriesId, run: Option<Run>, moment: &Moment) {
        let Some(run) = run else { return };
        // Fails only for a series nobody knows, which no reader could ask for either.
        let _ = self.with_column(series, run.until(run.first), moment, |partition, column| {
            partition.append_run(column, run);
            Ok(())
        });
    }

    /// All live partitions with something in `range`.
    pub fn overlapping(&self, range: TimeRange) -> Vec<SharedPartition> {
        let mut found = Vec::new();
        for shard in &self.shards {
            for partition in shard.read().values() {
                let held = partition.lock();
                if held.oldest <= range.end() && range.start() <= held.newest {
                    found.push(partition.clone());
                }
            }
        }
        found
    }

    /// Takes a window out of the head. Appends that come later find a fresh partition. Records before `through` have
    /// been applied.
    pub fn freeze(&self, window: Timestamp, through: Position) -> FrozenWindow {
        let taken = self.shards.iter().filter_map(|shard| shard.write().remove(&window));
        let partitions: Vec<SharedPartition> = taken.collect();
        for partition in &partitions {
            partition.lock().frozen = true;
        }
        FrozenWindow { window, partitions, through }
    }

    /// The windows in memory, oldest first. A window that seems to have been written to after `now_ms` counts as
    /// written to at that time: the clock has been set back, and it would not be quiet until the old time comes again.
    pub fn windows(&self, now_ms: i64) -> Vec<WindowUse> {
        let mut windows: BTreeMap<Timestamp, WindowUse> = BTreeMap::new();
        for shard in &self.shards {
            for (window, partition) in shard.read().iter() {
                let mut held = partition.lock();
                held.touched_ms = held.touched_ms.min(now_ms);
                windows.entry(*window).or_insert(WindowUse::of(*window)).add(&held);
            }
        }
        windows.into_values().collect()
    }

    /// The oldest log position a live partition needs.
    pub fn needed_from(&self) -> Option<Position> {
        let partitions = self.shards.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>());
        partitions.map(|partition| partition.lock().first_position).min()
    }

    /// Closed runs in live partitions: what a checkpoint has to repeat.
    pub fn closed_runs(&self) -> Vec<(SeriesId, Run)> {
        let mut runs = Vec::new();
        for partition in self.overlapping(TimeRange::ALL) {
            let held = partition.lock();
            for column in &held.columns {
                let kept = column.extra.iter().flat_map(|extra| &extra.runs);
                runs.extend(kept.map(|run| (column.series, *run)));
            }
        }
        runs
    }

    /// Forgets those of `candidates` that hold nothing in memory; gives back those to ask about again. The caller holds
    /// the open runs and the list of frozen windows still, so that nothing is between two places meanwhile.
    pub fn forget(&self, candidates: &[SeriesId], open: &IdMap<Run>, frozen: &[FrozenWindow]) -> Vec<SeriesId> {
        self.catalog.forget(candidates, |series| {
            let holds = |partition: &SharedPartition| partition.lock().column_of(series).is_ok();
            self.shards[series.shard()].read().values().any(holds)
                || frozen.iter().flat_map(|window| &window.partitions).any(holds)
                || open.contains_key(&series)
        })
    }

    /// Times of the oldest and the newest sample in memory.
    pub fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let partitions = self.overlapping(TimeRange::ALL);
        let bounds = partitions.iter().map(|partition| {
            let held = partition.lock();
            (held.oldest, held.newest)
        });
        bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}
