//! Remote write: decode, find the series, write one batch, wait for its ticket.
//!
//! What is valid is stored even where other parts of the request are not: the sender hears of those with a 400 and
//! would not send the rest again.

use super::{Ingest, IngestConfig, IngestError, cache::Key, service::Shared};
use crate::{
    model::{Labels, Metadata, Timestamp},
    protocol::remote_write::{
        Entry, HistogramDecodeError, LabelProblem, MetadataEntry, decode_exemplar, decode_histogram, decode_labels,
        entries, read_metadata, read_time_series,
    },
    store::{Refusal, RefusalReason, SeriesId, Ticket, WriteBatch},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Stands for "not to be stored" until the batch is compacted.
const NO_SERIES: SeriesId = SeriesId(u64::MAX);
/// Scratch kept for the next requests; more than the cores have use for none.
const SCRATCH_KEPT: usize = 8;
/// A larger scratch is given back to the allocator: one huge request must not pin its memory for good.
const SCRATCH_SAMPLES_MAX: usize = 256 * 1024;

/// What became of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Float samples stored, or there already.
    pub samples: usize,
    pub histograms: usize,
    pub exemplars: usize,
    pub metadata: usize,
    /// Series that name no series, passed over in silence as Prometheus does.
    pub skipped: usize,
    /// Samples and histograms that were not stored: where not 0, answer 400 with `problems`.
    pub refused: usize,
    /// The first few refusals, in words.
    pub problems: Vec<String>,
}

impl WriteReport {
    /// The refusals in one text, one a line.
    pub fn problem_text(&self) -> String {
        let mut text = self.problems.join("\n");
        if self.refused > self.problems.len() {
            text.push_str(&format!("\n{} samples were refused in all; the rest is stored", self.refused));
        }
        text
    }

    fn refuse(&mut self, count: usize, config: &IngestConfig, problem: impl FnOnce() -> String) {
        self.refused += count;
        if count > 0 && self.problems.len() < config.problems_max {
            self.problems.push(problem());
        }
    }
}

/// One series of the request at hand: where it stands in the body and in the batch.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Key,
    message_at: u32,
    message_bytes: u32,
    first: u32,
    count: u32,
    id: SeriesId,
}

/// Memory of one request, reused by the next.
#[derive(Debug, Default)]
struct Scratch {
    batch: WriteBatch,
    slots: Vec<Slot>,
    /// Slots the cache does not know.
    misses: Vec<u32>,
    /// For each histogram of the batch, its slot.
    histogram_slots: Vec<u32>,
    /// For each exemplar of the batch, its slot.
    exemplar_slots: Vec<u32>,
    /// Whether something in the batch is marked [`NO_SERIES`].
    holes: bool,
}

#[derive(Default)]
pub(super) struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    fn take(&self) -> Scratch {
        self.0.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, mut scratch: Scratch) {
        if scratch.batch.series.capacity() > SCRATCH_SAMPLES_MAX {
            return;
        }
        scratch.batch.clear();
        scratch.slots.clear();
        scratch.misses.clear();
        scratch.histogram_slots.clear();
        scratch.exemplar_slots.clear();
        scratch.holes = false;
        let mut kept = self.0.lock();
        if kept.len() < SCRATCH_KEPT {
            kept.push(scratch);
        }
    }
}

impl Ingest {
    /// Stores a decompressed remote write 1.0 request. On `Ok` everything not refused is durable. Decoding runs on the
    /// calling thread.
    pub async fn remote_write(&self, body: &[u8]) -> Result<WriteReport, IngestError> {
        self.remote_write_by(None, body).await
    }

    /// As [`Ingest::remote_write`], for who came with `token`.
    pub async fn remote_write_by(&self, token: Option<&str>, body: &[u8]) -> Result<WriteReport, IngestError> {
        let written = self.write_now(token, body);
        let stats = &self.shared.stats;
        let result = match written {
            Ok((report, tickets)) => wait_all(tickets).await.map(|()| report),
            Err(e) => Err(e),
        };
        match &result {
            Ok(report) => {
                stats.samples.add(report.samples as u64);
                stats.histograms.add(report.histograms as u64);
                stats.exemplars.add(report.exemplars as u64);
                stats.series_skipped.add(report.skipped as u64);
                if report.refused == 0 { &stats.writes_ok } else { &stats.writes_failed }.add(1);
            }
            Err(_) => stats.writes_failed.add(1),
        }
        result
    }

