//! The write side: batches, what became of them, and the ticket that says when they are durable.

use super::StoreError;
use crate::model::{Exemplar, Histogram, Labels, Timestamp};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Names a series for as long as the store holds it; never given to another label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u64);

/// Which sample stays where two differ at the same series and timestamp. Equal ones are never a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// The first stays, the second is refused: scrapes and remote write.
    #[default]
    Refuse,
    /// The last wins: pushes and imports.
    Overwrite,
}

/// The small-state trees. `docs/formats/state.md` lists their keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tree {
    PushGroups = 1,
    Jobs = 2,
    Cursors = 3,
    Mailbox = 4,
}

impl Tree {
    pub const ALL: [Tree; 4] = [Tree::PushGroups, Tree::Jobs, Tree::Cursors, Tree::Mailbox];

    /// The tree of a number as stored; `None` for one this version does not know.
    pub fn from_number(number: u8) -> Option<Tree> {
        Tree::ALL.into_iter().find(|tree| *tree as u8 == number)
    }
}

/// "This value, as if sampled every `step_ms`, until closed."
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RunChange {
    /// Begins a run at `first`. An open run of the series ends before it, without a staleness marker; one that holds
    /// the same bits simply goes on.
    Open { series: SeriesId, value: f64, first: Timestamp, step_ms: i64 },
    /// Ends the open run before `at` and leaves a staleness marker there. Nothing happens where none is open.
    Close { series: SeriesId, at: Timestamp },
    /// A run that is over: points every `step_ms` from `first` to `last`, inclusive. What is open stays open. Where it
    /// overlaps another run of its series, the one that began later wins at the points that both have. The same run
    /// twice is one.
    Whole { series: SeriesId, value: f64, first: Timestamp, last: Timestamp, step_ms: i64 },
}

impl RunChange {
    pub fn series(&self) -> SeriesId {
        let (RunChange::Open { series, .. } | RunChange::Close { series, .. } | RunChange::Whole { series, .. }) = self;
        *series
    }

    pub fn series_mut(&mut self) -> &mut SeriesId {
        let (RunChange::Open { series, .. } | RunChange::Close { series, .. } | RunChange::Whole { series, .. }) = self;
        series
    }
}

/// A change of one key of small state; `None` removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    pub tree: Tree,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// What is written at once: one log record, all or nothing after a crash.
#[derive(Debug, Clone, Default)]
pub struct WriteBatch {
    pub conflict: Conflict,
    /// Float samples as columns: `series[i]`, `timestamps[i]`, `values[i]`. Samples of one source and timestamp
    /// stand together: they will share a clock.
    pub series: Vec<SeriesId>,
    pub timestamps: Vec<Timestamp>,
    pub values: Vec<f64>,
    pub histograms: Vec<(SeriesId, Timestamp, Arc<Histogram>)>,
    /// Kept where they follow the newest of their series; whether one was is not told, as no sender could do better.
    pub exemplars: Vec<(SeriesId, Exemplar)>,
    pub runs: Vec<RunChange>,
    pub state: Vec<StateChange>,
}

impl WriteBatch {
    pub fn push(&mut self, series: SeriesId, timestamp: Timestamp, value: f64) {
        self.series.push(series);
        self.timestamps.push(timestamp);
        self.values.push(value);
    }

    /// Float samples and histograms.
    pub fn samples(&self) -> usize {
        self.series.len() + self.histograms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples() == 0 && self.exemplars.is_empty() && self.runs.is_empty() && self.state.is_empty()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.runs.clear();
        self.state.clear();
    }
}

/// Why a sample was not stored.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RefusalReason {
    #[error("duplicate sample for timestamp {timestamp}; overrides not allowed: existing {existing}, new value {new}")]
    Duplicate { timestamp: Timestamp, existing: f64, new: f64 },
    #[error("duplicate histogram for timestamp {timestamp}; overrides not allowed")]
    DuplicateHistogram { timestamp: Timestamp },
    #[error("too old sample: {timestamp} is before the retention's edge at {oldest}")]
    TooOld { timestamp: Timestamp, oldest: Timestamp },
    /// The id is unknown or its series has left memory: resolve the labels again and retry.
    #[error("the series is not known any more")]
    UnknownSeries,
}

/// One refused sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refusal {
    /// Index into the float columns, or, from their length on, into `histograms`.
    pub index: usize,
    pub reason: RefusalReason,
}

/// What became of a batch: everything not named in `refused` is stored.
#[derive(Debug)]
pub struct Outcome {
    pub refused: Vec<Refusal>,
    pub ticket: Ticket,
}

/// Done when the batch would survive a power cut.
#[derive(Debug)]
pub struct Ticket(Option<oneshot::Receiver<Result<(), StoreError>>>);

impl Ticket {
    /// For stores that have nothing to wait for, and for batches that changed nothing.
    pub fn done() -> Ticket {
        Ticket(None)
    }

    /// A ticket and its other end; dropping that end means the store stopped.
    pub fn pending() -> (oneshot::Sender<Result<(), StoreError>>, Ticket) {
        let (sender, receiver) = oneshot::channel();
        (sender, Ticket(Some(receiver)))
    }

    /// Waits without holding a thread. An error means: not durable, do not acknowledge.
    pub async fn wait(self) -> Result<(), StoreError> {
        match self.0 {
            None => Ok(()),
            Some(receiver) => receiver.await.unwrap_or(Err(StoreError::Stopped)),
        }
    }

    /// As [`Ticket::wait`], outside a runtime.
    pub fn wait_blocking(self) -> Result<(), StoreError> {
        match self.0 {
            None => Ok(()),
            Some(receiver) => receiver.blocking_recv().unwrap_or(Err(StoreError::Stopped)),
        }
    }
}

/// The write side of a store. Calls return at once; durability is the ticket's matter.
pub trait Appendable: Send + Sync {
    /// The id of a label set, which is created where it is new. Valid until the series has left memory, which shows
    /// as [`RefusalReason::UnknownSeries`]. Fails at a series limit, and while memory is short.
    fn series_id(&self, labels: &Labels) -> Result<SeriesId, StoreError>;

    /// The id of a label set that is known already. A store that cannot tell says that none is.
    fn known_series(&self, _labels: &Labels) -> Option<SeriesId> {
        None
    }

    /// Whether the store still holds a series in memory.
    fn holds_series(&self, _id: SeriesId) -> bool {
        true
    }

    /// Applies the batch: visible to queries on return, durable when the ticket is done.
    fn append(&self, batch: &WriteBatch) -> Result<Outcome, StoreError>;
}
