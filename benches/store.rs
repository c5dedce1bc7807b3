//! What the engine spends on a load like that of many node_exporters: CPU, bytes in memory, bytes on disk, seconds to
//! open. Prints figures; run with the names of those wanted, all by default:
//!
//! `cargo bench --bench store -- append head disk constant million month scan tiers`

use beast_observatory::{
    model::{Labels, METRIC_NAME, MatchOp, Matcher, Samples, TimeRange},
    stdx::vfs::{RealVfs, Vfs},
    store::{
        Appendable, Hints, Queryable, SeriesId, WriteBatch,
        tsdb::{
            Options, Tsdb,
            block::{Block, Damaged, MergeTarget, Progress},
            tier::{MetricKind, Reading, Shape, TierTarget, build_tiers, read_tier},
        },
    },
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const INSTANCE_SERIES: usize = 500;
const STEP_MS: i64 = 15_000;
const DAY_MS: i64 = 24 * 3_600_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let all: [(&str, fn()); 8] = [
        ("append", append),
        ("head", head),
        ("disk", disk),
        ("constant", constant),
        ("million", million),
        ("month", month),
        ("scan", scan),
        ("tiers", tiers),
    ];
    for (name, measure) in all {
        if wanted.is_empty() || wanted.iter().any(|other| other == name) {
            measure();
        }
    }
}

/// xorshift64*: the same load every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }
}

/// Four tenths counters, three tenths walks, three tenths constants.
struct Source {
    ids: Vec<SeriesId>,
    values: Vec<f64>,
    random: Random,
    /// Nothing changes.
    constant: bool,
}

impl Source {
    fn new(store: &Tsdb, instance: usize, series: usize) -> Source {
        let mut random = Random(instance as u64 * 0x9E37_79B9 + 1);
        let label = |n: usize| {
            let (name, device) = (format!("bench_metric_{:03}_total", n / 5), format!("dev{}", n % 5));
            let host = format!("10.0.{}.{}:9100", instance / 250, instance % 250);
            let (job, region) = (format!("node-{}", instance % 4), format!("region-{}", instance % 3));
            let pairs = [
                ("__name__", name.as_str()),
                ("cluster", "one"),
                ("device", &device),
                ("env", ["prod", "dev"][instance % 2]),
                ("instance", &host),
                ("job", &job),
                ("mode", ["user", "system", "idle", "iowait", "steal"][n % 5]),
                ("region", &region),
            ];
            Labels::from_pairs(pairs).expect("valid labels")
        };
        let ids = (0..series).map(|n| store.series_id(&label(n)).expect("below the limit")).collect();
        let values = (0..series).map(|_| 1e6 + random.below(1_000_000) as f64).collect();
        Source { ids, values, random, constant: false }
    }

    fn scrape(&mut self, batch: &mut WriteBatch, at: i64) {
        let at = at + self.random.below(12) as i64;
        batch.clear();
        for (n, id) in self.ids.iter().enumerate() {
            let (name, value) = (n / 5, &mut self.values[n]);
            match name % 10 {
                _ if self.constant => {}
                0..=3 => *value += self.random.below(1 + (name as u64 % 7) * 150) as f64,
                4 | 5 => *value += self.random.below(201) as f64 - 100.0,
                6 => *value = ((*value * 1e3) + self.random.below(201) as f64 - 100.0).round() / 1e3,
                _ => {}
            }
            batch.push(*id, at, *value);
        }
    }
}

