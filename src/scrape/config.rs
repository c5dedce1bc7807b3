//! What is scraped, and how.

use std::{fmt, path::PathBuf};

/// Of everything without a `body_size_limit` of its own: a hundred times a large target, and little enough that
/// hostile ones cannot fill the memory.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// All jobs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    pub jobs: Vec<JobConfig>,
    /// Our own metrics, taken without a request.
    pub own: Option<Own>,
}

/// How this process looks to itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// The `instance`: where we listen.
    pub address: String,
    /// Where our metrics are, to be shown: nothing is asked over the network.
    pub metrics_path: String,
    pub interval_ms: i64,
}

/// One job: its targets share everything but address and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    pub name: String,
    pub interval_ms: i64,
    /// At most the interval.
    pub timeout_ms: i64,
    /// What is asked for, the most wanted first.
    pub protocols: Vec<Protocol>,
    /// For targets that do not say what they send.
    pub fallback: Option<Protocol>,
    pub scheme: Scheme,
    pub metrics_path: String,
    /// In order; a name may have several values.
    pub params: Vec<(String, Vec<String>)>,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub compression: bool,
    pub follow_redirects: bool,
    pub extra_metrics: bool,
    pub limits: Limits,
    pub auth: Option<Auth>,
    pub tls: Tls,
    /// Targets that are written down.
    pub groups: Vec<Group>,
}

impl JobConfig {
    /// A job with Prometheus' defaults.
    pub fn new(name: &str) -> JobConfig {
        JobConfig {
            name: name.to_owned(),
            interval_ms: 60_000,
            timeout_ms: 10_000,
            protocols: Protocol::DEFAULT.to_vec(),
            fallback: None,
            scheme: Scheme::Http,
            metrics_path: "/metrics".to_owned(),
            params: Vec::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            compression: true,
            follow_redirects: false,
            extra_metrics: false,
            limits: Limits::default(),
            auth: None,
            tls: Tls::default(),
            groups: Vec::new(),
        }
    }
}

/// Of one scrape; 0 is none. What exceeds one fails the whole scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of the body after decompression; 0 is [`BODY_BYTES_MAX`].
    pub body_bytes: usize,
    pub samples: usize,
    /// The metric name and the target's labels included.
    pub labels: usize,
    pub label_name_bytes: usize,
    pub label_value_bytes: usize,
    /// Of the job: beyond it, none of its targets is scraped.
    pub targets: usize,
}

/// A format to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    OpenMetricsText1,
    OpenMetricsText0,
    PrometheusText1,
    PrometheusText0,
}

impl Protocol {
    pub const DEFAULT: [Protocol; 4] =
        [Protocol::OpenMetricsText1, Protocol::OpenMetricsText0, Protocol::PrometheusText1, Protocol::PrometheusText0];

    /// As the config names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::OpenMetricsText1 => "OpenMetricsText1.0.0",
            Protocol::OpenMetricsText0 => "OpenMetricsText0.0.1",
            Protocol::PrometheusText1 => "PrometheusText1.0.0",
            Protocol::PrometheusText0 => "PrometheusText0.0.4",
        }
    }

    pub fn parse(text: &str) -> Option<Protocol> {
        Protocol::DEFAULT.into_iter().find(|protocol| protocol.as_str() == text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Who we say we are.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    Basic {
        username: Secret,
        password: Secret,
    },
    /// `Authorization: <kind> <credentials>`.
    Header {
        kind: String,
        credentials: Secret,
    },
}

/// A text that is never printed. One in a file is read for every scrape, so that it may be changed.
#[derive(Clone, PartialEq)]
pub enum Secret {
    Text(String),
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("<secret>"),
            Secret::File(path) => write!(f, "<secret in {}>", path.display()),
        }
    }
}

/// How a target proves who it is, and we to it. PEM texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tls {
    /// In place of the machine's own authorities.
    pub ca: Option<Secret>,
    pub cert: Option<Secret>,
    pub key: Option<Secret>,
    /// In place of the address's host.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

/// Addresses with labels in common.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    pub targets: Vec<String>,
    pub labels: Vec<(String, String)>,
}
