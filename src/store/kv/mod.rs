//! Small state at rest: what push groups, jobs and cursors looked like at one position of the log.
//!
//! 1. The log is the truth. The engine keeps the state in memory and, at a checkpoint, hands the changes since the last
//!    one to [`Kv::apply`] together with the log position they reach to.
//! 2. [`RedbKv`] writes changes and position in one flush, so after a power cut both are there or neither is.
//! 3. At the start the engine loads the trees and replays the log from [`Kv::position`]; what it meets twice has no
//!    further effect. The log may be truncated before that position, never behind it.
//!
//! Invariant: nothing else in the program names redb.

mod memory;
mod redb;
pub mod trees;

pub use self::redb::RedbKv;
pub use memory::MemoryKv;

use super::{StateChange, StoreError, Tree};

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Small state that survives a restart.
pub trait Kv: Send + Sync {
    /// All pairs of a tree, in the order of their keys.
    fn load(&self, tree: Tree) -> Result<Vec<Pair>, StoreError>;

    /// Applies the changes in their order and moves the position, all or nothing, durable on return. A position that
    /// was reached before changes nothing. After an error nothing was applied: call again with all changes since
    /// [`Kv::position`], and do not truncate the log.
    fn apply(&self, position: u64, changes: &[StateChange]) -> Result<(), StoreError>;

    /// Everything the log holds before this position is applied. 0 for an empty store.
    fn position(&self) -> u64;
}
