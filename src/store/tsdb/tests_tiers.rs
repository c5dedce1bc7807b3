//! Months of samples that become buckets while the clock moves, and what questions about them answer.

use super::{
    block::Block,
    tests::{Bench, NOW, all, labels},
    *,
};
use crate::{
    model::{Labels, MatchOp, Matcher, STALE_NAN, Samples, TimeRange, Timestamp},
    stdx::vfs::Vfs,
    store::{Appendable, Fidelity, Hints, Queryable, SeriesSet, WriteBatch},
};
use std::sync::Arc;

pub(super) const DAY_MS: i64 = 24 * 3_600_000;
pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A moment at which stretches of all lengths begin.
pub(super) const BEGIN: Timestamp = (NOW / (5 * DAY_MS)) * 5 * DAY_MS;

/// Samples for two days, five minutes for six, an hour for twenty.
pub(super) fn tiered() -> Bench {
    let mut bench = Bench::new();
    bench.clock.set(BEGIN);
    bench.vfs.set_clock(bench.clock.clone());
    bench.retention_ms = 2 * DAY_MS;
    bench.tiers = vec![
        TierOptions { resolution_ms: 5 * MINUTE_MS, retention_ms: 6 * DAY_MS },
        TierOptions { resolution_ms: HOUR_MS, retention_ms: 20 * DAY_MS },
    ];
    bench
}

/// The series of most tests: a counter that grows by 3 a minute.
pub(super) fn counter_labels() -> Labels {
    Labels::from_pairs([("__name__", "requests_total"), ("n", "7")]).unwrap()
}

/// Appends samples of a series; gives how many were taken.
pub(super) fn write(store: &Tsdb, labels: &Labels, samples: impl Iterator<Item = (Timestamp, f64)>) -> usize {
    let id = store.series_id(labels).unwrap();
    let mut batch = WriteBatch::default();
    samples.for_each(|(at, value)| batch.push(id, at, value));
    let outcome = store.append(&batch).unwrap();
    let taken = batch.samples() - outcome.refused.len();
    outcome.ticket.wait_blocking().unwrap();
    taken
}

/// The counter, a sample a minute in `from..to`.
pub(super) fn count_on(store: &Tsdb, from: Timestamp, to: Timestamp) {
    let first = from + (BEGIN - from).rem_euclid(MINUTE_MS);
    let times = (0..).map(|at| first + at * MINUTE_MS).take_while(|at| *at < to);
    write(store, &counter_labels(), times.map(|at| (at, counter_at(at))));
}

pub(super) fn counter_at(at: Timestamp) -> f64 {
    ((at - BEGIN) / MINUTE_MS * 3) as f64
}

/// What the threads of a store do in time, done now.
pub(super) fn keep_up(store: &Tsdb) {
    store.seal_all().unwrap();
    store.shared.compact_due().unwrap();
    store.shared.drop_expired(store.shared.now_ms());
}

/// Lets so many days pass, each with its samples of the counter.
pub(super) fn live(bench: &Bench, store: &Tsdb, days: i64) {
    for _ in 0..days * 4 {
        let from = bench.clock_now();
        bench.clock.advance(6 * HOUR_MS);
        count_on(store, from, bench.clock_now());
        keep_up(store);
    }
}

pub(super) fn range(first: Timestamp, last: Timestamp) -> TimeRange {
    TimeRange::new(first, last).unwrap()
}

pub(super) fn hints(function: &'static str, first_ms: Timestamp, step_ms: i64, range_ms: i64) -> Hints {
    Hints { function: Some(function), first_ms, step_ms, range_ms, ..Hints::default() }
}

/// The samples of one series, and the set they were read of.
pub(super) fn ask(store: &Tsdb, labels: &Labels, range: TimeRange, hints: &Hints) -> (Samples, Arc<dyn SeriesSet>) {
    let matchers: Vec<Matcher> =
        labels.iter().map(|(name, value)| Matcher::new(MatchOp::Equal, name, value).unwrap()).collect();
    let set = store.select(range, &matchers, hints).unwrap();
    let mut samples = Samples::default();
    if !set.is_empty() {
        set.read(0, &mut samples).unwrap();
    }
    assert!(samples.timestamps.is_sorted_by(|a, b| a < b), "{samples:?}");
    assert!(samples.weights.is_empty() || samples.weights.len() == samples.values.len());
    (samples, set)
}

