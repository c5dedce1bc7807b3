//! SonarQube and SonarCloud: the history of code quality beside the metrics.
//!
//! 1. [`Sonar`] runs a sync every so often, when somebody asks for one, and after a [`webhook`]. The first one is a job.
//! 2. A [`sync`] lists projects and branches and, for each [`branch`], reads what [`plan`] says is missing: page by page,
//!    in rising order, through the [`client`], which keeps to a [`budget`] and tells failures apart. [`answers`] are the
//!    calls.
//! 3. Each [`page`] is one message in the mailbox. The next one is read when the cursor of this one has moved.
//! 4. The [`recorder`] takes it out: [`history`] turns it into runs and samples under the names of [`naming`], and
//!    `ingest` stores them and behind them the branch's [`state`], the cursor within.
//! 5. The [`board`] and [`SonarMetrics`] say how it stands.
//!
//! Invariants: the cursor moves exactly when what it speaks of is stored. A value that was not measured is never a zero.
//! What the server forgets later is kept here.

mod answers;
mod board;
mod branch;
mod budget;
mod catalogue;
mod client;
mod config;
mod date;
mod history;
mod manager;
mod metrics;
mod naming;
mod page;
mod plan;
mod recorder;
mod refused;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod webhook;

pub use catalogue::default_keys;
pub use client::{Surroundings, TlsSource};
pub use config::{Branches, Config, Projects};
pub use history::EVENT;
pub use manager::{BranchStatus, JOB_KIND, Parts, ProjectStatus, Sonar, StartError, Status, WebhookError};
pub use metrics::SonarMetrics;
pub use naming::Scheme;
pub use page::KIND as MESSAGE_KIND;
pub use sync::Scope;
pub use webhook::{Asked, BODY_BYTES_MAX, SECRET_BYTES_MIN, SIGNATURE_HEADER};
