//! The engine's handle: takes batches, answers selections, owns the maintenance thread.

use super::{
    block::{Block, Damaged},
    compact::{self, Compaction},
    exemplars::{self, Exemplars},
    head::{FrozenWindow, Head, IdMap, Moment},
    log::{Log, PAYLOAD_BYTES_MAX, Position, RecordWriter},
    maintain,
    options::Options,
    policy::Keeping,
    record::{self, Layouts},
    retention::Disk,
    state::State,
    ticker::Ticker,
    tombstones::Tombstones,
};
use crate::{
    model::{Exemplar, Labels, Timestamp},
    stdx::clock::Clock,
    store::{
        Appendable, Outcome, Refusal, SeriesId, StateStore, StoreError, Ticket, Tree, WriteBatch, upkeep::Unserved,
    },
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The store of the product. Dropping it syncs what is pending and ends its threads.
pub struct Tsdb {
    pub(super) shared: Arc<Shared>,
    maintenance: Ticker,
    compactor: Ticker,
}

pub(super) struct Shared {
    pub options: Options,
    /// What is kept for how long, out of the options.
    pub keeping: Keeping,
    /// The checkpoint says that there is something that older programs would not serve.
    pub is_marked: AtomicBool,
    pub head: Head,
    pub log: Log,
    pub encoder: Mutex<Encoder>,
    pub places: RwLock<Places>,
    pub state: State,
    pub exemplars: Exemplars,
    /// Damaged chunks and records met since the start.
    pub damaged: Arc<Damaged>,
    /// Held while windows are sealed or a checkpoint is written: the outermost lock.
    pub upkeep: Mutex<()>,
    /// Held for reading from before an append is applied until it is encoded; for writing by who needs a position of the
    /// log that all that is applied lies before, and nothing that will be.
    pub appends: RwLock<()>,
    /// The file of tombstones may have one that is not in force.
    pub unsettled: AtomicBool,
    /// Series that the next sweep looks at: they may have nothing in memory any more.
    pub forgettable: Mutex<Vec<SeriesId>>,
    /// Windows cannot be sealed and memory is full of them: nothing more is taken until they can.
    pub memory_full: AtomicBool,
    pub appended: AtomicU64,
    pub trusted: TrustedTime,
    pub compaction: Compaction,
    pub disk: Disk,
    /// Files that could not be opened.
    pub unserved: Vec<Unserved>,
}

/// The time of day as far as it can be believed: what it was at the opening, and what has passed since. A machine's
/// clock that jumps ahead takes our own samples with it, so neither it nor they may decide what is old.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrustedTime {
    opened_ms: i64,
    opened_elapsed_ms: i64,
}

impl TrustedTime {
    /// `newest` is the newest sample that was there at the opening.
    pub fn at_opening(clock: &dyn Clock, newest: Option<Timestamp>) -> TrustedTime {
        let now_ms = clock.now_ms();
        TrustedTime { opened_ms: newest.map_or(now_ms, |at| at.min(now_ms)), opened_elapsed_ms: clock.elapsed_ms() }
    }

    /// The latest that it can be now, in milliseconds since the Unix epoch.
    pub fn latest_ms(self, clock: &dyn Clock) -> i64 {
        self.opened_ms.saturating_add(clock.elapsed_ms().saturating_sub(self.opened_elapsed_ms))
    }
}

/// Where sealed and soon-sealed samples are. Windows move from the head to here under its write lock, so that a
/// selection, which holds it for reading, sees every sample exactly once.
#[derive(Default)]
pub(super) struct Places {
    pub files: Vec<Arc<Block>>,
    /// Files of buckets, by tier as the options have them.
    pub tiers: Vec<Vec<Arc<Block>>>,
    /// By tier the windows in which nothing was found that belongs into it: there is no file to say so.
    pub barren: Vec<BTreeSet<(Timestamp, Position)>>,
    /// Blocks of series that are kept longer than what was beside them.
    pub kept: Vec<Arc<Block>>,
    /// Windows of blocks that are there, in which nothing was found that is to be kept longer.
    pub not_kept: BTreeSet<(Timestamp, Position)>,
    pub sealing: Vec<FrozenWindow>,
    /// In force for all files.
    pub tombstones: Tombstones,
}

impl Places {
    /// Blocks of samples and files of buckets.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.files.iter().chain(self.tiers.iter().flatten()).chain(&self.kept)
    }

    /// Serves a block no more.
    pub fn remove(&mut self, block: &Arc<Block>) {
        let all = self.tiers.iter_mut().chain([&mut self.files, &mut self.kept]);
        all.for_each(|files| files.retain(|file| !Arc::ptr_eq(file, block)));
    }
}

/// What the log's writer remembers between records. Used under the log's lock only.
#[derive(Default)]
pub(super) struct Encoder {
    layouts: Layouts,
    segment: Option<u64>,
    /// Series written to the log that may not be durable yet: written again where a sync failed.
    recent: Vec<(Position, SeriesId)>,
    failed_groups: u64,
}

impl Tsdb {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Tsdb, StoreError> {
        let maintenance = maintain::start(shared.clone())?;
        let compactor = compact::start(shared.clone())?;
        Ok(Tsdb { shared, maintenance, compactor })
    }

