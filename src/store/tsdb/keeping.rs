//! Samples that are kept longer than those beside them.
//!
//! When the time of a stretch is over, the series whose policy keeps them longer are written into a block of their own in
//! another directory, and then all blocks of the stretch go together. What is kept so is read as samples, whatever
//! buckets there are of it, and goes when its own time is over.
//!
//! What comes late for a stretch that went so is added to that block before it is folded into buckets: at that moment it
//! can be told which series have nothing but buckets there, whose late samples fill what is empty and are no more than
//! that. What is to be done is worked out from the files that are there, each time; a crash leaves the old files, or the
//! new one beside them, of which every reader sees each sample once.

use super::{
    block::{Block, Cuts, MergeTarget, Progress, merge_blocks},
    engine::{Places, Shared},
    policy::{Keeping, Share},
    stretch::{Stretch, stretches},
};
use crate::{
    model::{Labels, Matcher, TimeRange, Timestamp},
    store::StoreError,
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
    },
};

/// Where such blocks are in a data directory.
pub(super) const KEPT: &str = "kept";
/// What has come lately for a time that is over waits for more of it: an import comes a window at a time.
const WAIT_MS: i64 = 30 * 60_000;
/// A block is written again for series whose time is over where they are at least this part of it, ...
const SHARE_PART: u64 = 8;
/// ... or have been so for this long.
const SHARE_WAIT_MS: i64 = 7 * 24 * 3_600_000;

/// A block of series that are kept longer, to be written.
pub(super) struct Keep {
    pub target: MergeTarget,
    /// What is to be kept of samples.
    raw: Vec<Arc<Block>>,
    /// The files of buckets there are of late samples: what only these have of a series is not kept longer.
    buckets: Vec<Arc<Block>>,
    /// What it takes the place of.
    kept: Vec<Arc<Block>>,
    /// The samples go when it is written. Late ones are to be folded into buckets first.
    drops_raw: bool,
}

impl Keep {
    fn sources(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.raw.iter().chain(&self.kept)
    }

    /// The files that it takes the place of.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.kept.iter().map(|block| block.path.clone())
    }

    pub fn bytes(&self) -> u64 {
        self.sources().map(|block| block.file_bytes()).sum()
    }

    /// Whether a series has nothing but buckets.
    fn is_in_buckets_alone(&self, labels: &Labels) -> bool {
        let has = |blocks: &[Arc<Block>], matchers: &[Matcher]| blocks.iter().any(|block| has(block, matchers, labels));
        if self.buckets.is_empty() {
            return false;
        }
        let matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        has(&self.buckets, &matchers) && !has(&self.kept, &matchers)
    }
}

/// Whether a block has something of a series, which its label pairs as `matchers` find.
fn has(block: &Block, matchers: &[Matcher], labels: &Labels) -> bool {
    block.find(matchers).iter().any(|series| block.labels(series).is_some_and(|found| found == *labels))
}

/// What goes because its time is over.
#[derive(Default)]
pub(super) struct Leaving {
    /// At once.
    pub dropped: Vec<Arc<Block>>,
    /// To be written first.
    pub kept_first: Vec<Keep>,
}

impl Leaving {
    fn goes(&self, block: &Arc<Block>) -> bool {
        self.dropped.iter().any(|other| Arc::ptr_eq(other, block))
    }

    fn spare(&mut self, blocks: &[Arc<Block>]) {
        self.dropped.retain(|block| !blocks.iter().any(|other| Arc::ptr_eq(other, block)));
    }
}

impl Shared {
    pub fn kept_directory(&self) -> PathBuf {
        self.options.directory.join(KEPT)
    }

