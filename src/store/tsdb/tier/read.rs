//! Buckets as samples that stand for them.

use super::{
    buckets::{Begins, Cursor},
    choice::{Reading, Shape, fidelity},
    columns::{Column, Columns, columns_of},
    grid::read_grid,
    histograms::{Kept, read_kept},
    resets::points_between,
};
use crate::{
    model::{HistogramSample, STALE_NAN, Samples, TimeRange, Timestamp, native},
    store::{
        Fidelity,
        tsdb::{
            block::{ClockCache, Record, Weight},
            run::Run,
        },
    },
};
use std::{cell::RefCell, iter::zip, sync::Arc};

thread_local! {
    /// First and last values, counts and resets on their way to points: a question of a year reads these columns of each
    /// series from dozens of files.
    static COLUMNS: RefCell<[Samples; 4]> = RefCell::default();
}

/// Appends what stands for the samples of a series within `range`, with weights for all shapes but an instant, and to
/// `runs` the runs that ended there. Gives how it relates to the samples. A record of samples is read as it is.
///
/// Points lie at the times of first and last samples; they are in order of time for each column, staleness markers apart.
/// For an instant selector that is not aligned they lie on the grid instead: `range` may then reach behind the file as
/// far as what it has is visible, a part that follows it wins where it knows better.
pub fn read_tier(
    record: &Record<'_>,
    (range, resolution_ms): (TimeRange, i64),
    reading: &Reading,
    clocks: &ClockCache,
    samples: &mut Samples,
    runs: &mut Vec<Run>,
) -> Fidelity {
    let Some(columns) = columns_of(record) else {
        record.read_samples(range, clocks, samples, runs);
        samples.complete_weights();
        return Fidelity::Exact;
    };
    runs.extend_from_slice(record.runs());
    if reading.shape == Shape::Instant && !reading.aligned {
        read_grid(record, range, resolution_ms, reading, clocks, samples);
    } else {
        let reader = Reader { record, columns, range, resolution_ms, clocks };
        reader.read_floats(reading.shape, samples);
        reader.read_histograms(reading.shape, samples);
    }
    samples.complete_weights();
    fidelity(reading.shape, columns, reading.aligned)
}

struct Reader<'a> {
    record: &'a Record<'a>,
    columns: Columns,
    range: TimeRange,
    resolution_ms: i64,
    clocks: &'a ClockCache,
}

