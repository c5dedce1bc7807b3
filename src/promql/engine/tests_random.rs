//! Queries nobody would write, over data nobody would send: no panic, no hang. `OBSERVATORY_FUZZ_SECONDS` says how
//! long it tries.

use super::*;
use crate::{
    model::{CUSTOM_BUCKETS_SCHEMA, Histogram, Labels, ResetHint, STALE_NAN, Span},
    promql::parser::ParseOptions,
    stdx::clock::ManualClock,
    store::{Appendable, WriteBatch, memory::Memory},
};

const SECONDS: u64 = 3;
/// Far more than any of these queries takes, even on a busy machine; the budget ends what would take longer.
const HANG: Duration = Duration::from_secs(1);

const TOKENS: &[&str] = &[
    "m",
    "c_total",
    "h",
    "b",
    "nothing",
    "sum",
    "avg",
    "topk",
    "quantile",
    "count_values",
    "limitk",
    "limit_ratio",
    "by",
    "without",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "[5m]",
    "[1m:10s]",
    "[5m:]",
    "[range()]",
    ",",
    "job",
    "instance",
    "le",
    "=",
    "!=",
    "=~",
    "!~",
    "\"a\"",
    "'.*'",
    "`(`",
    "\"le\"",
    "rate",
    "increase",
    "delta",
    "irate",
    "avg_over_time",
    "quantile_over_time",
    "histogram_quantile",
    "histogram_count",
    "histogram_fraction",
    "label_replace",
    "label_join",
    "absent",
    "scalar",
    "vector",
    "time()",
    "start()",
    "end()",
    "step()",
    "@",
    "@ start()",
    "@ 120",
    "offset",
    "5m",
    "-1h",
    "1",
    "0",
    "-1",
    "1e400",
    "0x1F",
    "NaN",
    "Inf",
    "1_000",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "> bool",
    "<",
    "</",
    ">/",
    "and",
    "or",
    "unless",
    "atan2",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "bool",
    "anchored",
    "smoothed",
    "#",
    "\n",
    "\"é\"",
    "é",
    "{\"a b\"}",
    "info",
    "sort_by_label",
    "predict_linear",
    "double_exponential_smoothing",
    "mad_over_time",
    "9223372036854775807",
    "1000000y",
    ":",
    ".",
];

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

fn histogram(random: &mut Random) -> Histogram {
    let custom = random.below(3) == 0;
    let buckets: Vec<f64> = (0..random.below(6)).map(|_| random.below(50) as f64).collect();
    let float = [1.0, 0.0, -1.0, f64::NAN, f64::INFINITY, 1e308][random.below(6)];
    Histogram {
        schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { random.below(13) as i32 - 4 },
        count: if random.below(5) == 0 { float } else { buckets.iter().sum() },
        sum: float,
        zero_threshold: [0.0, 0.001, 1.0, f64::NAN][random.below(4)],
        zero_count: random.below(4) as f64,
        reset_hint: [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge][random.below(4)],
        positive_spans: vec![Span { offset: random.below(9) as i32 - 4, length: random.below(7) as u32 }],
        positive_buckets: buckets,
        custom_values: if custom { (0..random.below(6)).map(|at| at as f64).collect() } else { Vec::new() },
        ..Histogram::default()
    }
}

/// Half an hour of floats, native histograms and both in one series.
fn store(random: &mut Random) -> Arc<dyn Queryable> {
    let store = Memory::new(Arc::new(ManualClock::new(0)));
    for name in ["m", "c_total", "h", "b", "é"] {
        for instance in ["a", "b", "c"] {
            let bound = ["0.5", "+Inf", "x"][random.below(3)];
            let job = ["a", "z"][random.below(2)];
            let labels = [("__name__", name), ("instance", instance), ("job", job), ("le", bound)];
            let id = store.series_id(&Labels::from_pairs(labels).unwrap()).unwrap();
            let mut batch = WriteBatch::default();
            for at in (0..1_800_000).step_by(15_000) {
                let float = match random.below(12) {
                    0 => STALE_NAN,
                    1 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e308, 5e-324][random.below(6)],
                    2 => continue,
                    _ => random.below(1000) as f64,
                };
                if name == "h" || (name == "b" && random.below(2) == 0) {
                    batch.histograms.push((id, at, Arc::new(histogram(random))));
                } else {
                    batch.push(id, at, float);
                }
            }
            store.append(&batch).unwrap();
        }
    }
    Arc::new(store)
}

/// The expressions of our own scripts, over whatever names they use.
fn valid_queries() -> Vec<String> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| line.starts_with("eval instant at ")) {
            queries.extend(line.splitn(5, ' ').nth(4).map(str::to_owned));
        }
    }
    assert!(queries.len() > 100, "the scripts moved");
    queries.sort();
    queries
}

fn soup(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(14) {
        text.push_str(random.of(TOKENS));
        if random.below(3) > 0 {
            text.push(' ');
        }
    }
    text
}

/// A valid query with some of it lost, doubled, moved or replaced.
fn mutated(valid: &[String], random: &mut Random) -> String {
    let mut words: Vec<String> = Vec::new();
    for c in valid[random.below(valid.len())].chars() {
        match words.last_mut() {
            Some(word) if c.is_alphanumeric() && word.chars().all(char::is_alphanumeric) => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    for _ in 0..1 + random.below(3) {
        let (at, other) = (random.below(words.len()), random.below(words.len()));
        match random.below(5) {
            0 if words.len() > 1 => drop(words.remove(at)),
            1 => words.insert(at, words[other].clone()),
            2 => words.swap(at, other),
            3 => words[at] = random.of(TOKENS).to_owned(),
            _ => words.insert(at, random.of(TOKENS).to_owned()),
        }
    }
    words.concat()
}

/// Bounds a hang to less than what the test calls one.
fn careful(random: &mut Random) -> EngineConfig {
    let limits = Limits { samples_max: 2_000_000, timeout_ms: 600, ..Limits::default() };
    EngineConfig {
        limits,
        syntax: ParseOptions::all(),
        delayed_name_removal: random.below(2) == 0,
        workers: 1,
        ..EngineConfig::default()
    }
}

#[test]
fn nonsense_neither_panics_nor_hangs() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let until = Instant::now() + Duration::from_secs(setting("OBSERVATORY_FUZZ_SECONDS").unwrap_or(SECONDS));
    let mut random = Random(setting("OBSERVATORY_FUZZ_SEED").unwrap_or(1));
    let valid = valid_queries();
    let (mut asked, mut answered) = (0u64, 0u64);
    while Instant::now() < until {
        let data = store(&mut random);
        let engine = Engine::new(data, careful(&mut random));
        for _ in 0..400 {
            let query = if random.below(3) == 0 { soup(&mut random) } else { mutated(&valid, &mut random) };
            let (start, step) =
                (random.below(2_400_000) as i64, [1, 1_000, 15_000, 60_000, 3_600_000][random.below(5)]);
            let begin = Instant::now();
            let answer = if random.below(2) == 0 {
                engine.instant(&query, start, &QueryOptions::default())
            } else {
                let end = start + step * random.below(200) as i64;
                engine.range(&query, start, end, step, &QueryOptions::default())
            };
            assert!(begin.elapsed() < HANG, "{:?}: {query}", begin.elapsed());
            if let Err(error) = &answer {
                assert!(!error.to_string().contains("unexpectedly"), "a panic: {query}");
            }
            asked += 1;
            answered += u64::from(answer.is_ok());
        }
    }
    println!("{answered} of {asked} queries had an answer");
    assert!(answered * 20 > asked, "{answered} of {asked} queries had an answer: nearly nothing was evaluated");
}
