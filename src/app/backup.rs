//! Backups that are made by themselves: into a directory, every so often, the oldest making room.

use crate::{
    config::Backup,
    jobs::{JobHandle, Jobs, WorkError},
    stdx::{
        clock::Clock,
        new_file::{NewFile, remove_left_over},
    },
    store::{
        backup::{Part, SnapshotSource, file_bytes, part_name, stamp, write},
        tsdb::Tsdb,
    },
    telemetry::Metrics,
};
use anyhow::{Context, anyhow};
use prometheus::{IntCounter, IntGauge};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use time::{Date, PrimitiveDateTime, Time};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "observatory-";
const ENDING: &str = ".backup";
/// The clock is looked at this often: it may be set, or the machine may sleep.
const LOOK: Duration = Duration::from_secs(60);
/// After a failure it is tried again this soon, or after the interval where that is shorter.
const RETRY_MS: i64 = 10 * 60_000;
/// So much of the disk stays free beside the backup: others may need it.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// What the outside may watch.
#[derive(Clone)]
pub struct BackupMetrics {
    success_seconds: IntGauge,
    bytes: IntGauge,
    failures: IntCounter,
}

impl BackupMetrics {
    pub fn new(metrics: &Metrics) -> BackupMetrics {
        let gauge = |name, help| metrics.gauge(name, help);
        BackupMetrics {
            success_seconds: gauge(
                "observatory_backup_last_success_timestamp_seconds",
                "When the newest scheduled backup was begun; 0 where there is none.",
            ),
            bytes: gauge("observatory_backup_last_size_bytes", "Size of the newest scheduled backup."),
            failures: metrics.counter("observatory_backup_failures_total", "Scheduled backups that failed."),
        }
    }
}

/// Gives the text that a backup holds of the config.
type ConfigText = Arc<dyn Fn() -> String + Send + Sync>;

/// The task that makes them. It ends with the process.
pub struct Backups(watch::Sender<Option<Backup>>);

impl Backups {
    pub fn start(
        (store, jobs, clock): (Arc<Tsdb>, Jobs, Arc<dyn Clock>),
        config_text: ConfigText,
        metrics: BackupMetrics,
        stop: CancellationToken,
    ) -> Backups {
        let (sender, settings) = watch::channel(None);
        let keeper = Keeper { store, jobs, clock, config_text, metrics };
        tokio::spawn(async move {
            let _ = stop.run_until_cancelled(keeper.live(settings)).await;
        });
        Backups(sender)
    }

    /// From now on so, or not at all. One that runs is not disturbed.
    pub fn apply(&self, settings: Option<Backup>) {
        self.0.send_if_modified(|held| {
            let changed = *held != settings;
            *held = settings;
            changed
        });
    }
}

struct Keeper {
    store: Arc<Tsdb>,
    jobs: Jobs,
    clock: Arc<dyn Clock>,
    config_text: ConfigText,
    metrics: BackupMetrics,
}

