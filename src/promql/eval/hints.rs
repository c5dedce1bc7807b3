//! What native histograms say of counter resets where only their figures are asked for.
//!
//! Within `histogram_count`, `histogram_sum` and `histogram_avg` Prometheus reads histograms without their buckets, and
//! so looks for resets while it still sees them; elsewhere a sample read never claims that a counter began anew.

use super::column::Column;
use crate::{
    model::{Histogram, ResetHint, Samples, Timestamp},
    promql::{
        ast::{Expr, ExprKind},
        functions::FunctionId,
        histogram::chunked_hint,
    },
};
use std::{collections::HashSet, sync::Arc};

/// Where in the query the selectors begin of whose histograms only figures are asked for.
pub fn figure_selectors(expr: &Expr) -> HashSet<usize> {
    let mut found = HashSet::new();
    find(expr, false, &mut found);
    found
}

fn find(expr: &Expr, mut figures: bool, found: &mut HashSet<usize>) {
    match &expr.kind {
        ExprKind::Vector(_) | ExprKind::Matrix(_) if figures => {
            found.insert(expr.span.start);
        }
        ExprKind::Binary(_) => figures = false,
        ExprKind::Call(call) => match call.function.id {
            FunctionId::HistogramAvg | FunctionId::HistogramCount | FunctionId::HistogramSum => figures = true,
            FunctionId::HistogramFraction
            | FunctionId::HistogramQuantile
            | FunctionId::HistogramQuantiles
            | FunctionId::HistogramStddev
            | FunctionId::HistogramStdvar => figures = false,
            _ => {}
        },
        _ => {}
    }
    expr.children().into_iter().for_each(|child| find(child, figures, found));
}

/// The hint of histogram `at` of one series. A float in between ends a chunk. What came before the first one was not
/// read; a chunk holds so many samples that it most likely is not the first of its own.
fn hint_of(samples: &Samples, at: usize) -> ResetHint {
    let current = &samples.histograms[at];
    let Some(before) = at.checked_sub(1).map(|before| &samples.histograms[before]) else {
        return if current.histogram.reset_hint == ResetHint::Gauge { ResetHint::Gauge } else { ResetHint::NotReset };
    };
    let goes_on = !any_float(&samples.timestamps, before.timestamp, current.timestamp);
    chunked_hint(&current.histogram, goes_on.then_some(&*before.histogram))
}

/// Whether there is a time between the two, both included.
fn any_float(times: &[Timestamp], from: Timestamp, until: Timestamp) -> bool {
    times.get(times.partition_point(|at| *at < from)).is_some_and(|at| *at <= until)
}

/// The histogram with `hint`; the stored one where it says so already.
fn hinted(histogram: &Arc<Histogram>, hint: ResetHint) -> Arc<Histogram> {
    if histogram.reset_hint == hint {
        return histogram.clone();
    }
    Arc::new(Histogram { reset_hint: hint, ..(**histogram).clone() })
}

/// Gives all histograms of a series their hints; staleness markers must be there still.
pub fn hint_all(samples: &mut Samples) {
    let hints: Vec<ResetHint> = (0..samples.histograms.len()).map(|at| hint_of(samples, at)).collect();
    for (sample, hint) in samples.histograms.iter_mut().zip(hints) {
        sample.histogram = hinted(&sample.histogram, hint);
    }
}

/// Puts one sample at each of the steps that look it up, its hint computed once.
pub struct Hinted {
    wanted: bool,
    last: Option<(usize, Arc<Histogram>)>,
}

impl Hinted {
    /// Hints where they are `wanted`, else samples as they are.
    pub fn new(wanted: bool) -> Hinted {
        Hinted { wanted, last: None }
    }

    pub fn set(&mut self, out: &mut Column, step: usize, samples: &Samples, at: usize) {
        if !self.wanted {
            out.set_histogram(step, samples.histograms[at].histogram.clone());
            return;
        }
        let known = self.last.as_ref().filter(|(index, _)| *index == at).map(|(_, histogram)| histogram.clone());
        let histogram = known.unwrap_or_else(|| {
            let histogram = hinted(&samples.histograms[at].histogram, hint_of(samples, at));
            self.last = Some((at, histogram.clone()));
            histogram
        });
        out.set_histogram(step, histogram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HistogramSample;

    fn sample(timestamp: Timestamp, count: f64) -> HistogramSample {
        HistogramSample {
            timestamp,
            histogram: Arc::new(Histogram { count, zero_count: count, ..Histogram::default() }),
        }
    }

    #[test]
    fn a_fall_is_a_reset_and_a_float_in_between_ends_what_is_known() {
        let mut samples = Samples {
            timestamps: vec![35],
            values: vec![1.0],
            histograms: vec![sample(10, 1.0), sample(20, 2.0), sample(30, 1.0), sample(40, 2.0), sample(50, 2.0)],
            ..Samples::default()
        };
        hint_all(&mut samples);
        let hints: Vec<ResetHint> = samples.histograms.iter().map(|s| s.histogram.reset_hint).collect();
        use ResetHint::{NotReset, Reset, Unknown};
        assert_eq!(hints, [NotReset, NotReset, Reset, Unknown, NotReset]);
    }
}
