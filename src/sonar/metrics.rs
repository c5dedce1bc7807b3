//! What the room counts of itself.

use crate::telemetry::Metrics;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

/// Shared by all syncs.
#[derive(Clone)]
pub struct SonarMetrics {
    pub calls: IntCounterVec,
    pub retries: IntCounter,
    pub errors: IntCounterVec,
    pub pages: IntCounter,
    pub values: IntCounter,
    pub refused: IntCounter,
    pub budget_left: IntGauge,
    pub projects: IntGauge,
    pub branches: IntGauge,
    pub last_success_seconds: IntGauge,
    pub lag_seconds: IntGauge,
    pub webhooks: IntCounterVec,
}

impl SonarMetrics {
    pub fn new(metrics: &Metrics) -> SonarMetrics {
        let (count, gauge) = (|name, help| metrics.counter(name, help), |name, help: &str| metrics.gauge(name, help));
        SonarMetrics {
            calls: metrics.counters(
                "observatory_sonar_calls_total",
                "Calls to SonarQube by the code of the answer; 0 where there was none.",
                &["code"],
            ),
            retries: count("observatory_sonar_retries_total", "Calls that were made again after a failure."),
            errors: metrics.counters(
                "observatory_sonar_errors_total",
                "What kept something from being synced.",
                &["kind"],
            ),
            pages: count("observatory_sonar_pages_total", "Pages of history put into the mailbox."),
            values: count("observatory_sonar_values_total", "Values of analyses stored that were not known before."),
            refused: count("observatory_sonar_rows_refused_total", "Changes the store did not take."),
            budget_left: gauge("observatory_sonar_budget_calls", "Calls that could be made at once."),
            projects: gauge("observatory_sonar_projects", "Projects that are synced."),
            branches: gauge("observatory_sonar_branches", "Branches that are synced."),
            last_success_seconds: gauge(
                "observatory_sonar_last_success_timestamp_seconds",
                "When the last sync ended that left nothing out; 0 before the first.",
            ),
            lag_seconds: gauge(
                "observatory_sonar_lag_seconds",
                "Age of the oldest analysis that is known to be there and not stored; 0 where all are stored.",
            ),
            webhooks: metrics.counters(
                "observatory_sonar_webhooks_total",
                "Webhooks that came, by what was done.",
                &["result"],
            ),
        }
    }
}
