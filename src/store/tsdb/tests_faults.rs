//! The engine on a disk that fails calls and loses power: what was acknowledged stays.

use super::{
    options::WINDOW_MS,
    tests::{Bench, contents, labels, time_of},
    *,
};
use crate::{
    model::Timestamp,
    stdx::vfs::simulated::Random,
    store::{Appendable, RunChange, StateChange, StateStore, Tree, WriteBatch},
};
use std::{collections::BTreeMap, sync::Arc};

/// What the engine has said is durable.
#[derive(Default)]
struct Acknowledged {
    samples: BTreeMap<(usize, Timestamp), f64>,
    /// The last acknowledged value of the one state key, and those sent after it.
    state: Option<u8>,
    state_since: Vec<u8>,
    run_opened: bool,
}

const RUN_SERIES: usize = 40;

impl Acknowledged {
    /// Sends one batch: samples of three windows, a state change and once a run.
    fn send(&mut self, store: &Tsdb, round: usize) {
        let mut batch = WriteBatch::default();
        let mut sent = Vec::new();
        for series in round % 5..round % 5 + 6 {
            let at = time_of(0) + round as i64 * 1_000 + (round % 3) as i64 * WINDOW_MS;
            batch.push(store.series_id(&labels(series)).unwrap(), at, at as f64);
            sent.push((series, at));
        }
        let value = round as u8;
        batch.state.push(StateChange { tree: Tree::Jobs, key: vec![1], value: Some(vec![value]) });
        if round == 5 {
            let series = store.series_id(&labels(RUN_SERIES)).unwrap();
            batch.runs.push(RunChange::Open { series, value: 5.0, first: time_of(0), step_ms: 600_000 });
        }
        self.state_since.push(value);
        let Ok(outcome) = store.append(&batch) else { return };
        assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
        if outcome.ticket.wait_blocking().is_ok() {
            self.samples.extend(sent.into_iter().map(|(series, at)| ((series, at), at as f64)));
            self.state = Some(value);
            self.state_since.clear();
            self.run_opened |= round == 5;
        }
    }

    /// Everything is there, nothing with another value and nothing twice.
    fn check(&self, store: &Tsdb, context: &str) {
        let mut found: BTreeMap<(usize, Timestamp), f64> = BTreeMap::new();
        for (labels, samples) in contents(store) {
            let series = labels.get("n").unwrap().parse().unwrap();
            assert!(samples.timestamps.is_sorted_by(|a, b| a < b), "{context}: {samples:?}");
            for (at, value) in samples.timestamps.iter().zip(&samples.values) {
                assert!(series == RUN_SERIES || *value == *at as f64, "{context}");
                assert_eq!(found.insert((series, *at), *value), None, "{context}: a series twice");
            }
        }
        for (key, value) in &self.samples {
            assert_eq!(found.get(key), Some(value), "{context}: {key:?} is lost");
        }
        assert!(!self.run_opened || found.contains_key(&(RUN_SERIES, time_of(0))), "{context}: the run is lost");
        let state = store.state(Tree::Jobs, &[1]).map(|value| value[0]);
        let allowed = state == self.state || self.state_since.iter().any(|since| state == Some(*since));
        assert!(allowed, "{context}: state {state:?}, acknowledged {:?}", self.state);
    }
}

/// Appends, seals, merges, checkpoints and opens again; whatever fails is tried again later, as the maintenance thread does.
fn workload(bench: &Bench, acknowledged: &mut Acknowledged) {
    for opening in 0..3 {
        let Ok(store) = bench.try_open() else { continue };
        for round in 0..8 {
            acknowledged.send(&store, opening * 8 + round);
            if round == 3 {
                let _ = store.shared.seal(store.shared.head.window_of(time_of(0)));
            }
            if round == 5 {
                let _ = store.shared.seal_where(|_| true);
            }
            if round == 6 {
                let _ = store.compact(&Arc::default());
            }
        }
    }
}