    /// Samples accepted since the start.
    pub fn samples_appended(&self) -> u64 {
        self.shared.appended.load(Ordering::Relaxed)
    }

    /// Seals every window in memory and waits for it: for tests, backups and tools.
    pub fn seal_all(&self) -> Result<(), StoreError> {
        self.shared.seal_where(|_| true)
    }

    /// While `refused`, label sets that are new get no id; known ones go on.
    pub fn refuse_new_series(&self, refused: bool) {
        self.shared.head.catalog.refuses_new.store(refused, Ordering::Relaxed);
    }

    /// Ends the threads and syncs what is pending. Later appends fail with [`StoreError::Stopped`].
    pub fn close(&self) {
        self.shared.cancel_compaction();
        self.compactor.stop();
        self.maintenance.stop();
        if let Err(error) = self.shared.state.save(|| self.shared.log.end()) {
            // The log still has it.
            tracing::warn!(%error, "The small state could not be saved while stopping; the log keeps it.");
        }
        self.shared.log.close();
    }
}

impl Drop for Tsdb {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    pub fn now_ms(&self) -> i64 {
        self.options.clock.now_ms()
    }

    /// Samples before this are not taken: nothing of them would be kept.
    pub fn oldest_taken(&self, now_ms: i64) -> Timestamp {
        now_ms.saturating_sub(self.keeping.taken_ms_min())
    }

    /// What the oldest sample may be of each series that has some before `oldest`; `None` where one limit is for all.
    fn limits_of(&self, batch: &WriteBatch, oldest: Timestamp, now_ms: i64) -> Option<IdMap<Timestamp>> {
        if self.keeping.policies.is_empty() {
            return None;
        }
        let floats = batch.series.iter().copied().zip(batch.timestamps.iter().copied());
        let histograms = batch.histograms.iter().map(|(id, at, _)| (*id, *at));
        let mut old = floats.chain(histograms).filter(|(_, at)| *at < oldest).peekable();
        old.peek()?;
        let catalog = self.head.catalog.read();
        let mut limits = IdMap::default();
        for (id, _) in old {
            limits.entry(id).or_insert_with(|| {
                let policy = catalog.policy(id).and_then(|number| self.keeping.policies.get(number));
                now_ms.saturating_sub(self.keeping.taken_ms(policy))
            });
        }
        Some(limits)
    }

    /// Keeps the exemplars of a batch that follow the newest of their series; gives those.
    fn take_exemplars(&self, batch: &WriteBatch) -> Vec<(SeriesId, Labels, Exemplar)> {
        if batch.exemplars.is_empty() {
            return Vec::new();
        }
        let catalog = self.head.catalog.read();
        let known = batch.exemplars.iter().filter_map(|(id, exemplar)| {
            let labels = catalog.labels(*id)?.clone();
            Some((*id, labels, exemplar.clone()))
        });
        known.filter(|(_, labels, exemplar)| self.exemplars.push(labels, exemplar)).collect()
    }

    fn encode_exemplars(writer: &mut RecordWriter<'_>, taken: &[(SeriesId, Labels, Exemplar)]) {
        const EXEMPLARS_PER_RECORD: usize = 256;
        for part in taken.chunks(EXEMPLARS_PER_RECORD) {
            writer.record(record::EXEMPLARS, |out| exemplars::push_record(out, part));
        }
    }

    fn encode(&self, writer: &mut RecordWriter<'_>, batch: &WriteBatch) {
        let mut encoder = self.encoder.lock();
        let encoder = &mut *encoder;
        if encoder.failed_groups != writer.failed_groups() {
            // What was thought written may be lost; saying it twice is harmless.
            encoder.failed_groups = writer.failed_groups();
            let again: Vec<SeriesId> = encoder.recent.drain(..).map(|(_, id)| id).collect();
            self.encode_series(writer, encoder, again);
        }
        if encoder.segment != Some(writer.segment()) {
            encoder.segment = Some(writer.segment());
            encoder.layouts.clear();
            let durable = writer.durable_end();
            encoder.recent.retain(|(position, _)| *position >= durable);
        }
        self.encode_series(writer, encoder, self.head.catalog.take_unlogged());
        let layout = if batch.series.is_empty() {
            0
        } else {
            let (number, new) = encoder.layouts.number_of(&batch.series);
            if new {
                writer.record(record::LAYOUT, |out| record::push_layout(out, number, &batch.series));
            }
            number
        };
        writer.record(record::BATCH, |out| record::push_batch(out, batch, layout));
    }

    /// Writes series a bounded number to a record: a damaged one loses itself alone.
    fn encode_series(&self, writer: &mut RecordWriter<'_>, encoder: &mut Encoder, series: Vec<SeriesId>) {
        const SERIES_PER_RECORD: usize = 256;
        if series.is_empty() {
            return;
        }
        let catalog = self.head.catalog.read();
        for part in series.chunks(SERIES_PER_RECORD) {
            let position = writer.position();
            writer.record(record::SERIES, |out| {
                for (id, labels) in part.iter().filter_map(|id| Some((*id, catalog.labels(*id)?))) {
                    record::push_series(out, id, labels);
                }
            });
            encoder.recent.extend(part.iter().map(|id| (position, *id)));
        }
    }
}

