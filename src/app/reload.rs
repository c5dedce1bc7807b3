//! Reading the config again: what it says of scraping and of this host comes into force, or nothing does.

use super::{backup::Backups, host::HostWatch, metrics::ReloadMetrics};
use crate::{
    api::{Api, InForce},
    config::{Config, Overrides, load, restart_keys},
    scrape::{self, Manager, Own},
    sonar::Sonar,
    stdx::clock::Clock,
    telemetry::Metrics,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// Where the config came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Without one there is nothing to read again.
    pub file: Option<PathBuf>,
    pub overrides: Overrides,
}

/// What a reload changes.
pub struct Reloadable {
    pub backups: Backups,
    pub scrape: Manager,
    pub host: HostWatch,
    pub sonar: Sonar,
}

/// Holds the config in force.
pub struct Reloader {
    origin: Origin,
    config: Config,
    /// Its text, without secrets.
    text: String,
    /// Where we listen, which is how we look to ourselves.
    address: SocketAddr,
    rooms: Reloadable,
    api: Arc<Api>,
    clock: Arc<dyn Clock>,
    metrics: ReloadMetrics,
}

impl Reloader {
    /// `config` is what `origin` gave at the start; its host is watched already.
    pub fn new(
        origin: Origin,
        (config, text): (Config, String),
        address: SocketAddr,
        rooms: Reloadable,
        api: Arc<Api>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Reloader {
        Reloader { origin, config, text, address, rooms, api, clock, metrics: ReloadMetrics::new(metrics) }
    }

    /// Brings the config into force that the process was started with.
    pub async fn start(&self) {
        self.apply().await;
    }

    /// Reads the file. A wrong one changes nothing; the text says what is wrong.
    pub async fn reload(&mut self) -> Result<(), String> {
        let Some(file) = self.origin.file.clone() else {
            tracing::info!("Asked to reload, but there is no config file (see --config).");
            return Ok(());
        };
        let path = file.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&path)).await.map_err(|cause| cause.to_string())?;
        let mut loaded = match loaded {
            Ok(loaded) => loaded,
            Err(refused) => {
                tracing::error!("The config is not reloaded, the one in force stays:\n{refused}");
                self.refuse();
                return Err(refused.to_string());
            }
        };
        self.origin.overrides.apply(&mut loaded.config);
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{}: {warning}", file.display()));
        let waiting = restart_keys(&self.config, &loaded.config);
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(
                "Changed, and in force only after a restart: {keys}. What is scraped, backed up, synced from \
                 SonarQube and how this host is watched is in force now."
            );
        }
        if loaded.config.hosts != self.config.hosts {
            self.watch(loaded.config.hosts).await?;
            self.config.hosts = loaded.config.hosts;
        }
        self.config.scrape = loaded.config.scrape;
        self.config.backup = loaded.config.backup;
        self.config.sonar = loaded.config.sonar;
        self.text = loaded.text;
        self.apply().await;
        tracing::info!("The config is reloaded.");
        Ok(())
    }

    async fn watch(&self, wanted: crate::config::Hosts) -> Result<(), String> {
        let host = self.rooms.host.clone();
        let done = tokio::task::spawn_blocking(move || host.apply(wanted).map_err(|cause| cause.to_string()));
        done.await.map_err(|cause| cause.to_string()).and_then(|done| done).map_err(|cause| {
            tracing::error!(%cause, "The collector of this host cannot be started.");
            self.refuse();
            format!("the collector of this host cannot be started: {cause}")
        })
    }

    fn refuse(&self) {
        self.metrics.successful.set(0);
        self.api.about.in_force.write().reload_failed = true;
    }

    async fn apply(&self) {
        let metrics_path = format!("{}/metrics", self.config.web.prefix());
        let own = self.config.scrape.own_interval_ms;
        let own = own.map(|interval_ms| Own { address: self.address.to_string(), metrics_path, interval_ms });
        self.rooms.scrape.apply(&scrape::Config { jobs: self.config.scrape.jobs.clone(), own }).await;
        self.rooms.backups.apply(self.config.backup.clone());
        self.rooms.sonar.apply(self.config.sonar.clone());
        let since_ms = self.clock.now_ms();
        let (yaml, file) = (self.config.to_yaml(), self.text.clone());
        *self.api.about.in_force.write() = InForce { yaml, file, reload_failed: false, since_ms };
        self.metrics.successful.set(1);
        self.metrics.success_seconds.set(since_ms / 1000);
    }
}
