//! From what was written to what it means: defaults filled in, everything typed, every mistake reported.

use super::{
    backup::{self, Backup},
    mailbox::{self, MailboxConfig},
    policies::{self, Policy},
    problem::Problems,
    raw::{Located, RawConfig, RawLimits, RawToken},
    scrape::{self, ScrapeJobs},
    sonar,
    tiers::{self, Tier},
    web::{self, Web},
};
use crate::{
    auth::{Digest, Key, Keyring, Scope, Scopes, TOKEN_BYTES_MIN},
    model::time::{format_duration_ms, parse_duration_ms},
    promql::parser::ParseOptions,
    stdx::{secret_file::read_line, size::format_bytes, spelling::nearest},
};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Prometheus' port, so that its data sources and senders find us without a change.
pub const PORT_DEFAULT: u16 = 9090;
pub const DATA_DEFAULT: &str = "observatory-data";
const RETENTION_MS_DEFAULT: i64 = 30 * 24 * 3_600_000;
/// A window is the least that can be dropped.
const RETENTION_MS_MIN: i64 = 2 * 3_600_000;
/// As Prometheus. Each takes some 200 bytes of memory.
const EXEMPLARS_MAX_DEFAULT: u64 = 100_000;
/// The rest is for others, and for what a merge of blocks writes before its sources go.
const DISK_PERCENT_MAX_DEFAULT: u32 = 80;
/// An empty server with its page open takes about 40 MiB.
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// That of most who run node_exporter; `rate(...[1m])` has four samples to work with.
const HOSTS_INTERVAL_MS_DEFAULT: i64 = 15_000;
/// A query looks back five minutes unless told otherwise: with less often than that, charts have holes.
const HOSTS_INTERVAL_MS_BOUNDS: (i64, i64) = (1_000, 300_000);
const DAY_MS: i64 = 24 * 3_600_000;

/// What the process runs with.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// Not yet absolute: relative to the file it was written in, or to the working directory.
    pub data: PathBuf,
    pub retention_ms: i64,
    /// From finest to coarsest; none where samples are all that is kept.
    pub tiers: Vec<Tier>,
    /// The first that a series passes counts.
    pub policies: Vec<Policy>,
    /// Exemplars kept in memory; 0 keeps none.
    pub exemplars_max: u64,
    /// What blocks and log may take together; 0 for no limit.
    pub bytes_max: u64,
    /// The same as a part of the file system that holds them; 0 for no limit.
    pub disk_percent_max: u32,
    /// `None` for what fits into the memory.
    pub series_max: Option<u64>,
    /// `None` for a part of what the machine has.
    pub memory_bytes_max: Option<u64>,
    pub tokens: Vec<Token>,
    pub limits: Limits,
    /// Names under which browsers may ask for us beside those of this machine; lower case.
    pub web_hosts: Vec<String>,
    /// Of what is federated.
    pub external_labels: Vec<(String, String)>,
    pub features: Vec<Feature>,
    pub hosts: Hosts,
    pub web: Web,
    pub scrape: ScrapeJobs,
    pub backup: Option<Backup>,
    pub mailbox: MailboxConfig,
    pub sonar: Option<crate::sonar::Config>,
}

/// How this host itself is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hosts {
    pub enabled: bool,
    pub interval_ms: i64,
}

/// A token as configured, with what its secret hashes to.
#[derive(Debug, Clone)]
pub struct Token {
    pub key: Key,
    /// Where the secret stands, if not as a hash in the config itself.
    pub file: Option<PathBuf>,
}

