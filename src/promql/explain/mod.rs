//! Explain: what a query did, node by node, and why its answer is empty.
//!
//! 1. [`explain()`] evaluates the query with everything measured and lays the figures over the syntax tree ([`plan`]).
//! 2. Where nothing came out, [`empty`] walks from the top to the first expression that had something and gave
//!    nothing, and says why in a sentence.
//! 3. [`selector`] does so for a selector: no such metric, a matcher that excludes everything, no sample at that time.
//! 4. [`operator`] does so for two sides that do not match.
//!
//! Invariant: the query itself is evaluated as always; what is asked beyond that is asked only where it came out empty.

mod empty;
mod operator;
mod plan;
mod selector;
#[cfg(test)]
mod tests;

pub use empty::{Reason, ReasonKind};
pub use plan::{Explanation, PlanNode, explain};
