//! The head: what is in memory, cut into two-hour windows, any of which takes appends.
//!
//! 1. [`Catalog`](catalog::Catalog) gives every label set in memory a stable id and finds ids by matchers.
//! 2. A window is cut into [`Partition`](partition::Partition)s, one a shard, each behind its own lock; the series of
//!    one source live in one shard, so a scrape takes one lock.
//! 3. A partition holds a [`Column`](column::Column) for each series and [`Clock`](clock::Clock)s they share; a column
//!    compresses its values as they come ([`values`]).
//! 4. A column whose samples differ in whether they overwrite older ones says of which: `mixed`.
//! 5. [`Head`] routes batches to partitions, keeps open runs, and hands whole windows to the sealer.

pub mod catalog;
pub mod clock;
pub mod column;
mod mixed;
mod partition;
mod postings;
mod route;
mod sort;
pub mod values;

pub use mixed::Part;
pub use partition::{Cursor, IdMap, Partition};
pub use postings::Postings;
pub use route::{FrozenWindow, Head, Moment, SharedPartition, WindowUse};
pub use sort::sort_samples;
