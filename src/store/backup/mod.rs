//! A store in one file, written while it is written to.
//!
//! 1. A [`SnapshotSource`] gives a [`Snapshot`]: the [`part`]s that make the store as it is at one position of its log.
//! 2. [`write()`](write::write) puts them into one stream, each with its checksum, and behind them a [`manifest`] and a
//!    checksum of everything.
//! 3. [`Backup`] reads such a file and refuses it where one byte is not what it was; what it reads goes to a [`Sink`].
//! 4. [`Layout`] is the sink that makes a data directory of the parts; [`snapshot_directory`] makes one of a snapshot
//!    without a file between.
//!
//! `docs/formats/backup.md` describes the bytes. Invariant: nothing appears under its name before it is whole and synced.

mod error;
mod layout;
mod manifest;
mod part;
mod read;
mod snapshot;
#[cfg(test)]
mod tests;
mod write;

pub use error::BackupError;
pub use layout::{CONFIG_FILE, Layout};
pub use manifest::{Manifest, PartEntry};
pub use part::{Part, Snapshot, SnapshotSource, Source, StateDump, part_name};
pub use read::{Backup, Nowhere, Sink};
pub use snapshot::{clear_left_overs, snapshot_directory, stamp};
pub use write::{file_bytes, write};
