//! The config in force, as YAML: what was written and the defaults of what was not, secrets redacted.

use super::{
    mailbox::MailboxConfig,
    policies::Policy,
    resolve::{Config, Limits, Token},
    tiers::Tier,
};
use crate::{
    model::time::format_duration_ms,
    scrape::{Auth, JobConfig, Secret, Tls},
    sonar::{self, Branches, Projects},
};
use std::fmt::Write;

/// What stands in place of a secret.
const REDACTED: &str = "<secret>";

impl Config {
    /// YAML that reads back as this config, but for the secrets.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = self.write_yaml(&mut out);
        out
    }

    fn write_yaml(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "listen: {}", quoted(&self.listen.to_string()))?;
        writeln!(out, "data: {}", quoted(&self.data.to_string_lossy()))?;
        writeln!(out, "storage:")?;
        writeln!(out, "  retention: {}", format_duration_ms(self.retention_ms))?;
        write_tiers(out, &self.tiers)?;
        write_policies(out, &self.policies)?;
        writeln!(out, "  max_bytes: {}", self.bytes_max)?;
        writeln!(out, "  max_disk_percent: {}", self.disk_percent_max)?;
        if let Some(series) = self.series_max {
            writeln!(out, "  series_max: {series}")?;
        }
        if let Some(bytes) = self.memory_bytes_max {
            writeln!(out, "  memory_max: {bytes}")?;
        }
        writeln!(out, "  exemplars:")?;
        writeln!(out, "    max_exemplars: {}", self.exemplars_max)?;
        writeln!(out, "auth:")?;
        if self.tokens.is_empty() {
            writeln!(out, "  tokens: []")?;
        } else {
            writeln!(out, "  tokens:")?;
            self.tokens.iter().try_for_each(|token| write_token(out, token))?;
        }
        write_limits(out, &self.limits)?;
        let hosts: Vec<String> = self.web_hosts.iter().map(|host| quoted(host)).collect();
        let features: Vec<&str> = self.features.iter().map(|feature| feature.as_str()).collect();
        writeln!(out, "features: [{}]", features.join(", "))?;
        writeln!(out, "hosts:")?;
        writeln!(out, "  enabled: {}", self.hosts.enabled)?;
        writeln!(out, "  interval: {}", format_duration_ms(self.hosts.interval_ms))?;
        writeln!(out, "web:")?;
        if let Some(external) = &self.web.external {
            let url = external.url();
            writeln!(out, "  external_url: {}", quoted(if url.is_empty() { "/" } else { &url }))?;
        }
        let prefix = self.web.prefix();
        writeln!(out, "  route_prefix: {}", quoted(if prefix.is_empty() { "/" } else { prefix }))?;
        writeln!(out, "  hosts: [{}]", hosts.join(", "))?;
        if let Some(backup) = &self.backup {
            writeln!(out, "backup:")?;
            writeln!(out, "  directory: {}", quoted(&backup.directory.to_string_lossy()))?;
            writeln!(out, "  interval: {}", format_duration_ms(backup.interval_ms))?;
            writeln!(out, "  keep: {}", backup.keep)?;
        }
        write_mailbox(out, &self.mailbox)?;
        if let Some(sonar) = &self.sonar {
            write_sonar(out, sonar)?;
        }
        if !self.external_labels.is_empty() {
            let labels = self.external_labels.iter();
            let labels: Vec<String> =
                labels.map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
            writeln!(out, "global: {{external_labels: {{{}}}}}", labels.join(", "))?;
        }
        writeln!(out, "self_scrape: {}", self.scrape.own_interval_ms.is_some())?;
        if !self.scrape.jobs.is_empty() {
            writeln!(out, "scrape_configs:")?;
            self.scrape.jobs.iter().try_for_each(|job| write_job(out, job))?;
        }
        Ok(())
    }
}

fn write_tiers(out: &mut String, tiers: &[Tier]) -> std::fmt::Result {
    writeln!(out, "  tiers:{}", if tiers.is_empty() { " []" } else { "" })?;
    for tier in tiers {
        let (resolution, kept) = (format_duration_ms(tier.resolution_ms), format_duration_ms(tier.retention_ms));
        writeln!(out, "    - {{resolution: {resolution}, retention: {kept}}}")?;
    }
    Ok(())
}

