//! What crashes and failing disks do while tiers are built and samples go: nothing is lost, nothing counted twice.

use super::{
    tests::{Bench, contents, labels},
    tests_tiers::*,
    *,
};
use crate::{
    model::{Labels, TimeRange, Timestamp},
    store::{
        Appendable, Queryable,
        backup::{Backup, Layout, SnapshotSource},
    },
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// A sample every ten minutes: a disk that keeps every write has little to keep.
fn sparse(store: &Tsdb, series: usize, from: Timestamp, hours: i64) {
    let times = (0..hours * 6).map(|at| from + at * 10 * MINUTE_MS);
    // Not one is refused: it is taken or the disk fails.
    let id = store.series_id(&labels(series)).unwrap();
    let mut batch = crate::store::WriteBatch::default();
    times.for_each(|at| batch.push(id, at, 1.0));
    if let Ok(outcome) = store.append(&batch) {
        let _ = outcome.ticket.wait_blocking();
    }
}

fn counts(store: &Tsdb) -> [u64; 2] {
    [1, 2].map(|series| count_of(store, &labels(series), TimeRange::ALL))
}

/// What is in before anything fails: three days of one series, and of another an hour that comes late for the first.
fn prepared() -> Bench {
    let bench = tiered();
    let store = bench.open();
    sparse(&store, 1, BEGIN, 24);
    bench.clock.advance(DAY_MS + HOUR_MS);
    store.seal_all().unwrap();
    drop(store);
    bench
}

/// Builds, lets samples go, takes what is late, folds it; what fails is tried again later.
fn lifetime(bench: &Bench) {
    for days in [0, 4, 8] {
        let Ok(store) = bench.try_open() else { continue };
        let _ = store.compact(&Arc::default());
        bench.clock.advance(days * DAY_MS + HOUR_MS);
        // A clock that has gone on alone deletes nothing: there has to be something new.
        sparse(&store, 3, bench.clock_now() - HOUR_MS, 1);
        let _ = store.seal_all();
        store.shared.drop_expired(bench.clock_now());
        let _ = store.shared.compact_due();
        if days == 4 {
            sparse(&store, 2, BEGIN + HOUR_MS, 1);
            let _ = store.seal_all();
        }
        store.shared.drop_expired(bench.clock_now());
    }
}

fn files_of(bench: &Bench) -> usize {
    ["300000", "3600000"].iter().map(|tier| bench.files(&format!("/data/tiers/{tier}")).len()).sum()
}

#[test]
fn an_error_at_any_call_of_building_and_dropping_loses_nothing_and_doubles_nothing() {
    let bench = prepared();
    let first_call = bench.vfs.calls();
    lifetime(&bench);
    let calls = bench.vfs.calls() - first_call;
    assert_eq!(counts(&bench.open()), [24 * 6, 6]);
    assert!(files_of(&bench) > 0 && calls > 100, "{calls}");
    for call in (0..calls).step_by(3) {
        let mut bench = prepared();
        let late_is_in = |store: &Tsdb| counts(store)[1];
        bench.vfs.fail(bench.vfs.calls() + call, 1 + call % 4);
        lifetime(&bench);
        bench.vfs.heal();
        let context = format!("call {call} of {calls}");
        let late = {
            let store = bench.open();
            assert_eq!(counts(&store)[0], 24 * 6, "{context}");
            late_is_in(&store)
        };
        assert!(late == 6 || late == 0, "{context}: {late}");
        bench.vfs = bench.vfs.after_power_cut(call);
        assert_eq!(counts(&bench.open()), [24 * 6, late], "{context}: after the power cut");
    }
}

#[test]
fn the_power_may_go_at_any_call_of_building_and_dropping() {
    let bench = prepared();
    let first_call = bench.vfs.calls();
    lifetime(&bench);
    let calls = bench.vfs.calls() - first_call;
    for call in (0..calls).step_by(5) {
        let mut bench = prepared();
        bench.vfs.fail(bench.vfs.calls() + call, u64::MAX);
        lifetime(&bench);
        bench.vfs = bench.vfs.after_power_cut(call);
        let store = bench.open();
        assert_eq!(counts(&store)[0], 24 * 6, "call {call} of {calls}");
        keep_up(&store);
        assert_eq!(counts(&store)[0], 24 * 6, "call {call} of {calls}, later");
    }
}

#[test]
fn a_stop_between_two_tiers_is_made_good_by_the_next_start() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 2);
    drop(store);
    let coarse = bench.files("/data/tiers/3600000");
    coarse.iter().for_each(|file| crate::stdx::vfs::Vfs::remove(&bench.vfs, file).unwrap());
    let store = bench.open();
    bench.clock.advance(HOUR_MS);
    keep_up(&store);
    let again = bench.files("/data/tiers/3600000");
    assert!(coarse.iter().all(|file| again.contains(file)), "{again:?}");
    assert_eq!(count_of(&store, &counter_labels(), TimeRange::ALL), 2 * 24 * 60);
}

