//! The maintenance thread: seals windows, drops what is past retention, gives log segments back.

use super::{
    block::{Block, ClockCache, MergeTarget, seal_windows},
    checkpoint::Checkpoint,
    engine::{Places, Shared},
    head::{FrozenWindow, WindowUse, sort_samples},
    log::Position,
    options::{WINDOW_MS, tier_directory},
    ticker::Ticker,
    together::{History, agreeing, alone},
};
use crate::{
    model::{Labels, Samples, TimeRange, Timestamp},
    store::{SeriesId, StoreError},
};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How often windows are looked at. A window may outgrow memory within seconds, never within milliseconds.
const TICK: Duration = Duration::from_secs(1);
/// How often windows that could not be written are tried again: each try writes a whole file.
const RETRY_TICKS: u64 = 10;
/// How often files are checked against retention, and forgotten series against the head.
const SWEEP_TICKS: u64 = 60;
/// Small state is saved at least this often while it changes, so that a restart replays little.
const SAVE_TICKS: u64 = 300;
/// How often all series are looked at, for those that got an id and never a sample.
const SERIES_TICKS: u64 = 3600;
/// Series looked at while the catalogue holds still: some milliseconds.
const FORGET_AT_ONCE: usize = 4096;
/// Log segments that nobody needs any more before a checkpoint is worth its writing, where no window is sealed.
const SEGMENTS_UNNEEDED_MAX: u64 = 4;

pub(super) fn start(shared: Arc<Shared>) -> Result<Ticker, StoreError> {
    Ticker::start("store-maintain", TICK, move || {
        let mut keeper = Keeper::new(shared);
        move || keeper.tick()
    })
}

/// What the thread remembers between ticks.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// Series that may have nothing in memory any more.
    forgettable: Vec<SeriesId>,
    history: History,
    ticks: u64,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Keeper {
        // Those of a checkpoint may have been on their way out when the process ended.
        let forgettable = shared.all_series();
        Keeper { shared, forgettable, history: History::default(), ticks: 0 }
    }

    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        let now_ms = self.shared.now_ms();
        if self.ticks.is_multiple_of(RETRY_TICKS) {
            let (series, result) = self.shared.retry_sealing();
            self.forgettable.extend(series);
            report(result, "A window can still not be sealed; it stays in memory.");
        }
        let (due, history) = self.shared.due_windows(now_ms, &mut self.history);
        let sealed = self.seal(&due, now_ms);
        // No checkpoint for its sake: as long as it comes it is sealed again and again, and the log is looked at by itself.
        self.seal(&history, now_ms);
        self.shared.note_memory(now_ms);
        self.shared.keep_room();
        if sealed || self.ticks.is_multiple_of(SWEEP_TICKS) && self.shared.is_log_long() {
            report(self.shared.checkpoint(), "The checkpoint could not be written; the log keeps its segments.");
        }
        if self.ticks.is_multiple_of(SWEEP_TICKS) {
            self.sweep(now_ms);
        }
        if self.ticks.is_multiple_of(SAVE_TICKS) {
            report(self.shared.state.save(|| self.shared.log.end()), "The small state could not be saved.");
        }
    }

    /// Whether it had anything to do.
    fn seal(&mut self, windows: &[WindowUse], now_ms: i64) -> bool {
        let mut sealed = false;
        for (target, windows) in self.shared.groups(windows, now_ms) {
            // While one cannot be written the next cannot either, and taken out of the head it would only be less
            // visible.
            if self.shared.is_stuck() {
                break;
            }
            sealed = true;
            match self.shared.seal_together(target, &windows) {
                Ok(series) => self.forgettable.extend(series),
                Err(error) => {
                    tracing::error!(?windows, %error, "Windows could not be sealed; they stay in memory.");
                }
            }
        }
        sealed
    }

    pub(super) fn sweep(&mut self, now_ms: i64) {
        self.shared.drop_expired(now_ms);
        if self.ticks.is_multiple_of(SERIES_TICKS) {
            self.forgettable = self.shared.all_series();
        }
        self.forgettable.append(&mut self.shared.forgettable.lock());
        self.forgettable = self.shared.forget(&self.forgettable);
        report(self.shared.forget_tombstones(), "Tombstones that nothing needs any more could not be forgotten.");
    }
}

fn report(result: Result<(), StoreError>, message: &'static str) {
    if let Err(error) = result {
        tracing::error!(%error, "{message}");
    }
}

