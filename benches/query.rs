//! How long the engine takes when reading costs nothing: 1,000 series, a day of samples every 15 s, 1,441 steps.

use beast_observatory::{
    model::{Labels, Matcher, Samples, TimeRange},
    promql::{Engine, EngineConfig, QueryOptions},
    store::{Hints, Queryable, SeriesSet, StoreError, StoreStatus},
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, sync::Arc};

const SERIES: usize = 1_000;
const DAY_MS: i64 = 86_400_000;
const SAMPLE_MS: i64 = 15_000;

/// Labels, times and values.
type Series = (Labels, Vec<i64>, Vec<f64>);

/// Decoded columns; every selection finds all series.
struct Decoded(Arc<Vec<Series>>);

struct Found {
    series: Arc<Vec<Series>>,
    range: TimeRange,
}

impl SeriesSet for Found {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[index].0
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), StoreError> {
        let (_, times, values) = &self.series[index];
        let first = times.partition_point(|t| *t < self.range.start());
        let end = times.partition_point(|t| *t <= self.range.end());
        samples.timestamps.extend_from_slice(&times[first..end]);
        samples.values.extend_from_slice(&values[first..end]);
        Ok(())
    }
}

impl Queryable for Decoded {
    fn select(&self, range: TimeRange, matchers: &[Matcher], _: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError> {
        if matchers.iter().any(|m| m.name == "instance") {
            let one = self.0.iter().filter(|(labels, ..)| matchers.iter().all(|m| m.matches_labels(labels)));
            return Ok(Arc::new(Found { series: Arc::new(one.cloned().collect()), range }));
        }
        Ok(Arc::new(Found { series: self.0.clone(), range }))
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

fn store() -> Arc<dyn Queryable> {
    let series = (0..SERIES).map(|index| {
        let (job, instance) = (format!("job{}", index % 10), format!("host{index}:9100"));
        let pairs = [("__name__", "x_total"), ("instance", instance.as_str()), ("job", job.as_str())];
        let labels = Labels::from_pairs(pairs).expect("names are unique");
        let times: Vec<i64> = (1..=DAY_MS / SAMPLE_MS).map(|n| n * SAMPLE_MS).collect();
        let values = (0..times.len()).map(|n| (n * (index % 7 + 1)) as f64).collect();
        (labels, times, values)
    });
    let mut series: Vec<_> = series.collect();
    series.sort_by(|a: &(Labels, _, _), b| a.0.cmp(&b.0));
    Arc::new(Decoded(Arc::new(series)))
}

fn queries(criterion: &mut Criterion) {
    let engine = Engine::new(store(), EngineConfig::default());
    let options = QueryOptions::default();
    let mut group = criterion.benchmark_group("query");
    group.sample_size(10);
    for (name, query) in [
        ("sum_by_rate", "sum by (job) (rate(x_total[5m]))"),
        ("avg_by", "avg by (job) (x_total)"),
        ("raw_rate", "rate(x_total[5m])"),
        ("max_over_time", "max by (job) (max_over_time(x_total[10m]))"),
        ("avg_over_time_1h", "avg by (job) (avg_over_time(x_total[1h]))"),
        ("sum_over_time_1h", "sum by (job) (sum_over_time(x_total[1h]))"),
        ("max_over_time_1h", "max by (job) (max_over_time(x_total[1h]))"),
        ("count_over_time_1h", "sum by (job) (count_over_time(x_total[1h]))"),
        ("last_over_time_1h", "sum by (job) (last_over_time(x_total[1h]))"),
        ("stddev_over_time_1h", "sum by (job) (stddev_over_time(x_total[1h]))"),
        ("quantile_over_time_1h", "sum by (job) (quantile_over_time(0.9, x_total[1h]))"),
        ("changes_1h", "sum by (job) (changes(x_total[1h]))"),
        ("rate_twice", "sum by (job) (rate(x_total[5m])) / sum by (job) (rate(x_total[5m]))"),
        ("quantile", "quantile by (job) (0.9, x_total)"),
        ("topk", "topk(5, x_total)"),
        ("join", "sum by (instance) (rate(x_total[5m])) / on (instance) sum by (instance) (x_total)"),
        ("subquery", "max_over_time(sum(rate(x_total[5m]))[30m:1m])"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(engine.range(query, 0, DAY_MS, 60_000, &options).expect("the query is valid")));
        });
    }
    for (name, query) in [
        ("instant_one", "x_total{instance=\"host7:9100\"}"),
        ("instant_sum", "sum by (job) (rate(x_total[5m]))"),
        ("instant_count_over_time_all", "sum(count_over_time(x_total[1d]))"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(engine.instant(query, DAY_MS, &options).expect("the query is valid")));
        });
    }
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
