//! Blocks that come, merge and go while samples are late, writes fail and the store stops.

use super::{
    options::WINDOW_MS,
    tests::{Bench, NOW, contents, labels, one_sample, values_of},
    *,
};
use crate::{
    model::{Histogram, Timestamp},
    stdx::vfs::Vfs,
    store::{Appendable, Conflict, Queryable, WriteBatch},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

const DAY_MS: i64 = 24 * 3_600_000;
/// The beginning of five days that are over, and one block.
const FIVE_DAYS: Timestamp = (NOW / (5 * DAY_MS) - 2) * 5 * DAY_MS;

fn write(store: &Tsdb, conflict: Conflict, series: usize, at: Timestamp, value: f64) {
    let batch = WriteBatch { conflict, ..one_sample(store, series, at, value) };
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
}

/// Enough samples that what comes later is small beside them; series 0 has 1.0 at the beginning of each window of the
/// first day.
fn fill(store: &Tsdb) {
    let mut batch = WriteBatch::default();
    for series in 1..300 {
        let id = store.series_id(&labels(series)).unwrap();
        (0..40).for_each(|at| batch.push(id, FIVE_DAYS + at * 60_000, ((at + series as i64) as f64).sqrt()));
    }
    let first = store.series_id(&labels(0)).unwrap();
    (0..12).for_each(|window| batch.push(first, FIVE_DAYS + window * WINDOW_MS, 1.0));
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
}

#[test]
fn samples_that_overwrite_those_of_a_large_block_still_do_when_late_blocks_are_merged() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    store.compact(&Arc::default()).unwrap();
    assert_eq!(store.status(1).unwrap().window_files, 1);
    for window in 0..6 {
        write(&store, Conflict::Overwrite, 0, FIVE_DAYS + window * WINDOW_MS, 2.0);
    }
    store.seal_all().unwrap();
    let expected = [[2.0; 6], [1.0; 6]].concat();
    assert_eq!(values_of(&store, 0), expected);
    store.shared.compact_due().unwrap();
    assert_eq!(values_of(&store, 0), expected);
}

#[test]
fn late_samples_of_a_block_larger_than_retention_now_allows_are_merged_into_it() {
    let mut bench = Bench::new();
    let store = bench.open();
    fill(&store);
    store.compact(&Arc::default()).unwrap();
    drop(store);
    bench.retention_ms = 20 * DAY_MS;
    let store = bench.open();
    for window in 0..6 {
        write(&store, Conflict::Overwrite, 0, FIVE_DAYS + window * WINDOW_MS, 2.0);
    }
    store.compact(&Arc::default()).unwrap();
    assert_eq!(store.status(1).unwrap().window_files, 1);
    assert_eq!(values_of(&store, 0), [[2.0; 6], [1.0; 6]].concat());
}

#[test]
fn a_window_that_waits_to_be_written_stays_newer_than_what_is_merged_meanwhile() {
    let bench = Bench::new();
    let store = bench.open();
    let late = |store: &Tsdb, value| write(store, Conflict::Refuse, 0, FIVE_DAYS, value);
    late(&store, 1.0);
    store.seal_all().unwrap();
    late(&store, 9.0);
    bench.vfs.break_down();
    assert!(store.shared.seal(FIVE_DAYS).is_err());
    bench.vfs.heal();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + WINDOW_MS, 2.0);
    store.shared.seal(FIVE_DAYS + WINDOW_MS).unwrap();
    assert_eq!(values_of(&store, 0), [1.0, 2.0]);
    store.shared.compact_due().unwrap();
    store.seal_all().unwrap();
    assert_eq!(values_of(&store, 0), [1.0, 2.0]);
    store.shared.compact_due().unwrap();
    assert_eq!((values_of(&store, 0), store.status(1).unwrap().window_files), (vec![1.0, 2.0], 1));
}

