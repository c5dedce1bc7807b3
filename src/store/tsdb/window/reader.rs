//! Opens window files and reads series from them.

use super::{
    format::{ClockEntry, Footer, Section, SeriesEntry},
    index::{LabelIndex, Table},
};
use crate::{
    model::{HistogramSample, Labels, Matcher, Samples, TimeRange},
    stdx::{
        bytes::{take_slice, take_varint, take_varint_signed},
        vfs::{FileBytes, Vfs},
    },
    store::{
        StoreError,
        tsdb::{
            codec::{take_histogram, take_run},
            head::column::read_ticks,
            run::Run,
        },
    },
};
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// One sealed window.
pub struct WindowFile {
    pub footer: Footer,
    pub path: PathBuf,
    bytes: Box<dyn FileBytes>,
    vfs: Arc<dyn Vfs>,
    /// The index is checked when it is first used, not when the file is opened: opening stays cheap with a month of
    /// files.
    index_intact: OnceLock<bool>,
    /// Series whose damage has been counted and logged: a dashboard would meet it every few seconds.
    reported: Mutex<BTreeSet<u32>>,
    /// Retention has dropped it: the file goes when the last reader does.
    pub dropped: AtomicBool,
    damaged: Arc<Damaged>,
}

/// What damage was met since the start.
#[derive(Debug, Default)]
pub struct Damaged {
    count: AtomicU64,
}

impl Damaged {
    pub fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// The clocks of a file that one query has decoded so far.
pub struct ClockCache(Vec<OnceLock<Box<[u32]>>>);

impl WindowFile {
    /// Maps a file and checks its header and footer.
    pub fn open(vfs: &Arc<dyn Vfs>, path: &Path, damaged: &Arc<Damaged>) -> Result<WindowFile, StoreError> {
        let bytes = vfs.map(path).map_err(StoreError::io("opening a window file"))?;
        let footer = Footer::decode(bytes.bytes()).ok_or_else(|| {
            StoreError::Damaged(format!("{} is no whole window file; its samples are not served", path.display()))
        })?;
        Ok(WindowFile {
            footer,
            path: path.to_owned(),
            bytes,
            vfs: vfs.clone(),
            index_intact: OnceLock::new(),
            reported: Mutex::default(),
            dropped: AtomicBool::new(false),
            damaged: damaged.clone(),
        })
    }

    pub fn file_bytes(&self) -> u64 {
        self.bytes.bytes().len() as u64
    }

    pub fn range(&self) -> Option<TimeRange> {
        TimeRange::new(self.footer.oldest, self.footer.newest)
    }

    /// Whether the index has its checksum; read once, then remembered.
    pub fn is_intact(&self) -> bool {
        *self.index_intact.get_or_init(|| {
            let intact = crc32c::crc32c(self.section(self.footer.index())) == self.footer.index_crc;
            if !intact {
                self.damaged.add(1);
                tracing::error!(path = %self.path.display(), "The index of a window file is damaged; it is not served.");
            }
            intact
        })
    }

    fn section(&self, section: Section) -> &[u8] {
        let range = section.offset as usize..section.offset.saturating_add(section.length) as usize;
        self.bytes.bytes().get(range).unwrap_or_default()
    }

    fn series_table(&self) -> Table<'_> {
        Table::new(self.bytes.bytes(), self.footer.series)
    }

    pub fn series_count(&self) -> usize {
        self.series_table().len::<SeriesEntry>()
    }

