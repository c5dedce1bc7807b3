//! What senders said of their metric families.

use crate::{
    api::{error::ApiError, params::Params, render::envelope::answer, state::Ready},
    model::Metadata,
};
use axum::response::Response;
use serde_json::{Map, Value, json};

/// `/api/v1/metadata`: one entry a family, since the last word counts. `limit_per_metric` therefore never cuts.
pub async fn metadata(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = number(&params, "limit")?.unwrap_or(-1);
    number(&params, "limit_per_metric")?;
    let table = parts.ingest.metadata();
    let found = match (usize::try_from(limit), params.get("metric")) {
        (Ok(0), _) => vec![],
        (limit, "") => table.all(limit.unwrap_or(0)),
        (_, metric) => table.get(metric).map(|metadata| (metric.to_owned(), metadata)).into_iter().collect(),
    };
    let families: Map<String, Value> = found.into_iter().map(|(name, metadata)| (name, entry(&metadata))).collect();
    Ok(answer(&Value::Object(families)))
}

fn entry(metadata: &Metadata) -> Value {
    json!([{ "type": metadata.metric_type.as_str(), "unit": metadata.unit, "help": metadata.help }])
}

fn number(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    match params.get(name) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| ApiError::bad_data(format!("{name} must be a number"))),
    }
}
