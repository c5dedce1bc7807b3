//! Opens blocks and reads series from them.

use super::{
    clocks::{Placement, take_clock},
    cuts::{Cuts, cut_runs, cut_samples},
    dictionary::{push_table, rebuild_postings, walk_labels},
    format::{ClockEntry, Footer, OVERWRITES, Part, Section, SeriesEntry, Table, ValueEntry, WindowEntry, find_parts},
    lookup::LabelIndex,
    order::Place,
    series::{Body, Chunk, SeriesHead, take_record},
    values::{Kind, decode},
};
use crate::{
    model::{HistogramSample, Labels, MatchOp, Matcher, Samples, TimeRange, Timestamp},
    stdx::{
        bytes::take_varint_signed,
        vfs::{FileBytes, Vfs},
    },
    store::{
        StoreError,
        tsdb::{
            codec::{skip_histogram, take_histogram},
            head::{clock::stretches, column::read_ticks},
            log::Position,
            policy::{Policies, Share},
            run::Run,
        },
    },
};
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// One block, open for reading by any number of threads.
pub struct Block {
    pub footer: Footer,
    pub path: PathBuf,
    bytes: Box<dyn FileBytes>,
    /// Where the parts of the essentials lie in the file, in the copy that is whole.
    parts: [Section; super::format::PARTS],
    /// In place of a damaged part of the file.
    table: Option<Vec<u8>>,
    postings: Option<Vec<u8>>,
    vfs: Arc<dyn Vfs>,
    /// How long its buckets are; [`Block::SAMPLES`] where it is a block of samples.
    pub resolution_ms: i64,
    /// What was deleted of it, and whether anything was: most blocks are read without asking for more.
    pub(super) cuts: RwLock<Arc<Cuts>>,
    pub(super) is_cut: AtomicBool,
    /// What it has of each policy: asked for often, found out once.
    shares: OnceLock<Vec<Share>>,
    /// Series whose damage has been counted and logged: a dashboard would meet it every few seconds.
    reported: Mutex<BTreeSet<u32>>,
    /// Another block has its samples, or retention has dropped it: the file goes when the last reader does.
    pub dropped: AtomicBool,
    damaged: Arc<Damaged>,
    /// Of the clock's elapsed time.
    pub opened_ms: i64,
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

/// The clocks of a block that one query has decoded so far.
#[derive(Default)]
pub struct ClockCache(Vec<OnceLock<Box<[u32]>>>);

#[cfg(test)]
impl ClockCache {
    /// How many clocks the block has.
    pub fn clocks(&self) -> usize {
        self.0.len()
    }
}

impl Block {
    /// Maps a file and checks everything but the data. What is damaged and can be had otherwise is counted and had
    /// otherwise; fails where labels or clocks are lost.
    pub fn open(vfs: &Arc<dyn Vfs>, path: &Path, damaged: &Arc<Damaged>, opened_ms: i64) -> Result<Block, StoreError> {
        let bytes = vfs.map(path).map_err(StoreError::io("opening a block"))?;
        let file = bytes.bytes();
        let lost = || StoreError::Damaged(format!("{} is no whole block; its samples are not served", path.display()));
        let (footer, mut mended) = Footer::find(file).ok_or_else(lost)?;
        let is_whole = |section: &Section| crc32c::crc32c(section.of(file)) == footer.essentials_crc;
        // Both are looked at: who hears of damage only when the last copy is lost hears of it too late.
        let copies = [footer.essentials, footer.essentials_copy];
        let whole: Vec<Section> = copies.into_iter().filter(is_whole).collect();
        let essentials = *whole.first().ok_or_else(lost)?;
        mended |= whole.len() < copies.len();
        let mut parts = find_parts(essentials.of(file)).ok_or_else(lost)?;
        parts.iter_mut().for_each(|part| part.offset += essentials.offset);
        let part = |part: Part| parts[part as usize].of(file);
        let table = if crc32c::crc32c(footer.table.of(file)) == footer.table_crc {
            None
        } else {
            mended = true;
            Some(rebuild_table(footer.data(), file, part(Part::Labels)).ok_or_else(lost)?)
        };
        let postings = if crc32c::crc32c(footer.postings.of(file)) == footer.postings_crc {
            None
        } else {
            mended = true;
            let values = Table(part(Part::Values)).len::<ValueEntry>();
            Some(rebuild_postings(part(Part::Labels), values).ok_or_else(lost)?)
        };
        if mended {
            damaged.add(1);
            tracing::warn!(path = %path.display(), "A block's index is damaged; its copy is used. Nothing is lost yet.");
        }
        Ok(Block {
            footer,
            path: path.to_owned(),
            parts,
            table,
            postings,
            vfs: vfs.clone(),
            resolution_ms: Block::SAMPLES,
            cuts: RwLock::default(),
            is_cut: AtomicBool::new(false),
            shares: OnceLock::new(),
            reported: Mutex::default(),
            dropped: AtomicBool::new(false),
            damaged: damaged.clone(),
            opened_ms,
            bytes,
        })
    }

