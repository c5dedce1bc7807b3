//! What a protobuf says of a native histogram, checked and turned into a [`Histogram`].

use crate::model::{CUSTOM_BUCKETS_SCHEMA, CountKind, Histogram, ResetHint, Span};

/// The finest schema that is stored; finer ones are merged down to it.
const SCHEMA_MAX: i32 = 8;
/// Schemas a sender may use.
const SCHEMAS_EXPONENTIAL: std::ops::RangeInclusive<i32> = -4..=52;

/// Bucket counts as sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WireHistogram {
    pub kind: CountKind,
    pub count: f64,
    pub sum: f64,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub negative_spans: Vec<Span>,
    /// Integer kind: the first count, then differences to the bucket before.
    pub negative_deltas: Vec<i64>,
    /// Float kind: absolute.
    pub negative_counts: Vec<f64>,
    pub positive_spans: Vec<Span>,
    pub positive_deltas: Vec<i64>,
    pub positive_counts: Vec<f64>,
    pub reset_hint: ResetHint,
    pub custom_values: Vec<f64>,
}

/// A native histogram that contradicts itself.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    #[error("histogram schema {0} is unknown; use -4 to 52, or -53 for custom buckets")]
    Schema(i32),
    #[error("histogram spans describe {spans} {side} buckets but {buckets} are given")]
    SpanBuckets { side: &'static str, spans: u64, buckets: usize },
    #[error("histogram {side} span number {span} has the negative offset {offset}")]
    SpanOffset { side: &'static str, span: usize, offset: i32 },
    #[error("histogram {side} bucket number {bucket} has the negative count {count}")]
    NegativeBucket { side: &'static str, bucket: usize, count: f64 },
    #[error("histogram has a negative {0}")]
    NegativeCount(&'static str),
    #[error("histogram buckets hold {buckets} observations but its count is {count}")]
    Count { buckets: f64, count: f64 },
    #[error("histogram custom bounds must be finite and strictly rising, and only schema -53 has them")]
    CustomBounds,
    #[error("histogram with custom buckets has {buckets} buckets in spans for {bounds} bounds")]
    CustomBuckets { buckets: u64, bounds: usize },
    #[error("histogram with custom buckets must have neither negative buckets nor a zero bucket")]
    CustomSides,
    #[error("histogram bucket indexes are out of range")]
    Index,
}

impl WireHistogram {
    /// Checks everything and gives absolute bucket counts at a schema of at most 8.
    pub fn into_histogram(self) -> Result<Histogram, HistogramError> {
        let integer = self.kind == CountKind::Integer;
        let positive_buckets = if integer { sum_deltas(&self.positive_deltas) } else { self.positive_counts };
        let negative_buckets = if integer { sum_deltas(&self.negative_deltas) } else { self.negative_counts };
        let mut histogram = Histogram {
            kind: self.kind,
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive_spans: self.positive_spans,
            positive_buckets,
            negative_spans: self.negative_spans,
            negative_buckets,
            custom_values: self.custom_values,
        };
        check(&histogram)?;
        if histogram.schema > SCHEMA_MAX {
            let shift = histogram.schema - SCHEMA_MAX;
            merge(&mut histogram.positive_spans, &mut histogram.positive_buckets, shift)?;
            merge(&mut histogram.negative_spans, &mut histogram.negative_buckets, shift)?;
            histogram.schema = SCHEMA_MAX;
        }
        Ok(histogram)
    }
}

fn sum_deltas(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0i64;
    let absolute = deltas.iter().map(|delta| {
        count = count.wrapping_add(*delta);
        count as f64
    });
    absolute.collect()
}

fn check(histogram: &Histogram) -> Result<(), HistogramError> {
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        check_custom(histogram)?;
    } else if !SCHEMAS_EXPONENTIAL.contains(&histogram.schema) {
        return Err(HistogramError::Schema(histogram.schema));
    } else if !histogram.custom_values.is_empty() {
        return Err(HistogramError::CustomBounds);
    }
    let positive = check_side("positive", &histogram.positive_spans, &histogram.positive_buckets)?;
    let negative = check_side("negative", &histogram.negative_spans, &histogram.negative_buckets)?;
    for (name, value) in [("count", histogram.count), ("zero bucket", histogram.zero_count)] {
        if value < 0.0 {
            return Err(HistogramError::NegativeCount(name));
        }
    }
    let buckets = positive + negative + histogram.zero_count;
    // Float counts are sums of roundings: only whole numbers can be asked to agree. Observations of NaN are in the
    // count and in no bucket.
    let agrees = match histogram.kind {
        CountKind::Float => true,
        CountKind::Integer if histogram.sum.is_nan() => buckets <= histogram.count,
        CountKind::Integer => buckets == histogram.count,
    };
    if agrees { Ok(()) } else { Err(HistogramError::Count { buckets, count: histogram.count }) }
}

fn check_custom(histogram: &Histogram) -> Result<(), HistogramError> {
    let bounds = &histogram.custom_values;
    if bounds.iter().any(|bound| !bound.is_finite()) || bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(HistogramError::CustomBounds);
    }
    if !histogram.negative_spans.is_empty() || !histogram.negative_buckets.is_empty() || histogram.zero_count != 0.0 {
        return Err(HistogramError::CustomSides);
    }
    let mut end = 0i64;
    for span in &histogram.positive_spans {
        end += i64::from(span.offset) + i64::from(span.length);
    }
    let first_negative = histogram.positive_spans.first().is_some_and(|span| span.offset < 0);
    if first_negative || end > bounds.len() as i64 + 1 {
        return Err(HistogramError::CustomBuckets { buckets: end.max(0) as u64, bounds: bounds.len() });
    }
    Ok(())
}

/// Checks one side and gives the sum of its buckets.
fn check_side(side: &'static str, spans: &[Span], buckets: &[f64]) -> Result<f64, HistogramError> {
    let negative = spans.iter().enumerate().skip(1).find(|(_, span)| span.offset < 0);
    if let Some((span, Span { offset, .. })) = negative {
        return Err(HistogramError::SpanOffset { side, span: span + 1, offset: *offset });
    }
    let described: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if described != buckets.len() as u64 {
        return Err(HistogramError::SpanBuckets { side, spans: described, buckets: buckets.len() });
    }
    let mut sum = 0.0;
    for (bucket, &count) in buckets.iter().enumerate() {
        if count < 0.0 {
            return Err(HistogramError::NegativeBucket { side, bucket: bucket + 1, count });
        }
        sum += count;
    }
    Ok(sum)
}

/// Merges buckets so that each new one covers `2^shift` old ones.
fn merge(spans: &mut Vec<Span>, buckets: &mut Vec<f64>, shift: i32) -> Result<(), HistogramError> {
    let mut merged: Vec<(i32, f64)> = Vec::new();
    let (mut index, mut at) = (0i64, 0usize);
    for span in spans.iter() {
        index += i64::from(span.offset);
        for &count in &buckets[at..at + span.length as usize] {
            let wide = i32::try_from(((index - 1) >> shift) + 1).map_err(|_| HistogramError::Index)?;
            match merged.last_mut() {
                Some((last, sum)) if *last == wide => *sum += count,
                _ => merged.push((wide, count)),
            }
            index += 1;
        }
        at += span.length as usize;
    }
    spans.clear();
    buckets.clear();
    let mut end = 0i64;
    for (index, count) in merged {
        let gap = i32::try_from(i64::from(index) - end).map_err(|_| HistogramError::Index)?;
        match spans.last_mut() {
            Some(span) if gap == 0 => span.length += 1,
            _ => spans.push(Span { offset: gap, length: 1 }),
        }
        buckets.push(count);
        end = i64::from(index) + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(deltas: &[i64], spans: &[(i32, u32)], count: f64) -> WireHistogram {
        WireHistogram {
            kind: CountKind::Integer,
            count,
            positive_spans: spans.iter().map(|&(offset, length)| Span { offset, length }).collect(),
            positive_deltas: deltas.to_vec(),
            ..WireHistogram::default()
        }
    }

    #[test]
    fn deltas_become_absolute_counts() {
        let histogram = integer(&[1, 2, -1], &[(0, 2), (1, 1)], 6.0).into_histogram().unwrap();
        assert_eq!(histogram.positive_buckets, [1.0, 3.0, 2.0]);
    }

    #[test]
    fn fine_schemas_are_merged_down_to_eight() {
        let wire = WireHistogram { schema: 9, ..integer(&[1, 0, 0, 0], &[(0, 3), (2, 1)], 4.0) };
        let histogram = wire.into_histogram().unwrap();
        // Buckets 0, 1, 2 and 5 of schema 9 are 0, 1, 1 and 3 of schema 8.
        assert_eq!(histogram.schema, 8);
        assert_eq!(histogram.positive_spans, [Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }]);
        assert_eq!(histogram.positive_buckets, [1.0, 2.0, 1.0]);
    }

    #[test]
    fn contradictions_are_refused() {
        let check = |wire: WireHistogram| wire.into_histogram().unwrap_err().to_string();
        assert!(check(integer(&[1, 1], &[(0, 2)], 9.0)).contains("hold 3 observations but its count is 9"));
        assert!(check(integer(&[1, 1], &[(0, 3)], 3.0)).contains("describe 3 positive buckets but 2 are given"));
        assert!(check(integer(&[1], &[(0, u32::MAX), (0, u32::MAX)], 3.0)).contains("describe 8589934590"));
        assert!(check(integer(&[1, -2], &[(0, 2)], 0.0)).contains("bucket number 2 has the negative count -1"));
        assert!(check(integer(&[1, 0], &[(0, 1), (-1, 1)], 2.0)).contains("span number 2 has the negative offset -1"));
        assert!(check(WireHistogram { schema: 53, ..integer(&[], &[], 0.0) }).contains("schema 53 is unknown"));
        let custom = |values: &[f64]| WireHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: values.to_vec(),
            ..integer(&[1, 0], &[(0, 2)], 2.0)
        };
        assert!(custom(&[1.0]).into_histogram().is_ok());
        assert!(check(custom(&[])).contains("2 buckets in spans for 0 bounds"));
        assert!(check(custom(&[2.0, 1.0])).contains("strictly rising"));
        assert!(check(WireHistogram { zero_count: 1.0, ..custom(&[1.0]) }).contains("neither negative"));
    }

    #[test]
    fn observations_of_nan_may_be_in_no_bucket() {
        assert!(WireHistogram { sum: f64::NAN, ..integer(&[1], &[(0, 1)], 3.0) }.into_histogram().is_ok());
        assert!(WireHistogram { sum: f64::NAN, ..integer(&[4], &[(0, 1)], 3.0) }.into_histogram().is_err());
    }
}
