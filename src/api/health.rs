//! Whether the process lives, and whether it serves.

use super::{error::ApiError, error::ErrorKind, state::Api};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];

pub async fn healthy() -> Response {
    // The words tools look for, with our name.
    (TEXT, "Beast Observatory is Healthy.\n").into_response()
}

pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    match api.is_ready() {
        true => (TEXT, "Beast Observatory is Ready.\n").into_response(),
        false => api.not_ready().into_response(),
    }
}

/// Reloading is not possible; said in the words of a Prometheus that has it switched off.
pub async fn reload() -> Response {
    let message = "Lifecycle API is not enabled. The config is read at the start: restart to apply a change.";
    ApiError::new(ErrorKind::Forbidden, message).plain()
}

pub async fn reload_by_get() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST, PUT")], "Only POST or PUT requests allowed")
        .into_response()
}