    /// Whether a merge of blocks of samples that reach up to `newest` takes a series: where nothing of it is kept any
    /// more, no buckets either, it is left behind. What passes no policy goes with its block.
    pub fn stays(&self, reference: Option<Timestamp>, newest: Timestamp) -> impl Fn(&Labels) -> bool + '_ {
        let reference = reference.filter(|_| !self.keeping.policies.is_empty() && self.options.drops_blocks);
        move |labels| {
            let Some(reference) = reference else { return true };
            let policy = self.keeping.policies.of(labels);
            policy.is_none_or(|policy| newest >= reference.saturating_sub(self.keeping.taken_ms(Some(policy))))
        }
    }

    /// Has every block find out what it has of each policy, while nothing is locked: it takes a while.
    pub fn learn_shares(&self) {
        if self.keeping.policies.is_empty() {
            return;
        }
        let blocks: Vec<Arc<Block>> = self.places.read().all().cloned().collect();
        for block in blocks.iter().filter(|block| block.resolution_ms == Block::SAMPLES) {
            self.shares(block);
        }
    }

    fn shares<'b>(&self, block: &'b Block) -> &'b [Share] {
        block.shares(&self.keeping.policies)
    }

    /// The blocks whose time is over, and those of which something is to be kept longer first. `places` is held by the
    /// caller.
    pub fn leaving(&self, places: &Places, reference: Timestamp) -> Leaving {
        let mut leaving = Leaving { dropped: self.expired(places, reference), kept_first: Vec::new() };
        let is_over = |block: &&Arc<Block>| self.kept_until(block) < reference;
        leaving.dropped.extend(places.kept.iter().filter(is_over).cloned());
        if self.keeping.policies.is_empty() {
            return leaving;
        }
        for stretch in stretches(places, self.stretch_ms(), TimeRange::ALL) {
            let longer = stretch.raw.iter().filter(|block| self.has_longer(block, reference));
            let longer: Vec<Arc<Block>> = longer.cloned().collect();
            if longer.is_empty() {
                continue;
            }
            let keep = match stretch.is_complete() {
                true => keep_all(&mut leaving, &stretch, &longer),
                false => keep_late(&mut leaving, places, &stretch, longer),
            };
            // A kept block that goes has nothing that another would take over.
            let kept = stretch.kept.iter().filter(|block| !leaving.goes(block)).cloned();
            let kept: Vec<Arc<Block>> = kept.collect();
            leaving.kept_first.extend(keep.map(|keep| Keep { kept, ..keep }));
        }
        leaving
    }

    /// Until when something in a kept block is kept.
    pub fn kept_until(&self, block: &Block) -> Timestamp {
        let there = self.shares(block).iter().zip(self.keeping.retentions()).filter(|(share, _)| share.series > 0);
        let longest_ms = there.map(|(_, retention_ms)| retention_ms).max();
        longest_ms.map_or(Timestamp::MIN, |longest_ms| block.footer.newest.saturating_add(longest_ms))
    }

    /// Whether a block has samples of a policy whose time is not over.
    pub fn has_longer(&self, block: &Block, reference: Timestamp) -> bool {
        let stays = |retention_ms: i64| block.footer.newest >= reference.saturating_sub(retention_ms);
        let mut of_policies = self.shares(block).iter().zip(self.keeping.policies.iter());
        of_policies.any(|(share, policy)| share.series > 0 && stays(policy.retention_ms))
    }

    /// Whether something in late samples is to be kept longer and is not yet: they are not folded into buckets before.
    pub fn lacks_keeping(&self, places: &Places, stretch: &Stretch, block: &Block, reference: Timestamp) -> bool {
        self.options.drops_blocks
            && !self.keeping.policies.is_empty()
            && self.has_longer(block, reference)
            && !is_looked_through(places, stretch, block)
    }

    /// What is to be kept next, and kept blocks of which enough is over its time, or that `is_cut` picks for what was
    /// deleted of them. `at_once`: nothing waits for more of it.
    pub fn due_keep(
        &self,
        failed: &[MergeTarget],
        at_once: bool,
        is_cut: impl Fn(&Block, &Cuts) -> bool,
    ) -> Option<Keep> {
        self.learn_shares();
        let places = self.places.read();
        if self.keeping.policies.is_empty() && places.kept.is_empty() {
            return None;
        }
        let reference = self.reference(&places, self.now_ms())?;
        let elapsed_ms = self.options.clock.elapsed_ms();
        let is_due = |keep: &Keep| {
            let is_quiet = |block: &Arc<Block>| elapsed_ms - block.opened_ms >= WAIT_MS;
            (at_once || keep.raw.iter().all(is_quiet)) && !failed.contains(&keep.target)
        };
        let drops = self.options.drops_blocks;
        if drops && let Some(keep) = self.leaving(&places, reference).kept_first.into_iter().find(is_due) {
            return Some(keep);
        }
        let retentions_ms = || self.keeping.retentions().map(Some);
        let is_over =
            |block: &Arc<Block>| drops && is_worth_trimming(self, &[block], retentions_ms(), reference, at_once);
        let is_picked = |block: &&Arc<Block>| is_cut(block, &block.cuts()) || is_over(block);
        let again = |block: &Arc<Block>| {
            let target = MergeTarget { start: block.footer.start, span_ms: block.footer.span_ms };
            Keep { target, raw: Vec::new(), buckets: Vec::new(), kept: vec![block.clone()], drops_raw: false }
        };
        places.kept.iter().filter(is_picked).map(again).find(is_due)
    }

    /// Whether so much of what would become one block of samples is over its time that it is written again without it.
    pub fn is_worth_merging_without(&self, blocks: &[&Arc<Block>], reference: Timestamp, at_once: bool) -> bool {
        let Keeping { policies, .. } = &self.keeping;
        let of_policies = policies.iter().map(|policy| Some(self.keeping.taken_ms(Some(policy))));
        // What passes no policy goes with its block.
        is_worth_trimming(self, blocks, of_policies.chain([None]), reference, at_once)
    }

    /// Writes what is kept longer, and lets go of where it came from; `false` where it was cancelled.
    pub fn keep(&self, keep: &Keep, progress: &Arc<Progress>) -> Result<bool, StoreError> {
        self.in_turn(progress, || self.keep_now(keep, progress))
    }

    fn keep_now(&self, keep: &Keep, progress: &Progress) -> Result<bool, StoreError> {
        let reference = {
            let places = self.places.read();
            let is_there = |block| places.all().any(|file| Arc::ptr_eq(file, block));
            if !keep.sources().all(is_there) {
                return Ok(true);
            }
            self.reference(&places, self.now_ms()).filter(|_| self.options.drops_blocks)
        };
        self.mark_version()?;
        let newest = keep.sources().map(|block| block.footer.newest).max().unwrap_or(Timestamp::MIN);
        let is_over = |labels: &Labels| {
            reference.is_some_and(|reference| newest < reference.saturating_sub(self.keeping.retention_of(labels)))
        };
        let is_kept = |labels: &Labels| !is_over(labels) && !keep.is_in_buckets_alone(labels);
        let sources: Vec<Arc<Block>> = keep.sources().cloned().collect();
        let (vfs, directory) = (&self.options.vfs, self.kept_directory());
        let path = merge_blocks(&**vfs, &directory, &sources, keep.target, &is_kept, progress)?;
        let Some(path) = path else { return Ok(false) };
        let block = Arc::new(Block::open(vfs, &path, &self.damaged, self.options.clock.elapsed_ms())?);
        // Here and not under the lock: it may take a while.
        let tombstones = self.places.read().tombstones.clone();
        block.cut(block.cuts_by(&tombstones));
        self.compaction.bytes_written.fetch_add(block.file_bytes(), Relaxed);
        self.compaction.merges.fetch_add(1, Relaxed);
        let mut going = keep.kept.clone();
        let mut places = self.places.write();
        if keep.drops_raw {
            going.extend(keep.raw.iter().cloned());
            self.disk.dropped_by_time.fetch_add(keep.raw.len() as u64, Relaxed);
        }
        going.iter().for_each(|source| places.remove(source));
        if block.footer.series == 0 {
            block.dropped.store(true, Release);
            places.not_kept.extend(keep.raw.iter().filter(|_| !keep.drops_raw).flat_map(|raw| raw.windows()));
        } else {
            places.add_kept(block);
        }
        drop(places);
        self.let_go(going);
        if let Err(error) = self.forget_tombstones() {
            tracing::warn!(%error, "Tombstones that nothing needs any more could not be forgotten; it is tried again.");
        }
        Ok(true)
    }
}