/// `sum(count_over_time)` of a series, as the engine computes it.
pub(super) fn count_of(store: &Tsdb, labels: &Labels, range: TimeRange) -> u64 {
    let hints = hints("count_over_time", range.end(), 0, DAY_MS);
    let (samples, _) = ask(store, labels, range, &hints);
    match samples.weights.is_empty() {
        true => samples.values.len() as u64,
        false => samples.weights.iter().map(|weight| u64::from(*weight)).sum(),
    }
}

pub(super) fn files(store: &Tsdb) -> (usize, Vec<usize>) {
    let places = store.shared.places.read();
    (places.files.len(), places.tiers.iter().map(Vec::len).collect())
}

fn tier_files(store: &Tsdb, tier: usize) -> Vec<Arc<Block>> {
    store.shared.places.read().tiers[tier].clone()
}

/// The increase of a counter over windows of `window_ms` that end every `window_ms`, from points as `rate` sees them.
fn increases(samples: &Samples, first: Timestamp, last: Timestamp, window_ms: i64) -> Vec<(Timestamp, f64, u64)> {
    let mut found = Vec::new();
    let mut end = first;
    while end <= last {
        let within = |at: &Timestamp| end - window_ms < *at && *at <= end;
        let points: Vec<usize> = (0..samples.timestamps.len()).filter(|at| within(&samples.timestamps[*at])).collect();
        let value = |at: usize| samples.values[points[at]];
        let (mut sum, mut before) = (0.0, value(0));
        for at in 1..points.len() {
            sum += if value(at) < before { value(at) } else { value(at) - before };
            before = value(at);
        }
        let weight = |at: &usize| samples.weights.get(*at).map_or(1, |weight| u64::from(*weight));
        found.push((end, sum, points.iter().map(weight).sum()));
        end += window_ms;
    }
    found
}

#[test]
fn samples_go_when_buckets_have_them_and_a_counter_goes_on_without_a_jump() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 26);
    let now = bench.clock_now();
    let (raw, tiers) = files(&store);
    assert!(raw > 0 && store.shared.places.read().files.iter().all(|block| block.footer.start >= now - 4 * DAY_MS));
    assert!((5..=8).contains(&tiers[0]) && (19..=22).contains(&tiers[1]), "{tiers:?}");
    // Hours across all of it: the oldest from buckets of an hour, then of five minutes, then samples.
    let (first, last) = (now - 18 * DAY_MS, now);
    let hints = hints("increase", first, HOUR_MS, HOUR_MS);
    let (samples, set) = ask(&store, &counter_labels(), range(first - HOUR_MS + 1, last), &hints);
    for (end, increase, count) in increases(&samples, first, last, HOUR_MS) {
        let whole = if end == last { 59 } else { 60 };
        assert_eq!((increase, count), (3.0 * (whole - 1) as f64, whole), "{}", (end - BEGIN) / HOUR_MS);
    }
    let used = set.tiers();
    assert!(used.iter().all(|used| used.fidelity == Fidelity::Exact && used.resolution_ms == HOUR_MS), "{used:?}");
    assert!(set.origin().tier_files > 0 && set.origin().blocks > 0);
    assert!(used.len() >= 12, "a stretch each: {}", used.len());
    // Ten minutes only the finer buckets can tell.
    let ten = Hints { step_ms: 10 * MINUTE_MS, range_ms: 10 * MINUTE_MS, ..hints };
    let (samples, set) = ask(&store, &counter_labels(), range(now - 5 * DAY_MS + 1, now), &ten);
    assert!(set.tiers().iter().all(|used| used.resolution_ms == 5 * MINUTE_MS && used.fidelity == Fidelity::Exact));
    for (_, increase, count) in increases(&samples, now - 5 * DAY_MS + 10 * MINUTE_MS, now - HOUR_MS, 10 * MINUTE_MS) {
        assert_eq!((increase, count), (27.0, 10));
    }
    let (_, set) = ask(&store, &counter_labels(), range(now - 15 * DAY_MS + 1, now - 14 * DAY_MS), &ten);
    assert!(set.tiers().iter().all(|used| used.resolution_ms == HOUR_MS && used.fidelity == Fidelity::Widened));
}

