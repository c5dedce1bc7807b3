//! Pushes: what is acknowledged is there, now and after a restart, as if scraped every 15 seconds.

use super::support::server::TestServer;
use super::support::tools::now_ms;

#[test]
fn a_push_is_queryable_when_its_answer_arrives() {
    let server = TestServer::start();
    for value in 0..50 {
        assert_eq!(server.push("PUT", "instant/n/1", &format!("pushed {value}\n")).status, 200);
        assert_eq!(server.value("pushed"), Some(f64::from(value)));
    }
}

#[test]
fn groups_and_values_are_there_after_a_restart() {
    let mut server = TestServer::start();
    server.push("PUT", "keep/instance/a", "# TYPE kept gauge\nkept{x=\"1\"} 1.5\n");
    server.push("POST", "keep/instance/a", "kept_too 2\n");
    server.push("PUT", "gone", "gone 1\n");
    assert_eq!(server.send("DELETE", "/metrics/job/gone", &[], b"").status, 202);
    let before = server.get("/api/v1/metrics").json();
    server.terminate();
    let server = server.start_again();
    assert_eq!(server.get("/api/v1/metrics").json(), before);
    assert_eq!(server.value("kept{job=\"keep\",instance=\"a\",x=\"1\"}"), Some(1.5));
    assert_eq!(server.value("kept_too"), Some(2.0));
    assert_eq!(server.value("gone"), None);
}

#[test]
fn a_deleted_value_leaves_at_once() {
    let server = TestServer::start();
    server.push("PUT", "run", "lasting 3\n");
    assert_eq!(server.value("lasting"), Some(3.0));
    server.send("DELETE", "/metrics/job/run", &[], b"");
    assert_eq!(server.value("lasting"), None);
    let data = server.query("lasting", Some(now_ms() as f64 / 1000.0 + 60.0));
    assert_eq!(data["result"].as_array().map(Vec::len), Some(0), "{data}");
}

#[test]
fn pushes_of_many_clients_at_once_are_all_kept() {
    let server = TestServer::start();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                for group in 0..25 {
                    let answer = server.push("PUT", &format!("many/client/{client}/group/{group}"), "together 1\n");
                    assert_eq!(answer.status, 200, "{answer}");
                }
            });
        }
    });
    assert_eq!(server.value("sum(together)"), Some(200.0));
}

#[test]
fn a_large_push_keeps_every_series() {
    let server = TestServer::start();
    let mut body = String::from("# TYPE wide gauge\n");
    for index in 0..5_000 {
        body.push_str(&format!("wide{{index=\"{index}\"}} {index}\n"));
    }
    assert_eq!(server.push("PUT", "wide", &body).status, 200);
    assert_eq!(server.value("count(wide)"), Some(5_000.0));
    assert_eq!(server.value("sum(wide)"), Some(12_497_500.0));
}
