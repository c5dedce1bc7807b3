//! Metrics that the server lists and refuses all the same: left out for a day, also after a restart.

use super::sync::Tools;
use crate::{
    ingest::IngestError,
    store::{StateChange, StateStore, Tree},
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

const KEY: &[u8] = b"sonar!refused";
const DAY_MS: i64 = 86_400_000;

/// By key, until when.
#[derive(Default)]
pub struct RefusedKeys(Mutex<BTreeMap<String, i64>>);

impl RefusedKeys {
    /// What is remembered.
    pub fn load(store: &dyn StateStore) -> RefusedKeys {
        let stored = store.state(Tree::Cursors, KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        RefusedKeys(Mutex::new(stored.unwrap_or_default()))
    }

    pub fn now(&self, now_ms: i64) -> BTreeSet<String> {
        let held = self.0.lock();
        held.iter().filter(|(_, until)| **until > now_ms).map(|(key, _)| key.clone()).collect()
    }

    pub async fn add(&self, tools: &Tools, keys: &BTreeSet<String>) -> Result<(), IngestError> {
        let now_ms = tools.around.clock.now_ms();
        let value = {
            let mut held = self.0.lock();
            held.retain(|_, until| *until > now_ms);
            held.extend(keys.iter().map(|key| (key.clone(), now_ms.saturating_add(DAY_MS))));
            // Texts and numbers, which always have a JSON form.
            serde_json::to_vec(&*held).unwrap_or_default()
        };
        let change = StateChange { tree: Tree::Cursors, key: KEY.to_vec(), value: Some(value) };
        tools.ingest.record_history(&[], &[change]).await.map(drop)
    }
}
