//! Estimates from buckets: as if observations were spread evenly within each, on a logarithmic scale in exponential
//! buckets and on a linear one in custom buckets and the zero bucket.

use super::buckets::{Bucket, all_buckets, uses_custom_buckets};
use crate::model::Histogram;

/// What observations of NaN, which are counted but lie in no bucket, did to a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanEffect {
    None,
    /// The quantile is higher than it would be without them: worth an annotation.
    Skewed,
    /// The quantile falls among them and is NaN: worth another annotation.
    Result,
}

/// An estimated quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    pub value: f64,
    pub nan: NanEffect,
}

/// The value below which the share `q` of the observations lies. Below 0 it is -Inf, above 1 +Inf, without
/// observations NaN.
pub fn quantile(histogram: &Histogram, q: f64) -> Quantile {
    let plain = |value| Quantile { value, nan: NanEffect::None };
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return plain(f64::NAN);
    }
    // The sum tells of NaN among the observations. They rank highest, so counting must begin at the low end.
    let has_nan = histogram.sum.is_nan();
    let nan = if has_nan { NanEffect::Skewed } else { NanEffect::None };
    let forward = has_nan || q < 0.5;
    let rank = if forward { q * histogram.count } else { (1.0 - q) * histogram.count };
    let found = if forward {
        bucket_at_rank(all_buckets(histogram), rank)
    } else {
        bucket_at_rank(all_buckets(histogram).rev(), rank)
    };
    let Some((bucket, counted)) = found else { return plain(f64::NAN) };
    // Rounding may count more than there is.
    let counted = counted.min(histogram.count);
    if counted < rank && has_nan {
        return Quantile { value: f64::NAN, nan: NanEffect::Result };
    }
    if uses_custom_buckets(histogram) {
        if bucket.lower == f64::NEG_INFINITY && bucket.upper <= 0.0 {
            return Quantile { value: bucket.upper, nan };
        }
        if bucket.upper == f64::INFINITY && bucket.lower != f64::NEG_INFINITY {
            return Quantile { value: bucket.lower, nan };
        }
    }
    let bucket = narrowed(histogram, bucket);
    if counted < rank {
        return Quantile { value: bucket.upper, nan };
    }
    let within = if forward { rank - (counted - bucket.count) } else { counted - rank };
    Quantile { value: value_at(histogram, &bucket, within / bucket.count), nan }
}

/// The share of the observations between two bounds. NaN without observations or for NaN bounds.
pub fn fraction(histogram: &Histogram, lower: f64, upper: f64) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (count_below(histogram, upper) - count_below(histogram, lower)) / histogram.count
}

/// The mean observation.
pub fn avg(histogram: &Histogram) -> f64 {
    histogram.sum / histogram.count
}

/// The estimated variance of the observations.
pub fn stdvar(histogram: &Histogram) -> f64 {
    let mean = avg(histogram);
    let (mut variance, mut lost) = (0.0f64, 0.0f64);
    for bucket in all_buckets(histogram).filter(|bucket| bucket.count != 0.0) {
        let distance = center(histogram, &bucket) - mean;
        let by = bucket.count * distance * distance;
        let next = variance + by;
        lost = match () {
            () if next.is_infinite() => 0.0,
            () if variance.abs() >= by.abs() => lost + ((variance - next) + by),
            () => lost + ((by - next) + variance),
        };
        variance = next;
    }
    (variance + lost) / histogram.count
}

/// The estimated standard deviation of the observations.
pub fn stddev(histogram: &Histogram) -> f64 {
    stdvar(histogram).sqrt()
}

/// The bucket the rank falls in, or else the last populated one, and how much was counted up to its end.
fn bucket_at_rank(buckets: impl Iterator<Item = Bucket>, rank: f64) -> Option<(Bucket, f64)> {
    let mut counted = 0.0;
    let mut last = None;
    for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
        counted += bucket.count;
        last = Some((bucket, counted));
        if counted >= rank {
            break;
        }
    }
    last
}