#[test]
fn nothing_is_counted_twice_or_missed_across_all_boundaries() {
    let bench = tiered();
    let mut store = bench.open();
    live(&bench, &store, 12);
    let now = bench.clock_now();
    for _ in 0..2 {
        for days in 1..12 {
            let first = now - days * DAY_MS;
            assert_eq!(count_of(&store, &counter_labels(), range(first, now)), (days * 24 * 60) as u64, "{days}");
        }
        drop(store);
        store = bench.open();
    }
}

#[test]
fn a_store_without_tiers_keeps_none_and_drops_by_age_as_before() {
    let mut bench = tiered();
    bench.tiers.clear();
    let store = bench.open();
    live(&bench, &store, 5);
    assert_eq!(files(&store).1, Vec::<usize>::new());
    assert_eq!(bench.vfs.list(std::path::Path::new("/data/tiers")).unwrap(), Vec::<String>::new());
    let kept = count_of(&store, &counter_labels(), TimeRange::ALL);
    assert!((2 * 24 * 60..2 * 24 * 60 + 3 * 60).contains(&kept), "{kept}");
    assert_eq!(write(&store, &labels(1), [(bench.clock_now() - 3 * DAY_MS, 1.0)].into_iter()), 0, "too old");
}

#[test]
fn late_samples_within_the_retention_of_samples_are_built_in_from_samples_again() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 3);
    let late = labels(1);
    let day = BEGIN + DAY_MS;
    assert_eq!(write(&store, &late, (0..1440).map(|at| (day + at * MINUTE_MS, at as f64))), 1440);
    store.seal_all().unwrap();
    // So much that it is worth it as soon as it is quiet.
    bench.clock.advance(HOUR_MS);
    keep_up(&store);
    live(&bench, &store, 3);
    let raw_is_gone = store.shared.places.read().files.iter().all(|block| block.footer.start >= day + DAY_MS);
    assert!(raw_is_gone);
    let half = range(day + 1, day + DAY_MS);
    assert_eq!((count_of(&store, &late, half), count_of(&store, &counter_labels(), half)), (1439, 1440));
}

#[test]
fn what_comes_for_buckets_alone_waits_seven_days_and_fills_what_is_empty() {
    let bench = tiered();
    let mut store = bench.open();
    live(&bench, &store, 8);
    let (day, other) = (BEGIN + 2 * DAY_MS, labels(1));
    let times = || (0..60).map(move |at| day + 12 * HOUR_MS + at * MINUTE_MS);
    let within = range(day + 1, day + DAY_MS);
    let import = |store: &Tsdb| {
        assert_eq!(write(store, &counter_labels(), times().map(|at| (at, 5e9))), 60, "taken, for buckets are kept");
        assert_eq!(write(store, &other, times().map(|at| (at, 1.0))), 60);
    };
    let check = |store: &Tsdb, context: &str| {
        assert_eq!(count_of(store, &counter_labels(), within), 1440, "{context}: the buckets were not empty");
        assert_eq!(count_of(store, &other, within), 60, "{context}");
    };
    let before: Vec<_> = tier_files(&store, 1).iter().map(|file| file.path.clone()).collect();
    import(&store);
    check(&store, "in memory");
    keep_up(&store);
    import(&store);
    check(&store, "again");
    keep_up(&store);
    check(&store, "in blocks");
    bench.clock.advance(6 * DAY_MS);
    keep_up(&store);
    drop(store);
    store = bench.open();
    check(&store, "after a restart");
    let is_there =
        |store: &Tsdb| store.shared.places.read().files.iter().any(|block| within.contains(block.footer.start));
    assert!(is_there(&store));
    bench.clock.advance(DAY_MS + HOUR_MS);
    keep_up(&store);
    check(&store, "folded");
    assert!(!is_there(&store), "what was folded goes");
    let after: Vec<_> = tier_files(&store, 1).iter().map(|file| file.path.clone()).collect();
    assert_eq!(before.iter().filter(|path| !after.contains(path)).count(), 1, "one file was built again");
    import(&store);
    keep_up(&store);
    bench.clock.advance(8 * DAY_MS);
    keep_up(&store);
    check(&store, "imported once more");
    drop(store);
    check(&bench.open(), "and after a restart");
}

