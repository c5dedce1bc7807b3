//! Reading one stream for as long as the process lives.
//!
//! 1. A session begins with a connection and the group. What we were given before and did not acknowledge comes first,
//!    then what others left lying ([`Session::take_over`]), then new entries.
//! 2. Each entry is read, looked up among the ids that were handled, handed to its handler, its id made durable, and only
//!    then acknowledged ([`Session::deliver`]).
//! 3. One that is to be tried again stays pending and is claimed by ourselves when its pause is over, so that Redis counts
//!    how often; after as many as are allowed it goes to the dead letters.
//! 4. Whatever breaks ends the session; the next one begins after a pause.

use super::{
    commands::{Commands, Seat},
    dead, entry,
    link::{Link, LinkError},
    loss,
    reply::Entry,
    stats::RedisStats,
};
use crate::{
    mailbox::{
        HandleError, Handlers, Message, Outcome, Queue, limits,
        record::{self, LOSS, shortened},
    },
    stdx::random,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a live consumer works on may lie for a handler's time; what lies longer is nobody's.
const IDLE_MS_MIN: u64 = 2 * limits::HANDLE_MS_MAX;
/// The longest pause before another try: no other consumer may think that nobody has the entry.
const RETRY_PAUSE_MS_MAX: i64 = (IDLE_MS_MIN / 2) as i64;
/// How often others' leavings, gone consumers and losses are looked for.
const LOOK: Duration = Duration::from_secs(15);
/// While more wait for another try nothing new is read: they are kept by Redis, their times by us.
const RETRIES_MAX: usize = 256;
/// A consumer that was not seen for so long and holds nothing is a process that is gone.
const GONE_MS: u64 = 24 * 3_600_000;
/// The longest pause between sessions: a server that is back is found within seconds.
const PAUSE_MS_MAX: i64 = 10_000;

/// Reads a stream; lives until it is stopped.
pub struct Consumer {
    pub link: Link,
    pub seat: Seat,
    pub queue: Queue,
    pub handlers: Handlers,
    pub stats: Arc<RedisStats>,
}

/// One connection's worth.
struct Session<'a> {
    of: &'a Consumer,
    commands: Commands,
    /// Pending entries of ours, and when they are to be tried again.
    retries: BTreeMap<String, Instant>,
    looked: Option<Instant>,
}

