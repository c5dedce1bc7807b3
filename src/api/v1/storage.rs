//! The operator's side of the store: what is stored where, and merging now.

use super::{jobs::tree, status::list_limit};
use crate::{
    api::{
        error::{ApiError, ErrorKind},
        params::Params,
        render::envelope::answer,
        state::{Api, Ready},
    },
    jobs::JobsError,
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::sync::Arc;

/// `/api/v1/status/storage`. It does not wait for its turn among the reads, nor is it shed with them: whoever looks for
/// what fills the memory needs it then. One is made at a time.
pub async fn storage(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = list_limit(&params)?;
    let turn = api.admission.report().await;
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let report = parts.upkeep.storage(limit)?;
        // Numbers and texts, which always have a JSON form.
        Ok(answer(&serde_json::to_value(&report).unwrap_or_default()))
    });
    made.await.unwrap_or_else(|cause| {
        tracing::error!(%cause, "The report on the store could not be made.");
        Err(ApiError::new(ErrorKind::Internal, "the report could not be made; the log says more"))
    })
}

/// `POST /api/v1/admin/storage/compact`: 202 and the job that merges, one already running included.
pub async fn compact(Ready(parts): Ready) -> Result<Response, ApiError> {
    // It writes the job down and waits for that.
    let started = tokio::task::spawn_blocking(move || {
        let id = parts.jobs.start_compaction(parts.upkeep.clone())?;
        Ok::<_, JobsError>(parts.jobs.get(id).map_or_else(|| json!({ "id": id }), |job| tree(&job)))
    });
    match started.await {
        Ok(Ok(job)) => {
            let mut response = answer(&job).into_response();
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        Ok(Err(JobsError::Store(cause))) => Err(crate::ingest::IngestError::from(cause).into()),
        Ok(Err(error)) => Err(ApiError::new(ErrorKind::Overloaded, error.to_string())),
        Err(cause) => {
            tracing::error!(%cause, "The compaction could not be started.");
            Err(ApiError::new(ErrorKind::Internal, "the compaction could not be started; the log says more"))
        }
    }
}
