//! The catalogue: every label set in memory, its id, and the index to find it.

use super::postings::Postings;
use crate::{
    model::{Labels, Matcher},
    store::{SeriesId, StoreError, tsdb::policy::Policies},
};
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Shards of the head: enough that writers of different sources seldom meet, few enough to visit all.
pub const SHARDS: usize = 16;

const SLOT_BITS: u32 = 32;
const SHARD_BITS: u32 = 4;

impl SeriesId {
    /// `generation | shard | slot`: the slot finds the entry without a map, the generation tells whether it is still
    /// the same series, the shard says where its samples are.
    fn assemble(slot: u32, shard: u8, generation: u32) -> SeriesId {
        let high = u64::from(generation) << SHARD_BITS | u64::from(shard);
        SeriesId(high << SLOT_BITS | u64::from(slot))
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn shard(self) -> usize {
        (self.0 >> SLOT_BITS) as usize % SHARDS
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> (SLOT_BITS + SHARD_BITS)) as u32
    }
}

#[derive(Debug)]
struct Entry {
    id: SeriesId,
    labels: Labels,
    /// Somebody asked for the id since it was last up for removal and may be about to use it.
    wanted: AtomicBool,
    /// The number of the policy that says how long it is kept; `None` where it passes none.
    policy: Option<u16>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Of the next series to live here.
    generation: u32,
    entry: Option<Entry>,
}

#[derive(Default)]
pub struct Inner {
    by_labels: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub postings: Postings,
    /// Of series in slots that are new. Above every generation the log still speaks of.
    generation_min: u32,
    /// Series not in the log yet.
    unlogged: Vec<SeriesId>,
}

/// See the module. One lock: reads are short, and writes are as rare as new series.
pub struct Catalog {
    inner: RwLock<Inner>,
    /// Random, so that nobody can send label sets that all fall into one place of the table.
    seed: u64,
    series_max: u64,
    /// With one value of `job`; 0 for no limit.
    pub series_per_job_max: u64,
    /// Asked once for each series.
    pub policies: Policies,
    /// Memory is short: no series is created.
    pub refuses_new: AtomicBool,
}

impl Catalog {
    pub fn new(series_max: u64, seed: u64) -> Catalog {
        let inner = RwLock::default();
        let refuses_new = AtomicBool::new(false);
        Catalog { inner, seed, series_max, series_per_job_max: 0, policies: Policies::default(), refuses_new }
    }

    /// The id of a label set that is there.
    pub fn known(&self, labels: &Labels) -> Option<SeriesId> {
        self.inner.read().find(self.hash(labels.as_bytes()), labels)
    }

    /// Fails where one more series would be one too many.
    fn check_new(&self, inner: &Inner, labels: &Labels) -> Result<(), StoreError> {
        if inner.by_labels.len() as u64 >= self.series_max {
            return Err(StoreError::SeriesLimit { limit: self.series_max });
        }
        if self.refuses_new.load(Ordering::Relaxed) {
            return Err(StoreError::MemoryShort);
        }
        let limit = self.series_per_job_max;
        if let Some(job) = labels.get("job").filter(|_| limit > 0)
            && inner.postings.count("job", job) >= limit
        {
            return Err(StoreError::JobSeriesLimit { job: job.to_owned(), limit });
        }
        Ok(())
    }

    fn hash(&self, labels: &[u8]) -> u64 {
        xxh3_64_with_seed(labels, self.seed)
    }

    /// The id of a label set, new or known. Fails at the series limit.
    pub fn id_of(&self, labels: &Labels) -> Result<SeriesId, StoreError> {
        let hash = self.hash(labels.as_bytes());
        if let Some(id) = self.inner.read().find(hash, labels) {
            return Ok(id);
        }
        let mut inner = self.inner.write();
        if let Some(id) = inner.find(hash, labels) {
            return Ok(id);
        }
        self.check_new(&inner, labels)?;
        let slot = inner.free.pop().unwrap_or_else(|| {
            let generation = inner.generation_min;
            inner.slots.push(Slot { generation, entry: None });
            inner.slots.len() as u32 - 1
        });
        let generation = inner.slots[slot as usize].generation;
        let id = SeriesId::assemble(slot, shard_of(labels), generation);
        self.place(&mut inner, hash, id, labels.clone());
        inner.unlogged.push(id);
        Ok(id)
    }