fn open(directory: &Path) -> Tsdb {
    let mut options = Options::new(directory);
    options.head_bytes_max = usize::MAX;
    Tsdb::open(options).expect("the store opens")
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

/// The last moment of the day before, so that a day of samples is a day of blocks.
fn last_day_end_ms() -> i64 {
    now_ms() / DAY_MS * DAY_MS
}

/// Sends `scrapes` of `instances` times `series` series, ending at `end_ms`, from `writers` threads.
fn fill(store: &Tsdb, writers: usize, instances: usize, series: usize, scrapes: i64, step_ms: i64, end_ms: i64) {
    std::thread::scope(|scope| {
        for writer in 0..writers {
            scope.spawn(move || {
                let mine = (0..instances).filter(|instance| instance % writers == writer);
                let mut sources: Vec<Source> = mine.map(|instance| Source::new(store, instance, series)).collect();
                let mut batch = WriteBatch::default();
                for scrape in 0..scrapes {
                    for source in &mut sources {
                        source.scrape(&mut batch, end_ms - (scrapes - scrape) * step_ms);
                        let outcome = store.append(&batch).expect("the store takes it");
                        assert!(outcome.refused.is_empty(), "{:?}", outcome.refused.first());
                        outcome.ticket.wait_blocking().expect("durable");
                    }
                }
            });
        }
    });
}

fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// Anonymous resident memory: what the page cache cannot give back.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn directory_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.metadata().map_or(0, |data| data.len())).sum()
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The cost of making the load itself, to be taken off.
fn load_cpu_s(samples: u64) -> f64 {
    let directory = scratch();
    let store = open(directory.path());
    let mut source = Source::new(&store, 0, INSTANCE_SERIES);
    let (mut batch, rounds) = (WriteBatch::default(), samples / INSTANCE_SERIES as u64);
    let before = cpu_s();
    (0..rounds as i64).for_each(|at| source.scrape(&mut batch, at));
    cpu_s() - before
}

fn append() {
    let directory = scratch();
    let store = open(directory.path());
    let (instances, scrapes) = (200, 120);
    let samples = (instances * INSTANCE_SERIES) as u64 * scrapes as u64;
    let load = load_cpu_s(samples);
    let before = cpu_s();
    fill(&store, 8, instances, INSTANCE_SERIES, scrapes, STEP_MS, now_ms());
    let millions = samples as f64 / 1e6;
    println!("append: {:.3} CPU s per million samples, 8 writers, 500 a batch", (cpu_s() - before - load) / millions);
    let log = directory_bytes(&directory.path().join("log")) as f64;
    println!("append: {:.2} log bytes a sample", log / samples as f64);
}

fn head() {
    let directory = scratch();
    let store = open(directory.path());
    let before = resident_bytes();
    fill(&store, 8, 200, INSTANCE_SERIES, 480, STEP_MS, now_ms() / 7_200_000 * 7_200_000);
    let bytes = (resident_bytes() - before) as f64;
    println!("head: {:.0} bytes an active series, 100,000 of 480 values", bytes / 100_000.0);
}

fn disk() {
    let directory = scratch();
    let store = open(directory.path());
    fill(&store, 8, 20, INSTANCE_SERIES, 1_440, STEP_MS, last_day_end_ms());
    let samples = 1_440.0 * 10_000.0;
    let blocks = directory.path().join("blocks");
    let before = cpu_s();
    store.seal_all().expect("sealed");
    let sealed = directory_bytes(&blocks) as f64;
    println!("disk: sealed {:.3} bytes a sample, {:.3} CPU s per million", sealed / samples, (cpu_s() - before) / 14.4);
    let before = cpu_s();
    let done = store.compact(&Arc::default()).expect("compacted");
    let kept = done.bytes_after as f64;
    println!("disk: merged {:.3} bytes a sample, {:.3} CPU s per million", kept / samples, (cpu_s() - before) / 14.4);
    println!("disk: {:.2} block bytes written per byte kept", (sealed + kept) / kept);
}

fn million() {
    let directory = scratch();
    let before = resident_bytes();
    let store = open(directory.path());
    fill(&store, 8, 2_000, INSTANCE_SERIES, 3, STEP_MS, now_ms());
    println!("million: {} MiB resident, 1,000,000 series of 3 samples", (resident_bytes() - before) >> 20);
    let (start, matchers) = (Instant::now(), [Matcher::new(MatchOp::Regex, "__name__", ".+").expect("a matcher")]);
    let set = store.select(TimeRange::ALL, &matchers, &Hints::default()).expect("selected");
    println!("million: {:.2} s to find and sort {} series", start.elapsed().as_secs_f64(), set.len());
    drop(set);
    drop(store);
    let start = Instant::now();
    let store = open(directory.path());
    println!("million: {:.2} s until open again", start.elapsed().as_secs_f64());
    drop(store);
}

/// Series that never change, otherwise as `disk`.
fn constant() {
    let directory = scratch();
    let store = open(directory.path());
    let mut sources: Vec<Source> = (0..20).map(|instance| Source::new(&store, instance, INSTANCE_SERIES)).collect();
    let (mut batch, end) = (WriteBatch::default(), last_day_end_ms());
    for (scrape, source) in (0..1_440).flat_map(|scrape| (0..20).map(move |source| (scrape, source))) {
        sources[source].constant = true;
        sources[source].scrape(&mut batch, end - (1_440 - scrape) * STEP_MS);
        store.append(&batch).expect("the store takes it");
    }
    let done = store.compact(&Arc::default()).expect("compacted");
    println!("constant: {:.4} bytes a sample", done.bytes_after as f64 / 14.4e6);
}

/// A month, one sample in ten minutes: how many blocks and series there are counts, not how many samples.
fn month() {
    let directory = scratch();
    let store = open(directory.path());
    fill(&store, 8, 20, INSTANCE_SERIES, 29 * 144, 600_000, last_day_end_ms());
    store.compact(&Arc::default()).expect("compacted");
    drop(store);
    let start = Instant::now();
    let store = open(directory.path());
    println!("month: {:.3} s to open 29 days of 10,000 series", start.elapsed().as_secs_f64());
    let status = store.status(1).expect("a status");
    println!("month: {} blocks, {} MiB", status.window_files, status.window_file_bytes >> 20);
}

/// Reads every sample of a day of 10,000 series on two threads.
fn scan() {
    let directory = scratch();
    let store = open(directory.path());
    let end = last_day_end_ms();
    fill(&store, 8, 20, INSTANCE_SERIES, 5_760, STEP_MS, end);
    store.compact(&Arc::default()).expect("compacted");
    let range = TimeRange::new(end - DAY_MS, end).expect("a range");
    let matchers = [Matcher::new(MatchOp::Regex, "__name__", "bench_.*").expect("a matcher")];
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let set = store.select(range, &matchers, &Hints::default()).expect("selected");
        let found = start.elapsed();
        let total: usize = std::thread::scope(|scope| {
            let read = |half: usize| {
                let set = &set;
                move || {
                    let mut samples = Samples::default();
                    let mut total = 0;
                    for index in (half..set.len()).step_by(2) {
                        set.read(index, &mut samples).expect("read");
                        total += samples.len();
                    }
                    total
                }
            };
            let halves = [scope.spawn(read(0)), scope.spawn(read(1))];
            halves.into_iter().map(|half| half.join().expect("no panic")).sum()
        });
        assert_eq!(total, 5_760 * 10_000);
        best = best.min(start.elapsed());
        println!("scan: select {:.1} ms, all {:.1} ms", found.as_secs_f64() * 1e3, start.elapsed().as_secs_f64() * 1e3);
    }
    println!("scan: {:.2} ns a sample and thread", best.as_secs_f64() * 2e9 / 57.6e6);
}

