//! Long work: what runs, what ran, and how it is ended.

use crate::{
    api::{
        error::{ApiError, ErrorKind},
        render::envelope::answer,
        state::Ready,
    },
    jobs::{Job, JobsError},
};
use axum::{
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// `GET /api/v1/jobs`: newest first.
pub async fn list(Ready(parts): Ready) -> Response {
    let jobs: Value = parts.jobs.list().iter().map(tree).collect();
    answer(&json!({ "jobs": jobs }))
}

/// `GET /api/v1/jobs/<id>`.
pub async fn get(Ready(parts): Ready, Path(id): Path<String>) -> Result<Response, ApiError> {
    let job = id.parse().ok().and_then(|id| parts.jobs.get(id)).ok_or_else(|| unknown(&id))?;
    Ok(answer(&tree(&job)))
}

/// `DELETE /api/v1/jobs/<id>` and `POST /api/v1/jobs/<id>/cancel`: asks the work to end; 202, since that takes a while.
pub async fn cancel(Ready(parts): Ready, Path(id): Path<String>) -> Result<Response, ApiError> {
    let number = id.parse().map_err(|_| unknown(&id))?;
    match parts.jobs.cancel(number) {
        Ok(()) => Ok(StatusCode::ACCEPTED.into_response()),
        Err(JobsError::Unknown(_)) => Err(unknown(&id)),
        Err(error) => Err(ApiError::bad_data(error.to_string())),
    }
}

/// As the store keeps it and the events tell it.
pub fn tree(job: &Job) -> Value {
    // A job is texts and numbers, which always have a JSON form.
    serde_json::to_value(job).unwrap_or_default()
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("there is no job {id}"))
}
