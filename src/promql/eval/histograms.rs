//! Arithmetic on shared native histograms.

use crate::model::Histogram;
use std::sync::Arc;

/// Every count and the sum times `factor`.
pub fn scaled(histogram: &Arc<Histogram>, factor: f64) -> Arc<Histogram> {
    let mut scaled = (**histogram).clone();
    for value in [&mut scaled.count, &mut scaled.sum, &mut scaled.zero_count] {
        *value *= factor;
    }
    scaled.positive_buckets.iter_mut().chain(&mut scaled.negative_buckets).for_each(|v| *v *= factor);
    Arc::new(scaled)
}
