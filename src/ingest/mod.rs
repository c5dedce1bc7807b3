//! Ingest is the only door through which samples enter the store.
//!
//! 1. A body arrives from a push or remote write; `protocol` has undone its compression and reads it here.
//! 2. [`remote_write`] finds each series through [`cache`] by the raw bytes of its labels, refuses what the limits of
//!    [`IngestConfig`] exclude, writes one batch and waits for its ticket.
//! 3. [`gateway`] keeps push groups: what a job pushed last, as open runs, until it is replaced or deleted. One push is
//!    one atomic record of runs and group state.
//! 4. [`InternalSource`] takes rounds of samples from inside the process, such as the host's.
//! 5. [`Scrape`] takes what one target said, sample by sample, against the memory of what it said before: a known series
//!    costs one hash, one that vanished gets its staleness marker.
//! 6. [`HistoryRow`]s are what another system measured in the past: runs and samples at their own time, and the cursor of who
//!    brought them, in one record.
//! 7. [`metadata`] remembers what was said of metric families, [`IngestStats`] counts everything.
//! 8. [`tokens`] counts series by the token they came with, where tokens have a limit.
//!
//! Invariant: an `Ok` to a request means durable; only a scrape has a ticket to look at later, since nobody waits for its
//! answer. Nothing here knows PromQL or HTTP, and nobody outside calls `Appendable::append`.

mod cache;
mod config;
mod error;
#[cfg(test)]
mod forgetful;
pub mod gateway;
mod history;
mod internal;
pub mod metadata;
mod remote_write;
mod scrape;
mod service;
mod stats;
mod tokens;

pub use config::IngestConfig;
pub use error::IngestError;
pub use gateway::{BodyFormat, Grouping, GroupingError, PushRequest};
pub use history::{HistoryChange, HistoryReport, HistoryRow};
pub use internal::{Family, InternalSource, RoundReport};
pub use remote_write::WriteReport;
pub use scrape::{Scrape, ScrapeCounts, ScrapeMemory};
pub use service::Ingest;
pub use stats::{Count, IngestStats};
