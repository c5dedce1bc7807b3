//! Builds the files of tiers.

use super::{
    buckets::{Row, coarser, columns_for, draft_rows, fill, read_rows, rows_of, samples_of},
    columns::{Columns, columns_of},
    histograms::{Kept, is_sparse, kept_of, read_kept},
    kind::MetricKind,
};
use crate::{
    model::{Labels, Samples, TimeRange, Timestamp},
    stdx::vfs::Vfs,
    store::{
        StoreError,
        tsdb::{
            block::{
                Block, ClockCache, Draft, Heads, MergeTarget, Plan, Progress, Watch, Writer, bounds, put_in_order,
            },
            head::sort_samples,
            log::Position,
            run::{Run, put_runs_in_order},
        },
    },
};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// A file that is to be built.
pub struct TierTarget {
    /// Where it goes.
    pub directory: PathBuf,
    pub resolution_ms: i64,
    /// The file it takes the place of, whose buckets stay as they are; `None` where all samples are there.
    pub old: Option<Arc<Block>>,
    /// What it is built of has nothing any more of deletions before this.
    pub cleaned: Position,
}

/// Reads `raw` as a query would and writes one file for each target, finest resolution first, each of which divides the
/// next; gives their paths, `None` for one with nothing in it and for all where it was cancelled. All blocks lie within
/// `target`. `kind_of` is asked for series that had no columns before; `keeps` says whether a series belongs into the
/// tier of a resolution. Memory holds one series and the indexes.
#[expect(clippy::too_many_arguments, reason = "each is a seam of its own")]
pub fn build_tiers(
    vfs: &dyn Vfs,
    raw: &[Arc<Block>],
    target: MergeTarget,
    targets: &[TierTarget],
    level: u64,
    kind_of: &dyn Fn(&Labels) -> MetricKind,
    keeps: &dyn Fn(&Labels, i64) -> bool,
    progress: &Progress,
) -> Result<Vec<Option<PathBuf>>, StoreError> {
    let mut writers = Vec::with_capacity(targets.len());
    for tier in targets {
        let blocks = raw.iter().chain(&tier.old);
        let windows: BTreeSet<(Timestamp, Position)> = blocks.flat_map(|block| block.windows()).collect();
        let MergeTarget { start, span_ms } = target;
        let plan = Plan { start, span_ms, level, windows: windows.into_iter().collect(), cleaned: tier.cleaned };
        match Writer::new(vfs, &tier.directory, plan) {
            Ok(writer) => writers.push(writer),
            Err(error) => {
                writers.into_iter().for_each(Writer::discard);
                return Err(error);
            }
        }
    }
    let mut build = Build { raw, start: target.start, targets, writers, kind_of, keeps };
    let done = build.run(progress);
    let mut paths = Vec::with_capacity(targets.len());
    let (mut is_whole, mut failed) = (matches!(done, Ok(true)), done.err());
    for writer in build.writers {
        if !is_whole || writer.is_empty() {
            writer.discard();
            paths.push(None);
            continue;
        }
        match writer.finish() {
            Ok(path) => paths.push(Some(path)),
            Err(error) => (is_whole, failed) = (false, Some(error)),
        }
    }
    failed.map_or(Ok(paths), Err)
}

struct Build<'a> {
    raw: &'a [Arc<Block>],
    start: Timestamp,
    targets: &'a [TierTarget],
    writers: Vec<Writer<'a>>,
    kind_of: &'a dyn Fn(&Labels) -> MetricKind,
    keeps: &'a dyn Fn(&Labels, i64) -> bool,
}

/// Reused from series to series.
#[derive(Default)]
struct Buffers {
    samples: Samples,
    runs: Vec<Run>,
    rows: Vec<Row>,
    finer: Vec<Row>,
    draft: Draft,
}

