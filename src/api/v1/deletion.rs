//! Deleting series: Prometheus' two paths, and our own that also say what would go.

use super::status::list_limit;
use crate::{
    api::{
        error::{ApiError, ErrorKind},
        params::Params,
        render::envelope::answer,
        state::{Api, Parts, Ready},
    },
    promql::parser::parse_selector,
    stdx::cancel::Cancel,
    store::{Deletion, StoreError, tsdb::block::Progress},
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::sync::Arc;

/// `POST /api/v1/admin/tsdb/delete_series`, as Prometheus.
pub async fn delete_series(
    State(api): State<Arc<Api>>,
    Ready(parts): Ready,
    params: Params,
) -> Result<Response, ApiError> {
    check_enabled(&api)?;
    delete_meant(parts, &params).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/admin/tsdb/clean_tombstones`, as Prometheus: answered when what was deleted is off the disk.
pub async fn clean_tombstones(State(api): State<Arc<Api>>, Ready(parts): Ready) -> Result<Response, ApiError> {
    check_enabled(&api)?;
    work(move || parts.upkeep.clean(&Arc::<Progress>::default())).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/admin/storage/delete`: as `delete_series`, whether Prometheus' admin paths are switched on or not.
pub async fn delete(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    delete_meant(parts, &params).await?;
    Ok(answer(&json!({})))
}

/// `POST /api/v1/admin/storage/delete_plan`: what that would take; `limit` series are listed.
pub async fn plan(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = list_limit(&params)?;
    let deletion = deletion(&params)?;
    // It looks at as much as a large report does.
    let turn = api.admission.report().await;
    let planned = work(move || {
        let _turn = turn;
        let plan = |deletion| parts.upkeep.plan_delete(&deletion, limit, &Cancel::new());
        deletion.map_or_else(|| Ok(Default::default()), plan)
    });
    // Numbers and texts, which always have a JSON form.
    Ok(answer(&serde_json::to_value(planned.await?).unwrap_or_default()))
}

fn check_enabled(api: &Api) -> Result<(), ApiError> {
    match api.config.admin_api {
        true => Ok(()),
        false => Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled")),
    }
}

async fn delete_meant(parts: Arc<Parts>, params: &Params) -> Result<(), ApiError> {
    match deletion(params)? {
        Some(deletion) => {
            tracing::info!(selectors = ?deletion.selectors, range = ?deletion.range, "Series are deleted.");
            work(move || parts.upkeep.delete(&deletion)).await
        }
        None => Ok(()),
    }
}

/// What is meant by `match[]`, `start` and `end`; `None` where the end is before the start. A selector that every series
/// passes is no mistake here, as in Prometheus.
fn deletion(params: &Params) -> Result<Option<Deletion>, ApiError> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = params.range()?;
    let selectors = params
        .all("match[]")
        .map(|text| parse_selector(text).map_err(|error| ApiError::parameter("match[]", error)))
        .collect::<Result<_, ApiError>>()?;
    Ok(range.map(|range| Deletion { selectors, range }))
}

/// Runs what may take its time, on a thread of its own.
async fn work<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| match error {
            StoreError::DeletionTooLarge { .. } => ApiError::bad_data(error.to_string()),
            StoreError::TombstoneLimit { .. } => ApiError::new(ErrorKind::Execution, error.to_string()),
            error => error.into(),
        }),
        Err(cause) => {
            tracing::error!(%cause, "Deleting ended early.");
            Err(ApiError::new(ErrorKind::Internal, "deleting ended early; the log says more"))
        }
    }
}
