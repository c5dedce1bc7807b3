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
    #[error("the store is stopping")]
    Stopped,
    #[error("{0}")]
    Directory(String),
}

impl StoreError {
    /// Wraps an I/O error with what was being done.
    pub fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> StoreError {
        move |cause| StoreError::Io { action, cause: Arc::new(cause) }
    }
}
