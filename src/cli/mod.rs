//! The command line: one file a subcommand.
//!
//! 1. [`arguments`] is what may be written, with its help.
//! 2. [`run()`] calls [`up`], [`config`] or [`token`] and turns what goes wrong into a text and an exit code.

mod arguments;
mod config;
mod dispatch;
mod token;
mod up;

pub use dispatch::run;
