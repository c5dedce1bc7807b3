//! `GET /metrics`: about ourselves.

use super::state::Api;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

pub async fn exposition(State(api): State<Arc<Api>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.metrics.exposition()).into_response()
}
