//! Selections: series from head and files, merged by labels, each read from wherever its samples are.

use super::{
    blend::{Choice, Role, Sources, choose, read_blended, with_edge_before},
    block::{Block, ClockCache, Place, put_in_order},
    by_labels,
    engine::{Places, Shared, Tsdb},
    head::{Part, SharedPartition, sort_samples},
    options::WINDOW_MS,
    run::{Looks, Run, read_runs},
    stretch::{Stretch, stretches},
};
use crate::{
    model::{Exemplar, Labels, Matcher, Samples, TimeRange, Timestamp},
    store::{Hints, LabelCount, Origin, Queryable, SeriesId, SeriesSet, StoreError, StoreStatus, TierUse},
};
use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

/// The generation of what the head takes now; what is being sealed is a little older, and older than that what is.
const LIVE: u64 = u64::MAX;

#[derive(Clone, Copy)]
enum Source {
    Head { partition: u32, column: u32, part: Part },
    File { file: u32, series: u32 },
    Run(Run),
}

/// What [`Queryable::select`] gives.
struct Selection {
    range: TimeRange,
    now_ms: i64,
    looks: Option<Looks>,
    series: Vec<(Labels, Range<u32>)>,
    parts: Vec<Source>,
    partitions: Vec<SharedPartition>,
    /// Blocks of samples, then files of buckets.
    files: Vec<(Arc<Block>, ClockCache)>,
    /// Stretches that may be read from buckets, in order of time: none where samples are all that is needed.
    choices: Vec<Choice>,
    /// What partitions and files have to do with these.
    partition_roles: Vec<Role>,
    file_roles: Vec<Role>,
}

impl SeriesSet for Selection {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[index].0
    }

    fn origin(&self) -> Origin {
        let tier_files = self.file_roles.iter().filter(|role| matches!(role, Role::Buckets(..))).count();
        let blocks = (self.files.len() - tier_files) as u64;
        Origin { partitions: self.partitions.len() as u64, blocks, tier_files: tier_files as u64 }
    }

    fn coarsest_ms(&self) -> Option<i64> {
        let in_play = || self.choices.iter().map(Choice::coarsest_ms).max().unwrap_or_default();
        self.looks.is_none().then(in_play)
    }

    fn tiers(&self) -> Vec<TierUse> {
        self.choices.iter().flat_map(|choice| choice.used(self.range)).collect()
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), StoreError> {
        samples.clear();
        let parts = &self.series[index].1;
        let parts = &self.parts[parts.start as usize..parts.end as usize];
        if !self.choices.is_empty() {
            read_blended(self, parts, &self.choices, (self.range, self.now_ms, self.looks), samples);
            return Ok(());
        }
        let mut runs = Vec::new();
        parts.iter().for_each(|part| Sources::read(self, *part, samples, &mut runs));
        read_runs(&mut runs, self.range, self.now_ms, self.looks, samples);
        sort_samples(samples, true);
        Ok(())
    }
}

impl Sources for Selection {
    type Source = Source;

    fn role(&self, source: Source) -> Role {
        match source {
            Source::Head { partition, .. } => self.partition_roles[partition as usize],
            Source::File { file, .. } => self.file_roles[file as usize],
            Source::Run(_) => Role::Free,
        }
    }

    fn read(&self, source: Source, samples: &mut Samples, runs: &mut Vec<Run>) {
        match source {
            Source::Head { partition, column, part } => {
                let held = self.partitions[partition as usize].lock();
                let of = (held.window, &held.clocks[..]);
                held.columns[column as usize].read_part(part, of, self.range, samples, runs);
            }
            Source::File { file, series } => {
                let (file, clocks) = &self.files[file as usize];
                file.read(series, self.range, clocks, samples, runs);
            }
            Source::Run(run) => runs.push(run),
        }
    }

    fn file(&self, source: Source) -> Option<(&Block, u32, &ClockCache)> {
        match source {
            Source::File { file, series } => {
                let (file, clocks) = &self.files[file as usize];
                Some((file, series, clocks))
            }
            Source::Head { .. } | Source::Run(_) => None,
        }
    }
}

/// Collects series and their parts before they are put in order.
#[derive(Default)]
struct Collector {
    series: Vec<(Labels, Vec<(Place, Source)>)>,
    by_labels: HashMap<Labels, usize>,
}

