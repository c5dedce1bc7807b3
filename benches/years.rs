//! Two years of a thousand series, a sample a minute, with tiers as they are by default: what they cost to make, what
//! they take, how long a dashboard of a year takes. Half are counters, half gauges. Prints figures:
//!
//! `cargo bench --bench years -- 730 1000` for so many days and series, which is also the default; takes some minutes.

use beast_observatory::{
    model::{Labels, METRIC_NAME},
    promql::{Engine, EngineConfig, QueryOptions},
    stdx::clock::ManualClock,
    store::{
        Appendable, SeriesId, Upkeep, WriteBatch,
        tsdb::{Options, TierOptions, Tsdb, tier::MetricKind},
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const STEP_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// Midnight of a day that begins a stretch of five, in 2023.
const START_MS: i64 = 19_500 * DAY_MS;
/// Series of one scrape.
const INSTANCE_SERIES: usize = 100;

fn main() {
    let numbers: Vec<i64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let days = numbers.first().copied().unwrap_or(730);
    let series = numbers.get(1).copied().unwrap_or(1_000) as usize;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = ManualClock::new(START_MS);
    let mut options = Options::new(directory.path());
    options.clock = Arc::new(clock.clone());
    options.tiers = [(300_000, 120), (3_600_000, 730)]
        .map(|(resolution_ms, days)| TierOptions { resolution_ms, retention_ms: days * DAY_MS })
        .to_vec();
    options.kind_of =
        Arc::new(|labels: &Labels| match labels.get(METRIC_NAME).is_some_and(|name| name.ends_with("_total")) {
            true => MetricKind::Counter,
            false => MetricKind::Gauge,
        });
    let store = Arc::new(Tsdb::open(options).expect("the store opens"));
    let mut load = Load::new(&store, series);
    let (mut appending_s, mut keeping_s) = (0.0, 0.0);
    for day in 0..days {
        let before = cpu_s();
        load.day(&store, &clock, START_MS + day * DAY_MS);
        let between = cpu_s();
        store.compact(&Arc::default()).expect("compacted");
        appending_s += between - before;
        keeping_s += cpu_s() - between;
    }
    let millions = (days * DAY_MS / STEP_MS) as f64 * series as f64 / 1e6;
    println!("{days} days of {series} series: {millions:.0} million samples");
    println!("append, the load included: {:.3} CPU s per million samples", appending_s / millions);
    println!("merges and tiers: {:.3} CPU s per million samples", keeping_s / millions);
    tell_room(&store);
    ask(store, START_MS + days * DAY_MS, days);
}

/// What is where, by the store's own report.
fn tell_room(store: &Tsdb) {
    let report = store.storage(0).expect("a report");
    let raw: u64 = report.blocks.iter().map(|block| block.bytes).sum();
    let samples: u64 = report.blocks.iter().map(|block| block.samples).sum();
    println!("raw: {} blocks, {raw} bytes, {:.2} a sample", report.blocks.len(), raw as f64 / samples.max(1) as f64);
    println!("{}", serde_json::to_string(&report.tiers).expect("a report can be written"));
}

/// A year of a hundred series, as a dashboard asks for it.
fn ask(store: Arc<Tsdb>, end_ms: i64, days: i64) {
    let engine = Engine::new(store, EngineConfig::default());
    let step_ms = 12 * 3_600_000;
    let start_ms = end_ms - days.min(365) * DAY_MS;
    let one = "{instance=\"instance-0\"}";
    for query in [
        format!("bench_gauge{one}"),
        format!("avg_over_time(bench_gauge{one}[12h])"),
        format!("max_over_time(bench_gauge{one}[12h])"),
        format!("rate(bench_total{one}[12h])"),
        format!("sum by (instance) (rate(bench_total{one}[12h]))"),
    ] {
        let mut best = Duration::MAX;
        let mut told = String::new();
        for _ in 0..5 {
            let begun = Instant::now();
            let answer = engine.range(&query, start_ms, end_ms, step_ms, &QueryOptions::default()).expect("an answer");
            best = best.min(begun.elapsed());
            told = format!("{:?}", answer.infos).chars().take(200).collect();
        }
        println!("{:.1} ms for {query} {told}", best.as_secs_f64() * 1e3);
    }
}

struct Load {
    instances: Vec<Vec<SeriesId>>,
    values: Vec<f64>,
    random: u64,
}

impl Load {
    fn new(store: &Tsdb, series: usize) -> Load {
        let id = |at: usize| {
            // Of every two hundred, one instance has counters and one gauges under the same name of an instance.
            let (instance, kind) = (at / INSTANCE_SERIES / 2, at / INSTANCE_SERIES % 2);
            let pairs = [
                (METRIC_NAME, ["bench_total", "bench_gauge"][kind].to_owned()),
                ("instance", format!("instance-{instance}")),
                ("number", (at % INSTANCE_SERIES).to_string()),
            ];
            let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())));
            store.series_id(&labels.expect("valid labels")).expect("below the limit")
        };
        let ids: Vec<SeriesId> = (0..series).map(id).collect();
        Load {
            instances: ids.chunks(INSTANCE_SERIES).map(<[_]>::to_vec).collect(),
            values: vec![1e6; series],
            random: 7,
        }
    }

    /// xorshift64*: the same load every time.
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }

    fn day(&mut self, store: &Tsdb, clock: &ManualClock, start_ms: i64) {
        let mut batch = WriteBatch::default();
        let instances = self.instances.clone();
        for round in 0..DAY_MS / STEP_MS {
            let mut at = 0;
            for (number, ids) in instances.iter().enumerate() {
                batch.clear();
                // Each instance has its own moment within the minute.
                let time = start_ms + round * STEP_MS + number as i64 * 97 % STEP_MS;
                for id in ids {
                    let change = self.below(201) as f64;
                    self.values[at] += if number % 2 == 0 { change } else { change - 100.0 };
                    batch.push(*id, time, self.values[at]);
                    at += 1;
                }
                let outcome = store.append(&batch).expect("the store takes it");
                assert!(outcome.refused.is_empty(), "{:?}", outcome.refused.first());
            }
            clock.advance(STEP_MS);
        }
    }
}

fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
