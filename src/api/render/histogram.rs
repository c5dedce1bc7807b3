//! A native histogram as the query API shows it: its buckets with their bounds, empty ones left out.

use crate::{
    model::{Histogram, number},
    promql::histogram::{Bucket, all_buckets},
};

/// Writes `{"count":"42","sum":"1.5","buckets":[[rule,"lower","upper","count"],...]}`.
pub fn push_histogram(out: &mut String, histogram: &Histogram) {
    out.push_str("{\"count\":");
    push_quoted(out, histogram.count);
    out.push_str(",\"sum\":");
    push_quoted(out, histogram.sum);
    let mut first = true;
    for bucket in all_buckets(histogram).filter(|bucket| bucket.count != 0.0) {
        out.push_str(if first { ",\"buckets\":[[" } else { ",[" });
        first = false;
        out.push(rule(bucket));
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(',');
            push_quoted(out, number);
        }
        out.push(']');
    }
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

/// Which bounds belong to the bucket: 0 the upper, 1 the lower, 2 none, 3 both.
fn rule(bucket: Bucket) -> char {
    match (bucket.lower_inclusive, bucket.upper_inclusive) {
        (false, true) => '0',
        (true, false) => '1',
        (false, false) => '2',
        (true, true) => '3',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, Span};

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
    fn custom_buckets_below_zero_end_with_their_upper_bound_and_a_zero_bucket_below_none_is_left_out() {
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            custom_values: vec![-10.0, -5.0],
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            ..Histogram::default()
        };
        assert_eq!(
            written(&histogram),
            "{\"count\":\"6\",\"sum\":\"0\",\"buckets\":[[3,\"-Inf\",\"-10\",\"1\"],[0,\"-10\",\"-5\",\"2\"],\
             [0,\"-5\",\"+Inf\",\"3\"]]}"
        );
        let negated = Histogram { count: -3.0, zero_count: -3.0, zero_threshold: 0.1, ..Histogram::default() };
        assert_eq!(written(&negated), r#"{"count":"-3","sum":"0"}"#);
    }
}