#[test]
fn a_merged_block_that_could_not_be_put_in_place_takes_nothing_back_later() {
    let bench = Bench::new();
    let store = bench.open();
    for window in 0..2 {
        write(&store, Conflict::Refuse, 0, FIVE_DAYS + window * WINDOW_MS, 1.0);
    }
    store.seal_all().unwrap();
    // Each call of a merge fails in turn, also those after it has its name, until none is left to fail.
    let mut value = 1.0;
    for call in 0.. {
        bench.vfs.fail(bench.vfs.calls() + call, 1);
        let merged = store.shared.compact_due();
        bench.vfs.heal();
        if merged.is_ok() {
            assert!(call > 5, "{call}");
            break;
        }
        value += 1.0;
        write(&store, Conflict::Overwrite, 0, FIVE_DAYS, value);
        store.seal_all().unwrap();
    }
    assert_eq!(values_of(&store, 0), [value, 1.0]);
    drop(store);
    assert_eq!(values_of(&bench.open(), 0), [value, 1.0]);
}

#[test]
fn a_block_that_could_not_be_read_for_a_while_is_not_taken_for_a_left_over() {
    let bench = Bench::new();
    let store = bench.open();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS, 1.0);
    // So much that the log's segment goes.
    (0..200).for_each(|at| write(&store, Conflict::Refuse, 1, FIVE_DAYS + at, 1.0));
    store.seal_all().unwrap();
    drop(store);
    let file = bench.files("/data/blocks").remove(0);
    let footers = [20, bench.vfs.length(&file).unwrap() as usize - 30];
    footers.iter().for_each(|at| bench.vfs.corrupt(&file, *at, 1));
    let store = bench.open();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + 1, 2.0);
    store.seal_all().unwrap();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + 2, 3.0);
    store.compact(&Arc::default()).unwrap();
    assert_eq!(values_of(&store, 0), [2.0, 3.0]);
    drop(store);
    footers.iter().for_each(|at| bench.vfs.corrupt(&file, *at, 1));
    assert_eq!(values_of(&bench.open(), 0), [1.0, 2.0, 3.0]);
}

#[test]
fn a_merge_that_fails_does_not_keep_others_from_being_done() {
    let bench = Bench::new();
    let store = bench.open();
    for window in 0..2 {
        write(&store, Conflict::Refuse, 0, FIVE_DAYS + window * WINDOW_MS, 1.0);
        write(&store, Conflict::Refuse, 0, FIVE_DAYS - DAY_MS + window * WINDOW_MS, 1.0);
    }
    store.seal_all().unwrap();
    bench.vfs.fail(bench.vfs.calls(), 1);
    assert!(store.shared.compact_due().is_err());
    bench.vfs.heal();
    assert_eq!(store.status(1).unwrap().window_files, 2, "a day of the first five, and the second five");
}

#[test]
fn no_merge_begins_while_the_store_stops() {
    let bench = Bench::new();
    let store = bench.open();
    for window in 0..2 {
        write(&store, Conflict::Refuse, 0, FIVE_DAYS + window * WINDOW_MS, 1.0);
        store.shared.seal(FIVE_DAYS + window * WINDOW_MS).unwrap();
    }
    // As happens between two merges: there is none to end.
    store.shared.cancel_compaction();
    store.shared.compact_due().unwrap();
    assert_eq!(store.status(1).unwrap().window_files, 2);
}

#[test]
fn a_large_block_is_not_written_again_at_once_for_samples_that_trickle_into_all_its_windows() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    store.compact(&Arc::default()).unwrap();
    for window in 0..20 {
        write(&store, Conflict::Overwrite, 0, FIVE_DAYS + window * WINDOW_MS, 2.0);
        store.shared.seal(FIVE_DAYS + window * WINDOW_MS).unwrap();
    }
    store.shared.compact_due().unwrap();
    assert_eq!(store.status(1).unwrap().window_files, 21);
    bench.clock.advance(3_600_000);
    store.shared.compact_due().unwrap();
    assert_eq!((store.status(1).unwrap().window_files, values_of(&store, 0)), (1, vec![2.0; 20]));
}