/// What the process spends at most on others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub connections_max: usize,
    /// Of one address that is not this machine's.
    pub connections_per_address_max: usize,
    /// On the wire, before decompression.
    pub body_bytes_max: usize,
    pub query_timeout_ms: i64,
    /// Held in memory by one query.
    pub query_samples_max: u64,
    /// Read by one query in all.
    pub query_samples_scanned_max: u64,
    pub query_bytes_max: u64,
    /// Computing at once; more wait.
    pub query_concurrent_max: usize,
    pub query_lookback_delta_ms: i64,
    /// Of one token, or of one address where no token is needed.
    pub pushes_per_minute_max: u64,
    /// Of one address.
    pub failed_logins_per_minute_max: u64,
    /// Active series with one value of `job`; 0 for no limit but that of all series.
    pub series_per_job_max: u64,
    /// Active series that pushes and writes with one token brought; 0 for no limit but that of all series.
    pub series_per_token_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Each costs at most 16 KiB of buffer and a file descriptor: 160 MiB in the worst case.
            connections_max: 10_240,
            // A browser opens 6, a Grafana a few dozen; with this many, forty addresses fill the server and not one.
            connections_per_address_max: 256,
            // A remote write of 60,000 samples takes under 2 MiB, a push of 20,000 series under 4.
            body_bytes_max: 16 << 20,
            // Those of Prometheus, which its dashboards were made under.
            query_timeout_ms: 120_000,
            query_samples_max: 50_000_000,
            query_lookback_delta_ms: 300_000,
            // At 5 ns each ten seconds of one core.
            query_samples_scanned_max: 2_000_000_000,
            // Two such queries fit beside the head in a machine of 2 GiB.
            query_bytes_max: 512 << 20,
            // One that computes and one that waits for memory on each core.
            query_concurrent_max: std::thread::available_parallelism().map_or(2, |cores| cores.get()) * 2,
            // Ten a second: a matrix build of 200 jobs may end all at once, and no script in a loop fills the log.
            pushes_per_minute_max: 600,
            // A person mistypes a few times; a token has 256 bits, a chosen one perhaps 30.
            failed_logins_per_minute_max: 10,
            series_per_job_max: 0,
            series_per_token_max: 0,
        }
    }
}

/// What is off unless asked for; named as Prometheus names its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    ExperimentalFunctions,
    ExtendedRangeSelectors,
    BinopFillModifiers,
    DelayedNameRemoval,
}

impl Feature {
    pub const ALL: [Feature; 4] = [
        Feature::ExperimentalFunctions,
        Feature::ExtendedRangeSelectors,
        Feature::BinopFillModifiers,
        Feature::DelayedNameRemoval,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Feature::ExperimentalFunctions => "promql-experimental-functions",
            Feature::ExtendedRangeSelectors => "promql-extended-range-selectors",
            Feature::BinopFillModifiers => "promql-binop-fill-modifiers",
            Feature::DelayedNameRemoval => "promql-delayed-name-removal",
        }
    }
}

impl Config {
    /// For how long samples of what SonarQube says are kept, in milliseconds.
    pub fn sonar_kept_ms(&self) -> i64 {
        let metrics = self.sonar.as_ref().map_or(&[][..], |sonar| &sonar.metrics);
        policies::sonar_kept_ms(&self.policies, self.retention_ms, metrics)
    }

    /// The config of an empty file.
    pub fn empty() -> Config {
        resolve(RawConfig::default(), Path::new(""), &mut Problems::default())
    }

    /// The tokens, ready to be compared with.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(self.tokens.iter().map(|token| token.key.clone()).collect())
    }

    /// What the parser accepts beyond the stable language.
    pub fn parse_options(&self) -> ParseOptions {
        ParseOptions {
            experimental_functions: self.features.contains(&Feature::ExperimentalFunctions),
            extended_selectors: self.features.contains(&Feature::ExtendedRangeSelectors),
            fill_modifiers: self.features.contains(&Feature::BinopFillModifiers),
        }
    }
}

