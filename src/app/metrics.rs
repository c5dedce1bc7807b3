//! What rooms count, under the names dashboards of Prometheus and Pushgateway know and our own beside them.

use super::host::HostWatch;
use crate::{
    hosts::HostsState,
    ingest::Ingest,
    mailbox::Mailroom,
    store::{Queryable, StorageReport, Upkeep, tsdb::Tsdb},
    telemetry::{Metrics, Reading, build, process},
};
use prometheus::IntGauge;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Everything that needs no store.
pub fn register_process(metrics: &Metrics) {
    process::register(metrics);
    let built = [("version", build::VERSION), ("revision", build::COMMIT)];
    metrics.info("observatory_build_info", "Version and commit of this program; always 1.", &built);
    let compatible = [
        ("version", build::PROMETHEUS_VERSION),
        ("revision", build::COMMIT),
        ("branch", "observatory"),
        ("goversion", ""),
    ];
    let help = "The Prometheus release this program is compatible with; always 1.";
    metrics.info("prometheus_build_info", help, &compatible);
}

/// Whether the config read last was fit to come into force, and when one last did.
pub struct ReloadMetrics {
    pub successful: IntGauge,
    pub success_seconds: IntGauge,
}

impl ReloadMetrics {
    pub fn new(metrics: &Metrics) -> ReloadMetrics {
        ReloadMetrics {
            successful: metrics
                .gauge("prometheus_config_last_reload_successful", "Whether the config was read without a mistake."),
            success_seconds: metrics.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "When a config came into force last.",
            ),
        }
    }
}

/// What the store holds.
pub fn register_store(metrics: &Metrics, store: &Arc<Tsdb>) {
    let store = Arc::downgrade(store);
    metrics.readings(move || {
        // After the store is gone there is still the list of names.
        let store = store.upgrade();
        let status = store.as_ref().and_then(|store| store.status(0).ok()).unwrap_or_default();
        let appended = store.map_or(0, |store| store.samples_appended());
        let ms = |at: Option<i64>, none: i64| at.unwrap_or(none) as f64;
        vec![
            Reading::gauge("prometheus_tsdb_head_series", "Number of series in memory.", status.series as f64),
            Reading::gauge("prometheus_tsdb_head_chunks", "Number of columns in memory.", status.chunks as f64),
            Reading::counter(
                "prometheus_tsdb_head_samples_appended_total",
                "Samples accepted since the start.",
                appended as f64,
            ),
            Reading::gauge(
                "prometheus_tsdb_head_min_time",
                "Time of the oldest sample in memory, in milliseconds.",
                ms(status.oldest, i64::MAX),
            ),
            Reading::gauge(
                "prometheus_tsdb_head_max_time",
                "Time of the newest sample in memory, in milliseconds.",
                ms(status.newest, i64::MIN),
            ),
            Reading::gauge("prometheus_tsdb_wal_storage_size_bytes", "Size of the log.", status.log_bytes as f64),
            Reading::gauge("prometheus_tsdb_blocks_loaded", "Blocks open.", status.window_files as f64),
            Reading::gauge(
                "prometheus_tsdb_storage_blocks_bytes",
                "Bytes of all blocks.",
                status.window_file_bytes as f64,
            ),
            Reading::counter(
                "observatory_storage_damaged_total",
                "Damaged log records and chunks met since the start; their data is lost.",
                status.damaged as f64,
            ),
        ]
    });
}

/// What became of what is stored.
pub fn register_upkeep(metrics: &Metrics, store: &Arc<Tsdb>) {
    let store = Arc::downgrade(store);
    metrics.readings(move || {
        let report = store.upgrade().and_then(|store| store.storage(0).ok()).unwrap_or_default();
        let mut readings = retention_readings(&report);
        readings.extend(tier_readings(&report));
        readings.extend(disk_readings(&report));
        readings
    });
}

fn retention_readings(report: &StorageReport) -> Vec<Reading> {
    let windows = report.head.windows.iter().map(|window| window.start_ms);
    let oldest = report.blocks.iter().map(|block| block.oldest_ms).chain(windows).min();
    let oldest = oldest.unwrap_or(i64::MAX) as f64;
    vec![
        Reading::counter(
            "prometheus_tsdb_compactions_total",
            "Merges of blocks done.",
            report.compaction.merges as f64,
        ),
        Reading::counter(
            "prometheus_tsdb_compactions_failed_total",
            "Merges of blocks that failed.",
            report.compaction.failures as f64,
        ),
        Reading::counter(
            "prometheus_tsdb_size_retentions_total",
            "Blocks dropped for want of room.",
            report.retention.dropped_by_size as f64,
        ),
        Reading::counter(
            "prometheus_tsdb_time_retentions_total",
            "Blocks dropped for their age.",
            report.retention.dropped_by_time as f64,
        ),
        Reading::gauge(
            "prometheus_tsdb_retention_limit_bytes",
            "What blocks and log may take together; 0 for no limit.",
            report.retention.allowed_bytes.unwrap_or(0) as f64,
        ),
        Reading::gauge(
            "prometheus_tsdb_retention_limit_seconds",
            "How long samples are kept.",
            report.retention.time_ms as f64 / 1000.0,
        ),
        Reading::gauge("prometheus_tsdb_lowest_timestamp", "Where what is stored begins, in milliseconds.", oldest),
        Reading::counter(
            "observatory_store_compaction_bytes_total",
            "Bytes of blocks written by merges.",
            report.compaction.bytes_written as f64,
        ),
        Reading::gauge(
            "observatory_store_compaction_postponed",
            "Whether merging waits for free disk.",
            f64::from(u8::from(report.compaction.postponed)),
        ),
    ]
}

