//! The small state in memory. `kv` holds it durably up to a log position; the log holds the rest.

use crate::store::{StateChange, StoreError, Tree, kv::Kv, tsdb::log::Position};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};

pub struct State {
    inner: Mutex<StateInner>,
    /// One save at a time: a later one must not overtake, as its position would say that the earlier is in.
    saving: Mutex<()>,
    kv: Box<dyn Kv>,
}

#[derive(Default)]
pub struct StateInner {
    values: BTreeMap<(Tree, Vec<u8>), Vec<u8>>,
    /// Keys changed since `kv` was last written. Not the changes: a `kv` that fails for days must not cost memory.
    changed: BTreeSet<(Tree, Vec<u8>)>,
}

impl StateInner {
    pub fn apply(&mut self, changes: &[StateChange]) {
        for change in changes {
            let key = (change.tree, change.key.clone());
            match &change.value {
                Some(value) => self.values.insert(key.clone(), value.clone()),
                None => self.values.remove(&key),
            };
            self.changed.insert(key);
        }
    }
}

impl State {
    /// Loads everything `kv` has.
    pub fn load(kv: Box<dyn Kv>) -> Result<State, StoreError> {
        let mut values = BTreeMap::new();
        for tree in Tree::ALL {
            values.extend(kv.load(tree)?.into_iter().map(|(key, value)| ((tree, key), value)));
        }
        let inner = StateInner { values, changed: BTreeSet::new() };
        Ok(State { inner: Mutex::new(inner), saving: Mutex::default(), kv })
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
        let _saving = self.saving.lock();
        let (keys, changes, position) = {
            let mut inner = self.inner.lock();
            let keys = std::mem::take(&mut inner.changed);
            let change = |(tree, key): &(Tree, Vec<u8>)| {
                let value = inner.values.get(&(*tree, key.clone())).cloned();
                StateChange { tree: *tree, key: key.clone(), value }
            };
            let changes: Vec<StateChange> = keys.iter().map(change).collect();
            (keys, changes, end())
        };
        if changes.is_empty() && self.kv.position() >= position.0 {
            return Ok(());
        }
        let saved = self.kv.apply(position.0, &changes);
        if saved.is_err() {
            self.inner.lock().changed.extend(keys);
        }
        saved
    }

    /// All of it as changes of an empty state, and the log's end, which is asked while no change can come in between.
    pub fn all(&self, end: impl FnOnce() -> Position) -> (Vec<StateChange>, Position) {
        let inner = self.inner.lock();
        let change = |((tree, key), value): (&(Tree, Vec<u8>), &Vec<u8>)| StateChange {
            tree: *tree,
            key: key.clone(),
            value: Some(value.clone()),
        };
        (inner.values.iter().map(change).collect(), end())
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
