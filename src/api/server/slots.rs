//! Who may be connected: a fixed number, and those without a request make room first.

use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio_util::sync::CancellationToken;

/// The connections of a server.
#[derive(Debug)]
pub struct Slots {
    max: usize,
    taken: AtomicUsize,
    /// Those that wait for a request, by when they began to: the first has waited longest.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// Where it stands among the waiting; `None` while it is served.
    position: Mutex<Option<u64>>,
    evicted: CancellationToken,
}

impl Slots {
    pub fn new(max: usize) -> Arc<Slots> {
        Arc::new(Slots { max, taken: AtomicUsize::new(0), waiting: Mutex::default() })
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place for a new connection. Where all are taken, the longest waiting one is told to go; where everybody is
    /// being served, there is none.
    pub fn take(self: &Arc<Slots>) -> Option<Slot> {
        // The one told to go leaves a moment later, so for that moment one more than the maximum is there.
        if self.taken() >= self.max {
            let (_, longest) = self.waiting.lock().by_age.pop_first()?;
            longest.cancel();
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        let slot = Slot { slots: self.clone(), position: Mutex::new(None), evicted: CancellationToken::new() };
        slot.wait();
        Some(slot)
    }
}

impl Slot {
    /// The connection waits for a request from now on, and may be told to go.
    pub fn wait(&self) {
        let mut waiting = self.slots.waiting.lock();
        let position = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(position, self.evicted.clone());
        *self.position.lock() = Some(position);
    }

    /// A request came: from now on it is served.
    pub fn serve(&self) {
        if let Some(position) = self.position.lock().take() {
            self.slots.waiting.lock().by_age.remove(&position);
        }
    }

    /// Done when the connection has to make room.
    pub fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.serve();
        self.slots.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waiting_makes_room_and_the_served_never_do() {
        let slots = Slots::new(3);
        let served = slots.take().unwrap();
        served.serve();
        let (old, young) = (slots.take().unwrap(), slots.take().unwrap());
        old.serve();
        old.wait();
        // `old` began to wait again after `young` did.
        let newcomer = slots.take().unwrap();
        assert!(young.evicted().is_cancelled() && !old.evicted().is_cancelled() && !served.evicted().is_cancelled());
        drop(young);
        assert_eq!(slots.taken(), 3);
        newcomer.serve();
        old.serve();
        assert!(slots.take().is_none(), "everybody is being served");
        drop(served);
        assert!(slots.take().is_some());
    }
}
