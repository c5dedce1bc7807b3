//! The engine against the plain store, through restarts, seals and power cuts.

use super::{Options, Policies, TierOptions, Tsdb, options::WINDOW_MS};
use crate::{
    model::{Histogram, Labels, MatchOp, Matcher, Samples, TimeRange, Timestamp},
    stdx::{
        cancel::Cancel,
        clock::ManualClock,
        vfs::{Vfs, simulated::SimulatedVfs},
    },
    store::{
        Appendable, Conflict, DeletePlan, Deletion, Hints, Queryable, RunChange, SeriesId, StateChange, StateStore,
        StoreError, Tree, Upkeep, WriteBatch,
        kv::{Kv, MemoryKv},
        memory::Memory,
        mirror::Mirror,
    },
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(in crate::store) const NOW: i64 = 1_700_000_000_000;

/// The same small state for one engine after the other.
#[derive(Clone, Default)]
pub(in crate::store) struct SharedKv(Arc<MemoryKv>);

impl SharedKv {
    /// The same content, for itself.
    pub fn copy(&self) -> SharedKv {
        let copy = MemoryKv::default();
        let pairs = Tree::ALL.into_iter().flat_map(|tree| {
            let pairs = self.0.load(tree).unwrap().into_iter();
            pairs.map(move |(key, value)| StateChange { tree, key, value: Some(value) })
        });
        copy.apply(self.0.position(), &pairs.collect::<Vec<_>>()).unwrap();
        SharedKv(Arc::new(copy))
    }
}

impl Kv for SharedKv {
    fn load(&self, tree: Tree) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.0.load(tree)
    }
    fn apply(&self, position: u64, changes: &[StateChange]) -> Result<(), StoreError> {
        self.0.apply(position, changes)
    }
    fn position(&self) -> u64 {
        self.0.position()
    }
}

pub(in crate::store) struct Bench {
    pub clock: ManualClock,
    pub vfs: SimulatedVfs,
    pub kv: SharedKv,
    pub retention_ms: i64,
    pub head_bytes_max: usize,
    pub bytes_max: u64,
    pub disk_percent_max: u32,
    pub tiers: Vec<TierOptions>,
    pub policies: Policies,
}

impl Bench {
    pub fn new() -> Bench {
        let defaults = Options::new("/data");
        Bench {
            clock: ManualClock::new(NOW),
            vfs: SimulatedVfs::default(),
            kv: SharedKv::default(),
            retention_ms: defaults.retention_ms,
            head_bytes_max: defaults.head_bytes_max,
            bytes_max: defaults.bytes_max,
            disk_percent_max: defaults.disk_percent_max,
            tiers: Vec::new(),
            policies: Policies::default(),
        }
    }

    pub fn options(&self) -> Options {
        let mut options = Options::new("/data");
        options.clock = Arc::new(self.clock.clone());
        options.vfs = Arc::new(self.vfs.clone()) as Arc<dyn Vfs>;
        options.log.segment_bytes = 4096;
        options.tiers.clone_from(&self.tiers);
        options.policies = self.policies.clone();
        (options.retention_ms, options.head_bytes_max) = (self.retention_ms, self.head_bytes_max);
        (options.bytes_max, options.disk_percent_max) = (self.bytes_max, self.disk_percent_max);
        options
    }

    pub fn try_open(&self) -> Result<Tsdb, StoreError> {
        Tsdb::open_with(self.options(), Box::new(self.kv.clone()))
    }

    pub fn open(&self) -> Tsdb {
        self.try_open().unwrap()
    }

    /// Paths of the files in a directory.
    pub fn files(&self, directory: &str) -> Vec<PathBuf> {
        let names = self.vfs.list(Path::new(directory)).unwrap();
        names.into_iter().map(|name| Path::new(directory).join(name)).collect()
    }
}

/// Labels and samples of every series that has some.
pub(in crate::store) fn contents(store: &Tsdb) -> Vec<(Labels, Samples)> {
    let set = store.select(TimeRange::ALL, &[all()], &Hints::default()).unwrap();
    let read = |index| {
        let mut samples = Samples::default();
        set.read(index, &mut samples).unwrap();
        (set.labels(index).clone(), samples)
    };
    (0..set.len()).map(read).filter(|(_, samples)| !samples.is_empty()).collect()
}

/// The values of series number `series`.
pub(in crate::store) fn values_of(store: &Tsdb, series: usize) -> Vec<f64> {
    let found = contents(store).into_iter().filter(|(found, _)| *found == labels(series));
    found.flat_map(|(_, samples)| samples.values).collect()
}

pub(in crate::store) fn labels(series: usize) -> Labels {
    let (name, job) = (format!("m{}", series % 3), format!("j{}", series % 4));
    Labels::from_pairs([("__name__", name.as_str()), ("job", &job), ("n", &series.to_string())]).unwrap()
}