fn write_limits(out: &mut String, limits: &Limits) -> std::fmt::Result {
    writeln!(out, "limits:")?;
    writeln!(out, "  connections_max: {}", limits.connections_max)?;
    writeln!(out, "  connections_per_address_max: {}", limits.connections_per_address_max)?;
    writeln!(out, "  body_bytes_max: {}", limits.body_bytes_max)?;
    writeln!(out, "  query_timeout: {}", format_duration_ms(limits.query_timeout_ms))?;
    writeln!(out, "  query_samples_max: {}", limits.query_samples_max)?;
    writeln!(out, "  query_samples_scanned_max: {}", limits.query_samples_scanned_max)?;
    writeln!(out, "  query_bytes_max: {}", limits.query_bytes_max)?;
    writeln!(out, "  query_concurrent_max: {}", limits.query_concurrent_max)?;
    writeln!(out, "  query_lookback_delta: {}", format_duration_ms(limits.query_lookback_delta_ms))?;
    writeln!(out, "  pushes_per_minute_max: {}", limits.pushes_per_minute_max)?;
    writeln!(out, "  failed_logins_per_minute_max: {}", limits.failed_logins_per_minute_max)?;
    writeln!(out, "  series_per_job: {}", limits.series_per_job_max)?;
    writeln!(out, "  series_per_token: {}", limits.series_per_token_max)
}

fn write_policies(out: &mut String, policies: &[Policy]) -> std::fmt::Result {
    if policies.is_empty() {
        return Ok(());
    }
    writeln!(out, "  policies:")?;
    for policy in policies {
        writeln!(out, "    - match: {}", quoted(&policy.selector))?;
        writeln!(out, "      raw: {}", format_duration_ms(policy.retention_ms))?;
        if let Some(tiers) = &policy.tiers {
            let tiers: Vec<String> = tiers.iter().map(|resolution_ms| format_duration_ms(*resolution_ms)).collect();
            writeln!(out, "      tiers: [{}]", tiers.join(", "))?;
        }
    }
    Ok(())
}

fn write_mailbox(out: &mut String, mailbox: &MailboxConfig) -> std::fmt::Result {
    writeln!(out, "mailbox:")?;
    writeln!(out, "  max_bytes: {}", mailbox.limits.bytes_max)?;
    writeln!(out, "  max_age: {}", format_duration_ms(mailbox.limits.age_ms_max))?;
    writeln!(out, "  attempts: {}", mailbox.limits.attempts_max)?;
    let Some(redis) = &mailbox.redis else { return Ok(()) };
    writeln!(out, "  redis: {}", quoted(&redis.url_without_password()))?;
    if let Some(file) = &redis.password_file {
        writeln!(out, "  redis_password_file: {}", quoted(&file.to_string_lossy()))?;
    }
    writeln!(out, "  prefix: {}", quoted(&redis.prefix))?;
    writeln!(out, "  agent: {}", quoted(&redis.agent))?;
    if let Some(stream) = &redis.stream {
        writeln!(out, "  stream: {}", quoted(stream))?;
    }
    writeln!(out, "  stream_length: {}", redis.stream_length)
}

fn write_sonar(out: &mut String, sonar: &sonar::Config) -> std::fmt::Result {
    let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    writeln!(out, "sonar:")?;
    writeln!(out, "  url: {}", quoted(&sonar.url))?;
    if let Some(file) = &sonar.token_file {
        writeln!(out, "  token_file: {}", quoted(&file.to_string_lossy()))?;
    }
    if let Some(organization) = &sonar.organization {
        writeln!(out, "  organization: {}", quoted(organization))?;
    }
    match &sonar.projects {
        Projects::All => writeln!(out, "  projects: all")?,
        Projects::These(keys) => writeln!(out, "  projects: [{}]", list(keys))?,
    }
    match &sonar.branches {
        Branches::Main => writeln!(out, "  branches: main")?,
        Branches::All => writeln!(out, "  branches: all")?,
        Branches::These(names) => writeln!(out, "  branches: [{}]", list(names))?,
    }
    writeln!(out, "  metrics: [{}]", list(&sonar.metrics))?;
    writeln!(out, "  interval: {}", format_duration_ms(sonar.interval_ms))?;
    writeln!(out, "  history: {}", format_duration_ms(sonar.history_ms))?;
    writeln!(out, "  calls_per_hour: {}", sonar.calls_per_hour)?;
    if let Some(file) = &sonar.webhook_secret_file {
        writeln!(out, "  webhook_secret_file: {}", quoted(&file.to_string_lossy()))?;
    }
    writeln!(out, "  names: {}", sonar.names.as_str())
}

