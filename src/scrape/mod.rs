//! Scraping: asks targets what they measure, at even intervals, whatever they answer.
//!
//! 1. [`JobConfig`] says what is asked and how; a [`discovery::Discovery`] says whom, as groups of addresses.
//! 2. [`target`] makes targets of groups: labels, URL, and the [`schedule`] that spreads them over the interval.
//! 3. [`Manager`] runs one loop a target ([`scraper`]); a reload touches only the loops whose target or settings
//!    changed, and those keep their memory, so that no series ends which goes on.
//! 4. [`fetch`] asks over HTTP under limits of time and bytes; [`take`] turns lines into samples with the target's
//!    labels and hands them to `ingest::Scrape`, which knows what vanished.
//!
//! Invariant: no target can hold up another. Each has its own task, deadline and bounds, and large bodies take turns.
//!
//! What is not here yet: discovery beyond fixed lists, relabelling, protobuf.

mod config;
pub mod discovery;
mod fetch;
mod manager;
mod metrics;
mod schedule;
mod scraper;
mod take;
mod target;

pub use config::{Auth, Config, Group, JobConfig, Limits, Own, Protocol, Scheme, Secret, Tls};
pub use fetch::tls_config;
pub use manager::Manager;
pub use target::{Health, Status, Target};
