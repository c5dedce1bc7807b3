//! The engine end to end, on a store in memory.

use super::*;
use crate::{
    model::{Histogram, Labels, ResetHint, STALE_NAN, Span},
    promql::parser::ParseOptions,
    stdx::clock::ManualClock,
    store::{Appendable, WriteBatch, memory::Memory},
};

const MINUTE: i64 = 60_000;

/// A store with one sample a minute from 0 on; `None` leaves a gap, NaN with the marker's bits ends the series.
struct Bench {
    store: Arc<Memory>,
}

impl Bench {
    fn new() -> Bench {
        Bench { store: Arc::new(Memory::new(Arc::new(ManualClock::new(0)))) }
    }

    fn load(self, series: &[(&str, &[f64])]) -> Bench {
        for (selector, values) in series {
            let id = self.store.series_id(&labels(selector)).unwrap();
            let mut batch = WriteBatch::default();
            for (index, value) in values.iter().enumerate() {
                // An ordinary NaN in the list is a gap.
                if !value.is_nan() || crate::model::is_stale(*value) {
                    batch.push(id, index as i64 * MINUTE, *value);
                }
            }
            self.store.append(&batch).unwrap();
        }
        self
    }

    fn load_histograms(self, selector: &str, counts: &[f64]) -> Bench {
        let id = self.store.series_id(&labels(selector)).unwrap();
        let histograms = counts.iter().enumerate().map(|(index, count)| {
            let histogram = Histogram {
                count: *count,
                sum: *count * 2.0,
                positive_spans: vec![Span { offset: 1, length: 1 }],
                positive_buckets: vec![*count],
                reset_hint: ResetHint::Unknown,
                ..Histogram::default()
            };
            (id, index as i64 * MINUTE, Arc::new(histogram))
        });
        let batch = WriteBatch { histograms: histograms.collect(), ..WriteBatch::default() };
        self.store.append(&batch).unwrap();
        self
    }

    fn engine(&self, change: impl FnOnce(&mut EngineConfig)) -> Engine {
        let mut config = EngineConfig { syntax: ParseOptions::all(), workers: 2, ..EngineConfig::default() };
        change(&mut config);
        Engine::new(self.store.clone(), config)
    }

    fn instant(&self, query: &str, minute: i64) -> Answer {
        self.engine(|_| {}).instant(query, minute * MINUTE, &QueryOptions::default()).unwrap()
    }

    fn error(&self, query: &str, minute: i64) -> String {
        self.engine(|_| {}).instant(query, minute * MINUTE, &QueryOptions::default()).unwrap_err().to_string()
    }

    /// The vector as lines `labels value`, in order.
    fn vector(&self, query: &str, minute: i64) -> Vec<String> {
        shown(&self.instant(query, minute).value)
    }

    /// Each series as `labels minute=value ...`.
    fn range(&self, query: &str, first: i64, last: i64) -> Vec<String> {
        let engine = self.engine(|_| {});
        let (start, end) = (first * MINUTE, last * MINUTE);
        shown(&engine.range(query, start, end, MINUTE, &QueryOptions::default()).unwrap().value)
    }
}

fn labels(selector: &str) -> Labels {
    let matchers = crate::promql::parser::parse_selector(selector).unwrap();
    Labels::from_pairs(matchers.iter().map(|m| (m.name.clone(), m.value.clone()))).unwrap()
}

fn shown(value: &Value) -> Vec<String> {
    match value {
        Value::Scalar { value, .. } => vec![value.to_string()],
        Value::Text { text, .. } => vec![text.clone()],
        Value::Vector(vector) => vector
            .iter()
            .map(|sample| match &sample.value {
                SampleValue::Float(value) => format!("{} {value}", sample.labels),
                SampleValue::Histogram(histogram) => format!("{} {histogram}", sample.labels),
            })
            .collect(),
        Value::Matrix(matrix) => matrix
            .iter()
            .map(|series| {
                let points = series.samples.timestamps.iter().zip(&series.samples.values);
                let points = points.map(|(at, value)| format!(" {}={value}", at / MINUTE));
                format!("{}{}", series.labels, points.collect::<String>())
            })
            .collect(),
    }
}

