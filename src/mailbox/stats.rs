//! What the mailbox counts, and what became of the last messages.

use super::{Message, record::shortened};
use crate::model::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

/// What a page shows.
const RECENT_MAX: usize = 50;
/// Of a text of strangers, in that list.
const TEXT_BYTES_MAX: usize = 200;

/// Since the start of the process.
#[derive(Debug, Default)]
pub struct Stats {
    pub taken: Count,
    pub handled: Count,
    pub retried: Count,
    pub dead: Count,
    /// Came again although they were handled, or still wait.
    pub duplicates: Count,
    /// Not taken because too much waits.
    pub refused_full: Count,
    /// Dead letters that went for their age, or for newer ones.
    pub expired: Count,
    pub replayed: Count,
    pub dropped: Count,
    /// Records that could not be read.
    pub damaged: Count,
    recent: Mutex<VecDeque<Recent>>,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of a message that was given to a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Handled,
    Retry,
    Dead,
}

/// One line of the list of the last ones. The field names are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recent {
    pub id: String,
    pub kind: String,
    pub sender: String,
    pub outcome: Outcome,
    pub attempts: u64,
    pub at_ms: Timestamp,
    /// Empty for one that was handled.
    pub reason: String,
}

impl Stats {
    /// Counts an outcome and puts it on the list.
    pub fn record(&self, message: &Message, outcome: Outcome, attempts: u64, at_ms: Timestamp, reason: &str) {
        match outcome {
            Outcome::Handled => &self.handled,
            Outcome::Retry => &self.retried,
            Outcome::Dead => &self.dead,
        }
        .add(1);
        let short = |text: &str| shortened(text, TEXT_BYTES_MAX).to_owned();
        let (id, kind, sender) = (short(&message.id), short(&message.kind), short(&message.sender));
        let mut recent = self.recent.lock();
        recent.truncate(RECENT_MAX - 1);
        recent.push_front(Recent { id, kind, sender, outcome, attempts, at_ms, reason: short(reason) });
    }

    /// The last ones, newest first.
    pub fn recent(&self) -> Vec<Recent> {
        self.recent.lock().iter().cloned().collect()
    }
}