impl Build<'_> {
    /// `false` where it was cancelled.
    fn run(&mut self, progress: &Progress) -> Result<bool, StoreError> {
        // The files whose buckets stay stand behind the raw blocks, each with the number of its target.
        let olds: Vec<(usize, Arc<Block>)> =
            self.targets.iter().enumerate().filter_map(|(at, tier)| Some((at, tier.old.clone()?))).collect();
        let blocks: Vec<Arc<Block>> = self.raw.iter().chain(olds.iter().map(|(_, old)| old)).cloned().collect();
        let mut watch = Watch::new(progress, &blocks);
        let caches: Vec<ClockCache> = blocks.iter().map(|block| block.clock_cache()).collect();
        let mut heads = Heads::new(&blocks);
        let mut parts: Vec<(usize, u32)> = Vec::new();
        let mut buffers = Buffers::default();
        while let Some(labels) = heads.next(&mut parts) {
            if !watch.goes_on(parts.len(), || self.position()) {
                return Ok(false);
            }
            let mut old: Vec<Option<OldSeries<'_>>> = self.targets.iter().map(|_| None).collect();
            for (block, series) in parts.extract_if(.., |(block, _)| *block >= self.raw.len()) {
                let (at, file) = &olds[block - self.raw.len()];
                old[*at] = Some(OldSeries { file, series, clocks: &caches[block] });
            }
            // What is there stays, also where the series belongs into tiers no more.
            let goes_in = |(old, tier): (&Option<OldSeries<'_>>, &TierTarget)| {
                old.is_some() || (self.keeps)(&labels, tier.resolution_ms)
            };
            let goes_in: Vec<bool> = old.iter().zip(self.targets).map(goes_in).collect();
            if !goes_in.contains(&true) {
                continue;
            }
            put_in_order(&mut parts, |(block, series)| self.raw[*block].place(*series));
            buffers.samples.clear();
            buffers.runs.clear();
            for (block, series) in &parts {
                let (samples, runs) = (&mut buffers.samples, &mut buffers.runs);
                self.raw[*block].read(*series, TimeRange::ALL, &caches[*block], samples, runs);
            }
            sort_samples(&mut buffers.samples, true);
            self.write_series(&labels, &old, &goes_in, &mut buffers)?;
        }
        watch.tell(self.position());
        Ok(true)
    }

    fn position(&self) -> u64 {
        self.writers.iter().map(Writer::position).sum()
    }

    fn write_series(
        &mut self,
        labels: &Labels,
        old: &[Option<OldSeries<'_>>],
        goes_in: &[bool],
        buffers: &mut Buffers,
    ) -> Result<(), StoreError> {
        let mut kind = None;
        let Buffers { samples, runs: raw_runs, rows, finer, draft } = buffers;
        for (at, (tier, old)) in self.targets.iter().zip(old).enumerate() {
            let resolution_ms = tier.resolution_ms;
            rows.clear();
            match at {
                0 => rows_of(samples, resolution_ms, rows),
                _ => coarser(finer, resolution_ms, rows),
            }
            finer.clone_from(rows);
            if !goes_in[at] {
                continue;
            }
            let mut runs = raw_runs.clone();
            let mut buckets =
                Buckets { columns: None, rows: Vec::new(), kept: kept_of(&samples.histograms, resolution_ms) };
            buckets.rows.append(rows);
            buckets.end_before_histograms(samples, resolution_ms);
            if let Some(old) = old {
                buckets = old.read(resolution_ms, &mut runs).filled_with(buckets);
            }
            put_runs_in_order(&mut runs);
            draft.clear();
            let writer = &mut self.writers[at];
            let known = || *kind.get_or_insert_with(|| (self.kind_of)(labels));
            if let Some(bounds) = buckets.draft(draft, known, self.start, &runs, writer) {
                writer.push(labels, draft, bounds)?;
            }
        }
        Ok(())
    }
}

/// A series in the file whose buckets stay.
struct OldSeries<'a> {
    file: &'a Block,
    series: u32,
    clocks: &'a ClockCache,
}

