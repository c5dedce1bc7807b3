//! What native histograms read from the store say of counter resets, as Prometheus' chunks would have it.

use super::column::Column;
use crate::{
    model::{Histogram, ResetHint, Samples, Timestamp},
    promql::histogram::chunked_hint,
};
use std::sync::Arc;

/// The hint of histogram `at` of one series. A float in between ends a chunk. Of the first sample read nothing is
/// known, as of the first of a chunk.
fn hint_of(samples: &Samples, at: usize) -> ResetHint {
    let current = &samples.histograms[at];
    let before = at.checked_sub(1).map(|before| &samples.histograms[before]);
    let previous = before.filter(|before| !any_float(&samples.timestamps, before.timestamp, current.timestamp));
    chunked_hint(&current.histogram, previous.map(|before| &*before.histogram))
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
#[derive(Default)]
pub struct Hinted(Option<(usize, Arc<Histogram>)>);

impl Hinted {
    pub fn set(&mut self, out: &mut Column, step: usize, samples: &Samples, at: usize) {
        let known = self.0.as_ref().filter(|(index, _)| *index == at).map(|(_, histogram)| histogram.clone());
        let histogram = known.unwrap_or_else(|| {
            let histogram = hinted(&samples.histograms[at].histogram, hint_of(samples, at));
            self.0 = Some((at, histogram.clone()));
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
        };
        hint_all(&mut samples);
        let hints: Vec<ResetHint> = samples.histograms.iter().map(|s| s.histogram.reset_hint).collect();
        use ResetHint::{NotReset, Reset, Unknown};
        assert_eq!(hints, [Unknown, NotReset, Reset, Unknown, NotReset]);
    }
}
