//! Queries under limits: what they may take, how they are told to stop, and how they explain themselves.

use super::support::server::TestServer;
use super::support::tools::now_ms;
use super::support::wire::{Series, write_request};
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// `count` series of `samples` samples, one every 5 s up to now.
fn filled(server: &TestServer, count: usize, samples: i64) {
    let now = now_ms();
    for series in 0..count {
        let points: Vec<(i64, f64)> =
            (0..samples).map(|index| (now - (samples - index) * 5_000, (index % 97) as f64)).collect();
        let name = series.to_string();
        assert_eq!(server.write(&write_request(&[Series::new("heavy", &[("n", &name)], &points)])).status, 204);
    }
}

/// Queries running or waiting, as our own metrics say.
fn running(server: &TestServer) -> f64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with("prometheus_engine_queries ")).expect("the gauge is there");
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Sends a query and does not wait for its answer.
fn begin(server: &TestServer, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("connect");
    let now = now_ms() / 1000;
    let form = super::support::http::form(&[
        ("query", query),
        ("start", &(now - 3_000).to_string()),
        ("end", &now.to_string()),
        ("step", "0.5"),
    ]);
    let head = format!(
        "POST /api/v1/query_range HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        server.address(),
        form.len()
    );
    stream.write_all(head.as_bytes()).expect("send the query");
    stream
}

fn wait_until(server: &TestServer, what: &str, holds: impl Fn(f64) -> bool) -> Duration {
    let began = Instant::now();
    while !holds(running(server)) {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {} queries", running(server));
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

#[test]
fn a_query_ends_soon_after_its_client_went_away() {
    let server = TestServer::start();
    filled(&server, 120, 2_000);
    // Alone on a machine it takes less than 10 ms; other tests run beside.
    let allowed = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 150 });
    for query in [
        "predict_linear(heavy[1h], 60)",
        "sum(heavy * on (n) group_left () heavy) by (n) + on (n) deriv(heavy[2h])",
        "max_over_time(sum(deriv(heavy[1h]))[1h:1s])",
        "count(deriv(heavy[2h]))",
    ] {
        // The machine may be running other tests: once in a few tries it is ours.
        let best = (0..8).map(|_| given_up_after(&server, query)).find(|took| *took < allowed);
        assert!(best.is_some(), "{query} went on for more than {allowed:?} eight times");
    }
}

/// How long a query goes on without its client.
fn given_up_after(server: &TestServer, query: &str) -> Duration {
    let stream = begin(server, query);
    wait_until(server, query, |count| count >= 1.0);
    std::thread::sleep(Duration::from_millis(50));
    assert!(running(server) >= 1.0, "{query} is not heavy enough");
    drop(stream);
    wait_until(server, query, |count| count == 0.0)
}

#[test]
fn queries_that_wait_leave_the_queue_with_their_client_and_are_told_when_it_takes_too_long() {
    let server = TestServer::with_config("limits:\n  query_concurrent_max: 1\n");
    filled(&server, 120, 2_000);
    let heavy = "predict_linear(heavy[1h], 60)";
    let first = begin(&server, heavy);
    wait_until(&server, "the first runs", |count| count >= 1.0);
    let second = begin(&server, heavy);
    wait_until(&server, "the second waits", |count| count >= 2.0);
    let answer = server.form("/api/v1/query", &[("query", "1"), ("timeout", "100ms")]);
    let message = answer.api_error(503, "timeout");
    assert!(message.starts_with("query timed out in query queue"), "{message}");
    assert!(message.contains("limits.query_concurrent_max"), "{message}");
    drop(second);
    wait_until(&server, "the second is gone", |count| count == 1.0);
    drop(first);
    wait_until(&server, "the first is gone", |count| count == 0.0);
}

#[test]
fn each_limit_is_named_with_the_option_that_raises_it() {
    let limits = "limits:\n  query_samples_max: 500\n  query_samples_scanned_max: 3000\n  query_bytes_max: 16KiB\n";
    let server = TestServer::with_config(limits);
    filled(&server, 8, 400);
    let now = now_ms() / 1000;
    let range = |query: &str| {
        let (start, end) = ((now - 900).to_string(), now.to_string());
        server.form("/api/v1/query_range", &[("query", query), ("start", &start), ("end", &end), ("step", "15")])
    };
    for (query, option) in
        [("heavy", "limits.query_"), ("sum(count_over_time(heavy[1h]))", "limits.query_samples_scanned_max")]
    {
        let message = range(query).api_error(422, "execution").to_owned();
        assert!(message.contains(option), "{query}: {message}");
    }
    let message =
        server.form("/api/v1/query", &[("query", "1"), ("timeout", "0")]).api_error(503, "timeout").to_owned();
    assert!(message.starts_with("query timed out"), "{message}");

    let slow = TestServer::with_config("limits:\n  query_timeout: 20ms\n");
    filled(&slow, 40, 2_000);
    let (start, end) = ((now - 3_000).to_string(), now.to_string());
    let fields = [("query", "predict_linear(heavy[1h], 60)"), ("start", &start[..]), ("end", &end), ("step", "0.5")];
    let message = slow.form("/api/v1/query_range", &fields).api_error(503, "timeout").to_owned();
    assert!(message.starts_with("query timed out in expression evaluation: 20ms are allowed"), "{message}");
    assert!(message.contains("limits.query_timeout"), "{message}");
}

#[test]
fn a_query_explains_what_it_did_and_why_it_found_nothing() {
    let server = TestServer::start();
    filled(&server, 3, 100);
    let now = now_ms() / 1000;
    let (start, end) = ((now - 300).to_string(), now.to_string());
    let fields = [("query", "sum(rate(heavy[1m]))"), ("start", &start[..]), ("end", &end), ("step", "15")];
    let data = server.form("/api/v1/explain", &fields).data();
    assert_eq!(data["plan"]["type"], "aggregation", "{data}");
    let selector = &data["plan"]["children"][0]["children"][0];
    assert_eq!((&selector["type"], &selector["seriesMatched"]), (&json!("matrixSelector"), &json!(3)));
    assert!(selector["memoryPartitions"].as_u64() > Some(0) && selector["blocks"] == 0, "{data}");
    assert!(selector["samplesRead"].as_u64().is_some_and(|read| read >= 180), "{data}");
    assert!(data["plan"]["milliseconds"].as_f64().is_some(), "{data}");
    assert_eq!((&data["answer"]["series"], &data["reasons"]), (&json!(1), &json!([])));

    let data = server.get("/api/v1/explain?query=hevy").data();
    assert_eq!(data["reasons"][0]["kind"], "no_such_metric", "{data}");
    assert_eq!(data["reasons"][0]["nearest"], json!(["heavy"]));
    let data = server.get("/api/v1/explain?query=heavy%7Bn=%229%22%7D").data();
    assert_eq!(data["reasons"][0]["kind"], "excluded_by_matcher", "{data}");
    assert_eq!(data["reasons"][0]["nearest"], json!(["0", "1", "2"]));
    server.get("/api/v1/explain?query=sum(").api_error(400, "bad_data");
    server.get("/api/v1/explain?query=1&start=1").api_error(400, "bad_data");
}
