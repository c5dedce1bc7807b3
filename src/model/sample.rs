//! Samples as columns: floats apart from native histograms, each in time order.

use super::{Histogram, Timestamp};
use std::sync::Arc;

/// The bits of the NaN that says "this series ended here". Any other NaN is an ordinary value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a value.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a value is the staleness marker, told by its bits.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A native histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    pub timestamp: Timestamp,
    /// Shared, because a query hands it on unchanged far more often than it computes with it.
    pub histogram: Arc<Histogram>,
}

/// The samples of one series: `timestamps[i]` belongs to `values[i]`. A reader clears and refills one of these for
/// every series, so reading allocates once a query and not once a series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    pub timestamps: Vec<Timestamp>,
    pub values: Vec<f64>,
    pub histograms: Vec<HistogramSample>,
    /// How many samples each of `values` stands for, where it was read from buckets: 0 for one that is there so that a
    /// difference comes out right. Empty: each is one sample.
    pub weights: Vec<u32>,
    /// The same for `histograms`.
    pub histogram_weights: Vec<u32>,
}

impl Samples {
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.weights.clear();
        self.histogram_weights.clear();
    }

    #[inline]
    pub fn push(&mut self, timestamp: Timestamp, value: f64) {
        self.timestamps.push(timestamp);
        self.values.push(value);
    }

    /// Says that each of `values` that has no weight yet is one sample.
    pub fn weigh(&mut self) {
        self.weights.resize(self.values.len(), 1);
    }

    /// The same for `histograms`.
    pub fn weigh_histograms(&mut self) {
        self.histogram_weights.resize(self.histograms.len(), 1);
    }

    /// Where some have weights, all have: what was read without one is one sample each.
    pub fn complete_weights(&mut self) {
        if !self.weights.is_empty() {
            self.weigh();
        }
        if !self.histogram_weights.is_empty() {
            self.weigh_histograms();
        }
    }

    /// Floats and histograms together.
    pub fn len(&self) -> usize {
        self.timestamps.len() + self.histograms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many samples floats and histograms stand for together.
    pub fn count(&self) -> u64 {
        let count = |points: usize, weights: &[u32]| match weights {
            [] => points as u64,
            weights => weights.iter().map(|weight| u64::from(*weight)).sum(),
        };
        count(self.timestamps.len(), &self.weights) + count(self.histograms.len(), &self.histogram_weights)
    }
}
