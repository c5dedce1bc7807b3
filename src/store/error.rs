//! What can go wrong in a store.

use crate::stdx::size::format_bytes;
use std::sync::Arc;

/// Cloneable, because one failed sync answers every batch that shared it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the disk failed while {action}: {cause}")]
    Io { action: &'static str, cause: Arc<std::io::Error> },
    #[error("{0}")]
    Damaged(String),
    #[error("the limit of {limit} active series is reached; raise `storage.series_max` or push fewer label values")]
    SeriesLimit { limit: u64 },
    #[error("the work was canceled")]
    Canceled,
    #[error(
        "the limit of {limit} active series of the job `{job}` is reached; raise `limits.series_per_job` or push fewer \
         label values"
    )]
    JobSeriesLimit { job: String, limit: u64 },
    #[error(
        "the token `{token}` has reached its limit of {limit} active series; raise `limits.series_per_token` or push \
         fewer label values"
    )]
    TokenSeriesLimit { token: String, limit: u64 },
    /// Passes by itself when memory is there again.
    #[error(
        "memory is short: no new series are taken, known ones go on; send again later, push fewer label values, or \
         raise `storage.memory_max`"
    )]
    MemoryShort,
    /// Passes by itself when there is room again.
    #[error(
        "the disk is full: {} are free and {} are kept so; nothing is stored until there is room. Free some disk, or keep \
         less with `storage.max_bytes`; queries are answered",
        format_bytes(*free_bytes),
        format_bytes(*floor_bytes)
    )]
    DiskFull { free_bytes: u64, floor_bytes: u64 },
    /// Passes by itself when they can be.
    #[error("memory is full of windows that cannot be written to the disk; look at the log for why, or free some disk")]
    Unsealed,
    #[error(
        "merging blocks may take {} of free disk and {} are there; free some, or keep less with `storage.max_bytes`",
        format_bytes(*needed_bytes),
        format_bytes(*free_bytes)
    )]
    NoRoom { needed_bytes: u64, free_bytes: u64 },
    #[error(
        "{limit} deletions are still on disk, which is as many as are kept: have their blocks written again \
         (`observatory storage compact`, or POST /api/v1/admin/tsdb/clean_tombstones), then delete again"
    )]
    TombstoneLimit { limit: usize },
    #[error("a deletion of {count} {what} is above the limit of {limit}; delete in several requests")]
    DeletionTooLarge { count: usize, limit: usize, what: &'static str },
    #[error("the store is stopping")]
    Stopped,
    #[error("{0}")]
    Directory(String),
}

impl StoreError {
    /// Whether only a new series was refused: known ones go on.
    pub fn is_of_new_series(&self) -> bool {
        use StoreError::{JobSeriesLimit, MemoryShort, SeriesLimit, TokenSeriesLimit};
        matches!(self, SeriesLimit { .. } | JobSeriesLimit { .. } | TokenSeriesLimit { .. } | MemoryShort)
    }

    /// Whether it passes by itself and was logged when it began: each request that meets it need not be.
    pub fn is_of_load(&self) -> bool {
        use StoreError::{DiskFull, MemoryShort, Unsealed};
        matches!(self, DiskFull { .. } | MemoryShort | Unsealed)
    }

    /// Wraps an I/O error with what was being done.
    pub fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> StoreError {
        move |cause| StoreError::Io { action, cause: Arc::new(cause) }
    }
}
