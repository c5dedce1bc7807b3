//! The maintenance thread: seals windows, drops what is past retention, gives log segments back.

use super::{
    checkpoint::Checkpoint,
    engine::Shared,
    head::{FrozenWindow, WindowUse},
    log::Position,
    options::WINDOW_MS,
    window::{WindowFile, write_window},
};
use crate::{
    model::Timestamp,
    store::{SeriesId, StoreError},
};
use parking_lot::{Condvar, Mutex};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

/// How often windows are looked at. A window may outgrow memory within seconds, never within milliseconds.
const TICK: Duration = Duration::from_secs(1);
/// How often files are checked against retention, and forgotten series against the head.
const SWEEP_TICKS: u64 = 60;
/// Small state is saved at least this often while it changes, so that a restart replays little.
const SAVE_TICKS: u64 = 300;

pub struct Maintenance {
    signal: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Maintenance {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Maintenance, StoreError> {
        let signal = Arc::new((Mutex::new(false), Condvar::new()));
        let waiter = signal.clone();
        let thread = std::thread::Builder::new()
            .name("store-maintain".to_owned())
            .spawn(move || {
                let mut keeper = Keeper { shared, forgettable: Vec::new(), ticks: 0 };
                let mut stopping = waiter.0.lock();
                while !*stopping {
                    waiter.1.wait_for(&mut stopping, TICK);
                    if !*stopping {
                        parking_lot::MutexGuard::unlocked(&mut stopping, || keeper.tick());
                    }
                }
            })
            .map_err(StoreError::io("starting the maintenance thread"))?;
        Ok(Maintenance { signal, thread: Mutex::new(Some(thread)) })
    }

    pub fn stop(&self) {
        *self.signal.0.lock() = true;
        self.signal.1.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// What the thread remembers between ticks.
struct Keeper {
    shared: Arc<Shared>,
    /// Series of sealed windows that may have nothing in memory any more.
    forgettable: Vec<SeriesId>,
    ticks: u64,
}

impl Keeper {
    fn tick(&mut self) {
        self.ticks += 1;
        let now_ms = self.shared.now_ms();
        let due = self.shared.due_windows(now_ms);
        let sealed = !due.is_empty();
        for window in due {
            match self.shared.seal(window) {
                Ok(series) => self.forgettable.extend(series),
                Err(error) => tracing::error!(window, %error, "A window could not be sealed; it stays in memory."),
            }
        }
        if sealed {
            report(self.shared.checkpoint(), "The checkpoint could not be written; the log keeps its segments.");
        }
        if self.ticks.is_multiple_of(SWEEP_TICKS) {
            self.sweep(now_ms);
        }
        if self.ticks.is_multiple_of(SAVE_TICKS) {
            report(self.shared.state.save(|| self.shared.log.end()), "The small state could not be saved.");
        }
    }

    fn sweep(&mut self, now_ms: i64) {
        self.shared.retry_sealing();
        self.shared.drop_expired(now_ms);
        let sealing = self.shared.places.read().sealing.clone();
        let candidates = std::mem::take(&mut self.forgettable);
        self.forgettable = self.shared.head.forget(&candidates, &sealing);
    }
}

fn report(result: Result<(), StoreError>, message: &'static str) {
    if let Err(error) = result {
        tracing::error!(%error, "{message}");
    }
}

impl Shared {
    /// Windows that are past and quiet, and the coldest ones while memory is short.
    fn due_windows(&self, now_ms: i64) -> Vec<Timestamp> {
        let mut windows = self.head.windows();
        let is_due = |window: &WindowUse| {
            let past = window.window.saturating_add(WINDOW_MS) <= now_ms;
            past && window.touched_ms.saturating_add(self.options.quiet_ms) <= now_ms
        };
        let mut due: Vec<Timestamp> = windows.iter().filter(|w| is_due(w)).map(|w| w.window).collect();
        windows.retain(|window| !is_due(window));
        let mut bytes: usize = windows.iter().map(|window| window.bytes).sum();
        windows.sort_by_key(|window| (window.touched_ms, window.window));
        for window in windows {
            if bytes <= self.options.head_bytes_max {
                break;
            }
            bytes -= window.bytes;
            due.push(window.window);
        }
        due
    }

    /// Seals the windows that `choose` picks, then writes a checkpoint.
    pub fn seal_where(&self, choose: impl Fn(&WindowUse) -> bool) -> Result<(), StoreError> {
        for window in self.head.windows().iter().filter(|window| choose(window)) {
            self.seal(window.window)?;
        }
        self.checkpoint()
    }

    /// Moves a window out of the head and into a file. Gives its series. On failure it stays readable in memory and
    /// is tried again later.
    pub fn seal(&self, window: Timestamp) -> Result<Vec<SeriesId>, StoreError> {
        let (frozen, through) = {
            let mut places = self.places.write();
            // Asked before the window is frozen: whatever lies before has been applied to it.
            let through = self.log.end();
            let frozen = self.head.freeze(window);
            places.sealing.push(frozen.clone());
            (frozen, through)
        };
        self.write_frozen(&frozen, through)
    }

    fn write_frozen(&self, frozen: &FrozenWindow, through: Position) -> Result<Vec<SeriesId>, StoreError> {
        let labels_of = |id| self.head.catalog.read().labels(id).cloned();
        let vfs = &self.options.vfs;
        let path = write_window(&**vfs, &self.windows_directory(), frozen, through, labels_of)?;
        let file = path.map(|path| WindowFile::open(vfs, &path)).transpose()?;
        let mut places = self.places.write();
        places.files.extend(file.map(Arc::new));
        places.sealing.retain(|other| !other.is_same(frozen));
        drop(places);
        let partitions = frozen.partitions.iter();
        Ok(partitions.flat_map(|p| p.lock().columns.iter().map(|c| c.series).collect::<Vec<_>>()).collect())
    }

    fn retry_sealing(&self) {
        let left = self.places.read().sealing.clone();
        for frozen in left {
            let needed = frozen.needed_from().unwrap_or_default();
            // Sealed through its first record only: what came later is replayed once more after a crash, harmlessly.
            if let Err(error) = self.write_frozen(&frozen, needed) {
                tracing::error!(window = frozen.window, %error, "A window can still not be sealed.");
            }
        }
    }

    pub fn windows_directory(&self) -> PathBuf {
        self.options.directory.join("windows")
    }

    /// Drops files and windows that are wholly past retention. The reference is our clock or the newest sample,
    /// whichever is older: a clock that jumps ahead deletes nothing.
    pub fn drop_expired(&self, now_ms: i64) {
        let mut places = self.places.write();
        let newest_file = places.files.iter().map(|file| file.footer.newest).max();
        let newest = self.head.bounds().map(|(_, newest)| newest).max(newest_file);
        let Some(newest) = newest else { return };
        let oldest = self.oldest(now_ms.min(newest));
        places.files.retain(|file| {
            let expired = file.footer.newest < oldest;
            if expired {
                file.dropped.store(true, Ordering::Release);
                tracing::info!(path = %file.path.display(), "A window is past its retention and goes.");
            }
            !expired
        });
    }

    /// Writes down what only memory knows, then gives up the log segments that nobody needs.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        // Asked first: a partition that is created from here on needs nothing before.
        let end = self.log.end();
        let (runs_through, mut runs) = {
            let open = self.head.open_runs();
            let runs: Vec<_> = open.iter().map(|(id, run)| (*id, *run)).collect();
            (self.log.end(), [runs, self.head.closed_runs()].concat())
        };
        let places = self.places.read();
        for partition in places.sealing.iter().flat_map(|frozen| &frozen.partitions) {
            let held = partition.lock();
            for column in &held.columns {
                let kept = column.extra.iter().flat_map(|extra| &extra.runs);
                runs.extend(kept.map(|run| (column.series, *run)));
            }
        }
        let sealing_from = places.sealing.iter().filter_map(FrozenWindow::needed_from).min();
        drop(places);
        let needed = [Some(end), self.head.needed_from(), sealing_from].into_iter().flatten().min();
        let series = self.head.catalog.read().series().map(|(id, labels)| (id, labels.clone())).collect();
        let checkpoint = Checkpoint { runs_through, series, runs };
        checkpoint.save(&*self.options.vfs, &self.options.directory)?;
        self.state.save(|| self.log.end())?;
        self.log.truncate_before(needed.unwrap_or(end))
    }
}
