//! What a push and a remote write cost before the disk: decompression, decoding, and all of ingest on a store that
//! keeps nothing.

use beast_observatory::{
    ingest::{BodyFormat, Grouping, Ingest, IngestConfig, PushRequest},
    model::{Labels, Matcher, TimeRange},
    protocol::{
        compression::{DecodeLimits, Encoding, decompress},
        exposition::{self, Limits},
        remote_write::{Entry, RequestEncoder, entries, read_time_series},
    },
    stdx::clock::ManualClock,
    store::{
        Appendable, Hints, Outcome, Queryable, SeriesId, SeriesSet, StateStore, StoreError, StoreStatus, Ticket, Tree,
        WriteBatch, memory::Memory,
    },
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{
    fmt::Write,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const NOW: i64 = 1_700_000_000_000;

/// Gives ids and stores nothing, so that what is measured is ingest alone.
#[derive(Default)]
struct Nowhere(AtomicU64);

impl Appendable for Nowhere {
    fn series_id(&self, _labels: &Labels) -> Result<SeriesId, StoreError> {
        Ok(SeriesId(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn append(&self, batch: &WriteBatch) -> Result<Outcome, StoreError> {
        black_box(batch);
        Ok(Outcome { refused: Vec::new(), ticket: Ticket::done() })
    }
}

impl Queryable for Nowhere {
    fn select(&self, _: TimeRange, _: &[Matcher], _: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError> {
        Err(StoreError::Stopped)
    }

    fn label_names(&self, _: TimeRange, _: &[Matcher]) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: TimeRange, _: &[Matcher]) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn status(&self, _: usize) -> Result<StoreStatus, StoreError> {
        Ok(StoreStatus::default())
    }
}

impl StateStore for Nowhere {
    fn state(&self, _: Tree, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn state_scan(&self, _: Tree, _: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        Vec::new()
    }
}

/// A request as a node exporter's scrape gives it: eight labels, about 170 bytes of them, one sample a series.
fn request(series: usize, at: i64) -> Vec<u8> {
    let mut encoder = RequestEncoder::new();
    for number in 0..series {
        let (name, cpu) = (format!("node_cpu_seconds_total_{}", number % 50), (number / 50).to_string());
        let labels = [
            ("__name__", name.as_str()),
            ("cluster", "production-eu-west"),
            ("cpu", &cpu),
            ("environment", "production"),
            ("instance", "node-17.internal:9100"),
            ("job", "node"),
            ("mode", "system"),
            ("region", "eu-west-1"),
        ];
        encoder.series(labels, &[(at, number as f64 * 1.5)], &[]);
    }
    encoder.finish()
}

fn push_body(samples: usize) -> String {
    let mut body = String::new();
    for number in 0..samples {
        if number % 20 == 0 {
            let _ = writeln!(body, "# HELP m{} What this counts.\n# TYPE m{} gauge", number / 20, number / 20);
        }
        let _ = writeln!(
            body,
            "m{}{{workflow=\"build\",step=\"s{}\",result=\"ok\"}} {}.25",
            number / 20,
            number % 20,
            number
        );
    }
    body
}

fn remote_write(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers starts");
    for series in [500, 60_000] {
        let body = request(series, NOW);
        let compressed = snap::raw::Encoder::new().compress_vec(&body).expect("the body is small enough");
        let mut group = criterion.benchmark_group(format!("remote_write_{series}"));
        group.throughput(Throughput::Elements(series as u64));
        let mut out = Vec::new();
        group.bench_function("decompress", |bencher| {
            bencher.iter(|| decompress(Encoding::SnappyBlock, &compressed, &DecodeLimits::default(), &mut out));
        });
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                timestamps.clear();
                values.clear();
                for entry in entries(&body) {
                    if let Ok(Entry::Series(message)) = entry {
                        let _ = black_box(read_time_series(message, &mut timestamps, &mut values));
                    }
                }
            });
        });
        let config = IngestConfig::default();
        let ingest = Ingest::new(Arc::new(Nowhere::default()), Arc::new(ManualClock::new(NOW)), config);
        group.bench_function("ingest", |bencher| bencher.iter(|| runtime.block_on(ingest.remote_write(&body))));
        group.finish();
    }
}

fn push(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers starts");
    let body = push_body(1_000);
    let mut group = criterion.benchmark_group("push_1000");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| exposition::parse(&body, &Limits::default()).map(|e| e.samples.len()))
    });
    let clock = Arc::new(ManualClock::new(NOW));
    let ingest = Ingest::new(Arc::new(Memory::new(clock.clone())), clock, IngestConfig::default());
    let grouping = Grouping::from_path("job/ci/branch/main").expect("the path is a grouping key");
    group.bench_function("ingest", |bencher| {
        bencher.iter_batched(
            || PushRequest {
                grouping: grouping.clone(),
                replace: true,
                body: body.as_bytes(),
                format: BodyFormat::Text,
            },
            |request| runtime.block_on(ingest.push(request)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, remote_write, push);
criterion_main!(benches);