impl Keeper {
    async fn live(self, mut settings: watch::Receiver<Option<Backup>>) {
        let mut failed_ms = None;
        let mut cleared = None;
        loop {
            let asked = settings.borrow_and_update().clone();
            let wait = match &asked {
                None => LOOK,
                Some(asked) => {
                    if cleared.as_ref() != Some(&asked.directory) {
                        (cleared, failed_ms) = (Some(asked.directory.clone()), None);
                        self.find_earlier(&asked.directory);
                    }
                    let now_ms = self.clock.now_ms();
                    let wait_ms = due_ms(asked, failed_ms, now_ms).saturating_sub(now_ms);
                    Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).min(LOOK)
                }
            };
            if let (Some(asked), true) = (asked, wait.is_zero()) {
                failed_ms = self.make_one(asked).await.err().map(|()| self.clock.now_ms());
                continue;
            }
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// What was there before this process: its unfinished ones go, its newest is the last success.
    fn find_earlier(&self, directory: &Path) {
        remove_left_over(directory);
        if let Some((name, at_ms)) = finished(directory).pop() {
            self.metrics.success_seconds.set(at_ms / 1000);
            let bytes = std::fs::metadata(directory.join(name)).map_or(0, |found| found.len());
            self.metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Makes one as a job and waits for it.
    async fn make_one(&self, asked: Backup) -> Result<(), ()> {
        let (sender, answer) = oneshot::channel();
        let (store, metrics, jobs) = (self.store.clone(), self.metrics.clone(), self.jobs.clone());
        let config_text = self.config_text.clone();
        let title = format!("Backup into {}", asked.directory.display());
        let work = Box::new(move |handle: &JobHandle| {
            let made = make(&store, &asked, &config_text(), handle);
            let result = match &made {
                Ok((path, taken_ms, bytes)) => {
                    metrics.success_seconds.set(taken_ms / 1000);
                    metrics.bytes.set(i64::try_from(*bytes).unwrap_or(i64::MAX));
                    handle.message(format!("wrote {}", path.display()));
                    tracing::info!(path = %path.display(), bytes, "A backup was written.");
                    Ok(())
                }
                Err(_) if handle.is_cancelled() => Err(()),
                Err(error) => {
                    metrics.failures.inc();
                    tracing::error!("A backup could not be written; it is tried again: {error:#}");
                    Err(())
                }
            };
            // The process may be stopping.
            let _ = sender.send(result);
            made.map(drop).map_err(|error| WorkError::from(format!("{error:#}")))
        });
        let started = tokio::task::spawn_blocking(move || jobs.start("backup", &title, Vec::new(), work)).await;
        let problem = match started {
            Ok(Ok(_)) => return answer.await.unwrap_or(Err(())),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.metrics.failures.inc();
        tracing::error!("A backup could not be begun; it is tried again: {problem}");
        Err(())
    }
}

/// When the next one is to be made.
fn due_ms(asked: &Backup, failed_ms: Option<i64>, now_ms: i64) -> i64 {
    // One from the future says only that a clock was wrong.
    let newest = finished(&asked.directory).into_iter().map(|(_, at_ms)| at_ms).filter(|at_ms| *at_ms <= now_ms).max();
    let due = newest.map_or(now_ms, |at_ms| at_ms.saturating_add(asked.interval_ms));
    let retry = failed_ms.map(|at_ms| at_ms.saturating_add(asked.interval_ms.min(RETRY_MS)));
    retry.map_or(due, |retry| due.max(retry))
}

/// Writes one and removes those beyond what is kept. Gives its path, its moment and its bytes.
fn make(store: &Tsdb, asked: &Backup, config_text: &str, handle: &JobHandle) -> anyhow::Result<(PathBuf, i64, u64)> {
    // Whoever waits for an answer goes first.
    let _ = rustix::process::nice(10);
    let directory = &asked.directory;
    if !directory.is_dir() {
        // Its own name only: what should be a mounted disk is not made on the one below.
        std::fs::create_dir(directory)
            .with_context(|| format!("the directory {} cannot be made", directory.display()))?;
    }
    let mut snapshot = store.snapshot()?;
    if !config_text.is_empty() {
        snapshot.parts.insert(0, Part::of_bytes(part_name::CONFIG, config_text.as_bytes().to_vec()));
    }
    let bytes = file_bytes(&snapshot);
    let disk = rustix::fs::statvfs(directory).context("the free space of the disk cannot be read")?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < bytes.saturating_add(FREE_BYTES_MIN) {
        return Err(anyhow!(
            "{} has {free} bytes free; the backup takes {bytes}, and {FREE_BYTES_MIN} have to stay free: make room, or \
             keep fewer (backup.keep)",
            directory.display()
        ));
    }
    let taken_ms = snapshot.taken_ms;
    let path = directory.join(format!("{PREFIX}{}{ENDING}", stamp(taken_ms)));
    let mut file = NewFile::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    write(snapshot, &mut file, &mut |done, total| {
        handle.progress(done, total, "bytes");
        !handle.is_cancelled()
    })?;
    file.finish().with_context(|| format!("{} cannot be finished", path.display()))?;
    rotate(directory, asked.keep, &path);
    Ok((path, taken_ms, bytes))
}

/// Removes the oldest beyond `keep`, never `newest`.
fn rotate(directory: &Path, keep: usize, newest: &Path) {
    let found = finished(directory);
    let surplus = found.len().saturating_sub(keep);
    for (name, _) in found.into_iter().take(surplus) {
        let path = directory.join(name);
        if path != newest
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "An old backup could not be removed.");
        }
    }
}

/// The finished ones with their moments, oldest first.
fn finished(directory: &Path) -> Vec<(String, i64)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<(String, i64)> = names.filter_map(|name| moment_of(&name).map(|at_ms| (name, at_ms))).collect();
    found.sort_by_key(|(_, at_ms)| *at_ms);
    found
}

/// Of a name as we give it: `observatory-20261120T155146Z.backup`.
fn moment_of(name: &str) -> Option<i64> {
    let text = name.strip_prefix(PREFIX)?.strip_suffix(ENDING)?.strip_suffix('Z')?;
    let (date, clock) = text.split_once('T')?;
    if date.len() != 8 || clock.len() != 6 || !text.is_ascii() {
        return None;
    }
    let part = |text: &str, at: std::ops::Range<usize>| text.get(at)?.parse::<u8>().ok();
    let month = time::Month::try_from(part(date, 4..6)?).ok()?;
    let date = Date::from_calendar_date(date.get(..4)?.parse().ok()?, month, part(date, 6..8)?).ok()?;
    let time = Time::from_hms(part(clock, 0..2)?, part(clock, 2..4)?, part(clock, 4..6)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp().saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_189_906_000;

    fn asked(directory: &Path) -> Backup {
        Backup { directory: directory.to_owned(), interval_ms: 3_600_000, keep: 2 }
    }

    fn put(directory: &Path, at_ms: i64) -> PathBuf {
        let path = directory.join(format!("{PREFIX}{}{ENDING}", stamp(at_ms)));
        std::fs::write(&path, "x").unwrap();
        path
    }

    #[test]
    fn the_names_of_backups_tell_their_moment_and_only_ours_are_touched() {
        assert_eq!(moment_of("observatory-20261120T155146Z.backup"), Some(NOW));
        for name in ["observatory-x.backup", "other-20261120T155146Z.backup", "observatory-20261320T155146Z.backup", ""]
        {
            assert_eq!(moment_of(name), None, "{name}");
        }
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..5).map(|hours| put(directory.path(), NOW + hours * 3_600_000)).collect();
        let foreign = directory.path().join("observatory-mine.backup");
        std::fs::write(&foreign, "x").unwrap();
        rotate(directory.path(), 2, &paths[4]);
        let left: Vec<bool> = paths.iter().map(|path| path.exists()).collect();
        assert_eq!(left, [false, false, false, true, true]);
        assert!(foreign.exists());
        rotate(directory.path(), 1, &paths[3]);
        assert!(paths[3].exists(), "the one just written stays, whatever the clock said before");
    }

    #[test]
    fn the_next_one_is_due_an_interval_after_the_last_and_soon_after_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let asked = asked(directory.path());
        assert_eq!(due_ms(&asked, None, NOW), NOW, "there is none");
        put(directory.path(), NOW - 600_000);
        assert_eq!(due_ms(&asked, None, NOW), NOW + 3_000_000);
        put(directory.path(), NOW + 900_000);
        assert_eq!(due_ms(&asked, None, NOW), NOW + 3_000_000, "one of the future says nothing");
        let late = tempfile::tempdir().unwrap();
        let asked = Backup { directory: late.path().to_owned(), ..asked };
        put(late.path(), NOW - 7_200_000);
        assert_eq!((due_ms(&asked, None, NOW), due_ms(&asked, Some(NOW), NOW)), (NOW - 3_600_000, NOW + 600_000));
    }
}
