//! `/proc/stat`, `/proc/loadavg` and `/proc/schedstat`: processors, load and scheduling.

use super::{collector::Host, collector::malformed, files::number, sink::Sink};
use crate::ingest::Family;
use std::{collections::BTreeMap, io};

const CPU: Family<'_> =
    Family::counter("node_cpu_seconds_total", "Time each processor spent in each mode, in seconds.");
const GUEST: Family<'_> = Family::counter(
    "node_cpu_guest_seconds_total",
    "Time each processor spent running guests of this host, in seconds; part of mode user or nice.",
);
/// In the order of the columns.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const IDLE: usize = 3;
const COLUMNS: usize = MODES.len() + GUEST_MODES.len();
/// A processor that goes back by more has been switched off and on: its counters have begun again.
const JUMP_BACK_SECONDS: u64 = 3;

const LINES: &[(&str, Family<'_>)] = &[
    ("intr", Family::counter("node_intr_total", "Interrupts served.")),
    ("ctxt", Family::counter("node_context_switches_total", "Context switches.")),
    ("processes", Family::counter("node_forks_total", "Processes and threads started.")),
    ("btime", Family::gauge("node_boot_time_seconds", "When the host started, in seconds since the Unix epoch.")),
    ("procs_running", Family::gauge("node_procs_running", "Threads that run or could.")),
    ("procs_blocked", Family::gauge("node_procs_blocked", "Threads that wait for a disk.")),
];

const LOADS: [Family<'_>; 3] = [
    Family::gauge("node_load1", "Load average of one minute."),
    Family::gauge("node_load5", "Load average of five minutes."),
    Family::gauge("node_load15", "Load average of fifteen minutes."),
];

const SCHEDULED: [(usize, f64, Family<'_>); 3] = [
    (
        7,
        1e9,
        Family::counter("node_schedstat_running_seconds_total", "Time a processor spent running threads, in seconds."),
    ),
    (
        8,
        1e9,
        Family::counter("node_schedstat_waiting_seconds_total", "Time threads waited for a processor, in seconds."),
    ),
    (9, 1.0, Family::counter("node_schedstat_timeslices_total", "Time slices a processor ran.")),
];

/// The last counters of each processor, in ticks. Idle time and waiting for disks are estimates of the kernel that may
/// step back a little; a counter that does would read as one that began again.
#[derive(Default)]
pub(super) struct Cpus(BTreeMap<u32, [u64; COLUMNS]>);

impl Cpus {
    /// The counters to show for what was read now.
    fn steady(&mut self, cpu: u32, now: [u64; COLUMNS], ticks_per_second: u64) -> [u64; COLUMNS] {
        let shown = self.0.entry(cpu).or_insert(now);
        if shown[IDLE].saturating_sub(now[IDLE]) >= JUMP_BACK_SECONDS * ticks_per_second {
            *shown = now;
        }
        for (shown, now) in shown.iter_mut().zip(now) {
            *shown = now.max(*shown);
        }
        *shown
    }
}

/// Collects `/proc/stat`.
pub(super) fn stat(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let text = host.files.proc(&["stat"], &mut host.text)?;
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(' ') else { continue };
        if let Some(cpu) = key.strip_prefix("cpu") {
            // The line without a number is the sum of the others.
            let Ok(index) = cpu.parse() else { continue };
            let mut now = [0; COLUMNS];
            for (column, text) in now.iter_mut().zip(rest.split_ascii_whitespace()) {
                *column = text.parse().map_err(|_| malformed("/proc/stat"))?;
            }
            let shown = host.cpus.steady(index, now, ticks_per_second).map(|t| t as f64 / ticks_per_second as f64);
            for (mode, value) in MODES.iter().zip(shown) {
                sink.sample(&CPU, &[("cpu", cpu), ("mode", mode)], value);
            }
            for (mode, value) in GUEST_MODES.iter().zip(&shown[MODES.len()..]) {
                sink.sample(&GUEST, &[("cpu", cpu), ("mode", mode)], *value);
            }
        } else if let Some((_, family)) = LINES.iter().find(|(name, _)| *name == key) {
            sink.sample(family, &[], number(rest).ok_or_else(|| malformed("/proc/stat"))?);
        }
    }
    Ok(())
}

/// Collects `/proc/loadavg`.
pub(super) fn loadavg(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["loadavg"], &mut host.text)?;
    let mut columns = text.split_ascii_whitespace();
    for family in &LOADS {
        let value = columns.next().and_then(number).ok_or_else(|| malformed("/proc/loadavg"))?;
        sink.sample(family, &[], value);
    }
    Ok(())
}

