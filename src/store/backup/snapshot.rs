//! A snapshot as a data directory beside the blocks, as Prometheus makes them.

use super::{BackupError, Layout, SnapshotSource, part_name};
use std::{fs::File, path::Path};
use time::OffsetDateTime;

const DIRECTORY: &str = "snapshots";
const UNFINISHED: &str = ".unfinished";

/// Writes `snapshots/<name>` below the store's directory and gives the name. Blocks are linked, not copied. With
/// `skip_head` only what is in blocks is in it, and the small state.
pub fn snapshot_directory(store: &dyn SnapshotSource, skip_head: bool) -> Result<String, BackupError> {
    let snapshot = store.snapshot()?;
    let random = getrandom::u64().map_err(|cause| BackupError::Write(std::io::Error::other(cause)))?;
    let name = format!("{}-{random:016x}", stamp(snapshot.taken_ms));
    let all = store.directory().join(DIRECTORY);
    let unfinished = all.join(format!("{name}{UNFINISHED}"));
    let make = || {
        let mut layout = Layout::new(&unfinished)?;
        for part in snapshot.parts {
            if !skip_head || is_without_head(&part.name) {
                layout.add(part)?;
            }
        }
        // What makes it a data directory to those who look.
        File::create(unfinished.join("lock")).map_err(BackupError::Write)?;
        layout.finish()?;
        std::fs::rename(&unfinished, all.join(&name))
            .and_then(|()| File::open(&all)?.sync_all())
            .map_err(BackupError::Write)
    };
    let made = make();
    if made.is_err() {
        // What is left would only take space.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    made.map(|()| name)
}

fn is_without_head(name: &str) -> bool {
    name == part_name::STATE
        || [part_name::BLOCKS, part_name::TIERS, part_name::KEPT].iter().any(|place| name.starts_with(place))
}

/// Removes what a process that was killed left of a snapshot; called before any is made.
pub fn clear_left_overs(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory.join(DIRECTORY)) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
            // What cannot be removed now takes space and harms nobody.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A moment as file names have it: `20261120T155146Z`.
pub fn stamp(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = at.to_calendar_date();
    format!("{year:04}{:02}{day:02}T{:02}{:02}{:02}Z", u8::from(month), at.hour(), at.minute(), at.second())
}
