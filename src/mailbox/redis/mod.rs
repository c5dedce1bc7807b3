//! The mailbox as streams of a Redis server, in the format of beast-mailbox-core, so that its programs and ours may write
//! to each other.
//!
//! 1. [`RedisConfig`] says where the server is and who we are there: agent `metrics` below prefix `beast:observatory` has
//!    the inbox `beast:observatory:metrics:in` and the group `metrics:group`.
//! 2. [`link`] connects, with patience and time limits; [`commands`] are the commands, [`reply`] reads what comes back,
//!    from servers of either protocol.
//! 3. [`producer`] puts messages in. [`entry`] reads what others wrote, forgivingly.
//! 4. [`consumer`] lives as long as the process: it takes over what was left pending, reads on, and acknowledges what a
//!    handler has done and the store has on disk. What cannot be handled goes to a stream of dead letters ([`dead`]).
//! 5. [`loss`] notices entries that were trimmed before anybody read them.
//!
//! Invariant: nothing else in the program names the `redis` crate, and nothing here prints a password.

mod commands;
mod config;
mod consumer;
mod dead;
mod entry;
mod link;
mod loss;
mod producer;
mod reply;
mod stats;

pub use config::{AddressError, RedisConfig};
pub use stats::{RedisReport, RedisStats, StreamReport};

pub(super) use commands::Seat;
pub(super) use consumer::Consumer;
pub(super) use dead::DeadStream;
pub(super) use link::Link;
pub(super) use producer::Producer;
