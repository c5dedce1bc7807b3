//! Writes frozen windows as a block: their chunks as they are in memory.

use super::{
    clocks::Placement,
    draft::Draft,
    merge::MergeTarget,
    values::Kind,
    writer::{Plan, Writer},
};
use crate::{
    model::{Histogram, Labels, Timestamp},
    stdx::vfs::Vfs,
    store::{
        SeriesId, StoreError,
        tsdb::{
            head::{FrozenWindow, SharedPartition, column::Column},
            log::Position,
            run::{Run, put_runs_in_order},
        },
    },
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where the samples of one series within one window are: the number of the partition, among those of all windows, and of
/// the column in it.
type Place = (u32, u32);

/// Writes the windows, which are in order of time and lie within `target`, to `directory` as one block and gives the
/// file's path, or `None` where they hold nothing. No series overwrites what is older in one of them and does not in
/// another.
///
/// `labels_of` knows every series of the windows, and is asked while no lock is held. The file is synced and renamed
/// into place before this returns; where that fails, nothing is left that takes space.
pub fn seal_windows(
    vfs: &dyn Vfs,
    directory: &Path,
    target: MergeTarget,
    windows: &[FrozenWindow],
    labels_of: impl Fn(SeriesId) -> Option<Labels>,
) -> Result<Option<PathBuf>, StoreError> {
    let partitions: Vec<&SharedPartition> = windows.iter().flat_map(|window| &window.partitions).collect();
    partitions.iter().for_each(|partition| sort_late_samples(partition));
    let mut places: Vec<(SeriesId, Place)> = Vec::new();
    for (number, partition) in partitions.iter().enumerate() {
        let held = partition.lock();
        let filled = held.columns.iter().enumerate().filter(|(_, column)| column.is_filled());
        places.extend(filled.map(|(at, column)| (column.series, (number as u32, at as u32))));
    }
    // The places of a series stand together then, in order of time.
    places.sort_unstable();
    let of_series = places.chunk_by(|a, b| a.0 == b.0);
    let mut series: Vec<(Labels, &[(SeriesId, Place)])> =
        of_series.filter_map(|places| Some((labels_of(places[0].0)?, places))).collect();
    if series.is_empty() {
        return Ok(None);
    }
    series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let plan = Plan {
        start: target.start,
        span_ms: target.span_ms,
        level: 0,
        windows: windows.iter().map(|window| (window.window, window.through)).collect(),
        cleaned: Position::default(),
    };
    let mut writer = Writer::new(vfs, directory, plan)?;
    match write_series(&mut writer, target.start, &partitions, &series) {
        Ok(()) => writer.finish().map(Some),
        Err(error) => {
            writer.discard();
            Err(error)
        }
    }
}

/// Late samples go into the order of their series before it is written.
fn sort_late_samples(partition: &SharedPartition) {
    let mut held = partition.lock();
    for at in 0..held.columns.len() {
        let column = &held.columns[at];
        if column.extra.as_ref().is_some_and(|extra| !extra.late.is_empty()) {
            held.sort_in(at, |_| true);
        }
    }
}

fn write_series(
    writer: &mut Writer<'_>,
    start: Timestamp,
    partitions: &[&SharedPartition],
    series: &[(Labels, &[(SeriesId, Place)])],
) -> Result<(), StoreError> {
    let mut clocks: Vec<Vec<u32>> = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let held = partition.lock();
        // A tick is told from the start of the block.
        let later = (held.window - start) as u32;
        // History comes series by series and makes a clock for each; most of them say the same.
        let added = held.clocks.iter().map(|clock| clock.ticks.iter().map(|tick| tick + later).collect());
        clocks.push(added.map(|ticks| writer.clocks.add_once(ticks)).collect());
    }
    let (mut draft, mut rest) = (Draft::default(), Rest::default());
    for (labels, places) in series {
        draft.clear();
        rest.clear();
        let (mut oldest, mut newest) = (Timestamp::MAX, Timestamp::MIN);
        for (_, (number, at)) in *places {
            let held = partitions[*number as usize].lock();
            (oldest, newest) = (oldest.min(held.oldest), newest.max(held.newest));
            draft_chunks(&mut draft, &held.columns[*at as usize], &clocks[*number as usize]);
            rest.add(&held.columns[*at as usize]);
        }
        rest.draft(&mut draft);
        writer.push(labels, &draft, (oldest, newest))?;
    }
    Ok(())
}

/// `clocks` are the numbers that those of the partition have in the block.
fn draft_chunks(draft: &mut Draft, column: &Column, clocks: &[u32]) {
    draft.head.overwrites |= column.overwrites;
    for chunk in column.chunks() {
        let placement = Placement {
            clock: clocks[chunk.clock as usize],
            first: chunk.first,
            ticks: chunk.ticks,
            gaps: chunk.gaps.as_deref().cloned().unwrap_or_default(),
        };
        let count = chunk.values.count() as u32;
        match chunk.values.constant() {
            Some(value) => draft.chunk(placement, count, Kind::Constant(value), &[]),
            None => draft.chunk(placement, count, Kind::Blocks, &chunk.values.encoded()),
        }
    }
}

/// What a series has in all windows besides chunks, behind which it is written.
#[derive(Default)]
struct Rest {
    histograms: Vec<(Timestamp, Arc<Histogram>)>,
    runs: Vec<Run>,
}

impl Rest {
    fn clear(&mut self) {
        self.histograms.clear();
        self.runs.clear();
    }

    fn add(&mut self, column: &Column) {
        if let Some(extra) = &column.extra {
            self.histograms.extend(extra.histograms.iter().cloned());
            self.runs.extend_from_slice(&extra.runs);
        }
    }

    fn draft(&mut self, draft: &mut Draft) {
        if !self.histograms.is_empty() {
            draft.histograms(self.histograms.iter().map(|(at, histogram)| (*at, histogram)));
        }
        put_runs_in_order(&mut self.runs);
        draft.runs(&self.runs);
    }
}
