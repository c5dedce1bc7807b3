//! Backups: made while others write, restored to equal answers, refused where a byte is wrong, never half there.

use super::support::http;
use super::support::server::{Finished, Options, TestServer, command, run};
use super::support::tools::{eventually, now_ms};
use super::support::wire::{Series, exemplar_series_plain, histogram_series_plain, snappy, write_request_plain};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(20);

/// Remote write with native histograms and exemplars, and push groups whose values go on as runs.
fn fill(server: &TestServer, now: i64) {
    let points = |factor: f64| -> Vec<(i64, f64)> {
        (0..360).map(|n| (now - 6 * 3_600_000 + n * 60_000, (n % 50) as f64 * factor)).collect()
    };
    let mut body = write_request_plain(&[
        Series::new("kept", &[("job", "a")], &points(1.0)),
        Series::new("kept", &[("job", "b")], &points(0.25)),
    ]);
    for n in 0..10 {
        body.extend(histogram_series_plain("latency", now - 600_000 + n * 30_000, 3 + n as u64));
        body.extend(exemplar_series_plain("traced", now - 600_000 + n * 30_000, n as f64, &format!("trace{n}")));
    }
    let answer = server.write(&snappy(&body));
    assert_eq!(answer.status, 204, "{answer}");
    for group in 0..5 {
        let body = format!("# TYPE pushed gauge\npushed {group}.5\n");
        assert_eq!(server.push("PUT", &format!("ci/group/{group}"), &body).status, 200);
    }
    assert_eq!(server.push("PUT", "ci/group/0", "# TYPE pushed gauge\npushed 9\n").status, 200);
    assert_eq!(server.push("DELETE", "ci/group/1", "").status, 202);
}

/// The answers to a fixed set of questions about what was there until `until_ms`.
fn answers(server: &TestServer, until_ms: i64) -> Vec<Value> {
    let end = format!("{}.{:03}", until_ms / 1000, until_ms % 1000);
    let start = format!("{}", until_ms / 1000 - 6 * 3600);
    let range = |query: &str, step: &str| {
        let fields = [("query", query), ("start", start.as_str()), ("end", end.as_str()), ("step", step)];
        server.form("/api/v1/query_range", &fields).data()
    };
    let mut found = vec![
        range("kept", "60"),
        range("sum by (job) (rate(kept[5m]))", "300"),
        range("count_over_time(kept[1h])", "600"),
        range("latency", "30"),
        range("histogram_quantile(0.9, latency)", "30"),
    ];
    // Pushed just before.
    for query in ["pushed", "push_time_seconds", "max_over_time(pushed[1m])"] {
        found.push(server.form("/api/v1/query", &[("query", query), ("time", end.as_str())]).data());
    }
    let exemplars = format!("/api/v1/query_exemplars?query=traced&start={start}&end={end}");
    found.push(server.get(&exemplars).data());
    found.push(server.get("/api/v1/metrics").data());
    found
}

fn backup(server: &TestServer, file: &Path) -> Finished {
    run(&["backup", "--url", server.url()], |command| {
        command.arg(file);
    })
}

fn restore(file: &Path, directory: &Path) -> Finished {
    run(&["restore", "--data-dir"], |command| {
        command.arg(directory).arg(file);
    })
}

fn verify(file: &Path) -> Finished {
    run(&["restore", "--verify"], |command| {
        command.arg(file);
    })
}

fn start_on(data: &Path) -> TestServer {
    TestServer::with(Options { data: Some(data.to_owned()), ..Options::default() })
}

/// Writes until it is dropped, and remembers how much was acknowledged.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(server: &TestServer, from_ms: i64) -> Writer {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped, url) = (acknowledged.clone(), stop.clone(), server.url().to_owned());
        let thread = std::thread::spawn(move || {
            for n in 1.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let series: Vec<Series> = (0..50)
                    .map(|index| Series::new("going_on", &[("n", &index.to_string())], &[(from_ms + n, n as f64)]))
                    .collect();
                let body = snappy(&write_request_plain(&series));
                let headers = super::support::wire::WRITE_HEADERS;
                if http::try_send("POST", &format!("{url}/api/v1/write"), headers, &body).is_ok_and(|a| a.status == 204)
                {
                    counted.store(n as u64, Ordering::SeqCst);
                }
            }
        });
        Writer { acknowledged, stop, thread: Some(thread) }
    }

    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// All files below a directory, for people who read a failure.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[test]
