//! Scrape targets, in the shapes of Prometheus.

use super::status::rfc3339;
use crate::{
    api::{
        error::ApiError,
        params::Params,
        place::Place,
        render::envelope::answer,
        state::{Api, Ready},
    },
    model::{Labels, time::format_duration_ms},
    promql::parser::parse_selector,
    scrape::Target,
};
use axum::{extract::State, response::Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Go's zero time, before the first scrape.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `/api/v1/targets`. Nothing is dropped as long as nothing is relabelled.
pub async fn targets(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let state = params.get("state").to_ascii_lowercase();
    let pool = params.get("scrapePool");
    let is_shown = |wanted: &str| state.is_empty() || state == wanted || state == "any";
    let targets = parts.scrape.targets();
    let hostname = super::status::hostname();
    let shown = targets.iter().filter(|target| is_shown("active") && (pool.is_empty() || target.job == pool));
    let active: Vec<Value> = shown.map(|target| entry(target, &api.config.place, &hostname)).collect();
    let counts = if is_shown("dropped") {
        let pools = parts.scrape.pools();
        Value::Object(pools.iter().map(|pool| (pool.clone(), json!(0))).collect())
    } else {
        Value::Null
    };
    Ok(answer(&json!({ "activeTargets": active, "droppedTargets": [], "droppedTargetCounts": counts })))
}

fn entry(target: &Target, place: &Place, hostname: &str) -> Value {
    let status = target.status();
    // A target whose address is wrong has an error in place of a URL.
    let url = target.url.as_ref().map_or("", |url| url.as_str());
    json!({
        "discoveredLabels": object(&target.discovered),
        "labels": object(&target.labels),
        "scrapePool": target.job,
        "scrapeUrl": url,
        "globalUrl": place.global_url(url, hostname),
        "lastError": status.error,
        "lastScrape": status.scraped_at.map_or_else(|| NEVER.to_owned(), rfc3339),
        "lastScrapeDuration": status.seconds,
        "health": status.health.as_str(),
        "scrapeInterval": format_duration_ms(target.interval_ms),
        "scrapeTimeout": format_duration_ms(target.timeout_ms),
    })
}

fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// `/api/v1/targets/metadata`. The limit is looked at between targets, as Prometheus does.
pub async fn metadata(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = match params.get("limit") {
        "" => usize::MAX,
        text => {
            let number: i64 = text.parse().map_err(|_| ApiError::bad_data("limit must be a number"))?;
            usize::try_from(number).unwrap_or(usize::MAX)
        }
    };
    let matchers = match params.get("match_target") {
        "" => Vec::new(),
        text => parse_selector(text).map_err(|error| ApiError::bad_data(error.to_string()))?,
    };
    let metric = Some(params.get("metric")).filter(|metric| !metric.is_empty());
    let mut out = Vec::new();
    for target in parts.scrape.targets().iter() {
        if out.len() >= limit {
            break;
        }
        if !matchers.iter().all(|matcher| matcher.matches_labels(&target.labels)) {
            continue;
        }
        for (name, known) in target.metadata(metric) {
            let mut entry = json!({
                "target": object(&target.labels),
                "type": known.metric_type.as_str(),
                "help": known.help,
                "unit": known.unit,
            });
            if metric.is_none() {
                entry["metric"] = Value::from(name);
            }
            out.push(entry);
        }
    }
    Ok(answer(&Value::Array(out)))
}

/// `/api/v1/scrape_pools`.
pub async fn pools(Ready(parts): Ready) -> Response {
    answer(&json!({ "scrapePools": parts.scrape.pools().to_vec() }))
}
