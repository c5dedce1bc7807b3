//! Reading small kernel files, again and again, without allocating.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What a buffer starts with: every file but those of very large machines fits.
const BUFFER_BYTES: usize = 64 << 10;
/// No file we read is larger on any machine; one that is has no end.
const FILE_BYTES_MAX: usize = 8 << 20;

/// Where the kernel's files are. Others than the defaults serve a container that has the host's mounted, and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    pub proc: PathBuf,
    pub sys: PathBuf,
    /// The root of the file system, for mount points, the system's name and udev's notes.
    pub root: PathBuf,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots { proc: "/proc".into(), sys: "/sys".into(), root: "/".into() }
    }
}

/// A buffer that files are read into; it keeps its memory.
pub(super) type Buffer = Vec<u8>;

/// Opens files below the roots.
pub(super) struct Files {
    roots: Roots,
    path: PathBuf,
}

impl Files {
    pub(super) fn new(roots: Roots) -> Files {
        Files { roots, path: PathBuf::new() }
    }

    /// Reads a file of procfs, given in parts.
    pub(super) fn proc<'b>(&mut self, parts: &[&str], buffer: &'b mut Buffer) -> io::Result<&'b str> {
        join(&mut self.path, &self.roots.proc, parts);
        read(&self.path, buffer)
    }

    /// Reads a file of sysfs, given in parts.
    pub(super) fn sys<'b>(&mut self, parts: &[&str], buffer: &'b mut Buffer) -> io::Result<&'b str> {
        join(&mut self.path, &self.roots.sys, parts);
        read(&self.path, buffer)
    }

    /// Reads a file below the root, given in parts.
    pub(super) fn root<'b>(&mut self, parts: &[&str], buffer: &'b mut Buffer) -> io::Result<&'b str> {
        join(&mut self.path, &self.roots.root, parts);
        read(&self.path, buffer)
    }

    /// The names in a directory of sysfs.
    pub(super) fn sys_names(&mut self, directory: &str) -> io::Result<Vec<String>> {
        join(&mut self.path, &self.roots.sys, &[directory]);
        let entries = fs::read_dir(&self.path)?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    /// How many processes there are: directories of procfs that are numbers.
    pub(super) fn processes(&self) -> io::Result<usize> {
        let is_number = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
        let entries = fs::read_dir(&self.roots.proc)?.filter_map(Result::ok);
        Ok(entries.filter(|entry| is_number(entry.file_name().as_encoded_bytes())).count())
    }

    /// A mount point as seen from here.
    pub(super) fn mounted(&self, mount_point: &str) -> PathBuf {
        self.roots.root.join(mount_point.trim_start_matches('/'))
    }
}

fn join(path: &mut PathBuf, root: &Path, parts: &[&str]) {
    path.as_mut_os_string().clear();
    path.push(root);
    for part in parts {
        path.push(part);
    }
}

/// The text of a file. Bytes that are no UTF-8 become `?`: they stand in device names and mount points, which end up in
/// labels.
fn read<'b>(path: &Path, buffer: &'b mut Buffer) -> io::Result<&'b str> {
    let mut file = File::open(path)?;
    if buffer.is_empty() {
        buffer.resize(BUFFER_BYTES, 0);
    }
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled == buffer.len() {
            if filled >= FILE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any file of its kind"));
            }
            buffer.resize(filled * 2, 0);
        }
    }
    let bytes = &mut buffer[..filled];
    if std::str::from_utf8(bytes).is_err() {
        bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
    }
    std::str::from_utf8(bytes).map_err(io::Error::other)
}

/// The number a text begins with, after spaces; `None` where there is none.
pub(super) fn number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_size_are_read_into_the_same_buffer() {
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots { proc: directory.path().into(), ..Roots::default() };
        let mut files = Files::new(roots);
        let mut buffer = Buffer::new();
        fs::write(directory.path().join("large"), "x".repeat(BUFFER_BYTES * 3)).unwrap();
        fs::write(directory.path().join("small"), b"a\xffb").unwrap();
        assert_eq!(files.proc(&["large"], &mut buffer).unwrap().len(), BUFFER_BYTES * 3);
        assert_eq!(files.proc(&["small"], &mut buffer).unwrap(), "a?b");
        assert_eq!(files.proc(&["none", "here"], &mut buffer).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(directory.path().join("17")).unwrap();
        assert_eq!(files.processes().unwrap(), 1);
    }

    #[test]
    fn a_file_without_an_end_is_given_up() {
        let mut files = Files::new(Roots { proc: "/dev".into(), ..Roots::default() });
        let error = files.proc(&["zero"], &mut Buffer::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
