//! The embedded queue: messages in the store's small state, every step of one a log record.
//!
//! 1. [`Queue::put`](super::Mailbox::put) appends the message and waits for the disk. An id that waits or was handled is
//!    taken as done; one that is a dead letter is a new message in the place of it.
//! 2. [`Queue::take`] gives the oldest message of a kind to a worker, and appends that it did: what ends the process each
//!    time it is handled must not do so for ever.
//! 3. [`Queue::finish`] appends what became of it: one record removes the message and remembers its id, or says when it
//!    is due again, or makes it a dead letter.
//!
//! Appends happen under the lock, so that the log has the order in which things happened here.

use super::{
    Accepted, HandleError, Mailbox, Message, Pending, PutError,
    handled::Handled,
    index::{Entry, Index, Stage},
    limits::{self, Limits, MESSAGE_OVERHEAD_BYTES, PAUSE_MS_MAX},
    record::{self, MESSAGE, STATUS, Status, Stored},
    stats::{Outcome, Stats},
};
use crate::{
    model::Timestamp,
    stdx::{clock::Clock, random},
    store::{Appendable, StateChange, StateStore, StoreError, Ticket, Tree, WriteBatch},
};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// What the mailbox needs of the store.
pub trait Records: Appendable + StateStore {}

impl<T: Appendable + StateStore> Records for T {}

/// The queue; clones share it.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    store: Arc<dyn Records>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    stats: Arc<Stats>,
    inner: Mutex<Inner>,
    /// Something may be ready.
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    index: Index,
    handled: Handled,
}

/// A message in the hands of a worker. It stays in flight until [`Queue::finish`].
#[derive(Debug)]
pub struct Delivery {
    pub number: u64,
    /// This one among them.
    pub attempts: u64,
    pub message: Arc<Message>,
}

/// How much there is. The field names are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Messages that wait or are in flight.
    pub waiting: usize,
    pub in_flight: usize,
    pub dead: usize,
    /// Of all messages, dead letters among them, before compression.
    pub bytes: u64,
    pub bytes_max: u64,
    /// When the oldest that waits was taken; `None` where none does.
    pub oldest_ms: Option<Timestamp>,
    /// Ids that would be taken for duplicates.
    pub remembered: usize,
}

/// A message that was not handled. The field names are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeadLetter {
    /// What to call it by: the number in the queue, or the id of a stream entry.
    pub letter: String,
    pub id: String,
    pub kind: String,
    pub sender: String,
    pub recipient: String,
    pub created_ms: Timestamp,
    pub dead_ms: Timestamp,
    pub attempts: u64,
    pub reason: String,
    pub payload_bytes: usize,
    /// Only where one letter is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

impl Queue {
    /// Reads the messages back. Those that were in flight when the process ended are ready again.
    pub fn open(store: Arc<dyn Records>, clock: Arc<dyn Clock>, limits: Limits) -> Queue {
        let stats = Arc::new(Stats::default());
        let inner = Inner { index: load(&*store, &stats), handled: Handled::load(&*store) };
        Queue(Arc::new(Shared { store, clock, limits, stats, inner: Mutex::new(inner), wake: Notify::new() }))
    }

