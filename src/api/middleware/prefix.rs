//! Everything below one path of our port, for proxies that keep it.

use super::outer::with_path;
use crate::api::error::{ApiError, ErrorKind};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, Response, StatusCode, header},
    middleware::Next,
    response::IntoResponse,
};
use std::sync::Arc;

/// Takes `prefix`, such as `/a/b`, off the path; whoever asks for the root, or leaves out the slash at the end, is sent
/// below it, and nothing else is anywhere else.
pub async fn below(State(prefix): State<Arc<str>>, request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix(&*prefix).filter(|rest| rest.starts_with('/')) {
        let rest = rest.to_owned();
        return next.run(with_path(request, rest).unwrap_or_else(|request| request)).await;
    }
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if reads && (path == "/" || path == &*prefix) {
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        if let Ok(place) = HeaderValue::from_str(&format!("{prefix}/{query}")) {
            return (StatusCode::FOUND, [(header::LOCATION, place)]).into_response();
        }
    }
    let hint = format!("there is no {path} here: everything is below {prefix}/ (see web.route_prefix)");
    let error = ApiError::new(ErrorKind::NotFound, hint);
    if path.starts_with("/api/") { error.into_response() } else { error.plain() }
}
