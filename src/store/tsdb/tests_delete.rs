//! Deleting: all of it or nothing, through failing disks, power cuts, merges and appends of the same moment.

use super::{
    delete::TOMBSTONES_MAX,
    tests::{Bench, all, contents, labels, time_of},
    tests_tiers::{self, BEGIN, DAY_MS, MINUTE_MS, ask, count_of, count_on, counter_labels, keep_up, live, tiered},
    *,
};
use crate::{
    model::{Exemplar, Labels, Matcher, Samples, TimeRange},
    stdx::vfs::Vfs,
    store::{Appendable, Deletion, Queryable, RunChange, StoreError, Upkeep, WriteBatch},
};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

type Contents = Vec<(Labels, Samples)>;

const RUN_SERIES: usize = 8;

fn write(store: &Tsdb, series: usize, times: impl Iterator<Item = i64>) {
    let id = store.series_id(&labels(series)).unwrap();
    let mut batch = WriteBatch::default();
    times.for_each(|at| batch.push(id, at, at as f64));
    let outcome = store.append(&batch).unwrap();
    assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
    outcome.ticket.wait_blocking().unwrap();
}

fn exemplar(at: i64) -> Exemplar {
    Exemplar { labels: Labels::from_pairs([("trace_id", "a")]).unwrap(), value: 1.0, timestamp: at }
}

/// Series of three jobs in three windows, in blocks, merged ones and memory; a run; exemplars.
fn prepare(bench: &Bench) -> Tsdb {
    let store = bench.open();
    let times = |from: i64, to: i64| (from..to).step_by(37).map(time_of);
    for series in 0..6 {
        write(&store, series, times(0, 500));
    }
    store.seal_all().unwrap();
    for series in 0..6 {
        write(&store, series, times(5, 500));
    }
    store.compact(&Arc::default()).unwrap();
    let run_series = store.series_id(&labels(RUN_SERIES)).unwrap();
    let run = RunChange::Open { series: run_series, value: 3.0, first: time_of(90), step_ms: 600_000 };
    let exemplars = [time_of(150), time_of(1_100)].map(|at| (run_series, exemplar(at))).to_vec();
    let batch = WriteBatch { runs: vec![run], exemplars, ..WriteBatch::default() };
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
    for series in 0..6 {
        write(&store, series, times(600, 1_200));
    }
    store
}

/// Of the series 0, 4 and 8.
fn deletion() -> Deletion {
    let range = TimeRange::new(time_of(100), time_of(1_000)).unwrap();
    Deletion { selectors: vec![vec![Matcher::equal("job", "j0")]], range }
}

fn without(before: &Contents, deletion: &Deletion) -> Contents {
    let mut after = before.clone();
    for (labels, samples) in &mut after {
        let kept = |at: &i64| !deletion.has(labels, *at);
        let keep: Vec<usize> = (0..samples.timestamps.len()).filter(|at| kept(&samples.timestamps[*at])).collect();
        samples.values = keep.iter().map(|at| samples.values[*at]).collect();
        samples.timestamps = keep.iter().map(|at| samples.timestamps[*at]).collect();
    }
    after.retain(|(_, samples)| !samples.is_empty());
    after
}

fn exemplars(store: &Tsdb) -> usize {
    let found = store.exemplars(TimeRange::ALL, &[vec![all()]]).unwrap();
    found.iter().map(|(_, found)| found.len()).sum()
}

fn calls_of(work: impl Fn(&Tsdb)) -> u64 {
    let bench = Bench::new();
    let store = prepare(&bench);
    let before = bench.vfs.calls();
    work(&store);
    bench.vfs.calls() - before
}

#[test]
fn a_deletion_writes_the_windows_that_could_not_be_sealed_before() {
    let bench = Bench::new();
    let store = prepare(&bench);
    let after = without(&contents(&store), &deletion());
    bench.vfs.break_down();
    assert!(store.seal_all().is_err());
    assert!(!store.shared.places.read().sealing.is_empty());
    bench.vfs.heal();
    store.delete(&deletion()).unwrap();
    assert!(store.shared.places.read().sealing.is_empty());
    assert_eq!(contents(&store), after);
}

