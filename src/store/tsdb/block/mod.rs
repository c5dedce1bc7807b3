//! Blocks: samples on disk, immutable, checksummed, mapped into memory.
//!
//! 1. A [`Writer`](writer::Writer) takes series in the order of their labels, puts their chunks into one file and then
//!    what finds them: [`clocks`] shared by the series of a source, the [`dictionary`] of labels, [`postings`].
//! 2. [`seal`] gives it the frozen partitions of a window as they are; [`merge`] reads several blocks as a query would
//!    and writes one in their place, its values packed by [`values`].
//! 3. [`Block`] opens a file, finds series by matchers from its [`index`](lookup) alone and decodes what a range needs.
//! 4. What was deleted is cut out when it is read ([`cuts`]), until a merge writes a block without it.
//!
//! `docs/formats/block.md` describes the bytes field by field, `docs/design/0003-blocks.md` says why.
//! Invariant: a file appears under its name only when it is complete and synced; it is never changed.

mod clocks;
mod columns;
mod cuts;
mod dictionary;
mod draft;
mod format;
mod lookup;
mod merge;
mod order;
mod postings;
mod reader;
mod seal;
mod series;
#[cfg(test)]
mod tests;
mod values;
mod version;
mod writer;

pub use clocks::ClockSet;
pub use columns::Record;
pub use cuts::{Cuts, Stored};
pub use draft::Draft;
pub use format::Footer;
pub use merge::{Heads, MergeTarget, Progress, Watch, bounds, merge_blocks};
pub use order::{Place, put_in_order};
pub use reader::{Block, ClockCache, Damaged};
pub use seal::seal_windows;
pub use series::Weight;
pub use version::newer_format;
pub use writer::{Plan, Writer};
