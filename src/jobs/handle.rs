//! What the work holds: the way to report, to save a checkpoint, and to learn that it should end.

use super::{
    job::{JobId, Progress},
    manager::Inner,
};
use crate::{
    model::Timestamp,
    store::{StateChange, StoreError},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Shared by a job's thread and those who cancel it.
#[derive(Default)]
pub(super) struct Control {
    pub cancelled: AtomicBool,
    /// The work has asked and was told to end, so what it returns then is not a finished job.
    pub observed: AtomicBool,
}

/// One running job, from the inside.
pub struct JobHandle {
    pub(super) inner: Arc<Inner>,
    pub(super) id: JobId,
    pub(super) control: Arc<Control>,
    /// When this run began and how much was done then.
    pub(super) resumed: (Timestamp, u64),
}

impl JobHandle {
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Reports how far the work is; `total` 0 means unknown. Cheap: call it as often as you like, subscribers hear of
    /// it ten times a second at most.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.inner.report(self, |job| {
            if job.progress.unit != unit {
                job.progress.unit = unit.to_owned();
            }
            job.progress = Progress { done, total, unit: std::mem::take(&mut job.progress.unit) };
        });
    }

    /// Says what the work is doing; stays as what it did.
    pub fn message(&self, message: impl Into<String>) {
        let message = message.into();
        self.inner.report(self, |job| job.message = message);
    }

    /// True when the work should save a checkpoint and return: somebody cancelled it, or the program is stopping.
    pub fn is_cancelled(&self) -> bool {
        let cancelled = self.control.cancelled.load(Ordering::Acquire) || self.inner.stopping.load(Ordering::Acquire);
        if cancelled {
            self.control.observed.store(true, Ordering::Release);
        }
        cancelled
    }

    /// Saves where the work is to be taken up again, and waits until that is durable.
    pub fn checkpoint(&self, resume: &[u8]) -> Result<(), StoreError> {
        self.inner.checkpoint(self.id, resume)?.wait_blocking()
    }

    /// The same as a change for the batch that holds what the checkpoint speaks of: both are stored, or neither.
    pub fn checkpoint_change(&self, resume: &[u8]) -> Option<StateChange> {
        self.inner.checkpoint_change(self.id, resume)
    }
}
