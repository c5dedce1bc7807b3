//! Who may use how much at once: reads wait for their turn, bodies for memory.

use super::{
    error::{ApiError, ErrorKind},
    state::ApiConfig,
};
use crate::telemetry::{Metrics, Reading};
use parking_lot::RwLock;
use prometheus::IntCounter;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Reads that wait: each holds its connection and its parameters, and most of them time out anyway.
const READS_WAITING_MAX: usize = 512;
/// Decompressed bodies in memory at once, in KiB: one of the largest, or a few hundred common ones.
const BODIES_KIB_MAX: u32 = 128 << 10;
/// Each holds a connection for as long as a page is open.
const LISTENERS_MAX: usize = 64;
/// How long a body waits for memory; senders retry after that.
const BODY_WAIT: Duration = Duration::from_secs(5);

/// The places of a process.
pub struct Admission {
    reads: Arc<Semaphore>,
    reads_waiting: Arc<AtomicUsize>,
    read_timeout: Duration,
    /// Why no read is taken now, if so.
    shed: RwLock<Option<String>>,
    shed_count: IntCounter,
    bodies: Arc<Semaphore>,
    /// The one place for reports on the store, which look at all of its index.
    reports: Arc<Semaphore>,
    /// Places for clients that listen to events.
    pub listeners: Arc<Semaphore>,
}

/// Counts one that waits, also when the client goes away meanwhile.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub fn new(config: &ApiConfig, metrics: &Metrics) -> Admission {
        let reads = Arc::new(Semaphore::new(config.reads_max));
        let reads_waiting = Arc::new(AtomicUsize::new(0));
        let (places, waiting, reads_max) = (reads.clone(), reads_waiting.clone(), config.reads_max);
        metrics.readings(move || {
            let running = reads_max - places.available_permits().min(reads_max);
            let waiting = waiting.load(Ordering::Relaxed);
            vec![
                Reading::gauge(
                    "prometheus_engine_queries",
                    "The current number of queries being executed or waiting.",
                    (running + waiting) as f64,
                ),
                Reading::gauge(
                    "prometheus_engine_queries_concurrent_max",
                    "The max number of concurrent queries.",
                    reads_max as f64,
                ),
            ]
        });
        let read_timeout = Duration::from_millis(config.read_timeout_ms);
        let bodies = Arc::new(Semaphore::new(BODIES_KIB_MAX as usize));
        let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
        let shed_count = metrics.counter("observatory_reads_shed_total", "Reads refused because memory was short.");
        let (shed, reports) = (RwLock::new(None), Arc::new(Semaphore::new(1)));
        Admission { reads, reads_waiting, read_timeout, shed, shed_count, bodies, reports, listeners }
    }

    /// From now on new reads are refused and told why, or taken again.
    pub fn shed_reads(&self, why: Option<String>) {
        *self.shed.write() = why;
    }

    /// A turn to read. Waits no longer than `wait`, nor than any read may take.
    pub async fn read(&self, wait: Option<Duration>) -> Result<OwnedSemaphorePermit, ApiError> {
        if let Some(why) = &*self.shed.read() {
            self.shed_count.inc();
            return Err(ApiError::new(ErrorKind::Overloaded, why.clone()));
        }
        if let Ok(turn) = self.reads.clone().try_acquire_owned() {
            return Ok(turn);
        }
        if self.reads_waiting.fetch_add(1, Ordering::Relaxed) >= READS_WAITING_MAX {
            self.reads_waiting.fetch_sub(1, Ordering::Relaxed);
            let message = format!("{READS_WAITING_MAX} queries are waiting already; try again later");
            return Err(ApiError::new(ErrorKind::Overloaded, message));
        }
        let _waiting = Waiting(&self.reads_waiting);
        let wait = wait.map_or(self.read_timeout, |wait| wait.min(self.read_timeout));
        match timeout(wait, self.reads.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(ApiError::new(ErrorKind::Timeout, "query timed out in query queue")),
        }
    }

    /// The turn of a report on the store. Not shed with the reads.
    pub async fn report(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.reports.clone().acquire_owned().await.ok()
    }

    /// Memory for a body that takes about `bytes` when decompressed; held until the permit is dropped.
    pub async fn body(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, BODIES_KIB_MAX);
        match timeout(BODY_WAIT, self.bodies.clone().acquire_many_owned(kib)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let message = "too many large bodies are being read at once; send again in a moment";
                Err(ApiError::new(ErrorKind::Overloaded, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        let config = ApiConfig { reads_max: 1, read_timeout_ms: 1_000, ..ApiConfig::default() };
        Admission::new(&config, &Metrics::new())
    }

    #[tokio::test(start_paused = true)]
    async fn reads_wait_for_their_turn_and_no_longer_than_allowed() {
        let admission = admission();
        let turn = admission.read(None).await.unwrap();
        let error = admission.read(Some(Duration::from_millis(5))).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Timeout, "query timed out in query queue"));
        drop(turn);
        drop(admission.read(None).await.unwrap());
        assert_eq!(admission.reads_waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn reads_are_shed_with_a_reason_and_taken_again() {
        let admission = admission();
        admission.shed_reads(Some("memory is short".to_owned()));
        let error = admission.read(None).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Overloaded, "memory is short"));
        assert_eq!(admission.shed_count.get(), 1);
        admission.shed_reads(None);
        drop(admission.read(None).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_share_the_memory_there_is() {
        let admission = admission();
        let large = admission.body(usize::MAX).await.unwrap();
        assert_eq!(admission.body(1).await.unwrap_err().kind, ErrorKind::Overloaded);
        drop(large);
        drop(admission.body(1).await.unwrap());
    }
}
