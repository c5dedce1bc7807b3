//! Builds what tiers lack, in the background, a stretch at a time.
//!
//! While all samples of a stretch are there its files are built from these alone, however often; once they are gone, what
//! came late fills buckets that are empty, and a bucket that was built stays as it is. Either way the new file takes the
//! place of the old one in one step, and a crash leaves the old one, or both, of which the next start keeps the new one.

use super::{
    block::{Block, Cuts, MergeTarget, Progress},
    engine::{Places, Shared},
    log::Position,
    stretch::{CELL_MS, DAY_MS, Stretch, is_stale, stretches},
    tier::{MetricKind, TierTarget, build_tiers, kind_by_name},
};
use crate::{
    model::{Labels, TimeRange, Timestamp},
    stdx::vfs::OpenMode,
    store::StoreError,
};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

/// A stretch is built this long after the last block of it was opened: neighbours are still being merged.
const QUIET_MS: i64 = 30 * 60_000;
/// A file that is there is built again for late samples after this long, ...
const REBUILD_MS: i64 = 6 * 3_600_000;
/// ... or at once where they are this part of all.
const REBUILD_PART: u64 = 4;
/// What comes for a time whose samples are gone stays as it came until nothing has come for so long: an import goes on
/// for days, stops and is begun again, and a bucket is filled only once.
const LATE_QUIET_MS: i64 = 7 * 24 * 3_600_000;
/// It waits no longer than this for a sender that never ends, or its samples would be kept for ever.
const LATE_MAX_MS: i64 = 30 * 24 * 3_600_000;

/// Files to be built of one stretch.
pub(super) struct Build {
    pub target: MergeTarget,
    raw: Vec<Arc<Block>>,
    tiers: Vec<Lack>,
}

/// A tier that lacks something, and its files.
struct Lack {
    tier: usize,
    files: Vec<Arc<Block>>,
    /// Their buckets stay: there are no samples to build them of again.
    keeps_buckets: bool,
}

impl Build {
    /// About what the result can take at most.
    pub fn bytes(&self) -> u64 {
        self.raw.iter().chain(self.replaced()).map(|block| block.file_bytes()).sum()
    }

    /// The files that the new ones take the place of.
    pub fn replaced(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.tiers.iter().flat_map(|lack| &lack.files)
    }

    fn level(&self) -> u64 {
        1 + self.replaced().map(|file| file.footer.level).max().unwrap_or_default()
    }
}

/// When things are looked at.
#[derive(Clone, Copy)]
struct Times {
    now_ms: i64,
    elapsed_ms: i64,
    /// Retention counts back from here.
    reference: Timestamp,
}

impl Shared {
    /// What is to be built next, oldest first. `at_once`: of what is over nothing waits but what came late for a time
    /// whose samples are gone.
    pub(super) fn due_build(&self, failed: &[MergeTarget], at_once: bool) -> Option<Build> {
        if self.options.tiers.is_empty() {
            return None;
        }
        let places = self.places.read();
        let now_ms = self.now_ms();
        let elapsed_ms = self.options.clock.elapsed_ms();
        let times = Times { now_ms, elapsed_ms, reference: self.reference(&places, now_ms)? };
        let stretches = stretches(&places, self.stretch_ms(), TimeRange::ALL);
        let mut open = stretches.iter().filter(|stretch| !failed.contains(&stretch.target));
        open.find_map(|stretch| self.build_of(&places, stretch, times, at_once))
    }

    /// Writes files of buckets again that `choose` picks for what was deleted of them: of samples where these are there,
    /// else what is left of the buckets. `at_once`: where samples are there, nothing waits.
    pub(super) fn cleaning_build(&self, at_once: bool, choose: impl Fn(&Block, &Cuts) -> bool) -> Option<Build> {
        let places = self.places.read();
        let (now_ms, elapsed_ms) = (self.now_ms(), self.options.clock.elapsed_ms());
        let times = Times { now_ms, elapsed_ms, reference: self.reference(&places, now_ms)? };
        let chosen = |file: &&Arc<Block>| choose(file, &file.cuts());
        for stretch in stretches(&places, self.stretch_ms(), TimeRange::ALL) {
            let mut files =
                (0..).zip(&stretch.tiers).flat_map(|(tier, files)| files.iter().map(move |file| (tier, file)));
            let Some((tier, file)) = files.find(|(_, file)| chosen(file)) else { continue };
            let build = if stretch.is_complete() && !stretch.raw.is_empty() {
                self.build_of(&places, &stretch, times, at_once)
            } else {
                let target = MergeTarget { start: file.footer.start, span_ms: file.footer.span_ms };
                let tiers = vec![Lack { tier, files: vec![file.clone()], keeps_buckets: true }];
                Some(Build { target, raw: Vec::new(), tiers })
            };
            if build.is_some() {
                return build;
            }
        }
        None
    }