    pub fn stats(&self) -> &Arc<Stats> {
        &self.0.stats
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Done when something may be ready that was not.
    pub(super) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    /// Appends a message; durable when the ticket is done. Gives its number, `None` where one of its id is gone already.
    pub(super) fn put_now(&self, message: Message) -> Result<(Option<u64>, Ticket), PutError> {
        let bytes = message.bytes();
        let bytes_max = self.0.limits.message_bytes_max();
        if bytes > bytes_max {
            return Err(PutError::TooLarge { bytes, bytes_max });
        }
        let digest = record::digest(&message.id);
        let kind: Arc<str> = message.kind.as_str().into();
        let stored = Stored { put_ms: self.0.clock.now_ms(), message };
        // Before the lock: compressing takes longer than everything else.
        let value = stored.encode();
        let mut inner = self.0.inner.lock();
        if inner.handled.contains(&digest) {
            self.0.stats.duplicates.add(1);
            return Ok((None, Ticket::done()));
        }
        let same = inner.index.number_of(&digest);
        let dead = same.and_then(|number| inner.index.dead_bytes_of(number).map(|bytes| (number, bytes)));
        if let Some(number) = same.filter(|_| dead.is_none()) {
            self.0.stats.duplicates.add(1);
            // The record of the first one may have been lost with a failed sync; saying it twice is harmless.
            let said = self.0.store.state(Tree::Mailbox, &record::numbered(MESSAGE, number));
            let durable = inner.index.get(number).is_some_and(|entry| entry.durable);
            let again = said.filter(|_| !durable).map(|value| vec![put(MESSAGE, number, value)]);
            let ticket = again.map_or(Ok(Ticket::done()), |again| self.append(again)).map_err(unavailable)?;
            return Ok((Some(number), ticket));
        }
        let weight = bytes as u64 + MESSAGE_OVERHEAD_BYTES;
        let others = inner.index.bytes() - dead.map_or(0, |(_, bytes)| bytes);
        if others + weight > self.0.limits.bytes_max {
            self.0.stats.refused_full.add(1);
            return Err(PutError::Full { bytes: inner.index.bytes() });
        }
        let number = inner.index.next_number();
        let mut changes = vec![put(MESSAGE, number, value)];
        changes.extend(dead.into_iter().flat_map(|(letter, _)| removal(letter)));
        let ticket = self.append(changes).map_err(unavailable)?;
        if let Some((letter, _)) = dead {
            inner.index.remove(letter);
        }
        let (put_ms, stage) = (stored.put_ms, Stage::Ready);
        inner.index.insert(number, Entry { digest, kind, bytes: weight, put_ms, attempts: 0, stage, durable: false });
        drop(inner);
        self.0.stats.taken.add(1);
        self.0.wake.notify_one();
        Ok((Some(number), ticket))
    }

    /// After the ticket of [`Queue::put_now`] is done.
    pub(super) fn is_durable(&self, number: u64) {
        self.0.inner.lock().index.set_durable(number);
    }

    /// Kinds of which something is ready.
    pub(super) fn ready_kinds(&self) -> Vec<Arc<str>> {
        let mut inner = self.0.inner.lock();
        inner.index.wake(self.0.clock.now_ms(), PAUSE_MS_MAX);
        inner.index.ready_kinds().cloned().collect()
    }

    /// Milliseconds until the next message is due; `None` where none waits for its time.
    pub(super) fn next_due_in_ms(&self) -> Option<i64> {
        let due_ms = self.0.inner.lock().index.next_due_ms()?;
        Some(due_ms.saturating_sub(self.0.clock.now_ms()).max(0))
    }

    /// Gives the oldest message of a kind, which nobody else gets then. `None` where none is ready.
    pub(super) fn take(&self, kind: &str) -> Result<Option<Delivery>, StoreError> {
        loop {
            let mut inner = self.0.inner.lock();
            let Some(number) = inner.index.first_ready(kind) else { return Ok(None) };
            let attempts = inner.index.get(number).map_or(0, |entry| entry.attempts) + 1;
            let Some(stored) = self.read(number) else {
                // The record is for another version, or damaged: it stays on disk and is nobody's until the next start.
                inner.index.remove(number);
                self.0.stats.damaged.add(1);
                continue;
            };
            if attempts > self.0.limits.attempts_max {
                let reason = format!("the process ended {} times while it was handled", attempts - 1);
                let now_ms = self.0.clock.now_ms();
                self.die(&mut inner, number, now_ms, &reason)?;
                self.0.stats.record(&stored.message, Outcome::Dead, attempts - 1, now_ms, &reason);
                continue;
            }
            let status = Status { attempts, ..Status::default() };
            // Nobody waits for the disk here: what is lost is one attempt that is not counted.
            self.append(vec![put(STATUS, number, status.encode())])?;
            inner.index.set(number, Stage::InFlight, attempts);
            return Ok(Some(Delivery { number, attempts, message: Arc::new(stored.message) }));
        }
    }

    /// Appends what became of a message. Where that fails it is handled again later.
    pub(super) fn finish(&self, delivery: &Delivery, result: Result<(), HandleError>) -> Result<Ticket, StoreError> {
        let now_ms = self.0.clock.now_ms();
        let Delivery { number, attempts, message } = delivery;
        let mut inner = self.0.inner.lock();
        let pause_ms = limits::pause_ms(*attempts, random::part());
        let due_ms = now_ms.saturating_add(pause_ms);
        let (outcome, reason, appended) = match result {
            Ok(()) => (Outcome::Handled, String::new(), self.handled(&mut inner, *number, now_ms)),
            Err(HandleError::Retry(reason)) if *attempts < self.0.limits.attempts_max => {
                let status = Status { attempts: *attempts, due_ms, reason: reason.clone(), ..Status::default() };
                let appended = self.append(vec![put(STATUS, *number, status.encode())]);
                if appended.is_ok() {
                    inner.index.set(*number, Stage::Later(due_ms), *attempts);
                }
                (Outcome::Retry, reason, appended)
            }
            Err(HandleError::Retry(reason)) => {
                let reason = format!("given up after {attempts} attempts: {reason}");
                (Outcome::Dead, reason.clone(), self.die(&mut inner, *number, now_ms, &reason))
            }
            Err(HandleError::Refused(reason)) => {
                (Outcome::Dead, reason.clone(), self.die(&mut inner, *number, now_ms, &reason))
            }
        };
        match &appended {
            Ok(_) => self.0.stats.record(message, outcome, *attempts, now_ms, &reason),
            Err(_) => inner.index.set(*number, Stage::Later(due_ms), *attempts),
        }
        drop(inner);
        self.0.wake.notify_one();
        appended
    }

    /// Turns what waits for too long into dead letters, and lets go of dead letters that lie for too long.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        let now_ms = self.0.clock.now_ms();
        let oldest_ms = now_ms.saturating_sub(self.0.limits.age_ms_max);
        let mut inner = self.0.inner.lock();
        while let Some((_, number)) = inner.index.oldest_dead().filter(|(dead_ms, _)| *dead_ms < oldest_ms) {
            self.append(removal(number))?;
            inner.index.remove(number);
            self.0.stats.expired.add(1);
        }
        let waits = |stage: Stage| matches!(stage, Stage::Ready | Stage::Later(_));
        let old: Vec<u64> = inner
            .index
            .entries()
            .take_while(|(_, entry)| entry.put_ms < oldest_ms)
            .filter_map(|(number, entry)| waits(entry.stage).then_some(*number))
            .collect();
        for number in old {
            self.die(&mut inner, number, now_ms, "it was not handled in as long as messages are kept")?;
            self.0.stats.dead.add(1);
        }
        Ok(())
    }

