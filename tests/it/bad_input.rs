//! What strangers send: each gets a clear error in bounded memory, and the next one is served as if nothing happened.

use super::support::http::{Answer, raw};
use super::support::server::TestServer;
use super::support::{http, tools, wire};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// What one refused body may cost over an idle server.
const GROWTH_MAX: u64 = 64 * MIB;

/// Sends a body as it is and checks status, memory and health after it.
fn attack(server: &mut TestServer, target: &str, headers: &[(&str, &str)], body: &[u8], expected: &[u16]) -> Answer {
    let before = server.resident_peak_bytes();
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let answer = raw(server.address(), "POST", target, &headers, body);
    assert!(expected.contains(&answer.status), "expected one of {expected:?}: {answer}");
    // What hyper refuses itself, before anything of ours sees it, has no body.
    assert!(!answer.body.is_empty() || matches!(answer.status, 414 | 431), "an error says what is wrong");
    let grown = server.resident_peak_bytes().saturating_sub(before);
    eprintln!("{} KiB for {} KiB refused with {}", grown >> 10, body.len() >> 10, answer.status);
    assert!(grown < GROWTH_MAX, "{} MiB for one refused body: {answer}", grown / MIB);
    server.assert_healthy();
    answer
}

#[test]
fn malformed_text_names_its_line() {
    let mut server = TestServer::start();
    let bodies: [(&[u8], &str); 6] = [
        (b"ok 1\nnot ok at all\n", "line 2"),
        (b"ok 1\nok2{a=\"b} 2\n", "line 2"),
        (b"ok 1\n\n# TYPE x y z\n", "line 3"),
        (b"{} 1\n", "line 1"),
        (b"m 1\nm \xff\n", "line 2"),
        (b"m{a=\"\xff\"} 1\n", "line 1"),
    ];
    for (body, line) in bodies {
        let answer = attack(&mut server, "/metrics/job/a", &[], body, &[400]);
        assert!(answer.text().contains(line), "{:?}: {answer}", String::from_utf8_lossy(body));
    }
}

#[test]
fn random_bytes_are_refused_everywhere() {
    let mut server = TestServer::start();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let body: Vec<u8> = (0..(round * 7) % 900 + 1)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        let answer = server.push("PUT", "random", &String::from_utf8_lossy(&body));
        assert!(matches!(answer.status, 200 | 400), "{answer}");
        let answer = server.write(&body);
        assert!(matches!(answer.status, 204 | 400 | 413), "{answer}");
        let answer = server.write(&wire::snappy(&body));
        assert!(matches!(answer.status, 204 | 400), "{answer}");
        let answer = server.form("/api/v1/query", &[("query", &String::from_utf8_lossy(&body))]);
        assert!(matches!(answer.status, 200 | 400 | 422), "{answer}");
    }
    server.assert_healthy();
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let mut server = TestServer::start();
    let line = b"too_large{padding=\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"} 1\n";
    let body = line.repeat(40 * MIB as usize / line.len());
    attack(&mut server, "/metrics/job/a", &[], &body, &[413]);
    attack(&mut server, "/api/v1/write", wire::WRITE_HEADERS, &body, &[413]);
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let mut server = TestServer::start();
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /metrics/job/a HTTP/1.1\r\nHost: {}\r\nContent-Length: 1099511627776\r\n\r\nm 1\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).expect("an answer although the body has not come");
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    server.assert_healthy();
}

#[test]
fn gzip_bombs_are_refused_in_bounded_memory() {
    let mut server = TestServer::start();
    let gzip = [("Content-Encoding", "gzip")];
    for line in [&b"bomb 1\n"[..], b"x", b"\0"] {
        let bomb = wire::gzip_bomb(line, 512 * MIB as usize);
        attack(&mut server, "/metrics/job/a", &gzip, &bomb, &[400, 413]);
    }
    let nested = wire::gzip(&wire::gzip_bomb(b"bomb 1\n", 64 * MIB as usize));
    attack(&mut server, "/metrics/job/a", &gzip, &nested, &[400, 413]);
    let cut = &wire::gzip(b"cut_short 1\n")[..12];
    attack(&mut server, "/metrics/job/a", &gzip, cut, &[400]);
}

#[test]
fn snappy_bombs_and_lies_are_refused_in_bounded_memory() {
    let mut server = TestServer::start();
    for declared in [1 << 30, (1 << 32) - 1, 1 << 40, u64::MAX] {
        attack(&mut server, "/api/v1/write", wire::WRITE_HEADERS, &wire::snappy_lie(declared), &[400, 413]);
    }
    attack(&mut server, "/api/v1/write", wire::WRITE_HEADERS, &wire::snappy_bomb(512 * MIB), &[400, 413]);
    attack(&mut server, "/api/v1/write", wire::WRITE_HEADERS, &wire::snappy_lie(1000), &[400]);
}

#[test]
fn many_snappy_lies_at_once_are_refused() {
    let mut server = TestServer::start();
    let before = server.resident_peak_bytes();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            let server = &server;
            scope.spawn(move || assert!(matches!(server.write(&wire::snappy_lie(1 << 30)).status, 400 | 413 | 503)));
        }
    });
    assert!(server.resident_peak_bytes() - before < GROWTH_MAX);
    server.assert_healthy();
}

