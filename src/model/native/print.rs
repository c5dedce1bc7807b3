//! Histograms as text.

use super::buckets::Bucket;
use crate::model::Histogram;
use crate::model::number::format_general;
use std::fmt::{Display, Formatter, Result};

/// `{count:3, sum:4.5, [-0.001,0.001]:1, (1,2]:2}`
impl Display for Histogram {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{{count:{}, sum:{}", format_general(self.count), format_general(self.sum))?;
        for bucket in all_buckets_unclipped(self).filter(|bucket| bucket.count != 0.0) {
            let opening = if bucket.lower_inclusive { '[' } else { '(' };
            let closing = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (format_general(bucket.lower), format_general(bucket.upper));
            write!(f, ", {opening}{lower},{upper}{closing}:{}", format_general(bucket.count))?;
        }
        f.write_str("}")
    }
}

/// In text, buckets show their full width even where the zero bucket covers part of it.
fn all_buckets_unclipped(histogram: &Histogram) -> impl Iterator<Item = Bucket> {
    super::buckets::all_buckets_with_edge(histogram, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, Span};

    #[test]
    fn buckets_print_with_their_bounds() {
        let histogram = Histogram {
            count: 9.5,
            sum: -1_500_000.0,
            zero_threshold: 0.75,
            zero_count: 2.0,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 0.0, 2.5],
            negative_spans: vec![Span { offset: 1, length: 1 }],
            negative_buckets: vec![4.0],
            ..Histogram::default()
        };
        assert_eq!(histogram.to_string(), "{count:9.5, sum:-1.5e+06, [-2,-1):4, [-0.75,0.75]:2, (0.5,1]:1, (2,4]:2.5}");
    }

    #[test]
    fn the_first_custom_bucket_begins_at_minus_infinity() {
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            sum: 7.0,
            custom_values: vec![5.0, 10.0],
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            ..Histogram::default()
        };
        assert_eq!(histogram.to_string(), "{count:6, sum:7, [-Inf,5]:1, (5,10]:2, (10,+Inf]:3}");
    }
}