    pub fn depth(&self) -> Depth {
        let inner = self.0.inner.lock();
        let index = &inner.index;
        Depth {
            waiting: index.waiting(),
            in_flight: index.in_flight(),
            dead: index.dead_count(),
            bytes: index.bytes(),
            bytes_max: self.0.limits.bytes_max,
            oldest_ms: index.oldest_waiting_ms(),
            remembered: inner.handled.len(),
        }
    }

    /// Dead letters without their payloads, those that died last first.
    pub fn dead_letters(&self, count_max: usize) -> Vec<DeadLetter> {
        let numbers: Vec<u64> = self.0.inner.lock().index.dead().rev().take(count_max).collect();
        numbers.into_iter().filter_map(|number| self.letter(number, false)).collect()
    }

    /// One dead letter with its payload.
    pub fn dead_letter(&self, number: u64) -> Option<DeadLetter> {
        self.is_dead(number).then(|| self.letter(number, true)).flatten()
    }

    /// Makes dead letters messages again, as if never handled: this one, or all. Gives how many; durable when the
    /// ticket is done.
    pub fn replay(&self, which: Option<u64>) -> Result<(u64, Ticket), StoreError> {
        let done = self.on_dead(which, |inner, number| {
            let ticket = self.append(vec![remove(STATUS, number)])?;
            inner.index.set(number, Stage::Ready, 0);
            self.0.stats.replayed.add(1);
            Ok(ticket)
        });
        self.0.wake.notify_one();
        done
    }

