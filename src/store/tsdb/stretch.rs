//! Stretches: the pieces of time that a tier keeps in one file each, and what is there of them.
//!
//! A stretch is *complete* while all samples that its tier files were built of are there, and *reduced* once they are
//! gone. Samples go a stretch at a time, when all tiers that reach it have them, so that a question about one stretch
//! is answered from samples or from buckets. What comes for a reduced stretch is *late*: it stays as it came until it
//! has been quiet for days, and then fills buckets that are empty.

use super::{
    block::{Block, MergeTarget},
    engine::Places,
    log::Position,
    options::TierOptions,
};
use crate::model::{TimeRange, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub const DAY_MS: i64 = 24 * 3_600_000;
/// The longest stretch, and what the others are cut of.
pub const CELL_MS: i64 = 5 * DAY_MS;
/// Samples that are kept for less go by the day: with five days they would be kept for a third longer.
const CELL_RETENTION_MS: i64 = 15 * DAY_MS;

/// How long stretches are where nothing is there yet that says otherwise.
pub fn span_ms(raw_retention_ms: i64) -> i64 {
    if raw_retention_ms < CELL_RETENTION_MS { DAY_MS } else { CELL_MS }
}

/// What is there of a piece of time.
pub struct Stretch {
    pub target: MergeTarget,
    pub raw: Vec<Arc<Block>>,
    /// By tier, as the options have them. More than one file is there only where stretches have become longer.
    pub tiers: Vec<Vec<Arc<Block>>>,
    /// Samples that are kept longer than those that were beside them.
    pub kept: Vec<Arc<Block>>,
    /// By tier the windows in which it found nothing.
    barren: Vec<BTreeSet<(Timestamp, Position)>>,
}

/// What a file of a stretch is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Samples,
    Buckets(usize),
    Kept,
}

type Item = (Sort, Arc<Block>);

/// The stretches that overlap `range` and that anything is in, in order of time. `span_ms` is that of [`span_ms()`].
pub fn stretches(places: &Places, span_ms: i64, range: TimeRange) -> Vec<Stretch> {
    // All of a cell, as one of its files may tell how long the stretches in it are.
    let reach = |at: Timestamp| at.saturating_sub(at.rem_euclid(CELL_MS));
    let (first, last) = (reach(range.start()), reach(range.end()).saturating_add(CELL_MS));
    let is_near = move |block: &&Arc<Block>| first < block.footer.end() && block.footer.start < last;
    let raw = places.files.iter().filter(is_near).map(|block| (Sort::Samples, block.clone()));
    let files = places.tiers.iter().enumerate();
    let files = files
        .flat_map(|(tier, files)| files.iter().filter(is_near).map(move |file| (Sort::Buckets(tier), file.clone())));
    let kept = places.kept.iter().filter(is_near).map(|block| (Sort::Kept, block.clone()));
    let cells = group(raw.chain(files).chain(kept), CELL_MS);
    let all = cells.into_iter().flat_map(|(start, items)| cut(start, items, span_ms, places));
    all.filter(|stretch| stretch.target.start <= range.end() && range.start() < stretch.end()).collect()
}

fn group(items: impl Iterator<Item = Item>, span_ms: i64) -> BTreeMap<Timestamp, Vec<Item>> {
    let mut groups: BTreeMap<Timestamp, Vec<Item>> = BTreeMap::new();
    for (sort, block) in items {
        // Before the first there is a piece of one, which begins with time itself.
        let start = block.footer.start;
        let start = start.saturating_sub(start.rem_euclid(span_ms));
        groups.entry(start).or_default().push((sort, block));
    }
    groups
}

/// A cell is one stretch where it holds a file that long, and days where it holds tier files of days.
fn cut(start: Timestamp, items: Vec<Item>, span_ms: i64, places: &Places) -> Vec<Stretch> {
    let is_long = items.iter().any(|(_, block)| block.footer.span_ms > DAY_MS);
    let has_tiers = items.iter().any(|(sort, _)| matches!(sort, Sort::Buckets(_)));
    if is_long || span_ms == CELL_MS && !has_tiers {
        return vec![Stretch::new(MergeTarget { start, span_ms: CELL_MS }, items, places)];
    }
    let days = group(items.into_iter(), DAY_MS).into_iter();
    days.map(|(start, items)| Stretch::new(MergeTarget { start, span_ms: DAY_MS }, items, places)).collect()
}

