//! The composition root: the only place that knows every room.
//!
//! 1. [`listener`] opens the port, or says which one is free; [`directory`] makes the data directory ours alone.
//! 2. [`run()`](run::run) starts the rooms in the direction data flows (store, ingest, jobs, engine, scrapes, API), serves, and
//!    on a signal stops them backwards, each step with a deadline.
//! 3. [`reload`] reads the config again when asked: what is scraped and how this [`host`] is watched changes, or nothing does.
//! 4. [`overload`] watches the memory and has reads, then new series refused while it is short.
//! 5. [`offline`] opens a data directory that no server has, for tools; [`restore`](mod@restore) makes one of a backup.
//!    [`backup`] writes backups by itself, now and then.
//! 6. [`mailbox`] makes push groups of the messages that bring metrics, [`sonar`] joins the history of code quality with it.
//! 7. [`kinds`] tells the store what senders said of metrics. [`metrics`] shows what rooms count under the names dashboards
//!    know.
//!
//! Invariant: rooms get handles and their own settings, never the whole config, and none of them knows this one.

mod backup;
mod directory;
mod error;
mod host;
mod kinds;
mod known;
mod listener;
mod mailbox;
mod metrics;
mod offline;
mod overload;
mod reload;
mod restore;
mod run;
mod sonar;

pub use error::StartError;
pub use kinds::keeping;
pub use offline::Offline;
pub use restore::restore;
pub use run::{Settings, run};
