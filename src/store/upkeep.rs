//! The operator's side: what is stored where, what goes next, what is damaged, and merging on demand.

use super::{
    LabelCount, StoreError,
    tsdb::{Keeping, block::Progress},
};
use crate::{
    model::{Labels, Matcher, TimeRange, Timestamp},
    stdx::cancel::Cancel,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an operator asks of a store. [`tsdb`](super::tsdb) answers it from files and memory; the plain store of tests has
/// neither and says so.
pub trait Upkeep: Send + Sync {
    /// What is stored where. Lists hold at most `limit` entries, largest first; with 0 nothing is listed, which is cheap.
    fn storage(&self, limit: usize) -> Result<StorageReport, StoreError>;

    /// Writes what is in memory to blocks and merges whatever can be merged, and waits for it. `progress` tells how far
    /// it is, and can end it early: nothing is lost then, and the next call goes on.
    fn compact(&self, progress: &Arc<Progress>) -> Result<Compacted, StoreError>;

    /// Deletes what was stored before the call: it is not found any more on return, and never again. What is written
    /// later, of the same series and times too, is there. The bytes on disk go with the next merges.
    fn delete(&self, deletion: &Deletion) -> Result<(), StoreError>;

    /// What [`Upkeep::delete`] would take, with the labels of at most `limit` series. Changes nothing.
    fn plan_delete(&self, deletion: &Deletion, limit: usize, cancel: &Cancel) -> Result<DeletePlan, StoreError>;

    /// What rules of keeping, or those in force, would let go and keep of what is there. Changes nothing.
    fn plan_keeping(&self, rules: Option<&Keeping>, cancel: &Cancel) -> Result<KeepPlan, StoreError>;

    /// Writes every block again of which something was deleted, and waits for it. `progress` as of [`Upkeep::compact`].
    fn clean(&self, progress: &Arc<Progress>) -> Result<Compacted, StoreError>;
}

/// Selectors of one deletion, and matchers of all of them: each block resolves each of them.
const SELECTORS_MAX: usize = 64;
const MATCHERS_MAX: usize = 512;
/// Bytes of names and values of all matchers: they are kept until nothing of what they delete is on disk.
const MATCHER_BYTES_MAX: usize = 64 << 10;

/// The samples, runs and exemplars within `range` of the series that pass any of `selectors`. A selector without
/// matchers is passed by all.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    pub selectors: Vec<Vec<Matcher>>,
    pub range: TimeRange,
}

impl Deletion {
    /// Whether a series is meant.
    pub fn passes(&self, labels: &Labels) -> bool {
        self.selectors.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches_labels(labels)))
    }

    /// Whether something of a series at a time is meant.
    pub fn has(&self, labels: &Labels, at: Timestamp) -> bool {
        self.range.contains(at) && self.passes(labels)
    }

    /// Fails where it is larger than one may be.
    pub fn check(&self) -> Result<(), StoreError> {
        let matchers = || self.selectors.iter().flatten();
        let bytes: usize = matchers().map(|matcher| matcher.name.len() + matcher.value.len()).sum();
        let limits = [
            (self.selectors.len(), SELECTORS_MAX, "selectors"),
            (matchers().count(), MATCHERS_MAX, "matchers"),
            (bytes, MATCHER_BYTES_MAX, "bytes of matchers"),
        ];
        let broken = limits.into_iter().find(|(count, limit, _)| count > limit);
        broken.map_or(Ok(()), |(count, limit, what)| Err(StoreError::DeletionTooLarge { count, limit, what }))
    }
}

/// What a deletion would take. The field names are part of the API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeletePlan {
    pub series: u64,
    /// Samples and histograms as they are stored: of two at one time in two places, both.
    pub samples: u64,
    /// Buckets that stand for samples, whole ones, of each resolution.
    pub buckets: u64,
    /// Stretches of a value that holds, as pushes leave them.
    pub runs: u64,
    /// Of the first and the last; `None` where nothing would go.
    pub oldest_ms: Option<Timestamp>,
    pub newest_ms: Option<Timestamp>,
    /// About what they take, in blocks and in memory.
    pub bytes: u64,
    /// Files that would be written again by the next cleaning.
    pub blocks: u64,
    /// The first of the series, in their order, as selectors.
    pub labels: Vec<String>,
}

/// What rules of keeping would do. The field names are part of the API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeepPlan {
    /// The policies in their order, and at the end what passes none.
    pub rules: Vec<RulePlan>,
    /// Ages count back from here: now, or the newest sample where that is older.
    pub reference_ms: Timestamp,
    /// Of all rules together.
    pub series: u64,
    pub bytes: u64,
    pub going_series: u64,
    pub going_bytes: u64,
    /// Of `bytes`, those in tiers that the rules do not have: these files are not served, and not removed either.
    pub left_alone_bytes: u64,
}

/// One policy, or the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RulePlan {
    /// `None` for the rest.
    #[serde(rename = "match")]
    pub selector: Option<String>,
    /// For how long samples are kept.
    pub raw_ms: i64,
    /// Resolutions of the tiers that keep buckets.
    pub tiers_ms: Vec<i64>,
    /// That are kept by this rule, on disk and in memory.
    pub series: u64,
    /// That pass the selector, those that an earlier policy takes included.
    pub passing_series: u64,
    /// The number of the first policy, from 0, that takes what passes this one, where nothing is left for it.
    pub shadowed_by: Option<u64>,
    /// About what is on disk of them, blocks and buckets, with a share of the indexes.
    pub bytes: u64,
    /// Series of which nothing stays, ...
    pub going_series: u64,
    /// ... and what goes of all of them, because its time is over. On disk it goes with the next merges.
    pub going_bytes: u64,
    /// When the oldest goes of what stays; `None` where nothing is on disk.
    pub next_ms: Option<Timestamp>,
}