/// Decides. `base` is the directory that relative paths start from: that of the file.
pub fn resolve(raw: RawConfig, base: &Path, problems: &mut Problems) -> Config {
    check_remotes(&raw, problems);
    let scrape = scrape::resolve(&raw, base, problems);
    let external_labels = scrape::external_labels(&raw, problems);
    let retention_ms = resolve_retention(raw.retention_ms, problems);
    let tiers = tiers::resolve(raw.tiers, retention_ms, problems);
    let policies = policies::resolve(raw.policies, retention_ms, &tiers, problems);
    let sonar_kept_ms = |metrics: &[String]| policies::sonar_kept_ms(&policies, retention_ms, metrics);
    Config {
        scrape,
        external_labels,
        sonar: sonar::resolve(raw.sonar, base, sonar_kept_ms, problems),
        backup: backup::resolve(raw.backup, base, problems),
        mailbox: mailbox::resolve(raw.mailbox, base, problems),
        web: web::resolve(raw.external_url, raw.route_prefix, problems),
        listen: resolve_listen(raw.listen, problems),
        data: raw.data.map_or_else(|| PathBuf::from(DATA_DEFAULT), |data| base.join(data.value)),
        retention_ms,
        policies,
        tiers,
        exemplars_max: raw.exemplars_max.map_or(EXEMPLARS_MAX_DEFAULT, |found| found.value),
        bytes_max: raw.bytes_max.map_or(0, |found| found.value),
        disk_percent_max: resolve_disk_percent(raw.disk_percent_max, problems),
        memory_bytes_max: resolve_memory(raw.memory_bytes_max, problems),
        series_max: resolve_series_max(raw.series_max, problems),
        tokens: resolve_tokens(raw.tokens, base, problems),
        limits: resolve_limits(raw.limits, problems),
        web_hosts: raw.web_hosts.into_iter().map(|host| host.value.to_ascii_lowercase()).collect(),
        features: raw.features.iter().enumerate().filter_map(|(i, name)| resolve_feature(i, name, problems)).collect(),
        hosts: Hosts {
            enabled: raw.hosts_enabled.is_none_or(|found| found.value),
            interval_ms: resolve_hosts_interval(raw.hosts_interval_ms, problems),
        },
    }
}

/// Reads `address:port`, `localhost:port` or `:port`, which is every address of this machine, as in Prometheus.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match split {
        Some(("", port)) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)),
        Some(("localhost", port)) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        _ => Err(format!(
            "`{text}` is no address to listen on; write an IP address and a port, such as 127.0.0.1:{PORT_DEFAULT}, \
             or 0.0.0.0:{PORT_DEFAULT} for every address of this machine"
        )),
    }
}

fn resolve_listen(raw: Option<Located<String>>, problems: &mut Problems) -> SocketAddr {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT_DEFAULT);
    let Some(raw) = raw else { return default };
    parse_listen(&raw.value).unwrap_or_else(|message| {
        problems.error("listen", raw.line, message);
        default
    })
}

/// Reads how long samples are kept.
pub fn parse_retention(text: &str) -> Result<i64, String> {
    let ms = parse_duration_ms(text).map_err(|_| format!("expected a duration such as 30d, got `{text}`"))?;
    check_retention(ms).map(|()| ms)
}

fn check_retention(ms: i64) -> Result<(), String> {
    if ms < RETENTION_MS_MIN {
        return Err("too short: samples are dropped in windows of two hours".to_owned());
    }
    if ms > 100 * 365 * DAY_MS {
        return Err("too long: 100 years are the most".to_owned());
    }
    Ok(())
}

fn resolve_retention(raw: Option<Located<i64>>, problems: &mut Problems) -> i64 {
    let Some(raw) = raw else { return RETENTION_MS_DEFAULT };
    if let Err(message) = check_retention(raw.value) {
        problems.error("storage.retention", raw.line, message);
    }
    raw.value
}

/// Whole percents: nobody can tell the difference of less on a disk.
fn resolve_disk_percent(raw: Option<Located<f64>>, problems: &mut Problems) -> u32 {
    let print = |percent: &f64| percent.to_string();
    let default = f64::from(DISK_PERCENT_MAX_DEFAULT);
    within(raw, "storage.max_disk_percent", (0.0, 100.0), default, print, problems).ceil() as u32
}

fn resolve_series_max(raw: Option<Located<u64>>, problems: &mut Problems) -> Option<u64> {
    let found = raw?;
    if found.value == 0 {
        problems.error("storage.series_max", found.line, "must be at least 1");
    }
    Some(found.value)
}

fn resolve_memory(raw: Option<Located<u64>>, problems: &mut Problems) -> Option<u64> {
    let found = raw?;
    if found.value < MEMORY_BYTES_MIN {
        let least = format_bytes(MEMORY_BYTES_MIN);
        problems.error("storage.memory_max", found.line, format!("too little to run in: at least {least}"));
    }
    Some(found.value)
}

