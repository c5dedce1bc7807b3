//! Series that are kept for another time than the rest: what is there and what is gone while months pass, while samples
//! come late, are deleted, and disks fail.

use super::{
    tests::{Bench, all},
    tests_tiers::*,
    tests_tiers_faults::{Model, check},
    *,
};
use crate::{
    model::{Labels, Matcher, TimeRange, Timestamp},
    store::{Appendable, Conflict, Deletion, Hints, Queryable, Upkeep, WriteBatch},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

const SHORT_MS: i64 = 12 * HOUR_MS;
const LONG_MS: i64 = 15 * DAY_MS;
/// Kept for half a day, without buckets.
const SHORT: &str = "short";
/// For fifteen days, with all buckets.
const LONG: &str = "long";
/// For fifteen days, without.
const PLAIN: &str = "plain";
/// As long as the rest, with one tier.
const COARSE: &str = "coarse";
const REST: &str = "rest";
const KINDS: [&str; 5] = [SHORT, LONG, PLAIN, COARSE, REST];

fn kind(kind: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("kind", kind)]).unwrap()
}

fn policies() -> Policies {
    let policy = |kind: &str, retention_ms: i64, tiers: Option<Vec<i64>>| Policy {
        matchers: vec![Matcher::equal("kind", kind)],
        retention_ms,
        tiers,
    };
    Policies::new(vec![
        policy(SHORT, SHORT_MS, Some(Vec::new())),
        policy(LONG, LONG_MS, None),
        policy(PLAIN, LONG_MS, Some(Vec::new())),
        policy(COARSE, 2 * DAY_MS, Some(vec![HOUR_MS])),
    ])
}

/// With tiers samples are kept for two days and buckets for six and twenty, without for two days.
fn bench(has_tiers: bool) -> Bench {
    let mut bench = tiered();
    bench.policies = policies();
    if !has_tiers {
        bench.tiers.clear();
    }
    bench
}

/// Lets days pass, with a sample of each kind every ten minutes.
fn live_all(bench: &Bench, store: &Tsdb, days: i64) {
    for _ in 0..days * 4 {
        let from = bench.clock_now();
        bench.clock.advance(6 * HOUR_MS);
        for name in KINDS {
            write(store, &kind(name), (0..36).map(|at| (from + at * 10 * MINUTE_MS, at as f64)));
        }
        keep_up(store);
    }
}

/// The samples of a series as they are stored.
fn stored(store: &Tsdb, labels: &Labels, range: TimeRange) -> Vec<(Timestamp, f64)> {
    let (samples, _) = ask(store, labels, range, &Hints::default());
    assert!(samples.weights.iter().all(|weight| *weight == 1), "{labels} is read from buckets");
    samples.timestamps.into_iter().zip(samples.values).collect()
}

fn days_of(store: &Tsdb, name: &str) -> f64 {
    count_of(store, &kind(name), TimeRange::ALL) as f64 / 144.0
}

fn kept_files(store: &Tsdb) -> usize {
    store.shared.places.read().kept.len()
}

#[test]
fn each_series_is_kept_for_its_own_time() {
    for has_tiers in [true, false] {
        let bench = bench(has_tiers);
        let mut store = bench.open();
        live_all(&bench, &store, 30);
        for round in 0..2 {
            bench.clock.advance(HOUR_MS);
            store.compact(&Arc::default()).unwrap();
            let days = KINDS.map(|name| days_of(&store, name));
            let (buckets, fewer) = if has_tiers { (20.0, 20.0) } else { (2.0, 2.0) };
            for ((name, found), least) in
                KINDS.into_iter().zip(days).zip([0.5, f64::max(15.0, buckets), 15.0, fewer, buckets])
            {
                let most = least + 1.1;
                assert!(
                    (least - 0.05..most).contains(&found),
                    "{name}: {found} days of {least}, round {round}, {days:?}"
                );
            }
            let now = bench.clock_now();
            for name in [LONG, PLAIN] {
                let found = stored(&store, &kind(name), range(now - LONG_MS, now));
                assert_eq!(found.len(), 15 * 144 - 6 * (round + 1), "{name}");
            }
            drop(store);
            store = bench.open();
        }
        assert!(kept_files(&store) >= 13, "a day each");
        assert_eq!(store.status(0).unwrap().damaged, 0);
    }
}