#[test]
fn what_trickles_for_ever_into_a_time_of_buckets_is_folded_after_thirty_days() {
    let mut bench = tiered();
    bench.tiers[1].retention_ms = 200 * DAY_MS;
    let mut store = bench.open();
    live(&bench, &store, 8);
    let (day, other) = (BEGIN + 2 * DAY_MS, labels(1));
    let within = range(day + 1, day + DAY_MS);
    let is_there =
        |store: &Tsdb| store.shared.places.read().files.iter().any(|block| within.contains(block.footer.start));
    let mut folded = Vec::new();
    for round in 0..70 {
        let at = day + 12 * HOUR_MS + round * MINUTE_MS;
        assert_eq!(write(&store, &other, [(at, 1.0)].into_iter()), 1);
        keep_up(&store);
        bench.clock.advance(DAY_MS);
        keep_up(&store);
        if !is_there(&store) {
            folded.push(round);
        }
        if round % 20 == 0 {
            drop(store);
            store = bench.open();
        }
    }
    assert_eq!(folded, [29, 59], "the samples go when they are folded");
    // The bucket of the first hour was built with the first thirty; those of the second came in time for theirs.
    assert_eq!(count_of(&store, &other, within), 30 + 9);
}

#[test]
fn what_fills_a_series_keeps_what_no_bucket_of_it_had_before() {
    let bench = tiered();
    let store = bench.open();
    let day = BEGIN;
    // Hours of a counter that never fell, and none of one of which there is nothing but an end.
    let (steady, ended) = (
        Labels::from_pairs([("__name__", "steady_total")]).unwrap(),
        Labels::from_pairs([("__name__", "ended_total")]).unwrap(),
    );
    write(&store, &steady, (0..120).map(|at| (day + at * MINUTE_MS, at as f64)));
    write(&store, &ended, (0..2).map(|at| (day + at * MINUTE_MS, STALE_NAN)));
    live(&bench, &store, 8);
    for series in [&steady, &ended] {
        // Within each hour it falls, and then it ends.
        let falls = (1..=120).map(|at| (day + 12 * HOUR_MS + at * MINUTE_MS, (at % 37) as f64));
        write(&store, series, falls.chain([(day + 14 * HOUR_MS + MINUTE_MS, STALE_NAN)]));
    }
    let found = |store: &Tsdb, series: &Labels| {
        let hints = hints("increase", day + 13 * HOUR_MS, HOUR_MS, HOUR_MS);
        let (samples, _) = ask(store, series, range(day + 12 * HOUR_MS + 1, day + 14 * HOUR_MS), &hints);
        let hours = increases(&samples, day + 13 * HOUR_MS, day + 14 * HOUR_MS, HOUR_MS);
        let instant = Hints { first_ms: day + 15 * HOUR_MS, lookback_ms: HOUR_MS, ..Hints::default() };
        let (samples, _) = ask(store, series, range(day + 14 * HOUR_MS + 1, day + 15 * HOUR_MS), &instant);
        (hours, samples.values.last().is_some_and(|value| crate::model::is_stale(*value)))
    };
    let before = [found(&store, &steady), found(&store, &ended)];
    assert!(before[0].1 && before[0] == before[1], "{before:?}");
    keep_up(&store);
    bench.clock.advance(8 * DAY_MS);
    keep_up(&store);
    assert!(store.shared.places.read().files.iter().all(|block| block.footer.start >= day + DAY_MS), "folded");
    assert_eq!([found(&store, &steady), found(&store, &ended)], before);
}

