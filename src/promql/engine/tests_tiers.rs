//! Answers from buckets beside answers from their samples.

use super::{
    bucketed::{Bucketed, Kind, Series, Tier, is_exact},
    *,
};
use crate::{
    model::{Histogram, Labels, STALE_NAN, Span},
    promql::parser::ParseOptions,
};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;
const FIVE: i64 = 5 * MINUTE;
const HOUR: i64 = 60 * MINUTE;
const SCRAPE: i64 = 15_000;

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)]).unwrap()
}

fn engine(store: &Bucketed) -> Engine {
    let config = EngineConfig { syntax: ParseOptions::all(), workers: 2, ..EngineConfig::default() };
    Engine::new(Arc::new(store.clone()), config)
}

/// The same samples without buckets.
fn raw(store: &Bucketed) -> Engine {
    engine(&Bucketed { tiers: Vec::new(), ..store.clone() })
}

fn range(engine: &Engine, query: &str, (start, end, step): (i64, i64, i64)) -> Answer {
    engine.range(query, start, end, step, &QueryOptions { stats: true, ..QueryOptions::default() }).unwrap()
}

fn matrix_of(answer: &Answer) -> &[MatrixSeries] {
    match &answer.value {
        Value::Matrix(matrix) => matrix,
        other => panic!("{other:?}"),
    }
}

fn close(a: f64, b: f64, exactly: bool) -> bool {
    let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    same || (!exactly && (a - b).abs() <= 1e-9 * a.abs().max(b.abs()))
}

/// `None` where both say the same.
fn difference(raw: &Answer, tier: &Answer, exactly: bool) -> Option<String> {
    let (raw, tier) = (matrix_of(raw), matrix_of(tier));
    if raw.len() != tier.len() {
        return Some(format!("{} series and {}", raw.len(), tier.len()));
    }
    raw.iter().zip(tier).find_map(|(raw, tier)| {
        let same = raw.labels == tier.labels
            && raw.samples.timestamps == tier.samples.timestamps
            && raw.samples.values.iter().zip(&tier.samples.values).all(|(a, b)| close(*a, *b, exactly))
            && raw.samples.histograms.len() == tier.samples.histograms.len()
            && raw.samples.histograms.iter().zip(&tier.samples.histograms).all(|(a, b)| {
                a.timestamp == b.timestamp
                    && close(a.histogram.count, b.histogram.count, false)
                    && close(a.histogram.sum, b.histogram.sum, false)
                    && a.histogram.positive_buckets.len() == b.histogram.positive_buckets.len()
                    && a.histogram
                        .positive_buckets
                        .iter()
                        .zip(&b.histogram.positive_buckets)
                        .all(|(a, b)| close(*a, *b, false))
            });
        (!same).then(|| format!("{raw:?}\n{tier:?}"))
    })
}

/// Samples about every fifteen seconds over some hours: gaps, markers, resets of a counter, and falls of a gauge.
fn floats(kind: Kind) -> impl Strategy<Value = Vec<(i64, f64)>> {
    let event = prop_oneof![
        40 => (1usize..30).prop_map(|n| (n, 0)),
        3 => (1usize..90).prop_map(|n| (n, 1)),
        3 => Just((1, 2)),
        4 => Just((1, 3)),
    ];
    (0..HOUR, prop::collection::vec((event, 0i64..1000), 1..60)).prop_map(move |(start, events)| {
        let (mut at, mut value, mut all) = (start, 0i64, Vec::new());
        for ((times, what), by) in events {
            for _ in 0..times {
                at += SCRAPE + by % 7;
                match (what, kind) {
                    (1, _) => continue,
                    (2, _) => {
                        all.push((at, STALE_NAN));
                        continue;
                    }
                    (3, Kind::Counter) => value = by % 3,
                    (_, Kind::Counter) => value += by,
                    (_, Kind::Gauge) => value = by * 37 % 1000 - 300,
                }
                all.push((at, if kind == Kind::Gauge { value as f64 / 8.0 } else { value as f64 }));
            }
        }
        all
    })
}