#[test]
fn late_samples_of_what_is_kept_join_it_and_of_the_rest_fill_what_is_empty() {
    let bench = bench(true);
    let store = bench.open();
    live_all(&bench, &store, 8);
    let day = BEGIN + DAY_MS;
    // Between the others, which stand at tens of minutes.
    for name in [LONG, REST, PLAIN] {
        assert_eq!(write(&store, &kind(name), [(day + 9 * MINUTE_MS, 7.0)].into_iter()), 1);
    }
    let new = Labels::from_pairs([("__name__", "m"), ("kind", LONG), ("n", "new")]).unwrap();
    assert_eq!(write(&store, &new, [(day + 9 * MINUTE_MS, 7.0)].into_iter()), 1);
    let whole = range(day, day + DAY_MS - 1);
    for days in [0, 1, 4] {
        bench.clock.advance(days * DAY_MS);
        live_all(&bench, &store, 1);
        for name in [LONG, PLAIN] {
            assert_eq!(stored(&store, &kind(name), whole).len(), 145, "{name}");
        }
        assert_eq!(stored(&store, &new, whole), [(day + 9 * MINUTE_MS, 7.0)]);
        assert_eq!(count_of(&store, &kind(REST), whole), 144, "its bucket was filled");
    }
    assert!(store.shared.places.read().files.iter().all(|block| block.footer.start > day + DAY_MS), "all is folded");
}

#[test]
fn what_is_kept_wins_over_later_values_of_its_times_whatever_comes_after_these() {
    let bench = bench(true);
    let store = bench.open();
    live_all(&bench, &store, 8);
    let at = BEGIN + DAY_MS + 10 * MINUTE_MS;
    let value_of = || stored(&store, &kind(LONG), range(at, at))[0].1;
    let value = value_of();
    // Refused in favour of what is there, as is told when it is read.
    write(&store, &kind(LONG), [(at, 99.0)].into_iter());
    assert_eq!(value_of(), value, "in memory");
    live_all(&bench, &store, 1);
    assert_eq!(value_of(), value, "looked through");
    write(&store, &kind(LONG), [(at + MINUTE_MS, 7.0)].into_iter());
    for _ in 0..6 {
        live_all(&bench, &store, 1);
        assert_eq!(value_of(), value);
    }
}

#[test]
fn what_yields_in_a_window_that_overwrites_yields_to_what_is_kept() {
    let bench = bench(true);
    let store = bench.open();
    live_all(&bench, &store, 8);
    let at = BEGIN + DAY_MS + 10 * MINUTE_MS;
    let value_of = || stored(&store, &kind(LONG), range(at, at))[0].1;
    let value = value_of();
    write(&store, &kind(LONG), [(at, 99.0)].into_iter());
    let mut batch = WriteBatch { conflict: Conflict::Overwrite, ..WriteBatch::default() };
    batch.push(store.series_id(&kind(LONG)).unwrap(), at + MINUTE_MS, 7.0);
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
    assert_eq!(value_of(), value, "in memory");
    live_all(&bench, &store, 1);
    assert_eq!(value_of(), value);
}

#[test]
fn a_series_that_had_only_buckets_does_not_lose_them_to_a_late_sample() {
    let mut bench = bench(true);
    bench.policies = Policies::default();
    let store = bench.open();
    live_all(&bench, &store, 5);
    drop(store);
    bench.policies = policies();
    let store = bench.open();
    let whole = range(BEGIN, BEGIN + DAY_MS - 1);
    assert_eq!(count_of(&store, &kind(LONG), whole), 144);
    assert_eq!(write(&store, &kind(LONG), [(BEGIN + 9 * MINUTE_MS, 7.0)].into_iter()), 1);
    for days in [0, 1, 8] {
        bench.clock.advance(days * DAY_MS);
        live_all(&bench, &store, 1);
        assert_eq!(count_of(&store, &kind(LONG), whole), 144, "after {days} days");
    }
}

#[test]
fn without_its_policy_what_was_kept_goes_in_the_time_of_the_rest() {
    let mut bench = bench(true);
    let store = bench.open();
    live_all(&bench, &store, 8);
    assert!(kept_files(&store) > 0);
    drop(store);
    bench.policies = Policies::default();
    let store = bench.open();
    live_all(&bench, &store, 1);
    assert_eq!(kept_files(&store), 0);
    // Its buckets take over, and what had none is gone.
    assert!(days_of(&store, LONG) > 8.9);
    assert!(days_of(&store, PLAIN) < 4.1);
}

#[test]
fn a_series_is_taken_as_far_back_as_anything_is_kept_of_it() {
    let bench = bench(true);
    let store = bench.open();
    live_all(&bench, &store, 1);
    let now = bench.clock_now();
    for (name, days) in [(SHORT, 0.5), (LONG, 20.0), (PLAIN, 15.0), (COARSE, 20.0), (REST, 20.0)] {
        let limit = now - (days * DAY_MS as f64) as i64;
        let mut batch = WriteBatch::default();
        let id = store.series_id(&kind(name)).unwrap();
        batch.push(id, limit + 1, 1.0);
        batch.push(id, limit - 1, 1.0);
        let outcome = store.append(&batch).unwrap();
        let refused: Vec<usize> = outcome.refused.iter().map(|refusal| refusal.index).collect();
        assert_eq!(refused, [1], "{name}");
    }
}

