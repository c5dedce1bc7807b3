//! Native histograms of buckets: of counters the first, the last and both sides of every reset; of gauges the last and
//! the sum.

use super::buckets::bucket_end;
use crate::{
    model::{
        HistogramSample, ResetHint, TimeRange, Timestamp, is_stale,
        native::{add, compact, detect_reset},
    },
    store::tsdb::block::{Record, Weight},
};
use std::sync::Arc;

/// A histogram of a bucket, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub end: Timestamp,
    pub weight: Weight,
    pub sample: HistogramSample,
}

/// What is kept of histograms, which are in order of time.
pub fn kept_of(histograms: &[HistogramSample], resolution_ms: i64) -> Vec<Kept> {
    let mut kept = Vec::new();
    let end_of = |sample: &HistogramSample| bucket_end(sample.timestamp, resolution_ms);
    for bucket in histograms.chunk_by(|a, b| end_of(a) == end_of(b)) {
        keep(bucket, end_of(&bucket[0]), &mut kept);
    }
    kept
}

fn keep(bucket: &[HistogramSample], end: Timestamp, kept: &mut Vec<Kept>) {
    let mut put = |sample: &HistogramSample, samples: u32, is_sum: bool| {
        kept.push(Kept { end, weight: Weight { samples, is_sum }, sample: sample.clone() });
    };
    let numbers: Vec<&HistogramSample> = bucket.iter().filter(|sample| !is_stale(sample.histogram.sum)).collect();
    if let Some(last) = numbers.last() {
        let count = numbers.len();
        if last.histogram.reset_hint == ResetHint::Gauge {
            put(last, count as u32, false);
            if let Some(sum) = (count > 1).then(|| sum_of(&numbers)).flatten() {
                put(&sum, count as u32, true);
            }
        } else {
            let falls = |at: usize| at > 0 && detect_reset(&numbers[at].histogram, &numbers[at - 1].histogram);
            let is_side = |at: usize| falls(at) || at + 1 < count && falls(at + 1);
            let mut before = 0;
            for at in (0..count).filter(|at| *at == 0 || at + 1 == count || is_side(*at)) {
                put(numbers[at], (at + 1 - before) as u32, false);
                before = at + 1;
            }
        }
    }
    if let Some(marker) = bucket.last().filter(|sample| is_stale(sample.histogram.sum)) {
        put(marker, 0, false);
    }
}

/// The sum at the time of the last; `None` where their buckets have no bounds in common.
fn sum_of(samples: &[&HistogramSample]) -> Option<HistogramSample> {
    let (first, others) = samples.split_first()?;
    let mut sum = (*first.histogram).clone();
    for other in others {
        add(&mut sum, &other.histogram).ok()?;
    }
    compact(&mut sum);
    sum.reset_hint = ResetHint::Gauge;
    Some(HistogramSample { timestamp: samples.last()?.timestamp, histogram: Arc::new(sum) })
}

/// The histograms of a record of buckets that lie within `range`.
pub fn read_kept(record: &Record<'_>, range: TimeRange, resolution_ms: i64) -> Vec<Kept> {
    let mut kept = Vec::new();
    record.read_weighted_histograms(range, |timestamp, weight, histogram| {
        let sample = HistogramSample { timestamp, histogram: Arc::new(histogram) };
        kept.push(Kept { end: bucket_end(timestamp, resolution_ms), weight, sample });
    });
    kept
}

/// Whether each bucket has one histogram, which is kept as it is.
pub fn is_sparse(kept: &[Kept]) -> bool {
    let is_one = |kept: &Kept| kept.weight.samples <= 1 && !kept.weight.is_sum;
    kept.iter().all(is_one) && kept.windows(2).all(|pair| pair[0].end < pair[1].end)
}
