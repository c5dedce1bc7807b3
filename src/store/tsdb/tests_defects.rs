//! One test for each way in which samples, memory or time were once lost.

use super::{
    maintain::Keeper,
    options::WINDOW_MS,
    tests::{Bench, NOW, all, contents, labels, one_sample, time_of, values_of},
    *,
};
use crate::{
    model::{STALE_NAN, TimeRange, Timestamp},
    store::{
        Appendable, Conflict, Hints, Queryable, RefusalReason, RunChange, SeriesId, StateChange, StateStore,
        StoreError, Tree, WriteBatch, kv::Kv,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

fn put(store: &Tsdb, series: usize, at: Timestamp, value: f64) {
    store.append(&one_sample(store, series, at, value)).unwrap().ticket.wait_blocking().unwrap();
}

fn overwrite(store: &Tsdb, series: usize, at: Timestamp, value: f64) {
    let batch = WriteBatch { conflict: Conflict::Overwrite, ..one_sample(store, series, at, value) };
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
}

fn run(store: &Tsdb, changes: Vec<RunChange>) {
    let batch = WriteBatch { runs: changes, ..WriteBatch::default() };
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
}

/// Lets the disk fail while `work` runs.
fn broken(bench: &Bench, work: impl FnOnce()) {
    bench.vfs.break_down();
    work();
    bench.vfs.heal();
}

#[test]
fn a_window_sealed_at_the_second_try_replaces_no_other_file_of_its_window() {
    let bench = Bench::new();
    let store = bench.open();
    put(&store, 0, time_of(1), 1.0);
    store.seal_all().unwrap();
    put(&store, 0, time_of(2), 2.0);
    broken(&bench, || assert!(store.seal_all().is_err()));
    put(&store, 0, time_of(3), 3.0);
    store.seal_all().unwrap();
    assert_eq!(values_of(&store, 0), [1.0, 2.0, 3.0]);
    drop(store);
    assert_eq!(values_of(&bench.open(), 0), [1.0, 2.0, 3.0]);
}

#[test]
fn a_file_of_a_window_whose_older_part_could_not_be_written_does_not_say_that_it_was() {
    let mut bench = Bench::new();
    {
        let store = bench.open();
        put(&store, 0, time_of(1), 1.0);
        let window = store.shared.head.window_of(time_of(1));
        broken(&bench, || assert!(store.shared.seal(window).is_err()));
        put(&store, 0, time_of(2), 2.0);
        // Fails at most at the first file.
        bench.vfs.fail(bench.vfs.calls(), 1);
        let _ = store.shared.seal(window);
        bench.vfs.heal();
        bench.vfs = bench.vfs.after_power_cut(7);
    }
    assert_eq!(values_of(&bench.open(), 0), [1.0, 2.0]);
}

#[test]
fn a_window_is_not_sealed_twice_under_one_name() {
    let bench = Bench::new();
    let store = bench.open();
    put(&store, 0, time_of(1), 1.0);
    let window = store.shared.head.window_of(time_of(1));
    store.shared.seal(window).unwrap();
    // Applied and not logged yet, as a batch is while the log has no room.
    let batch = one_sample(&store, 0, time_of(2), 2.0);
    let moment = head::Moment { now_ms: NOW, oldest: 0, limits: None, position: store.shared.log.end() };
    store.shared.head.append_floats(&batch, &moment, &mut Vec::new());
    store.shared.seal(window).unwrap();
    assert_eq!(values_of(&store, 0), [1.0, 2.0]);
}

#[test]
fn an_overwriting_sample_wins_over_the_window_that_is_being_sealed() {
    let bench = Bench::new();
    let store = bench.open();
    overwrite(&store, 0, time_of(1), 1.0);
    broken(&bench, || assert!(store.seal_all().is_err()));
    overwrite(&store, 0, time_of(1), 2.0);
    assert_eq!(values_of(&store, 0), [2.0]);
    store.seal_all().unwrap();
    assert_eq!(values_of(&store, 0), [2.0]);
}

#[test]
fn an_open_run_and_one_file_are_one_series() {
    let bench = Bench::new();
    let store = bench.open();
    put(&store, 0, time_of(1), 1.0);
    store.seal_all().unwrap();
    let series = store.series_id(&labels(0)).unwrap();
    run(&store, vec![RunChange::Open { series, value: 9.0, first: NOW, step_ms: 15_000 }]);
    let set = store.select(TimeRange::ALL, &[all()], &Hints::default()).unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!(values_of(&store, 0), [1.0, 9.0]);
}

#[test]
fn a_sample_wins_over_a_point_of_a_run_that_ended_in_a_later_window() {
    let bench = Bench::new();
    let store = bench.open();
    let (first, end) = (time_of(0), time_of(0) + 2 * WINDOW_MS);
    let series = store.series_id(&labels(0)).unwrap();
    run(&store, vec![RunChange::Open { series, value: 5.0, first, step_ms: WINDOW_MS }]);
    put(&store, 0, first, 1.0);
    run(&store, vec![RunChange::Close { series, at: end }]);
    for _ in 0..2 {
        let (_, samples) = &contents(&store)[0];
        assert_eq!(samples.values[..2], [1.0, 5.0]);
        assert_eq!(samples.values[2].to_bits(), STALE_NAN.to_bits());
        store.seal_all().unwrap();
    }
}

#[test]
fn a_run_closed_before_its_first_point_is_found_by_its_marker() {
    let bench = Bench::new();
    let store = bench.open();
    let series = store.series_id(&labels(0)).unwrap();
    run(&store, vec![RunChange::Open { series, value: 5.0, first: NOW, step_ms: 1000 }]);
    run(&store, vec![RunChange::Close { series, at: NOW - 10 }]);
    for _ in 0..2 {
        let range = TimeRange::new(NOW - 20, NOW - 5).unwrap();
        let set = store.select(range, &[all()], &Hints::default()).unwrap();
        assert_eq!(set.len(), 1);
        store.seal_all().unwrap();
    }
}

#[test]
fn a_batch_too_large_for_the_log_is_refused_before_it_is_applied() {
    let mut bench = Bench::new();
    {
        let store = bench.open();
        let mut batch = one_sample(&store, 0, time_of(1), 1.0);
        let value = Some(vec![0; log::PAYLOAD_BYTES_MAX]);
        batch.state.push(StateChange { tree: Tree::Jobs, key: vec![1], value });
        assert!(store.append(&batch).unwrap_err().to_string().contains("send less"));
        assert!(store.state(Tree::Jobs, &[1]).is_none());
        put(&store, 0, time_of(2), 2.0);
        bench.vfs = bench.vfs.after_power_cut(1);
    }
    assert_eq!(values_of(&bench.open(), 0), [2.0]);
}

#[test]
fn a_batch_whose_sync_failed_is_durable_once_it_is_sent_again() {
    let mut bench = Bench::new();
    for seed in 0..20 {
        {
            let store = bench.open();
            let batch = one_sample(&store, seed, time_of(1), 1.0);
            bench.vfs.fail(bench.vfs.calls() + seed as u64 % 4, 1);
            let first = store.append(&batch).unwrap().ticket.wait_blocking();
            bench.vfs.heal();
            if first.is_err() {
                store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
            }
        }
        bench.vfs = bench.vfs.after_power_cut(seed as u64);
        let store = bench.open();
        (0..=seed).for_each(|series| assert_eq!(values_of(&store, series), [1.0], "{series} at {seed}"));
    }
}

#[test]
fn times_at_both_ends_are_stored_or_refused() {
    let mut bench = Bench::new();
    for retention_ms in [i64::MAX, 30 * 24 * 3_600_000] {
        bench.retention_ms = retention_ms;
        let store = bench.open();
        for at in [i64::MIN, i64::MIN + 1, i64::MIN + WINDOW_MS, -WINDOW_MS, -1, 0, 1, i64::MAX - WINDOW_MS, i64::MAX] {
            let outcome = store.append(&one_sample(&store, 0, at, 1.0)).unwrap();
            assert!(outcome.refused.iter().all(|refusal| matches!(refusal.reason, RefusalReason::TooOld { .. })));
            outcome.ticket.wait_blocking().unwrap();
        }
        let series = store.series_id(&labels(1)).unwrap();
        run(&store, vec![RunChange::Open { series, value: 1.0, first: i64::MIN, step_ms: i64::MAX }]);
        run(&store, vec![RunChange::Close { series, at: i64::MIN }]);
        run(&store, vec![RunChange::Open { series, value: 1.0, first: i64::MAX, step_ms: i64::MAX }]);
        run(&store, vec![RunChange::Close { series, at: i64::MAX }]);
        let before = format!("{:?}", contents(&store));
        store.seal_all().unwrap();
        assert_eq!(format!("{:?}", contents(&store)), before);
        drop(store);
        assert_eq!(format!("{:?}", contents(&bench.open())), before);
        bench = Bench::new();
    }
}

#[test]
fn samples_that_are_too_old_make_no_windows() {
    let bench = Bench::new();
    let store = bench.open();
    for window in 0..50 {
        let batch = one_sample(&store, 0, window * WINDOW_MS, 1.0);
        assert_eq!(store.append(&batch).unwrap().refused.len(), 1);
    }
    assert!(store.shared.head.windows(NOW).is_empty());
}

#[test]
fn a_lone_sample_of_the_far_future_does_not_keep_the_log() {
    let bench = Bench::new();
    let store = bench.open();
    put(&store, 0, NOW + 1_000 * WINDOW_MS, 1.0);
    bench.clock.advance(3_600_000);
    Keeper::new(store.shared.clone()).tick();
    assert_eq!(store.status(1).unwrap().window_files, 1);
    assert_eq!(values_of(&store, 0), [1.0]);
}

#[test]
fn a_window_written_to_before_the_clock_was_set_back_is_sealed_all_the_same() {
    let bench = Bench::new();
    bench.clock.advance(365 * 24 * 3_600_000);
    let store = bench.open();
    put(&store, 0, NOW + 364 * 24 * 3_600_000, 1.0);
    put(&store, 1, NOW + 365 * 24 * 3_600_000, 1.0);
    bench.clock.set(NOW);
    let mut keeper = Keeper::new(store.shared.clone());
    keeper.tick();
    bench.clock.advance(20 * 60_000);
    keeper.tick();
    assert_eq!(store.status(1).unwrap().window_files, 2);
    store.shared.drop_expired(NOW);
    assert_eq!((values_of(&store, 0).len(), values_of(&store, 1).len()), (1, 1));
}

const YEAR_MS: i64 = 365 * 24 * 3_600_000;

#[test]
fn an_opening_after_the_clock_jumped_deletes_nothing() {
    for jump_ms in [YEAR_MS, -YEAR_MS, -NOW] {
        let bench = Bench::new();
        let store = bench.open();
        put(&store, 0, time_of(1), 1.0);
        store.compact(&Default::default()).unwrap();
        put(&store, 1, time_of(2), 2.0);
        drop(store);
        bench.clock.set(NOW + jump_ms);
        let store = bench.open();
        // A sample of its own time, as the scrape of the host would bring it at once.
        put(&store, 2, NOW + jump_ms, 3.0);
        let mut keeper = Keeper::new(store.shared.clone());
        (0..3600).for_each(|_| keeper.tick());
        store.compact(&Default::default()).unwrap();
        assert_eq!((values_of(&store, 0), values_of(&store, 1)), (vec![1.0], vec![2.0]), "{jump_ms}");
        bench.clock.set(NOW);
        drop(store);
        let store = bench.open();
        let found = [0, 1, 2].map(|series| values_of(&store, series));
        assert_eq!(found, [vec![1.0], vec![2.0], vec![3.0]], "{jump_ms}, and the clock put right");
    }
}

#[test]
fn an_id_is_not_given_to_another_series_after_its_record_was_lost() {
    let bench = Bench::new();
    let (lost, id) = {
        let store = bench.open();
        put(&store, 0, time_of(1), 1.0);
        let id = store.series_id(&labels(0)).unwrap();
        drop(store);
        (labels(0), id)
    };
    // The first record of the first segment says which series has the id.
    let segment = bench.files("/data/log").into_iter().next().unwrap();
    bench.vfs.corrupt(&segment, 64 + 16 + 4, 0x40);
    for _ in 0..2 {
        let store = bench.open();
        // The same source, so the same shard, and the first free slot.
        let other =
            crate::model::Labels::from_pairs([("__name__", "other"), ("job", lost.get("job").unwrap())]).unwrap();
        assert_ne!(store.series_id(&other).unwrap(), id);
        let mut batch = WriteBatch::default();
        batch.push(store.series_id(&other).unwrap(), time_of(9), 9.0);
        store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
        let found = contents(&store);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1.values, [9.0]);
    }
}

#[test]
fn series_of_the_checkpoint_and_series_without_samples_are_forgotten_in_the_end() {
    let bench = Bench::new();
    let store = bench.open();
    put(&store, 0, time_of(1), 1.0);
    store.seal_all().unwrap();
    drop(store);
    let store = bench.open();
    store.series_id(&labels(1)).unwrap();
    assert_eq!(store.status(1).unwrap().series, 2);
    let mut keeper = Keeper::new(store.shared.clone());
    for _ in 0..2 {
        keeper.sweep(NOW);
    }
    assert_eq!(store.status(1).unwrap().series, 0);
    assert_eq!(values_of(&store, 0), [1.0], "the file has it");
}

#[test]
fn a_run_of_a_series_that_has_left_memory_is_refused() {
    let bench = Bench::new();
    let store = bench.open();
    let gone = RunChange::Open { series: SeriesId(77), value: 1.0, first: NOW, step_ms: 1 };
    assert!(store.append(&WriteBatch { runs: vec![gone], ..WriteBatch::default() }).is_err());
}

/// Small state that takes its time, or fails.
struct SlowKv(tests::SharedKv, Arc<AtomicBool>);

impl Kv for SlowKv {
    fn load(&self, tree: Tree) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.0.load(tree)
    }
    fn apply(&self, position: u64, changes: &[StateChange]) -> Result<(), StoreError> {
        if self.1.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
            return Err(StoreError::Stopped);
        }
        self.0.apply(position, changes)
    }
    fn position(&self) -> u64 {
        self.0.position()
    }
}

