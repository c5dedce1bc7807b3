//! Random queries over random data, asked of Debian's `prometheus` and of us: the answers have to be equal.
//!
//! 1. [`data`] makes counters with resets, gauges, histograms and info series, with gaps and staleness markers, from a
//!    fixed seed, and writes them to both servers by remote write.
//! 2. [`queries`] makes queries of the grammar that Prometheus 2.42 and 3.14 share; [`compare`] compares the answers.
//!
//! Equal means: both fail, or both give the same labels at the same times with values that differ by no more than
//! [`compare::RATIO`] of the larger one. Where 2.42 and 3.14 differ by design the queries keep out of the way:
//! - *Windows and lookback closed at the left* (2.42) or open (3.14): queries are evaluated 7 ms past whole seconds,
//!   steps of subqueries fall on whole seconds, ranges are whole seconds, and no sample stands at either.
//! - *Nested subqueries*: their steps would meet the closed edge of the outer one.
//! - *Extrapolation of counters to their zero* comes after the threshold since 3.0: counters with gaps, and those that
//!   begin within the data, never come near zero.
//! - *Sums* of 2.42 are not compensated: values are multiples of 1/4, and equality is asked of raw values alone.
//! - *What 2.42 gets wrong*: names after `atan2`, the deviation of one value that is no number, `predict_linear` and
//!   `timestamp` of a selector with `@`.
//! - *`holt_winters`*, renamed in 3.0, and what 2.42 does not know.
//!
//! `OBSERVATORY_DIFFERENTIAL_QUERIES` says how many queries are asked, `OBSERVATORY_DIFFERENTIAL_SEED` which.

mod compare;
mod data;
mod queries;
mod random;

use super::super::support::{
    http,
    server::TestServer,
    tools::{Background, eventually, free_port, program},
    wire,
};
use compare::Verdict;
use std::{
    process::{Command, Stdio},
    time::Duration,
};

const QUERIES: usize = 300;
const SEED: u64 = 20_261_121;
const SHOWN_MAX: usize = 40;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Debian's server on a port of its own.
struct Peer {
    url: String,
    _process: Background,
    _directory: tempfile::TempDir,
}

fn start_peer() -> Peer {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    std::fs::write(&config, "global:\n  evaluation_interval: 1m\n").unwrap();
    let port = free_port();
    let child = Command::new(program("prometheus", "prometheus"))
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        // The data is of 2023 and stays in the head.
        .args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y", "--log.level=error"])
        .args(["--storage.tsdb.min-block-duration=24h", "--storage.tsdb.max-block-duration=24h"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let process = Background(child);
    eventually("prometheus is ready", Duration::from_secs(30), || {
        http::try_get(&format!("{url}/-/ready")).is_ok_and(|answer| answer.status == 200).then_some(())
    });
    Peer { url, _process: process, _directory: directory }
}

#[test]
fn random_queries_give_what_prometheus_gives() {
    let (count, seed) =
        (setting("OBSERVATORY_DIFFERENTIAL_QUERIES", QUERIES), setting("OBSERVATORY_DIFFERENTIAL_SEED", SEED));
    let peer = start_peer();
    let ours = TestServer::with_config("storage:\n  retention: 100y\n");
    for slice in data::slices(SEED) {
        let body = wire::write_request(&slice);
        for url in [&peer.url[..], ours.url()] {
            let answer = http::send("POST", &format!("{url}/api/v1/write"), wire::WRITE_HEADERS, &body);
            assert!(answer.status < 300, "{url}: {answer}");
        }
    }
    let mut random = random::Random::new(seed);
    let (mut mismatches, mut failing, mut empty) = (Vec::new(), 0, 0);
    for number in 0..count {
        let question = queries::question(&mut random);
        let (path, fields) = question.request();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = http::form(&fields);
        let ask = |url: &str| {
            let headers = &[("Content-Type", "application/x-www-form-urlencoded")];
            http::send("POST", &format!("{url}{path}"), headers, body.as_bytes())
        };
        match compare::compare(&ask(&peer.url), &ask(ours.url())) {
            Verdict::Equal => {}
            Verdict::BothEmpty => empty += 1,
            Verdict::BothFail => failing += 1,
            Verdict::Differ(how) => mismatches.push(format!("{number}: {fields:?}\n   {how}")),
        }
    }
    let shown = mismatches.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
    println!("{count} queries: {} differ, {failing} fail in both, {empty} empty in both\n{shown}", mismatches.len());
    assert!(mismatches.len() * 1000 <= count, "{} of {count} differ:\n{shown}", mismatches.len());
    // Else the queries would show nothing.
    assert!(failing * 10 <= count && empty * 4 <= count, "{failing} of {count} fail and {empty} are empty");
}
