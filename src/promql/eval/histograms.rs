//! Native histograms as values shared between columns: each operation makes a new one.

use super::annotations::Note;
use crate::{
    model::{Histogram, ResetHint},
    promql::{
        ast::BinaryOp,
        functions::FunctionId,
        histogram::{self, Combined, MixedSchemas, NanEffect},
    },
};
use std::sync::Arc;

fn changed(histogram: &Histogram, change: impl FnOnce(&mut Histogram)) -> Arc<Histogram> {
    let mut changed = histogram.clone();
    change(&mut changed);
    Arc::new(changed)
}

/// Every count and the sum times minus one.
pub fn negated(histogram: &Histogram) -> Arc<Histogram> {
    changed(histogram, |h| histogram::mul(h, -1.0))
}

/// Every count and the sum times `factor`.
pub fn scaled(histogram: &Histogram, factor: f64) -> Arc<Histogram> {
    changed(histogram, |h| {
        histogram::mul(h, factor);
        histogram::compact(h);
    })
}

/// Every count and the sum divided.
pub fn divided(histogram: &Histogram, divisor: f64) -> Arc<Histogram> {
    changed(histogram, |h| {
        histogram::div(h, divisor);
        histogram::compact(h);
    })
}

/// What lies up to a bound, or from it on.
pub fn trimmed(histogram: &Histogram, bound: f64, upper: bool) -> Arc<Histogram> {
    changed(histogram, |h| {
        if upper {
            histogram::trim_upper(h, bound);
        } else {
            histogram::trim_lower(h, bound);
        }
        histogram::compact(h);
    })
}

/// Sum or difference; `None` where the bucket layouts have nothing in common.
pub fn combined(a: &Histogram, b: &Histogram, op: BinaryOp) -> (Option<Arc<Histogram>>, Vec<Note>) {
    let mut result = a.clone();
    let subtract = op == BinaryOp::Sub;
    let operation = if subtract { "subtraction" } else { "addition" };
    let combine: fn(&mut Histogram, &Histogram) -> Result<Combined, MixedSchemas> =
        if subtract { histogram::sub } else { histogram::add };
    let Ok(overlooked) = combine(&mut result, b) else { return (None, Vec::new()) };
    if subtract {
        result.reset_hint = ResetHint::Gauge;
    }
    histogram::compact(&mut result);
    let mut notes = Vec::new();
    if overlooked.reset_conflict {
        notes.push(Note::CounterResetCollision { operation });
    }
    if overlooked.bounds_reconciled {
        notes.push(Note::ReconciledBuckets { operation });
    }
    (Some(Arc::new(result)), notes)
}

/// The function that reads a figure of a histogram.
pub fn figure(id: FunctionId) -> fn(&Histogram) -> f64 {
    match id {
        FunctionId::HistogramCount => |h| h.count,
        FunctionId::HistogramSum => |h| h.sum,
        FunctionId::HistogramStddev => histogram::stddev,
        FunctionId::HistogramStdvar => histogram::stdvar,
        _ => histogram::avg,
    }
}

/// A quantile and what NaN observations did to it.
pub fn quantile(q: f64, histogram: &Histogram, metric: &str) -> (f64, Option<Note>) {
    let found = histogram::quantile(histogram, q);
    let note = match found.nan {
        NanEffect::None => None,
        NanEffect::Skewed => Some(Note::QuantileNanSkew { metric: metric.to_owned() }),
        NanEffect::Result => Some(Note::QuantileNanResult { metric: metric.to_owned() }),
    };
    (found.value, note)
}

/// The share of observations between two bounds.
pub fn fraction(low: f64, high: f64, histogram: &Histogram, metric: &str) -> (f64, Option<Note>) {
    let value = histogram::fraction(histogram, low, high);
    let has_nan = histogram.sum.is_nan() && !value.is_nan() && low < high;
    (value, has_nan.then(|| Note::FractionNan { metric: metric.to_owned() }))
}
