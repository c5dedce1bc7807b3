//! Every tree and how its keys look on disk. `docs/formats/state.md` lists keys and values.
//!
//! All trees share one table, told apart by the first byte of the key: one batch changes them together.

use crate::store::{StateChange, Tree};

/// All trees of small state. The number of a tree is its byte on disk: never changed, never given to another.
pub const TREES: [Tree; 4] = Tree::ALL;

/// The log position that all trees reach to, a little-endian u64. No tree has the number 0.
pub const POSITION_KEY: &[u8] = b"\0position";

/// The key on disk.
pub fn disk_key(tree: Tree, key: &[u8]) -> Vec<u8> {
    let mut disk_key = Vec::with_capacity(1 + key.len());
    disk_key.push(tree as u8);
    disk_key.extend_from_slice(key);
    disk_key
}

/// A pair read from disk; `None` for what is not of a tree this program knows.
pub fn read(disk_key: &[u8], value: &[u8]) -> Option<StateChange> {
    let (number, key) = disk_key.split_first()?;
    let tree = TREES.into_iter().find(|tree| *tree as u8 == *number)?;
    Some(StateChange { tree, key: key.to_vec(), value: Some(value.to_vec()) })
}
