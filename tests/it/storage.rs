//! The operator's side: `observatory storage`, merging on demand, and what happens at the limits.

use super::support::http::percent_encode;
use super::support::server::{Options, TestServer, run};
use super::support::tools::{eventually, now_ms};
use super::support::wire::{self, Series};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

fn fill(server: &TestServer) {
    // Three windows of yesterday, so that there is something to merge.
    for window in 0..3 {
        let begin = now_ms() - 30 * 3_600_000 + window * 2 * 3_600_000;
        let samples: Vec<(i64, f64)> = (0..60).map(|n| (begin + n * 15_000, n as f64)).collect();
        let series: Vec<Series> =
            (0..20).map(|n| Series::new("stored", &[("job", "it"), ("n", &n.to_string())], &samples)).collect();
        let answer = server.write(&wire::write_request(&series));
        assert_eq!(answer.status, 204, "{answer}");
    }
}

fn cli(arguments: &[&str]) -> (Option<i32>, String) {
    let finished = run(arguments, |_| {});
    (finished.status.code(), finished.text)
}

#[test]
fn storage_is_shown_merged_and_opened_without_a_server() {
    let mut server = TestServer::start();
    fill(&server);
    let before = server.query("sum(count_over_time(stored[2d]))", None);
    let url = server.url().to_owned();
    let (code, text) = cli(&["storage", "compact", "--url", &url]);
    assert!(code == Some(0) && text.contains("merges") && text.contains("before and"), "{text}");
    let jobs = server.get("/api/v1/jobs").data();
    assert_eq!((&jobs["jobs"][0]["kind"], &jobs["jobs"][0]["state"]), (&"compact".into(), &"done".into()), "{jobs}");
    assert_eq!(
        server.query("sum(count_over_time(stored[2d]))", None)["result"][0]["value"][1],
        before["result"][0]["value"][1]
    );
    let (code, text) = cli(&["storage", "--url", &url, "--top", "3"]);
    assert_eq!(code, Some(0), "{text}");
    for expected in ["blocks      1, ", "3600 samples", "retention   30d", "next: ", "stored", "job=it", "none was met"]
    {
        assert!(text.contains(expected), "`{expected}` is missing in\n{text}");
    }
    let (_, text) = cli(&["storage", "--url", &url, "--json"]);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((&report["blocks"][0]["series"], &report["blocks"][0]["samples"]), (&20.into(), &3600.into()));
    assert_eq!(server.get("/api/v1/status/storage").data()["blocks"], report["blocks"]);
    let block = &server.get("/api/v1/status/tsdb/blocks").data()["blocks"][0];
    assert_eq!((&block["stats"]["numSamples"], &block["compaction"]["level"]), (&3600.into(), &2.into()), "{block}");
    let metrics = server.get("/metrics").text();
    for line in [
        "prometheus_tsdb_blocks_loaded 1",
        "prometheus_tsdb_compactions_failed_total 0",
        "observatory_store_disk_full 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing");
    }
    let data = server.data().to_str().unwrap().to_owned();
    let (code, text) = cli(&["storage", "--data-dir", &data]);
    assert!(code == Some(1) && text.contains("one process at a time") && text.contains("--url"), "{text}");
    server.terminate();
    let (code, text) = cli(&["storage", "compact", "--data-dir", &data]);
    assert!(code == Some(0) && text.contains("0 merges"), "{text}");
    let (code, text) = cli(&["storage", "--data-dir", &data]);
    assert!(code == Some(0) && text.contains("3600 samples"), "{text}");
    let (code, text) = cli(&["storage", "--url", &url]);
    assert!(code == Some(1) && text.contains("does not answer") && text.contains("--data-dir"), "{text}");
    let (code, text) = cli(&["storage", "--data-dir", "/"]);
    assert!(code == Some(1) && text.contains("no data directory"), "{text}");
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Lets all blocks that are there look as if nothing had come into them for so many days.
fn age_blocks(server: &TestServer, days: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(days * 86_400);
    for entry in std::fs::read_dir(server.data().join("blocks")).unwrap() {
        std::fs::File::open(entry.unwrap().path()).unwrap().set_modified(then).unwrap();
    }
}

