//! Who handles which kind of message.

use super::{HandleError, Handler, Message, limits::HANDLE_MS_MAX};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The handlers by kind; clones share them.
#[derive(Clone, Default)]
pub struct Handlers(HashMap<String, (Arc<dyn Handler>, usize)>);

impl Handlers {
    /// Messages of `kind` go to `handler`, at most `concurrent_max` of them at once; with one they keep their order, but
    /// for those that are tried again.
    pub fn add(&mut self, kind: &str, handler: Arc<dyn Handler>, concurrent_max: usize) {
        self.0.insert(kind.to_owned(), (handler, concurrent_max.max(1)));
    }

    /// How many of a kind may be handled at once. Those of a kind that nobody handles become dead letters one by one.
    pub(super) fn concurrent_max(&self, kind: &str) -> usize {
        self.0.get(kind).map_or(1, |(_, concurrent_max)| *concurrent_max)
    }

    /// Has a message handled. A handler that panics or hangs is tried again like one that says so.
    pub(super) async fn handle(&self, message: &Arc<Message>) -> Result<(), HandleError> {
        let Some((handler, _)) = self.0.get(&message.kind) else {
            return Err(HandleError::Refused(format!("nobody here handles messages of the kind `{}`", message.kind)));
        };
        let (handler, message) = (handler.clone(), message.clone());
        // A task of its own, so that its panic is its own.
        let mut task = tokio::spawn(async move { handler.handle(&message).await });
        match tokio::time::timeout(Duration::from_millis(HANDLE_MS_MAX), &mut task).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(HandleError::Retry(format!("handling it failed: {panic}"))),
            Err(_) => {
                task.abort();
                Err(HandleError::Retry(format!("handling it took longer than {} s", HANDLE_MS_MAX / 1000)))
            }
        }
    }
}