/// Whether a tier's files together have all that is in a block.
fn has(files: &[Arc<Block>], block: &Block) -> bool {
    block.windows().all(|window| files.iter().any(|file| file.names(window)))
}

impl Stretch {
    fn new(target: MergeTarget, items: Vec<Item>, places: &Places) -> Stretch {
        let range = (target.start, Position(0))..(target.start.saturating_add(target.span_ms), Position(0));
        let barren = places.barren.iter().map(|windows| windows.range(range.clone()).copied().collect()).collect();
        let tiers = vec![Vec::new(); places.tiers.len()];
        let mut stretch = Stretch { target, raw: Vec::new(), tiers, kept: Vec::new(), barren };
        for (sort, block) in items {
            match sort {
                Sort::Samples => stretch.raw.push(block),
                Sort::Buckets(tier) => stretch.tiers[tier].push(block),
                Sort::Kept => stretch.kept.push(block),
            }
        }
        stretch
    }

    /// The moment behind its last.
    pub fn end(&self) -> Timestamp {
        self.target.start.saturating_add(self.target.span_ms)
    }

    /// Whether all samples that tier files were built of are there; true where there are no such files.
    pub fn is_complete(&self) -> bool {
        self.tiers.iter().flatten().all(|file| has(&self.raw, file))
    }

    /// Whether a tier has all of a block.
    pub fn tier_has(&self, tier: usize, block: &Block) -> bool {
        let barren = &self.barren[tier];
        let is_had = |window| barren.contains(&window) || self.tiers[tier].iter().any(|file| file.names(window));
        block.windows().all(is_had)
    }

    /// Whether a tier is built for this stretch: it is kept that long, and it is not one that lacks what only others
    /// have, as one that was added to the config later does.
    pub fn wants(&self, tier: usize, options: &TierOptions, reference: Timestamp) -> bool {
        let is_kept = self.end() > reference.saturating_sub(options.retention_ms);
        is_kept && self.target.start > Timestamp::MIN && (!self.tiers[tier].is_empty() || self.is_complete())
    }

    /// Whether every tier that is built for this stretch has all of a block. Where none is, nothing has to.
    pub fn is_covered(&self, block: &Block, tiers: &[TierOptions], reference: Timestamp) -> bool {
        let mut wanted = tiers.iter().enumerate().filter(|(tier, options)| self.wants(*tier, options, reference));
        wanted.all(|(tier, _)| self.tier_has(tier, block))
    }

    /// The blocks that may go where samples before `oldest` do: of a complete stretch all or none, or its buckets would
    /// stand beside samples of which half are gone.
    pub fn expired(&self, tiers: &[TierOptions], reference: Timestamp, oldest: Timestamp) -> Vec<Arc<Block>> {
        let may_go = |block: &&Arc<Block>| block.footer.newest < oldest && self.is_covered(block, tiers, reference);
        let going: Vec<_> = self.raw.iter().filter(may_go).cloned().collect();
        let together = self.is_complete() && self.tiers.iter().any(|files| !files.is_empty());
        if together && going.len() < self.raw.len() { Vec::new() } else { going }
    }

    /// The blocks of which only resolution would be lost: all of a complete stretch, or those of a reduced one that its
    /// tiers have.
    pub fn spare(&self, tiers: &[TierOptions], reference: Timestamp) -> Vec<Arc<Block>> {
        if self.tiers.iter().all(Vec::is_empty) {
            return Vec::new();
        }
        self.expired(tiers, reference, Timestamp::MAX)
    }

    /// The tiers whose files have all that any file of this stretch has, from finest to coarsest; where none has, the
    /// one that has most.
    pub fn full_tiers(&self) -> Vec<usize> {
        let count = |tier: &usize| self.tiers[*tier].iter().map(|file| file.windows().count()).sum::<usize>();
        let filled: Vec<usize> = (0..self.tiers.len()).filter(|tier| !self.tiers[*tier].is_empty()).collect();
        let is_full = |tier: &usize| self.tiers.iter().flatten().all(|file| has(&self.tiers[*tier], file));
        let full: Vec<usize> = filled.iter().copied().filter(is_full).collect();
        // The finest of several that have as much.
        if full.is_empty() { filled.into_iter().rev().max_by_key(count).into_iter().collect() } else { full }
    }
}

/// Whether a tier file has to be built again from the samples it was built of, where they are still there: something
/// in it is damaged, or was deleted, which took whole buckets.
pub fn is_stale(file: &Block) -> bool {
    file.damaged_series() > 0 || !file.cuts().is_empty()
}