#[test]
fn a_file_that_took_the_place_of_one_that_is_still_there_is_the_one_that_is_served() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 2);
    let file = bench.files("/data/tiers/300000").remove(0);
    let bytes = crate::stdx::vfs::Vfs::read(&bench.vfs, &file).unwrap();
    write(&store, &labels(1), (0..900).map(|at| (BEGIN + at * MINUTE_MS, 1.0)));
    store.seal_all().unwrap();
    bench.clock.advance(HOUR_MS);
    keep_up(&store);
    drop(store);
    // As a crash leaves it: the old one has not gone yet.
    let old = crate::stdx::vfs::Vfs::open(&bench.vfs, &file, crate::stdx::vfs::OpenMode::Create).unwrap();
    old.write_all_at(&bytes, 0).unwrap();
    let store = bench.open();
    assert!(!bench.files("/data/tiers/300000").contains(&file));
    live(&bench, &store, 5);
    let day = TimeRange::new(BEGIN, BEGIN + DAY_MS - 1).unwrap();
    assert_eq!((count_of(&store, &labels(1), day), count_of(&store, &counter_labels(), day)), (900, 1440));
}

#[test]
fn windows_that_went_because_a_tier_has_them_are_not_missed() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 6);
    drop(store);
    let store = bench.open();
    assert_eq!(store.status(0).unwrap().damaged, 0);
    drop(store);
    for tier in ["300000", "3600000"] {
        let oldest = bench.files(&format!("/data/tiers/{tier}")).remove(0);
        crate::stdx::vfs::Vfs::remove(&bench.vfs, &oldest).unwrap();
    }
    assert!(bench.open().status(0).unwrap().damaged > 0, "a file of buckets alone is missed");
}

#[test]
fn a_restored_backup_answers_as_the_store_did() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 9);
    write(&store, &labels(1), [(BEGIN + DAY_MS, 1.0)].into_iter());
    keep_up(&store);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.backup");
    let mut file = std::fs::File::create(&path).unwrap();
    crate::store::backup::write(store.snapshot().unwrap(), &mut file, &mut |_, _| true).unwrap();
    let target = directory.path().join("restored");
    let mut layout = Layout::new(&target).unwrap();
    Backup::open(&path).unwrap().read(&mut layout, &mut |_, _| true).unwrap();
    layout.finish().unwrap();
    let options = Options { clock: Arc::new(bench.clock.clone()), tiers: bench.tiers.clone(), ..Options::new(&target) };
    let restored = Tsdb::open(Options { retention_ms: bench.retention_ms, ..options }).unwrap();
    assert_eq!(contents(&restored), contents(&store));
    let everything = |store: &Tsdb| count_of(store, &counter_labels(), TimeRange::ALL);
    assert_eq!(everything(&restored), everything(&store));
    assert_eq!(restored.status(0).unwrap().damaged, 0);
}

#[derive(Debug, Clone)]
enum Step {
    /// Samples of a series within the last day, so many minutes apart.
    Write {
        series: usize,
        minutes_ago: i64,
        values: Vec<u8>,
    },
    Wait(i64),
    KeepUp,
    Compact,
    Reopen,
    Fails(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..4, 0i64..1400, prop::collection::vec(0u8..20, 1..60))
            .prop_map(|(series, minutes_ago, values)| Step::Write { series, minutes_ago, values }),
        4 => (1i64..30).prop_map(Step::Wait),
        4 => Just(Step::KeepUp),
        2 => Just(Step::Compact),
        2 => Just(Step::Reopen),
        1 => (0u64..40).prop_map(Step::Fails),
    ]
}