#[test]
fn an_error_or_a_power_cut_at_any_call_of_a_deletion_leaves_all_or_nothing() {
    let calls = calls_of(|store| store.delete(&deletion()).unwrap());
    assert!(calls > 30, "{calls}");
    for trial in 0..calls * 2 {
        let (call, is_broken) = (trial / 2, trial % 2 == 1);
        let context = format!("call {call} of {calls}, broken: {is_broken}");
        let mut bench = Bench::new();
        let store = prepare(&bench);
        let before = contents(&store);
        let after = without(&before, &deletion());
        bench.vfs.fail(bench.vfs.calls() + call, if is_broken { u64::MAX } else { 1 });
        let result = store.delete(&deletion());
        let vfs = bench.vfs.after_power_cut(trial);
        bench.vfs.heal();
        assert_eq!(&contents(&store), if result.is_ok() { &after } else { &before }, "{context}: {result:?}");
        // It goes on: what failed is done again, and what is merged meanwhile has none of it back.
        store.compact(&Arc::default()).unwrap();
        store.delete(&deletion()).unwrap();
        assert_eq!(contents(&store), after, "{context}: again");
        drop(store);
        assert_eq!(contents(&bench.open()), after, "{context}: opened again");
        // Or the power went.
        bench.vfs = vfs;
        let store = bench.open();
        let found = contents(&store);
        assert!(found == after || found == before && result.is_err(), "{context}: {result:?}");
        assert_eq!(exemplars(&store), if found == after { 1 } else { 2 }, "{context}");
        store.compact(&Arc::default()).unwrap();
        assert_eq!(contents(&store), found, "{context}: merged");
    }
}

#[test]
fn a_deletion_that_failed_is_not_half_there_after_merges_and_a_restart() {
    let calls = calls_of(|store| store.delete(&deletion()).unwrap());
    for call in 0..calls {
        let bench = Bench::new();
        let store = prepare(&bench);
        let before = contents(&store);
        bench.vfs.fail(bench.vfs.calls() + call, 4);
        let result = store.delete(&deletion());
        bench.vfs.heal();
        // Merged with what came later: a tombstone does not speak of that block.
        write(&store, 5, [time_of(10) + 1, time_of(900) + 1].into_iter());
        store.compact(&Arc::default()).unwrap();
        let live = contents(&store);
        drop(store);
        let context = format!("call {call} of {calls}");
        assert_eq!(contents(&bench.open()), live, "{context}");
        assert_eq!(live.len(), if result.is_ok() { without(&before, &deletion()).len() } else { before.len() });
    }
}

#[test]
fn what_was_deleted_stays_so_whatever_fails_while_it_is_cleaned() {
    let clean = |store: &Tsdb| store.clean(&Arc::default()).map(drop);
    let calls = calls_of(|store| {
        store.delete(&deletion()).unwrap();
        clean(store).unwrap();
    });
    for call in 0..calls {
        let mut bench = Bench::new();
        let store = prepare(&bench);
        let after = without(&contents(&store), &deletion());
        store.delete(&deletion()).unwrap();
        bench.vfs.fail(bench.vfs.calls() + call, 1 + call % 3);
        let result = clean(&store);
        bench.vfs.heal();
        assert_eq!(contents(&store), after, "call {call}: {result:?}");
        bench.vfs = bench.vfs.after_power_cut(call);
        let opened = bench.open();
        assert_eq!(contents(&opened), after, "call {call}");
        clean(&opened).unwrap();
        assert_eq!((contents(&opened), exemplars(&opened)), (after.clone(), 1), "call {call}: cleaned");
        assert_eq!(opened.shared.places.read().tombstones.len(), 0);
        drop(opened);
        assert_eq!(contents(&bench.open()), after, "call {call}: opened again");
    }
}

#[test]
fn what_is_appended_meanwhile_is_deleted_or_there_and_a_restart_changes_nothing() {
    for trial in 0..12 {
        let mut bench = Bench::new();
        let store = bench.open();
        let sent = AtomicI64::new(0);
        let mut acknowledged_before = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..600 {
                    write(&store, 0, [time_of(0) + number * 40_000].into_iter());
                    write(&store, 1, [time_of(0) + number * 40_000].into_iter());
                    sent.store(number + 1, Ordering::SeqCst);
                }
            });
            for _ in 0..6 {
                std::thread::sleep(std::time::Duration::from_millis(2));
                acknowledged_before = sent.load(Ordering::SeqCst);
                let selectors = vec![vec![Matcher::equal("n", "0")]];
                store.delete(&Deletion { selectors, range: TimeRange::ALL }).unwrap();
                if trial % 3 == 0 {
                    store.compact(&Arc::default()).unwrap();
                }
            }
        });
        let found = contents(&store);
        let of = |series: usize| {
            let found = found.iter().find(|(found, _)| *found == labels(series));
            found.map(|(_, samples)| samples.timestamps.clone()).unwrap_or_default()
        };
        assert_eq!(of(1).len(), 600, "trial {trial}");
        let left: Vec<i64> = (0..600).map(|number| time_of(0) + number * 40_000).collect();
        assert!(left.ends_with(&of(0)), "trial {trial}: what is left is what came last");
        assert!(of(0).len() as i64 <= 600 - acknowledged_before, "trial {trial}: what was there is gone");
        drop(store);
        assert_eq!(contents(&bench.open()), found, "trial {trial}");
        bench.vfs = bench.vfs.after_power_cut(trial);
        assert_eq!(contents(&bench.open()), found, "trial {trial}: after a power cut");
    }
}