fn tier_readings(report: &StorageReport) -> Vec<Reading> {
    let tiers = &report.tiers;
    vec![
        Reading::gauge(
            "observatory_store_kept_files",
            "Blocks of samples that policies keep longer than those beside them.",
            report.kept.files as f64,
        ),
        Reading::gauge("observatory_store_kept_bytes", "Bytes of all such blocks.", report.kept.bytes as f64),
        Reading::gauge(
            "observatory_store_tier_files",
            "Files of buckets.",
            tiers.iter().map(|tier| tier.files).sum::<u64>() as f64,
        ),
        Reading::gauge(
            "observatory_store_tier_bytes",
            "Bytes of all files of buckets.",
            tiers.iter().map(|tier| tier.bytes).sum::<u64>() as f64,
        ),
        Reading::gauge(
            "observatory_store_tier_lag_seconds",
            "How far back samples reach that a tier does not have yet.",
            tiers
                .iter()
                .filter_map(|tier| tier.lacks_from_ms)
                .min()
                .map_or(0.0, |from_ms| report.now_ms.saturating_sub(from_ms).max(0) as f64 / 1000.0),
        ),
        Reading::counter(
            "observatory_store_tiers_built_total",
            "Stretches of time of which buckets were built, again or for the first time.",
            report.compaction.tiers_built as f64,
        ),
    ]
}

fn disk_readings(report: &StorageReport) -> Vec<Reading> {
    vec![
        Reading::gauge(
            "observatory_store_disk_full",
            "Whether writes are refused because the disk is full.",
            f64::from(u8::from(report.disk.full)),
        ),
        Reading::gauge(
            "observatory_store_disk_free_bytes",
            "Bytes free on the file system that holds the data.",
            report.disk.free_bytes as f64,
        ),
        Reading::counter(
            "observatory_refused_disk_full_total",
            "Writes refused because the disk was full.",
            report.disk.refused_appends as f64,
        ),
        Reading::gauge(
            "observatory_store_blocks_unserved",
            "Files of blocks that cannot be read.",
            report.damage.unserved.len() as f64,
        ),
    ]
}

/// What came through the door.
pub fn register_ingest(metrics: &Metrics, ingest: &Ingest) {
    let ingest = ingest.clone();
    metrics.readings(move || {
        let stats = ingest.stats();
        let count = |name, help, count: &crate::ingest::Count| Reading::counter(name, help, count.get() as f64);
        vec![
            count("observatory_write_samples_total", "Float samples stored by remote write.", &stats.samples),
            count("observatory_write_histograms_total", "Histograms stored by remote write.", &stats.histograms),
            count("observatory_write_exemplars_total", "Exemplars that came.", &stats.exemplars),
            count("observatory_write_requests_total", "Remote writes stored whole.", &stats.writes_ok),
            count(
                "observatory_write_requests_failed_total",
                "Remote writes refused in part or whole.",
                &stats.writes_failed,
            ),
            count(
                "observatory_write_series_skipped_total",
                "Series of remote writes that name none.",
                &stats.series_skipped,
            ),
            count("observatory_scrape_samples_stored_total", "Samples stored by scrapes.", &stats.scrape_samples),
            count("observatory_stale_markers_total", "Staleness markers written by scrapes.", &stats.stale_markers),
            count("observatory_push_requests_total", "Pushes applied.", &stats.pushes_ok),
            count("observatory_push_requests_failed_total", "Pushes refused.", &stats.pushes_failed),
            count("observatory_push_samples_total", "Samples of applied pushes.", &stats.push_samples),
            count("observatory_push_deletes_total", "Deletions of push groups.", &stats.push_deletes),
            count(
                "observatory_push_records_damaged_total",
                "Push groups that could not be read back at the start.",
                &stats.push_records_damaged,
            ),
            Reading::gauge("observatory_push_groups", "Push groups that are kept.", ingest.push_groups() as f64),
            count(
                "observatory_refused_duplicate_total",
                "Samples that differ from a stored one.",
                &stats.refused_duplicate,
            ),
            count("observatory_refused_too_old_total", "Samples before the retention.", &stats.refused_too_old),
            count("observatory_refused_out_of_bounds_total", "Samples too far ahead.", &stats.refused_out_of_bounds),
            count("observatory_refused_label_limit_total", "Series with too large labels.", &stats.refused_label_limit),
            count("observatory_refused_series_limit_total", "Series beyond the limit.", &stats.refused_series_limit),
            count(
                "observatory_refused_memory_short_total",
                "Samples of new series while memory was short.",
                &stats.refused_memory_short,
            ),
            count(
                "observatory_refused_contradictory_total",
                "Histograms that contradict themselves.",
                &stats.refused_invalid_histogram,
            ),
        ]
    });
}

