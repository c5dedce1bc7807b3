//! A partition: the samples of one shard's series within one window.

use super::{
    clock::Clock,
    column::{Column, Extra, Late},
};
use crate::{
    model::{Histogram, Samples, TimeRange, Timestamp},
    store::{
        Conflict, RefusalReason, SeriesId,
        tsdb::{log::Position, run::Run},
    },
};
use std::{collections::HashMap, sync::Arc};

/// Gaps a series may have before they are taken as a sign that it ticks to another clock.
const GAPS_MIN: u32 = 8;
/// Late samples before they are sorted into the series.
const LATE_MAX: usize = 1024;
/// Estimated bytes of a column besides its values: itself, its place in the index.
const COLUMN_BYTES: usize = size_of::<Column>() + 40;

/// Series ids are random enough in their low bits as they come.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only series ids are hashed")
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

pub type IdMap<V> = HashMap<SeriesId, V, std::hash::BuildHasherDefault<IdHasher>>;

#[derive(Debug)]
pub struct Partition {
    /// Start of the window.
    pub window: Timestamp,
    /// Being sealed: takes nothing more.
    pub frozen: bool,
    /// No record of this partition's samples lies before this.
    pub first_position: Position,
    /// When the last sample came, by our clock.
    pub touched_ms: i64,
    /// Estimate of the heap bytes held.
    pub bytes: usize,
    pub oldest: Timestamp,
    pub newest: Timestamp,
    pub clocks: Vec<Clock>,
    pub columns: Vec<Column>,
    index: IdMap<u32>,
}

/// Where a batch stands in a partition: series that follow one another at one time share a clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cursor {
    clock: Option<u32>,
}

/// The series is not in this partition and may have to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absent;

impl Partition {
    pub fn new(window: Timestamp, first_position: Position, now_ms: i64) -> Partition {
        Partition {
            window,
            frozen: false,
            first_position,
            touched_ms: now_ms,
            bytes: 0,
            oldest: i64::MAX,
            newest: i64::MIN,
            clocks: Vec::new(),
            columns: Vec::new(),
            index: IdMap::default(),
        }
    }

    #[inline]
    pub fn column_of(&self, series: SeriesId) -> Result<usize, Absent> {
        self.index.get(&series).map(|at| *at as usize).ok_or(Absent)
    }

    /// Adds an empty column. The caller has made sure that the series exists and has none.
    pub fn add_column(&mut self, series: SeriesId) -> usize {
        let at = self.columns.len();
        self.index.insert(series, at as u32);
        self.columns.push(Column::new(series));
        self.bytes += COLUMN_BYTES;
        at
    }

    /// Appends one sample. A sample that is there already with the same bits is accepted and changes nothing.
    #[inline]
    pub fn append(
        &mut self,
        column: usize,
        at: Timestamp,
        value: f64,
        conflict: Conflict,
        cursor: &mut Cursor,
    ) -> Result<(), RefusalReason> {
        if self.columns[column].overwrites != (conflict == Conflict::Overwrite) {
            return self.append_mixed(column, at, value, conflict, cursor);
        }
        self.append_alike(column, at, value, conflict, cursor)
    }

    /// Appends one sample to a column whose samples are taken as this one is, or that lists those that are not.
    #[inline]
    pub(super) fn append_alike(
        &mut self,
        column: usize,
        at: Timestamp,
        value: f64,
        conflict: Conflict,
        cursor: &mut Cursor,
    ) -> Result<(), RefusalReason> {
        let offset = (at - self.window) as u32;
        (self.oldest, self.newest) = (self.oldest.min(at), self.newest.max(at));
        let Column { chunk, .. } = &mut self.columns[column];
        if !chunk.is_empty() {
            let clock = &mut self.clocks[chunk.clock as usize];
            let next = chunk.first + chunk.ticks;
            match clock.ticks.get(next as usize) {
                // The common case: a sibling has moved the clock here.
                Some(tick) if *tick == offset => {
                    let before = chunk.values.heap_bytes();
                    chunk.ticks += 1;
                    chunk.values.push(value);
                    self.bytes += chunk.values.heap_bytes().saturating_sub(before);
                    cursor.clock = Some(chunk.clock);
                    return Ok(());
                }
                None if clock.last() < Some(offset) => {
                    clock.ticks.push(offset);
                    chunk.ticks += 1;
                    chunk.values.push(value);
                    self.bytes += 16;
                    cursor.clock = Some(chunk.clock);
                    return Ok(());
                }
                _ => {}
            }
        }
        self.append_uncommon(column, offset, value, conflict, cursor)
    }