    /// Puts a series back under the id it had, as log and checkpoint tell it. Where its slot or its labels have another
    /// owner by now, the one that is `newer` stays. [`Catalog::restored`] ends the restoring.
    pub fn restore(&self, id: SeriesId, labels: Labels, newer: bool) {
        let mut inner = self.inner.write();
        let slot = id.slot() as usize;
        if slot >= inner.slots.len() {
            inner.slots.resize_with(slot + 1, Slot::default);
        }
        let owner = inner.slots[slot].entry.as_ref().map(|entry| entry.id);
        if owner == Some(id) {
            return;
        }
        let hash = self.hash(labels.as_bytes());
        let namesake = inner.find(hash, &labels);
        if !newer && (owner.is_some() || namesake.is_some()) {
            return;
        }
        for other in owner.into_iter().chain(namesake) {
            self.take(&mut inner, other);
        }
        self.place(&mut inner, hash, id, labels);
    }

    /// Ends the restoring: series from now on get generations above `generation`, the highest that log and checkpoint
    /// speak of. An id whose series was lost, or forgotten before, is so never given to another.
    pub fn restored(&self, generation: Option<u32>) {
        let mut inner = self.inner.write();
        let Inner { slots, free, generation_min, .. } = &mut *inner;
        *generation_min = generation.map_or(0, |highest| highest.wrapping_add(1));
        free.clear();
        for (number, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| slot.entry.is_none()) {
            slot.generation = slot.generation.max(*generation_min);
            free.push(number as u32);
        }
    }

    fn place(&self, inner: &mut Inner, hash: u64, id: SeriesId, labels: Labels) {
        let slot = id.slot();
        inner.postings.insert(slot, &labels);
        inner.slots[slot as usize].generation = id.generation();
        let policy = self.policies.number_of(&labels).and_then(|number| u16::try_from(number).ok());
        inner.slots[slot as usize].entry = Some(Entry { id, labels, wanted: AtomicBool::new(true), policy });
        let Inner { by_labels, slots, .. } = inner;
        by_labels.insert_unique(hash, slot, |slot| match &slots[*slot as usize].entry {
            Some(entry) => xxh3_64_with_seed(entry.labels.as_bytes(), self.seed),
            None => 0,
        });
    }

    fn take(&self, inner: &mut Inner, id: SeriesId) {
        let slot = id.slot();
        let Some(entry) = inner.slots[slot as usize].entry.take() else { return };
        let hash = self.hash(entry.labels.as_bytes());
        if let Ok(found) = inner.by_labels.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        inner.postings.remove(slot, &entry.labels);
        inner.slots[slot as usize].generation = id.generation() + 1;
        inner.free.push(slot);
    }

    /// Removes those of `candidates` that `alive` denies, while nobody can look an id up. Those looked up since the
    /// last call stay for now and are given back, to be tried again.
    pub fn forget(&self, candidates: &[SeriesId], mut alive: impl FnMut(SeriesId) -> bool) -> Vec<SeriesId> {
        let mut inner = self.inner.write();
        let mut spared = Vec::new();
        for id in candidates {
            let Some(entry) = inner.entry(*id) else { continue };
            if alive(*id) {
                continue;
            }
            if entry.wanted.swap(false, Ordering::Relaxed) {
                spared.push(*id);
            } else {
                self.take(&mut inner, *id);
            }
        }
        spared
    }

    /// Holds the catalogue still for reading.
    pub fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read()
    }

    /// The series created since the last call.
    pub fn take_unlogged(&self) -> Vec<SeriesId> {
        // Asked for on every append and nearly always empty.
        if self.inner.read().unlogged.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.inner.write().unlogged)
    }
}

impl Inner {
    fn find(&self, hash: u64, labels: &Labels) -> Option<SeriesId> {
        let entry = |slot: &u32| self.slots[*slot as usize].entry.as_ref();
        let found = self.by_labels.find(hash, |slot| entry(slot).is_some_and(|e| e.labels == *labels))?;
        entry(found).map(|entry| {
            entry.wanted.store(true, Ordering::Relaxed);
            entry.id
        })
    }

    fn entry(&self, id: SeriesId) -> Option<&Entry> {
        self.slots.get(id.slot() as usize)?.entry.as_ref().filter(|entry| entry.id == id)
    }

    /// The number of the policy that a series passes; `None` where it passes none, or there is no such series.
    pub fn policy(&self, id: SeriesId) -> Option<usize> {
        self.entry(id)?.policy.map(usize::from)
    }

