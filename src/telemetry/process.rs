//! What the kernel knows of this process, read from `/proc/self` under the names every exporter uses.

use super::{Metrics, Reading};
use std::fs;

/// The figures of one look at `/proc/self`. What cannot be read is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    pub cpu_seconds: f64,
    pub resident_bytes: f64,
    pub virtual_bytes: f64,
    pub threads: f64,
    pub open_fds: f64,
    pub fds_max: f64,
    /// Since the Unix epoch.
    pub start_seconds: f64,
}

impl Process {
    /// Looks now.
    pub fn read() -> Process {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut process = parse_stat(&stat, ticks_per_second(), boot_seconds()).unwrap_or_default();
        process.open_fds = fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        process.fds_max = parse_fds_max(&limits).unwrap_or_default();
        process
    }
}

/// Adds the `process_*` metrics.
pub fn register(metrics: &Metrics) {
    metrics.readings(|| {
        let process = Process::read();
        vec![
            Reading::counter(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
                process.cpu_seconds,
            ),
            Reading::gauge("process_resident_memory_bytes", "Resident memory size in bytes.", process.resident_bytes),
            Reading::gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", process.virtual_bytes),
            Reading::gauge("process_threads", "Number of OS threads in the process.", process.threads),
            Reading::gauge("process_open_fds", "Number of open file descriptors.", process.open_fds),
            Reading::gauge("process_max_fds", "Maximum number of open file descriptors.", process.fds_max),
            Reading::gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                process.start_seconds,
            ),
        ]
    });
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn boot_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or_default()
}

/// Reads the one line of `/proc/self/stat`; fields are counted from the closing bracket of the program's name, which
/// may itself hold spaces and brackets.
fn parse_stat(stat: &str, ticks_per_second: f64, boot_seconds: f64) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Process {
        cpu_seconds: (number(11)? + number(12)?) / ticks_per_second,
        threads: number(17)?,
        start_seconds: boot_seconds + number(19)? / ticks_per_second,
        virtual_bytes: number(20)?,
        resident_bytes: number(21)? * rustix::param::page_size() as f64,
        ..Process::default()
    })
}

fn parse_fds_max(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_skipped() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 8 18 1000 4096 2 21";
        let process = parse_stat(stat, 100.0, 500.0).unwrap();
        assert_eq!((process.cpu_seconds, process.threads, process.start_seconds), (3.0, 8.0, 510.0));
        assert_eq!(process.virtual_bytes, 4096.0);
        assert_eq!(process.resident_bytes, 2.0 * rustix::param::page_size() as f64);
        assert_eq!(parse_stat("cut", 100.0, 0.0), None);
    }

    #[test]
    fn this_process_is_seen() {
        let process = Process::read();
        assert!(process.resident_bytes > 1e6 && process.open_fds > 0.0 && process.threads >= 1.0, "{process:?}");
        assert_eq!(
            parse_fds_max("Max open files            1024                 4096                 files"),
            Some(1024.0)
        );
    }
}