impl Reader<'_> {
    fn read_floats(&self, shape: Shape, samples: &mut Samples) {
        let has = |column| self.columns.has(column);
        match shape {
            Shape::Instant => self.append(Column::Last, samples),
            Shape::Last | Shape::Counts | Shape::Values => self.append_weighted(Column::Last, samples),
            Shape::Sums if has(Column::Sum) => self.append_weighted(Column::Sum, samples),
            Shape::Sums => self.append_pairs(samples, |pair| (pair.first + pair.last) / 2.0 * f64::from(pair.count)),
            Shape::Minima if has(Column::Min) => self.append_weighted(Column::Min, samples),
            Shape::Minima => self.append_pairs(samples, |pair| pair.first.min(pair.last)),
            Shape::Maxima if has(Column::Max) => self.append_weighted(Column::Max, samples),
            Shape::Maxima => self.append_pairs(samples, |pair| pair.first.max(pair.last)),
            Shape::Ends | Shape::Resets if has(Column::First) => self.append_ends(samples, true),
            Shape::Course if has(Column::First) => self.append_ends(samples, false),
            Shape::Ends | Shape::Resets | Shape::Course => self.append_weighted(Column::Last, samples),
        }
        let shows_ends = matches!(shape, Shape::Instant | Shape::Last | Shape::Values);
        if shows_ends && has(Column::Stale) {
            let mut stale = Vec::new();
            self.record.read_times(Column::Stale as u8, self.range, self.clocks, &mut stale);
            if shape != Shape::Instant {
                samples.weights.resize(samples.weights.len() + stale.len(), 0);
            }
            samples.values.resize(samples.values.len() + stale.len(), STALE_NAN);
            samples.timestamps.extend(stale);
        }
    }

    fn append(&self, column: Column, samples: &mut Samples) {
        self.record.read_column(column as u8, self.range, self.clocks, samples);
    }

    /// Appends a column that lies at the time of the last sample, and how many samples each bucket has. Where damage has
    /// taken one of them, the bucket is left out.
    fn append_weighted(&self, column: Column, samples: &mut Samples) {
        samples.weigh();
        let from = samples.values.len();
        self.append(column, samples);
        self.with_columns([Column::Count], |[counts]| {
            if samples.timestamps[from..] == counts.timestamps[..] {
                samples.weights.extend(counts.values.iter().map(|count| *count as u32));
                return;
            }
            let (times, values) = (samples.timestamps.split_off(from), samples.values.split_off(from));
            let mut counts = Cursor::new(counts);
            for (at, value) in zip(times, values) {
                if let Some(count) = counts.at(at) {
                    samples.push(at, value);
                    samples.weights.push(count as u32);
                }
            }
        });
    }

    /// Reads up to four columns into buffers that this thread keeps.
    fn with_columns<const N: usize>(&self, columns: [Column; N], work: impl FnOnce([&Samples; N])) {
        const { assert!(N <= 4, "there are four buffers") };
        COLUMNS.with_borrow_mut(|buffers| {
            for (buffer, column) in buffers.iter_mut().zip(columns) {
                buffer.clear();
                self.append(column, buffer);
            }
            work(std::array::from_fn(|at| &buffers[at]));
        });
    }

    /// Calls `visit` with each bucket that has a first value, a last one, or both within the range. Before that makes room
    /// in `samples` for `points` of each.
    fn each_pair(&self, samples: &mut Samples, points: usize, mut visit: impl FnMut(&mut Samples, Pair)) {
        self.with_columns(
            [Column::First, Column::Last, Column::Count, Column::Resets],
            |[first, last, counts, resets]| {
                let room = points * last.values.len().max(first.values.len());
                samples.timestamps.reserve(room);
                samples.values.reserve(room);
                samples.weights.reserve(room);
                let (mut counts, mut resets) = (Cursor::new(counts), Cursor::new(resets));
                let mut firsts = zip(&first.timestamps, &first.values).map(|(at, value)| (*at, *value)).peekable();
                let alone = |(at, value): (Timestamp, f64)| {
                    let (first_at, last_at, first, last) = (at, at, value, value);
                    Pair { first_at, first, last_at, last, count: 1, resets: None, is_cut: false }
                };
                let mut begins = Begins::new(self.resolution_ms);
                for (last_at, last) in zip(&last.timestamps, &last.values) {
                    let (last_at, last, begin) = (*last_at, *last, begins.of(*last_at));
                    while let Some(first) = firsts.next_if(|(at, _)| *at <= begin) {
                        visit(samples, alone(first));
                    }
                    let Some(count) = counts.at(last_at) else { continue };
                    let first = firsts.next_if(|(at, _)| *at <= last_at);
                    let (first_at, first, is_cut) =
                        first.map_or((last_at, last, true), |(at, value)| (at, value, false));
                    let (count, resets) = (count as u32, resets.at(last_at));
                    visit(samples, Pair { first_at, first, last_at, last, count, resets, is_cut });
                }
                firsts.for_each(|first| visit(samples, alone(first)));
            },
        );
    }

    /// Appends a value made of the first and the last of each bucket, at the time of the last.
    fn append_pairs(&self, samples: &mut Samples, value: impl Fn(&Pair) -> f64) {
        samples.weigh();
        self.each_pair(samples, 1, |samples, pair| {
            samples.push(pair.last_at, value(&pair));
            samples.weights.push(pair.count);
        });
    }

    /// Appends the first and the last value of each bucket and, between them, what lets resets come out right.
    fn append_ends(&self, samples: &mut Samples, with_resets: bool) {
        samples.weigh();
        let range = self.range;
        self.each_pair(samples, 2, |samples, pair| {
            let mut put = |at: Timestamp, value: f64, weight: u32| {
                if range.contains(at) {
                    samples.push(at, value);
                    samples.weights.push(weight);
                }
            };
            if pair.first_at < pair.last_at {
                put(pair.first_at, pair.first, 1);
                // Most buckets have no fall in them.
                if with_resets && (pair.resets.is_some() || pair.last < pair.first) {
                    let room = (pair.last_at - pair.first_at - 1).min(3) as usize;
                    let between = points_between(pair.first, pair.resets, pair.last, room);
                    between.into_iter().zip(1..).for_each(|(value, ms)| put(pair.first_at + ms, value, 0));
                }
            }
            let others = u32::from(pair.first_at < pair.last_at || pair.is_cut);
            put(pair.last_at, pair.last, pair.count.saturating_sub(others).max(1));
        });
    }

    fn read_histograms(&self, shape: Shape, samples: &mut Samples) {
        let histograms = Columns::HISTOGRAMS.with(Columns::GAUGE_HISTOGRAMS);
        if !self.columns.overlaps(histograms) {
            return;
        }
        let weighted = shape != Shape::Instant;
        if weighted {
            samples.weigh_histograms();
        }
        let mut put = |sample: HistogramSample, weight: u32| {
            samples.histograms.push(sample);
            if weighted {
                samples.histogram_weights.push(weight);
            }
        };
        let kept = read_kept(self.record, self.range, self.resolution_ms);
        for bucket in kept.chunk_by(|a, b| a.end == b.end) {
            match shape {
                Shape::Ends | Shape::Resets | Shape::Course => {
                    let points = bucket.iter().filter(|kept| !kept.weight.is_sum);
                    points.for_each(|kept| put(kept.sample.clone(), kept.weight.samples));
                }
                Shape::Sums => sums_of(bucket, &mut put),
                _ => {
                    let points = bucket.iter().filter(|kept| !kept.weight.is_sum);
                    let total = points.clone().map(|kept| kept.weight.samples).fold(0, u32::saturating_add);
                    let is_marker = |kept: &&Kept| kept.weight.samples == 0;
                    let last = points.clone().rfind(|kept| !is_marker(kept));
                    last.into_iter().for_each(|kept| put(kept.sample.clone(), total));
                    points.clone().filter(is_marker).for_each(|kept| put(kept.sample.clone(), 0));
                }
            }
        }
    }
}

/// Gives the sum of a bucket; of counters, whose sum nobody kept, each that was kept as often as it stands for others.
fn sums_of(bucket: &[Kept], put: &mut impl FnMut(HistogramSample, u32)) {
    if let Some(sum) = bucket.iter().find(|kept| kept.weight.is_sum) {
        return put(sum.sample.clone(), sum.weight.samples);
    }
    for Kept { weight: Weight { samples, .. }, sample, .. } in bucket.iter().filter(|kept| kept.weight.samples > 0) {
        if *samples == 1 {
            put(sample.clone(), 1);
            continue;
        }
        let mut histogram = (*sample.histogram).clone();
        native::mul(&mut histogram, f64::from(*samples));
        put(HistogramSample { timestamp: sample.timestamp, histogram: Arc::new(histogram) }, *samples);
    }
}

/// What a bucket of a counter has.
struct Pair {
    first_at: Timestamp,
    first: f64,
    last_at: Timestamp,
    last: f64,
    count: u32,
    resets: Option<f64>,
    /// The range begins between the two: the first stands for the last.
    is_cut: bool,
}
