//! Programs of others, unchanged: Python's `prometheus_client` and `prometheus_api_client`, the completion of Prometheus'
//! page, curl, Debian's `prometheus` and `promtool`.

use super::support::http::try_get;
use super::support::server::TestServer;
use super::support::tools::{Background, all_of, eventually, free_port, program, python, python_with, run_ok};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn run_python(server: &TestServer, script: &str) -> String {
    run_ok(Command::new(python()).args(["-c", script, server.address()]))
}

#[test]
fn python_pushes_adds_and_deletes() {
    let server = TestServer::start();
    let script = r#"
import sys
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client import push_to_gateway, pushadd_to_gateway, delete_from_gateway
gateway = sys.argv[1]

registry = CollectorRegistry()
Gauge("py_gauge", "A gauge", ["kind"], registry=registry).labels("first").set(4.5)
Counter("py_counter", "A counter", registry=registry).inc(3)
seconds = Histogram("py_seconds", "A histogram", buckets=(0.1, 1, 10), registry=registry)
for value in (0.05, 0.5, 5, 50):
    seconds.observe(value)
Summary("py_bytes", "A summary", registry=registry).observe(7)
push_to_gateway(gateway, job="python", grouping_key={"instance": "one"}, registry=registry)

added = CollectorRegistry()
Gauge("py_added", "Added", registry=added).set(1)
pushadd_to_gateway("http://" + gateway + "/", job="python", grouping_key={"instance": "one"}, registry=added)

for key, value in (("branch", "feature/ä b"), ("branch", ""), ("branch", "naïve ünïcode ☃"), ("branch", "a+b c%d")):
    one = CollectorRegistry()
    Gauge("py_keyed", "Keyed", registry=one).set(1)
    push_to_gateway(gateway, job="keys/and more", grouping_key={key: value, "z": "1"}, registry=one)
gone = CollectorRegistry()
Gauge("py_gone", "Gone", registry=gone).set(1)
push_to_gateway(gateway, job="gone", grouping_key={"path": "/a/b"}, registry=gone)
delete_from_gateway(gateway, job="gone", grouping_key={"path": "/a/b"})
delete_from_gateway(gateway, job="never")
"#;
    run_python(&server, script);
    assert_eq!(server.value("py_gauge{job=\"python\",instance=\"one\",kind=\"first\"}"), Some(4.5));
    assert_eq!(server.value("py_counter_total"), Some(3.0));
    assert_eq!(server.value("py_seconds_bucket{le=\"+Inf\"}"), Some(4.0));
    assert_eq!(server.value("histogram_quantile(0.5, py_seconds_bucket)"), Some(1.0));
    assert_eq!(server.value("py_bytes_sum"), Some(7.0));
    assert_eq!(server.value("py_added{instance=\"one\"}"), Some(1.0));
    assert_eq!(server.value("py_gone"), None);
    let job = "job=\"keys/and more\"";
    assert_eq!(server.value(&format!("count(py_keyed{{{job},z=\"1\"}})")), Some(4.0));
    for branch in ["feature/ä b", "", "naïve ünïcode ☃"] {
        assert_eq!(server.value(&format!("py_keyed{{{job},branch=\"{branch}\"}}")), Some(1.0), "{branch}");
    }
}

#[test]
fn python_pushes_with_a_token_as_password() {
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(b"a-password").iter().map(|byte| format!("{byte:02x}")).collect();
    let config = format!("auth:\n  tokens:\n    - {{name: ci, sha256: {hash}, scopes: [push, read]}}\n");
    let server = TestServer::with_config(&config);
    let script = r#"
import sys, urllib.error
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
from prometheus_client.exposition import basic_auth_handler
registry = CollectorRegistry()
Gauge("py_authorized", "x", registry=registry).set(1)
def handler(password):
    return lambda url, method, timeout, headers, data: basic_auth_handler(
        url, method, timeout, headers, data, "ci", password)
push_to_gateway(sys.argv[1], job="a", registry=registry, handler=handler("a-password"))
try:
    push_to_gateway(sys.argv[1], job="a", registry=registry, handler=handler("wrong"))
    sys.exit("a wrong password was accepted")
except urllib.error.HTTPError as error:
    assert error.code == 401, error.code
"#;
    run_python(&server, script);
    let answer = server.send(
        "POST",
        "/api/v1/query",
        &[("Authorization", "Bearer a-password"), ("Content-Type", "application/x-www-form-urlencoded")],
        b"query=py_authorized",
    );
    assert_eq!(answer.data()["result"][0]["value"][1], "1");
}