fn counts(kind: Kind) -> impl Strategy<Value = Vec<(i64, Arc<Histogram>)>> {
    floats(kind).prop_map(move |floats| {
        let live = floats.into_iter().filter(|(_, value)| !value.is_nan());
        live.map(|(at, value)| {
            let histogram = Histogram {
                count: value * 3.0,
                sum: value * 5.0,
                zero_count: value,
                positive_spans: vec![Span { offset: 1, length: 2 }],
                positive_buckets: vec![value, value],
                reset_hint: if kind == Kind::Gauge { crate::model::ResetHint::Gauge } else { Default::default() },
                ..Histogram::default()
            };
            (at, Arc::new(histogram))
        })
        .collect()
    })
}

fn store(kind: Kind, floats: Vec<(i64, f64)>, tiers: Vec<Tier>, gone: bool) -> Bucketed {
    let series = Series { labels: labels("m_total"), kind, floats, histograms: Vec::new() };
    Bucketed { series: vec![series], tiers, gone }
}

fn tiers() -> impl Strategy<Value = Vec<Tier>> {
    (0..8i64, 0..60i64).prop_map(|(hours, fives)| {
        let coarse = Tier { resolution_ms: HOUR, until_ms: hours * HOUR };
        let fine = Tier { resolution_ms: FIVE, until_ms: hours * HOUR + fives * FIVE };
        vec![coarse, fine]
    })
}

const COUNTER: &[&str] =
    &["rate", "increase", "delta", "count_over_time", "last_over_time", "first_over_time", "ts_of_last_over_time"];
const GAUGE: &[&str] = &[
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "present_over_time",
    "last_over_time",
];

