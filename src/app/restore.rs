//! A data directory out of a backup: whole or not at all.

use super::directory::{DataDirectory, restoring};
use crate::store::backup::{Backup, Layout};
use anyhow::{Context, anyhow};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Makes `target`, which must be missing or empty, of an open backup. Until it is whole there is nothing under its
/// name; what a process that was killed left beside it, the next one removes.
pub fn restore(backup: &mut Backup, target: &Path, progress: &mut dyn FnMut(u64, u64) -> bool) -> anyhow::Result<()> {
    let target = place(target)?;
    let unfinished = restoring(&target).ok_or_else(|| anyhow!("{} is no name for a directory", target.display()))?;
    // Locked, so that a second restore does not take it for left over.
    let held = DataDirectory::open(&unfinished).context("another restore may be running")?;
    let made = clear(&unfinished).context("what an earlier restore left cannot be removed").and_then(|()| {
        let mut layout = Layout::new(&unfinished)?;
        backup.read(&mut layout, progress)?;
        layout.finish()?;
        std::fs::rename(&unfinished, &target).map_err(|cause| not_replaced(&target, cause))
    });
    if let Err(error) = made {
        // What stays takes space, and the next restore removes it.
        let _ = std::fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    drop(held);
    let parent = target.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|open| open.sync_all()).context("the directory's name cannot be synced")
}

/// The absolute path of a directory that may be made.
fn place(target: &Path) -> anyhow::Result<PathBuf> {
    let shown = target.display();
    match std::fs::read_dir(target) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(anyhow!("{shown} is not empty; name a directory that is missing or empty with --data-dir"));
            }
            Ok(target.canonicalize()?)
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && target.symlink_metadata().is_err() => {
            let name = target.file_name().ok_or_else(|| anyhow!("{shown} is no name for a directory"))?;
            let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
            Ok(parent.canonicalize()?.join(name))
        }
        Err(cause) => Err(anyhow::Error::new(cause).context(format!("{shown} cannot become a data directory"))),
    }
}

fn clear(unfinished: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(unfinished)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != super::directory::LOCK_FILE {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn not_replaced(target: &Path, cause: io::Error) -> anyhow::Error {
    let shown = target.display();
    match cause.kind() {
        io::ErrorKind::ResourceBusy => anyhow!(
            "{shown} is where a disk is mounted and cannot be replaced; restore into a directory below it, such as \
             {shown}/data"
        ),
        io::ErrorKind::DirectoryNotEmpty => anyhow!("{shown} is not empty any more; nothing was changed in it"),
        _ => anyhow::Error::new(cause).context(format!("{shown} cannot get its name")),
    }
}