    /// The label index; empty where it is damaged.
    pub fn index(&self) -> LabelIndex<'_> {
        let (file, footer) = (self.bytes.bytes(), &self.footer);
        let intact = self.is_intact();
        let section = |section: Section| if intact { section } else { Section::default() };
        LabelIndex {
            names: Table::new(file, section(footer.names)),
            values: Table::new(file, section(footer.values)),
            texts: self.section(section(footer.texts)),
            postings: self.section(section(footer.postings)),
            series: if intact { self.series_count() as u32 } else { 0 },
        }
    }

    /// Numbers of the series that pass all matchers.
    pub fn find(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.index().find(matchers)
    }

    fn entry(&self, series: u32) -> Option<SeriesEntry> {
        self.series_table().get(series as usize)
    }

    /// The label bytes of a series, as [`Labels::as_bytes`] gives them.
    pub fn label_bytes(&self, series: u32) -> Option<&[u8]> {
        let entry = self.entry(series)?;
        let from = entry.labels_offset as usize;
        self.section(self.footer.labels).get(from..from.checked_add(entry.labels_length as usize)?)
    }

    pub fn labels(&self, series: u32) -> Option<Labels> {
        Labels::from_bytes(self.label_bytes(series)?).ok()
    }

    /// Whether the samples of a series replace those of the same time in older files.
    pub fn overwrites(&self, series: u32) -> bool {
        self.entry(series).is_some_and(|entry| entry.overwrites == 1)
    }

    pub fn clock_cache(&self) -> ClockCache {
        let count = Table::new(self.bytes.bytes(), self.footer.clocks).len::<ClockEntry>();
        ClockCache((0..count).map(|_| OnceLock::new()).collect())
    }

    fn clock<'c>(&self, cache: &'c ClockCache, number: usize) -> Option<&'c [u32]> {
        let decoded = cache.0.get(number)?.get_or_init(|| self.decode_clock(number).unwrap_or_default());
        (!decoded.is_empty()).then_some(decoded)
    }

    fn decode_clock(&self, number: usize) -> Option<Box<[u32]>> {
        let entry: ClockEntry = Table::new(self.bytes.bytes(), self.footer.clocks).get(number)?;
        let mut input = self.section(Section { offset: entry.offset, length: u64::from(entry.length) });
        if crc32c::crc32c(input) != entry.crc {
            return None;
        }
        let mut tick = 0u32;
        let ticks = (0..entry.ticks).map(|_| {
            tick = tick.checked_add(u32::try_from(take_varint(&mut input)?).ok()?)?;
            Some(tick)
        });
        ticks.collect()
    }

    /// Appends the samples of a series within `range` in order of time, and to `runs` the runs that ended here. One
    /// damaged chunk costs its own samples, not the answer: it is counted and logged once.
    pub fn read(&self, series: u32, range: TimeRange, clocks: &ClockCache, samples: &mut Samples, runs: &mut Vec<Run>) {
        if self.try_read(series, range, clocks, samples, runs).is_none() && self.reported.lock().insert(series) {
            self.damaged.add(1);
            tracing::error!(path = %self.path.display(), series, "A chunk is damaged; its samples are lost.");
        }
    }

    fn try_read(
        &self,
        series: u32,
        range: TimeRange,
        clocks: &ClockCache,
        samples: &mut Samples,
        runs: &mut Vec<Run>,
    ) -> Option<()> {
        let entry = self.entry(series)?;
        let mut input = self.section(Section { offset: entry.data_offset, length: u64::from(entry.data_length) });
        if crc32c::crc32c(input) != entry.data_crc {
            return None;
        }
        for _ in 0..take_varint(&mut input)? {
            self.read_chunk(&mut input, range, clocks, samples)?;
        }
        for _ in 0..take_varint(&mut input)? {
            let timestamp = take_varint_signed(&mut input)?;
            let histogram = take_histogram(&mut input)?;
            if range.contains(timestamp) {
                samples.histograms.push(HistogramSample { timestamp, histogram: Arc::new(histogram) });
            }
        }
        for _ in 0..take_varint(&mut input)? {
            runs.push(take_run(&mut input)?);
        }
        Some(())
    }

    fn read_chunk(
        &self,
        input: &mut &[u8],
        range: TimeRange,
        clocks: &ClockCache,
        samples: &mut Samples,
    ) -> Option<()> {
        let mut number = || take_varint(input).and_then(|number| u32::try_from(number).ok());
        let (clock, first, ticks, gap_count) = (number()?, number()?, number()?, number()?);
        let mut gaps = Vec::new();
        for _ in 0..gap_count {
            let gap = (number()?, number()?);
            if gap.0.checked_add(gap.1)? > ticks {
                return None;
            }
            gaps.push(gap);
        }
        let count = number()? as usize;
        let packed = take_slice(input)?;
        let ticks_of = self.clock(clocks, clock as usize)?;
        read_ticks(self.footer.window, ticks_of, (first, ticks), &gaps, range, samples, |values| {
            (count <= ticks as usize).then_some(())?;
            crate::store::tsdb::head::values::read_blocks(packed, count, values)
        })
    }
}

impl Drop for WindowFile {
    fn drop(&mut self) {
        if self.dropped.load(Ordering::Acquire)
            && let Err(error) = self.vfs.remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "A window past its retention could not be removed.");
        }
    }
}
