//! The engine.
//!
//! 1. Every change is first a record of the [`log`], which is the truth until a window file or `kv` holds it durably.

pub mod log;
