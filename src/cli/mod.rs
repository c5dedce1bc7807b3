//! The command line: one file a subcommand.
//!
//! 1. [`arguments`] is what may be written, with its help.
//! 2. [`run()`] calls [`up`], [`config`], [`token`], [`query`], [`storage`], [`sonar`], [`delete`], [`backup`],
//!    [`restore`] or [`mailbox`] and turns what goes wrong into a text and an exit code.
//! 3. [`client`] asks a running server for those that can; [`storage_table`] prints its report on the store,
//!    [`storage_plan`] what a config would let go, [`plain`] what strangers wrote.

mod arguments;
mod backup;
mod client;
mod config;
mod delete;
mod dispatch;
mod mailbox;
mod plain;
mod query;
mod restore;
mod sonar;
mod storage;
mod storage_plan;
mod storage_table;
mod token;
mod up;

pub use dispatch::run;
