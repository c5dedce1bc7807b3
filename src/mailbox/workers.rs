//! The workers of the queue: one task that hands messages out, and at most so many handlers of each kind at once.

use super::{
    handlers::Handlers,
    queue::{Delivery, Queue},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// The clock is looked at this often: it may be set, and a disk that was full may have room again.
const LOOK: Duration = Duration::from_secs(1);
/// Age is counted in days.
const SWEEP: Duration = Duration::from_secs(60);
/// What is in flight at the end may finish; what does not is handled again at the next start.
const DRAIN: Duration = Duration::from_secs(5);

/// Lives until `stop`, then waits for what is in flight.
pub(super) async fn run(queue: Queue, handlers: Handlers, stop: CancellationToken) {
    let mut running = Running::default();
    let mut swept: Option<Instant> = None;
    while !stop.is_cancelled() {
        if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            if let Err(error) = queue.sweep() {
                tracing::warn!(%error, "The mailbox could not look for what is too old; it does so again in a minute.");
            }
        }
        running.hand_out(&queue, &handlers);
        let wait = queue.next_due_in_ms().and_then(|ms| u64::try_from(ms).ok()).map_or(LOOK, Duration::from_millis);
        tokio::select! {
            () = stop.cancelled() => {}
            () = queue.woken() => {}
            Some(done) = running.tasks.join_next() => running.ended(done.ok()),
            () = tokio::time::sleep(wait.clamp(Duration::from_millis(10), LOOK)) => {}
        }
    }
    let drained = async { while running.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("Messages were still being handled at the end; they are handled again at the next start.");
    }
}

#[derive(Default)]
struct Running {
    tasks: JoinSet<Arc<str>>,
    by_kind: HashMap<Arc<str>, usize>,
}

impl Running {
    fn hand_out(&mut self, queue: &Queue, handlers: &Handlers) {
        for kind in queue.ready_kinds() {
            while self.by_kind.get(&kind).copied().unwrap_or(0) < handlers.concurrent_max(&kind) {
                match queue.take(&kind) {
                    Ok(Some(delivery)) => self.begin(queue, handlers, kind.clone(), delivery),
                    Ok(None) => break,
                    // The store says so itself; messages wait until it takes something again.
                    Err(error) => {
                        tracing::debug!(%error, "No message can be handed out.");
                        return;
                    }
                }
            }
        }
    }

    fn begin(&mut self, queue: &Queue, handlers: &Handlers, kind: Arc<str>, delivery: Delivery) {
        *self.by_kind.entry(kind.clone()).or_default() += 1;
        let (queue, handlers) = (queue.clone(), handlers.clone());
        self.tasks.spawn(async move {
            let Delivery { attempts, message, .. } = &delivery;
            let result = handlers.handle(message).await;
            if let Err(error) = &result {
                tracing::warn!(
                    message.id = %message.id, message.kind = %message.kind, attempts, %error,
                    "A message was not handled."
                );
            }
            let durable = match queue.finish(&delivery, result) {
                Ok(ticket) => ticket.wait().await,
                Err(error) => Err(error),
            };
            if let Err(error) = durable {
                tracing::warn!(%error, "What became of a message could not be stored; it may be handled again.");
            }
            kind
        });
    }

    fn ended(&mut self, kind: Option<Arc<str>>) {
        // A task that panicked does not say its kind; counting again is right whatever happened.
        match kind {
            Some(kind) => {
                if let Some(count) = self.by_kind.get_mut(&kind) {
                    *count = count.saturating_sub(1);
                }
            }
            None if self.tasks.is_empty() => self.by_kind.clear(),
            None => {}
        }
        self.by_kind.retain(|_, count| *count > 0);
    }
}