fn query_range(server: &TestServer, query: &str, (start_ms, end_ms, step_ms): (i64, i64, i64)) -> Value {
    let query = percent_encode(query);
    let [start, end, step] = [start_ms, end_ms, step_ms].map(|ms| ms as f64 / 1000.0);
    let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}&stats=all");
    let answer = server.get(&path);
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()
}

/// Off the edges of buckets: lines stay flat and without gaps, and it is said what was done.
fn check_off_edges(server: &TestServer, begin: i64, last: i64) {
    let resolutions = |answer: &Value| -> Vec<String> {
        let tiers = answer["data"]["stats"]["tiers"].as_array().cloned().unwrap_or_default();
        let told =
            |tier: &Value| format!("{} {}", tier["resolution"].as_str().unwrap(), tier["fidelity"].as_str().unwrap());
        tiers.iter().map(told).collect()
    };
    let answer = query_range(server, "rate(history_total[47m])", (begin + 2 * HOUR_MS + 1000, last, 77 * 60_000));
    let values = answer["data"]["result"][0]["values"].as_array().unwrap();
    assert!(values.iter().all(|value| (value[1].as_str().unwrap().parse::<f64>().unwrap() - 1.0).abs() < 1e-9));
    let found = resolutions(&answer);
    assert!(found.contains(&"1h widened".to_owned()) && found.contains(&"5m widened".to_owned()), "{found:?}");
    let infos = answer["infos"].to_string();
    assert!(infos.contains("windows were widened to whole buckets") && infos.contains("in buckets of 1h"), "{infos}");
    let answer = query_range(server, "deriv(history_total[2h])", (begin + 2 * HOUR_MS, last, HOUR_MS));
    assert!(answer["infos"].to_string().contains("deriv is approximate"), "{answer}");
    // A selector has no gaps anywhere.
    let answer = query_range(server, "history_total", (begin + 2 * HOUR_MS + 1000, last, 77 * 60_000));
    let values = answer["data"]["result"][0]["values"].as_array().unwrap();
    assert_eq!(values.len() as i64, (last - begin - 2 * HOUR_MS - 1000) / (77 * 60_000) + 1);
}

