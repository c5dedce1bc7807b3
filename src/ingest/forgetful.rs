//! A store whose series leave its memory when a test says so, for the doors that must look them up again.

use crate::{
    model::{Labels, Matcher, TimeRange},
    stdx::clock::Clock,
    store::{
        Appendable, Hints, Outcome, Queryable, RunChange, SeriesId, SeriesSet, StateStore, StoreError, StoreStatus,
        Ticket, Tree, WriteBatch, memory::Memory,
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// More than any test has series.
const IDS_AT_ONCE: u64 = 1000;
/// No store in memory has it.
const UNKNOWN: SeriesId = SeriesId(u64::MAX);

/// Answers as the real store does: samples of forgotten series are refused one by one, their runs fail the whole batch.
pub struct Forgetful {
    memory: Memory,
    /// Ids below this are forgotten.
    forgotten: AtomicU64,
    /// Appends that will find the ids of before forgotten.
    forgets: AtomicU64,
    full: AtomicBool,
    /// Samples come into memory and not into the log.
    log_fails: AtomicBool,
}

impl Forgetful {
    pub fn new(clock: Arc<dyn Clock>) -> Forgetful {
        let (forgotten, forgets) = (AtomicU64::new(0), AtomicU64::new(0));
        let (full, log_fails) = (AtomicBool::new(false), AtomicBool::new(false));
        Forgetful { memory: Memory::new(clock), forgotten, forgets, full, log_fails }
    }

    /// Every id given so far is unknown from now on.
    pub fn forget(&self) {
        self.forgotten.fetch_add(IDS_AT_ONCE, Ordering::SeqCst);
    }

    /// So many appends come after their series were forgotten.
    pub fn forget_before_appends(&self, count: u64) {
        self.forgets.store(count, Ordering::SeqCst);
    }

    /// No series is looked up any more.
    pub fn fill_up(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    /// Samples are not made durable any more.
    pub fn fail_samples(&self) {
        self.log_fails.store(true, Ordering::SeqCst);
    }

    fn real(&self, SeriesId(id): SeriesId) -> SeriesId {
        id.checked_sub(self.forgotten.load(Ordering::SeqCst)).map_or(UNKNOWN, SeriesId)
    }
}

impl Appendable for Forgetful {
    fn series_id(&self, labels: &Labels) -> Result<SeriesId, StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::SeriesLimit { limit: 1 });
        }
        let SeriesId(id) = self.memory.series_id(labels)?;
        Ok(SeriesId(self.forgotten.load(Ordering::SeqCst) + id))
    }

    fn holds_series(&self, id: SeriesId) -> bool {
        self.real(id) != UNKNOWN
    }

    fn append(&self, batch: &WriteBatch) -> Result<Outcome, StoreError> {
        let one_less = |left: u64| left.checked_sub(1);
        let holds_some = !batch.series.is_empty() || !batch.runs.is_empty();
        if holds_some && self.forgets.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            self.forget();
        }
        let mut batch = batch.clone();
        batch.series.iter_mut().for_each(|id| *id = self.real(*id));
        batch.histograms.iter_mut().for_each(|(id, ..)| *id = self.real(*id));
        for change in &mut batch.runs {
            let (RunChange::Open { series, .. } | RunChange::Close { series, .. } | RunChange::Whole { series, .. }) =
                change;
            *series = self.real(*series);
            if *series == UNKNOWN {
                return Err(StoreError::Damaged("the series of a run has left memory".to_owned()));
            }
        }
        let outcome = self.memory.append(&batch)?;
        if holds_some && self.log_fails.load(Ordering::SeqCst) {
            // Its other end is gone, as that of a store that has stopped.
            return Ok(Outcome { ticket: Ticket::pending().1, ..outcome });
        }
        Ok(outcome)
    }
}

impl Queryable for Forgetful {
    fn select(&self, range: TimeRange, matchers: &[Matcher], hints: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError> {
        self.memory.select(range, matchers, hints)
    }

    fn label_names(&self, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        self.memory.label_names(range, matchers)
    }

    fn label_values(&self, name: &str, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        self.memory.label_values(name, range, matchers)
    }

    fn status(&self, limit: usize) -> Result<StoreStatus, StoreError> {
        self.memory.status(limit)
    }
}

impl StateStore for Forgetful {
    fn state(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.memory.state(tree, key)
    }

    fn state_scan(&self, tree: Tree, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.memory.state_scan(tree, prefix)
    }
}