#[test]
fn what_is_deleted_of_what_is_kept_is_gone_for_good_and_the_tombstone_too() {
    let bench = bench(true);
    let store = bench.open();
    live_all(&bench, &store, 8);
    let day = range(BEGIN + DAY_MS, BEGIN + 2 * DAY_MS - 1);
    let selectors = vec![vec![Matcher::equal("kind", PLAIN)]];
    store.delete(&Deletion { selectors, range: day }).unwrap();
    assert_eq!(stored(&store, &kind(PLAIN), day), []);
    assert_eq!(stored(&store, &kind(LONG), day).len(), 144);
    store.clean(&Arc::default()).unwrap();
    assert_eq!(store.shared.places.read().tombstones.len(), 0);
    assert_eq!(write(&store, &kind(PLAIN), [(BEGIN + DAY_MS, 3.0)].into_iter()), 1);
    drop(store);
    let store = bench.open();
    live_all(&bench, &store, 1);
    assert_eq!(stored(&store, &kind(PLAIN), day), [(BEGIN + DAY_MS, 3.0)]);
    assert_eq!(stored(&store, &kind(LONG), day).len(), 144);
}

#[test]
fn a_tombstone_is_forgotten_where_nothing_is_kept_longer() {
    let mut bench = bench(true);
    bench.policies = Policies::default();
    let store = bench.open();
    live_all(&bench, &store, 1);
    store.delete(&Deletion { selectors: vec![vec![all()]], range: range(BEGIN, BEGIN + HOUR_MS) }).unwrap();
    store.clean(&Arc::default()).unwrap();
    assert_eq!(store.shared.places.read().tombstones.len(), 0);
}

#[test]
fn where_room_is_short_what_is_kept_goes_too_oldest_first() {
    let mut bench = bench(true);
    let store = bench.open();
    live_all(&bench, &store, 10);
    let oldest = store.shared.places.read().kept.iter().map(|block| block.footer.oldest).min();
    assert!(oldest < Some(BEGIN + DAY_MS));
    drop(store);
    bench.bytes_max = 1;
    let store = bench.open();
    store.keep_room();
    assert_eq!(kept_files(&store), 0);
}

#[test]
fn an_older_program_does_not_open_a_directory_with_what_is_kept_longer() {
    let version_of = |bench: &Bench| crate::stdx::vfs::Vfs::read(&bench.vfs, "/data/checkpoint".as_ref()).unwrap()[7];
    let mut bench = bench(true);
    live_all(&bench, &bench.open(), 5);
    assert_eq!(version_of(&bench), 2);
    bench.policies = Policies::default();
    live_all(&bench, &bench.open(), 1);
    assert_eq!(version_of(&bench), 1, "nothing is kept longer any more");
}

