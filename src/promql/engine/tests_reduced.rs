//! The same load in a store whose samples became buckets and in one that keeps samples for ever: what both answer.

use super::*;
use crate::{
    model::{Histogram, Labels, ResetHint, STALE_NAN, Span},
    promql::parser::ParseOptions,
    stdx::{
        clock::ManualClock,
        vfs::{Vfs, simulated::SimulatedVfs},
    },
    store::{
        Appendable, StateChange, StoreError, Tree, WriteBatch,
        kv::{Kv, MemoryKv},
        tsdb::{Options, TierOptions, Tsdb, tier::MetricKind},
    },
};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;
const FIVE: i64 = 5 * MINUTE;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A moment at which stretches of all lengths begin.
const BEGIN: i64 = 1_700_000_000_000 / (5 * DAY) * (5 * DAY);

/// The same small state for one store after the other.
#[derive(Clone, Default)]
struct SharedKv(Arc<MemoryKv>);

impl Kv for SharedKv {
    fn load(&self, tree: Tree) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.0.load(tree)
    }
    fn apply(&self, position: u64, changes: &[StateChange]) -> Result<(), StoreError> {
        self.0.apply(position, changes)
    }
    fn position(&self) -> u64 {
        self.0.position()
    }
}

/// A store on a disk of its own.
struct Place {
    options: Options,
    kv: SharedKv,
    store: Option<Arc<Tsdb>>,
}

impl Place {
    fn new(clock: &ManualClock, retention_ms: i64, tiers: Vec<TierOptions>) -> Place {
        let vfs = SimulatedVfs::default();
        vfs.set_clock(clock.clone());
        let mut options = Options::new("/data");
        options.vfs = Arc::new(vfs) as Arc<dyn Vfs>;
        options.clock = Arc::new(clock.clone());
        options.kind_of = Arc::new(|labels| match labels.get("__name__").unwrap_or_default() {
            name if name.starts_with("gauge") => MetricKind::Gauge,
            _ => MetricKind::Unknown,
        });
        (options.retention_ms, options.tiers, options.disk_percent_max) = (retention_ms, tiers, 0);
        let mut place = Place { options, kv: SharedKv::default(), store: None };
        place.open_again();
        place
    }

    fn open_again(&mut self) {
        self.store = None;
        self.store = Some(Arc::new(Tsdb::open_with(self.options.clone(), Box::new(self.kv.clone())).unwrap()));
    }

    fn store(&self) -> &Arc<Tsdb> {
        self.store.as_ref().unwrap()
    }

    fn write(&self, load: &[(Labels, Vec<Sample>)]) {
        let mut batch = WriteBatch::default();
        for (labels, samples) in load {
            let id = self.store().series_id(labels).unwrap();
            for (at, sample) in samples {
                match sample {
                    Taken::Float(value) => batch.push(id, *at, *value),
                    Taken::Histogram(histogram) => batch.histograms.push((id, *at, histogram.clone())),
                }
            }
        }
        let outcome = self.store().append(&batch).unwrap();
        assert!(outcome.refused.is_empty(), "{:?}", outcome.refused.first());
        outcome.ticket.wait_blocking().unwrap();
    }

    fn keep_up(&self) {
        self.store().compact(&Arc::default()).unwrap();
    }

    fn engine(&self) -> Engine {
        let config = EngineConfig { syntax: ParseOptions::all(), workers: 1, ..EngineConfig::default() };
        Engine::new(self.store().clone(), config)
    }
}

#[derive(Clone, Debug)]
enum Taken {
    Float(f64),
    Histogram(Arc<Histogram>),
}

type Sample = (i64, Taken);

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as i64
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as i64) as usize]
    }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)]).unwrap()
}

fn histogram(value: f64, reset_hint: ResetHint) -> Taken {
    Taken::Histogram(Arc::new(Histogram {
        count: value * 3.0,
        sum: value * 5.0,
        zero_count: value,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_buckets: vec![value, value],
        reset_hint,
        ..Histogram::default()
    }))
}

