//! `/proc/meminfo`, `/proc/vmstat` and `/proc/pressure`: memory, paging and time lost to waiting.

use super::{collector::Host, collector::malformed, files::number, sink::Sink};
use crate::ingest::Family;
use std::io;

const PRESSURE: &[(&str, &str, Family<'_>)] = &[
    (
        "cpu",
        "some",
        Family::counter("node_pressure_cpu_waiting_seconds_total", "Time in which a task waited for a processor."),
    ),
    (
        "io",
        "some",
        Family::counter("node_pressure_io_waiting_seconds_total", "Time in which a task waited for a disk."),
    ),
    (
        "io",
        "full",
        Family::counter("node_pressure_io_stalled_seconds_total", "Time in which every task waited for a disk."),
    ),
    (
        "memory",
        "some",
        Family::counter("node_pressure_memory_waiting_seconds_total", "Time in which a task waited for memory."),
    ),
    (
        "memory",
        "full",
        Family::counter("node_pressure_memory_stalled_seconds_total", "Time in which every task waited for memory."),
    ),
    (
        "irq",
        "full",
        Family::counter("node_pressure_irq_stalled_seconds_total", "Time in which interrupts kept every task waiting."),
    ),
];

/// Collects every line of `/proc/meminfo`, whatever the kernel's version has.
pub(super) fn meminfo(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["meminfo"], &mut host.text)?;
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let mut columns = rest.split_ascii_whitespace();
        let value = columns.next().and_then(number).ok_or_else(|| malformed("/proc/meminfo"))?;
        let unit = if columns.next() == Some("kB") { 1024.0 } else { 1.0 };
        host.name.clear();
        host.name.push_str("node_memory_");
        // `Active(anon)` is `Active_anon`.
        let key = key.strip_suffix(')').unwrap_or(key);
        host.name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
        let family = if unit > 1.0 {
            host.name.push_str("_bytes");
            Family::gauge(&host.name, "A line of /proc/meminfo, in bytes.")
        } else {
            Family::gauge(&host.name, "A line of /proc/meminfo, a number of pages of their own size.")
        };
        sink.sample(&family, &[], value * unit);
    }
    Ok(())
}

/// Collects the lines of `/proc/vmstat` about paging, faults and processes killed for memory.
pub(super) fn vmstat(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["vmstat"], &mut host.text)?;
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(' ') else { continue };
        let fault = key.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"));
        if !(fault || ["oom_kill", "pgpg", "pswp"].iter().any(|start| key.starts_with(start))) {
            continue;
        }
        host.name.clear();
        host.name.push_str("node_vmstat_");
        host.name.push_str(key);
        let value = number(rest).ok_or_else(|| malformed("/proc/vmstat"))?;
        sink.sample(&Family::unknown(&host.name, "A counter of /proc/vmstat."), &[], value);
    }
    Ok(())
}

/// Collects pressure stall information. A kernel may have it and not switched on: then reading says "not supported".
pub(super) fn pressure(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let mut result = Err(io::Error::from(io::ErrorKind::NotFound));
    for (resource, kind, family) in PRESSURE {
        let text = match host.files.proc(&["pressure", resource], &mut host.text) {
            Ok(text) => text,
            Err(error) => {
                // One of the four may be missing (`irq` in older kernels), which is no failure of the others.
                if result.is_err() {
                    result = Err(error);
                }
                continue;
            }
        };
        let line = text.lines().find_map(|line| line.strip_prefix(kind));
        let total = line.and_then(|line| line.split_once("total=")).and_then(|(_, total)| number(total));
        if let Some(microseconds) = total {
            sink.sample(family, &[], microseconds / 1e6);
            result = Ok(());
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    #[test]
    fn every_line_of_meminfo_has_a_name_and_kilobytes_are_bytes() {
        let text =
            "MemTotal:       4 kB\nActive(anon):   1 kB\nHugePages_Total:  3\nDirectMap2M: 0 kB\nNew-Line: 1 kB\n";
        let (_directory, mut host) = fixture(&[("proc/meminfo", text)]);
        let mut lines = Lines::default();
        meminfo(&mut host, &mut lines).unwrap();
        assert_eq!(
            lines.0,
            [
                "node_memory_MemTotal_bytes 4096",
                "node_memory_Active_anon_bytes 1024",
                "node_memory_HugePages_Total 3",
                "node_memory_DirectMap2M_bytes 0",
                "node_memory_New_Line_bytes 1024",
            ]
        );
    }

    #[test]
    fn of_vmstat_only_paging_faults_and_kills_are_kept() {
        let text =
            "nr_free_pages 5\npgpgin 1\npgpgout 2\npswpin 3\npgfault 4\npgmajfault 5\npgalloc_dma 6\noom_kill 7\n";
        let (_directory, mut host) = fixture(&[("proc/vmstat", text)]);
        let mut lines = Lines::default();
        vmstat(&mut host, &mut lines).unwrap();
        let names: Vec<&str> = lines.0.iter().map(|line| line.trim_start_matches("node_vmstat_")).collect();
        assert_eq!(names, ["pgpgin 1", "pgpgout 2", "pswpin 3", "pgfault 4", "pgmajfault 5", "oom_kill 7"]);
    }

    #[test]
    fn pressure_is_in_seconds_and_may_be_there_in_part() {
        let line = |total| format!("avg10=1.00 avg60=2.00 avg300=3.00 total={total}\n");
        let cpu = format!("some {}full {}", line(851_590_303), line(0));
        let io = format!("some {}full {}", line(2_000_000), line(500_000));
        let (_directory, mut host) = fixture(&[("proc/pressure/cpu", &cpu), ("proc/pressure/io", &io)]);
        let mut lines = Lines::default();
        pressure(&mut host, &mut lines).unwrap();
        assert_eq!(
            lines.0,
            [
                "node_pressure_cpu_waiting_seconds_total 851.590303",
                "node_pressure_io_waiting_seconds_total 2",
                "node_pressure_io_stalled_seconds_total 0.5",
            ]
        );
        let (_directory, mut host) = fixture(&[]);
        assert_eq!(pressure(&mut host, &mut lines).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