pub(in crate::store) fn all() -> Matcher {
    Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Write { overwrite: bool, samples: Vec<(usize, i64, u8)> },
    Histogram { series: usize, at: i64, count: u8 },
    Run { series: usize, value: Option<u8>, after_ms: i64 },
    Whole { series: usize, first: i64, points: i64, step_ms: i64 },
    State { key: u8, value: Option<u8> },
    SealAll,
    SealSome(i64),
    Compact,
    Delete(Deletion),
    Clean,
    Forget,
    Reopen,
    Look { from: i64, length: i64 },
}

/// Offsets reach over three windows, dense enough to collide.
fn any_step() -> impl Strategy<Value = Step> {
    let offset = 0i64..1_200;
    prop_oneof![
        8 => (any::<bool>(), prop::collection::vec((0usize..7, offset.clone(), 0u8..4), 1..40))
            .prop_map(|(overwrite, samples)| Step::Write { overwrite, samples }),
        1 => (0usize..7, offset.clone(), 0u8..3).prop_map(|(series, at, count)| Step::Histogram { series, at, count }),
        3 => (7usize..10, prop::option::of(0u8..3), 0i64..4_000_000)
            .prop_map(|(series, value, after_ms)| Step::Run { series, value, after_ms }),
        1 => (10usize..12, 0i64..2_400, 0i64..300, 1i64..4)
            .prop_map(|(series, first, points, step)| Step::Whole { series, first, points, step_ms: step * 9_000 }),
        1 => (0u8..4, prop::option::of(any::<u8>())).prop_map(|(key, value)| Step::State { key, value }),
        1 => Just(Step::SealAll),
        1 => (0i64..3).prop_map(Step::SealSome),
        1 => Just(Step::Compact),
        2 => any_deletion().prop_map(Step::Delete),
        1 => Just(Step::Clean),
        1 => Just(Step::Forget),
        1 => Just(Step::Reopen),
        2 => (offset, 0i64..1_200).prop_map(|(from, length)| Step::Look { from, length }),
    ]
}

/// Of one series, of a job, of some by name, of everything; of a piece of time, from some time on, or of all time.
pub(in crate::store) fn any_deletion() -> impl Strategy<Value = Deletion> {
    let selector = prop_oneof![
        3 => (0usize..12).prop_map(|series| vec![Matcher::equal("n", &series.to_string())]),
        1 => (0usize..4).prop_map(|job| vec![Matcher::equal("job", &format!("j{job}"))]),
        1 => Just(vec![Matcher::new(MatchOp::Regex, "__name__", "m[01]").unwrap(), Matcher::equal("job", "j1")]),
        1 => Just(vec![]),
    ];
    let range = prop_oneof![
        4 => (0i64..2_400, 0i64..1_200)
            .prop_map(|(from, length)| TimeRange::new(time_of(from), time_of(from + length)).unwrap()),
        1 => (0i64..2_400).prop_map(|from| TimeRange::new(time_of(from), i64::MAX).unwrap()),
        1 => Just(TimeRange::ALL),
    ];
    (prop::collection::vec(selector, 1..3), range).prop_map(|(selectors, range)| Deletion { selectors, range })
}

pub(in crate::store) fn time_of(offset: i64) -> Timestamp {
    NOW - 3 * WINDOW_MS + offset * 18_000
}

