//! What a range function sees of one series at one step, and what it may say.

use crate::{
    model::{Histogram, HistogramSample, Timestamp},
    promql::ast::Extension,
};
use std::{ops::Range, sync::Arc};

/// The samples of one window, floats and native histograms apart, each in time order, without staleness markers.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    pub times: &'a [Timestamp],
    pub values: &'a [f64],
    pub histograms: &'a [HistogramSample],
    /// How many samples each of `values` stands for; empty where each is one.
    pub weights: &'a [u32],
    /// The same for `histograms`.
    pub histogram_weights: &'a [u32],
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

    /// How many samples the floats stand for.
    pub fn float_count(&self) -> u64 {
        count(self.values.len(), self.weights)
    }

    /// How many samples the histograms stand for.
    pub fn histogram_count(&self) -> u64 {
        count(self.histograms.len(), self.histogram_weights)
    }

    /// The length of the window in seconds.
    pub fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// How many samples `points` with these weights stand for.
fn count(points: usize, weights: &[u32]) -> u64 {
    if weights.is_empty() { points as u64 } else { weights.iter().map(|weight| u64::from(*weight)).sum() }
}

/// How many samples there are from the first of `points` on. Those that the first stands for beside itself came before
/// it.
pub fn count_from_first(points: usize, weights: &[u32]) -> u64 {
    match weights {
        [] => points as u64,
        [_, rest @ ..] => 1 + count(rest.len(), rest),
    }
}

/// How many samples any points of a series stand for, found without looking at each.
#[derive(Debug, Default)]
pub struct Counts {
    /// Those up to and with each point; empty where each is one.
    until: Vec<u64>,
}

impl Counts {
    pub fn of(weights: &[u32]) -> Counts {
        let mut sum = 0;
        let until = weights.iter().map(|weight| {
            sum += u64::from(*weight);
            sum
        });
        Counts { until: until.collect() }
    }

    /// Of points that are at least one.
    #[inline]
    pub fn within(&self, points: Range<usize>) -> u64 {
        if self.until.is_empty() {
            return points.len() as u64;
        }
        let before = points.start.checked_sub(1).map_or(0, |before| self.until[before]);
        self.until[points.end - 1] - before
    }

    /// See [`count_from_first`].
    #[inline]
    pub fn from_first(&self, points: Range<usize>) -> u64 {
        if self.until.is_empty() {
            return points.len() as u64;
        }
        1 + self.until[points.end - 1] - self.until[points.start]
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
