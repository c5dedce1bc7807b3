//! What scraping counts, under Prometheus' names where it has one.

use crate::telemetry::Metrics;
use prometheus::{Histogram, IntCounter, IntGauge};

/// Shared by all loops.
pub struct ScrapeMetrics {
    pub scrapes: IntCounter,
    pub failed: IntCounter,
    pub targets: IntGauge,
    pub samples: IntCounter,
    pub duplicates: IntCounter,
    pub out_of_bounds: IntCounter,
    pub too_old: IntCounter,
    pub sample_limit: IntCounter,
    pub body_limit: IntCounter,
    pub lost: IntCounter,
    pub lateness_seconds: Histogram,
    pub seconds: Histogram,
}

impl ScrapeMetrics {
    pub fn new(metrics: &Metrics) -> ScrapeMetrics {
        let count = |name: &str, help: &str| metrics.counter(name, help);
        ScrapeMetrics {
            scrapes: count("observatory_scrapes_total", "Scrapes done, those that failed included."),
            failed: count("observatory_scrapes_failed_total", "Scrapes that gave nothing."),
            targets: metrics.gauge("observatory_scrape_targets", "Targets that are scraped."),
            samples: count("observatory_scrape_samples_total", "Samples read from targets."),
            duplicates: count(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Samples of a series and time that had one already.",
            ),
            out_of_bounds: count(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Samples whose timestamp is too far ahead of the clock.",
            ),
            too_old: count(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Samples whose timestamp is before the retention.",
            ),
            sample_limit: count(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Scrapes refused for having more samples than allowed.",
            ),
            body_limit: count(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Scrapes refused for a body larger than allowed.",
            ),
            lost: count("observatory_scrapes_lost_total", "Scrapes the store did not take or did not keep."),
            lateness_seconds: metrics.histogram(
                "observatory_scrape_lateness_seconds",
                "From the moment a scrape was due to its begin.",
                &[0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0],
            ),
            seconds: metrics.histogram(
                "observatory_scrape_duration_seconds",
                "From the request to the last byte of its answer.",
                &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0],
            ),
        }
    }
}