#[test]
fn a_window_of_which_nothing_is_left_does_not_come_back_from_the_log() {
    let bench = Bench::new();
    let store = bench.open();
    write(&store, 0, [time_of(0)].into_iter());
    let selectors = vec![vec![Matcher::equal("n", "0")]];
    store.delete(&Deletion { selectors, range: TimeRange::ALL }).unwrap();
    let merge = |store: &Tsdb| {
        let (_, task) = store.shared.cleaning(|_, cuts| !cuts.is_empty()).unwrap();
        store.shared.merge(&task, &Arc::default()).unwrap();
    };
    merge(&store);
    assert_eq!(store.shared.places.read().tombstones.len(), 1, "the log still has it");
    drop(store);
    let store = bench.open();
    assert_eq!((contents(&store), store.status(0).unwrap().damaged), (vec![], 0), "and nothing is missing");
    // Even where the block is lost that says what was sealed.
    drop(store);
    let files = bench.files("/data/blocks");
    assert_eq!(files.len(), 1);
    bench.vfs.remove(&files[0]).unwrap();
    let store = bench.open();
    assert_eq!(contents(&store), []);
    write(&store, 0, [time_of(0)].into_iter());
    drop(store);
    assert_eq!(contents(&bench.open()).len(), 1, "written again");
}

#[test]
fn a_push_that_holds_goes_on_and_its_past_is_cut() {
    let bench = Bench::new();
    let store = bench.open();
    let series = store.series_id(&labels(0)).unwrap();
    let now = bench.clock_now();
    let run = RunChange::Open { series, value: 1.0, first: now - 100_000, step_ms: 10_000 };
    let send = |store: &Tsdb, run| {
        let batch = WriteBatch { runs: vec![run], ..WriteBatch::default() };
        store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
    };
    send(&store, run);
    let times = |store: &Tsdb| -> Vec<i64> {
        contents(store).iter().flat_map(|(_, samples)| samples.timestamps.iter().map(|at| (at - now) / 1_000)).collect()
    };
    let selectors = || vec![vec![Matcher::equal("n", "0")]];
    let past = TimeRange::new(now - 85_000, now - 25_000).unwrap();
    store.delete(&Deletion { selectors: selectors(), range: past }).unwrap();
    assert_eq!(times(&store), [-100, -90, -20, -10, 0]);
    store.delete(&Deletion { selectors: selectors(), range: TimeRange::new(now - 15_000, i64::MAX).unwrap() }).unwrap();
    assert_eq!(times(&store), [-100, -90, -20]);
    bench.clock.advance(25_000);
    assert_eq!(times(&store), [-100, -90, -20, 10, 20]);
    // The same push again does not begin another run.
    send(&store, RunChange::Open { series, value: 1.0, first: now + 25_000, step_ms: 10_000 });
    drop(store);
    let store = bench.open();
    assert_eq!(times(&store), [-100, -90, -20, 10, 20]);
    send(&store, RunChange::Close { series, at: now + 25_000 });
    store.compact(&Arc::default()).unwrap();
    assert_eq!(times(&store), [-100, -90, -20, 10, 20, 25]);
}

