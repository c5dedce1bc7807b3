//! One server, asked within a budget: every failure told apart, those that pass tried again.

use super::{
    budget::{Budget, Pauses, RealPauses, back_off},
    config::Config,
    date,
    metrics::SonarMetrics,
};
use crate::{
    stdx::{clock::Clock, error::innermost, random, secret_file::read_line},
    telemetry::build,
};
use parking_lot::Mutex;
use reqwest::{Response, StatusCode, Url, header, redirect};
use serde::de::DeserializeOwned;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// A page of a thousand analyses takes seconds on a busy server.
const CALL_TIME: Duration = Duration::from_secs(60);
/// A page of forty thousand values is below two mebibytes.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Of an error, which is a line.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// What a message of another says of itself.
const MESSAGE_CHARS_MAX: usize = 300;
/// With the pauses between them a call is given up after some ten minutes.
const ATTEMPTS: u32 = 5;
/// Whoever asks for a longer pause is asked at the next sync.
const RETRY_AFTER_S_MAX: i64 = 3_600;
/// A page is stored within a second, unless the store or Redis is away.
const STORED_TIME: Duration = Duration::from_secs(60);
/// More at once gain nothing, for the server counts.
const CALLS_AT_ONCE: usize = 4;

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the server does not know the token (401); write a new one into `sonar.token_file`")]
    Unauthorized,
    #[error("the token may not see this (403): {0}; give its user the permission Browse")]
    Forbidden(String),
    #[error("there is no such project or branch (404): {0}")]
    NotFound(String),
    #[error("the server refuses the request (400): {0}")]
    BadRequest(String),
    #[error("the server wants fewer calls (429), also after waiting")]
    Throttled,
    #[error("the server fails (HTTP {0}), also after waiting")]
    Server(u16),
    #[error("the server sends us elsewhere (HTTP {0}); write the address it is at into `sonar.url`")]
    Redirect(u16),
    #[error("the server does not answer: {0}")]
    Unreachable(String),
    #[error("the answer is not what SonarQube answers: {0}; is `sonar.url` right?")]
    Malformed(String),
    #[error("the answer is longer than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("{0}")]
    Token(String),
}

impl CallError {
    /// A word for the counter.
    pub fn kind(&self) -> &'static str {
        match self {
            CallError::Unauthorized => "unauthorized",
            CallError::Forbidden(_) => "forbidden",
            CallError::NotFound(_) => "not_found",
            CallError::BadRequest(_) => "bad_request",
            CallError::Throttled => "throttled",
            CallError::Server(_) => "server",
            CallError::Redirect(_) => "redirect",
            CallError::Unreachable(_) => "unreachable",
            CallError::Malformed(_) => "malformed",
            CallError::TooLarge => "too_large",
            CallError::Token(_) => "token",
        }
    }

    /// Whether it passes by itself.
    pub fn is_transient(&self) -> bool {
        use CallError::{Malformed, Server, Throttled, Unreachable};
        matches!(self, Throttled | Server(_) | Unreachable(_) | Malformed(_))
    }

    /// Whether every other call will fail as well.
    pub fn is_of_all(&self) -> bool {
        use CallError::{Redirect, Throttled, Token, Unauthorized};
        matches!(self, Unauthorized | Redirect(_) | Throttled | Token(_))
    }
}

/// Time and trust, as the room finds them: tests have their own.
#[derive(Clone)]
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub pauses: Arc<dyn Pauses>,
    /// What one call may take.
    pub call_time: Duration,
    /// How long a page may lie in the mailbox before it is left there.
    pub stored_time: Duration,
    pub tls: TlsSource,
}

/// How TLS is spoken; told whether it is. It reads the machine's authorities, so it blocks.
pub type TlsSource = Arc<dyn Fn(bool) -> Result<rustls::ClientConfig, String> + Send + Sync>;

impl Surroundings {
    /// The machine's.
    pub fn real(clock: Arc<dyn Clock>, tls: TlsSource) -> Surroundings {
        Surroundings { clock, pauses: Arc::new(RealPauses), call_time: CALL_TIME, stored_time: STORED_TIME, tls }
    }
}

/// Asks one server.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    budget: Arc<Budget>,
    around: Surroundings,
    metrics: SonarMetrics,
    at_once: Semaphore,
    /// Nobody asks before, by [`Clock::elapsed_ms`]: one that is told to wait speaks for all.
    not_before_ms: Mutex<i64>,
}

/// What one try gave.
struct Failed {
    error: CallError,
    retry_after: Option<Duration>,
}

