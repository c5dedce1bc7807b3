//! What ingest accepts, and how much of it.

use crate::protocol::{exposition, limits::LabelLimits};

/// Limits of ingest, each with its reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IngestConfig {
    /// Of pushes and remote writes alike.
    pub labels: LabelLimits,
    /// Samples in one push: what one request may cost the store in new series.
    pub push_series_max: usize,
    /// Active series that pushes and writes with one token brought; 0 for no limit.
    pub series_per_token_max: u64,
    /// Push groups kept. Groups never expire on their own, so a grouping key with a run id in it must meet an end.
    pub push_groups_max: usize,
    /// How far apart the points of a pushed value's run are: as if a server scraped the gateway.
    pub run_step_ms: i64,
    /// Samples further ahead of our clock are refused: they would hide real ones until then.
    pub sample_ahead_ms_max: i64,
    /// Known series remembered by their raw label bytes, at about 30 bytes each.
    pub cached_series_max: usize,
    /// Metric families whose type and help are remembered, at about 200 bytes each.
    pub metadata_families_max: usize,
    /// Problems described one by one in an answer; the rest are counted. Senders log the first kilobyte.
    pub problems_max: usize,
}

impl Default for IngestConfig {
    fn default() -> IngestConfig {
        IngestConfig {
            labels: LabelLimits::default(),
            push_series_max: 20_000,
            series_per_token_max: 0,
            push_groups_max: 50_000,
            run_step_ms: 15_000,
            sample_ahead_ms_max: 600_000,
            cached_series_max: 2_000_000,
            metadata_families_max: 20_000,
            problems_max: 5,
        }
    }
}

impl IngestConfig {
    /// The limits as the text format's parser takes them.
    pub(super) fn exposition_limits(&self) -> exposition::Limits {
        exposition::Limits { labels: self.labels, series_max: self.push_series_max, ..exposition::Limits::default() }
    }
}