impl OldSeries<'_> {
    fn read(&self, resolution_ms: i64, runs: &mut Vec<Run>) -> Buckets {
        let mut buckets = Buckets { columns: None, rows: Vec::new(), kept: Vec::new() };
        let Some(record) = self.file.record_of(self.series) else { return buckets };
        match columns_of(&record) {
            Some(columns) => {
                // What fills it may need a column that nothing did so far.
                buckets.columns = columns.of_kind();
                runs.extend_from_slice(record.runs());
                read_rows(&record, columns, resolution_ms, self.clocks, &mut buckets.rows);
                buckets.kept = read_kept(&record, TimeRange::ALL, resolution_ms);
            }
            None => {
                let mut samples = Samples::default();
                self.file.read(self.series, TimeRange::ALL, self.clocks, &mut samples, runs);
                rows_of(&samples, resolution_ms, &mut buckets.rows);
                buckets.kept = kept_of(&samples.histograms, resolution_ms);
            }
        }
        buckets
    }
}

/// All buckets of a series.
struct Buckets {
    /// Those of the kind that the file it comes from had; `None` where that had samples or no value, or there was none.
    columns: Option<Columns>,
    rows: Vec<Row>,
    kept: Vec<Kept>,
}

impl Buckets {
    /// A staleness marker before a histogram of the same bucket is not the last of it.
    fn end_before_histograms(&mut self, samples: &Samples, resolution_ms: i64) {
        if samples.histograms.is_empty() {
            return;
        }
        for row in &mut self.rows {
            let until = samples.histograms.partition_point(|sample| sample.timestamp <= row.end);
            let last = until.checked_sub(1).map(|at| samples.histograms[at].timestamp);
            let last = last.filter(|at| *at > row.end.saturating_sub(resolution_ms));
            row.stale_at = row.stale_at.filter(|stale_at| last.is_none_or(|last| last < *stale_at));
        }
        self.rows.retain(|row| row.count > 0 || row.stale_at.is_some());
    }

    /// Puts those of `late` into the buckets that are empty.
    fn filled_with(mut self, late: Buckets) -> Buckets {
        let mut ends: Vec<Timestamp> = self.rows.iter().map(|row| row.end).collect();
        ends.extend(self.kept.iter().map(|kept| kept.end));
        ends.sort_unstable();
        let is_filled = |end: Timestamp| ends.binary_search(&end).is_ok();
        fill(&mut self.rows, &late.rows, is_filled);
        self.kept.extend(late.kept.into_iter().filter(|kept| !is_filled(kept.end)));
        self.kept.sort_by_key(|kept| kept.end);
        self
    }

    /// Writes them into a draft; gives the first and the last time there is something at, `None` where there is nothing.
    fn draft(
        self,
        draft: &mut Draft,
        kind: impl FnOnce() -> MetricKind,
        start: Timestamp,
        runs: &[Run],
        writer: &mut Writer<'_>,
    ) -> Option<(Timestamp, Timestamp)> {
        draft.runs(runs);
        let histograms = self.kept.iter().map(|kept| kept.sample.clone()).collect();
        let mut samples = Samples { histograms, ..Samples::default() };
        let is_sample = self.columns.is_none() && is_sparse(&self.kept);
        if let Some((timestamps, values)) = is_sample.then(|| samples_of(&self.rows)).flatten() {
            (samples.timestamps, samples.values) = (timestamps, values);
            draft.samples(start, &samples, &mut writer.clocks);
            return bounds(&samples, runs);
        }
        let columns = columns_for(self.columns.unwrap_or_else(|| kind().columns()), &self.rows);
        draft_rows(draft, columns, &self.rows, start, &mut writer.clocks);
        let weighted = self.kept.iter().map(|kept| (kept.sample.timestamp, kept.weight, &*kept.sample.histogram));
        draft.weighted_histograms(weighted);
        let ends = self.rows.iter().flat_map(|row| {
            let filled = (row.count > 0).then_some([row.first_at, row.last_at]);
            filled.into_iter().flatten().chain(row.stale_at)
        });
        samples.timestamps = ends.collect();
        samples.timestamps.sort_unstable();
        bounds(&samples, runs)
    }
}