    /// First samples, gaps, changes of clock, late samples and duplicates.
    fn append_uncommon(
        &mut self,
        index: usize,
        offset: u32,
        value: f64,
        conflict: Conflict,
        cursor: &mut Cursor,
    ) -> Result<(), RefusalReason> {
        let column = &mut self.columns[index];
        match column.chunk.last_offset(&self.clocks) {
            None => {
                let (clock, tick) = clock_for(&mut self.clocks, offset, cursor);
                column.start_chunk(clock, tick);
                column.chunk.push_at(tick, value);
            }
            Some(last) if offset > last => {
                let chunk = &column.chunk;
                let clock = &mut self.clocks[chunk.clock as usize];
                let next = (chunk.first + chunk.ticks) as usize;
                let tick = clock.find(next, offset).or_else(|| {
                    (clock.last() < Some(offset)).then(|| {
                        clock.ticks.push(offset);
                        clock.ticks.len() - 1
                    })
                });
                let strays = |tick: usize| {
                    let missing = chunk.missing() + (tick - next) as u32;
                    missing > GAPS_MIN && missing > chunk.ticks / 4
                };
                match tick {
                    Some(tick) if !strays(tick) => {
                        cursor.clock = Some(chunk.clock);
                        column.chunk.push_at(tick as u32, value);
                    }
                    _ => {
                        let (clock, tick) = clock_for(&mut self.clocks, offset, cursor);
                        column.start_chunk(clock, tick);
                        column.chunk.push_at(tick, value);
                    }
                }
            }
            Some(_) => return self.append_late(index, offset, value, conflict),
        }
        self.bytes += 64;
        Ok(())
    }

    fn append_late(&mut self, index: usize, offset: u32, value: f64, conflict: Conflict) -> Result<(), RefusalReason> {
        let column = &mut self.columns[index];
        if conflict == Conflict::Overwrite && column.is_mixed() {
            column.extra().yielding.mark(offset, false);
        }
        match column.value_at(self.window, &self.clocks, offset) {
            Some(existing) if existing.to_bits() == value.to_bits() => return Ok(()),
            Some(existing) if conflict == Conflict::Refuse => {
                let timestamp = self.window + i64::from(offset);
                return Err(RefusalReason::Duplicate { timestamp, existing, new: value });
            }
            _ => {}
        }
        let extra = column.extra();
        extra.late.retain(|late| late.offset != offset);
        extra.late.push(Late { offset, value });
        self.bytes += size_of::<Late>();
        if extra.late.len() >= LATE_MAX {
            self.sort_in(index, |_| true);
        }
        Ok(())
    }

    /// Sorts late samples into one chunk on a clock of the series' own, and leaves out those whose times `keeps` does not.
    pub fn sort_in(&mut self, index: usize, keeps: impl Fn(Timestamp) -> bool) {
        let mut samples = Samples::default();
        let column = &mut self.columns[index];
        let extra = column.extra();
        let (runs, yielding) = (std::mem::take(&mut extra.runs), std::mem::take(&mut extra.yielding));
        let histograms = std::mem::take(&mut extra.histograms);
        column.read(self.window, &self.clocks, TimeRange::ALL, &mut samples, &mut Vec::new());
        super::sort_samples(&mut samples, true);
        let points = samples.timestamps.iter().zip(&samples.values).filter(|(at, _)| keeps(**at));
        let (ticks, values): (Vec<u32>, Vec<f64>) =
            points.map(|(at, value)| ((at - self.window) as u32, *value)).unzip();
        let mut sorted = Column::new(column.series);
        sorted.overwrites = column.overwrites;
        if !ticks.is_empty() {
            sorted.start_chunk(self.clocks.len() as u32, 0);
            (0..).zip(&values).for_each(|(tick, value)| sorted.chunk.push_at(tick, *value));
            self.clocks.push(Clock { ticks });
        }
        if !runs.is_empty() || !histograms.is_empty() || !yielding.is_empty() {
            (*sorted.extra()) = Extra { runs, histograms, yielding, ..Extra::default() };
        }
        self.bytes += values.len() * 4;
        *column = sorted;
    }

