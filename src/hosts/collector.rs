//! One round: every group of metrics in turn, and how long each took.

use super::{
    disk, files::Buffer, files::Files, files::Roots, filesystem, kernel, memory, netclass, network, sink::Sink,
    sockets, statfs::Prober, system,
};
use crate::ingest::Family;
use std::{io, time::Instant};

type Collect = fn(&mut Host, &mut dyn Sink) -> io::Result<()>;

/// Groups by their names in node_exporter; `stat` covers its `cpu` too, as both read one file.
const COLLECTORS: &[(&str, Collect)] = &[
    ("arp", sockets::arp),
    ("conntrack", sockets::conntrack),
    ("diskstats", disk::diskstats),
    ("entropy", system::entropy),
    ("filefd", system::filefd),
    ("filesystem", filesystem::filesystem),
    ("loadavg", kernel::loadavg),
    ("meminfo", memory::meminfo),
    ("netclass", netclass::netclass),
    ("netdev", network::netdev),
    ("netstat", sockets::netstat),
    ("os", system::os),
    ("pressure", memory::pressure),
    ("processes", system::processes),
    ("schedstat", kernel::schedstat),
    ("sockstat", sockets::sockstat),
    ("softnet", network::softnet),
    ("stat", kernel::stat),
    ("udp_queues", sockets::udp_queues),
    ("uname", system::uname),
    ("vmstat", memory::vmstat),
];

const DURATION: Family<'_> =
    Family::gauge("node_scrape_collector_duration_seconds", "How long a group of metrics took to collect.");
const SUCCESS: Family<'_> =
    Family::gauge("node_scrape_collector_success", "Whether a group of metrics was collected: 1, or 0 where not.");
const TIME: Family<'_> = Family::gauge("node_time_seconds", "The host's clock, in seconds since the Unix epoch.");

/// What collectors keep from round to round: buffers, and the little they must remember.
pub(super) struct Host {
    pub(super) files: Files,
    /// For a file that is read line by line.
    pub(super) text: Buffer,
    /// For files that are looked at meanwhile.
    pub(super) inner: Buffer,
    /// For names that are put together.
    pub(super) name: String,
    pub(super) cpus: kernel::Cpus,
    pub(super) space: Prober,
    /// The table of process 1 is the host's, also where ours is that of a container; not everyone may read it.
    pub(super) mounts: &'static [&'static str],
    /// Which collectors failed in a way that was logged.
    reported: [bool; COLLECTORS.len()],
}

impl Host {
    pub(super) fn new(roots: Roots) -> Host {
        let (mut files, mut text) = (Files::new(roots), Buffer::new());
        let mounts: &[&str] = &["1", "mounts"];
        let mounts = if files.proc(mounts, &mut text).is_ok() { mounts } else { &mounts[1..] };
        Host {
            files,
            text,
            mounts,
            inner: Buffer::new(),
            name: String::new(),
            cpus: kernel::Cpus::default(),
            space: Prober::default(),
            reported: [false; COLLECTORS.len()],
        }
    }

    /// Whether there is a procfs to read.
    pub(super) fn has_procfs(&mut self) -> bool {
        self.files.proc(&["stat"], &mut self.text).is_ok()
    }

    /// Collects everything; `now_ms` becomes the host's time.
    pub(super) fn collect(&mut self, now_ms: i64, sink: &mut dyn Sink) {
        sink.sample(&TIME, &[], now_ms as f64 / 1e3);
        for (index, (name, collect)) in COLLECTORS.iter().enumerate() {
            let began = Instant::now();
            let result = collect(self, sink);
            sink.sample(&DURATION, &[("collector", name)], began.elapsed().as_secs_f64());
            sink.sample(&SUCCESS, &[("collector", name)], f64::from(u8::from(result.is_ok())));
            match result {
                Ok(()) => self.reported[index] = false,
                // Kernels differ in what they have; that is no fault.
                Err(error) if is_absent(&error) => {}
                Err(error) if !self.reported[index] => {
                    self.reported[index] = true;
                    tracing::warn!(hosts.collector = name, %error, "Host metrics of `{name}` cannot be read.");
                }
                Err(_) => {}
            }
        }
    }
}

/// A file that is not there, or a feature that is built into the kernel and not switched on.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported | io::ErrorKind::NotADirectory)
}

/// What a file says that does not have its known form.
pub(super) fn malformed(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} does not have the form it should have"))
}

/// A host below a temporary directory, for tests: files by their path, such as `proc/stat`.
#[cfg(test)]
pub(super) fn fixture(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let below = |name| directory.path().join(name);
    let roots = Roots { proc: below("proc"), sys: below("sys"), root: below("root") };
    (directory, Host::new(roots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::sink::Lines;

    #[test]
    fn an_empty_host_gives_its_time_and_what_failed() {
        let (_directory, mut host) = fixture(&[("proc/loadavg", "0.5 0.25 0.125 1/200 9\n")]);
        assert!(!host.has_procfs());
        let mut lines = Lines::default();
        host.collect(1_500, &mut lines);
        lines.has(&[
            "node_time_seconds 1.5",
            "node_load1 0.5",
            "node_scrape_collector_success{collector=\"loadavg\"} 1",
            "node_scrape_collector_success{collector=\"stat\"} 0",
        ]);
        assert!(host.reported.iter().all(|reported| !reported), "what is absent is no warning");
    }

    #[test]
    fn damaged_files_are_reported_once_and_cost_only_their_metrics() {
        let names =
            ["stat", "meminfo", "vmstat", "diskstats", "net/dev", "net/snmp", "net/netstat", "net/softnet_stat"];
        let damaged: Vec<(String, &str)> = names
            .iter()
            .chain(&["loadavg", "schedstat", "pressure/cpu", "mounts", "net/sockstat", "net/udp", "sys/fs/file-nr"])
            .map(|name| {
                (format!("proc/{name}"), "cpu0 x\n: y\n\n    \ncpu 1\nTcp: A B\nTcp: 1\nsome total=\n\u{e9}: -")
            })
            .collect();
        let damaged: Vec<(&str, &str)> = damaged.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (_directory, mut host) = fixture(&damaged);
        for _ in 0..2 {
            let mut lines = Lines::default();
            host.collect(0, &mut lines);
            lines.has(&["node_scrape_collector_success{collector=\"loadavg\"} 0"]);
        }
    }

    #[test]
    fn this_host_is_collected_quickly() {
        let mut host = Host::new(Roots::default());
        let mut lines = Lines::default();
        host.collect(0, &mut lines);
        for name in ["node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1", "node_uname_info"] {
            assert!(!lines.lacks(name), "{name} is missing");
        }
        let mut seen: Vec<&str> = lines.0.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "a series is given twice");
    }
}
