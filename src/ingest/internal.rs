//! The door for sources inside the process: samples without a wire format, labels resolved once.
//!
//! A source repeats the same series round after round. [`InternalSource`] keeps the id of each by its name and labels,
//! writes a round as one batch with one timestamp, and ends series that a round no longer brings with a staleness
//! marker. Such samples can be read again from where they came, so nobody waits for the disk.

use super::{Ingest, IngestError};
use crate::{
    model::{Labels, METRIC_NAME, Metadata, MetricType, STALE_NAN, Timestamp},
    store::{RefusalReason, SeriesId, WriteBatch},
};
use std::collections::{HashMap, HashSet};

/// Series of one source. A host with hundreds of disks and network devices has under 10,000; more is a mistake in the
/// source, such as a label that never repeats.
const SERIES_MAX: usize = 50_000;
/// Rounds after which families are described again, in case the table of metadata was emptied by others.
const DESCRIBE_EVERY: u64 = 240;
/// Ends each part of a key. It occurs in no UTF-8 text.
const PART_END: u8 = 0xff;

/// Name, type and help of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family<'a> {
    pub name: &'a str,
    pub metric_type: MetricType,
    pub help: &'a str,
}

impl<'a> Family<'a> {
    pub const fn counter(name: &'a str, help: &'a str) -> Family<'a> {
        Family { name, metric_type: MetricType::Counter, help }
    }

    pub const fn gauge(name: &'a str, help: &'a str) -> Family<'a> {
        Family { name, metric_type: MetricType::Gauge, help }
    }

    pub const fn unknown(name: &'a str, help: &'a str) -> Family<'a> {
        Family { name, metric_type: MetricType::Unknown, help }
    }
}

/// What became of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// Stored, staleness markers excluded.
    pub samples: usize,
    /// Series that ended.
    pub ended: usize,
    /// Not stored: labels too large, a limit reached, or another value at the same time.
    pub refused: usize,
}

/// One source inside the process. [`InternalSource::begin`], samples, [`InternalSource::commit`], and again.
pub struct InternalSource {
    ingest: Ingest,
    /// Labels of every series, such as job and instance.
    identity: Vec<(String, String)>,
    known: HashMap<Box<[u8]>, Known>,
    described: HashSet<Box<str>>,
    round: u64,
    at: Timestamp,
    refused: usize,
    /// Reused from round to round.
    key: Vec<u8>,
    batch: WriteBatch,
}

struct Known {
    id: SeriesId,
    labels: Labels,
    /// The last one that brought it.
    round: u64,
}

impl Ingest {
    /// Opens the door for a source whose series all carry `identity`.
    pub fn internal_source(&self, identity: &[(&str, &str)]) -> InternalSource {
        InternalSource {
            ingest: self.clone(),
            identity: identity.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            known: HashMap::new(),
            described: HashSet::new(),
            round: 0,
            at: 0,
            refused: 0,
            key: Vec::new(),
            batch: WriteBatch::default(),
        }
    }
}

impl InternalSource {
    /// Begins a round whose samples all have the time `at`. What a round before left uncommitted is dropped.
    pub fn begin(&mut self, at: Timestamp) {
        self.round += 1;
        self.at = at;
        self.refused = 0;
        self.batch.clear();
        if self.round.is_multiple_of(DESCRIBE_EVERY) {
            self.described.clear();
        }
    }

    /// Adds a sample to the round. Of two for one series the first counts; a label that the source's identity names is
    /// left out.
    pub fn sample(&mut self, family: &Family<'_>, labels: &[(&str, &str)], value: f64) {
        self.key.clear();
        for part in std::iter::once(family.name).chain(labels.iter().flat_map(|(name, value)| [*name, *value])) {
            self.key.extend_from_slice(part.as_bytes());
            self.key.push(PART_END);
        }
        if let Some(known) = self.known.get_mut(self.key.as_slice()) {
            if known.round != self.round {
                known.round = self.round;
                self.batch.push(known.id, self.at, value);
            }
        } else if let Some(known) = self.resolve(family.name, labels) {
            self.batch.push(known.id, self.at, value);
            self.known.insert(self.key.as_slice().into(), known);
        } else {
            self.refused += 1;
        }
        if !self.described.contains(family.name) {
            self.describe(family);
        }
    }

