//! The threads that answer questions: a fixed number, which stand back where samples want the processor.

use super::error::{ApiError, ErrorKind};
use axum::response::Response;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};
use tokio::sync::oneshot;

/// Work, and where its answer goes.
type Task = Box<dyn FnOnce() + Send>;

/// As many as may be admitted at once, so that what was admitted never waits here.
pub struct Readers {
    tasks: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts `count` threads, or as many as the machine gives.
    pub fn start(count: usize) -> Readers {
        let (tasks, waiting) = channel::<Task>();
        let waiting = Arc::new(parking_lot::Mutex::new(waiting));
        let threads = (0..count.max(1)).map_while(|number| {
            let waiting = waiting.clone();
            let started = std::thread::Builder::new().name(format!("read-{number}")).spawn(move || serve(&waiting));
            started.inspect_err(|error| tracing::error!(%error, "A thread for queries could not be started.")).ok()
        });
        Readers { tasks: Some(tasks), threads: threads.collect() }
    }

    /// Runs `work` on one of the threads. Where it panics, that is said in the log and answered with 500.
    pub async fn run(
        &self,
        work: impl FnOnce() -> Result<Response, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let (answer, answered) = oneshot::channel();
        let task: Task = Box::new(move || {
            // Nobody listens where the client went away.
            let _ = answer.send(work());
        });
        if let Some(tasks) = &self.tasks {
            // Fails only where the threads are gone, and then nothing is answered.
            let _ = tasks.send(task);
        }
        answered.await.unwrap_or_else(|_| {
            tracing::error!("A read ended without an answer.");
            Err(ApiError::new(ErrorKind::Internal, "the request ended without an answer; the log says more"))
        })
    }
}

fn serve(waiting: &parking_lot::Mutex<Receiver<Task>>) {
    // Writers do not wait for a long query where both want the processor.
    let _ = rustix::process::nice(5);
    loop {
        let next = waiting.lock().recv();
        let Ok(task) = next else { return };
        // One question that meets a mistake of ours ends alone; the hook has told the log.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // The last handle may be dropped by one of them.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
