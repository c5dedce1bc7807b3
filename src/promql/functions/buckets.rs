//! Quantiles and fractions of classic histograms: cumulative counts by upper bound.

use crate::model::number::format_plain;

/// How many observations were at most `upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub upper: f64,
    pub count: f64,
}

/// A quantile, and whether counts had to be raised so that they do not fall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketQuantile {
    pub value: f64,
    pub forced_monotonic: bool,
}

/// Differences smaller than this share of the count come from computing with floats, not from the data.
const TOLERANCE: f64 = 1e-12;

/// The quantile by linear interpolation within a bucket; the buckets are sorted by bound and will be changed.
pub fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> BucketQuantile {
    let plain = |value| BucketQuantile { value, forced_monotonic: false };
    if q.is_nan() {
        return plain(f64::NAN);
    }
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    let Some(forced_monotonic) = prepare(buckets) else { return plain(f64::NAN) };
    if buckets.len() < 2 {
        return plain(f64::NAN);
    }
    let last = buckets.len() - 1;
    let rank = q * buckets[last].count;
    let at = buckets[..last].partition_point(|b| b.count < rank);
    let value = if at == last {
        buckets[last - 1].upper
    } else if at == 0 && buckets[0].upper <= 0.0 {
        buckets[0].upper
    } else {
        let (start, before) = if at > 0 { (buckets[at - 1].upper, buckets[at - 1].count) } else { (0.0, 0.0) };
        let Bucket { upper, count } = buckets[at];
        start + (upper - start) * ((rank - before) / (count - before))
    };
    BucketQuantile { value, forced_monotonic }
}

/// The share of observations between two bounds, by linear interpolation within buckets.
pub fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if lower.is_nan() || upper.is_nan() || prepare(buckets).is_none() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let total = buckets[buckets.len() - 1].count;
    let (mut lower_rank, mut upper_rank) = (None, None);
    let mut rank = 0.0;
    for (index, bucket) in buckets.iter().enumerate() {
        let start = match index.checked_sub(1) {
            Some(before) => buckets[before].upper,
            None if bucket.upper > 0.0 => 0.0,
            None => f64::NEG_INFINITY,
        };
        let below = |bound: f64| {
            if start >= bound {
                Some(rank)
            } else if bucket.upper > bound {
                // Nothing is known of how values lie in a bucket with one bound.
                let open = start.is_infinite() || bucket.upper.is_infinite();
                let share = if open { 0.0 } else { (bound - start) / (bucket.upper - start) };
                Some(rank + (bucket.count - rank) * share)
            } else {
                None
            }
        };
        lower_rank = lower_rank.or_else(|| below(lower));
        upper_rank = upper_rank.or_else(|| below(upper));
        rank = bucket.count;
    }
    let capped = |rank: Option<f64>| rank.map_or(total, |rank| rank.min(total));
    (capped(upper_rank) - capped(lower_rank)) / total
}

/// Merges equal bounds and makes counts rise. Says whether they had to be forced; `None` where the buckets say
/// nothing: no bound at infinity, or no observation.
fn prepare(buckets: &mut Vec<Bucket>) -> Option<bool> {
    if buckets.last()?.upper != f64::INFINITY {
        return None;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let difference = (bucket.count - previous).abs();
        if difference == 0.0 {
            continue;
        }
        if difference / bucket.count <= TOLERANCE {
            bucket.count = previous;
        } else {
            previous = bucket.count;
        }
    }
    let (mut forced, mut most) = (false, buckets[0].count);
    for bucket in &mut buckets[1..] {
        if bucket.count > most {
            most = bucket.count;
        } else if bucket.count < most {
            bucket.count = most;
            forced = true;
        }
    }
    (most != 0.0).then_some(forced)
}

/// A quantile as a label value: `0.9`, `1.0`.
pub fn quantile_text(q: f64) -> String {
    let text = format_plain(q);
    if q.is_finite() && !text.contains('.') { format!("{text}.0") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut all = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)]);
        assert_eq!(quantile(0.5, &mut all).value, 1.0);
        assert_eq!(quantile(0.75, &mut all).value, 1.5);
        assert_eq!(quantile(1.0, &mut all).value, 2.0);
        assert_eq!(quantile(2.0, &mut all).value, f64::INFINITY);
    }

    #[test]
    fn falling_counts_are_raised_and_told() {
        let mut all = buckets(&[(1.0, 10.0), (2.0, 5.0), (f64::INFINITY, 10.0)]);
        assert!(quantile(0.5, &mut all).forced_monotonic);
        let mut noise = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (f64::INFINITY, 10.0)]);
        assert!(!quantile(0.5, &mut noise).forced_monotonic);
    }

    #[test]
    fn without_a_last_bucket_nothing_is_known() {
        assert!(quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 20.0)])).value.is_nan());
        assert!(quantile(0.5, &mut buckets(&[(f64::INFINITY, 20.0)])).value.is_nan());
    }

    #[test]
    fn a_fraction_undoes_a_quantile() {
        let mut all = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)]);
        assert_eq!(fraction(f64::NEG_INFINITY, 1.5, &mut all), 0.75);
        assert_eq!(fraction(1.0, 1.5, &mut all), 0.25);
        assert_eq!(fraction(2.0, 1.0, &mut all), 0.0);
    }

    #[test]
    fn quantile_labels_have_a_decimal_point() {
        assert_eq!((quantile_text(1.0), quantile_text(0.95)), ("1.0".into(), "0.95".into()));
    }
}