    /// Writes the round, and staleness markers for series that were in an earlier one and are not in this. An error
    /// means that nothing was written; markers are then made up for by the next round.
    pub fn commit(&mut self) -> Result<RoundReport, IngestError> {
        let samples = self.batch.samples();
        for known in self.known.values().filter(|known| known.round != self.round) {
            self.batch.push(known.id, self.at, STALE_NAN);
        }
        let ended = self.batch.samples() - samples;
        if self.batch.is_empty() {
            return Ok(RoundReport { refused: self.refused, ..RoundReport::default() });
        }
        // Samples are replaced by the next round, so a second without them after a power cut is no loss: the ticket is
        // not waited for.
        let outcome = self.ingest.shared.store.append(&self.batch)?;
        let mut unknown = HashSet::new();
        let mut lost = 0;
        for refusal in outcome.refused {
            match refusal.reason {
                RefusalReason::UnknownSeries => {
                    unknown.insert(self.batch.series[refusal.index]);
                }
                reason => lost += self.count(refusal.index < samples, reason),
            }
        }
        if !unknown.is_empty() {
            lost += self.retry(&unknown, samples)?;
        }
        self.known.retain(|_, known| known.round == self.round);
        Ok(RoundReport { samples: samples - lost, ended, refused: self.refused + lost })
    }

    /// Resolves series again that have left the store's memory, and writes their samples once more. Gives the number of
    /// samples that were refused again.
    fn retry(&mut self, unknown: &HashSet<SeriesId>, samples: usize) -> Result<usize, IngestError> {
        let store = &self.ingest.shared.store;
        let mut fresh: HashMap<SeriesId, SeriesId> = HashMap::new();
        for known in self.known.values_mut().filter(|known| unknown.contains(&known.id)) {
            match store.series_id(&known.labels) {
                Ok(id) => {
                    fresh.insert(known.id, id);
                    known.id = id;
                }
                Err(error) if error.is_of_new_series() => self.ingest.shared.count_refused_series(&error, 1),
                Err(error) => return Err(error.into()),
            }
        }
        let mut batch = WriteBatch::default();
        let mut origins = Vec::new();
        for (index, id) in self.batch.series.iter().enumerate().filter(|(_, id)| unknown.contains(id)) {
            if let Some(id) = fresh.get(id) {
                batch.push(*id, self.batch.timestamps[index], self.batch.values[index]);
                origins.push(index);
            }
        }
        let mut lost = self.batch.series[..samples].iter().filter(|id| unknown.contains(id)).count();
        lost -= origins.iter().filter(|index| **index < samples).count();
        if batch.is_empty() {
            return Ok(lost);
        }
        for refusal in store.append(&batch)?.refused {
            lost += self.count(origins[refusal.index] < samples, refusal.reason);
        }
        Ok(lost)
    }

    /// Counts a refusal; 1 where it was of a sample and not of a marker.
    fn count(&self, is_sample: bool, reason: RefusalReason) -> usize {
        let stats = &self.ingest.shared.stats;
        match reason {
            RefusalReason::Duplicate { .. } | RefusalReason::DuplicateHistogram { .. } => &stats.refused_duplicate,
            RefusalReason::TooOld { .. } => &stats.refused_too_old,
            RefusalReason::UnknownSeries => &stats.refused_unknown_series,
        }
        .add(1);
        usize::from(is_sample)
    }

    /// The id of a new series; `None` where a limit refuses it, which is counted.
    fn resolve(&self, name: &str, labels: &[(&str, &str)]) -> Option<Known> {
        let shared = &self.ingest.shared;
        if self.known.len() >= SERIES_MAX {
            shared.stats.refused_series_limit.add(1);
            return None;
        }
        let own = labels.iter().copied().filter(|(name, _)| !self.identity.iter().any(|(taken, _)| taken == name));
        let identity = self.identity.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs: Vec<(&str, &str)> = own.chain(identity).chain([(METRIC_NAME, name)]).collect();
        let limits = &shared.config.labels;
        let fits = limits.check_count(pairs.len()).is_ok()
            && limits.check_name(name).is_ok()
            && pairs
                .iter()
                .all(|(name, value)| limits.check_name(name).is_ok() && limits.check_value(name, value).is_ok());
        let labels = Labels::from_pairs(pairs).ok().filter(|_| fits);
        let Some(labels) = labels else {
            shared.stats.refused_label_limit.add(1);
            return None;
        };
        match shared.store.series_id(&labels) {
            Ok(id) => Some(Known { id, labels, round: self.round }),
            Err(error) => {
                shared.count_refused_series(&error, 1);
                None
            }
        }
    }

