//! The job that merges blocks now, instead of when the store would.

use super::{
    handle::JobHandle,
    manager::{Jobs, JobsError, Work, WorkError},
};
use crate::{
    jobs::{JobId, JobState},
    stdx::size::format_bytes,
    store::{Compacted, StoreError, Upkeep, tsdb::block::Progress},
};
use std::{
    sync::{Arc, atomic::Ordering},
    thread::ScopedJoinHandle,
    time::Duration,
};

/// What [`Job::kind`](super::Job) says.
const KIND: &str = "compact";
/// How often its progress is told.
const TICK: Duration = Duration::from_millis(100);

impl Jobs {
    /// Lets a compaction that a stop interrupted go on.
    pub fn register_compaction(&self, store: Arc<dyn Upkeep>) {
        self.register(KIND, move |_| work(store.clone()));
    }

    /// Starts to compact `store`, or gives the job that is doing it already.
    pub fn start_compaction(&self, store: Arc<dyn Upkeep>) -> Result<JobId, JobsError> {
        let running = self.list().into_iter().find(|job| job.kind == KIND && job.state == JobState::Running);
        match running {
            Some(job) => Ok(job.id),
            None => self.start(KIND, "Compaction of the store", Vec::new(), work(store)),
        }
    }
}

fn work(store: Arc<dyn Upkeep>) -> Work {
    Box::new(move |handle| {
        let progress = Arc::new(Progress::default());
        let done = std::thread::scope(|scope| {
            let running = scope.spawn(|| store.compact(&progress));
            follow(handle, &progress, running)
        })?;
        let (before, after) = (format_bytes(done.bytes_before), format_bytes(done.bytes_after));
        let (merges, tiers) = (done.merges, done.tiers);
        handle
            .message(format!("{merges} merges, {tiers} stretches built into tiers, {before} before and {after} after"));
        Ok(())
    })
}

/// Reports until the work ends, and ends it where it is cancelled.
fn follow(
    handle: &JobHandle,
    progress: &Progress,
    running: ScopedJoinHandle<'_, Result<Compacted, StoreError>>,
) -> Result<Compacted, WorkError> {
    while !running.is_finished() {
        let [done, total] = [&progress.series_done, &progress.series_total].map(|count| count.load(Ordering::Relaxed));
        handle.progress(done, total, "series");
        if handle.is_cancelled() {
            progress.cancelled.store(true, Ordering::Relaxed);
        }
        std::thread::sleep(TICK);
    }
    let done = running.join().map_err(|_| "it panicked; the log says where")??;
    let total = progress.series_total.load(Ordering::Relaxed);
    handle.progress(total, total, "series");
    Ok(done)
}
