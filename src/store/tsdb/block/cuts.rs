//! What tombstones take away of a block: its file is never changed, so what is deleted is cut out when it is read, until
//! a merge writes it without.
//!
//! A tombstone's matchers are resolved once for each block; reading then asks a set of numbers.

use super::reader::{Block, ClockCache};
use crate::{
    model::{Samples, TimeRange, Timestamp},
    stdx::bytes::take_varint_signed,
    store::tsdb::{
        block::series::SeriesHead,
        codec::skip_histogram,
        head::clock::stretches,
        log::Position,
        run::Run,
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
pub struct Weight {
    /// Float samples and histograms.
    pub samples: u64,
    /// Runs with something to say there.
    pub runs: u64,
    /// About what they take of the file.
    pub bytes: u64,
    /// The first and the last time of something.
    pub bounds: Option<(Timestamp, Timestamp)>,
}

impl Weight {
    pub fn is_nothing(&self) -> bool {
        self.samples == 0 && self.runs == 0
    }

    pub fn add(&mut self, other: &Weight) {
        self.samples += other.samples;
        self.runs += other.runs;
        self.bytes += other.bytes;
        let both = self.bounds.into_iter().chain(other.bounds);
        self.bounds = both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    }

    fn meet(&mut self, at: Timestamp) {
        self.add(&Weight { bounds: Some((at, at)), ..Weight::default() });
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
            let taken = self.weigh_all(series, &ranges, &clocks).unwrap_or_default();
            let whole = self.weigh(series, TimeRange::ALL, &clocks).unwrap_or_default();
            let has_runs = whole.runs > 0 && !self.runs_are_cut(series, &ranges);
            if taken.samples == whole.samples && !has_runs {
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

    fn cut_of(&self, tombstone: &Tombstone, clocks: &ClockCache) -> Option<Cut> {
        let range = tombstone.deletion.range;
        let covered = self.range().filter(|covered| covered.overlaps(range))?;
        let mut series = RoaringBitmap::new();
        for matchers in &tombstone.deletion.selectors {
            series |= self.index().find(matchers);
        }
        // Else every series has something there.
        if !contains(range, covered) {
            let meets = |number: &u32| self.weigh(*number, range, clocks).is_some_and(|weight| !weight.is_nothing());
            series = series.iter().filter(meets).collect();
        }
        (!series.is_empty()).then_some(Cut { position: tombstone.position, range, series })
    }

    fn weigh_all(&self, series: u32, ranges: &[TimeRange], clocks: &ClockCache) -> Option<Weight> {
        let mut sum = Weight::default();
        for range in ranges {
            sum.add(&self.weigh(series, *range, clocks)?);
        }
        Some(sum)
    }

    fn runs_are_cut(&self, series: u32, ranges: &[TimeRange]) -> bool {
        let mut left = Vec::new();
        let head = self.head(series).map(|(head, _)| head).unwrap_or_default();
        head.runs.iter().for_each(|run| run.cut(ranges, &mut left));
        left.is_empty()
    }

    /// What is left of a series within `range`, as [`Block::weigh`] tells it. Nothing where the record is damaged.
    pub fn weigh_left(&self, series: u32, range: TimeRange, clocks: &ClockCache) -> Weight {
        let cuts = self.cuts();
        if cuts.has_all_of(series) {
            return Weight::default();
        }
        let left = outside(range, &cuts.of(series).unwrap_or_default());
        self.weigh_all(series, &left, clocks).unwrap_or_default()
    }

    /// What the file has of a series within `range`, whether it is cut out or not. Decodes no value. `None` where the
    /// record is damaged.
    pub fn weigh(&self, series: u32, range: TimeRange, clocks: &ClockCache) -> Option<Weight> {
        let (head, mut bodies) = self.head(series)?;
        let SeriesHead { chunks, histograms, histograms_body, runs, .. } = head;
        let mut weight = Weight::default();
        for chunk in &chunks {
            bodies.split_off(..usize::try_from(chunk.body.length).ok()?)?;
            let placement = &chunk.placement;
            let clock = self.clock(clocks, placement.clock)?;
            let first = placement.first as usize;
            let clock = clock.get(first..first.checked_add(placement.ticks as usize)?)?;
            let time = |tick: &u32| self.footer.start.saturating_add(i64::from(*tick));
            let from = clock.partition_point(|tick| time(tick) < range.start()) as u32;
            let to = clock.partition_point(|tick| time(tick) <= range.end()) as u32;
            let mut within = 0u64;
            stretches(placement.ticks, &placement.gaps, |start, end| {
                let (start, end) = (start.max(from), end.min(to));
                if start < end {
                    within += u64::from(end - start);
                    [start, end - 1]
                        .into_iter()
                        .filter_map(|at| clock.get(at as usize))
                        .for_each(|at| weight.meet(time(at)));
                }
            });
            weight.samples += within;
            weight.bytes += chunk.body.length * within / u64::from(chunk.count.max(1));
        }
        if histograms > 0 {
            let body = bodies.split_off(..usize::try_from(histograms_body.length).ok()?)?;
            let mut within = 0;
            histogram_times(body, histograms, |at| {
                if range.contains(at) {
                    within += 1;
                    weight.meet(at);
                }
            })?;
            weight.samples += within;
            weight.bytes += histograms_body.length * within / histograms;
        }
        for run in &runs {
            let until = run.until(run.first);
            if run.says_something(range, until) {
                weight.runs += 1;
                weight.meet(run.first.min(until).max(range.start()));
                weight.meet(until.min(range.end()));
            }
        }
        Some(weight)
    }
}

/// Calls `visit` with the time of each of `count` histograms.
fn histogram_times(mut body: &[u8], count: u64, mut visit: impl FnMut(Timestamp)) -> Option<()> {
    for _ in 0..count {
        visit(take_varint_signed(&mut body)?);
        skip_histogram(&mut body)?;
    }
    Some(())
}