/// What waits in the mailbox and what became of what did.
pub fn register_mailbox(metrics: &Metrics, mailroom: &Mailroom) {
    let of_queue = mailroom.clone();
    metrics.readings(move || {
        let (queue, depth) = (of_queue.queue(), of_queue.queue().depth());
        let stats = queue.stats();
        let age_ms = depth.oldest_ms.map_or(0, |oldest_ms| queue.clock().now_ms().saturating_sub(oldest_ms).max(0));
        let count = |name, help, count: u64| Reading::counter(name, help, count as f64);
        vec![
            Reading::gauge("observatory_mailbox_messages", "Messages that wait or are handled.", depth.waiting as f64),
            Reading::gauge("observatory_mailbox_in_flight", "Messages that are handled.", depth.in_flight as f64),
            Reading::gauge("observatory_mailbox_dead_letters", "Messages nobody could handle.", depth.dead as f64),
            Reading::gauge("observatory_mailbox_bytes", "Bytes of all messages, uncompressed.", depth.bytes as f64),
            Reading::gauge("observatory_mailbox_limit_bytes", "Bytes there may be.", depth.bytes_max as f64),
            Reading::gauge(
                "observatory_mailbox_oldest_age_seconds",
                "How long the oldest message has waited.",
                age_ms as f64 / 1000.0,
            ),
            count("observatory_mailbox_taken_total", "Messages put into the queue.", stats.taken.get()),
            count("observatory_mailbox_handled_total", "Messages handled.", stats.handled.get()),
            count("observatory_mailbox_retried_total", "Attempts that are to be repeated.", stats.retried.get()),
            count("observatory_mailbox_dead_total", "Messages that became dead letters.", stats.dead.get()),
            count("observatory_mailbox_duplicates_total", "Messages that came again.", stats.duplicates.get()),
            count(
                "observatory_mailbox_refused_full_total",
                "Messages refused for want of room.",
                stats.refused_full.get(),
            ),
            count("observatory_mailbox_expired_total", "Dead letters gone by age or for others.", stats.expired.get()),
            count("observatory_mailbox_damaged_total", "Messages that could not be read back.", stats.damaged.get()),
        ]
    });
    let Some(redis) = mailroom.redis_stats().cloned() else { return };
    metrics.readings(move || {
        let count = |name, help, count: u64| Reading::counter(name, help, count as f64);
        vec![
            Reading::gauge(
                "observatory_mailbox_redis_connected",
                "Whether all streams are being read.",
                f64::from(u8::from(redis.connected())),
            ),
            Reading::gauge("observatory_mailbox_redis_lag", "Entries not read yet.", redis.lag() as f64),
            count("observatory_mailbox_redis_sent_total", "Messages put into streams.", redis.sent.get()),
            count("observatory_mailbox_redis_lost_total", "Entries trimmed before we had them.", redis.lost.get()),
            count("observatory_mailbox_redis_failures_total", "Connections that failed.", redis.failures.get()),
            count(
                "observatory_mailbox_redis_groups_made_again_total",
                "Groups that were gone, as after a FLUSHDB.",
                redis.groups_made_again.get(),
            ),
        ]
    });
}

/// What the collector of this host did.
pub fn register_hosts(metrics: &Metrics, host: &HostWatch) {
    let host = host.clone();
    metrics.readings(move || {
        let found = host.read(|hosts| (hosts.stats().clone(), hosts.state() == HostsState::Collecting));
        let (stats, collecting) = found.unwrap_or_default();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        vec![
            Reading::gauge(
                "observatory_hosts_collecting",
                "Whether this host is watched: 1, or 0 where it has no procfs or the config says no.",
                f64::from(u8::from(collecting)),
            ),
            Reading::counter("observatory_hosts_rounds_total", "Rounds of host metrics.", count(&stats.rounds)),
            Reading::counter(
                "observatory_hosts_rounds_failed_total",
                "Rounds of host metrics that could not be stored.",
                count(&stats.rounds_failed),
            ),
            Reading::counter(
                "observatory_hosts_samples_total",
                "Samples of host metrics stored.",
                count(&stats.samples),
            ),
            Reading::counter(
                "observatory_hosts_duration_seconds_total",
                "Time spent collecting and storing host metrics.",
                count(&stats.duration_us) / 1e6,
            ),
        ]
    });
}
