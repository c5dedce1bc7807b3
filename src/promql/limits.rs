//! What a query may take: samples, bytes, time, a place in the queue; and how it is told to stop.
//!
//! Every limit protects the one process that also ingests: a query that would fill memory is refused with the words
//! Prometheus uses, so that clients which know those words react as they do there.

use crate::store::StoreError;

pub use crate::stdx::cancel::Cancel;
use parking_lot::{Condvar, Mutex};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The stage named by timeouts and cancellation while nodes compute.
pub const STAGE_EVALUATION: &str = "expression evaluation";
/// The stage named by timeouts and cancellation while a query waits for its turn.
pub const STAGE_QUEUE: &str = "query queue";

/// How often a waiting query looks at its cancel token.
const QUEUE_POLL: Duration = Duration::from_millis(40);

/// Why a query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The text is not PromQL; positions are `line:column`.
    #[error("{0}")]
    Parse(String),
    /// More samples would be held than the limits allow.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// More samples would be read in all.
    #[error("query processing would load too many samples into memory in query execution: more than {limit} in all")]
    TooManyScanned { limit: u64 },
    /// The bytes a query may hold are used up.
    #[error(
        "the query would hold more than {limit_bytes} bytes; ask for fewer series or steps, or aggregate before joining"
    )]
    TooManyBytes { limit_bytes: u64 },
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// The expression cannot be evaluated on these series.
    #[error("{0}")]
    Execution(String),
    #[error("expanding series: {0}")]
    Store(#[source] StoreError),
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> QueryError {
        match error {
            StoreError::Canceled => QueryError::Canceled(STAGE_EVALUATION),
            other => QueryError::Store(other),
        }
    }
}

impl QueryError {
    pub(super) fn execution(text: impl Into<String>) -> QueryError {
        QueryError::Execution(text.into())
    }

    pub(super) fn unexpected() -> QueryError {
        QueryError::execution("the evaluation failed unexpectedly; please report the query")
    }
}

/// What one query may take, and how many run at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Samples held at the same time: Prometheus' default, 0.8 GB at 16 bytes.
    pub samples_max: u64,
    /// Samples read in all: at 5 ns each ten seconds of one core.
    pub scanned_max: u64,
    /// Bytes of columns and results held at the same time: two such queries fit beside the head in a 2 GiB machine.
    pub bytes_max: u64,
    /// Prometheus' default of two minutes; it includes the wait for a turn.
    pub timeout_ms: u64,
    /// Queries computing at once; more wait for their turn.
    pub concurrent_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
        Limits {
            samples_max: 50_000_000,
            scanned_max: 2_000_000_000,
            bytes_max: 512 << 20,
            timeout_ms: 120_000,
            concurrent_max: cores * 2,
        }
    }
}

/// The account of one query; shared by all its nodes and workers.
#[derive(Debug)]
pub struct Budget {
    samples_max: u64,
    scanned_max: u64,
    bytes_max: u64,
    deadline: Instant,
    cancel: Cancel,
    held: AtomicU64,
    held_peak: AtomicU64,
    bytes: AtomicU64,
    bytes_peak: AtomicU64,
    scanned: AtomicU64,
    queryable: AtomicU64,
}

impl Budget {
    pub fn new(limits: &Limits, deadline: Instant, cancel: Cancel) -> Budget {
        Budget {
            samples_max: limits.samples_max,
            scanned_max: limits.scanned_max,
            bytes_max: limits.bytes_max,
            deadline,
            cancel,
            held: AtomicU64::new(0),
            held_peak: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_peak: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            queryable: AtomicU64::new(0),
        }
    }

