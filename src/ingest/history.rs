//! The door for history: measures that hold from one moment of the past to the next, and the cursor that says how far
//! the history is known, which is stored behind them.

use super::{Ingest, IngestError};
use crate::{
    model::{Labels, Metadata, MetricType, Timestamp},
    store::{
        Conflict, Outcome, RefusalReason, RunChange, SeriesId, StateChange, Store, StoreError, Ticket, WriteBatch,
    },
};
use std::collections::HashMap;

/// Changes of one log record. Some 40 bytes each, so that a record stays at two megabytes: far below what a record may
/// have, and a page of a thousand analyses is seldom more than one.
const ROWS_PER_RECORD: usize = 50_000;
/// A series may leave memory between being looked up and being written. That it happens twice in a row is chance, more
/// often is a fault of the store.
const ATTEMPTS: usize = 3;

/// One change of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// The metric name among them.
    pub labels: Labels,
    pub change: HistoryChange,
}

/// What is known of a series from some moment on; milliseconds. As [`RunChange`], and a plain sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HistoryChange {
    Open { value: f64, first: Timestamp, step_ms: i64 },
    Close { at: Timestamp },
    Whole { value: f64, first: Timestamp, last: Timestamp, step_ms: i64 },
    Sample { at: Timestamp, value: f64 },
}

/// What became of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryReport {
    /// Changes stored.
    pub rows: usize,
    /// Not stored: labels too large, or a sample before the retention.
    pub refused: usize,
}

impl Ingest {
    /// Stores `rows` and behind them `state`. On `Ok` both are durable; `state` never is without all of `rows`, and what
    /// is written twice is there once. Fails where the store does, a limit of series included.
    pub async fn record_history(
        &self,
        rows: &[HistoryRow],
        state: &[StateChange],
    ) -> Result<HistoryReport, IngestError> {
        let mut report = HistoryReport::default();
        let mut tickets = Vec::new();
        for part in rows.chunks(ROWS_PER_RECORD) {
            tickets.push(self.append_history(part, &mut report)?);
        }
        for ticket in tickets {
            ticket.wait().await?;
        }
        if !state.is_empty() {
            // A record of its own: in one with samples it would be stored also where a series has left memory and its
            // samples are not. And only now: the log may fail for the samples, and work again for what comes behind.
            let batch = WriteBatch { state: state.to_vec(), ..WriteBatch::default() };
            self.shared.store.append(&batch)?.ticket.wait().await?;
        }
        Ok(report)
    }

    /// Says what a family of history is, for those who list metrics.
    pub fn describe_history(&self, family: &str, help: &str) {
        let metadata = Metadata { metric_type: MetricType::Gauge, help: help.to_owned(), unit: String::new() };
        self.shared.metadata.set(family, metadata);
    }

