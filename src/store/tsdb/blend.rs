//! Reads series from samples and from buckets, each stretch of time from what suits the question.
//!
//! Where samples are there they are read, unless the question allows buckets and they give the same. Where they are gone,
//! the coarsest buckets that give the same are read, or else the finest; what came late stands beside them in the buckets
//! that are empty. What is chosen depends on what kind of metric a series is, so it is chosen series by series.

use super::{
    block::{Block, ClockCache},
    head::sort_samples,
    options::TierOptions,
    run::{Looks, Run, read_runs},
    stretch::{Stretch, is_stale},
    tier::{self, Reading, Shape, drop_filled, fidelity, filled_buckets, read_tier, shape_of},
};
use crate::{
    model::{Samples, TimeRange, Timestamp},
    store::{Fidelity, Hints, TierUse},
};
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// A stretch of a selection for which buckets come into question.
pub struct Choice {
    start: Timestamp,
    end: Timestamp,
    /// All samples are there.
    is_complete: bool,
    /// From coarsest to finest.
    candidates: Vec<Candidate>,
}

/// The files of one tier in a stretch.
pub struct Candidate {
    resolution_ms: i64,
    files: Vec<Arc<Block>>,
    reading: Reading,
    /// 0 for not read yet, else one more than the fidelity's place in [`FIDELITIES`].
    worst: AtomicU8,
}

const FIDELITIES: [Fidelity; 3] = [Fidelity::Exact, Fidelity::Widened, Fidelity::Approximate];

/// What a file has to do with a choice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it is read as it is.
    Free,
    /// Samples of the stretch with this number.
    Samples(u32),
    /// Samples of it that its buckets are built of: read only of series that have no buckets, or whose samples are kept.
    InBuckets(u32),
    /// Samples of it that are kept longer than others. Of a series that has such, samples are read and no buckets.
    Kept(u32),
    /// Buckets of the stretch and of its candidate with these numbers.
    Buckets(u32, u32),
}

/// What a selection of `range` has to choose, and the blocks of samples that are not read: those of reduced stretches
/// that the buckets are built of.
pub fn choose(
    stretches: &[Stretch],
    hints: &Hints,
    tiers: &[TierOptions],
    is_live: impl Fn(&Stretch) -> bool,
) -> (Vec<Choice>, Vec<Arc<Block>>) {
    let (mut choices, mut unread) = (Vec::new(), Vec::new());
    let shape = shape_of(hints.function, hints.range_ms);
    let reading = |resolution_ms: i64| Reading {
        shape,
        aligned: is_aligned(hints, resolution_ms),
        first_ms: hints.first_ms,
        step_ms: hints.step_ms,
        lookback_ms: hints.lookback_ms,
    };
    for stretch in stretches.iter().filter(|stretch| stretch.tiers.iter().any(|files| !files.is_empty())) {
        let is_complete = stretch.is_complete();
        // Nothing but samples will do, or there may be more of them than the buckets know.
        if is_complete && (!hints.allows_buckets || matches!(shape, Shape::Course | Shape::Values) || is_live(stretch))
        {
            continue;
        }
        let candidate = |tier: usize| Candidate {
            resolution_ms: tiers[tier].resolution_ms,
            files: stretch.tiers[tier].clone(),
            reading: reading(tiers[tier].resolution_ms),
            worst: AtomicU8::new(0),
        };
        let stands_for_samples = |tier: &usize| {
            let files = &stretch.tiers[*tier];
            let has_all = || stretch.raw.iter().all(|block| stretch.tier_has(*tier, block));
            is_aligned(hints, tiers[*tier].resolution_ms) && !files.iter().any(|file| is_stale(file)) && has_all()
        };
        let full = stretch.full_tiers().into_iter().rev();
        let candidates: Vec<Candidate> = match is_complete {
            true => full.filter(stands_for_samples).map(candidate).collect(),
            false => full.map(candidate).collect(),
        };
        if candidates.is_empty() {
            continue;
        }
        if !is_complete {
            let is_known = |block: &&Arc<Block>| (0..tiers.len()).any(|tier| stretch.tier_has(tier, block));
            unread.extend(stretch.raw.iter().filter(is_known).cloned());
        }
        choices.push(Choice { start: stretch.target.start, end: stretch.end(), is_complete, candidates });
    }
    (choices, unread)
}

/// Whether every window of a question begins and ends on the edge of a bucket.
fn is_aligned(hints: &Hints, resolution_ms: i64) -> bool {
    [hints.first_ms, hints.step_ms, hints.range_ms].iter().all(|ms| ms.rem_euclid(resolution_ms) == 0)
}