fn resolve_hosts_interval(raw: Option<Located<i64>>, problems: &mut Problems) -> i64 {
    let print = |ms: &i64| format_duration_ms(*ms);
    within(raw, "hosts.interval", HOSTS_INTERVAL_MS_BOUNDS, HOSTS_INTERVAL_MS_DEFAULT, print, problems)
}

fn resolve_limits(raw: RawLimits, problems: &mut Problems) -> Limits {
    let default = Limits::default();
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let mut number = |raw, name: &str, bounds, default: u64| {
        within(raw, &format!("limits.{name}"), bounds, default, u64::to_string, problems)
    };
    // Each of these takes a thread of those that may block.
    const CONCURRENT_MAX: u64 = 48;
    let concurrent = (default.query_concurrent_max as u64).min(CONCURRENT_MAX);
    let (connections, per_address) = (default.connections_max as u64, default.connections_per_address_max as u64);
    let body_bytes = default.body_bytes_max as u64;
    let (any, often) = ((1, u64::MAX), (1, 1_000_000));
    let mut limits = Limits {
        connections_max: size(number(raw.connections_max, "connections_max", (16, 1 << 20), connections)),
        connections_per_address_max: size(number(
            raw.connections_per_address_max,
            "connections_per_address_max",
            (1, 1 << 20),
            per_address,
        )),
        body_bytes_max: size(number(raw.body_bytes_max, "body_bytes_max", (1 << 10, 1 << 30), body_bytes)),
        query_samples_max: number(raw.query_samples_max, "query_samples_max", any, default.query_samples_max),
        query_samples_scanned_max: number(
            raw.query_samples_scanned_max,
            "query_samples_scanned_max",
            any,
            default.query_samples_scanned_max,
        ),
        query_bytes_max: number(raw.query_bytes_max, "query_bytes_max", (1 << 10, u64::MAX), default.query_bytes_max),
        query_concurrent_max: size(number(
            raw.query_concurrent_max,
            "query_concurrent_max",
            (1, CONCURRENT_MAX),
            concurrent,
        )),
        pushes_per_minute_max: number(
            raw.pushes_per_minute_max,
            "pushes_per_minute_max",
            often,
            default.pushes_per_minute_max,
        ),
        failed_logins_per_minute_max: number(
            raw.failed_logins_per_minute_max,
            "failed_logins_per_minute_max",
            often,
            default.failed_logins_per_minute_max,
        ),
        series_per_job_max: raw.series_per_job_max.map_or(0, |found| found.value),
        series_per_token_max: raw.series_per_token_max.map_or(0, |found| found.value),
        query_timeout_ms: default.query_timeout_ms,
        query_lookback_delta_ms: default.query_lookback_delta_ms,
    };
    let mut time = |raw, name: &str, bounds, default| {
        within(raw, &format!("limits.{name}"), bounds, default, |ms: &i64| format_duration_ms(*ms), problems)
    };
    limits.query_timeout_ms = time(raw.query_timeout_ms, "query_timeout", (1, DAY_MS), limits.query_timeout_ms);
    let (lookback, default) = (raw.query_lookback_delta_ms, limits.query_lookback_delta_ms);
    limits.query_lookback_delta_ms = time(lookback, "query_lookback_delta", (1, 365 * DAY_MS), default);
    limits
}

/// The limit as written, where it is within its bounds (inclusive); else the default, and a mistake is reported.
fn within<T: PartialOrd + Copy>(
    raw: Option<Located<T>>,
    path: &str,
    (least, most): (T, T),
    default: T,
    print: impl Fn(&T) -> String,
    problems: &mut Problems,
) -> T {
    let Some(found) = raw else { return default };
    if found.value < least || found.value > most {
        let message = format!("must be between {} and {}, got {}", print(&least), print(&most), print(&found.value));
        problems.error(path, found.line, message);
    }
    found.value
}

