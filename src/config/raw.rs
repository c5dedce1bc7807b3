//! The config as written: texts and numbers with their lines, nothing decided, nothing filled in.

use super::{
    check::{parse_bool, parse_size},
    tree::{Node, Value},
};
use crate::model::time::parse_duration_ms;

/// A value and the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    pub line: u64,
}

/// `observatory.yml` as written; `None` where nothing is said. What does not have the right form is left out here: it
/// was reported when the tree was checked.
#[derive(Debug, Clone, Default)]
pub struct RawConfig {
    pub listen: Option<Located<String>>,
    pub data: Option<Located<String>>,
    pub retention_ms: Option<Located<i64>>,
    pub tiers: Option<Located<Vec<Located<RawTier>>>>,
    pub policies: Vec<Located<RawPolicy>>,
    pub bytes_max: Option<Located<u64>>,
    pub disk_percent_max: Option<Located<f64>>,
    pub series_max: Option<Located<u64>>,
    pub exemplars_max: Option<Located<u64>>,
    pub memory_bytes_max: Option<Located<u64>>,
    pub tokens: Vec<Located<RawToken>>,
    pub limits: RawLimits,
    pub web_hosts: Vec<Located<String>>,
    pub features: Vec<Located<String>>,
    pub hosts_enabled: Option<Located<bool>>,
    pub hosts_interval_ms: Option<Located<i64>>,
    pub self_scrape: Option<bool>,
    pub backup: Option<Located<RawBackup>>,
    pub mailbox: Option<RawMailbox>,
    pub sonar: Option<Located<RawSonar>>,
    pub external_url: Option<Located<String>>,
    pub route_prefix: Option<Located<String>>,
    /// What jobs take where they say nothing themselves.
    pub global: Option<Node>,
    /// Of `scrape_configs`; read where it is resolved, for there are many keys and each has a default.
    pub jobs: Vec<Node>,
    /// Of `remote_write` and `remote_read`: the section's name, index and whether it has a URL.
    pub remotes: Vec<Located<(&'static str, usize, bool)>>,
}

#[derive(Debug, Clone, Default)]
pub struct RawToken {
    pub name: Option<Located<String>>,
    pub token_file: Option<Located<String>>,
    pub sha256: Option<Located<String>>,
    pub scopes: Option<Vec<Located<String>>>,
}

#[derive(Debug, Clone, Default)]
pub struct RawTier {
    pub resolution_ms: Option<Located<i64>>,
    pub retention_ms: Option<Located<i64>>,
}

#[derive(Debug, Clone, Default)]
pub struct RawPolicy {
    pub selector: Option<Located<String>>,
    pub retention_ms: Option<Located<i64>>,
    /// Resolutions; empty for `none`.
    pub tiers: Option<Located<Vec<Located<i64>>>>,
}

#[derive(Debug, Clone, Default)]
pub struct RawBackup {
    pub directory: Option<Located<String>>,
    pub interval_ms: Option<Located<i64>>,
    pub keep: Option<Located<u64>>,
}

#[derive(Debug, Clone, Default)]
pub struct RawMailbox {
    pub redis: Option<Located<String>>,
    pub password_file: Option<Located<String>>,
    pub prefix: Option<Located<String>>,
    pub agent: Option<Located<String>>,
    pub stream: Option<Located<String>>,
    pub stream_length: Option<Located<u64>>,
    pub bytes_max: Option<Located<u64>>,
    pub age_ms_max: Option<Located<i64>>,
    pub attempts_max: Option<Located<u64>>,
}

#[derive(Debug, Clone, Default)]
pub struct RawSonar {
    pub url: Option<Located<String>>,
    pub token_file: Option<Located<String>>,
    pub organization: Option<Located<String>>,
    pub projects: Option<Located<RawWords>>,
    pub branches: Option<Located<RawWords>>,
    pub metrics: Option<Located<RawWords>>,
    pub interval_ms: Option<Located<i64>>,
    pub history: Option<Located<String>>,
    pub calls_per_hour: Option<Located<u64>>,
    pub webhook_secret_file: Option<Located<String>>,
    pub names: Option<Located<String>>,
}

/// What may be one word or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawWords {
    One(String),
    Many(Vec<String>),
    /// Keys and values, or nothing.
    Other,
}

