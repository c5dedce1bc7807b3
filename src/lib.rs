//! Beast Observatory: pushes, scrapes and remote writes in; PromQL out; one process, one data directory.
//!
//! The rooms in reading order, lower floors first; a file imports only from its own room or a lower floor:
//! [`stdx`] · [`model`], [`telemetry`] · [`store`], [`protocol`] · [`ingest`], [`promql`], [`jobs`], [`mailbox`], [`auth`] · [`hosts`],
//! [`scrape`], [`sonar`] · [`api`], [`web`] · [`config`] · [`app`] · [`cli`]. `docs/ARCHITECTURE.md` walks a push and a query
//! through them.

pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod hosts;
pub mod ingest;
pub mod jobs;
pub mod mailbox;
pub mod model;
pub mod promql;
pub mod protocol;
pub mod scrape;
pub mod sonar;
pub mod stdx;
pub mod store;
pub mod telemetry;
pub mod web;
