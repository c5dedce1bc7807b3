//! The push routes: what a Pushgateway answers, durable.

use super::{
    body::read_body,
    error::{ApiError, ErrorKind},
    params::Params,
    render::envelope::answer,
    state::{Api, Caller, Ready},
};
use crate::{
    ingest::{BodyFormat, Grouping, IngestError, PushRequest},
    protocol::compression::{DecodeError, DecodeLimits, Encoding, decompress},
    telemetry::build,
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::sync::Arc;

/// A longer body is decoded and applied off the threads that serve everybody.
pub const INLINE_BYTES_MAX: usize = 256 << 10;
/// Metrics compress 10 to 30 times: the memory kept free for a compressed body.
const EXPANSION: usize = 30;

/// `PUT` and `POST /metrics/job/...`.
pub async fn push(State(api): State<Arc<Api>>, Ready(parts): Ready, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let pushed = async {
        let grouping = grouping(head.uri.path())?;
        let token = Caller::of(&head.extensions);
        let replace = head.method == Method::PUT;
        let format = BodyFormat::from_content_type(text(&head.headers, header::CONTENT_TYPE));
        let body = read_body(&head.headers, body, api.config.body_bytes_max).await?;
        let encoding = encoding(&head.headers);
        let long = body.len() > INLINE_BYTES_MAX;
        let memory = api.admission.body(body.len().saturating_mul(encoding.map_or(1, |_| EXPANSION))).await?;
        let apply = async move {
            // Freed when the push is applied, wherever that happens.
            let _memory = memory;
            let mut decoded = Vec::new();
            let body = match encoding {
                None => &body[..],
                Some(encoding) => {
                    decompress(encoding, &body, &DecodeLimits::default(), &mut decoded).map_err(decoding)?;
                    &decoded[..]
                }
            };
            let token = token.as_deref();
            parts.ingest.push_by(token, PushRequest { grouping, replace, body, format }).await.map_err(ApiError::from)
        };
        off_thread_if(long, apply).await
    };
    match pushed.await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.plain(),
    }
}

/// `DELETE /metrics/job/...`: 202 whether there was such a group or not.
pub async fn delete(Ready(parts): Ready, uri: Uri) -> Response {
    let deleted = async {
        let grouping = grouping(uri.path())?;
        parts.ingest.delete(&grouping).await.map_err(ApiError::from)
    };
    match deleted.await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => error.plain(),
    }
}

/// `GET /api/v1/metrics`: the push groups; with `since` those that were pushed to from then on.
pub async fn groups(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    Ok(match params.time("since")? {
        Some(since_ms) => answer(&parts.ingest.groups_since(since_ms)),
        None => answer(&parts.ingest.groups()),
    })
}

/// `GET /api/v1/status` of a Pushgateway.
pub async fn status(State(api): State<Arc<Api>>) -> Response {
    answer(&json!({
        "build_information": {
            "version": build::VERSION,
            "revision": build::COMMIT,
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "flags": api.about.flags,
        "start_time": super::v1::status::rfc3339(api.about.started_ms),
    }))
}

/// Runs `work` here, or where it may take its time.
pub async fn off_thread_if<T: Send + 'static>(
    long: bool,
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    if !long {
        return work.await;
    }
    let runtime = tokio::runtime::Handle::current();
    match tokio::task::spawn_blocking(move || runtime.block_on(work)).await {
        Ok(result) => result,
        Err(cause) => {
            tracing::error!(%cause, "A request's work ended early.");
            Err(ApiError::new(ErrorKind::Internal, "the request could not be finished"))
        }
    }
}

/// A header as text; empty where it is absent.
pub fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What a body that does not decode is answered with.
pub fn decoding(error: DecodeError) -> ApiError {
    match error {
        DecodeError::Corrupt { .. } => ApiError::bad_data(error.to_string()),
        DecodeError::TooLarge { .. } | DecodeError::Ratio { .. } => {
            ApiError::new(ErrorKind::TooLarge, error.to_string())
        }
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> ApiError {
        let kind = match &error {
            IngestError::Malformed(_) | IngestError::Inconsistent(_) => ErrorKind::BadData,
            IngestError::TooManyGroups { .. } => ErrorKind::Execution,
            // These pass by themselves, and were logged when they began.
            IngestError::Store(cause) if cause.is_of_load() => ErrorKind::Overloaded,
            IngestError::Store(cause) if cause.is_of_new_series() => ErrorKind::Execution,
            IngestError::Store(cause) => {
                tracing::error!(%cause, "The store failed a write.");
                ErrorKind::Overloaded
            }
        };
        ApiError::new(kind, error.to_string())
    }
}

fn grouping(path: &str) -> Result<Grouping, ApiError> {
    Grouping::from_path(path.strip_prefix("/metrics/").unwrap_or(path))
        .map_err(|error| ApiError::bad_data(error.to_string()))
}

/// Other encodings are ignored and the bytes taken as they are, as in a Pushgateway.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    match text(headers, header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "gzip" => Some(Encoding::Gzip),
        "snappy" => Some(Encoding::SnappyFramed),
        _ => None,
    }
}
