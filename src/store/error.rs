//! What can go wrong in a store.

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
