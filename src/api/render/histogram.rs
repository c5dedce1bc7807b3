//! A native histogram as the query API shows it: its buckets with their bounds, empty ones left out.

use crate::model::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span, number};

/// One bucket as shown.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    lower: f64,
    upper: f64,
    count: f64,
}

/// Writes `{"count":"42","sum":"1.5","buckets":[[rule,"lower","upper","count"],...]}`.
pub fn push_histogram(out: &mut String, histogram: &Histogram) {
    out.push_str("{\"count\":");
    push_quoted(out, histogram.count);
    out.push_str(",\"sum\":");
    push_quoted(out, histogram.sum);
    let mut first = true;
    for_each_bucket(histogram, |bucket| {
        out.push_str(if first { ",\"buckets\":[[" } else { ",[" });
        first = false;
        out.push(rule(bucket));
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(',');
            push_quoted(out, number);
        }
        out.push(']');
    });
    if !first {
        out.push(']');
    }
    out.push('}');
}

fn push_quoted(out: &mut String, value: f64) {
    out.push('"');
    number::push_json(out, value);
    out.push('"');
}

/// Which bounds belong to the bucket: 0 the upper, 1 the lower, 2 none, 3 both. A bound away from zero does.
fn rule(bucket: Bucket) -> char {
    match (bucket.lower < 0.0, bucket.upper > 0.0) {
        (false, true) => '0',
        (true, false) => '1',
        (false, false) => '2',
        (true, true) => '3',
    }
}

/// Calls `each` for every bucket that is not empty, from the lowest up.
fn for_each_bucket(histogram: &Histogram, mut each: impl FnMut(Bucket)) {
    let mut shown = |bucket: Bucket| {
        if bucket.count != 0.0 {
            each(bucket);
        }
    };
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        let bounds = &histogram.custom_values;
        let bound = |index: i64| match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => bounds.get(index).copied().unwrap_or(f64::INFINITY),
        };
        for (index, count) in indexed(&histogram.positive_spans, &histogram.positive_buckets) {
            shown(Bucket { lower: bound(index - 1), upper: bound(index), count });
        }
        return;
    }
    let schema = histogram.schema;
    let negative: Vec<(i64, f64)> = indexed(&histogram.negative_spans, &histogram.negative_buckets).collect();
    for (index, count) in negative.into_iter().rev() {
        shown(Bucket { lower: -exponential_bound(schema, index), upper: -exponential_bound(schema, index - 1), count });
    }
    let threshold = histogram.zero_threshold;
    shown(Bucket { lower: -threshold, upper: threshold, count: histogram.zero_count });
    for (index, count) in indexed(&histogram.positive_spans, &histogram.positive_buckets) {
        shown(Bucket { lower: exponential_bound(schema, index - 1), upper: exponential_bound(schema, index), count });
    }
}

/// Buckets with their index, which spans give.
fn indexed<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i64, f64)> + 'a {
    let mut next = 0i64;
    let indexes = spans.iter().flat_map(move |span| {
        let from = next + i64::from(span.offset);
        next = from + i64::from(span.length);
        from..next
    });
    indexes.zip(counts.iter().copied())
}

/// `2^(index * 2^-schema)`, by halves so that whole powers are exact.
fn exponential_bound(schema: i32, index: i64) -> f64 {
    let schema = schema.clamp(-4, 8);
    if schema <= 0 {
        let exponent = index.saturating_mul(1 << -schema).clamp(-1_100, 1_100);
        return 2f64.powi(exponent as i32);
    }
    let steps = 1i64 << schema;
    let whole = index.div_euclid(steps).clamp(-1_100, 1_100);
    let part = index.rem_euclid(steps) as f64 / steps as f64;
    2f64.powf(part) * 2f64.powi(whole as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(histogram: &Histogram) -> String {
        let mut out = String::new();
        push_histogram(&mut out, histogram);
        out
    }

    #[test]
    fn buckets_stand_from_the_lowest_up_and_empty_ones_are_left_out() {
        let histogram = Histogram {
            schema: 0,
            count: 12.0,
            sum: 1.5,
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![1.0, 0.0, 4.0],
            negative_spans: vec![Span { offset: 1, length: 2 }],
            negative_buckets: vec![3.0, 2.0],
            ..Histogram::default()
        };
        assert_eq!(
            written(&histogram),
            "{\"count\":\"12\",\"sum\":\"1.5\",\"buckets\":[[1,\"-4\",\"-2\",\"2\"],[1,\"-2\",\"-1\",\"3\"],\
             [3,\"-0.001\",\"0.001\",\"2\"],[0,\"0.5\",\"1\",\"1\"],[0,\"4\",\"8\",\"4\"]]}"
        );
    }

    #[test]
    fn custom_bounds_and_no_bucket_at_all() {
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 3.0,
            sum: 4.0,
            custom_values: vec![1.0, 2.5],
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 0.0, 2.0],
            ..Histogram::default()
        };
        assert_eq!(
            written(&histogram),
            r#"{"count":"3","sum":"4","buckets":[[3,"-Inf","1","1"],[0,"2.5","+Inf","2"]]}"#
        );
        assert_eq!(written(&Histogram::default()), r#"{"count":"0","sum":"0"}"#);
    }

    #[test]
    fn bounds_are_powers_of_two() {
        assert_eq!(exponential_bound(0, 3), 8.0);
        assert_eq!(exponential_bound(1, 2), 2.0);
        assert_eq!(exponential_bound(8, -256), 0.5);
        assert_eq!(exponential_bound(-2, 1), 16.0);
        assert!((exponential_bound(2, 1) - 2f64.powf(0.25)).abs() < 1e-15);
        assert_eq!(exponential_bound(-4, i64::MAX), f64::INFINITY);
    }
}
