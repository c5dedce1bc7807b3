//! The workers: a fixed number of threads that take numbered pieces of a query's work.
//!
//! The thread that asks always works too, so a query makes progress even while every worker serves another one; and
//! work too small to be worth a hand-over never leaves it.

use super::column::Column;
use crate::{model::Samples, promql::limits::QueryError};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

/// Buffers a worker fills again and again, so that series and steps cost no allocation.
#[derive(Default)]
pub struct Scratch {
    samples: Vec<Samples>,
    columns: Vec<Column>,
    floats: Vec<Vec<f64>>,
}

impl Scratch {
    /// An empty set of sample columns; give it back with [`Scratch::give_samples`].
    pub fn samples(&mut self) -> Samples {
        let mut samples = self.samples.pop().unwrap_or_default();
        samples.clear();
        samples
    }

    pub fn give_samples(&mut self, samples: Samples) {
        self.samples.push(samples);
    }

    /// A column without values; give it back with [`Scratch::give_column`].
    pub fn column(&mut self, steps: usize) -> Column {
        let mut column = self.columns.pop().unwrap_or_default();
        column.reset(steps);
        column
    }

    pub fn give_column(&mut self, column: Column) {
        self.columns.push(column);
    }

    pub fn floats(&mut self) -> Vec<f64> {
        let mut floats = self.floats.pop().unwrap_or_default();
        floats.clear();
        floats
    }

    pub fn give_floats(&mut self, floats: Vec<f64>) {
        self.floats.push(floats);
    }
}

trait Job: Send + Sync {
    /// Does pieces until none is left.
    fn work(&self, scratch: &mut Scratch);
    fn has_pieces(&self) -> bool;
}

struct Shared {
    state: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Arc<dyn Job>>,
    stop: bool,
}

/// The engine's threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    spare: Mutex<Vec<Scratch>>,
}

struct Pieces<T, F> {
    count: usize,
    function: F,
    state: Mutex<Progress<T>>,
    finished: Condvar,
}

struct Progress<T> {
    next: usize,
    running: usize,
    results: Vec<Option<T>>,
    error: Option<QueryError>,
}

impl Pool {
    /// Starts `workers` threads; with none, every query computes on its own thread alone.
    pub fn new(workers: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new() });
        let threads = (0..workers)
            .map(|index| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("promql-{index}")).spawn(move || serve(&shared))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Pool { shared, threads, spare: Mutex::default() })
    }

    /// No thread of its own.
    pub fn without_workers() -> Pool {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new() });
        Pool { shared, threads: Vec::new(), spare: Mutex::default() }
    }

    /// Lends the calling thread its buffers.
    pub fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.spare.lock().pop().unwrap_or_default();
        let result = work(&mut scratch);
        self.spare.lock().push(scratch);
        result
    }

    /// Calls `function` for every piece below `count` and gives the results in order of piece, whoever did it. The
    /// first error stops the rest. `weight` is a rough count of samples: light work stays on the calling thread.
    pub fn map<T, F>(&self, count: usize, weight: usize, function: F) -> Result<Vec<T>, QueryError>
    where
        T: Send + 'static,
        F: Fn(&mut Scratch, usize) -> Result<T, QueryError> + Send + Sync + 'static,
    {
        // Waking a thread costs about as much as 5,000 samples.
        const WEIGHT_SHARED_MIN: usize = 20_000;
        if count < 2 || weight < WEIGHT_SHARED_MIN || self.threads.is_empty() {
            return self.with_scratch(|scratch| (0..count).map(|piece| function(scratch, piece)).collect());
        }
        let progress = Progress { next: 0, running: 0, results: Vec::new(), error: None };
        let job = Arc::new(Pieces { count, function, state: Mutex::new(progress), finished: Condvar::new() });
        job.state.lock().results.resize_with(count, || None);
        self.shared.state.lock().jobs.push_back(job.clone());
        self.shared.wake.notify_all();
        self.with_scratch(|scratch| job.work(scratch));
        let mut state = job.state.lock();
        while state.running > 0 {
            job.finished.wait(&mut state);
        }
        let error = state.error.take();
        let results = std::mem::take(&mut state.results);
        // Workers look at jobs while they hold the queue, so the job must be free before the queue is taken.
        drop(state);
        // Workers drop finished jobs when they next look; what the job holds belongs to this query and must go now.
        self.shared.state.lock().jobs.retain(|other| !Arc::ptr_eq(other, &(job.clone() as Arc<dyn Job>)));
        if let Some(error) = error {
            return Err(error);
        }
        Ok(results.into_iter().map(|r| r.expect("every piece has run, or there is an error")).collect())
    }
}

