//! The collector of this host, which a reload may start, stop, or start anew at another pace.

use crate::{
    config,
    hosts::{Hosts, HostsConfig, HostsState, Roots},
    ingest::Ingest,
    stdx::clock::Clock,
};
use parking_lot::Mutex;
use std::{io, sync::Arc};

/// Shared by the one who reloads, the one who stops, and the metrics.
#[derive(Clone)]
pub struct HostWatch {
    ingest: Ingest,
    clock: Arc<dyn Clock>,
    running: Arc<Mutex<Option<Hosts>>>,
}

impl HostWatch {
    /// Watches nothing yet.
    pub fn new(ingest: Ingest, clock: Arc<dyn Clock>) -> HostWatch {
        HostWatch { ingest, clock, running: Arc::default() }
    }

    /// Does from now on what the config says. Blocks while a round under way ends; an error means that there is no
    /// thread to be had, and that nothing is watched.
    pub fn apply(&self, wanted: config::Hosts) -> io::Result<()> {
        let mut running = self.running.lock();
        match running.take() {
            Some(before) if wanted.enabled => before.stop(),
            Some(before) => before.switch_off(),
            None => {}
        }
        if !wanted.enabled {
            return Ok(());
        }
        let config = HostsConfig { interval_ms: wanted.interval_ms, roots: Roots::default() };
        let started = Hosts::start(&self.ingest, self.clock.clone(), config)?;
        if started.state() == HostsState::NoProcfs {
            tracing::info!("This host is not watched: there is no /proc to read.");
        }
        *running = Some(started);
        Ok(())
    }

    /// What `read` sees of the collector; `None` where the config says no, and while a reload is at it.
    pub fn read<T>(&self, read: impl FnOnce(&Hosts) -> T) -> Option<T> {
        self.running.try_lock()?.as_ref().map(read)
    }

    /// Ends it. Blocks while a round under way ends.
    pub fn stop(&self) {
        // Taken out first, so that the metrics do not wait for it.
        let running = self.running.lock().take();
        if let Some(hosts) = running {
            hosts.stop();
        }
    }
}