/// Asks for the values of a series as they are in memory, sealed, opened again and merged.
fn assert_stays(bench: &Bench, store: Tsdb, series: usize, expected: &[f64]) {
    assert_eq!(values_of(&store, series), expected, "in memory");
    drop(store);
    let store = bench.open();
    assert_eq!(values_of(&store, series), expected, "replayed");
    store.seal_all().unwrap();
    assert_eq!(values_of(&store, series), expected, "sealed");
    drop(store);
    let store = bench.open();
    assert_eq!(values_of(&store, series), expected, "opened again");
    store.compact(&Arc::default()).unwrap();
    assert_eq!(values_of(&store, series), expected, "merged");
}

#[test]
fn a_sample_that_lost_to_a_sealed_one_does_not_come_back_when_its_series_is_overwritten_beside_it() {
    let bench = Bench::new();
    let store = bench.open();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS, 1.0);
    store.seal_all().unwrap();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS, 2.0);
    write(&store, Conflict::Overwrite, 0, FIVE_DAYS + 60_000, 5.0);
    assert_stays(&bench, store, 0, &[1.0, 5.0]);
}

#[test]
fn a_sample_does_not_replace_a_sealed_one_because_its_series_was_overwritten_before() {
    let bench = Bench::new();
    let store = bench.open();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + 60_000, 1.0);
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + 120_000, 2.0);
    store.seal_all().unwrap();
    write(&store, Conflict::Overwrite, 0, FIVE_DAYS, 5.0);
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + 60_000, 6.0);
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + 90_000, 7.0);
    // Said again so that it overwrites, it does.
    write(&store, Conflict::Refuse, 0, FIVE_DAYS + 120_000, 8.0);
    write(&store, Conflict::Overwrite, 0, FIVE_DAYS + 120_000, 8.0);
    assert_stays(&bench, store, 0, &[5.0, 1.0, 7.0, 8.0]);
}

#[test]
fn a_lost_sample_whose_window_could_not_be_sealed_stays_lost_after_a_restart() {
    let bench = Bench::new();
    let store = bench.open();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS, 1.0);
    store.seal_all().unwrap();
    write(&store, Conflict::Refuse, 0, FIVE_DAYS, 2.0);
    bench.vfs.break_down();
    assert!(store.seal_all().is_err());
    bench.vfs.heal();
    drop(store);
    let store = bench.open();
    write(&store, Conflict::Overwrite, 0, FIVE_DAYS + 60_000, 5.0);
    assert_stays(&bench, store, 0, &[1.0, 5.0]);
}

