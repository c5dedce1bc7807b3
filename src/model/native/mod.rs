//! The mathematics of native histograms. Pure.
//!
//! 1. `buckets` walks the buckets of a histogram with their bounds, in both directions: [`all_buckets`].
//! 2. `layout` finds bucket boundaries two histograms can both be brought to; `arithmetic` adds, subtracts and scales
//!    over them, [`HistogramSum`] adds many without losing digits.
//! 3. `reset` tells a counter that went on from one that began anew.
//! 4. `statistics` estimates quantiles, fractions and deviations, `trim` cuts at a bound.
//! 5. `print` writes buckets as people read them.
//!
//! Invariant: no histogram makes anything here panic or loop, however malformed its spans are.

mod arithmetic;
mod buckets;
mod layout;
mod print;
mod reset;
mod statistics;
mod sum;
mod trim;

pub use arithmetic::{add, compact, div, equal, mul, sub};
pub use buckets::{Bucket, all_buckets, uses_custom_buckets};
pub use layout::{Combined, MixedSchemas};
pub use reset::{chunked_hint, detect_reset};
pub use statistics::{NanEffect, Quantile, avg, fraction, quantile, stddev, stdvar};
pub use sum::HistogramSum;
pub use trim::{trim_lower, trim_upper};