fn a_backup_made_while_a_writer_goes_on_restores_to_equal_answers() {
    let config = "# our config\nscrape_configs:\n  - job_name: x\n    basic_auth: {username: u, password: hunter2}\n";
    let server = TestServer::with_config(config);
    let now = now_ms();
    fill(&server, now);
    let writer = Writer::start(&server, now - 3_000_000);
    eventually("some writes", WAIT, || (writer.count() > 20).then_some(()));
    let (acknowledged, until) = (writer.count(), now_ms());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.backup");
    let made = backup(&server, &file);
    assert!(made.status.success() && made.text.contains("checked"), "{}", made.text);
    let expected = answers(&server, until);
    let after = writer.count();
    assert!(after > acknowledged, "writes went on");
    drop(writer);
    assert!(verify(&file).text.contains("whole"), "{}", verify(&file).text);
    let data = directory.path().join("restored");
    let restored = restore(&file, &data);
    assert!(restored.status.success(), "{}", restored.text);
    let config = std::fs::read_to_string(data.join("config-of-backup.yml")).unwrap();
    assert!(
        config.contains("# our config") && config.contains("job_name: x") && !config.contains("hunter2"),
        "{config}"
    );
    let mut restored = start_on(&data);
    let found = answers(&restored, until);
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert!(
        expected.iter().all(|answer| answer["result"].as_array().is_none_or(|all| !all.is_empty())),
        "{expected:?}"
    );
    let groups = restored.get("/api/v1/metrics").data();
    assert_eq!(groups.as_array().map(Vec::len), Some(4), "{groups}");
    let written = restored.value("min(count_over_time(going_on[2h]))").unwrap();
    assert!(written as u64 >= acknowledged, "{written} of {acknowledged}");
    // What was cut was cut between batches.
    assert_eq!(restored.value("max(count_over_time(going_on[2h]))"), Some(written));
    let jobs = server.get("/api/v1/jobs").data();
    assert_eq!(jobs["jobs"][0]["kind"], "backup");
    eventually("the job's end", WAIT, || {
        (server.get("/api/v1/jobs").data()["jobs"][0]["state"] == "done").then_some(())
    });
    restored.assert_healthy();
    restored.kill();
    let restored = restored.start_again();
    assert_eq!(answers(&restored, until)[0], expected[0]);
}

#[test]
fn a_directory_without_a_server_is_backed_up_too() {
    let mut server = TestServer::start();
    fill(&server, now_ms());
    let now = now_ms();
    let expected = answers(&server, now);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    let offline = |server: &TestServer| {
        run(&["backup", "--data-dir"], |command| {
            command.arg(server.data()).arg(&file);
        })
    };
    let refused = offline(&server);
    assert!(!refused.status.success() && refused.text.contains("--url"), "{}", refused.text);
    server.terminate();
    let made = offline(&server);
    assert!(made.status.success(), "{}", made.text);
    let again = offline(&server);
    assert!(again.status.code() == Some(2) && again.text.contains("is there already"), "{}", again.text);
    let data = directory.path().join("restored");
    assert!(restore(&file, &data).status.success());
    assert_eq!(answers(&start_on(&data), now), expected);
}

#[test]
fn what_is_wrong_with_a_file_or_a_place_is_said_and_nothing_is_left() {
    let server = TestServer::start();
    fill(&server, now_ms());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    assert!(backup(&server, &file).status.success());
    let whole = std::fs::read(&file).unwrap();
    // The manifest is JSON: the first place of a name in it is its entry.
    let text = String::from_utf8_lossy(&whole).into_owned();
    let manifest: Value =
        serde_json::from_str(&text[text.rfind("{\"format\"").unwrap()..text.rfind("OBSBKEND").unwrap()])
            .expect("a manifest");
    let mut begin = 16;
    for part in manifest["parts"].as_array().unwrap() {
        let (name, bytes) = (part["name"].as_str().unwrap(), part["bytes"].as_u64().unwrap() as usize);
        let mut damaged = whole.clone();
        damaged[begin + bytes / 2] ^= 0x20;
        std::fs::write(&file, &damaged).unwrap();
        let target = directory.path().join("restored");
        for refused in [verify(&file), restore(&file, &target)] {
            assert!(!refused.status.success() && refused.text.contains(&format!("`{name}`")), "{}", refused.text);
        }
        assert_eq!(files(directory.path()), std::slice::from_ref(&file), "nothing is left of {name}");
        begin += bytes;
    }
    std::fs::write(&file, &whole[..whole.len() * 2 / 3]).unwrap();
    let cut = verify(&file);
    assert!(!cut.status.success() && cut.text.contains("cut short"), "{}", cut.text);
    std::fs::write(&file, &whole).unwrap();
    let taken = restore(&file, server.data());
    assert!(!taken.status.success() && taken.text.contains("is not empty"), "{}", taken.text);
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(restore(&file, &empty).status.success());
    let neither = run(&["restore", "x"], |_| {});
    assert!(neither.text.contains("--data-dir"), "{}", neither.text);
}