fn kind_of(counter: bool) -> Kind {
    if counter { Kind::Counter } else { Kind::Gauge }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn aligned_windows_over_buckets_give_what_samples_give(
        (counter, floats) in any::<bool>().prop_flat_map(|c| (Just(c), floats(kind_of(c)))),
        tiers in tiers(),
        gone: bool,
        which in any::<prop::sample::Index>(),
        (hours, step, offset) in (1i64..6, 1i64..4, 0i64..2),
        end in 1i64..10,
    ) {
        let kind = kind_of(counter);
        let store = store(kind, floats, tiers, gone);
        let function = *which.get(if counter { COUNTER } else { GAUGE });
        prop_assert!(is_exact(Some(function), true, kind), "{}", function);
        let query = format!("{function}(m_total[{hours}h] offset {offset}h)");
        let times = (HOUR, end * HOUR, step * HOUR);
        let (raw, tier) = (range(&raw(&store), &query, times), range(&engine(&store), &query, times));
        let exactly = !matches!(function, "sum_over_time" | "avg_over_time");
        prop_assert_eq!(difference(&raw, &tier, exactly), None, "{}", query);
        let told = tier.infos.iter().filter(|info| info.contains("buckets")).count();
        prop_assert_eq!(told, 0, "{:?}", tier.infos);
    }

    #[test]
    fn long_windows_that_overlap_are_the_same_over_buckets(
        floats in floats(Kind::Gauge),
        until in 0i64..100,
        which in any::<prop::sample::Index>(),
    ) {
        let tiers = vec![Tier { resolution_ms: FIVE, until_ms: until * FIVE }];
        let store = store(Kind::Gauge, floats, tiers, true);
        let query = format!("{}(m_total[4h])", which.get(GAUGE));
        let times = (FIVE, 12 * HOUR, FIVE);
        let (raw, tier) = (range(&raw(&store), &query, times), range(&engine(&store), &query, times));
        prop_assert_eq!(difference(&raw, &tier, false), None, "{}", query);
    }

    #[test]
    fn a_counter_at_constant_rate_draws_a_flat_line_over_all_tiers(
        tiers in tiers(),
        gone: bool,
        function in prop::sample::select(vec!["rate", "increase", "delta"]),
        (range_ms, start, step) in (1..3 * HOUR, HOUR + MINUTE..4 * HOUR, MINUTE..2 * HOUR),
        instant: bool,
    ) {
        let floats = (0..9 * HOUR / SCRAPE).map(|n| (n * SCRAPE + 7, (1000 + n * 30) as f64)).collect();
        let store = store(Kind::Counter, floats, tiers, gone);
        // Two samples at least.
        let range_ms = (range_ms + 60_000).min(start - MINUTE);
        let query = format!("{function}(m_total[{range_ms}ms])");
        let end = if instant { start } else { 9 * HOUR - MINUTE };
        let answer = range(&engine(&store), &query, (start, end, step));
        let want = 2.0 * if function == "rate" { 1.0 } else { range_ms as f64 / 1000.0 };
        let samples = &matrix_of(&answer)[0].samples;
        prop_assert_eq!(samples.len() as i64, (end - start) / step + 1, "{}", query);
        for (at, value) in samples.timestamps.iter().zip(&samples.values) {
            prop_assert!((value - want).abs() < 1e-9 * want, "{} at {}: {}, not {}", query, at, value, want);
        }
    }

    #[test]
    fn instant_selectors_at_edges_see_the_last_sample_and_its_time(
        floats in floats(Kind::Gauge),
        tiers in tiers(),
        gone: bool,
        query in prop::sample::select(vec!["m_total", "timestamp(m_total)", "absent(m_total)", "m_total offset 1h",
            "m_total @ 7200", "max_over_time(m_total[6h:1h])", "sum(m_total) + count(m_total)"]),
    ) {
        let store = store(Kind::Gauge, floats, tiers, gone);
        let times = (0, 9 * HOUR, HOUR);
        let (raw, tier) = (range(&raw(&store), query, times), range(&engine(&store), query, times));
        prop_assert_eq!(difference(&raw, &tier, true), None, "{}", query);
    }

    #[test]
    fn nothing_is_left_out_of_windows_that_are_widened_and_that_is_told(
        floats in floats(Kind::Gauge),
        (range_ms, start, step) in (1..3 * HOUR, 1..4 * HOUR, MINUTE..2 * HOUR),
    ) {
        let tiers = vec![Tier { resolution_ms: FIVE, until_ms: 20 * HOUR }];
        let store = store(Kind::Gauge, floats, tiers, true);
        let times = (start, start + 6 * HOUR, step);
        let ask = |engine: &Engine, function: &str| {
            let answer = range(engine, &format!("{function}(m_total[{range_ms}ms])"), times);
            let samples = matrix_of(&answer).first().map(|one| one.samples.clone()).unwrap_or_default();
            (samples, answer.infos)
        };
        let (engine, raw) = (engine(&store), raw(&store));
        for (function, larger) in [("count_over_time", 1.0), ("max_over_time", 1.0), ("min_over_time", -1.0)] {
            let ((few, _), (many, infos)) = (ask(&raw, function), ask(&engine, function));
            for (at, value) in few.timestamps.iter().zip(&few.values) {
                let widened = many.timestamps.binary_search(at).map(|found| many.values[found]);
                prop_assert!(widened.is_ok_and(|widened| widened * larger >= value * larger), "{} at {}", function, at);
            }
            if few != many {
                prop_assert!(infos.iter().any(|info| info.contains("widened to whole buckets")), "{:?}", infos);
            }
        }
    }

    #[test]
    fn rates_and_averages_of_native_histograms_are_those_of_samples(
        (counter, histograms) in any::<bool>().prop_flat_map(|c| (Just(c), counts(kind_of(c)))),
        tiers in tiers(),
        hours in 1i64..5,
        which in 0usize..3,
    ) {
        let functions = if counter { ["rate", "increase", "count_over_time"] } else { ["sum_over_time", "avg_over_time", "count_over_time"] };
        let series = Series { labels: labels("m_total"), kind: kind_of(counter), floats: Vec::new(), histograms };
        let store = Bucketed { series: vec![series], tiers, gone: true };
        let query = format!("{}(m_total[{hours}h])", functions[which]);
        let times = (HOUR, 9 * HOUR, HOUR);
        let (raw, tier) = (range(&raw(&store), &query, times), range(&engine(&store), &query, times));
        prop_assert_eq!(difference(&raw, &tier, false), None, "{}", query);
    }
}

