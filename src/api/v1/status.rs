//! What this process is and holds.

use super::series::read;
use crate::{
    api::{
        error::ApiError,
        params::Params,
        render::envelope::answer,
        state::{Api, Ready},
    },
    model::time::format_duration_ms,
    store::LabelCount,
    telemetry::build,
};
use axum::{extract::State, response::Response};
use serde_json::{Value, json};
use std::sync::Arc;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const LIST_DEFAULT: usize = 10;
const LIST_MAX: usize = 10_000;

/// `/api/v1/status/buildinfo`. Clients choose their requests by the version, so it is that of the Prometheus we are
/// compatible with. There is no `features`: Grafana takes that for a ruler that can be written to.
pub async fn build() -> Response {
    answer(&json!({
        "version": build::PROMETHEUS_VERSION,
        "revision": build::COMMIT,
        "branch": format!("observatory-{}", build::VERSION),
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// `/api/v1/status/runtimeinfo`.
pub async fn runtime(State(api): State<Arc<Api>>, Ready(parts): Ready) -> Result<Response, ApiError> {
    let retention = format_duration_ms(api.about.retention_ms);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let in_force = api.about.in_force.read().clone();
    let damaged = parts.store.status(0)?.damaged;
    Ok(answer(&json!({
        "startTime": rfc3339(api.about.started_ms),
        "CWD": std::env::current_dir().unwrap_or_default().to_string_lossy(),
        "hostname": hostname(),
        "serverTime": rfc3339(parts.clock.now_ms()),
        "reloadConfigSuccess": !in_force.reload_failed,
        "lastConfigTime": rfc3339(in_force.since_ms),
        "corruptionCount": damaged,
        "goroutineCount": crate::telemetry::process::Process::read().threads as u64,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention,
    })))
}

/// `/api/v1/status/tsdb`.
pub async fn tsdb(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = list_limit(&params)?;
    read(&api, parts, move |parts| {
        let status = parts.store.status(limit)?;
        Ok(answer(&json!({
            "headStats": {
                "numSeries": status.series,
                "numLabelPairs": status.label_pairs,
                "chunkCount": status.chunks,
                "minTime": status.oldest.unwrap_or(i64::MAX),
                "maxTime": status.newest.unwrap_or(i64::MIN),
            },
            "seriesCountByMetricName": counts(&status.series_by_metric),
            "labelValueCountByLabelName": counts(&status.values_by_label),
            "memoryInBytesByLabelName": counts(&status.bytes_by_label),
            "seriesCountByLabelValuePair": counts(&status.series_by_pair),
        })))
    })
    .await
}

/// How many entries lists have.
pub(super) fn list_limit(params: &Params) -> Result<usize, ApiError> {
    match params.get("limit") {
        "" => Ok(LIST_DEFAULT),
        text => match text.parse::<usize>() {
            Ok(limit) if limit > LIST_MAX => Err(ApiError::bad_data(format!("limit must not exceed {LIST_MAX}"))),
            Ok(limit) if limit > 0 => Ok(limit),
            _ => Err(ApiError::bad_data("limit must be a positive number")),
        },
    }
}

fn counts(counts: &[LabelCount]) -> Value {
    counts.iter().map(|count| json!({ "name": count.name, "value": count.value })).collect()
}

/// `/api/v1/status/config`.
pub async fn config(State(api): State<Arc<Api>>) -> Response {
    answer(&json!({ "yaml": api.about.in_force.read().yaml }))
}

/// `/api/v1/status/flags`.
pub async fn flags(State(api): State<Arc<Api>>) -> Response {
    answer(&json!(api.about.flags))
}

/// `/api/v1/status/walreplay`: answered while not ready as well. Replay is short, so it has no steps to tell.
pub async fn replay(State(api): State<Arc<Api>>) -> Response {
    let done = u8::from(api.parts().is_ok());
    answer(&json!({ "min": 0, "max": 1, "current": done }))
}

pub(super) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Milliseconds since the epoch as RFC 3339.
pub fn rfc3339(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