fn counters() -> Bench {
    Bench::new().load(&[
        ("c_total{job=\"a\",host=\"1\"}", &[0.0, 60.0, 120.0, 180.0, 240.0, 300.0]),
        ("c_total{job=\"a\",host=\"2\"}", &[0.0, 120.0, 240.0, 0.0, 120.0, 240.0]),
        ("c_total{job=\"b\",host=\"3\"}", &[5.0, 5.0, 5.0, 5.0, 5.0, 5.0]),
    ])
}

#[test]
fn an_instant_selector_takes_the_newest_sample_within_the_lookback() {
    let bench = Bench::new().load(&[("up", &[1.0, 2.0])]);
    assert_eq!(bench.vector("up", 1), ["up 2"]);
    assert_eq!(bench.vector("up", 5), ["up 2"]);
    // The lookback of five minutes is open at its left end.
    assert_eq!(bench.vector("up", 6), [""; 0]);
    assert_eq!(bench.vector("up offset 1m", 1), ["up 1"]);
    assert_eq!(bench.vector("up @ 0", 5), ["up 1"]);
}

#[test]
fn a_staleness_marker_ends_a_series_at_once() {
    let bench = Bench::new().load(&[("up", &[1.0, STALE_NAN, f64::NAN, 4.0])]);
    assert_eq!(bench.range("up", 0, 4), ["up 0=1 3=4 4=4"]);
    assert_eq!(bench.vector("count_over_time(up[10m])", 3), ["{} 2"]);
}

#[test]
fn rates_survive_counter_resets() {
    let bench = counters();
    assert_eq!(bench.vector("sum by (job) (increase(c_total[4m]))", 4), ["{job=\"a\"} 560", "{job=\"b\"} 0"]);
    assert_eq!(bench.vector("resets(c_total{host=\"2\"}[10m])", 5), ["{host=\"2\", job=\"a\"} 1"]);
    assert_eq!(bench.vector("irate(c_total{host=\"2\"}[10m])", 3), ["{host=\"2\", job=\"a\"} 0"]);
}

#[test]
fn a_range_query_gives_what_instant_queries_give_at_each_step() {
    let bench = counters();
    for query in [
        "rate(c_total[2m])",
        "sum by (job) (rate(c_total[3m]))",
        "max_over_time(c_total[2m])",
        "avg without (host) (c_total) > 10",
        "topk(1, c_total)",
        "quantile(0.5, c_total)",
        "c_total / on (host) group_left c_total",
        "max_over_time(sum(c_total)[3m:1m])",
        "count_values(\"value\", c_total)",
        "c_total and on (host) (c_total > 100)",
    ] {
        let mut by_step: Vec<(Labels, i64, u64)> = Vec::new();
        for minute in 0..=6 {
            let Value::Vector(vector) = bench.instant(query, minute).value else { panic!("{query} is a vector") };
            for sample in vector {
                let SampleValue::Float(value) = sample.value else { panic!("{query} has floats") };
                by_step.push((sample.labels, minute * MINUTE, value.to_bits()));
            }
        }
        let engine = bench.engine(|_| {});
        let answer = engine.range(query, 0, 6 * MINUTE, MINUTE, &QueryOptions::default()).unwrap();
        let Value::Matrix(matrix) = answer.value else { panic!("a range query gives a matrix") };
        assert!(matrix.is_sorted_by(|a, b| a.labels < b.labels), "{query}");
        let mut by_series: Vec<(Labels, i64, u64)> = matrix
            .iter()
            .flat_map(|s| {
                s.samples.timestamps.iter().zip(&s.samples.values).map(|(t, v)| (s.labels.clone(), *t, v.to_bits()))
            })
            .collect();
        by_step.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        by_series.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        assert_eq!(by_series, by_step, "{query}");
    }
}