/// What [`Upkeep::compact`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    pub merges: u64,
    /// Stretches of which tiers were built.
    pub tiers: u64,
    /// Of all blocks, before and after.
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// The whole of `/api/v1/status/storage`. The field names are part of the API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StorageReport {
    pub directory: String,
    pub now_ms: Timestamp,
    /// Oldest first.
    pub blocks: Vec<BlockReport>,
    /// From finest to coarsest; none where samples are all that is kept.
    #[serde(default)]
    pub tiers: Vec<TierReport>,
    /// Samples that policies keep longer than those that were beside them.
    #[serde(default)]
    pub kept: KeptReport,
    pub head: HeadReport,
    pub log: LogReport,
    pub disk: DiskReport,
    pub retention: RetentionReport,
    pub compaction: CompactionReport,
    pub damage: DamageReport,
    pub top: TopReport,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockReport {
    pub file: String,
    /// Of its samples.
    pub oldest_ms: Timestamp,
    pub newest_ms: Timestamp,
    /// The stretch of time it stands for.
    pub start_ms: Timestamp,
    pub span_ms: i64,
    /// How often its samples have been merged.
    pub level: u64,
    pub series: u64,
    pub samples: u64,
    pub bytes: u64,
    pub bytes_per_sample: f64,
}

/// Buckets of one length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TierReport {
    pub resolution_ms: i64,
    /// How long they are kept.
    pub time_ms: i64,
    pub files: u64,
    pub bytes: u64,
    /// Columns of buckets and samples that are kept as they are, of all series together.
    pub values: u64,
    /// Of what is in its files; `None` where there are none.
    pub oldest_ms: Option<Timestamp>,
    pub newest_ms: Option<Timestamp>,
    /// Where the oldest stretch begins that it still lacks, or lacks something of; `None` where it has all.
    pub lacks_from_ms: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    pub files: u64,
    pub bytes: u64,
    pub samples: u64,
    /// `None` where there are no files.
    pub oldest_ms: Option<Timestamp>,
    pub newest_ms: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeadReport {
    pub series: u64,
    pub series_max: u64,
    /// Oldest first.
    pub windows: Vec<WindowReport>,
    /// Windows that could not be written yet.
    pub windows_waiting: u64,
    /// Above this the coldest window is sealed.
    pub bytes_max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowReport {
    pub start_ms: Timestamp,
    pub span_ms: i64,
    pub columns: u64,
    pub bytes: u64,
    /// When something was appended last.
    pub touched_ms: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogReport {
    /// Spare segments included.
    pub bytes: u64,
    pub segments: u64,
    pub spare_segments: u64,
    pub syncs: u64,
    pub failed_groups: u64,
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskReport {
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Below this much free, the oldest blocks go.
    pub floor_bytes: u64,
    /// Nothing more could go: writes are refused.
    pub full: bool,
    pub refused_appends: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetentionReport {
    pub time_ms: i64,
    /// What blocks and log may take together, by `max_bytes` and `max_disk_percent`; `None` for no limit.
    pub allowed_bytes: Option<u64>,
    /// What they take.
    pub used_bytes: u64,
    pub dropped_by_time: u64,
    pub dropped_by_size: u64,
    /// The block that goes next.
    pub next: Option<NextDrop>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NextDrop {
    pub file: String,
    pub oldest_ms: Timestamp,
    pub newest_ms: Timestamp,
    pub bytes: u64,
    /// When its time is over.
    pub expires_ms: Timestamp,
    /// What may still be stored before it goes for want of room; `None` where it then stays.
    pub bytes_left: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompactionReport {
    pub merges: u64,
    /// Stretches of which tiers were built.
    #[serde(default)]
    pub tiers_built: u64,
    pub failures: u64,
    pub bytes_written: u64,
    /// The last merge did not begin, because its output might not have fitted on the disk.
    pub postponed: bool,
    pub running: Option<MergeReport>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MergeReport {
    pub series_done: u64,
    pub series_total: u64,
    pub bytes_written: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DamageReport {
    /// Damaged log records, chunks and parts of indexes met since the start.
    pub met: u64,
    /// Of these, places of the log that held acknowledged records and do not any more, and their bytes.
    pub log_records: u64,
    pub log_bytes: u64,
    /// Blocks of which something is lost: file and number of series.
    pub blocks: Vec<LabelCount>,
    pub unserved: Vec<Unserved>,
}

/// A file that cannot be read, and what to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unserved {
    pub file: String,
    pub bytes: u64,
    pub problem: String,
    pub advice: String,
}

/// The largest. Bytes are those of the data of blocks, series those in memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopReport {
    pub bytes_by_metric: Vec<LabelCount>,
    pub bytes_by_label: Vec<LabelCount>,
    pub series_by_metric: Vec<LabelCount>,
    pub series_by_label: Vec<LabelCount>,
    pub values_by_label: Vec<LabelCount>,
}
