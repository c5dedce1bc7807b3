//! The nouns every room shares: what a label set, a sample, a histogram and a matcher are.
//!
//! 1. [`Labels`] names a series; [`Matcher`] asks for some of them.
//! 2. [`Samples`] carries what a series holds: a float column and native [`Histogram`]s, both in time order.
//!    [`Exemplar`]s point from some of its samples at events.
//!    [`native`] is the mathematics of native histograms.
//! 3. [`TimeRange`] and the duration functions of [`time`] speak milliseconds since the Unix epoch.
//! 4. [`Metadata`] is what an exposition says of a metric family.
//! 5. [`number`] prints floats as Go's `strconv` does, for the wires that expect it.
//!
//! Invariant: plain data. Nothing here does I/O, asks a clock or knows who uses it.

mod exemplar;
mod histogram;
mod labels;
mod matcher;
mod metadata;
pub mod native;
pub mod number;
mod sample;
pub mod time;

pub use exemplar::Exemplar;
pub use histogram::{CUSTOM_BUCKETS_SCHEMA, CountKind, Histogram, ResetHint, Span};
pub use labels::{LabelError, Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{Metadata, MetricType};
pub use sample::{HistogramSample, STALE_NAN, STALE_NAN_BITS, Samples, is_stale};
pub use time::{TimeRange, Timestamp};
