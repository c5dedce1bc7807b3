//! Scrapes: one target's samples, against the memory of what it said before.
//!
//! The memory knows each series by a hash of its text, in the order the target writes them, so that a known line costs
//! one hash and one comparison. It also knows which series live: those that a scrape no longer has get a staleness
//! marker, all of them where the scrape failed.

use super::{
    Ingest,
    cache::{BuildKeyHasher, Key},
    service::Shared,
};
use crate::{
    model::{Exemplar, Labels, Metadata, STALE_NAN, Timestamp},
    store::{Refusal, RefusalReason, SeriesId, StoreError, Ticket, WriteBatch},
};
use std::collections::{HashMap, HashSet};

/// The id of a series that is not stored.
const NO_SERIES: SeriesId = SeriesId(u64::MAX);
/// The origin of a sample that reports on the scrape itself; reports count down from here.
const REPORT: u32 = u32::MAX;

/// What is known of one target's series. Belongs to the target, moves with it.
#[derive(Debug, Default)]
pub struct ScrapeMemory {
    /// In the order first met, which is mostly the order of the target's lines.
    slots: Vec<Slot>,
    by_key: HashMap<Key, u32, BuildKeyHasher>,
    /// Where the next line's series probably is.
    expected: usize,
    round: u32,
    reports: Vec<(Labels, SeriesId)>,
    batch: WriteBatch,
    /// For each sample of the batch, its slot.
    origins: Vec<u32>,
    newest: Timestamp,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    id: SeriesId,
    labels: Labels,
    /// When it was met last.
    round: u32,
    /// Whether what it was met with then asks for a marker when it is gone.
    tracked: bool,
    /// Whether its last sample is one, and no marker.
    live: bool,
}

/// What came of a scrape so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrapeCounts {
    /// Series this target had not shown before.
    pub added: usize,
    /// Series met twice in one scrape, and samples that differ from a stored one of their time.
    pub duplicates: usize,
    /// Samples too far ahead of our clock.
    pub out_of_bounds: usize,
    /// Samples before the retention.
    pub too_old: usize,
    /// Samples of series that are not stored: beyond the series limit, or with too large labels.
    pub refused: usize,
    /// Staleness markers.
    pub stale: usize,
}

/// One scrape on its way into the store. Nothing is stored before [`Scrape::finish`] or [`Scrape::fail`].
pub struct Scrape<'a> {
    shared: &'a Shared,
    memory: &'a mut ScrapeMemory,
    at: Timestamp,
    latest: Timestamp,
    tracks_timestamps: bool,
    pub counts: ScrapeCounts,
}

impl Ingest {
    /// Begins the scrape of `at`. Series with timestamps of their own get staleness markers only with
    /// `tracks_timestamps`.
    pub fn scrape<'a>(&'a self, memory: &'a mut ScrapeMemory, at: Timestamp, tracks_timestamps: bool) -> Scrape<'a> {
        memory.batch.clear();
        memory.origins.clear();
        memory.expected = 0;
        memory.round = memory.round.wrapping_add(1);
        let shared = &*self.shared;
        let latest = shared.clock.now_ms().saturating_add(shared.config.sample_ahead_ms_max);
        Scrape { shared, memory, at, latest, tracks_timestamps, counts: ScrapeCounts::default() }
    }

    /// Marks everything a target said last as ended: it will not be asked again.
    pub fn end_scrapes(&self, memory: &mut ScrapeMemory) -> Result<Ticket, StoreError> {
        let at = self.shared.clock.now_ms().max(memory.newest.saturating_add(1));
        let reports: Vec<(Labels, f64)> =
            memory.reports.iter().map(|(labels, _)| (labels.clone(), STALE_NAN)).collect();
        self.scrape(memory, at, true).fail(&reports).map(|(_, ticket)| ticket)
    }
}

