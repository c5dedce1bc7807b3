//! Many threads at once: everything acknowledged is there once, at every moment, and nobody waits for ever.

use super::{
    options::WINDOW_MS,
    tests::{Bench, all, contents, labels, time_of},
    *,
};
use crate::{
    model::{Samples, TimeRange, Timestamp},
    store::{Appendable, Hints, Queryable, RefusalReason, RunChange, WriteBatch},
};
use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Fails the test where `work` takes longer than any fair run of it: a deadlock.
fn watched(work: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        let _ = sender.send(());
    });
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a deadlock"),
        _ => worker.join().unwrap(),
    }
}

const SERIES_OF_WRITER: usize = 8;

/// A writer's samples, until the time is up; gives what was acknowledged.
fn write(store: &Tsdb, writer: usize, until: Instant) -> BTreeMap<(usize, Timestamp), f64> {
    let mut acknowledged = BTreeMap::new();
    for round in 0.. {
        if Instant::now() > until {
            break;
        }
        let mut batch = WriteBatch::default();
        let mut sent = Vec::new();
        for number in 0..SERIES_OF_WRITER {
            // New series all the time, so that the catalogue is written to.
            let series = writer * 1_000 + number + (round / 50) * SERIES_OF_WRITER * 10;
            let at = time_of(0) + round as i64 * 20 + (round % 3) as i64 * WINDOW_MS;
            batch.push(store.series_id(&labels(series)).unwrap(), at, at as f64 + series as f64);
            sent.push((series, at));
        }
        let outcome = loop {
            let outcome = store.append(&batch).unwrap();
            if outcome.refused.is_empty() {
                break outcome;
            }
            assert!(outcome.refused.iter().all(|refusal| refusal.reason == RefusalReason::UnknownSeries));
            for (index, (series, _)) in sent.iter().enumerate() {
                batch.series[index] = store.series_id(&labels(*series)).unwrap();
            }
        };
        if round % 7 == 0 {
            let series = store.series_id(&labels(900_000 + writer)).unwrap();
            let first = time_of(0) + round as i64 * 20;
            let change = match round % 2 {
                0 => RunChange::Open { series, value: round as f64, first, step_ms: 60_000 },
                _ => RunChange::Close { series, at: first },
            };
            // Refused where the forgetter was faster; a sender resolves it again, this one goes on.
            let _ = store.append(&WriteBatch { runs: vec![change], ..WriteBatch::default() });
        }
        outcome.ticket.wait_blocking().unwrap();
        acknowledged.extend(sent.into_iter().map(|(series, at)| ((series, at), at as f64 + series as f64)));
    }
    acknowledged
}

fn found(store: &Tsdb) -> BTreeMap<(usize, Timestamp), f64> {
    let mut found = BTreeMap::new();
    for (labels, samples) in contents(store) {
        let series: usize = labels.get("n").unwrap().parse().unwrap();
        if series < 900_000 {
            found.extend(samples.timestamps.iter().map(|at| (series, *at)).zip(samples.values.iter().copied()));
        }
    }
    found
}

#[test]
fn writers_readers_a_sealer_and_a_forgetter_neither_lose_nor_block() {
    watched(|| {
        let bench = Bench::new();
        let store = bench.open();
        let until = Instant::now() + Duration::from_secs(2);
        let acknowledged = thread::scope(|scope| {
            let store = &store;
            for _ in 0..2 {
                scope.spawn(move || {
                    while Instant::now() < until {
                        contents(store);
                        store.status(5).unwrap();
                        store.label_values("n", TimeRange::ALL, &[all()]).unwrap();
                    }
                });
            }
            scope.spawn(move || {
                while Instant::now() < until {
                    store.seal_all().unwrap();
                }
            });
            scope.spawn(move || {
                while Instant::now() < until {
                    let candidates: Vec<_> = store.shared.head.catalog.read().series().map(|(id, _)| id).collect();
                    store.shared.forget(&candidates);
                    store.shared.checkpoint().unwrap();
                }
            });
            let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(store, writer, until))).collect();
            let mut all = BTreeMap::new();
            for writer in writers {
                all.append(&mut writer.join().unwrap());
            }
            all
        });
        assert!(acknowledged.len() > 100, "{}", acknowledged.len());
        assert!(found(&store) == acknowledged);
        store.seal_all().unwrap();
        assert!(found(&store) == acknowledged, "after sealing");
        drop(store);
        assert!(found(&bench.open()) == acknowledged, "after opening again");
    });
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_reader_sees_every_acknowledged_sample_once_while_windows_are_sealed() {
    watched(|| {
        let bench = Bench::new();
        let store = bench.open();
        let (done, acknowledged) = (AtomicBool::new(false), AtomicI64::new(0));
        thread::scope(|scope| {
            let (store, done, acknowledged) = (&store, &done, &acknowledged);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    store.seal_all().unwrap();
                }
            });
            for _ in 0..2 {
                scope.spawn(move || {
                    let mut samples = Samples::default();
                    while !done.load(Ordering::SeqCst) {
                        let sure = acknowledged.load(Ordering::SeqCst);
                        let set = store.select(TimeRange::ALL, &[all()], &Hints::default()).unwrap();
                        assert!(set.len() <= 3);
                        for index in 0..set.len() {
                            set.read(index, &mut samples).unwrap();
                            let rounds: Vec<i64> = samples.values.iter().map(|value| *value as i64).collect();
                            // Each once, in order, without a hole.
                            assert!(rounds.is_sorted_by(|a, b| a + 1 == *b), "{rounds:?}");
                            assert!(rounds.len() as i64 >= sure, "{} of {sure}", rounds.len());
                        }
                        assert!(sure == 0 || set.len() == 3);
                    }
                });
            }
            // Also where this thread panics: the others must end.
            let _end = End(done);
            for round in 0..600i64 {
                let mut batch = WriteBatch::default();
                for series in 0..3 {
                    let at = time_of(0) + round * 40_000;
                    batch.push(store.series_id(&labels(series)).unwrap(), at, round as f64);
                }
                store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
                acknowledged.store(round + 1, Ordering::SeqCst);
            }
        });
    });
}
