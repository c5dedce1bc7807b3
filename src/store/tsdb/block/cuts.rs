//! What tombstones take away of a block: its file is never changed, so what is deleted is cut out when it is read, until
//! a merge writes it without.
//!
//! A tombstone's matchers are resolved once for each block; reading then asks a set of numbers.

use super::reader::{Block, ClockCache};
use crate::{
    model::{Samples, TimeRange, Timestamp},
    stdx::bytes::{take_varint, take_varint_signed},
    store::tsdb::{
        block::series::{Chunk, SeriesHead},
        codec::skip_histogram,
        head::clock::stretches,
        log::Position,
        run::Run,
        tier::bucket_end,
        tombstones::{Tombstone, Tombstones},
    },
};
use roaring::RoaringBitmap;
use std::sync::{Arc, atomic::Ordering};

/// What is cut out of the series of one block.
#[derive(Debug, Default)]
pub struct Cuts {
    /// The newest tombstone that was looked at; `None` before any was.
    through: Option<Position>,
    list: Vec<Arc<Cut>>,
    /// Series of which nothing is left.
    gone: RoaringBitmap,
    /// About what is cut out, in bytes of the file.
    pub bytes: u64,
}

/// What one tombstone takes.
#[derive(Debug)]
struct Cut {
    position: Position,
    range: TimeRange,
    series: RoaringBitmap,
}

/// What is stored within a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Float samples and histograms.
    pub samples: u64,
    /// Buckets, in a file of such. One of several kinds of values counts once.
    pub buckets: u64,
    /// Runs with something to say there.
    pub runs: u64,
    /// About what they take of the file.
    pub bytes: u64,
    /// Everything but runs: what is looked at to see whether all of it is within.
    points: u64,
    /// The first and the last time of something.
    pub bounds: Option<(Timestamp, Timestamp)>,
}

impl Stored {
    /// So many samples, in so many bytes.
    pub fn of_samples(samples: u64, bytes: u64) -> Stored {
        Stored { samples, bytes, points: samples, ..Stored::default() }
    }

    pub fn is_nothing(&self) -> bool {
        self.points == 0 && self.runs == 0
    }

    pub fn add(&mut self, other: &Stored) {
        self.samples += other.samples;
        self.buckets += other.buckets;
        self.points += other.points;
        self.runs += other.runs;
        self.bytes += other.bytes;
        let both = self.bounds.into_iter().chain(other.bounds);
        self.bounds = both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    }

    fn meet(&mut self, at: Timestamp) {
        self.add(&Stored { bounds: Some((at, at)), ..Stored::default() });
    }
}

impl Cuts {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether nothing of a series is left.
    pub fn has_all_of(&self, series: u32) -> bool {
        self.gone.contains(series)
    }

    pub fn gone(&self) -> &RoaringBitmap {
        &self.gone
    }

    /// Whether the tombstone of that position takes something.
    pub fn is_of(&self, position: Position) -> bool {
        self.list.iter().any(|cut| cut.position == position)
    }

    /// How many tombstones take something.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// What is cut out of a series, in order of time and apart; `None` where nothing is.
    pub fn of(&self, series: u32) -> Option<Vec<TimeRange>> {
        if self.list.is_empty() {
            return None;
        }
        let ranges = self.list.iter().filter(|cut| cut.series.contains(series)).map(|cut| cut.range);
        let ranges = apart(ranges.collect());
        (!ranges.is_empty()).then_some(ranges)
    }
}

fn contains(range: TimeRange, inner: TimeRange) -> bool {
    range.contains(inner.start()) && range.contains(inner.end())
}

/// Ranges in order of time, joined where they meet.
fn apart(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.sort_by_key(|range| range.start());
    ranges.dedup_by(|next, held| {
        let meets = next.start() <= held.end().saturating_add(1);
        if meets && let Some(both) = TimeRange::new(held.start(), held.end().max(next.end())) {
            *held = both;
        }
        meets
    });
    ranges
}

/// What of `range` lies in none of `ranges`, which are in order of time and apart.
fn outside(range: TimeRange, ranges: &[TimeRange]) -> Vec<TimeRange> {
    let mut start = Some(range.start());
    let mut left = Vec::new();
    for cut in ranges {
        let until = cut.start().checked_sub(1).map(|end| end.min(range.end()));
        left.extend(start.zip(until).and_then(|(start, until)| TimeRange::new(start, until)));
        start = start.zip(cut.end().checked_add(1)).map(|(start, next)| start.max(next));
    }
    left.extend(start.and_then(|start| TimeRange::new(start, range.end())));
    left
}

/// Takes `ranges` out of what stands behind `floats` and `histograms`.
pub fn cut_samples(samples: &mut Samples, floats: usize, histograms: usize, ranges: &[TimeRange]) {
    let is_cut = |at: Timestamp| ranges.iter().any(|range| range.contains(at));
    let mut kept = floats;
    for at in floats..samples.timestamps.len() {
        if !is_cut(samples.timestamps[at]) {
            (samples.timestamps[kept], samples.values[kept]) = (samples.timestamps[at], samples.values[at]);
            kept += 1;
        }
    }
    samples.timestamps.truncate(kept);
    samples.values.truncate(kept);
    let mut index = 0;
    samples.histograms.retain(|sample| {
        index += 1;
        index <= histograms || !is_cut(sample.timestamp)
    });
}

