//! The evaluator: from the tree to columns, series by series.
//!
//! 1. [`plan::Planner`] walks the tree. It finds series, lays out [`windows`], and gives each expression a
//!    [`node::Node`]: a list of output series whose labels are known before any sample is read.
//! 2. Nodes that work on each series alone ([`selector`], [`range_call`], [`map_call`], the plain case of [`join`])
//!    compute when a worker of the [`pool`] asks for a series: one pass over its samples fills a [`column::Column`],
//!    one value a step.
//! 3. Nodes that need many series for one ([`aggregate`], [`ranked`], [`set`], the ambiguous cases of [`join`])
//!    compute while planning, in parallel, and hold their columns.
//! 4. What does not depend on the step is planned for one step and repeated ([`node::Broadcast`]).
//! 5. What stands twice in a query is planned once ([`repeated`]).
//! 6. The [`context::Context`] carries what all share: the account of samples, bytes and time, and the
//!    [`annotations`].
//! 7. Where samples are kept in buckets, a point may stand for many: what counts samples counts weights, windows that
//!    cut buckets are [`widened`], and the context notes at each selector what that did to the answer.
//!
//! Invariant: the order of summation depends on the series alone, never on the number of workers.

mod accumulate;
mod aggregate;
pub mod annotations;
mod buckets;
pub mod column;
pub mod context;
pub mod duration;
pub mod hints;
mod histograms;
mod info;
mod join;
pub mod label_call;
mod map_call;
mod matching;
mod native;
mod native_edges;
mod native_sum;
pub mod node;
mod operate;
pub mod plan;
mod plan_calls;
pub mod pool;
pub mod range_call;
mod ranked;
pub mod repeated;
mod scalar;
pub mod selector;
mod set;
mod sliding_call;
mod smoothed;
mod widened;
mod windows;
