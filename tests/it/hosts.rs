//! The host's own metrics, beside Debian's node_exporter on the same host.

use super::support::http;
use super::support::server::{TestServer, number};
use super::support::tools::{Background, eventually, free_port, program};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::Duration;

const CONFIG: &str = "hosts:\n  interval: 1s\n";
const TIMEOUT: Duration = Duration::from_secs(30);

/// The filters of node_exporter itself, where Debian has others.
const UPSTREAM_FILTERS: [&str; 5] = [
    "--collector.netdev.device-exclude=^$",
    "--collector.filesystem.mount-points-exclude=\
     ^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
    "--collector.filesystem.fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|erofs|\
     fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|\
     tracefs)$",
    "--collector.diskstats.device-exclude=^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\\d+n\\d+p)\\d+$",
    "--collector.processes",
];

/// What node_exporter has and we do not: by the beginning of the name.
const NOT_OURS: &[&str] = &[
    "go_",
    "process_",
    "promhttp_",
    "node_bonding_",
    "node_btrfs_",
    "node_cooling_",
    "node_cpu_core_throttles",
    "node_cpu_package_throttles",
    "node_cpu_frequency",
    "node_cpu_scaling",
    "node_disk_device_mapper",
    "node_disk_filesystem",
    "node_disk_ata",
    "node_dmi_",
    "node_edac_",
    "node_exporter_",
    "node_hwmon_",
    "node_md_",
    "node_nfs",
    "node_nvme_",
    "node_os_support",
    "node_power_supply",
    "node_processes_state",
    "node_processes_threads_state",
    "node_rapl_",
    "node_scrape_collector_",
    "node_selinux_",
    "node_textfile_",
    "node_thermal_zone",
    "node_time_clocksource",
    "node_time_zone",
    "node_timex_",
    "node_watchdog_",
    "node_xfs_",
    "node_zfs_",
];

/// What we have and Debian's version does not.
const NEWER: &[&str] = &[
    "node_pressure_irq_",
    "node_netstat_TcpExt_TCPOFOQueue",
    "node_netstat_TcpExt_TCPRcvQDrop",
    "node_scrape_collector_",
    "node_softnet_backlog_len",
    "node_softnet_cpu_collision_total",
    "node_softnet_flow_limit_count_total",
    "node_softnet_received_rps_total",
];

/// Gauges of a moment: they say something else a millisecond later.
const OF_A_MOMENT: &[&str] =
    &["node_procs_", "node_disk_io_now", "node_sockstat_", "node_processes_", "node_filefd_allocated"];

type Series = BTreeMap<String, f64>;

fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

fn begins_with_one_of(series: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| series.starts_with(start))
}

/// Series as `name{label="value",...}`, sorted, without empty labels.
fn written(name: &str, mut labels: Vec<(String, String)>) -> String {
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort();
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// Our latest samples of job `node`, without job and instance.
fn ours(server: &TestServer) -> Series {
    let data = server.query("{job=\"node\"}", None);
    let result = data["result"].as_array().expect("a vector").clone();
    let series = result.iter().map(|series| {
        let metric = series["metric"].as_object().expect("labels");
        let labels = metric.iter().filter(|(name, _)| !["__name__", "job", "instance"].contains(&name.as_str()));
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned())).collect();
        let name = metric["__name__"].as_str().expect("a name");
        (written(name, labels), number(&series["value"][1]))
    });
    series.filter(|(series, _)| name_of(series) != "up").collect()
}

/// When our latest round was, in seconds.
fn round(server: &TestServer) -> f64 {
    server.value("timestamp(up{job=\"node\"})").unwrap_or_default()
}

/// Samples and types of an exposition. Label values of this host have no escapes but quotes and backslashes.
fn theirs(text: &str) -> (Series, BTreeMap<String, String>) {
    let (mut series, mut types) = (Series::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            types.insert(name.to_owned(), kind.replace("untyped", "unknown"));
        }
        if line.starts_with('#') || begins_with_one_of(line, NOT_OURS) {
            continue;
        }
        let (left, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = left.split_once('{').unwrap_or((left, "}"));
        let labels = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once("=\"").expect("a label");
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        series.insert(written(name, labels.collect()), value.parse().expect("a number"));
    }
    (series, types)
}

fn node_exporter() -> (Background, String) {
    let port = free_port();
    let mut command = Command::new(program("prometheus-node-exporter", "prometheus-node-exporter"));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).args(UPSTREAM_FILTERS);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let exporter = Background(child.expect("start node_exporter"));
    let url = format!("http://127.0.0.1:{port}/metrics");
    eventually("node_exporter answers", TIMEOUT, || http::try_get(&url).ok().filter(|answer| answer.status == 200));
    (exporter, url)
}

/// Whether what they say lies between what we said before and after, give or take a little.
fn agrees(before: f64, theirs: f64, after: f64) -> bool {
    let slack = 1e-6 + 0.02 * before.abs().max(after.abs());
    before.min(after) - slack <= theirs && theirs <= before.max(after) + slack
}