#[derive(Debug, Clone, Default)]
pub struct RawLimits {
    pub connections_max: Option<Located<u64>>,
    pub connections_per_address_max: Option<Located<u64>>,
    pub body_bytes_max: Option<Located<u64>>,
    pub query_timeout_ms: Option<Located<i64>>,
    pub query_samples_max: Option<Located<u64>>,
    pub query_samples_scanned_max: Option<Located<u64>>,
    pub query_bytes_max: Option<Located<u64>>,
    pub query_concurrent_max: Option<Located<u64>>,
    pub pushes_per_minute_max: Option<Located<u64>>,
    pub failed_logins_per_minute_max: Option<Located<u64>>,
    pub query_lookback_delta_ms: Option<Located<i64>>,
    pub series_per_job_max: Option<Located<u64>>,
    pub series_per_token_max: Option<Located<u64>>,
}

impl RawConfig {
    /// Takes what we use from a tree.
    pub fn read(tree: &Node) -> RawConfig {
        let storage = tree.get("storage");
        // As Prometheus writes it; ours goes before it.
        let retention = storage.and_then(|storage| storage.get("tsdb")).and_then(|tsdb| tsdb.get("retention"));
        let limits = tree.get("limits");
        let auth = tree.get("auth");
        let jobs = tree.get("scrape_configs").map_or(&[][..], Node::elements).iter();
        RawConfig {
            listen: text(Some(tree), "listen"),
            data: text(Some(tree), "data"),
            retention_ms: duration(storage, "retention").or_else(|| duration(retention, "time")),
            tiers: storage.and_then(|storage| storage.get("tiers")).map(tiers),
            policies: storage.and_then(|storage| storage.get("policies")).map(policies).unwrap_or_default(),
            bytes_max: found(storage, "max_bytes", parse_size).or_else(|| found(retention, "size", parse_size)),
            disk_percent_max: number(storage, "max_disk_percent").or_else(|| number(retention, "percentage")),
            series_max: whole(storage, "series_max"),
            exemplars_max: whole(storage.and_then(|storage| storage.get("exemplars")), "max_exemplars"),
            memory_bytes_max: found(storage, "memory_max", parse_size),
            tokens: auth
                .and_then(|auth| auth.get("tokens"))
                .map_or(&[][..], Node::elements)
                .iter()
                .map(|node| Located { value: RawToken::read(node), line: node.line })
                .collect(),
            limits: RawLimits {
                connections_max: whole(limits, "connections_max"),
                connections_per_address_max: whole(limits, "connections_per_address_max"),
                body_bytes_max: found(limits, "body_bytes_max", parse_size),
                query_timeout_ms: duration(limits, "query_timeout"),
                query_samples_max: whole(limits, "query_samples_max"),
                query_samples_scanned_max: whole(limits, "query_samples_scanned_max"),
                query_bytes_max: found(limits, "query_bytes_max", parse_size),
                query_concurrent_max: whole(limits, "query_concurrent_max"),
                pushes_per_minute_max: whole(limits, "pushes_per_minute_max"),
                failed_logins_per_minute_max: whole(limits, "failed_logins_per_minute_max"),
                query_lookback_delta_ms: duration(limits, "query_lookback_delta"),
                series_per_job_max: whole(limits, "series_per_job"),
                series_per_token_max: whole(limits, "series_per_token"),
            },
            web_hosts: tree.get("web").and_then(|web| web.get("hosts")).map(texts).unwrap_or_default(),
            features: tree.get("features").map(texts).unwrap_or_default(),
            hosts_enabled: found(tree.get("hosts"), "enabled", parse_bool),
            hosts_interval_ms: duration(tree.get("hosts"), "interval"),
            self_scrape: tree.get("self_scrape").and_then(Node::scalar).and_then(parse_bool),
            backup: tree.get("backup").map(|node| Located { value: RawBackup::read(node), line: node.line }),
            mailbox: tree.get("mailbox").map(RawMailbox::read),
            sonar: tree.get("sonar").map(|node| Located { value: RawSonar::read(node), line: node.line }),
            external_url: text(tree.get("web"), "external_url"),
            route_prefix: text(tree.get("web"), "route_prefix"),
            global: tree.get("global").cloned(),
            jobs: jobs.filter(|job| matches!(job.value, Value::Map(_))).cloned().collect(),
            remotes: ["remote_write", "remote_read"].into_iter().flat_map(|section| remotes(tree, section)).collect(),
        }
    }
}

impl RawToken {
    fn read(node: &Node) -> RawToken {
        RawToken {
            name: text(Some(node), "name"),
            token_file: text(Some(node), "token_file"),
            sha256: text(Some(node), "sha256"),
            scopes: node.get("scopes").map(texts),
        }
    }
}

