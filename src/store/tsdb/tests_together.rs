//! Windows that are sealed together: the same as sealed alone, early, and on a disk that fails calls and loses power.

use super::{
    maintain::Keeper,
    options::WINDOW_MS,
    tests::{Bench, NOW, contents, labels},
    *,
};
use crate::{
    model::Timestamp,
    stdx::vfs::simulated::Random,
    store::{Appendable, Conflict, RunChange, WriteBatch},
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DAY_MS: i64 = 24 * 3_600_000;
/// The start of a stretch of five days that is long over.
const STRETCH: Timestamp = (NOW / (5 * DAY_MS) - 3) * 5 * DAY_MS;

/// A change of each of `count` series at each of `times`: a sample, and the run up to the next.
fn write_history(store: &Tsdb, count: usize, times: &[Timestamp]) {
    for series in 0..count {
        let id = store.series_id(&labels(series)).unwrap();
        let mut batch = WriteBatch { conflict: Conflict::Overwrite, ..WriteBatch::default() };
        for (number, first) in times.iter().enumerate() {
            let value = (series * 7 + number) as f64;
            batch.push(id, *first, value);
            let last = times.get(number + 1).map_or(first + 60_000, |next| next - 1);
            batch.runs.push(RunChange::Whole { series: id, value, first: *first, last, step_ms: 6 * 3_600_000 });
        }
        assert!(store.append(&batch).unwrap().refused.is_empty());
    }
}

fn past_bytes(store: &Tsdb) -> usize {
    store.shared.head.windows(NOW).iter().map(|window| window.bytes).sum()
}

fn block_count(store: &Tsdb) -> usize {
    store.shared.places.read().files.len()
}

#[test]
fn a_history_is_sealed_in_a_few_blocks_long_before_it_is_quiet() {
    let mut bench = Bench::new();
    let before = {
        let store = bench.open();
        let mut keeper = Keeper::new(store.shared.clone());
        // Four stretches that are over, in each an analysis a day.
        let times: Vec<Timestamp> = (0..20).map(|day| STRETCH - 5 * DAY_MS + day * DAY_MS + 3_600_000).collect();
        write_history(&store, 100, &times[..15]);
        keeper.tick();
        assert_eq!(block_count(&store), 0, "little of it may stay");
        write_history(&store, 1_800, &times[..15]);
        let before = contents(&store);
        // The store's own threads may have been at it: only so much is sure.
        keeper.tick();
        assert!(past_bytes(&store) <= 6 << 20);
        assert!((3..=6).contains(&block_count(&store)));
        assert!(contents(&store) == before);
        // More of it, for the same windows.
        write_history(&store, 1_800, &times.iter().map(|at| at + 1_000).collect::<Vec<_>>()[..15]);
        let before = contents(&store);
        keeper.tick();
        assert!(past_bytes(&store) <= 6 << 20);
        assert!((3..=12).contains(&block_count(&store)));
        assert!(contents(&store) == before);
        store.seal_all().unwrap();
        store.shared.compact_due().unwrap();
        assert_eq!(block_count(&store), 3);
        assert!(contents(&store) == before);
        before
    };
    bench.vfs = bench.vfs.after_power_cut(1);
    assert!(contents(&bench.open()) == before);
}

#[test]
fn a_sender_that_catches_up_in_a_few_windows_is_left_alone() {
    let bench = Bench::new();
    let store = bench.open();
    let mut keeper = Keeper::new(store.shared.clone());
    let times: Vec<Timestamp> = (0..7).map(|window| STRETCH + window * WINDOW_MS).collect();
    write_history(&store, 4_000, &times);
    assert!(past_bytes(&store) > 6 << 20);
    keeper.tick();
    assert_eq!(block_count(&store), 0);
    bench.clock.advance(16 * 60_000);
    keeper.tick();
    assert_eq!((block_count(&store), past_bytes(&store)), (1, 0), "quiet windows of one stretch are one block");
}

#[test]
fn windows_are_sealed_together_within_what_is_over_and_may_be_one_block() {
    // Today is the first day of its stretch.
    let today = NOW - NOW % DAY_MS;
    assert_eq!(today % (5 * DAY_MS), 0);
    for (retention_days, expected) in [
        (30, vec![WINDOW_MS, WINDOW_MS, 5 * DAY_MS]),
        (10, vec![WINDOW_MS, WINDOW_MS, WINDOW_MS, DAY_MS]),
        (3, vec![WINDOW_MS; 5]),
    ] {
        let mut bench = Bench::new();
        bench.retention_ms = retention_days * DAY_MS;
        let store = bench.open();
        write_history(&store, 3, &[-13, -12, -1, 1, 2].map(|window| today + window * WINDOW_MS + 3_600_000));
        store.seal_all().unwrap();
        let mut spans: Vec<i64> = store.shared.places.read().files.iter().map(|file| file.footer.span_ms).collect();
        spans.sort_unstable();
        assert_eq!(spans, expected, "{retention_days} days");
    }
}

#[test]
fn a_block_of_several_windows_is_packed_although_it_is_alone_in_its_stretch() {
    let bench = Bench::new();
    let store = bench.open();
    write_history(&store, 20, &(0..40).map(|window| STRETCH + window * WINDOW_MS).collect::<Vec<_>>());
    let before = contents(&store);
    store.seal_all().unwrap();
    store.shared.compact_due().unwrap();
    let levels: Vec<u64> = store.shared.places.read().files.iter().map(|file| file.footer.level).collect();
    assert_eq!(levels, [1]);
    assert!(contents(&store) == before);
    store.shared.compact_due().unwrap();
    assert_eq!(store.shared.compaction.merges.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// A batch of anything in the stretch: late, duplicate, overwriting, runs.
fn any_batch(store: &Tsdb, random: &mut Random) -> WriteBatch {
    let conflict = if random.below(3) == 0 { Conflict::Overwrite } else { Conflict::Refuse };
    let mut batch = WriteBatch { conflict, ..WriteBatch::default() };
    for _ in 0..1 + random.below(20) {
        let id = store.series_id(&labels(random.below(6) as usize)).unwrap();
        let first = STRETCH + random.below(20) as i64 * WINDOW_MS / 2 + random.below(4) as i64 * 1_000;
        let value = random.below(5) as f64;
        match random.below(4) {
            // Who wins of two runs that begin at one time with other values is not said anywhere.
            0 => batch.runs.push(RunChange::Whole {
                series: id,
                value: (first % 7) as f64,
                first,
                last: first + random.below(3) as i64 * WINDOW_MS,
                step_ms: 600_000,
            }),
            _ => batch.push(id, first, value),
        }
    }
    batch
}

fn assert_same(one: &Tsdb, other: &Tsdb, context: &str) {
    let points = |store: &Tsdb| -> BTreeSet<(String, Timestamp, u64)> {
        let all = contents(store).into_iter().flat_map(|(labels, samples)| {
            let points = samples.timestamps.into_iter().zip(samples.values);
            points.map(move |(at, value)| (labels.to_string(), at, value.to_bits())).collect::<Vec<_>>()
        });
        all.collect()
    };
    let (one, other) = (points(one), points(other));
    let (lacks, has): (Vec<_>, Vec<_>) = (other.difference(&one).collect(), one.difference(&other).collect());
    assert!(lacks.is_empty() && has.is_empty(), "{context}: lacks {lacks:?}, has {has:?}");
}

fn named(store: &Tsdb) -> BTreeSet<(Timestamp, log::Position)> {
    store.shared.places.read().files.iter().flat_map(|file| file.windows().collect::<Vec<_>>()).collect()
}

#[test]
fn windows_that_are_sealed_together_say_what_they_say_sealed_alone() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let (mut one, mut other) = (Bench::new(), Bench::new());
        {
            let (together, alone) = (one.open(), other.open());
            for round in 0..8 {
                for _ in 0..1 + random.below(4) {
                    let batch = any_batch(&together, &mut random.clone());
                    assert_eq!(any_batch(&alone, &mut random).series, batch.series);
                    for store in [&together, &alone] {
                        store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
                    }
                }
                if random.below(2) == 0 {
                    together.seal_all().unwrap();
                    for window in alone.shared.head.windows(NOW) {
                        alone.shared.seal(window.window).unwrap();
                    }
                    assert_eq!(named(&together), named(&alone), "seed {seed}, round {round}");
                }
                if random.below(4) == 0 {
                    together.shared.compact_due().unwrap();
                    alone.shared.compact_due().unwrap();
                }
                assert_same(&together, &alone, &format!("seed {seed}, round {round}"));
            }
        }
        (one.vfs, other.vfs) = (one.vfs.after_power_cut(seed), other.vfs.after_power_cut(seed));
        let (together, alone) = (one.open(), other.open());
        assert_same(&together, &alone, &format!("seed {seed}, opened again"));
        together.compact(&Arc::default()).unwrap();
        alone.compact(&Arc::default()).unwrap();
        assert_same(&together, &alone, &format!("seed {seed}, merged"));
    }
}

/// What was acknowledged.
type Acknowledged = BTreeMap<(usize, Timestamp), f64>;

/// Samples of eight windows of the stretch, of one series in some of them to overwrite; sealed together, merged, opened
/// again. What fails is tried again later, as the maintenance thread does.
fn workload(bench: &Bench, acknowledged: &mut Acknowledged) {
    for opening in 0..3usize {
        let Ok(store) = bench.try_open() else { continue };
        for round in 0..6usize {
            let conflict = if round % 2 == 0 { Conflict::Refuse } else { Conflict::Overwrite };
            let mut batch = WriteBatch { conflict, ..WriteBatch::default() };
            let mut sent = Vec::new();
            for window in 0..8usize {
                let at = STRETCH + window as i64 * WINDOW_MS + (opening * 6 + round) as i64 * 1_000;
                let series = if window % 3 == 0 { 0 } else { 1 + round % 3 };
                batch.push(store.series_id(&labels(series)).unwrap(), at, at as f64);
                sent.push(((series, at), at as f64));
            }
            if let Ok(outcome) = store.append(&batch)
                && outcome.ticket.wait_blocking().is_ok()
            {
                acknowledged.extend(sent);
            }
            match round {
                2 | 4 => drop(store.seal_all()),
                3 => drop(store.shared.retry_sealing()),
                5 if opening == 1 => drop(store.compact(&Arc::default())),
                _ => {}
            }
        }
    }
}

fn check(store: &Tsdb, acknowledged: &Acknowledged, context: &str) {
    let mut found = Acknowledged::new();
    for (labels, samples) in contents(store) {
        let series = labels.get("n").unwrap().parse().unwrap();
        assert!(samples.timestamps.is_sorted_by(|a, b| a < b), "{context}: {samples:?}");
        for (at, value) in samples.timestamps.iter().zip(&samples.values) {
            assert_eq!(*value, *at as f64, "{context}");
            found.insert((series, *at), *value);
        }
    }
    for key in acknowledged.keys() {
        assert!(found.contains_key(key), "{context}: {key:?} is lost");
    }
}

fn calls_of_workload() -> u64 {
    let bench = Bench::new();
    workload(&bench, &mut Acknowledged::new());
    bench.vfs.calls()
}

#[test]
fn an_error_at_any_call_while_windows_are_sealed_together_loses_nothing() {
    let calls = calls_of_workload();
    assert!(calls > 100);
    for first in 0..calls {
        let mut bench = Bench::new();
        let mut acknowledged = Acknowledged::new();
        bench.vfs.fail(first, 1 + first % 3);
        workload(&bench, &mut acknowledged);
        bench.vfs.heal();
        let context = format!("call {first} of {calls}");
        {
            let store = bench.open();
            check(&store, &acknowledged, &context);
            store.seal_all().unwrap();
            assert!(store.shared.places.read().sealing.is_empty());
            check(&store, &acknowledged, &context);
        }
        bench.vfs = bench.vfs.after_power_cut(first);
        check(&bench.open(), &acknowledged, &context);
    }
}

#[test]
fn the_power_may_go_at_any_call_while_windows_are_sealed_together() {
    let calls = calls_of_workload();
    for first in 0..calls {
        let mut bench = Bench::new();
        let mut acknowledged = Acknowledged::new();
        bench.vfs.fail(first, u64::MAX);
        workload(&bench, &mut acknowledged);
        bench.vfs = bench.vfs.after_power_cut(first);
        let context = format!("call {first} of {calls}");
        check(&bench.open(), &acknowledged, &context);
        workload(&bench, &mut acknowledged);
        check(&bench.open(), &acknowledged, &context);
    }
}
