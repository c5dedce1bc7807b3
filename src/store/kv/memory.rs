//! The store in memory, for tests: what it must do, without a disk.

use super::{Kv, Pair};
use crate::store::{StateChange, StoreError, Tree};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Small state in a map.
#[derive(Default)]
pub struct MemoryKv(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    position: u64,
    pairs: BTreeMap<(Tree, Vec<u8>), Vec<u8>>,
}

impl Kv for MemoryKv {
    fn load(&self, tree: Tree) -> Result<Vec<Pair>, StoreError> {
        let inner = self.0.lock();
        let pairs = inner.pairs.iter().filter(|((of, _), _)| *of == tree);
        Ok(pairs.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&self, position: u64, changes: &[StateChange]) -> Result<(), StoreError> {
        let mut inner = self.0.lock();
        if position <= inner.position {
            return Ok(());
        }
        inner.position = position;
        for change in changes {
            let key = (change.tree, change.key.clone());
            match &change.value {
                Some(value) => inner.pairs.insert(key, value.clone()),
                None => inner.pairs.remove(&key),
            };
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.0.lock().position
    }
}
