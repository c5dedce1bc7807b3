//! The real program against a stand-in for SonarCloud: a first sync killed at any moment, a webhook, the command line,
//! and what a large organization costs. `SONAR_KILLS` and `SONAR_PROJECTS` give the long forms.

use super::mailbox::Redis;
use super::support::http;
use super::support::server::{TestServer, number, run};
use super::support::sonar::StandIn;
use super::support::tools::{eventually, now_ms};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(60);
const METRICS: &[(&str, &str)] =
    &[("alert_status", "LEVEL"), ("coverage", "PERCENT"), ("ncloc", "INT"), ("sqale_index", "WORK_DUR")];

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Analyses of the last two days, some of them without coverage.
fn fill(server: &StandIn, projects: usize, now_s: i64) {
    let mut world = server.world();
    for project in 0..projects {
        for (index, branch) in ["main", "feature/x"].into_iter().enumerate() {
            for number in 0..12 {
                let date = now_s - 2 * 86_400 + (number * 13_000 + project * 17 + index * 7) as i64;
                let (lines, coverage) = (format!("{}", 100 + number / 3), format!("{}.5", 50 + number % 4));
                let mut values = vec![("ncloc", lines.as_str()), ("alert_status", "OK"), ("sqale_index", "60")];
                if number % 5 != 4 {
                    values.push(("coverage", coverage.as_str()));
                }
                world.analyze(&format!("org:p_{project:03}"), branch, date, &values);
            }
        }
    }
}

fn config(server: &StandIn, more: &str) -> String {
    format!(
        "sonar:\n  url: {}\n  organization: org\n  branches: all\n  calls_per_hour: 1000000\n  interval: 1h\n{more}",
        server.url
    )
}

fn is_done(server: &TestServer) -> bool {
    server.get("/api/v1/sonar/status").data()["success_ms"].is_i64()
}

/// Compares every minute of every branch with the source.
fn assert_equals_source(server: &TestServer, source: &StandIn) {
    let world = source.world();
    for (key, project) in &world.projects {
        for (name, branch) in &project.branches {
            for (metric, series, factor) in [("ncloc", "sonar_ncloc", 1.0), ("coverage", "sonar_coverage_ratio", 0.01)]
            {
                let end_s = now_ms() / 1000;
                let query = format!("{series}{{project=\"{key}\",branch=\"{name}\"}}[3d]");
                let data = server.query(&query, Some(end_s as f64));
                let points = data["result"][0]["values"].as_array().cloned().unwrap_or_default();
                let pair = |point: &Value| (point[0].as_f64().unwrap_or_default(), number(&point[1]));
                let stored: BTreeMap<i64, f64> =
                    points.iter().map(pair).filter(|(at, _)| at % 60.0 == 0.0).map(|(at, v)| (at as i64, v)).collect();
                let expected = branch.expected(metric, factor, end_s);
                let close =
                    |(one, other): ((&i64, &f64), (&i64, &f64))| one.0 == other.0 && (one.1 - other.1).abs() < 1e-9;
                let same = stored.len() == expected.len() && stored.iter().zip(&expected).all(close);
                assert!(same, "{query}: {} stored, {} expected", stored.len(), expected.len());
            }
        }
    }
}

#[test]
fn a_first_sync_that_is_killed_at_any_moment_ends_up_equal_to_its_source() {
    kill_a_first_sync("the embedded queue", "");
}

#[test]
fn a_first_sync_over_redis_that_is_killed_at_any_moment_ends_up_equal_to_its_source() {
    let redis = Redis::start();
    kill_a_first_sync("Redis", &redis.config(""));
}

fn kill_a_first_sync(through: &str, mailbox: &str) {
    let kills = from_environment("SONAR_KILLS", 4);
    let source = StandIn::start(METRICS);
    fill(&source, 40, now_ms() / 1000);
    // So slow that the sync lasts as long as it is killed.
    source.world().delay = Duration::from_millis(30 * kills as u64);
    let mut server = TestServer::with_config(&(config(&source, "") + mailbox));
    let began = Instant::now();
    for kill in 0..kills {
        // Spread over the sync, other moments each time.
        let moment = 1_000 + (kill as u64 * 137 + u64::from(began.elapsed().subsec_micros()) % 400) % 1_500;
        std::thread::sleep(Duration::from_millis(moment));
        server.kill();
        server = server.start_again();
    }
    let was_done = is_done(&server);
    source.world().delay = Duration::ZERO;
    eventually("the first sync", WAIT, || is_done(&server).then_some(()));
    assert_equals_source(&server, &source);
    let report = server.get("/api/v1/mailbox").data();
    assert_eq!((report["queue"]["waiting"].as_u64(), report["queue"]["dead"].as_u64()), (Some(0), Some(0)), "{report}");
    assert_eq!(report["redis"]["dead"].as_u64().unwrap_or(0), 0, "{report}");
    let calls = source.world().calls.len();
    println!(
        "{kills} kills through {through}, 80 branches, 960 analyses: equal to the source, {calls} calls, done before the last: {was_done}, {:?}",
        began.elapsed()
    );
}

