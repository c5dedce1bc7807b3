//! Around all routes: clean paths, headers for browsers, and no request that takes its connection down.

use crate::api::{
    error::{ApiError, ErrorKind},
    router::Pages,
};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderValue, Method, Response, StatusCode, Uri, header, uri::PathAndQuery},
    middleware::Next,
    response::IntoResponse,
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    any::Any,
    ops::Not,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// What a refused request may still send; more is not worth reading for one connection less.
const LEFT_BYTES_MAX: usize = 64 << 10;
const LEFT_TIME: Duration = Duration::from_secs(1);

/// Where browsers of other origins may read.
const READABLE: &str = "/api/v1/";

/// A path as it was before [`clean_path`].
#[derive(Debug, Clone)]
struct AskedPath(String);

/// Makes the path one that the table knows: `//` is `/`, and a slash at the end means nothing, except where it ends a
/// grouping key. Go's servers redirect here, and many clients lose their body on the way.
pub fn clean_path(request: Request) -> Request {
    let path = request.uri().path();
    let keeps_end = path.starts_with("/metrics/job");
    let ends = path.len() > 1 && path.ends_with('/') && !keeps_end;
    if !path.contains("//") && !ends {
        return request;
    }
    let mut clean = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !clean.ends_with('/') {
            clean.push(character);
        }
    }
    if !keeps_end && !clean.starts_with("/metrics/job") && clean.len() > 1 && clean.ends_with('/') {
        clean.pop();
    }
    let asked = AskedPath(path.to_owned());
    match with_path(request, clean) {
        Ok(mut request) => {
            request.extensions_mut().insert(asked);
            request
        }
        Err(request) => request,
    }
}

/// The request with another path, or as it was where that is none.
#[allow(clippy::result_large_err, reason = "both are the request, which is moved and not copied")]
pub fn with_path(mut request: Request, mut path: String) -> Result<Request, Request> {
    if let Some(query) = request.uri().query() {
        path.push('?');
        path.push_str(query);
    }
    let Ok(path_and_query) = PathAndQuery::try_from(path) else { return Err(request) };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    let Ok(uri) = Uri::from_parts(parts) else { return Err(request) };
    *request.uri_mut() = uri;
    Ok(request)
}

/// Adds what browsers want to know, and answers their preflights.
pub async fn headers(request: Request, next: Next) -> Response<Body> {
    let readable = request.uri().path().starts_with(READABLE);
    let asks = request.headers().contains_key(header::ORIGIN);
    let preflight = readable && request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if readable {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if readable && asks {
        // As in Prometheus: any page may read, with what the browser lets it send along. Tokens are never sent along
        // by themselves, and writes of other origins are refused at their door.
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// Takes what a handler left of a request's body, where that is little, so that the connection can go on; where it is
/// more, says that the connection ends, so that the client does not send its next request into the void.
pub async fn finish_body(request: Request, next: Next) -> Response<Body> {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let left = Arc::new(Mutex::new(None));
    let lent = left.clone();
    let request = request.map(|body| Body::new(Lent { body: Some(body), left: lent }));
    let mut response = next.run(request).await;
    let body = left.lock().take();
    if let Some(body) = body
        && timeout(LEFT_TIME, to_bytes(body, LEFT_BYTES_MAX)).await.is_ok_and(|read| read.is_ok()).not()
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that is given back when it is dropped before its end.
struct Lent {
    body: Option<Body>,
    left: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.left.lock() = self.body.take().filter(|body| !body.is_end_stream());
    }
}

/// What a request that panicked is answered with; the panic itself is in the log.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    ApiError::new(ErrorKind::Internal, "this is a bug of observatory: the request ended in a panic, see the log")
        .into_response()
}

/// Paths that are not in the table: perhaps a page. If not, JSON below `/api` and Go's words elsewhere.
pub fn unknown(request: Request, pages: &Pages) -> Response<Body> {
    let path = request.uri().path();
    let asked = request.extensions().get::<AskedPath>().map_or(path, |asked| &asked.0);
    if let Some(page) = pages(request.method(), asked, request.headers()) {
        return page;
    }
    if path == "/api" || path.starts_with("/api/") {
        return ApiError::new(ErrorKind::NotFound, format!("there is no {path} here")).into_response();
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::NOT_FOUND, kind, "404 page not found\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_without_a_redirect() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("//api/v1/labels/?a=//", "/api/v1/labels?a=//"),
            ("/api/v1/query", "/api/v1/query"),
            ("/metrics/", "/metrics"),
            ("//metrics/job/a//b/c/", "/metrics/job/a/b/c/"),
            ("/metrics/job/a/x@base64/=", "/metrics/job/a/x@base64/="),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            assert_eq!(clean_path(request).uri().to_string(), expected, "{path}");
        }
    }
}
