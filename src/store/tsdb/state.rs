//! The small state in memory. `kv` holds it durably up to a log position; the log holds the rest.

use crate::store::{StateChange, StoreError, Tree, kv::Kv, tsdb::log::Position};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;

pub struct State {
    inner: Mutex<StateInner>,
    kv: Box<dyn Kv>,
}

#[derive(Default)]
pub struct StateInner {
    values: BTreeMap<(Tree, Vec<u8>), Vec<u8>>,
    /// Changed since `kv` was last written.
    pending: Vec<StateChange>,
}

impl StateInner {
    pub fn apply(&mut self, changes: &[StateChange]) {
        for change in changes {
            let key = (change.tree, change.key.clone());
            match &change.value {
                Some(value) => self.values.insert(key, value.clone()),
                None => self.values.remove(&key),
            };
        }
        self.pending.extend_from_slice(changes);
    }
}

impl State {
    /// Loads everything `kv` has.
    pub fn load(kv: Box<dyn Kv>) -> Result<State, StoreError> {
        let mut values = BTreeMap::new();
        for tree in Tree::ALL {
            values.extend(kv.load(tree)?.into_iter().map(|(key, value)| ((tree, key), value)));
        }
        Ok(State { inner: Mutex::new(StateInner { values, pending: Vec::new() }), kv })
    }

    /// Records before this are in `kv`.
    pub fn durable_through(&self) -> Position {
        Position(self.kv.position())
    }

    /// Held while a batch is applied and its record encoded, so that both have one order.
    pub fn lock(&self) -> MutexGuard<'_, StateInner> {
        self.inner.lock()
    }

    /// Writes what has changed to `kv`. `end` gives the log's end; it is asked while no change can come in between.
    pub fn save(&self, end: impl FnOnce() -> Position) -> Result<(), StoreError> {
        let (changes, position) = {
            let mut inner = self.inner.lock();
            (std::mem::take(&mut inner.pending), end())
        };
        if changes.is_empty() && self.kv.position() >= position.0 {
            return Ok(());
        }
        let saved = self.kv.apply(position.0, &changes);
        if saved.is_err() {
            // Back to the front: the next attempt writes them in their order.
            let mut inner = self.inner.lock();
            let later = std::mem::replace(&mut inner.pending, changes);
            inner.pending.extend(later);
        }
        saved
    }

    pub fn get(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.lock().values.get(&(tree, key.to_vec())).cloned()
    }

    pub fn scan(&self, tree: Tree, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let inner = self.inner.lock();
        let from = inner.values.range((tree, prefix.to_vec())..);
        from.take_while(|((other, key), _)| *other == tree && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }
}