#[test]
fn a_webhook_and_the_command_line_bring_what_is_new() {
    let source = StandIn::start(METRICS);
    fill(&source, 2, now_ms() / 1000);
    source.world().token = Some("a-token".to_owned());
    let directory = tempfile::tempdir().unwrap();
    let secret = "a-secret-of-some-length";
    std::fs::write(directory.path().join("token"), "a-token\n").unwrap();
    std::fs::write(directory.path().join("secret"), secret).unwrap();
    let files = directory.path().display();
    let more = format!("  token_file: {files}/token\n  webhook_secret_file: {files}/secret\n");
    let server = TestServer::with_config(&config(&source, &more));
    eventually("the first sync", WAIT, || is_done(&server).then_some(()));
    assert_equals_source(&server, &source);

    let newest = now_ms() / 1000;
    source.world().analyze("org:p_000", "main", newest, &[("ncloc", "777"), ("alert_status", "ERROR")]);
    let body = "{\"status\":\"SUCCESS\",\"project\":{\"key\":\"org:p_000\"},\"branch\":{\"type\":\"BRANCH\"}}\n";
    let send = |signature: &str| {
        let header = [("X-Sonar-Webhook-HMAC-SHA256", signature), ("Content-Type", "application/json")];
        server.send("POST", "/api/v1/sonar/webhook", &header, body.as_bytes())
    };
    assert_eq!(send("00").status, 403);
    let answer = send(&hmac(secret.as_bytes(), body.as_bytes()));
    assert_eq!((answer.status, answer.data()["taken"].as_bool()), (200, Some(true)), "{answer}");
    let lines = || server.value("last_over_time(sonar_ncloc{project=\"org:p_000\",branch=\"main\"}[10m])");
    eventually("what the webhook told of", WAIT, || (lines() == Some(777.0)).then_some(()));
    assert_eq!(
        server.value("sonar_quality_gate_status{project=\"org:p_000\",branch=\"main\",status=\"error\"}"),
        Some(1.0)
    );

    let event = ("VERSION".to_owned(), "1.2".to_owned());
    let mut world = source.world();
    world.analyze("org:p_001", "main", newest, &[("ncloc", "888")]);
    let branch = world.projects.get_mut("org:p_001").unwrap().branches.get_mut("main").unwrap();
    branch.analyses.get_mut(&newest).unwrap().events.push(event);
    drop(world);
    let finished = run(&["sonar", "sync", "--url", server.url(), "--project", "org:p_001"], |_| {});
    assert!(finished.status.success(), "{finished:?}");
    assert!(finished.text.contains("1 project is up to date"), "{finished:?}");
    let events = server.get("/api/v1/sonar/events?project=org:p_001").data();
    assert_eq!(events["events"][0]["name"], "1.2", "{events}");
    let finished = run(&["sonar", "status", "--url", server.url()], |_| {});
    assert!(finished.text.contains("org:p_001"), "{finished:?}");
}

/// RFC 2104, written another way than the program's.
fn hmac(secret: &[u8], message: &[u8]) -> String {
    let pad = |with: u8| (0..64).map(|index| secret.get(index).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    let outer = Sha256::digest([&pad(0x5c)[..], &inner[..]].concat());
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_organization_costs_a_few_calls_a_branch_and_little_memory() {
    let projects = from_environment("SONAR_PROJECTS", 30);
    let metrics: Vec<(String, &str)> = (0..20).map(|index| (format!("custom_{index:02}"), "INT")).collect();
    let listed: Vec<(&str, &str)> = metrics.iter().map(|(key, kind)| (key.as_str(), *kind)).collect();
    let source = StandIn::start(&listed);
    let now_s = now_ms() / 1000;
    for project in 0..projects {
        for day in 0..30 {
            // Each metric changes every third day.
            let values: Vec<(String, String)> = metrics
                .iter()
                .enumerate()
                .map(|(index, (key, _))| (key.clone(), ((day + index) / 3 * 7 + project).to_string()))
                .collect();
            let values: Vec<(&str, &str)> = values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            source.world().analyze(
                &format!("p{project:04}"),
                "main",
                now_s - (30 - day as i64) * 86_400 + 600,
                &values,
            );
        }
    }
    let idle = TestServer::start();
    std::thread::sleep(Duration::from_secs(2));
    let idle_bytes = idle.resident_peak_bytes();
    drop(idle);
    let keys: Vec<&str> = listed.iter().map(|(key, _)| *key).collect();
    let began = Instant::now();
    let server = TestServer::with_config(&config(&source, &format!("  metrics: [{}]\n", keys.join(", "))));
    eventually("the first sync", Duration::from_secs(600), || is_done(&server).then_some(()));
    let took = began.elapsed();
    let calls = source.world().calls.len();
    assert!(calls <= projects * 3 + 10, "{calls} calls");
    let values = server.own_metric("observatory_sonar_values_total");
    assert_eq!(values as usize, projects * 30 * 20);
    let over = server.resident_peak_bytes().saturating_sub(idle_bytes);
    println!(
        "{projects} projects, 20 metrics, 30 days: {calls} calls, {took:?}, {values} values, {:.1} MiB over idle at its peak",
        over as f64 / f64::from(1 << 20)
    );
    // History is sealed early, so what of it is in memory is bounded however much there is. What grows is what is known of
    // 20 series, their labels, ids and open runs, and the files, which are mapped. The first megabytes are the client, its
    // pages, the runtime and the code of all this, which an idle program has not touched.
    assert!(over < (22 << 20) + projects as u64 * (16 << 10), "{over} bytes over idle");
    assert!(http::get(&format!("{}/-/healthy", server.url())).status == 200);
}
