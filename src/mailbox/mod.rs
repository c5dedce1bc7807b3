//! The mailbox: a durable queue between producers and ingest.
//!
//! 1. A [`Message`] is put into a [`Mailbox`], which is durable when it says so.
//! 2. A [`Handler`] takes messages of its kind out, each at least once.
//!
//! Invariant: nothing here knows what a message means.

mod message;

pub use message::{HandleError, Handler, Mailbox, Message, Pending, PutError};
