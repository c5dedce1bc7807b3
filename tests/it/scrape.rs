//! Targets as they are out there: good, changing, dead, slow, endless, lying; and a reload in their midst.

use crate::support::server::TestServer;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";

/// A target that answers as it is told, one thread a connection.
struct Stub {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicUsize>,
}

impl Stub {
    /// `answer` writes to the connection; false closes it.
    fn start(answer: impl Fn(&mut TcpStream, usize) -> bool + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(answer);
        let (kept, counted) = (requests.clone(), count.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, requests, count) = (answer.clone(), kept.clone(), counted.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut stream = stream;
                    loop {
                        let mut head = String::new();
                        while !head.ends_with("\r\n\r\n") {
                            if !reader.read_line(&mut head).is_ok_and(|read| read > 0) {
                                return;
                            }
                        }
                        requests.lock().unwrap().push(head);
                        if !answer(&mut stream, count.fetch_add(1, Ordering::SeqCst)) {
                            return;
                        }
                    }
                });
            }
        });
        Stub { address, requests, count }
    }

    /// Answers every request with the body of its number, the last one for ever.
    fn bodies(bodies: &'static [&'static str]) -> Stub {
        Stub::start(move |stream, number| {
            let body = bodies[number.min(bodies.len() - 1)];
            write!(stream, "{OK}Content-Length: {}\r\n\r\n{body}", body.len()).is_ok()
        })
    }

    fn job(&self, name: &str, more: &str) -> String {
        job(name, &self.address.to_string(), more)
    }

    fn scrapes(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn job(name: &str, address: &str, more: &str) -> String {
    format!("  - {{job_name: {name}, static_configs: [{{targets: ['{address}']}}]{more}}}\n")
}

fn config(jobs: &[String]) -> String {
    format!("global: {{scrape_interval: 300ms}}\nscrape_configs:\n{}", jobs.concat())
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn target(server: &TestServer, job: &str) -> Value {
    let data = server.get("/api/v1/targets").data();
    let targets = data["activeTargets"].as_array().unwrap();
    targets.iter().find(|target| target["scrapePool"] == job).cloned().unwrap_or(Value::Null)
}

/// Waits for the first scrape; gives the error it ended with.
fn error_of(server: &TestServer, job: &str) -> String {
    wait(job, || target(server, job)["health"].as_str().is_some_and(|health| health != "unknown"));
    target(server, job)["lastError"].as_str().unwrap().to_owned()
}

fn all_points(server: &TestServer, selector: &str) -> Vec<f64> {
    let data = server.query(&format!("{selector}[1m]"), None);
    let points = data["result"][0]["values"].as_array().cloned().unwrap_or_default();
    points.iter().map(|point| point[0].as_f64().unwrap()).collect()
}

#[test]
fn a_target_becomes_series_with_its_report() {
    let stub =
        Stub::bodies(&["# HELP a text\n# TYPE a gauge\na{x=\"1\",job=\"own\"} 5\na{x=\"1\",job=\"own\"} 6\nup 7\n"]);
    let more = ", params: {p: [q]}, extra_scrape_metrics: true, authorization: {credentials: hush}";
    let server = TestServer::with_config(&config(&[stub.job("j", more)]));
    wait("a sample", || server.value("a").is_some());
    let labels = server.query("a", None)["result"][0]["metric"].clone();
    assert_eq!((labels["exported_job"].as_str(), labels["job"].as_str()), (Some("own"), Some("j")));
    assert_eq!(labels["instance"], stub.address.to_string());
    assert_eq!((server.value("a"), server.value("up")), (Some(5.0), Some(7.0)));
    assert_eq!(server.value("scrape_samples_scraped"), Some(3.0));
    assert_eq!(server.value("scrape_samples_post_metric_relabeling"), Some(3.0));
    assert_eq!(server.value("scrape_timeout_seconds"), Some(0.3));
    assert!(server.value("scrape_duration_seconds").is_some() && server.value("scrape_body_size_bytes") > Some(40.0));
    let request = stub.requests.lock().unwrap()[0].to_lowercase();
    for part in ["get /metrics?p=q ", "accept-encoding: gzip", "x-prometheus-scrape-timeout-seconds: 0.3"] {
        assert!(request.contains(part), "{part}: {request}");
    }
    assert!(request.contains("authorization: bearer hush") && request.contains("accept: application/openmetrics-text"));
    let shown = target(&server, "j");
    assert_eq!((shown["health"].as_str(), shown["lastError"].as_str()), (Some("up"), Some("")));
    assert_eq!(shown["discoveredLabels"]["__scrape_interval__"], "300ms");
    assert_eq!(server.get("/api/v1/scrape_pools").data()["scrapePools"][0], "j");
    let known = server.get("/api/v1/targets/metadata?metric=a").data();
    assert_eq!((known[0]["type"].as_str(), known[0]["help"].as_str()), (Some("gauge"), Some("text")));
    assert_eq!(server.get("/api/v1/metadata?metric=a").data()["a"][0]["help"], "text");
    assert!(!server.get("/api/v1/status/config").text().contains("hush"));
    // On the interval, counted from the first: nothing drifts, however busy the machine is.
    wait("five points", || all_points(&server, "a").len() >= 5);
    let points = all_points(&server, "a");
    let off = |point: &f64| ((point - points[0]) * 1000.0 + 150.0).rem_euclid(300.0) - 150.0;
    let on_time = points.iter().filter(|point| off(point).abs() < 100.0).count();
    assert!(on_time * 2 > points.len(), "{points:?}");
}

#[test]
fn exemplars_of_a_scrape_are_found_by_any_selector_of_a_query() {
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 3 # {trace_id=\"first\"} 0.5\n\
        h_bucket{le=\"+Inf\"} 4 # {trace_id=\"late\",span=\"<b>\"} 7 1700000000.123\nh_count 4\nh_sum 8\n# EOF\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\n";
    let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let stub = Stub::start(move |stream, _| stream.write_all(answer.as_bytes()).is_ok());
    let server = TestServer::with_config(&config(&[stub.job("j", "")]));
    wait("a sample", || server.value("h_count").is_some());
    let query = "/api/v1/query_exemplars?query=rate(h_bucket[1m])%2Bnothing";
    let found = server.get(query).data();
    let mut found = found.as_array().unwrap().clone();
    found.sort_by_key(|series| series["seriesLabels"]["le"].as_str().unwrap().to_owned());
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["seriesLabels"]["le"], "+Inf");
    let late = &found[0]["exemplars"][0];
    assert_eq!((late["value"].as_str(), late["timestamp"].as_f64()), (Some("7"), Some(1_700_000_000.123)));
    assert_eq!((late["labels"]["trace_id"].as_str(), late["labels"]["span"].as_str()), (Some("late"), Some("<b>")));
    let first = &found[1]["exemplars"][0];
    assert_eq!((first["value"].as_str(), first["labels"]["trace_id"].as_str()), (Some("0.5"), Some("first")));
    assert!(first["timestamp"].as_f64() > Some(1_700_000_001.0), "the time of the scrape");
    let early = server.get(&format!("{query}&start=1&end=1700000000")).data();
    assert_eq!(early.as_array().map(Vec::len), Some(0));
}

#[test]
fn what_vanishes_goes_stale_and_a_failed_scrape_ends_everything() {
    let stub = Stub::bodies(&["a 1\nb 1\n", "a 2\nb 2\n", "a 3\n", "a 4\n", "a 5\n", "a 6\n", "broken", "broken"]);
    let server = TestServer::with_config(&config(&[stub.job("j", ", scrape_interval: 500ms")]));
    wait("b", || server.value("b").is_some());
    wait("b gone", || server.value("b").is_none() && server.value("a").is_some());
    wait("a gone", || server.value("a").is_none() && server.value("up") == Some(0.0));
    assert!(error_of(&server, "j").contains("expected float as value"), "{}", error_of(&server, "j"));
    assert_eq!(server.value("count_over_time(a[1m])"), Some(6.0));
}

/// One that drips, one without an end, one that expands a thousandfold, one with ten thousand headers.
fn hostile() -> [Stub; 4] {
    let slow = Stub::start(|stream, _| {
        let _ = write!(stream, "{OK}\r\n");
        (0..100).all(|_| {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(b"#").is_ok()
        })
    });
    let endless = Stub::start(|stream, _| {
        let _ = write!(stream, "{OK}\r\n");
        while stream.write_all(&[b'#'; 65536]).is_ok() {}
        false
    });
    let bomb = Stub::start(|stream, _| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        (0..256).for_each(|_| encoder.write_all(&[b'#'; 1 << 20]).unwrap());
        let body = encoder.finish().unwrap();
        let _ = write!(stream, "{OK}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&body).is_ok()
    });
    let headers = Stub::start(|stream, _| {
        let _ = stream.write_all(OK.as_bytes());
        (0..10_000).for_each(|number| {
            let _ = write!(stream, "X-{number}: {number}\r\n");
        });
        write!(stream, "Content-Length: 4\r\n\r\na 1\n").is_ok()
    });
    [slow, endless, bomb, headers]
}

#[test]
fn hostile_targets_fail_alone() {
    let good = Stub::bodies(&["good 1\n"]);
    let [slow, endless, bomb, headers] = hostile();
    let plain = |answer: &'static str| Stub::start(move |stream, _| stream.write_all(answer.as_bytes()).is_ok());
    let redirect = plain("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    let html = plain("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\na 1\n");
    let untyped = plain("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n");
    let lying =
        plain("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text\r\nContent-Length: 4\r\n\r\na 1\n");
    let failing = plain("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    let many = Stub::bodies(&["m1 1\nm2 1\nm3 1\nm4 1\n"]);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let long = ", scrape_interval: 3s, scrape_timeout: 3s";
    let mut server = TestServer::with_config(&config(&[
        good.job("good", ""),
        slow.job("slow", ", scrape_interval: 500ms"),
        endless.job("endless", long),
        bomb.job("bomb", long),
        headers.job("headers", long),
        redirect.job("redirect", ""),
        html.job("html", ""),
        untyped.job("untyped", ""),
        untyped.job("fallback", ", fallback_scrape_protocol: PrometheusText0.0.4"),
        lying.job("lying", ""),
        failing.job("failing", ""),
        many.job("many", ", sample_limit: 2"),
        many.job("labels", ", label_limit: 2"),
        job("dead", &dead.to_string(), ""),
    ]));
    for (job, expected) in [
        ("good", ""),
        ("fallback", ""),
        ("slow", "did not answer within 500ms"),
        ("endless", "body size limit exceeded"),
        ("bomb", "body size limit exceeded"),
        ("headers", "the request failed"),
        ("redirect", "server returned HTTP status 302 Found"),
        ("html", "received unsupported Content-Type \"text/html\""),
        ("untyped", "non-compliant scrape target sending blank Content-Type"),
        ("lying", "data does not end with # EOF"),
        ("failing", "server returned HTTP status 500 Internal Server Error"),
        ("many", "sample limit exceeded"),
        ("labels", "label_limit exceeded"),
        ("dead", "refused"),
    ] {
        let error = error_of(&server, job);
        // A slow machine may run out of time before it runs out of bytes.
        let late = ["endless", "bomb"].contains(&job) && error.contains("did not answer");
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty() || late, "{job}: {error}");
        let up = server.value(&format!("up{{job=\"{job}\"}}"));
        assert_eq!(up, Some(f64::from(expected.is_empty())), "{job}");
    }
    assert_eq!(server.value("scrape_samples_scraped{job=\"many\"}"), Some(4.0));
    assert_eq!(server.value("scrape_samples_post_metric_relabeling{job=\"many\"}"), Some(4.0));
    let before = good.scrapes();
    std::thread::sleep(Duration::from_secs(2));
    let scrapes = good.scrapes() - before;
    assert!(scrapes >= 4, "the good target was scraped {scrapes} times in 2 s");
    let peak = server.resident_peak_bytes() >> 20;
    assert!(peak < 900, "{peak} MiB");
    server.assert_healthy();
}

#[test]
fn a_reload_leaves_what_is_unchanged_alone_and_ends_what_is_gone() {
    let (kept, changed, gone) =
        (Stub::bodies(&["kept 1\n"]), Stub::bodies(&["changed 1\n"]), Stub::bodies(&["gone 1\n"]));
    let server =
        TestServer::with_config(&config(&[kept.job("kept", ""), changed.job("changed", ""), gone.job("gone", "")]));
    wait("all", || ["kept", "changed", "gone"].iter().all(|name| server.value(name).is_some()));
    server.rewrite_config(&config(&[kept.job("kept", ""), changed.job("changed", ", honor_labels: true")]));
    let answer = server.send("POST", "/-/reload", &[], b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!(server.value("gone"), None);
    assert_eq!(server.value("up{job=\"gone\"}"), None);
    assert!(server.value("kept").is_some() && server.value("changed").is_some());
    assert_eq!(target(&server, "gone"), Value::Null);
    assert_eq!(target(&server, "changed")["health"], "up");

    server.rewrite_config("scrape_configs: [{job_nam: x}]");
    let answer = server.send("POST", "/-/reload", &[], b"");
    assert!(answer.status == 500 && answer.text().contains("did you mean `job_name`?"), "{answer}");
    assert_eq!(server.get("/api/v1/status/runtimeinfo").data()["reloadConfigSuccess"], false);
    assert!(server.get("/metrics").text().contains("prometheus_config_last_reload_successful 0"));
    assert_eq!(target(&server, "kept")["health"], "up");

    server.rewrite_config(&config(&[kept.job("kept", ""), gone.job("gone", "")]));
    server.signal(rustix::process::Signal::HUP);
    wait("the job that is back", || server.value("gone").is_some() && server.value("changed").is_none());
    let points = all_points(&server, "kept");
    let gap = points.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(gap < 0.75, "a gap of {gap} s: {points:?}");
    assert_eq!(server.get("/api/v1/status/runtimeinfo").data()["reloadConfigSuccess"], true);
}

#[test]
fn the_process_scrapes_itself_unless_told_not_to() {
    let server = TestServer::with_config("global: {scrape_interval: 300ms}\nself_scrape: true");
    wait("our own series", || server.value("observatory_build_info{job=\"observatory\"}").is_some());
    assert_eq!(server.value("up{job=\"observatory\"}"), Some(1.0));
    assert!(server.value("observatory_scrape_lateness_seconds_count") >= Some(1.0));
    let off = TestServer::start();
    assert_eq!(off.get("/api/v1/targets").data()["activeTargets"].as_array().map(Vec::len), Some(0));
}

#[test]
fn node_exporter_is_scraped_whole() {
    let binary = "/usr/bin/prometheus-node-exporter";
    if !std::path::Path::new(binary).exists() {
        eprintln!("{binary} is not installed: nothing to scrape");
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exporter = Command::new(binary).arg(format!("--web.listen-address={port}")).stderr(Stdio::null()).spawn();
    let _exporter = Killed(exporter.unwrap());
    let more = ", scrape_interval: 1s";
    let server = TestServer::with_config(&config(&[job("node", &port.to_string(), more)]));
    wait("the exporter's series", || server.value("node_load1").is_some());
    assert_eq!(error_of(&server, "node"), "");
    assert!(server.value("scrape_samples_scraped") > Some(300.0));
    wait("two scrapes", || server.value("count_over_time(node_load1[1m])") >= Some(2.0));
    let stored = server.value("count({job=\"node\",__name__!~\"up|scrape_.*\"})").unwrap();
    assert_eq!(Some(stored), server.value("scrape_samples_scraped"), "every sample is a series");
    assert_eq!(server.get("/api/v1/metadata?metric=node_load1").data()["node_load1"][0]["type"], "gauge");
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