/// More bytes than any record of the batch can have.
fn record_bytes_max(batch: &WriteBatch) -> usize {
    const VARINT_MAX: usize = 10;
    let histograms = batch.histograms.iter().map(|(_, _, histogram)| {
        let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
        let floats =
            histogram.positive_buckets.len() + histogram.negative_buckets.len() + histogram.custom_values.len();
        128 + spans * 2 * VARINT_MAX + floats * 8
    });
    let state = batch.state.iter().map(|change| {
        let value = change.value.as_ref().map_or(0, Vec::len);
        2 + 2 * VARINT_MAX + change.key.len() + value
    });
    // A layout has less a series than a batch has a sample.
    let samples = batch.series.len() * (2 * VARINT_MAX + 8);
    64 + samples + batch.runs.len() * (3 * VARINT_MAX + 9) + histograms.sum::<usize>() + state.sum::<usize>()
}

/// The batch without what was refused.
fn without(batch: &WriteBatch, refused: &[Refusal]) -> WriteBatch {
    let mut left = WriteBatch {
        conflict: batch.conflict,
        runs: batch.runs.clone(),
        state: batch.state.clone(),
        ..WriteBatch::default()
    };
    let is_refused = |index: usize| refused.binary_search_by_key(&index, |refusal| refusal.index).is_ok();
    for index in (0..batch.series.len()).filter(|index| !is_refused(*index)) {
        left.push(batch.series[index], batch.timestamps[index], batch.values[index]);
    }
    for (index, sample) in batch.histograms.iter().enumerate() {
        if !is_refused(batch.series.len() + index) {
            left.histograms.push(sample.clone());
        }
    }
    left
}

impl Appendable for Tsdb {
    fn series_id(&self, labels: &Labels) -> Result<SeriesId, StoreError> {
        self.shared.head.catalog.id_of(labels)
    }

    fn known_series(&self, labels: &Labels) -> Option<SeriesId> {
        self.shared.head.catalog.known(labels)
    }

    fn holds_series(&self, id: SeriesId) -> bool {
        self.shared.head.catalog.read().labels(id).is_some()
    }

    fn append(&self, batch: &WriteBatch) -> Result<Outcome, StoreError> {
        if batch.is_empty() {
            return Ok(Outcome { refused: Vec::new(), ticket: Ticket::done() });
        }
        let shared = &*self.shared;
        // Asked first: what could not be logged must not be applied either.
        if record_bytes_max(batch) > PAYLOAD_BYTES_MAX {
            return Err(StoreError::Damaged(format!(
                "a batch of {} samples is too large for one log record of {PAYLOAD_BYTES_MAX} bytes; send less at once",
                batch.samples()
            )));
        }
        if shared.memory_full.load(Ordering::Relaxed) {
            return Err(StoreError::Unsealed);
        }
        shared.disk.check()?;
        let _applied_and_encoded = shared.appends.read();
        let now_ms = shared.now_ms();
        let oldest = shared.oldest_taken(now_ms);
        let limits = shared.limits_of(batch, oldest, now_ms);
        let moment = Moment { now_ms, oldest, limits: limits.as_ref(), position: shared.log.end() };
        let mut refused = Vec::new();
        // Held until the record is encoded: what replays in one order must have happened in it.
        let mut open_runs = (!batch.runs.is_empty()).then(|| shared.head.open_runs());
        if open_runs.is_some() {
            // As the open runs are held, what is known here is not forgotten before it is applied.
            let catalog = shared.head.catalog.read();
            if batch.runs.iter().any(|change| catalog.labels(change.series()).is_none()) {
                return Err(StoreError::Damaged(
                    "the series of a run has left memory; resolve it and retry".to_owned(),
                ));
            }
        }
        let mut state = (!batch.state.is_empty()).then(|| shared.state.lock());
        shared.head.append_floats(batch, &moment, &mut refused);
        shared.head.append_histograms(batch, &moment, &mut refused);
        if let Some(open) = &mut open_runs {
            shared.head.apply_runs(open, &batch.runs, &moment);
        }
        if let Some(state) = &mut state {
            state.apply(&batch.state);
        }
        shared.appended.fetch_add((batch.samples() - refused.len()) as u64, Ordering::Relaxed);
        let taken = shared.take_exemplars(batch);
        let left = (!refused.is_empty()).then(|| without(batch, &refused));
        let left = left.as_ref().unwrap_or(batch);
        let nothing = left.samples() == 0 && left.runs.is_empty() && left.state.is_empty();
        let ticket = if nothing && taken.is_empty() {
            Ticket::done()
        } else {
            shared.log.append(|writer| {
                shared.encode(writer, left);
                Shared::encode_exemplars(writer, &taken);
            })
        };
        Ok(Outcome { refused, ticket })
    }
}

impl StateStore for Tsdb {
    fn state(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.shared.state.get(tree, key)
    }

    fn state_scan(&self, tree: Tree, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.shared.state.scan(tree, prefix)
    }
}