fn write_token(out: &mut String, token: &Token) -> std::fmt::Result {
    writeln!(out, "    - name: {}", quoted(&token.key.name))?;
    match &token.file {
        Some(file) => writeln!(out, "      token_file: {}", quoted(&file.to_string_lossy()))?,
        None => writeln!(out, "      sha256: {REDACTED}")?,
    }
    let scopes: Vec<&str> = token.key.scopes.iter().map(|scope| scope.as_str()).collect();
    writeln!(out, "      scopes: [{}]", scopes.join(", "))
}

fn write_job(out: &mut String, job: &JobConfig) -> std::fmt::Result {
    writeln!(out, "  - job_name: {}", quoted(&job.name))?;
    writeln!(out, "    scrape_interval: {}", format_duration_ms(job.interval_ms))?;
    writeln!(out, "    scrape_timeout: {}", format_duration_ms(job.timeout_ms))?;
    let protocols: Vec<&str> = job.protocols.iter().map(|protocol| protocol.as_str()).collect();
    writeln!(out, "    scrape_protocols: [{}]", protocols.join(", "))?;
    if let Some(fallback) = job.fallback {
        writeln!(out, "    fallback_scrape_protocol: {}", fallback.as_str())?;
    }
    writeln!(out, "    scheme: {}", job.scheme.as_str())?;
    writeln!(out, "    metrics_path: {}", quoted(&job.metrics_path))?;
    if !job.params.is_empty() {
        writeln!(out, "    params:")?;
        for (name, values) in &job.params {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            writeln!(out, "      {}: [{}]", quoted(name), values.join(", "))?;
        }
    }
    for (key, value) in [
        ("honor_labels", job.honor_labels),
        ("honor_timestamps", job.honor_timestamps),
        ("track_timestamps_staleness", job.track_timestamps_staleness),
        ("enable_compression", job.compression),
        ("follow_redirects", job.follow_redirects),
        ("extra_scrape_metrics", job.extra_metrics),
    ] {
        writeln!(out, "    {key}: {value}")?;
    }
    let limits = &job.limits;
    for (key, limit) in [
        ("body_size_limit", limits.body_bytes),
        ("sample_limit", limits.samples),
        ("label_limit", limits.labels),
        ("label_name_length_limit", limits.label_name_bytes),
        ("label_value_length_limit", limits.label_value_bytes),
        ("target_limit", limits.targets),
    ] {
        if limit > 0 {
            writeln!(out, "    {key}: {limit}")?;
        }
    }
    write_auth(out, job)?;
    write_tls(out, &job.tls)?;
    writeln!(out, "    static_configs:{}", if job.groups.is_empty() { " []" } else { "" })?;
    for group in &job.groups {
        let targets: Vec<String> = group.targets.iter().map(|target| quoted(target)).collect();
        writeln!(out, "      - targets: [{}]", targets.join(", "))?;
        if !group.labels.is_empty() {
            writeln!(out, "        labels:")?;
        }
        for (name, value) in &group.labels {
            writeln!(out, "          {}: {}", quoted(name), quoted(value))?;
        }
    }
    Ok(())
}

fn write_auth(out: &mut String, job: &JobConfig) -> std::fmt::Result {
    match &job.auth {
        None => Ok(()),
        Some(Auth::Basic { username, password }) => {
            writeln!(out, "    basic_auth:")?;
            match username {
                // A name is no secret.
                Secret::Text(name) => writeln!(out, "      username: {}", quoted(name))?,
                file => write_secret(out, "username", Some(file))?,
            }
            write_secret(out, "password", Some(password))
        }
        Some(Auth::Header { kind, credentials }) => {
            writeln!(out, "    authorization:\n      type: {}", quoted(kind))?;
            write_secret(out, "credentials", Some(credentials))
        }
    }
}

fn write_tls(out: &mut String, tls: &Tls) -> std::fmt::Result {
    if *tls == Tls::default() {
        return Ok(());
    }
    writeln!(out, "    tls_config:")?;
    for (key, secret) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
        write_secret(out, key, secret.as_ref())?;
    }
    if let Some(name) = &tls.server_name {
        writeln!(out, "      server_name: {}", quoted(name))?;
    }
    writeln!(out, "      insecure_skip_verify: {}", tls.insecure_skip_verify)
}

fn write_secret(out: &mut String, key: &str, secret: Option<&Secret>) -> std::fmt::Result {
    match secret {
        None => Ok(()),
        Some(Secret::Text(_)) => writeln!(out, "      {key}: {REDACTED}"),
        Some(Secret::File(file)) => writeln!(out, "      {key}_file: {}", quoted(&file.to_string_lossy())),
    }
}

/// Plain where YAML reads it back as the same text, else as a JSON text, which is YAML as well.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