fn calls_of_workload() -> u64 {
    let bench = Bench::new();
    workload(&bench, &mut Acknowledged::default());
    bench.vfs.calls()
}

#[test]
fn an_error_at_any_call_loses_nothing_acknowledged_and_heals_by_itself() {
    let calls = calls_of_workload();
    assert!(calls > 100);
    for first in 0..calls {
        let mut bench = Bench::new();
        let mut acknowledged = Acknowledged::default();
        bench.vfs.fail(first, 1 + first % 3);
        workload(&bench, &mut acknowledged);
        bench.vfs.heal();
        let context = format!("call {first} of {calls}");
        {
            let store = bench.open();
            acknowledged.check(&store, &context);
            acknowledged.send(&store, 200);
            assert_eq!(acknowledged.state, Some(200), "{context}: writing works again");
            store.seal_all().unwrap();
            acknowledged.check(&store, &context);
        }
        bench.vfs = bench.vfs.after_power_cut(first);
        acknowledged.check(&bench.open(), &context);
    }
}

#[test]
fn an_engine_goes_on_by_itself_when_a_broken_disk_heals() {
    let mut bench = Bench::new();
    let mut acknowledged = Acknowledged::default();
    let store = bench.open();
    for round in 0..30 {
        match round % 10 {
            4 => bench.vfs.break_down(),
            7 => bench.vfs.heal(),
            _ => {}
        }
        acknowledged.send(&store, round);
        if round % 3 == 0 {
            let _ = store.seal_all();
        }
        acknowledged.check(&store, &format!("round {round}"));
    }
    assert_eq!(acknowledged.state, Some(29));
    let vfs = bench.vfs.after_power_cut(3);
    drop(store);
    bench.vfs = vfs;
    acknowledged.check(&bench.open(), "after the power cut");
}

/// The power goes at some call, found by letting every call from there on fail, so that it may well be in the middle of
/// a seal or a checkpoint.
#[test]
fn the_power_may_go_at_any_call() {
    let calls = calls_of_workload();
    let mut random = Random(11);
    for trial in 0..120 {
        let mut bench = Bench::new();
        let mut acknowledged = Acknowledged::default();
        // Twice in a row: what the first cut left is built upon before the second.
        for _ in 0..2 {
            bench.vfs.fail(random.below(calls), u64::MAX);
            workload(&bench, &mut acknowledged);
            bench.vfs = bench.vfs.after_power_cut(random.number());
            acknowledged.check(&bench.open(), &format!("trial {trial}"));
        }
    }
}

#[test]
fn the_power_may_go_while_one_thread_seals_and_another_merges() {
    for trial in 0..15u64 {
        let mut bench = Bench::new();
        let acknowledged = parking_lot::Mutex::new(Acknowledged::default());
        let after = {
            let store = bench.open();
            std::thread::scope(|scope| {
                scope.spawn(|| (0..20).for_each(|_| store.seal_all().unwrap()));
                scope.spawn(|| (0..20).for_each(|_| assert!(store.compact(&Arc::default()).is_ok())));
                scope.spawn(|| {
                    for round in 0..60 {
                        acknowledged.lock().send(&store, round);
                    }
                });
                std::thread::sleep(std::time::Duration::from_millis(5 + 3 * trial));
                // The lock is held across a whole append, so what is counted as acknowledged is so before the cut.
                let _counted = acknowledged.lock();
                let after = bench.vfs.after_power_cut(trial);
                let counted = Acknowledged { samples: _counted.samples.clone(), ..Acknowledged::default() };
                (after, counted)
            })
        };
        bench.vfs = after.0;
        // The small state of this bench is not on the disk that lost power: only samples are compared.
        let store = bench.open();
        let found = contents(&store);
        for (series, at) in after.1.samples.keys() {
            let samples = &found.iter().find(|(found, _)| *found == labels(*series)).unwrap().1;
            assert!(samples.timestamps.binary_search(at).is_ok(), "trial {trial}: {series} at {at}");
        }
    }
}