    fn write_now(&self, token: Option<&str>, body: &[u8]) -> Result<(WriteReport, Vec<Ticket>), IngestError> {
        if u32::try_from(body.len()).is_err() {
            return Err(IngestError::Malformed("the request is larger than 4 GiB".to_owned()));
        }
        let mut scratch = self.shared.scratch.take();
        let (shared, report) = (&self.shared, WriteReport::default());
        let mut write = Write { shared, token, body, scratch: &mut scratch, report };
        let result = write.run().map(|tickets| (write.report, tickets));
        self.shared.scratch.give_back(scratch);
        result
    }
}

async fn wait_all(tickets: Vec<Ticket>) -> Result<(), IngestError> {
    for ticket in tickets {
        ticket.wait().await?;
    }
    Ok(())
}

/// One request on its way.
struct Write<'a> {
    shared: &'a Shared,
    token: Option<&'a str>,
    body: &'a [u8],
    scratch: &'a mut Scratch,
    report: WriteReport,
}

impl Write<'_> {
    fn run(&mut self) -> Result<Vec<Ticket>, IngestError> {
        self.decode()?;
        self.look_up();
        if !self.scratch.misses.is_empty() {
            self.resolve_misses()?;
        }
        self.name_exemplars();
        self.refuse_future();
        if self.scratch.holes {
            self.compact();
        }
        self.append()
    }

    /// Fills the batch but for its series, and notes a slot for each.
    fn decode(&mut self) -> Result<(), IngestError> {
        let shared = self.shared;
        let Scratch { batch, slots, histogram_slots, exemplar_slots, .. } = &mut *self.scratch;
        for entry in entries(self.body) {
            let message = match entry.map_err(malformed)? {
                Entry::Series(message) => message,
                Entry::Metadata(message) => {
                    remember(shared, read_metadata(message).map_err(malformed)?);
                    self.report.metadata += 1;
                    continue;
                }
            };
            let first = batch.timestamps.len();
            let series = read_time_series(message, &mut batch.timestamps, &mut batch.values).map_err(malformed)?;
            for message in &series.exemplars {
                match decode_exemplar(message) {
                    Ok(exemplar) => {
                        batch.exemplars.push((NO_SERIES, exemplar));
                        exemplar_slots.push(slots.len() as u32);
                    }
                    Err(LabelProblem::Wire(e)) => return Err(malformed(e)),
                    // One that nobody could find again, such as with labels that are no text.
                    Err(_) => self.report.skipped += 1,
                }
            }
            self.report.exemplars += series.exemplars.len();
            for histogram in &series.histograms {
                match decode_histogram(histogram) {
                    Ok((at, histogram)) => {
                        batch.histograms.push((NO_SERIES, at, Arc::new(histogram)));
                        histogram_slots.push(slots.len() as u32);
                    }
                    Err(HistogramDecodeError::Wire(e)) => return Err(malformed(e)),
                    Err(HistogramDecodeError::Invalid(e)) => {
                        shared.stats.refused_invalid_histogram.add(1);
                        self.report.refuse(1, &shared.config, || e.to_string());
                    }
                }
            }
            slots.push(Slot {
                key: shared.cache.key(&series.labels),
                // A message lies within the body, and the body is shorter than 4 GiB.
                message_at: (message.as_ptr() as usize - self.body.as_ptr() as usize) as u32,
                message_bytes: message.len() as u32,
                first: first as u32,
                count: (batch.timestamps.len() - first) as u32,
                id: NO_SERIES,
            });
        }
        Ok(())
    }

    /// Finds the series of all slots. Apart from decoding, so that the processor overlaps the waits of many lookups.
    fn look_up(&mut self) {
        let known = self.shared.cache.read();
        let Scratch { batch, slots, misses, histogram_slots, .. } = &mut *self.scratch;
        batch.series.reserve(batch.timestamps.len());
        for (index, slot) in slots.iter_mut().enumerate() {
            match known.get(slot.key) {
                Some(id) => slot.id = id,
                None => misses.push(index as u32),
            }
        }
        for slot in slots.iter() {
            batch.series.extend(std::iter::repeat_n(slot.id, slot.count as usize));
        }
        for (histogram, slot) in batch.histograms.iter_mut().zip(histogram_slots) {
            histogram.0 = slots[*slot as usize].id;
        }
    }

    /// Resolves the series the cache did not know; those that name no series are marked.
    fn resolve_misses(&mut self) -> Result<(), IngestError> {
        self.shared.stats.series_cache_misses.add(self.scratch.misses.len() as u64);
        let misses = std::mem::take(&mut self.scratch.misses);
        for &index in &misses {
            let slot = self.scratch.slots[index as usize];
            let id = match self.shared.cache.revive(slot.key) {
                Some(id) => id,
                None => match self.resolve(index, slot)? {
                    Some(id) => id,
                    None => {
                        self.scratch.holes = true;
                        continue;
                    }
                },
            };
            self.scratch.slots[index as usize].id = id;
            let samples = slot.first as usize..(slot.first + slot.count) as usize;
            self.scratch.batch.series[samples].fill(id);
        }
        let Scratch { batch, slots, histogram_slots, .. } = &mut *self.scratch;
        for (histogram, slot) in batch.histograms.iter_mut().zip(histogram_slots) {
            histogram.0 = slots[*slot as usize].id;
        }
        self.scratch.misses = misses;
        Ok(())
    }

    /// Gives exemplars the ids of their series; those of none are dropped with it, and those of the future too.
    fn name_exemplars(&mut self) {
        let Scratch { batch, slots, exemplar_slots, .. } = &mut *self.scratch;
        if exemplar_slots.is_empty() {
            return;
        }
        for (exemplar, slot) in batch.exemplars.iter_mut().zip(&*exemplar_slots) {
            exemplar.0 = slots[*slot as usize].id;
        }
        let latest = self.shared.clock.now_ms().saturating_add(self.shared.config.sample_ahead_ms_max);
        batch.exemplars.retain(|(id, exemplar)| *id != NO_SERIES && exemplar.timestamp <= latest);
    }

    /// Asks the store for the id of a slot's series; `None` where it has none, which is counted.
    fn resolve(&mut self, index: u32, slot: Slot) -> Result<Option<SeriesId>, IngestError> {
        let stats = &self.shared.stats;
        let histograms = &self.scratch.histogram_slots;
        let histograms = histograms.partition_point(|s| *s <= index) - histograms.partition_point(|s| *s < index);
        let samples = slot.count as usize + histograms;
        let labels = match self.labels(slot) {
            Ok(labels) => labels,
            Err(LabelProblem::Wire(e)) => return Err(malformed(e)),
            Err(LabelProblem::Limit(e)) => {
                stats.refused_label_limit.add(samples as u64);
                self.report.refuse(samples, &self.shared.config, || e.to_string());
                return Ok(None);
            }
            Err(_) => {
                self.report.skipped += 1;
                return Ok(None);
            }
        };
        match self.shared.series_id(self.token, &labels) {
            Ok(id) => {
                self.shared.cache.insert(slot.key, id);
                Ok(Some(id))
            }
            // Series that exist go on; only the new one is refused.
            Err(e) if e.is_of_new_series() => {
                self.shared.count_refused_series(&e, samples as u64);
                self.report.refuse(samples, &self.shared.config, || format!("{labels}: {e}"));
                Ok(None)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn labels(&self, slot: Slot) -> Result<Labels, LabelProblem> {
        let message = &self.body[slot.message_at as usize..(slot.message_at + slot.message_bytes) as usize];
        let series = read_time_series(message, &mut Vec::new(), &mut Vec::new())?;
        decode_labels(&series.labels, &self.shared.config.labels)
    }

    /// Marks what is too far ahead of the clock.
    fn refuse_future(&mut self) {
        let latest = self.shared.clock.now_ms().saturating_add(self.shared.config.sample_ahead_ms_max);
        let batch = &mut self.scratch.batch;
        let floats = batch.timestamps.iter().copied().max();
        let histograms = batch.histograms.iter().map(|(_, at, _)| *at).max();
        if floats.max(histograms).is_none_or(|newest| newest <= latest) {
            return;
        }
        self.scratch.holes = true;
        let mut refused: Vec<(u32, Timestamp)> = Vec::new();
        for (slot, Slot { first, count, .. }) in self.scratch.slots.iter().enumerate() {
            for at in *first as usize..(first + count) as usize {
                if batch.timestamps[at] > latest && batch.series[at] != NO_SERIES {
                    batch.series[at] = NO_SERIES;
                    refused.push((slot as u32, batch.timestamps[at]));
                }
            }
        }
        for (histogram, slot) in batch.histograms.iter_mut().zip(&self.scratch.histogram_slots) {
            if histogram.1 > latest && histogram.0 != NO_SERIES {
                histogram.0 = NO_SERIES;
                refused.push((*slot, histogram.1));
            }
        }
        self.shared.stats.refused_out_of_bounds.add(refused.len() as u64);
        let now = self.shared.clock.now_ms();
        for (slot, at) in refused {
            let series = self.name(slot as usize);
            self.report.refuse(1, &self.shared.config, || {
                format!("out of bounds: {series} at {at} is too far ahead of this server's clock, which is at {now}")
            });
        }
    }

    /// How a series is called in a message.
    fn name(&self, slot: usize) -> String {
        // Only the first few are shown; none of the others is worth decoding.
        if self.report.problems.len() >= self.shared.config.problems_max {
            return String::new();
        }
        self.labels(self.scratch.slots[slot]).map_or_else(|e| e.to_string(), |labels| labels.to_string())
    }

    /// Removes what is marked, keeping the slots true.
    fn compact(&mut self) {
        let Scratch { batch, slots, histogram_slots, .. } = &mut *self.scratch;
        let mut kept = 0;
        for slot in slots {
            let samples = slot.first as usize..(slot.first + slot.count) as usize;
            slot.first = kept as u32;
            for at in samples {
                if batch.series[at] != NO_SERIES {
                    batch.series[kept] = batch.series[at];
                    batch.timestamps[kept] = batch.timestamps[at];
                    batch.values[kept] = batch.values[at];
                    kept += 1;
                }
            }
            slot.count = kept as u32 - slot.first;
        }
        batch.series.truncate(kept);
        batch.timestamps.truncate(kept);
        batch.values.truncate(kept);
        let mut keep = batch.histograms.iter().map(|(id, ..)| *id != NO_SERIES);
        histogram_slots.retain(|_| keep.next().unwrap_or(false));
        batch.histograms.retain(|(id, ..)| *id != NO_SERIES);
    }

    fn append(&mut self) -> Result<Vec<Ticket>, IngestError> {
        let batch = &self.scratch.batch;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = self.shared.store.append(batch)?;
        self.report.samples = batch.series.len();
        self.report.histograms = batch.histograms.len();
        let mut tickets = vec![outcome.ticket];
        let (unknown, refused): (Vec<Refusal>, Vec<Refusal>) =
            outcome.refused.into_iter().partition(|refusal| refusal.reason == RefusalReason::UnknownSeries);
        for refusal in refused {
            self.refuse_stored(refusal.index, refusal.reason);
        }
        if !unknown.is_empty() {
            tickets.extend(self.retry(&unknown)?);
        }
        Ok(tickets)
    }

    /// Resolves again the series that have left memory since the cache learnt them, and writes their samples once more.
    fn retry(&mut self, unknown: &[Refusal]) -> Result<Option<Ticket>, IngestError> {
        let floats = self.scratch.batch.series.len();
        let mut ids: HashMap<usize, Option<SeriesId>> = HashMap::new();
        let mut batch = WriteBatch { conflict: self.scratch.batch.conflict, ..WriteBatch::default() };
        // For each element of the second batch, its index in the first.
        let (mut origins, mut histogram_origins) = (Vec::new(), Vec::new());
        for Refusal { index, .. } in unknown {
            let slot = self.slot_of(*index);
            let id = match ids.get(&slot) {
                Some(id) => *id,
                None => {
                    let found = self.scratch.slots[slot];
                    self.shared.cache.remove(found.key);
                    // Resolved once before, so whatever is wrong now is counted sample by sample below.
                    let labels = self.labels(found).ok();
                    let id = labels.and_then(|labels| self.shared.series_id(self.token, &labels).ok());
                    if let Some(id) = id {
                        self.shared.cache.insert(found.key, id);
                    }
                    ids.insert(slot, id);
                    id
                }
            };
            match id {
                None => self.refuse_stored(*index, RefusalReason::UnknownSeries),
                Some(id) if *index < floats => {
                    batch.push(id, self.scratch.batch.timestamps[*index], self.scratch.batch.values[*index]);
                    origins.push(*index);
                }
                Some(id) => {
                    let (_, at, histogram) = &self.scratch.batch.histograms[*index - floats];
                    batch.histograms.push((id, *at, histogram.clone()));
                    histogram_origins.push(*index);
                }
            }
        }
        if batch.is_empty() {
            return Ok(None);
        }
        let outcome = self.shared.store.append(&batch)?;
        origins.extend(histogram_origins);
        for refusal in outcome.refused {
            self.refuse_stored(origins[refusal.index], refusal.reason);
        }
        Ok(Some(outcome.ticket))
    }

    /// Counts an element of the batch that the store refused.
    fn refuse_stored(&mut self, index: usize, reason: RefusalReason) {
        match index < self.scratch.batch.series.len() {
            true => self.report.samples -= 1,
            false => self.report.histograms -= 1,
        }
        let stats = &self.shared.stats;
        match reason {
            RefusalReason::Duplicate { .. } | RefusalReason::DuplicateHistogram { .. } => &stats.refused_duplicate,
            RefusalReason::TooOld { .. } => &stats.refused_too_old,
            RefusalReason::UnknownSeries => &stats.refused_unknown_series,
        }
        .add(1);
        let series = self.name(self.slot_of(index));
        self.report.refuse(1, &self.shared.config, || format!("{series}: {reason}"));
    }

    /// The slot of an element of the batch.
    fn slot_of(&self, index: usize) -> usize {
        match index.checked_sub(self.scratch.batch.series.len()) {
            Some(histogram) => self.scratch.histogram_slots[histogram] as usize,
            None => self.scratch.slots.partition_point(|slot| slot.first as usize <= index) - 1,
        }
    }
}

fn malformed(error: impl std::fmt::Display) -> IngestError {
    IngestError::Malformed(format!("the request is no remote write 1.0 message: {error}"))
}

fn remember(shared: &Shared, entry: MetadataEntry<'_>) {
    let metadata =
        Metadata { metric_type: entry.metric_type, help: entry.help.into_owned(), unit: entry.unit.into_owned() };
    shared.metadata.set(&entry.family, metadata);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::forgetful::Forgetful,
        model::{CountKind, Histogram, Matcher, MetricType, STALE_NAN, STALE_NAN_BITS, Samples, TimeRange},
        protocol::remote_write::RequestEncoder,
        stdx::clock::ManualClock,
        store::{Hints, Queryable, memory::Memory},
    };
    use proptest::prelude::*;

    const NOW: i64 = 1_700_000_000_000;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn memory() -> (Arc<Memory>, Ingest) {
        let clock = Arc::new(ManualClock::new(NOW));
        let store = Arc::new(Memory::new(clock.clone()));
        (store.clone(), Ingest::new(store, clock, IngestConfig::default()))
    }

    type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

    fn request(series: &[Series<'_>]) -> Vec<u8> {
        let mut encoder = RequestEncoder::new();
        for (labels, samples) in series {
            encoder.series(labels.iter().copied(), samples, &[]);
        }
        encoder.finish()
    }

    fn read(store: &dyn Queryable, metric: &str) -> Vec<(String, Vec<(i64, u64)>)> {
        let set = store.select(TimeRange::ALL, &[Matcher::equal("__name__", metric)], &Hints::default()).unwrap();
        let series = (0..set.len()).map(|index| {
            let mut samples = Samples::default();
            set.read(index, &mut samples).unwrap();
            let points = samples.timestamps.iter().copied().zip(samples.values.iter().map(|v| v.to_bits())).collect();
            (set.labels(index).to_string(), points)
        });
        series.collect()
    }

    #[test]
    fn samples_are_stored_bit_by_bit() {
        let (store, ingest) = memory();
        let body = request(&[(&[("__name__", "a"), ("x", "1")], &[(NOW - 2, 1.5), (NOW - 1, STALE_NAN)])]);
        for round in 0..3 {
            let report = run(ingest.remote_write(&body)).unwrap();
            assert_eq!((report.samples, report.refused), (2, 0), "an identical resend is no conflict, round {round}");
        }
        assert_eq!(ingest.stats().series_cache_misses.get(), 1);
        let points = vec![(NOW - 2, 1.5f64.to_bits()), (NOW - 1, STALE_NAN_BITS)];
        assert_eq!(read(&*store, "a"), [("a{x=\"1\"}".to_owned(), points)]);
    }

    #[test]
    fn an_empty_request_is_fine_and_damage_is_not() {
        let (store, ingest) = memory();
        assert_eq!(run(ingest.remote_write(&[])).unwrap(), WriteReport::default());
        let mut body = request(&[(&[("__name__", "a")], &[(NOW, 1.0)])]);
        body.extend([0x0a, 5, 1]);
        let error = run(ingest.remote_write(&body)).unwrap_err();
        assert!(matches!(&error, IngestError::Malformed(text) if text.contains("remote write 1.0")), "{error}");
        assert_eq!(read(&*store, "a"), []);
    }

    #[test]
    fn unsorted_labels_and_empty_values_name_the_same_series() {
        let (store, ingest) = memory();
        let body = request(&[
            (&[("__name__", "a"), ("b", "1"), ("c", "2")], &[(1, 1.0)]),
            (&[("c", "2"), ("d", ""), ("b", "1"), ("__name__", "a")], &[(2, 1.0)]),
        ]);
        assert_eq!(run(ingest.remote_write(&body)).unwrap().samples, 2);
        assert_eq!(read(&*store, "a").len(), 1);
    }

    #[test]
    fn series_that_name_nothing_are_passed_over_in_silence() {
        let (store, ingest) = memory();
        let body = request(&[
            (&[("x", "1")], &[(1, 1.0), (2, 2.0)]),
            (&[("__name__", "a"), ("x", "1")], &[(1, 1.0)]),
            (&[("__name__", "a"), ("x", "1"), ("x", "2")], &[(1, 1.0)]),
            (&[("__name__", "b")], &[(3, 3.0)]),
            (&[("__name__", "c")], &[]),
        ]);
        for _ in 0..2 {
            let report = run(ingest.remote_write(&body)).unwrap();
            assert_eq!((report.samples, report.skipped, report.refused), (2, 2, 0));
        }
        assert_eq!(read(&*store, "b"), [("b".to_owned(), vec![(3, 3f64.to_bits())])]);
    }

    #[test]
    fn what_is_valid_is_stored_beside_what_is_refused() {
        let (store, ingest) = memory();
        run(ingest.remote_write(&request(&[(&[("__name__", "a")], &[(5, 1.0)])]))).unwrap();
        let long = "v".repeat(5000);
        let body = request(&[
            (&[("__name__", "a")], &[(5, 2.0), (6, 2.0)]),
            (&[("__name__", "b"), ("x", &long)], &[(1, 1.0)]),
            (&[("__name__", "c")], &[(NOW + 600_001, 1.0), (NOW + 600_000, 2.0)]),
        ]);
        let report = run(ingest.remote_write(&body)).unwrap();
        assert_eq!((report.samples, report.refused), (2, 3));
        let text = report.problem_text();
        for part in [
            "a: duplicate sample for timestamp 5; overrides not allowed: existing 1, new value 2",
            "the value of label \"x\" is 5000 bytes long, the limit is 4096",
            "out of bounds: c at 1700000600001",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(read(&*store, "a")[0].1, [(5, 1f64.to_bits()), (6, 2f64.to_bits())]);
        assert_eq!(read(&*store, "c")[0].1, [(NOW + 600_000, 2f64.to_bits())]);
        assert_eq!(ingest.stats().refused_duplicate.get(), 1);
    }

    #[test]
    fn many_problems_are_counted_and_the_first_shown() {
        let (_, ingest) = memory();
        let samples: Vec<(i64, f64)> = (1..=100).map(|i| (NOW + 700_000 + i, 1.0)).collect();
        let report = run(ingest.remote_write(&request(&[(&[("__name__", "a")], &samples)]))).unwrap();
        assert_eq!((report.refused, report.problems.len()), (100, 5));
        assert!(report.problem_text().ends_with("100 samples were refused in all; the rest is stored"));
    }

    #[test]
    fn histograms_and_metadata_are_taken() {
        let (store, ingest) = memory();
        let valid = Histogram { kind: CountKind::Integer, count: 1.0, zero_count: 1.0, ..Histogram::default() };
        let invalid = Histogram { count: 2.0, ..valid.clone() };
        let mut encoder = RequestEncoder::new();
        encoder.series([("__name__", "h")], &[], &[(1, valid.clone()), (2, invalid), (NOW * 2, valid.clone())]);
        encoder.series([("__name__", "h"), ("x", "y")], &[(1, 1.0)], &[(2, valid.clone())]);
        encoder.metadata("h", &Metadata { metric_type: MetricType::Histogram, ..Metadata::default() });
        let body = encoder.finish();
        for _ in 0..2 {
            let report = run(ingest.remote_write(&body)).unwrap();
            assert_eq!((report.samples, report.histograms, report.refused, report.metadata), (1, 2, 2, 1));
            assert!(report.problem_text().contains("1 observations but its count is 2"), "{}", report.problem_text());
        }
        let set = store.select(TimeRange::ALL, &[Matcher::equal("__name__", "h")], &Hints::default()).unwrap();
        let mut samples = Samples::default();
        set.read(0, &mut samples).unwrap();
        assert_eq!(*samples.histograms[0].histogram, valid);
        assert_eq!(ingest.metadata().get("h").map(|m| m.metric_type), Some(MetricType::Histogram));
    }

    fn forgetful() -> (Arc<Forgetful>, Ingest) {
        let clock = Arc::new(ManualClock::new(NOW));
        let store = Arc::new(Forgetful::new(clock.clone()));
        (store.clone(), Ingest::new(store, clock, IngestConfig::default()))
    }

    #[test]
    fn series_that_left_memory_are_resolved_and_written_again() {
        let (store, ingest) = forgetful();
        let histogram = Histogram { count: 1.0, ..Histogram::default() };
        let body = |at: i64| {
            let mut encoder = RequestEncoder::new();
            encoder.series([("__name__", "a")], &[(at, 1.0), (at + 1, 2.0)], &[(at, histogram.clone())]);
            encoder.series([("__name__", "b")], &[(at, 3.0)], &[]);
            encoder.finish()
        };
        run(ingest.remote_write(&body(1))).unwrap();
        store.forget();
        let report = run(ingest.remote_write(&body(10))).unwrap();
        assert_eq!((report.samples, report.histograms, report.refused), (3, 1, 0));
        assert_eq!(read(&*store, "a")[0].1.len(), 4);
        assert_eq!(read(&*store, "b")[0].1.len(), 2);
        store.forget();
        store.fill_up();
        let report = run(ingest.remote_write(&body(20))).unwrap();
        assert_eq!((report.samples, report.histograms, report.refused), (0, 0, 4));
        assert!(report.problem_text().contains("a: the series is not known any more"));
    }

    #[test]
    fn at_the_series_limit_known_series_go_on() {
        let (store, ingest) = forgetful();
        run(ingest.remote_write(&request(&[(&[("__name__", "a")], &[(1, 1.0)])]))).unwrap();
        store.fill_up();
        let body = request(&[(&[("__name__", "b")], &[(1, 1.0), (2, 1.0)]), (&[("__name__", "a")], &[(2, 1.0)])]);
        let report = run(ingest.remote_write(&body)).unwrap();
        assert_eq!((report.samples, report.refused), (1, 2));
        assert!(report.problem_text().contains("b: the limit of 1 active series is reached"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes: Vec<u8>, at: usize, with: u8) {
            let (_, ingest) = memory();
            let _ = run(ingest.remote_write(&bytes));
            let mut body = request(&[(&[("__name__", "a"), ("b", "c")], &[(1, 1.0), (NOW * 2, 2.0)]), (&[("__name__", "b")], &[(1, 1.0)])]);
            let at = at % body.len();
            body[at] = with;
            let _ = run(ingest.remote_write(&body));
        }
    }
}