/// What series do while time passes.
struct Load {
    random: Random,
    step_ms: i64,
    counters: [f64; 3],
}

const NAMES: [&str; 11] = [
    "steady_total",
    "falls_total",
    "edges_total",
    "gauge_a",
    "unknown_a",
    "unknown_edges",
    "sparse_a",
    "histogram_a",
    "gauge_histogram_a",
    "mixed_a",
    "brief_a",
];

impl Load {
    fn between(&mut self, from: i64, to: i64) -> Vec<(Labels, Vec<Sample>)> {
        let step_ms = self.step_ms;
        NAMES
            .iter()
            .map(|name| {
                (labels(name), (from / step_ms..to / step_ms).flat_map(|n| self.sample(name, n * step_ms)).collect())
            })
            .collect()
    }

    fn sample(&mut self, name: &str, at: i64) -> Option<Sample> {
        let random = &mut self.random;
        let (chance, by) = (random.below(200), random.below(1000));
        let jitter = by * 7 % 20_000;
        let hour = (at - BEGIN) / HOUR;
        let gauge = (by * 37 % 1000 - 300) as f64 / 8.0;
        // Hours without anything.
        let is_gap = hour % 17 == 5;
        let mut count = |which: usize| {
            let value = &mut self.counters[which];
            *value = if chance < 3 { (by % 3) as f64 } else { *value + by as f64 };
            *value
        };
        let float = |at, value| Some((at, Taken::Float(value)));
        match name {
            "steady_total" => float(at + 7, (at + 7 - BEGIN) as f64 / 1000.0),
            "falls_total" if !is_gap => float(at + jitter, count(0)),
            "edges_total" if chance != 77 => float(at, count(1)),
            "gauge_a" | "unknown_a" if chance == 10 => float(at + jitter, STALE_NAN),
            "gauge_a" if !is_gap && chance > 8 => float(at + jitter, gauge),
            "unknown_a" if !is_gap => float(at + jitter, gauge),
            "unknown_edges" if at % HOUR == 0 && hour % 5 == 3 => float(at, STALE_NAN),
            "unknown_edges" if hour % 5 != 3 => float(at, gauge),
            "sparse_a" if at % HOUR == 0 && chance > 20 => float(at + jitter, gauge),
            "histogram_a" if !is_gap => Some((at + jitter, histogram(count(2), ResetHint::Unknown))),
            "gauge_histogram_a" if chance > 8 => Some((at, histogram((by % 50) as f64, ResetHint::Gauge))),
            "mixed_a" if hour % 6 < 2 => Some((at + jitter, histogram((by % 50) as f64, ResetHint::Gauge))),
            "mixed_a" if hour % 6 < 5 => float(at + jitter, gauge),
            "brief_a" if hour % 23 == 3 => float(at, gauge),
            "brief_a" if hour % 23 == 4 && at % HOUR == 0 => float(at, STALE_NAN),
            _ => None,
        }
    }
}

/// Whole hours of a series that nothing else is of.
fn late(name: &str, from: i64, hours: i64, step_ms: i64) -> (Labels, Vec<Sample>) {
    let at = |n: i64| from + n * step_ms + 1;
    let sample = |n: i64| (at(n), Taken::Float((at(n) / 1000 % 1_000_000) as f64));
    (labels(name), (0..hours * HOUR / step_ms).map(sample).collect())
}

/// Both stores after so many days.
struct Both {
    tiered: Place,
    plain: Place,
    end: i64,
}

