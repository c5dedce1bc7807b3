//! Deleting by matchers and time range.
//!
//! 1. No append is under way for a moment: open runs of the series are split where the range ends, every window that has
//!    something of them is taken out of the head, and the log's end is the deletion's position. All of it changes nothing
//!    that can be seen.
//! 2. The windows are written as blocks, then the checkpoint, which knows the split runs; then the tombstone. Where
//!    something fails or the power goes before that, nothing was deleted.
//! 3. Each block resolves the tombstone once and cuts out what it takes. What is appended from here on lies behind the
//!    position, in other partitions and blocks, and is seen.
//! 4. Merges write without what is cut out. When no file and no record of the log has any of it, the tombstone is
//!    forgotten.

use super::{
    block::{Block, Cuts, Progress, Stored},
    compact::Task,
    engine::{Places, Shared},
    head::{FrozenWindow, IdMap, Moment},
    log::Position,
    options::TIERS,
    record,
    run::Run,
    tombstones::{Tombstone, Tombstones},
};
use crate::{
    model::{Labels, Samples, TimeRange},
    stdx::cancel::Cancel,
    store::{Compacted, DeletePlan, Deletion, SeriesId, StoreError, Ticket, WriteBatch},
};
use roaring::RoaringBitmap;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
};

/// Each block that has older samples resolves each of them, and reading asks each of them.
pub(super) const TOMBSTONES_MAX: usize = 1000;
/// Series looked at between two looks at the cancel flag.
const LOOK_SERIES: usize = 1024;

/// What was taken out of the head for a deletion.
struct Taken {
    windows: Vec<FrozenWindow>,
    /// That the deletion speaks of.
    series: Vec<SeriesId>,
    position: Position,
    /// Of what was logged at the position.
    logged: Ticket,
}

impl Shared {
    /// See [`Upkeep::delete`](crate::store::Upkeep::delete).
    pub fn delete(&self, deletion: &Deletion) -> Result<(), StoreError> {
        deletion.check()?;
        let series = {
            let _turn = self.upkeep.lock();
            self.delete_in_turn(deletion)?
        };
        let left = self.forget(&series);
        self.forgettable.lock().extend(left);
        Ok(())
    }

    fn delete_in_turn(&self, deletion: &Deletion) -> Result<Vec<SeriesId>, StoreError> {
        self.settle_in_turn()?;
        if self.places.read().tombstones.len() >= TOMBSTONES_MAX {
            self.forget_tombstones_in_turn()?;
        }
        let before = self.places.read().tombstones.clone();
        if before.len() >= TOMBSTONES_MAX {
            return Err(StoreError::TombstoneLimit { limit: TOMBSTONES_MAX });
        }
        // What was taken out of the head before is older than what is taken now, and must be in a file too.
        // Let go of here: in the head of the loop the lock would be held throughout it, and writing wants it.
        let waiting = self.places.read().sealing.clone();
        for frozen in &waiting {
            self.write_frozen(frozen)?;
        }
        let taken = self.take_out(deletion);
        taken.logged.wait_blocking()?;
        for frozen in &taken.windows {
            self.write_frozen(frozen)?;
        }
        let tombstones = before.with(Tombstone { deletion: deletion.clone(), position: taken.position });
        let blocks: Vec<Arc<Block>> = self.places.read().all().cloned().collect();
        let cuts: Vec<Arc<Cuts>> = blocks.iter().map(|block| block.cuts_by(&tombstones)).collect();
        let has_any = cuts.iter().any(|cuts| cuts.is_of(taken.position)) || self.exemplars.has_any(deletion);
        if !has_any {
            return Ok(taken.series);
        }
        // A run that was split is told by the checkpoint alone. Its exemplars are still those from before: with this
        // position the tombstone speaks of them, and later ones are in the log.
        self.checkpoint_in_turn(taken.position)?;
        self.save_tombstones(&tombstones, &before)?;
        let mut places = self.places.write();
        blocks.iter().zip(cuts).for_each(|(block, cuts)| block.cut(cuts));
        // A merge that ended meanwhile.
        places.all().for_each(|block| block.cut(block.cuts_by(&tombstones)));
        places.tombstones = tombstones;
        drop(places);
        self.exemplars.remove(|series, at| deletion.has(series, at));
        Ok(taken.series)
    }

