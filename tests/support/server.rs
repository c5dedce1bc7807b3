//! The real program, started on a port of its own choosing, asked over HTTP, stopped or killed.

use super::http::{self, Answer};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a start may take before a test gives up on it. What is promised is far less; see the fault tests.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a drain may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The program under test: the one cargo built, or `OBSERVATORY_BIN`.
pub fn binary() -> PathBuf {
    std::env::var_os("OBSERVATORY_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_observatory")), PathBuf::from)
}

/// The program with a clean environment for its settings, so that what the developer has set does not matter.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OBSERVATORY_") {
            command.env_remove(name);
        }
    }
    // What it remembers of other data directories is not this user's.
    command.env("XDG_STATE_HOME", std::env::temp_dir().join("observatory-tests-state"));
    command
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `observatory.yml`, written beside the data directory.
    pub config: Option<String>,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Below which path everything is; empty, or `/a`.
    pub prefix: String,
    /// The data directory; a temporary one where it is not given.
    pub data: Option<PathBuf>,
    /// File handles it may have, by `ulimit -n`; as many as this process where it is not given.
    pub files_max: Option<u32>,
}

/// A running server. Dropping it kills the process and removes its temporary directory.
#[derive(Debug)]
pub struct TestServer {
    child: Child,
    output: Arc<Output>,
    url: String,
    options: Options,
    data: PathBuf,
    /// From the start of the process to the first 200 of `/-/ready`.
    pub ready_after: Duration,
    directory: Option<tempfile::TempDir>,
}

impl TestServer {
    /// Starts with nothing configured, in a fresh directory.
    pub fn start() -> TestServer {
        TestServer::with(Options::default())
    }

    pub fn with_config(config: &str) -> TestServer {
        TestServer::with(Options { config: Some(config.to_owned()), ..Options::default() })
    }

    pub fn with(options: Options) -> TestServer {
        let directory = tempfile::tempdir().expect("make a temporary directory");
        let data = options.data.clone().unwrap_or_else(|| directory.path().join("data"));
        TestServer::launch(options, data, Some(directory))
    }