    /// The resolution of samples: each of them is a bucket.
    pub const SAMPLES: i64 = 1;

    /// A file of buckets says nowhere how long they are: its directory does.
    pub fn with_resolution(mut self, resolution_ms: i64) -> Block {
        self.resolution_ms = resolution_ms;
        self
    }

    pub fn file_bytes(&self) -> u64 {
        self.bytes.bytes().len() as u64
    }

    pub fn range(&self) -> Option<TimeRange> {
        TimeRange::new(self.footer.oldest, self.footer.newest)
    }

    fn part(&self, part: Part) -> &[u8] {
        self.parts[part as usize].of(self.bytes.bytes())
    }

    fn table(&self) -> Table<'_> {
        Table(self.table.as_deref().unwrap_or_else(|| self.footer.table.of(self.bytes.bytes())))
    }

    /// Each window it has samples of, and what that was sealed through; a window that was sealed several times is there
    /// as often, so that each tells one sealed file.
    pub fn windows(&self) -> impl Iterator<Item = (Timestamp, Position)> + '_ {
        let table = Table(self.part(Part::Windows));
        (0..table.len::<WindowEntry>()).filter_map(move |at| {
            let entry: WindowEntry = table.get(at)?;
            Some((entry.start, Position(entry.through)))
        })
    }

    /// Gives back the memory that opening it took.
    pub fn leave(&self) {
        self.bytes.leave();
    }

    /// Whether this very window, sealed through that very position, is contained.
    pub fn names(&self, window: (Timestamp, Position)) -> bool {
        let table = Table(self.part(Part::Windows));
        let (mut from, mut to) = (0, table.len::<WindowEntry>());
        // They are written in order.
        while from < to {
            let middle = from.midpoint(to);
            let Some(entry) = table.get::<WindowEntry>(middle) else { return false };
            match (entry.start, Position(entry.through)).cmp(&window) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        false
    }

    /// Log records before this that have samples of a window are contained; `None` where none are.
    pub fn sealed_through(&self, window: Timestamp) -> Option<Position> {
        self.windows().filter(|(start, _)| *start == window).map(|(_, through)| through).max()
    }

    /// Whether another block has all that is in this one: it was merged into that, and should have been removed. What was
    /// sealed later for the same window does not contain it: that may have been written while this could not be read.
    pub fn is_contained_in(&self, other: &Block) -> bool {
        if self.footer.start < other.footer.start || other.footer.end() < self.footer.end() {
            return false;
        }
        let theirs: BTreeSet<(Timestamp, Position)> = other.windows().collect();
        // A merge that could not be put in place leaves a block of the same level as the one that took its part.
        let is_newer = self.footer.level < other.footer.level || self.windows().count() < theirs.len();
        is_newer && self.windows().all(|window| theirs.contains(&window))
    }

    pub fn index(&self) -> LabelIndex<'_> {
        let postings = self.postings.as_deref().unwrap_or_else(|| self.footer.postings.of(self.bytes.bytes()));
        LabelIndex {
            names: Table(self.part(Part::Names)),
            values: Table(self.part(Part::Values)),
            texts: self.part(Part::Texts),
            labels: self.part(Part::Labels),
            postings,
            series: self.series(),
        }
    }

    /// What the name of a block's file says it was sealed through; `None` where it is no such name.
    pub fn sealed_through_of(name: &str) -> Option<Position> {
        let through = name.strip_suffix(".block")?.rsplit('-').nth(1)?;
        u64::from_str_radix(through, 16).ok().map(Position)
    }

    /// What it has of each of the policies in force, and of the rest.
    pub fn shares(&self, policies: &Policies) -> &[Share] {
        self.shares.get_or_init(|| policies.shares(self))
    }

    /// How many series there are; they are numbered from 0 in the order of their labels.
    pub fn series(&self) -> u32 {
        u32::try_from(self.footer.series.min(self.table().len::<SeriesEntry>() as u64)).unwrap_or(u32::MAX)
    }

    /// Numbers of the series that pass all matchers and of which something is left.
    pub fn find(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut found = self.index().find(matchers);
        let cuts = self.cuts();
        if !cuts.is_empty() {
            found -= cuts.gone();
        }
        found
    }

    /// Adds the label names of the series of which something is left.
    pub fn add_names(&self, names: &mut BTreeSet<String>) {
        let (index, cuts) = (self.index(), self.cuts());
        let is_left = |name: &str| {
            cuts.gone().is_empty()
                || index.values(name).any(|(_, entry)| !index.series_of(&entry).is_subset(cuts.gone()))
        };
        names.extend(index.names().filter(|name| is_left(name)).map(str::to_owned));
    }

    /// Adds the values that a label has in the series of which something is left.
    pub fn add_values(&self, name: &str, values: &mut BTreeSet<String>) {
        let (index, cuts) = (self.index(), self.cuts());
        let is_left = |entry: &ValueEntry| cuts.gone().is_empty() || !index.series_of(entry).is_subset(cuts.gone());
        values.extend(index.values(name).filter(|(_, entry)| is_left(entry)).map(|(value, _)| value.to_owned()));
    }

    pub fn labels(&self, series: u32) -> Option<Labels> {
        let entry: SeriesEntry = self.table().get(series as usize)?;
        self.index().labels(entry.labels_offset)
    }

    /// How a series stands to parts of it elsewhere.
    pub fn place(&self, series: u32) -> Place {
        let entry: Option<SeriesEntry> = self.table().get(series as usize);
        let overwrites = entry.is_some_and(|entry| entry.overwrites());
        let Footer { start, sealed_through, level, .. } = self.footer;
        Place { start, end: self.footer.end(), overwrites, generation: sealed_through.0, level }
    }

    pub(super) fn record(&self, series: u32) -> Option<&[u8]> {
        let entry: SeriesEntry = self.table().get(series as usize)?;
        self.bytes.bytes().get(entry.data_offset() as usize..self.footer.essentials.offset as usize)
    }

    /// The head of a series' record and the bytes from its bodies on; `None` where it is damaged.
    pub(super) fn head(&self, series: u32) -> Option<(SeriesHead, &[u8])> {
        let mut bodies = self.record(series)?;
        Some((take_record(&mut bodies)?, bodies))
    }

    /// Bytes from a series' record to the next: what it takes of the data, told by the table alone.
    pub fn series_extent(&self, series: u32) -> u64 {
        let start_of = |series: u32| self.table().get::<SeriesEntry>(series as usize).map(|entry| entry.data_offset());
        let end = start_of(series.saturating_add(1)).unwrap_or(u64::MAX).min(self.footer.essentials.offset);
        start_of(series).map_or(0, |start| end.saturating_sub(start))
    }

    /// Series of which a chunk was found to be damaged.
    pub fn damaged_series(&self) -> u64 {
        self.reported.lock().len() as u64
    }

    /// Bytes that a series takes in the data; 0 where its record is damaged.
    pub fn series_bytes(&self, series: u32) -> u64 {
        let Some(record) = self.record(series) else { return 0 };
        let mut input = record;
        let head = take_record(&mut input);
        head.map_or(0, |head| (record.len() - input.len()) as u64 + head.body_bytes())
    }

    pub fn clock_cache(&self) -> ClockCache {
        ClockCache((0..self.clock_count()).map(|_| OnceLock::new()).collect())
    }

    fn clock_count(&self) -> usize {
        Table(self.part(Part::Clocks)).len::<ClockEntry>()
    }

    pub(super) fn clock<'c>(&self, cache: &'c ClockCache, number: u32) -> Option<&'c [u32]> {
        let decode = || {
            let entry: ClockEntry = Table(self.part(Part::Clocks)).get(number as usize)?;
            let ticks = take_clock(self.part(Part::ClockBytes).get(entry.offset as usize..)?, entry.ticks as usize)?;
            // Ticks ascend: where the last lies within the block, so do all.
            let last = i64::from(*ticks.last()?);
            (last < self.footer.span_ms && self.footer.start.checked_add(last).is_some()).then_some(ticks)
        };
        let decoded = cache.0.get(number as usize)?.get_or_init(|| decode().unwrap_or_default());
        (!decoded.is_empty()).then_some(decoded)
    }

    /// Appends the samples of a series within `range` in order of time, and to `runs` the runs that ended here. One
    /// damaged chunk costs its own samples, not the answer: it is counted and logged once.
    pub fn read(&self, series: u32, range: TimeRange, clocks: &ClockCache, samples: &mut Samples, runs: &mut Vec<Run>) {
        let (floats, histograms, ended) = (samples.timestamps.len(), samples.histograms.len(), runs.len());
        if self.try_read(series, range, clocks, samples, runs).is_none() {
            self.report(series);
        }
        let cuts = self.cuts_of(series);
        if !cuts.is_empty() {
            cut_samples(samples, floats, histograms, &cuts);
            cut_runs(runs, ended, &cuts);
        }
    }

    /// As [`Block::read`], of the series with these labels where there is one, and without its runs.
    pub fn read_labelled(&self, labels: &Labels, range: TimeRange, clocks: &ClockCache, samples: &mut Samples) {
        let matchers = labels.iter().filter_map(|(name, value)| Matcher::new(MatchOp::Equal, name, value).ok());
        let found = self.find(&matchers.collect::<Vec<_>>());
        if let Some(series) = found.iter().find(|series| self.labels(*series).as_ref() == Some(labels)) {
            self.read(series, range, clocks, samples, &mut Vec::new());
        }
    }

    /// Counts and logs damage of a series, once.
    pub(super) fn report(&self, series: u32) {
        if self.reported.lock().insert(series) {
            self.damaged.add(1);
            tracing::error!(path = %self.path.display(), series, "A chunk is damaged; its samples are lost.");
        }
    }

    /// `None` where something is damaged; the rest has been read.
    fn try_read(
        &self,
        series: u32,
        range: TimeRange,
        clocks: &ClockCache,
        samples: &mut Samples,
        runs: &mut Vec<Run>,
    ) -> Option<()> {
        let (head, mut bodies) = self.head(series)?;
        let SeriesHead { chunks, has_columns, histograms, histograms_body, runs: ended, .. } = head;
        if has_columns {
            // No samples but buckets: `tier` reads them.
            runs.extend(ended);
            return Some(());
        }
        let mut whole = Some(());
        for chunk in &chunks {
            let from_here = bodies;
            bodies.split_off(..usize::try_from(chunk.body.length).ok()?)?;
            whole = whole.and(self.read_chunk(chunk, from_here, range, clocks, samples));
        }
        runs.extend(ended);
        if histograms > 0 {
            let body = bodies.split_off(..usize::try_from(histograms_body.length).ok()?)?;
            whole = whole.and(read_histograms(body, histograms, histograms_body, range, samples));
        }
        whole
    }

    /// Appends the samples of a chunk within `range`; its body is what `bodies` begin with. `None` where it is damaged.
    pub(super) fn read_chunk(
        &self,
        chunk: &Chunk,
        bodies: &[u8],
        range: TimeRange,
        clocks: &ClockCache,
        samples: &mut Samples,
    ) -> Option<()> {
        let placement = &chunk.placement;
        let clock = self.clock(clocks, placement.clock)?;
        let stretch = (placement.first, placement.ticks);
        read_ticks(self.footer.start, clock, stretch, &placement.gaps, range, samples, |values| {
            let length = usize::try_from(chunk.body.length).ok()?;
            if !matches!(chunk.kind, Kind::Constant(_)) && crc32c::crc32c(bodies.get(..length)?) != chunk.body.crc {
                return None;
            }
            decode(chunk.kind, bodies, length, chunk.count as usize, values)
        })
    }
}