#[test]
fn bad_protobuf_is_refused() {
    let mut server = TestServer::start();
    let good = wire::write_request_plain(&[wire::Series::new("good", &[("a", "b")], &[(tools::now_ms(), 1.0)])]);
    let cut = &good[..good.len() - 3];
    let mut long = good.clone();
    long[1] = 0x7f;
    let mut endless = vec![0x0a];
    endless.extend_from_slice(&[0xff; 12]);
    for body in [cut, &long, &endless, b"\x0a\x02\x0a\x7f", b"\x0f"] {
        attack(&mut server, "/api/v1/write", wire::WRITE_HEADERS, &wire::snappy(body), &[400]);
    }
    // Groups within groups: an old wire type that recursive decoders follow until the stack ends.
    attack(&mut server, "/api/v1/write", wire::WRITE_HEADERS, &wire::snappy(&[0x1b; 100_000]), &[400]);
}

#[test]
fn bad_expressions_name_their_position() {
    let mut server = TestServer::start();
    let cases = [
        ("sum(", "1:5"),
        ("1 +", "1:4"),
        ("up{a=}", "1:6"),
        ("rate(up)", "1:6"),
        ("1\n+\n* 2", "3:1"),
        ("up[5x]", "1:"),
    ];
    for (expression, position) in cases {
        let message = server.form("/api/v1/query", &[("query", expression)]).api_error(400, "bad_data");
        assert!(message.contains(position), "`{expression}`: {message}");
        assert!(message.contains("parse error"), "`{expression}`: {message}");
    }
    server.assert_healthy();
}

#[test]
fn deep_and_long_expressions_are_refused_or_answered() {
    let mut server = TestServer::start();
    let deep = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    let message = server.form("/api/v1/query", &[("query", &deep("(", ")", 10_000))]).api_error(400, "bad_data");
    assert!(message.contains("deep") || message.contains("nest"), "{message}");
    let others = [
        deep("-", "", 10_000),
        deep("sum(vector(", "))", 5_000),
        deep("1+", "", 20_000),
        deep("1^", "", 10_000),
        "(".repeat(10_000),
        format!("up{}", "[1m:1s]".repeat(5_000)),
        format!("up{{a=~\"{}\"}}", "(".repeat(5_000)),
        format!("up{{a=~\"{}x{}\"}}", "(".repeat(500), "){9}".repeat(500)),
        "a".repeat(1 << 19),
    ];
    for expression in &others {
        let answer = server.form("/api/v1/query", &[("query", expression)]);
        let begin: String = expression.chars().take(20).collect();
        assert!(matches!(answer.status, 200 | 400 | 413 | 414 | 422), "`{begin}...`: {answer}");
    }
    server.assert_healthy();
}

#[test]
fn too_many_points_are_refused() {
    let mut server = TestServer::start();
    let fields = [("query", "up"), ("start", "0"), ("end", "1000000000"), ("step", "1")];
    let message = server.form("/api/v1/query_range", &fields).api_error(400, "bad_data");
    assert!(message.contains("11,000 points"), "{message}");
    let steps = [("query", "sum_over_time(vector(1)[100y:1ms])"), ("time", "4000000000")];
    let began = Instant::now();
    let answer = server.form("/api/v1/query", &steps);
    assert!(matches!(answer.status, 400 | 422 | 503), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    server.assert_healthy();
}

#[test]
fn labels_beyond_their_limits_are_refused() {
    let mut server = TestServer::start();
    let name = format!("long{{{}=\"v\"}} 1\n", "n".repeat(100_000));
    let value = format!("long{{n=\"{}\"}} 1\n", "v".repeat(1 << 20));
    let many: String = (0..2_000).map(|i| format!("l{i}=\"v\",")).collect();
    for body in [name, value, format!("long{{{many}}} 1\n")] {
        attack(&mut server, "/metrics/job/a", &[], body.as_bytes(), &[400, 413, 422]);
    }
    let path = format!("/metrics/job/a/x/{}", "v".repeat(60_000));
    attack(&mut server, &path, &[], b"m 1\n", &[400, 414, 431]);
}

#[test]
fn requests_that_are_no_http_end_and_slow_ones_do_not_stop_others() {
    let mut server = TestServer::start();
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(
            ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
            "held open"
        );
    }
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
            stream.write_all(b"POST /metrics/job/a HTTP/1.1\r\nHost: x\r\n").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    server.assert_healthy();
    assert!(began.elapsed() < Duration::from_secs(5), "others wait for slow ones: {:?}", began.elapsed());
    drop(slow);
}

#[test]
fn odd_paths_are_answered() {
    let mut server = TestServer::start();
    for target in [
        "//metrics/job/a",
        "/metrics//job/a",
        "/metrics/job/a/../b",
        "/metrics/job/%",
        "/metrics/job/%zz",
        "/metrics/job/%00",
        "/metrics/job/%ff",
        "/api/v1/label//values",
        "/api/v1/label/%ff/values",
        "/?x=%",
        "*",
    ] {
        for method in ["GET", "PUT"] {
            let answer = http::raw(server.address(), method, target, &[], if method == "PUT" { b"m 1\n" } else { b"" });
            assert!(answer.status < 500, "{method} {target}: {answer}");
        }
    }
    server.assert_healthy();
}