    /// Lets go of dead letters: this one, or all. Their ids are remembered, so that they do not come back by a sender
    /// that asks again.
    pub fn discard(&self, which: Option<u64>) -> Result<(u64, Ticket), StoreError> {
        self.on_dead(which, |inner, number| {
            let ticket = self.handled(inner, number, self.0.clock.now_ms())?;
            self.0.stats.dropped.add(1);
            Ok(ticket)
        })
    }

    /// Whether a message of this id was handled.
    pub(super) fn was_handled(&self, id: &str) -> bool {
        self.0.inner.lock().handled.contains(&record::digest(id))
    }

    /// Remembers the id of a message that was not in this queue.
    pub(super) fn remember(&self, id: &str) -> Result<Ticket, StoreError> {
        let now_ms = self.0.clock.now_ms();
        let digest = record::digest(id);
        let mut inner = self.0.inner.lock();
        let ticket = self.append(inner.handled.changes(digest, now_ms))?;
        inner.handled.remember(digest, now_ms);
        Ok(ticket)
    }

    /// A value of the mailbox's own beside the messages.
    pub(super) fn state(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.store.state(Tree::Mailbox, key)
    }

    pub(super) fn set_state(&self, key: Vec<u8>, value: Vec<u8>) -> Result<Ticket, StoreError> {
        self.append(vec![StateChange { tree: Tree::Mailbox, key, value: Some(value) }])
    }

    fn on_dead(
        &self,
        which: Option<u64>,
        mut act: impl FnMut(&mut Inner, u64) -> Result<Ticket, StoreError>,
    ) -> Result<(u64, Ticket), StoreError> {
        let mut inner = self.0.inner.lock();
        let numbers: Vec<u64> = inner.index.dead().filter(|number| which.is_none_or(|one| one == *number)).collect();
        let mut last = Ticket::done();
        for number in &numbers {
            last = act(&mut inner, *number)?;
        }
        // The log is durable up to a point: the last one's ticket is everybody's.
        Ok((numbers.len() as u64, last))
    }

    fn is_dead(&self, number: u64) -> bool {
        self.0.inner.lock().index.get(number).is_some_and(|entry| matches!(entry.stage, Stage::Dead(_)))
    }

    /// Removes a message and remembers its id, in one record.
    fn handled(&self, inner: &mut Inner, number: u64, now_ms: Timestamp) -> Result<Ticket, StoreError> {
        let Some(digest) = inner.index.get(number).map(|entry| entry.digest) else { return Ok(Ticket::done()) };
        let mut changes = removal(number);
        changes.extend(inner.handled.changes(digest, now_ms));
        let ticket = self.append(changes)?;
        inner.handled.remember(digest, now_ms);
        inner.index.remove(number);
        Ok(ticket)
    }

    /// Makes a message a dead letter; the oldest ones go where they would take more than half of the room.
    fn die(&self, inner: &mut Inner, number: u64, now_ms: Timestamp, reason: &str) -> Result<Ticket, StoreError> {
        let Some(entry) = inner.index.get(number).cloned() else { return Ok(Ticket::done()) };
        let status = Status { attempts: entry.attempts, due_ms: 0, dead_ms: Some(now_ms), reason: reason.to_owned() };
        let mut changes = vec![put(STATUS, number, status.encode())];
        let mut over = (inner.index.dead_bytes() + entry.bytes).saturating_sub(self.0.limits.bytes_max / 2);
        let mut gone = Vec::new();
        for old in inner.index.dead() {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(inner.index.get(old).map_or(0, |entry| entry.bytes));
            changes.extend(removal(old));
            gone.push(old);
        }
        let ticket = self.append(changes)?;
        for old in &gone {
            inner.index.remove(*old);
        }
        if !gone.is_empty() {
            self.0.stats.expired.add(gone.len() as u64);
            tracing::warn!(
                count = gone.len(),
                "Dead letters of the mailbox were dropped for newer ones; look at them earlier, or raise \
                 `mailbox.max_bytes`."
            );
        }
        inner.index.set(number, Stage::Dead(now_ms), entry.attempts);
        Ok(ticket)
    }