impl RawBackup {
    fn read(node: &Node) -> RawBackup {
        RawBackup {
            directory: text(Some(node), "directory"),
            interval_ms: duration(Some(node), "interval"),
            keep: whole(Some(node), "keep"),
        }
    }
}

fn tiers(node: &Node) -> Located<Vec<Located<RawTier>>> {
    let tier = |node: &Node| {
        let (resolution_ms, retention_ms) = (duration(Some(node), "resolution"), duration(Some(node), "retention"));
        Located { value: RawTier { resolution_ms, retention_ms }, line: node.line }
    };
    Located { value: node.elements().iter().map(tier).collect(), line: node.line }
}

fn policies(node: &Node) -> Vec<Located<RawPolicy>> {
    let resolution = |node: &Node| Some(Located { value: parse_duration_ms(node.scalar()?).ok()?, line: node.line });
    let resolutions =
        |node: &Node| Located { value: node.elements().iter().filter_map(resolution).collect(), line: node.line };
    let policy = |node: &Node| {
        let value = RawPolicy {
            selector: text(Some(node), "match"),
            retention_ms: duration(Some(node), "raw"),
            tiers: node.get("tiers").map(resolutions),
        };
        Located { value, line: node.line }
    };
    node.elements().iter().map(policy).collect()
}

impl RawMailbox {
    fn read(node: &Node) -> RawMailbox {
        let node = Some(node);
        RawMailbox {
            redis: text(node, "redis"),
            password_file: text(node, "redis_password_file"),
            prefix: text(node, "prefix"),
            agent: text(node, "agent"),
            stream: text(node, "stream"),
            stream_length: whole(node, "stream_length"),
            bytes_max: found(node, "max_bytes", parse_size),
            age_ms_max: duration(node, "max_age"),
            attempts_max: whole(node, "attempts"),
        }
    }
}

impl RawSonar {
    fn read(node: &Node) -> RawSonar {
        let of = Some(node);
        RawSonar {
            url: text(of, "url"),
            token_file: text(of, "token_file"),
            organization: text(of, "organization"),
            projects: words(node, "projects"),
            branches: words(node, "branches"),
            metrics: words(node, "metrics"),
            interval_ms: duration(of, "interval"),
            history: text(of, "history"),
            calls_per_hour: whole(of, "calls_per_hour"),
            webhook_secret_file: text(of, "webhook_secret_file"),
            names: text(of, "names"),
        }
    }
}

fn words(node: &Node, key: &str) -> Option<Located<RawWords>> {
    let node = node.get(key)?;
    let value = match &node.value {
        Value::Scalar(text) => RawWords::One(text.clone()),
        // An element that is no word is one that is no key, which is told.
        Value::List(nodes) => {
            RawWords::Many(nodes.iter().map(|node| node.scalar().unwrap_or_default().to_owned()).collect())
        }
        Value::Null | Value::Map(_) => RawWords::Other,
    };
    Some(Located { value, line: node.line })
}

fn remotes(tree: &Node, section: &'static str) -> Vec<Located<(&'static str, usize, bool)>> {
    let nodes = tree.get(section).map_or(&[][..], Node::elements).iter().enumerate();
    nodes
        .filter(|(_, node)| matches!(node.value, Value::Map(_)))
        .map(|(index, node)| Located { value: (section, index, node.get("url").is_some()), line: node.line })
        .collect()
}

fn found<T>(node: Option<&Node>, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Located<T>> {
    let node = node?.get(key)?;
    Some(Located { value: read(node.scalar()?)?, line: node.line })
}

fn text(node: Option<&Node>, key: &str) -> Option<Located<String>> {
    found(node, key, |text| Some(text.to_owned()))
}

fn whole(node: Option<&Node>, key: &str) -> Option<Located<u64>> {
    found(node, key, |text| text.parse().ok())
}

fn number(node: Option<&Node>, key: &str) -> Option<Located<f64>> {
    found(node, key, |text| text.parse().ok())
}

fn duration(node: Option<&Node>, key: &str) -> Option<Located<i64>> {
    found(node, key, |text| parse_duration_ms(text).ok())
}

fn texts(node: &Node) -> Vec<Located<String>> {
    let located = |node: &Node| Some(Located { value: node.scalar()?.to_owned(), line: node.line });
    node.elements().iter().filter_map(located).collect()
}
