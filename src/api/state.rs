//! What handlers work with.

use super::{
    admission::Admission,
    error::{ApiError, ErrorKind},
    middleware::manners::Manners,
    place::Place,
    readers::Readers,
};
use crate::{
    auth::Keyring,
    ingest::Ingest,
    jobs::Jobs,
    mailbox::Mailroom,
    promql::engine::Engine,
    scrape::Manager,
    sonar::Sonar,
    stdx::clock::Clock,
    store::{Store, Upkeep, backup::SnapshotSource},
    telemetry::Metrics,
};
use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderValue, StatusCode, header, request},
    response::{IntoResponse, Response},
};
use parking_lot::RwLock;
use prometheus::{Histogram, IntCounterVec};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How the API behaves; set once.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Of pushes and writes, on the wire.
    pub body_bytes_max: usize,
    /// Queries and label searches that compute at once; more wait.
    pub reads_max: usize,
    /// How long a read may wait and compute.
    pub read_timeout_ms: u64,
    pub place: Place,
    /// Wrong tokens of one address.
    pub failed_logins_per_minute_max: u64,
    /// Of one token.
    pub pushes_per_minute_max: u64,
    /// Whether Prometheus' admin paths answer.
    pub admin_api: bool,
    /// Names under which browsers may ask, beside those that nobody else can own; lower case.
    pub hosts: Vec<String>,
    /// Names and values that what is federated gets, where it has none of its own.
    pub external_labels: Arc<[(String, String)]>,
}

impl Default for ApiConfig {
    fn default() -> ApiConfig {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
        ApiConfig {
            body_bytes_max: 16 << 20,
            reads_max: cores * 2,
            read_timeout_ms: 120_000,
            place: Place::default(),
            failed_logins_per_minute_max: 10,
            pushes_per_minute_max: 600,
            admin_api: false,
            hosts: Vec::new(),
            external_labels: Arc::default(),
        }
    }
}

/// The config in force, and whether the last one read was fit to be.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    pub yaml: String,
    /// The file as it was read, without its secrets; empty where there is none.
    pub file: String,
    pub reload_failed: bool,
    /// When it came into force.
    pub since_ms: i64,
}

/// Asks for the config to be read again; the answer says what was wrong with it.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the status pages say of this process.
#[derive(Debug, Default)]
pub struct About {
    pub started_ms: i64,
    pub in_force: RwLock<InForce>,
    /// By name, without dashes.
    pub flags: BTreeMap<String, String>,
    pub retention_ms: i64,
    /// 0 for no limit.
    pub bytes_max: u64,
    pub data: String,
}

/// What is there once the store is open.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub upkeep: Arc<dyn Upkeep>,
    pub engine: Arc<Engine>,
    pub ingest: Ingest,
    pub jobs: Jobs,
    pub mailroom: Mailroom,
    pub scrape: Manager,
    pub sonar: Sonar,
    /// The same store, to be backed up.
    pub snapshots: Arc<dyn SnapshotSource>,
    pub reload: mpsc::Sender<ReloadRequest>,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Starting,
    Ready,
    Stopping,
}

/// The API of one process, shared by all requests.
pub struct Api {
    pub config: ApiConfig,
    pub keyring: Keyring,
    pub metrics: Metrics,
    pub about: About,
    pub admission: Admission,
    pub readers: Readers,
    pub manners: Manners,
    pub requests: RequestMetrics,
    /// Cancelled when the process stops: answers that never end by themselves end then.
    pub stop: CancellationToken,
    stage: AtomicU8,
    parts: OnceLock<Arc<Parts>>,
}

/// What is counted of requests.
pub struct RequestMetrics {
    pub by_handler: IntCounterVec,
    pub seconds: Histogram,
}

impl Api {
    pub fn new(config: ApiConfig, keyring: Keyring, metrics: Metrics, about: About, stop: CancellationToken) -> Api {
        let requests = RequestMetrics {
            by_handler: metrics.counters(
                "prometheus_http_requests_total",
                "Counter of HTTP requests.",
                &["handler", "code"],
            ),
            seconds: metrics.histogram(
                "observatory_http_request_duration_seconds",
                "From the headers of a request to the beginning of its answer.",
                &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0],
            ),
        };
        let admission = Admission::new(&config, &metrics);
        let manners =
            Manners::new(config.failed_logins_per_minute_max, config.pushes_per_minute_max, config.hosts.clone());
        let stage = AtomicU8::new(Stage::Starting as u8);
        let readers = Readers::start(config.reads_max);
        Api {
            config,
            keyring,
            metrics,
            about,
            admission,
            readers,
            manners,
            requests,
            stop,
            stage,
            parts: OnceLock::new(),
        }
    }

    /// From now on everything is answered. A second call changes nothing.
    pub fn ready(&self, parts: Parts) {
        if self.parts.set(Arc::new(parts)).is_ok() {
            self.stage.store(Stage::Ready as u8, Ordering::Release);
        }
    }

    /// From now on `/-/ready` says no; requests in hand are still answered.
    pub fn stopping(&self) {
        self.stage.store(Stage::Stopping as u8, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        self.stage.load(Ordering::Acquire) == Stage::Ready as u8
    }

    /// The parts, or the answer while there are none.
    pub fn parts(&self) -> Result<&Arc<Parts>, NotReady> {
        self.parts.get().ok_or(NotReady { stopping: false })
    }

    /// The answer of `/-/ready` while it is not.
    pub fn not_ready(&self) -> NotReady {
        NotReady { stopping: self.stage.load(Ordering::Acquire) == Stage::Stopping as u8 }
    }
}

/// The store is not open yet, or not any more.
#[derive(Debug, Clone, Copy)]
pub struct NotReady {
    stopping: bool,
}

impl IntoResponse for NotReady {
    fn into_response(self) -> Response {
        let stopping = HeaderValue::from_static(if self.stopping { "true" } else { "false" });
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let headers =
            [(header::HeaderName::from_static("x-prometheus-stopping"), stopping), (header::CONTENT_TYPE, kind)];
        (StatusCode::SERVICE_UNAVAILABLE, headers, "Service Unavailable").into_response()
    }
}

/// The name of the token that a request came with; none where nobody needs one.
#[derive(Debug, Clone)]
pub struct Caller(Arc<str>);

impl Caller {
    pub fn new(name: &str) -> Caller {
        Caller(name.into())
    }

    /// The one of a request.
    pub fn of(extensions: &Extensions) -> Option<Arc<str>> {
        extensions.get().map(|caller: &Caller| caller.0.clone())
    }
}

/// The parts of a request's API, for handlers that need the store.
pub struct Ready(pub Arc<Parts>);

impl FromRequestParts<Arc<Api>> for Ready {
    type Rejection = NotReady;

    async fn from_request_parts(_: &mut request::Parts, api: &Arc<Api>) -> Result<Ready, NotReady> {
        api.parts().cloned().map(Ready)
    }
}

/// A failed store, as a client hears of it: what it can do something about is told, the rest is only logged.
impl From<crate::store::StoreError> for ApiError {
    fn from(error: crate::store::StoreError) -> ApiError {
        tracing::error!(%error, "The store failed a read.");
        ApiError::new(ErrorKind::Internal, error.to_string())
    }
}
