//! Reads series from samples and from buckets, each stretch of time from what suits the question.
//!
//! Where samples are there they are read, unless the question allows buckets and they give the same. Where they are gone,
//! the coarsest buckets that give the same are read, or else the finest; what came late stands beside them in the buckets
//! that are empty. What is chosen depends on what kind of metric a series is, so it is chosen series by series.

use super::{
    block::{Block, ClockCache, Record},
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
    /// Samples of it that a kept block was made of among others: of a series that has such, these win.
    InKept(u32),
    /// Samples of it that are kept longer than others. Of a series that has such, samples are read and no buckets.
    Kept(u32),
    /// Buckets of the stretch and of its candidate with these numbers.
    Buckets(u32, u32),
}

impl Role {
    /// The number of the choice it belongs to.
    fn choice(self) -> Option<u32> {
        match self {
            Role::Free => None,
            Role::Samples(own) | Role::InBuckets(own) | Role::InKept(own) => Some(own),
            Role::Kept(own) | Role::Buckets(own, _) => Some(own),
        }
    }
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

/// `range`, and what is looked at before it: an instant selector whose times are not edges shows what was visible at the
/// edge before each, and that of the first may be the end of another file.
pub fn with_edge_before(range: TimeRange, hints: &Hints, tiers: &[TierOptions]) -> TimeRange {
    if hints.lookback_ms <= 0 || shape_of(hints.function, hints.range_ms) != Shape::Instant {
        return range;
    }
    let edges = tiers.iter().map(|tier| hints.first_ms.saturating_sub(hints.first_ms.rem_euclid(tier.resolution_ms)));
    let oldest = edges.map(|edge| edge.saturating_sub(hints.lookback_ms - 1)).min();
    TimeRange::new(oldest.map_or(range.start(), |oldest| oldest.min(range.start())), range.end()).unwrap_or(range)
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
        let newest = self.end.saturating_sub(1);
        let within = TimeRange::new(self.start.max(range.start()), newest.min(range.end()));
        self.candidates.iter().filter_map(move |candidate| {
            let worst = usize::from(candidate.worst.load(Ordering::Relaxed)).checked_sub(1)?;
            let resolution_ms = candidate.resolution_ms;
            // Of a stretch before the range, its last bucket was looked at.
            let range = within.or_else(|| TimeRange::new(self.end.saturating_sub(resolution_ms), newest))?;
            Some(TierUse { resolution_ms, range, fidelity: *FIDELITIES.get(worst)? })
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

/// The parts of a series in files of buckets, each with its record where that is whole.
type Parts<'a, S> = Vec<(<S as Sources>::Source, Option<Record<'a>>)>;

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
    // There may be hundreds of choices and of parts: each choice looks at its own alone, in the order they are read in.
    let own = |part: &S::Source| Some((sources.role(*part).choice()?, *part));
    let mut owned: Vec<(u32, S::Source)> = parts.iter().filter_map(own).collect();
    owned.sort_by_key(|(own, _)| *own);
    for parts in owned.chunk_by(|a, b| a.0 == b.0) {
        if let Some(choice) = choices.get(parts[0].0 as usize) {
            blend.read_choice(choice, parts);
        }
    }
    let Blend { mut samples, mut runs, pieces, .. } = blend;
    read_runs(&mut runs, range, now_ms, looks, &mut samples);
    sort_samples(&mut samples, true);
    if !pieces.is_empty() {
        join(&mut samples, pieces);
    }
    *out = samples;
}

impl<'a, S: Sources> Blend<'a, S> {
    /// Reads the parts of a series that belong to `choice`, each with its number.
    fn read_choice(&mut self, choice: &Choice, parts: &[(u32, S::Source)]) {
        let sources = self.sources;
        let of = |is_meant: fn(Role) -> bool| {
            let all = parts.iter().map(|(_, part)| *part);
            all.filter(move |part| is_meant(sources.role(*part)))
        };
        let is_kept = of(|role| matches!(role, Role::Kept(_))).next().is_some();
        let Some((candidate, buckets)) = self.candidate(choice, parts).filter(|_| !is_kept) else {
            // Samples are all that is read, also those that buckets of others were built of.
            let samples = of(|role| !matches!(role, Role::Buckets(..)));
            // What is kept has its place in time behind the last that it was made of, and in it older samples won over
            // these: they are read before it, whatever their own place is.
            let is_first =
                |part: &S::Source| is_kept && matches!(sources.role(*part), Role::InKept(_) | Role::InBuckets(_));
            let (first, others): (Vec<_>, Vec<_>) = samples.partition(is_first);
            first.into_iter().chain(others).for_each(|part| sources.read(part, &mut self.samples, &mut self.runs));
            return;
        };
        let raw = || of(|role| matches!(role, Role::Samples(_) | Role::InKept(_)));
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
        for (part, record) in buckets {
            let Some((file, series, clocks)) = sources.file(part) else { continue };
            if let Some(record) = record {
                let found = read_tier(&record, (range, *resolution_ms), reading, clocks, &mut piece, &mut self.runs);
                worst = worst.max(found);
            }
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

    /// The candidate that a series is read from, with its parts and their records; `None` where its samples are.
    fn candidate<'c>(&self, choice: &'c Choice, parts: &[(u32, S::Source)]) -> Option<(&'c Candidate, Parts<'a, S>)> {
        let mut finest = None;
        for (at, candidate) in (0..).zip(&choice.candidates) {
            let is_mine = |part: &S::Source| matches!(self.sources.role(*part), Role::Buckets(_, of) if of == at);
            let mine = parts.iter().map(|(_, part)| *part).filter(is_mine);
            let mine: Parts<'a, S> = mine.map(|part| (part, self.record(part))).collect();
            if mine.is_empty() {
                continue;
            }
            if mine.iter().all(|(_, record)| is_exact(record.as_ref(), &candidate.reading)) {
                return Some((candidate, mine));
            }
            finest = Some((candidate, mine));
        }
        finest.filter(|_| !choice.is_complete)
    }

    fn record(&self, source: S::Source) -> Option<Record<'a>> {
        let (file, series, _) = self.sources.file(source)?;
        file.record_of(series)
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

fn is_exact(record: Option<&Record<'_>>, reading: &Reading) -> bool {
    let Some(record) = record else { return false };
    tier::columns_of(record).is_none_or(|there| fidelity(reading.shape, there, reading.aligned) == Fidelity::Exact)
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
    let (floats, histograms) = (samples.timestamps.len(), samples.histograms.len());
    pieces.into_iter().for_each(|(_, piece)| append(samples, piece));
    put_last(samples, floats, histograms);
    sort_samples(samples, true);
}

/// Moves the first `floats` and `histograms` behind the others where that puts them in order: most often buckets stand
/// for what is older than the samples that are there, and moving is much less than sorting.
fn put_last(samples: &mut Samples, floats: usize, histograms: usize) {
    let (first, others) = samples.timestamps.split_at(floats);
    if others.is_sorted_by(|a, b| a < b) && first.first() > others.last() {
        samples.timestamps.rotate_left(floats);
        samples.values.rotate_left(floats);
        let weights = floats.min(samples.weights.len());
        samples.weights.rotate_left(weights);
    }
    let (first, others) = samples.histograms.split_at(histograms);
    let is_sorted = others.is_sorted_by(|a, b| a.timestamp < b.timestamp);
    if is_sorted && first.first().map(|sample| sample.timestamp) > others.last().map(|sample| sample.timestamp) {
        samples.histograms.rotate_left(histograms);
        let weights = histograms.min(samples.histogram_weights.len());
        samples.histogram_weights.rotate_left(weights);
    }
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
