//! The engine.
//!
//! 1. [`Tsdb::append`](crate::store::Appendable::append) applies a batch to the [`head`] and encodes one record for the
//!    [`log`]; the ticket is done when the log has synced it ([`engine`], [`record`]).
//! 2. Every window of two hours has its partitions in the head, and any window within retention takes appends. When it
//!    is past and quiet, or memory is short, [`maintain`] seals it into a [`block`], with others of a history where there
//!    are such ([`together`]), writes a [`checkpoint`] of what only memory knows, and gives the log's old segments back. [`compact`] makes few large blocks of many small ones, [`retention`] room where
//!    disk is short.
//! 3. [`select`](crate::store::Queryable::select) finds series in head and files, merges them by labels and reads each
//!    from wherever its samples are ([`selection`]).
//! 4. [`policy`] keeps series for another time than the rest: [`compact`] leaves out what is kept shorter, [`keeping`] writes
//!    blocks of what is kept longer when the rest goes.
//! 5. [`backup`] shows the store as it is at one position of the log, to be copied meanwhile.
//! 6. [`delete`] writes a tombstone, which blocks cut out of what they give until a merge writes them without.
//! 7. A start refuses what a [`version`] after this one wrote, loads the checkpoint, opens the files and replays the log over them ([`recover`]).
//!
//! Invariant: the log is the truth until a block, the checkpoint or `kv` holds the same durably; a record applied
//! twice changes nothing.

mod backup;
mod blend;
pub mod block;
mod by_labels;
mod checkpoint;
mod codec;
mod compact;
mod delete;
mod engine;
mod exemplars;
pub mod head;
mod keeping;
pub mod log;
mod maintain;
mod options;
mod plan;
mod policy;
mod record;
mod recover;
mod replace;
mod report;
mod retention;
mod run;
mod selection;
mod state;
mod stretch;
#[cfg(test)]
pub(in crate::store) mod tests;
#[cfg(test)]
mod tests_blocks;
#[cfg(test)]
mod tests_damage;
#[cfg(test)]
mod tests_defects;
#[cfg(test)]
mod tests_delete;
#[cfg(test)]
mod tests_disk;
#[cfg(test)]
mod tests_faults;
#[cfg(test)]
mod tests_policies;
#[cfg(test)]
mod tests_report;
#[cfg(test)]
mod tests_threads;
#[cfg(test)]
mod tests_tiers;
#[cfg(test)]
mod tests_tiers_faults;
#[cfg(test)]
mod tests_together;
mod ticker;
pub mod tier;
mod tiering;
mod together;
mod tombstones;
mod version;

pub use engine::Tsdb;
pub use options::{KindOf, Options, TierOptions};
pub use policy::{Keeping, Policies, Policy};
