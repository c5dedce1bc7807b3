//! Sums of many histograms, each number with its own Kahan-Neumaier compensation as Prometheus sums floats.

use super::buckets::encode;
use super::layout::{Combined, MixedSchemas, Projection, combined_hint, common_layout, paired, project, same_layout};
use crate::model::{CountKind, Histogram};

/// A running sum and the digits it has lost so far.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    total: Histogram,
    /// Over the same buckets as `total`; only counts and sum matter.
    lost: Histogram,
}

impl HistogramSum {
    /// Begins with one histogram.
    pub fn new(first: Histogram) -> HistogramSum {
        let mut lost = first.clone();
        super::mul(&mut lost, 0.0);
        // Infinity times zero is no number, and nothing is lost yet.
        let counts = lost.positive_buckets.iter_mut().chain(&mut lost.negative_buckets);
        for count in counts.chain([&mut lost.count, &mut lost.sum, &mut lost.zero_count]) {
            *count = 0.0;
        }
        HistogramSum { total: first, lost }
    }

    /// Adds one more, at the finest boundaries all have.
    pub fn add(&mut self, other: &Histogram) -> Result<Combined, MixedSchemas> {
        let mut combined = Combined::default();
        if !same_layout(&self.total, other) {
            combined.bounds_reconciled = self.add_buckets_elsewhere(other)?;
        } else {
            increase(&mut self.total.zero_count, &mut self.lost.zero_count, other.zero_count);
            let positive = self.total.positive_buckets.iter_mut().zip(&mut self.lost.positive_buckets);
            for ((count, lost), other) in positive.zip(&other.positive_buckets) {
                increase(count, lost, *other);
            }
            let negative = self.total.negative_buckets.iter_mut().zip(&mut self.lost.negative_buckets);
            for ((count, lost), other) in negative.zip(&other.negative_buckets) {
                increase(count, lost, *other);
            }
        }
        increase(&mut self.total.count, &mut self.lost.count, other.count);
        increase(&mut self.total.sum, &mut self.lost.sum, other.sum);
        self.total.kind = CountKind::Float;
        (self.total.reset_hint, combined.reset_conflict) = combined_hint(self.total.reset_hint, other.reset_hint);
        Ok(combined)
    }

    /// Adds another sum, its lost digits included.
    pub fn merge(&mut self, mut other: HistogramSum) -> Result<Combined, MixedSchemas> {
        let combined = self.add(&other.total)?;
        other.lost.reset_hint = self.total.reset_hint;
        self.add(&other.lost)?;
        Ok(combined)
    }

    /// The sum so far, without the lost digits.
    pub fn total(&self) -> &Histogram {
        &self.total
    }

    /// The sum with the lost digits put back.
    pub fn finish(self) -> Histogram {
        let HistogramSum { mut total, lost } = self;
        let counts = total.positive_buckets.iter_mut().zip(&lost.positive_buckets);
        for (count, lost) in counts.chain(total.negative_buckets.iter_mut().zip(&lost.negative_buckets)) {
            *count += lost;
        }
        total.zero_count += lost.zero_count;
        total.count += lost.count;
        total.sum += lost.sum;
        total
    }

    /// Brings the sum to the boundaries it has in common with `other` and adds the buckets there. Answers whether
    /// custom bounds were given up.
    fn add_buckets_elsewhere(&mut self, other: &Histogram) -> Result<bool, MixedSchemas> {
        let layout = common_layout(&self.total, other)?;
        let (total, lost) = (project(&self.total, &layout), project(&self.lost, &layout));
        let added = project(other, &layout);
        (self.total.zero_count, self.lost.zero_count) = (total.zero_count, lost.zero_count);
        increase(&mut self.total.zero_count, &mut self.lost.zero_count, added.zero_count);
        let side = |of: fn(&Projection) -> &[(i64, f64)]| {
            // What is lost lies over the same buckets as the total: both pairings walk the same indexes.
            let sums = paired(of(&total), of(&added)).zip(paired(of(&lost), of(&added)));
            let steps = sums.map(|((index, mut count, by), (_, mut lost, _))| {
                increase(&mut count, &mut lost, by);
                ((index, count), (index, lost))
            });
            steps.unzip::<_, _, Vec<_>, Vec<_>>()
        };
        let (positive, positive_lost) = side(|projection| &projection.positive[..]);
        let (negative, negative_lost) = side(|projection| &projection.negative[..]);
        let reconciled = layout.custom_values.is_some();
        for (histogram, positive, negative) in
            [(&mut self.total, positive, negative), (&mut self.lost, positive_lost, negative_lost)]
        {
            (histogram.positive_spans, histogram.positive_buckets) = encode(positive.into_iter());
            (histogram.negative_spans, histogram.negative_buckets) = encode(negative.into_iter());
            histogram.schema = layout.schema;
            histogram.zero_threshold = layout.zero_threshold;
            if let Some(bounds) = &layout.custom_values {
                histogram.custom_values.clone_from(bounds);
            }
        }
        Ok(reconciled)
    }
}

/// One step of Neumaier's summation.
fn increase(sum: &mut f64, lost: &mut f64, by: f64) {
    let next = *sum + by;
    *lost = if next.is_infinite() {
        0.0
    } else if sum.abs() >= by.abs() {
        *lost + ((*sum - next) + by)
    } else {
        *lost + ((by - next) + *sum)
    };
    *sum = next;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, ResetHint, Span};

    fn one(schema: i32, offset: i32, value: f64) -> Histogram {
        Histogram {
            schema,
            count: value,
            sum: value,
            zero_count: value,
            positive_spans: vec![Span { offset, length: 1 }],
            positive_buckets: vec![value],
            ..Histogram::default()
        }
    }

    #[test]
    fn small_parts_survive_a_large_one_even_when_buckets_change() {
        let mut sum = HistogramSum::new(one(1, 2, 1.0));
        for (schema, offset, value) in [(1, 2, 1e100), (0, 1, 1.0), (1, 4, 5.0), (1, 2, -1e100)] {
            assert_eq!(sum.add(&one(schema, offset, value)), Ok(Combined::default()));
        }
        let sum = sum.finish();
        assert_eq!((sum.schema, sum.count, sum.sum, sum.zero_count), (0, 7.0, 7.0, 7.0));
        assert_eq!(sum.positive_buckets, [2.0, 5.0]);
    }

    #[test]
    fn merged_sums_keep_what_each_had_lost() {
        let mut left = HistogramSum::new(one(0, 1, 1e100));
        left.add(&one(0, 1, 1.0)).unwrap();
        let mut right = HistogramSum::new(one(1, 1, -1e100));
        right.add(&Histogram { reset_hint: ResetHint::Reset, ..one(1, 1, 2.0) }).unwrap();
        assert_eq!(left.merge(right), Ok(Combined::default()));
        let sum = left.finish();
        assert_eq!((sum.count, sum.sum, sum.positive_buckets), (3.0, 3.0, vec![3.0]));
        let custom = Histogram { schema: CUSTOM_BUCKETS_SCHEMA, ..one(0, 0, 1.0) };
        assert_eq!(HistogramSum::new(custom).add(&one(0, 0, 1.0)), Err(MixedSchemas));
    }

    #[test]
    fn infinity_stays_infinite() {
        let mut sum = HistogramSum::new(one(0, 1, f64::INFINITY));
        sum.add(&one(0, 1, 1.0)).unwrap();
        assert_eq!(sum.finish().count, f64::INFINITY);
    }
}
