//! Native histograms, as Prometheus' remote write and query API define them.

/// The schema of histograms whose bucket bounds are given one by one in `custom_values`.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A run of consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First span: index of its first bucket. Later spans: gap to the end of the span before.
    pub offset: i32,
    pub length: u32,
}

/// What the sender knows of a counter reset before this histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    /// Not a counter: compared and added, never `rate`d.
    Gauge,
}

/// Whether the sender counts in whole numbers; kept so that the histogram can be given back as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CountKind {
    #[default]
    Float,
    Integer,
}

/// A native histogram. Bucket counts are absolute (not deltas, not cumulative).
///
/// Exponential bucket `i` of schema `s` ends at `2^(i * 2^-s)`; schema [`CUSTOM_BUCKETS_SCHEMA`] has
/// `custom_values` as inclusive upper bounds and an implicit last bucket up to infinity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    pub kind: CountKind,
    pub reset_hint: ResetHint,
    /// -4..=8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub positive_buckets: Vec<f64>,
    pub negative_spans: Vec<Span>,
    pub negative_buckets: Vec<f64>,
    pub custom_values: Vec<f64>,
}
