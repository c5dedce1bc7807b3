//! Writes a frozen window as one file.

use super::format::{ClockEntry, Entry, Footer, HEADER, NameEntry, Section, SeriesEntry, ValueEntry};
use crate::{
    model::Labels,
    stdx::{
        bytes::{push_slice, push_varint, push_varint_signed},
        vfs::{OpenMode, Vfs, VfsFile},
    },
    store::{
        SeriesId, StoreError,
        tsdb::{
            codec::{push_histogram, push_run},
            head::{FrozenWindow, SharedPartition, column::Column},
        },
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Written at once; the file itself is never held in memory.
const BUFFER_BYTES: usize = 1 << 20;

/// Appends to a file through a buffer and knows where it stands.
struct Output {
    file: Arc<dyn VfsFile>,
    buffer: Vec<u8>,
    flushed: u64,
}

impl Output {
    fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_all_at(&self.buffer, self.flushed).map_err(StoreError::io("writing a window file"))?;
        self.flushed = self.position();
        self.buffer.clear();
        Ok(())
    }
}

/// The index sections, which are small beside the data.
#[derive(Default)]
struct Index {
    bytes: Vec<u8>,
}

impl Index {
    /// Adds a section; `base` is where the index begins in the file.
    fn section(&mut self, base: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Section {
        let before = self.bytes.len();
        fill(&mut self.bytes);
        Section { offset: base + before as u64, length: (self.bytes.len() - before) as u64 }
    }
}

/// Writes the window to `directory` and gives the file's path, or `None` where the window holds nothing.
///
/// `labels_of` knows every series of the window, and is asked while no lock is held. The file is synced and renamed
/// into place before this returns; where that fails, nothing is left that takes space.
pub fn write_window(
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
    let written = write_file(vfs, directory, window, &series);
    if written.is_err() {
        let (_, temporary) = paths(directory, window);
        let _ = vfs.remove(&temporary);
    }
    written.map(Some)
}

/// The name of the file, and the one it has until it is whole.
fn paths(directory: &Path, window: &FrozenWindow) -> (PathBuf, PathBuf) {
    let name = format!("{}-{:016x}.window", window.window, window.through.0);
    (directory.join(&name), directory.join(format!("{name}.tmp")))
}

fn write_file(
    vfs: &dyn Vfs,
    directory: &Path,
    window: &FrozenWindow,
    series: &[(Labels, usize, usize)],
) -> Result<PathBuf, StoreError> {
    let (path, temporary) = paths(directory, window);
    let file = vfs.open(&temporary, OpenMode::Create).map_err(StoreError::io("creating a window file"))?;
    file.set_len(0).map_err(StoreError::io("creating a window file"))?;
    let mut output = Output { file, buffer: HEADER.to_vec(), flushed: 0 };
    write_sections(&mut output, window, series)?;
    output.flush()?;
    output.file.sync_data().map_err(StoreError::io("syncing a window file"))?;
    vfs.rename(&temporary, &path).map_err(StoreError::io("naming a window file"))?;
    vfs.sync_dir(directory).map_err(StoreError::io("syncing the directory of windows"))?;
    Ok(path)
}

/// Late samples go into the order of their series before it is written.
fn sort_late_samples(partition: &SharedPartition) {
    let mut held = partition.lock();
    for at in 0..held.columns.len() {
        let column = &held.columns[at];
        if column.extra.as_ref().is_some_and(|extra| !extra.late.is_empty()) {
            held.sort_in(at);
        }
    }
}

fn write_sections(
    output: &mut Output,
    window: &FrozenWindow,
    series: &[(Labels, usize, usize)],
) -> Result<(), StoreError> {
    let data_offset = output.position();
    let (clocks, first_clock) = write_clocks(output, window)?;
    let (mut entries, mut label_bytes) = (Vec::with_capacity(series.len()), Vec::new());
    let mut payload = Vec::new();
    let (mut oldest, mut newest) = (i64::MAX, i64::MIN);
    for (labels, number, at) in series {
        let held = window.partitions[*number].lock();
        (oldest, newest) = (oldest.min(held.oldest), newest.max(held.newest));
        let column = &held.columns[*at];
        payload.clear();
        encode_column(&mut payload, column, first_clock[*number]);
        entries.push(SeriesEntry {
            labels_offset: label_bytes.len() as u64,
            labels_length: labels.as_bytes().len() as u32,
            data_crc: crc32c::crc32c(&payload),
            data_offset: output.position(),
            data_length: payload.len() as u32,
            overwrites: u32::from(column.overwrites),
        });
        drop(held);
        label_bytes.extend_from_slice(labels.as_bytes());
        output.push(&payload)?;
    }
    let data = Section { offset: data_offset, length: output.position() - data_offset };

    let base = output.position();
    let mut index = Index::default();
    let clocks = index.section(base, |out| clocks.iter().for_each(|entry| entry.encode(out)));
    let entries = index.section(base, |out| entries.iter().for_each(|entry| entry.encode(out)));
    let labels = index.section(base, |out| out.extend_from_slice(&label_bytes));
    let [names, values, texts, postings] = label_index(&mut index, base, series);
    let footer = Footer {
        window: window.window,
        oldest,
        newest,
        sealed_through: window.through,
        clocks,
        series: entries,
        labels,
        names,
        values,
        texts,
        postings,
        data,
        index_crc: crc32c::crc32c(&index.bytes),
    };
    output.push(&index.bytes)?;
    output.push(&footer.encode())
}

/// Writes all clocks; gives their table and where each partition's begin in it.
fn write_clocks(output: &mut Output, window: &FrozenWindow) -> Result<(Vec<ClockEntry>, Vec<u32>), StoreError> {
    let (mut entries, mut first_clock) = (Vec::new(), Vec::new());
    let mut encoded = Vec::new();
    for partition in &window.partitions {
        first_clock.push(entries.len() as u32);
        for clock in &partition.lock().clocks {
            encoded.clear();
            let mut before = 0;
            for tick in &clock.ticks {
                push_varint(&mut encoded, u64::from(tick - before));
                before = *tick;
            }
            entries.push(ClockEntry {
                offset: output.position(),
                length: encoded.len() as u32,
                ticks: clock.ticks.len() as u32,
                crc: crc32c::crc32c(&encoded),
            });
            output.push(&encoded)?;
        }
    }
    Ok((entries, first_clock))
}

fn encode_column(out: &mut Vec<u8>, column: &Column, first_clock: u32) {
    push_varint(out, column.chunks().count() as u64);
    for chunk in column.chunks() {
        push_varint(out, u64::from(first_clock + chunk.clock));
        push_varint(out, u64::from(chunk.first));
        push_varint(out, u64::from(chunk.ticks));
        let gaps = chunk.gaps.as_deref().map_or(&[][..], Vec::as_slice);
        push_varint(out, gaps.len() as u64);
        for (at, length) in gaps {
            push_varint(out, u64::from(*at));
            push_varint(out, u64::from(*length));
        }
        push_varint(out, chunk.values.count() as u64);
        push_slice(out, &chunk.values.encoded());
    }
    let (histograms, runs) = column.extra.as_ref().map_or((&[][..], &[][..]), |extra| (&extra.histograms, &extra.runs));
    push_varint(out, histograms.len() as u64);
    for (at, histogram) in histograms {
        push_varint_signed(out, *at);
        push_histogram(out, histogram);
    }
    push_varint(out, runs.len() as u64);
    for run in runs {
        push_run(out, run);
    }
}

/// Builds names, values, texts and postings from the sorted series.
fn label_index(index: &mut Index, base: u64, series: &[(Labels, usize, usize)]) -> [Section; 4] {
    let mut pairs: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    for (number, (labels, _, _)) in series.iter().enumerate() {
        for pair in labels.iter() {
            pairs.entry(pair).or_default().push(number as u32);
        }
    }
    let (mut names, mut values): (Vec<NameEntry>, Vec<ValueEntry>) = (Vec::new(), Vec::new());
    let (mut texts, mut postings) = (Vec::new(), Vec::new());
    let mut last_name = None;
    for ((name, value), numbers) in &pairs {
        if last_name != Some(*name) {
            last_name = Some(*name);
            let (offset, length) = (texts.len() as u64, name.len() as u32);
            names.push(NameEntry { offset, length, values: 0, first_value: values.len() as u64 });
            texts.extend_from_slice(name.as_bytes());
        }
        names.last_mut().expect("a name precedes its values").values += 1;
        values.push(ValueEntry {
            offset: texts.len() as u64,
            length: value.len() as u32,
            series: numbers.len() as u32,
            postings_offset: postings.len() as u64,
        });
        texts.extend_from_slice(value.as_bytes());
        postings.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
    [
        index.section(base, |out| names.iter().for_each(|entry| entry.encode(out))),
        index.section(base, |out| values.iter().for_each(|entry| entry.encode(out))),
        index.section(base, |out| out.extend_from_slice(&texts)),
        index.section(base, |out| out.extend_from_slice(&postings)),
    ]
}
