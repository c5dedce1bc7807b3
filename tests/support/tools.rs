//! Programs of others that some tests run. One that is missing fails its test and says how to get it: a test that
//! skipped itself would look like one that passed.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A program on PATH, or a panic that names Debian's package.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(system).map(|directory| directory.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("this test needs `{name}`: `apt-get install {package}` (or run `.ci/run`, which installs all of them)")
    })
}

/// A Python that can import `prometheus_client`.
pub fn python() -> PathBuf {
    python_with("prometheus_client")
}

/// A Python that can import `module`: `OBSERVATORY_TEST_PYTHON`, the environment `.ci/run` makes, or the system's.
pub fn python_with(module: &str) -> PathBuf {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python");
    let candidates = std::env::var_os("OBSERVATORY_TEST_PYTHON").map(PathBuf::from).into_iter();
    for candidate in candidates.chain([project, PathBuf::from("python3")]) {
        let mut import = Command::new(&candidate);
        import.args(["-c", &format!("import {module}")]).stdout(Stdio::null()).stderr(Stdio::null());
        if import.status().is_ok_and(|status| status.success()) {
            return candidate;
        }
    }
    panic!(
        "this test needs Python's `{module}`: `python3 -m venv target/test-python && \
         target/test-python/bin/pip install {module}` (or run `.ci/run`), or name a Python that has it in \
         OBSERVATORY_TEST_PYTHON"
    );
}

/// Runs a program to its end; panics with its output where it fails.
pub fn run_ok(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, all_of(&output));
    all_of(&output)
}

/// stdout and stderr.
pub fn all_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Kills its process when dropped.
#[derive(Debug)]
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago, for programs that cannot choose one themselves.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    listener.local_addr().expect("the bound address").port()
}

/// Asks again until `probe` gives something; panics with `what` at the deadline.
pub fn eventually<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < timeout, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_millis() as i64
}
