//! One series within one window: chunks on clocks, and what does not fit them.

use super::{
    clock::{Clock, Gaps, stretches},
    mixed::Yielding,
    values::ValueColumn,
};
use crate::{
    model::{Histogram, HistogramSample, Samples, TimeRange, Timestamp},
    store::{SeriesId, tsdb::run::Run},
};
use std::sync::Arc;

/// Samples on one clock: ticks `first..first + ticks` except `gaps`.
#[derive(Debug, Default)]
pub struct Chunk {
    pub clock: u32,
    pub first: u32,
    pub ticks: u32,
    /// Boxed, because most chunks have none.
    pub gaps: Option<Box<Gaps>>,
    pub values: ValueColumn,
}

/// A sample that came after a later one of its series.
#[derive(Debug, Clone, Copy)]
pub struct Late {
    pub offset: u32,
    pub value: f64,
}

/// What most series do not have.
#[derive(Debug, Default)]
pub struct Extra {
    /// Chunks before the current one, on clocks the series has left.
    pub closed: Vec<Chunk>,
    /// Unsorted, each offset once. They win over a sample of the same time in a chunk.
    pub late: Vec<Late>,
    /// In order of time.
    pub histograms: Vec<(Timestamp, Arc<Histogram>)>,
    /// Closed runs that ended in this window; they may have begun long before.
    pub runs: Vec<Run>,
    /// Of a column that overwrites, the samples that do not.
    pub yielding: Yielding,
}

#[derive(Debug)]
pub struct Column {
    pub series: SeriesId,
    /// Its samples replace those of the same time, also ones that were sealed before, but for those that yield.
    pub overwrites: bool,
    pub chunk: Chunk,
    pub extra: Option<Box<Extra>>,
}

impl Chunk {
    pub fn is_empty(&self) -> bool {
        self.ticks == 0
    }

    /// Offset of the newest sample; the last tick of a chunk is never a gap.
    pub fn last_offset(&self, clocks: &[Clock]) -> Option<u32> {
        let last = (self.first + self.ticks).checked_sub(1).filter(|_| self.ticks > 0)?;
        clocks[self.clock as usize].ticks.get(last as usize).copied()
    }

    /// Ticks without a sample.
    pub fn missing(&self) -> u32 {
        self.gaps.as_ref().map_or(0, |gaps| gaps.iter().map(|(_, length)| length).sum())
    }

    /// Skips ticks up to `tick` and appends a value there.
    pub fn push_at(&mut self, tick: u32, value: f64) {
        let skipped = tick - (self.first + self.ticks);
        if skipped > 0 {
            self.gaps.get_or_insert_default().push((self.ticks, skipped));
            self.ticks += skipped;
        }
        self.ticks += 1;
        self.values.push(value);
    }

    /// Appends all samples within `range` to `samples`.
    pub fn read(&self, window: Timestamp, clock: &[u32], range: TimeRange, samples: &mut Samples) {
        read_ticks(
            window,
            clock,
            (self.first, self.ticks),
            self.gaps.as_deref().map_or(&[], Vec::as_slice),
            range,
            samples,
            |out| {
                self.values.read(out);
                Some(())
            },
        );
    }

    pub fn heap_bytes(&self) -> usize {
        self.values.heap_bytes() + self.gaps.as_ref().map_or(0, |gaps| gaps.capacity() * 8 + 24)
    }
}

/// Appends the samples of a chunk, in memory or on disk, that lie in `range`. `decode` appends all its values.
/// `None` where it fails or the ticks do not fit the clock.
pub fn read_ticks(
    window: Timestamp,
    clock: &[u32],
    (first, ticks): (u32, u32),
    gaps: &[(u32, u32)],
    range: TimeRange,
    samples: &mut Samples,
    decode: impl FnOnce(&mut Vec<f64>) -> Option<()>,
) -> Option<()> {
    let clock = clock.get(first as usize..(first as usize).checked_add(ticks as usize)?)?;
    let (Some(oldest), Some(newest)) = (clock.first(), clock.last()) else { return Some(()) };
    let (oldest, newest) = (window + i64::from(*oldest), window + i64::from(*newest));
    if newest < range.start() || range.end() < oldest {
        return Some(());
    }
    let before = samples.values.len();
    if decode(&mut samples.values).is_none() {
        samples.values.truncate(before);
        return None;
    }
    let times = samples.timestamps.len();
    stretches(ticks, gaps, |from, to| {
        let ticks = &clock[from as usize..to as usize];
        samples.timestamps.extend(ticks.iter().map(|offset| window + i64::from(*offset)));
    });
    if samples.values.len() - before != samples.timestamps.len() - times {
        samples.values.truncate(before);
        samples.timestamps.truncate(times);
        return None;
    }
    if oldest < range.start() || range.end() < newest {
        let added = &samples.timestamps[times..];
        let to = added.partition_point(|at| *at <= range.end());
        let from = added.partition_point(|at| *at < range.start()).min(to);
        samples.timestamps.truncate(times + to);
        samples.values.truncate(before + to);
        samples.timestamps.drain(times..times + from);
        samples.values.drain(before..before + from);
    }
    Some(())
}

impl Column {
    pub fn new(series: SeriesId) -> Column {
        Column { series, overwrites: false, chunk: Chunk::default(), extra: None }
    }

    /// Whether there may be anything in it.
    pub fn is_filled(&self) -> bool {
        self.extra.is_some() || !self.chunk.is_empty()
    }

    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Closes the current chunk and begins one on another clock.
    pub fn start_chunk(&mut self, clock: u32, tick: u32) {
        let chunk = Chunk { clock, first: tick, ..Chunk::default() };
        let before = std::mem::replace(&mut self.chunk, chunk);
        if !before.is_empty() {
            self.extra().closed.push(before);
        }
    }

    /// The value at an offset, wherever it is kept: for the rare sample that may be a duplicate.
    pub fn value_at(&self, window: Timestamp, clocks: &[Clock], offset: u32) -> Option<f64> {
        let at = window + i64::from(offset);
        let range = TimeRange::new(at, at)?;
        let late = self.extra.as_ref().and_then(|e| e.late.iter().rev().find(|late| late.offset == offset));
        if let Some(late) = late {
            return Some(late.value);
        }
        let mut samples = Samples::default();
        for chunk in self.chunks() {
            chunk.read(window, &clocks[chunk.clock as usize].ticks, range, &mut samples);
        }
        samples.values.first().copied()
    }

    /// Closed chunks first, so in order of time.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        let closed = self.extra.as_ref().map_or(&[][..], |extra| &extra.closed);
        closed.iter().chain((!self.chunk.is_empty()).then_some(&self.chunk))
    }

    /// Appends all samples within `range`, the ones that win last, and to `runs` all runs.
    pub fn read(
        &self,
        window: Timestamp,
        clocks: &[Clock],
        range: TimeRange,
        samples: &mut Samples,
        runs: &mut Vec<Run>,
    ) {
        runs.extend(self.extra.iter().flat_map(|extra| &extra.runs));
        for chunk in self.chunks() {
            chunk.read(window, &clocks[chunk.clock as usize].ticks, range, samples);
        }
        let Some(extra) = &self.extra else { return };
        for late in &extra.late {
            let at = window + i64::from(late.offset);
            if range.contains(at) {
                samples.push(at, late.value);
            }
        }
        let histograms = extra.histograms.iter().filter(|(at, _)| range.contains(*at));
        samples.histograms.extend(histograms.map(|(at, h)| HistogramSample { timestamp: *at, histogram: h.clone() }));
    }
}
