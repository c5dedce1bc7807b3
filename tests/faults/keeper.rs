//! Somebody who has everything sealed, merged and dropped all the time, so that faults meet those too.

use super::past::HOUR_MS;
use super::support::tools::now_ms;
use super::support::{http, wire};
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the store keeps where nothing is configured.
const RETENTION_MS: i64 = 30 * 24 * HOUR_MS;

/// How long the samples that shall expire have left.
const EXPIRES_MS: i64 = 200;

/// Between two of these samples: a newer one in its block would keep the older one from going.
const EXPIRING_EVERY_MS: i64 = 500;

/// What was done about blocks under the load.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    pub compactions: u64,
    pub merges: u64,
    pub dropped: u64,
    /// Compactions that ended in an error.
    pub failed: Vec<String>,
}

impl Kept {
    pub fn add(&mut self, other: Kept) {
        self.compactions += other.compactions;
        self.merges += other.merges;
        self.dropped += other.dropped;
        self.failed.extend(other.failed);
    }

    /// Panics where faults cannot have met compaction and retention.
    pub fn assert_busy(&self, rounds: u32) {
        assert!(self.merges >= u64::from(rounds) && self.dropped > 0, "too little was merged or dropped: {self}");
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} compactions with {} merges, {} blocks expired", self.compactions, self.merges, self.dropped)
    }
}

/// Seals and merges everything and waits for it.
pub fn compact(url: &str) -> Result<(), String> {
    let started = http::try_send("POST", &format!("{url}/api/v1/admin/storage/compact"), &[], b"")?;
    if started.status != 202 {
        return Err(format!("compaction was not started: {started}"));
    }
    let id = started.json()["data"]["id"].to_string();
    loop {
        let job = http::try_get(&format!("{url}/api/v1/jobs/{}", id.trim_matches('"')))?;
        let job = if job.status == 200 { job.json()["data"].clone() } else { return Err(job.to_string()) };
        match job["state"].as_str() {
            Some("running") => std::thread::sleep(Duration::from_millis(2)),
            Some("done") => return Ok(()),
            _ => return Err(job.to_string()),
        }
    }
}

/// Until `stop`, or until the server does not answer any more.
pub fn keep(url: &str, stop: &AtomicBool) -> Kept {
    let mut kept = Kept::default();
    let mut expiring_ms = 0;
    while !stop.load(Ordering::SeqCst) {
        let now_ms = now_ms();
        let number = (now_ms % 16).to_string();
        // The store believes a clock only as far as its samples do.
        let mut series = vec![wire::Series::new("fault_beat", &[], &[(now_ms, 1.0)])];
        if now_ms - expiring_ms >= EXPIRING_EVERY_MS {
            expiring_ms = now_ms;
            let sample = (now_ms - RETENTION_MS + EXPIRES_MS, 1.0);
            series.push(wire::Series::new("fault_expiring", &[("number", &number)], &[sample]));
        }
        let body = wire::write_request(&series);
        if http::try_send("POST", &format!("{url}/api/v1/write"), wire::WRITE_HEADERS, &body).is_err() {
            break;
        }
        match compact(url) {
            Ok(()) => kept.compactions += 1,
            // Gone in the middle of it, or an error it told; one that is gone does not answer this either.
            Err(error) if http::try_get(&format!("{url}/-/healthy")).is_ok() => kept.failed.push(error),
            Err(_) => break,
        }
        let Ok(report) = http::try_get(&format!("{url}/api/v1/status/storage?limit=1")) else { break };
        if report.status == 200 {
            let report: Value = report.json()["data"].clone();
            kept.merges = report["compaction"]["merges"].as_u64().unwrap_or(0);
            kept.dropped = report["retention"]["dropped_by_time"].as_u64().unwrap_or(0);
        }
    }
    kept
}
