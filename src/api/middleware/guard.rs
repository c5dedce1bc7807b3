//! At the door of each route: its methods, the origin of writes, and who is asking.

use crate::{
    api::{
        error::{ApiError, ErrorKind},
        routes::Access,
        server::Peer,
        state::{Api, Caller},
    },
    auth::Scope,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    middleware::Next,
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{sync::Arc, time::Instant};

/// A row of the table, as its door knows it.
#[derive(Clone)]
pub struct Door {
    pub api: Arc<Api>,
    pub path: &'static str,
    pub methods: &'static [Method],
    pub access: Access,
}

/// Lets a request through, or answers it.
pub async fn guard(State(door): State<Door>, mut request: Request, next: Next) -> Response<Body> {
    let began = Instant::now();
    let peer = request.extensions().get::<Peer>().copied();
    let response = match check(&door, request.method(), request.headers(), peer) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refused) => refused,
    };
    let metrics = &door.api.requests;
    metrics.by_handler.with_label_values(&[door.path, response.status().as_str()]).inc();
    metrics.seconds.observe(began.elapsed().as_secs_f64());
    response
}

#[allow(clippy::result_large_err, reason = "an answer is large and made once")]
fn check(
    door: &Door,
    method: &Method,
    headers: &HeaderMap,
    peer: Option<Peer>,
) -> Result<Option<Caller>, Response<Body>> {
    if !door.methods.contains(method) {
        return Err(method_not_allowed());
    }
    let refuse = |error: ApiError| if answers_plain(door.path) { error.plain() } else { error.into_response() };
    let own = door.api.config.place.origin.as_deref();
    if changes_something(door.access, method) && !same_origin(headers, own) {
        let message = "writes from a web page of another origin are refused; if this is our own page behind a proxy, set \
                       web.external_url to its address";
        return Err(refuse(ApiError::new(ErrorKind::Forbidden, message)));
    }
    match door.access {
        Access::Open | Access::Signed => Ok(None),
        Access::Needs(scope) => authorize(door, scope, headers, peer).map_err(refuse).map_err(|mut refused| {
            if refused.status() == StatusCode::UNAUTHORIZED && from_script(headers) {
                let challenge = HeaderValue::from_static("Bearer realm=\"observatory\"");
                refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            refused
        }),
    }
}

/// Whether a script of a page asks, which has its own way to ask for a token: on a challenge of basic authentication
/// the browser would ask before it.
fn from_script(headers: &HeaderMap) -> bool {
    headers.contains_key("x-requested-with")
}

/// As Go's server says it; Grafana tries another method when it reads this status.
pub fn method_not_allowed() -> Response<Body> {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Method Not Allowed\n")
        .into_response()
}

/// Whether errors at this path are texts: senders log them. Everything else of the API answers JSON.
fn answers_plain(path: &str) -> bool {
    !path.starts_with("/api/") || path == "/api/v1/write"
}

fn changes_something(access: Access, method: &Method) -> bool {
    ![Method::GET, Method::HEAD].contains(method) && access != Access::Needs(Scope::Read)
}

/// Whether a request comes from no page at all, or from one of ours. Browsers do not let pages forge these headers.
/// `own` is where we are for browsers, if that is configured: behind a proxy, `Host` may be another.
fn same_origin(headers: &HeaderMap, own: Option<&str>) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        // The browser compared what it sees, whatever a proxy makes of `Host`.
        Some("same-origin") => return true,
        Some("none") | None => {}
        Some(_) => return false,
    }
    match text(header::ORIGIN) {
        None => true,
        Some(origin) if own.is_some_and(|own| own.eq_ignore_ascii_case(origin)) => true,
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some_and(|host| text(header::HOST).is_some_and(|own| own.eq_ignore_ascii_case(host)))
        }
    }
}

fn authorize(door: &Door, scope: Scope, headers: &HeaderMap, peer: Option<Peer>) -> Result<Option<Caller>, ApiError> {
    let (keyring, manners) = (&door.api.keyring, &door.api.manners);
    // Remote write sends what it has collected as fast as it is taken, and has its own way to be slowed down.
    let counted = scope == Scope::Push && door.path.starts_with("/metrics/job");
    if keyring.is_open() {
        // Where a token is needed a page of a stranger has none, whatever it calls us.
        if let Some(name) = manners.is_rebound(headers) {
            let message = format!("`{name}` is not known as a name of this server; add it to web.hosts in the config");
            return Err(ApiError::new(ErrorKind::Forbidden, message));
        }
        if counted {
            manners.push(None, peer)?;
        }
        return Ok(None);
    }
    let Some(presented) = headers.get(header::AUTHORIZATION).and_then(|value| presented(value.to_str().ok()?)) else {
        let message = "a token is needed: send it as `Authorization: Bearer <token>` or as the password of basic auth";
        return Err(ApiError::new(ErrorKind::Unauthorized, message));
    };
    manners.may_log_in(peer)?;
    let Some(key) = keyring.find(&presented) else {
        manners.failed_login(peer);
        return Err(ApiError::new(ErrorKind::Unauthorized, "the token is not known here"));
    };
    if key.scopes.allow(scope) {
        if counted {
            manners.push(Some(&key.name), peer)?;
        }
        return Ok(Some(Caller::new(&key.name)));
    }
    let scope = scope.as_str();
    let message = format!("the token `{}` does not have the scope `{scope}`; add it under auth.tokens", key.name);
    Err(ApiError::new(ErrorKind::Forbidden, message))
}

/// The token of an `Authorization` header: a bearer token, or the password of basic authentication.
fn presented(authorization: &str) -> Option<String> {
    let (scheme, rest) = authorization.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then(|| rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_as_bearer_or_password() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic YW55b25lOmE6Yg==", Some("a:b")),
            ("Bearer ", None),
            ("Basic !!!", None),
            ("Digest x", None),
            ("Bearer", None),
        ] {
            assert_eq!(presented(header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_told_from_ours_and_from_programs() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
            pairs.collect()
        };
        let host = ("host", "127.0.0.1:9090");
        for (pairs, expected) in [
            (&[host][..], true),
            (&[host, ("origin", "http://127.0.0.1:9090"), ("sec-fetch-site", "same-origin")], true),
            (&[host, ("origin", "https://example.com"), ("sec-fetch-site", "same-origin")], true),
            (&[host, ("sec-fetch-site", "none")], true),
            (&[host, ("origin", "https://evil.example")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "http://127.0.0.1:3000")], false),
            (&[host, ("sec-fetch-site", "cross-site")], false),
            (&[host, ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(same_origin(&headers(pairs), None), expected, "{pairs:?}");
        }
        let own = Some("https://example.com");
        for (origin, expected) in
            [("https://example.com", true), ("http://example.com", false), ("https://evil.example", false)]
        {
            assert_eq!(same_origin(&headers(&[host, ("origin", origin)]), own), expected, "{origin}");
        }
    }
}
