//! The mount table, and the space of each file system that is not the kernel's own.

use super::{collector::Host, sink::Sink};
use crate::ingest::Family;
use std::{borrow::Cow, io, path::PathBuf};

const SIZE: Family<'_> = Family::gauge("node_filesystem_size_bytes", "Size of a file system, in bytes.");
const FREE: Family<'_> = Family::gauge("node_filesystem_free_bytes", "Bytes free, those kept for root included.");
const AVAILABLE: Family<'_> = Family::gauge("node_filesystem_avail_bytes", "Bytes free for users without privileges.");
const FILES: Family<'_> = Family::gauge("node_filesystem_files", "Inodes a file system has room for.");
const FILES_FREE: Family<'_> = Family::gauge("node_filesystem_files_free", "Inodes that are free.");
const READONLY: Family<'_> = Family::gauge("node_filesystem_readonly", "Whether a file system is mounted read-only.");
const DEVICE_ERROR: Family<'_> =
    Family::gauge("node_filesystem_device_error", "Whether a file system did not say how much space it has.");

const TYPES_EXCLUDED: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];
/// These and everything below.
const MOUNTS_EXCLUDED: &[&str] = &["/dev", "/proc", "/sys"];
/// Everything below these.
const BELOW_EXCLUDED: &[&str] = &["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];

/// Collects the space of mounted file systems.
pub(super) fn filesystem(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(host.mounts, &mut host.text)?;
    // One mounted over another hides it: the last one is what is seen at the path.
    let mounts: Vec<Mount<'_>> = text.lines().filter_map(Mount::parse).collect();
    for (index, mount) in mounts.iter().enumerate() {
        if mount.is_excluded() || mounts[index + 1..].iter().any(|later| later.is_same(mount)) {
            continue;
        }
        let path: PathBuf = host.files.mounted(&mount.point);
        let space = host.space.space(path);
        let labels = [("device", &*mount.device), ("fstype", mount.kind), ("mountpoint", &*mount.point)];
        let flag = |value: bool| f64::from(u8::from(value));
        sink.sample(&DEVICE_ERROR, &labels, flag(space.is_none()));
        sink.sample(&READONLY, &labels, flag(mount.readonly));
        let Some(space) = space else { continue };
        sink.sample(&SIZE, &labels, space.size);
        sink.sample(&FREE, &labels, space.free);
        sink.sample(&AVAILABLE, &labels, space.available);
        sink.sample(&FILES, &labels, space.files);
        sink.sample(&FILES_FREE, &labels, space.files_free);
    }
    Ok(())
}

/// A line of the mount table.
struct Mount<'a> {
    device: Cow<'a, str>,
    point: Cow<'a, str>,
    kind: &'a str,
    readonly: bool,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let mut columns = line.split(' ');
        let (device, point, kind) = (columns.next()?, columns.next()?, columns.next()?);
        let readonly = columns.next()?.split(',').any(|option| option == "ro");
        Some(Mount { device: unescape(device), point: unescape(point), kind, readonly })
    }

    fn is_excluded(&self) -> bool {
        let below = |start: &&str| self.point.strip_prefix(*start).is_some_and(|rest| !rest.is_empty());
        let at_or_below =
            |start: &&str| self.point.strip_prefix(*start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        TYPES_EXCLUDED.contains(&self.kind)
            || MOUNTS_EXCLUDED.iter().any(at_or_below)
            || BELOW_EXCLUDED.iter().any(below)
    }

    fn is_same(&self, other: &Mount<'_>) -> bool {
        self.point == other.point && self.device == other.device && self.kind == other.kind
    }
}

/// Undoes what the kernel does to spaces and the like: a backslash and three octal digits.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    #[test]
    fn the_kernels_own_file_systems_and_containers_layers_are_excluded() {
        let excluded = |line| Mount::parse(line).unwrap().is_excluded();
        for line in [
            "proc /proc proc rw 0 0",
            "tmpfs /dev/shm tmpfs rw 0 0",
            "overlay / overlay rw 0 0",
            "/dev/sda1 /var/lib/docker/volumes ext4 rw 0 0",
            "ramfs /run/credentials/systemd-sysusers.service ramfs ro 0 0",
            "/dev/loop3 /snap/core squashfs ro 0 0",
        ] {
            assert!(excluded(line), "{line}");
        }
        for line in ["/dev/sda1 / ext4 rw 0 0", "tmpfs /run tmpfs rw 0 0", "/dev/b /developer xfs rw 0 0"] {
            assert!(!excluded(line), "{line}");
        }
        assert!(Mount::parse("cut off").is_none());
    }

    #[test]
    fn escaped_mount_points_are_read_and_a_missing_one_is_an_error_of_the_device() {
        let mounts = "/dev/a /my\\040disk ext4 ro,relatime 0 0\nserver:/x /gone nfs4 rw,ro_not 0 0\n\
            /dev/a /my\\040disk ext4 ro,relatime 0 0\n";
        let (_directory, mut host) = fixture(&[("proc/mounts", mounts), ("root/my disk/file", "")]);
        let mut lines = Lines::default();
        filesystem(&mut host, &mut lines).unwrap();
        lines.has(&[
            "node_filesystem_readonly{device=\"/dev/a\",fstype=\"ext4\",mountpoint=\"/my disk\"} 1",
            "node_filesystem_device_error{device=\"/dev/a\",fstype=\"ext4\",mountpoint=\"/my disk\"} 0",
            "node_filesystem_device_error{device=\"server:/x\",fstype=\"nfs4\",mountpoint=\"/gone\"} 1",
            "node_filesystem_readonly{device=\"server:/x\",fstype=\"nfs4\",mountpoint=\"/gone\"} 0",
        ]);
        assert_eq!(lines.0.len(), 7 + 2);
        assert_eq!(unescape("a\\134b\\09\\"), "a\\b\\09\\");
    }
}
