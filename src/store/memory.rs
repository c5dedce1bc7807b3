//! The plain second implementation of the store's traits: sorted maps in memory, no file. It is what the engine is
//! compared with, and what tests of other rooms run on.

use super::{
    Appendable, Compacted, Conflict, DeletePlan, Deletion, Hints, KeepPlan, LabelCount, Outcome, Queryable, Refusal,
    RefusalReason, RunChange, SeriesId, SeriesSet, StateStore, StorageReport, StoreError, StoreStatus, Ticket, Tree,
    Upkeep, WriteBatch,
    backup::{Snapshot, SnapshotSource},
    tsdb::{Keeping, block::Progress},
};
use crate::{
    model::{Histogram, HistogramSample, Labels, METRIC_NAME, Matcher, STALE_NAN, Samples, TimeRange, Timestamp},
    stdx::{cancel::Cancel, clock::Clock},
};
use parking_lot::RwLock;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

/// A store in memory. `clock` says how far open runs reach.
pub struct Memory {
    clock: Arc<dyn Clock>,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    ids: HashMap<Labels, SeriesId>,
    series: Vec<Series>,
    state: BTreeMap<(Tree, Vec<u8>), Vec<u8>>,
}

struct Series {
    labels: Labels,
    floats: BTreeMap<Timestamp, f64>,
    histograms: BTreeMap<Timestamp, Arc<Histogram>>,
    runs: Vec<Run>,
}

/// A run as the trait defines it; `last` is inclusive, `None` while open.
#[derive(Clone)]
struct Run {
    value: f64,
    first: Timestamp,
    step_ms: i64,
    last: Option<Timestamp>,
    /// Points that were deleted.
    holes: Vec<TimeRange>,
}

impl Memory {
    pub fn new(clock: Arc<dyn Clock>) -> Memory {
        Memory { clock, inner: RwLock::default() }
    }
}

impl Series {
    fn apply(&mut self, change: RunChange) {
        let open = self.runs.iter_mut().find(|run| run.last.is_none());
        match change {
            RunChange::Open { value, first, step_ms, .. } => {
                match open {
                    Some(run) if run.value.to_bits() == value.to_bits() && run.step_ms == step_ms => return,
                    Some(run) => run.last = Some(first - 1),
                    None => {}
                }
                // A marker at the very moment a new run begins would hide its first point.
                if self.floats.get(&first).is_some_and(|v| v.to_bits() == STALE_NAN.to_bits()) {
                    self.floats.remove(&first);
                }
                self.runs.push(Run { value, first, step_ms, last: None, holes: Vec::new() });
            }
            RunChange::Close { at, .. } => {
                if let Some(run) = open {
                    run.last = Some(at - 1);
                    self.floats.insert(at, STALE_NAN);
                }
            }
            RunChange::Whole { value, first, last, step_ms, .. } => {
                let at = self.runs.partition_point(|run| run.first <= first);
                self.runs.insert(at, Run { value, first, step_ms, last: Some(last), holes: Vec::new() });
            }
        }
    }

    /// Deletes what is there now: an open run goes on behind `now`.
    fn delete(&mut self, range: TimeRange, now: Timestamp) {
        self.floats.retain(|at, _| !range.contains(*at));
        self.histograms.retain(|at, _| !range.contains(*at));
        for run in &mut self.runs {
            run.holes.extend(TimeRange::new(range.start(), range.end().min(run.last.unwrap_or(now))));
        }
    }

    fn samples(&self, range: TimeRange, now: Timestamp) -> Samples {
        let mut floats: BTreeMap<Timestamp, f64> = BTreeMap::new();
        for run in &self.runs {
            let last = run.last.unwrap_or(now).min(range.end());
            // The first point of the run's grid that is not before the range.
            let skipped = range.start().saturating_sub(run.first).max(0);
            let mut at = run.first.saturating_add((skipped + run.step_ms - 1) / run.step_ms * run.step_ms);
            while at <= last {
                if !run.holes.iter().any(|hole| hole.contains(at)) {
                    floats.insert(at, run.value);
                }
                at += run.step_ms;
            }
        }
        floats.extend(self.floats.range(range.start()..=range.end()).map(|(t, v)| (*t, *v)));
        let histograms = self.histograms.range(range.start()..=range.end());
        Samples {
            timestamps: floats.keys().copied().collect(),
            values: floats.values().copied().collect(),
            histograms: histograms.map(|(t, h)| HistogramSample { timestamp: *t, histogram: h.clone() }).collect(),
            ..Samples::default()
        }
    }
}