fn resolve_feature(index: usize, name: &Located<String>, problems: &mut Problems) -> Option<Feature> {
    let found = Feature::ALL.into_iter().find(|feature| feature.as_str() == name.value);
    if found.is_none() {
        let path = format!("features[{index}]");
        let message = format!("`{}` is no feature", name.value);
        let names = Feature::ALL.map(Feature::as_str);
        let hint = match nearest(&name.value, names.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", names.join(", ")),
        };
        problems.error_with_hint(&path, name.line, message, hint);
    }
    found
}

fn resolve_tokens(raw: Vec<Located<RawToken>>, base: &Path, problems: &mut Problems) -> Vec<Token> {
    let mut names = HashSet::new();
    let mut tokens = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let path = format!("auth.tokens[{index}]");
        match &raw.value.name {
            None => problems.error_with_hint(&path, raw.line, "has no name", "add `name:`; it is what the log says"),
            Some(name) if !names.insert(name.value.clone()) => {
                problems.error(
                    &format!("{path}.name"),
                    name.line,
                    format!("`{}` is the name of two tokens", name.value),
                );
            }
            Some(_) => {}
        }
        let scopes = resolve_scopes(&path, &raw, problems);
        let (digest, file) = resolve_secret(&path, &raw, base, problems);
        if let (Some(name), Some(scopes), Some(digest)) = (raw.value.name, scopes, digest) {
            tokens.push(Token { key: Key { name: name.value, digest, scopes }, file });
        }
    }
    tokens
}

fn resolve_scopes(path: &str, raw: &Located<RawToken>, problems: &mut Problems) -> Option<Scopes> {
    let written = raw.value.scopes.as_deref().unwrap_or_default();
    if written.is_empty() {
        let hint = "add `scopes: [push]`, `[read]`, both, or `[admin]` for everything";
        problems.error_with_hint(path, raw.line, "is good for nothing", hint);
        return None;
    }
    let mut scopes = Vec::new();
    for (index, scope) in written.iter().enumerate() {
        match Scope::parse(&scope.value) {
            Some(scope) => scopes.push(scope),
            None => problems.error_with_hint(
                &format!("{path}.scopes[{index}]"),
                scope.line,
                format!("`{}` is no scope", scope.value),
                "known: push, read, admin",
            ),
        }
    }
    Some(scopes.into_iter().collect())
}

fn resolve_secret(
    path: &str,
    raw: &Located<RawToken>,
    base: &Path,
    problems: &mut Problems,
) -> (Option<Digest>, Option<PathBuf>) {
    match (&raw.value.sha256, &raw.value.token_file) {
        (Some(hash), None) => {
            let digest = Digest::from_hex(&hash.value);
            if digest.is_none() {
                let hint = "`observatory token new` prints a token and its line";
                problems.error_with_hint(&format!("{path}.sha256"), hash.line, "expected 64 hexadecimal digits", hint);
            }
            (digest, None)
        }
        (None, Some(file)) => {
            let file_path = base.join(&file.value);
            let token = read_token(&file_path).map_err(|message| {
                problems.error(&format!("{path}.token_file"), file.line, message);
            });
            (token.ok().as_deref().map(Digest::of), Some(file_path))
        }
        (found, _) => {
            let message = if found.is_some() { "has both `sha256` and `token_file`" } else { "has no secret" };
            let hint = "give either `sha256` or `token_file`; `observatory token new` prints a token and its line";
            problems.error_with_hint(path, raw.line, message, hint);
            (None, None)
        }
    }
}

fn read_token(path: &Path) -> Result<String, String> {
    let token = read_line(path)?;
    if token.len() < TOKEN_BYTES_MIN {
        let length = token.len();
        return Err(format!(
            "{} holds {length} characters, which can be guessed; write at least {TOKEN_BYTES_MIN}, or better what \
             `observatory token new` prints",
            path.display()
        ));
    }
    Ok(token)
}

/// What Prometheus itself would refuse in sections that are not active yet: better said now than when they are.
fn check_remotes(raw: &RawConfig, problems: &mut Problems) {
    for remote in &raw.remotes {
        if let (section, index, false) = remote.value {
            problems.error_with_hint(&format!("{section}[{index}]"), remote.line, "has no url", "add `url:`");
        }
    }
}
