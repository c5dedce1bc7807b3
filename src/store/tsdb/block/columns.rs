//! Reads one column of a series that holds buckets, and nothing of the others.

use super::{
    cuts::{cut_runs, cut_samples},
    reader::{Block, ClockCache},
    series::{Chunk, SeriesHead, Weight, take_record},
};
use crate::{
    model::{Histogram, ResetHint, Samples, TimeRange, Timestamp},
    stdx::bytes::{take_varint, take_varint_signed},
    store::tsdb::{
        codec::{skip_histogram, take_histogram},
        run::Run,
    },
};

/// The record of one series, its head read.
pub struct Record<'a> {
    block: &'a Block,
    series: u32,
    head: SeriesHead,
    bodies: &'a [u8],
    /// What was deleted, in whole buckets where it holds such.
    cuts: Vec<TimeRange>,
}

impl Block {
    /// The record of a series; `None` where its head is damaged, which is counted and logged once.
    pub fn record_of(&self, series: u32) -> Option<Record<'_>> {
        let record = self.record(series).and_then(|mut bodies| Some((take_record(&mut bodies)?, bodies)));
        if record.is_none() {
            self.report(series);
        }
        let (mut head, bodies) = record?;
        let cuts = self.cuts_of(series);
        cut_runs(&mut head.runs, 0, &cuts);
        let cuts = if head.has_columns { self.all_in_buckets(&cuts) } else { cuts };
        Some(Record { block: self, series, head, bodies, cuts })
    }
}

impl Record<'_> {
    /// Whether it holds buckets; samples otherwise.
    pub fn has_columns(&self) -> bool {
        self.head.has_columns
    }

    /// The column of each chunk.
    pub fn columns(&self) -> impl Iterator<Item = u8> + '_ {
        self.head.chunks.iter().map(|chunk| chunk.column)
    }

    pub fn has_histograms(&self) -> bool {
        self.head.histograms > 0
    }

    /// Whether the first of its histograms is a gauge; `None` where there are none. The checksum is not looked at.
    pub fn histograms_are_gauges(&self) -> Option<bool> {
        let mut body = self.histograms_body()?;
        take_varint_signed(&mut body)?;
        take_varint(&mut body)?;
        Some(take_histogram(&mut body)?.reset_hint == ResetHint::Gauge)
    }

    fn histograms_body(&self) -> Option<&[u8]> {
        if self.head.histograms == 0 {
            return None;
        }
        let mut lengths = self.head.chunks.iter().map(|chunk| chunk.body.length);
        let offset = lengths.try_fold(0, body_end)?;
        self.bodies.get(offset..body_end(offset, self.head.histograms_body.length)?)
    }

    pub fn runs(&self) -> &[Run] {
        &self.head.runs
    }

    /// Appends the samples within `range` and the runs of a record that holds no buckets.
    pub fn read_samples(&self, range: TimeRange, clocks: &ClockCache, samples: &mut Samples, runs: &mut Vec<Run>) {
        self.block.read(self.series, range, clocks, samples, runs);
    }

    /// Appends the values of a column at times within `range`, in order of time.
    pub fn read_column(&self, column: u8, range: TimeRange, clocks: &ClockCache, samples: &mut Samples) {
        let (floats, mut offset) = (samples.timestamps.len(), 0usize);
        for chunk in &self.head.chunks {
            let Some(end) = body_end(offset, chunk.body.length) else { return self.block.report(self.series) };
            if chunk.column == column {
                let bodies = self.bodies.get(offset..);
                if bodies.and_then(|bodies| self.block.read_chunk(chunk, bodies, range, clocks, samples)).is_none() {
                    self.block.report(self.series);
                }
            }
            offset = end;
        }
        if !self.cuts.is_empty() {
            cut_samples(samples, floats, samples.histograms.len(), &self.cuts);
        }
    }

    /// Appends the times of a column within `range`; no value is decoded.
    pub fn read_times(&self, column: u8, range: TimeRange, clocks: &ClockCache, times: &mut Vec<Timestamp>) {
        let before = times.len();
        let of_column = |chunk: &&Chunk| chunk.column == column;
        for chunk in self.head.chunks.iter().filter(of_column) {
            if self.block.read_chunk_times(chunk, range, clocks, times).is_none() {
                self.block.report(self.series);
            }
        }
        if !self.cuts.is_empty() {
            let read = times.split_off(before);
            times.extend(read.into_iter().filter(|at| !self.is_cut(*at)));
        }
    }

    fn is_cut(&self, at: Timestamp) -> bool {
        self.cuts.iter().any(|range| range.contains(at))
    }

    /// Calls `visit` with each histogram of a bucket within `range`, in order of time.
    pub fn read_weighted_histograms(&self, range: TimeRange, visit: impl FnMut(Timestamp, Weight, Histogram)) {
        if self.head.histograms > 0 && self.try_histograms(range, visit).is_none() {
            self.block.report(self.series);
        }
    }

    fn try_histograms(&self, range: TimeRange, mut visit: impl FnMut(Timestamp, Weight, Histogram)) -> Option<()> {
        let mut body = self.histograms_body()?;
        if crc32c::crc32c(body) != self.head.histograms_body.crc {
            return None;
        }
        for _ in 0..self.head.histograms {
            let at = take_varint_signed(&mut body)?;
            let weight = Weight::from_bits(take_varint(&mut body)?)?;
            if at > range.end() {
                break;
            }
            if at < range.start() || self.is_cut(at) {
                skip_histogram(&mut body)?;
            } else {
                visit(at, weight, take_histogram(&mut body)?);
            }
        }
        Some(())
    }
}

fn body_end(offset: usize, length: u64) -> Option<usize> {
    offset.checked_add(usize::try_from(length).ok()?)
}
