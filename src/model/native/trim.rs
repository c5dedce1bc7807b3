//! Cutting a histogram at a value: `</` keeps what is below, `>/` what is above.

use super::buckets::{Bucket, Indexed, all_buckets, encode, uses_custom_buckets};
use super::statistics::{geometric_mean, narrowed, part_below};
use crate::model::{CountKind, Histogram};

/// Keeps the observations up to `limit` (`</`).
///
/// A bucket across the limit is split as if its observations were spread evenly. Where anything is cut off, count and
/// sum are estimated anew from the buckets.
pub fn trim_upper(histogram: &mut Histogram, limit: f64) {
    if limit != f64::INFINITY {
        trim(histogram, |histogram, bucket| kept_below(histogram, bucket, limit));
    }
}

/// Keeps the observations from `limit` on (`>/`), likewise.
pub fn trim_lower(histogram: &mut Histogram, limit: f64) {
    if limit != f64::NEG_INFINITY {
        trim(histogram, |histogram, bucket| kept_above(histogram, bucket, limit));
    }
}

/// What stays of a bucket, and the value that stands for it.
struct Kept {
    count: f64,
    value: f64,
}

const NOTHING: Kept = Kept { count: 0.0, value: 0.0 };

fn trim(histogram: &mut Histogram, keep: impl Fn(&Histogram, &Bucket) -> Kept) {
    let (mut counts, mut count, mut sum, mut changed) = (Vec::new(), 0.0, 0.0, false);
    for bucket in all_buckets(histogram) {
        let kept = if bucket.count == 0.0 { NOTHING } else { keep(histogram, &narrowed_finite(histogram, bucket)) };
        changed |= kept.count != bucket.count;
        count += kept.count;
        if kept.count != 0.0 {
            sum += kept.count * kept.value;
        }
        counts.push(kept.count);
    }
    if !changed {
        return;
    }
    // Lowest first, as `all_buckets` walks: negative buckets backwards, the zero bucket if it is populated, the rest.
    let mut counts = counts.into_iter();
    let negative = Indexed::new(&histogram.negative_spans, &histogram.negative_buckets).rev();
    let mut negative: Vec<(i64, f64)> = negative.zip(counts.by_ref()).map(|((index, _), kept)| (index, kept)).collect();
    negative.reverse();
    if histogram.zero_count > 0.0 {
        histogram.zero_count = counts.next().unwrap_or(0.0);
    }
    let positive = Indexed::new(&histogram.positive_spans, &histogram.positive_buckets).zip(counts);
    let positive: Vec<(i64, f64)> = positive.map(|((index, _), kept)| (index, kept)).collect();
    let populated = |buckets: Vec<(i64, f64)>| encode(buckets.into_iter().filter(|(_, count)| *count != 0.0));
    (histogram.negative_spans, histogram.negative_buckets) = populated(negative);
    (histogram.positive_spans, histogram.positive_buckets) = populated(positive);
    (histogram.count, histogram.sum) = (count, sum);
    histogram.kind = CountKind::Float;
}

/// A custom bucket from minus infinity keeps that bound here: whether it may begin at zero depends on the limit.
fn narrowed_finite(histogram: &Histogram, bucket: Bucket) -> Bucket {
    if bucket.lower == f64::NEG_INFINITY { bucket } else { narrowed(histogram, bucket) }
}

fn kept_below(histogram: &Histogram, bucket: &Bucket, limit: f64) -> Kept {
    let Bucket { lower, upper, count, .. } = *bucket;
    if limit.is_nan() || upper == f64::INFINITY {
        // Observations in a bucket without end count as infinite.
        return NOTHING;
    }
    if lower == f64::NEG_INFINITY {
        return match () {
            () if upper <= 0.0 => Kept { count, value: upper.min(limit) },
            () if limit >= upper => Kept { count, value: upper / 2.0 },
            () if limit > 0.0 => Kept { count: count * limit / upper, value: limit / 2.0 },
            () => NOTHING,
        };
    }
    if limit >= upper {
        return Kept { count, value: middle(histogram, lower, upper) };
    }
    if limit <= lower {
        return NOTHING;
    }
    Kept { count: count * part_below(histogram, bucket, limit), value: split_middle(histogram, bucket, lower, limit) }
}

fn kept_above(histogram: &Histogram, bucket: &Bucket, limit: f64) -> Kept {
    let Bucket { lower, upper, count, .. } = *bucket;
    if limit.is_nan() || limit == f64::INFINITY {
        return NOTHING;
    }
    if lower == f64::NEG_INFINITY {
        // Its observations count as infinitely low, or as spread from zero on if the limit asks for no less.
        return match () {
            () if limit >= 0.0 && limit < upper && upper != f64::INFINITY => {
                Kept { count: count * (1.0 - limit / upper), value: f64::midpoint(limit, upper) }
            }
            () => NOTHING,
        };
    }
    if upper == f64::INFINITY {
        return Kept { count, value: lower.max(limit) };
    }
    if limit <= lower {
        return Kept { count, value: middle(histogram, lower, upper) };
    }
    if limit >= upper {
        return NOTHING;
    }
    let part = 1.0 - part_below(histogram, bucket, limit);
    Kept { count: count * part, value: split_middle(histogram, bucket, limit, upper) }
}