#[test]
fn weeks_of_history_become_buckets_and_answers_say_so() {
    let server = TestServer::with_config(
        "storage: {retention: 2d, tiers: [{resolution: 5m, retention: 15d}, {resolution: 1h, retention: 90d}]}\n\
         self_scrape: false\nhosts: {enabled: false}\n",
    );
    let now = now_ms() - now_ms().rem_euclid(HOUR_MS);
    let begin = now - now.rem_euclid(DAY_MS) - 21 * DAY_MS;
    // A counter that grows by one a second, a sample a minute, until now.
    let count = |from: i64, to: i64| -> Vec<(i64, f64)> {
        let steps = from / 60_000 + 1..=to / 60_000;
        steps.map(|minute| (minute * 60_000, ((minute * 60_000 - begin) / 1000) as f64)).collect()
    };
    // What is new first: how old anything is, is told by that.
    for from in (0..).map(|day| now - (day + 1) * DAY_MS).take_while(|from| *from > begin - DAY_MS) {
        let series = Series::new("history_total", &[], &count(from.max(begin), from + DAY_MS));
        let answer = server.write(&wire::write_request(&[series]));
        assert_eq!(answer.status, 204, "{answer}");
    }
    let compact = || {
        let (code, text) = cli(&["storage", "compact", "--url", server.url()]);
        assert_eq!(code, Some(0), "{text}");
    };
    compact();
    // Every sample is there, and every hour is flat, before and after most of them became buckets.
    let (first, last) = (begin + HOUR_MS, now);
    let check = |what: &str| {
        for (query, want) in [
            ("rate(history_total[1h])", "1"),
            ("increase(history_total[1h])", "3600"),
            ("count_over_time(history_total[1h])", "60"),
        ] {
            let answer = query_range(&server, query, (first, last, HOUR_MS));
            let values = answer["data"]["result"][0]["values"].as_array().unwrap();
            assert_eq!(values.len() as i64, (last - first) / HOUR_MS + 1, "{what}: {query}");
            assert!(values.iter().all(|value| value[1] == want), "{what}: {query}: {values:?}");
            let infos = answer["infos"].to_string();
            assert!(!infos.contains("buckets"), "{what}: {query}: {infos}");
        }
    };
    check("samples");
    // Too fresh to be folded, then quiet for long.
    age_blocks(&server, 8);
    compact();
    check("buckets");
    let files = |resolution: &str| std::fs::read_dir(server.data().join("tiers").join(resolution)).unwrap().count();
    assert!(files("300000") >= 12 && files("3600000") >= 18, "{} {}", files("300000"), files("3600000"));
    let report = server.get("/api/v1/status/storage").data();
    let oldest = report["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|block| block["start"].as_f64())
        .fold(f64::MAX, f64::min);
    assert!(oldest * 1000.0 > (now - 5 * DAY_MS) as f64, "samples are gone: {oldest}, {report}");
    check_off_edges(&server, begin, last);
    // The same import once more changes nothing, not even after it was folded in.
    let again = Series::new("history_total", &[], &count(begin + 3 * DAY_MS, begin + 4 * DAY_MS));
    assert_eq!(server.write(&wire::write_request(&[again])).status, 204);
    check("imported twice");
    compact();
    age_blocks(&server, 8);
    compact();
    check("folded twice");
}

fn token(name: &str, scope: &str) -> String {
    let hash: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("    - {{name: {name}, sha256: {hash}, scopes: [{scope}]}}\n")
}

#[test]
fn only_an_admin_merges_and_each_token_and_job_has_its_share_of_series() {
    let tokens =
        [("first-token", "push"), ("second-token", "push"), ("reader-token", "read"), ("admin-token", "admin")];
    let tokens: String = tokens.iter().map(|(name, scope)| token(name, scope)).collect();
    let config = format!("auth:\n  tokens:\n{tokens}limits: {{series_per_token: 5, series_per_job: 7}}\n");
    let server = TestServer::with_config(&config);
    let file = tempfile::NamedTempFile::new().unwrap();
    for (token, expected) in [("reader-token", Some(1)), ("admin-token", Some(0))] {
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        let path = file.path().to_str().unwrap();
        let (code, text) = cli(&["storage", "--url", server.url(), "--token-file", path]);
        assert_eq!(code, Some(0), "{text}");
        let (code, text) = cli(&["storage", "compact", "--url", server.url(), "--token-file", path]);
        assert_eq!(code, expected, "{text}");
        assert!(code == Some(0) || text.contains("does not have the scope `admin`"), "{text}");
    }
    let (_, text) = cli(&["storage", "--url", server.url()]);
    assert!(text.contains("401") && text.contains("--token-file"), "{text}");
    let write = |token: &str, names: std::ops::Range<u32>| {
        let series: Vec<Series> =
            names.map(|n| Series::new(&format!("m{n}"), &[("job", "j")], &[(now_ms(), 1.0)])).collect();
        let authorization = format!("Bearer {token}");
        let mut headers = wire::WRITE_HEADERS.to_vec();
        headers.push(("Authorization", &authorization));
        server.send("POST", "/api/v1/write", &headers, &wire::write_request(&series))
    };
    assert_eq!(write("first-token", 0..5).status, 204);
    let refused = write("first-token", 0..6);
    assert!(refused.status == 400 && refused.text().contains("limits.series_per_token"), "{refused}");
    assert_eq!(write("second-token", 5..7).status, 204, "another token has its own share");
    let refused = write("second-token", 7..8);
    assert!(refused.status == 400 && refused.text().contains("limits.series_per_job"), "{refused}");
    let headers = [("Authorization", "Bearer first-token")];
    let refused = server.send("PUT", "/metrics/job/other", &headers, b"x 1\n");
    assert!(refused.status == 422 && refused.text().contains("limits.series_per_token"), "{refused}");
    assert_eq!(write("first-token", 0..5).status, 204, "known series go on");
}

#[test]
fn short_memory_sheds_reads_then_new_series_and_known_ones_go_on() {
    let config = Some("storage: {memory_max: 96MiB, series_max: 10000000}\n".to_owned());
    let mut server = TestServer::with(Options { config, ..Options::default() });
    let known = |server: &TestServer, value: f64| {
        let series = Series::new("known", &[], &[(now_ms(), value)]);
        server.write(&wire::write_request(&[series])).status
    };
    assert_eq!(known(&server, 1.0), 204);
    let mut count = 0;
    let mut bomb = |server: &TestServer| {
        count += 1;
        let names = (0..5_000).map(|n| format!("{count}-{n}-{}", "x".repeat(100)));
        let series: Vec<Series> = names.map(|n| Series::new("bomb", &[("n", &n)], &[(now_ms(), 1.0)])).collect();
        server.write(&wire::write_request(&series))
    };
    // Memory comes back when a request is done, so each look follows a bomb.
    let within = Duration::from_secs(120);
    let refused =
        eventually("new series are refused", within, || Some(bomb(&server)).filter(|answer| answer.status != 204));
    assert!(refused.status == 400 && refused.text().contains("storage.memory_max"), "{refused}");
    assert_eq!(known(&server, 2.0), 204, "known series go on");
    let answer = eventually("reads are shed", within, || {
        bomb(&server);
        Some(server.get("/api/v1/query?query=known")).filter(|answer| answer.status == 503)
    });
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer}");
    assert!(answer.api_error(503, "unavailable").contains("memory is short"), "{answer}");
    eventually("a push of a new series is refused", within, || {
        bomb(&server);
        Some(server.push("PUT", "new", "fresh 1\n")).filter(|answer| answer.status == 503)
    });
    assert_eq!(server.get("/api/v1/status/storage").status, 200, "who looks for the reason finds it");
    let metrics = server.get("/metrics").text();
    let count = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is missing"))
    };
    assert!(count("observatory_reads_shed_total") >= 1.0 && count("observatory_refused_memory_short_total") >= 1.0);
    let log = server.log();
    let (short, again) = (log.matches("Memory is very short").count(), log.matches("new series are taken").count());
    assert!(short == again || short == again + 1, "each change is logged once:\n{log}");
    assert!(server.resident_peak_bytes() < 256 << 20, "{}", server.resident_peak_bytes());
    server.kill();
    // It also starts with more than its budget in the log, and goes on where it was.
    let server = server.start_again();
    assert_eq!(known(&server, 3.0), 204);
}