#[test]
fn the_number_of_workers_changes_no_digit() {
    let mut bench = Bench::new();
    for series in 0..500 {
        let values: Vec<f64> = (0..120).map(|n| (n * series) as f64 * 0.1 + 1e-9).collect();
        bench = bench.load(&[(&format!("m{{s=\"{series}\",g=\"{}\"}}", series % 3), &values)]);
    }
    for query in ["sum by (g) (m)", "avg(rate(m[5m]))", "stddev by (g) (m)", "m / on (s) group_left () m"] {
        let answer = |workers: usize| {
            let engine = bench.engine(|config| config.workers = workers);
            // As text, so that NaN equals itself.
            format!("{:?}", engine.range(query, 0, 119 * MINUTE, MINUTE, &QueryOptions::default()).unwrap().value)
        };
        let alone = answer(0);
        assert!(alone == answer(1), "{query}");
        assert!(alone == answer(4), "{query}");
    }
}

#[test]
fn aggregations_group_by_labels_and_drop_the_name() {
    let bench = Bench::new().load(&[
        ("m{a=\"1\",b=\"x\"}", &[1.0]),
        ("m{a=\"1\",b=\"y\"}", &[3.0]),
        ("m{a=\"2\",b=\"x\"}", &[f64::INFINITY]),
    ]);
    assert_eq!(bench.vector("sum by (a) (m)", 0), ["{a=\"1\"} 4", "{a=\"2\"} inf"]);
    assert_eq!(bench.vector("avg without (b) (m)", 0), ["{a=\"1\"} 2", "{a=\"2\"} inf"]);
    assert_eq!(bench.vector("count(m)", 0), ["{} 3"]);
    assert_eq!(bench.vector("stdvar(m{a=\"1\"})", 0), ["{} 1"]);
    assert_eq!(bench.vector("min(m)", 0), ["{} 1"]);
    assert_eq!(bench.vector("group(m)", 0), ["{} 1"]);
    assert_eq!(bench.vector("bottomk(1, m)", 0), ["m{a=\"1\", b=\"x\"} 1"]);
    assert_eq!(bench.vector("topk(2, m)", 0), ["m{a=\"2\", b=\"x\"} inf", "m{a=\"1\", b=\"y\"} 3"]);
    assert_eq!(bench.vector("limitk(1, m)", 0), ["m{a=\"1\", b=\"x\"} 1"]);
    assert_eq!(bench.vector("count_values by (a) (\"v\", m)", 0).len(), 3);
    assert_eq!(bench.error("topk(NaN, m)", 0), "Parameter value is NaN");
}

#[test]
fn averages_do_not_overflow() {
    let bench = Bench::new().load(&[("m{s=\"1\"}", &[f64::MAX]), ("m{s=\"2\"}", &[f64::MAX])]);
    assert_eq!(bench.vector("avg(m)", 0), [format!("{{}} {}", f64::MAX)]);
}

#[test]
fn vectors_match_by_labels_and_ambiguity_is_an_error() {
    let bench = Bench::new().load(&[
        ("errors{code=\"500\",path=\"/a\"}", &[4.0]),
        ("errors{code=\"404\",path=\"/a\"}", &[6.0]),
        ("requests{path=\"/a\"}", &[20.0]),
        ("requests{path=\"/b\"}", &[10.0]),
    ]);
    assert_eq!(
        bench.vector("errors / on (path) group_left requests", 0),
        ["{code=\"404\", path=\"/a\"} 0.3", "{code=\"500\", path=\"/a\"} 0.2"]
    );
    assert_eq!(
        bench.error("errors / on (path) requests", 0),
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    );
    let duplicate = bench.error("requests / on (path) errors", 0);
    assert!(
        duplicate.starts_with("found duplicate series for the match group {path=\"/a\"} on the right"),
        "{duplicate}"
    );
    assert_eq!(bench.vector("requests unless on (path) errors", 0), ["requests{path=\"/b\"} 10"]);
    assert_eq!(bench.vector("requests == bool 20", 0), ["{path=\"/a\"} 1", "{path=\"/b\"} 0"]);
    assert_eq!(bench.vector("10 < requests", 0), ["requests{path=\"/a\"} 20"]);
}