#[test]
fn an_import_that_goes_on_is_folded_as_one_and_loses_no_sample_at_the_seams() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 8);
    let (day, other) = (BEGIN + 2 * DAY_MS, labels(1));
    let whole = range(day + 1, day + 6 * HOUR_MS);
    // Two hours every three days. The first sample of each lies in the last bucket of the one before.
    for part in 0..3 {
        let from = day + part * 2 * HOUR_MS;
        write(&store, &other, (0..120).map(|at| (from + at * MINUTE_MS, 1.0)));
        assert_eq!(count_of(&store, &other, whole), 120 * (part as u64 + 1) - 1);
        keep_up(&store);
        bench.clock.advance(4 * DAY_MS);
        keep_up(&store);
    }
    bench.clock.advance(4 * DAY_MS);
    keep_up(&store);
    assert!(store.shared.places.read().files.iter().all(|block| block.footer.start >= day + DAY_MS), "folded");
    assert_eq!(count_of(&store, &other, whole), 359);
}

#[test]
fn history_that_is_imported_before_the_retention_of_samples_is_built_after_seven_days() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 1);
    let day = BEGIN - 10 * DAY_MS;
    let old = labels(1);
    for half in 0..2 {
        let times = (half * 720..half * 720 + 720).map(|at| day + at * MINUTE_MS);
        write(&store, &old, times.map(|at| (at, 1.0)));
        keep_up(&store);
        bench.clock.advance(3 * DAY_MS);
        keep_up(&store);
    }
    let whole = range(day, day + DAY_MS);
    assert_eq!(count_of(&store, &old, whole), 1440);
    assert!(tier_files(&store, 1).iter().all(|file| file.footer.start != day));
    bench.clock.advance(5 * DAY_MS);
    keep_up(&store);
    assert!(tier_files(&store, 1).iter().any(|file| file.footer.start == day));
    assert!(tier_files(&store, 0).iter().all(|file| file.footer.start != day), "that tier does not reach it");
    assert!(store.shared.places.read().files.iter().all(|block| block.footer.start > day + DAY_MS));
    assert_eq!(count_of(&store, &old, whole), 1440);
}

#[test]
fn buckets_stand_for_samples_that_are_there_only_where_asked_and_exact() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 2);
    let day = range(BEGIN + 1, BEGIN + DAY_MS);
    let allowed = |function| Hints { allows_buckets: true, ..hints(function, BEGIN + DAY_MS, 0, DAY_MS) };
    let tiers = |hints: &Hints| ask(&store, &counter_labels(), day, hints).1.tiers().len();
    assert_eq!(tiers(&hints("increase", BEGIN + DAY_MS, 0, DAY_MS)), 0, "not allowed");
    assert_eq!(tiers(&allowed("increase")), 1);
    assert_eq!(tiers(&allowed("deriv")), 0, "it wants every value");
    assert_eq!(tiers(&allowed("sum_over_time")), 0, "a counter has no sums");
    assert_eq!(tiers(&Hints { first_ms: BEGIN + DAY_MS + 1, ..allowed("increase") }), 0, "not on the edges of buckets");
    let (samples, _) = ask(&store, &counter_labels(), day, &allowed("increase"));
    assert_eq!(increases(&samples, BEGIN + DAY_MS, BEGIN + DAY_MS, DAY_MS), [(BEGIN + DAY_MS, 3.0 * 1439.0, 1440)]);
    write(&store, &labels(1), [(BEGIN + HOUR_MS, 1.0)].into_iter());
    assert_eq!(tiers(&allowed("increase")), 0, "there is more in memory");
    keep_up(&store);
    assert_eq!(tiers(&allowed("increase")), 0, "there is more in a block");
}

#[test]
fn an_instant_selector_off_the_grid_sees_the_last_edge_and_samples_that_follow() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 12);
    let now = bench.clock_now();
    let places = store.shared.places.read();
    let boundary = places.files.iter().map(|block| block.footer.start).min().unwrap();
    drop(places);
    let (first, step_ms) = (boundary - 20 * MINUTE_MS + 30_000, 2 * MINUTE_MS);
    let lookback_ms = 5 * MINUTE_MS;
    let hints = Hints { first_ms: first, step_ms, lookback_ms, ..Hints::default() };
    let (samples, set) = ask(&store, &counter_labels(), range(first - lookback_ms + 1, now), &hints);
    assert!(set.tiers().iter().all(|used| used.fidelity == Fidelity::Widened) && !set.tiers().is_empty());
    for number in 0..40 {
        let at = first + number * step_ms;
        let seen =
            samples.timestamps.partition_point(|found| *found <= at).checked_sub(1).expect("something is visible");
        assert!(at - samples.timestamps[seen] < lookback_ms);
        // Behind the boundary the sample of the minute; before it what was there at the last edge.
        let as_of = if at >= boundary { at } else { at - at.rem_euclid(5 * MINUTE_MS) };
        let expected = counter_at(as_of - as_of.rem_euclid(MINUTE_MS));
        assert_eq!(samples.values[seen], expected, "{}", (at - boundary) / 1000);
    }
}