impl Shared {
    fn collect(&self, range: TimeRange, matchers: &[Matcher], hints: &Hints) -> Result<Selection, StoreError> {
        let cancel = &hints.cancel;
        let now_ms = self.now_ms();
        let mut collector = Collector::default();
        // The open runs before the partitions: a run that is closed meanwhile is met in both, never in neither.
        let by_shard = self.collect_runs(range, now_ms, matchers, &mut collector);
        // Held until it is known what there is: a window must not move from one place to the other meanwhile.
        let places = self.places.read();
        let Files { files, roles: file_roles, choices } = self.files_to_read(&places, range, hints);
        let mut partitions = self.head.overlapping(range);
        let mut generations = vec![LIVE; partitions.len()];
        for (frozen, generation) in places.sealing.iter().rev().zip((0..LIVE).rev()) {
            for partition in &frozen.partitions {
                let held = partition.lock();
                if held.oldest <= range.end() && range.start() <= held.newest {
                    partitions.push(partition.clone());
                    generations.push(generation);
                }
            }
        }
        // What was found holds on to its samples wherever they go. Its labels may have to come from the disk.
        drop(places);
        collect_head(&partitions, &generations, &by_shard, &mut collector);
        by_labels::check(cancel)?;
        let merge = files.len() > 1 || collector.series.iter().any(|(_, parts)| !parts.is_empty());
        for (number, file) in files.iter().enumerate() {
            collect_file(file, number as u32, matchers, merge, &mut collector);
            by_labels::check(cancel)?;
        }
        let mut found = collector.series;
        found.retain(|(_, parts)| !parts.is_empty());
        let order = by_labels::order(found.len(), |number| &found[number as usize].0, cancel)?;
        let (mut series, mut parts) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
        let mut is_read = vec![false; files.len()];
        for number in order {
            let (labels, sources) = &mut found[number as usize];
            put_in_order(sources, |(place, _)| *place);
            let start = parts.len() as u32;
            for (_, source) in sources.iter() {
                if let Source::File { file, .. } = source {
                    is_read[*file as usize] = true;
                }
                parts.push(*source);
            }
            series.push((labels.clone(), start..parts.len() as u32));
        }
        // A place for each clock only where a series was found: a block may have very many.
        let cache = |file: &Block, is_read| if is_read { file.clock_cache() } else { ClockCache::default() };
        let files =
            files.into_iter().zip(is_read).map(|(file, is_read)| (file.clone(), cache(&file, is_read))).collect();
        let role_of = |at: Timestamp| (0..).zip(&choices).find(|(_, choice)| choice.contains(at));
        let role = |partition: &SharedPartition| {
            // Where samples are all that is read there is nothing to lock for.
            let found = if choices.is_empty() { None } else { role_of(partition.lock().window) };
            found.map_or(Role::Free, |(own, _)| Role::Samples(own))
        };
        let partition_roles = partitions.iter().map(role).collect();
        let looks = Looks::of(hints);
        Ok(Selection { range, now_ms, looks, series, parts, partitions, files, choices, partition_roles, file_roles })
    }

    /// The series of the catalogue with their open runs, and where each shard's stand in `collector`.
    fn collect_runs(
        &self,
        range: TimeRange,
        now_ms: i64,
        matchers: &[Matcher],
        collector: &mut Collector,
    ) -> Vec<Vec<(SeriesId, usize)>> {
        let candidates = self.head.catalog.read().select(matchers);
        let mut by_shard: Vec<Vec<(SeriesId, usize)>> = vec![Vec::new(); super::head::catalog::SHARDS];
        for (index, (id, labels)) in candidates.into_iter().enumerate() {
            by_shard[id.shard()].push((id, index));
            collector.series.push((labels, Vec::with_capacity(1)));
        }
        let open = self.head.open_runs();
        if !open.is_empty() {
            for (id, index) in by_shard.iter().flatten() {
                if let Some(run) = open.get(id).filter(|run| run.overlaps(range, now_ms)) {
                    // Runs are put in order when they are read.
                    let place =
                        Place { start: run.first, end: run.first, overwrites: false, generation: LIVE, level: 0 };
                    collector.series[*index].1.push((place, Source::Run(*run)));
                }
            }
        }
        by_shard
    }
}