/// Takes `ranges` out of the runs that stand behind `before`.
pub fn cut_runs(runs: &mut Vec<Run>, before: usize, ranges: &[TimeRange]) {
    let whole = runs.split_off(before);
    whole.iter().for_each(|run| run.cut(ranges, runs));
}

impl Block {
    /// What is cut out of it now.
    pub fn cuts(&self) -> Arc<Cuts> {
        self.cuts.read().clone()
    }

    /// Finds out what `tombstones` take of it. Costs a look at each series they speak of, so it is asked while no lock
    /// is held, and [`Block::cut`] then has nothing left to do.
    pub fn cuts_by(&self, tombstones: &Tombstones) -> Arc<Cuts> {
        let held = self.cuts();
        let through = tombstones.position_max();
        if held.through >= through {
            return held;
        }
        let Cuts { list, gone, bytes, .. } = &*held;
        let mut cuts = Cuts { through, list: list.clone(), gone: gone.clone(), bytes: *bytes };
        let concerns = |position| held.through < Some(position) && self.footer.sealed_through <= position;
        let clocks = self.clock_cache();
        let (mut partly, mut wholly) = (RoaringBitmap::new(), RoaringBitmap::new());
        for tombstone in tombstones.iter().filter(|tombstone| concerns(tombstone.position)) {
            let Some(cut) = self.cut_of(tombstone, &clocks) else { continue };
            if self.range().is_some_and(|covered| contains(cut.range, covered)) {
                wholly |= &cut.series;
            } else {
                partly |= &cut.series;
            }
            cuts.list.push(Arc::new(cut));
        }
        wholly -= &cuts.gone;
        cuts.gone |= &wholly;
        partly -= &cuts.gone;
        cuts.bytes += wholly.iter().map(|series| self.series_extent(series)).sum::<u64>();
        for series in &partly {
            let ranges = cuts.of(series).unwrap_or_default();
            let taken = self.sum(series, &ranges, &clocks).unwrap_or_default();
            let whole = self.weigh(series, TimeRange::ALL, &clocks).unwrap_or_default();
            if taken.points == whole.points && self.runs_are_cut(series, &ranges) {
                cuts.gone.insert(series);
                cuts.bytes += self.series_extent(series);
            } else {
                cuts.bytes += taken.bytes;
            }
        }
        Arc::new(cuts)
    }

    /// Takes away what was found by [`Block::cuts_by`].
    pub fn cut(&self, cuts: Arc<Cuts>) {
        let is_cut = !cuts.is_empty();
        *self.cuts.write() = cuts;
        self.is_cut.store(is_cut, Ordering::Release);
    }

    /// What is cut out of a series, in order of time and apart.
    pub(super) fn cuts_of(&self, series: u32) -> Vec<TimeRange> {
        if !self.is_cut.load(Ordering::Acquire) {
            return Vec::new();
        }
        let cuts = self.cuts();
        if cuts.has_all_of(series) { vec![TimeRange::ALL] } else { cuts.of(series).unwrap_or_default() }
    }

    /// The range with all of the buckets that it overlaps: a bucket of which something is deleted goes whole.
    fn in_buckets(&self, range: TimeRange) -> TimeRange {
        let (first, last) =
            (bucket_end(range.start(), self.resolution_ms), bucket_end(range.end(), self.resolution_ms));
        TimeRange::new(first.saturating_sub(self.resolution_ms - 1), last).unwrap_or(range)
    }

    /// The same for what is cut out of a series of buckets.
    pub(super) fn all_in_buckets(&self, ranges: &[TimeRange]) -> Vec<TimeRange> {
        apart(ranges.iter().map(|range| self.in_buckets(*range)).collect())
    }

    fn cut_of(&self, tombstone: &Tombstone, clocks: &ClockCache) -> Option<Cut> {
        let range = tombstone.deletion.range;
        let covered = self.range().filter(|covered| covered.overlaps(self.in_buckets(range)))?;
        let mut series = RoaringBitmap::new();
        for matchers in &tombstone.deletion.selectors {
            series |= self.index().find(matchers);
        }
        // Else every series has something there.
        if !contains(range, covered) {
            let meets = |number: &u32| self.weigh(*number, range, clocks).is_some_and(|stored| !stored.is_nothing());
            series = series.iter().filter(meets).collect();
        }
        (!series.is_empty()).then_some(Cut { position: tombstone.position, range, series })
    }

    fn runs_are_cut(&self, series: u32, ranges: &[TimeRange]) -> bool {
        let mut left = Vec::new();
        let head = self.head(series).map(|(head, _)| head).unwrap_or_default();
        head.runs.iter().for_each(|run| run.cut(ranges, &mut left));
        left.is_empty()
    }