/// Collects `/proc/schedstat`, which not every kernel has.
pub(super) fn schedstat(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["schedstat"], &mut host.text)?;
    for line in text.lines() {
        let mut columns = line.split_ascii_whitespace();
        let cpu = columns.next().and_then(|name| name.strip_prefix("cpu"));
        let Some(cpu) = cpu.filter(|cpu| cpu.parse::<u32>().is_ok()) else { continue };
        let mut values = columns.map(|text| text.parse::<f64>().unwrap_or_default()).skip(SCHEDULED[0].0 - 1);
        for (_, unit, family) in &SCHEDULED {
            if let Some(value) = values.next() {
                sink.sample(family, &[("cpu", cpu)], value / unit);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    const STAT: &str = "cpu  30 0 0 0 0 0 0 0 0 0\n\
        cpu0 100 200 300 400 500 600 700 800 50 25\n\
        cpu3 1 0 0 0 0 0 0\n\
        intr 4372827 0 0 1\nctxt 11771775\nbtime 1795271573\nprocesses 236721\nprocs_running 6\nprocs_blocked 1\n\
        softirq 2087211 0 217356\n";

    #[test]
    fn processors_and_counters_of_proc_stat_are_read() {
        let (_directory, mut host) = fixture(&[("proc/stat", STAT)]);
        let mut lines = Lines::default();
        stat(&mut host, &mut lines).unwrap();
        lines.has(&[
            "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 1",
            "node_cpu_seconds_total{cpu=\"0\",mode=\"steal\"} 8",
            "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"} 0.25",
            "node_cpu_seconds_total{cpu=\"3\",mode=\"user\"} 0.01",
            "node_cpu_seconds_total{cpu=\"3\",mode=\"steal\"} 0",
            "node_intr_total 4372827",
            "node_context_switches_total 11771775",
            "node_forks_total 236721",
            "node_boot_time_seconds 1795271573",
            "node_procs_running 6",
            "node_procs_blocked 1",
        ]);
        assert_eq!(lines.0.len(), 26);
    }

    #[test]
    fn a_small_step_back_is_held_and_a_large_one_is_a_reset() {
        let mut cpus = Cpus::default();
        let at = |user, idle, iowait| [user, 0, 0, idle, iowait, 0, 0, 0, 0, 0];
        assert_eq!(cpus.steady(0, at(50, 1_000, 9), 100), at(50, 1_000, 9));
        assert_eq!(cpus.steady(0, at(60, 990, 8), 100), at(60, 1_000, 9));
        assert_eq!(cpus.steady(0, at(61, 1_010, 9), 100), at(61, 1_010, 9));
        assert_eq!(cpus.steady(0, at(2, 3, 1), 100), at(2, 3, 1));
    }

    #[test]
    fn scheduling_of_each_processor_is_read_and_domains_are_not() {
        let text = "version 15\ntimestamp 1\ncpu0 1 2 3 4 5 6 2500000000 1000000000 77\ndomain0 3 1 2\n";
        let (_directory, mut host) = fixture(&[("proc/schedstat", text)]);
        let mut lines = Lines::default();
        schedstat(&mut host, &mut lines).unwrap();
        assert_eq!(
            lines.0,
            [
                "node_schedstat_running_seconds_total{cpu=\"0\"} 2.5",
                "node_schedstat_waiting_seconds_total{cpu=\"0\"} 1",
                "node_schedstat_timeslices_total{cpu=\"0\"} 77",
            ]
        );
    }
}
