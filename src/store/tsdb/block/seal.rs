//! Writes a frozen window as a block: its chunks as they are in memory.

use super::{
    clocks::Placement,
    draft::Draft,
    values::Kind,
    writer::{Plan, Writer},
};
use crate::{
    model::Labels,
    stdx::vfs::Vfs,
    store::{
        SeriesId, StoreError,
        tsdb::{
            head::{FrozenWindow, SharedPartition, column::Column},
            log::Position,
            options::WINDOW_MS,
        },
    },
};
use std::path::{Path, PathBuf};

/// Writes the window to `directory` and gives the file's path, or `None` where the window holds nothing.
///
/// `labels_of` knows every series of the window, and is asked while no lock is held. The file is synced and renamed
/// into place before this returns; where that fails, nothing is left that takes space.
pub fn seal_window(
    vfs: &dyn Vfs,
    directory: &Path,
    window: &FrozenWindow,
    labels_of: impl Fn(SeriesId) -> Option<Labels>,
) -> Result<Option<PathBuf>, StoreError> {
    for partition in &window.partitions {
        sort_late_samples(partition);
    }
    let mut columns: Vec<(SeriesId, usize, usize)> = Vec::new();
    for (number, partition) in window.partitions.iter().enumerate() {
        let held = partition.lock();
        let filled = |column: &Column| column.extra.is_some() || !column.chunk.is_empty();
        let filled = held.columns.iter().enumerate().filter(|(_, column)| filled(column));
        columns.extend(filled.map(|(at, column)| (column.series, number, at)));
    }
    let named = |(id, number, at): (SeriesId, usize, usize)| Some((labels_of(id)?, number, at));
    let mut series: Vec<(Labels, usize, usize)> = columns.into_iter().filter_map(named).collect();
    if series.is_empty() {
        return Ok(None);
    }
    series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let plan = Plan {
        start: window.window,
        span_ms: WINDOW_MS,
        level: 0,
        windows: vec![(window.window, window.through)],
        cleaned: Position::default(),
    };
    let mut writer = Writer::new(vfs, directory, plan)?;
    match write_series(&mut writer, window, &series) {
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
    window: &FrozenWindow,
    series: &[(Labels, usize, usize)],
) -> Result<(), StoreError> {
    let mut first_clock = Vec::new();
    for partition in &window.partitions {
        let mut first = None;
        for clock in &partition.lock().clocks {
            let number = writer.clocks.add(clock.ticks.clone());
            first.get_or_insert(number);
        }
        first_clock.push(first.unwrap_or_default());
    }
    let mut draft = Draft::default();
    for (labels, number, at) in series {
        let held = window.partitions[*number].lock();
        let bounds = (held.oldest, held.newest);
        draft.clear();
        draft_column(&mut draft, &held.columns[*at], first_clock[*number]);
        drop(held);
        writer.push(labels, &draft, bounds)?;
    }
    Ok(())
}

fn draft_column(draft: &mut Draft, column: &Column, first_clock: u32) {
    draft.head.overwrites = column.overwrites;
    for chunk in column.chunks() {
        let placement = Placement {
            clock: first_clock + chunk.clock,
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
    if let Some(extra) = &column.extra {
        draft.histograms(extra.histograms.iter().map(|(at, histogram)| (*at, histogram)));
        draft.runs(&extra.runs);
    }
}
