//! Tiers: what stays of samples that are gone, in buckets of time.
//!
//! 1. A bucket `(k·R, (k+1)·R]` of a series becomes a [`Row`](buckets): first and last value, how many there were, their sum and
//!    so on. Which of these are kept, the [`kind`] of the series says; they are the [`columns`] of its record.
//! 2. [`build_tiers`] makes the files of all resolutions in one pass over blocks of samples. A bucket is built once: where
//!    samples are gone, what comes late fills empty buckets only.
//! 3. A function wants a [`Shape`] of buckets; [`fidelity`] decides how what is there relates to what samples would have
//!    given. `docs/formats/tiers.md` is generated from it.
//! 4. [`read_tier`] gives buckets as samples that stand for them, with weights, and decodes the columns it needs alone.
//!
//! Files have the format of blocks, see `docs/formats/tiers.md`. Columns lie on clocks like samples do, at the time of
//! the first or the last sample of each bucket: these times are shared by all series of a source and cost next to nothing.
//!
//! Invariant: building is a pure function of the blocks and the file that were there.

mod buckets;
mod build;
mod choice;
mod columns;
mod grid;
mod histograms;
mod kind;
mod late;
mod read;
mod resets;
#[cfg(test)]
mod tests;

pub use buckets::bucket_end;
pub use build::{TierTarget, build_tiers};
pub use choice::{Reading, Shape, fidelity, shape_of};
pub use columns::{Column, Columns, columns_of};
pub use kind::{MetricKind, kind_by_name};
pub use late::{drop_filled, filled_buckets};
pub use read::read_tier;
