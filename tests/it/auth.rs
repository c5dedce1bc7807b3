//! Tokens and their scopes, the door that stays shut without one, and writes from other pages.

use super::support::http::{Answer, raw};
use super::support::server::{TestServer, run};
use base64::Engine;
use sha2::{Digest, Sha256};

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config() -> String {
    let token = |name: &str, scope: &str| {
        format!("    - name: {name}\n      sha256: {}\n      scopes: [{scope}]\n", hash(&format!("secret-of-{name}")))
    };
    format!("auth:\n  tokens:\n{}{}{}", token("ci", "push"), token("grafana", "read"), token("root", "admin"))
}

fn bearer(name: &str) -> String {
    format!("Bearer secret-of-{name}")
}

fn push_as(server: &TestServer, authorization: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
    server.send("PUT", "/metrics/job/a", &headers, b"m 1\n")
}

fn query_as(server: &TestServer, authorization: Option<&str>) -> Answer {
    let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
    headers.extend(authorization.map(|value| ("Authorization", value)));
    server.send("POST", "/api/v1/query", &headers, b"query=m")
}

#[test]
fn a_token_opens_what_its_scopes_say() {
    let server = TestServer::with_config(&config());
    assert_eq!(push_as(&server, Some(&bearer("ci"))).status, 200);
    assert_eq!(push_as(&server, Some(&bearer("grafana"))).status, 403);
    assert_eq!(push_as(&server, Some(&bearer("root"))).status, 200);
    assert_eq!(query_as(&server, Some(&bearer("ci"))).status, 403);
    assert_eq!(query_as(&server, Some(&bearer("grafana"))).status, 200);
    for wrong in [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic !!!"), Some("Digest x")] {
        let answer = push_as(&server, wrong);
        assert_eq!(answer.status, 401, "{wrong:?}: {answer}");
        assert!(answer.header("www-authenticate").is_some(), "{wrong:?}");
        assert_eq!(query_as(&server, wrong).status, 401, "{wrong:?}");
    }
    assert_eq!(server.get("/-/healthy").status, 200, "health is open");
    assert_eq!(server.get("/-/ready").status, 200);
}

#[test]
fn a_token_may_come_as_basic_password() {
    let server = TestServer::with_config(&config());
    let basic = |user: &str, password: &str| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    };
    assert_eq!(push_as(&server, Some(&basic("anyone", "secret-of-ci"))).status, 200);
    assert_eq!(push_as(&server, Some(&basic("ci", "wrong"))).status, 401);
}

#[test]
fn a_token_may_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let config =
        format!("auth:\n  tokens:\n    - name: ci\n      token_file: {}\n      scopes: [push]\n", file.display());
    let server = TestServer::with_config(&config);
    assert_eq!(push_as(&server, Some("Bearer from-a-file")).status, 200);
    assert_eq!(push_as(&server, Some("Bearer from-a-file2")).status, 401);
}

#[test]
fn a_public_listener_without_a_token_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let finished = run(&["up", "--listen", "0.0.0.0:0", "--data"], |command| {
        command.arg(directory.path().join("data"));
    });
    assert!(!finished.status.success());
    assert!(finished.text.contains("--insecure-public-http"), "the way out is named:\n{}", finished.text);
    assert!(finished.text.contains("token"), "{}", finished.text);
}

#[test]
fn a_new_token_is_printed_with_what_the_config_needs() {
    let finished = run(&["token", "new"], |_| {});
    assert!(finished.status.success(), "{}", finished.text);
    let words = || finished.text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    let hashes: Vec<&str> =
        words().filter(|word| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit())).collect();
    assert!(!hashes.is_empty(), "no SHA-256 in\n{}", finished.text);
    let token = words().find(|word| hashes.contains(&hash(word).as_str()));
    assert!(token.is_some(), "no word of this hashes to {hashes:?}:\n{}", finished.text);
}

#[test]
fn writes_from_a_page_of_another_origin_are_refused() {
    let server = TestServer::start();
    let own = server.url().to_owned();
    let push = |headers: &[(&str, &str)]| server.send("POST", "/metrics/job/a", headers, b"m 1\n").status;
    assert_eq!(push(&[("Origin", "https://evil.example")]), 403);
    assert_eq!(push(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(push(&[("Origin", &own), ("Sec-Fetch-Site", "same-origin")]), 200);
    assert_eq!(push(&[]), 200);
    let read = server.send(
        "POST",
        "/api/v1/query",
        &[("Origin", "https://grafana.example"), ("Content-Type", "application/x-www-form-urlencoded")],
        b"query=1",
    );
    assert_eq!(read.status, 200, "reading is no write: {read}");
}

#[test]
fn a_token_that_pushes_too_often_is_told_when_it_may_again() {
    let server = TestServer::with_config(&format!("{}limits:\n  pushes_per_minute_max: 6\n", config()));
    let ci = bearer("ci");
    for _ in 0..6 {
        assert_eq!(push_as(&server, Some(&ci)).status, 200);
    }
    let answer = push_as(&server, Some(&ci));
    assert_eq!(answer.status, 429, "{answer}");
    let wait: u32 = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).expect("when to come again");
    assert!((1..=10).contains(&wait), "{wait}");
    let text = answer.text();
    assert!(text.contains("`ci`") && text.contains("limits.pushes_per_minute_max"), "{answer}");
    assert_eq!(push_as(&server, Some(&bearer("root"))).status, 200, "another token has its own");
    assert_eq!(query_as(&server, Some(&bearer("grafana"))).status, 200, "reads are not counted");
}

#[test]
fn a_page_that_had_its_own_name_lead_here_is_refused_and_programs_are_not() {
    let browser = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36");
    let ask = |server: &TestServer, host: &str, agent: (&str, &str)| {
        let headers = [("Host", host), agent].map(|(name, value)| (name.to_owned(), value.to_owned()));
        raw(server.address(), "GET", "/api/v1/query?query=1", &headers, b"").status
    };
    let server = TestServer::with_config("web:\n  hosts: [metrics.example.com]\n");
    assert_eq!(ask(&server, "evil.example:9090", browser), 403);
    for host in ["127.0.0.1:9090", "localhost", "observatory:9090", "metrics.example.com", "[::1]:9090"] {
        assert_eq!(ask(&server, host, browser), 200, "{host}");
    }
    for program in ["curl/8.5.0", "Grafana/12.1.0", "python-requests/2.32", "Prometheus/3.5.0"] {
        assert_eq!(ask(&server, "any.example", ("User-Agent", program)), 200, "{program}");
    }
    let guarded = TestServer::with_config(&config());
    assert_eq!(ask(&guarded, "any.example", browser), 401, "where a token is needed the name does not matter");
}