#[test]
fn series_that_cannot_be_told_apart_are_an_error() {
    let bench = Bench::new().load(&[("a_total{s=\"1\"}", &[1.0, 2.0]), ("b_total{s=\"1\"}", &[1.0, 2.0])]);
    for query in ["-{s=\"1\"}", "rate({s=\"1\"}[5m])", "label_replace({s=\"1\"}, \"__name__\", \"x\", \"\", \"\")"] {
        assert_eq!(bench.error(query, 1), "vector cannot contain metrics with the same labelset", "{query}");
    }
}

#[test]
fn names_are_removed_late_where_asked_for() {
    let bench = Bench::new().load(&[("a_total{s=\"1\"}", &[0.0, 60.0]), ("b_total{s=\"1\"}", &[0.0, 60.0])]);
    let engine = bench.engine(|config| config.delayed_name_removal = true);
    let query = "sum by (__name__) (increase({s=\"1\"}[2m]))";
    let error = engine.instant(query, MINUTE, &QueryOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "vector cannot contain metrics with the same labelset");
    let query = "count by (x) (label_replace(-{s=\"1\"}, \"x\", \"$1\", \"__name__\", \"(.*)_total\"))";
    let answer = engine.instant(query, MINUTE, &QueryOptions::default()).unwrap();
    assert_eq!(shown(&answer.value), ["{x=\"a\"} 1", "{x=\"b\"} 1"]);
}

#[test]
fn classic_histograms_give_quantiles_and_fractions() {
    let bench = Bench::new().load(&[
        ("h_bucket{le=\"1\"}", &[10.0]),
        ("h_bucket{le=\"2\"}", &[20.0]),
        ("h_bucket{le=\"+Inf\"}", &[20.0]),
        ("bad_bucket{le=\"x\"}", &[20.0]),
    ]);
    assert_eq!(bench.vector("histogram_quantile(0.75, h_bucket)", 0), ["{} 1.5"]);
    assert_eq!(bench.vector("histogram_fraction(0, 1, h_bucket)", 0), ["{} 0.5"]);
    let answer = bench.instant("histogram_quantile(2, h_bucket)", 0);
    assert_eq!(answer.warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)"]);
    let answer = bench.instant("histogram_quantile(0.5, bad_bucket)", 0);
    assert!(answer.warnings[0].contains("malformed value of \"x\" for metric name \"bad_bucket\" (1:25)"));
}

#[test]
fn native_histograms_flow_through() {
    let bench =
        Bench::new().load_histograms("h{s=\"1\"}", &[1.0, 2.0, 3.0]).load_histograms("h{s=\"2\"}", &[1.0, 3.0, 5.0]);
    assert_eq!(bench.vector("histogram_count(sum(h))", 2), ["{} 8"]);
    assert_eq!(bench.vector("histogram_avg(h{s=\"1\"})", 2), ["{s=\"1\"} 2"]);
    assert_eq!(bench.vector("histogram_count(increase(h{s=\"2\"}[2m]))", 2), ["{s=\"2\"} 4"]);
    assert_eq!(bench.vector("abs(h)", 2), [""; 0]);
    let answer = bench.instant("max(h)", 2);
    assert_eq!(answer.infos, ["PromQL info: ignored histogram in max aggregation (1:5)"]);
}

#[test]
fn subqueries_step_at_whole_multiples() {
    let bench = Bench::new().load(&[("m", &[0.0, 1.0, 2.0, 3.0, 4.0])]);
    let engine = bench.engine(|_| {});
    // At 4m30s the steps are 2m, 3m and 4m, whatever the query's own time is.
    let answer = engine.instant("sum_over_time(m[3m:1m])", 270_000, &QueryOptions::default()).unwrap();
    assert_eq!(shown(&answer.value), ["{} 9"]);
    let answer = engine.instant("m[3m:1m]", 270_000, &QueryOptions::default()).unwrap();
    assert_eq!(shown(&answer.value), ["m 2=2 3=3 4=4"]);
}