#[test]
fn labels_of_which_nothing_is_left_are_not_listed() {
    let bench = Bench::new();
    let store = bench.open();
    (0..4).for_each(|series| write(&store, series, [time_of(0), time_of(9)].into_iter()));
    let only = Labels::from_pairs([("__name__", "m"), ("odd", "x")]).unwrap();
    let mut batch = WriteBatch::default();
    batch.push(store.series_id(&only).unwrap(), time_of(3), 1.0);
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
    store.seal_all().unwrap();
    let names = || store.label_names(TimeRange::ALL, &[]).unwrap();
    let values = |name| store.label_values(name, TimeRange::ALL, &[]).unwrap();
    assert!(names().contains(&"odd".to_owned()));
    let selectors = vec![vec![Matcher::equal("odd", "x")], vec![Matcher::equal("n", "1")]];
    store.delete(&Deletion { selectors, range: TimeRange::new(time_of(0), time_of(5)).unwrap() }).unwrap();
    // Series just looked up leave memory at the second sweep.
    let series: Vec<_> = store.shared.head.catalog.read().series().map(|(id, _)| id).collect();
    (0..2).for_each(|_| _ = store.shared.forget(&series));
    assert_eq!(names(), ["__name__", "job", "n"]);
    assert_eq!(values("n"), ["0", "1", "2", "3"], "one sample of it is left");
    let selectors = vec![vec![Matcher::equal("n", "1")]];
    store.delete(&Deletion { selectors, range: TimeRange::new(time_of(6), time_of(9)).unwrap() }).unwrap();
    assert_eq!(values("n"), ["0", "2", "3"]);
    assert_eq!(values("__name__"), ["m0", "m2"]);
}

#[test]
fn a_compaction_writes_a_block_again_of_which_much_was_deleted() {
    let bench = Bench::new();
    let store = prepare(&bench);
    store.seal_all().unwrap();
    store.delete(&deletion()).unwrap();
    let cut = || store.shared.places.read().files.iter().filter(|block| !block.cuts().is_empty()).count();
    let before = cut();
    store.shared.compact_due().unwrap();
    assert!(before > 0 && cut() > 0, "it waits for more deletions");
    bench.clock.advance(3_600_000);
    let found = contents(&store);
    store.shared.compact_due().unwrap();
    assert_eq!((cut(), contents(&store)), (0, found));
}

#[test]
fn deletions_are_bounded_and_the_error_says_what_to_do() {
    let bench = Bench::new();
    let store = bench.open();
    write(&store, 0, (0..TOMBSTONES_MAX as i64 + 10).map(time_of));
    let delete = |offset: i64| {
        let range = TimeRange::new(time_of(offset), time_of(offset)).unwrap();
        store.delete(&Deletion { selectors: vec![vec![Matcher::equal("n", "0")]], range })
    };
    for offset in 0..TOMBSTONES_MAX as i64 {
        delete(offset).unwrap();
    }
    let error = delete(TOMBSTONES_MAX as i64).unwrap_err();
    assert!(matches!(error, StoreError::TombstoneLimit { .. }) && error.to_string().contains("compact"), "{error}");
    assert_eq!(contents(&store)[0].1.len(), 10);
    store.clean(&Arc::default()).unwrap();
    delete(TOMBSTONES_MAX as i64).unwrap();
    assert_eq!(contents(&store)[0].1.len(), 9);
    let selectors = vec![vec![]; 65];
    let error = store.delete(&Deletion { selectors, range: TimeRange::ALL }).unwrap_err();
    assert_eq!(error.to_string(), "a deletion of 65 selectors is above the limit of 64; delete in several requests");
}

#[test]
fn a_plan_tells_what_would_go_and_changes_nothing() {
    let bench = Bench::new();
    let store = prepare(&bench);
    let before = contents(&store);
    let deletion = deletion();
    let after = without(&before, &deletion);
    let samples = |contents: &Contents, is_run: bool| -> usize {
        let of = |found: &Labels| (*found == labels(RUN_SERIES)) == is_run;
        contents.iter().filter(|(found, _)| of(found)).map(|(_, samples)| samples.len()).sum()
    };
    let plan = store.plan_delete(&deletion, 2, &Default::default()).unwrap();
    assert_eq!((plan.series, plan.runs, plan.labels.len()), (3, 1, 2));
    assert_eq!(plan.samples as usize, samples(&before, false) - samples(&after, false));
    assert!(plan.oldest_ms >= Some(time_of(100)) && plan.newest_ms <= Some(time_of(1_000)), "{plan:?}");
    assert!(plan.bytes > 0 && plan.blocks > 0, "{plan:?}");
    assert_eq!(contents(&store), before);
    let nobody = Deletion { selectors: vec![vec![Matcher::equal("n", "nobody")]], ..deletion };
    assert_eq!(store.plan_delete(&nobody, 2, &Default::default()).unwrap(), Default::default());
    store.delete(&nobody).unwrap();
    assert_eq!(store.shared.places.read().tombstones.len(), 0, "nothing is kept of what takes nothing");
    assert!(!store.shared.head.windows(bench.clock_now()).is_empty(), "nor is anything sealed for it");
}

