//! Writes a block: series as they come, then what finds them.

use super::{
    clocks::{ClockSet, push_clock},
    dictionary::{Dictionary, push_table},
    draft::Draft,
    format::{ClockEntry, DATA_OFFSET, Entry, Footer, HEADER, OVERWRITES, Section, WindowEntry, join_parts},
    series::push_record,
};
use crate::{
    model::{Labels, Timestamp},
    stdx::vfs::{OpenMode, Vfs, VfsFile},
    store::{StoreError, tsdb::log::Position},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Written at once; the data itself is never held in memory.
const BUFFER_BYTES: usize = 1 << 20;
/// Synced in between, so that the log's own syncs never wait for a whole block.
const SYNC_BYTES: u64 = 32 << 20;

/// What is known of a block before its first series.
#[derive(Debug, Clone)]
pub struct Plan {
    pub start: Timestamp,
    pub span_ms: i64,
    pub level: u64,
    /// Each sealed window that is contained, and what it was sealed through.
    pub windows: Vec<(Timestamp, Position)>,
    /// Deletions before this are not in it any more, whatever its windows say.
    pub cleaned: Position,
}

impl Plan {
    fn sealed_through(&self) -> Position {
        self.windows.iter().map(|(_, through)| *through).max().unwrap_or_default().max(self.cleaned)
    }

    /// The file's name tells blocks of one start apart by what they contain and how often that was merged. One of sealed
    /// windows begins with the first of them: no window is sealed twice through one position.
    pub fn file_name(&self) -> String {
        let sealed = self.windows.first().filter(|_| self.level == 0);
        let start = sealed.map_or(self.start, |(window, _)| *window);
        format!("{start}-{:016x}-{}.block", self.sealed_through().0, self.level)
    }
}

/// A block that is being written. Until [`Writer::finish`] its file has another name, and [`Writer::discard`] removes it.
pub struct Writer<'a> {
    vfs: &'a dyn Vfs,
    directory: &'a Path,
    plan: Plan,
    file: Arc<dyn VfsFile>,
    buffer: Vec<u8>,
    flushed: u64,
    synced: u64,
    pub clocks: ClockSet,
    dictionary: Dictionary,
    records: Vec<u64>,
    head: Vec<u8>,
    oldest: Timestamp,
    newest: Timestamp,
    samples: u64,
}

impl<'a> Writer<'a> {
    pub fn new(vfs: &'a dyn Vfs, directory: &'a Path, plan: Plan) -> Result<Writer<'a>, StoreError> {
        let temporary = directory.join(format!("{}.tmp", plan.file_name()));
        let file = vfs.open(&temporary, OpenMode::Create).map_err(StoreError::io("creating a block"))?;
        file.set_len(0).map_err(StoreError::io("creating a block"))?;
        Ok(Writer {
            vfs,
            directory,
            plan,
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 8),
            flushed: DATA_OFFSET,
            synced: 0,
            clocks: ClockSet::default(),
            dictionary: Dictionary::default(),
            records: Vec::new(),
            head: Vec::new(),
            oldest: i64::MAX,
            newest: i64::MIN,
            samples: 0,
        })
    }

    /// Adds a series. They come in the order of their labels, each once. `bounds` are the first and last time it has
    /// something to say at.
    pub fn push(&mut self, labels: &Labels, draft: &Draft, bounds: (Timestamp, Timestamp)) -> Result<(), StoreError> {
        self.dictionary.push(labels);
        let overwrites = if draft.head.overwrites { OVERWRITES } else { 0 };
        self.records.push(self.position() | overwrites);
        (self.oldest, self.newest) = (self.oldest.min(bounds.0), self.newest.max(bounds.1));
        self.samples += draft.head.samples();
        self.head.clear();
        draft.head.push(&mut self.head);
        push_record(&mut self.buffer, &self.head, &draft.bodies);
        self.flush_if_full()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes written so far.
    pub fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes the index, syncs, and gives the file its name.
    pub fn finish(mut self) -> Result<PathBuf, StoreError> {
        let written = self.write_index().and_then(|()| {
            let name = self.plan.file_name();
            let (path, temporary) = (self.directory.join(&name), self.directory.join(format!("{name}.tmp")));
            self.file.sync_data().map_err(StoreError::io("syncing a block"))?;
            self.vfs.rename(&temporary, &path).map_err(StoreError::io("naming a block"))?;
            self.vfs.sync_dir(self.directory).map_err(StoreError::io("syncing the directory of blocks"))?;
            Ok(path)
        });
        if written.is_err() {
            self.discard();
        }
        written
    }

    /// Removes what was written: where it fails, the next start does it.
    pub fn discard(self) {
        let _ = self.vfs.remove(&self.directory.join(format!("{}.tmp", self.plan.file_name())));
    }

    fn write_index(&mut self) -> Result<(), StoreError> {
        let dictionary = std::mem::take(&mut self.dictionary).finish();
        let (mut windows, mut clock_entries, mut clock_bytes) = (Vec::new(), Vec::new(), Vec::new());
        for (start, through) in &self.plan.windows {
            WindowEntry { start: *start, through: through.0 }.encode(&mut windows);
        }
        for ticks in self.clocks.iter() {
            let entry = ClockEntry { offset: clock_bytes.len() as u64, ticks: ticks.len() as u32 };
            entry.encode(&mut clock_entries);
            push_clock(&mut clock_bytes, ticks);
        }
        let (names, values) = (dictionary.names, dictionary.values);
        let parts = [windows, clock_entries, clock_bytes, names, values, dictionary.texts, dictionary.labels];
        let essentials = join_parts(parts);
        let mut table = Vec::new();
        push_table(&mut table, &self.records, &dictionary.labels_offsets);
        // One that says only what was sealed is as old as its time.
        let bounds = if self.is_empty() { (self.plan.start, self.plan.start) } else { (self.oldest, self.newest) };
        let (oldest, newest) = bounds;
        let footer = Footer {
            start: self.plan.start,
            span_ms: self.plan.span_ms,
            level: self.plan.level,
            oldest,
            newest,
            sealed_through: self.plan.sealed_through(),
            series: self.records.len() as u64,
            samples: self.samples,
            essentials_crc: crc32c::crc32c(&essentials),
            table_crc: crc32c::crc32c(&table),
            postings_crc: crc32c::crc32c(&dictionary.postings),
            // The copies do not stand side by side: what damages one page or one track spares the other.
            essentials: self.push_section(&essentials)?,
            table: self.push_section(&table)?,
            postings: self.push_section(&dictionary.postings)?,
            essentials_copy: self.push_section(&essentials)?,
        };
        let encoded = footer.encode();
        self.push_section(&encoded)?;
        self.flush()?;
        let front = [&HEADER[..], &encoded].concat();
        self.file.write_all_at(&front, 0).map_err(StoreError::io("writing a block"))
    }

    fn push_section(&mut self, bytes: &[u8]) -> Result<Section, StoreError> {
        let section = Section { offset: self.position(), length: bytes.len() as u64 };
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full()?;
        Ok(section)
    }

    fn flush_if_full(&mut self) -> Result<(), StoreError> {
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_all_at(&self.buffer, self.flushed).map_err(StoreError::io("writing a block"))?;
        self.flushed = self.position();
        self.buffer.clear();
        if self.flushed - self.synced >= SYNC_BYTES {
            self.file.sync_data().map_err(StoreError::io("syncing a block"))?;
            self.synced = self.flushed;
        }
        Ok(())
    }
}