    /// Takes every window out of the head that has something of the deletion, with all that was appended before.
    fn take_out(&self, deletion: &Deletion) -> Taken {
        let _no_append = self.appends.write();
        let series: BTreeSet<SeriesId> = {
            let catalog = self.head.catalog.read();
            let found = deletion.selectors.iter().flat_map(|matchers| catalog.select(matchers));
            found.map(|(id, _)| id).collect()
        };
        let series: Vec<SeriesId> = series.into_iter().collect();
        // One before, so that no file of a window was sealed through the position already and has the name; one after,
        // so that what is appended later is never sealed through it.
        self.mark();
        let position = self.log.end();
        let moment = Moment { now_ms: self.now_ms(), oldest: i64::MIN, limits: None, position };
        let mut open_runs = self.head.open_runs();
        self.head.split_runs(&mut open_runs, &series, deletion.range, &moment);
        let mut places = self.places.write();
        let windows = self.head.windows_with(&series, deletion.range);
        let windows: Vec<_> = windows.into_iter().map(|window| self.head.freeze(window, position)).collect();
        places.sealing.extend(windows.iter().cloned());
        drop(places);
        drop(open_runs);
        Taken { windows, series, position, logged: self.mark() }
    }

    /// Moves the log's end on.
    fn mark(&self) -> Ticket {
        self.log.append(|writer| writer.record(record::BATCH, |out| record::push_batch(out, &WriteBatch::default(), 0)))
    }

    /// Where it fails, the file has the list `before`, or will have it before anything is done that needs to know.
    fn save_tombstones(&self, tombstones: &Tombstones, before: &Tombstones) -> Result<(), StoreError> {
        let (vfs, directory) = (&*self.options.vfs, &self.options.directory);
        tombstones.save(vfs, directory).inspect_err(|_| {
            self.unsettled.store(before.save(vfs, directory).is_err(), SeqCst);
        })
    }

    /// Makes sure that the file has the list that is in force. A deletion that failed may stand in it: it would count
    /// after a restart, but not for the blocks that were merged with newer ones until then.
    pub fn settle_tombstones(&self) -> Result<(), StoreError> {
        if !self.unsettled.load(SeqCst) {
            return Ok(());
        }
        let _turn = self.upkeep.lock();
        self.settle_in_turn()
    }

    fn settle_in_turn(&self) -> Result<(), StoreError> {
        if self.unsettled.load(SeqCst) {
            let tombstones = self.places.read().tombstones.clone();
            tombstones.save(&*self.options.vfs, &self.options.directory)?;
            self.unsettled.store(false, SeqCst);
        }
        Ok(())
    }

    /// Forgets the tombstones that nothing on disk needs any more.
    pub fn forget_tombstones(&self) -> Result<(), StoreError> {
        if self.places.read().tombstones.len() == 0 {
            return Ok(());
        }
        let _turn = self.upkeep.lock();
        self.forget_tombstones_in_turn()
    }

    fn forget_tombstones_in_turn(&self) -> Result<(), StoreError> {
        let begin = self.log.begin();
        let places = self.places.read();
        let is_cut = |held: &Tombstone| places.all().any(|block| block.cuts().is_of(held.position));
        let Some(mut left) = places.tombstones.without(|held| held.position > begin || is_cut(held)) else {
            return Ok(());
        };
        let served: HashSet<PathBuf> = places.all().map(|block| block.path.clone()).collect();
        drop(places);
        // Files on their way out, and such as cannot be read today and may be readable tomorrow.
        if let Some(through) = self.sealed_through_of_others(&served)? {
            let all = self.places.read().tombstones.clone();
            let is_left: BTreeSet<Position> = left.iter().map(|held| held.position).collect();
            match all.without(|held| is_left.contains(&held.position) || through <= held.position) {
                Some(fewer) => left = fewer,
                None => return Ok(()),
            }
        }
        let vfs = &*self.options.vfs;
        // That the files are gone, and the exemplars, must be durable before.
        for directory in self.directories_of_blocks() {
            vfs.sync_dir(&directory).map_err(StoreError::io("syncing a directory of blocks"))?;
        }
        self.exemplars.save(vfs, &self.options.directory, self.log.end())?;
        left.save(vfs, &self.options.directory)?;
        self.places.write().tombstones = left;
        Ok(())
    }

