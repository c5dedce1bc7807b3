//! The data directory: there, writable, and ours alone.

use anyhow::{Context, anyhow};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Holds the process id of whoever has the directory, for people; what counts is the lock on it.
pub(super) const LOCK_FILE: &str = "lock";

/// What stands behind the name of a directory that is being restored.
const RESTORING: &str = ".restoring";

/// A data directory that no other process has; it is given back when dropped, also by a crash.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    was_new: bool,
    #[allow(dead_code, reason = "the lock lasts as long as the file is open")]
    lock: File,
}

impl DataDirectory {
    /// Creates the directory where it is missing, and locks it. Refuses to make one in the place of a restore that has
    /// not ended: an empty one would be taken for the restored one, and be in the way of it.
    pub fn open(path: &Path) -> anyhow::Result<DataDirectory> {
        let was_new = !DataDirectory::is_one(path);
        if let (true, Some(unfinished)) = (was_new, restoring(path).filter(|unfinished| unfinished.is_dir())) {
            return Err(anyhow!(
                "{} is not restored yet: a restore runs, or was interrupted; run `observatory restore` again with the \
                 same --data-dir, or remove {} to begin with nothing",
                path.display(),
                unfinished.display()
            ));
        }
        let advice = "choose another one with --data, or make it writable for this user";
        std::fs::create_dir_all(path)
            .with_context(|| format!("the data directory {} cannot be created; {advice}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("the data directory {} cannot be reached; {advice}", path.display()))?;
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join(LOCK_FILE));
        let mut lock =
            lock.with_context(|| format!("the data directory {} cannot be written to; {advice}", path.display()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The number is a courtesy.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                return Err(anyhow!(
                    "the data directory {} is in use by another observatory{who}; stop that one, or choose another \
                     directory with --data",
                    path.display()
                ));
            }
            Err(cause) => {
                let place = path.display();
                return Err(anyhow::Error::new(cause).context(format!("the data directory {place} cannot be locked")));
            }
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .with_context(|| format!("the data directory {} cannot be written to; {advice}", path.display()))?;
        Ok(DataDirectory { path, was_new, lock })
    }

    /// Whether a server kept its data in `path`.
    pub fn is_one(path: &Path) -> bool {
        path.join(LOCK_FILE).is_file()
    }

    /// Absolute, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing was there before.
    pub fn was_new(&self) -> bool {
        self.was_new
    }
}

/// Where a restore makes `path` until it is whole; `None` where `path` is no name for a directory.
pub(super) fn restoring(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().or_else(|_| std::path::absolute(path)).ok()?;
    let mut name = path.file_name()?.to_owned();
    name.push(RESTORING);
    Some(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_directory_is_made_in_the_place_of_one_that_is_not_restored_yet() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let held = DataDirectory::open(&path).unwrap();
        drop(held);
        std::fs::create_dir(parent.path().join("data.restoring")).unwrap();
        assert!(DataDirectory::open(&path).is_ok(), "what has data already is not asked");
        std::fs::remove_dir_all(&path).unwrap();
        for path in [path.clone(), parent.path().join("data/")] {
            let message = format!("{:#}", DataDirectory::open(&path).unwrap_err());
            assert!(message.contains("observatory restore") && message.contains("data.restoring"), "{message}");
            assert!(!path.exists());
        }
        std::fs::remove_dir(parent.path().join("data.restoring")).unwrap();
        assert!(DataDirectory::open(&path).unwrap().was_new());
    }

    #[test]
    fn a_directory_is_made_and_held_by_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let held = DataDirectory::open(&path).unwrap();
        assert!(held.was_new() && held.path().is_absolute());
        let message = format!("{:#}", DataDirectory::open(&path).unwrap_err());
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(message.contains("--data"), "{message}");
        drop(held);
        assert!(!DataDirectory::open(&path).unwrap().was_new());
    }

    #[test]
    fn what_cannot_be_a_directory_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("taken");
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let message = format!("{:#}", DataDirectory::open(&path).unwrap_err());
            assert!(message.contains("taken") && message.contains("--data"), "{message}");
        }
    }
}