    pub fn labels(&self, id: SeriesId) -> Option<&Labels> {
        self.entry(id).map(|entry| &entry.labels)
    }

    /// Ids and labels of the series that pass all matchers.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<(SeriesId, Labels)> {
        let slots = self.postings.find(matchers);
        let entries = slots.iter().filter_map(|slot| self.slots[slot as usize].entry.as_ref());
        entries.map(|entry| (entry.id, entry.labels.clone())).collect()
    }

    pub fn series(&self) -> impl Iterator<Item = (SeriesId, &Labels)> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref()).map(|entry| (entry.id, &entry.labels))
    }

    pub fn count(&self) -> usize {
        self.by_labels.len()
    }
}

/// Series of one source go to one shard, so that its batch takes one lock and finds its clock.
fn shard_of(labels: &Labels) -> u8 {
    let mut source = Vec::with_capacity(64);
    for name in ["job", "instance"] {
        source.extend_from_slice(labels.get(name).unwrap_or_default().as_bytes());
        source.push(0xff);
    }
    (xxh3_64_with_seed(&source, 0) % SHARDS as u64) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name), ("job", "j")]).unwrap()
    }

    #[test]
    fn ids_are_stable_and_never_given_to_another_series() {
        let catalog = Catalog::new(3, 1);
        let (a, b) = (catalog.id_of(&labels("a")).unwrap(), catalog.id_of(&labels("b")).unwrap());
        assert_eq!(catalog.id_of(&labels("a")).unwrap(), a);
        assert_eq!(catalog.take_unlogged(), [a, b]);
        assert_eq!(catalog.forget(&[a, b], |id| id == b), [a], "just looked up");
        assert_eq!(catalog.forget(&[a, b], |id| id == b), []);
        let c = catalog.id_of(&labels("c")).unwrap();
        assert_eq!(c.slot(), a.slot());
        assert_ne!(c, a);
        assert_eq!(catalog.read().labels(a), None);
        assert_eq!(catalog.read().select(&[Matcher::equal("__name__", "c")]), [(c, labels("c"))]);
        catalog.id_of(&labels("d")).unwrap();
        assert!(matches!(catalog.id_of(&labels("e")), Err(StoreError::SeriesLimit { limit: 3 })));
    }

    #[test]
    fn one_job_has_its_own_limit_and_short_memory_stops_what_is_new() {
        let mut catalog = Catalog::new(10, 1);
        catalog.series_per_job_max = 2;
        let (a, b) = (catalog.id_of(&labels("a")).unwrap(), catalog.id_of(&labels("b")).unwrap());
        let refused = catalog.id_of(&labels("c")).unwrap_err();
        assert!(matches!(&refused, StoreError::JobSeriesLimit { job, limit: 2 } if job == "j"), "{refused}");
        catalog.forget(&[a], |_| false);
        catalog.forget(&[a], |_| false);
        catalog.id_of(&labels("c")).unwrap();
        let other = Labels::from_pairs([("__name__", "a"), ("job", "k")]).unwrap();
        catalog.refuses_new.store(true, Ordering::Relaxed);
        assert!(matches!(catalog.id_of(&other), Err(StoreError::MemoryShort)));
        assert_eq!((catalog.id_of(&labels("b")).unwrap(), catalog.known(&labels("b"))), (b, Some(b)));
        catalog.refuses_new.store(false, Ordering::Relaxed);
        assert_eq!((catalog.known(&other), catalog.id_of(&other).is_ok()), (None, true));
    }

    #[test]
    fn restored_series_keep_their_ids_and_the_latest_owner_wins() {
        let catalog = Catalog::new(10, 1);
        let (first, second) = (SeriesId::assemble(2, 5, 0), SeriesId::assemble(2, 7, 1));
        catalog.restore(first, labels("a"), true);
        catalog.restore(first, labels("a"), true);
        catalog.restore(second, labels("b"), true);
        catalog.restore(first, labels("a"), false);
        assert_eq!(catalog.read().labels(first), None);
        catalog.restored(Some(1));
        assert_eq!(catalog.id_of(&labels("b")).unwrap(), second);
        let fresh = catalog.id_of(&labels("a")).unwrap();
        assert!(fresh.slot() < 2 && fresh.generation() == 2);
        assert_eq!(catalog.read().count(), 2);
    }
}