    /// Those of samples and of buckets, of tiers that the config does not have too: it may have them again. What is kept
    /// longer has one only where something is.
    fn directories_of_blocks(&self) -> Vec<PathBuf> {
        let tiers = self.options.directory.join(TIERS);
        let names = self.options.vfs.list(&tiers).unwrap_or_default();
        let tiers = names.into_iter().map(|name| tiers.join(name));
        let kept =
            Some(self.kept_directory()).filter(|kept| self.options.vfs.list(kept).is_ok_and(|names| !names.is_empty()));
        tiers.chain(kept).chain([self.blocks_directory()]).collect()
    }

    /// The least that a file of a block was sealed through that is not served, by its name; `None` where there is none.
    fn sealed_through_of_others(&self, served: &HashSet<PathBuf>) -> Result<Option<Position>, StoreError> {
        let mut least = None;
        for directory in self.directories_of_blocks() {
            let names = self.options.vfs.list(&directory).map_err(StoreError::io("listing blocks"))?;
            let is_other =
                |name: &&String| name.ends_with(".block") && !served.contains(&directory.join(name.as_str()));
            let others = names.iter().filter(is_other).map(|name| Block::sealed_through_of(name).unwrap_or_default());
            least = others.chain(least).min();
        }
        Ok(least)
    }

    /// Writes every block again of which something was deleted, due or not, and waits for it.
    pub fn clean(&self, progress: &Arc<Progress>) -> Result<Compacted, StoreError> {
        self.settle_tombstones()?;
        self.retry_sealing().1?;
        let bytes = || self.places.read().files.iter().map(|block| block.file_bytes()).sum();
        let mut done = Compacted { bytes_before: bytes(), ..Compacted::default() };
        let mut tried: HashSet<PathBuf> = HashSet::new();
        let goes_on = || !progress.cancelled.load(Relaxed);
        while goes_on()
            && let Some((path, task)) = self.cleaning(|block, cuts| !cuts.is_empty() && !tried.contains(&block.path))
        {
            self.check_room(task.bytes())?;
            done.merges += u64::from(self.merge(&task, progress)?);
            tried.insert(path);
        }
        if self.places.read().tiers.iter().flatten().any(|file| !file.cuts().is_empty()) {
            // Buckets are built of samples in blocks.
            self.seal_where(|_| true)?;
        }
        while goes_on()
            && let Some(build) = self.cleaning_build(true, |file, cuts| !cuts.is_empty() && !tried.contains(&file.path))
        {
            self.check_room(build.bytes())?;
            done.tiers += u64::from(self.build(&build, progress)?);
            tried.extend(build.replaced().map(|file| file.path.clone()));
        }
        while let Some(keep) = self.due_keep(&[], true, |file, cuts| !cuts.is_empty() && !tried.contains(&file.path)) {
            self.check_room(keep.bytes())?;
            if !self.keep(&keep, progress)? {
                break;
            }
            done.merges += 1;
            tried.extend(keep.paths());
        }
        if self.places.read().tombstones.position_max().is_some_and(|position| self.log.begin() < position) {
            // The log's records of what was deleted go too.
            self.log.leave_segment();
            self.mark().wait_blocking()?;
            self.seal_where(|_| true)?;
        }
        self.forget_tombstones()?;
        if goes_on() {
            self.tell_uncleaned();
        }
        done.bytes_after = bytes();
        Ok(done)
    }

    /// Names the files that still have something of what was deleted.
    fn tell_uncleaned(&self) {
        let files: Vec<Arc<Block>> = self.places.read().all().filter(|file| !file.cuts().is_empty()).cloned().collect();
        for file in files {
            let path = file.path.display();
            tracing::warn!(%path, "What was deleted of this file is still in it, and not served: it could not be written again now. Clean the tombstones again later.");
        }
    }

    /// The merge that writes a block again that `choose` picks, and its path. `None` where it picks none that can be
    /// merged now.
    pub fn cleaning(&self, choose: impl Fn(&Block, &Cuts) -> bool) -> Option<(PathBuf, Task)> {
        let files = self.places.read().files.clone();
        let chosen = files.iter().filter(|block| choose(block, &block.cuts()));
        chosen.filter_map(|block| Some((block.path.clone(), self.task_with(block, &files)?))).next()
    }