/// Of a stretch of which all is there the blocks that go are kept together. Not before what is older by the order of
/// writing than one of them goes too: what is kept would count as newer.
fn keep_all(leaving: &mut Leaving, stretch: &Stretch, longer: &[Arc<Block>]) -> Option<Keep> {
    let (raw, left): (Vec<_>, Vec<_>) = stretch.raw.iter().cloned().partition(|block| leaving.goes(block));
    if !longer.iter().any(|block| leaving.goes(block)) {
        return None;
    }
    leaving.spare(&raw);
    let newest = raw.iter().map(|block| block.footer.sealed_through).max();
    let is_in_order = left.iter().all(|block| Some(block.footer.sealed_through) >= newest);
    let keep = Keep { target: stretch.target, raw, buckets: Vec::new(), kept: Vec::new(), drops_raw: true };
    is_in_order.then_some(keep)
}

/// Of a stretch whose samples are gone what came late is added to what is kept, and goes once it has been.
fn keep_late(leaving: &mut Leaving, places: &Places, stretch: &Stretch, longer: Vec<Arc<Block>>) -> Option<Keep> {
    let late: Vec<_> = longer.into_iter().filter(|block| !is_looked_through(places, stretch, block)).collect();
    leaving.spare(&late);
    let buckets = stretch.tiers.iter().flatten().cloned().collect();
    let keep = Keep { target: stretch.target, raw: late, buckets, kept: Vec::new(), drops_raw: false };
    (!keep.raw.is_empty()).then_some(keep)
}

