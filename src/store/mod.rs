//! The store: where samples, runs and small state are kept, behind two narrow traits.
//!
//! 1. [`Appendable`] takes a [`WriteBatch`]: samples, native histograms, runs and state changes, atomically, and
//!    gives a [`Ticket`] that is done once the batch would survive a power cut.
//! 2. [`Queryable`] finds series by matchers and reads them into the caller's columns.
//! 3. [`StateStore`] reads back the small state (push groups, cursors, jobs) that batches changed.
//! 4. [`upkeep`] is the operator's side: what is stored where, and merging on demand.
//! 5. [`backup`] is a store in one file: written while it is written to, checked, laid out as a directory again.
//! 5. [`tsdb`] is the engine, [`memory`] the plain second implementation that tests compare it with through
//!    [`mirror`], [`kv`] the only user of redb.
//!
//! Invariant: samples come through `ingest` alone; nothing here knows PromQL, HTTP or a wire format.

mod append;
pub mod backup;
mod error;
pub mod kv;
pub mod memory;
#[cfg(test)]
pub mod mirror;
mod query;
pub mod tsdb;
pub mod upkeep;

pub use append::{
    Appendable, Conflict, Outcome, Refusal, RefusalReason, RunChange, SeriesId, StateChange, Ticket, Tree, WriteBatch,
};
pub use error::StoreError;
pub use query::{Fidelity, Hints, LabelCount, Origin, Queryable, SeriesSet, StateStore, StoreStatus, TierUse};
pub use upkeep::{Compacted, DeletePlan, Deletion, KeepPlan, RulePlan, StorageReport, Upkeep};

/// All of a store, for those who need more than one side of it.
pub trait Store: Appendable + Queryable + StateStore {}

impl<T: Appendable + Queryable + StateStore> Store for T {}
