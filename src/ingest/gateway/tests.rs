//! The gateway against a plain store: every row of the Pushgateway's behaviour that needs no HTTP.

use super::{BodyFormat, Grouping, PushRequest};
use crate::{
    ingest::{Ingest, IngestConfig, IngestError},
    model::{Matcher, Samples, TimeRange, is_stale},
    stdx::clock::ManualClock,
    store::{Hints, Queryable, memory::Memory},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

const START: i64 = 1_700_000_000_000;

struct Bench {
    clock: ManualClock,
    store: Arc<Memory>,
    ingest: Ingest,
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

impl Bench {
    fn new() -> Bench {
        Bench::with(IngestConfig::default())
    }

    fn with(config: IngestConfig) -> Bench {
        let clock = ManualClock::new(START);
        let store = Arc::new(Memory::new(Arc::new(clock.clone())));
        let ingest = Ingest::new(store.clone(), Arc::new(clock.clone()), config);
        Bench { clock, store, ingest }
    }

    fn restart(&mut self) {
        self.ingest = Ingest::new(self.store.clone(), Arc::new(self.clock.clone()), IngestConfig::default());
    }

    fn push(&self, replace: bool, path: &str, body: &str) -> Result<(), IngestError> {
        let grouping = Grouping::from_path(path).unwrap();
        let format = BodyFormat::Text;
        let result = run(self.ingest.push(PushRequest { grouping, replace, body: body.as_bytes(), format }));
        self.clock.advance(1_000);
        result
    }

    fn put(&self, path: &str, body: &str) {
        self.push(true, path, body).unwrap();
    }

    fn post(&self, path: &str, body: &str) {
        self.push(false, path, body).unwrap();
    }

    fn error(&self, path: &str, body: &str) -> String {
        self.push(false, path, body).unwrap_err().to_string()
    }

    fn delete(&self, path: &str) {
        run(self.ingest.delete(&Grouping::from_path(path).unwrap())).unwrap();
        self.clock.advance(1_000);
    }

    /// What an instant query would find now: series and value, without those that went stale.
    fn now(&self) -> BTreeMap<String, f64> {
        let set = self.store.select(TimeRange::ALL, &[] as &[Matcher], &Hints::default()).unwrap();
        let mut found = BTreeMap::new();
        for index in 0..set.len() {
            let mut samples = Samples::default();
            set.read(index, &mut samples).unwrap();
            if let Some(value) = samples.values.last().copied().filter(|value| !is_stale(*value)) {
                found.insert(set.labels(index).to_string(), value);
            }
        }
        found
    }

    /// As [`Bench::now`], without the gateway's own metrics.
    fn pushed(&self) -> Vec<String> {
        let own = |series: &String| series.starts_with("push_");
        self.now().into_iter().filter(|(series, _)| !own(series)).map(|(s, v)| format!("{s} {v}")).collect()
    }
}

#[test]
fn a_push_bears_its_grouping_labels() {
    let bench = Bench::new();
    bench.put("job/j/branch/main", "a 1\nb{x=\"y\"} 2");
    assert_eq!(bench.pushed(), ["a{branch=\"main\", job=\"j\"} 1", "b{branch=\"main\", job=\"j\", x=\"y\"} 2"]);
    let now = bench.now();
    assert_eq!(now["push_time_seconds{branch=\"main\", job=\"j\"}"], START as f64 / 1000.0);
    assert_eq!(now["push_failure_time_seconds{branch=\"main\", job=\"j\"}"], 0.0);
}

#[test]
fn post_replaces_families_of_the_same_name_and_put_the_whole_group() {
    let bench = Bench::new();
    bench.put("job/j", "a{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\n");
    bench.post("job/j", "a{x=\"2\"} 5\nc 4\n");
    assert_eq!(bench.pushed(), ["a{job=\"j\", x=\"2\"} 5", "b{job=\"j\"} 3", "c{job=\"j\"} 4"]);
    bench.put("job/j", "c 4\n");
    assert_eq!(bench.pushed(), ["c{job=\"j\"} 4"]);
}

#[test]
fn an_empty_put_leaves_the_two_times_and_an_empty_post_everything() {
    let bench = Bench::new();
    bench.put("job/j", "a 1\n");
    bench.post("job/j", "");
    assert_eq!(bench.pushed(), ["a{job=\"j\"} 1"]);
    assert_eq!(bench.now()["push_time_seconds{job=\"j\"}"], START as f64 / 1000.0 + 1.0);
    bench.put("job/j", "");
    assert_eq!(bench.now().len(), 2);
    assert_eq!(bench.now()["push_time_seconds{job=\"j\"}"], START as f64 / 1000.0 + 2.0);
}

#[test]
fn grouping_labels_override_the_body_and_may_collide_by_that() {
    let bench = Bench::new();
    bench.put("job/j/x/1", "a{x=\"other\",job=\"k\"} 1\n");
    assert_eq!(bench.pushed(), ["a{job=\"j\", x=\"1\"} 1"]);
    let error = bench.error("job/k/x/1", "a{x=\"1\"} 1\na{x=\"2\"} 2\n");
    assert!(error.contains("was collected before with the same name and label values"), "{error}");
    assert!(error.starts_with("pushed metrics are invalid or inconsistent with existing metrics: "));
}

#[test]
fn an_empty_instance_equals_none() {
    let bench = Bench::new();
    bench.put("job/j/instance@base64/=", "a 1\n");
    assert_eq!(bench.pushed(), ["a{job=\"j\"} 1"]);
    let error = bench.error("job/j", "b 1\n");
    assert!(error.contains("differs only in labels with an empty value"), "{error}");
    assert_eq!(bench.ingest.push_groups(), 1);
}

#[test]
fn a_series_belongs_to_one_group() {
    let bench = Bench::new();
    bench.put("job/j/x/1", "b 1\n");
    let error = bench.error("job/j", "b{x=\"1\"} 2\n");
    assert!(error.contains("collected metric \"b\" b{job=\"j\", x=\"1\"} was collected before"), "{error}");
    assert_eq!(bench.pushed(), ["b{job=\"j\", x=\"1\"} 1"]);
    bench.post("job/j", "b{x=\"2\"} 2\n");
    bench.delete("job/j/x/1");
    bench.post("job/j", "b{x=\"1\"} 2\n");
    assert_eq!(bench.pushed(), ["b{job=\"j\", x=\"1\"} 2"]);
}

#[test]
fn a_duplicate_in_one_body_is_refused() {
    assert!(Bench::new().error("job/j", "a 1\na 2\n").contains("was collected before"));
}

#[test]
fn a_family_has_one_type_over_all_groups() {
    let bench = Bench::new();
    bench.put("job/j", "# TYPE a counter\na 1\n");
    assert!(bench.error("job/k", "# TYPE a gauge\na 1\n").contains("is not a COUNTER"));
    assert!(bench.error("job/k", "a 1\n").contains("is not a COUNTER"));
    bench.post("job/k", "# TYPE a counter\n# HELP a other\na 1\n");
    // The only group with the family may change its type.
    bench.delete("job/k");
    bench.post("job/j", "# TYPE a gauge\na 1\n");
    bench.post("job/k", "# TYPE a gauge\na 1\n");
}

#[test]
fn parts_of_a_histogram_collide_with_families_of_their_name() {
    let bench = Bench::new();
    bench.put("job/j", "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n");
    let error = bench.error("job/k", "h_count 5\n");
    assert!(error.contains("\"h_count\" collides with previously collected histogram named \"h\""), "{error}");
    bench.put("job/l", "s_sum 1\n");
    let error = bench.error("job/k", "# TYPE s summary\ns_sum 1\ns_count 1\n");
    assert!(error.contains("\"s_sum\" collides"), "{error}");
}

#[test]
fn a_refused_push_moves_the_failure_time_alone() {
    let bench = Bench::new();
    assert!(bench.error("job/j", "a 1 1700000000000\n").contains("pushed metrics must not have timestamps"));
    let now = bench.now();
    assert_eq!(now["push_time_seconds{job=\"j\"}"], 0.0);
    assert_eq!(now["push_failure_time_seconds{job=\"j\"}"], START as f64 / 1000.0);
    assert_eq!(bench.ingest.groups()[0]["last_push_successful"], false);
    bench.put("job/j", "a 1\n");
    bench.error("job/j", "a 2\na 3\n");
    bench.put("job/j", "a 1\n");
    let now = bench.now();
    assert_eq!(now["a{job=\"j\"}"], 1.0);
    assert_eq!(now["push_failure_time_seconds{job=\"j\"}"], START as f64 / 1000.0 + 2.0);
    assert_eq!(bench.ingest.groups()[0]["last_push_successful"], true);
}

#[test]
fn a_body_that_does_not_parse_touches_nothing() {
    let bench = Bench::new();
    let error = bench.error("job/j", "a x\n");
    assert_eq!(error, "text format parsing error in line 1: expected float as value, got \"x\"");
    assert_eq!((bench.ingest.push_groups(), bench.now().len()), (0, 0));
    assert_eq!(bench.ingest.stats().pushes_failed.get(), 1);
}

#[test]
fn only_the_exact_group_is_deleted_and_leaves_nothing() {
    let bench = Bench::new();
    bench.put("job/j", "a 1\n");
    bench.put("job/j/instance/i", "a 2\n");
    bench.delete("job/j");
    bench.delete("job/unknown");
    assert_eq!(bench.pushed(), ["a{instance=\"i\", job=\"j\"} 2"]);
    assert_eq!((bench.now().len(), bench.ingest.push_groups()), (3, 1));
    bench.put("job/j", "a 3\n");
    assert_eq!(bench.now()["a{job=\"j\"}"], 3.0);
}

#[test]
fn what_a_client_says_of_push_times_is_passed_over() {
    let bench = Bench::new();
    bench.put("job/j", "push_time_seconds 5\npush_failure_time_seconds 6\na 1\n");
    assert_eq!(bench.now()["push_time_seconds{job=\"j\"}"], START as f64 / 1000.0);
}

#[test]
fn a_value_reads_as_if_scraped_every_fifteen_seconds() {
    let bench = Bench::new();
    bench.put("job/j", "a 1\n");
    bench.clock.set(START + 40_000);
    bench.put("job/j", "a 1\n");
    bench.clock.set(START + 50_000);
    bench.put("job/j", "a 2\n");
    bench.clock.set(START + 70_000);
    let set = bench.store.select(TimeRange::ALL, &[Matcher::equal("__name__", "a")], &Hints::default()).unwrap();
    let mut samples = Samples::default();
    set.read(0, &mut samples).unwrap();
    let points: Vec<(i64, f64)> = samples.timestamps.iter().map(|t| t - START).zip(samples.values).collect();
    let expected = [(0, 1.0), (15_000, 1.0), (30_000, 1.0), (45_000, 1.0), (50_000, 2.0), (65_000, 2.0)];
    assert_eq!(points, expected);
}

#[test]
fn groups_survive_a_restart() {
    let mut bench = Bench::new();
    bench.put("job/j/x/", "# HELP a text\n# TYPE a gauge\na{y=\"1\"} 1\na NaN\n");
    bench.error("job/k", "a 1 5\n");
    let before = (bench.ingest.groups(), bench.now().keys().cloned().collect::<Vec<_>>());
    bench.restart();
    assert_eq!((bench.ingest.groups(), bench.now().keys().cloned().collect::<Vec<_>>()), before);
    assert_eq!(bench.ingest.metadata().get("a").map(|m| m.help), Some("text".to_owned()));
    // What was restored still takes part in the checks, and can go.
    assert!(bench.error("job/l", "a 1\n").contains("is not a GAUGE"));
    bench.put("job/j/x/", "b 1\n");
    assert_eq!(bench.pushed(), ["b{job=\"j\"} 1"]);
    for path in ["job/j/x/", "job/k", "job/l"] {
        bench.delete(path);
    }
    assert_eq!(bench.now().len(), 0);
    bench.restart();
    assert_eq!(bench.ingest.push_groups(), 0);
}

#[test]
fn limits_are_kept_and_say_what_to_do() {
    let bench = Bench::with(IngestConfig { push_groups_max: 1, push_series_max: 2, ..IngestConfig::default() });
    bench.put("job/j", "a 1\n");
    assert!(bench.error("job/k", "a 1\n").contains("limit of 1 push groups"));
    bench.put("job/j", "a 2\n");
    assert!(bench.error("job/j", "a 1\nb 1\nc 1\n").contains("more than 2 samples"));
    let long = "v".repeat(5000);
    assert!(bench.error(&format!("job/{long}"), "a 1\n").contains("5000 bytes long"));
}

#[test]
fn content_types_choose_the_format() {
    for (content_type, format) in [
        ("", BodyFormat::Text),
        ("application/x-www-form-urlencoded", BodyFormat::Text),
        ("text/plain; version=0.0.4; charset=utf-8", BodyFormat::Text),
        ("application/vnd.google.protobuf", BodyFormat::Text),
        (
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            BodyFormat::Protobuf,
        ),
        (
            "Application/vnd.google.protobuf;encoding=delimited;proto=io.prometheus.client.MetricFamily;escaping=values",
            BodyFormat::Protobuf,
        ),
    ] {
        assert_eq!(BodyFormat::from_content_type(content_type), format, "{content_type}");
    }
}

#[test]
fn native_histograms_are_stored_once_a_push() {
    let bench = Bench::new();
    // One delimited family `h`: a histogram of count 3, with a zero bucket of width 1 and one positive bucket of 1.
    let histogram = [0x08, 3, 0x31, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x38, 2, 0x62, 2, 0x10, 1, 0x6a, 1, 2];
    let metric = [&[0x3a, histogram.len() as u8][..], &histogram].concat();
    let family = [&[0x0a, 1, b'h', 0x18, 4, 0x22, metric.len() as u8][..], &metric].concat();
    let body = [&[family.len() as u8][..], &family].concat();
    let grouping = Grouping::from_path("job/j").unwrap();
    let push = PushRequest { grouping: grouping.clone(), replace: true, body: &body, format: BodyFormat::Protobuf };
    run(bench.ingest.push(push)).unwrap();
    let read = || {
        let set = bench.store.select(TimeRange::ALL, &[Matcher::equal("__name__", "h")], &Hints::default()).unwrap();
        let mut samples = Samples::default();
        set.read(0, &mut samples).unwrap();
        samples
    };
    assert_eq!(read().histograms[0].histogram.count, 3.0);
    let shown = &bench.ingest.groups()[0]["h"]["metrics"][0];
    assert_eq!(shown["buckets"], serde_json::json!([[3, "-1", "1", "2"], [0, "0.5", "1", "1"]]));
    bench.clock.advance(10);
    run(bench.ingest.delete(&grouping)).unwrap();
    assert!(read().values.last().is_some_and(|value| is_stale(*value)));
}

#[test]
fn groups_are_shown_as_the_pushgateway_does() {
    let bench = Bench::new();
    bench.clock.set(1_795_189_774_730);
    let body = "# HELP c text\n# TYPE c counter\nc{x=\"y\"} 1e6\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n\
                h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n";
    bench.put("job/j/instance/", body);
    let help = |what| format!("Last Unix time when changing this group in the Pushgateway {what}.");
    let labels = serde_json::json!({ "instance": "", "job": "j" });
    let stamp = "2026-11-20T15:49:34.73Z";
    let time = |what, value| {
        serde_json::json!({ "time_stamp": stamp, "type": "GAUGE", "help": help(what),
            "metrics": [{ "labels": labels, "value": value }] })
    };
    let expected = serde_json::json!([{
        "labels": { "job": "j", "instance": "" },
        "last_push_successful": true,
        "push_time_seconds": time("succeeded", "1.79518977473e+09"),
        "push_failure_time_seconds": time("failed", "0"),
        "c": { "time_stamp": stamp, "type": "COUNTER", "help": "text",
            "metrics": [{ "labels": { "instance": "", "job": "j", "x": "y" }, "value": "1e+06" }] },
        "h": { "time_stamp": stamp, "type": "HISTOGRAM",
            "metrics": [{ "labels": labels, "buckets": { "1": "1", "+Inf": "2" }, "count": "2", "sum": "3" }] },
        "s": { "time_stamp": stamp, "type": "SUMMARY",
            "metrics": [{ "labels": labels, "quantiles": { "0.5": "1" }, "count": "1", "sum": "1" }] },
    }]);
    assert_eq!(bench.ingest.groups(), expected);
    assert_eq!(Bench::new().ingest.groups(), serde_json::json!([]));
}

#[test]
fn groups_that_were_pushed_to_since_a_time_are_listed_alone() {
    let bench = Bench::new();
    for (at_ms, path) in [(1_000, "job/a"), (2_000, "job/b"), (3_000, "job/c")] {
        bench.clock.set(at_ms);
        bench.put(path, "n 1\n");
    }
    bench.clock.set(4_000);
    bench.error("job/a", "n 1 5\n");
    let since = |since_ms| {
        let groups = bench.ingest.groups_since(since_ms);
        let jobs = groups.as_array().unwrap().iter().map(|group| group["labels"]["job"].as_str().unwrap().to_owned());
        jobs.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<String>()
    };
    assert_eq!([since(0), since(3_000), since(3_001), since(4_001)], ["abc", "ac", "a", ""]);
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Push { replace: bool, group: u8, series: Vec<(u8, u8, u8)> },
    Delete { group: u8 },
    Wait,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (any::<bool>(), 0..3u8, proptest::collection::vec((0..3u8, 0..3u8, 0..3u8), 0..4))
        .prop_map(|(replace, group, series)| Step::Push { replace, group, series });
    let step = prop_oneof![
        6 => push,
        2 => (0..3u8).prop_map(|group| Step::Delete { group }),
        1 => Just(Step::Wait),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..30)
}

proptest! {
    #[test]
    fn any_life_of_pushes_reads_as_a_plain_map(steps in steps()) {
        let mut bench = Bench::new();
        // Group to family to series to value.
        let mut model: BTreeMap<u8, BTreeMap<String, BTreeMap<String, f64>>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Push { replace, group, series } => {
                    let mut families: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
                    for (family, label, value) in series {
                        let name = format!("m{family}");
                        let series = format!("{name}{{job=\"g{group}\", x=\"l{label}\"}}");
                        families.entry(name).or_default().insert(series, f64::from(value));
                    }
                    let body: String = families.values().flatten().map(|(series, value)| format!("{series} {value}\n")).collect();
                    let result = bench.push(replace, &format!("job/g{group}"), &body);
                    prop_assert!(result.is_ok());
                    let held = model.entry(group).or_default();
                    if replace {
                        held.clear();
                    }
                    held.extend(families);
                }
                Step::Delete { group } => {
                    bench.delete(&format!("job/g{group}"));
                    model.remove(&group);
                }
                Step::Wait => bench.clock.advance(37_000),
                Step::Restart => bench.restart(),
            }
            let expected: Vec<String> =
                model.values().flat_map(BTreeMap::values).flatten().map(|(s, v)| format!("{s} {v}")).collect();
            let mut found = bench.pushed();
            let mut expected = expected;
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(bench.ingest.push_groups(), model.len());
        }
    }
}