impl Appendable for Memory {
    fn series_id(&self, labels: &Labels) -> Result<SeriesId, StoreError> {
        let mut inner = self.inner.write();
        if let Some(id) = inner.ids.get(labels) {
            return Ok(*id);
        }
        let id = SeriesId(inner.series.len() as u64);
        inner.ids.insert(labels.clone(), id);
        inner.series.push(Series {
            labels: labels.clone(),
            floats: BTreeMap::new(),
            histograms: BTreeMap::new(),
            runs: Vec::new(),
        });
        Ok(id)
    }

    fn known_series(&self, labels: &Labels) -> Option<SeriesId> {
        self.inner.read().ids.get(labels).copied()
    }

    fn append(&self, batch: &WriteBatch) -> Result<Outcome, StoreError> {
        let mut inner = self.inner.write();
        let mut refused = Vec::new();
        for index in 0..batch.series.len() {
            let (at, value) = (batch.timestamps[index], batch.values[index]);
            let reason = match inner.series.get_mut(batch.series[index].0 as usize) {
                None => Some(RefusalReason::UnknownSeries),
                Some(series) => match series.floats.get(&at) {
                    Some(old) if old.to_bits() == value.to_bits() => None,
                    Some(old) if batch.conflict == Conflict::Refuse => {
                        Some(RefusalReason::Duplicate { timestamp: at, existing: *old, new: value })
                    }
                    _ => {
                        series.floats.insert(at, value);
                        None
                    }
                },
            };
            refused.extend(reason.map(|reason| Refusal { index, reason }));
        }
        for (offset, (id, at, histogram)) in batch.histograms.iter().enumerate() {
            let reason = match inner.series.get_mut(id.0 as usize) {
                None => Some(RefusalReason::UnknownSeries),
                Some(series) => match series.histograms.get(at) {
                    Some(old) if old == histogram => None,
                    Some(_) if batch.conflict == Conflict::Refuse => {
                        Some(RefusalReason::DuplicateHistogram { timestamp: *at })
                    }
                    _ => {
                        series.histograms.insert(*at, histogram.clone());
                        None
                    }
                },
            };
            refused.extend(reason.map(|reason| Refusal { index: batch.series.len() + offset, reason }));
        }
        for change in &batch.runs {
            if let Some(series) = inner.series.get_mut(change.series().0 as usize) {
                series.apply(*change);
            }
        }
        for change in &batch.state {
            let key = (change.tree, change.key.clone());
            match &change.value {
                Some(value) => inner.state.insert(key, value.clone()),
                None => inner.state.remove(&key),
            };
        }
        Ok(Outcome { refused, ticket: Ticket::done() })
    }
}

struct Found(Vec<(Labels, Samples)>);

impl SeriesSet for Found {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.0[index].0
    }

    fn coarsest_ms(&self) -> Option<i64> {
        Some(0)
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), StoreError> {
        let found = &self.0[index].1;
        samples.clear();
        samples.timestamps.extend_from_slice(&found.timestamps);
        samples.values.extend_from_slice(&found.values);
        samples.histograms.extend_from_slice(&found.histograms);
        Ok(())
    }
}