impl Client {
    /// Reads the token and, for `https`, the machine's authorities: it blocks.
    pub fn new(
        config: &Config,
        budget: Arc<Budget>,
        around: Surroundings,
        metrics: SonarMetrics,
    ) -> Result<Client, CallError> {
        let unfit = |cause: String| CallError::Unreachable(cause);
        let mut base = Url::parse(&config.url).map_err(|cause| unfit(format!("{}: {cause}", config.url)))?;
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured((around.tls)(base.scheme() == "https").map_err(unfit)?)
            // The token is for the server that was named.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .timeout(around.call_time)
            .user_agent(format!("observatory/{}", build::VERSION))
            .build()
            .map_err(|cause| unfit(innermost(&cause)))?;
        let token = config.token_file.as_deref().map(read_line).transpose().map_err(CallError::Token)?;
        let at_once = Semaphore::new(CALLS_AT_ONCE);
        let not_before_ms = Mutex::new(i64::MIN);
        Ok(Client { http, base, token, budget, around, metrics, at_once, not_before_ms })
    }

    /// GET of `api/<path>`, tried again as long as that may help.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, CallError> {
        let mut url =
            self.base.join(&format!("api/{path}")).map_err(|cause| CallError::Malformed(cause.to_string()))?;
        // Encodes the `+` of an offset, which would arrive as a space.
        url.query_pairs_mut().extend_pairs(query);
        let mut attempt = 0;
        loop {
            let failed = match self.once(&url).await {
                Ok(body) => match serde_json::from_slice(&body) {
                    Ok(answer) => return Ok(answer),
                    // Cut off on its way, or the page of a proxy.
                    Err(cause) => Failed { error: CallError::Malformed(cause.to_string()), retry_after: None },
                },
                Err(failed) => failed,
            };
            attempt += 1;
            let too_long = failed.retry_after.is_some_and(|pause| pause.as_secs() as i64 > RETRY_AFTER_S_MAX);
            if !failed.error.is_transient() || attempt >= ATTEMPTS || too_long {
                return Err(failed.error);
            }
            let pause = failed.retry_after.unwrap_or_else(|| back_off(attempt - 1, random::number()));
            tracing::debug!(
                path,
                attempt,
                pause_s = pause.as_secs(),
                "A call failed, it is made again: {}",
                failed.error
            );
            self.metrics.retries.inc();
            if failed.error == CallError::Throttled {
                let until =
                    self.around.clock.elapsed_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
                let mut not_before = self.not_before_ms.lock();
                *not_before = until.max(*not_before);
            } else {
                self.around.pauses.pause(pause).await;
            }
        }
    }

    /// One try, when its turn, its time and its budget have come.
    async fn once(&self, url: &Url) -> Result<Vec<u8>, Failed> {
        let turn = self.at_once.acquire().await;
        self.wait().await;
        let answered = self.send(url).await;
        drop(turn);
        self.metrics.budget_left.set(i64::try_from(self.budget.left()).unwrap_or(i64::MAX));
        answered
    }

    async fn wait(&self) {
        loop {
            let left_ms = self.not_before_ms.lock().saturating_sub(self.around.clock.elapsed_ms());
            if left_ms > 0 {
                self.around.pauses.pause(Duration::from_millis(left_ms.unsigned_abs())).await;
                continue;
            }
            match self.budget.take() {
                Ok(()) => return,
                Err(pause) => self.around.pauses.pause(pause).await,
            }
        }
    }

    async fn send(&self, url: &Url) -> Result<Vec<u8>, Failed> {
        let plain = |error| Failed { error, retry_after: None };
        let mut request = self.http.get(url.clone()).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let unreachable = |cause: reqwest::Error| {
            self.metrics.calls.with_label_values(&["0"]).inc();
            plain(CallError::Unreachable(innermost(&cause)))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        self.metrics.calls.with_label_values(&[status.as_str()]).inc();
        if status.is_success() {
            return read(response, BODY_BYTES_MAX).await.map_err(plain);
        }
        let retry_after = self.retry_after(&response);
        // Whatever it is, the status counts.
        let body = read(response, ERROR_BYTES_MAX).await.unwrap_or_default();
        Err(Failed { error: refused(status, &body), retry_after })
    }

    /// Seconds, or a date.
    fn retry_after(&self, response: &Response) -> Option<Duration> {
        let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().to_owned();
        let now_s = self.around.clock.now_ms().div_euclid(1000);
        let seconds = text.parse().ok().or_else(|| Some(date::parse_http(&text)?.saturating_sub(now_s)))?;
        // At once would be a loop.
        Some(Duration::from_secs(i64::max(seconds, 1).unsigned_abs()))
    }
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|cause| CallError::Unreachable(innermost(&cause)))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(CallError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    match status.as_u16() {
        401 => CallError::Unauthorized,
        403 => CallError::Forbidden(said(body)),
        404 => CallError::NotFound(said(body)),
        429 => CallError::Throttled,
        300..=399 => CallError::Redirect(status.as_u16()),
        408 | 500..=599 => CallError::Server(status.as_u16()),
        _ => CallError::BadRequest(said(body)),
    }
}

/// What an error says, where it is JSON at all.
fn said(body: &[u8]) -> String {
    let tree: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = tree["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let messages: Vec<&str> = errors.iter().filter_map(|error| error["msg"].as_str()).collect();
    match messages.is_empty() {
        true => "without a message".to_owned(),
        false => messages.join("; ").chars().take(MESSAGE_CHARS_MAX).collect(),
    }
}
