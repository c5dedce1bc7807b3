//! The listener's side of HTTP: connections, and what a stranger may hold of them.
//!
//! 1. [`accept`] takes every connection at once and never stops doing so.
//! 2. [`slots`] counts them, in all and by where they come from ([`peer`]); at the cap the one that has waited longest without a request makes room, never one that
//!    is being served.
//! 3. [`connection`] speaks HTTP/1.1 over one of them, and closes it where [`phase`] says that its time is over.
//!
//! Invariant: nothing here knows a route. What is served is any service from request to response.

mod accept;
mod connection;
mod peer;
mod phase;
mod slots;

pub use accept::{Server, ServerMetrics};
pub use peer::{Peer, stranger};
pub use phase::Timeouts;