fn look(store: &Mirror<Tsdb, Memory>, range: TimeRange) {
    for matchers in [
        vec![all()],
        vec![Matcher::equal("__name__", "m1"), Matcher::new(MatchOp::NotEqual, "job", "j2").unwrap()],
        vec![Matcher::new(MatchOp::Regex, "job", "j1|j3").unwrap()],
    ] {
        store.select(range, &matchers, &Hints::default()).unwrap();
    }
    store.state_scan(Tree::Jobs, b"");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever is written, sealed and reopened in whatever order reads as a sorted map would give it.
    #[test]
    fn the_engine_equals_the_plain_store(steps in prop::collection::vec(any_step(), 1..40)) {
        let bench = Bench::new();
        let mut store = Mirror::new(bench.open(), Memory::new(Arc::new(bench.clock.clone())));
        for step in steps {
            match step {
                Step::Write { overwrite, samples } => {
                    let conflict = if overwrite { Conflict::Overwrite } else { Conflict::Refuse };
                    let mut batch = WriteBatch { conflict, ..WriteBatch::default() };
                    for (series, at, value) in samples {
                        let id = store.series_id(&labels(series)).unwrap();
                        // A conflict with a sealed sample shows when read, not when written: keep values equal there.
                        let value = if overwrite { f64::from(value) } else { at as f64 };
                        batch.push(id, time_of(if overwrite { at * 2 } else { at * 2 + 1 }), value);
                    }
                    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
                }
                Step::Histogram { series, at, count } => {
                    let id = store.series_id(&labels(series)).unwrap();
                    let count = f64::from(count) * 0.0 + at as f64;
                    let histogram = Arc::new(Histogram { count, ..Histogram::default() });
                    let histograms = vec![(id, time_of(at), histogram)];
                    let batch = WriteBatch { histograms, ..WriteBatch::default() };
                    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
                }
                Step::Run { series, value, after_ms } => {
                    bench.clock.advance(after_ms);
                    let (series, now) = (store.series_id(&labels(series)).unwrap(), bench.clock_now());
                    let change = match value {
                        Some(value) => {
                            RunChange::Open { series, value: f64::from(value), first: now, step_ms: 15_000 }
                        }
                        None => RunChange::Close { series, at: now },
                    };
                    let batch = WriteBatch { runs: vec![change], ..WriteBatch::default() };
                    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
                }
                Step::State { key, value } => {
                    let change = StateChange { tree: Tree::Jobs, key: vec![key], value: value.map(|v| vec![v]) };
                    let batch = WriteBatch { state: vec![change], ..WriteBatch::default() };
                    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
                }
                Step::SealAll => store.left.seal_all().unwrap(),
                Step::SealSome(window) => {
                    let window = store.left.shared.head.window_of(time_of(0)) + window * WINDOW_MS;
                    store.left.shared.seal_where(|used| used.window == window).unwrap();
                }
                Step::Compact => assert!(store.left.compact(&Arc::default()).is_ok()),
                Step::Whole { series, first, points, step_ms } => {
                    let series = store.series_id(&labels(series)).unwrap();
                    // Of two that begin at one time the later written need not be the one that is seen.
                    let (value, first) = ((first % 5) as f64, time_of(first));
                    let change = RunChange::Whole { series, value, first, last: first + points * step_ms, step_ms };
                    let batch = WriteBatch { runs: vec![change], ..WriteBatch::default() };
                    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
                }
                Step::Delete(deletion) => {
                    let planned = store.left.plan_delete(&deletion, 3, &Cancel::new()).unwrap();
                    store.left.delete(&deletion).unwrap();
                    store.right.delete(&deletion).unwrap();
                    let left = store.left.plan_delete(&deletion, 3, &Cancel::new()).unwrap();
                    prop_assert_eq!(left, DeletePlan::default(), "after {:?}", planned);
                    look(&store, TimeRange::ALL);
                }
                Step::Clean => {
                    store.left.clean(&Arc::default()).unwrap();
                    let places = store.left.shared.places.read();
                    prop_assert!(places.files.iter().all(|block| block.cuts().is_empty()));
                    prop_assert_eq!(places.tombstones.len(), 0);
                }
                Step::Forget => {
                    let ids: Vec<SeriesId> = store.left.shared.head.catalog.read().series().map(|(id, _)| id).collect();
                    store.left.shared.forget(&ids);
                }
                Step::Reopen => {
                    store = store.replace_left(|left| {
                        drop(left);
                        bench.open()
                    });
                }
                Step::Look { from, length } => {
                    look(&store, TimeRange::new(time_of(from * 2), time_of((from + length) * 2)).unwrap());
                }
            }
        }
        look(&store, TimeRange::ALL);
        let store = store.replace_left(|left| {
            drop(left);
            bench.open()
        });
        look(&store, TimeRange::ALL);
    }

    /// What was acknowledged before the power went is there after it came back.
    #[test]
    fn acknowledged_samples_survive_a_power_cut(
        seed: u64,
        batches in prop::collection::vec((0usize..5, 1usize..30, 0u8..8), 1..40),
    ) {
        let mut bench = Bench::new();
        let mut expected: BTreeMap<(usize, Timestamp), f64> = BTreeMap::new();
        {
            let store = bench.open();
            let mut at = time_of(0);
            let mut unacknowledged = Vec::new();
            for (first, count, mood) in batches {
                at += 15_000 + 600_000 * i64::from(mood == 7);
                let mut batch = WriteBatch::default();
                for series in first..first + count {
                    batch.push(store.series_id(&labels(series)).unwrap(), at, at as f64);
                }
                let outcome = store.append(&batch).unwrap();
                if mood < 5 {
                    outcome.ticket.wait_blocking().unwrap();
                    expected.extend((first..first + count).map(|series| ((series, at), at as f64)));
                } else {
                    unacknowledged.push(outcome.ticket);
                }
                match mood {
                    6 => store.seal_all().unwrap(),
                    7 => assert!(store.compact(&Arc::default()).is_ok()),
                    _ => {}
                }
            }
            bench.vfs = bench.vfs.after_power_cut(seed);
        }
        let store = bench.open();
        let set = store.select(TimeRange::ALL, &[all()], &Hints::default()).unwrap();
        let mut found: BTreeMap<(usize, Timestamp), f64> = BTreeMap::new();
        let mut samples = Samples::default();
        for index in 0..set.len() {
            let series = set.labels(index).get("n").unwrap().parse().unwrap();
            set.read(index, &mut samples).unwrap();
            found.extend(samples.timestamps.iter().map(|at| (series, *at)).zip(samples.values.iter().copied()));
        }
        for (key, value) in &expected {
            prop_assert_eq!(found.get(key), Some(value), "{:?} is lost", key);
        }
    }
}