impl Choice {
    /// All files of buckets that may be read, each with its role; this is the choice with the number `own`.
    pub fn files(&self, own: u32) -> impl Iterator<Item = (Arc<Block>, Role)> + '_ {
        self.candidates.iter().enumerate().flat_map(move |(candidate, found)| {
            found.files.iter().map(move |file| (file.clone(), Role::Buckets(own, candidate as u32)))
        })
    }

    /// The resolution of the coarsest buckets that may be read.
    pub fn coarsest_ms(&self) -> i64 {
        self.candidates.iter().map(|candidate| candidate.resolution_ms).max().unwrap_or_default()
    }

    /// Whether a moment lies within.
    pub fn contains(&self, at: Timestamp) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// What was read from buckets so far.
    pub fn used(&self, range: TimeRange) -> impl Iterator<Item = TierUse> + '_ {
        let (first, last) = (self.start.max(range.start()), self.end.saturating_sub(1).min(range.end()));
        let range = TimeRange::new(first, last);
        self.candidates.iter().filter_map(move |candidate| {
            let worst = usize::from(candidate.worst.load(Ordering::Relaxed)).checked_sub(1)?;
            Some(TierUse { resolution_ms: candidate.resolution_ms, range: range?, fidelity: *FIDELITIES.get(worst)? })
        })
    }
}

/// How the sources of a selection are read.
pub trait Sources {
    type Source: Copy;

    fn role(&self, source: Self::Source) -> Role;

    /// Appends samples and runs as they are.
    fn read(&self, source: Self::Source, samples: &mut Samples, runs: &mut Vec<Run>);

    /// The file that a source of buckets is in, the series there, and the clocks of the file.
    fn file(&self, source: Self::Source) -> Option<(&Block, u32, &ClockCache)>;
}

/// What is read of a series before it is put together.
struct Blend<'a, S: Sources> {
    sources: &'a S,
    range: TimeRange,
    /// As it is in samples.
    samples: Samples,
    runs: Vec<Run>,
    /// What stands for samples, by stretch, each with the end of it.
    pieces: Vec<(Timestamp, Samples)>,
}

/// Reads a series of which some stretches are a matter of choice.
pub fn read_blended<S: Sources>(
    sources: &S,
    parts: &[S::Source],
    choices: &[Choice],
    (range, now_ms, looks): (TimeRange, Timestamp, Option<Looks>),
    out: &mut Samples,
) {
    let mut blend = Blend { sources, range, samples: std::mem::take(out), runs: Vec::new(), pieces: Vec::new() };
    for part in parts.iter().filter(|part| sources.role(**part) == Role::Free) {
        sources.read(*part, &mut blend.samples, &mut blend.runs);
    }
    for (own, choice) in (0..).zip(choices) {
        blend.read_choice(own, choice, parts);
    }
    let Blend { mut samples, mut runs, pieces, .. } = blend;
    read_runs(&mut runs, range, now_ms, looks, &mut samples);
    sort_samples(&mut samples, true);
    if !pieces.is_empty() {
        join(&mut samples, pieces);
    }
    *out = samples;
}