    /// Puts a native histogram in its place.
    pub fn append_histogram(
        &mut self,
        column: usize,
        at: Timestamp,
        histogram: &Arc<Histogram>,
        conflict: Conflict,
    ) -> Result<(), RefusalReason> {
        let (window, column) = (self.window, &mut self.columns[column]);
        if conflict == Conflict::Overwrite && !column.overwrites {
            column.begin_to_overwrite(window, &self.clocks);
        }
        let may_yield = column.overwrites;
        let Extra { histograms, yielding, .. } = column.extra();
        let mut mark = |yields| yielding.mark_histogram((at - window) as u32, yields);
        let place = histograms.partition_point(|(other, _)| *other < at);
        match histograms.get_mut(place) {
            Some((other, existing)) if *other == at => {
                if conflict == Conflict::Overwrite {
                    mark(false);
                }
                if existing == histogram {
                    return Ok(());
                }
                if conflict == Conflict::Refuse {
                    return Err(RefusalReason::DuplicateHistogram { timestamp: at });
                }
                *existing = histogram.clone();
            }
            _ => {
                histograms.insert(place, (at, histogram.clone()));
                if may_yield && conflict == Conflict::Refuse {
                    mark(true);
                }
            }
        }
        let buckets = histogram.positive_buckets.len() + histogram.negative_buckets.len();
        self.bytes += 256 + buckets * 8;
        (self.oldest, self.newest) = (self.oldest.min(at), self.newest.max(at));
        Ok(())
    }

    /// Keeps a closed run that ended in this window.
    pub fn append_run(&mut self, column: usize, run: Run) {
        let until = run.until(run.first);
        // A run may be closed before its first point: then only the marker is left of it.
        let (first, last) = (run.first.min(until), run.first.max(until));
        (self.oldest, self.newest) = (self.oldest.min(first), self.newest.max(last));
        let column = &mut self.columns[column];
        self.bytes += if column.extra.is_none() { size_of::<Extra>() } else { 0 };
        let runs = &mut column.extra().runs;
        // In the order of their beginning, which is the order they end in: a group that is pushed every second has
        // thousands, and a replay brings all of them once more.
        let at = runs.partition_point(|held| held.first < run.first);
        let mut begun = runs[at..].iter().take_while(|held| held.first == run.first);
        let is_same = |held: &Run| {
            held.value.to_bits() == run.value.to_bits() && held.step_ms == run.step_ms && held.end == run.end
        };
        if !begun.any(is_same) {
            if runs.len() == runs.capacity() {
                // Most columns of history have one, of which a vector would keep four.
                runs.reserve_exact((runs.len() / 2).max(1));
            }
            runs.insert(at, run);
            self.bytes += size_of::<Run>();
        }
    }
}

