//! Appends to the engine: batches of known series, durable, from several writers. Criterion prints time; for CPU
//! seconds run the bench under `perf stat` or read the process' own figures.

use beast_observatory::{
    model::Labels,
    store::{
        Appendable, SeriesId, WriteBatch,
        tsdb::{Options, Tsdb},
    },
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::sync::atomic::{AtomicI64, Ordering};

const SERIES: usize = 500;

fn open() -> (tempfile::TempDir, Tsdb) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(directory.path());
    options.retention_ms = i64::MAX / 4;
    let store = Tsdb::open(options).expect("the store opens");
    (directory, store)
}

fn series(store: &Tsdb, instance: usize) -> Vec<SeriesId> {
    let labels = |n: usize| {
        let (name, device, host) = (format!("metric_{}", n / 5), format!("dev{}", n % 5), format!("host-{instance}"));
        Labels::from_pairs([("__name__", name.as_str()), ("device", &device), ("instance", &host), ("job", "bench")])
    };
    let ids = (0..SERIES).map(|n| store.series_id(&labels(n).expect("valid labels")).expect("below the limit"));
    ids.collect()
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(SERIES as u64)).sample_size(20);
    let (_directory, store) = open();
    let clock = AtomicI64::new(1_700_000_000_000);
    let ids = series(&store, 0);
    group.bench_function("one scrape, durable", |bencher| {
        let mut batch = WriteBatch::default();
        bencher.iter(|| {
            let at = clock.fetch_add(15_000, Ordering::Relaxed);
            batch.clear();
            for (n, id) in ids.iter().enumerate() {
                batch.push(*id, at, (at / 1_000 + n as i64) as f64);
            }
            store.append(&batch).expect("the store takes it").ticket.wait_blocking().expect("durable");
        });
    });
    group.bench_function("one scrape, not waited for", |bencher| {
        let mut batch = WriteBatch::default();
        bencher.iter(|| {
            let at = clock.fetch_add(15_000, Ordering::Relaxed);
            batch.clear();
            for (n, id) in ids.iter().enumerate() {
                batch.push(*id, at, (at / 1_000 + n as i64) as f64);
            }
            store.append(&batch).expect("the store takes it");
        });
    });
}

criterion_group!(benches, append);
criterion_main!(benches);
