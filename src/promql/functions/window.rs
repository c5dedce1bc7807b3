//! What a range function sees of one series at one step, and what it may say.

use crate::{
    model::{Histogram, HistogramSample, Timestamp},
    promql::ast::Extension,
};
use std::sync::Arc;

/// The samples of one window, floats and native histograms apart, each in time order, without staleness markers.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    pub times: &'a [Timestamp],
    pub values: &'a [f64],
    pub histograms: &'a [HistogramSample],
    /// The window is `(start, end]`; with `anchored` and `smoothed` there are samples beyond it.
    pub start: Timestamp,
    pub end: Timestamp,
    /// The step the window belongs to; differs from `end` by offset and `@`.
    pub evaluated_at: Timestamp,
    pub extension: Extension,
}

impl Window<'_> {
    pub fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of the window in seconds.
    pub fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// What a function yields for a window.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Nothing,
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// What a function noticed on the way; collected over all windows of a series and noted once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remarks {
    pub mixed_floats_histograms: bool,
    pub histograms_ignored: bool,
    pub not_counter: bool,
    pub not_gauge: bool,
    pub mixed_exponential_custom: bool,
    pub conflicting_resets: bool,
    /// The operation during which custom buckets were reconciled.
    pub reconciled: Vec<&'static str>,
    /// A quantile beyond 0 to 1.
    pub invalid_quantile: Option<f64>,
}

impl Remarks {
    pub fn reconciled_during(&mut self, operation: &'static str) {
        if !self.reconciled.contains(&operation) {
            self.reconciled.push(operation);
        }
    }
}
