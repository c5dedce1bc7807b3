//! A sender that makes a new series of everything: the series that were there before go on, memory is bounded, and the
//! answer says what to do.

use super::support::server::{Options, TestServer};
use super::support::tools::now_ms;
use super::support::{http, wire};
use super::{rounds, turn};

const SERIES_PER_WRITE: u64 = 20_000;

/// A hundred thousand in the short form, a million from 50 rounds on.
fn writes() -> u64 {
    u64::from(rounds().min(50))
}

/// What the process may hold for that: what it holds when empty, and less than a kilobyte a series.
fn resident_max() -> u64 {
    (150 << 20) + writes() * SERIES_PER_WRITE * 900
}

fn known(server: &TestServer, value: f64) -> http::Answer {
    let series: Vec<wire::Series> =
        (0..100).map(|n| wire::Series::new("fault_known", &[("n", &n.to_string())], &[(now_ms(), value)])).collect();
    server.write(&wire::write_request(&series))
}

fn bomb(server: &TestServer, write: u64) -> http::Answer {
    let first = write * SERIES_PER_WRITE;
    let sample = [(now_ms(), 1.0)];
    let series: Vec<wire::Series> = (first..first + SERIES_PER_WRITE)
        .map(|n| wire::Series::new("fault_bomb", &[("job", "bomb"), ("id", &format!("{n:016x}"))], &sample))
        .collect();
    server.write(&wire::write_request(&series))
}

/// Drops the bomb; gives the refusals.
fn drop_bomb(server: &TestServer) -> Vec<http::Answer> {
    assert_eq!(known(server, 0.0).status, 204);
    let mut refused = Vec::new();
    for write in 0..writes() {
        let answer = bomb(server, write);
        if answer.status != 204 {
            refused.push(answer);
        }
        let answer = known(server, (write + 1) as f64);
        assert_eq!(answer.status, 204, "known series go on: {answer}");
    }
    let all = server.value("count(fault_known)");
    assert_eq!((all, server.value("max(fault_known)")), (Some(100.0), Some(writes() as f64)));
    let peak = server.resident_peak_bytes();
    println!(
        "{} new series, {} writes refused, {} MiB resident at most",
        writes() * SERIES_PER_WRITE,
        refused.len(),
        peak >> 20
    );
    assert!(peak < resident_max(), "{} MiB resident, more than {} MiB", peak >> 20, resident_max() >> 20);
    refused
}

#[test]
fn a_million_new_series_fit_within_the_default_limits() {
    let _turn = turn();
    let mut server = TestServer::start();
    assert_eq!(drop_bomb(&server).len(), 0);
    assert_eq!(server.value("count(fault_bomb)"), Some((writes() * SERIES_PER_WRITE) as f64));
    server.kill();
    let mut server = server.start_again();
    println!(
        "served again {:?} after the kill, {} MiB resident",
        server.ready_after,
        server.resident_peak_bytes() >> 20
    );
    assert_eq!(server.value("count(fault_known)"), Some(100.0));
    server.assert_healthy();
}

#[test]
fn new_series_above_the_limit_are_refused_and_known_ones_go_on() {
    let _turn = turn();
    let limit = SERIES_PER_WRITE * 2 + SERIES_PER_WRITE / 2;
    let config = Some(format!("storage: {{series_max: {limit}}}\n"));
    let server = TestServer::with(Options { config, ..Options::default() });
    let refused = drop_bomb(&server);
    assert!(refused.len() as u64 >= writes() - 3, "{} refused", refused.len());
    let answer = &refused[0];
    assert!(matches!(answer.status, 400 | 422 | 429 | 503), "{answer}");
    assert!(answer.text().contains("series_max"), "it says what to do: {answer}");
    let stored = server.value("count(fault_bomb)").unwrap_or_default();
    assert!(stored <= limit as f64, "{stored} of {limit}");
}
