//! Joins the sync of SonarQube with the rooms around it.

use crate::{
    config::Config,
    ingest::Ingest,
    jobs::Jobs,
    mailbox::Mailbox,
    scrape::{Tls, tls_config},
    sonar::{Parts, Sonar, SonarMetrics, Surroundings},
    stdx::clock::Clock,
    store::Store,
    telemetry::Metrics,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The room, resting, which puts what it reads into `mailbox`. Within the runtime.
pub fn open(
    config: &Config,
    (ingest, store, jobs, clock): (Ingest, Arc<dyn Store>, Jobs, Arc<dyn Clock>),
    mailbox: Arc<dyn Mailbox>,
    own: &Metrics,
) -> Sonar {
    let tls = Arc::new(|is_used| tls_config(&Tls::default(), is_used));
    let parts = Parts {
        ingest,
        store,
        jobs,
        around: Surroundings::real(clock, tls),
        metrics: SonarMetrics::new(own),
        retention_ms: config.sonar_kept_ms(),
    };
    Sonar::new(parts, |_| mailbox)
}

/// Lets it work, and takes up what a restart interrupted.
pub async fn start(sonar: Sonar, stop: CancellationToken) {
    // It writes down which job goes on. A panic there was logged.
    let _ = tokio::task::spawn_blocking(move || sonar.start(stop)).await;
}
