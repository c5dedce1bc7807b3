//! From a file, or its text, to a config and everything that is to be said about it.

use super::{
    check::check,
    problem::{Problem, Problems},
    raw::RawConfig,
    redact,
    resolve::{Config, resolve},
    schema::ROOT,
    tree,
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Far more than any config; a log given by mistake is refused before it fills the memory.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A config that can be run with, and what was understood but does nothing.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// What was read, without its secrets.
    pub text: String,
    pub warnings: Vec<Problem>,
}

/// Everything that is wrong with a file.
#[derive(Debug, Clone)]
pub struct Refused {
    pub file: PathBuf,
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// One line a mistake: `observatory.yml: line 3: listen: ...`.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            write!(f, "{}{}: {error}", if index > 0 { "\n" } else { "" }, self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// Reads a file. Paths in it are relative to where it stands.
pub fn load(file: &Path) -> Result<Loaded, Refused> {
    let refuse = |message: String| Refused {
        file: file.to_owned(),
        errors: vec![Problem { path: String::new(), line: 0, message, hint: None }],
        warnings: vec![],
    };
    let length = std::fs::metadata(file).map_err(|cause| refuse(format!("cannot be read: {cause}")))?.len();
    if length > FILE_BYTES_MAX {
        return Err(refuse(format!("holds {length} bytes; a config holds at most {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(file).map_err(|cause| refuse(format!("cannot be read: {cause}")))?;
    let base = file.parent().unwrap_or(Path::new(""));
    load_text(&text, base).map_err(|problems| Refused {
        file: file.to_owned(),
        errors: problems.errors,
        warnings: problems.warnings,
    })
}

/// As [`load`], from the text.
pub fn load_text(text: &str, base: &Path) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let tree = match tree::parse(text) {
        Ok(tree) => tree,
        Err(problem) => {
            problems.errors.push(problem);
            return Err(problems);
        }
    };
    check(&tree, ROOT, "", &mut problems);
    let config = resolve(RawConfig::read(&tree), base, &mut problems);
    if !problems.errors.is_empty() {
        problems.errors.sort_by_key(|problem| problem.line);
        return Err(problems);
    }
    let text = redact::without_secrets(text, &config);
    Ok(Loaded { config, text, warnings: problems.warnings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scope;

    fn refused(text: &str) -> String {
        let problems = load_text(text, Path::new("/etc")).unwrap_err();
        problems.errors.iter().map(|problem| format!("{problem}\n")).collect()
    }

    fn loaded(text: &str) -> Loaded {
        load_text(text, Path::new("/etc/observatory")).unwrap_or_else(|problems| panic!("{:?}", problems.errors))
    }

    #[test]
    fn nothing_written_is_everything_by_default() {
        for text in ["", "# only a comment\n", "storage:\nauth:\n", "{}"] {
            let config = loaded(text).config;
            assert_eq!(config.listen.to_string(), "127.0.0.1:9090");
            assert_eq!(config.data, Path::new("observatory-data"));
            assert_eq!(config.retention_ms, 30 * 24 * 3_600_000);
            assert!(config.keyring().is_open());
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_path_line_and_hint() {
        let text = "\
lisen: 127.0.0.1:9090
data: [a]
storage:
  retention: forever
  series_max: many
  colour: blue
auth:
  tokens:
    - name: ci
      sha256: abc
      scopes: [fly]
    - name: ci
      token_file: missing
      scopes: read
scrape_configs:
  - job_nam: node
    scheme: htps
    static_configs:
      - targets: 'localhost:9100'
  -
features: [promql-experimental-function]
";
        insta::assert_snapshot!(refused(text), @r#"
        line 1: lisen: unknown key; did you mean `listen`?
        line 2: data: expected a text, got a list
        line 4: storage.retention: expected a duration such as 15s or 1h30m, got `forever`
        line 5: storage.series_max: expected a whole number, got `many`
        line 6: storage.colour: unknown key; known here: `retention`, `tiers`, `policies`, `max_bytes`, `max_disk_percent`, `series_max`, `memory_max`, `tsdb`, `exemplars`
        line 10: auth.tokens[0].sha256: expected 64 hexadecimal digits; `observatory token new` prints a token and its line
        line 11: auth.tokens[0].scopes[0]: `fly` is no scope; known: push, read, admin
        line 12: auth.tokens[1].name: `ci` is the name of two tokens
        line 12: auth.tokens[1]: is good for nothing; add `scopes: [push]`, `[read]`, both, or `[admin]` for everything
        line 13: auth.tokens[1].token_file: cannot read /etc/missing: No such file or directory (os error 2)
        line 14: auth.tokens[1].scopes: expected a list: write `- read`, got `read`
        line 16: scrape_configs[0].job_nam: unknown key; did you mean `job_name`?
        line 16: scrape_configs[0]: has no job_name; add `job_name:`
        line 17: scrape_configs[0].scheme: `htps` is none of http, https; did you mean `https`?
        line 19: scrape_configs[0].static_configs[0].targets: expected a list: write `- localhost:9100`, got `localhost:9100`
        line 20: scrape_configs[1]: empty or null entry; remove the `-` or write something after it
        line 21: features[0]: `promql-experimental-function` is no feature; did you mean `promql-experimental-functions`?
        "#);
    }

    #[test]
    fn values_out_of_bounds_say_what_is_allowed() {
        let text = "listen: example.com\nstorage: {retention: 1h, series_max: 0}\n\
                    limits: {connections_max: 1, body_bytes_max: 5TB, query_timeout: 0s}\n";
        insta::assert_snapshot!(refused(text), @r#"
        line 1: listen: `example.com` is no address to listen on; write an IP address and a port, such as 127.0.0.1:9090, or 0.0.0.0:9090 for every address of this machine
        line 2: storage.retention: too short: samples are dropped in windows of two hours
        line 2: storage.series_max: must be at least 1
        line 3: limits.connections_max: must be between 16 and 1048576, got 1
        line 3: limits.body_bytes_max: must be between 1024 and 1073741824, got 5497558138880
        line 3: limits.query_timeout: must be between 1ms and 1d, got 0s
        "#);
    }

    #[test]
    fn what_is_no_yaml_is_one_mistake_with_its_line() {
        let text = refused("listen: 127.0.0.1:9090\nstorage: [\nretention: 30d\n");
        assert!(text.lines().count() == 1 && text.starts_with("line ") && text.contains("YAML"), "{text}");
    }

    #[test]
    fn an_existing_prometheus_config_is_accepted_with_one_warning_for_each_section() {
        let loaded = loaded(
            "\
global:
  scrape_interval: 15s
  external_labels: {site: here, number: 5}
rule_files: [rules.yml]
scrape_configs:
  - job_name: node
    basic_auth: {username: a, password: b}
    relabel_configs:
      - {source_labels: [__address__], target_label: instance, regex: '(.*):.*', replacement: $1}
    static_configs:
      - targets: ['localhost:9100']
        labels: {env: test}
    kubernetes_sd_configs: [{role: pod, namespaces: {names: [a]}}]
  - job_name: other
    honor_labels: yes
    body_size_limit: 10MB
alerting:
  alertmanagers:
    - static_configs: [{targets: ['localhost:9093']}]
remote_write:
  - url: http://a/api/v1/write
    queue_config: {capacity: 10}
storage:
  tsdb: {out_of_order_time_window: 30m, retention: {time: 60d, size: 2GB, percentage: 50}}
",
        );
        let paths: Vec<&str> = loaded.warnings.iter().map(|warning| warning.path.as_str()).collect();
        let sections = [
            "rule_files",
            "scrape_configs[0].relabel_configs",
            "scrape_configs[0].kubernetes_sd_configs",
            "alerting",
            "remote_write",
            "storage.tsdb.out_of_order_time_window",
        ];
        assert_eq!(paths, sections);
        assert_eq!(
            loaded.warnings[1].to_string(),
            "line 8: scrape_configs[0].relabel_configs: understood, but not active yet: targets keep the labels they \
             are found with"
        );
        let config = &loaded.config;
        let external = [("site", "here"), ("number", "5")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(config.external_labels, external);
        assert_eq!((config.retention_ms, config.bytes_max, config.disk_percent_max), (60 * 86_400_000, 2 << 30, 50));
        let jobs = &loaded.config.scrape.jobs;
        assert_eq!((jobs[0].interval_ms, jobs[0].timeout_ms, jobs[0].groups.len()), (15_000, 10_000, 1));
        assert_eq!((jobs[1].honor_labels, jobs[1].limits.body_bytes), (true, 10 << 20));
    }

    #[test]
    fn where_people_find_us_reads_back_as_it_is_shown() {
        let config = loaded("web: {external_url: 'https://Example.com/obs/'}").config;
        assert_eq!(config.web.prefix(), "/obs");
        let shown = config.to_yaml();
        assert!(shown.contains("external_url: \"https://example.com/obs\"\n  route_prefix: /obs\n"), "{shown}");
        assert_eq!(loaded(&shown).config.web.prefix(), "/obs");
        let text = refused("web: {external_url: 'https://a b/', route_prefix: 'a//b', path: /}");
        insta::assert_snapshot!(text, @r"
        line 1: web.path: unknown key; known here: `external_url`, `route_prefix`, `hosts`
        line 1: web.external_url: `https://a b/` is no address of this server; write one such as https://example.com/observatory
        line 1: web.route_prefix: `a//b` is no path; write one such as /observatory, or / for the root
        ");
    }

    #[test]
    fn scrape_jobs_are_judged_as_prometheus_judges_them() {
        let text = "\
scrape_configs:
  - job_name: a
    scrape_interval: 5s
    scrape_timeout: 6s
    scrape_protocols: [PrometheusText0.0.4, PrometheusProto, Nonsense]
  - job_name: b
    basic_auth: {username: u, password: p, password_file: f}
    bearer_token: t
    tls_config: {cert_file: c}
    static_configs: [{targets: ['http://x']}]
  - job_name: a
";
        insta::assert_snapshot!(refused(text), @r#"
        line 2: scrape_configs[0].scrape_protocols: `Nonsense` is no scrape protocol; known: OpenMetricsText1.0.0, OpenMetricsText0.0.1, PrometheusText1.0.0, PrometheusText0.0.4
        line 4: scrape_configs[0].scrape_timeout: must be more than 0 and at most the interval, 5s
        line 6: scrape_configs[1]: has more than one way to authenticate; keep one of basic_auth, authorization, bearer_token and bearer_token_file
        line 7: scrape_configs[1].basic_auth: has both `password` and `password_file`
        line 9: scrape_configs[1].tls_config: needs both a certificate and its key, or neither
        line 10: scrape_configs[1].static_configs[0].targets[0]: "http://x" is not a valid hostname; write host:port; the rest goes into `scheme` and `metrics_path`
        line 11: scrape_configs[2].job_name: `a` is the name of two jobs
        "#);
    }

    #[test]
    fn scrape_jobs_are_shown_as_they_read_back() {
        let text = "\
global: {scrape_interval: 5s}
self_scrape: no
scrape_configs:
  - job_name: a b
    params: {x: [1, 2]}
    sample_limit: 5
    authorization: {credentials: hush}
    tls_config: {ca_file: ca.pem, insecure_skip_verify: true}
    static_configs: [{targets: ['h:1', h], labels: {env: 'x y'}}]
  - {job_name: c, scheme: https, basic_auth: {username: u, password_file: /p}, fallback_scrape_protocol: PrometheusText0.0.4}
";
        let config = loaded(text).config;
        assert_eq!(config.scrape.own_interval_ms, None);
        let shown = config.to_yaml();
        assert!(!shown.contains("hush"), "{shown}");
        assert_eq!(loaded(&shown.replace("<secret>", "hush")).config.scrape, config.scrape);
    }

    #[test]
    fn limits_of_disk_and_memory_are_read_and_judged() {
        let text = "storage: {max_bytes: 10GiB, max_disk_percent: 0, memory_max: 512MiB, tsdb: {retention: {size: 1GB}}}\n\
                    limits: {series_per_job: 5, series_per_token: 7}\n";
        let config = loaded(text).config;
        assert_eq!((config.bytes_max, config.disk_percent_max), (10 << 30, 0), "ours goes before Prometheus'");
        assert_eq!(config.memory_bytes_max, Some(512 << 20));
        assert_eq!((config.limits.series_per_job_max, config.limits.series_per_token_max), (5, 7));
        assert_eq!(
            loaded(&config.to_yaml()).config.to_yaml(),
            config.to_yaml().replace("data: observatory-data", "data: /etc/observatory/observatory-data")
        );
        let text = refused("storage: {max_disk_percent: 101, memory_max: 1MiB}\n");
        insta::assert_snapshot!(text, @"
        line 1: storage.max_disk_percent: must be between 0 and 100, got 101
        line 1: storage.memory_max: too little to run in: at least 64 MiB
        ");
    }

    #[test]
    fn what_is_shown_reads_back_and_holds_no_secret() {
        let hash = "ab".repeat(32);
        let text = format!(
            "listen: ':9091'\ndata: below\nstorage: {{retention: 90d}}\nlimits: {{query_timeout: 1m30s, query_concurrent_max: 4}}\n\
             auth: {{tokens: [{{name: ci, sha256: '{hash}', scopes: [push, read]}}]}}\n\
             features: [promql-experimental-functions]\nhosts: {{enabled: false, interval: 5s}}\n"
        );
        let config = loaded(&text).config;
        assert_eq!(
            (config.listen.to_string().as_str(), config.data.to_str()),
            ("0.0.0.0:9091", Some("/etc/observatory/below"))
        );
        assert!(config.tokens[0].key.scopes.allow(Scope::Push) && !config.tokens[0].key.scopes.allow(Scope::Admin));
        assert!(config.parse_options().experimental_functions);
        let shown = config.to_yaml();
        insta::assert_snapshot!(shown, @r#"
        listen: "0.0.0.0:9091"
        data: /etc/observatory/below
        storage:
          retention: 90d
          tiers:
            - {resolution: 5m, retention: 120d}
            - {resolution: 1h, retention: 2y}
          max_bytes: 0
          max_disk_percent: 80
          exemplars:
            max_exemplars: 100000
        auth:
          tokens:
            - name: ci
              sha256: <secret>
              scopes: [push, read]
        limits:
          connections_max: 10240
          connections_per_address_max: 256
          body_bytes_max: 16777216
          query_timeout: 1m30s
          query_samples_max: 50000000
          query_samples_scanned_max: 2000000000
          query_bytes_max: 536870912
          query_concurrent_max: 4
          query_lookback_delta: 5m
          pushes_per_minute_max: 600
          failed_logins_per_minute_max: 10
          series_per_job: 0
          series_per_token: 0
        features: [promql-experimental-functions]
        hosts:
          enabled: false
          interval: 5s
        web:
          route_prefix: /
          hosts: []
        mailbox:
          max_bytes: 67108864
          max_age: 2w
          attempts: 10
        self_scrape: true
        "#);
        assert!(!shown.contains(&hash));
        assert_eq!(loaded(&shown.replace("<secret>", &hash)).config.to_yaml(), shown);
        assert_eq!(
            loaded(&Config::empty().to_yaml()).config.to_yaml(),
            Config::empty().to_yaml().replace("observatory-data", "/etc/observatory/observatory-data")
        );
    }
}
