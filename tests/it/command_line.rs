//! The subcommands that ask a server or read its directory.

use super::support::server::{Finished, TestServer, run};
use super::support::tools::now_ms;
use super::support::wire::{Series, write_request};

fn ask(server: &TestServer, arguments: &[&str]) -> Finished {
    let url = server.url().to_owned();
    let mut all = vec!["query", "--url", &url];
    all.extend(arguments);
    run(&all, |_| {})
}

fn filled() -> TestServer {
    let server = TestServer::start();
    let now = now_ms();
    let points = |factor: f64| -> Vec<(i64, f64)> {
        (0..60).map(|index| (now - (60 - index) * 10_000, index as f64 * factor)).collect()
    };
    let series = [
        Series::new("asked", &[("job", "a")], &points(1.0)),
        Series::new("asked", &[("job", "b, \"c\"")], &points(2.0)),
    ];
    assert_eq!(server.write(&write_request(&series)).status, 204);
    server
}

#[test]
fn answers_come_as_table_csv_json_and_chart() {
    let server = filled();
    let table = ask(&server, &["sum by (job) (asked)"]);
    assert!(table.status.success(), "{}", table.text);
    assert!(table.text.contains("{job=\"a\"}") && table.text.contains(" 59\n"), "{}", table.text);
    let csv = ask(&server, &["asked", "--range", "2m", "--step", "1m", "--format", "csv"]);
    let lines: Vec<&str> = csv.text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("__name__,job,time,value", 7), "{}", csv.text);
    assert!(lines[4].starts_with("asked,\"b, \"\"c\"\"\","), "{}", csv.text);
    let json = ask(&server, &["1+1", "--time", "4", "--format", "json"]);
    let tree: serde_json::Value = serde_json::from_str(&json.text).expect("JSON alone");
    assert_eq!(tree["data"], serde_json::json!({ "resultType": "scalar", "result": [4, "2"] }));
    let chart = ask(&server, &["asked", "--range", "10m", "--format", "chart"]);
    assert!(chart.text.contains('┤') && chart.text.contains("● asked{job=\"a\"}"), "{}", chart.text);
    assert!(chart.text.lines().all(|line| line.chars().count() <= 80), "{}", chart.text);
    assert!(!chart.text.contains('\u{1b}'), "no colours where nobody looks");
}

#[test]
fn mistakes_point_at_their_place_and_an_empty_answer_at_its_reason() {
    let server = filled();
    let wrong = ask(&server, &["sum(asked"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.text.contains("parse error") && wrong.text.contains("sum(asked\n         ^"), "{}", wrong.text);
    let experimental = ask(&server, &["sum(limitk(1, asked))"]);
    assert_eq!(experimental.status.code(), Some(2));
    assert!(
        experimental.text.contains("\nsum(limitk(1, asked))\n") && experimental.text.contains('^'),
        "{}",
        experimental.text
    );
    let empty = ask(&server, &["askd"]);
    assert!(empty.status.success() && empty.text.contains("Did you mean `asked`?"), "{}", empty.text);
    let nobody = run(&["query", "1", "--url", "http://127.0.0.1:1"], |_| {});
    assert_eq!(nobody.status.code(), Some(1));
    assert!(nobody.text.contains("does not answer") && nobody.text.contains("--data-dir"), "{}", nobody.text);
    let bad = run(&["query", "1", "--time", "yesterday"], |_| {});
    assert!(bad.text.contains("--time: cannot parse \"yesterday\""), "{}", bad.text);
}

#[test]
fn a_token_comes_from_a_file() {
    use sha2::{Digest, Sha256};
    let hash: String =
        Sha256::digest(b"a-secret-token-of-some-length").iter().map(|byte| format!("{byte:02x}")).collect();
    let config = format!("auth:\n  tokens:\n    - {{name: me, sha256: {hash}, scopes: [read]}}\n");
    let server = TestServer::with_config(&config);
    let refused = ask(&server, &["1"]);
    assert!(!refused.status.success() && refused.text.contains("a token is needed"), "{}", refused.text);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "a-secret-token-of-some-length\n").unwrap();
    let answer = ask(&server, &["1", "--token-file", &file.to_string_lossy()]);
    assert!(answer.status.success(), "{}", answer.text);
}

#[test]
fn a_directory_is_read_where_no_server_runs_on_it() {
    let mut server = filled();
    let directory = server.data().to_string_lossy().into_owned();
    let from_disk = |expression: &str| run(&["query", expression, "--data-dir", &directory], |_| {});
    let refused = from_disk("asked");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.text.contains("in use by another observatory") && refused.text.contains("--url"),
        "{}",
        refused.text
    );
    server.terminate();
    let answer = from_disk("sum(asked)");
    assert!(answer.status.success() && answer.text.contains("{}"), "{}", answer.text);
    assert!(answer.text.trim().ends_with("177"), "{}", answer.text);
    let empty = from_disk("askd");
    assert!(empty.text.contains("Did you mean `asked`?"), "{}", empty.text);
    let server = server.start_again();
    assert_eq!(server.value("count(asked)"), Some(2.0), "reading changed nothing");
    let missing = run(&["query", "1", "--data-dir", "/nowhere/at/all"], |_| {});
    assert!(missing.text.contains("there is no data directory"), "{}", missing.text);
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("mine"), "x").unwrap();
    let refused = run(&["query", "1", "--data-dir", &other.path().to_string_lossy()], |_| {});
    assert!(refused.text.contains("is no data directory"), "{}", refused.text);
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1, "nothing was put there");
}
