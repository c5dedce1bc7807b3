//! Buckets with their bounds.

use crate::model::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

/// One bucket: what it covers and how many observations it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

impl Bucket {
    /// Whether zero lies within or on a bound.
    pub fn holds_zero(&self) -> bool {
        self.lower <= 0.0 && self.upper >= 0.0
    }
}

/// Whether the bounds are given one by one.
pub fn uses_custom_buckets(histogram: &Histogram) -> bool {
    histogram.schema == CUSTOM_BUCKETS_SCHEMA
}

/// All buckets from the lowest to the highest, the zero bucket among them if it holds anything. Bounds that reach into
/// the zero bucket end at its edge.
pub fn all_buckets(histogram: &Histogram) -> impl DoubleEndedIterator<Item = Bucket> {
    all_buckets_with_edge(histogram, histogram.zero_threshold)
}

/// All buckets, those within `edge` of zero shortened to it.
pub(super) fn all_buckets_with_edge(histogram: &Histogram, edge: f64) -> impl DoubleEndedIterator<Item = Bucket> {
    let negative = Indexed::new(&histogram.negative_spans, &histogram.negative_buckets).rev();
    let negative = negative.map(move |(index, count)| {
        let upper = -bound(histogram, index - 1);
        let upper = if upper < 0.0 && upper > -edge { -edge } else { upper };
        let lower = -bound(histogram, index);
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    });
    let zero = (histogram.zero_count > 0.0).then_some(Bucket {
        lower: -histogram.zero_threshold,
        upper: histogram.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: histogram.zero_count,
    });
    let custom = uses_custom_buckets(histogram);
    let positive = Indexed::new(&histogram.positive_spans, &histogram.positive_buckets);
    let positive = positive.map(move |(index, count)| {
        let lower = bound(histogram, index - 1);
        let lower = if lower > 0.0 && lower < edge { edge } else { lower };
        let upper = bound(histogram, index);
        Bucket { lower, upper, lower_inclusive: custom && index == 0, upper_inclusive: true, count }
    });
    negative.chain(zero).chain(positive)
}

/// The upper bound of bucket `index`, as an absolute value for exponential buckets.
pub(super) fn bound(histogram: &Histogram, index: i64) -> f64 {
    if !uses_custom_buckets(histogram) {
        return exponential_bound(histogram.schema, index);
    }
    match usize::try_from(index) {
        Ok(index) => histogram.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

/// `2^(index / 2^schema)`
pub(super) fn exponential_bound(schema: i32, index: i64) -> f64 {
    // Exact for every index in use: a power of two divides without rounding.
    let exponent = index as f64 / 2f64.powi(schema);
    // The bucket of the largest floats ends with them, not at infinity, which has the bucket after it.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

/// Walks spans: the index of each bucket and its count. Ends where either spans or counts do.
#[derive(Debug, Clone)]
pub(super) struct Indexed<'a> {
    spans: &'a [Span],
    counts: &'a [f64],
    /// Of the next bucket from the front.
    front_index: i64,
    front_left: u32,
    /// One past the next bucket from the back.
    back_index: i64,
    back_left: u32,
}

impl<'a> Indexed<'a> {
    pub(super) fn new(spans: &'a [Span], counts: &'a [f64]) -> Indexed<'a> {
        let buckets: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        let counts = &counts[..counts.len().min(usize::try_from(buckets).unwrap_or(usize::MAX))];
        let mut walk = Indexed {
            spans,
            counts,
            front_index: spans.first().map_or(0, |span| i64::from(span.offset)),
            front_left: spans.first().map_or(0, |span| span.length),
            back_index: spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum(),
            back_left: spans.last().map_or(0, |span| span.length),
        };
        // Spans may promise more buckets than there are counts: those at the end do not exist.
        let mut surplus = buckets - walk.counts.len() as u64;
        while surplus > 0 && walk.enter_last_span() {
            let cut = surplus.min(u64::from(walk.back_left)) as u32;
            walk.back_left -= cut;
            walk.back_index -= i64::from(cut);
            surplus -= u64::from(cut);
        }
        walk
    }

    /// Drops spans at the end that are used up.
    fn enter_last_span(&mut self) -> bool {
        while self.back_left == 0 {
            let Some((last, rest)) = self.spans.split_last() else { return false };
            self.back_index -= i64::from(last.offset);
            self.spans = rest;
            self.back_left = rest.last().map_or(0, |span| span.length);
        }
        true
    }
}

impl Iterator for Indexed<'_> {
    type Item = (i64, f64);

    fn next(&mut self) -> Option<(i64, f64)> {
        let (count, rest) = self.counts.split_first()?;
        while self.front_left == 0 {
            let (_, spans) = self.spans.split_first()?;
            let span = spans.first()?;
            self.spans = spans;
            self.front_index += i64::from(span.offset);
            self.front_left = span.length;
        }
        self.counts = rest;
        self.front_left -= 1;
        self.front_index += 1;
        Some((self.front_index - 1, *count))
    }
}