fn collect_head(
    partitions: &[SharedPartition],
    generations: &[u64],
    by_shard: &[Vec<(SeriesId, usize)>],
    collector: &mut Collector,
) {
    for (number, (partition, generation)) in partitions.iter().zip(generations).enumerate() {
        let held = partition.lock();
        let Some(first) = held.columns.first() else { continue };
        for (id, index) in &by_shard[first.series.shard()] {
            if let Ok(column) = held.column_of(*id) {
                let overwrites = held.columns[column].overwrites;
                let (start, end) = (held.window, held.window.saturating_add(WINDOW_MS));
                let mut add = |part, overwrites| {
                    let place = Place { start, end, overwrites, generation: *generation, level: 0 };
                    let source = Source::Head { partition: number as u32, column: column as u32, part };
                    collector.series[*index].1.push((place, source));
                };
                if held.columns[column].is_mixed() {
                    add(Part::Yielding, false);
                    add(Part::Overwriting, true);
                } else {
                    add(Part::All, overwrites);
                }
            }
        }
    }
}

fn collect_file(file: &Block, number: u32, matchers: &[Matcher], merge: bool, collector: &mut Collector) {
    if merge && collector.by_labels.is_empty() {
        let known = collector.series.iter().enumerate();
        collector.by_labels = known.map(|(index, (labels, _))| (labels.clone(), index)).collect();
    }
    for series in file.find(matchers) {
        let Some(labels) = file.labels(series) else { continue };
        let part = (file.place(series), Source::File { file: number, series });
        if !merge {
            collector.series.push((labels, vec![part]));
            continue;
        }
        let next = collector.series.len();
        let index = *collector.by_labels.entry(labels.clone()).or_insert(next);
        if index == next {
            collector.series.push((labels, Vec::with_capacity(1)));
        }
        collector.series[index].1.push(part);
    }
}

