//! `scrape_configs` and what `global` gives them, with Prometheus' defaults and its judgement.

use super::{
    check::{parse_bool, parse_size},
    problem::Problems,
    raw::RawConfig,
    tree::{Node, Value},
};
use crate::{
    model::{
        METRIC_NAME,
        time::{format_duration_ms, parse_duration_ms},
    },
    scrape::{Auth, Group, JobConfig, Limits, Protocol, Scheme, Secret, Tls},
};
use std::{collections::HashSet, path::Path};

/// Of Prometheus.
const INTERVAL_MS_DEFAULT: i64 = 60_000;
const TIMEOUT_MS_DEFAULT: i64 = 10_000;
/// Of our own metrics, where `global` says nothing: they cost a hundred samples.
const OWN_INTERVAL_MS_DEFAULT: i64 = 15_000;
/// Shorter intervals measure the measuring.
const INTERVAL_MS_MIN: i64 = 100;

/// What is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeJobs {
    pub jobs: Vec<JobConfig>,
    /// How often we look at ourselves; `None` where `self_scrape` is off.
    pub own_interval_ms: Option<i64>,
}

/// Decides. `base` is the directory that relative paths start from.
pub fn resolve(raw: &RawConfig, base: &Path, problems: &mut Problems) -> ScrapeJobs {
    let global = raw.global.as_ref();
    let own_interval_ms = global.and_then(|global| duration(global, "scrape_interval"));
    let mut names = HashSet::new();
    let mut jobs = Vec::new();
    for (index, node) in raw.jobs.iter().enumerate() {
        let path = format!("scrape_configs[{index}]");
        match text(node, "job_name") {
            None => problems.error_with_hint(&path, node.line, "has no job_name", "add `job_name:`"),
            Some(name) if !names.insert(name.to_owned()) => {
                problems.error(
                    &format!("{path}.job_name"),
                    line(node, "job_name"),
                    format!("`{name}` is the name of two jobs"),
                );
            }
            Some(name) => jobs.push(Job { node, global, base, path }.resolve(name, problems)),
        }
    }
    let own = raw.self_scrape.unwrap_or(true);
    let own_interval_ms = own.then_some(own_interval_ms.unwrap_or(OWN_INTERVAL_MS_DEFAULT).max(INTERVAL_MS_MIN));
    ScrapeJobs { jobs, own_interval_ms }
}

/// What `global` has series carry that other servers take from this one. An empty value is no label.
pub fn external_labels(raw: &RawConfig, problems: &mut Problems) -> Vec<(String, String)> {
    let Some(node) = raw.global.as_ref().and_then(|global| global.get("external_labels")) else { return Vec::new() };
    let labels = pairs(node);
    for (name, _) in labels.iter().filter(|(name, _)| name.is_empty() || name == METRIC_NAME) {
        let path = format!("global.external_labels.{name}");
        problems.error(&path, line(node, name), format!("{name:?} is no name for a label of every series"));
    }
    labels.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// One job as written.
struct Job<'a> {
    node: &'a Node,
    global: Option<&'a Node>,
    base: &'a Path,
    path: String,
}

