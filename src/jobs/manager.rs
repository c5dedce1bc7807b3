//! All jobs: starting, cancelling, taking up again, and their history.

use super::{
    handle::{Control, JobHandle},
    job::{Job, JobId, JobState, Progress, Stored},
};
use crate::{
    model::Timestamp,
    stdx::clock::Clock,
    store::{StateChange, Store, StoreError, Ticket, Tree, WriteBatch},
};
use parking_lot::Mutex;
use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};
use tokio::sync::broadcast;

/// Finished jobs beyond this are forgotten, oldest first: enough to look back over a busy week.
const FINISHED_JOBS_MAX: usize = 100;

/// Each job has a thread, and most are bounded by the same disk or the same remote API: more at once gain nothing.
const RUNNING_JOBS_MAX: usize = 16;

/// A job that ends the whole process each time it is taken up is left alone after so many tries without a checkpoint.
const RESTARTS_MAX: u64 = 5;

/// Subscribers are told of progress no more often than this; of every change of state at once.
const EVENT_INTERVAL_MS: i64 = 100;

/// A subscriber that is this many events behind loses the oldest ones, and is told so.
const EVENTS_MAX: usize = 256;

/// Why work failed; its text becomes the job's message.
pub type WorkError = Box<dyn std::error::Error + Send + Sync>;

/// The work of a job, on a thread of its own.
pub type Work = Box<dyn FnOnce(&JobHandle) -> Result<(), WorkError> + Send>;

type Factory = Arc<dyn Fn(Vec<u8>) -> Work + Send + Sync>;

/// Why a job cannot be started or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    #[error("{RUNNING_JOBS_MAX} jobs are running already; wait for one to end, or cancel one")]
    TooMany,
    #[error("the jobs are being stopped")]
    Stopping,
    #[error("there is no job {0}")]
    Unknown(JobId),
    #[error("job {0} is not running any more")]
    NotRunning(JobId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All jobs. Clones share them.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

pub(super) struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    events: broadcast::Sender<Job>,
    pub stopping: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, Entry>,
    factories: HashMap<String, Factory>,
}

struct Entry {
    stored: Stored,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
    told_ms: Timestamp,
}

impl Jobs {
    /// Reads the jobs from the store. Those that were running are interrupted now, until their kind is registered.
    pub fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Jobs {
        let mut jobs = BTreeMap::new();
        for (key, value) in store.state_scan(Tree::Jobs, b"") {
            // A job of a newer program stays in the store for it.
            if let (Ok(id), Some(mut stored)) = (<[u8; 8]>::try_from(key), Stored::decode(&value)) {
                if stored.job.state == JobState::Running {
                    stored.job.state = JobState::Interrupted;
                    stored.job.estimate_ms = None;
                }
                jobs.insert(JobId::from_be_bytes(id), Entry::new(stored));
            }
        }
        let state = Mutex::new(State { jobs, factories: HashMap::new() });
        let events = broadcast::Sender::new(EVENTS_MAX);
        Jobs(Arc::new(Inner { store, clock, events, stopping: AtomicBool::new(false), state }))
    }

    /// Says how work of this kind is taken up again from the bytes of its last checkpoint, and takes up what was
    /// interrupted.
    pub fn register(&self, kind: &str, factory: impl Fn(Vec<u8>) -> Work + Send + Sync + 'static) {
        let factory: Factory = Arc::new(factory);
        let interrupted: Vec<(JobId, Vec<u8>)> = {
            let mut state = self.0.state.lock();
            state.factories.insert(kind.to_owned(), factory.clone());
            let waiting = state
                .jobs
                .iter_mut()
                .filter(|(_, entry)| entry.stored.job.kind == kind && entry.stored.job.state == JobState::Interrupted);
            waiting.filter_map(|(id, entry)| entry.take_up().then(|| (*id, entry.stored.resume.clone()))).collect()
        };
        for (id, resume) in interrupted {
            if let Err(error) = self.0.launch(id, factory(resume)) {
                tracing::warn!(job = id, kind, %error, "An interrupted job could not be taken up again.");
                if let Some(entry) = self.0.state.lock().jobs.get_mut(&id) {
                    entry.stored.job.state = JobState::Interrupted;
                }
            }
        }
    }

