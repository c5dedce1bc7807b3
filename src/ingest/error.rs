//! Why a request was not accepted.

use crate::store::StoreError;

/// A request of which nothing was stored, but for the failure time of a push group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// The sender must change the request: 400.
    #[error("{0}")]
    Malformed(String),
    /// The push contradicts itself or what other groups hold: 400. The group's failure time has moved.
    #[error("pushed metrics are invalid or inconsistent with existing metrics: {0}")]
    Inconsistent(String),
    /// 422.
    #[error(
        "the limit of {limit} push groups is reached; DELETE groups that are done, or use grouping keys that repeat \
         (job, repository, branch) instead of one for each run"
    )]
    TooManyGroups { limit: usize },
    /// The series limit is the sender's matter (422); everything else is ours (503, to be retried).
    #[error(transparent)]
    Store(#[from] StoreError),
}
