//! What the queue knows of its messages without reading them: where each stands, in which order they go, what they
//! weigh. In memory only; built again from small state at the start.

use super::record::IdDigest;
use crate::model::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map},
    sync::Arc,
};

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// To be handled now.
    Ready,
    /// Not before this.
    Later(Timestamp),
    /// Given to a handler.
    InFlight,
    /// A dead letter since then.
    Dead(Timestamp),
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub digest: IdDigest,
    pub kind: Arc<str>,
    /// What it counts against the limit.
    pub bytes: u64,
    pub put_ms: Timestamp,
    pub attempts: u64,
    pub stage: Stage,
    /// Whether its record is known to be synced.
    pub durable: bool,
}

/// All messages by their numbers, which grow as they come.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<u64, Entry>,
    by_id: HashMap<IdDigest, u64>,
    ready: BTreeMap<Arc<str>, BTreeSet<u64>>,
    later: BTreeSet<(Timestamp, u64)>,
    dead: BTreeSet<(Timestamp, u64)>,
    in_flight: usize,
    bytes: u64,
    dead_bytes: u64,
    next: u64,
}

impl Index {
    /// The number of the next message: above all there are.
    pub fn next_number(&mut self) -> u64 {
        self.next = self.next.max(self.entries.last_key_value().map_or(0, |(number, _)| *number)) + 1;
        self.next
    }

    /// A number that is taken by something that is not here.
    pub fn skip_number(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    pub fn insert(&mut self, number: u64, entry: Entry) {
        self.by_id.insert(entry.digest, number);
        self.bytes += entry.bytes;
        let (kind, stage, bytes) = (entry.kind.clone(), entry.stage, entry.bytes);
        self.entries.insert(number, entry);
        self.enter(number, &kind, stage, bytes);
    }

    pub fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.leave(number, &entry);
        self.by_id.remove(&entry.digest);
        self.bytes -= entry.bytes;
        Some(entry)
    }

    pub fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    pub fn number_of(&self, digest: &IdDigest) -> Option<u64> {
        self.by_id.get(digest).copied()
    }

    /// Moves a message to another stage.
    pub fn set(&mut self, number: u64, stage: Stage, attempts: u64) {
        let Some(mut entry) = self.entries.get(&number).cloned() else { return };
        self.leave(number, &entry);
        (entry.stage, entry.attempts) = (stage, attempts);
        self.enter(number, &entry.kind, stage, entry.bytes);
        self.entries.insert(number, entry);
    }

    pub fn set_durable(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.durable = true;
        }
    }

    /// Makes those ready whose time has come. One that is due further ahead than any pause was put off by a clock that
    /// was wrong.
    pub fn wake(&mut self, now_ms: Timestamp, pause_ms_max: i64) {
        loop {
            let first = self.later.first().filter(|(due_ms, _)| *due_ms <= now_ms);
            let last = self.later.last().filter(|(due_ms, _)| due_ms.saturating_sub(now_ms) > pause_ms_max);
            let Some((_, number)) = first.or(last).copied() else { return };
            let attempts = self.get(number).map_or(0, |entry| entry.attempts);
            self.set(number, Stage::Ready, attempts);
        }
    }

    /// Kinds of which a message is ready.
    pub fn ready_kinds(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ready.keys()
    }

    /// The oldest message of a kind that is ready.
    pub fn first_ready(&self, kind: &str) -> Option<u64> {
        self.ready.get(kind)?.first().copied()
    }

    /// When the next of those that wait is due.
    pub fn next_due_ms(&self) -> Option<Timestamp> {
        self.later.first().map(|(due_ms, _)| *due_ms)
    }

    /// Dead letters, those that died first first.
    pub fn dead(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.dead.iter().map(|(_, number)| *number)
    }

    pub fn oldest_dead(&self) -> Option<(Timestamp, u64)> {
        self.dead.first().copied()
    }

    /// What a dead letter weighs; `None` where it is none.
    pub fn dead_bytes_of(&self, number: u64) -> Option<u64> {
        self.get(number).filter(|entry| matches!(entry.stage, Stage::Dead(_))).map(|entry| entry.bytes)
    }

    /// Everything, oldest first.
    pub fn entries(&self) -> btree_map::Iter<'_, u64, Entry> {
        self.entries.iter()
    }

    /// Messages that are no dead letters.
    pub fn waiting(&self) -> usize {
        self.entries.len() - self.dead.len()
    }

    pub fn dead_count(&self) -> usize {
        self.dead.len()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Of all messages, dead letters among them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// When the oldest message that is no dead letter was taken.
    pub fn oldest_waiting_ms(&self) -> Option<Timestamp> {
        // Numbers grow with time; dead letters before it are few, as they are bounded.
        self.entries.values().find(|entry| !matches!(entry.stage, Stage::Dead(_))).map(|entry| entry.put_ms)
    }

    fn enter(&mut self, number: u64, kind: &Arc<str>, stage: Stage, bytes: u64) {
        match stage {
            Stage::Ready => {
                self.ready.entry(kind.clone()).or_default().insert(number);
            }
            Stage::Later(due_ms) => {
                self.later.insert((due_ms, number));
            }
            Stage::InFlight => self.in_flight += 1,
            Stage::Dead(at_ms) => {
                self.dead.insert((at_ms, number));
                self.dead_bytes += bytes;
            }
        }
    }

    fn leave(&mut self, number: u64, entry: &Entry) {
        match entry.stage {
            Stage::Ready => {
                if let Some(of_kind) = self.ready.get_mut(&entry.kind) {
                    of_kind.remove(&number);
                    if of_kind.is_empty() {
                        self.ready.remove(&entry.kind);
                    }
                }
            }
            Stage::Later(due_ms) => {
                self.later.remove(&(due_ms, number));
            }
            Stage::InFlight => self.in_flight -= 1,
            Stage::Dead(at_ms) => {
                self.dead.remove(&(at_ms, number));
                self.dead_bytes -= entry.bytes;
            }
        }
    }
}