/// The bucket with the half of it cut off that no observation can be in: a histogram without negative buckets holds
/// nothing below zero and the other way round. The first custom bucket begins at zero likewise.
pub(super) fn narrowed(histogram: &Histogram, mut bucket: Bucket) -> Bucket {
    if bucket.lower < 0.0 && bucket.upper > 0.0 {
        if uses_custom_buckets(histogram) {
            if bucket.lower == f64::NEG_INFINITY {
                bucket.lower = 0.0;
            }
            return bucket;
        }
        match (histogram.negative_buckets.is_empty(), histogram.positive_buckets.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }
    bucket
}

/// Whether values are spread linearly within the bucket.
fn is_linear(histogram: &Histogram, bucket: &Bucket) -> bool {
    uses_custom_buckets(histogram) || bucket.holds_zero()
}

/// The value that the share `part` of the bucket lies below.
fn value_at(histogram: &Histogram, bucket: &Bucket, part: f64) -> f64 {
    if is_linear(histogram, bucket) {
        return bucket.lower + (bucket.upper - bucket.lower) * part;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * part).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - part)).exp2()
    }
}

/// The share of the bucket below `value`, which lies within it.
pub(super) fn part_below(histogram: &Histogram, bucket: &Bucket, value: f64) -> f64 {
    if is_linear(histogram, bucket) {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (lower, upper, value_log) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (value_log - lower) / (upper - lower) } else { 1.0 - (value_log - upper) / (lower - upper) }
}

/// How many observations lie below `value`; all of them, NaN included, where no bucket reaches beyond.
fn count_below(histogram: &Histogram, value: f64) -> f64 {
    let mut below = 0.0f64;
    for bucket in all_buckets(histogram) {
        let bucket = narrowed(histogram, bucket);
        if bucket.lower >= value {
            return below.min(histogram.count);
        }
        if bucket.upper > value {
            below += match bucket.lower {
                // There is no interpolating from infinity: all of the bucket counts as below.
                f64::NEG_INFINITY => bucket.count,
                _ => bucket.count * part_below(histogram, &bucket, value),
            };
            return below.min(histogram.count);
        }
        below += bucket.count;
    }
    histogram.count
}

/// The value that stands for all observations of the bucket.
fn center(histogram: &Histogram, bucket: &Bucket) -> f64 {
    if uses_custom_buckets(histogram) {
        return f64::midpoint(bucket.lower, bucket.upper);
    }
    if bucket.holds_zero() { 0.0 } else { geometric_mean(bucket.lower, bucket.upper) }
}

