//! The system as a whole: its name and release, processes, open files, randomness.

use super::{collector::Host, collector::malformed, files::number, sink::Sink};
use crate::ingest::Family;
use std::io;

const UNAME: Family<'_> = Family::gauge("node_uname_info", "The kernel's name, release and host; always 1.");
const OS: Family<'_> = Family::gauge("node_os_info", "The distribution, as /etc/os-release says; always 1.");
const OS_VERSION: Family<'_> = Family::gauge("node_os_version", "The distribution's version, major.minor.");
const OS_LABELS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];
const ALLOCATED: Family<'_> = Family::gauge("node_filefd_allocated", "File descriptors in use on the whole host.");
const MAXIMUM: Family<'_> = Family::gauge("node_filefd_maximum", "File descriptors the host can have in use.");
const PIDS: Family<'_> = Family::gauge("node_processes_pids", "Processes.");
const THREADS: Family<'_> = Family::gauge("node_processes_threads", "Threads of all processes.");
/// Files of `/proc/sys/kernel` that are one number.
const ENTROPY: [(&str, Family<'_>); 2] = [
    ("random/entropy_avail", Family::gauge("node_entropy_available_bits", "Bits of randomness at hand.")),
    ("random/poolsize", Family::gauge("node_entropy_pool_size_bits", "Bits of randomness there is room for.")),
];
const PROCESS_LIMITS: [(&str, Family<'_>); 2] = [
    ("threads-max", Family::gauge("node_processes_max_threads", "Threads the host can have.")),
    ("pid_max", Family::gauge("node_processes_max_processes", "Processes the host can have.")),
];

/// Collects the kernel's name and release.
pub(super) fn uname(_: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let (sysname, release, version) = (text(name.sysname()), text(name.release()), text(name.version()));
    let (machine, nodename, domainname) = (text(name.machine()), text(name.nodename()), text(domain(&name)));
    let labels: [(&str, &str); 6] = [
        ("sysname", &sysname),
        ("release", &release),
        ("version", &version),
        ("machine", &machine),
        ("nodename", &nodename),
        ("domainname", &domainname),
    ];
    sink.sample(&UNAME, &labels, 1.0);
    Ok(())
}

/// The domain of NIS, which only Linux tells.
fn domain(name: &rustix::system::Uname) -> &std::ffi::CStr {
    #[cfg(target_os = "linux")]
    return name.domainname();
    #[cfg(not(target_os = "linux"))]
    return (name, c"").1;
}

/// Collects the distribution's name and version.
pub(super) fn os(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let path = ["etc/os-release", "usr/lib/os-release"];
    let own = host.files.root(&path[..1], &mut host.text).is_err();
    let text = host.files.root(if own { &path[1..] } else { &path[..1] }, &mut host.text)?;
    let mut labels = OS_LABELS.map(|label| (label, ""));
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        if let Some(slot) = labels.iter_mut().find(|(label, _)| label.eq_ignore_ascii_case(key.trim())) {
            slot.1 = quoted.unwrap_or(value);
        }
    }
    sink.sample(&OS, &labels, 1.0);
    let value = |name: &str| labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| *value);
    // Only the first two parts make a number.
    let version = value("version_id");
    let end = version.match_indices('.').nth(1).map_or(version.len(), |(at, _)| at);
    if let Ok(number) = version[..end].parse() {
        let labels = [("id", value("id")), ("id_like", value("id_like")), ("name", value("name"))];
        sink.sample(&OS_VERSION, &labels, number);
    }
    Ok(())
}

/// Collects open files.
pub(super) fn filefd(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["sys/fs/file-nr"], &mut host.text)?;
    let mut columns = text.split_ascii_whitespace().map(number);
    // The column between has been 0 since Linux 2.6.
    let (Some(Some(allocated)), _, Some(Some(maximum))) = (columns.next(), columns.next(), columns.next()) else {
        return Err(malformed("/proc/sys/fs/file-nr"));
    };
    sink.sample(&ALLOCATED, &[], allocated);
    sink.sample(&MAXIMUM, &[], maximum);
    Ok(())
}

/// Collects the kernel's randomness.
pub(super) fn entropy(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    kernel_numbers(host, &ENTROPY, sink)
}

/// Collects how many processes and threads there are, without opening a file of each.
pub(super) fn processes(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    sink.sample(&PIDS, &[], host.files.processes()? as f64);
    // `running/all` of the load average counts threads.
    let text = host.files.proc(&["loadavg"], &mut host.text)?;
    let threads = text.split_ascii_whitespace().nth(3).and_then(|column| number(column.split_once('/')?.1));
    sink.sample(&THREADS, &[], threads.ok_or_else(|| malformed("/proc/loadavg"))?);
    kernel_numbers(host, &PROCESS_LIMITS, sink)
}

fn kernel_numbers(host: &mut Host, files: &[(&str, Family<'_>)], sink: &mut dyn Sink) -> io::Result<()> {
    for (file, family) in files {
        let text = host.files.proc(&["sys/kernel", file], &mut host.text)?;
        sink.sample(family, &[], number(text).ok_or_else(|| malformed(file))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    #[test]
    fn the_distribution_is_read_with_and_without_quotes() {
        let text =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID='12.5.1'\nHOME_URL=\"x\"\n#\n";
        let (_directory, mut host) = fixture(&[("root/usr/lib/os-release", text)]);
        let mut lines = Lines::default();
        os(&mut host, &mut lines).unwrap();
        assert_eq!(
            lines.0,
            [
                "node_os_info{id=\"debian\",pretty_name=\"Debian GNU/Linux 12 (bookworm)\",version_id=\"12.5.1\"} 1",
                "node_os_version{id=\"debian\"} 12.5",
            ]
        );
    }

    #[test]
    fn files_processes_and_randomness_are_counted() {
        let (_directory, mut host) = fixture(&[
            ("proc/sys/fs/file-nr", "1331\t0\t2466177\n"),
            ("proc/loadavg", "4.39 4.07 3.01 6/161 9622\n"),
            ("proc/sys/kernel/threads-max", "385533\n"),
            ("proc/sys/kernel/pid_max", "4194304\n"),
            ("proc/sys/kernel/random/entropy_avail", "256\n"),
            ("proc/1/stat", ""),
            ("proc/17/stat", ""),
        ]);
        let mut lines = Lines::default();
        filefd(&mut host, &mut lines).unwrap();
        processes(&mut host, &mut lines).unwrap();
        assert!(entropy(&mut host, &mut lines).is_err(), "the size of the pool is missing");
        assert_eq!(
            lines.0,
            [
                "node_filefd_allocated 1331",
                "node_filefd_maximum 2466177",
                "node_processes_pids 2",
                "node_processes_threads 161",
                "node_processes_max_threads 385533",
                "node_processes_max_processes 4194304",
                "node_entropy_available_bits 256",
            ]
        );
    }
}
