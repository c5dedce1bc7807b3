//! `/proc/diskstats`: what each disk did.

use super::{
    collector::Host,
    files::{Buffer, Files},
    sink::Sink,
};
use crate::ingest::Family;
use std::io;

const SECTOR_BYTES: f64 = 512.0;
const MILLISECONDS: f64 = 1e-3;

/// A column after the device's name, what it is multiplied with, and its family. Kernels before 4.18 end before the
/// discards, those before 5.5 before the flushes.
const COLUMNS: [(f64, Family<'_>); 17] = [
    (1.0, Family::counter("node_disk_reads_completed_total", "Reads that were completed.")),
    (1.0, Family::counter("node_disk_reads_merged_total", "Reads that were merged with a neighbour.")),
    (SECTOR_BYTES, Family::counter("node_disk_read_bytes_total", "Bytes read.")),
    (MILLISECONDS, Family::counter("node_disk_read_time_seconds_total", "Time that reads took, added up.")),
    (1.0, Family::counter("node_disk_writes_completed_total", "Writes that were completed.")),
    (1.0, Family::counter("node_disk_writes_merged_total", "Writes that were merged with a neighbour.")),
    (SECTOR_BYTES, Family::counter("node_disk_written_bytes_total", "Bytes written.")),
    (MILLISECONDS, Family::counter("node_disk_write_time_seconds_total", "Time that writes took, added up.")),
    (1.0, Family::gauge("node_disk_io_now", "Requests under way.")),
    (MILLISECONDS, Family::counter("node_disk_io_time_seconds_total", "Time in which a request was under way.")),
    (
        MILLISECONDS,
        Family::counter("node_disk_io_time_weighted_seconds_total", "That time, counted for each request under way."),
    ),
    (1.0, Family::counter("node_disk_discards_completed_total", "Discards that were completed.")),
    (1.0, Family::counter("node_disk_discards_merged_total", "Discards that were merged with a neighbour.")),
    (1.0, Family::counter("node_disk_discarded_sectors_total", "Sectors discarded.")),
    (MILLISECONDS, Family::counter("node_disk_discard_time_seconds_total", "Time that discards took, added up.")),
    (1.0, Family::counter("node_disk_flush_requests_total", "Flushes that were completed.")),
    (MILLISECONDS, Family::counter("node_disk_flush_requests_time_seconds_total", "Time that flushes took, added up.")),
];

const INFO: Family<'_> = Family::gauge("node_disk_info", "Numbers and names of a disk; always 1.");

/// What udev notes of a device, and the label that shows it.
const UDEV: [(&str, &str); 5] = [
    ("E:ID_MODEL=", "model"),
    ("E:ID_PATH=", "path"),
    ("E:ID_REVISION=", "revision"),
    ("E:ID_SERIAL_SHORT=", "serial"),
    ("E:ID_WWN=", "wwn"),
];

/// Collects `/proc/diskstats` but for partitions, memory and loop devices.
pub(super) fn diskstats(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["diskstats"], &mut host.text)?;
    for line in text.lines() {
        let mut columns = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(device)) = (columns.next(), columns.next(), columns.next()) else {
            continue;
        };
        if is_excluded(device) {
            continue;
        }
        for ((factor, family), column) in COLUMNS.iter().zip(columns) {
            if let Ok(value) = column.parse::<f64>() {
                // Divided, because a thousandth is no binary fraction.
                let value = if *factor < 1.0 { value / 1e3 } else { value * factor };
                sink.sample(family, &[("device", device)], value);
            }
        }
        info(&mut host.files, &mut host.inner, &mut host.name, [major, minor, device], sink);
    }
    Ok(())
}

fn info(files: &mut Files, inner: &mut Buffer, name: &mut String, disk: [&str; 3], sink: &mut dyn Sink) {
    let [major, minor, device] = disk;
    name.clear();
    name.extend(["b", major, ":", minor]);
    // Without udev, as in containers, there are only numbers.
    let notes = files.root(&["run/udev/data", name], inner).unwrap_or_default();
    let mut labels =
        [("device", device), ("major", major), ("minor", minor), ("", ""), ("", ""), ("", ""), ("", ""), ("", "")];
    for ((start, label), slot) in UDEV.iter().zip(&mut labels[3..]) {
        *slot = (label, notes.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default());
    }
    sink.sample(&INFO, &labels, 1.0);
}

/// Whether the device is a partition, in memory, a loop or a floppy: `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.
fn is_excluded(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    if ["ram", "zram", "loop", "fd"].contains(&stem) {
        return true;
    }
    let disk = ["hd", "sd", "vd", "xvd"].iter().find_map(|start| stem.strip_prefix(start));
    if disk.is_some_and(|letter| letter.len() == 1 && letter.as_bytes()[0].is_ascii_lowercase()) {
        return true;
    }
    let nvme = stem.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p')).and_then(|rest| rest.split_once('n'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    nvme.is_some_and(|(controller, namespace)| is_number(controller) && is_number(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    #[test]
    fn disks_are_kept_and_their_partitions_are_not() {
        for kept in ["sda", "vda", "sdaa1", "nvme0n1", "mmcblk0", "md0", "dm-0", "sr0", "zram", "nvme0c0n1", "xvda"] {
            assert!(!is_excluded(kept), "{kept}");
        }
        for excluded in ["sda1", "xvdb12", "nvme10n1p3", "loop0", "ram15", "zram0", "fd0"] {
            assert!(is_excluded(excluded), "{excluded}");
        }
    }

    #[test]
    fn columns_become_bytes_and_seconds_and_old_kernels_have_fewer() {
        let text = "   7       0 loop0 1 2 3 4 5 6 7 8 9 10 11\n \
            254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8\n";
        let notes = "S:x\nE:ID_MODEL=Disk One\nE:ID_WWN=0x5\n";
        let (_directory, mut host) = fixture(&[("proc/diskstats", text), ("root/run/udev/data/b8:0", notes)]);
        let mut lines = Lines::default();
        diskstats(&mut host, &mut lines).unwrap();
        lines.has(&[
            "node_disk_read_bytes_total{device=\"vda\"} 1536",
            "node_disk_read_time_seconds_total{device=\"vda\"} 0.004",
            "node_disk_io_now{device=\"vda\"} 9",
            "node_disk_discarded_sectors_total{device=\"vda\"} 14",
            "node_disk_flush_requests_time_seconds_total{device=\"vda\"} 0.017",
            "node_disk_info{device=\"vda\",major=\"254\",minor=\"0\"} 1",
            "node_disk_io_time_weighted_seconds_total{device=\"sda\"} 0.011",
            "node_disk_info{device=\"sda\",major=\"8\",minor=\"0\",model=\"Disk One\",wwn=\"0x5\"} 1",
        ]);
        assert_eq!(lines.0.len(), 18 + 12);
    }
}
