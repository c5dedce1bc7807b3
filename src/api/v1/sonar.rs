//! The history of code quality: how its sync stands, what happened, and the webhook of SonarQube.

use super::{jobs::tree, series::read};
use crate::{
    api::{
        body::read_body,
        error::{ApiError, ErrorKind},
        params::{Params, parse_time},
        render::envelope::answer,
        server::Peer,
        state::{Api, Parts, Ready},
    },
    ingest::IngestError,
    jobs::JobsError,
    model::{METRIC_NAME, Matcher, Samples, TimeRange, is_stale},
    sonar::{Asked, BODY_BYTES_MAX, EVENT, SIGNATURE_HEADER, Scope, StartError, WebhookError},
    store::Hints,
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where a request names no start: what is shown of a project at first.
const EVENTS_MS_DEFAULT: i64 = 30 * 24 * 3_600_000;
/// More marks than a chart has pixels.
const EVENTS_MAX: usize = 5_000;

/// `GET /api/v1/sonar/status`.
pub async fn status(Ready(parts): Ready) -> Response {
    // Texts and numbers, which always have a JSON form.
    answer(&serde_json::to_value(parts.sonar.status()).unwrap_or_default())
}

/// `GET /api/v1/sonar/projects`: by key, with their branches.
pub async fn projects(Ready(parts): Ready) -> Result<Response, ApiError> {
    let made = tokio::task::spawn_blocking(move || {
        answer(&json!({ "projects": serde_json::to_value(parts.sonar.projects()).unwrap_or_default() }))
    });
    made.await.map_err(|cause| failed(&cause))
}

/// `GET /api/v1/sonar/events`: versions and changes of the gate, oldest first, of all projects or of one, of all
/// branches or of one.
pub async fn events(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let end = params.time("end")?.unwrap_or_else(|| parts.clock.now_ms());
    let start = params.time("start")?.unwrap_or(end.saturating_sub(EVENTS_MS_DEFAULT));
    let range = TimeRange::new(start, end).ok_or_else(|| ApiError::parameter("end", "must not be before `start`"))?;
    let mut matchers = vec![Matcher::equal(METRIC_NAME, EVENT)];
    for name in ["project", "branch"] {
        let wanted = params.get(name);
        if !wanted.is_empty() {
            matchers.push(Matcher::equal(name, wanted));
        }
    }
    let events = move |parts: &Parts| {
        let (events, is_cut) = read_events(parts, range, &matchers)?;
        Ok(answer(&json!({ "events": events, "is_truncated": is_cut })))
    };
    read(&api, parts, events).await
}

fn read_events(parts: &Parts, range: TimeRange, matchers: &[Matcher]) -> Result<(Vec<Value>, bool), ApiError> {
    let set = parts.store.select(range, matchers, &Hints::default())?;
    let mut samples = Samples::default();
    let mut found = Vec::new();
    for index in 0..set.len() {
        set.read(index, &mut samples)?;
        let times = samples.timestamps.iter().zip(&samples.values).filter(|(_, value)| !is_stale(**value));
        found.extend(times.map(|(at, _)| (*at, index)));
    }
    found.sort_unstable();
    // The newest are those that somebody looks for.
    let cut = found.len().saturating_sub(EVENTS_MAX);
    let event = |(at, index): &(i64, usize)| {
        let label = |name| set.labels(*index).get(name).unwrap_or_default();
        json!({
            "time_ms": at,
            "project": label("project"),
            "branch": label("branch"),
            "category": label("category"),
            "name": label("name"),
        })
    };
    Ok((found[cut..].iter().map(event).collect(), cut > 0))
}

/// `POST /api/v1/sonar/sync`: 202 and the job. `since` reads history from there on again, `project` one project only.
pub async fn sync(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let text = |name: &str| Some(params.get(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let since_s = text("since").map(|since| moment(&since)).transpose()?.map(|ms| ms.div_euclid(1000));
    let scope = Scope { project: text("project"), since_s, after: None };
    // It writes the job down and waits for that.
    let started = tokio::task::spawn_blocking(move || {
        let id = parts.sonar.start_job(scope)?;
        Ok::<_, StartError>(parts.jobs.get(id).map_or_else(|| json!({ "id": id }), |job| tree(&job)))
    });
    match started.await.map_err(|cause| failed(&cause))? {
        Ok(job) => {
            let mut response = answer(&job).into_response();
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        Err(StartError::Jobs(JobsError::Store(cause))) => Err(IngestError::from(cause).into()),
        Err(error @ StartError::Jobs(_)) => Err(ApiError::new(ErrorKind::Overloaded, error.to_string())),
        Err(error) => Err(ApiError::bad_data(error.to_string())),
    }
}

/// A day, or a time as everywhere else.
fn moment(text: &str) -> Result<i64, ApiError> {
    let is_day = text.len() == 10 && text.bytes().filter(|byte| *byte == b'-').count() == 2;
    let full = if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() };
    parse_time(&full).map_err(|problem| ApiError::parameter("since", problem))
}

/// `POST /api/v1/sonar/webhook`. Answered at once: SonarQube waits ten seconds and does not come again.
pub async fn webhook(State(api): State<Arc<Api>>, Ready(parts): Ready, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let peer = head.extensions.get::<Peer>().copied();
    api.manners.may_log_in(peer)?;
    let body = read_body(&head.headers, body, BODY_BYTES_MAX).await?;
    let signature = head.headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    match parts.sonar.webhook(&body, signature).await {
        Ok(Asked::Project(project)) => Ok(answer(&json!({ "taken": true, "project": project }))),
        Ok(Asked::Nothing(reason)) => Ok(answer(&json!({ "taken": false, "reason": reason }))),
        Err(error @ WebhookError::Off) => Err(ApiError::new(ErrorKind::NotFound, error.to_string())),
        Err(error @ WebhookError::Unsigned) => {
            api.manners.failed_login(peer);
            Err(ApiError::new(ErrorKind::Forbidden, error.to_string()))
        }
        Err(error @ WebhookError::Malformed(_)) => Err(ApiError::bad_data(error.to_string())),
    }
}

fn failed(cause: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%cause, "A request about SonarQube could not be finished.");
    ApiError::new(ErrorKind::Internal, "the request could not be finished; the log says more")
}