    /// Writes one record.
    fn append_history(&self, rows: &[HistoryRow], report: &mut HistoryReport) -> Result<Ticket, IngestError> {
        let store = &*self.shared.store;
        for _ in 0..ATTEMPTS {
            let mut batch = WriteBatch { conflict: Conflict::Overwrite, ..WriteBatch::default() };
            let too_large = self.collect(rows, &mut batch)?;
            match store.append(&batch) {
                // What is there already is written again, which changes nothing.
                Ok(outcome) if has_unknown(&outcome) => {}
                Ok(outcome) => {
                    let refused = too_large + outcome.refused.len();
                    self.shared.stats.refused_too_old.add(outcome.refused.len() as u64);
                    self.shared.stats.refused_label_limit.add(too_large as u64);
                    report.refused += refused;
                    report.rows += rows.len() - refused;
                    return Ok(outcome.ticket);
                }
                Err(StoreError::Damaged(_)) if left_memory(store, &batch) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let told = format!("a series left memory {ATTEMPTS} times while it was written; write it again");
        Err(StoreError::Damaged(told).into())
    }

    /// Resolves the series of `rows` into `batch`; gives the number of rows whose labels are too large.
    fn collect(&self, rows: &[HistoryRow], batch: &mut WriteBatch) -> Result<usize, IngestError> {
        let mut known: HashMap<&Labels, Option<SeriesId>> = HashMap::new();
        let mut too_large = 0;
        for row in rows {
            let series = match known.get(&row.labels) {
                Some(series) => *series,
                None => {
                    let series = match self.fits(&row.labels) {
                        true => Some(self.history_series(&row.labels)?),
                        false => None,
                    };
                    known.insert(&row.labels, series);
                    series
                }
            };
            let Some(series) = series else {
                too_large += 1;
                continue;
            };
            match row.change {
                HistoryChange::Open { value, first, step_ms } => {
                    batch.runs.push(RunChange::Open { series, value, first, step_ms });
                }
                HistoryChange::Close { at } => batch.runs.push(RunChange::Close { series, at }),
                HistoryChange::Whole { value, first, last, step_ms } => {
                    batch.runs.push(RunChange::Whole { series, value, first, last, step_ms });
                }
                HistoryChange::Sample { at, value } => batch.push(series, at, value),
            }
        }
        Ok(too_large)
    }

    fn history_series(&self, labels: &Labels) -> Result<SeriesId, IngestError> {
        self.shared.series_id(None, labels).map_err(|error| {
            if error.is_of_new_series() {
                self.shared.count_refused_series(&error, 1);
            }
            error.into()
        })
    }

    fn fits(&self, labels: &Labels) -> bool {
        let limits = &self.shared.config.labels;
        limits.check_count(labels.len()).is_ok()
            && labels
                .iter()
                .all(|(name, value)| limits.check_name(name).is_ok() && limits.check_value(name, value).is_ok())
    }
}

/// Whether a sample was not stored because its series has left memory meanwhile.
fn has_unknown(outcome: &Outcome) -> bool {
    outcome.refused.iter().any(|refusal| refusal.reason == RefusalReason::UnknownSeries)
}

/// Whether the store has forgotten a series of the batch, so that looking it up again helps.
fn left_memory(store: &dyn Store, batch: &WriteBatch) -> bool {
    batch.runs.iter().any(|change| !store.holds_series(change.series()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::{IngestConfig, forgetful::Forgetful},
        model::{METRIC_NAME, Matcher, Samples, TimeRange, is_stale},
        stdx::clock::ManualClock,
        store::{Hints, Queryable, StateStore, Tree, memory::Memory},
    };
    use std::sync::Arc;

    fn open() -> (Arc<Memory>, Ingest) {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let store = Arc::new(Memory::new(clock.clone()));
        (store.clone(), Ingest::new(store, clock, IngestConfig::default()))
    }

    fn row(name: &str, change: HistoryChange) -> HistoryRow {
        HistoryRow { labels: Labels::from_pairs([(METRIC_NAME, name)]).unwrap(), change }
    }

    fn cursor(value: &[u8]) -> Vec<StateChange> {
        vec![StateChange { tree: Tree::Cursors, key: b"k".to_vec(), value: Some(value.to_vec()) }]
    }

    fn read(store: &dyn Queryable, name: &str) -> Vec<(i64, f64)> {
        let set = store.select(TimeRange::ALL, &[Matcher::equal(METRIC_NAME, name)], &Hints::default()).unwrap();
        let mut samples = Samples::default();
        set.read(0, &mut samples).unwrap();
        let shown = samples.values.iter().map(|value| if is_stale(*value) { -1.0 } else { *value });
        samples.timestamps.iter().copied().zip(shown).collect()
    }

    #[tokio::test]
    async fn runs_samples_and_the_cursor_are_stored_together_and_twice_is_once() {
        let (store, ingest) = open();
        let rows = [
            row("a", HistoryChange::Sample { at: 55_000, value: 1.0 }),
            row("a", HistoryChange::Open { value: 1.0, first: 60_000, step_ms: 60_000 }),
            row("a", HistoryChange::Open { value: 2.0, first: 180_000, step_ms: 60_000 }),
            row("a", HistoryChange::Close { at: 200_000 }),
            row("b", HistoryChange::Whole { value: 3.0, first: 60_000, last: 120_000, step_ms: 60_000 }),
        ];
        for _ in 0..2 {
            let report = ingest.record_history(&rows, &cursor(b"1")).await.unwrap();
            assert_eq!(report, HistoryReport { rows: 5, refused: 0 });
        }
        let a = [(55_000, 1.0), (60_000, 1.0), (120_000, 1.0), (180_000, 2.0), (200_000, -1.0)];
        assert_eq!(read(&*store, "a"), a);
        assert_eq!(read(&*store, "b"), [(60_000, 3.0), (120_000, 3.0)]);
        assert_eq!(store.state(Tree::Cursors, b"k"), Some(b"1".to_vec()));
    }

    #[tokio::test]
    async fn what_is_more_than_a_record_is_split_and_a_cursor_alone_is_stored() {
        let (store, ingest) = open();
        let rows: Vec<HistoryRow> = (0..ROWS_PER_RECORD as i64 + 10)
            .map(|index| row("many", HistoryChange::Sample { at: index, value: index as f64 }))
            .collect();
        assert_eq!(ingest.record_history(&rows, &cursor(b"2")).await.unwrap().rows, rows.len());
        assert_eq!(read(&*store, "many").len(), rows.len());
        ingest.record_history(&[], &cursor(b"3")).await.unwrap();
        assert_eq!(store.state(Tree::Cursors, b"k"), Some(b"3".to_vec()));
    }

    #[tokio::test]
    async fn labels_that_are_too_large_cost_their_row_alone() {
        let (store, ingest) = open();
        let labels = Labels::from_pairs([(METRIC_NAME, "a"), ("x", &"y".repeat(5_000))]).unwrap();
        let long = HistoryRow { labels, change: HistoryChange::Sample { at: 1, value: 1.0 } };
        let rows = [long, row("a", HistoryChange::Sample { at: 1, value: 2.0 })];
        let report = ingest.record_history(&rows, &[]).await.unwrap();
        assert_eq!(report, HistoryReport { rows: 1, refused: 1 });
        assert_eq!(read(&*store, "a"), [(1, 2.0)]);
    }

    fn forgetful() -> (Arc<Forgetful>, Ingest) {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let store = Arc::new(Forgetful::new(clock.clone()));
        (store.clone(), Ingest::new(store, clock, IngestConfig::default()))
    }

    #[tokio::test]
    async fn series_that_leave_memory_between_lookup_and_append_are_written_again_and_nothing_is_lost() {
        let event = row("event", HistoryChange::Sample { at: 55_000, value: 1.0 });
        let run = row("run", HistoryChange::Whole { value: 3.0, first: 60_000, last: 120_000, step_ms: 60_000 });
        for rows in [vec![event.clone()], vec![run.clone()], vec![event, run]] {
            let (store, ingest) = forgetful();
            store.forget_before_appends(1);
            let report = ingest.record_history(&rows, &cursor(b"1")).await.unwrap();
            assert_eq!(report, HistoryReport { rows: rows.len(), refused: 0 });
            let names = rows.iter().map(|row| row.labels.get(METRIC_NAME).unwrap());
            assert!(names.clone().all(|name| !read(&*store, name).is_empty()), "{rows:?}");
            assert_eq!(store.state(Tree::Cursors, b"k"), Some(b"1".to_vec()));
        }
    }

    #[tokio::test]
    async fn the_cursor_stays_where_a_series_cannot_be_written() {
        let rows = [row("event", HistoryChange::Sample { at: 55_000, value: 1.0 })];
        let (store, ingest) = forgetful();
        store.forget_before_appends(u64::MAX);
        let error = ingest.record_history(&rows, &cursor(b"1")).await.unwrap_err();
        assert!(error.to_string().contains("left memory 3 times"), "{error}");
        store.forget_before_appends(0);
        store.fill_up();
        ingest.record_history(&rows, &cursor(b"1")).await.unwrap_err();
        assert_eq!(store.state(Tree::Cursors, b"k"), None);
    }

    #[tokio::test]
    async fn the_cursor_stays_where_samples_are_not_durable() {
        let rows = [row("event", HistoryChange::Sample { at: 55_000, value: 1.0 })];
        let (store, ingest) = forgetful();
        store.fail_samples();
        ingest.record_history(&rows, &cursor(b"1")).await.unwrap_err();
        assert_eq!(store.state(Tree::Cursors, b"k"), None);
    }
}
