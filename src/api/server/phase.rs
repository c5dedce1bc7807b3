//! What a connection is doing, and until when it may.

use super::slots::Slot;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From accepting to the first byte: a client that has something to ask asks it at once.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its headers, so that trickling them holds nothing for long.
    pub headers: Duration,
    /// From one answer to the next request. Longer than the 60 s between scrapes, so that their connections last.
    pub idle: Duration,
    /// Without the client taking a single byte of an answer.
    pub write_stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            first_byte: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(90),
            write_stall: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing was received since it began or since the last answer.
    Waiting,
    Headers,
    Serving,
}

/// The state of one connection, shared by its stream, its service and its driver, which all run in one task.
#[derive(Debug)]
pub struct Phase {
    timeouts: Timeouts,
    slot: Slot,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// Until when what it does may last; `None` while it is served.
    deadline: Option<Instant>,
    /// Since when the client takes nothing of what we write.
    stalled: Option<Instant>,
}

impl Phase {
    pub fn begin(timeouts: Timeouts, slot: Slot) -> Arc<Phase> {
        let deadline = Some(Instant::now() + timeouts.first_byte);
        Arc::new(Phase { timeouts, slot, state: Mutex::new(State { doing: Doing::Waiting, deadline, stalled: None }) })
    }

    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Whether nothing of a request has come, and no answer is still on its way.
    pub fn is_waiting(&self) -> bool {
        let state = self.state.lock();
        state.doing == Doing::Waiting && state.stalled.is_none()
    }

    /// Bytes came from the client.
    pub fn received(&self) {
        let mut state = self.state.lock();
        if state.doing == Doing::Waiting {
            state.doing = Doing::Headers;
            state.deadline = Some(Instant::now() + self.timeouts.headers);
        }
    }

    /// The headers are complete.
    pub fn serve(&self) {
        self.slot.serve();
        let mut state = self.state.lock();
        state.doing = Doing::Serving;
        state.deadline = None;
    }

    /// The answer is given.
    pub fn answered(&self) {
        self.slot.wait();
        let mut state = self.state.lock();
        state.doing = Doing::Waiting;
        state.deadline = Some(Instant::now() + self.timeouts.idle);
    }

    /// The client took bytes (`true`), or none could be written.
    pub fn wrote(&self, progress: bool) {
        let mut state = self.state.lock();
        if progress {
            state.stalled = None;
        } else if state.stalled.is_none() {
            state.stalled = Some(Instant::now());
        }
    }

    /// When the connection is to be closed if nothing changes; `None` while it is served and takes what we write.
    pub fn deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        let stalled = state.stalled.map(|since| since + self.timeouts.write_stall);
        match (state.deadline, stalled) {
            (Some(deadline), Some(stalled)) => Some(deadline.min(stalled)),
            (deadline, stalled) => deadline.or(stalled),
        }
    }
}