fn lived(seed: u64, raw_days: i64, tier_days: [i64; 2], days: i64, step_ms: i64) -> Both {
    let clock = ManualClock::new(BEGIN);
    let tier = |resolution_ms, days| TierOptions { resolution_ms, retention_ms: days * DAY };
    let tiers = vec![tier(FIVE, tier_days[0]), tier(HOUR, tier_days[1])];
    let mut tiered = Place::new(&clock, raw_days * DAY, tiers);
    let plain = Place::new(&clock, 4000 * DAY, Vec::new());
    let mut load = Load { random: Random(seed), step_ms, counters: [0.0; 3] };
    for day in 0..days {
        let begin = BEGIN + day * DAY;
        clock.advance(DAY);
        let mut written = load.between(begin, begin + DAY);
        // Within what samples are kept for, and beyond it; the latter twice.
        if day > 2 {
            written.push(late("late_total", begin - 12 * HOUR, 2, step_ms));
        }
        let beyond = (raw_days + 6).max(8);
        let import = (day >= beyond && day < days - 8).then(|| {
            let from = begin - (raw_days + 5) * DAY + load.random.below(20) * HOUR;
            vec![late("imported_total", from, 3, step_ms), late("gauge_imported", from, 3, step_ms)]
        });
        for place in [&tiered, &plain] {
            place.write(&written);
            import.iter().for_each(|import| place.write(import));
            place.keep_up();
            import.iter().for_each(|import| place.write(import));
        }
        if load.random.below(5) == 0 {
            tiered.open_again();
        }
    }
    tiered.keep_up();
    let end = BEGIN + days * DAY;
    Both { tiered, plain, end }
}

fn samples_of(answer: &Answer) -> Vec<(Labels, Samples)> {
    match &answer.value {
        Value::Matrix(matrix) => matrix.iter().map(|one| (one.labels.clone(), one.samples.clone())).collect(),
        other => panic!("{other:?}"),
    }
}

fn is_close(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3)
}

fn is_same(one: &Samples, other: &Samples) -> bool {
    let all_close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_close(*a, *b));
    one.timestamps == other.timestamps
        && all_close(&one.values, &other.values)
        && one.histograms.len() == other.histograms.len()
        && one.histograms.iter().zip(&other.histograms).all(|(a, b)| {
            a.timestamp == b.timestamp
                && is_close(a.histogram.count, b.histogram.count)
                && is_close(a.histogram.sum, b.histogram.sum)
                && all_close(&a.histogram.positive_buckets, &b.histogram.positive_buckets)
        })
}

/// The first that is not the same; `None` where all is.
fn difference(plain: &Answer, tiered: &Answer) -> Option<String> {
    let (plain, tiered) = (samples_of(plain), samples_of(tiered));
    if plain.len() != tiered.len() {
        return Some(format!("{} series and {}", plain.len(), tiered.len()));
    }
    plain.iter().zip(&tiered).find(|(a, b)| a.0 != b.0 || !is_same(&a.1, &b.1)).map(|((labels, a), (_, b))| {
        let shown = |samples: &Samples| -> Vec<(i64, f64)> {
            let histograms = samples.histograms.iter().map(|one| (one.timestamp, one.histogram.count));
            samples.timestamps.iter().copied().zip(samples.values.iter().copied()).chain(histograms).collect()
        };
        let (a, b) = (shown(a), shown(b));
        let is_only_in = |one: &[(i64, f64)], other: &[(i64, f64)]| {
            let is_there =
                |(at, value): &(i64, f64)| other.iter().any(|(b, other)| at == b && is_close(*value, *other));
            one.iter()
                .filter(|point| !is_there(point))
                .map(|(at, value)| ((at - BEGIN) as f64 / HOUR as f64, *value))
                .take(5)
                .collect::<Vec<_>>()
        };
        format!("{labels}: of samples {:?}, of buckets {:?}", is_only_in(&a, &b), is_only_in(&b, &a))
    })
}

const FUNCTIONS: [&str; 26] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "resets",
    "changes",
    "deriv",
    "count_over_time",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "absent_over_time",
    "stddev_over_time",
    "mad_over_time",
    "ts_of_last_over_time",
    "ts_of_first_over_time",
    "ts_of_max_over_time",
    "stdvar_over_time",
    "rate",
    "increase",
    "count_over_time",
];

