//! Columns with samples of both kinds: such as replace those of the same time that were sealed before, and such as
//! *yield* to them.
//!
//! A column says of all its samples at once whether they overwrite, which is all that most need, and all that a block can
//! say. Where a series is scraped and imported within one window, its column overwrites and lists the samples that yield.
//! It is read as two parts, each in its own place among others. Before it is sealed, [`Partition::settle`] takes away
//! what yields and has somebody to yield to: all that is left may overwrite.

use super::{
    clock::Clock,
    column::Column,
    partition::{Cursor, Partition},
};
use crate::{
    model::{Samples, TimeRange, Timestamp},
    store::{Conflict, RefusalReason, SeriesId, tsdb::run::Run},
};

/// Which samples of a column are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    /// Those that yield.
    Yielding,
    /// The others, and runs.
    Overwriting,
}

/// Offsets of the samples that yield in a column that overwrites, ascending.
#[derive(Debug, Default)]
pub struct Yielding {
    floats: Vec<u32>,
    histograms: Vec<u32>,
}

impl Yielding {
    /// Marks a float at `offset`, or its mark goes.
    pub fn mark(&mut self, offset: u32, yields: bool) {
        mark(&mut self.floats, offset, yields);
    }

    /// The same for a native histogram.
    pub fn mark_histogram(&mut self, offset: u32, yields: bool) {
        mark(&mut self.histograms, offset, yields);
    }

    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }
}

fn mark(offsets: &mut Vec<u32>, offset: u32, yields: bool) {
    match (offsets.binary_search(&offset), yields) {
        (Err(place), true) => offsets.insert(place, offset),
        (Ok(place), false) => drop(offsets.remove(place)),
        _ => {}
    }
}

impl Column {
    /// Whether it has samples of both kinds.
    pub fn is_mixed(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| !extra.yielding.is_empty())
    }

    /// The column overwrites from here on; what it has so far yields.
    pub fn begin_to_overwrite(&mut self, window: Timestamp, clocks: &[Clock]) {
        self.overwrites = true;
        let mut samples = Samples::default();
        self.read(window, clocks, TimeRange::ALL, &mut samples, &mut Vec::new());
        if samples.is_empty() {
            return;
        }
        let yielding = &mut self.extra().yielding;
        yielding.floats = samples.timestamps.iter().map(|at| (at - window) as u32).collect();
        yielding.floats.sort_unstable();
        yielding.floats.dedup();
        yielding.histograms = samples.histograms.iter().map(|sample| (sample.timestamp - window) as u32).collect();
    }

    /// As [`Column::read`], one part of it.
    pub fn read_part(
        &self,
        part: Part,
        (window, clocks): (Timestamp, &[Clock]),
        range: TimeRange,
        samples: &mut Samples,
        runs: &mut Vec<Run>,
    ) {
        if part == Part::All {
            return self.read(window, clocks, range, samples, runs);
        }
        let (mut all, mut all_runs) = (Samples::default(), Vec::new());
        self.read(window, clocks, range, &mut all, &mut all_runs);
        let none = Yielding::default();
        let Yielding { floats, histograms } = self.extra.as_ref().map_or(&none, |extra| &extra.yielding);
        let is_meant = |offsets: &[u32], at: Timestamp| {
            offsets.binary_search(&((at - window) as u32)).is_ok() == (part == Part::Yielding)
        };
        for (at, value) in all.timestamps.iter().zip(&all.values).filter(|(at, _)| is_meant(floats, **at)) {
            samples.push(*at, *value);
        }
        samples.histograms.extend(all.histograms.into_iter().filter(|sample| is_meant(histograms, sample.timestamp)));
        if part == Part::Overwriting {
            runs.append(&mut all_runs);
        }
    }
}

impl Partition {
    /// Appends one sample to a column that has taken others than such.
    #[cold]
    pub(super) fn append_mixed(
        &mut self,
        index: usize,
        at: Timestamp,
        value: f64,
        conflict: Conflict,
        cursor: &mut Cursor,
    ) -> Result<(), RefusalReason> {
        let offset = (at - self.window) as u32;
        let column = &mut self.columns[index];
        if conflict == Conflict::Overwrite {
            column.begin_to_overwrite(self.window, &self.clocks);
            self.bytes += size_of::<u32>() * column.extra.as_ref().map_or(0, |extra| extra.yielding.floats.len());
            return self.append_alike(index, at, value, conflict, cursor);
        }
        let is_behind = column.chunk.last_offset(&self.clocks) < Some(offset);
        let is_new = is_behind || column.value_at(self.window, &self.clocks, offset).is_none();
        self.append_alike(index, at, value, conflict, cursor)?;
        if is_new {
            self.columns[index].extra().yielding.mark(offset, true);
            self.bytes += size_of::<u32>();
        }
        Ok(())
    }