#[test]
fn staleness_markers_and_series_with_a_sample_an_hour_stay_what_they_are() {
    let bench = tiered();
    let store = bench.open();
    let (ended, hourly) = (labels(1), labels(2));
    live(&bench, &store, 1);
    write(&store, &ended, (0..30).map(|at| (BEGIN + at * MINUTE_MS, 1.0)));
    write(&store, &ended, [(BEGIN + 30 * MINUTE_MS, STALE_NAN)].into_iter());
    write(&store, &hourly, (0..20).map(|at| (BEGIN + at * HOUR_MS + 123, at as f64)));
    live(&bench, &store, 8);
    let day = range(BEGIN, BEGIN + DAY_MS);
    let instant = Hints { first_ms: BEGIN, step_ms: HOUR_MS, lookback_ms: 5 * MINUTE_MS, ..Hints::default() };
    let (samples, _) = ask(&store, &ended, day, &instant);
    assert_eq!(samples.timestamps.last(), Some(&(BEGIN + 30 * MINUTE_MS)));
    assert!(samples.values.last().is_some_and(|value| crate::model::is_stale(*value)));
    let (samples, set) = ask(&store, &hourly, day, &hints("deriv", BEGIN + DAY_MS + 1, 7, DAY_MS));
    assert_eq!(samples.values, (0..20).map(f64::from).collect::<Vec<_>>());
    assert!(set.tiers().iter().all(|used| used.fidelity == Fidelity::Exact));
}

#[test]
fn a_damaged_tier_file_is_not_served_and_is_built_again_while_samples_are_there() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 3);
    let newest = tier_files(&store, 0).into_iter().max_by_key(|file| file.footer.start).unwrap();
    let (path, start) = (newest.path.clone(), newest.footer.start);
    drop((store, newest));
    let length = bench.vfs.length(&path).unwrap() as usize;
    [20, length - 30].iter().for_each(|at| bench.vfs.corrupt(&path, *at, 1));
    let store = bench.open();
    assert!(tier_files(&store, 0).iter().all(|file| file.footer.start != start));
    let report = crate::store::Upkeep::storage(&store, 0).unwrap();
    assert_eq!(report.damage.unserved.len(), 1);
    bench.clock.advance(HOUR_MS);
    keep_up(&store);
    assert!(tier_files(&store, 0).iter().any(|file| file.footer.start == start));
    drop(store);
    let store = bench.open();
    assert_eq!(crate::store::Upkeep::storage(&store, 0).unwrap().damage.unserved.len(), 0, "it took its place");
    live(&bench, &store, 3);
    assert_eq!(count_of(&store, &counter_labels(), range(start + 1, start + DAY_MS)), 1440);
}

#[test]
fn where_the_finer_tier_is_damaged_the_coarser_one_answers() {
    let bench = tiered();
    let store = bench.open();
    live(&bench, &store, 6);
    let oldest = tier_files(&store, 0).into_iter().min_by_key(|file| file.footer.start).unwrap();
    let (path, start) = (oldest.path.clone(), oldest.footer.start);
    drop((store, oldest));
    let length = bench.vfs.length(&path).unwrap() as usize;
    [20, length - 30].iter().for_each(|at| bench.vfs.corrupt(&path, *at, 1));
    let store = bench.open();
    let day = range(start + 1, start + DAY_MS);
    assert_eq!(count_of(&store, &counter_labels(), day), 1440);
    // What comes late fills the coarser one alone: the finer would lack all others.
    write(&store, &labels(1), (0..60).map(|at| (start + at * MINUTE_MS + 1, 1.0)));
    keep_up(&store);
    bench.clock.advance(8 * DAY_MS);
    keep_up(&store);
    assert_eq!((count_of(&store, &counter_labels(), day), count_of(&store, &labels(1), day)), (1440, 60));
    assert!(tier_files(&store, 0).iter().all(|file| file.footer.start != start));
}