/// The value that stands for what lies between two bounds of one bucket.
fn middle(histogram: &Histogram, lower: f64, upper: f64) -> f64 {
    let linear = uses_custom_buckets(histogram) || (lower <= 0.0 && upper >= 0.0);
    if linear { f64::midpoint(lower, upper) } else { geometric_mean(lower, upper) }
}

/// Part of a linear bucket stays linear, even where that part no longer holds zero.
fn split_middle(histogram: &Histogram, bucket: &Bucket, lower: f64, upper: f64) -> f64 {
    if bucket.holds_zero() { f64::midpoint(lower, upper) } else { middle(histogram, lower, upper) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn spans(offset: i32, counts: &[f64]) -> Vec<Span> {
        if counts.is_empty() { Vec::new() } else { vec![Span { offset, length: counts.len() as u32 }] }
    }

    fn exponential(zero: (f64, f64), positive: &[f64], negative: &[f64]) -> Histogram {
        Histogram {
            count: 1000.0,
            sum: 1000.0,
            zero_threshold: zero.0,
            zero_count: zero.1,
            positive_spans: spans(0, positive),
            positive_buckets: positive.to_vec(),
            negative_spans: spans(0, negative),
            negative_buckets: negative.to_vec(),
            ..Histogram::default()
        }
    }

    fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: bounds.to_vec(),
            ..exponential((0.0, 0.0), counts, &[])
        }
    }

    /// Count and sum left on either side of a limit.
    #[track_caller]
    fn check(histogram: &Histogram, limit: f64, below: (f64, f64), above: (f64, f64)) {
        for (name, trim, expected) in
            [("</", trim_upper as fn(&mut Histogram, f64), below), (">/", trim_lower as fn(&mut Histogram, f64), above)]
        {
            let mut trimmed = histogram.clone();
            trim(&mut trimmed, limit);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
            assert!(
                near(trimmed.count, expected.0) && near(trimmed.sum, expected.1),
                "{name} {limit}: count {} sum {}",
                trimmed.count,
                trimmed.sum
            );
            assert!(!trimmed.positive_buckets.contains(&0.0) && !trimmed.negative_buckets.contains(&0.0));
        }
    }

    #[test]
    fn exponential_buckets_are_cut_on_a_logarithmic_scale() {
        // Between them: [-1,-0.5) 2, [-0.25,0.25] 4, (0.5,1] 6, (1,2] 8.
        let histogram = exponential((0.25, 4.0), &[6.0, 8.0], &[2.0]);
        let (half, root) = (0.5f64.sqrt(), 2f64.sqrt());
        check(&histogram, f64::INFINITY, (1000.0, 1000.0), (0.0, 0.0));
        check(&histogram, f64::NEG_INFINITY, (0.0, 0.0), (1000.0, 1000.0));
        check(&histogram, 1.0, (12.0, 4.0 * half), (8.0, 8.0 * root));
        check(&histogram, root, (16.0, 4.0 * half + 4.0 * root.sqrt()), (4.0, 4.0 * (2.0 * root).sqrt()));
        check(&histogram, 0.0, (4.0, -2.0 * half - 0.25), (16.0, 6.0 * half + 8.0 * root + 0.25));
        check(&histogram, -half, (1.0, -half.sqrt()), (19.0, 6.0 * half + 8.0 * root - (0.5 * half).sqrt()));
    }

    #[test]
    fn a_one_sided_zero_bucket_ends_at_zero() {
        let histogram = exponential((0.5, 2.0), &[10.0], &[]);
        check(&histogram, 0.1, (0.4, 0.02), (11.6, 1.6 * 0.3 + 10.0 * 0.5f64.sqrt()));
        check(&histogram, 0.0, (0.0, 0.0), (1000.0, 1000.0));
        check(&exponential((0.1, 5.0), &[], &[]), 0.05, (3.75, -0.09375), (1.25, 0.09375));
    }

    #[test]
    fn custom_buckets_are_cut_linearly_and_endless_ones_whole() {
        let histogram = custom(&[5.0, 10.0], &[1.0, 6.0, 3.0]);
        check(&histogram, 7.5, (4.0, 2.5 + 3.0 * 6.25), (6.0, 3.0 * 8.75 + 30.0));
        check(&histogram, 2.0, (0.4, 0.4), (9.6, 0.6 * 3.5 + 45.0 + 30.0));
        check(&histogram, 50.0, (7.0, 2.5 + 45.0), (3.0, 150.0));
        check(&histogram, 0.0, (0.0, 0.0), (1000.0, 1000.0));
        check(&histogram, -1.0, (0.0, 0.0), (9.0, 45.0 + 30.0));
        let negative = custom(&[-5.0], &[1.0, 100.0]);
        check(&negative, -10.0, (1.0, -10.0), (100.0, -500.0));
        check(&negative, 10.0, (1.0, -5.0), (100.0, 1000.0));
        check(&custom(&[], &[100.0]), 10.0, (0.0, 0.0), (0.0, 0.0));
    }

    #[test]
    fn nan_keeps_nothing() {
        check(&exponential((0.5, 2.0), &[10.0], &[]), f64::NAN, (0.0, 0.0), (0.0, 0.0));
    }
}
