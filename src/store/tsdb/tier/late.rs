//! What comes late: it fills empty buckets only, so that importing it twice changes nothing.

use super::{buckets::bucket_end, columns::Column};
use crate::{
    model::{Samples, TimeRange, Timestamp},
    store::tsdb::block::{Block, ClockCache},
};

/// The ends of the buckets of a series that have something and overlap `range`, in order. No value is decoded.
pub fn filled_buckets(
    block: &Block,
    series: u32,
    range: TimeRange,
    resolution_ms: i64,
    clocks: &ClockCache,
) -> Vec<Timestamp> {
    let Some(record) = block.record_of(series) else { return Vec::new() };
    // A bucket that the range cuts may have its samples outside.
    let start = range.start().saturating_sub(resolution_ms);
    let Some(wide) = TimeRange::new(start, range.end().saturating_add(resolution_ms)) else { return Vec::new() };
    let mut times = Vec::new();
    if record.has_columns() {
        for column in [Column::Last, Column::Stale] {
            record.read_times(column as u8, wide, clocks, &mut times);
        }
        record.read_weighted_histograms(wide, |at, _, _| times.push(at));
    } else {
        record.read_times(0, wide, clocks, &mut times);
        let mut samples = Samples::default();
        if record.has_histograms() {
            block.read(series, wide, clocks, &mut samples, &mut Vec::new());
        }
        times.extend(samples.histograms.iter().map(|sample| sample.timestamp));
    }
    times.iter_mut().for_each(|at| *at = bucket_end(*at, resolution_ms));
    times.sort_unstable();
    times.dedup();
    let (first, last) = (bucket_end(range.start(), resolution_ms), bucket_end(range.end(), resolution_ms));
    times.retain(|end| (first..=last).contains(end));
    times
}

/// Removes the samples from `floats` and `histograms` on that lie in one of the `filled` buckets.
pub fn drop_filled(
    samples: &mut Samples,
    (floats, histograms): (usize, usize),
    filled: &[Timestamp],
    resolution_ms: i64,
) {
    let is_filled = |at: Timestamp| filled.binary_search(&bucket_end(at, resolution_ms)).is_ok();
    let keeps: Vec<bool> = samples.timestamps[floats..].iter().map(|at| !is_filled(*at)).collect();
    keep_from(&mut samples.timestamps, floats, &keeps);
    keep_from(&mut samples.values, floats, &keeps);
    keep_from(&mut samples.weights, floats, &keeps);
    let keeps: Vec<bool> = samples.histograms[histograms..].iter().map(|at| !is_filled(at.timestamp)).collect();
    keep_from(&mut samples.histograms, histograms, &keeps);
    keep_from(&mut samples.histogram_weights, histograms, &keeps);
}

/// Keeps of the items from `from` on those that are marked; where there are none, nothing.
fn keep_from<T>(items: &mut Vec<T>, from: usize, keeps: &[bool]) {
    let mut at = 0;
    items.retain(|_| {
        at += 1;
        at <= from || keeps.get(at - 1 - from).copied().unwrap_or(true)
    });
}
