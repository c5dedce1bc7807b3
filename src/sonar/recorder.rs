//! Takes pages out of the mailbox and stores them: what they say, and behind it the cursor.

use super::{
    history,
    metrics::SonarMetrics,
    naming::{self, Metric},
    page::Page,
    state,
};
use crate::{
    ingest::{Ingest, IngestError},
    mailbox::{HandleError, Handler, Message, Pending},
    stdx::clock::Clock,
    store::Store,
};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::{Mutex, Notify};

/// The handler of [`super::page::KIND`].
pub struct Recorder {
    ingest: Ingest,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Nothing is said of what is older: the store would drop it again.
    retention_ms: i64,
    metrics: SonarMetrics,
    /// Tells those who wait for a cursor that one has moved.
    stored: Arc<Notify>,
    /// One page after the other: each stands on the state that the one before it left. Holds the families described.
    turn: Mutex<HashSet<String>>,
}

impl Recorder {
    pub fn new(
        ingest: Ingest,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        retention_ms: i64,
        metrics: SonarMetrics,
        stored: Arc<Notify>,
    ) -> Recorder {
        Recorder { ingest, store, clock, retention_ms, metrics, stored, turn: Mutex::default() }
    }

    async fn record(&self, payload: &str) -> Result<(), HandleError> {
        let page = Page::read(payload).map_err(HandleError::Refused)?;
        let mut described = self.turn.lock().await;
        let before = state::load(&*self.store, &page.project, &page.branch);
        let oldest_ms = self.clock.now_ms().saturating_sub(self.retention_ms);
        let applied = history::apply(&before, &page, oldest_ms);
        // Delivered twice, or overtaken.
        if !applied.is_news(&before) {
            return Ok(());
        }
        let change = applied.state.change(&page.project, &page.branch);
        let report = self.ingest.record_history(&applied.rows, &[change]).await.map_err(|error| match error {
            IngestError::Store(cause) => HandleError::Retry(cause.to_string()),
            error => HandleError::Refused(error.to_string()),
        })?;
        self.metrics.values.inc_by(applied.values as u64);
        self.metrics.refused.inc_by(report.refused as u64);
        self.describe(&page, &mut described);
        drop(described);
        self.stored.notify_waiters();
        Ok(())
    }

    /// Once a family, so that lists of metrics say what it is.
    fn describe(&self, page: &Page, described: &mut HashSet<String>) {
        let mut tell = |family: String, help| {
            if !described.contains(&family) {
                self.ingest.describe_history(&family, help);
                described.insert(family);
            }
        };
        let first = page.dates.first().map(i64::to_string);
        let analysis = Metric::analysis_date();
        let columns = page.metrics.iter().zip(page.values.iter().map(|values| values.iter().flatten().next()));
        for (metric, value) in columns.chain([(&analysis, first.as_ref())]) {
            let Some(value) = value else { continue };
            for output in naming::outputs(page.scheme, metric, value) {
                tell(output.name, naming::help(metric));
            }
        }
        if !page.events.is_empty() {
            tell(history::EVENT.to_owned(), "1 at the moment of a version or of a change of the quality gate.");
        }
    }
}

impl Handler for Recorder {
    fn handle<'a>(&'a self, message: &'a Message) -> Pending<'a, Result<(), HandleError>> {
        Box::pin(self.record(&message.payload))
    }
}
