//! Remote write: batches, markers, times out of order, and what is there after a restart.

use super::support::server::{Options, TestServer, number};
use super::support::tools::now_ms;
use super::support::wire::{STALE_BITS, Series, write_request};

#[test]
fn a_batch_of_many_series_is_visible_at_once_and_after_a_restart() {
    let mut server = TestServer::start();
    let now = now_ms();
    let samples: Vec<(i64, f64)> = (0..20).map(|step| (now - 300_000 + step * 15_000, step as f64)).collect();
    let batch: Vec<Series> = (0..500).map(|n| Series::new("batch", &[("n", &n.to_string())], &samples)).collect();
    assert_eq!(server.write(&write_request(&batch)).status, 204);
    assert_eq!(server.value("sum(count_over_time(batch[10m]))"), Some(10_000.0));
    server.terminate();
    let server = server.start_again();
    assert_eq!(server.value("sum(count_over_time(batch[10m]))"), Some(10_000.0));
    assert_eq!(server.value("sum(last_over_time(batch[10m]))"), Some(9_500.0));
}

#[test]
fn a_staleness_marker_ends_a_series() {
    let server = TestServer::start();
    let now = now_ms();
    let ended = f64::from_bits(STALE_BITS);
    let body = [Series::new("ending", &[], &[(now - 60_000, 1.0), (now - 30_000, ended)])];
    assert_eq!(server.write(&write_request(&body)).status, 204);
    assert_eq!(server.value("ending"), None);
    assert_eq!(server.value("ending offset 40s"), Some(1.0));
    assert_eq!(server.value("count_over_time(ending[5m])"), Some(1.0));
}

#[test]
fn samples_may_arrive_in_any_order() {
    let server = TestServer::start();
    let now = now_ms();
    for offset_ms in [10_000, 50_000, 30_000, 40_000, 20_000] {
        let body = [Series::new("mixed", &[], &[(now - offset_ms, offset_ms as f64)])];
        assert_eq!(server.write(&write_request(&body)).status, 204);
    }
    let data = server.query("mixed[2m]", None);
    let values = data["result"][0]["values"].as_array().expect("a matrix").clone();
    let values: Vec<f64> = values.iter().map(|pair| number(&pair[1])).collect();
    assert_eq!(values, [50_000.0, 40_000.0, 30_000.0, 20_000.0, 10_000.0]);
}

#[test]
fn history_from_1970_on_is_kept_where_the_retention_says_so() {
    let config = Some("storage:\n  retention: 100y\n".to_owned());
    let mut server = TestServer::with(Options { config, ..Options::default() });
    let body = [Series::new("old", &[], &[(0, 1.0), (60_000, 2.0), (1_000_000_000_000, 3.0)])];
    assert_eq!(server.write(&write_request(&body)).status, 204);
    for round in 0..2 {
        assert_eq!(server.query("old", Some(60.0))["result"][0]["value"][1], "2", "round {round}");
        assert_eq!(server.query("old", Some(1e9))["result"][0]["value"][1], "3", "round {round}");
        if round == 0 {
            server.terminate();
            server = server.start_again();
        }
    }
}

#[test]
fn special_values_keep_their_bits() {
    let server = TestServer::start();
    let now = now_ms();
    let values = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0, 5e-324, f64::MAX];
    let samples: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, v)| (now - 10_000 + i as i64, *v)).collect();
    assert_eq!(server.write(&write_request(&[Series::new("special", &[], &samples)])).status, 204);
    let data = server.query("special[1m]", None);
    let found: Vec<&str> =
        data["result"][0]["values"].as_array().expect("a matrix").iter().filter_map(|pair| pair[1].as_str()).collect();
    assert_eq!(found, ["+Inf", "-Inf", "NaN", "-0", "5e-324", "1.7976931348623157e+308"]);
}

#[test]
fn what_is_refused_does_not_take_the_rest_with_it() {
    let server = TestServer::start();
    let now = now_ms();
    let good = Series::new("good", &[], &[(now, 1.0)]);
    let bad = Series::new("bad", &[], &[(now + 3_600_000, 1.0)]);
    let answer = server.write(&write_request(&[bad, good]));
    assert_eq!(answer.status, 400, "{answer}");
    assert_eq!(server.value("good"), Some(1.0));
    assert_eq!(server.value("bad"), None);
}
