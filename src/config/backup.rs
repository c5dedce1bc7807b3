//! Backups that are made by themselves.

use super::{
    problem::Problems,
    raw::{Located, RawBackup},
};
use crate::model::time::format_duration_ms;
use std::path::{Path, PathBuf};

const DAY_MS: i64 = 24 * 3_600_000;
/// Every backup reads and writes everything there is.
const INTERVAL_MS_BOUNDS: (i64, i64) = (60_000, 365 * DAY_MS);
/// A week of days.
const KEEP_DEFAULT: u64 = 7;
const KEEP_MAX: u64 = 10_000;

/// Where backups go, how often, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    pub directory: PathBuf,
    pub interval_ms: i64,
    pub keep: usize,
}

/// `None` where none are asked for.
pub fn resolve(raw: Option<Located<RawBackup>>, base: &Path, problems: &mut Problems) -> Option<Backup> {
    let raw = raw?;
    let Some(directory) = raw.value.directory else {
        let hint = "add `directory:`; another disk than that of the data is best";
        problems.error_with_hint("backup", raw.line, "has no directory", hint);
        return None;
    };
    if directory.value.is_empty() {
        problems.error("backup.directory", directory.line, "must not be empty");
    }
    let interval_ms = raw.value.interval_ms.as_ref().map_or(DAY_MS, |found| found.value);
    if let Some(found) =
        raw.value.interval_ms.filter(|found| found.value < INTERVAL_MS_BOUNDS.0 || found.value > INTERVAL_MS_BOUNDS.1)
    {
        let [least, most] = [INTERVAL_MS_BOUNDS.0, INTERVAL_MS_BOUNDS.1].map(format_duration_ms);
        problems.error("backup.interval", found.line, format!("must be between {least} and {most}"));
    }
    let keep = raw.value.keep.as_ref().map_or(KEEP_DEFAULT, |found| found.value);
    if let Some(found) = raw.value.keep.filter(|found| !(1..=KEEP_MAX).contains(&found.value)) {
        problems.error("backup.keep", found.line, format!("must be between 1 and {KEEP_MAX}"));
    }
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    Some(Backup { directory: base.join(directory.value), interval_ms, keep })
}