impl<T, F> Job for Pieces<T, F>
where
    T: Send + 'static,
    F: Fn(&mut Scratch, usize) -> Result<T, QueryError> + Send + Sync + 'static,
{
    fn work(&self, scratch: &mut Scratch) {
        let mut state = self.state.lock();
        while state.next < self.count {
            let piece = state.next;
            state.next += 1;
            state.running += 1;
            drop(state);
            // A bug in one expression must cost its query, not a thread of the engine.
            let result = catch_unwind(AssertUnwindSafe(|| (self.function)(scratch, piece)))
                .unwrap_or_else(|_| Err(QueryError::unexpected()));
            state = self.state.lock();
            state.running -= 1;
            match result {
                Ok(value) => state.results[piece] = Some(value),
                Err(error) => {
                    state.next = self.count;
                    state.error.get_or_insert(error);
                }
            }
        }
        if state.running == 0 {
            self.finished.notify_all();
        }
    }

    fn has_pieces(&self) -> bool {
        self.state.lock().next < self.count
    }
}

fn serve(shared: &Shared) {
    // Samples that come go before questions: where both want the processor, writers do not wait for a long query.
    let _ = rustix::process::nice(5);
    let mut scratch = Scratch::default();
    let mut queue = shared.state.lock();
    while !queue.stop {
        while queue.jobs.front().is_some_and(|job| !job.has_pieces()) {
            queue.jobs.pop_front();
        }
        let Some(job) = queue.jobs.front().cloned() else {
            shared.wake.wait(&mut queue);
            continue;
        };
        drop(queue);
        job.work(&mut scratch);
        drop(job);
        queue = shared.state.lock();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        // The last to hold it may be a piece of a query, whose thread ends by itself.
        let own = std::thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != own) {
            // A worker never panics outside a piece, and a piece's panic is caught.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_short_jobs_at_once_all_end() {
        let pool = Arc::new(Pool::new(2).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let pool = pool.clone();
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        pool.map(4, usize::MAX, |_, piece| Ok(piece)).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn results_come_in_order_of_piece_whoever_did_it() {
        let pool = Pool::new(3).unwrap();
        let squares = pool.map(500, usize::MAX, |_, piece| Ok(piece * piece)).unwrap();
        assert_eq!(squares, (0..500).map(|n| n * n).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_or_a_panic_ends_the_work_and_not_the_pool() {
        let pool = Pool::new(2).unwrap();
        let failing = |_: &mut Scratch, piece: usize| match piece {
            7 => Err(QueryError::TooManySamples),
            _ => Ok(piece),
        };
        assert!(matches!(pool.map(100, usize::MAX, failing), Err(QueryError::TooManySamples)));
        let panicking = |_: &mut Scratch, piece: usize| -> Result<usize, QueryError> {
            assert_ne!(piece, 3, "as wanted");
            Ok(piece)
        };
        assert!(matches!(pool.map(100, usize::MAX, panicking), Err(QueryError::Execution(_))));
        assert_eq!(pool.map(3, usize::MAX, |_, piece| Ok(piece)).unwrap(), [0, 1, 2]);
    }
}