    fn launch(options: Options, data: PathBuf, directory: Option<tempfile::TempDir>) -> TestServer {
        let began = Instant::now();
        let mut command = command();
        if let Some(files_max) = options.files_max {
            let program = std::mem::replace(&mut command, Command::new("sh"));
            // A command's environment is what differs from ours, the removed names included.
            for (name, value) in program.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            command.arg("-c").arg(format!("ulimit -n {files_max}; exec \"$0\" \"$@\"")).arg(program.get_program());
        }
        command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
        let config = directory.as_ref().map_or_else(|| data.clone(), |directory| directory.path().to_owned());
        let config = config.join("observatory.yml");
        write_config(&config, options.config.as_deref().unwrap_or_default());
        command.arg("--config").arg(&config);
        command.args(&options.arguments).envs(options.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &directory {
            command.current_dir(directory.path()).env("XDG_STATE_HOME", directory.path());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the program");
        let output = Output::follow(&mut child);
        let mut server =
            TestServer { child, output, url: String::new(), options, data, ready_after: Duration::ZERO, directory };
        server.url = server.wait_for_url(began);
        server.url.push_str(&server.options.prefix);
        server.wait_until_ready(began);
        server.ready_after = began.elapsed();
        server
    }

    /// Writes another config in place of the one it was started with; a reload reads it.
    pub fn rewrite_config(&self, text: &str) {
        let directory = self.directory.as_ref().expect("a server that was started with a directory of its own");
        write_config(&directory.path().join("observatory.yml"), text);
    }

    fn wait_for_url(&mut self, began: Instant) -> String {
        loop {
            if let Some(url) = self.output.find(loopback_url, Duration::from_millis(20)) {
                return url;
            }
            if let Some(status) = self.child.try_wait().expect("ask for the exit status") {
                panic!("the server ended with {status} before it named its address:\n{}", self.log());
            }
            assert!(began.elapsed() < START_TIMEOUT, "no address was printed in {START_TIMEOUT:?}:\n{}", self.log());
        }
    }

    fn wait_until_ready(&mut self, began: Instant) {
        loop {
            if http::try_get(&format!("{}/-/ready", self.url)).is_ok_and(|answer| answer.status == 200) {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("ask for the exit status") {
                panic!("the server ended with {status} before it was ready:\n{}", self.log());
            }
            assert!(began.elapsed() < START_TIMEOUT, "not ready in {START_TIMEOUT:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Such as `http://127.0.0.1:43121`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches(&self.options.prefix)
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process wrote to stdout and stderr until now.
    pub fn log(&self) -> String {
        self.output.text()
    }

    pub fn get(&self, path: &str) -> Answer {
        http::get(&format!("{}{path}", self.url))
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::send(method, &format!("{}{path}", self.url), headers, body)
    }

    /// POST with a form body, as Grafana does.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = http::form(fields);
        self.send("POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], body.as_bytes())
    }

    pub fn push(&self, method: &str, group: &str, body: &str) -> Answer {
        self.send(method, &format!("/metrics/job/{group}"), &[], body.as_bytes())
    }

    pub fn write(&self, body: &[u8]) -> Answer {
        self.send("POST", "/api/v1/write", super::wire::WRITE_HEADERS, body)
    }

    /// The `data` of an instant query at `time` (Unix seconds; now where it is not given). Panics on an error answer.
    pub fn query(&self, expression: &str, time: Option<f64>) -> Value {
        let time = time.map(|seconds| seconds.to_string());
        let mut fields = vec![("query", expression)];
        fields.extend(time.as_deref().map(|time| ("time", time)));
        self.form("/api/v1/query", &fields).data()
    }

    /// The one value of an instant query, or `None` where its vector is empty.
    pub fn value(&self, expression: &str) -> Option<f64> {
        let data = self.query(expression, None);
        let result = data["result"].as_array().expect("a vector").clone();
        assert!(result.len() <= 1, "`{expression}` gave more than one series: {data}");
        result.first().map(|series| number(&series["value"][1]))
    }

    /// The value of one of its own series without labels, as `/metrics` has it.
    pub fn own_metric(&self, name: &str) -> f64 {
        let answer = self.get("/metrics");
        let text = answer.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no `{name}` among our metrics: {answer}"))
    }

    /// Panics unless the server still answers: the line after every attack.
    pub fn assert_healthy(&mut self) {
        if let Some(status) = self.child.try_wait().expect("ask for the exit status") {
            panic!("the server ended with {status}:\n{}", self.log());
        }
        let health = self.get("/-/healthy");
        assert_eq!(health.status, 200, "/-/healthy: {health}");
        assert_eq!(self.push("PUT", "still_healthy", "still_healthy 1\n").status, 200, "a push after it");
        assert_eq!(self.value("still_healthy"), Some(1.0), "a query after it");
    }

    /// The most memory the process ever held resident, in bytes.
    pub fn resident_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("read /proc");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM in /proc/<pid>/status");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("kB of VmHWM");
        kib * 1024
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a process id is not 0");
        rustix::process::kill_process(pid, signal).expect("signal the server");
    }

    /// `kill -9`, and the wait for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill the server");
        self.child.wait().expect("wait for the killed server");
    }

    /// SIGTERM; how it ended, and how long that took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        (self.wait_for_exit(), began.elapsed())
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("ask for the exit status") {
                return status;
            }
            assert!(began.elapsed() < STOP_TIMEOUT, "still running {STOP_TIMEOUT:?} after the signal:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts again on the same data directory; the old process has to be gone.
    pub fn start_again(mut self) -> TestServer {
        assert!(self.child.try_wait().expect("ask for the exit status").is_some(), "stop or kill it first");
        let (options, data, directory) = (self.options.clone(), self.data.clone(), self.directory.take());
        TestServer::launch(options, data, directory)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && !self.url.is_empty() {
            eprintln!("--- log of the server at {}\n{}---", self.url, self.log());
        }
    }
}

/// Our own series would stand beside what a test expects, so that they are only there where it asks for them.
fn write_config(path: &Path, text: &str) {
    let text = with_quiet_host(text);
    let own = if text.contains("self_scrape:") { "" } else { "\nself_scrape: false\n" };
    std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("make the directory");
    std::fs::write(path, format!("{text}{own}")).expect("write observatory.yml");
}

/// A JSON string or number as a float, in Go's spelling.
pub fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => match text.as_str() {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            other => other.parse().unwrap_or_else(|_| panic!("`{other}` is not a number")),
        },
        other => other.as_f64().unwrap_or_else(|| panic!("{other} is not a number")),
    }
}

/// Runs the program to its end, for everything that is not `up`; panics where it does not end.
pub fn run(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Finished {
    let mut command = command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepare(&mut command);
    let mut child = command.spawn().expect("start the program");
    let output = Output::follow(&mut child);
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("ask for the exit status") {
            output.wait_for_end();
            return Finished { status, text: output.text() };
        }
        if began.elapsed() > START_TIMEOUT {
            let _ = child.kill();
            let _ = child.wait();
            panic!("`observatory {}` did not end by itself:\n{}", arguments.join(" "), output.text());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// stdout and stderr together.
    pub text: String,
}

/// A config under which this host is not watched unless it says so: tests count series and samples.
fn with_quiet_host(config: &str) -> String {
    let says_so = config.lines().any(|line| line.starts_with("hosts:"));
    if says_so { config.to_owned() } else { format!("{config}\nhosts: {{enabled: false}}\n") }
}

fn loopback_url(line: &str) -> Option<String> {
    let begin = line.find("http://127.0.0.1:")?;
    let digits = begin + "http://127.0.0.1:".len();
    let port: String = line[digits..].chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty() && port != "0").then(|| format!("http://127.0.0.1:{port}"))
}

/// Lines of both streams, in the order they came, read by two threads so that the child never blocks on a full pipe.
#[derive(Debug, Default)]
struct Output {
    state: Mutex<OutputState>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    lines: Vec<String>,
    ended: usize,
}

impl Output {
    fn follow(child: &mut Child) -> Arc<Output> {
        let output = Arc::new(Output::default());
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("stdout is piped"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("stderr is piped"));
        for stream in [stdout, stderr] {
            let output = Arc::clone(&output);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    output.state.lock().unwrap().lines.push(text);
                    output.more.notify_all();
                }
                output.state.lock().unwrap().ended += 1;
                output.more.notify_all();
            });
        }
        output
    }

    fn find<T>(&self, pick: impl Fn(&str) -> Option<T>, timeout: Duration) -> Option<T> {
        let mut state = self.state.lock().unwrap();
        if let Some(found) = state.lines.iter().find_map(|line| pick(line)) {
            return Some(found);
        }
        state = self.more.wait_timeout(state, timeout).unwrap().0;
        state.lines.iter().find_map(|line| pick(line))
    }

    fn wait_for_end(&self) {
        let state = self.state.lock().unwrap();
        let ended = |state: &mut OutputState| state.ended < 2;
        drop(self.more.wait_timeout_while(state, Duration::from_secs(5), ended).unwrap());
    }

    fn text(&self) -> String {
        let mut text = self.state.lock().unwrap().lines.join("\n");
        text.push('\n');
        text
    }
}