/// Buckets of 5 m and 1 h of five days of 1,000 series: what making them costs, what they take, and how long a year of
/// 100 of them takes to read.
fn tiers() {
    let directory = scratch();
    let (instances, days) = (2, 5);
    // A stretch begins at a multiple of its length.
    let end = last_day_end_ms() / (days * DAY_MS) * days * DAY_MS;
    let store = open(directory.path());
    fill(&store, 2, instances, INSTANCE_SERIES, days * 5_760, STEP_MS, end);
    store.compact(&Arc::default()).expect("compacted");
    drop(store);
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
    let open_block = |path: &Path| Arc::new(Block::open(&vfs, path, &Arc::new(Damaged::default()), 0).expect("open"));
    let files = std::fs::read_dir(directory.path().join("blocks")).expect("a directory").flatten();
    let raw: Vec<Arc<Block>> = files.map(|file| open_block(&file.path())).collect();
    let start = end - days * DAY_MS;
    let target = MergeTarget { start, span_ms: days * DAY_MS };
    let targets = [300_000, 3_600_000].map(|resolution_ms: i64| {
        let directory = directory.path().join(resolution_ms.to_string());
        std::fs::create_dir(&directory).expect("a directory");
        TierTarget { directory, resolution_ms, old: None, cleaned: Default::default() }
    });
    // As metadata would tell, see `Source::scrape`.
    let kind_of = |labels: &Labels| {
        let number = labels.get(METRIC_NAME).and_then(|name| name.get(13..16)?.parse::<u32>().ok());
        if number.is_some_and(|number| number % 10 <= 3) { MetricKind::Counter } else { MetricKind::Gauge }
    };
    let before = cpu_s();
    let progress = Progress::default();
    let built = build_tiers(&*vfs, &raw, target, &targets, 1, &kind_of, &|_, _| true, &progress).expect("built");
    let series = (instances * INSTANCE_SERIES) as f64;
    let samples: u64 = raw.iter().map(|block| block.footer.samples).sum();
    println!("tiers: {:.3} CPU s per million samples, both", (cpu_s() - before) / (samples as f64 / 1e6));
    let tiers: Vec<Arc<Block>> = built.iter().flatten().map(|path| open_block(path)).collect();
    for (tier, TierTarget { resolution_ms, .. }) in tiers.iter().zip(&targets) {
        let buckets = (days * DAY_MS / resolution_ms) as f64;
        let bytes = tier.file_bytes() as f64 / series / buckets;
        println!("tiers: {bytes:.2} bytes a bucket and series of {} s", resolution_ms / 1000);
    }
    for shape in [Shape::Instant, Shape::Ends, Shape::Sums] {
        let reading = Reading { shape, aligned: true, first_ms: start, step_ms: 3_600_000, lookback_ms: 300_000 };
        let (mut points, begun) = (0, Instant::now());
        for _ in 0..365 / days {
            let clocks = tiers[1].clock_cache();
            for series in 0..100 {
                let (mut samples, mut runs) = (Samples::default(), Vec::new());
                let record = tiers[1].record_of(series * 10).expect("a whole record");
                read_tier(&record, (TimeRange::ALL, 3_600_000), &reading, &clocks, &mut samples, &mut runs);
                points += samples.len();
            }
        }
        println!("tiers: {:.1} ms for {points} points as {shape:?}", begun.elapsed().as_secs_f64() * 1e3);
    }
}
