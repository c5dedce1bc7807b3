//! Whether the process lives, and whether it serves.

use super::{
    error::{ApiError, ErrorKind},
    state::{Api, Ready},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use tokio::sync::oneshot;

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

/// Reads the config again; a wrong one changes nothing and is answered with what is wrong.
pub async fn reload(Ready(parts): Ready) -> Response {
    let (sender, answer) = oneshot::channel();
    // Both ends are gone only when the process stops.
    let asked = parts.reload.send(sender).await.is_ok();
    match answer.await {
        Ok(Ok(())) if asked => StatusCode::OK.into_response(),
        Ok(Err(problem)) => ApiError::new(ErrorKind::Internal, format!("failed to reload config: {problem}")).plain(),
        _ => ApiError::new(ErrorKind::Internal, "failed to reload config: the process is stopping").plain(),
    }
}

pub async fn reload_by_get() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST, PUT")], "Only POST or PUT requests allowed")
        .into_response()
}