impl DoubleEndedIterator for Indexed<'_> {
    fn next_back(&mut self) -> Option<(i64, f64)> {
        let (count, rest) = self.counts.split_last()?;
        if !self.enter_last_span() {
            return None;
        }
        self.counts = rest;
        self.back_left -= 1;
        self.back_index -= 1;
        Some((self.back_index, *count))
    }
}

/// Buckets in rising order of their index as spans and counts, neighbours in one span.
pub(super) fn encode(buckets: impl Iterator<Item = (i64, f64)>) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts) = (Vec::<Span>::new(), Vec::new());
    let mut next = 0i64;
    for (index, count) in buckets {
        match spans.last_mut() {
            Some(span) if index == next && span.length < u32::MAX => span.length += 1,
            _ => {
                // Gaps that wide come of malformed input only.
                let offset = i32::try_from(index - next).unwrap_or(i32::MAX);
                spans.push(Span { offset, length: 1 });
            }
        }
        counts.push(count);
        next = index + 1;
    }
    (spans, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans(list: &[(i32, u32)]) -> Vec<Span> {
        list.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
    }

    #[test]
    fn buckets_are_walked_from_the_lowest_to_the_highest_and_back() {
        let histogram = Histogram {
            schema: 0,
            zero_threshold: 0.6,
            zero_count: 5.0,
            positive_spans: spans(&[(0, 1), (0, 0), (1, 2)]),
            positive_buckets: vec![1.0, 2.0, 3.0],
            negative_spans: spans(&[(1, 1)]),
            negative_buckets: vec![4.0],
            ..Histogram::default()
        };
        let forward: Vec<Bucket> = all_buckets(&histogram).collect();
        let shown: Vec<(f64, f64, f64)> = forward.iter().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(shown, [(-2.0, -1.0, 4.0), (-0.6, 0.6, 5.0), (0.6, 1.0, 1.0), (2.0, 4.0, 2.0), (4.0, 8.0, 3.0)]);
        let mut backward: Vec<Bucket> = all_buckets(&histogram).rev().collect();
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn bounds_are_powers_of_the_base_up_to_the_largest_float() {
        assert_eq!(exponential_bound(0, 3), 8.0);
        assert_eq!(exponential_bound(-2, 1), 16.0);
        assert_eq!(exponential_bound(3, 1), 1.0905077326652577);
        assert_eq!(exponential_bound(8, 1), 1.0027112750502025);
        assert_eq!(exponential_bound(0, 1024), f64::MAX);
        assert_eq!(exponential_bound(0, 1025), f64::INFINITY);
        assert_eq!(exponential_bound(-4, 64), f64::MAX);
        assert_eq!(exponential_bound(0, -1074), 5e-324);
    }

    proptest! {
        #[test]
        fn any_spans_are_walked_alike_in_both_directions(
            list in prop::collection::vec((any::<i32>(), 0u32..5), 0..6),
            counts in prop::collection::vec(0.0..9.0, 0..20),
        ) {
            let spans = spans(&list);
            let forward: Vec<_> = Indexed::new(&spans, &counts).collect();
            let mut backward: Vec<_> = Indexed::new(&spans, &counts).rev().collect();
            backward.reverse();
            prop_assert_eq!(forward, backward);
        }

        #[test]
        fn encoded_buckets_are_walked_as_they_were(steps in prop::collection::vec((1i64..5, 0.0..9.0), 0..20)) {
            let mut index = -20;
            let buckets: Vec<(i64, f64)> = steps.iter().map(|(step, count)| { index += step; (index, *count) }).collect();
            let (spans, counts) = encode(buckets.iter().copied());
            prop_assert_eq!(Indexed::new(&spans, &counts).collect::<Vec<_>>(), buckets);
        }
    }
}
