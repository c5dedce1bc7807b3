//! What a query answers: values with labels, annotations and figures about the work.

use super::ast::Span;
use crate::{
    model::{Histogram, Labels, Samples, Timestamp},
    store::{Origin, TierUse},
};
use std::{sync::Arc, time::Duration};

/// A float or a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// One element of an instant answer.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    pub labels: Labels,
    /// The time of the evaluation, milliseconds.
    pub at: Timestamp,
    pub value: SampleValue,
}

/// One series of a range answer, or of a range selector asked for at an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    pub labels: Labels,
    /// Never empty.
    pub samples: Samples,
}

/// The answer itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar {
        at: Timestamp,
        value: f64,
    },
    Text {
        at: Timestamp,
        text: String,
    },
    /// In the order of the evaluation: sorted only where the expression sorts.
    Vector(Vec<VectorSample>),
    /// Sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

/// The answer with what came along. Warnings and infos are sorted, unique, complete with prefix and position; a
/// caller that shows few of them cuts the lists.
#[derive(Debug, Clone)]
pub struct Answer {
    pub value: Value,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: Stats,
}

/// What the query took.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Samples decoded from the store.
    pub samples_read: u64,
    /// Samples offered to functions and lookups, each as often as a window held it.
    pub samples_queryable: u64,
    /// By evaluation step, with its time in milliseconds; empty unless asked for.
    pub samples_queryable_per_step: Vec<(Timestamp, u64)>,
    /// Samples held at the same time, at most.
    pub samples_peak: u64,
    /// Bytes of columns held at the same time, at most.
    pub bytes_peak: u64,
    pub timings: Timings,
    /// One for each node of the evaluation, parents first; empty unless asked for.
    pub nodes: Vec<NodeStats>,
    /// One for each selector, as often as it was planned; empty unless asked for.
    pub sources: Vec<SourceStats>,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    pub queue: Duration,
    /// Parsing, finding series, planning and what had to be computed to know the output series.
    pub preparation: Duration,
    pub evaluation: Duration,
    pub sorting: Duration,
    pub total: Duration,
}

/// The work of one node of the evaluation; its time includes that of the nodes below it, summed over workers.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeStats {
    pub span: Span,
    /// Output series known when it was planned.
    pub series_planned: u64,
    /// Columns that were computed, one a series; more where a node is computed twice.
    pub series: u64,
    pub samples: u64,
    pub nanoseconds: u64,
}

/// What a selector found and read.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStats {
    /// Of the selector without its range.
    pub span: Span,
    pub series: u64,
    pub samples: u64,
    pub origin: Origin,
    /// What was read from buckets in the place of samples, oldest first.
    pub tiers: Vec<TierUse>,
}