impl Shared {
    fn all_series(&self) -> Vec<SeriesId> {
        self.head.catalog.read().series().map(|(id, _)| id).collect()
    }

    /// Forgets those of `candidates` that have nothing in memory; gives those to ask about again.
    pub fn forget(&self, candidates: &[SeriesId]) -> Vec<SeriesId> {
        let mut left = Vec::new();
        for part in candidates.chunks(FORGET_AT_ONCE) {
            let open = self.head.open_runs();
            // Held, so that no window is on its way between the head and the sealing list.
            let places = self.places.read();
            left.extend(self.head.forget(part, &open, &places.sealing));
        }
        left
    }

    /// Windows that are quiet and not of the present, and the coldest ones while memory is short; and those of a history
    /// that takes much of it.
    fn due_windows(&self, now_ms: i64, history: &mut History) -> (Vec<WindowUse>, Vec<WindowUse>) {
        let mut windows = self.head.windows(now_ms);
        let is_due = |window: &WindowUse| {
            let past = window.window.saturating_add(WINDOW_MS) <= now_ms;
            // A window of the far future will not be past for long, and the log would be kept for it all the while.
            let future = window.window > now_ms.saturating_add(WINDOW_MS);
            (past || future) && window.touched_ms.saturating_add(self.options.quiet_ms) <= now_ms
        };
        let mut due: Vec<WindowUse> = windows.extract_if(.., |window| is_due(window)).collect();
        let early = history.take_due(&mut windows, now_ms, self.options.quiet_ms);
        let mut bytes: usize = windows.iter().map(|window| window.bytes).sum();
        windows.sort_by_key(|window| (window.touched_ms, window.window));
        for window in windows {
            if bytes <= self.options.head_bytes_max {
                break;
            }
            bytes -= window.bytes;
            due.push(window);
        }
        (due, early)
    }

    /// Whether a window could not be written and waits for it.
    fn is_stuck(&self) -> bool {
        !self.places.read().sealing.is_empty()
    }