impl Consumer {
    pub async fn live(self, stop: CancellationToken) {
        self.stats.of_stream(&self.seat.stream, |report| {
            report.group.clone_from(&self.seat.group);
            report.consumer.clone_from(&self.seat.consumer);
        });
        let mut failures = 0;
        while !stop.is_cancelled() {
            let began = Instant::now();
            // Cut off anywhere: what was not acknowledged is still ours, and comes first the next time.
            let Some(Err(error)) = stop.run_until_cancelled(self.session()).await else { break };
            self.stats.of_stream(&self.seat.stream, |report| report.connected = false);
            self.stats.failed(&error);
            failures = if began.elapsed() > LOOK { 1 } else { failures + 1 };
            if failures == 1 {
                tracing::warn!(server = %self.link.config.shown(), %error, "The mailbox has lost Redis; it is tried again.");
            }
            let pause_ms = limits::pause_ms(failures, random::part()).min(PAUSE_MS_MAX);
            let pause = Duration::from_millis(u64::try_from(pause_ms).unwrap_or(0));
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn session(&self) -> Result<(), LinkError> {
        let commands = Commands(self.link.connect().await?);
        let mut session = Session { of: self, commands, retries: BTreeMap::new(), looked: None };
        session.commands.create_group(&self.seat).await?;
        tracing::info!(server = %self.link.config.shown(), stream = %self.seat.stream, "The mailbox reads from Redis.");
        self.stats.of_stream(&self.seat.stream, |report| report.connected = true);
        let mut begun = false;
        loop {
            let step = match begun {
                false => session.begin().await,
                true => session.step().await,
            };
            match step {
                Ok(()) => begun = true,
                Err(error) if error.is_no_group() => session.group_is_gone().await?,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Session<'_> {
    /// What is pending for us, from before a crash or a lost connection.
    async fn begin(&mut self) -> Result<(), LinkError> {
        self.check_loss().await?;
        let mut after = "0".to_owned();
        loop {
            let entries = self.commands.read_pending(&self.of.seat, &after).await?;
            let Some(last) = entries.last().map(|entry| entry.id.clone()) else { return Ok(()) };
            self.deliver_all(entries, None).await?;
            after = last;
        }
    }

    /// What is due again, what others left, what is new.
    async fn step(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        let due: Vec<String> = self.retries.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.retries.remove(&id);
            let entries = self.commands.claim(&self.of.seat, &id).await?;
            if entries.is_empty() {
                self.lose(1, "were trimmed while they waited for another try");
                self.commands.acknowledge(&self.of.seat, &id).await?;
            }
            self.deliver_all(entries, None).await?;
        }
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.looked = Some(now);
            self.check_loss().await?;
            self.take_over().await?;
            self.remove_gone().await?;
        }
        if self.retries.len() >= RETRIES_MAX {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Ok(());
        }
        let entries = self.commands.read_new(&self.of.seat).await?;
        if entries.is_empty() {
            return self.check_loss().await;
        }
        self.deliver_all(entries, Some(1)).await
    }

    /// Handles entries one after the other. `deliveries` is how often each was delivered, where that is known.
    async fn deliver_all(&mut self, entries: Vec<Entry>, deliveries: Option<u64>) -> Result<(), LinkError> {
        let mut left: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        let mut kept = Instant::now();
        for entry in entries {
            // Whoever sees them lie for too long would take them over.
            if kept.elapsed() >= Duration::from_millis(limits::HANDLE_MS_MAX / 2) {
                self.commands.keep(&self.of.seat, &left).await?;
                kept = Instant::now();
            }
            if !self.retries.contains_key(&entry.id) {
                self.deliver(&entry, deliveries).await?;
            }
            left.retain(|id| *id != entry.id);
        }
        Ok(())
    }

    async fn deliver(&mut self, entry: &Entry, deliveries: Option<u64>) -> Result<(), LinkError> {
        let Consumer { seat, queue, handlers, .. } = self.of;
        if entry.fields.is_none() {
            self.lose(1, "were trimmed before they were handled");
            return self.commands.acknowledge(seat, &entry.id).await;
        }
        let deliveries = match deliveries {
            Some(deliveries) => deliveries,
            None => self.commands.deliveries(seat, &entry.id).await?,
        };
        let message = match entry::message(&seat.stream, entry) {
            Ok(message) => Arc::new(message),
            Err(poison) => return self.bury(entry, &unread(entry), deliveries, &poison.to_string()).await,
        };
        if queue.was_handled(&message.id) {
            queue.stats().duplicates.add(1);
            return self.commands.acknowledge(seat, &entry.id).await;
        }
        let attempts_max = queue.limits().attempts_max;
        if deliveries > attempts_max {
            let reason = format!("delivered {} times and never acknowledged", deliveries - 1);
            return self.bury(entry, &message, deliveries, &reason).await;
        }
        let mut result = handlers.handle(&message).await;
        if result.is_ok() {
            // Without that a crash would have it handled again.
            let remembered = match queue.remember(&message.id) {
                Ok(ticket) => ticket.wait().await,
                Err(error) => Err(error),
            };
            result = remembered.map_err(|error| HandleError::Retry(error.to_string()));
        }
        match result {
            Ok(()) => {
                self.commands.acknowledge(seat, &entry.id).await?;
                self.record(&message, Outcome::Handled, deliveries, "");
                Ok(())
            }
            Err(HandleError::Retry(reason)) if deliveries < attempts_max => {
                let pause_ms = limits::pause_ms(deliveries, random::part()).min(RETRY_PAUSE_MS_MAX);
                let pause = Duration::from_millis(u64::try_from(pause_ms).unwrap_or(0));
                self.retries.insert(entry.id.clone(), Instant::now() + pause);
                self.record(&message, Outcome::Retry, deliveries, &reason);
                Ok(())
            }
            Err(HandleError::Retry(reason)) => {
                let reason = format!("given up after {deliveries} attempts: {reason}");
                self.bury(entry, &message, deliveries, &reason).await
            }
            Err(HandleError::Refused(reason)) => self.bury(entry, &message, deliveries, &reason).await,
        }
    }

    async fn bury(&mut self, entry: &Entry, message: &Message, attempts: u64, reason: &str) -> Result<(), LinkError> {
        let config = &self.of.link.config;
        let fields = dead::fields(&self.of.seat.stream, entry, attempts, reason);
        let dead = config.dead();
        self.commands.bury(&self.of.seat, &entry.id, (&dead, config.stream_length), &fields).await?;
        tracing::warn!(stream = %self.of.seat.stream, entry = %entry.id, %reason, "A message became a dead letter.");
        self.record(message, Outcome::Dead, attempts, reason);
        Ok(())
    }

    fn record(&self, message: &Message, outcome: Outcome, attempts: u64, reason: &str) {
        let queue = &self.of.queue;
        queue.stats().record(message, outcome, attempts, queue.clock().now_ms(), reason);
    }

    /// Handles what others were given and have not touched for long: their process is gone.
    async fn take_over(&mut self) -> Result<(), LinkError> {
        let mut cursor = "0-0".to_owned();
        loop {
            let claimed = self.commands.claim_idle(&self.of.seat, IDLE_MS_MIN, &cursor).await?;
            let Some((next, entries, deleted)) = claimed else { return Ok(()) };
            if deleted > 0 {
                self.lose(deleted, "were trimmed while another consumer had them");
            }
            self.deliver_all(entries, None).await?;
            if next == "0-0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn remove_gone(&mut self) -> Result<(), LinkError> {
        let seat = &self.of.seat;
        for member in self.commands.members(seat).await? {
            if member.pending == 0 && member.idle_ms > GONE_MS && member.name != seat.consumer {
                self.commands.delete_member(seat, &member.name).await?;
            }
        }
        Ok(())
    }

    /// After a FLUSHDB, a deletion, or a restart without persistence: begins anew with what is there.
    async fn group_is_gone(&mut self) -> Result<(), LinkError> {
        let seat = &self.of.seat;
        if self.commands.create_group(seat).await? {
            self.of.stats.groups_made_again.add(1);
            let lag = self.of.stats.streams.lock().get(&seat.stream).and_then(|report| report.lag).unwrap_or(0);
            tracing::warn!(
                stream = %seat.stream, lag,
                "The group was gone and is made again: the server has lost its data. What waited in the stream then is \
                 lost there; `lag` is how much that was when it was last looked at."
            );
        }
        self.retries.clear();
        Ok(())
    }

    /// Looks whether entries were trimmed unread, and at the figures of the stream.
    async fn check_loss(&mut self) -> Result<(), LinkError> {
        let Consumer { seat, queue, stats, .. } = self.of;
        let groups = self.commands.groups(&seat.stream).await?;
        let Some(group) = groups.into_iter().find(|found| found.name == seat.group) else { return Ok(()) };
        let stream = self.commands.stream(&seat.stream).await?;
        stats.of_stream(&seat.stream, |report| {
            (report.length, report.lag, report.pending) = (stream.length, group.lag, group.pending);
        });
        let Some(missed) = loss::missed(&stream, &group) else { return Ok(()) };
        let key = [&[LOSS], seat.stream.as_bytes()].concat();
        let known = queue.state(&key).and_then(|value| record::decode_time(&value)).unwrap_or(0);
        let missed = i64::try_from(missed).unwrap_or(i64::MAX);
        if missed == known {
            return Ok(());
        }
        if missed > known {
            self.lose(
                missed.abs_diff(known),
                "were trimmed before anybody read them; raise MAXLEN where they are sent",
            );
        }
        // Less than before: the group was made anew. Should the disk fail now, it is told again after a restart.
        let _ = queue.set_state(key, record::encode_time(missed));
        Ok(())
    }

    fn lose(&self, count: u64, how: &str) {
        self.of.stats.lost.add(count);
        tracing::error!(stream = %self.of.seat.stream, count, "Messages of the mailbox are lost: they {how}.");
    }
}

/// What can be told of an entry that is no message.
fn unread(entry: &Entry) -> Message {
    const SHOWN_BYTES_MAX: usize = 200;
    let text = |name: &str| {
        let found = entry.fields.iter().flatten().find(|(found, _)| found == name.as_bytes());
        let text = found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
        shortened(&text, SHOWN_BYTES_MAX).to_owned()
    };
    Message {
        id: text("message_id"),
        kind: text("message_type"),
        sender: text("sender"),
        recipient: text("recipient"),
        payload: String::new(),
        created_ms: 0,
    }
}