#[test]
fn python_reads_what_we_say_about_ourselves() {
    let server = TestServer::start();
    let script = r#"
import sys, urllib.request
from prometheus_client.parser import text_string_to_metric_families
text = urllib.request.urlopen("http://" + sys.argv[1] + "/metrics").read().decode()
families = list(text_string_to_metric_families(text))
assert len(families) > 5, len(families)
assert all(family.documentation for family in families), [f.name for f in families if not f.documentation]
"#;
    run_python(&server, script);
}

fn curl(arguments: &[&str], stdin: &[u8]) -> String {
    let mut command = Command::new(program("curl", "curl"));
    command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start curl");
    child.stdin.take().expect("stdin is piped").write_all(stdin).expect("write to curl");
    let output = child.wait_with_output().expect("wait for curl");
    assert!(output.status.success(), "curl {arguments:?}: {}", all_of(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_pushes_in_every_usual_way() {
    let server = TestServer::start();
    let group = format!("{}/metrics/job/curl/instance", server.url());
    curl(&["--data-binary", "@-", &format!("{group}/stdin")], b"# First.\ncurled 1\n");
    curl(&["-d", "curled 2", &format!("{group}/short")], b"");
    curl(&["-X", "PUT", "--data-binary", "@-", &format!("{group}/put")], b"curled 3\n");
    let packed = super::support::wire::gzip(b"curled 4\n");
    curl(&["-H", "Content-Encoding: gzip", "--data-binary", "@-", &format!("{group}/gzip")], &packed);
    // Waits for `100 Continue` before it sends the body.
    let long: String = (0..15_000).map(|index| format!("curled_long{{index=\"{index}\"}} 5\n")).collect();
    let url = format!("{group}/long");
    curl(&["-H", "Expect: 100-continue", "--data-binary", "@-", &url], long.as_bytes());
    curl(&["-H", "Transfer-Encoding: chunked", "-T", "-", "-X", "PUT", &format!("{group}/chunked")], b"curled 6\n");
    for (instance, value) in [("stdin", 1.0), ("short", 2.0), ("put", 3.0), ("gzip", 4.0), ("chunked", 6.0)] {
        assert_eq!(server.value(&format!("curled{{instance=\"{instance}\"}}")), Some(value), "{instance}");
    }
    assert_eq!(server.value("count(curled_long)"), Some(15_000.0));
    curl(&["-X", "DELETE", &format!("{group}/put")], b"");
    assert_eq!(server.value("curled{instance=\"put\"}"), None);
    let query =
        curl(&["--get", "--data-urlencode", "query=sum(curled)", &format!("{}/api/v1/query", server.url())], b"");
    assert!(query.contains("\"13\""), "{query}");
}

#[test]
fn promtool_finds_nothing_wrong_with_our_metrics() {
    let server = TestServer::start();
    server.push("PUT", "a", "m 1\n");
    server.query("m", None);
    let promtool = program("promtool", "prometheus");
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    child.stdin.take().expect("stdin is piped").write_all(&server.get("/metrics").body).expect("write to promtool");
    let output = child.wait_with_output().expect("wait for promtool");
    assert!(output.status.success(), "promtool check metrics:\n{}", all_of(&output));
    assert_eq!(all_of(&output).trim(), "");
}

/// Debian's Prometheus, which scrapes every second; `config` is the rest of what it is told. Gives its port.
fn prometheus(directory: &Path, config: impl FnOnce(u16) -> String) -> (Background, u16) {
    let port = free_port();
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  external_labels: {{replica: debian}}\n{}",
        config(port)
    );
    std::fs::write(directory.join("prometheus.yml"), config).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let child = Command::new(program("prometheus", "prometheus"))
        .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("start prometheus");
    (Background(child), port)
}

#[test]
fn debians_prometheus_federates_from_us() {
    let server = TestServer::start();
    server.push("PUT", "federated/zone/a", "# TYPE federated_total counter\nfederated_total{code=\"200\"} 7\n");
    let directory = tempfile::tempdir().unwrap();
    let ours = server.address();
    let (_process, port) = prometheus(directory.path(), |_| {
        format!(
            "scrape_configs:\n  - job_name: federate\n    honor_labels: true\n    metrics_path: /federate\n    \
             params: {{'match[]': ['{{job=\"federated\"}}', 'nothing']}}\n    static_configs: [{{targets: ['{ours}']}}]\n"
        )
    });
    // It takes a while until it listens.
    let asked = |query: &str| {
        let answer = try_get(&format!("http://127.0.0.1:{port}/api/v1/query?query={query}")).ok()?;
        Some(answer.data()["result"].clone()).filter(|found| found.as_array().is_some_and(|found| !found.is_empty()))
    };
    let timeout = Duration::from_secs(60);
    let pushed = eventually("what was pushed to us, in Prometheus", timeout, || asked("federated_total"));
    let expected = serde_json::json!({"__name__": "federated_total", "code": "200", "job": "federated", "zone": "a"});
    assert_eq!((&pushed[0]["metric"], &pushed[0]["value"][1]), (&expected, &serde_json::json!("7")));
    let up = eventually("its scrape of us", timeout, || asked("up%7Bjob=%22federate%22%7D"));
    assert_eq!(up[0]["value"][1], "1");
}

#[test]
fn debians_prometheus_scrapes_us_and_writes_to_us() {
    let server = TestServer::start();
    let directory = tempfile::tempdir().unwrap();
    let ours = server.address();
    let (process, port) = prometheus(directory.path(), |port| {
        format!(
            "scrape_configs:\n  - job_name: observatory\n    static_configs: [{{targets: ['{ours}']}}]\n  \
             - job_name: prometheus\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n\
             remote_write:\n  - url: http://{ours}/api/v1/write\n    queue_config: {{batch_send_deadline: 1s}}\n    \
             metadata_config: {{send: true, send_interval: 1s}}\n"
        )
    });
    let timeout = Duration::from_secs(60);
    eventually("our scrape, written to us by Prometheus", timeout, || {
        server.value("up{job=\"observatory\",replica=\"debian\"}").filter(|up| *up == 1.0)
    });
    eventually("Prometheus' own metrics, written to us", timeout, || {
        server.value("count({job=\"prometheus\",replica=\"debian\"})").filter(|count| *count > 100.0)
    });
    eventually("a rate over what it writes", timeout, || {
        server.value("sum(rate(prometheus_tsdb_head_samples_appended_total[1m]))").filter(|rate| *rate > 0.0)
    });
    // What it holds of itself and what we hold are the same samples.
    let theirs = super::support::http::get(&format!(
        "http://127.0.0.1:{port}/api/v1/query?query=prometheus_remote_storage_samples_failed_total"
    ));
    assert_eq!(theirs.data()["result"][0]["value"][1], "0", "{theirs}");
    let dropped = super::support::http::get(&format!(
        "http://127.0.0.1:{port}/api/v1/query?query=prometheus_remote_storage_samples_dropped_total"
    ));
    assert_eq!(dropped.data()["result"][0]["value"][1], "0", "{dropped}");
    drop(process);
    assert_eq!(
        server.value("count(up{job=\"observatory\"})"),
        Some(1.0),
        "what was written stays when the writer is gone"
    );
}

#[test]
fn pythons_api_client_reads_what_was_pushed() {
    let server = TestServer::start();
    server.push(
        "PUT",
        "api",
        "# TYPE py_api_total counter\npy_api_total{code=\"200\"} 7\npy_api_total{code=\"500\"} 1\n",
    );
    let script = r#"
import sys
from datetime import datetime, timedelta
from prometheus_api_client import PrometheusConnect
client = PrometheusConnect(url="http://" + sys.argv[1], disable_ssl=True)
assert client.check_prometheus_connection()
assert client.all_metrics() and "py_api_total" in client.all_metrics()
assert set(client.get_label_names()) >= {"__name__", "code", "job"}, client.get_label_names()
assert client.get_label_values("code") == ["200", "500"]
found = client.get_current_metric_value("py_api_total", {"code": "200"})
assert found[0]["value"][1] == "7", found
assert client.custom_query("sum(py_api_total)")[0]["value"][1] == "8"
# The client cuts the end to whole seconds, and what was pushed is younger than that.
end = datetime.now() + timedelta(seconds=1)
series = client.custom_query_range("py_api_total", start_time=end - timedelta(minutes=5), end_time=end, step="15")
assert len(series) == 2 and all(len(one["values"]) >= 1 for one in series), series
stored = client.get_metric_range_data("py_api_total", start_time=end - timedelta(hours=1), end_time=end)
assert len(stored) == 2 and stored[0]["metric"]["__name__"] == "py_api_total", stored
try:
    client.custom_query("sum(")
    sys.exit("a wrong expression was answered")
except Exception as error:
    assert "parse error" in str(error), error
"#;
    run_ok(Command::new(python_with("prometheus_api_client")).args(["-c", script, server.address()]));
}

/// The completion of Prometheus' own page, and of ours, as its class asks for it.
#[test]
fn codemirrors_client_completes_names_labels_and_values() {
    let server = TestServer::start();
    server.push(
        "PUT",
        "editor",
        "# HELP edited_total How often.\n# TYPE edited_total counter\nedited_total{mode=\"fast\"} 1\n",
    );
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/node_modules/@prometheus-io/codemirror-promql");
    assert!(package.is_dir(), "this test needs the page's packages: `npm --prefix web ci` (or run `.ci/run`)");
    let script = r#"
const { HTTPPrometheusClient } = require(process.argv[1] + '/dist/cjs/client/prometheus.js');
const assert = require('node:assert');
const problems = [];
async function ask(httpMethod) {
  const client = new HTTPPrometheusClient({
    url: process.argv[2], httpMethod, lookbackInterval: 3600000, httpErrorHandler: (error) => problems.push(String(error)),
  });
  const names = await client.metricNames();
  assert(names.includes('edited_total'), names.join());
  assert((await client.metricNames('edited')).includes('edited_total'));
  assert.deepStrictEqual((await client.labelNames('edited_total')).sort(), ['__name__', 'job', 'mode']);
  assert.deepStrictEqual(await client.labelValues('mode', 'edited_total'), ['fast']);
  assert.deepStrictEqual(await client.labelValues('mode', 'edited_total', []), ['fast']);
  const metadata = await client.metricMetadata();
  assert.deepStrictEqual(metadata.edited_total, [{ type: 'counter', unit: '', help: 'How often.' }]);
  const series = await client.series('edited_total');
  assert.strictEqual(series.length, 1);
  assert.strictEqual(series[0].mode, 'fast');
  assert(Object.keys(await client.flags()).includes('query.timeout'));
  assert.deepStrictEqual(problems, []);
}
ask('POST').then(() => ask('GET')).catch((error) => { console.error(error); process.exit(1); });
"#;
    run_ok(Command::new(program("node", "nodejs")).arg("-e").arg(script).arg(package).arg(server.url()));
}