#[test]
fn absence_has_the_labels_that_were_asked_for() {
    let bench = Bench::new().load(&[("m{s=\"1\"}", &[1.0])]);
    assert_eq!(bench.vector("absent(m{s=\"2\",t=~\"x\"})", 0), ["{s=\"2\"} 1"]);
    assert_eq!(bench.vector("absent(m)", 0), [""; 0]);
    assert_eq!(bench.range("absent_over_time(m[1m])", 0, 2), ["{} 1=1 2=1"]);
}

#[test]
fn scalars_texts_and_raw_samples_answer_instant_queries() {
    let bench = Bench::new().load(&[("m", &[1.0, 2.0])]);
    assert_eq!(bench.vector("time() + 2 * (pi() - pi())", 1), ["60"]);
    assert_eq!(bench.vector("\"text\"", 1), ["text"]);
    assert_eq!(bench.vector("m[2m]", 1), ["m 0=1 1=2"]);
    assert_eq!(bench.vector("scalar(m)", 1), ["2"]);
    assert_eq!(bench.vector("vector(1) + 1", 1), ["{} 2"]);
    assert_eq!(bench.range("1 + 1", 0, 1), ["{} 0=2 1=2"]);
    let engine = bench.engine(|_| {});
    let error = engine.range("m[2m]", 0, MINUTE, MINUTE, &QueryOptions::default()).unwrap_err();
    assert!(error.to_string().contains("invalid expression type \"range vector\" for range query"), "{error}");
}

#[test]
fn sorting_counts_at_an_instant_and_warns_over_a_range() {
    let bench = Bench::new().load(&[("m{s=\"1\"}", &[2.0]), ("m{s=\"2\"}", &[1.0]), ("m{s=\"10\"}", &[3.0])]);
    assert_eq!(bench.vector("sort(m)", 0), ["m{s=\"2\"} 1", "m{s=\"1\"} 2", "m{s=\"10\"} 3"]);
    assert_eq!(bench.vector("sort_by_label(m, \"s\")", 0), ["m{s=\"1\"} 2", "m{s=\"2\"} 1", "m{s=\"10\"} 3"]);
    let engine = bench.engine(|_| {});
    let answer = engine.range("sort(m)", 0, MINUTE, MINUTE, &QueryOptions::default()).unwrap();
    assert!(answer.warnings[0].contains("sort is ineffective for range queries"));
}

#[test]
fn labels_are_replaced_and_joined() {
    let bench = Bench::new().load(&[("m{a=\"x-1\",b=\"y\"}", &[1.0])]);
    assert_eq!(
        bench.vector("label_replace(m, \"n\", \"$1\", \"a\", \".*-(.*)\")", 0),
        ["m{a=\"x-1\", b=\"y\", n=\"1\"} 1"]
    );
    assert_eq!(bench.vector("label_join(m, \"j\", \"/\", \"a\", \"b\")", 0), ["m{a=\"x-1\", b=\"y\", j=\"x-1/y\"} 1"]);
    let error = bench.error("label_replace(m, \"n\", \"\", \"a\", \"(\")", 0);
    assert_eq!(error, "invalid regular expression in label_replace(): (");
}

#[test]
fn limits_refuse_what_would_not_fit() {
    let bench = counters();
    let engine = bench.engine(|config| config.limits.samples_max = 10);
    let error = engine.range("c_total", 0, 5 * MINUTE, MINUTE, &QueryOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "query processing would load too many samples into memory in query execution");
    let engine = bench.engine(|_| {});
    let late = QueryOptions { timeout_ms: Some(0), ..QueryOptions::default() };
    let error = engine.instant("c_total", 0, &late).unwrap_err();
    assert!(error.to_string().starts_with("query timed out in "), "{error}");
    let canceled = QueryOptions::default();
    canceled.cancel.cancel();
    assert!(matches!(engine.instant("c_total", 0, &canceled), Err(QueryError::Canceled(_))));
}

#[test]
fn figures_tell_the_work_of_each_node_and_step() {
    let bench = counters();
    let engine = bench.engine(|_| {});
    let options = QueryOptions { stats: true, ..QueryOptions::default() };
    let answer = engine.range("sum(rate(c_total[2m]))", 2 * MINUTE, 4 * MINUTE, MINUTE, &options).unwrap();
    assert_eq!(answer.stats.samples_read, 3 * 4);
    assert_eq!(answer.stats.samples_queryable, 3 * 3 * 2);
    assert_eq!(answer.stats.samples_queryable_per_step, [(120_000, 6), (180_000, 6), (240_000, 6)]);
    let series: Vec<u64> = answer.stats.nodes.iter().map(|node| node.series).collect();
    assert_eq!(series, [1, 3]);
}

