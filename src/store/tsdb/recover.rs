//! Opens an engine: checkpoint, blocks, log, in this order.

use super::{
    block::{Block, Damaged},
    checkpoint::{self, Checkpoint},
    engine::{Places, Shared, TrustedTime, Tsdb},
    exemplars::{self, Exemplars},
    head::{Head, Moment, catalog::Catalog},
    keeping::KEPT,
    log::{self, Log, LogOptions, Position, Record},
    options::{Options, TIERS, WINDOW_MS, tier_directory},
    policy::Keeping,
    record, report,
    run::{Run, RunEnd},
    state::State,
    tombstones::{self, DeletedRecords, Tombstones},
    version,
};
use crate::{
    model::Timestamp,
    stdx::vfs::Vfs,
    store::{SeriesId, StoreError, WriteBatch, kv, upkeep::Unserved},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

impl Tsdb {
    /// Opens the store in a directory, which is created where it is missing. Damage never prevents it: what is lost is
    /// counted and logged. Fails where the directory cannot be used or holds a newer format.
    pub fn open(options: Options) -> Result<Tsdb, StoreError> {
        version::check(&*options.vfs, &options.directory)?;
        let kv = kv::RedbKv::open(&options.directory.join("state"))?;
        Tsdb::open_with(options, Box::new(kv))
    }

    /// As [`Tsdb::open`], with the small state kept elsewhere.
    pub fn open_with(options: Options, kv: Box<dyn kv::Kv>) -> Result<Tsdb, StoreError> {
        let vfs = options.vfs.clone();
        version::check(&*vfs, &options.directory)?;
        let damaged = Arc::new(Damaged::default());
        let (checkpoint, damaged_copy) = Checkpoint::load(&*vfs, &options.directory);
        if damaged_copy {
            let path = options.directory.join(checkpoint::NAMES[0]);
            tracing::warn!(path = %path.display(), "A copy of the checkpoint is damaged; the other copy or the log is used.");
            damaged.add(1);
        }
        let (places, named_max, unserved) = open_places(&options, &damaged)?;
        let deleted = DeletedRecords::new(places.tombstones.clone());
        damaged.add(count_missing(&options, &checkpoint, &places));
        let state = State::load(kv)?;
        let exemplars = Exemplars::new(options.exemplars_max);
        let exemplars_through = exemplars.load(&*vfs, &options.directory, checkpoint.is_written()).unwrap_or_else(|| {
            let path = options.directory.join("exemplars");
            tracing::error!(path = %path.display(), "The exemplars are damaged or missing; those that the log has are kept.");
            damaged.add(1);
            Position::default()
        });
        let newest_in_file = Position(exemplars_through.0.saturating_sub(1));
        exemplars.remove(|series, at| deleted.has_exemplar(series, at, newest_in_file));

        let seed = getrandom::u64().map_err(|e| StoreError::Directory(format!("no randomness: {e}")))?;
        let mut catalog = Catalog::new(options.series_max, seed);
        catalog.series_per_job_max = options.series_per_job_max;
        catalog.policies = options.policies.clone();
        let head = Head::new(catalog, WINDOW_MS);
        let (kept_from, synced_through) = (checkpoint.kept_from, checkpoint.synced_through);
        let now_ms = options.clock.now_ms();
        let times = (now_ms, now_ms.saturating_sub(options.retention_ms));
        let mut replay = Replay::new(&head, (&state, &exemplars, exemplars_through), &places, checkpoint, times);
        replay.deleted = deleted;
        // Should the log be gone, its positions must not begin again below what checkpoint and files have seen.
        let durable = [replay.runs_through, synced_through, state.durable_through(), exemplars_through];
        // What is appended from now on lies behind every tombstone.
        let behind_tombstones = places.tombstones.position_max().map(|position| Position(position.0 + 1));
        let seen = durable.into_iter().chain([replay.sealed_max(), named_max]).chain(behind_tombstones).max();
        let position_min = seen.unwrap_or_default();
        let log_options = LogOptions { position_min, kept_from, synced_through, ..options.log };
        let opened = log::open(vfs.clone(), &options.directory.join("log"), log_options)?;
        sync_names(&*vfs, &options)?;
        // From the very beginning: segments are given up whole, so whatever is left holds something needed.
        let (log, stats) = opened.replay(Position(0), &mut |record| replay.record(record))?;
        damaged.add(replay.damaged + stats.damaged_records);
        damaged.add(count_lost_state(&options, &state, &log));
        head.catalog.restored(replay.generation_max);
        let newest_file = places.all().map(|file| file.footer.newest).max();
        let newest = head.bounds().map(|(_, newest)| newest).max(newest_file);
        let trusted = TrustedTime::at_opening(&*options.clock, newest);
        let shared = Shared {
            keeping: Keeping::of(&options),
            is_marked: AtomicBool::new(false),
            options,
            head,
            log,
            encoder: Default::default(),
            places: places.into(),
            state,
            exemplars,
            damaged,
            upkeep: Mutex::default(),
            appends: RwLock::default(),
            unsettled: AtomicBool::new(false),
            forgettable: Mutex::default(),
            memory_full: AtomicBool::new(false),
            appended: AtomicU64::new(0),
            trusted,
            compaction: Default::default(),
            disk: Default::default(),
            unserved,
        };
        Tsdb::start(Arc::new(shared))
    }
}

/// Opens all files, without what was deleted of them. Gives also the highest position that any name speaks of, and the
/// files that cannot be read.
fn open_places(options: &Options, damaged: &Arc<Damaged>) -> Result<(Places, Position, Vec<Unserved>), StoreError> {
    let blocks = options.directory.join("blocks");
    options.vfs.create_dir_all(&blocks).map_err(StoreError::io("creating the data directory"))?;
    let FoundBlocks { files, mut named_max, mut unserved } = open_blocks(options, &blocks, Block::SAMPLES, damaged)?;
    let mut places = Places { files, tombstones: load_tombstones(options, damaged), ..Places::default() };
    for found in open_tiers(options, damaged)? {
        places.tiers.push(found.files);
        places.barren.push(BTreeSet::new());
        named_max = named_max.max(found.named_max);
        unserved.extend(found.unserved);
    }
    let directory = options.directory.join(KEPT);
    if !options.policies.is_empty() || options.vfs.list(&directory).is_ok_and(|names| !names.is_empty()) {
        options
            .vfs
            .create_dir_all(&directory)
            .map_err(StoreError::io("creating the directory of what is kept longer"))?;
        let found = open_blocks(options, &directory, Block::SAMPLES, damaged)?;
        places.kept = found.files;
        named_max = named_max.max(found.named_max);
        unserved.extend(found.unserved);
    }
    places.all().for_each(|block| block.cut(block.cuts_by(&places.tombstones)));
    Ok((places, named_max, unserved))
}

struct FoundBlocks {
    files: Vec<Arc<Block>>,
    /// The highest position that any name speaks of.
    named_max: Position,
    unserved: Vec<Unserved>,
}

/// Opens all blocks. What is left of an interrupted write is removed, and so is what another block contains; what is
/// damaged is left alone and not served.
fn open_blocks(
    options: &Options,
    directory: &Path,
    resolution_ms: i64,
    damaged: &Arc<Damaged>,
) -> Result<FoundBlocks, StoreError> {
    let (mut blocks, mut unserved) = (Vec::new(), Vec::new());
    let mut named_max = Position::default();
    for name in options.vfs.list(directory).map_err(StoreError::io("listing the blocks"))? {
        let path = directory.join(&name);
        if name.ends_with(".tmp") {
            let _ = options.vfs.remove(&path);
        } else if name.ends_with(".block") {
            // The position stands in the name too: a file that cannot be read today may be readable tomorrow, and then
            // must not claim to contain the records of today.
            named_max = named_max.max(Block::sealed_through_of(&name).unwrap_or_default());
            match Block::open(&options.vfs, &path, damaged, options.clock.elapsed_ms()) {
                Ok(block) => blocks.push(Arc::new(block.with_resolution(resolution_ms))),
                Err(error) => {
                    damaged.add(1);
                    tracing::error!(%error, "A block is not served.");
                    unserved.push(report::unserved(&path, options.vfs.length(&path).unwrap_or(0), &error));
                }
            }
        }
    }
    let contained = |block: &Arc<Block>| blocks.iter().any(|other| block.is_contained_in(other));
    let (gone, kept): (Vec<_>, Vec<_>) = blocks.iter().cloned().partition(contained);
    gone.iter().for_each(|block| block.dropped.store(true, Ordering::Release));
    Ok(FoundBlocks { files: kept, named_max, unserved })
}

/// The tombstones. Where both copies are damaged, what was deleted and is still in files is seen again.
fn load_tombstones(options: &Options, damaged: &Damaged) -> Tombstones {
    let (tombstones, damaged_copy) = Tombstones::load(&*options.vfs, &options.directory);
    if damaged_copy {
        let path = options.directory.join(tombstones::NAMES[0]);
        let is_lost = tombstones.len() == 0;
        tracing::error!(path = %path.display(), is_lost, "A copy of the tombstones is damaged. Where both are lost, what was deleted may be there again: delete it once more.");
        damaged.add(1);
    }
    tombstones
}

/// Opens the files of each tier, as [`open_blocks`] does those of samples.
fn open_tiers(options: &Options, damaged: &Arc<Damaged>) -> Result<Vec<FoundBlocks>, StoreError> {
    warn_of_others(options);
    let open = |resolution_ms: i64| {
        let directory = tier_directory(&options.directory, resolution_ms);
        options.vfs.create_dir_all(&directory).map_err(StoreError::io("creating the directory of a tier"))?;
        let mut found = open_blocks(options, &directory, resolution_ms, damaged)?;
        keep_apart(&mut found, damaged);
        Ok(found)
    };
    options.tiers.iter().map(|tier| open(tier.resolution_ms)).collect()
}

/// Of files of one time the one with most windows is served: a bucket of both would count what is in both twice. There
/// are such only where a file could not be read for a while and another took its place.
fn keep_apart(found: &mut FoundBlocks, damaged: &Damaged) {
    found.files.sort_by_key(|file| std::cmp::Reverse((file.windows().count(), file.footer.level)));
    let mut kept: Vec<Arc<Block>> = Vec::new();
    for file in std::mem::take(&mut found.files) {
        let overlaps =
            |other: &Arc<Block>| file.footer.start < other.footer.end() && other.footer.start < file.footer.end();
        if !kept.iter().any(overlaps) {
            kept.push(file);
            continue;
        }
        damaged.add(1);
        let path = &file.path;
        tracing::error!(path = %path.display(), "A file of a tier is not served: another one has more of its time.");
        let problem = "another file of this tier has more of the same time".to_owned();
        let advice = "remove it; what it has beyond the other cannot be added".to_owned();
        found.unserved.push(Unserved { file: path.display().to_string(), bytes: file.file_bytes(), problem, advice });
    }
    found.files = kept;
}

/// Says which tiers are on disk and in no config: their files are left alone.
fn warn_of_others(options: &Options) {
    let known: Vec<String> = options.tiers.iter().map(|tier| tier.resolution_ms.to_string()).collect();
    let names = options.vfs.list(&options.directory.join(TIERS)).unwrap_or_default();
    for name in names.iter().filter(|name| !known.contains(name)) {
        let path = options.directory.join(TIERS).join(name);
        tracing::warn!(path = %path.display(), "A tier is on disk that the config does not have: it is not served. Name it again under `storage.tiers`, or remove it.");
    }
}

/// Windows that a block had when the checkpoint was written and none has now, and that are too young to have been dropped.
fn count_missing(options: &Options, checkpoint: &Checkpoint, places: &Places) -> u64 {
    let sealed: HashSet<(Timestamp, Position)> = places.all().flat_map(|block| block.windows()).collect();
    let oldest = options.clock.now_ms().saturating_sub(Keeping::of(options).longest_ms());
    let is_missing = |named: &&(Timestamp, Position)| named.0 >= oldest && !sealed.contains(named);
    let missing: BTreeSet<Timestamp> = checkpoint.sealed.iter().filter(is_missing).map(|(window, _)| *window).collect();
    if let Some(first) = missing.first() {
        let count = missing.len();
        tracing::error!(count, first_ms = first, "Windows that were on disk are not there any more, or not readable.");
    }
    missing.len() as u64
}

/// 1 where the log was given up further than the small state reaches, which is only done once it has been saved: it was
/// lost, or moved aside as damaged.
fn count_lost_state(options: &Options, state: &State, log: &Log) -> u64 {
    // Without a segment nothing was given up, or more is lost than this.
    let is_lost = log.stats().segments > 0 && state.durable_through() < log.begin();
    if is_lost {
        let path = options.directory.join("state");
        tracing::error!(
            path = %path.display(),
            "The small state ends before the log begins: push groups, jobs and cursors that did not change since are lost."
        );
    }
    u64::from(is_lost)
}

/// Makes the names of the directories durable that were just made: a synced file in a directory that a power cut takes
/// away is lost with it.
fn sync_names(vfs: &dyn Vfs, options: &Options) -> Result<(), StoreError> {
    let directory = &options.directory;
    if !options.tiers.is_empty() {
        vfs.sync_dir(&directory.join(TIERS)).map_err(StoreError::io("syncing the directory of tiers"))?;
    }
    vfs.sync_dir(directory).map_err(StoreError::io("syncing the data directory"))?;
    // Its own name stands in a directory that may not be ours to open.
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let _ = vfs.sync_dir(parent);
    }
    Ok(())
}

