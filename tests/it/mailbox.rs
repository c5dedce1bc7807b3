//! The mailbox: the embedded queue, and Redis streams beside the real beast-mailbox-core and the real redis-server.

use super::support::server::{Options, TestServer, command};
use super::support::tools::{Background, all_of, eventually, free_port, program, python_with, run_ok};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const INBOX: &str = "beast:observatory:metrics:in";
const GROUP: &str = "metrics:group";
const PATIENCE: Duration = Duration::from_secs(60);

/// A real redis-server.
pub struct Redis {
    process: Background,
    port: u16,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Redis {
    pub fn start() -> Redis {
        Redis::with(&[])
    }

    fn with(arguments: &[&str]) -> Redis {
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let process = Redis::process(port, directory.path(), &arguments);
        let redis = Redis { process, port, directory, arguments };
        redis.wait();
        redis
    }

    fn process(port: u16, directory: &Path, arguments: &[String]) -> Background {
        let child = Command::new(program("redis-server", "redis-server"))
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(directory)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("start redis-server");
        Background(child)
    }

    fn wait(&self) {
        // One with a password refuses, which is an answer too.
        eventually("redis-server answers", PATIENCE, || {
            let answer = self.cli(["PING"]);
            (answer.contains("PONG") || answer.contains("NOAUTH")).then_some(())
        });
    }

    pub fn stop(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
    }

    /// Starts again with nothing: there is no persistence.
    pub fn start_again(&mut self) {
        self.process = Redis::process(self.port, self.directory.path(), &self.arguments);
        self.wait();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.process.0.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn cli<T: Into<OsString>>(&self, arguments: impl IntoIterator<Item = T>) -> String {
        let output = Command::new(program("redis-cli", "redis-tools"))
            .args(["-p", &self.port.to_string()])
            .args(arguments.into_iter().map(Into::into))
            .output()
            .expect("run redis-cli");
        all_of(&output)
    }

    /// Adds a metric as a message of its own.
    fn add(&self, id: &str, metrics: &str) {
        let payload = json!({ "metrics": metrics, "metadata": { "source": id } }).to_string();
        let added =
            self.cli(["XADD", INBOX, "*", "message_id", id, "message_type", "METRICS_UPDATE", "payload", &payload]);
        assert!(added.contains('-'), "{added}");
    }

    fn server(&self) -> TestServer {
        TestServer::with_config(&self.config(""))
    }

    pub fn config(&self, more: &str) -> String {
        format!("mailbox:\n  redis: redis://127.0.0.1:{}\n{more}", self.port)
    }

    /// Delivered to the group, and not acknowledged; and not delivered.
    fn pending_and_lag(&self) -> (String, String) {
        let text = self.cli(["XINFO", "GROUPS", INBOX]);
        let lines: Vec<&str> = text.lines().collect();
        let after = |name: &str| lines.iter().position(|line| *line == name).map_or("", |at| lines[at + 1]).to_owned();
        (after("pending"), after("lag"))
    }
}

fn tool(name: &str) -> Command {
    let python: PathBuf = python_with("beast_mailbox_core");
    Command::new(python.parent().unwrap().join(name))
}

fn mailbox(server: &TestServer, arguments: &[&str]) -> String {
    run_ok(command().arg("mailbox").args(arguments).args(["--url", server.url()]))
}

fn overview(server: &TestServer) -> Value {
    server.get("/api/v1/mailbox").data()
}

fn wait_for(server: &TestServer, expression: &str, value: f64) {
    eventually(expression, PATIENCE, || server.value(expression).filter(|found| *found == value));
}

fn send(server: &TestServer, id: &str, metrics: &str) -> bool {
    let payload = json!({ "metrics": metrics, "metadata": { "source": id } });
    let body = json!({ "kind": "METRICS_UPDATE", "id": id, "payload": payload }).to_string();
    super::support::http::try_send(
        "POST",
        &format!("{}/api/v1/mailbox/send", server.url()),
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    )
    .is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_message_becomes_samples_and_one_that_is_wrong_a_dead_letter() {
    let server = TestServer::start();
    let payload = r#"{"metrics": "embedded{a=\"b\"} 7\n", "metadata": {"branch": "main", "version": null}}"#;
    let sent = mailbox(&server, &["send", "METRICS_UPDATE", "--json", payload, "--id", "one"]);
    assert!(sent.contains("put in as one"), "{sent}");
    wait_for(&server, "embedded{job=\"beast-mailbox-core\",branch=\"main\",version=\"\",a=\"b\"}", 7.0);
    mailbox(&server, &["send", "METRICS_UPDATE", "--json", r#"{"metrics": "good 1\nbad{ 1\n"}"#, "--id", "two"]);
    mailbox(&server, &["send", "NOBODYS", "--id", "three"]);
    let letters = eventually("two dead letters", PATIENCE, || {
        let letters = overview(&server)["deadLetters"].as_array().unwrap().clone();
        (letters.len() == 2).then_some(letters)
    });
    assert_eq!(server.value("good"), None, "nothing of a malformed message is stored");
    let listed = mailbox(&server, &["dead"]);
    assert!(listed.contains("nobody here handles messages of the kind `NOBODYS`"), "{listed}");
    let letter = letters.iter().find(|letter| letter["id"] == "two").unwrap()["letter"].as_str().unwrap().to_owned();
    let shown = mailbox(&server, &["show", &letter]);
    assert!(shown.contains("bad{ 1"), "{shown}");
    assert!(mailbox(&server, &["replay", &letter]).contains("1 put back"));
    eventually("it dies again", PATIENCE, || (overview(&server)["queue"]["dead"] == 2).then_some(()));
    assert!(mailbox(&server, &["drop", "--all"]).contains("2 dropped"));
    let overview = overview(&server);
    assert_eq!((&overview["queue"]["dead"], &overview["queue"]["bytes"]), (&json!(0), &json!(0)), "{overview}");
    // Dropped and handled ones are both known.
    assert_eq!(overview["queue"]["remembered"], 3);
    assert_eq!(server.own_metric("observatory_mailbox_handled_total"), 1.0);
    assert_eq!(server.get("/api/v1/mailbox/dead/77").status, 404);
}

/// How many kills; `OBSERVATORY_MAILBOX_KILLS=50` for the figures.
fn kills() -> usize {
    std::env::var("OBSERVATORY_MAILBOX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Sends until each of some moments, kills, and looks for everything that was acknowledged.
fn killed_at_random_points(config: &str, handled: impl Fn(&TestServer) -> bool) {
    let data = tempfile::tempdir().unwrap();
    let options =
        || Options { config: Some(config.to_owned()), data: Some(data.path().join("data")), ..Options::default() };
    let (mut acknowledged, mut number) = (0, 0);
    for round in 0..kills() {
        let mut server = TestServer::with(options());
        let deadline = Instant::now() + Duration::from_millis(20 + (round as u64 * 7919) % 180);
        while Instant::now() < deadline {
            number += 1;
            if !send(&server, &format!("message-{number}"), "killed 1\n") {
                number -= 1;
                break;
            }
            acknowledged += 1;
        }
        server.kill();
    }
    let server = TestServer::with(options());
    // A sender that was not answered asks again, and so do some that were.
    for number in [1, number / 2, number].into_iter().filter(|number| *number > 0) {
        assert!(send(&server, &format!("message-{number}"), "killed 1\n"));
    }
    eventually("everything is handled", PATIENCE, || handled(&server).then_some(()));
    let found = server.value("count(killed)").unwrap_or(0.0);
    let overview = overview(&server);
    eprintln!("{} kills, {acknowledged} acknowledged, {found} found, {}", kills(), overview["queue"]);
    assert_eq!(found, f64::from(acknowledged));
    assert_eq!(overview["queue"]["dead"], 0, "{overview}");
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    killed_at_random_points("", |server| overview(server)["queue"]["waiting"] == 0);
}

#[test]
fn nothing_put_into_redis_is_lost_by_kills() {
    let redis = Redis::start();
    killed_at_random_points(&redis.config("  attempts: 100\n"), |_| {
        redis.pending_and_lag() == ("0".to_owned(), "0".to_owned())
    });
}

#[test]
fn the_real_library_sends_to_us_and_receives_from_us() {
    let redis = Redis::start();
    let port = redis.port.to_string();
    let place = ["--redis-port", &port, "--stream-prefix", "beast:observatory"];
    // Its group is there before ours, and the other way round.
    let mut service = tool("beast-mailbox-service");
    let log = redis.directory.path().join("bob");
    let out = std::fs::File::create(&log).unwrap();
    service.args(["bob", "--echo", "--verbose"]).args(place);
    let service = service.stdout(out.try_clone().unwrap()).stderr(out).stdin(Stdio::null()).spawn().unwrap();
    let _service = Background(service);
    eventually("bob listens", PATIENCE, || {
        redis.cli(["XINFO", "GROUPS", "beast:observatory:bob:in"]).contains("bob:group").then_some(())
    });
    redis.cli(["XGROUP", "CREATE", INBOX, GROUP, "0", "MKSTREAM"]);
    let server = redis.server();
    let big: String = (0..20_000).map(|index| format!("big{{index=\"{index}\",name=\"naïve ☃\"}} 1\n")).collect();
    assert!(big.len() > 1_000_000 / 2);
    let file = redis.directory.path().join("big.json");
    let payload = json!({ "metrics": big, "metadata": { "source": "library", "branch": "größe" } }).to_string();
    std::fs::write(&file, payload).unwrap();
    let script = "import asyncio, json, sys\nfrom beast_mailbox_core import MailboxConfig, RedisMailboxService\n\
                  async def main():\n    config = MailboxConfig(port=int(sys.argv[1]), stream_prefix='beast:observatory')\n    \
                  service = RedisMailboxService('python', config)\n    await service.connect()\n    \
                  payload = json.load(open(sys.argv[2]))\n    for _ in range(2):\n        \
                  await service.send_message('metrics', payload, message_type='METRICS_UPDATE', message_id='same')\n\
                  asyncio.run(main())\n";
    run_ok(Command::new(python_with("beast_mailbox_core")).args(["-c", script, &port]).arg(&file));
    wait_for(&server, "count(big{name=\"naïve ☃\",branch=\"größe\",instance=\"library\"})", 20_000.0);
    let small = r#"{"metrics": "small 5\n", "metadata": {"version": "1"}}"#;
    let mut sender = tool("beast-mailbox-send");
    run_ok(sender.args(["alice", "metrics", "--json", small, "--message-type", "METRICS_UPDATE"]).args(place));
    wait_for(&server, "small{version=\"1\",instance=\"1\"}", 5.0);
    eventually("all is acknowledged", PATIENCE, || {
        (redis.pending_and_lag() == ("0".to_owned(), "0".to_owned())).then_some(())
    });
    assert_eq!(overview(&server)["counts"]["duplicates"], 1);
    let sent = mailbox(&server, &["send", "PING", "--recipient", "bob", "--json", r#"{"text": "naïve ☃ \n x"}"#]);
    assert!(sent.contains("put in as"), "{sent}");
    eventually("bob's echo", PATIENCE, || {
        let heard = std::fs::read_to_string(&log).unwrap();
        heard.contains("na\\u00efve").then_some(()).or_else(|| heard.contains("naïve").then_some(()))
    });
    assert!(redis.cli(["XINFO", "GROUPS", "beast:observatory:bob:in"]).contains("bob:group"));
}

#[test]
fn poison_becomes_dead_letters_and_what_follows_is_handled() {
    let redis = Redis::start();
    let good = r#"{"metrics": "lenient 1\n", "metadata": {"source": "NAME", "extra": NaN}}"#;
    let add = |payload: &[u8], timestamp: &str| {
        let mut arguments: Vec<OsString> =
            ["XADD", INBOX, "*", "message_type", "METRICS_UPDATE"].map(Into::into).into();
        arguments.extend([
            "timestamp".into(),
            timestamp.into(),
            "payload".into(),
            OsString::from_vec(payload.to_vec()),
        ]);
        assert!(redis.cli(arguments).contains('-'));
    };
    add(b"{", "1.5");
    add(b"{\"metrics\": \"\xff\"}", "1.5");
    add(b"[1, 2]", "1.5");
    redis.cli(["XADD", INBOX, "*", "message_type", "METRICS_UPDATE"]);
    redis.cli(["XADD", INBOX, "*", "something", "else"]);
    add(br#"{"metrics": "broken{ 1\n"}"#, "1.5");
    add(good.replace("NAME", "nan").as_bytes(), "1.5");
    add(good.replace("NAME", "iso").replace("NaN", "1").as_bytes(), "2026-01-01T00:00:00");
    let server = redis.server();
    wait_for(&server, "count(lenient)", 2.0);
    let overview = overview(&server);
    assert_eq!(overview["redis"]["dead"], 6, "{overview}");
    assert_eq!(redis.pending_and_lag(), ("0".to_owned(), "0".to_owned()));
    let letters = overview["deadLetters"].as_array().unwrap();
    let reasons: Vec<&str> = letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    for expected in ["no JSON", "not UTF-8", "not of the form", "of the kind `direct_message`"] {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {reasons:?}");
    }
    let letter = letters[0]["letter"].as_str().unwrap();
    assert!(mailbox(&server, &["show", letter]).contains("broken{ 1"));
    assert!(mailbox(&server, &["replay", letter]).contains("1 put back"));
    eventually("it dies again", PATIENCE, || {
        let again = super::mailbox::overview(&server);
        (again["redis"]["dead"] == 6 && again["counts"]["dead"] == 7).then_some(())
    });
    assert!(mailbox(&server, &["drop", "--all"]).contains("6 dropped"));
    assert_eq!(super::mailbox::overview(&server)["redis"]["dead"], 0);
}

#[test]
fn a_server_that_loses_its_data_stops_or_hangs_is_read_again() {
    let mut redis = Redis::start();
    let server = redis.server();
    redis.add("first", "outage 1\n");
    wait_for(&server, "count(outage)", 1.0);
    let mut figures = Vec::new();
    let mut recovered = |redis: &Redis, what: &'static str, count: f64| {
        let began = Instant::now();
        redis.add(what, "outage 1\n");
        wait_for(&server, "count(outage)", count);
        figures.push(format!("{what} {:.1} s", began.elapsed().as_secs_f64()));
    };
    redis.cli(["FLUSHDB"]);
    recovered(&redis, "flushed", 2.0);
    redis.cli(["DEL", INBOX]);
    recovered(&redis, "deleted", 3.0);
    redis.stop();
    std::thread::sleep(Duration::from_secs(1));
    assert!(!send(&server, "while-down", "outage 1\n"), "a message that cannot be put is not acknowledged");
    redis.start_again();
    recovered(&redis, "restarted-empty", 4.0);
    redis.signal(rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_secs(9));
    redis.signal(rustix::process::Signal::CONT);
    recovered(&redis, "stopped-9-s", 5.0);
    eprintln!("recovery: {}", figures.join(", "));
    let redis_report = &overview(&server)["redis"];
    assert!(redis_report["groups_made_again"].as_u64().unwrap() >= 2, "{redis_report}");
    assert_eq!(redis_report["lost"], 0);
}

#[test]
fn what_was_trimmed_unread_is_counted_once() {
    let redis = Redis::start();
    let data = tempfile::tempdir().unwrap();
    let options =
        || Options { config: Some(redis.config("")), data: Some(data.path().join("data")), ..Options::default() };
    let mut server = TestServer::with(options());
    redis.add("first", "trimmed 1\n");
    wait_for(&server, "count(trimmed)", 1.0);
    server.terminate();
    for number in 0..30 {
        redis.add(&format!("down-{number}"), "trimmed 1\n");
    }
    redis.cli(["XTRIM", INBOX, "MAXLEN", "=", "10"]);
    let mut server = TestServer::with(options());
    wait_for(&server, "count(trimmed)", 11.0);
    eventually("the loss is told", PATIENCE, || (overview(&server)["redis"]["lost"] == 20).then_some(()));
    assert!(server.log().contains("raise MAXLEN"), "{}", server.log());
    assert_eq!(server.own_metric("observatory_mailbox_redis_lost_total"), 20.0);
    server.terminate();
    let server = TestServer::with(options());
    redis.add("last", "trimmed 1\n");
    wait_for(&server, "count(trimmed)", 12.0);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(overview(&server)["redis"]["lost"], 0, "it is told once");
}

#[test]
fn what_a_consumer_that_is_gone_left_is_taken_over() {
    let redis = Redis::start();
    redis.cli(["XGROUP", "CREATE", INBOX, GROUP, "0", "MKSTREAM"]);
    redis.add("left", "taken_over 1\n");
    redis.cli(["XREADGROUP", "GROUP", GROUP, "metrics:abcdef", "COUNT", "1", "STREAMS", INBOX, ">"]);
    let pending = redis.cli(["XPENDING", INBOX, GROUP, "-", "+", "1"]);
    let id = pending.lines().next().unwrap().to_owned();
    redis.cli(["XCLAIM", INBOX, GROUP, "metrics:abcdef", "0", &id, "IDLE", "600000", "JUSTID"]);
    let server = redis.server();
    wait_for(&server, "taken_over", 1.0);
    eventually("it is acknowledged", PATIENCE, || (redis.pending_and_lag().0 == "0").then_some(()));
}

#[test]
fn password_database_and_a_literal_stream_are_used_and_a_wrong_password_is_told_without_it() {
    let redis = Redis::with(&["--requirepass", "hunter2"]);
    let file = redis.directory.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let address = format!("redis://127.0.0.1:{}/3", redis.port);
    let more = format!("  redis_password_file: {}\n  stream: beast:observatory:metrics\n", file.display());
    let server = TestServer::with_config(&format!("mailbox:\n  redis: {address}\n{more}"));
    let payload = r#"{"metrics": "secret 1\n"}"#;
    redis.cli([
        "-n",
        "3",
        "-a",
        "hunter2",
        "--no-auth-warning",
        "XADD",
        "beast:observatory:metrics",
        "*",
        "message_type",
        "METRICS_UPDATE",
        "payload",
        payload,
    ]);
    wait_for(&server, "secret", 1.0);
    let wrong = TestServer::with_config(&format!("mailbox:\n  redis: redis://:hunter3@127.0.0.1:{}\n", redis.port));
    let told =
        eventually("the refusal", PATIENCE, || overview(&wrong)["redis"]["last_error"].as_str().map(str::to_owned));
    assert!(told.contains("the user or password is refused"), "{told}");
    let config = wrong.get("/api/v1/status/config");
    for text in [wrong.log(), told, config.text(), overview(&wrong).to_string()] {
        assert!(!text.contains("hunter3"), "{text}");
    }
}

#[test]
fn tls_is_used_where_the_address_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, private) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, key.cert.pem()).unwrap();
    std::fs::write(&private, key.signing_key.serialize_pem()).unwrap();
    let tls = free_port().to_string();
    let (cert, private) = (certificate.display().to_string(), private.display().to_string());
    let redis = Redis::with(&[
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &private,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
    ]);
    redis.add("tls", "over_tls 1\n");
    let config = format!("mailbox:\n  redis: rediss://localhost:{tls}\n");
    let trusting = TestServer::with(Options {
        config: Some(config.clone()),
        environment: vec![("SSL_CERT_FILE".to_owned(), cert)],
        ..Options::default()
    });
    wait_for(&trusting, "over_tls", 1.0);
    let doubting = TestServer::with_config(&config);
    eventually("an unknown authority is refused", PATIENCE, || {
        overview(&doubting)["redis"]["last_error"]
            .as_str()
            .filter(|error| error.to_lowercase().contains("cert"))
            .map(drop)
    });
}