    /// By tier where the oldest stretch begins that it lacks something of. `places` is held by the caller.
    pub fn lacks_from(&self, places: &Places) -> Vec<Option<Timestamp>> {
        let mut found = vec![None; self.options.tiers.len()];
        let Some(reference) = self.reference(places, self.now_ms()) else { return found };
        if found.is_empty() {
            return found;
        }
        for stretch in stretches(places, self.stretch_ms(), TimeRange::ALL) {
            for tier in self.lacking(&stretch, reference) {
                found[tier].get_or_insert(stretch.target.start);
            }
        }
        found
    }

    /// The tiers that lack something of a stretch, from finest to coarsest.
    fn lacking(&self, stretch: &Stretch, reference: Timestamp) -> Vec<usize> {
        let tiers = &self.options.tiers;
        let is_complete = stretch.is_complete();
        let lacks = |tier: &usize| {
            let files = &stretch.tiers[*tier];
            let has_all = stretch.raw.iter().all(|block| stretch.tier_has(*tier, block));
            !has_all || is_complete && !stretch.raw.is_empty() && files.iter().any(|file| is_stale(file))
        };
        let wanted = |tier: &usize| stretch.wants(*tier, &tiers[*tier], reference);
        (0..tiers.len()).filter(wanted).filter(lacks).collect()
    }

    fn build_of(&self, places: &Places, stretch: &Stretch, times: Times, at_once: bool) -> Option<Build> {
        let is_complete = stretch.is_complete();
        let lacking = self.lacking(stretch, times.reference);
        let is_over = stretch.end().saturating_add(self.options.quiet_ms) <= times.now_ms;
        if lacking.is_empty() || !is_over {
            return None;
        }
        let raw = if is_complete {
            self.is_due(places, stretch, &lacking, times, at_once).then(|| stretch.raw.clone())?
        } else {
            self.late_blocks(places, stretch, times)?
        };
        let lack = |tier: usize| Lack { tier, files: stretch.tiers[tier].clone(), keeps_buckets: !is_complete };
        let tiers: Vec<Lack> = lacking.into_iter().map(lack).collect();
        // Several files whose buckets stay cannot become one.
        let can_be_built = is_complete || tiers.iter().all(|lack| lack.files.len() == 1);
        (can_be_built && !raw.is_empty()).then_some(Build { target: stretch.target, raw, tiers })
    }

    /// Whether a stretch whose samples are all there is built now.
    fn is_due(&self, places: &Places, stretch: &Stretch, lacking: &[usize], times: Times, at_once: bool) -> bool {
        let has_files = stretch.tiers.iter().any(|files| !files.is_empty());
        let is_old = stretch.end() <= times.reference.saturating_sub(self.options.retention_ms);
        if is_old && !has_files {
            return self.is_late_over(places, stretch, &stretch.raw, times);
        }
        if self.is_live(places, stretch) {
            return false;
        }
        let since_ms = |block: &Arc<Block>| times.elapsed_ms - block.opened_ms;
        if at_once {
            return true;
        }
        let is_quiet = stretch.raw.iter().all(|block| since_ms(block) >= QUIET_MS);
        let samples = |blocks: &mut dyn Iterator<Item = &Arc<Block>>| blocks.map(|block| block.footer.samples).sum();
        let all: u64 = samples(&mut stretch.raw.iter());
        let is_new = |block: &&Arc<Block>| lacking.iter().any(|tier| !stretch.tier_has(*tier, block));
        // A block that late samples were merged into is one of those that wait.
        let new = |block: &&Arc<Block>| is_new(block) && block.footer.level == 0;
        let more: u64 = samples(&mut stretch.raw.iter().filter(new));
        let files = || lacking.iter().flat_map(|tier| &stretch.tiers[*tier]);
        is_quiet && (more > all / REBUILD_PART || files().all(|file| since_ms(file) >= REBUILD_MS))
    }

    /// What came late for a stretch whose samples are gone, once all of it has been quiet for long enough: blocks that
    /// follow each other share a bucket, which what is folded first would fill alone.
    fn late_blocks(&self, places: &Places, stretch: &Stretch, times: Times) -> Option<Vec<Arc<Block>>> {
        let is_new = |block: &&Arc<Block>| !stretch.is_covered(block, &self.options.tiers, times.reference);
        let late: Vec<Arc<Block>> = stretch.raw.iter().filter(is_new).cloned().collect();
        let is_ready = |block: &Arc<Block>| !self.lacks_keeping(places, stretch, block, times.reference);
        (self.is_late_over(places, stretch, &late, times) && late.iter().all(is_ready)).then_some(late)
    }

    /// Whether nothing has come into any of `late`, all that waits of a stretch, for long, or it waits for too long.
    fn is_late_over(&self, places: &Places, stretch: &Stretch, late: &[Arc<Block>], times: Times) -> bool {
        let is_quiet = !self.is_live(places, stretch) && late.iter().all(|block| self.is_late_quiet(block, times));
        is_quiet || !late.is_empty() && self.waits_since_ms(stretch, times.now_ms) <= times.now_ms - LATE_MAX_MS
    }