#[derive(Debug, Clone)]
enum Step {
    /// Samples of a kind, so many minutes apart.
    Write {
        kind: usize,
        minutes_ago: i64,
        values: Vec<u8>,
    },
    Delete {
        kind: usize,
        minutes_ago: i64,
        minutes: i64,
    },
    Wait(i64),
    KeepUp,
    Compact,
    Clean,
    Reopen,
    Fails {
        call: u64,
        calls: u64,
        power: bool,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let minutes_ago = prop_oneof![2 => 0i64..700, 1 => 0i64..14 * 1440];
    let write = (0usize..5, minutes_ago.clone(), prop::collection::vec(0u8..20, 1..60))
        .prop_map(|(kind, minutes_ago, values)| Step::Write { kind, minutes_ago, values });
    let delete = (0usize..3, minutes_ago, 1i64..3000).prop_map(|(kind, minutes_ago, minutes)| Step::Delete {
        kind,
        minutes_ago,
        minutes,
    });
    let fails = (0u64..80, 1u64..5, any::<bool>()).prop_map(|(call, calls, power)| Step::Fails { call, calls, power });
    prop_oneof![
        10 => write,
        1 => delete,
        5 => prop_oneof![4 => 1i64..30, 1 => 30i64..200].prop_map(Step::Wait),
        5 => Just(Step::KeepUp),
        2 => Just(Step::Compact),
        1 => Just(Step::Clean),
        2 => Just(Step::Reopen),
        2 => fails,
    ]
}

/// For how long a kind is kept as samples.
fn kept_ms(name: &str) -> i64 {
    if name == SHORT { SHORT_MS } else { LONG_MS }
}

/// Samples whose time is not over are there, once and as they were written; without buckets nothing else is, but for
/// those that share a stretch with such.
fn check_kept(store: &Tsdb, model: &BTreeMap<Labels, Model>, now: Timestamp, is_compact: bool) {
    for name in [SHORT, LONG, PLAIN] {
        let Some(samples) = model.get(&kind(name)) else { continue };
        let found = stored(store, &kind(name), range(now - kept_ms(name), now));
        let expected: Vec<_> = samples.range(now - kept_ms(name)..).map(|(at, value)| (*at, *value)).collect();
        assert_eq!(found, expected, "{name}");
        if is_compact && name != LONG {
            let reference = store.shared.reference(&store.shared.places.read(), now).unwrap_or(now);
            let over = range(i64::MIN, reference - kept_ms(name) - DAY_MS);
            assert_eq!(stored(store, &kind(name), over), [], "{name} is over");
        }
    }
}

/// What a step writes: what the store takes and what can be told exactly afterwards.
fn samples_of(name: &str, now: Timestamp, minutes_ago: i64, values: &[u8], held: &Model) -> Vec<(Timestamp, f64)> {
    // Late samples of what has buckets alone fill what is empty, which no model of samples tells.
    let ago_max = match name {
        SHORT => 700,
        LONG | PLAIN => 14 * 1440,
        _ => 1400,
    };
    let first = now - now.rem_euclid(MINUTE_MS) - minutes_ago.min(ago_max) * MINUTE_MS;
    let samples = (0..).zip(values).map(|(at, value)| (first + at * MINUTE_MS, f64::from(*value)));
    // Another value of a time that has one is refused.
    samples.filter(|(at, _)| *at <= now && !held.contains_key(at)).collect()
}

fn fail(bench: &mut Bench, store: Tsdb, (call, calls, power): (u64, u64, bool)) -> Tsdb {
    bench.vfs.fail(bench.vfs.calls() + call, if power { u64::MAX } else { calls });
    let _ = store.compact(&Arc::default());
    let _ = store.shared.compact_due();
    store.shared.drop_expired(bench.clock_now());
    if !power {
        bench.vfs.heal();
        return store;
    }
    drop(store);
    bench.vfs = bench.vfs.after_power_cut(call);
    bench.open()
}

fn lives(steps: Vec<Step>, has_tiers: bool) {
    let mut bench = bench(has_tiers);
    let mut store = bench.open();
    let mut model: BTreeMap<Labels, Model> = BTreeMap::new();
    for step in steps {
        let now = bench.clock_now();
        let mut is_compact = false;
        match step {
            Step::Write { kind: number, minutes_ago, values } => {
                let held = model.entry(kind(KINDS[number])).or_default();
                let samples = samples_of(KINDS[number], now, minutes_ago, &values, held);
                held.extend(samples.iter().copied());
                assert_eq!(write(&store, &kind(KINDS[number]), samples.iter().copied()), samples.len());
            }
            Step::Delete { kind: number, minutes_ago, minutes } => {
                let first = now - minutes_ago * MINUTE_MS;
                let range = range(first, first + minutes * MINUTE_MS);
                let selectors = vec![vec![Matcher::equal("kind", KINDS[number])]];
                store.delete(&Deletion { selectors, range }).unwrap();
                model.entry(kind(KINDS[number])).or_default().retain(|at, _| !range.contains(*at));
            }
            Step::Wait(hours) => bench.clock.advance(hours * HOUR_MS),
            Step::KeepUp => keep_up(&store),
            Step::Compact => {
                store.compact(&Arc::default()).unwrap();
                is_compact = true;
            }
            Step::Clean => drop(store.clean(&Arc::default()).unwrap()),
            Step::Reopen => {
                drop(store);
                store = bench.open();
            }
            Step::Fails { call, calls, power } => store = fail(&mut bench, store, (call, calls, power)),
        }
        let now = bench.clock_now();
        check_kept(&store, &model, now, is_compact);
        if has_tiers {
            let others = [COARSE, REST].map(kind);
            let others = model.iter().filter(|(labels, _)| others.contains(labels));
            check(&store, &others.map(|(labels, samples)| (labels.clone(), samples.clone())).collect(), now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is written, deleted, built, kept, dropped, failed and opened again: what a policy keeps is there as it
    /// was written, what none keeps goes, and the rest answers as without policies.
    #[test]
    fn what_policies_keep_is_there_once_and_nothing_else_for_long(steps in prop::collection::vec(any_step(), 5..60)) {
        lives(steps, true);
    }

    #[test]
    fn the_same_holds_without_tiers(steps in prop::collection::vec(any_step(), 5..60)) {
        lives(steps, false);
    }
}