/// The counter and another series, with half of their time in buckets alone.
fn prepare_tiers() -> (Bench, Tsdb, Labels) {
    let bench = tiered();
    let store = bench.open();
    let other = Labels::from_pairs([("__name__", "other_total"), ("n", "8")]).unwrap();
    for _ in 0..16 {
        let from = bench.clock_now();
        tests_tiers::write(&store, &other, (0..360).map(|at| (from + at * MINUTE_MS, at as f64)));
        bench.clock.advance(6 * 60 * MINUTE_MS);
        count_on(&store, from, bench.clock_now());
        keep_up(&store);
    }
    (bench, store, other)
}

fn of_counter(start: i64, end: i64) -> Deletion {
    let selectors = vec![vec![Matcher::equal("__name__", "requests_total")]];
    Deletion { selectors, range: TimeRange::new(start, end).unwrap() }
}

#[test]
fn a_range_takes_whole_buckets_where_samples_are_gone_and_only_samples_where_they_are_there() {
    let (mut bench, store, other) = prepare_tiers();
    let counter = counter_labels();
    let day = |number: i64| BEGIN + number * DAY_MS;
    let others = count_of(&store, &other, TimeRange::ALL);
    let count = |store: &Tsdb, first: i64, last: i64| {
        count_of(store, &counter, TimeRange::new(BEGIN + first * MINUTE_MS + 1, BEGIN + last * MINUTE_MS).unwrap())
    };
    assert!(store.shared.places.read().files.iter().all(|block| block.footer.start > day(0)), "samples are gone");
    // Of the first day, in buckets of an hour and five minutes, from minute 62 to 63: the bucket of an hour is asked for
    // by who asks for an hour.
    let plan = store.plan_delete(&of_counter(day(0) + 62 * MINUTE_MS, day(0) + 63 * MINUTE_MS), 9, &Default::default());
    assert_eq!(plan.unwrap().buckets, 2, "one of each resolution");
    store.delete(&of_counter(day(0) + 62 * MINUTE_MS, day(0) + 63 * MINUTE_MS)).unwrap();
    assert_eq!((count(&store, 0, 60), count(&store, 120, 180)), (60, 60));
    assert_eq!(count(&store, 60, 120), 0, "the bucket of an hour");
    // Of today, where samples are: those alone, and the buckets are built again.
    let now = bench.clock_now();
    let minute = (now - BEGIN) / MINUTE_MS - 2 * 24 * 60 + 62;
    let before = count(&store, minute - 62, minute + 58);
    store.delete(&of_counter(BEGIN + minute * MINUTE_MS, BEGIN + (minute + 1) * MINUTE_MS)).unwrap();
    assert_eq!(count(&store, minute - 62, minute + 58), before - 2);
    let check = |store: &Tsdb, context: &str| {
        assert_eq!((count(store, 0, 60), count(store, 60, 120), count(store, 120, 180)), (60, 0, 60), "{context}");
        assert_eq!(count(store, minute - 62, minute + 58), before - 2, "{context}");
        assert_eq!(count_of(store, &other, TimeRange::ALL), others, "{context}: nothing of others");
    };
    check(&store, "at once");
    drop(store);
    let store = bench.open();
    check(&store, "opened again");
    store.clean(&Arc::default()).unwrap();
    check(&store, "cleaned");
    let places = store.shared.places.read();
    assert!(places.all().all(|file| file.cuts().is_empty()));
    assert_eq!(places.tombstones.len(), 0);
    drop(places);
    // As time goes on the samples of today become buckets.
    live(&bench, &store, 3);
    assert_eq!(count(&store, minute - 62, minute + 58), before - 2, "in buckets");
    drop(store);
    bench.vfs = bench.vfs.after_power_cut(1);
    let store = bench.open();
    assert_eq!(count(&store, minute - 62, minute + 58), before - 2, "in buckets, opened again");
    assert_eq!((count(&store, 0, 60), count(&store, 60, 120)), (60, 0));
}

