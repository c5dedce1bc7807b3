//! The ids of messages that were handled, so that one that comes again is not handled again: bounded by count and age,
//! durable in small state. The queue and the Redis consumers share it.

use super::{
    limits::{HANDLED_AGE_MS_MAX, HANDLED_MAX},
    record::{self, HANDLED, IdDigest},
};
use crate::{
    model::Timestamp,
    store::{StateChange, StateStore, Tree},
};
use std::collections::{BTreeSet, HashMap};

/// How many forgotten ids one record removes at most: it stays short.
const FORGOTTEN_AT_ONCE: usize = 64;

#[derive(Debug, Default)]
pub struct Handled {
    by_id: HashMap<IdDigest, Timestamp>,
    by_age: BTreeSet<(Timestamp, IdDigest)>,
}

impl Handled {
    pub fn load(store: &dyn StateStore) -> Handled {
        let mut handled = Handled::default();
        for (key, value) in store.state_scan(Tree::Mailbox, &[HANDLED]) {
            if let (Some(digest), Some(at_ms)) = (record::rest_of(&key), record::decode_time(&value)) {
                handled.insert(digest, at_ms);
            }
        }
        handled
    }

    pub fn contains(&self, digest: &IdDigest) -> bool {
        self.by_id.contains_key(digest)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// What has to be appended so that this id is remembered; the oldest go for it. Nothing is changed before
    /// [`Handled::remember`].
    pub fn changes(&self, digest: IdDigest, now_ms: Timestamp) -> Vec<StateChange> {
        let mut changes: Vec<StateChange> =
            self.too_many(1, now_ms).map(|(_, old)| change(old, None)).filter(|old| old.key[1..] != digest).collect();
        changes.push(change(&digest, Some(record::encode_time(now_ms))));
        changes
    }

    /// After the changes were appended.
    pub fn remember(&mut self, digest: IdDigest, now_ms: Timestamp) {
        let gone: Vec<(Timestamp, IdDigest)> = self.too_many(1, now_ms).copied().collect();
        for (at_ms, old) in gone {
            self.by_age.remove(&(at_ms, old));
            self.by_id.remove(&old);
        }
        self.insert(digest, now_ms);
    }

    fn insert(&mut self, digest: IdDigest, at_ms: Timestamp) {
        if let Some(before) = self.by_id.insert(digest, at_ms) {
            self.by_age.remove(&(before, digest));
        }
        self.by_age.insert((at_ms, digest));
    }

    /// Those that go where `more` come.
    fn too_many(&self, more: usize, now_ms: Timestamp) -> impl Iterator<Item = &(Timestamp, IdDigest)> {
        let excess = (self.by_age.len() + more).saturating_sub(HANDLED_MAX);
        let too_old = now_ms.saturating_sub(HANDLED_AGE_MS_MAX);
        let goes = move |(index, (at_ms, _)): &(usize, &(Timestamp, IdDigest))| *index < excess || *at_ms < too_old;
        self.by_age.iter().enumerate().take(FORGOTTEN_AT_ONCE).take_while(goes).map(|(_, old)| old)
    }
}

fn change(digest: &IdDigest, value: Option<Vec<u8>>) -> StateChange {
    StateChange { tree: Tree::Mailbox, key: record::of_id(HANDLED, digest), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ids_go_by_count_and_by_age() {
        let mut handled = Handled::default();
        let id = |number: usize| record::digest(&number.to_string());
        for number in 0..HANDLED_MAX + 10 {
            handled.remember(id(number), number as i64);
        }
        assert_eq!(handled.len(), HANDLED_MAX);
        assert!(!handled.contains(&id(9)) && handled.contains(&id(10)));
        let later = HANDLED_AGE_MS_MAX + 1_000_000;
        assert_eq!(handled.changes(id(0), later).len(), FORGOTTEN_AT_ONCE + 1);
        handled.remember(id(0), later);
        assert_eq!(handled.len(), HANDLED_MAX - FORGOTTEN_AT_ONCE + 1);
    }

    #[test]
    fn an_id_that_is_remembered_again_is_not_removed_by_the_same_record() {
        let mut handled = Handled::default();
        handled.remember([1; 16], 0);
        let changes = handled.changes([1; 16], HANDLED_AGE_MS_MAX + 10);
        assert_eq!(changes.len(), 1);
        assert!(changes[0].value.is_some());
        handled.remember([1; 16], HANDLED_AGE_MS_MAX + 10);
        assert!(handled.contains(&[1; 16]));
    }
}
