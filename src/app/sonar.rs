//! Joins the sync of SonarQube with the rooms around it.

use crate::{
    config::Config,
    ingest::Ingest,
    jobs::Jobs,
    mailbox::{HandleError, Handler, Mailbox, Message, Pending, PutError},
    scrape::{Tls, tls_config},
    sonar::{Parts, Sonar, SonarMetrics, Surroundings},
    stdx::clock::Clock,
    store::Store,
    telemetry::Metrics,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Handed on at once: what is put in is handled, durably, before the answer. Who puts keeps what fails and puts it again.
struct Direct(Arc<dyn Handler>);

impl Mailbox for Direct {
    fn put(&self, message: Message) -> Pending<'_, Result<(), PutError>> {
        Box::pin(async move {
            self.0.handle(&message).await.map_err(|error| match error {
                HandleError::Retry(cause) | HandleError::Refused(cause) => PutError::Unavailable(cause),
            })
        })
    }
}

/// The room, resting. Within the runtime.
pub fn open(
    config: &Config,
    ingest: Ingest,
    store: Arc<dyn Store>,
    jobs: Jobs,
    clock: Arc<dyn Clock>,
    own: &Metrics,
) -> Sonar {
    let tls = Arc::new(|is_used| tls_config(&Tls::default(), is_used));
    let parts = Parts {
        ingest,
        store,
        jobs,
        around: Surroundings::real(clock, tls),
        metrics: SonarMetrics::new(own),
        retention_ms: config.retention_ms,
    };
    Sonar::new(parts, |handler| Arc::new(Direct(handler)))
}

/// Lets it work, and takes up what a restart interrupted.
pub async fn start(sonar: Sonar, stop: CancellationToken) {
    // It writes down which job goes on. A panic there was logged.
    let _ = tokio::task::spawn_blocking(move || sonar.start(stop)).await;
}
