//! What went through the door, as plain counters for others to show.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, by: u64) {
        if by > 0 {
            self.0.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct IngestStats {
    /// Float samples stored, pushes excluded.
    pub samples: Count,
    pub histograms: Count,
    /// Exemplars that came; the store keeps those that follow the one before.
    pub exemplars: Count,
    /// Series of remote writes that name no series (no metric name, not UTF-8, a label twice).
    pub series_skipped: Count,
    pub refused_duplicate: Count,
    pub refused_too_old: Count,
    /// Too far ahead of our clock.
    pub refused_out_of_bounds: Count,
    pub refused_invalid_histogram: Count,
    pub refused_label_limit: Count,
    pub refused_series_limit: Count,
    /// Of new series, while memory is short.
    pub refused_memory_short: Count,
    pub refused_unknown_series: Count,
    pub writes_ok: Count,
    /// Writes of which something was refused, or everything.
    pub writes_failed: Count,
    pub series_cache_misses: Count,
    /// Of scrapes.
    pub scrape_samples: Count,
    pub stale_markers: Count,
    pub pushes_ok: Count,
    pub pushes_failed: Count,
    pub push_samples: Count,
    pub push_deletes: Count,
    /// Push groups or families that could not be read back at the start.
    pub push_records_damaged: Count,
}