    fn describe(&mut self, family: &Family<'_>) {
        let metadata = Metadata { metric_type: family.metric_type, help: family.help.to_owned(), unit: String::new() };
        self.ingest.shared.metadata.set(family.name, metadata);
        self.described.insert(family.name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::{IngestConfig, forgetful::Forgetful},
        model::{Matcher, Samples, TimeRange, is_stale},
        stdx::clock::ManualClock,
        store::{Hints, Queryable},
    };
    use std::sync::Arc;

    const UP: Family<'_> = Family::gauge("up", "Alive.");
    const DISK: Family<'_> = Family::counter("disk_total", "Disk.");

    fn ingest() -> (Arc<Forgetful>, Ingest) {
        let clock = Arc::new(ManualClock::new(0));
        let store = Arc::new(Forgetful::new(clock.clone()));
        (store.clone(), Ingest::new(store, clock, IngestConfig::default()))
    }

    fn read(store: &Forgetful, name: &str) -> Vec<(String, Vec<(i64, f64)>)> {
        let set = store.select(TimeRange::ALL, &[Matcher::equal(METRIC_NAME, name)], &Hints::default()).unwrap();
        let series = (0..set.len()).map(|index| {
            let mut samples = Samples::default();
            set.read(index, &mut samples).unwrap();
            // A marker is a NaN, which equals nothing.
            let shown = samples.values.iter().map(|value| if is_stale(*value) { -1.0 } else { *value });
            (set.labels(index).to_string(), samples.timestamps.iter().copied().zip(shown).collect())
        });
        series.collect()
    }

    #[test]
    fn a_series_that_a_round_no_longer_brings_goes_stale_once() {
        let (store, ingest) = ingest();
        let mut source = ingest.internal_source(&[("job", "node"), ("instance", "web")]);
        for (at, disks) in [(10, &["a", "b"][..]), (20, &["b"]), (30, &["b"]), (40, &["a", "b"])] {
            source.begin(at);
            for disk in disks {
                source.sample(&DISK, &[("device", disk)], at as f64);
            }
            let report = source.commit().unwrap();
            assert_eq!((report.samples, report.refused), (disks.len(), 0));
            assert_eq!(report.ended, usize::from(at == 20));
        }
        let a = vec![(10, 10.0), (20, -1.0), (40, 40.0)];
        let b = vec![(10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)];
        let name = |disk| format!("disk_total{{device=\"{disk}\", instance=\"web\", job=\"node\"}}");
        assert_eq!(read(&store, "disk_total"), [(name("a"), a), (name("b"), b)]);
        let metadata = ingest.metadata().get("disk_total").unwrap();
        assert_eq!((metadata.metric_type, metadata.help.as_str()), (MetricType::Counter, "Disk."));
    }

    #[test]
    fn series_that_left_memory_are_resolved_again() {
        let (store, ingest) = ingest();
        let mut source = ingest.internal_source(&[("job", "node")]);
        for at in 1..=4 {
            if at % 2 == 0 {
                store.forget();
            }
            source.begin(at);
            source.sample(&UP, &[], 1.0);
            if at < 4 {
                source.sample(&DISK, &[("device", "a")], 0.0);
            }
            assert_eq!(source.commit().unwrap().refused, 0);
        }
        assert_eq!(read(&store, "up")[0].1, [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]);
        assert_eq!(read(&store, "disk_total")[0].1, [(1, 0.0), (2, 0.0), (3, 0.0), (4, -1.0)]);
    }

    #[test]
    fn of_two_samples_for_one_series_the_first_counts_and_identity_wins() {
        let (store, ingest) = ingest();
        let mut source = ingest.internal_source(&[("job", "node")]);
        source.begin(1);
        source.sample(&UP, &[("job", "other"), ("x", "")], 1.0);
        source.sample(&UP, &[("job", "other"), ("x", "")], 2.0);
        assert_eq!(source.commit().unwrap(), RoundReport { samples: 1, ended: 0, refused: 0 });
        assert_eq!(read(&store, "up"), [("up{job=\"node\"}".to_owned(), vec![(1, 1.0)])]);
    }

    #[test]
    fn too_long_a_label_value_is_refused_and_counted_and_the_rest_is_stored() {
        let (store, ingest) = ingest();
        let mut source = ingest.internal_source(&[]);
        source.begin(1);
        source.sample(&DISK, &[("device", &"x".repeat(5_000))], 1.0);
        source.sample(&UP, &[], 1.0);
        assert_eq!(source.commit().unwrap(), RoundReport { samples: 1, ended: 0, refused: 1 });
        assert_eq!(ingest.stats().refused_label_limit.get(), 1);
        assert_eq!(read(&store, "up").len(), 1);
    }

    #[test]
    fn labels_that_differ_only_in_where_they_are_cut_are_two_series() {
        let (store, ingest) = ingest();
        let mut source = ingest.internal_source(&[]);
        source.begin(1);
        source.sample(&UP, &[("a", "bc")], 1.0);
        source.sample(&UP, &[("ab", "c")], 2.0);
        source.commit().unwrap();
        assert_eq!(read(&store, "up").len(), 2);
    }
}
