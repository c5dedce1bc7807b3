//! Errors as HTTP knows them: what kind, what status, what text. Decided here and nowhere else.

use super::render::text;
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};

/// The `errorType` of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    BadData,
    Execution,
    Timeout,
    Canceled,
    Internal,
    Unavailable,
    NotFound,
    Unauthorized,
    Forbidden,
    TooLarge,
    Overloaded,
    BodyTimeout,
    /// Too often; allowed again in so many seconds.
    Throttled {
        retry_s: u32,
    },
}

impl ErrorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::BadData => "bad_data",
            ErrorKind::Execution => "execution",
            ErrorKind::Timeout | ErrorKind::BodyTimeout => "timeout",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Internal => "internal",
            ErrorKind::Unavailable | ErrorKind::Overloaded => "unavailable",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::Throttled { .. } => "too_many_requests",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            ErrorKind::BadData => StatusCode::BAD_REQUEST,
            ErrorKind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Timeout | ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            // What nginx answers where the client went away; Prometheus does so too.
            ErrorKind::Canceled => StatusCode::from_u16(499).expect("499 is within 100..1000"),
            // Prometheus says 500 where an API is switched off.
            ErrorKind::Internal | ErrorKind::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// An error on its way to a client: JSON from the API, plain text (see [`ApiError::plain`]) from everything else.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub kind: ErrorKind,
    pub message: String,
}

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> ApiError {
        ApiError { kind, message: message.into() }
    }

    pub fn bad_data(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorKind::BadData, message)
    }

    /// `invalid parameter "step": ...`.
    pub fn parameter(name: &str, problem: impl std::fmt::Display) -> ApiError {
        ApiError::bad_data(format!("invalid parameter \"{name}\": {problem}"))
    }

    /// The answer for senders that log what they get: pushes and writes.
    pub fn plain(self) -> Response<Body> {
        let body = format!("{}\n", self.message);
        self.headed(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
    }

    fn headed(&self, mut response: Response<Body>) -> Response<Body> {
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        match self.kind {
            ErrorKind::Unauthorized => {
                let challenge = HeaderValue::from_static("Basic realm=\"observatory\", charset=\"UTF-8\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            ErrorKind::Overloaded => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            ErrorKind::Throttled { retry_s } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_s));
            }
            // The rest of the body is still on its way and will not be read.
            ErrorKind::TooLarge | ErrorKind::BodyTimeout => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut body = String::with_capacity(64 + self.message.len());
        body.push_str("{\"status\":\"error\",\"errorType\":\"");
        body.push_str(self.kind.as_str());
        body.push_str("\",\"error\":");
        text::push_text(&mut body, &self.message);
        body.push('}');
        self.headed(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    }
}
