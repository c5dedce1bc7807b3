//! Reading the config again: what it says of scraping comes into force, or nothing does.

use super::metrics::ReloadMetrics;
use crate::{
    api::{Api, InForce},
    config::{Config, load},
    scrape::{self, Manager, Own},
    stdx::clock::Clock,
    telemetry::Metrics,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// Holds the config in force.
pub struct Reloader {
    file: Option<PathBuf>,
    config: Config,
    /// Where we listen, which is how we look to ourselves.
    address: SocketAddr,
    scrape: Manager,
    api: Arc<Api>,
    clock: Arc<dyn Clock>,
    metrics: ReloadMetrics,
}

impl Reloader {
    /// `file` is where `config` came from; without one there is nothing to read again.
    pub fn new(
        file: Option<PathBuf>,
        config: Config,
        address: SocketAddr,
        scrape: Manager,
        api: Arc<Api>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Reloader {
        Reloader { file, config, address, scrape, api, clock, metrics: ReloadMetrics::new(metrics) }
    }

    /// Brings the config into force that the process was started with.
    pub async fn start(&self) {
        self.apply().await;
    }

    /// Reads the file. A wrong one changes nothing; the text says what is wrong.
    pub async fn reload(&mut self) -> Result<(), String> {
        let Some(file) = self.file.clone() else {
            tracing::info!("Asked to reload, but there is no config file (see --config).");
            return Ok(());
        };
        let path = file.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&path)).await.map_err(|cause| cause.to_string())?;
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(refused) => {
                tracing::error!("The config is not reloaded, the one in force stays:\n{refused}");
                self.metrics.successful.set(0);
                self.api.about.in_force.write().reload_failed = true;
                return Err(refused.to_string());
            }
        };
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{}: {warning}", file.display()));
        self.warn_of_the_rest(&loaded.config);
        self.config.scrape = loaded.config.scrape;
        self.apply().await;
        tracing::info!("The config is reloaded.");
        Ok(())
    }

    async fn apply(&self) {
        let own = self.config.scrape.own_interval_ms;
        let own = own.map(|interval_ms| Own { address: self.address.to_string(), interval_ms });
        self.scrape.apply(&scrape::Config { jobs: self.config.scrape.jobs.clone(), own }).await;
        let since_ms = self.clock.now_ms();
        *self.api.about.in_force.write() = InForce { yaml: self.config.to_yaml(), reload_failed: false, since_ms };
        self.metrics.successful.set(1);
        self.metrics.success_seconds.set(since_ms / 1000);
    }

    /// Only what is scraped can change under a running process.
    fn warn_of_the_rest(&self, read: &Config) {
        let mut read = read.clone();
        // These may come from the command line, which goes before the file.
        read.listen = self.config.listen;
        read.data.clone_from(&self.config.data);
        read.retention_ms = self.config.overrides.retention_ms.unwrap_or(read.retention_ms);
        read.bytes_max = self.config.overrides.bytes_max.unwrap_or(read.bytes_max);
        read.scrape = self.config.scrape.clone();
        if read.to_yaml() != self.config.to_yaml() {
            tracing::warn!("Of a changed config only what is scraped comes into force; restart for the rest.");
        }
    }
}