    /// Stops appends while windows cannot be written and memory holds twice what it should, or lets them go on.
    pub fn note_memory(&self, now_ms: i64) {
        let head: usize = self.head.windows(now_ms).iter().map(|window| window.bytes).sum();
        let full = self.is_stuck() && {
            let sealing = self.places.read().sealing.clone();
            let waiting = sealing.iter().map(|frozen| frozen.memory().bytes);
            head + waiting.sum::<usize>() > self.options.head_bytes_max.saturating_mul(2)
        };
        if self.memory_full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, "Appends are refused while memory is full of windows that cannot be written.");
        }
    }

    /// Seals the windows that `choose` picks and those that could not be sealed before, then writes a checkpoint.
    pub fn seal_where(&self, choose: impl Fn(&WindowUse) -> bool) -> Result<(), StoreError> {
        let (_, mut result) = self.retry_sealing();
        let now_ms = self.now_ms();
        let mut windows = self.head.windows(now_ms);
        windows.retain(choose);
        for (target, windows) in self.groups(&windows, now_ms) {
            result = result.and(self.seal_together(target, &windows).map(drop));
        }
        result.and(self.checkpoint())
    }

    /// Moves a window out of the head and into a file. Gives its series. On failure it stays readable in memory and
    /// is tried again later.
    #[cfg(test)]
    pub fn seal(&self, window: Timestamp) -> Result<Vec<SeriesId>, StoreError> {
        self.seal_together(alone(window), &[window])
    }

    /// Moves windows, which are in order of time and lie within `target`, out of the head and into one file. Gives their
    /// series. On failure they stay readable in memory and are tried again later.
    pub fn seal_together(&self, target: MergeTarget, windows: &[Timestamp]) -> Result<Vec<SeriesId>, StoreError> {
        let _turn = self.upkeep.lock();
        // What was taken out of the head before goes first: a file says that all of its windows before is in files.
        let waiting = self.places.read().sealing.clone();
        let mut series = Vec::new();
        for frozen in waiting.iter().filter(|frozen| windows.contains(&frozen.window)) {
            series.extend(self.write_frozen(frozen)?);
        }
        let frozen: Vec<FrozenWindow> = {
            let mut places = self.places.write();
            // Asked before the windows are frozen: whatever lies before has been applied to them.
            let through = self.log.end();
            // All there can be of one that is named so is not logged yet, and a second file might take the first one's name.
            let is_named = |window: Timestamp| {
                let near = places.files.iter().filter(|file| (file.footer.start..file.footer.end()).contains(&window));
                near.filter_map(|file| file.sealed_through(window)).any(|named| named >= through)
            };
            let left = windows.iter().filter(|window| !is_named(**window));
            let frozen: Vec<FrozenWindow> = left.map(|window| self.head.freeze(*window, through)).collect();
            places.sealing.extend(frozen.iter().cloned());
            frozen
        };
        series.extend(self.write_together(target, &frozen)?);
        Ok(series)
    }

    /// Writes windows that were frozen at one position of the log, as one block where their series allow it.
    fn write_together(&self, target: MergeTarget, frozen: &[FrozenWindow]) -> Result<Vec<SeriesId>, StoreError> {
        let mut series = Vec::new();
        for piece in agreeing(frozen) {
            let target = if let [window] = piece { alone(window.window) } else { target };
            series.extend(self.write_piece(target, piece)?);
        }
        Ok(series)
    }

    pub fn write_frozen(&self, frozen: &FrozenWindow) -> Result<Vec<SeriesId>, StoreError> {
        self.write_piece(alone(frozen.window), std::slice::from_ref(frozen))
    }

    fn write_piece(&self, target: MergeTarget, piece: &[FrozenWindow]) -> Result<Vec<SeriesId>, StoreError> {
        let labels_of = |id| self.head.catalog.read().labels(id).cloned();
        piece.iter().for_each(|frozen| self.settle_mixed(frozen, &labels_of));
        let vfs = &self.options.vfs;
        let path = seal_windows(&**vfs, &self.blocks_directory(), target, piece, labels_of)?;
        let opened_ms = self.options.clock.elapsed_ms();
        let file = path.map(|path| Block::open(vfs, &path, &self.damaged, opened_ms)).transpose()?;
        // History is written at a time when nobody looks at it, and its index was read to be checked.
        file.iter().for_each(Block::leave);
        let mut places = self.places.write();
        file.into_iter().for_each(|file| places.add(Arc::new(file)));
        places.sealing.retain(|other| !piece.iter().any(|frozen| other.is_same(frozen)));
        drop(places);
        let partitions = piece.iter().flat_map(|frozen| &frozen.partitions);
        let mut series: Vec<SeriesId> =
            partitions.flat_map(|p| p.lock().columns.iter().map(|c| c.series).collect::<Vec<_>>()).collect();
        series.sort_unstable();
        series.dedup();
        Ok(series)
    }

    /// Takes away the samples that yield to older ones, all of which are in files, in columns that overwrite otherwise:
    /// a block has no way to say which they are.
    fn settle_mixed(&self, frozen: &FrozenWindow, labels_of: &impl Fn(SeriesId) -> Option<Labels>) {
        let range = TimeRange::new(frozen.window, frozen.window.saturating_add(WINDOW_MS - 1));
        let Some(range) = range else { return };
        let mut files: Option<Vec<(Arc<Block>, ClockCache)>> = None;
        for partition in &frozen.partitions {
            // No lock is held while files are read.
            let mixed = partition.lock().mixed();
            for series in mixed {
                let files = files.get_or_insert_with(|| self.files_of(range));
                let mut older = Samples::default();
                if let Some(labels) = labels_of(series) {
                    files.iter().for_each(|(file, clocks)| file.read_labelled(&labels, range, clocks, &mut older));
                }
                sort_samples(&mut older, true);
                partition.lock().settle(series, &older);
            }
        }
    }

    /// The blocks of samples with something in a range.
    fn files_of(&self, range: TimeRange) -> Vec<(Arc<Block>, ClockCache)> {
        let places = self.places.read();
        let overlaps = |file: &&Arc<Block>| file.range().is_some_and(|covered| covered.overlaps(range));
        let all = places.files.iter().chain(&places.kept);
        all.filter(overlaps).map(|file| (file.clone(), file.clock_cache())).collect()
    }

    /// Writes the windows that could not be written before, oldest first; gives the series of those that now are.
    pub fn retry_sealing(&self) -> (Vec<SeriesId>, Result<(), StoreError>) {
        let _turn = self.upkeep.lock();
        let left = self.places.read().sealing.clone();
        let now_ms = self.now_ms();
        let mut series = Vec::new();
        // Only what was frozen at one position goes together: of a window, what was frozen first is written first.
        for taken in left.chunk_by(|a, b| a.through == b.through) {
            let uses: Vec<WindowUse> = taken.iter().map(FrozenWindow::memory).collect();
            for (target, windows) in self.groups(&uses, now_ms) {
                let group = windows.iter().filter_map(|window| taken.iter().find(|frozen| frozen.window == *window));
                match self.write_together(target, &group.cloned().collect::<Vec<_>>()) {
                    Ok(written) => series.extend(written),
                    Err(error) => return (series, Err(error)),
                }
            }
        }
        (series, Ok(()))
    }

    pub fn blocks_directory(&self) -> PathBuf {
        self.options.directory.join("blocks")
    }

    /// Where the files of a tier are.
    pub fn tier_directory(&self, tier: usize) -> PathBuf {
        tier_directory(&self.options.directory, self.options.tiers[tier].resolution_ms)
    }

    /// The moment that retention counts back from; `None` where there is nothing. `places` is held by the caller.
    pub fn reference(&self, places: &Places, now_ms: i64) -> Option<Timestamp> {
        let newest_file = places.all().map(|file| file.footer.newest).max();
        let newest = self.head.bounds().map(|(_, newest)| newest).max(newest_file)?;
        let latest = self.trusted.latest_ms(&*self.options.clock);
        Some(now_ms.min(newest).min(latest))
    }

    /// The log from here on holds something that nothing else holds durably. `places` is held, so that no window is on
    /// its way out of the head.
    fn needed_from(&self, places: &Places) -> Position {
        // Asked first: a partition that is created from here on needs nothing before.
        let end = self.log.end();
        let sealing = places.sealing.iter().filter_map(FrozenWindow::needed_from).min();
        [Some(end), self.head.needed_from(), sealing].into_iter().flatten().min().unwrap_or(end)
    }

    /// Whether a checkpoint would free much of the log.
    fn is_log_long(&self) -> bool {
        let needed = self.needed_from(&self.places.read());
        let unneeded = needed.0.saturating_sub(self.log.begin().0);
        unneeded > SEGMENTS_UNNEEDED_MAX.saturating_mul(self.options.log.segment_bytes)
    }

    /// Writes down what only memory knows, then gives up the log segments that nobody needs.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let _turn = self.upkeep.lock();
        self.checkpoint_in_turn(self.log.end())
    }

    /// Makes sure that a program which would not serve what is kept longer does not open the directory.
    pub fn mark_version(&self) -> Result<(), StoreError> {
        if self.is_marked.load(Ordering::Acquire) { Ok(()) } else { self.checkpoint() }
    }

    /// The same for who holds the turn of upkeep. The file of exemplars will say that it has those before
    /// `exemplars_through`.
    pub fn checkpoint_in_turn(&self, exemplars_through: Position) -> Result<(), StoreError> {
        let needed = self.needed_from(&self.places.read());
        let (runs_through, mut runs) = {
            let open = self.head.open_runs();
            let runs: Vec<_> = open.iter().map(|(id, run)| (*id, *run)).collect();
            (self.log.end(), [runs, self.head.closed_runs()].concat())
        };
        let sealing = self.places.read().sealing.clone();
        for partition in sealing.iter().flat_map(|frozen| &frozen.partitions) {
            let held = partition.lock();
            for column in &held.columns {
                let kept = column.extra.iter().flat_map(|extra| &extra.runs);
                runs.extend(kept.map(|run| (column.series, *run)));
            }
        }
        let series = self.head.catalog.read().series().map(|(id, labels)| (id, labels.clone())).collect();
        // A window that several files have is one.
        let sealed: BTreeSet<_> =
            self.places.read().all().flat_map(|block| block.windows().collect::<Vec<_>>()).collect();
        let sealed = sealed.into_iter().collect();
        let synced_through = self.log.synced_end();
        let has_kept = !self.keeping.policies.is_empty() || !self.places.read().kept.is_empty();
        let checkpoint = Checkpoint { runs_through, kept_from: needed, series, runs, sealed, synced_through, has_kept };
        // Before the checkpoint: where there is one, there are exemplars beside it.
        self.exemplars.save(&*self.options.vfs, &self.options.directory, exemplars_through)?;
        checkpoint.save(&*self.options.vfs, &self.options.directory)?;
        self.is_marked.store(has_kept, Ordering::Release);
        self.state.save(|| self.log.end())?;
        self.log.truncate_before(needed)
    }
}