    /// The series of the columns with samples of both kinds.
    pub fn mixed(&self) -> Vec<SeriesId> {
        self.columns.iter().filter(|column| column.is_mixed()).map(|column| column.series).collect()
    }

    /// Takes away those samples of a mixed column that yield to `older` ones, which are all there are, in order of time.
    /// The rest overwrites.
    pub fn settle(&mut self, series: SeriesId, older: &Samples) {
        let Ok(index) = self.column_of(series) else { return };
        let window = self.window;
        let extra = self.columns[index].extra();
        let Yielding { floats, histograms } = std::mem::take(&mut extra.yielding);
        let has_float = |at: Timestamp| older.timestamps.binary_search(&at).is_ok();
        let has_histogram =
            |at: Timestamp| older.histograms.binary_search_by_key(&at, |sample| sample.timestamp).is_ok();
        let is_lost =
            |offsets: &[u32], at: Timestamp, has: bool| has && offsets.binary_search(&((at - window) as u32)).is_ok();
        extra.histograms.retain(|(at, _)| !is_lost(&histograms, *at, has_histogram(*at)));
        if floats.iter().any(|offset| has_float(window + i64::from(*offset))) {
            self.sort_in(index, |at| !is_lost(&floats, at, has_float(at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tsdb::log::Position;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const WINDOW: Timestamp = 7_200_000;

    fn read(partition: &Partition, part: Part) -> Vec<(Timestamp, f64)> {
        let mut samples = Samples::default();
        let of = (WINDOW, &partition.clocks[..]);
        partition.columns[0].read_part(part, of, TimeRange::ALL, &mut samples, &mut Vec::new());
        super::super::sort_samples(&mut samples, true);
        samples.timestamps.into_iter().zip(samples.values).collect()
    }

    proptest! {
        /// Each sample is in one part, as it was written last; after settling, what yielded to older ones is gone.
        #[test]
        fn each_sample_stays_what_it_was_written_as(
            writes in prop::collection::vec((0i64..60, 0u8..3, any::<bool>()), 1..200),
            older in prop::collection::btree_set(0i64..60, 0..30),
        ) {
            let mut partition = Partition::new(WINDOW, Position(0), 0);
            partition.add_column(SeriesId(0));
            let mut model: BTreeMap<i64, (f64, bool)> = BTreeMap::new();
            for (at, value, overwrites) in writes {
                let (at, value) = (WINDOW + at, f64::from(value));
                let conflict = if overwrites { Conflict::Overwrite } else { Conflict::Refuse };
                let _ = partition.append(0, at, value, conflict, &mut Cursor::default());
                let held = model.entry(at).or_insert((value, overwrites));
                *held = if overwrites { (value, true) } else { *held };
            }
            let expected = |kind: bool| -> Vec<_> {
                model.iter().filter(|(_, held)| held.1 == kind).map(|(at, held)| (*at, held.0)).collect()
            };
            if partition.columns[0].overwrites {
                prop_assert_eq!(read(&partition, Part::Yielding), expected(false));
                prop_assert_eq!(read(&partition, Part::Overwriting), expected(true));
                let timestamps: Vec<_> = older.iter().map(|at| WINDOW + at).collect();
                let values = vec![9.0; timestamps.len()];
                partition.settle(SeriesId(0), &Samples { timestamps, values, ..Samples::default() });
                let is_left = |(at, held): &(&i64, &(f64, bool))| held.1 || !older.contains(&(**at - WINDOW));
                let left: Vec<_> = model.iter().filter(is_left).map(|(at, held)| (*at, held.0)).collect();
                prop_assert_eq!(read(&partition, Part::All), left);
                prop_assert!(partition.mixed().is_empty());
            } else {
                prop_assert_eq!(read(&partition, Part::All), expected(false));
            }
        }
    }
}