#[test]
fn histograms_replace_sealed_ones_where_they_overwrite_and_only_there() {
    let bench = Bench::new();
    let store = bench.open();
    let write = |store: &Tsdb, conflict, at: Timestamp, count: f64| {
        let histogram = Histogram { count, sum: count, ..Histogram::default() };
        let id = store.series_id(&labels(0)).unwrap();
        let histograms = vec![(id, FIVE_DAYS + at, Arc::new(histogram))];
        let batch = WriteBatch { conflict, histograms, ..WriteBatch::default() };
        store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
    };
    let counts = |store: &Tsdb| -> Vec<f64> {
        let found = contents(store).into_iter().flat_map(|(_, samples)| samples.histograms);
        found.map(|sample| sample.histogram.count).collect()
    };
    (0..4).for_each(|at| write(&store, Conflict::Refuse, at, 1.0));
    store.seal_all().unwrap();
    for (at, conflict) in [(0, Conflict::Refuse), (1, Conflict::Overwrite), (2, Conflict::Refuse)] {
        write(&store, conflict, at, 2.0);
    }
    write(&store, Conflict::Overwrite, 2, 2.0);
    assert_eq!(counts(&store), [1.0, 2.0, 2.0, 1.0]);
    drop(store);
    let store = bench.open();
    assert_eq!(counts(&store), [1.0, 2.0, 2.0, 1.0]);
    store.seal_all().unwrap();
    assert_eq!(counts(&store), [1.0, 2.0, 2.0, 1.0]);
    store.compact(&Arc::default()).unwrap();
    assert_eq!(counts(&store), [1.0, 2.0, 2.0, 1.0]);
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        overwrite: bool,
        /// After each sample, at once.
        seal: bool,
        samples: Vec<(usize, i64, u8)>,
    },
    SealAll,
    Compact,
    CompactDue,
    CompactFails(u64),
    SealFails(u64, i64),
    Wait(i64),
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    // Two stretches of five days, eight times a window.
    let sample = (0usize..3, 0i64..8, 0u8..5);
    prop_oneof![
        8 => (any::<bool>(), any::<bool>(), prop::collection::vec(sample, 1..6))
            .prop_map(|(overwrite, seal, samples)| Step::Write { overwrite, seal, samples }),
        1 => Just(Step::SealAll),
        1 => Just(Step::Compact),
        3 => Just(Step::CompactDue),
        2 => (0u64..12).prop_map(Step::CompactFails),
        1 => (0u64..8, 0i64..8).prop_map(|(call, at)| Step::SealFails(call, at)),
        1 => (1i64..8).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Of samples of one time the first stays, unless a later one overwrites it, whatever is merged, fails or is opened.
    #[test]
    fn late_samples_of_any_order_read_as_a_map_gives_them(steps in prop::collection::vec(any_step(), 1..40)) {
        // Neighbours, two windows of a day, two days of a stretch, two stretches.
        let times = [0, 1, WINDOW_MS, WINDOW_MS + 1, DAY_MS, 2 * DAY_MS, 5 * DAY_MS, 6 * DAY_MS].map(|at| FIVE_DAYS - 5 * DAY_MS + at);
        let bench = Bench::new();
        let mut store = bench.open();
        fill(&store);
        let mut model: BTreeMap<(usize, Timestamp), f64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::SealAll => store.seal_all().unwrap(),
                Step::Write { overwrite, seal, samples } => {
                    let conflict = if overwrite { Conflict::Overwrite } else { Conflict::Refuse };
                    for (series, at, value) in samples {
                        let (series, at, value) = (400 + series, times[at as usize], f64::from(value));
                        write(&store, conflict, series, at, value);
                        let held = model.entry((series, at)).or_insert(value);
                        *held = if overwrite { value } else { *held };
                        if seal {
                            store.seal_all().unwrap();
                        }
                    }
                }
                Step::Compact => assert!(store.compact(&Arc::default()).is_ok()),
                Step::CompactDue => store.shared.compact_due().unwrap(),
                Step::CompactFails(call) => {
                    bench.vfs.fail(bench.vfs.calls() + call, 2);
                    let _ = store.shared.compact_due();
                    bench.vfs.heal();
                }
                Step::SealFails(call, at) => {
                    let at = times[at as usize];
                    write(&store, Conflict::Refuse, 400, at, 7.0);
                    model.entry((400, at)).or_insert(7.0);
                    bench.vfs.fail(bench.vfs.calls() + call, 1);
                    let _ = store.shared.seal(store.shared.head.window_of(at));
                    bench.vfs.heal();
                }
                Step::Wait(hours) => bench.clock.advance(hours * 3_600_000),
                Step::Reopen => {
                    drop(store);
                    store = bench.open();
                }
            }
            for series in 400..403 {
                let expected: Vec<f64> = model.range((series, i64::MIN)..(series + 1, i64::MIN)).map(|(_, value)| *value).collect();
                prop_assert_eq!(values_of(&store, series), expected, "{}", series);
            }
        }
    }
}
