//! A message, who takes it where it is put, and who it is for.

use crate::model::Timestamp;
use std::{future::Future, pin::Pin};

/// What travels. The fields are those of a stream entry of beast-mailbox-core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Names it among all messages: one that comes again is not handled again.
    pub id: String,
    /// Says who handles it, such as `METRICS_UPDATE`.
    pub kind: String,
    pub sender: String,
    pub recipient: String,
    /// JSON.
    pub payload: String,
    /// When it was put in, in milliseconds since the Unix epoch.
    pub created_ms: Timestamp,
}

/// Work that somebody waits for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where producers put messages.
pub trait Mailbox: Send + Sync {
    /// Takes a message. Once this is `Ok` it will be handled at least once, whatever happens to the process, or was.
    fn put(&self, message: Message) -> Pending<'_, Result<Accepted, PutError>>;
}

/// What a mailbox says that took a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is going to be handled.
    Waits,
    /// One of its id is gone already, handled or dropped by hand: this one will not be handled. Only the embedded queue
    /// knows that here; Redis is told when the message comes out.
    Gone,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("the mailbox is full: {bytes} bytes wait; put it again later")]
    Full { bytes: u64 },
    #[error("a message of {bytes} bytes is larger than the {bytes_max} bytes a message may have")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the mailbox cannot be reached now: {0}")]
    Unavailable(String),
}

/// Takes messages of a kind out of the mailbox.
pub trait Handler: Send + Sync {
    /// Does what the message asks for, durably: after `Ok` it is gone. The same message may come again after a crash, so
    /// doing it twice must change nothing.
    fn handle<'a>(&'a self, message: &'a Message) -> Pending<'a, Result<(), HandleError>>;
}

/// Why a message was not handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Later it may go well: it is tried again with growing pauses.
    #[error("{0}")]
    Retry(String),
    /// It never will: the message goes to the dead letters, where it can be looked at.
    #[error("{0}")]
    Refused(String),
}
