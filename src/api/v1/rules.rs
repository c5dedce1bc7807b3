//! Rules and alerts. None are evaluated, so there are none; what is asked wrongly is still said.

use crate::api::{error::ApiError, params::Params, render::envelope::answer};
use axum::response::Response;
use serde_json::json;

/// `/api/v1/rules`.
pub async fn rules(params: Params) -> Result<Response, ApiError> {
    match params.get("type") {
        "" | "alert" | "record" => {}
        other => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
    }
    let limit = params.get("group_limit");
    if !limit.is_empty() && !limit.parse::<i64>().is_ok_and(|limit| limit > 0) {
        return Err(ApiError::parameter("group_limit", "group_limit needs to be a valid number greater than 0"));
    }
    if limit.is_empty() && !params.get("group_next_token").is_empty() {
        let problem = "group_limit needs to be present in order to paginate over the groups";
        return Err(ApiError::parameter("group_limit", problem));
    }
    Ok(answer(&json!({ "groups": [] })))
}

/// `/api/v1/alerts`.
pub async fn alerts() -> Response {
    answer(&json!({ "alerts": [] }))
}

/// `/api/v1/alertmanagers`.
pub async fn alertmanagers() -> Response {
    answer(&json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }))
}