    /// What a deletion would take. Looks at heads of records and clocks, decodes no value on disk.
    pub fn plan_delete(&self, deletion: &Deletion, limit: usize, cancel: &Cancel) -> Result<DeletePlan, StoreError> {
        deletion.check()?;
        let mut found: BTreeMap<Labels, Stored> = BTreeMap::new();
        // The head first: what is sealed meanwhile is met in both places, never in neither.
        self.weigh_head(deletion, &mut found);
        let files: Vec<Arc<Block>> = self.places.read().all().cloned().collect();
        let mut plan = DeletePlan::default();
        for block in files {
            let before: u64 = plan.blocks;
            let clocks = block.clock_cache();
            let mut series = RoaringBitmap::new();
            deletion.selectors.iter().for_each(|matchers| series |= block.find(matchers));
            for (index, number) in series.iter().enumerate() {
                if index.is_multiple_of(LOOK_SERIES) {
                    super::by_labels::check(cancel)?;
                }
                let stored = block.weigh_left(number, deletion.range, &clocks);
                if !stored.is_nothing()
                    && let Some(labels) = block.labels(number)
                {
                    plan.blocks = before + 1;
                    found.entry(labels).or_default().add(&stored);
                }
            }
        }
        let mut total = Stored::default();
        found.values().for_each(|stored| total.add(stored));
        plan.series = found.len() as u64;
        plan.labels = found.keys().take(limit).map(Labels::to_string).collect();
        (plan.samples, plan.buckets, plan.runs, plan.bytes) = (total.samples, total.buckets, total.runs, total.bytes);
        (plan.oldest_ms, plan.newest_ms) = total.bounds.unzip();
        Ok(plan)
    }

    /// Adds what is in memory.
    fn weigh_head(&self, deletion: &Deletion, found: &mut BTreeMap<Labels, Stored>) {
        let now_ms = self.now_ms();
        let mut series: IdMap<Labels> = IdMap::default();
        {
            let catalog = self.head.catalog.read();
            deletion.selectors.iter().for_each(|matchers| series.extend(catalog.select(matchers)));
        }
        let mut add = |id: &SeriesId, samples: &Samples, runs: &[Run]| {
            let stored = in_memory(samples, runs, deletion.range, now_ms);
            if let Some(labels) = series.get(id).filter(|_| !stored.is_nothing()) {
                found.entry(labels.clone()).or_default().add(&stored);
            }
        };
        self.head.open_runs().iter().for_each(|(id, run)| add(id, &Samples::default(), &[*run]));
        let mut partitions = self.head.overlapping(deletion.range);
        partitions.extend(self.places.read().sealing.iter().flat_map(|frozen| frozen.partitions.clone()));
        let (mut samples, mut runs) = (Samples::default(), Vec::new());
        for partition in partitions {
            let held = partition.lock();
            for column in held.columns.iter().filter(|column| series.contains_key(&column.series)) {
                samples.clear();
                runs.clear();
                column.read(held.window, &held.clocks, deletion.range, &mut samples, &mut runs);
                add(&column.series, &samples, &runs);
            }
        }
    }
}

/// About what samples and runs in memory will take in a file.
fn in_memory(samples: &Samples, runs: &[Run], range: TimeRange, now_ms: i64) -> Stored {
    const SAMPLE_BYTES: usize = 2;
    const HISTOGRAM_BYTES: usize = 512;
    let runs: Vec<&Run> = runs.iter().filter(|run| run.says_something(range, now_ms)).collect();
    let times = samples.timestamps.iter().copied().chain(samples.histograms.iter().map(|sample| sample.timestamp));
    let of_runs = runs.iter().flat_map(|run| [run.first.max(range.start()), run.until(now_ms).min(range.end())]);
    let bytes = samples.timestamps.len() * SAMPLE_BYTES
        + samples.histograms.len() * HISTOGRAM_BYTES
        + runs.len() * size_of::<Run>();
    let mut stored = Stored::of_samples(samples.len() as u64, bytes as u64);
    stored.runs = runs.len() as u64;
    stored.bounds = times.chain(of_runs).map(|at| (at, at)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    stored
}

impl Places {
    /// Puts a block in its place, without what was deleted of it.
    pub fn add(&mut self, block: Arc<Block>) {
        block.cut(block.cuts_by(&self.tombstones));
        self.files.push(block);
    }

    /// The same for a file of buckets.
    pub fn add_buckets(&mut self, tier: usize, file: Arc<Block>) {
        file.cut(file.cuts_by(&self.tombstones));
        self.tiers[tier].push(file);
    }
}