#[test]
fn retention_is_set_on_the_command_line_as_in_prometheus() {
    let flags = ["--storage.tsdb.retention.time=10d", "--storage.tsdb.retention.size=2GB"];
    let arguments = flags.map(str::to_owned).to_vec();
    let server = TestServer::with(Options { arguments, ..Options::default() });
    assert_eq!(server.get("/api/v1/status/runtimeinfo").data()["storageRetention"], "10d or 2GiB");
    let retention = &server.get("/api/v1/status/storage").data()["retention"];
    assert_eq!((&retention["time_ms"], &retention["allowed_bytes"]), (&864_000_000.into(), &(2u64 << 30).into()));
    let (code, text) = cli(&["up", "--storage.tsdb.retention.size=much"]);
    assert!(code == Some(2) && text.contains("a size such as 10GB"), "{text}");
}

fn count(server: &TestServer, selector: &str) -> Option<f64> {
    server.value(&format!("sum(count_over_time({selector}[2d]))"))
}

#[test]
fn series_are_deleted_as_prometheus_deletes_them() {
    let path = "/api/v1/admin/tsdb/delete_series";
    let off = TestServer::start();
    for disabled in [path, "/api/v1/admin/tsdb/clean_tombstones"] {
        let refused = off.send("POST", &format!("{disabled}?match[]=up"), &[], b"");
        assert_eq!(refused.api_error(500, "unavailable"), "admin APIs disabled");
    }
    let arguments = vec!["--web.enable-admin-api".to_owned()];
    let mut server = TestServer::with(Options { arguments, ..Options::default() });
    fill(&server);
    assert_eq!(count(&server, "stored"), Some(3600.0));
    assert_eq!(server.get(&format!("{path}?match[]=stored")).status, 405, "never by GET");
    let missing = server.send("POST", path, &[], b"");
    assert_eq!(missing.api_error(400, "bad_data"), "no match[] parameter provided");
    let wrong = server.form(path, &[("match[]", "stored{")]);
    assert!(wrong.api_error(400, "bad_data").starts_with("invalid parameter \"match[]\": 1:"), "{wrong}");
    let wrong = server.form(path, &[("match[]", "stored"), ("start", "soon")]);
    assert!(wrong.api_error(400, "bad_data").contains("invalid parameter \"start\""), "{wrong}");
    let many: Vec<(&str, &str)> = vec![("match[]", "stored"); 65];
    assert!(server.form(path, &many).api_error(400, "bad_data").contains("the limit of 64"));
    // Nothing yet, and nothing where the end is before the start.
    assert_eq!(server.form(path, &[("match[]", "stored"), ("start", "2"), ("end", "1")]).status, 204);
    assert_eq!(count(&server, "stored"), Some(3600.0));
    // One window of three for two selectors, one of them in the URL; by PUT with a form.
    let begin = now_ms() - 30 * 3_600_000;
    let edge = ((begin + 3_600_000) as f64 / 1000.0).to_string();
    let form = format!("match[]=stored%7Bn%3D%221%22%7D&end={edge}");
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let deleted = server.send("PUT", &format!("{path}?match[]=stored%7Bn%3D%222%22%7D"), &kind, form.as_bytes());
    assert_eq!((deleted.status, deleted.text().as_str()), (204, ""));
    assert_eq!(count(&server, "stored"), Some(3480.0));
    assert_eq!(count(&server, "stored{n=\"1\"}"), Some(120.0));
    // The same moment again is there, also after everything was merged and opened again.
    let again: Vec<(i64, f64)> = vec![(begin + 1, 5.0)];
    let written = server.write(&wire::write_request(&[Series::new("stored", &[("job", "it"), ("n", "1")], &again)]));
    assert_eq!(written.status, 204, "{written}");
    assert_eq!(server.send("POST", "/api/v1/admin/tsdb/clean_tombstones", &[], b"").status, 204);
    assert_eq!(count(&server, "stored{n=\"1\"}"), Some(121.0));
    assert_eq!(server.form(path, &[("match[]", "stored"), ("match[]", "{job=\"nobody\"}")]).status, 204);
    assert_eq!(count(&server, "stored"), None);
    server.kill();
    let server = server.start_again();
    assert_eq!(count(&server, "stored"), None);
    assert_eq!(server.form(path, &[("match[]", "{}")]).status, 204, "everything may be meant, as in Prometheus");
}