    fn read(&self, number: u64) -> Option<Stored> {
        Stored::decode(&self.0.store.state(Tree::Mailbox, &record::numbered(MESSAGE, number))?)
    }

    fn letter(&self, number: u64, with_payload: bool) -> Option<DeadLetter> {
        let key = |first| record::numbered(first, number);
        let status = Status::decode(&self.0.store.state(Tree::Mailbox, &key(STATUS))?)?;
        let value = self.0.store.state(Tree::Mailbox, &key(MESSAGE))?;
        let (stored, payload_bytes) = Stored::decode_without_payload(&value)?;
        let payload = if with_payload { Some(Stored::decode(&value)?.message.payload) } else { None };
        let Message { id, kind, sender, recipient, created_ms, .. } = stored.message;
        let (attempts, reason) = (status.attempts, status.reason);
        let (letter, dead_ms) = (number.to_string(), status.dead_ms?);
        Some(DeadLetter {
            letter,
            id,
            kind,
            sender,
            recipient,
            created_ms,
            dead_ms,
            attempts,
            reason,
            payload_bytes,
            payload,
        })
    }

    fn append(&self, state: Vec<StateChange>) -> Result<Ticket, StoreError> {
        let batch = WriteBatch { state, ..WriteBatch::default() };
        Ok(self.0.store.append(&batch)?.ticket)
    }
}

impl Mailbox for Queue {
    fn put(&self, message: Message) -> Pending<'_, Result<Accepted, PutError>> {
        Box::pin(async move {
            let (number, ticket) = self.put_now(message)?;
            ticket.wait().await.map_err(unavailable)?;
            let Some(number) = number else { return Ok(Accepted::Gone) };
            self.is_durable(number);
            Ok(Accepted::Waits)
        })
    }
}

impl Message {
    /// What its texts take.
    pub fn bytes(&self) -> usize {
        let texts = [&self.id, &self.kind, &self.sender, &self.recipient, &self.payload];
        texts.into_iter().map(String::len).sum()
    }
}

/// Reads all messages; those that cannot be read stay where they are.
fn load(store: &dyn Records, stats: &Stats) -> Index {
    let mut index = Index::default();
    for (key, value) in store.state_scan(Tree::Mailbox, &[MESSAGE]) {
        let Some(number) = record::rest_of(&key).map(u64::from_be_bytes) else { continue };
        let Some((Stored { put_ms, message }, payload_bytes)) = Stored::decode_without_payload(&value) else {
            stats.damaged.add(1);
            index.skip_number(number);
            continue;
        };
        let status = store.state(Tree::Mailbox, &record::numbered(STATUS, number));
        let status = status.and_then(|value| Status::decode(&value)).unwrap_or_default();
        // What was in flight when the process ended is due at once.
        let stage = status.dead_ms.map_or(Stage::Later(status.due_ms), Stage::Dead);
        index.insert(
            number,
            Entry {
                digest: record::digest(&message.id),
                kind: message.kind.as_str().into(),
                bytes: (message.bytes() + payload_bytes) as u64 + MESSAGE_OVERHEAD_BYTES,
                put_ms,
                attempts: status.attempts,
                stage,
                durable: true,
            },
        );
    }
    index
}

fn put(first: u8, number: u64, value: Vec<u8>) -> StateChange {
    StateChange { tree: Tree::Mailbox, key: record::numbered(first, number), value: Some(value) }
}

fn remove(first: u8, number: u64) -> StateChange {
    StateChange { tree: Tree::Mailbox, key: record::numbered(first, number), value: None }
}

fn removal(number: u64) -> Vec<StateChange> {
    vec![remove(MESSAGE, number), remove(STATUS, number)]
}

fn unavailable(error: StoreError) -> PutError {
    PutError::Unavailable(error.to_string())
}

#[cfg(test)]
#[path = "tests_queue.rs"]
mod tests;