/// Whether what is to be kept of a block of samples is kept.
fn is_looked_through(places: &Places, stretch: &Stretch, block: &Block) -> bool {
    let is_known = |window| places.not_kept.contains(&window) || stretch.kept.iter().any(|kept| kept.names(window));
    block.windows().all(is_known)
}

/// Whether blocks that would become one have enough of series whose time is over. `retentions_ms` is as
/// [`Keeping::retentions`] has them; `None` for what is never left out.
fn is_worth_trimming(
    shared: &Shared,
    blocks: &[&Arc<Block>],
    retentions_ms: impl Iterator<Item = Option<i64>>,
    reference: Timestamp,
    at_once: bool,
) -> bool {
    // One block is as young as the youngest of it.
    let newest = blocks.iter().map(|block| block.footer.newest).max().unwrap_or(Timestamp::MAX);
    let (mut bytes, mut longest_ms) = (0, 0);
    for (number, retention_ms) in retentions_ms.enumerate() {
        let Some(retention_ms) = retention_ms else { continue };
        let over_ms = reference.saturating_sub(retention_ms).saturating_sub(newest);
        let shares = blocks.iter().map(|block| shared.shares(block)[number]).filter(|share| share.series > 0);
        let share: u64 = shares.map(|share| share.bytes.max(1)).sum();
        if share > 0 && over_ms > 0 {
            bytes += share;
            longest_ms = longest_ms.max(over_ms);
        }
    }
    let all: u64 = blocks.iter().map(|block| block.file_bytes()).sum();
    bytes > 0 && (at_once || bytes >= all / SHARE_PART || longest_ms >= SHARE_WAIT_MS)
}

impl Places {
    /// Puts a block of what is kept longer in its place, without what was deleted of it.
    pub fn add_kept(&mut self, block: Arc<Block>) {
        block.cut(block.cuts_by(&self.tombstones));
        self.kept.push(block);
    }
}
