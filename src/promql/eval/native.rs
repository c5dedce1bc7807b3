//! Range functions on windows that hold native histograms.

use crate::model::Histogram;
use crate::promql::{
    functions::{
        rate::{self, Ends, RateKind},
        window::{Outcome, Remarks, Window},
    },
    limits::QueryError,
};

/// `rate`, `increase` and `delta` for windows with histograms or a modifier.
pub fn rate(kind: Option<RateKind>, window: &Window<'_>, remarks: &mut Remarks) -> Result<Outcome, QueryError> {
    use crate::promql::ast::Extension;
    let Some(kind) = kind else { return Ok(Outcome::Nothing) };
    if window.extension != Extension::None {
        if !window.histograms.is_empty() {
            return Err(QueryError::execution("smoothed and anchored modifiers do not work with native histograms"));
        }
        return Ok(rate::extended_rate(window, kind));
    }
    if rate::refuse_mixed(window, remarks) {
        return Ok(Outcome::Nothing);
    }
    if let ([first, .., last], true) = (window.values, window.histograms.is_empty()) {
        let mut resets = rate::Resets::default();
        if kind.counter {
            resets.find(window.values);
        }
        let increase = resets.correct(last - first, 0, window.values.len());
        let ends = Ends {
            first_at: window.times[0],
            last_at: window.times[window.times.len() - 1],
            samples: window.times.len(),
        };
        return Ok(Outcome::Float(rate::extrapolated(increase, *first, ends, window.start, window.end, kind)));
    }
    Ok(Outcome::Nothing)
}

pub fn instant_rate(window: &Window<'_>, counter: bool, remarks: &mut Remarks) -> Outcome {
    let _ = &remarks;
    rate::instant_rate(window, counter)
}

pub fn sum_over_time(_window: &Window<'_>, _remarks: &mut Remarks) -> Outcome {
    Outcome::Nothing
}

pub fn average_over_time(_window: &Window<'_>, _remarks: &mut Remarks) -> Outcome {
    Outcome::Nothing
}

/// A sample as `changes` and `resets` compare it.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// How often `differs` holds between neighbours.
pub fn count_pairs(window: &Window<'_>, differs: fn(Seen<'_>, Seen<'_>) -> bool) -> Outcome {
    let Some(floats) = rate::counted_floats(window) else { return Outcome::Nothing };
    let (mut float, mut native, mut count) = (floats.start, 0, 0);
    let mut previous: Option<Seen<'_>> = None;
    while float < floats.end || native < window.histograms.len() {
        let take_float = native >= window.histograms.len()
            || (float < floats.end && window.times[float] < window.histograms[native].timestamp);
        let current = if take_float {
            float += 1;
            Seen::Float(window.values[float - 1])
        } else {
            native += 1;
            Seen::Histogram(&window.histograms[native - 1].histogram)
        };
        count += usize::from(previous.is_some_and(|previous| differs(previous, current)));
        previous = Some(current);
    }
    Outcome::Float(count as f64)
}

pub fn changed(previous: Seen<'_>, current: Seen<'_>) -> bool {
    match (previous, current) {
        (Seen::Float(a), Seen::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Seen::Histogram(a), Seen::Histogram(b)) => a != b,
        _ => true,
    }
}

pub fn fell(previous: Seen<'_>, current: Seen<'_>) -> bool {
    match (previous, current) {
        (Seen::Float(a), Seen::Float(b)) => b < a,
        (Seen::Histogram(a), Seen::Histogram(b)) => b.count < a.count,
        _ => true,
    }
}
