//! How much memory this process has, and how much it may have.

use std::{fs, path::Path};

/// Memory of our own that the kernel cannot take back: heap and stacks, as it counts them before it kills somebody.
/// Files that are mapped do not count. `None` where the kernel does not say.
pub fn used_bytes() -> Option<u64> {
    parse_kib(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// What the machine has, or this process' control group may have, whichever is less. `None` where neither is known.
pub fn machine_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_kib(&text, "MemTotal:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    machine.into_iter().chain(group_bytes(&groups, Path::new("/sys/fs/cgroup"))).min()
}

fn parse_kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the group that `groups` (`/proc/self/cgroup`) names and of those above it, in either version of
/// control groups.
fn group_bytes(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        // In a container the path may be the one outside; then only the top is there.
        let below = Path::new(path.trim_start_matches('/'));
        below.ancestors().filter_map(|group| limit_in(&top.join(group).join(file))).min()
    });
    limits.min()
}

fn limit_in(file: &Path) -> Option<u64> {
    // `max` is no number, and the first version writes one that no machine has.
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_machine_are_known() {
        let (used, machine) = (used_bytes().unwrap(), machine_bytes().unwrap());
        assert!((1 << 18..machine).contains(&used), "{used} of {machine}");
    }

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        write("memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/memory.limit_in_bytes", "5000\n");
        assert_eq!(group_bytes("0::/a/b\n", root.path()), Some(1000));
        assert_eq!(group_bytes("0::/elsewhere\n", root.path()), None);
        assert_eq!(group_bytes("7:cpu,cpuacct:/a\n4:memory:/x\n", root.path()), Some(5000));
        assert_eq!(group_bytes("", root.path()), None);
    }
}
