//! Grafana's requests to a Prometheus data source, replayed as it sends them, and the shapes its parser insists on.

use super::support::http::{Answer, form};
use super::support::server::TestServer;
use super::support::tools::now_ms;
use super::support::wire::{Series, write_request};
use serde_json::{Value, json};

const HEADERS: &[(&str, &str)] = &[
    ("User-Agent", "Grafana/12.1.0"),
    ("X-Datasource-Uid", "observatory"),
    ("X-Dashboard-Uid", "abc"),
    ("X-Panel-Id", "4"),
    ("X-Grafana-Org-Id", "1"),
    ("X-Query-Group-Id", "9d0f"),
    ("X-Scope-OrgID", "tenant"),
    ("FromAlert", "true"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("Cookie", "grafana_session=1"),
];

fn post(server: &TestServer, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut headers = HEADERS.to_vec();
    headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    server.send("POST", path, &headers, form(fields).as_bytes())
}

fn filled() -> TestServer {
    let server = TestServer::start();
    let now = now_ms();
    let samples = |factor: f64| -> Vec<(i64, f64)> {
        (0..40).map(|step| (now - 600_000 + step * 15_000, step as f64 * factor)).collect()
    };
    let body = [
        Series::new("http_requests_total", &[("job", "web"), ("code", "200")], &samples(3.0)),
        Series::new("http_requests_total", &[("job", "web"), ("code", "500")], &samples(0.5)),
        Series::new("temperature_celsius", &[("job", "sensors")], &samples(0.1)),
    ];
    assert_eq!(server.write(&write_request(&body)).status, 204);
    server
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[test]
fn save_and_test_succeeds() {
    let server = TestServer::start();
    let health = post(&server, "/api/v1/query", &[("query", "1+1"), ("time", "4")]);
    assert_eq!(health.json(), json!({"status": "success", "data": {"resultType": "scalar", "result": [4, "2"]}}));
    let build = server.get("/api/v1/status/buildinfo").data();
    assert!(build.get("features").is_none(), "features would mean a ruler's write API");
    assert!(build.get("application").is_none());
    let version = build["version"].as_str().expect("a version");
    let major: u32 = version.split('.').next().and_then(|number| number.parse().ok()).expect("a semantic version");
    assert!(major >= 2, "label queries with matchers need 2.24 or later: {version}");
}

#[test]
fn a_panel_asks_for_a_range_by_form() {
    let server = filled();
    let now = now_ms();
    let (start, end) = (seconds(now - 600_000), seconds(now));
    let fields =
        [("query", "sum by (code) (rate(http_requests_total[2m]))"), ("start", &start), ("end", &end), ("step", "15")];
    let answer = post(&server, "/api/v1/query_range", &fields);
    let data = answer.data();
    assert_eq!(data["resultType"], "matrix");
    let result = data["result"].as_array().expect("a result");
    assert_eq!(result.len(), 2, "{answer}");
    for series in result {
        assert!(series["metric"].as_object().is_some_and(|labels| labels.len() == 1), "{series}");
        let values = series["values"].as_array().expect("values");
        assert!(values.len() > 20, "{series}");
        assert!(values.iter().all(is_sample), "{series}");
    }
}

/// `[number, "number"]`: a number as second element makes Grafana fail.
fn is_sample(pair: &Value) -> bool {
    pair.as_array().is_some_and(|pair| pair.len() == 2 && pair[0].is_number() && pair[1].as_str().is_some())
}

#[test]
fn a_table_or_an_alert_asks_for_an_instant_by_form() {
    let server = filled();
    let time = seconds(now_ms());
    let answer =
        post(&server, "/api/v1/query", &[("query", "http_requests_total > 1"), ("time", &time), ("timeout", "30s")]);
    let data = answer.data();
    assert_eq!(data["resultType"], "vector");
    let result = data["result"].as_array().expect("a result");
    assert_eq!(result.len(), 2);
    assert!(result.iter().all(|series| is_sample(&series["value"])), "{answer}");
    assert_eq!(result[0]["metric"]["__name__"], "http_requests_total");
}

#[test]
fn the_query_builder_finds_metrics_labels_and_values() {
    let server = filled();
    let now = now_ms() / 1000;
    let range = format!("start={}&end={}", now - 3600, now + 60);
    let names = server.get(&format!("/api/v1/label/__name__/values?{range}&limit=40000")).data();
    assert_eq!(names, json!(["http_requests_total", "temperature_celsius"]));
    let fields = [("match[]", "http_requests_total{job=\"web\"}"), ("start", "0"), ("end", "9999999999")];
    assert_eq!(post(&server, "/api/v1/labels", &fields).data(), json!(["__name__", "code", "job"]));
    let values = server.get(&format!("/api/v1/label/code/values?match[]=http_requests_total&{range}")).data();
    assert_eq!(values, json!(["200", "500"]));
    let series = post(&server, "/api/v1/series", &[("match[]", "{__name__!=\"\"}"), ("limit", "40000")]).data();
    assert_eq!(series.as_array().map(Vec::len), Some(3));
    assert_eq!(post(&server, "/api/v1/label/code/values", &[]).status, 405, "405 makes Grafana try GET");
    assert!(server.get("/api/v1/metadata").data().is_object());
}

#[test]
fn what_is_not_there_yet_is_empty_in_the_right_shape() {
    let server = TestServer::start();
    let rules = "/api/v1/rules?file=a&file[]=a&rule_group=g&rule_group[]=g&exclude_alerts=true&group_limit=40";
    assert_eq!(server.get(rules).data(), json!({"groups": []}));
    assert_eq!(server.get("/api/v1/alerts").data(), json!({"alerts": []}));
    // The probe's milliseconds, read as seconds, lie in the year 50000.
    let probe = "/api/v1/query_exemplars?query=test&start=1700000000000&end=1700001800000";
    assert_eq!(server.get(probe).data(), json!([]));
    assert_eq!(server.get("/alertmanager/api/v2/status").status, 404);
}

#[test]
fn a_bad_query_is_a_json_error_that_the_panel_can_show() {
    let server = TestServer::start();
    let fields = [("query", "rate(http_requests_total"), ("start", "0"), ("end", "60"), ("step", "15")];
    let answer = post(&server, "/api/v1/query_range", &fields);
    let message = answer.api_error(400, "bad_data");
    assert!(message.contains("parse error"), "{message}");
}

#[test]
fn resources_are_asked_by_post_first_and_405_leads_to_get() {
    let server = filled();
    for path in [
        "/api/v1/label/job/values",
        "/api/v1/metadata",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/targets",
        "/api/v1/status/buildinfo",
        "/api/v1/status/flags",
    ] {
        assert_eq!(post(&server, path, &[]).status, 405, "{path}");
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/api/v1/labels", "/api/v1/series?match[]=temperature_celsius", "/api/v1/query_exemplars?query=test"] {
        assert!(post(&server, path, &[("start", "1"), ("end", "9999999999")]).data().is_array(), "{path}");
    }
    assert_eq!(server.get("/rules/test/test").status, 404, "no ruler that can be written to");
}

#[test]
fn parameters_a_user_adds_to_the_data_source_stand_in_the_url_beside_the_form() {
    let server = filled();
    let time = seconds(now_ms());
    let path = "/api/v1/query?lookback_delta=1s&unknown=1";
    let fields = [("query", "temperature_celsius"), ("time", &time[..])];
    assert_eq!(post(&server, path, &fields).data()["result"], json!([]), "the lookback of the URL counts");
    let probe = [("query", "test"), ("start", "1700000000000"), ("end", "1700001800000")];
    assert_eq!(post(&server, "/api/v1/query_exemplars", &probe).data(), json!([]));
}

#[test]
fn notices_come_along_and_steps_may_be_fractions() {
    let server = filled();
    let now = now_ms();
    let (start, end) = (seconds(now - 60_000), seconds(now));
    let fields = [("query", "rate(temperature_celsius[1m])"), ("start", &start[..]), ("end", &end), ("step", "0.5")];
    let answer = post(&server, "/api/v1/query_range", &fields);
    let json = answer.json();
    assert!(json["infos"][0].as_str().is_some_and(|info| info.starts_with("PromQL info: ")), "{answer}");
    let values = answer.data()["result"][0]["values"].as_array().cloned().expect("values");
    assert!(values.len() > 100 && values.iter().all(is_sample), "{answer}");
    let annotation = [("query", "temperature_celsius > 1"), ("start", &start[..]), ("end", &end), ("step", "60")];
    assert_eq!(post(&server, "/api/v1/query_range", &annotation).data()["resultType"], "matrix");
}
