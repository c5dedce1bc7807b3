//! Instant selectors whose times are not the edges of buckets: at each time what was visible at the last edge.

use super::{
    choice::Reading,
    columns::Column,
    histograms::{Kept, read_kept},
};
use crate::{
    model::{HistogramSample, STALE_NAN, Samples, TimeRange, Timestamp, is_stale},
    store::tsdb::block::{ClockCache, Record},
};

/// The last of a sorted list that is at or before a time which only grows.
struct Newest<'a, T> {
    items: &'a [T],
    time: fn(&T) -> Timestamp,
    at: usize,
}

impl<'a, T> Newest<'a, T> {
    fn new(items: &'a [T], time: fn(&T) -> Timestamp) -> Newest<'a, T> {
        Newest { items, time, at: 0 }
    }

    fn until(&mut self, edge: Timestamp, after: Timestamp) -> Option<(Timestamp, &'a T)> {
        self.at += self.items[self.at..].iter().take_while(|item| (self.time)(item) <= edge).count();
        let found = &self.items[self.at.checked_sub(1)?];
        Some(((self.time)(found), found)).filter(|(at, _)| *at > after)
    }
}

/// Appends, for each time of the grid within `range`, what was visible at the edge at or before it: nothing is said of
/// times in between, which buckets do not know. A staleness marker says that nothing was visible any more.
pub fn read_grid(
    record: &Record<'_>,
    range: TimeRange,
    resolution_ms: i64,
    reading: &Reading,
    clocks: &ClockCache,
    samples: &mut Samples,
) {
    let Some(first) = first_time(range, reading) else { return };
    let edge_of = |at: Timestamp| at.saturating_sub(at.rem_euclid(resolution_ms));
    let oldest = edge_of(first).saturating_sub(reading.lookback_ms);
    let Some(seen) = TimeRange::new(oldest, range.end()) else { return };
    let (mut last, mut stale) = (Samples::default(), Vec::new());
    record.read_column(Column::Last as u8, seen, clocks, &mut last);
    record.read_times(Column::Stale as u8, seen, clocks, &mut stale);
    let mut kept = read_kept(record, seen, resolution_ms);
    kept.retain(|kept| !kept.weight.is_sum);
    let points: Vec<(Timestamp, f64)> = last.timestamps.iter().copied().zip(last.values.iter().copied()).collect();
    let mut points = Newest::new(&points, |point| point.0);
    let mut stale = Newest::new(&stale, |at| *at);
    let mut histograms = Newest::new(&kept, |kept: &Kept| kept.sample.timestamp);
    let (mut next, mut shown) = (Some(first), false);
    while let Some(at) = next.filter(|at| *at <= range.end()) {
        next = at.checked_add(reading.step_ms).filter(|next| *next > at);
        let edge = edge_of(at);
        let after = edge.saturating_sub(reading.lookback_ms);
        let point = points.until(edge, after);
        let ended = stale.until(edge, after).map(|(at, _)| at);
        let histogram = histograms.until(edge, after);
        let histogram = histogram.filter(|(at, _)| point.is_none_or(|(other, _)| other < *at));
        let newest = histogram.map(|(at, _)| at).or(point.map(|(at, _)| at));
        match (histogram, point) {
            (Some((seen, kept)), _)
                if ended.is_none_or(|ended| ended < seen) && !is_stale(kept.sample.histogram.sum) =>
            {
                samples.histograms.push(HistogramSample { timestamp: at, histogram: kept.sample.histogram.clone() });
                shown = true;
            }
            (None, Some((seen, (_, value)))) if ended.is_none_or(|ended| ended < seen) => {
                samples.push(at, *value);
                shown = true;
            }
            _ if shown || ended.is_some() || newest.is_some() => samples.push(at, STALE_NAN),
            _ => {}
        }
    }
}

/// The first time of the grid within the range.
fn first_time(range: TimeRange, reading: &Reading) -> Option<Timestamp> {
    let Reading { first_ms, step_ms, .. } = *reading;
    if first_ms >= range.start() {
        return Some(first_ms).filter(|at| range.contains(*at));
    }
    if step_ms <= 0 {
        return None;
    }
    let behind = i128::from(range.start()) - i128::from(first_ms);
    let step = i128::from(step_ms);
    let at = i128::from(first_ms) + (behind + step - 1) / step * step;
    i64::try_from(at).ok().filter(|at| range.contains(*at))
}