#[test]
fn the_command_says_what_would_go_and_deletes_it() {
    let mut server = TestServer::start();
    fill(&server);
    let url = server.url().to_owned();
    let (code, text) = cli(&["delete", "stored{n=\"1\"}", "stored{n=~\"1|2\"}", "--url", &url, "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    for expected in ["stored{job=\"it\", n=\"1\"}", "2 series: 360 samples, from 20"] {
        assert!(text.contains(expected), "`{expected}` is missing in\n{text}");
    }
    assert_eq!(count(&server, "stored"), Some(3600.0), "nothing was changed");
    let plan = server.form("/api/v1/admin/storage/delete_plan", &[("match[]", "stored"), ("limit", "1")]).data();
    assert_eq!((&plan["series"], &plan["samples"]), (&20.into(), &3600.into()), "{plan}");
    assert_eq!(plan["labels"].as_array().map(Vec::len), Some(1));
    let (code, text) = cli(&["delete", "stored{n=\"1\"}", "--url", &url]);
    assert!(code == Some(2) && text.contains("--yes"), "nobody is there to ask: {text}");
    let (code, text) = cli(&["delete", "stored{n=\"1\"}", "--url", &url, "--yes"]);
    assert!(code == Some(0) && text.contains("Deleted."), "{text}");
    assert_eq!(count(&server, "stored"), Some(3420.0));
    let (code, text) = cli(&["delete", "stored{n=\"1\"}", "--url", &url, "--yes"]);
    assert!(code == Some(0) && text.contains("Nothing passes"), "{text}");
    let (code, text) = cli(&["delete", "stored{", "--url", &url]);
    assert!(code == Some(2) && text.contains("stored{"), "{text}");
    let (code, text) = cli(&["delete", "stored", "--from", "9", "--to", "5", "--url", &url]);
    assert!(code == Some(2) && text.contains("--to is before"), "{text}");
    server.terminate();
    let data = server.data().to_str().unwrap().to_owned();
    let (code, text) = cli(&["delete", "stored{n=~\"1.+\"}", "--data-dir", &data, "--yes"]);
    assert!(code == Some(0) && text.contains("10 series"), "{text}");
    let server = server.start_again();
    assert_eq!(count(&server, "stored"), Some(1620.0));
}

/// Samples of three hours, now and two days ago, of series of three environments.
fn fill_environments(server: &TestServer) {
    let series = |environment: &str, ago_ms: i64| {
        let begin = now_ms() - ago_ms;
        let samples: Vec<(i64, f64)> = (0..180).map(|n| (begin + n * 60_000, n as f64)).collect();
        Series::new("policed", &[("env", environment)], &samples)
    };
    for ago_ms in [48 * 3_600_000, 3 * 3_600_000] {
        let answer = server.write(&wire::write_request(&["dev", "prod", "long"].map(|name| series(name, ago_ms))));
        assert_eq!(answer.status, 204, "{answer}");
    }
}

#[test]
fn policies_are_planned_and_then_keep_each_series_for_its_own_time() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let start = |config: &str| {
        TestServer::with(Options { data: Some(data.clone()), config: Some(config.to_owned()), ..Options::default() })
    };
    let before = "storage: {retention: 10d, tiers: none}\n";
    let after = "storage:\n  retention: 1d\n  tiers: none\n  policies:\n    - {match: '{env=\"dev\"}', raw: 12h, tiers: none}\n    \
                 - {match: '{env=\"long\"}', raw: 30d}\n    - {match: 'policed{env=\"long\"}', raw: 40d}\n    - {match: '{env=\"typo\"}', \
                 raw: 40d}\n";
    let new = directory.path().join("new.yml");
    std::fs::write(&new, after).unwrap();
    let new = new.to_str().unwrap();

    let mut server = start(before);
    fill_environments(&server);
    assert_eq!(cli(&["storage", "compact", "--url", server.url()]).0, Some(0));
    let (code, text) = cli(&["storage", "plan", "--config", new, "--url", server.url(), "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let of_server: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let rows = of_server["rules"].as_array().unwrap();
    let figures = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap_or(99)).collect::<Vec<_>>();
    assert_eq!(figures("series")[..4], [1, 1, 0, 0], "{of_server}");
    assert_eq!((figures("passing_series")[2], figures("shadowed_by")[2]), (1, 1), "{of_server}");
    let going = figures("going_bytes");
    assert!(going[0] > 0 && going[1] == 0 && going[4] > 0, "{of_server}");
    let (_, text) = cli(&["storage", "plan", "--config", new, "--url", server.url()]);
    for expected in ["{env=\"dev\"}", "the rest", "matches no series", "is never reached"] {
        assert!(text.contains(expected), "`{expected}` is missing in\n{text}");
    }
    let (_, text) = cli(&["storage", "plan", "--url", server.url(), "--json"]);
    let in_force: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(in_force["going_bytes"], 0, "nothing changes: {in_force}");
    assert!(server.terminate().0.success());
    let (code, text) = cli(&["storage", "plan", "--data-dir", data.to_str().unwrap()]);
    assert!(code != Some(0) && text.contains("--config"), "{text}");
    let (code, text) = cli(&["storage", "plan", "--config", new, "--data-dir", data.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let offline: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(offline["rules"][1]["series"], 1, "{offline}");

    let mut server = start(after);
    let (code, text) = cli(&["storage", "compact", "--url", server.url()]);
    assert_eq!(code, Some(0), "{text}");
    let old =
        |environment: &str| server.value(&format!("count_over_time(policed{{env=\"{environment}\"}}[1d] offset 30h)"));
    assert_eq!([old("dev"), old("prod"), old("long")], [None, None, Some(180.0)]);
    for environment in ["dev", "prod", "long"] {
        let count = server.value(&format!("count_over_time(policed{{env=\"{environment}\"}}[6h])"));
        assert_eq!(count, Some(180.0), "{environment}");
    }
    let (_, text) = cli(&["storage", "--url", server.url()]);
    assert!(text.contains("kept longer 1 files") || text.contains("kept longer 2 files"), "{text}");
    let kept = server.get("/api/v1/status/storage").data()["kept"]["samples"].clone();
    assert_eq!(kept, 180);
    server.kill();
    let server = server.start_again();
    assert_eq!(server.value("count_over_time(policed{env=\"long\"}[3d])"), Some(360.0));
}