impl Bench {
    pub fn clock_now(&self) -> i64 {
        use crate::stdx::clock::Clock;
        self.clock.now_ms()
    }
}

pub(in crate::store) fn one_sample(store: &Tsdb, series: usize, at: Timestamp, value: f64) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.push(store.series_id(&labels(series)).unwrap(), at, value);
    batch
}

#[test]
fn sealed_windows_leave_memory_and_the_log_and_are_still_read() {
    let bench = Bench::new();
    let store = bench.open();
    for scrape in 0..2_000 {
        let batch = one_sample(&store, scrape % 5, time_of(0) + scrape as i64 * 1_000, scrape as f64);
        store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
    }
    let before = store.status(10).unwrap();
    store.seal_all().unwrap();
    let after = store.status(10).unwrap();
    assert!(after.log_bytes < before.log_bytes, "{} < {}", after.log_bytes, before.log_bytes);
    assert_eq!((before.window_files, after.chunks), (0, 0));
    assert!(after.window_files >= 1);
    let set = store.select(TimeRange::ALL, &[all()], &Hints::default()).unwrap();
    let mut samples = Samples::default();
    let read = |index| {
        set.read(index, &mut samples).unwrap();
        samples.len()
    };
    assert_eq!((0..set.len()).map(read).sum::<usize>(), 2_000);
    assert_eq!(store.label_values("n", TimeRange::ALL, &[]).unwrap().len(), 5);
}

#[test]
fn a_sample_past_retention_is_refused_and_its_window_goes() {
    let bench = Bench::new();
    let store = bench.open();
    let old = NOW - 31 * 24 * 3_600_000;
    let outcome = store.append(&one_sample(&store, 0, old, 1.0)).unwrap();
    assert_eq!(outcome.refused.len(), 1);
    store.append(&one_sample(&store, 0, time_of(0), 1.0)).unwrap().ticket.wait_blocking().unwrap();
    store.seal_all().unwrap();
    bench.clock.advance(40 * 24 * 3_600_000);
    store.shared.drop_expired(bench.clock_now());
    assert_eq!(store.status(1).unwrap().window_files, 1, "a clock that jumps ahead deletes nothing");
    store.append(&one_sample(&store, 1, bench.clock_now(), 1.0)).unwrap().ticket.wait_blocking().unwrap();
    store.shared.drop_expired(bench.clock_now());
    assert_eq!(store.status(1).unwrap().window_files, 0);
}

#[test]
fn a_clock_that_jumps_ahead_deletes_nothing_although_new_samples_carry_its_time() {
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;
    let bench = Bench::new();
    let store = bench.open();
    store.append(&one_sample(&store, 0, time_of(0), 1.0)).unwrap().ticket.wait_blocking().unwrap();
    store.seal_all().unwrap();
    bench.clock.set(NOW + YEAR_MS);
    store.append(&one_sample(&store, 1, bench.clock_now(), 1.0)).unwrap().ticket.wait_blocking().unwrap();
    store.shared.drop_expired(bench.clock_now());
    assert_eq!(store.status(1).unwrap().window_files, 1);
    bench.clock.advance(40 * 24 * 3_600_000);
    store.shared.drop_expired(bench.clock_now());
    assert_eq!(store.status(1).unwrap().window_files, 0, "time that really passed counts");
}

#[test]
fn an_id_whose_series_has_left_memory_is_refused_so_that_it_is_resolved_again() {
    let bench = Bench::new();
    let store = bench.open();
    let batch = one_sample(&store, 0, time_of(0), 1.0);
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
    store.seal_all().unwrap();
    for _ in 0..2 {
        store.shared.forget(&batch.series);
    }
    let outcome = store.append(&batch).unwrap();
    assert_eq!(outcome.refused[0].reason, crate::store::RefusalReason::UnknownSeries);
    let again = one_sample(&store, 0, time_of(1), 1.0);
    assert_ne!(again.series[0], SeriesId(batch.series[0].0));
    assert!(store.append(&again).unwrap().refused.is_empty());
}
