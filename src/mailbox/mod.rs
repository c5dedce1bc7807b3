//! The mailbox: a durable queue between producers and ingest.
//!
//! 1. A [`Message`] is put into a [`Mailbox`], which is durable when it says so.
//! 2. [`Queue`] is the embedded one: messages and what became of them are small state in the store's log ([`record`]),
//!    their order and weight are in memory ([`index`]). Ids that were handled are remembered ([`handled`]), so that a
//!    message that comes twice takes effect once.
//! 3. [`workers`] takes messages out and gives each to the [`Handler`] of its kind ([`handlers`]), at least once, again
//!    after growing pauses ([`limits`]), and at last to the dead letters.
//! 4. [`redis`] is the other one: streams of a Redis server in the format of beast-mailbox-core, with the same handlers.
//! 5. [`Mailroom`] holds both: what those who run the server see and do.
//!
//! Invariant: nothing here knows what a message means.

mod handled;
mod handlers;
mod index;
mod limits;
mod mailroom;
mod message;
mod queue;
mod record;
mod redis;
mod stats;
mod workers;

pub use handlers::Handlers;
pub use limits::{Limits, MESSAGE_BYTES_MAX};
pub use mailroom::{Counts, LetterError, Mailroom, Report, Which};
pub use message::{Accepted, HandleError, Handler, Mailbox, Message, Pending, PutError};
pub use queue::{DeadLetter, Depth, Queue};
pub use redis::{AddressError, RedisConfig, RedisReport, RedisStats, StreamReport};
pub use stats::{Outcome, Recent, Stats};
