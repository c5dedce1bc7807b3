//! The whole way, in one piece: what SonarCloud measured goes through the sync and the mailbox into the store, what CI
//! measured comes by a push, and both are on one panel of Grafana.

use super::mailbox::Redis;
use super::support::http::form;
use super::support::server::{TestServer, run};
use super::support::sonar::StandIn;
use super::support::tools::{eventually, now_ms, program, run_ok};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const PROJECT: &str = "nkllon_beast-mailbox-core";
const DAY_S: i64 = 86_400;

/// Thirty days of a project whose coverage grows by a point every other day, and a release.
fn source() -> StandIn {
    let source = StandIn::start(&[("alert_status", "LEVEL"), ("coverage", "PERCENT"), ("ncloc", "INT")]);
    let now_s = now_ms() / 1000;
    let mut world = source.world();
    for day in 0..30 {
        let (coverage, lines) = (format!("{}.0", 60 + day / 2), format!("{}", 4_000 + day * 10));
        let gate = if day < 7 { "ERROR" } else { "OK" };
        let values = [("alert_status", gate), ("coverage", coverage.as_str()), ("ncloc", lines.as_str())];
        world.analyze(PROJECT, "main", now_s - (30 - day) * DAY_S + 7_200, &values);
    }
    let branch = world.projects.get_mut(PROJECT).unwrap().branches.get_mut("main").unwrap();
    let newest = branch.analyses.last_entry().unwrap();
    newest.into_mut().events.push(("VERSION".to_owned(), "0.4.4".to_owned()));
    drop(world);
    source
}

/// As a step of a workflow does it: a text from a heredoc, by curl, with the branch in base64 as it may have a slash.
fn push_as_a_workflow(server: &TestServer) {
    let body = "# TYPE pytest_coverage_ratio gauge\npytest_coverage_ratio 0.755\n\
                # TYPE pytest_tests gauge\npytest_tests{status=\"passed\"} 59\npytest_tests{status=\"failed\"} 1\n";
    let group = "metrics/job/beast-mailbox-core/instance/0.4.4-1a2b3c4d/branch@base64/bWFpbg==/version/0.4.4";
    let mut curl = Command::new(program("curl", "curl"));
    curl.args(["--fail", "--silent", "--show-error", "--data-binary", body]).arg(format!("{}/{group}", server.url()));
    assert_eq!(run_ok(&mut curl), "");
}

/// A panel over thirty days, as Grafana asks for it.
fn panel(server: &TestServer, query: &str) -> Vec<Value> {
    let end_s = now_ms() / 1000;
    let (start, end) = ((end_s - 30 * DAY_S).to_string(), end_s.to_string());
    let fields = [("query", query), ("start", start.as_str()), ("end", end.as_str()), ("step", "3600")];
    let headers = [
        ("User-Agent", "Grafana/12.1.0"),
        ("X-Datasource-Uid", "observatory"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let answer = server.send("POST", "/api/v1/query_range", &headers, form(&fields).as_bytes());
    assert_eq!(answer.status, 200, "{answer}");
    let data = answer.data();
    assert_eq!(data["resultType"], "matrix");
    data["result"].as_array().expect("series").clone()
}

fn last(series: &Value) -> f64 {
    let values = series["values"].as_array().expect("values");
    values.last().expect("a value")[1].as_str().expect("a text").parse().expect("a number")
}

fn chain(mailbox: &str) -> TestServer {
    let source = source();
    let sonar = format!("sonar:\n  url: {}\n  organization: org\n  calls_per_hour: 100000\n", source.url);
    let server = TestServer::with_config(&format!("{sonar}{mailbox}"));
    push_as_a_workflow(&server);
    eventually("the first sync", Duration::from_secs(60), || {
        server.get("/api/v1/sonar/status").data()["success_ms"].is_i64().then_some(())
    });

    let series = panel(&server, &format!("sonar_coverage_ratio{{project=\"{PROJECT}\"}} or pytest_coverage_ratio"));
    let named = |name: &str| series.iter().find(|one| one["metric"]["__name__"] == name).expect("both are there");
    assert_eq!(series.len(), 2, "{series:?}");
    let (synced, pushed) = (named("sonar_coverage_ratio"), named("pytest_coverage_ratio"));
    let values = synced["values"].as_array().expect("values");
    // From the first analysis to now, without a gap.
    assert!(values.len() >= 30 * 24 - 4, "{} points", values.len());
    assert!((last(synced) - 0.74).abs() < 1e-9, "{synced}");
    assert!(values[0][1].as_str().is_some_and(|first| first.starts_with("0.6")), "{}", values[0]);
    assert!((last(pushed) - 0.755).abs() < 1e-9, "{pushed}");
    let labels = |name: &str| pushed["metric"][name].as_str().map(str::to_owned);
    assert_eq!(labels("branch").as_deref(), Some("main"));
    assert_eq!(labels("job").as_deref(), Some("beast-mailbox-core"));
    // What somebody comes for: by how much the two differ, in one expression.
    let gap = panel(&server, "pytest_coverage_ratio - on (branch) sonar_coverage_ratio");
    assert!((last(&gap[0]) - 0.015).abs() < 1e-9, "{gap:?}");

    let events = server.get(&format!("/api/v1/sonar/events?project={PROJECT}")).data();
    assert_eq!(events["events"][0]["name"], "0.4.4", "{events}");
    server
}

#[test]
fn what_sonarcloud_and_a_workflow_measured_is_on_one_panel() {
    let server = chain("");
    assert!(server.own_metric("observatory_mailbox_handled_total") >= 1.0);
}

#[test]
fn what_sonarcloud_and_a_workflow_measured_is_on_one_panel_over_redis() {
    let redis = Redis::start();
    let server = chain(&redis.config(""));
    let report = server.get("/api/v1/mailbox").data();
    assert_eq!(report["queue"]["waiting"], 0);
    assert!(report["redis"]["sent"].as_u64().is_some_and(|sent| sent >= 1), "{report}");
}

#[test]
fn a_sync_while_redis_is_down_ends_with_a_problem_and_the_next_one_leaves_nothing_out() {
    let (source, mut redis) = (source(), Redis::start());
    redis.stop();
    let sonar = format!("sonar:\n  url: {}\n  organization: org\n  calls_per_hour: 100000\n", source.url);
    let server = TestServer::with_config(&(sonar + &redis.config("")));
    let status = || server.get("/api/v1/sonar/status").data();
    eventually("the sync gives up", Duration::from_secs(60), || status()["ended_ms"].is_i64().then_some(()));
    let told = status()["problems"].to_string();
    assert!(told.contains("cannot be put into the mailbox"), "{told}");
    assert!(status()["success_ms"].is_null());
    redis.start_again();
    let finished = run(&["sonar", "sync", "--url", server.url()], |_| {});
    assert!(finished.status.success(), "{finished:?}");
    let series = panel(&server, &format!("sonar_coverage_ratio{{project=\"{PROJECT}\"}}"));
    assert!(series[0]["values"].as_array().is_some_and(|values| values.len() >= 30 * 24 - 4), "{series:?}");
    assert_eq!(status()["problems"].as_array().map(Vec::len), Some(0), "{}", status()["problems"]);
}
