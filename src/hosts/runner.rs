//! The thread that collects: when it wakes, what it writes, how it ends.

use super::{collector::Host, files::Roots};
use crate::{
    ingest::{Family, Ingest, InternalSource},
    model::Timestamp,
    stdx::clock::Clock,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The job of the host's series, as in most configurations of Prometheus for node_exporter.
const JOB: &str = "node";
/// A wake-up that is late by less is written at the time it was meant for: even spacing compresses to nearly nothing.
const SNAP_MS: i64 = 2;

const UP: Family<'_> = Family::gauge("up", "Whether the source of a job's series was reached: 1, or 0 where not.");

/// How the host is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsConfig {
    /// Between two rounds; at least 1.
    pub interval_ms: i64,
    pub roots: Roots,
}

/// Whether there is anything to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostsState {
    Collecting,
    /// There is no procfs: not Linux, or a sandbox.
    NoProcfs,
}

/// What was done since the start.
#[derive(Debug, Default)]
pub struct HostsStats {
    pub rounds: AtomicU64,
    /// Rounds that could not be written.
    pub rounds_failed: AtomicU64,
    pub samples: AtomicU64,
    /// Collecting and writing, added up over rounds.
    pub duration_us: AtomicU64,
}

/// The built-in collector of this host; owns its thread.
pub struct Hosts {
    state: HostsState,
    stats: Arc<HostsStats>,
    running: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Hosts {
    /// Starts collecting: at once, then at every multiple of the interval. Without procfs nothing is started, which
    /// [`Hosts::state`] says; an error means that there is no thread to be had.
    pub fn start(ingest: &Ingest, clock: Arc<dyn Clock>, config: HostsConfig) -> io::Result<Hosts> {
        let stats = Arc::new(HostsStats::default());
        let mut host = Host::new(config.roots);
        if !host.has_procfs() {
            return Ok(Hosts { state: HostsState::NoProcfs, stats, running: None });
        }
        let source = ingest.internal_source(&[("job", JOB), ("instance", &instance())]);
        let (stop, stopped) = sync_channel(0);
        let interval_ms = config.interval_ms.max(1);
        let rounds = Rounds { host, source, clock, interval_ms, stats: stats.clone(), failing: false };
        let thread = std::thread::Builder::new().name("hosts".to_owned()).spawn(move || rounds.run(&stopped))?;
        Ok(Hosts { state: HostsState::Collecting, stats, running: Some((stop, thread)) })
    }

    pub fn state(&self) -> HostsState {
        self.state
    }

    pub fn stats(&self) -> &Arc<HostsStats> {
        &self.stats
    }

    /// Ends the thread; waits for a round under way. Series are not marked as ended: the next start goes on with them,
    /// and a restart would otherwise look like a failure.
    pub fn stop(mut self) {
        self.end();
    }

    /// As [`Hosts::stop`], and marks all series as ended: this host is not watched any more.
    pub fn switch_off(mut self) {
        if let Some((stop, _)) = &self.running {
            // Taken once a round under way is done; a thread that is gone has nothing to mark.
            let _ = stop.send(());
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("The collector of this host ended by a mistake of its own.");
            }
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.end();
    }
}

/// The host's name, which tells its series from those of other hosts.
fn instance() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

struct Rounds {
    host: Host,
    source: InternalSource,
    clock: Arc<dyn Clock>,
    interval_ms: i64,
    stats: Arc<HostsStats>,
    failing: bool,
}

impl Rounds {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut at = self.clock.now_ms();
        loop {
            self.round(at);
            // Reckoned anew each time, so that a clock that was set does not matter for longer than one interval.
            let now = self.clock.now_ms();
            let wait_ms = self.interval_ms - now.rem_euclid(self.interval_ms);
            match stopped.recv_timeout(Duration::from_millis(wait_ms.unsigned_abs())) {
                Err(RecvTimeoutError::Timeout) => at = snapped(self.clock.now_ms(), now + wait_ms),
                Ok(()) => return self.mark_ended(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// A round without a sample ends every series.
    fn mark_ended(&mut self) {
        self.source.begin(self.clock.now_ms());
        if let Err(error) = self.source.commit() {
            tracing::warn!(%error, "The series of this host cannot be marked as ended.");
        }
    }

    fn round(&mut self, at: Timestamp) {
        let began = Instant::now();
        self.source.begin(at);
        self.source.sample(&UP, &[], 1.0);
        self.host.collect(at, &mut self.source);
        let result = self.source.commit();
        let add =
            |count: &AtomicU64, by: u128| count.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
        add(&self.stats.duration_us, began.elapsed().as_micros());
        add(&self.stats.rounds, 1);
        match result {
            Ok(report) => {
                add(&self.stats.samples, report.samples as u128);
                self.failing = false;
            }
            Err(error) => {
                add(&self.stats.rounds_failed, 1);
                // Said once: the next rounds would say the same.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "The metrics of this host cannot be stored.");
                }
            }
        }
    }
}

/// The time a round was meant for where it is near, else the time it is.
fn snapped(now: Timestamp, meant: Timestamp) -> Timestamp {
    if (now - meant).abs() <= SNAP_MS { meant } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::IngestConfig,
        model::{METRIC_NAME, Matcher, MetricType, Samples, TimeRange, is_stale},
        stdx::clock::SystemClock,
        store::{Hints, Queryable, memory::Memory},
    };

    fn samples(store: &Memory, name: &str) -> Vec<(String, Samples)> {
        let set = store.select(TimeRange::ALL, &[Matcher::equal(METRIC_NAME, name)], &Hints::default()).unwrap();
        let read = |index| {
            let mut samples = Samples::default();
            set.read(index, &mut samples).unwrap();
            (set.labels(index).to_string(), samples)
        };
        (0..set.len()).map(read).collect()
    }

    #[test]
    fn rounds_are_written_at_multiples_of_the_interval_until_it_is_stopped() {
        let store = Arc::new(Memory::new(Arc::new(SystemClock)));
        let ingest = Ingest::new(store.clone(), Arc::new(SystemClock), IngestConfig::default());
        let config = HostsConfig { interval_ms: 50, roots: Roots::default() };
        let hosts = Hosts::start(&ingest, Arc::new(SystemClock), config).unwrap();
        assert_eq!(hosts.state(), HostsState::Collecting);
        let began = Instant::now();
        while hosts.stats().rounds.load(Ordering::Relaxed) < 4 && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let stats = hosts.stats().clone();
        hosts.stop();
        let rounds = stats.rounds.load(Ordering::Relaxed);
        assert!(rounds >= 4 && stats.rounds_failed.load(Ordering::Relaxed) == 0);
        let up = samples(&store, "up");
        assert_eq!(up[0].0, format!("up{{instance={:?}, job=\"node\"}}", instance()));
        assert_eq!(up[0].1.values.len() as u64, rounds);
        let load = samples(&store, "node_load1");
        assert_eq!(load[0].1.timestamps, up[0].1.timestamps, "one batch has one time");
        assert_eq!(ingest.metadata().get("node_cpu_seconds_total").unwrap().metric_type, MetricType::Counter);
        std::thread::sleep(Duration::from_millis(120));
        assert_eq!(stats.rounds.load(Ordering::Relaxed), rounds);
    }

    #[test]
    fn switching_it_off_ends_every_series() {
        let store = Arc::new(Memory::new(Arc::new(SystemClock)));
        let ingest = Ingest::new(store.clone(), Arc::new(SystemClock), IngestConfig::default());
        let config = HostsConfig { interval_ms: 60_000, roots: Roots::default() };
        let hosts = Hosts::start(&ingest, Arc::new(SystemClock), config).unwrap();
        hosts.switch_off();
        for name in ["up", "node_load1"] {
            let last = samples(&store, name)[0].1.values.last().copied();
            assert!(last.is_some_and(is_stale), "{name}: {last:?}");
        }
    }

    #[test]
    fn without_a_procfs_nothing_is_started() {
        let store = Arc::new(Memory::new(Arc::new(SystemClock)));
        let ingest = Ingest::new(store.clone(), Arc::new(SystemClock), IngestConfig::default());
        let roots = Roots { proc: "/no/such/place".into(), ..Roots::default() };
        let hosts = Hosts::start(&ingest, Arc::new(SystemClock), HostsConfig { interval_ms: 15_000, roots }).unwrap();
        assert_eq!(hosts.state(), HostsState::NoProcfs);
        hosts.stop();
        assert!(samples(&store, "up").is_empty());
    }

    #[test]
    fn lateness_within_the_tolerance_is_not_written() {
        assert_eq!([998, 1_002, 1_003, 990].map(|now| snapped(now, 1_000)), [1_000, 1_000, 1_003, 990]);
    }
}