/// A counter and a gauge at constant rate over ten hours, of which the first are in buckets.
fn steady(tiers: &[(i64, i64)], gone: bool) -> Bucketed {
    let series = |name: &str, kind| Series {
        labels: labels(name),
        kind,
        floats: (0..10 * HOUR / SCRAPE).map(|n| (n * SCRAPE + 7, (1000 + n * 30) as f64)).collect(),
        histograms: Vec::new(),
    };
    let tiers =
        tiers.iter().map(|(resolution_ms, until_ms)| Tier { resolution_ms: *resolution_ms, until_ms: *until_ms });
    let series = vec![series("c_total", Kind::Counter), series("d_total", Kind::Counter), series("g", Kind::Gauge)];
    Bucketed { series, tiers: tiers.collect(), gone }
}

fn bucket_notes(answer: &Answer) -> Vec<&str> {
    answer.infos.iter().map(String::as_str).filter(|info| info.contains("buckets")).collect()
}

#[test]
fn one_info_a_selector_says_what_was_widened_and_what_to_ask_for() {
    let store = engine(&steady(&[(HOUR, 4 * HOUR), (FIVE, 6 * HOUR)], true));
    let query = "sum(rate(c_total[7m]))\n  + sum(d_total)";
    let answer = range(&store, query, (HOUR, 9 * HOUR, 30 * MINUTE));
    assert_eq!(
        bucket_notes(&answer),
        [
            "PromQL info: values are those at the last edge of a bucket, because samples are kept from \
             1970-01-01T00:55:00.001Z to 1970-01-01T04:00:00Z in buckets of 1h; a start and a step that are multiples of \
             1h give the exact answer (2:9)",
            "PromQL info: windows were widened to whole buckets, because samples are kept from 1970-01-01T00:00:00.001Z \
             to 1970-01-01T04:00:00Z in buckets of 1h, from 1970-01-01T04:00:00.001Z to 1970-01-01T06:00:00Z in buckets \
             of 5m; a range and a start and a step that are multiples of 1h give the exact answer (1:10)",
        ]
    );
    let instant = store.instant("count_over_time(g[7m])", 2 * HOUR + 1, &QueryOptions::default()).unwrap();
    let note = bucket_notes(&instant)[0];
    assert!(note.ends_with("; a range and a time that is a multiple of 1h give the exact answer (1:17)"), "{note}");
}

#[test]
fn what_buckets_do_not_hold_is_told_and_what_they_hold_is_not() {
    let store = engine(&steady(&[(HOUR, 4 * HOUR)], true));
    let times = (2 * HOUR, 9 * HOUR, HOUR);
    let answer = range(&store, "stddev_over_time(g[2h]) + stddev_over_time(g[2h])", times);
    let notes = bucket_notes(&answer);
    assert_eq!(notes.len(), 2, "an expression that stands twice is told of at both places: {notes:?}");
    assert!(
        notes[0].starts_with("PromQL info: stddev_over_time is approximate, because samples are kept"),
        "{notes:?}"
    );
    for exact in ["rate(c_total[2h])", "avg_over_time(g[2h])", "g", "max_over_time(g[3h] offset 1h)", "g @ 7200"] {
        let answer = range(&store, exact, times);
        assert_eq!(bucket_notes(&answer), [] as [&str; 0], "{exact}");
        assert_eq!(answer.stats.sources[0].tiers.len(), 1, "{exact} is counted as read from buckets");
    }
    let smoothed = range(&store, "g smoothed", times);
    assert!(bucket_notes(&smoothed)[0].contains("values are approximate"), "{:?}", smoothed.infos);
}