impl Job<'_> {
    fn resolve(&self, name: &str, problems: &mut Problems) -> JobConfig {
        let node = self.node;
        let (interval_ms, timeout_ms) = self.times(problems);
        let switch = |key: &str, default: bool| found(node, key, parse_bool).unwrap_or(default);
        let default = JobConfig::new(name);
        JobConfig {
            interval_ms,
            timeout_ms,
            protocols: self.protocols(problems),
            fallback: found(node, "fallback_scrape_protocol", |text| self.protocol(text, problems)),
            scheme: if text(node, "scheme") == Some("https") { Scheme::Https } else { Scheme::Http },
            metrics_path: text(node, "metrics_path").map_or(default.metrics_path, str::to_owned),
            params: node.get("params").map_or_else(Vec::new, params),
            honor_labels: switch("honor_labels", false),
            honor_timestamps: switch("honor_timestamps", true),
            track_timestamps_staleness: switch("track_timestamps_staleness", false),
            compression: switch("enable_compression", true),
            follow_redirects: switch("follow_redirects", false),
            extra_metrics: self.inherited("extra_scrape_metrics", parse_bool).unwrap_or(false),
            limits: self.limits(),
            auth: self.auth(problems),
            tls: self.tls(problems),
            groups: self.groups(problems),
            name: default.name,
        }
    }

    /// What the job says, else what `global` says.
    fn inherited<T>(&self, key: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        found(self.node, key, &read).or_else(|| found(self.global?, key, &read))
    }

    fn times(&self, problems: &mut Problems) -> (i64, i64) {
        let read = |text: &str| parse_duration_ms(text).ok();
        let interval = self.inherited("scrape_interval", read).unwrap_or(INTERVAL_MS_DEFAULT);
        if interval < INTERVAL_MS_MIN {
            let message = format!("must be at least {}", format_duration_ms(INTERVAL_MS_MIN));
            problems.error(&format!("{}.scrape_interval", self.path), line(self.node, "scrape_interval"), message);
        }
        let written = found(self.node, "scrape_timeout", read);
        if written.is_some_and(|timeout| timeout > interval || timeout <= 0) {
            let message = format!("must be more than 0 and at most the interval, {}", format_duration_ms(interval));
            problems.error(&format!("{}.scrape_timeout", self.path), line(self.node, "scrape_timeout"), message);
        }
        let global = self.global.and_then(|global| found(global, "scrape_timeout", read)).unwrap_or(TIMEOUT_MS_DEFAULT);
        (interval, written.unwrap_or(global.min(interval)).max(1))
    }

    fn protocols(&self, problems: &mut Problems) -> Vec<Protocol> {
        let key = "scrape_protocols";
        let Some(list) = self.node.get(key).or_else(|| self.global?.get(key)) else {
            return Protocol::DEFAULT.to_vec();
        };
        let mut protocols = Vec::new();
        for name in list.elements().iter().filter_map(Node::scalar) {
            match self.protocol(name, problems) {
                Some(protocol) if !protocols.contains(&protocol) => protocols.push(protocol),
                _ => {}
            }
        }
        if protocols.is_empty() { Protocol::DEFAULT.to_vec() } else { protocols }
    }

    fn protocol(&self, name: &str, problems: &mut Problems) -> Option<Protocol> {
        let known = Protocol::parse(name);
        if known.is_none() && name == "PrometheusProto" {
            let message = "understood, but not active yet: targets are not asked for protobuf, but for text";
            problems.warn(&format!("{}.scrape_protocols", self.path), line(self.node, "scrape_protocols"), message);
        } else if known.is_none() {
            let hint = format!("known: {}", Protocol::DEFAULT.map(Protocol::as_str).join(", "));
            let message = format!("`{name}` is no scrape protocol");
            problems.error_with_hint(&format!("{}.scrape_protocols", self.path), self.node.line, message, hint);
        }
        known
    }

    fn limits(&self) -> Limits {
        let count = |key: &str| self.inherited(key, |text| text.parse().ok()).unwrap_or(0);
        let bytes = self.inherited("body_size_limit", parse_size).unwrap_or(0);
        Limits {
            body_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            samples: count("sample_limit"),
            labels: count("label_limit"),
            label_name_bytes: count("label_name_length_limit"),
            label_value_bytes: count("label_value_length_limit"),
            targets: count("target_limit"),
        }
    }

    fn auth(&self, problems: &mut Problems) -> Option<Auth> {
        let basic = self.node.get("basic_auth");
        let header = self.node.get("authorization");
        let bearer = self.secret(self.node, "bearer_token", &self.path, problems);
        let ways = [basic.is_some(), header.is_some(), bearer.is_some()].into_iter().filter(|way| *way).count();
        if ways > 1 {
            let hint = "keep one of basic_auth, authorization, bearer_token and bearer_token_file";
            problems.error_with_hint(&self.path, self.node.line, "has more than one way to authenticate", hint);
        }
        if let Some(basic) = basic {
            let path = format!("{}.basic_auth", self.path);
            let empty = || Secret::Text(String::new());
            let username = self.secret(basic, "username", &path, problems).unwrap_or_else(empty);
            let password = self.secret(basic, "password", &path, problems).unwrap_or_else(empty);
            return Some(Auth::Basic { username, password });
        }
        if let Some(header) = header {
            let path = format!("{}.authorization", self.path);
            let kind = text(header, "type").map_or("Bearer", str::trim).to_owned();
            if kind.eq_ignore_ascii_case("basic") {
                problems.error_with_hint(&path, header.line, "may not be of type basic", "use `basic_auth:`");
            }
            let credentials = self.secret(header, "credentials", &path, problems)?;
            return Some(Auth::Header { kind, credentials });
        }
        bearer.map(|credentials| Auth::Header { kind: "Bearer".to_owned(), credentials })
    }

    /// The text under `key`, or the file under `<key>_file`.
    fn secret(&self, node: &Node, key: &str, path: &str, problems: &mut Problems) -> Option<Secret> {
        let file_key = format!("{key}_file");
        match (text(node, key), text(node, &file_key)) {
            (Some(_), Some(_)) => {
                problems.error(path, node.line, format!("has both `{key}` and `{file_key}`"));
                None
            }
            (Some(text), None) => Some(Secret::Text(text.to_owned())),
            (None, Some(file)) => Some(Secret::File(self.base.join(file))),
            (None, None) => None,
        }
    }

    fn tls(&self, problems: &mut Problems) -> Tls {
        let Some(node) = self.node.get("tls_config") else { return Tls::default() };
        let path = format!("{}.tls_config", self.path);
        let tls = Tls {
            ca: self.secret(node, "ca", &path, problems),
            cert: self.secret(node, "cert", &path, problems),
            key: self.secret(node, "key", &path, problems),
            server_name: text(node, "server_name").filter(|name| !name.is_empty()).map(str::to_owned),
            insecure_skip_verify: found(node, "insecure_skip_verify", parse_bool).unwrap_or(false),
        };
        if tls.cert.is_some() != tls.key.is_some() {
            problems.error(&path, node.line, "needs both a certificate and its key, or neither");
        }
        tls
    }

    fn groups(&self, problems: &mut Problems) -> Vec<Group> {
        let nodes = self.node.get("static_configs").map_or(&[][..], Node::elements);
        let mut groups = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let targets = node.get("targets").map_or(&[][..], Node::elements);
            for (place, target) in targets.iter().enumerate() {
                let address = target.scalar().unwrap_or_default();
                if address.contains('/') {
                    let path = format!("{}.static_configs[{index}].targets[{place}]", self.path);
                    let hint = "write host:port; the rest goes into `scheme` and `metrics_path`";
                    problems.error_with_hint(&path, target.line, format!("{address:?} is not a valid hostname"), hint);
                }
            }
            groups.push(Group {
                targets: targets.iter().filter_map(Node::scalar).map(str::to_owned).collect(),
                labels: node.get("labels").map_or_else(Vec::new, pairs),
            });
        }
        groups
    }
}

fn found<T>(node: &Node, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    read(node.get(key)?.scalar()?)
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key)?.scalar()
}

fn duration(node: &Node, key: &str) -> Option<i64> {
    found(node, key, |text| parse_duration_ms(text).ok())
}

fn line(node: &Node, key: &str) -> u64 {
    node.get(key).map_or(node.line, |found| found.line)
}

fn pairs(node: &Node) -> Vec<(String, String)> {
    let Value::Map(entries) = &node.value else { return Vec::new() };
    entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.node.scalar()?.to_owned()))).collect()
}

fn params(node: &Node) -> Vec<(String, Vec<String>)> {
    let Value::Map(entries) = &node.value else { return Vec::new() };
    let values = |node: &Node| match node.scalar() {
        Some(text) => vec![text.to_owned()],
        None => node.elements().iter().filter_map(Node::scalar).map(str::to_owned).collect(),
    };
    entries.iter().map(|entry| (entry.key.clone(), values(&entry.node))).collect()
}