    /// What tells the query to stop.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Fails once the query is canceled or out of time. Cheap enough for every series.
    pub fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled(STAGE_EVALUATION));
        }
        if Instant::now() >= self.deadline {
            return Err(QueryError::Timeout(STAGE_EVALUATION));
        }
        Ok(())
    }

    /// Accounts for `samples` read from the store, of which the caller holds one series at a time.
    pub fn scan(&self, samples: usize) -> Result<(), QueryError> {
        let samples = samples as u64;
        let scanned = self.scanned.fetch_add(samples, Ordering::Relaxed) + samples;
        let held = self.held.load(Ordering::Relaxed) + samples;
        self.held_peak.fetch_max(held, Ordering::Relaxed);
        if held > self.samples_max {
            return Err(QueryError::TooManySamples);
        }
        if scanned > self.scanned_max {
            return Err(QueryError::TooManyScanned { limit: self.scanned_max });
        }
        self.check()
    }

    /// Accounts for samples that windows and lookups offered to functions, each as often as it was offered.
    pub fn offer(&self, samples: u64) {
        self.queryable.fetch_add(samples, Ordering::Relaxed);
    }

    /// Accounts for columns that stay until [`Budget::release`].
    pub fn hold(&self, samples: usize, bytes: usize) -> Result<(), QueryError> {
        let (samples, bytes) = (samples as u64, bytes as u64);
        let held = self.held.fetch_add(samples, Ordering::Relaxed) + samples;
        self.held_peak.fetch_max(held, Ordering::Relaxed);
        let held_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes_peak.fetch_max(held_bytes, Ordering::Relaxed);
        if held > self.samples_max {
            return Err(QueryError::TooManySamples);
        }
        if held_bytes > self.bytes_max {
            return Err(QueryError::TooManyBytes { limit_bytes: self.bytes_max });
        }
        Ok(())
    }

    pub fn release(&self, samples: usize, bytes: usize) {
        self.held.fetch_sub(samples as u64, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// The bytes of columns that may be held at the same time.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn scanned(&self) -> u64 {
        self.scanned.load(Ordering::Relaxed)
    }

    pub fn queryable(&self) -> u64 {
        self.queryable.load(Ordering::Relaxed)
    }

    pub fn held_peak(&self) -> u64 {
        self.held_peak.load(Ordering::Relaxed)
    }

    pub fn bytes_peak(&self) -> u64 {
        self.bytes_peak.load(Ordering::Relaxed)
    }
}

/// Lets a fixed number of queries run and the others wait until their own deadline.
#[derive(Debug)]
pub struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place among the running queries; dropping it lets the next one in.
#[derive(Debug)]
pub struct Turn<'a>(&'a Gate);

impl Gate {
    pub fn new(places: usize) -> Gate {
        Gate { free: Mutex::new(places.max(1)), freed: Condvar::new() }
    }

    /// Waits for a place, no longer than until `deadline` or cancellation.
    pub fn enter(&self, deadline: Instant, cancel: &Cancel) -> Result<Turn<'_>, QueryError> {
        let mut free = self.free.lock();
        while *free == 0 {
            if cancel.is_canceled() {
                return Err(QueryError::Canceled(STAGE_QUEUE));
            }
            if Instant::now() >= deadline {
                return Err(QueryError::Timeout(STAGE_QUEUE));
            }
            self.freed.wait_for(&mut free, QUEUE_POLL);
        }
        *free -= 1;
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limits: &Limits) -> Budget {
        Budget::new(limits, Instant::now() + Duration::from_secs(60), Cancel::new())
    }

    #[test]
    fn held_samples_are_limited_and_come_back_when_released() {
        let budget = budget(&Limits { samples_max: 100, ..Limits::default() });
        budget.hold(90, 0).unwrap();
        assert!(matches!(budget.hold(20, 0), Err(QueryError::TooManySamples)));
        budget.release(110, 0);
        budget.hold(90, 0).unwrap();
        assert_eq!(budget.held_peak(), 110);
    }

    #[test]
    fn bytes_and_scanned_samples_are_limited() {
        let budget = budget(&Limits { bytes_max: 10, scanned_max: 5, ..Limits::default() });
        assert!(matches!(budget.hold(1, 11), Err(QueryError::TooManyBytes { limit_bytes: 10 })));
        assert!(matches!(budget.scan(6), Err(QueryError::TooManyScanned { limit: 5 })));
    }

    #[test]
    fn a_query_waits_for_its_turn_until_its_deadline() {
        let gate = Gate::new(1);
        let cancel = Cancel::new();
        let turn = gate.enter(Instant::now(), &cancel).unwrap();
        let late = gate.enter(Instant::now() + Duration::from_millis(5), &cancel);
        assert_eq!(late.unwrap_err().to_string(), "query timed out in query queue");
        drop(turn);
        assert!(gate.enter(Instant::now(), &cancel).is_ok());
    }

    #[test]
    fn a_canceled_query_leaves_the_queue() {
        let gate = Gate::new(1);
        let cancel = Cancel::new();
        let _turn = gate.enter(Instant::now(), &cancel).unwrap();
        cancel.cancel();
        let error = gate.enter(Instant::now() + Duration::from_secs(9), &cancel).unwrap_err();
        assert_eq!(error.to_string(), "query was canceled in query queue");
    }
}