struct Question {
    query: String,
    /// The same with windows that are an hour longer at both ends.
    wider: Option<String>,
    times: (i64, i64, i64),
    /// All windows begin and end on hours.
    is_aligned: bool,
    name: &'static str,
    /// Around a range selector.
    function: Option<&'static str>,
    /// What a plain selector looks at: `@`, and the offset.
    looks_at: Option<(Option<i64>, i64)>,
}

fn any_question(random: &mut Random, end: i64) -> Question {
    let names: Vec<&str> = NAMES.into_iter().chain(["late_total", "imported_total", "gauge_imported"]).collect();
    let name = random.of(&names);
    let unit = random.of(&[HOUR, HOUR, FIVE, 1]);
    let length = |random: &mut Random, most: i64| (1 + random.below(most / unit)) * unit;
    let range_ms = length(random, if unit == HOUR { 40 * HOUR } else { 4 * HOUR });
    let step_ms = length(random, 9 * HOUR).max(MINUTE);
    let offset_ms = random.of(&[0, 0, 1, -1]) * length(random, 30 * HOUR);
    let start = BEGIN + random.below((end - BEGIN) / unit) * unit;
    let times = (start, (start + random.below(150) * step_ms).min(end + 2 * HOUR), step_ms);
    let at = (random.below(8) == 0).then(|| BEGIN + random.below((end - BEGIN) / unit) * unit);
    let fixed = at.map(|at| format!(" @ {}", at as f64 / 1000.0)).unwrap_or_default();
    let function = random.of(&FUNCTIONS);
    let over = |range_ms: i64, offset_ms: i64| format!("{function}({name}[{range_ms}ms]{fixed} offset {offset_ms}ms)");
    let plain = Question {
        query: format!("{name}{fixed} offset {offset_ms}ms"),
        wider: None,
        times,
        is_aligned: unit == HOUR,
        name,
        function: None,
        looks_at: None,
    };
    let every_ms = (range_ms / 5 / unit).max(1) * unit;
    match random.below(10) {
        0 | 1 => Question { looks_at: Some((at, offset_ms)), ..plain },
        2 => Question { query: format!("timestamp({name}{fixed} offset {offset_ms}ms)"), ..plain },
        3 => Question { query: format!("max_over_time({name}[{range_ms}ms:{every_ms}ms])"), ..plain },
        _ => {
            let wider = Some(over(range_ms + 2 * HOUR, offset_ms - HOUR));
            Question { query: over(range_ms, offset_ms), wider, function: Some(function), ..plain }
        }
    }
}

