//! `anchored` and `smoothed` on native histograms: true values at the edges of a window.

use super::native::note_kinds;
use crate::{
    model::{Histogram, HistogramSample, ResetHint, Timestamp},
    promql::{
        ast::Extension,
        functions::{
            rate::RateKind,
            window::{Outcome, Remarks, Window},
        },
        histogram::{self, MixedSchemas, detect_reset, uses_custom_buckets},
    },
};
use std::sync::Arc;

/// The histogram on the line between two samples; after a reset the line begins at zero.
pub fn between(
    before: &HistogramSample,
    after: &HistogramSample,
    at: Timestamp,
    counter: bool,
) -> Result<Histogram, MixedSchemas> {
    if uses_custom_buckets(&before.histogram) != uses_custom_buckets(&after.histogram) {
        return Err(MixedSchemas);
    }
    let share = (at - before.timestamp) as f64 / (after.timestamp - before.timestamp) as f64;
    let mut result = (*after.histogram).clone();
    let gauge = [before, after].iter().any(|s| s.histogram.reset_hint == ResetHint::Gauge);
    if counter && !gauge && detect_reset(&after.histogram, &before.histogram) {
        histogram::mul(&mut result, share);
    } else {
        histogram::sub(&mut result, &before.histogram)?;
        histogram::mul(&mut result, share);
        histogram::add(&mut result, &before.histogram)?;
    }
    result.reset_hint = if gauge { ResetHint::Gauge } else { ResetHint::Unknown };
    histogram::compact(&mut result);
    Ok(result)
}

/// One point on the way from the left edge to the right one.
struct Point {
    histogram: Arc<Histogram>,
    /// The counter began anew since the point before.
    reset: bool,
}

/// `rate`, `increase` and `delta` of a window with values at its edges.
pub fn extended_rate(window: &Window<'_>, kind: RateKind, remarks: &mut Remarks) -> Outcome {
    let samples = window.histograms;
    let smoothed = window.extension == Extension::Smoothed;
    let Some(mut last) = samples.len().checked_sub(1) else { return Outcome::Nothing };
    let first = samples[..last].partition_point(|s| s.timestamp <= window.start).saturating_sub(1);
    if smoothed {
        last = samples[..last].partition_point(|s| s.timestamp < window.end);
    }
    if samples[last].timestamp <= window.start || samples[first].timestamp > window.end {
        return Outcome::Nothing;
    }
    note_kinds(kind.counter, &samples[first..=last], remarks);
    let Ok(points) = points(window, kind, first, last) else {
        remarks.mixed_exponential_custom = true;
        return Outcome::Nothing;
    };
    let Ok(mut result) = total(&points) else {
        remarks.mixed_exponential_custom = true;
        return Outcome::Nothing;
    };
    result.reset_hint = ResetHint::Gauge;
    histogram::compact(&mut result);
    if kind.per_second {
        histogram::div(&mut result, window.seconds());
    }
    Outcome::Histogram(Arc::new(result))
}

/// The left edge, what lies between, the right edge.
fn points(window: &Window<'_>, kind: RateKind, first: usize, last: usize) -> Result<Vec<Point>, MixedSchemas> {
    let samples = window.histograms;
    let smoothed = window.extension == Extension::Smoothed;
    let mut points = Vec::with_capacity(last - first + 1);
    let left_between = smoothed && samples[first].timestamp < window.start && first < last;
    if left_between {
        let left = between(&samples[first], &samples[first + 1], window.start, kind.counter)?;
        points.push(Point { histogram: Arc::new(left), reset: false });
    } else {
        points.push(Point { histogram: samples[first].histogram.clone(), reset: false });
    }
    let right_between = smoothed && samples[last].timestamp > window.end && last > 0;
    for index in first + 1..=last {
        // The line to the first inner sample begins after the reset, if there was one.
        let crossed = left_between && index == first + 1;
        let reset = kind.counter && !crossed && detect_reset(&samples[index].histogram, &samples[index - 1].histogram);
        let histogram = if index == last && right_between {
            Arc::new(between(&samples[index - 1], &samples[index], window.end, kind.counter)?)
        } else {
            samples[index].histogram.clone()
        };
        points.push(Point { histogram, reset });
    }
    Ok(points)
}

fn total(points: &[Point]) -> Result<Histogram, MixedSchemas> {
    let mut result = (*points[points.len() - 1].histogram).clone();
    histogram::sub(&mut result, &points[0].histogram)?;
    for pair in points.windows(2) {
        if pair[1].reset {
            histogram::add(&mut result, &pair[0].histogram)?;
        }
    }
    Ok(result)
}