impl Scrape<'_> {
    /// Takes a sample of a series this target has shown before; false where it has not.
    #[inline]
    pub fn append_known(&mut self, series: &str, timestamp: Option<Timestamp>, value: f64) -> bool {
        let key = self.shared.cache.key(series.as_bytes());
        let expected = self.memory.expected;
        let slot = match self.memory.slots.get(expected) {
            Some(slot) if slot.key == key => expected,
            _ => match self.memory.by_key.get(&key) {
                Some(slot) => *slot as usize,
                None => return false,
            },
        };
        self.append(slot, timestamp, value);
        true
    }

    /// Takes the first sample of a series, and remembers that `series` means `labels`; without labels, that it is not
    /// to be stored.
    pub fn append_new(
        &mut self,
        series: &str,
        labels: Option<Labels>,
        timestamp: Option<Timestamp>,
        value: f64,
    ) -> Result<(), StoreError> {
        let id = match &labels {
            None => NO_SERIES,
            Some(labels) => match self.shared.store.series_id(labels) {
                Ok(id) => id,
                // Known series go on; this one is asked for again by the next scrape.
                Err(error) if error.is_of_new_series() => {
                    self.counts.refused += 1;
                    self.shared.count_refused_series(&error, 1);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        match id == NO_SERIES {
            true => self.shared.stats.refused_label_limit.add(1),
            false => self.counts.added += 1,
        }
        let key = self.shared.cache.key(series.as_bytes());
        let slot = self.memory.slots.len();
        let round = self.memory.round.wrapping_sub(1);
        let labels = labels.unwrap_or_else(Labels::empty);
        self.memory.slots.push(Slot { key, id, labels, round, tracked: false, live: false });
        // A target's body is shorter than 4 GiB, and so is the list of its series.
        self.memory.by_key.insert(key, slot as u32);
        self.append(slot, timestamp, value);
        Ok(())
    }

    /// Remembers what was said of a metric family.
    pub fn remember(&self, family: &str, metadata: &Metadata) {
        self.shared.metadata.set(family, metadata.clone());
    }

    /// Takes the exemplar of the sample taken last; without a time of its own it has that of the sample.
    pub fn exemplar(&mut self, labels: Labels, value: f64, timestamp: Option<Timestamp>) {
        let slot = self.memory.expected.checked_sub(1).and_then(|index| self.memory.slots.get(index));
        if let Some(id) = slot.map(|slot| slot.id).filter(|id| *id != NO_SERIES) {
            let sampled = self.memory.batch.timestamps.last().copied();
            let timestamp = timestamp.or(sampled).unwrap_or(self.at);
            if timestamp <= self.latest {
                self.memory.batch.exemplars.push((id, Exemplar { labels, value, timestamp }));
                self.shared.stats.exemplars.add(1);
            }
        }
    }

    fn append(&mut self, index: usize, timestamp: Option<Timestamp>, value: f64) {
        self.memory.expected = index + 1;
        let slot = &mut self.memory.slots[index];
        let seen = std::mem::replace(&mut slot.round, self.memory.round) == self.memory.round;
        slot.tracked = timestamp.is_none() || self.tracks_timestamps;
        let at = timestamp.unwrap_or(self.at);
        if slot.id == NO_SERIES {
            self.counts.refused += 1;
        } else if seen && timestamp.is_none() {
            self.counts.duplicates += 1;
        } else if at > self.latest {
            self.counts.out_of_bounds += 1;
        } else {
            self.memory.batch.push(slot.id, at, value);
            self.memory.origins.push(index as u32);
        }
    }

    /// Stores everything, the markers of what vanished, and `reports` on the scrape itself.
    pub fn finish(mut self, reports: &[(Labels, f64)]) -> Result<(ScrapeCounts, Ticket), StoreError> {
        let round = self.memory.round;
        let mut vanished = Vec::new();
        let mut unmet = false;
        for (index, slot) in self.memory.slots.iter_mut().enumerate() {
            if slot.round == round {
                slot.live = slot.tracked && slot.id != NO_SERIES;
            } else {
                unmet = true;
                if std::mem::take(&mut slot.live) {
                    vanished.push(index);
                }
            }
        }
        if !vanished.is_empty() {
            // The same series, written in another way, is still there.
            let met: HashSet<SeriesId> =
                self.memory.slots.iter().filter(|slot| slot.round == round).map(|slot| slot.id).collect();
            vanished.retain(|index| !met.contains(&self.memory.slots[*index].id));
            vanished.into_iter().for_each(|index| self.push_stale(index));
        }
        let result = self.write(reports);
        if unmet {
            self.forget_unmet();
        }
        result.map(|ticket| (self.counts, ticket))
    }

    /// Stores nothing of what was said, but a marker for every series that lived, and `reports`.
    pub fn fail(mut self, reports: &[(Labels, f64)]) -> Result<(ScrapeCounts, Ticket), StoreError> {
        self.memory.batch.clear();
        self.memory.origins.clear();
        for index in 0..self.memory.slots.len() {
            if std::mem::take(&mut self.memory.slots[index].live) {
                self.push_stale(index);
            }
        }
        self.write(reports).map(|ticket| (self.counts, ticket))
    }

    fn push_stale(&mut self, index: usize) {
        self.counts.stale += 1;
        self.memory.batch.push(self.memory.slots[index].id, self.at, STALE_NAN);
        self.memory.origins.push(index as u32);
    }

    fn write(&mut self, reports: &[(Labels, f64)]) -> Result<Ticket, StoreError> {
        self.memory.newest = self.at;
        for (index, (labels, value)) in reports.iter().enumerate() {
            let id = match self.memory.reports.get(index) {
                Some((_, id)) => *id,
                None => {
                    let id = self.shared.store.series_id(labels)?;
                    self.memory.reports.push((labels.clone(), id));
                    id
                }
            };
            self.memory.batch.push(id, self.at, *value);
            self.memory.origins.push(REPORT - index as u32);
        }
        let outcome = self.shared.store.append(&self.memory.batch)?;
        let samples = self.memory.batch.series.len() - self.counts.stale - reports.len();
        self.shared.stats.stale_markers.add(self.counts.stale as u64);
        let mut unknown = Vec::new();
        let mut refused = 0;
        for Refusal { index, reason } in outcome.refused {
            // A target that shows a series such as `up` itself wins over our report: that is no duplicate of its.
            let report = self.memory.origins[index] > REPORT - reports.len() as u32;
            match reason {
                RefusalReason::UnknownSeries => unknown.push(index),
                _ if report => {}
                RefusalReason::TooOld { .. } => self.counts.too_old += 1,
                _ => self.counts.duplicates += 1,
            }
            refused += usize::from(!report);
        }
        self.shared.stats.scrape_samples.add(samples.saturating_sub(refused) as u64);
        self.shared.stats.refused_duplicate.add(self.counts.duplicates as u64);
        self.shared.stats.refused_out_of_bounds.add(self.counts.out_of_bounds as u64);
        self.shared.stats.refused_too_old.add(self.counts.too_old as u64);
        match unknown.is_empty() {
            true => Ok(outcome.ticket),
            false => self.write_again(&unknown),
        }
    }

    /// Resolves series that have left memory since they were met, and writes their samples once more.
    fn write_again(&mut self, unknown: &[usize]) -> Result<Ticket, StoreError> {
        let mut again = WriteBatch::default();
        for &index in unknown {
            let origin = self.memory.origins[index];
            let (labels, id) = match self.memory.slots.get_mut(origin as usize) {
                Some(slot) => (&slot.labels, &mut slot.id),
                None => {
                    let (labels, id) = &mut self.memory.reports[(REPORT - origin) as usize];
                    (&*labels, id)
                }
            };
            match self.shared.store.series_id(labels) {
                Ok(found) => *id = found,
                // The others are written all the same.
                Err(error) if error.is_of_new_series() => {
                    self.counts.refused += 1;
                    self.shared.count_refused_series(&error, 1);
                    continue;
                }
                Err(error) => return Err(error),
            }
            again.push(*id, self.memory.batch.timestamps[index], self.memory.batch.values[index]);
        }
        let outcome = self.shared.store.append(&again)?;
        self.counts.refused += outcome.refused.len();
        self.shared.stats.scrape_samples.add((again.series.len() - outcome.refused.len()) as u64);
        Ok(outcome.ticket)
    }

    /// Forgets what this scrape did not show, so that memory follows a target that changes.
    fn forget_unmet(&mut self) {
        let ScrapeMemory { slots, by_key, round, .. } = &mut *self.memory;
        slots.retain(|slot| slot.round == *round);
        by_key.clear();
        by_key.extend(slots.iter().enumerate().map(|(index, slot)| (slot.key, index as u32)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::IngestConfig,
        model::{Matcher, Samples, TimeRange, is_stale},
        stdx::clock::ManualClock,
        store::{Hints, Queryable, memory::Memory},
    };
    use std::sync::Arc;

    const NOW: i64 = 1_000_000;

    struct Fixture {
        store: Arc<Memory>,
        clock: Arc<ManualClock>,
        ingest: Ingest,
        memory: ScrapeMemory,
    }

    impl Fixture {
        fn new() -> Fixture {
            let clock = Arc::new(ManualClock::new(NOW));
            let store = Arc::new(Memory::new(clock.clone()));
            let ingest = Ingest::new(store.clone(), clock.clone(), IngestConfig::default());
            Fixture { store, clock, ingest, memory: ScrapeMemory::default() }
        }

        /// One scrape of `name` or `name@timestamp`, value 1.
        fn scrape(&mut self, series: &[&str], success: bool) -> ScrapeCounts {
            self.clock.advance(1_000);
            let at = crate::stdx::clock::Clock::now_ms(&*self.clock);
            let mut scrape = self.ingest.scrape(&mut self.memory, at, false);
            for text in series {
                let (name, at) = text.split_once('@').map_or((*text, None), |(n, at)| (n, Some(at.parse().unwrap())));
                if !scrape.append_known(name, at, 1.0) {
                    let labels = labels(name.split('{').next().unwrap());
                    scrape.append_new(name, Some(labels), at, 1.0).unwrap();
                }
            }
            let reports = [(labels("up"), f64::from(success))];
            let done = if success { scrape.finish(&reports) } else { scrape.fail(&reports) };
            done.unwrap().0
        }

        /// Seconds since the start, with `!` for a marker.
        fn read(&self, name: &str) -> String {
            let set =
                self.store.select(TimeRange::ALL, &[Matcher::equal("__name__", name)], &Hints::default()).unwrap();
            let mut samples = Samples::default();
            if !set.is_empty() {
                set.read(0, &mut samples).unwrap();
            }
            let shown: Vec<String> = samples
                .timestamps
                .iter()
                .zip(&samples.values)
                .map(|(at, value)| format!("{}{}", (at - NOW) / 1000, if is_stale(*value) { "!" } else { "" }))
                .collect();
            shown.join(" ")
        }
    }

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)]).unwrap()
    }

    #[test]
    fn what_vanishes_is_marked_once_and_may_return() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.scrape(&["a", "b"], true).added, 2);
        assert_eq!(fixture.scrape(&["b"], true).stale, 1);
        assert_eq!(fixture.scrape(&["b"], true), ScrapeCounts::default());
        assert_eq!(fixture.scrape(&["b", "a"], true).added, 1);
        assert_eq!((fixture.read("a"), fixture.read("b")), ("1 2! 4".to_owned(), "1 2 3 4".to_owned()));
    }

    #[test]
    fn a_failed_scrape_ends_everything_but_is_remembered() {
        let mut fixture = Fixture::new();
        fixture.scrape(&["a", "b"], true);
        assert_eq!(fixture.scrape(&["a"], false).stale, 2);
        assert_eq!(fixture.scrape(&[], false).stale, 0);
        assert_eq!(fixture.scrape(&["a", "b"], true).added, 0);
        assert_eq!((fixture.read("a"), fixture.read("up")), ("1 2! 4".to_owned(), "1 2 3 4".to_owned()));
    }

    #[test]
    fn a_target_that_is_dropped_is_marked_at_once_reports_included() {
        let mut fixture = Fixture::new();
        fixture.scrape(&["a", "b@1000500"], true);
        fixture.clock.advance(1_000);
        let Fixture { ingest, memory, .. } = &mut fixture;
        ingest.end_scrapes(memory).unwrap();
        assert_eq!((fixture.read("a"), fixture.read("up")), ("1 2!".to_owned(), "1 2!".to_owned()));
        assert_eq!(fixture.read("b"), "0");
    }

    #[test]
    fn series_with_their_own_timestamps_are_not_tracked() {
        let mut fixture = Fixture::new();
        fixture.scrape(&["a@1000000", "a@1001000"], true);
        assert_eq!(fixture.scrape(&[], true).stale, 0);
        assert_eq!(fixture.read("a"), "0 1");
        assert_eq!(fixture.scrape(&["a@9000000"], true).out_of_bounds, 1);
    }

    #[test]
    fn twice_in_one_scrape_counts_as_a_duplicate() {
        let mut fixture = Fixture::new();
        assert_eq!(
            fixture.scrape(&["a", "a"], true),
            ScrapeCounts { added: 1, duplicates: 1, ..ScrapeCounts::default() }
        );
        assert_eq!(fixture.read("a"), "1");
    }

    #[test]
    fn one_series_in_two_spellings_is_no_vanished_series() {
        let mut fixture = Fixture::new();
        fixture.scrape(&["a"], true);
        assert_eq!(fixture.scrape(&["a{}"], true).stale, 0);
        assert_eq!(fixture.scrape(&["a{}"], true).stale, 0);
        assert_eq!(fixture.read("a"), "1 2 3");
        assert_eq!(fixture.scrape(&[], true).stale, 1);
    }

    #[test]
    fn what_the_target_says_of_itself_wins_over_the_report() {
        let mut fixture = Fixture::new();
        let mut scrape = fixture.ingest.scrape(&mut fixture.memory, NOW, false);
        scrape.append_new("up", Some(labels("up")), None, 5.0).unwrap();
        let (counts, _) = scrape.finish(&[(labels("up"), 1.0)]).unwrap();
        assert_eq!(counts.duplicates, 0);
        let set = fixture.store.select(TimeRange::ALL, &[Matcher::equal("__name__", "up")], &Hints::default()).unwrap();
        let mut samples = Samples::default();
        set.read(0, &mut samples).unwrap();
        assert_eq!(samples.values, [5.0]);
    }

    #[test]
    fn what_is_not_to_be_stored_is_counted_each_time() {
        let mut fixture = Fixture::new();
        let mut scrape = fixture.ingest.scrape(&mut fixture.memory, NOW, false);
        scrape.append_new("long", None, None, 5.0).unwrap();
        assert_eq!(scrape.finish(&[]).unwrap().0, ScrapeCounts { refused: 1, ..ScrapeCounts::default() });
        let mut scrape = fixture.ingest.scrape(&mut fixture.memory, NOW + 1, false);
        assert!(scrape.append_known("long", None, 5.0));
        assert_eq!(scrape.finish(&[]).unwrap().0, ScrapeCounts { refused: 1, ..ScrapeCounts::default() });
    }
}
