//! The read side: find series by matchers, read their samples into the caller's columns.

use super::{StoreError, append::Tree};
use crate::{
    model::{Exemplar, Labels, Matcher, Samples, TimeRange, Timestamp},
    stdx::cancel::Cancel,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the caller will do with the samples, so that a store may choose a cheaper source. Never changes an answer.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// The function or aggregation right around the selector, such as `rate`. Only to a range selector does it say
    /// which samples are of use: an instant selector always wants the newest one.
    pub function: Option<&'static str>,
    /// The distance between evaluations; 0 for an instant query.
    pub step_ms: i64,
    /// The window of a range selector; 0 for an instant selector.
    pub range_ms: i64,
    /// Where the window of the first evaluation ends, `@` and `offset` applied; the next ones follow every `step_ms`.
    pub first_ms: Timestamp,
    /// How far back an instant selector looks; 0 for a range selector.
    pub lookback_ms: i64,
    /// Whether buckets may stand for samples where that is exact. Where samples are gone, buckets are all there is.
    pub allows_buckets: bool,
    /// Labels of the aggregation right around it.
    pub grouping: Vec<String>,
    /// Whether `grouping` is kept (`by`) or dropped (`without`).
    pub by: bool,
    /// Asked between pieces of work: a selection of a million series takes its time.
    pub cancel: Cancel,
    /// Series beyond this are not resolved: for callers that list and do not compute. 0 means all.
    pub series_max: usize,
}

/// Where the samples of a selection are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// Windows in memory, and what they are cut into.
    pub partitions: u64,
    /// Files of samples on disk.
    pub blocks: u64,
    /// Files of buckets that are read in their place, or may be.
    pub tier_files: u64,
}

/// How an answer from buckets relates to what their samples would have given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fidelity {
    /// The same, but for the last bits of sums.
    Exact,
    /// Windows reach to the edges of buckets.
    Widened,
    /// What the function asks for is not in the buckets; what they have stands for it.
    Approximate,
}

impl Fidelity {
    /// One word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Fidelity::Exact => "exact",
            Fidelity::Widened => "widened",
            Fidelity::Approximate => "approximate",
        }
    }
}

/// A stretch of a selection that was read from buckets in the place of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierUse {
    pub resolution_ms: i64,
    /// The times of the samples that buckets stood for, as far as they were asked for.
    pub range: TimeRange,
    pub fidelity: Fidelity,
}

/// The series a selection found, sorted by labels. Samples are decoded only when asked for, by index, from any
/// thread: workers share one set and take different indexes.
pub trait SeriesSet: Send + Sync {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of series `index`, by reference.
    fn labels(&self, index: usize) -> &Labels;

    /// From where the samples will be read.
    fn origin(&self) -> Origin {
        Origin::default()
    }

    /// The coarsest buckets this may read from, by resolution in milliseconds; `Some(0)`: samples alone, the same
    /// whatever they are read for. `None`: it depends on the series, or on the use.
    fn coarsest_ms(&self) -> Option<i64> {
        None
    }

    /// What was read from buckets so far, by range and resolution: complete once all series have been read.
    fn tiers(&self) -> Vec<TierUse> {
        Vec::new()
    }

    /// Clears `samples` and fills it with those of series `index` within the selected range, in time order, each
    /// timestamp once a column, staleness markers included bit by bit.
    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), StoreError>;
}

/// The read side of a store.
pub trait Queryable: Send + Sync {
    /// Finds the series matching `matchers` that may have samples in `range`, sorted by labels.
    fn select(&self, range: TimeRange, matchers: &[Matcher], hints: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError>;

    /// Sorted unique label names of the series matching (all, where `matchers` is empty).
    fn label_names(&self, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError>;

    /// Sorted unique values of one label over the series matching.
    fn label_values(&self, name: &str, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError>;

    /// Exemplars within `range` of the series that pass any of `selectors`, by series in the order of labels, each in
    /// the order of arrival. A store that keeps none has none.
    fn exemplars(
        &self,
        _range: TimeRange,
        _selectors: &[Vec<Matcher>],
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        Ok(Vec::new())
    }

    /// Counts for the status page; the lists hold at most `limit` entries, largest first.
    fn status(&self, limit: usize) -> Result<StoreStatus, StoreError>;
}

/// Reads the small state that batches changed. Committed or not, a change is visible as soon as its append returned.
pub trait StateStore: Send + Sync {
    fn state(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>>;

    /// All keys that begin with `prefix`, in order.
    fn state_scan(&self, tree: Tree, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)>;
}

/// A name and how often, or how many bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCount {
    pub name: String,
    pub value: u64,
}

/// The figures of `/api/v1/status/tsdb`.
#[derive(Debug, Clone, Default)]
pub struct StoreStatus {
    pub series: u64,
    pub label_pairs: u64,
    pub chunks: u64,
    /// Of the samples in memory; `None` where there are none.
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    pub exemplars: u64,
    pub series_by_metric: Vec<LabelCount>,
    pub values_by_label: Vec<LabelCount>,
    pub bytes_by_label: Vec<LabelCount>,
    pub series_by_pair: Vec<LabelCount>,
    /// Damaged log records and chunks met since the start; their data is lost, everything else is served.
    pub damaged: u64,
    pub log_bytes: u64,
    pub window_files: u64,
    pub window_file_bytes: u64,
}
