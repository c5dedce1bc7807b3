//! PromQL: from text to columns.
//!
//! 1. [`parser`] turns text into the tree of [`ast`], checks types against [`functions::FUNCTIONS`] and reports errors
//!    with line and column. Pure.
//! 2. [`eval`] turns the tree into nodes that answer series by series over all steps; [`histogram`] is what it knows of
//!    native histograms. Pure.
//! 3. [`Engine`](engine::Engine) runs both under limits, on a fixed pool.
//! 4. [`explain`] shows what a query did, and why its answer is empty.

pub mod ast;
pub mod engine;
pub mod eval;
pub mod explain;
pub mod functions;
pub mod limits;
pub mod parser;
pub mod value;

pub use crate::model::native as histogram;
pub use engine::{Engine, EngineConfig, QueryOptions};