/// Samples of a series as the plain store has them.
pub(super) type Model = BTreeMap<Timestamp, f64>;

/// What a function that is exact gives for a window, from samples and their weights.
fn folded(points: &[(Timestamp, f64, u32)], function: &str) -> Option<f64> {
    let values = || points.iter().map(|(_, value, _)| *value);
    points.first()?;
    Some(match function {
        "count_over_time" => points.iter().map(|(_, _, weight)| f64::from(*weight)).sum(),
        "sum_over_time" => values().sum(),
        "min_over_time" => values().fold(f64::INFINITY, f64::min),
        "max_over_time" => values().fold(f64::NEG_INFINITY, f64::max),
        "last_over_time" => values().next_back()?,
        _ => {
            let fall = |pair: &[(Timestamp, f64, u32)]| if pair[1].1 < pair[0].1 { pair[0].1 } else { 0.0 };
            let falls: f64 = points.windows(2).map(fall).sum();
            values().next_back()? - values().next()? + falls
        }
    })
}

pub(super) fn check(store: &Tsdb, model: &BTreeMap<Labels, Model>, now: Timestamp) {
    let last = now - now.rem_euclid(6 * HOUR_MS) + 6 * HOUR_MS;
    let first = last - 18 * DAY_MS;
    for (series, samples) in model {
        for function in
            ["count_over_time", "sum_over_time", "min_over_time", "max_over_time", "last_over_time", "increase"]
        {
            let window_ms = 6 * HOUR_MS;
            let mut hints = hints(function, first, window_ms, window_ms);
            hints.allows_buckets = now % 2 == 0;
            let (found, _) = ask(store, series, range(first - window_ms + 1, last), &hints);
            let mut end = first;
            while end <= last {
                let within = |at: &Timestamp| end - window_ms < *at && *at <= end;
                let weight = |at: usize| found.weights.get(at).copied().unwrap_or(1);
                let points: Vec<_> = (0..found.values.len())
                    .filter(|at| within(&found.timestamps[*at]))
                    .map(|at| (found.timestamps[at], found.values[at], weight(at)))
                    .collect();
                let expected: Vec<_> =
                    samples.range(end - window_ms + 1..=end).map(|(at, value)| (*at, *value, 1)).collect();
                assert_eq!(
                    folded(&points, function),
                    folded(&expected, function),
                    "{function} of {series} at {end}: {points:?} of {expected:?}"
                );
                end += window_ms;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever is written within the retention of samples, built, dropped, failed and opened again: functions that are
    /// exact give what samples would have given.
    #[test]
    fn buckets_answer_as_the_samples_did(steps in prop::collection::vec(any_step(), 5..60)) {
        let bench = tiered();
        let mut store = bench.open();
        let mut model: BTreeMap<Labels, Model> = BTreeMap::new();
        for step in steps {
            let now = bench.clock_now();
            match step {
                Step::Write { series, minutes_ago, values } => {
                    let first = now - now.rem_euclid(MINUTE_MS) - minutes_ago * MINUTE_MS;
                    let samples: Vec<_> = (0..).zip(&values).map(|(at, value)| (first + at * MINUTE_MS, f64::from(*value))).filter(|(at, _)| *at <= now).collect();
                    let held = model.entry(labels(series)).or_default();
                    // Another value of a time that has one is refused.
                    let samples: Vec<_> = samples.into_iter().filter(|(at, _)| !held.contains_key(at)).collect();
                    held.extend(samples.iter().copied());
                    write(&store, &labels(series), samples.into_iter());
                }
                Step::Wait(hours) => bench.clock.advance(hours * HOUR_MS),
                Step::KeepUp => keep_up(&store),
                Step::Compact => assert!(store.compact(&Arc::default()).is_ok()),
                Step::Reopen => {
                    drop(store);
                    store = bench.open();
                }
                Step::Fails(call) => {
                    bench.vfs.fail(bench.vfs.calls() + call, 2);
                    let _ = store.compact(&Arc::default());
                    bench.vfs.heal();
                }
            }
            check(&store, &model, bench.clock_now());
        }
    }
}