#[test]
fn a_block_of_five_days_over_tier_files_of_days_is_cleaned() {
    let mut bench = tiered();
    bench.retention_ms = 10 * DAY_MS;
    (bench.tiers[0].retention_ms, bench.tiers[1].retention_ms) = (60 * DAY_MS, 60 * DAY_MS);
    let store = bench.open();
    live(&bench, &store, 6);
    let spans = |store: &Tsdb| -> Vec<(usize, i64)> {
        let places = store.shared.places.read();
        let files = places.files.iter().map(|file| (0, file.footer.span_ms / DAY_MS));
        files.chain(places.tiers[0].iter().map(|file| (1, file.footer.span_ms / DAY_MS))).collect()
    };
    assert!(spans(&store).contains(&(1, 1)), "tier files of days");
    drop(store);
    // Without tiers blocks grow; then the tiers are there again.
    let tiers = std::mem::take(&mut bench.tiers);
    bench.retention_ms = 60 * DAY_MS;
    bench.open().compact(&Arc::default()).unwrap();
    bench.tiers = tiers;
    let store = bench.open();
    assert!(spans(&store).contains(&(0, 5)) && spans(&store).contains(&(1, 1)));
    let before = count_of(&store, &counter_labels(), TimeRange::ALL);
    store.delete(&of_counter(BEGIN + DAY_MS + 1, BEGIN + DAY_MS + 60 * MINUTE_MS)).unwrap();
    store.clean(&Arc::default()).unwrap();
    let places = store.shared.places.read();
    assert!(places.all().all(|file| file.cuts().is_empty()));
    assert_eq!(places.tombstones.len(), 0);
    drop(places);
    assert_eq!(count_of(&store, &counter_labels(), TimeRange::ALL), before - 60);
}

#[test]
fn what_is_written_into_deleted_buckets_is_there() {
    let (bench, store, _) = prepare_tiers();
    let counter = counter_labels();
    let hour = TimeRange::new(BEGIN + 1, BEGIN + 60 * MINUTE_MS).unwrap();
    store.delete(&of_counter(BEGIN, BEGIN + 60 * MINUTE_MS)).unwrap();
    assert_eq!(count_of(&store, &counter, hour), 0);
    let taken = tests_tiers::write(&store, &counter, (1..=30).map(|at| (BEGIN + at * MINUTE_MS, at as f64)));
    assert_eq!((taken, count_of(&store, &counter, hour)), (30, 30));
    for days in [0, 8] {
        bench.clock.advance(days * DAY_MS);
        keep_up(&store);
        store.clean(&Arc::default()).unwrap();
        assert_eq!(count_of(&store, &counter, hour), 30, "after {days} days");
    }
    drop(store);
    assert_eq!(count_of(&bench.open(), &counter, hour), 30);
}

#[test]
fn an_error_or_a_power_cut_while_buckets_are_deleted_and_cleaned_leaves_all_or_nothing() {
    let range = of_counter(BEGIN + 62 * MINUTE_MS, BEGIN + 3 * DAY_MS + 63 * MINUTE_MS);
    let work = |store: &Tsdb| -> Result<(), StoreError> {
        store.delete(&range)?;
        store.clean(&Arc::default()).map(drop)
    };
    let (bench, store, other) = prepare_tiers();
    let all = |store: &Tsdb| {
        [counter_labels(), other.clone()].map(|labels| ask(store, &labels, TimeRange::ALL, &Default::default()).0)
    };
    let (before, start, fresh) = (all(&store), bench.vfs.calls(), bench.vfs.after_power_cut(0));
    work(&store).unwrap();
    let (after, calls) = (all(&store), bench.vfs.calls() - start);
    assert!(before != after && before[1] == after[1] && calls > 40, "{calls}");
    drop(store);
    for call in (0..calls).step_by(3) {
        let mut bench = tiered();
        bench.clock.set(BEGIN + 4 * DAY_MS);
        bench.vfs = fresh.after_power_cut(0);
        bench.vfs.set_clock(bench.clock.clone());
        let store = bench.open();
        assert_eq!(all(&store), before);
        bench.vfs.fail(bench.vfs.calls() + call, if call % 2 == 0 { 1 } else { u64::MAX });
        let deleted = store.delete(&range);
        let cleaned = store.clean(&Arc::default());
        let cut = bench.vfs.after_power_cut(call);
        bench.vfs.heal();
        assert_eq!(all(&store), if deleted.is_ok() { after.clone() } else { before.clone() }, "call {call}");
        work(&store).unwrap();
        assert_eq!(all(&store), after, "call {call}: again, {cleaned:?}");
        drop(store);
        assert_eq!(all(&bench.open()), after, "call {call}: opened");
        bench.vfs = cut;
        let found = all(&bench.open());
        assert!(found == after || found == before && deleted.is_err(), "call {call}: {deleted:?}, {cleaned:?}");
    }
}
