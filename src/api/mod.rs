//! HTTP: what clients send and what they are told.
//!
//! 1. [`server`] accepts connections and bounds what a stranger may hold of them.
//! 2. [`middleware`] makes paths clean and knows who is asking; [`routes`] is the one table of what there is.
//!    [`place`] says where that is.
//! 3. A handler reads [`params`] or a [`body`], waits for its turn in [`admission`], asks `promql`, `ingest` or the
//!    store, and writes its answer with [`render`]. Errors become HTTP in [`error`].
//! 4. One file a family: [`v1`] is Prometheus' API, [`push`] a Pushgateway's, [`write`](mod@write) remote write.
//!
//! Invariant: handlers decide nothing about data. Every limit, merge and calculation lives below.

mod admission;
mod body;
mod error;
mod federate;
mod health;
mod middleware;
mod own_metrics;
mod params;
mod place;
mod push;
mod readers;
mod render;
mod router;
mod routes;
pub mod server;
mod state;
#[cfg(test)]
mod tests;
mod v1;
mod write;

pub use params::{parse_duration, parse_time};
pub use place::Place;
pub use render::result::push_data;
pub use router::{Pages, service};
pub use state::{About, Api, ApiConfig, InForce, Parts, ReloadRequest};
