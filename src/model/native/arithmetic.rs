//! Adding, subtracting and scaling.

use super::buckets::{Indexed, encode};
use super::layout::{Combined, MixedSchemas, combined_hint, common_layout, paired, project, same_layout};
use crate::model::{CountKind, Histogram, ResetHint, Span};

/// Adds `other`, at the finest boundaries both have. Buckets that become empty stay until [`compact`].
pub fn add(into: &mut Histogram, other: &Histogram) -> Result<Combined, MixedSchemas> {
    combine(into, other, |a, b| a + b)
}

/// Subtracts `other`. The difference keeps the reset hint of a sum; as the answer of `-` it is a gauge, which the
/// caller says.
pub fn sub(into: &mut Histogram, other: &Histogram) -> Result<Combined, MixedSchemas> {
    combine(into, other, |a, b| a - b)
}

/// Multiplies all counts and the sum. By a negative factor it becomes a gauge.
pub fn mul(histogram: &mut Histogram, factor: f64) {
    scale(histogram, |count| count * factor);
    if factor < 0.0 {
        histogram.reset_hint = ResetHint::Gauge;
    }
}

/// Divides all counts and the sum. By zero no buckets remain; by a negative number it becomes a gauge.
pub fn div(histogram: &mut Histogram, divisor: f64) {
    if divisor == 0.0 {
        histogram.positive_spans.clear();
        histogram.positive_buckets.clear();
        histogram.negative_spans.clear();
        histogram.negative_buckets.clear();
    }
    scale(histogram, |count| count / divisor);
    if divisor < 0.0 {
        histogram.reset_hint = ResetHint::Gauge;
    }
}

/// Removes empty buckets and joins spans that touch.
pub fn compact(histogram: &mut Histogram) {
    for (spans, counts) in [
        (&mut histogram.positive_spans, &mut histogram.positive_buckets),
        (&mut histogram.negative_spans, &mut histogram.negative_buckets),
    ] {
        let touching = spans.iter().skip(1).any(|span| span.offset == 0) || spans.iter().any(|span| span.length == 0);
        if touching || counts.contains(&0.0) {
            (*spans, *counts) = encode(Indexed::new(spans, counts).filter(|(_, count)| *count != 0.0));
        }
    }
}

/// Whether both hold the same, bit by bit, over the same buckets. Reset hints and the sender's kind of count do not
/// matter, nor how spans are cut.
pub fn equal(a: &Histogram, b: &Histogram) -> bool {
    let bits = |h: &Histogram| (h.count.to_bits(), h.sum.to_bits(), h.zero_count.to_bits());
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && bits(a) == bits(b)
        && a.custom_values == b.custom_values
        && same_buckets((&a.positive_spans, &a.positive_buckets), (&b.positive_spans, &b.positive_buckets))
        && same_buckets((&a.negative_spans, &a.negative_buckets), (&b.negative_spans, &b.negative_buckets))
}

fn same_buckets(a: (&[Span], &[f64]), b: (&[Span], &[f64])) -> bool {
    let bits = |(index, count): (i64, f64)| (index, count.to_bits());
    Indexed::new(a.0, a.1).map(bits).eq(Indexed::new(b.0, b.1).map(bits))
}

fn scale(histogram: &mut Histogram, by: impl Fn(f64) -> f64) {
    histogram.kind = CountKind::Float;
    let buckets = histogram.positive_buckets.iter_mut().chain(&mut histogram.negative_buckets);
    for count in buckets.chain([&mut histogram.count, &mut histogram.sum, &mut histogram.zero_count]) {
        *count = by(*count);
    }
}