    /// What is left of a series within `range`, as [`Block::weigh`] tells it. Nothing where the record is damaged.
    pub fn weigh_left(&self, series: u32, range: TimeRange, clocks: &ClockCache) -> Stored {
        let cuts = self.cuts_of(series);
        if cuts.is_empty() {
            return self.weigh(series, range, clocks).unwrap_or_default();
        }
        let Some((head, bodies)) = self.head(series) else { return Stored::default() };
        let points = match head.has_columns {
            true => outside(self.in_buckets(range), &self.all_in_buckets(&cuts)),
            false => outside(range, &cuts),
        };
        let mut left = Stored::default();
        for range in points {
            left.add(&self.points_in(&head, bodies, range, clocks).unwrap_or_default());
        }
        let mut runs = head.runs;
        cut_runs(&mut runs, 0, &cuts);
        left.add(&runs_in(&runs, range));
        left
    }

    /// What the file has of a series within ranges that are apart.
    fn sum(&self, series: u32, ranges: &[TimeRange], clocks: &ClockCache) -> Option<Stored> {
        let (head, bodies) = self.head(series)?;
        let mut sum = Stored::default();
        let points = if head.has_columns { self.all_in_buckets(ranges) } else { ranges.to_vec() };
        for range in points {
            sum.add(&self.points_in(&head, bodies, range, clocks)?);
        }
        ranges.iter().for_each(|range| sum.add(&runs_in(&head.runs, *range)));
        Some(sum)
    }

    /// What the file has of a series within `range`, or in the buckets that it overlaps, whether it is cut out or not.
    /// Decodes no value. `None` where the record is damaged.
    pub fn weigh(&self, series: u32, range: TimeRange, clocks: &ClockCache) -> Option<Stored> {
        self.sum(series, &[range], clocks)
    }

    fn points_in(&self, head: &SeriesHead, mut bodies: &[u8], range: TimeRange, clocks: &ClockCache) -> Option<Stored> {
        let mut stored = Stored::default();
        let mut of_column = 0;
        for (index, chunk) in head.chunks.iter().enumerate() {
            bodies.split_off(..usize::try_from(chunk.body.length).ok()?)?;
            let within = self.ticks_in(chunk, range, clocks, &mut stored)?;
            stored.points += within;
            stored.bytes += chunk.body.length * within / u64::from(chunk.count.max(1));
            if !head.has_columns {
                stored.samples += within;
                continue;
            }
            // A column may have several chunks, which follow one another.
            let is_same = index > 0 && head.chunks[index - 1].column == chunk.column;
            of_column = if is_same { of_column + within } else { within };
            stored.buckets = stored.buckets.max(of_column);
        }
        if head.histograms > 0 {
            let body = bodies.split_off(..usize::try_from(head.histograms_body.length).ok()?)?;
            let mut within = 0;
            histogram_times(body, head.histograms, head.has_columns, |at| {
                if range.contains(at) {
                    within += 1;
                    stored.meet(at);
                }
            })?;
            stored.points += within;
            stored.bytes += head.histograms_body.length * within / head.histograms;
            if head.has_columns { stored.buckets += within } else { stored.samples += within }
        }
        Some(stored)
    }

    /// How many values a chunk has within a range; their first and last times are added to `stored`.
    fn ticks_in(&self, chunk: &Chunk, range: TimeRange, clocks: &ClockCache, stored: &mut Stored) -> Option<u64> {
        let placement = &chunk.placement;
        let clock = self.clock(clocks, placement.clock)?;
        let first = placement.first as usize;
        let clock = clock.get(first..first.checked_add(placement.ticks as usize)?)?;
        let time = |tick: &u32| self.footer.start.saturating_add(i64::from(*tick));
        let from = clock.partition_point(|tick| time(tick) < range.start()) as u32;
        let to = clock.partition_point(|tick| time(tick) <= range.end()) as u32;
        let mut within = 0;
        stretches(placement.ticks, &placement.gaps, |start, end| {
            let (start, end) = (start.max(from), end.min(to));
            if start < end {
                within += u64::from(end - start);
                let ends = [start, end - 1].into_iter().filter_map(|at| clock.get(at as usize));
                ends.for_each(|tick| stored.meet(time(tick)));
            }
        });
        Some(within)
    }
}

fn runs_in(runs: &[Run], range: TimeRange) -> Stored {
    let mut stored = Stored::default();
    for run in runs {
        let until = run.until(run.first);
        if run.says_something(range, until) {
            stored.runs += 1;
            stored.meet(run.first.min(until).max(range.start()));
            stored.meet(until.min(range.end()));
        }
    }
    stored
}

/// Calls `visit` with the time of each of `count` histograms.
fn histogram_times(mut body: &[u8], count: u64, has_weights: bool, mut visit: impl FnMut(Timestamp)) -> Option<()> {
    for _ in 0..count {
        visit(take_varint_signed(&mut body)?);
        if has_weights {
            take_varint(&mut body)?;
        }
        skip_histogram(&mut body)?;
    }
    Some(())
}