fn ask(engine: &Engine, query: &str, (start, end, step): (i64, i64, i64)) -> Answer {
    engine.range(query, start, end, step, &QueryOptions::default()).unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn notes(answer: &Answer, what: &str) -> usize {
    answer.infos.iter().filter(|info| info.contains("in buckets of") && info.contains(what)).count()
}

fn check(both: &Both, seed: u64, questions: usize) {
    let (tiered, plain) = (both.tiered.engine(), both.plain.engine());
    let mut random = Random(seed ^ 0x5555);
    let (mut exact, mut told) = (0, 0);
    for _ in 0..questions {
        let question = any_question(&mut random, both.end);
        let Question { query, times, is_aligned, .. } = &question;
        let (expected, found) = (ask(&plain, query, *times), ask(&tiered, query, *times));
        let (start, end) = (times.0 - BEGIN, times.1 - BEGIN);
        let context = format!("seed {seed}: {query} from {start} every {} to {end}, {:?}", times.2, found.infos);
        if notes(&found, "") == 0 {
            assert_eq!(difference(&expected, &found), None, "{context}");
            exact += 1;
            continue;
        }
        told += 1;
        let is_widened = notes(&found, "widened") + notes(&found, "last edge") > 0;
        assert!(!is_aligned || !is_widened && !is_documented_as_exact(&question), "{context}");
        if notes(&found, "approximate") > 0 {
            continue;
        }
        if let (Some(wider), Some(function)) = (&question.wider, question.function) {
            check_bounds(&expected, &found, &ask(&plain, wider, *times), function, &context);
        }
        if let Some(looks_at) = question.looks_at {
            check_edges(&plain, &question, looks_at, &found, &mut random, &context);
        }
    }
    assert!(exact * 5 > questions && told * 10 > questions, "{exact} {told}");
}

/// As the table in `docs/formats/tiers.md` has it.
fn is_documented_as_exact(question: &Question) -> bool {
    let Some(function) = question.function else { return true };
    let always = ["count_over_time", "present_over_time", "absent_over_time", "last_over_time", "ts_of_last_over_time"];
    let ends = ["rate", "increase", "delta", "first_over_time", "ts_of_first_over_time"];
    let sums = ["sum_over_time", "avg_over_time", "min_over_time", "max_over_time"];
    always.contains(&function)
        || question.name.ends_with("_total") && ends.contains(&function)
        || question.name.starts_with("gauge_") && sums.contains(&function)
        || ["unknown_a", "unknown_edges"].contains(&question.name)
            && (ends.contains(&function) || sums.contains(&function))
        || question.name == "steady_total" && ["min_over_time", "max_over_time", "resets"].contains(&function)
        || question.name == "histogram_a" && (ends.contains(&function) || function == "resets")
}

/// A window that became longer says no less than the one asked for, and no more than one an hour longer at both ends.
fn check_bounds(narrow: &Answer, found: &Answer, wide: &Answer, function: &str, context: &str) {
    let larger = match function {
        "count_over_time" | "max_over_time" | "present_over_time" | "ts_of_last_over_time" => 1.0,
        "min_over_time" | "ts_of_first_over_time" => -1.0,
        _ => return,
    };
    let [narrow, found, wide] = [narrow, found, wide].map(samples_of);
    let no_less = |small: &[(Labels, Samples)], large: &[(Labels, Samples)], what: &str| {
        for (labels, small) in small {
            let large = large.iter().find(|(other, _)| other == labels).map(|found| &found.1);
            let large = large.unwrap_or_else(|| panic!("{what} {labels}: {context}"));
            for (at, value) in small.timestamps.iter().zip(&small.values) {
                let other = large.timestamps.binary_search(at).map(|found| large.values[found]);
                let is_fine = other.is_ok_and(|other| other * larger >= value * larger);
                assert!(is_fine, "{what}: {context}: at {}: {value} {other:?}", at - BEGIN);
            }
        }
    };
    no_less(&narrow, &found, "less than the window has");
    no_less(&found, &wide, "more than an hour around has");
}

/// A selector off the edges shows what was visible at a moment or at the last edge before it.
fn check_edges(
    plain: &Engine,
    question: &Question,
    (fixed, offset_ms): (Option<i64>, i64),
    found: &Answer,
    random: &mut Random,
    context: &str,
) {
    let (start, end, step_ms) = question.times;
    let found = samples_of(found);
    let found = found.first().map(|found| &found.1);
    for _ in 0..20 {
        let at = start + random.below((end - start) / step_ms + 1) * step_ms;
        let shown = found.and_then(|found| Some(found.values[found.timestamps.binary_search(&at).ok()?]));
        let native = found.and_then(|found| {
            let place = found.histograms.binary_search_by_key(&at, |one| one.timestamp).ok()?;
            Some(found.histograms[place].histogram.count)
        });
        let looks_at = fixed.unwrap_or(at) - offset_ms;
        let visible = [1, FIVE, HOUR].map(|unit| {
            let edge = looks_at - looks_at.rem_euclid(unit);
            let answer = plain.instant(question.name, edge, &QueryOptions::default()).unwrap();
            let Value::Vector(vector) = answer.value else { panic!("{:?}", answer.value) };
            vector.first().map(|one| match &one.value {
                SampleValue::Float(value) => *value,
                SampleValue::Histogram(histogram) => histogram.count,
            })
        });
        assert!(
            visible.contains(&shown.or(native)),
            "{context}: at {}: {shown:?} {native:?}, not one of {visible:?}",
            at - BEGIN
        );
    }
}

/// Lines of the counter at constant rate, over all resolutions.
fn check_flat(both: &Both, seed: u64) {
    let engine = both.tiered.engine();
    let mut random = Random(seed ^ 0x7777);
    for _ in 0..25 {
        let range_ms =
            random.of(&[HOUR, 2 * HOUR, 24 * HOUR, 10 * MINUTE, 47 * MINUTE + 13, 90 * MINUTE, 5 * HOUR + 1]);
        let step_ms = random.of(&[HOUR, 3 * HOUR, 20 * MINUTE, 77 * MINUTE, 3 * HOUR + 12_345]);
        let start = BEGIN + 26 * HOUR + random.of(&[0, 0, 1, FIVE, 1_234_567]);
        for (function, want) in [("rate", 1.0), ("increase", range_ms as f64 / 1000.0)] {
            let query = format!("{function}(steady_total[{range_ms}ms])");
            let answer = ask(&engine, &query, (start, both.end - FIVE, step_ms));
            let samples = &samples_of(&answer)[0].1;
            assert_eq!(
                samples.len() as i64,
                (both.end - FIVE - start) / step_ms + 1,
                "seed {seed}: {query} from {}, every {step_ms}",
                start - BEGIN
            );
            for (at, value) in samples.timestamps.iter().zip(&samples.values) {
                assert!((value - want).abs() < 1e-9 * want, "seed {seed}: {query} at {}: {value}", at - BEGIN);
            }
        }
        // A selector has no gaps, and is never ahead of time.
        let answer = ask(&engine, "steady_total", (start, both.end - FIVE, step_ms));
        let samples = &samples_of(&answer)[0].1;
        assert_eq!(samples.len() as i64, (both.end - FIVE - start) / step_ms + 1, "seed {seed}: every {step_ms}");
        for (at, value) in samples.timestamps.iter().zip(&samples.values) {
            let age_ms = at - BEGIN - (value * 1000.0) as i64;
            assert!((0..=HOUR + 2 * MINUTE).contains(&age_ms), "seed {seed}: {age_ms} at {}", at - BEGIN);
        }
    }
}

proptest! {
    // Each is as long as a hundred others.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(128), ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_of_five_day_stretches_answers_as_the_samples_did(seed: u64) {
        let both = lived(seed, 15, [22, 60], 38, 2 * MINUTE);
        check(&both, seed, 250);
        check_flat(&both, seed);
    }

    #[test]
    fn what_is_left_of_days_answers_as_the_samples_did(seed: u64) {
        let both = lived(seed, 2, [5, 40], 20, 2 * MINUTE);
        check(&both, seed, 250);
        check_flat(&both, seed);
    }
}

#[test]
fn a_selector_soon_after_the_begin_of_a_file_sees_what_was_visible_at_the_end_of_the_one_before() {
    let both = lived(7, 2, [5, 40], 12, 2 * MINUTE);
    let value = |place: &Place, at: i64| {
        let answer = place.engine().instant("steady_total", at, &QueryOptions::default()).unwrap();
        match &answer.value {
            Value::Vector(vector) => vector.iter().map(|one| one.value.clone()).next(),
            other => panic!("{other:?}"),
        }
    };
    for day in 3..9 {
        let edge = BEGIN + day * DAY;
        let visible = value(&both.plain, edge);
        assert!(visible.is_some());
        // One of the tiers has an edge here.
        for after_ms in [4 * MINUTE + 59_000, 59 * MINUTE] {
            let found = value(&both.tiered, edge + after_ms);
            let others = [FIVE, HOUR].map(|unit| value(&both.plain, edge + after_ms - after_ms % unit));
            assert!(others.contains(&found), "day {day}: {found:?}, not {visible:?} nor {others:?}");
        }
    }
}