impl<S: Sources> Blend<'_, S> {
    fn read_choice(&mut self, own: u32, choice: &Choice, parts: &[S::Source]) {
        let sources = self.sources;
        if parts.iter().any(|part| sources.role(*part) == Role::Kept(own)) {
            let all = [Role::Samples(own), Role::InBuckets(own), Role::Kept(own)];
            let samples = parts.iter().filter(|part| all.contains(&sources.role(**part)));
            samples.for_each(|part| sources.read(*part, &mut self.samples, &mut self.runs));
            return;
        }
        let of_role = |role| parts.iter().copied().filter(move |part| sources.role(*part) == role);
        let raw = || of_role(Role::Samples(own));
        let Some((candidate, at)) = self.candidate(own, choice, parts) else {
            // No buckets: samples are all there are, also of those that buckets of others were built of.
            let samples =
                parts.iter().filter(|part| [Role::Samples(own), Role::InBuckets(own)].contains(&sources.role(**part)));
            samples.for_each(|part| sources.read(*part, &mut self.samples, &mut self.runs));
            return;
        };
        let mut piece = Samples::default();
        let mut worst = Fidelity::Exact;
        let Candidate { resolution_ms, reading, .. } = candidate;
        // What is visible at the end of the stretch is so for a while behind it, see `join`.
        let beyond = choice.end.saturating_add(reading.lookback_ms).saturating_add(*resolution_ms);
        let Some(range) = TimeRange::new(self.range.start().max(choice.start), self.range.end().min(beyond)) else {
            return;
        };
        let mut filled = Vec::new();
        let has_late = raw().next().is_some();
        for part in of_role(Role::Buckets(own, at)) {
            let Some((file, series, clocks)) = sources.file(part) else { continue };
            let found = read_tier(file, series, range, *resolution_ms, reading, clocks, &mut piece, &mut self.runs);
            worst = worst.max(found);
            if has_late && !choice.is_complete {
                filled.extend(filled_buckets(file, series, range, *resolution_ms, clocks));
            }
        }
        if has_late && !choice.is_complete {
            filled.sort_unstable();
            self.add_late(raw(), &filled, *resolution_ms, &mut piece);
        }
        let place = FIDELITIES.iter().position(|fidelity| *fidelity == worst).unwrap_or_default() as u8;
        candidate.worst.fetch_max(place + 1, Ordering::Relaxed);
        sort_samples(&mut piece, true);
        self.pieces.push((choice.end, piece));
    }

    /// The candidate that a series is read from; `None` where its samples are.
    fn candidate<'c>(&self, own: u32, choice: &'c Choice, parts: &[S::Source]) -> Option<(&'c Candidate, u32)> {
        let mut finest = None;
        for (at, candidate) in (0..).zip(&choice.candidates) {
            let is_mine = |part: &&S::Source| self.sources.role(**part) == Role::Buckets(own, at);
            let mut mine = parts.iter().filter(is_mine).peekable();
            if mine.peek().is_none() {
                continue;
            }
            if mine.all(|part| self.is_exact(*part, &candidate.reading)) {
                return Some((candidate, at));
            }
            finest = Some((candidate, at));
        }
        finest.filter(|_| !choice.is_complete)
    }

    fn is_exact(&self, source: S::Source, reading: &Reading) -> bool {
        let Some(record) = self.sources.file(source).and_then(|(file, series, _)| file.record_of(series)) else {
            return false;
        };
        tier::columns_of(&record).is_none_or(|there| fidelity(reading.shape, there, reading.aligned) == Fidelity::Exact)
    }

    /// What came late for a stretch whose samples are gone stands in buckets that are empty.
    fn add_late(
        &mut self,
        late: impl Iterator<Item = S::Source>,
        filled: &[Timestamp],
        resolution_ms: i64,
        piece: &mut Samples,
    ) {
        let mut samples = Samples::default();
        late.for_each(|source| self.sources.read(source, &mut samples, &mut self.runs));
        sort_samples(&mut samples, true);
        drop_filled(&mut samples, (0, 0), filled, resolution_ms);
        append(piece, samples);
    }
}

/// Appends with weights where either side has some.
fn append(samples: &mut Samples, mut more: Samples) {
    if !(samples.weights.is_empty() && more.weights.is_empty()) {
        samples.weigh();
        more.weigh();
    }
    if !(samples.histogram_weights.is_empty() && more.histogram_weights.is_empty()) {
        samples.weigh_histograms();
        more.weigh_histograms();
    }
    samples.timestamps.append(&mut more.timestamps);
    samples.values.append(&mut more.values);
    samples.weights.append(&mut more.weights);
    samples.histograms.append(&mut more.histograms);
    samples.histogram_weights.append(&mut more.histogram_weights);
}

/// Joins pieces in order of time with the samples around them. What a piece says of the time behind its stretch holds
/// until the next thing that is known.
fn join(samples: &mut Samples, mut pieces: Vec<(Timestamp, Samples)>) {
    let firsts: Vec<Timestamp> = pieces.iter().map(|(_, piece)| first_at(piece, Timestamp::MIN)).collect();
    for (number, (end, piece)) in pieces.iter_mut().enumerate() {
        let next = firsts[number + 1..].iter().copied().filter(|at| at >= end).min().unwrap_or(Timestamp::MAX);
        cut_from(piece, *end, first_at(samples, *end).min(next));
    }
    for (_, piece) in pieces {
        append(samples, piece);
    }
    sort_samples(samples, true);
}

/// The first time from `from` on that there is something at.
fn first_at(samples: &Samples, from: Timestamp) -> Timestamp {
    let float = samples.timestamps.get(samples.timestamps.partition_point(|at| *at < from)).copied();
    let histogram = samples.histograms.get(samples.histograms.partition_point(|sample| sample.timestamp < from));
    float.into_iter().chain(histogram.map(|sample| sample.timestamp)).min().unwrap_or(Timestamp::MAX)
}

/// Drops what lies behind `end` and not before `until`. The samples are in order.
fn cut_from(samples: &mut Samples, end: Timestamp, until: Timestamp) {
    let until = until.max(end);
    let floats = samples.timestamps.partition_point(|at| *at < until);
    samples.timestamps.truncate(floats);
    samples.values.truncate(floats);
    samples.weights.truncate(floats);
    let histograms = samples.histograms.partition_point(|sample| sample.timestamp < until);
    samples.histograms.truncate(histograms);
    samples.histogram_weights.truncate(histograms);
}
