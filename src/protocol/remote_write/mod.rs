//! Remote write 1.0, read by hand from the decompressed bytes, because it is the busiest path of the house.
//!
//! 1. [`entries`] walks a `WriteRequest` and gives the bytes of each `TimeSeries` and metadata entry.
//! 2. [`read_time_series`] pushes a series' samples into the caller's columns and gives back the *raw bytes* of its
//!    label fields: senders repeat them bit by bit, so they serve as a cache key before any label is looked at.
//! 3. [`decode_labels`] is for the first time a series is seen: UTF-8, order, duplicates, limits.
//! 4. [`decode_histogram`] is for native histograms.
//! 5. [`RequestEncoder`] writes what the others read.

mod encode;
mod histogram;
mod labels;
mod series;

pub use encode::{RequestEncoder, encode_histogram};
pub use histogram::{HistogramDecodeError, decode_histogram};
pub use labels::{LabelProblem, decode_exemplar, decode_labels};
pub use series::{Entries, Entry, MetadataEntry, TimeSeries, entries, read_metadata, read_time_series};