#[test]
fn computed_durations_know_the_step() {
    let bench = counters();
    let engine = bench.engine(|_| {});
    let computed =
        engine.range("count_over_time(c_total[step() * 2])", 0, 5 * MINUTE, MINUTE, &QueryOptions::default());
    let literal = engine.range("count_over_time(c_total[2m])", 0, 5 * MINUTE, MINUTE, &QueryOptions::default());
    assert_eq!(computed.unwrap().value, literal.unwrap().value);
    let error = engine.instant("c_total[1m - 2m]", 0, &QueryOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with("parse error: duration must be greater than 0"), "{error}");
}

#[test]
fn what_stands_twice_is_read_once_and_noted_at_each_place() {
    let bench = Bench::new().load(&[("c{host=\"1\"}", &[0.0, 60.0, 120.0]), ("c{host=\"2\"}", &[0.0, 60.0, 60.0])]);
    let once = bench.instant("rate(c[2m])", 2);
    let twice = bench.instant("rate(c[2m]) + rate(c[2m])", 2);
    assert_eq!(twice.stats.samples_read, once.stats.samples_read);
    assert_eq!(twice.infos.len(), 2, "{:?}", twice.infos);
    assert!(twice.infos[0].ends_with("(1:20)"), "{:?}", twice.infos);
    let nested = bench.instant("abs(rate(c[2m])) + abs(rate(c[2m])) + rate(c[2m])", 2);
    assert_eq!(nested.stats.samples_read, once.stats.samples_read);
    assert_eq!(nested.infos.len(), 3, "{:?}", nested.infos);
    assert_eq!(shown(&nested.value), ["{host=\"1\"} 3", "{host=\"2\"} 0"]);
}

#[test]
fn what_only_looks_alike_is_not_shared() {
    let bench = Bench::new().load(&[("c", &[0.0, 60.0, 180.0, 360.0])]);
    assert_eq!(bench.range("sum(c) - sum(c offset 1m)", 2, 3), ["{} 2=120 3=180"]);
    // The same text at other steps is another thing.
    assert_eq!(bench.range("abs(c) - max_over_time(abs(c)[2m:1m] offset 1m)", 2, 3), ["{} 2=120 3=180"]);
}

#[test]
fn a_canceled_query_stops_at_once_wherever_it_is() {
    let bench = counters();
    let engine = bench.engine(|_| {});
    for query in [
        "max_over_time(vector(1)[6d:50ms])",
        "stddev_over_time(sin(vector(time()))[2d:50ms])",
        "sum(rate(c_total[5m:1s]) * on () group_left () vector(1))",
        "quantile_over_time(0.5, c_total[1h:10ms])",
    ] {
        let options = QueryOptions { cancel: Cancel::new(), ..QueryOptions::default() };
        let cancel = options.cancel.clone();
        let canceled = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            cancel.cancel();
            Instant::now()
        });
        let result = engine.range(query, 0, 100_000 * MINUTE, MINUTE, &options);
        let late = canceled.join().unwrap().elapsed();
        assert!(matches!(result, Err(QueryError::Canceled(_) | QueryError::TooManySamples)), "{query}");
        // Promised are 50 ms; a build for tests on a busy machine takes longer.
        assert!(late < Duration::from_millis(1_000), "{query}: {late:?}");
    }
}

#[test]
fn a_subquery_of_too_many_steps_is_refused_before_its_memory_is_taken() {
    let bench = counters();
    let engine = bench.engine(|config| config.limits.bytes_max = 1 << 20);
    let error = engine.instant("max_over_time(vector(1)[1d:1s])", 0, &QueryOptions::default()).unwrap_err();
    assert!(matches!(error, QueryError::TooManyBytes { .. }), "{error}");
}