/// A clock with a tick at `offset`: the batch's current one, else a new one.
fn clock_for(clocks: &mut Vec<Clock>, offset: u32, cursor: &mut Cursor) -> (u32, u32) {
    // The window may have been sealed in the middle of a batch: then the cursor comes from another partition, whose
    // clocks were others. One that ticks at the offset is as good as any.
    if let Some(current) = cursor.clock
        && let Some(tick) = clocks.get(current as usize).and_then(|clock| clock.find(0, offset))
    {
        return (current, tick as u32);
    }
    clocks.push(Clock { ticks: vec![offset] });
    let clock = clocks.len() as u32 - 1;
    cursor.clock = Some(clock);
    (clock, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const WINDOW: Timestamp = 7_200_000;

    fn partition(series: u64) -> Partition {
        let mut partition = Partition::new(WINDOW, Position(0), 0);
        for id in 0..series {
            partition.add_column(SeriesId(id));
        }
        partition
    }

    fn read(partition: &Partition, column: usize) -> Vec<(Timestamp, f64)> {
        let mut samples = Samples::default();
        partition.columns[column].read(WINDOW, &partition.clocks, TimeRange::ALL, &mut samples, &mut Vec::new());
        super::super::sort_samples(&mut samples, true);
        samples.timestamps.into_iter().zip(samples.values).collect()
    }

    #[test]
    fn the_series_of_a_source_share_one_clock() {
        let mut partition = partition(50);
        for scrape in 0..40 {
            let mut cursor = Cursor::default();
            for column in 0..50 {
                let at = WINDOW + scrape * 15_000;
                partition.append(column, at, scrape as f64, Conflict::Refuse, &mut cursor).unwrap();
            }
        }
        assert_eq!((partition.clocks.len(), partition.clocks[0].ticks.len()), (1, 40));
        assert_eq!(read(&partition, 49).len(), 40);
    }

    #[test]
    fn series_written_one_after_the_other_share_one_clock() {
        let (mut partition, mut cursor) = (partition(3), Cursor::default());
        for column in 0..3 {
            for scrape in 0..10 {
                let at = WINDOW + scrape * 1_000;
                partition.append(column, at, 1.0, Conflict::Refuse, &mut cursor).unwrap();
            }
        }
        assert_eq!(partition.clocks.len(), 1);
    }

    #[test]
    fn a_batch_goes_on_in_a_fresh_partition_when_its_window_is_sealed_meanwhile() {
        let (mut before, mut cursor) = (partition(3), Cursor::default());
        for column in 0..3 {
            before.append(column, WINDOW + column as i64, 1.0, Conflict::Refuse, &mut cursor).unwrap();
        }
        let mut fresh = partition(1);
        fresh.append(0, WINDOW + 9, 2.0, Conflict::Refuse, &mut cursor).unwrap();
        assert_eq!(read(&fresh, 0), [(WINDOW + 9, 2.0)]);
    }

    #[test]
    fn sources_that_met_by_chance_part_again() {
        let mut partition = partition(2);
        for scrape in 0..400i64 {
            let apart = if scrape == 0 { 0 } else { 7 };
            let mut cursor = Cursor::default();
            partition.append(0, WINDOW + scrape * 15_000, 1.0, Conflict::Refuse, &mut cursor).unwrap();
            let mut cursor = Cursor::default();
            partition.append(1, WINDOW + scrape * 15_000 + apart, 1.0, Conflict::Refuse, &mut cursor).unwrap();
        }
        assert_eq!(read(&partition, 0).len(), 400);
        assert_eq!(read(&partition, 1).len(), 400);
        let missing: u32 = partition.columns.iter().flat_map(Column::chunks).map(|chunk| chunk.missing()).sum();
        assert!(missing < 40, "{missing} gaps");
    }

    #[test]
    fn a_duplicate_is_refused_unless_equal_or_overwriting() {
        let (mut partition, mut cursor) = (partition(1), Cursor::default());
        for (at, value, conflict, accepted) in [
            (10, 1.0, Conflict::Refuse, true),
            (20, 2.0, Conflict::Refuse, true),
            (20, 2.0, Conflict::Refuse, true),
            (20, 3.0, Conflict::Refuse, false),
            (10, 5.0, Conflict::Refuse, false),
            (15, 5.0, Conflict::Refuse, true),
            (15, 6.0, Conflict::Refuse, false),
            (10, 9.0, Conflict::Overwrite, true),
        ] {
            let result = partition.append(0, WINDOW + at, value, conflict, &mut cursor);
            assert_eq!(result.is_ok(), accepted, "{at} {value}");
        }
        assert_eq!(read(&partition, 0), [(WINDOW + 10, 9.0), (WINDOW + 15, 5.0), (WINDOW + 20, 2.0)]);
    }

    proptest! {
        /// Any order of times and series gives what a map gives.
        #[test]
        fn a_partition_equals_a_map(
            writes in prop::collection::vec((0usize..4, 0i64..300, 0u8..4, any::<bool>()), 1..400),
        ) {
            let mut partition = partition(4);
            let mut model: BTreeMap<(usize, i64), f64> = BTreeMap::new();
            let mut cursor = Cursor::default();
            for (column, at, value, overwrite) in writes {
                let value = f64::from(value);
                let conflict = if overwrite { Conflict::Overwrite } else { Conflict::Refuse };
                let result = partition.append(column, WINDOW + at, value, conflict, &mut cursor);
                let entry = model.entry((column, WINDOW + at)).or_insert(value);
                prop_assert_eq!(result.is_ok(), overwrite || *entry == value);
                if overwrite {
                    *entry = value;
                }
            }
            for column in 0..4 {
                let expected: Vec<_> =
                    model.iter().filter(|((c, _), _)| *c == column).map(|((_, at), v)| (*at, *v)).collect();
                prop_assert_eq!(read(&partition, column), expected);
            }
        }
    }
}