fn combine(into: &mut Histogram, other: &Histogram, by: impl Fn(f64, f64) -> f64) -> Result<Combined, MixedSchemas> {
    let mut combined = Combined::default();
    if same_layout(into, other) {
        into.zero_count = by(into.zero_count, other.zero_count);
        for (count, other) in into.positive_buckets.iter_mut().zip(&other.positive_buckets) {
            *count = by(*count, *other);
        }
        for (count, other) in into.negative_buckets.iter_mut().zip(&other.negative_buckets) {
            *count = by(*count, *other);
        }
    } else {
        let layout = common_layout(into, other)?;
        let (left, right) = (project(into, &layout), project(other, &layout));
        let each = |(index, a, b)| (index, by(a, b));
        into.zero_count = by(left.zero_count, right.zero_count);
        (into.positive_spans, into.positive_buckets) = encode(paired(&left.positive, &right.positive).map(each));
        (into.negative_spans, into.negative_buckets) = encode(paired(&left.negative, &right.negative).map(each));
        into.schema = layout.schema;
        into.zero_threshold = layout.zero_threshold;
        if let Some(bounds) = layout.custom_values {
            into.custom_values = bounds;
            combined.bounds_reconciled = true;
        }
    }
    into.kind = CountKind::Float;
    into.count = by(into.count, other.count);
    into.sum = by(into.sum, other.sum);
    (into.reset_hint, combined.reset_conflict) = combined_hint(into.reset_hint, other.reset_hint);
    Ok(combined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CUSTOM_BUCKETS_SCHEMA;
    use proptest::prelude::*;

    fn exponential(schema: i32, zero: (f64, f64), offset: i32, counts: &[f64]) -> Histogram {
        Histogram {
            schema,
            zero_threshold: zero.0,
            zero_count: zero.1,
            count: zero.1 + counts.iter().sum::<f64>(),
            positive_spans: vec![Span { offset, length: counts.len() as u32 }],
            positive_buckets: counts.to_vec(),
            ..Histogram::default()
        }
    }

    fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: bounds.to_vec(),
            ..exponential(0, (0.0, 0.0), 0, counts)
        }
    }

    #[test]
    fn a_finer_schema_is_merged_into_the_coarser_one() {
        let mut sum = exponential(1, (0.001, 1.0), 1, &[1.0, 2.0, 3.0, 4.0]);
        add(&mut sum, &exponential(0, (0.001, 2.0), 1, &[10.0, 20.0])).unwrap();
        assert_eq!(sum.schema, 0);
        assert_eq!((sum.zero_count, sum.count), (3.0, 43.0));
        assert_eq!(sum.positive_buckets, [13.0, 27.0]);
        assert_eq!(sum.positive_spans, [Span { offset: 1, length: 2 }]);
    }

    #[test]
    fn a_wider_zero_bucket_swallows_what_lies_within_and_grows_to_a_boundary() {
        // 0.75 lies within (0.5, 1], which is populated: the zero bucket grows to 1.
        let mut sum = exponential(0, (0.001, 1.0), -1, &[4.0, 5.0, 6.0]);
        add(&mut sum, &exponential(0, (0.75, 2.0), 1, &[7.0])).unwrap();
        assert_eq!((sum.zero_threshold, sum.zero_count), (1.0, 12.0));
        assert_eq!(sum.positive_buckets, [13.0]);
        assert_eq!(sum.positive_spans, [Span { offset: 1, length: 1 }]);
    }

    #[test]
    fn gaps_are_filled_and_spans_joined() {
        let mut sum = exponential(0, (0.0, 0.0), 0, &[1.0]);
        add(&mut sum, &exponential(0, (0.0, 0.0), 5, &[2.0])).unwrap();
        assert_eq!(sum.positive_spans, [Span { offset: 0, length: 1 }, Span { offset: 4, length: 1 }]);
        add(&mut sum, &exponential(0, (0.0, 0.0), 1, &[1.0; 4])).unwrap();
        assert_eq!(sum.positive_spans, [Span { offset: 0, length: 6 }]);
        sub(&mut sum, &exponential(0, (0.0, 0.0), 2, &[1.0])).unwrap();
        compact(&mut sum);
        assert_eq!(sum.positive_spans, [Span { offset: 0, length: 2 }, Span { offset: 1, length: 3 }]);
        assert_eq!(sum.positive_buckets, [1.0, 1.0, 1.0, 1.0, 2.0]);
    }

    #[test]
    fn custom_bounds_are_reduced_to_those_in_both() {
        let mut difference = custom(&[3.0, 5.0, 7.0], &[100.0, 200.0, 300.0, 400.0]);
        let other = custom(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let combined = sub(&mut difference, &other).unwrap();
        assert!(combined.bounds_reconciled);
        assert_eq!(difference.custom_values, [3.0, 5.0, 7.0]);
        assert_eq!(difference.positive_buckets, [94.0, 191.0, 287.0, 383.0]);
        let mut disjoint = custom(&[1.0], &[1.0, 2.0]);
        add(&mut disjoint, &custom(&[2.0], &[3.0, 4.0])).unwrap();
        assert_eq!((disjoint.custom_values.len(), &disjoint.positive_buckets[..]), (0, &[10.0][..]));
        assert_eq!(add(&mut disjoint, &exponential(0, (0.0, 0.0), 0, &[1.0])), Err(MixedSchemas));
    }

    #[test]
    fn reset_hints_combine_and_may_conflict() {
        use ResetHint::*;
        for (a, b, hint, conflict) in [
            (Reset, Reset, Reset, false),
            (Gauge, Reset, Gauge, false),
            (NotReset, Unknown, Unknown, false),
            (Reset, NotReset, Unknown, true),
        ] {
            let mut sum = Histogram { reset_hint: a, ..exponential(0, (0.0, 0.0), 0, &[1.0]) };
            let other = Histogram { reset_hint: b, ..sum.clone() };
            assert_eq!(add(&mut sum, &other).unwrap().reset_conflict, conflict);
            assert_eq!(sum.reset_hint, hint);
        }
    }

    #[test]
    fn scaling_by_zero_and_below() {
        let mut histogram = exponential(0, (0.1, 2.0), 0, &[4.0]);
        mul(&mut histogram, -0.5);
        assert_eq!((histogram.count, histogram.reset_hint), (-3.0, ResetHint::Gauge));
        div(&mut histogram, -1.0);
        assert_eq!(histogram.positive_buckets, [2.0]);
        div(&mut histogram, 0.0);
        assert!(histogram.positive_buckets.is_empty() && histogram.count == f64::INFINITY);
    }

    #[test]
    fn equality_looks_at_buckets_not_at_spans() {
        let a = exponential(0, (0.1, 1.0), 0, &[1.0, 2.0]);
        let mut b = a.clone();
        b.positive_spans = vec![Span { offset: 0, length: 1 }, Span { offset: 0, length: 1 }];
        b.reset_hint = ResetHint::Gauge;
        assert!(equal(&a, &b));
        b.positive_spans[1].offset = 1;
        assert!(!equal(&a, &b));
    }

    fn any_histogram() -> impl Strategy<Value = Histogram> {
        let spans = || prop::collection::vec((-3i32..4, 0u32..4), 0..4);
        let counts = || prop::collection::vec((0u8..5).prop_map(f64::from), 0..10);
        let zero = (prop::sample::select(vec![0.0, 0.001, 0.3, 1.0, 3.0, f64::NAN]), 0u8..3);
        (-2i32..4, zero, spans(), counts(), spans(), counts()).prop_map(|(schema, zero, ps, pc, ns, nc)| {
            let spans = |list: Vec<(i32, u32)>| {
                let rising = |(at, (offset, length)): (usize, (i32, u32))| Span {
                    offset: if at == 0 { offset } else { offset.abs() },
                    length,
                };
                list.into_iter().enumerate().map(rising).collect()
            };
            Histogram {
                schema,
                zero_threshold: zero.0,
                zero_count: f64::from(zero.1),
                count: 9.0,
                positive_spans: spans(ps),
                positive_buckets: pc,
                negative_spans: spans(ns),
                negative_buckets: nc,
                ..Histogram::default()
            }
        })
    }

    fn population(histogram: &Histogram) -> f64 {
        let side = |spans, counts| Indexed::new(spans, counts).map(|(_, count)| count).sum::<f64>();
        histogram.zero_count
            + side(&histogram.positive_spans, &histogram.positive_buckets)
            + side(&histogram.negative_spans, &histogram.negative_buckets)
    }

    proptest! {
        #[test]
        fn no_observation_is_lost_or_counted_twice(a in any_histogram(), b in any_histogram()) {
            let mut sum = a.clone();
            prop_assert!(add(&mut sum, &b).is_ok());
            prop_assert_eq!(population(&sum), population(&a) + population(&b));
            let mut reversed = b.clone();
            prop_assert!(add(&mut reversed, &a).is_ok());
            compact(&mut sum);
            compact(&mut reversed);
            if !sum.zero_threshold.is_nan() && !reversed.zero_threshold.is_nan() {
                prop_assert!(equal(&sum, &reversed), "{:?}\n{:?}", sum, reversed);
            }
        }
    }
}
