//! `observatory query`: a question in PromQL from the terminal.
//!
//! 1. [`run`] reads what is asked, and says with a caret what is wrong with the expression.
//! 2. `client` asks a running server over HTTP; [`disk`] reads a data directory that no server has.
//! 3. [`outcome`] is what both give; [`text`] writes it as a table or CSV, [`chart`] draws it.

mod chart;
mod disk;
mod outcome;
mod run;
mod text;

pub use run::query;
