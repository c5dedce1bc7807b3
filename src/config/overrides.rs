//! What the command line says goes before the file, at the start and whenever the file is read again.

use super::{
    resolve::{Config, Token},
    tiers,
    web::{External, Web},
};
use std::{net::SocketAddr, path::PathBuf};

/// `None` where the command line says nothing.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub listen: Option<SocketAddr>,
    pub data: Option<PathBuf>,
    pub external: Option<External>,
    pub route_prefix: Option<String>,
    pub retention_ms: Option<i64>,
    pub bytes_max: Option<u64>,
}

impl Overrides {
    /// Puts them in place of what the file says.
    pub fn apply(&self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        if let Some(retention_ms) = self.retention_ms {
            config.retention_ms = retention_ms;
            config.tiers = tiers::of_use(std::mem::take(&mut config.tiers), retention_ms);
        }
        config.bytes_max = self.bytes_max.unwrap_or(config.bytes_max);
        let Web { external, route_prefix } = &mut config.web;
        if self.external.is_some() {
            external.clone_from(&self.external);
        }
        if self.route_prefix.is_some() {
            route_prefix.clone_from(&self.route_prefix);
        }
    }
}

/// What differs and cannot change under a running process, by the names of the file.
pub fn restart_keys(running: &Config, read: &Config) -> Vec<&'static str> {
    let (old, new) = (&running.limits, &read.limits);
    let is_same = |(one, other): (&Token, &Token)| {
        let (one, other) = (&one.key, &other.key);
        one.name == other.name && one.digest.matches(&other.digest) && one.scopes == other.scopes
    };
    let same_tokens = running.tokens.len() == read.tokens.len() && running.tokens.iter().zip(&read.tokens).all(is_same);
    let differs = [
        ("listen", running.listen != read.listen),
        ("data", running.data != read.data),
        ("web.external_url", running.web.external != read.web.external),
        ("web.route_prefix", running.web.prefix() != read.web.prefix()),
        ("storage.retention", running.retention_ms != read.retention_ms),
        ("storage.tiers", running.tiers != read.tiers),
        ("storage.policies", running.policies != read.policies),
        ("storage.max_bytes", running.bytes_max != read.bytes_max),
        ("storage.max_disk_percent", running.disk_percent_max != read.disk_percent_max),
        ("storage.memory_max", running.memory_bytes_max != read.memory_bytes_max),
        ("storage.series_max", running.series_max != read.series_max),
        ("storage.exemplars.max_exemplars", running.exemplars_max != read.exemplars_max),
        ("global.external_labels", running.external_labels != read.external_labels),
        ("web.hosts", running.web_hosts != read.web_hosts),
        ("auth.tokens", !same_tokens),
        ("limits.connections_max", old.connections_max != new.connections_max),
        ("limits.body_bytes_max", old.body_bytes_max != new.body_bytes_max),
        ("limits.query_timeout", old.query_timeout_ms != new.query_timeout_ms),
        ("limits.query_samples_max", old.query_samples_max != new.query_samples_max),
        ("limits.query_lookback_delta", old.query_lookback_delta_ms != new.query_lookback_delta_ms),
        ("limits.query_samples_scanned_max", old.query_samples_scanned_max != new.query_samples_scanned_max),
        ("limits.query_bytes_max", old.query_bytes_max != new.query_bytes_max),
        ("limits.query_concurrent_max", old.query_concurrent_max != new.query_concurrent_max),
        ("limits.connections_per_address_max", old.connections_per_address_max != new.connections_per_address_max),
        ("limits.pushes_per_minute_max", old.pushes_per_minute_max != new.pushes_per_minute_max),
        ("limits.failed_logins_per_minute_max", old.failed_logins_per_minute_max != new.failed_logins_per_minute_max),
        ("limits.series_per_job", old.series_per_job_max != new.series_per_job_max),
        ("limits.series_per_token", old.series_per_token_max != new.series_per_token_max),
        ("mailbox", running.mailbox != read.mailbox),
        ("features", running.features != read.features),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;
    use std::path::Path;

    fn config(text: &str) -> Config {
        load_text(text, Path::new("/etc")).unwrap_or_else(|problems| panic!("{:?}", problems.errors)).config
    }

    #[test]
    fn every_key_that_needs_a_restart_is_named() {
        let hash = "ab".repeat(32);
        let text = format!(
            "listen: ':1'\ndata: other\nweb: {{external_url: 'https://a/b'}}\n\
             storage: {{retention: 3h, series_max: 5}}\n\
             auth: {{tokens: [{{name: a, sha256: '{hash}', scopes: [push]}}]}}\n\
             limits: {{connections_max: 20, body_bytes_max: 2MB, query_timeout: 1s, query_samples_max: 1, \
             query_lookback_delta: 1m}}\nfeatures: [promql-delayed-name-removal]\n"
        );
        let keys = restart_keys(&Config::empty(), &config(&text));
        assert_eq!(keys.join(" ").split(' ').count(), 14, "{keys:?}");
        let reloadable = "hosts: {enabled: false, interval: 1s}\nself_scrape: false\nscrape_configs: [{job_name: a}]\n";
        let data = Overrides { data: Some(Config::empty().data), ..Overrides::default() };
        let mut read = config(reloadable);
        data.apply(&mut read);
        assert_eq!(restart_keys(&Config::empty(), &read), Vec::<&str>::new());
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let mut found = config("listen: ':1'\nweb: {external_url: 'https://a/b', route_prefix: /}\n");
        let overrides = Overrides {
            listen: Some(([127, 0, 0, 1], 2).into()),
            external: Some(External { origin: None, path: "/c".to_owned() }),
            ..Overrides::default()
        };
        overrides.apply(&mut found);
        assert_eq!((found.listen.port(), found.web.prefix()), (2, ""));
        assert_eq!(found.web.external.unwrap().url(), "/c");
    }
}
