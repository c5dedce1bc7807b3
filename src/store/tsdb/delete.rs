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
    Tsdb,
    block::{Block, Cuts, Progress, Weight},
    compact::Task,
    engine::{Places, Shared},
    head::{FrozenWindow, Moment},
    log::Position,
    record,
    tombstones::{Tombstone, Tombstones},
};
use crate::{
    model::Labels,
    stdx::cancel::Cancel,
    store::{Compacted, DeletePlan, Deletion, SeriesId, StoreError, Ticket, WriteBatch},
};
use std::{
    collections::{BTreeSet, HashSet},
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

impl Tsdb {
    /// Writes every block again of which something was deleted, due or not, and waits for it.
    pub fn clean(&self, progress: &Arc<Progress>) -> Result<Compacted, StoreError> {
        self.shared.clean(progress)
    }
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
        for frozen in self.places.read().sealing.clone() {
            self.write_frozen(&frozen)?;
        }
        let taken = self.take_out(deletion);
        taken.logged.wait_blocking()?;
        for frozen in &taken.windows {
            self.write_frozen(frozen)?;
        }
        let tombstones = before.with(Tombstone { deletion: deletion.clone(), position: taken.position });
        let blocks = self.places.read().files.clone();
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
        places.files.iter().for_each(|block| block.cut(block.cuts_by(&tombstones)));
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
        let moment = Moment { now_ms: self.now_ms(), oldest: i64::MIN, position };
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
        let is_cut = |held: &Tombstone| places.files.iter().any(|block| block.cuts().is_of(held.position));
        let Some(mut left) = places.tombstones.without(|held| held.position > begin || is_cut(held)) else {
            return Ok(());
        };
        let served: HashSet<PathBuf> = places.files.iter().map(|block| block.path.clone()).collect();
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
        // That the files are gone, and their exemplars, must not be forgotten before.
        vfs.sync_dir(&self.blocks_directory()).map_err(StoreError::io("syncing the directory of blocks"))?;
        self.exemplars.save(vfs, &self.options.directory, self.log.end())?;
        left.save(vfs, &self.options.directory)?;
        self.places.write().tombstones = left;
        Ok(())
    }

    /// The least that a file of a block was sealed through that is not served, by its name; `None` where there is none.
    fn sealed_through_of_others(&self, served: &HashSet<PathBuf>) -> Result<Option<Position>, StoreError> {
        let directory = self.blocks_directory();
        let names = self.options.vfs.list(&directory).map_err(StoreError::io("listing the blocks"))?;
        let others = names.iter().filter(|name| name.ends_with(".block") && !served.contains(&directory.join(name)));
        Ok(others.map(|name| Block::sealed_through_of(name).unwrap_or_default()).min())
    }

    pub fn clean(&self, progress: &Arc<Progress>) -> Result<Compacted, StoreError> {
        self.settle_tombstones()?;
        self.retry_sealing().1?;
        let bytes = || self.places.read().files.iter().map(|block| block.file_bytes()).sum();
        let mut done = Compacted { bytes_before: bytes(), ..Compacted::default() };
        let mut tried: HashSet<PathBuf> = HashSet::new();
        while !progress.cancelled.load(Relaxed)
            && let Some((path, task)) = self.cleaning(|block, cuts| !cuts.is_empty() && !tried.contains(&block.path))
        {
            self.check_room(task.bytes())?;
            done.merges += u64::from(self.merge(&task, progress)?);
            tried.insert(path);
        }
        if self.places.read().tombstones.position_max().is_some_and(|position| self.log.begin() < position) {
            // The log's records of what was deleted go too.
            self.log.leave_segment();
            self.mark().wait_blocking()?;
            self.seal_where(|_| true)?;
        }
        self.forget_tombstones()?;
        done.bytes_after = bytes();
        Ok(done)
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
        let (mut plan, mut blocks) = (DeletePlan::default(), BTreeSet::new());
        let mut total = Weight::default();
        let mut listed: Vec<Labels> = Vec::new();
        let mut seen: HashSet<Labels> = HashSet::new();
        for matchers in &deletion.selectors {
            let found = self.collect(deletion.range, matchers, cancel)?;
            let mut listed_here = 0;
            for (index, labels) in found.all_labels().enumerate() {
                if index.is_multiple_of(LOOK_SERIES) {
                    super::by_labels::check(cancel)?;
                }
                if deletion.selectors.len() > 1 && !seen.insert(labels.clone()) {
                    continue;
                }
                let weight = found.weigh(index, &mut blocks);
                if weight.is_nothing() {
                    continue;
                }
                plan.series += 1;
                total.add(&weight);
                if listed_here < limit {
                    listed_here += 1;
                    listed.push(labels.clone());
                }
            }
        }
        listed.sort_unstable();
        listed.truncate(limit);
        plan.labels = listed.iter().map(Labels::to_string).collect();
        (plan.samples, plan.runs, plan.bytes) = (total.samples, total.runs, total.bytes);
        (plan.oldest_ms, plan.newest_ms) = total.bounds.unzip();
        plan.blocks = blocks.len() as u64;
        Ok(plan)
    }
}

impl Places {
    /// Puts a block in its place, without what was deleted of it.
    pub fn add(&mut self, block: Arc<Block>) {
        block.cut(block.cuts_by(&self.tombstones));
        self.files.push(block);
    }
}