/// Of two bounds of the same sign, with that sign.
pub(super) fn geometric_mean(lower: f64, upper: f64) -> f64 {
    // Roots first: the product of large bounds would overflow, but the plain product is what rounds as expected.
    let product = lower * upper;
    let mean = if product.is_finite() { product.sqrt() } else { lower.abs().sqrt() * upper.abs().sqrt() };
    if upper < 0.0 || (upper == 0.0 && lower < 0.0) { -mean } else { mean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn exponential(zero: (f64, f64), positive: &[f64], negative: &[f64]) -> Histogram {
        let spans = |counts: &[f64]| match counts.len() {
            0 => Vec::new(),
            length => vec![Span { offset: 0, length: length as u32 }],
        };
        Histogram {
            count: zero.1 + positive.iter().sum::<f64>() + negative.iter().sum::<f64>(),
            sum: 1.0,
            zero_threshold: zero.0,
            zero_count: zero.1,
            positive_spans: spans(positive),
            positive_buckets: positive.to_vec(),
            negative_spans: spans(negative),
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

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!(found == expected || (found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    #[test]
    fn quantiles_interpolate_on_the_scale_of_the_buckets() {
        // (0.5,1] 4, (1,2] 4: the median is the bound between, the quartiles lie halfway on the logarithmic scale.
        let histogram = exponential((0.0, 0.0), &[4.0, 4.0], &[]);
        for (q, expected) in
            [(0.0, 0.5), (0.25, 0.5f64.sqrt()), (0.5, 1.0), (0.75, 2f64.sqrt()), (1.0, 2.0), (-0.1, f64::NEG_INFINITY)]
        {
            close(quantile(&histogram, q).value, expected);
        }
        let mirrored = exponential((0.0, 0.0), &[], &[4.0, 4.0]);
        close(quantile(&mirrored, 0.25).value, -(2f64.sqrt()));
        close(quantile(&mirrored, 0.75).value, -(0.5f64.sqrt()));
    }

    #[test]
    fn the_zero_bucket_is_linear_and_one_sided_where_the_other_side_is_empty() {
        close(quantile(&exponential((0.5, 4.0), &[4.0], &[]), 0.25).value, 0.25);
        close(quantile(&exponential((0.5, 4.0), &[], &[4.0]), 0.75).value, -0.25);
        close(quantile(&exponential((0.5, 4.0), &[], &[]), 0.25).value, -0.25);
        close(quantile(&exponential((0.5, 4.0), &[4.0], &[4.0]), 0.5).value, 0.0);
    }

    #[test]
    fn custom_buckets_are_linear_and_end_at_their_outermost_bounds() {
        let histogram = custom(&[5.0, 10.0], &[4.0, 4.0, 2.0]);
        for (q, expected) in [(0.2, 2.5), (0.4, 5.0), (0.6, 7.5), (0.9, 10.0), (1.0, 10.0)] {
            close(quantile(&histogram, q).value, expected);
        }
        close(quantile(&custom(&[-5.0, 10.0], &[4.0, 4.0]), 0.1).value, -5.0);
    }

    #[test]
    fn observations_of_nan_skew_quantiles_and_the_highest_are_nan() {
        let mut histogram = exponential((0.0, 0.0), &[4.0, 4.0], &[]);
        histogram.count = 10.0;
        histogram.sum = f64::NAN;
        let found = quantile(&histogram, 0.8);
        assert_eq!(found.nan, NanEffect::Skewed);
        close(found.value, 2.0);
        let found = quantile(&histogram, 0.9);
        assert!(found.value.is_nan() && found.nan == NanEffect::Result);
        assert!(quantile(&Histogram::default(), 0.5).value.is_nan());
    }

    #[test]
    fn fractions_are_the_inverse_of_quantiles() {
        let histogram = exponential((0.001, 2.0), &[3.0, 4.0, 5.0], &[2.0, 6.0]);
        for q in [0.01, 0.1, 0.3, 0.4, 0.55, 0.7, 0.99] {
            close(fraction(&histogram, f64::NEG_INFINITY, quantile(&histogram, q).value), q);
        }
        let histogram = custom(&[5.0, 10.0, 20.0], &[1.0, 2.0, 3.0]);
        for q in [0.01, 0.1, 0.3, 0.55, 0.99] {
            close(fraction(&histogram, f64::NEG_INFINITY, quantile(&histogram, q).value), q);
        }
    }

    #[test]
    fn fractions_at_the_edges() {
        let histogram = custom(&[5.0, 10.0, 15.0, 20.0], &[1.0, 6.0, 4.0, 3.0, 1.0]);
        close(fraction(&histogram, f64::NEG_INFINITY, 13.0) * 15.0, 9.4);
        close(fraction(&histogram, 15.0, f64::INFINITY) * 15.0, 4.0);
        close(fraction(&histogram, f64::NEG_INFINITY, 50.0) * 15.0, 14.0);
        assert_eq!(fraction(&histogram, 2.0, 1.0), 0.0);
        assert!(fraction(&histogram, f64::NAN, 1.0).is_nan());
        assert!(fraction(&Histogram::default(), 0.0, 1.0).is_nan());
    }

    #[test]
    fn deviations_use_the_middle_of_each_bucket() {
        // Two observations each at -sqrt(2), 0 and sqrt(2).
        let mut histogram = exponential((0.001, 2.0), &[0.0, 2.0], &[0.0, 2.0]);
        histogram.sum = 0.0;
        close(stdvar(&histogram), 4.0 / 3.0);
        close(stddev(&histogram), (4.0f64 / 3.0).sqrt());
        close(avg(&histogram), 0.0);
        close(geometric_mean(f64::MAX / 2.0, f64::MAX) / f64::MAX, 0.5f64.sqrt());
    }
}
