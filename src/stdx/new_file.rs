//! A file that appears under its name when it is whole.

use rustix::fs::{FlockOperation, flock};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What stands behind the name until it is whole: ours, so that what is left of a killed process can be told from the
/// files of others.
const UNFINISHED: &str = ".observatory-part";
/// Written bytes are synced this often, so that others who sync do not wait for all of them.
const SYNC_BYTES: u64 = 4 << 20;

/// A file being written beside its place. Dropped before [`NewFile::finish`], nothing is left of it; a process that is
/// killed leaves `<name>.observatory-part`, which the next one to write the same name writes over, and
/// [`remove_left_over`] removes.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once it has its name.
    file: Option<File>,
    unsynced: u64,
}

impl NewFile {
    /// Fails with `AlreadyExists` where something has the name, with `WouldBlock` where another process writes it.
    pub fn create(path: &Path) -> io::Result<NewFile> {
        let mut temporary = OsString::from(path);
        temporary.push(UNFINISHED);
        let temporary = PathBuf::from(temporary);
        let taken = || path.symlink_metadata().is_ok();
        while !taken() {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&temporary)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // Before it was locked, whoever held it may have given it its name: what is whole is not ours to empty.
            if !is_at(&file, &temporary) {
                continue;
            }
            file.set_len(0)?;
            let file = NewFile { path: path.to_owned(), temporary, file: Some(file), unsynced: 0 };
            // Only who holds it gives the name: what has not come by now does not come any more.
            return if taken() { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(file) };
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is until it is finished.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Makes it durable and gives it its name.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        std::fs::rename(&self.temporary, &self.path)?;
        self.file = None;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Whether `path` is still a name of the open `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let found = file.metadata().and_then(|opened| Ok((opened, path.metadata()?)));
    found.is_ok_and(|(opened, named)| (opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

/// Removes what processes that were killed left in `directory`; files that are being written stay.
pub fn remove_left_over(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.to_string_lossy().ends_with(UNFINISHED)
            && let Ok(file) = OpenOptions::new().write(true).open(&path)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && is_at(&file, &path)
        {
            // What cannot be removed takes space and harms nobody.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let written = file.write(bytes)?;
        self.unsynced += written as u64;
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // What stays takes space and is written over by the next.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        assert_eq!(NewFile::create(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        std::fs::write(directory.path().join("a.observatory-part"), "left by a process that was killed").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(NewFile::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_left_over_is_removed_and_what_is_written_or_of_others_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut written = NewFile::create(&directory.path().join("a")).unwrap();
        for name in ["b.observatory-part", "c.part", "d"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        remove_left_over(directory.path());
        let mut names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.observatory-part", "c.part", "d"]);
        written.write_all(b"whole").unwrap();
        written.finish().unwrap();
        assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"whole");
    }

    #[test]
    fn a_file_that_gets_its_name_while_another_waits_for_it_is_not_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(mut file) = NewFile::create(&path) {
                            file.write_all(b"whole").unwrap();
                            file.finish().unwrap();
                            assert_eq!(std::fs::read(&path).unwrap(), b"whole");
                            std::thread::yield_now();
                            assert_eq!(std::fs::read(&path).unwrap(), b"whole");
                            std::fs::remove_file(&path).unwrap();
                        }
                    }
                });
            }
        });
    }
}