    /// Starts work on a thread of its own. `resume` is what the kind's factory gets if the process ends before the
    /// first checkpoint.
    pub fn start(&self, kind: &str, title: &str, resume: Vec<u8>, work: Work) -> Result<JobId, JobsError> {
        let now = self.0.clock.now_ms();
        let id = {
            let mut state = self.0.state.lock();
            if self.0.stopping.load(Ordering::Acquire) {
                return Err(JobsError::Stopping);
            }
            if state.jobs.values().filter(|entry| entry.running()).count() >= RUNNING_JOBS_MAX {
                return Err(JobsError::TooMany);
            }
            let id = state.jobs.last_key_value().map_or(1, |(id, _)| id + 1);
            let job = Job {
                id,
                kind: kind.to_owned(),
                title: title.to_owned(),
                state: JobState::Running,
                progress: Progress::default(),
                message: String::new(),
                started_ms: now,
                updated_ms: now,
                estimate_ms: None,
            };
            state.jobs.insert(id, Entry::new(Stored { job, resume, restarts: 0 }));
            id
        };
        if let Err(error) = self.0.launch(id, work) {
            self.0.state.lock().jobs.remove(&id);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Asks the work to end. It is cancelled when it has.
    pub fn cancel(&self, id: JobId) -> Result<(), JobsError> {
        let state = self.0.state.lock();
        let entry = state.jobs.get(&id).ok_or(JobsError::Unknown(id))?;
        if !entry.running() {
            return Err(JobsError::NotRunning(id));
        }
        entry.control.cancelled.store(true, Ordering::Release);
        Ok(())
    }

    /// All jobs, newest first.
    pub fn list(&self) -> Vec<Job> {
        self.0.state.lock().jobs.values().rev().map(|entry| entry.stored.job.clone()).collect()
    }

    pub fn get(&self, id: JobId) -> Option<Job> {
        self.0.state.lock().jobs.get(&id).map(|entry| entry.stored.job.clone())
    }

    /// Every change from now on, as the job is after it.
    pub fn subscribe(&self) -> broadcast::Receiver<Job> {
        self.0.events.subscribe()
    }

    /// Asks all work to end, waits for it, and leaves it interrupted, so that the next start takes it up. Blocks as
    /// long as the slowest work takes to notice.
    pub fn stop(&self) {
        let threads: Vec<JoinHandle<()>> = {
            let mut state = self.0.state.lock();
            self.0.stopping.store(true, Ordering::Release);
            state.jobs.values_mut().filter_map(|entry| entry.thread.take()).collect()
        };
        for thread in threads {
            // Its panics were caught and became the job's message.
            let _ = thread.join();
        }
    }
}

impl Entry {
    fn new(stored: Stored) -> Entry {
        Entry { stored, control: Arc::default(), thread: None, told_ms: Timestamp::MIN }
    }

    fn running(&self) -> bool {
        self.stored.job.state == JobState::Running
    }

    /// Makes an interrupted job a running one, unless that was tried too often.
    fn take_up(&mut self) -> bool {
        if self.stored.restarts >= RESTARTS_MAX {
            self.stored.job.message =
                format!("was taken up {RESTARTS_MAX} times and never came to a checkpoint; start it again by hand");
            return false;
        }
        self.stored.restarts += 1;
        self.stored.job.state = JobState::Running;
        true
    }
}

impl Inner {
    /// Writes the job down and runs its work. The job stands in the state as running.
    fn launch(self: &Arc<Self>, id: JobId, work: Work) -> Result<(), StoreError> {
        let now = self.clock.now_ms();
        let (handle, ticket) = {
            let mut state = self.state.lock();
            let Some(entry) = state.jobs.get_mut(&id) else {
                return Ok(());
            };
            entry.stored.job.updated_ms = now;
            let resumed = (now, entry.stored.job.progress.done);
            let handle = JobHandle { inner: self.clone(), id, control: entry.control.clone(), resumed };
            (handle, self.save(entry)?)
        };
        ticket.wait_blocking()?;
        if let Some(entry) = self.state.lock().jobs.get_mut(&id) {
            self.tell(entry);
        }
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(&handle)));
            handle.inner.finish(&handle, result);
        };
        let thread = std::thread::Builder::new()
            .name(format!("job-{id}"))
            .spawn(run)
            .map_err(StoreError::io("starting a job's thread"))?;
        let mut state = self.state.lock();
        // A short job may have ended by now; its thread needs nobody to join it.
        if let Some(entry) = state.jobs.get_mut(&id).filter(|entry| entry.running()) {
            entry.thread = Some(thread);
        }
        Ok(())
    }

    fn finish(&self, handle: &JobHandle, result: Result<Result<(), WorkError>, Box<dyn Any + Send>>) {
        let observed = handle.control.observed.load(Ordering::Acquire);
        let cancelled = handle.control.cancelled.load(Ordering::Acquire);
        let (job_state, message) = match result {
            Err(panic) => (JobState::Failed, Some(format!("the work panicked: {}", panic_message(&*panic)))),
            Ok(_) if observed && cancelled => (JobState::Cancelled, None),
            Ok(_) if observed => (JobState::Interrupted, None),
            Ok(Ok(())) => (JobState::Done, None),
            Ok(Err(error)) => (JobState::Failed, Some(error.to_string())),
        };
        let saved = {
            let mut state = self.state.lock();
            let Some(entry) = state.jobs.get_mut(&handle.id) else {
                return;
            };
            let job = &mut entry.stored.job;
            job.state = job_state;
            job.message = message.unwrap_or(std::mem::take(&mut job.message));
            job.touch(self.clock.now_ms(), handle.resumed);
            self.tell(entry);
            let saved = self.save(entry);
            self.forget_oldest(&mut state);
            saved
        };
        if let Err(error) = saved.and_then(Ticket::wait_blocking) {
            // After a restart it is taken up again from its last checkpoint, which does no harm.
            tracing::warn!(job = handle.id, %error, "The end of a job could not be stored.");
        }
        // Only now, so that `stop` waits for the store too.
        if let Some(entry) = self.state.lock().jobs.get_mut(&handle.id) {
            entry.thread = None;
        }
    }

    /// Keeps the history bounded.
    fn forget_oldest(&self, state: &mut State) {
        let finished: Vec<JobId> = state.jobs.iter().filter(|(_, e)| !e.running()).map(|(id, _)| *id).collect();
        let excess = finished.len().saturating_sub(FINISHED_JOBS_MAX);
        let change = |id: &JobId| StateChange { tree: Tree::Jobs, key: id.to_be_bytes().to_vec(), value: None };
        let batch = WriteBatch { state: finished[..excess].iter().map(change).collect(), ..WriteBatch::default() };
        // What cannot be removed now is listed again after a restart, and removed with the next job.
        if !batch.is_empty() && self.store.append(&batch).is_ok() {
            finished[..excess].iter().for_each(|id| drop(state.jobs.remove(id)));
        }
    }

    pub fn report(&self, handle: &JobHandle, change: impl FnOnce(&mut Job)) {
        let now = self.clock.now_ms();
        let mut state = self.state.lock();
        let Some(entry) = state.jobs.get_mut(&handle.id) else {
            return;
        };
        change(&mut entry.stored.job);
        entry.stored.job.touch(now, handle.resumed);
        let since = now.saturating_sub(entry.told_ms);
        // A clock that was set back must not silence the job.
        if !(0..EVENT_INTERVAL_MS).contains(&since) {
            self.tell(entry);
        }
    }

    pub fn checkpoint(&self, id: JobId, resume: &[u8]) -> Result<Ticket, StoreError> {
        let mut state = self.state.lock();
        match state.jobs.get_mut(&id) {
            Some(entry) => {
                entry.stored.resume = resume.to_vec();
                entry.stored.restarts = 0;
                self.save(entry)
            }
            None => Ok(Ticket::done()),
        }
    }

    pub fn checkpoint_change(&self, id: JobId, resume: &[u8]) -> Option<StateChange> {
        let mut state = self.state.lock();
        let entry = state.jobs.get_mut(&id)?;
        entry.stored.resume = resume.to_vec();
        entry.stored.restarts = 0;
        Some(change_of(&entry.stored))
    }

    /// Appends the job's present state; called under the lock, so that the log has the same order.
    fn save(&self, entry: &Entry) -> Result<Ticket, StoreError> {
        let batch = WriteBatch { state: vec![change_of(&entry.stored)], ..WriteBatch::default() };
        Ok(self.store.append(&batch)?.ticket)
    }

    fn tell(&self, entry: &mut Entry) {
        entry.told_ms = self.clock.now_ms();
        // Nobody may be listening.
        let _ = self.events.send(entry.stored.job.clone());
    }
}

fn change_of(stored: &Stored) -> StateChange {
    StateChange { tree: Tree::Jobs, key: stored.job.id.to_be_bytes().to_vec(), value: Some(stored.encode()) }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