#[test]
fn buckets_are_chosen_where_they_are_as_good_and_samples_where_they_are_asked_for() {
    let store = steady(&[(HOUR, 8 * HOUR)], false);
    let times = (2 * HOUR, 7 * HOUR, HOUR);
    let read = |query: &str| range(&engine(&store), query, times).stats.samples_read;
    let tiers = |query: &str| range(&engine(&store), query, times).stats.sources[0].tiers.len();
    assert!(read("rate(c_total[2h])") * 50 < range(&raw(&store), "rate(c_total[2h])", times).stats.samples_read);
    for query in ["c_total", "rate(c_total[2h])", "absent(g)", "sum by (x) (timestamp(g))", "max_over_time(g[2h])"] {
        assert_eq!(tiers(query), 1, "{query}");
    }
    for query in ["rate(c_total[90m])", "rate(c_total[2h] anchored)", "g smoothed", "stddev_over_time(g[2h])"] {
        assert_eq!(tiers(query), 0, "{query}");
    }
    let asked = engine(&store).instant("g[2h]", 4 * HOUR, &QueryOptions::default()).unwrap();
    assert_eq!(matrix_of(&asked)[0].samples.len() as i64, 2 * HOUR / SCRAPE);
}

#[test]
fn functions_of_one_selector_do_not_share_what_each_reads_of_buckets() {
    let store = steady(&[(HOUR, 8 * HOUR)], true);
    let times = (2 * HOUR, 7 * HOUR, HOUR);
    for query in [
        "max_over_time(g[1h]) - min_over_time(g[1h])",
        "sum_over_time(g[1h]) / count_over_time(g[1h]) - avg_over_time(g[1h])",
        "rate(c_total[1h]) - increase(c_total[1h]) / 3600 + count_over_time(c_total[1h])",
    ] {
        let (raw, tier) = (range(&raw(&store), query, times), range(&engine(&store), query, times));
        assert_eq!(difference(&raw, &tier, true), None, "{query}");
    }
}

#[test]
fn points_that_are_no_samples_are_not_shown_and_do_not_count() {
    let mut store = steady(&[(HOUR, 8 * HOUR)], true);
    for (index, (_, value)) in store.series[0].floats.iter_mut().enumerate() {
        *value = (index % 50) as f64;
    }
    let ask = |query: &str| match store_answer(&store, query) {
        Value::Vector(vector) => vector[0].value.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ask("count_over_time(c_total[2h])"), SampleValue::Float(480.0));
    assert_eq!(ask("min_over_time(g[2h]) > 0 and present_over_time(g[2h])"), ask("min_over_time(g[2h])"));
    // First and last of two hours: a zero between them would bend the line.
    let SampleValue::Float(slope) = ask("deriv(d_total[2h])") else { panic!() };
    assert!((slope - 2.0).abs() < 1e-9, "{slope}");
    let Value::Matrix(shown) = store_answer(&store, "c_total[2h]") else { panic!() };
    assert_eq!(shown[0].samples.len(), 2, "one point a bucket is all there is");
    assert!(shown[0].samples.weights.is_empty());
}

fn store_answer(store: &Bucketed, query: &str) -> Value {
    engine(store).instant(query, 4 * HOUR, &QueryOptions::default()).unwrap().value
}

#[test]
fn info_metrics_whose_times_are_not_known_do_not_collide() {
    let series = |pairs: &[(&str, &str)]| Series {
        labels: Labels::from_pairs(pairs.iter().copied()).unwrap(),
        kind: Kind::Gauge,
        floats: (0..3 * HOUR / SCRAPE).map(|n| (n * SCRAPE, 1.0)).collect(),
        histograms: Vec::new(),
    };
    let mut old = series(&[("__name__", "target_info"), ("instance", "a"), ("job", "j"), ("version", "1")]);
    old.floats.retain(|(at, _)| *at < 2 * HOUR - MINUTE);
    let new = series(&[("__name__", "target_info"), ("instance", "a"), ("job", "j"), ("version", "2")]);
    let up = series(&[("__name__", "up"), ("instance", "a"), ("job", "j")]);
    let store = Bucketed {
        series: vec![old, new, up],
        tiers: vec![Tier { resolution_ms: HOUR, until_ms: 3 * HOUR }],
        gone: true,
    };
    let answer = engine(&store).instant("info(up)", 2 * HOUR + MINUTE, &QueryOptions::default()).unwrap();
    let Value::Vector(vector) = &answer.value else { panic!() };
    assert_eq!(vector.len(), 1);
    assert!(!bucket_notes(&answer).is_empty());
}
