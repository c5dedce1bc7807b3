//! The command line: one file a subcommand.
//!
//! 1. [`arguments`] is what may be written, with its help.
//! 2. [`run()`] calls [`up`], [`config`], [`token`], [`query`], [`backup`] or [`restore`] and turns what goes wrong into a text and an exit code.

mod arguments;
mod backup;
mod config;
mod dispatch;
mod query;
mod restore;
mod token;
mod up;

pub use dispatch::run;
