//! A thread that does something every so often until it is told to end.

use crate::store::StoreError;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{sync::Arc, thread::JoinHandle, time::Duration};

/// Ends its thread when it is stopped or dropped.
pub struct Ticker {
    signal: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ticker {
    /// Calls what `begin` makes, on a thread of its own, once a `period`. A panic costs one call: a mistake in one of
    /// them must not end sealing for good, or memory and log would grow until the machine is full.
    pub fn start<T: FnMut() + 'static>(
        name: &'static str,
        period: Duration,
        begin: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Ticker, StoreError> {
        let signal = Arc::new((Mutex::new(false), Condvar::new()));
        let waiter = signal.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut work = begin();
                let mut work = || {
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut work)).is_err() {
                        tracing::error!(thread = name, "The store panicked; it goes on. Please report this.");
                    }
                };
                let mut stopping = waiter.0.lock();
                while !*stopping {
                    waiter.1.wait_for(&mut stopping, period);
                    if !*stopping {
                        MutexGuard::unlocked(&mut stopping, &mut work);
                    }
                }
            })
            .map_err(StoreError::io("starting a thread of the store"))?;
        Ok(Ticker { signal, thread: Mutex::new(Some(thread)) })
    }

    /// Waits for the call that is under way.
    pub fn stop(&self) {
        *self.signal.0.lock() = true;
        self.signal.1.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}