impl Queryable for Tsdb {
    fn select(&self, range: TimeRange, matchers: &[Matcher], hints: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError> {
        Ok(Arc::new(self.shared.collect(range, matchers, hints)?))
    }

    fn label_names(&self, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        let mut names = BTreeSet::new();
        if matchers.is_empty() {
            names.extend(self.shared.head.catalog.read().postings.names().map(str::to_owned));
            for file in self.shared.files_in(range) {
                file.add_names(&mut names);
            }
        } else {
            let found = self.shared.collect(range, matchers, &Hints::default())?;
            for (labels, _) in &found.series {
                for (name, _) in labels.iter() {
                    if !names.contains(name) {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    fn label_values(&self, name: &str, range: TimeRange, matchers: &[Matcher]) -> Result<Vec<String>, StoreError> {
        let mut values = BTreeSet::new();
        if matchers.is_empty() {
            values.extend(self.shared.head.catalog.read().postings.values(name).map(|(value, _)| value.to_owned()));
            for file in self.shared.files_in(range) {
                file.add_values(name, &mut values);
            }
        } else {
            let found = self.shared.collect(range, matchers, &Hints::default())?;
            for value in found.series.iter().filter_map(|(labels, _)| labels.get(name)) {
                if !values.contains(value) {
                    values.insert(value.to_owned());
                }
            }
        }
        Ok(values.into_iter().collect())
    }

    fn exemplars(
        &self,
        range: TimeRange,
        selectors: &[Vec<Matcher>],
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        Ok(self.shared.exemplars.select(range, selectors))
    }

    fn status(&self, limit: usize) -> Result<StoreStatus, StoreError> {
        let shared = &self.shared;
        let mut status = shared.catalog_status(limit);
        let bounds = shared.head.bounds();
        status.chunks = shared.head.windows(shared.now_ms()).iter().map(|window| window.columns as u64).sum();
        (status.oldest, status.newest) = (bounds.map(|b| b.0), bounds.map(|b| b.1));
        status.damaged = shared.damaged.count();
        status.exemplars = shared.exemplars.count() as u64;
        status.log_bytes = shared.log.stats().bytes;
        let places = shared.places.read();
        status.window_files = places.files.len() as u64;
        status.window_file_bytes = places.files.iter().map(|file| file.file_bytes()).sum();
        Ok(status)
    }
}

/// The files of a selection.
struct Files {
    files: Vec<Arc<Block>>,
    /// What each has to do with the choices.
    roles: Vec<Role>,
    choices: Vec<Choice>,
}

impl Shared {
    fn files_in(&self, range: TimeRange) -> Vec<Arc<Block>> {
        self.files_to_read(&self.places.read(), range, &Hints::default()).files
    }

    /// Blocks of samples, and files of buckets for the stretches where these are read or may be.
    fn files_to_read(&self, places: &Places, range: TimeRange, hints: &Hints) -> Files {
        let overlaps = |file: &&Arc<Block>| file.range().is_some_and(|covered| covered.overlaps(range));
        let mut files: Vec<Arc<Block>> = places.files.iter().filter(overlaps).cloned().collect();
        let (mut choices, mut unread) = (Vec::new(), Vec::new());
        let looked_at = with_edge_before(range, hints, &self.options.tiers);
        let is_looked_at = |file: &Arc<Block>| file.range().is_some_and(|covered| covered.overlaps(looked_at));
        if places.tiers.iter().flatten().any(is_looked_at) {
            let is_live = |stretch: &Stretch| self.is_live(places, stretch);
            let stretches = stretches(places, self.stretch_ms(), looked_at);
            (choices, unread) = choose(&stretches, hints, &self.options.tiers, is_live);
        }
        // By policy a series may have no buckets, or samples beside them.
        let is_unread = |file: &Arc<Block>| unread.iter().any(|unread| Arc::ptr_eq(unread, file));
        let has_policies = !self.keeping.policies.is_empty() || !places.kept.is_empty();
        files.retain(|file| has_policies || !is_unread(file));
        let choice_at = |at: Timestamp| (0..).zip(&choices).find(|(_, choice)| choice.contains(at));
        let is_in_kept = |file: &Arc<Block>| {
            let is_known = |window| places.kept.iter().any(|kept| kept.names(window));
            !places.kept.is_empty() && file.windows().all(is_known)
        };
        let role = |file: &Arc<Block>| match choice_at(file.footer.start) {
            None => Role::Free,
            Some((own, _)) if is_unread(file) => Role::InBuckets(own),
            Some((own, _)) if is_in_kept(file) => Role::InKept(own),
            Some((own, _)) => Role::Samples(own),
        };
        let mut roles: Vec<Role> = files.iter().map(role).collect();
        // Also those of a stretch of which only the last bucket is looked at: of a series in them it is not read.
        for file in places.kept.iter().filter(|file| is_looked_at(file)) {
            roles.push(choice_at(file.footer.start).map_or(Role::Free, |(own, _)| Role::Kept(own)));
            files.push(file.clone());
        }
        for (file, role) in (0..).zip(&choices).flat_map(|(own, choice)| choice.files(own)) {
            files.push(file);
            roles.push(role);
        }
        Files { files, roles, choices }
    }

    /// Whether samples of a stretch are in memory.
    pub fn is_live(&self, places: &Places, stretch: &Stretch) -> bool {
        let range = TimeRange::new(stretch.target.start, stretch.end().saturating_sub(1));
        let is_within = |window: Timestamp| range.is_some_and(|range| range.contains(window));
        range.is_some_and(|range| !self.head.overlapping(range).is_empty())
            || places.sealing.iter().any(|frozen| is_within(frozen.window))
    }

    fn catalog_status(&self, limit: usize) -> StoreStatus {
        let catalog = self.head.catalog.read();
        let postings = &catalog.postings;
        let counts =
            StoreStatus { series: catalog.count() as u64, label_pairs: postings.pairs(), ..StoreStatus::default() };
        if limit == 0 {
            // What metrics ask for every few seconds: nothing is listed, so no label value is looked at.
            return counts;
        }
        let (mut values_by_label, mut bytes_by_label, mut series_by_pair) = (Vec::new(), Vec::new(), Vec::new());
        let count = |name: &str, value: u64| LabelCount { name: name.to_owned(), value };
        for name in postings.names() {
            values_by_label.push(count(name, postings.values(name).count() as u64));
            bytes_by_label.push(count(name, postings.values(name).map(|(v, n)| v.len() as u64 * n).sum()));
            for (value, series) in postings.values(name) {
                series_by_pair.push(LabelCount { name: format!("{name}={value}"), value: series });
            }
            top(&mut series_by_pair, limit);
        }
        let mut series_by_metric: Vec<LabelCount> =
            postings.values(crate::model::METRIC_NAME).map(|(name, series)| count(name, series)).collect();
        for list in [&mut series_by_metric, &mut values_by_label, &mut bytes_by_label] {
            top(list, limit);
        }
        StoreStatus { series_by_metric, values_by_label, bytes_by_label, series_by_pair, ..counts }
    }
}

/// Keeps the largest.
pub(super) fn top(list: &mut Vec<LabelCount>, limit: usize) {
    list.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    list.truncate(limit);
}