#[test]
fn room_is_made_of_samples_that_tiers_have_and_then_of_what_is_oldest() {
    let mut bench = tiered();
    bench.disk_percent_max = 0;
    let store = bench.open();
    live(&bench, &store, 4);
    let places = store.shared.places.read();
    let order = store.shared.droppable(&places);
    let is_tier = |block: &Arc<Block>| places.tiers.iter().flatten().any(|file| Arc::ptr_eq(file, block));
    let spare = order.iter().take_while(|block| !is_tier(block)).count();
    assert!(spare > 0 && order[..spare].is_sorted_by_key(|block| block.footer.newest), "{spare}");
    let newest_spare = order[spare - 1].footer.newest;
    assert!(order[spare..].is_sorted_by_key(|block| block.footer.newest));
    assert!(order[spare..].iter().any(is_tier) && order[spare].footer.newest < newest_spare);
    let spare_bytes: u64 = order[..spare].iter().map(|block| block.file_bytes()).sum();
    drop((places, order));
    let before = count_of(&store, &counter_labels(), TimeRange::ALL);
    let used = store.shared.room().unwrap().used;
    drop(store);
    bench.bytes_max = used - spare_bytes / 2;
    let store = bench.open();
    store.keep_room();
    assert!(files(&store).0 > 0);
    assert_eq!(count_of(&store, &counter_labels(), TimeRange::ALL), before, "only resolution is lost");
}

#[test]
fn compaction_on_demand_builds_what_is_over_at_once() {
    let bench = tiered();
    let store = bench.open();
    count_on(&store, BEGIN, BEGIN + DAY_MS + HOUR_MS);
    bench.clock.advance(DAY_MS + HOUR_MS);
    let done = store.compact(&Arc::default()).unwrap();
    assert_eq!((done.tiers, files(&store).1), (1, vec![1, 1]));
    assert_eq!(store.compact(&Arc::default()).unwrap().tiers, 0);
}

#[test]
fn a_tier_that_is_added_later_begins_where_samples_are() {
    let mut bench = tiered();
    let coarse = bench.tiers.remove(1);
    bench.tiers[0].retention_ms = 15 * DAY_MS;
    let store = bench.open();
    live(&bench, &store, 6);
    drop(store);
    bench.tiers.push(coarse);
    let store = bench.open();
    live(&bench, &store, 6);
    let (finer, coarser) = (tier_files(&store, 0), tier_files(&store, 1));
    let first = |files: &[Arc<Block>]| files.iter().map(|file| file.footer.start).min().unwrap();
    assert_eq!(first(&finer), BEGIN);
    assert!(first(&coarser) >= BEGIN + 2 * DAY_MS);
    let now = bench.clock_now();
    assert_eq!(count_of(&store, &counter_labels(), range(BEGIN, now)), (12 * 24 * 60) as u64);
    // A tier that is in the config no more is left alone.
    drop(store);
    bench.tiers.pop();
    let store = bench.open();
    assert_eq!(count_of(&store, &counter_labels(), range(BEGIN, now)), (12 * 24 * 60) as u64);
    assert!(!bench.files("/data/tiers/3600000").is_empty());
}

#[test]
fn labels_are_known_as_long_as_buckets_are() {
    let bench = tiered();
    let store = bench.open();
    write(&store, &labels(5), (0..60).map(|at| (BEGIN - HOUR_MS + at * MINUTE_MS, 1.0)));
    live(&bench, &store, 9);
    let before = range(BEGIN - DAY_MS, BEGIN - 1);
    assert_eq!(store.label_values("n", before, &[]).unwrap(), ["5", "7"]);
    assert_eq!(store.label_values("n", before, &[all()]).unwrap(), ["5"]);
    assert!(store.label_names(before, &[]).unwrap().contains(&"job".to_owned()));
    let (samples, _) = ask(&store, &labels(5), before, &Hints::default());
    assert!(!samples.is_empty());
}
