//! Bucket boundaries that two histograms have in common, and how a histogram looks over them.

use super::buckets::{Indexed, bound, uses_custom_buckets};
use crate::model::{Histogram, ResetHint};

/// What a combination of two histograms had to overlook; each is worth an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Combined {
    /// One begins with a counter reset, the other says there was none.
    pub reset_conflict: bool,
    /// Custom bounds differed: only those in both remain.
    pub bounds_reconciled: bool,
}

/// Exponential and custom buckets have no boundaries in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("histograms with exponential and with custom buckets cannot be combined")]
pub struct MixedSchemas;

/// Common boundaries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub schema: i32,
    pub zero_threshold: f64,
    /// Only where they differ from those of the histograms they come from.
    pub custom_values: Option<Vec<f64>>,
}

/// The buckets of a histogram over some layout, in rising order of their indexes.
pub(super) struct Projection {
    pub zero_count: f64,
    pub positive: Vec<(i64, f64)>,
    pub negative: Vec<(i64, f64)>,
}

/// Whether buckets at the same place in both are the same buckets.
pub(super) fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && a.custom_values == b.custom_values
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.positive_buckets.len() == b.positive_buckets.len()
        && a.negative_buckets.len() == b.negative_buckets.len()
}

pub(super) fn common_layout(a: &Histogram, b: &Histogram) -> Result<Layout, MixedSchemas> {
    match (uses_custom_buckets(a), uses_custom_buckets(b)) {
        (true, true) => {
            let custom_values = (a.custom_values != b.custom_values).then(|| {
                let both = |value: &&f64| b.custom_values.contains(value);
                a.custom_values.iter().filter(both).copied().collect()
            });
            Ok(Layout { schema: a.schema, zero_threshold: 0.0, custom_values })
        }
        (false, false) => {
            Ok(Layout { schema: a.schema.min(b.schema), zero_threshold: common_threshold(a, b), custom_values: None })
        }
        _ => Err(MixedSchemas),
    }
}

/// The smallest zero bucket that holds both zero buckets and ends within no populated bucket of either.
fn common_threshold(a: &Histogram, b: &Histogram) -> f64 {
    let (mut of_a, mut of_b) = (a.zero_threshold, b.zero_threshold);
    // Each round widens one to a bucket boundary: it ends at the last one. NaN compares with nothing and ends it too.
    while of_a < of_b || of_b < of_a {
        if of_b < of_a {
            of_b = widened_threshold(b, of_a);
        }
        if of_a < of_b {
            of_a = widened_threshold(a, of_b);
        }
    }
    of_a
}

/// `threshold`, or the end of the populated bucket it lies in.
pub(super) fn widened_threshold(histogram: &Histogram, mut threshold: f64) -> f64 {
    loop {
        let before = threshold;
        for (spans, counts) in [
            (&histogram.positive_spans, &histogram.positive_buckets),
            (&histogram.negative_spans, &histogram.negative_buckets),
        ] {
            for (index, count) in Indexed::new(spans, counts) {
                if bound(histogram, index - 1) >= threshold {
                    break;
                }
                if count != 0.0 {
                    threshold = threshold.max(bound(histogram, index));
                }
            }
        }
        if threshold == before || threshold.is_nan() {
            return threshold;
        }
    }
}

/// The histogram over `layout`, which [`common_layout`] found for it and another.
pub(super) fn project(histogram: &Histogram, layout: &Layout) -> Projection {
    if uses_custom_buckets(histogram) {
        let counts = Indexed::new(&histogram.positive_spans, &histogram.positive_buckets);
        let positive = match &layout.custom_values {
            None => counts.collect(),
            Some(bounds) => merged(counts.map(|(index, count)| {
                let upper = bound(histogram, index);
                (bounds.iter().take_while(|bound| **bound < upper).count() as i64, count)
            })),
        };
        return Projection { zero_count: 0.0, positive, negative: Vec::new() };
    }
    let mut zero_count = histogram.zero_count;
    let mut side = |spans, counts| {
        let outside = Indexed::new(spans, counts).filter(|(index, count)| {
            let outside = histogram.zero_threshold == layout.zero_threshold
                || bound(histogram, index - 1) >= layout.zero_threshold;
            if !outside {
                zero_count += count;
            }
            outside
        });
        // Shifting a 64-bit number by more than its width is undefined; no schemas are that far apart.
        let shift = (i64::from(histogram.schema) - i64::from(layout.schema)).clamp(0, 63);
        merged(outside.map(|(index, count)| (((index - 1) >> shift) + 1, count)))
    };
    let positive = side(&histogram.positive_spans, &histogram.positive_buckets);
    let negative = side(&histogram.negative_spans, &histogram.negative_buckets);
    Projection { zero_count, positive, negative }
}

/// Sums neighbours that have become one bucket.
fn merged(buckets: impl Iterator<Item = (i64, f64)>) -> Vec<(i64, f64)> {
    let mut out: Vec<(i64, f64)> = Vec::new();
    for (index, count) in buckets {
        match out.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => out.push((index, count)),
        }
    }
    out
}

/// Pairs buckets of equal index; a missing one counts zero.
pub(super) fn paired<'a>(
    left: &'a [(i64, f64)],
    right: &'a [(i64, f64)],
) -> impl Iterator<Item = (i64, f64, f64)> + 'a {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some((a, _)), Some((b, _))) if a == b => {
            let (index, count) = left.next()?;
            Some((*index, *count, right.next()?.1))
        }
        (Some((a, _)), Some((b, _))) if a > b => right.next().map(|(index, count)| (*index, 0.0, *count)),
        (None, Some(_)) => right.next().map(|(index, count)| (*index, 0.0, *count)),
        (Some(_), _) => left.next().map(|(index, count)| (*index, *count, 0.0)),
        (None, None) => None,
    })
}

/// What is known of resets after combining, and whether the two contradict each other.
pub(super) fn combined_hint(a: ResetHint, b: ResetHint) -> (ResetHint, bool) {
    match (a, b) {
        _ if a == b => (a, false),
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
        (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
        _ => (ResetHint::Unknown, true),
    }
}