#[test]
fn a_save_that_fails_late_takes_nothing_back_and_loses_nothing() {
    let bench = Bench::new();
    let fails = Arc::new(AtomicBool::new(true));
    let slow = SlowKv(bench.kv.clone(), fails.clone());
    let store = Tsdb::open_with(bench.options(), Box::new(slow)).unwrap();
    let set = |key: u8, value: u8| {
        let state = vec![StateChange { tree: Tree::Jobs, key: vec![key], value: Some(vec![value]) }];
        store.append(&WriteBatch { state, ..WriteBatch::default() }).unwrap().ticket.wait_blocking().unwrap();
    };
    set(1, 1);
    set(2, 1);
    let save = || store.shared.state.save(|| store.shared.log.end());
    std::thread::scope(|scope| {
        let first = scope.spawn(save);
        while fails.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        set(1, 2);
        save().unwrap();
        assert!(first.join().unwrap().is_err());
    });
    save().unwrap();
    let saved = bench.kv.load(Tree::Jobs).unwrap();
    assert_eq!(saved, [(vec![1], vec![2]), (vec![2], vec![1])]);
}

#[test]
fn appends_stop_while_memory_is_full_of_what_cannot_be_sealed_and_go_on_when_the_disk_heals() {
    let mut bench = Bench::new();
    bench.head_bytes_max = 1_000;
    let store = bench.open();
    for series in 0..100 {
        put(&store, series, time_of(1), 1.0);
    }
    let mut keeper = Keeper::new(store.shared.clone());
    broken(&bench, || {
        keeper.tick();
        assert!(store.append(&one_sample(&store, 0, time_of(2), 2.0)).is_err());
        assert_eq!(values_of(&store, 0), [1.0], "reads go on");
    });
    (0..10).for_each(|_| keeper.tick());
    put(&store, 0, time_of(2), 2.0);
    assert_eq!(values_of(&store, 0), [1.0, 2.0]);
}

#[test]
fn a_log_of_state_alone_is_given_up_in_time() {
    let bench = Bench::new();
    let store = bench.open();
    for round in 0..400u32 {
        let state = vec![StateChange { tree: Tree::Jobs, key: vec![1], value: Some(vec![round as u8; 200]) }];
        store.append(&WriteBatch { state, ..WriteBatch::default() }).unwrap().ticket.wait_blocking().unwrap();
    }
    let before = store.status(1).unwrap().log_bytes;
    let mut keeper = Keeper::new(store.shared.clone());
    (0..60).for_each(|_| keeper.tick());
    let after = store.status(1).unwrap().log_bytes;
    assert!(after < before / 2, "{after} of {before} bytes");
}
