//! The parts of a store, and the small state among them.

use crate::{
    stdx::bytes::{push_slice, take_array, take_slice},
    store::{StateChange, StoreError, Tree},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// How parts are named. Those that end in a slash are followed by the name of a file.
pub mod part_name {
    pub const STATE: &str = "state";
    /// Small files that the store replaces as a whole. One that is not there is no part.
    pub const REPLACED: [&str; 5] = ["checkpoint", "checkpoint.copy", "exemplars", "tombstones", "tombstones.copy"];
    pub const CONFIG: &str = "config";
    pub const LOG: &str = "log/";
    pub const BLOCKS: &str = "blocks/";
    /// Followed by the resolution in milliseconds, a slash and the name of a file.
    pub const TIERS: &str = "tiers/";
    /// Blocks of series that are kept longer.
    pub const KEPT: &str = "kept/";
}

/// Bytes that stay what they are for as long as this lives.
pub trait Source: Send {
    /// Fills the buffer or fails.
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// A file of exactly these bytes that is never changed; `None` where there is none.
    fn path(&self) -> Option<PathBuf> {
        None
    }
}

impl Source for Vec<u8> {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).ok();
        let found = at.and_then(|at| self.get(at..at.checked_add(buffer.len())?));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// One file of the store, or what stands for it.
pub struct Part {
    pub name: String,
    pub bytes: u64,
    pub source: Box<dyn Source>,
}

impl Part {
    pub fn of_bytes(name: &str, bytes: Vec<u8>) -> Part {
        Part { name: name.to_owned(), bytes: bytes.len() as u64, source: Box::new(bytes) }
    }
}

/// A store at one position of its log. What it holds is kept from being removed until its part is dropped, so take the
/// parts in their order and drop each when it is read.
pub struct Snapshot {
    pub position: u64,
    /// Milliseconds since the Unix epoch.
    pub taken_ms: i64,
    pub parts: Vec<Part>,
}

/// A store that can be copied while it is used.
pub trait SnapshotSource: Send + Sync {
    /// Everything acknowledged before the call is in it.
    fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// Where the store keeps its files.
    fn directory(&self) -> &Path;
}

const STATE_MAGIC: [u8; 8] = *b"OBSSTATE";

/// The small state at a position of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDump {
    pub position: u64,
    /// What makes it of an empty one.
    pub changes: Vec<StateChange>,
}

impl StateDump {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = STATE_MAGIC.to_vec();
        out.extend_from_slice(&self.position.to_le_bytes());
        for change in &self.changes {
            // A dump has no removals.
            if let Some(value) = &change.value {
                out.push(change.tree as u8);
                push_slice(&mut out, &change.key);
                push_slice(&mut out, value);
            }
        }
        out
    }

    /// `None` where the bytes are none of a dump, or name a tree that is not known.
    pub fn decode(bytes: &[u8]) -> Option<StateDump> {
        let mut input = bytes.strip_prefix(&STATE_MAGIC)?;
        let position = u64::from_le_bytes(take_array(&mut input)?);
        let mut changes = Vec::new();
        while let Some((number, rest)) = input.split_first() {
            input = rest;
            let tree = Tree::from_number(*number)?;
            let key = take_slice(&mut input)?.to_vec();
            changes.push(StateChange { tree, key, value: Some(take_slice(&mut input)?.to_vec()) });
        }
        Some(StateDump { position, changes })
    }
}