/// Applies log records to the head.
struct Replay<'a> {
    head: &'a Head,
    state: &'a State,
    exemplars: &'a Exemplars,
    /// Exemplars in records before this are in their file, or have made room since.
    exemplars_through: Position,
    /// Samples of a window in records before this are in its file.
    sealed: HashMap<Timestamp, Position>,
    deleted: DeletedRecords,
    runs_through: Position,
    now_ms: i64,
    segment: Option<u64>,
    layouts: HashMap<u64, Arc<[SeriesId]>>,
    batch: WriteBatch,
    damaged: u64,
    /// The highest generation of any id met; `None` where there is none.
    generation_max: Option<u32>,
}

impl<'a> Replay<'a> {
    fn new(
        head: &'a Head,
        (state, exemplars, exemplars_through): (&'a State, &'a Exemplars, Position),
        places: &Places,
        checkpoint: Checkpoint,
        (now_ms, oldest_raw): (i64, Timestamp),
    ) -> Replay<'a> {
        let mut sealed: HashMap<Timestamp, Position> = HashMap::new();
        // Of what is past its retention the log may still have some. Within it samples are better than
        // buckets.
        let buckets = places.tiers.iter().flatten().chain(&places.kept).flat_map(|file| file.windows());
        let gone = buckets.filter(|(window, _)| *window < oldest_raw);
        for (window, sealed_through) in places.files.iter().flat_map(|block| block.windows()).chain(gone) {
            let through = sealed.entry(window).or_default();
            *through = (*through).max(sealed_through);
        }
        let Checkpoint { runs_through, series, runs, .. } = checkpoint;
        let generation_max = series.iter().map(|(id, _)| id.generation()).max();
        for (id, labels) in series {
            head.catalog.restore(id, labels, true);
        }
        let replay = Replay {
            head,
            state,
            exemplars,
            exemplars_through,
            sealed,
            deleted: DeletedRecords::new(Tombstones::default()),
            runs_through,
            now_ms,
            segment: None,
            layouts: HashMap::new(),
            batch: WriteBatch::default(),
            damaged: 0,
            generation_max,
        };
        replay.restore_runs(runs);
        replay
    }

    fn restore_runs(&self, runs: Vec<(SeriesId, Run)>) {
        let moment = self.moment(Position(0));
        for (id, run) in runs {
            if run.end == RunEnd::Open {
                self.head.open_runs().insert(id, run);
            } else if !self.is_sealed(run.until(run.first), self.runs_through) {
                self.head.keep_run(id, Some(run), &moment);
            }
        }
    }

    fn sealed_max(&self) -> Position {
        self.sealed.values().copied().max().unwrap_or_default()
    }

    fn is_sealed(&self, at: Timestamp, position: Position) -> bool {
        self.sealed.get(&self.head.window_of(at)).is_some_and(|through| position < *through)
    }

    fn moment(&self, position: Position) -> Moment<'static> {
        Moment { now_ms: self.now_ms, oldest: i64::MIN, limits: None, position }
    }

    fn record(&mut self, record: Record<'_>) {
        if self.segment != Some(record.segment) {
            self.segment = Some(record.segment);
            self.layouts.clear();
        }
        let whole = match record.kind {
            record::SERIES => self.series(record.position, record.payload),
            record::LAYOUT => record::take_layout(record.payload).map(|(number, ids)| {
                ids.iter().for_each(|id| self.met(*id));
                self.layouts.insert(number, ids);
            }),
            record::BATCH => self.batch(record.position, record.payload),
            record::EXEMPLARS if record.position < self.exemplars_through => Some(()),
            record::EXEMPLARS => exemplars::take_record(record.payload).map(|found| {
                // What the file has already does not follow itself.
                for (series, exemplar) in &found {
                    if !self.deleted.has_exemplar(series, exemplar.timestamp, record.position) {
                        self.exemplars.push(series, exemplar);
                    }
                }
            }),
            _ => None,
        };
        if whole.is_none() {
            self.damaged += 1;
        }
    }

    fn met(&mut self, id: SeriesId) {
        self.generation_max = self.generation_max.max(Some(id.generation()));
    }

    fn series(&mut self, position: Position, mut input: &[u8]) -> Option<()> {
        while !input.is_empty() {
            let (id, labels) = record::take_series(&mut input)?;
            self.met(id);
            // The checkpoint knows better than records before it.
            self.head.catalog.restore(id, labels, position >= self.runs_through);
        }
        Some(())
    }

    fn batch(&mut self, position: Position, payload: &[u8]) -> Option<()> {
        let mut batch = std::mem::take(&mut self.batch);
        record::take_batch(payload, &self.layouts, &mut batch)?;
        if position < self.sealed_max() {
            self.drop_sealed(&mut batch, position);
        }
        if self.deleted.concerns(position) {
            let catalog = self.head.catalog.read();
            self.deleted.remove(&mut batch, position, &|id| catalog.labels(id).cloned());
        }
        for (id, _, _) in &batch.histograms {
            self.met(*id);
        }
        for change in &batch.runs {
            self.met(change.series());
        }
        let moment = self.moment(position);
        // Refusals are the ones of the time, and were answered then.
        let mut refused = Vec::new();
        self.head.append_floats(&batch, &moment, &mut refused);
        self.head.append_histograms(&batch, &moment, &mut refused);
        if position >= self.runs_through && !batch.runs.is_empty() {
            let mut open = self.head.open_runs();
            // A run that ended in a window sealed since comes back as a duplicate of what the file has: harmless.
            self.head.apply_runs(&mut open, &batch.runs, &moment);
        }
        if position >= self.state.durable_through() && !batch.state.is_empty() {
            self.state.lock().apply(&batch.state);
        }
        self.batch = batch;
        Some(())
    }

    fn drop_sealed(&self, batch: &mut WriteBatch, position: Position) {
        let kept: Vec<usize> =
            (0..batch.series.len()).filter(|at| !self.is_sealed(batch.timestamps[*at], position)).collect();
        if kept.len() < batch.series.len() {
            batch.series = kept.iter().map(|at| batch.series[*at]).collect();
            batch.values = kept.iter().map(|at| batch.values[*at]).collect();
            batch.timestamps = kept.iter().map(|at| batch.timestamps[*at]).collect();
        }
        batch.histograms.retain(|(_, at, _)| !self.is_sealed(*at, position));
    }
}
