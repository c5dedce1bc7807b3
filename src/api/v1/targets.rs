//! Scrape targets. Nothing is scraped, so there are none; the shapes are those of Prometheus.

use crate::api::{error::ApiError, params::Params, render::envelope::answer};
use axum::response::Response;
use serde_json::json;

/// `/api/v1/targets`.
pub async fn targets(params: Params) -> Result<Response, ApiError> {
    let counts = if params.get("state") == "active" { json!(null) } else { json!({}) };
    Ok(answer(&json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": counts })))
}

/// `/api/v1/targets/metadata`.
pub async fn metadata() -> Response {
    answer(&json!([]))
}

/// `/api/v1/scrape_pools`.
pub async fn pools() -> Response {
    answer(&json!({ "scrapePools": [] }))
}
