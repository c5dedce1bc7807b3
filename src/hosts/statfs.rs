//! The space of a mounted file system, asked for on a thread that may be left behind: a share whose server is gone
//! blocks whoever asks, for ever.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::Duration,
};

/// How long an answer may take. A disk that sleeps takes several seconds to wake, and is asked again next time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Threads left behind at the same time, each waiting in the kernel for one mount. With so many dead shares, nothing
/// more is asked until one of them answers.
const STUCK_MAX: usize = 16;

/// Bytes and inodes of a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Space {
    pub(super) size: f64,
    pub(super) free: f64,
    /// Free for users without privileges.
    pub(super) available: f64,
    pub(super) files: f64,
    pub(super) files_free: f64,
}

type Ask = fn(&Path) -> io::Result<Space>;

/// Asks, and remembers who did not answer.
pub(super) struct Prober {
    ask: Ask,
    patience: Duration,
    worker: Option<Worker>,
    stuck: Vec<(PathBuf, Worker)>,
}

struct Worker {
    requests: SyncSender<PathBuf>,
    answers: Receiver<io::Result<Space>>,
}

impl Default for Prober {
    fn default() -> Prober {
        Prober { ask: statvfs, patience: PATIENCE, worker: None, stuck: Vec::new() }
    }
}

impl Prober {
    /// The space of what is mounted at `path`; `None` where there is no answer, now or for longer.
    pub(super) fn space(&mut self, path: PathBuf) -> Option<Space> {
        // A thread that came back ends with its channel.
        self.stuck.retain(|(_, worker)| worker.answers.try_recv().is_err());
        if self.stuck.len() >= STUCK_MAX || self.stuck.iter().any(|(stuck, _)| *stuck == path) {
            return None;
        }
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.ask).ok()?,
        };
        worker.requests.send(path.clone()).ok()?;
        match worker.answers.recv_timeout(self.patience) {
            Ok(answer) => {
                self.worker = Some(worker);
                answer.ok()
            }
            Err(_) => {
                tracing::warn!(hosts.mount = %path.display(), "The file system at {} does not answer.", path.display());
                self.stuck.push((path, worker));
                None
            }
        }
    }
}

impl Worker {
    fn start(ask: Ask) -> io::Result<Worker> {
        let (requests, asked) = sync_channel::<PathBuf>(1);
        let (answered, answers) = sync_channel(1);
        std::thread::Builder::new().name("hosts-statfs".to_owned()).spawn(move || {
            while let Ok(path) = asked.recv() {
                if answered.send(ask(&path)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Worker { requests, answers })
    }
}

fn statvfs(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks as f64 * found.f_frsize as f64;
    Ok(Space {
        size: bytes(found.f_blocks),
        free: bytes(found.f_bfree),
        available: bytes(found.f_bavail),
        files: found.f_files as f64,
        files_free: found.f_ffree as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_space_and_nowhere_has_none() {
        let mut prober = Prober::default();
        let space = prober.space("/".into()).unwrap();
        assert!(space.size >= space.free && space.free >= space.available && space.size > 0.0, "{space:?}");
        assert_eq!(prober.space("/no/such/place".into()), None);
        assert!(prober.worker.is_some() && prober.stuck.is_empty());
    }

    #[test]
    fn a_mount_that_hangs_is_left_alone_until_it_answers() {
        fn ask(path: &Path) -> io::Result<Space> {
            if path.ends_with("slow") {
                std::thread::sleep(Duration::from_millis(300));
            }
            Ok(Space { size: 1.0, ..Space::default() })
        }
        let mut prober = Prober { ask, patience: Duration::from_millis(50), ..Prober::default() };
        assert_eq!(prober.space("/slow".into()), None);
        let began = std::time::Instant::now();
        assert_eq!(prober.space("/slow".into()), None);
        assert!(began.elapsed() < Duration::from_millis(40), "it is not asked again meanwhile");
        assert!(prober.space("/fast".into()).is_some());
        std::thread::sleep(Duration::from_millis(400));
        assert!(prober.space("/fast".into()).is_some());
        assert!(prober.stuck.is_empty());
    }
}