impl Block {
    /// Appends the times of a chunk within `range`; `None` where its clock is damaged.
    pub(super) fn read_chunk_times(
        &self,
        chunk: &Chunk,
        range: TimeRange,
        clocks: &ClockCache,
        times: &mut Vec<Timestamp>,
    ) -> Option<()> {
        let Placement { clock, first, ticks, gaps } = &chunk.placement;
        let first = *first as usize;
        let clock = self.clock(clocks, *clock)?.get(first..first.checked_add(*ticks as usize)?)?;
        stretches(*ticks, gaps, |from, to| {
            let at = clock[from as usize..to as usize].iter().map(|tick| self.footer.start + i64::from(*tick));
            times.extend(at.filter(|at| range.contains(*at)));
        });
        Some(())
    }
}

fn read_histograms(mut body: &[u8], count: u64, expected: Body, range: TimeRange, samples: &mut Samples) -> Option<()> {
    if crc32c::crc32c(body) != expected.crc {
        return None;
    }
    for _ in 0..count {
        let timestamp = take_varint_signed(&mut body)?;
        if timestamp > range.end() {
            break;
        }
        // A block has days of them, a question often asks for minutes.
        if timestamp < range.start() {
            skip_histogram(&mut body)?;
        } else {
            let histogram = Arc::new(take_histogram(&mut body)?);
            samples.histograms.push(HistogramSample { timestamp, histogram });
        }
    }
    Some(())
}

/// Finds the table again by walking the records; series behind a damaged one are lost with it.
fn rebuild_table(data: Section, file: &[u8], labels: &[u8]) -> Option<Vec<u8>> {
    let mut labels_offsets = Vec::new();
    walk_labels(labels, |_, offset, _| labels_offsets.push(offset))?;
    let whole = data.of(file);
    let (mut input, mut records) = (whole, Vec::with_capacity(labels_offsets.len()));
    while records.len() < labels_offsets.len() {
        let at = data.offset + (whole.len() - input.len()) as u64;
        let Some(head) = take_record(&mut input) else { break };
        let body_bytes = usize::try_from(head.body_bytes()).ok();
        let Some(rest) = body_bytes.and_then(|bytes| input.get(bytes..)) else { break };
        records.push(at | if head.overwrites { OVERWRITES } else { 0 });
        input = rest;
    }
    // A place outside is a series whose samples cannot be read; its labels stay known.
    records.resize(labels_offsets.len(), !OVERWRITES);
    let mut table = Vec::new();
    push_table(&mut table, &records, &labels_offsets);
    Some(table)
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.dropped.load(Ordering::Acquire)
            && let Err(error) = self.vfs.remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "A block that is no longer needed could not be removed.");
        }
    }
}
