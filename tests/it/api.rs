//! The HTTP API beyond single exchanges: methods, merging of parameters, compression, headers for browsers.

use super::support::http;
use super::support::server::TestServer;
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn form_and_url_parameters_are_merged_and_the_form_wins() {
    let server = TestServer::start();
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let answer = server.send("POST", "/api/v1/query?query=1&time=7", &[form], b"query=2");
    assert_eq!(answer.data()["result"], serde_json::json!([7, "2"]));
    server.push("PUT", "a", "m_one 1\nm_two 2\n");
    let answer = server.send("POST", "/api/v1/series?match[]=m_one", &[form], b"match%5B%5D=m_two");
    assert_eq!(answer.data().as_array().map(Vec::len), Some(2), "{answer}");
    let answer = server.send("POST", "/api/v1/labels", &[form], b"match%5B%5D=m_two");
    assert_eq!(answer.data(), serde_json::json!(["__name__", "job"]));
}

#[test]
fn answers_are_compressed_where_that_is_accepted() {
    let server = TestServer::start();
    let accept = [("Accept-Encoding".to_owned(), "gzip".to_owned())];
    let target = "/api/v1/query_range?query=time()&start=0&end=5000&step=1";
    let answer = http::raw(server.address(), "GET", target, &accept, b"");
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    let plain = http::raw(server.address(), "GET", target, &[], b"");
    assert_eq!(plain.header("content-encoding"), None);
    assert!(answer.body.len() * 2 < plain.body.len());
    assert_eq!(http::get(&format!("{}{target}", server.url())).json(), plain.json());
}

#[test]
fn each_usual_encoding_is_spoken() {
    let server = TestServer::start();
    let target = "/api/v1/query_range?query=time()&start=0&end=5000&step=1";
    let plain = http::raw(server.address(), "GET", target, &[], b"").body;
    for name in ["gzip", "deflate", "zstd"] {
        let accept = [("Accept-Encoding".to_owned(), name.to_owned())];
        let answer = http::raw(server.address(), "GET", target, &accept, b"");
        assert_eq!(answer.header("content-encoding"), Some(name), "{:?}", answer.headers);
        let vary: Vec<&str> = answer.headers.iter().filter(|(n, _)| n == "vary").map(|(_, value)| &value[..]).collect();
        assert!(vary.join(",").to_lowercase().contains("accept-encoding"), "{vary:?}");
        let body = match name {
            "gzip" => inflated(flate2::read::GzDecoder::new(&answer.body[..])),
            // HTTP's deflate is zlib.
            "deflate" => inflated(flate2::read::ZlibDecoder::new(&answer.body[..])),
            _ => continue,
        };
        assert!(body == plain, "{name}");
    }
}

fn inflated(mut reader: impl Read) -> Vec<u8> {
    let mut out = Vec::new();
    reader.read_to_end(&mut out).expect("a whole body");
    out
}

#[test]
fn our_own_metrics_are_served_as_text() {
    let server = TestServer::start();
    server.push("PUT", "a", "m 1\n");
    server.query("m", None);
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{:?}", answer.headers);
    let text = answer.text();
    assert!(text.contains("\nprometheus_tsdb_head_series "), "dashboards for Prometheus ask for it:\n{text}");
    assert!(text.ends_with('\n'));
}

#[test]
fn no_page_stands_in_for_an_unknown_path_of_the_api() {
    let server = TestServer::start();
    for path in ["/api/", "/api/v2/status", "/alertmanager/api/v2/status", "/api/v1/query/x"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}: {answer}");
        assert!(!answer.text().contains("<html"), "{path}: {answer}");
    }
}

#[test]
fn jobs_and_their_events_are_listed() {
    let server = TestServer::start();
    let answer = server.get("/api/v1/jobs");
    assert_eq!(answer.status, 200, "{answer}");
    answer.json();
    let answer = server.get("/api/v1/jobs/unknown");
    assert_eq!(answer.status, 404, "{answer}");
}

#[test]
fn events_are_a_stream_that_does_not_keep_the_server_from_stopping() {
    let mut server = TestServer::start();
    let mut stream = std::net::TcpStream::connect(server.address()).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set a read timeout");
    let request = "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("ask for events");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the head comes before any event");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    let (status, after) = server.terminate();
    assert!(status.success() && after < Duration::from_secs(20), "{status} after {after:?}\n{}", server.log());
}
