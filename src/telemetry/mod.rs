//! What the process tells about itself: metrics for `/metrics`, a log on standard error, and what was built.
//!
//! 1. [`build`] names version and commit.
//! 2. [`Metrics`] is the registry that rooms put their counters in; [`process`] adds what the kernel knows of us, [`memory`] what
//!    of it we have and may have.
//! 3. [`log`] sets up tracing, as text for people or JSON for machines.
//!
//! Invariant: nothing here is stored, and no domain word is known: rooms bring their own names.

pub mod build;
pub mod log;
pub mod memory;
pub mod process;

mod metrics;

pub use metrics::{Kind, Metrics, Reading};