/// A server with so much in it that neither a backup nor a restore is over at once.
fn large() -> TestServer {
    let server = TestServer::start();
    let now = now_ms();
    for batch in 0..12i64 {
        let series: Vec<Series> = (0..1000u64)
            .map(|n| {
                let point = |step: i64| {
                    let noise =
                        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(step as u64 + batch as u64 * 99);
                    (now - 3_600_000 + (batch * 100 + step) * 1000, noise as f64 / 7.0)
                };
                Series::new("large", &[("n", &n.to_string())], &(0..100).map(point).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(server.write(&super::support::wire::write_request(&series)).status, 204);
    }
    server
}

#[test]
fn a_kill_at_any_moment_leaves_no_half_backup_and_no_half_directory() {
    let mut server = large();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    let kill_after = |command: &mut Command, wait: Duration| {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(wait);
        let _ = child.kill();
        child.wait().unwrap().success()
    };
    let mut killed = 0;
    for round in 0..12u64 {
        let wait = Duration::from_millis(5 + round * 12);
        if kill_after(command().args(["backup", "--url", server.url()]).arg(&file), wait) {
            std::fs::remove_file(&file).unwrap();
        } else if file.exists() {
            // Killed behind the rename.
            assert!(verify(&file).status.success());
            std::fs::remove_file(&file).unwrap();
        } else {
            killed += 1;
        }
    }
    // The server dies while somebody reads a backup from it.
    let reader = {
        let (url, file) = (server.url().to_owned(), file.clone());
        std::thread::spawn(move || run(&["backup", "--url", &url], |command| _ = command.arg(&file)))
    };
    std::thread::sleep(Duration::from_millis(60));
    server.kill();
    let reader = reader.join().unwrap();
    assert_eq!(reader.status.success(), file.exists(), "{}", reader.text);
    let _ = std::fs::remove_file(&file);
    let server = server.start_again();
    assert!(backup(&server, &file).status.success());
    assert_eq!(files(directory.path()), std::slice::from_ref(&file), "what was left is written over");
    let target = directory.path().join("data");
    for round in 0..12u64 {
        let wait = Duration::from_millis(3 + round * 10);
        if kill_after(command().args(["restore", "--data-dir"]).arg(&target).arg(&file), wait) || target.exists() {
            let count = start_on(&target).value("count(count_over_time(large[2h]) == 1200)");
            assert_eq!(count, Some(1000.0), "there is a directory, so it is whole");
            std::fs::remove_dir_all(&target).unwrap();
        } else {
            killed += 1;
        }
    }
    assert!(killed >= 4, "only {killed} were killed in the middle");
    assert!(restore(&file, &target).status.success());
    assert_eq!(files(directory.path()), [file, target], "nothing is left of those that were killed");
}

#[test]
fn a_running_backup_is_a_job_that_can_be_cancelled() {
    let server = large();
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    let request =
        format!("POST /api/v1/admin/backup HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", server.address());
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let job = eventually("a job that runs and waits for its reader", WAIT, || {
        let job = server.get("/api/v1/jobs").data()["jobs"][0].clone();
        (job["state"] == "running" && job["progress"]["done"].as_u64() > Some(100_000)).then_some(job)
    });
    assert!(job["progress"]["total"].as_u64() > job["progress"]["done"].as_u64(), "{job}");
    let path = format!("/api/v1/jobs/{}", job["id"]);
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 202);
    eventually("its end", WAIT, || (server.get(&path).data()["state"] == "cancelled").then_some(()));
    let mut rest = Vec::new();
    // It may end with a reset.
    let _ = stream.read_to_end(&mut rest);
    assert!((rest.len() as u64) < job["progress"]["total"].as_u64().unwrap());
}

#[test]
fn scheduled_backups_are_rotated_and_failures_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("backups");
    std::fs::create_dir(&place).unwrap();
    for day in 1..=4 {
        std::fs::write(place.join(format!("observatory-2026010{day}T000000Z.backup")), "old").unwrap();
    }
    std::fs::write(place.join("observatory-20260105T000000Z.backup.observatory-part"), "left by a kill").unwrap();
    std::fs::write(place.join("notes.txt"), "mine").unwrap();
    let config = format!("backup: {{directory: '{}', interval: 1h, keep: 3}}\n", place.display());
    let mut server = TestServer::with_config(&config);
    let metric = |server: &TestServer, name: &str| -> f64 {
        let text = server.get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let is_new = |path: &PathBuf| !path.to_string_lossy().contains("-202601") && path.extension().unwrap() == "backup";
    let new = eventually("a backup", WAIT, || files(&place).into_iter().find(is_new));
    assert!(verify(&new).status.success());
    eventually("the rotation", WAIT, || (files(&place).len() == 4).then_some(()));
    let left: Vec<String> =
        files(&place).iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!((left[0].as_str(), left[1].as_str()), ("notes.txt", "observatory-20260103T000000Z.backup"));
    let ago = now_ms() as f64 / 1000.0 - metric(&server, "observatory_backup_last_success_timestamp_seconds");
    assert!((0.0..60.0).contains(&ago), "{ago}");
    let bytes = std::fs::metadata(&new).unwrap().len() as f64;
    assert_eq!(metric(&server, "observatory_backup_last_size_bytes"), bytes);
    assert_eq!(metric(&server, "observatory_backup_failures_total"), 0.0);
    // After a restart the next one is due in an hour, not at once.
    server.terminate();
    let mut server = server.start_again();
    assert!(metric(&server, "observatory_backup_last_success_timestamp_seconds") > 0.0);
    assert_eq!(files(&place).len(), 4);
    // A place that cannot be: said, counted, and the server goes on.
    server.rewrite_config("backup: {directory: /proc/nowhere/at/all, interval: 1m}\n");
    assert_eq!(server.send("POST", "/-/reload", &[], b"").status, 200);
    eventually("a failure", WAIT, || (metric(&server, "observatory_backup_failures_total") == 1.0).then_some(()));
    assert!(server.log().contains("A backup could not be written"), "{}", server.log());
    server.assert_healthy();
    let wrong = directory.path().join("wrong.yml");
    std::fs::write(&wrong, "backup: {interval: 1s, keep: 0}\n").unwrap();
    let checked = run(&["config", "check"], |command| _ = command.arg(&wrong));
    assert!(checked.text.contains("has no directory"), "{}", checked.text);
}

#[test]
fn snapshots_are_made_as_prometheus_makes_them() {
    let refused = TestServer::start().send("POST", "/api/v1/admin/tsdb/snapshot", &[], b"");
    assert_eq!(refused.api_error(500, "unavailable"), "admin APIs disabled");
    let arguments = vec!["--web.enable-admin-api".to_owned()];
    let server = TestServer::with(Options { arguments, ..Options::default() });
    fill(&server, now_ms());
    let now = now_ms();
    let expected = answers(&server, now);
    let wrong = server.send("POST", "/api/v1/admin/tsdb/snapshot?skip_head=maybe", &[], b"");
    assert!(wrong.api_error(400, "bad_data").contains("skip_head"), "{wrong}");
    assert_eq!(server.get("/api/v1/admin/tsdb/snapshot").status, 405);
    for (method, query) in [("POST", ""), ("PUT", "?skip_head=false"), ("POST", "?skip_head=true")] {
        let began = Instant::now();
        let answer = server.send(method, &format!("/api/v1/admin/tsdb/snapshot{query}"), &[], b"");
        let data = answer.data();
        assert_eq!(data.as_object().map(|data| data.len()), Some(1), "{data}");
        let name = data["name"].as_str().expect("a name").to_owned();
        let (moment, random) = name.split_once('-').expect("a moment and a number");
        assert!(moment.len() == 16 && moment.ends_with('Z') && random.len() == 16, "{name}");
        assert!(began.elapsed() < Duration::from_secs(10));
        let snapshot = server.data().join("snapshots").join(&name);
        let copy = start_on(&snapshot);
        if query.ends_with("true") {
            assert_eq!(copy.value("count(count_over_time(kept[8h]))"), None, "nothing was in blocks");
            assert_eq!(copy.get("/api/v1/metrics").data().as_array().map(Vec::len), Some(4));
        } else {
            assert_eq!(answers(&copy, now), expected);
        }
    }
    assert_eq!(server.get("/api/v1/status/flags").data()["web.enable-admin-api"], "true");
}

#[test]
fn a_backup_needs_the_scope_admin() {
    use sha2::{Digest, Sha256};
    let hash = |token: &[u8]| -> String { Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect() };
    let (reader, admin) = ("a-token-of-one-who-reads-only", "a-token-of-one-who-may-do-all");
    let config = format!(
        "auth:\n  tokens:\n    - {{name: r, sha256: {}, scopes: [read]}}\n    - {{name: a, sha256: {}, scopes: [admin]}}\n",
        hash(reader.as_bytes()),
        hash(admin.as_bytes())
    );
    let server = TestServer::with_config(&config);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    for (token, allowed) in [(reader, false), (admin, true)] {
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, token).unwrap();
        let made = run(&["backup", "--url", server.url(), "--token-file"], |command| {
            command.arg(&token_file).arg(&file);
        });
        assert_eq!((made.status.success(), file.exists()), (allowed, allowed), "{}", made.text);
    }
    assert!(!String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains(&hash(admin.as_bytes())));
}