    /// When something was first seen to wait in a stretch since its files were built, by our clock. Merges give what waits
    /// new files again and again, so a file of its own remembers it: where it cannot be written, the wait begins anew.
    fn waits_since_ms(&self, stretch: &Stretch, now_ms: i64) -> i64 {
        let vfs = &self.options.vfs;
        let path = self.waiting_path(stretch.target);
        let built = stretch.tiers.iter().flatten().filter_map(|file| vfs.modified_ms(&file.path).ok()).max();
        match vfs.modified_ms(&path) {
            // One from before is left over: what it spoke of was built in, or is gone.
            Ok(since_ms) if built.is_none_or(|built_ms| built_ms <= since_ms) => since_ms,
            found => {
                if found.is_ok() {
                    let _ = vfs.remove(&path);
                }
                let _ = vfs.open(&path, OpenMode::Create).and_then(|file| file.write_all_at(b"waiting\n", 0));
                now_ms
            }
        }
    }

    fn waiting_path(&self, target: MergeTarget) -> PathBuf {
        self.blocks_directory().join(format!("{}.waiting", target.start))
    }

    /// The samples around `start` are gone: what comes for that time later waits from then on.
    pub fn forget_waiting(&self, start: Timestamp) {
        for span_ms in [DAY_MS, CELL_MS] {
            let target = MergeTarget { start: start.saturating_sub(start.rem_euclid(span_ms)), span_ms };
            // Most often there is none.
            let _ = self.options.vfs.remove(&self.waiting_path(target));
        }
    }

    /// Whether nothing has come into a block for long. Told by its file, so that it outlasts restarts; a merge begins it
    /// anew.
    fn is_late_quiet(&self, block: &Block, times: Times) -> bool {
        let written = self.options.vfs.modified_ms(&block.path);
        written.is_ok_and(|written_ms| times.now_ms.saturating_sub(written_ms) >= LATE_QUIET_MS)
    }

    /// Writes the files and puts them in place; `false` where it was cancelled.
    pub(super) fn build(&self, build: &Build, progress: &Arc<Progress>) -> Result<bool, StoreError> {
        self.in_turn(progress, || {
            if !self.are_served(&build.raw) {
                return Ok(true);
            }
            // Of later ones the file is told when it is put in its place.
            let newest = self.places.read().tombstones.position_max();
            let cleaned = newest.map(|position| Position(position.0 + 1)).unwrap_or_default();
            let targets: Vec<TierTarget> = build.tiers.iter().map(|lack| self.target_of(lack, cleaned)).collect();
            let kind_of = |labels: &Labels| match (self.options.kind_of)(labels) {
                MetricKind::Unknown => kind_by_name(labels),
                known => known,
            };
            let (vfs, level) = (&self.options.vfs, build.level());
            let keeps = |labels: &Labels, resolution_ms: i64| self.keeping.has_buckets(labels, resolution_ms);
            let paths = build_tiers(&**vfs, &build.raw, build.target, &targets, level, &kind_of, &keeps, progress)?;
            if progress.cancelled.load(Ordering::Relaxed) && paths.iter().all(Option::is_none) {
                return Ok(false);
            }
            let opened_ms = self.options.clock.elapsed_ms();
            let open = |(lack, path): (&Lack, Option<PathBuf>)| {
                let file = path.map(|path| Block::open(vfs, &path, &self.damaged, opened_ms)).transpose()?;
                let resolution_ms = self.options.tiers[lack.tier].resolution_ms;
                Ok(file.map(|file| Arc::new(file.with_resolution(resolution_ms))))
            };
            let built: Vec<Option<Arc<Block>>> =
                build.tiers.iter().zip(paths).map(open).collect::<Result<_, StoreError>>()?;
            let bytes = built.iter().flatten().map(|file| file.file_bytes()).sum();
            self.compaction.bytes_written.fetch_add(bytes, Ordering::Relaxed);
            self.compaction.tiers_built.fetch_add(1, Ordering::Relaxed);
            // Nothing that is built waits.
            let _ = vfs.remove(&self.waiting_path(build.target));
            let mut places = self.places.write();
            for (lack, file) in build.tiers.iter().zip(built) {
                for old in &lack.files {
                    places.remove(old);
                    old.dropped.store(true, Ordering::Release);
                }
                if file.is_none() {
                    let windows = build.raw.iter().flat_map(|block| block.windows());
                    places.barren[lack.tier].extend(windows);
                }
                file.into_iter().for_each(|file| places.add_buckets(lack.tier, file));
            }
            Ok(true)
        })
    }

    fn target_of(&self, lack: &Lack, cleaned: Position) -> TierTarget {
        TierTarget {
            directory: self.tier_directory(lack.tier),
            resolution_ms: self.options.tiers[lack.tier].resolution_ms,
            old: lack.files.first().filter(|_| lack.keeps_buckets).cloned(),
            cleaned,
        }
    }
}