#[test]
fn names_labels_types_and_values_agree_with_node_exporter() {
    let (_exporter, url) = node_exporter();
    let server = TestServer::with_config(CONFIG);
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut last = String::new();
    // What the load of a moment puts apart comes together in another; a wrong unit never does.
    for attempt in 0..8 {
        let began = round(&server);
        eventually("a round", TIMEOUT, || (round(&server) > began).then_some(()));
        let before = ours(&server);
        let text = http::get(&url).text();
        let scraped = round(&server);
        eventually("two more rounds", TIMEOUT, || (round(&server) > scraped + 1.5).then_some(()));
        let after = ours(&server);
        let (exporter, _) = theirs(&text);
        if attempt == 0 {
            let left_out: Vec<&String> = exporter.keys().filter(|series| !before.contains_key(*series)).collect();
            let ours_alone: Vec<&String> = before
                .keys()
                .filter(|series| !exporter.contains_key(*series) && !begins_with_one_of(series, NEWER))
                .collect();
            assert!(
                left_out.is_empty() && ours_alone.is_empty(),
                "only node_exporter has {left_out:#?}\nonly we have {ours_alone:#?}"
            );
            assert!(exporter.len() > 200, "{} series are too few to compare", exporter.len());
            open = exporter.keys().filter(|series| !begins_with_one_of(series, OF_A_MOMENT)).cloned().collect();
        }
        last.clear();
        open.retain(|series| {
            let found = [&before, &exporter, &after].map(|all| all.get(series).copied().unwrap_or(f64::NAN));
            let agreed = agrees(found[0], found[1], found[2]);
            if !agreed {
                last.push_str(&format!("{series}: we {}, they {}, we {}\n", found[0], found[1], found[2]));
            }
            !agreed
        });
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "in no round did these agree:\n{last}");
    compare_types(&server, &http::get(&url).text());
}

fn compare_types(server: &TestServer, text: &str) {
    let (series, types) = theirs(text);
    let metadata = server.get("/api/v1/metadata").data();
    for name in series.keys().map(|series| name_of(series)).collect::<BTreeSet<_>>() {
        let entry = &metadata[name][0];
        assert_eq!(entry["type"].as_str(), types.get(name).map(String::as_str), "the type of {name}");
        assert!(entry["help"].as_str().is_some_and(|help| !help.is_empty()), "{name} has no help");
    }
}

#[test]
fn dashboards_find_this_host_at_once_and_its_metrics_go_on() {
    let server = TestServer::with_config(CONFIG);
    eventually("the first round", TIMEOUT, || server.value("up{job=\"node\"} == 1"));
    let jobs = server.get("/api/v1/label/job/values?match[]=node_uname_info").data();
    assert_eq!(jobs, serde_json::json!(["node"]));
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    let instances = server.get("/api/v1/label/instance/values?match[]=node_uname_info").data();
    assert_eq!(instances, serde_json::json!([hostname.trim()]));
    let busy = "1 - avg(rate(node_cpu_seconds_total{job=\"node\",mode=\"idle\"}[10s]))";
    let busy = eventually("a rate", TIMEOUT, || server.value(busy));
    assert!((-0.05..=1.05).contains(&busy), "{busy}");
    assert!(server.value("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes").is_some_and(|part| part < 1.0));
    assert_eq!(server.value("max(abs(timestamp(up{job=\"node\"}) - node_time_seconds))"), Some(0.0));
    let text = server.get("/metrics").text();
    assert!(text.lines().any(|line| line == "observatory_hosts_collecting 1"), "{text}");
    assert!(text.lines().any(|line| line == "observatory_hosts_rounds_failed_total 0"), "{text}");
}

#[test]
fn a_host_that_is_not_to_be_watched_is_not() {
    let server = TestServer::with_config("hosts:\n  enabled: false\n");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(server.value("count({job=\"node\"})"), None);
    assert!(server.get("/metrics").text().contains("observatory_hosts_collecting 0"));
}

#[test]
fn a_reload_switches_it_on_and_off_and_says_what_needs_a_restart() {
    let mut server = TestServer::with_config("hosts: {enabled: false}");
    let reload = |config: &str| {
        server.rewrite_config(config);
        let answer = server.send("POST", "/-/reload", &[], b"");
        assert_eq!(answer.status, 200, "{answer}");
    };
    assert!(server.get("/metrics").text().contains("observatory_hosts_collecting 0"));
    reload("hosts: {enabled: true, interval: 1s}\nself_scrape: true\n");
    eventually("this host", TIMEOUT, || server.value("node_load1"));
    eventually("ourselves", TIMEOUT, || server.value("observatory_build_info"));
    assert!(server.get("/metrics").text().contains("observatory_hosts_collecting 1"));
    reload("hosts: {enabled: true, interval: 2s}\nself_scrape: true\n");
    assert!(server.get("/api/v1/status/config").text().contains("interval: 2s"));
    assert!(server.value("node_load1").is_some(), "what goes on is not ended");
    reload("hosts: {enabled: false}\nstorage: {retention: 5d}\nlimits: {query_timeout: 7s}\n");
    assert_eq!((server.value("node_load1"), server.value("observatory_build_info")), (None, None));
    let log = server.log();
    assert!(log.contains("only after a restart: storage.retention, limits.query_timeout."), "{log}");
    assert!(!server.get("/api/v1/status/config").text().contains("retention: 5d"), "what is shown is what is in force");
    server.assert_healthy();
}