impl Memory {
    fn find(&self, range: TimeRange, matchers: &[Matcher]) -> Vec<(Labels, Samples)> {
        let now = self.clock.now_ms();
        let inner = self.inner.read();
        let matching = inner.series.iter().filter(|s| matchers.iter().all(|m| m.matches_labels(&s.labels)));
        let mut found: Vec<(Labels, Samples)> = matching
            .map(|series| (series.labels.clone(), series.samples(range, now)))
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

impl Queryable for Memory {
    fn select(&self, range: TimeRange, matchers: &[Matcher], _hints: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError> {
        Ok(Arc::new(Found(self.find(range, matchers))))
    }

    fn label_names(&self, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        let found = self.find(range, matchers);
        let names: BTreeSet<String> =
            found.iter().flat_map(|(labels, _)| labels.iter().map(|(name, _)| name.to_owned())).collect();
        Ok(names.into_iter().collect())
    }

    fn label_values(&self, name: &str, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        let found = self.find(range, matchers);
        let values: BTreeSet<String> =
            found.iter().filter_map(|(labels, _)| labels.get(name).map(str::to_owned)).collect();
        Ok(values.into_iter().collect())
    }

    fn status(&self, limit: usize) -> Result<StoreStatus, StoreError> {
        let inner = self.inner.read();
        let mut by_metric: BTreeMap<String, u64> = BTreeMap::new();
        for series in &inner.series {
            *by_metric.entry(series.labels.get(METRIC_NAME).unwrap_or_default().to_owned()).or_default() += 1;
        }
        let mut series_by_metric: Vec<LabelCount> =
            by_metric.into_iter().map(|(name, value)| LabelCount { name, value }).collect();
        series_by_metric.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
        series_by_metric.truncate(limit);
        Ok(StoreStatus { series: inner.series.len() as u64, series_by_metric, ..StoreStatus::default() })
    }
}

impl Upkeep for Memory {
    fn storage(&self, _limit: usize) -> Result<StorageReport, StoreError> {
        Ok(StorageReport { now_ms: self.clock.now_ms(), ..StorageReport::default() })
    }

    fn compact(&self, _progress: &Arc<Progress>) -> Result<Compacted, StoreError> {
        Ok(Compacted::default())
    }

    fn delete(&self, deletion: &Deletion) -> Result<(), StoreError> {
        deletion.check()?;
        let now = self.clock.now_ms();
        let mut inner = self.inner.write();
        let meant = inner.series.iter_mut().filter(|series| deletion.passes(&series.labels));
        meant.for_each(|series| series.delete(deletion.range, now));
        Ok(())
    }

    fn plan_delete(&self, deletion: &Deletion, limit: usize, _cancel: &Cancel) -> Result<DeletePlan, StoreError> {
        deletion.check()?;
        let mut found = self.find(deletion.range, &[]);
        found.retain(|(labels, _)| deletion.passes(labels));
        let times = || found.iter().flat_map(|(_, samples)| &samples.timestamps).copied();
        Ok(DeletePlan {
            series: found.len() as u64,
            samples: found.iter().map(|(_, samples)| samples.len() as u64).sum(),
            oldest_ms: times().min(),
            newest_ms: times().max(),
            labels: found.iter().take(limit).map(|(labels, _)| labels.to_string()).collect(),
            ..DeletePlan::default()
        })
    }

    fn plan_keeping(&self, _rules: Option<&Keeping>, _cancel: &Cancel) -> Result<KeepPlan, StoreError> {
        // It lets nothing go.
        Ok(KeepPlan::default())
    }

    fn clean(&self, _progress: &Arc<Progress>) -> Result<Compacted, StoreError> {
        Ok(Compacted::default())
    }
}

impl SnapshotSource for Memory {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Err(StoreError::Directory("this store is in memory alone: there is nothing to copy".to_owned()))
    }

    fn directory(&self) -> &Path {
        Path::new("")
    }
}

impl StateStore for Memory {
    fn state(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.read().state.get(&(tree, key.to_vec())).cloned()
    }

    fn state_scan(&self, tree: Tree, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let inner = self.inner.read();
        let from = inner.state.range((tree, prefix.to_vec())..);
        from.take_while(|((t, key), _)| *t == tree && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::clock::ManualClock;

    #[test]
    fn a_run_reads_as_if_sampled_until_it_is_closed() {
        let clock = ManualClock::new(40_000);
        let store = Memory::new(Arc::new(clock.clone()));
        let labels = Labels::from_pairs([(METRIC_NAME, "m")]).unwrap();
        let series = store.series_id(&labels).unwrap();
        let run = |change| WriteBatch { runs: vec![change], ..WriteBatch::default() };
        store.append(&run(RunChange::Open { series, value: 7.0, first: 1_000, step_ms: 15_000 })).unwrap();
        let read = || {
            let set = store.select(TimeRange::ALL, &[Matcher::equal(METRIC_NAME, "m")], &Hints::default()).unwrap();
            let mut samples = Samples::default();
            set.read(0, &mut samples).unwrap();
            samples.timestamps
        };
        assert_eq!(read(), [1_000, 16_000, 31_000]);
        clock.set(46_000);
        assert_eq!(read(), [1_000, 16_000, 31_000, 46_000]);
        store.append(&run(RunChange::Close { series, at: 50_000 })).unwrap();
        clock.set(100_000);
        assert_eq!(read(), [1_000, 16_000, 31_000, 46_000, 50_000]);
    }
}
