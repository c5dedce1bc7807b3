//! What functions want of buckets, and how what is there relates to it.

use super::columns::{Column, Columns};
use crate::{model::Timestamp, store::Fidelity};

/// What a function wants of buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The value that is visible at a time: instant selectors.
    Instant,
    /// The last value of a window.
    Last,
    /// How many samples a window has.
    Counts,
    /// Sums of values; weights tell of how many.
    Sums,
    Minima,
    Maxima,
    /// First and last value of a window and what counter resets took away.
    Ends,
    /// How many counter resets there were.
    Resets,
    /// How values follow each other.
    Course,
    /// Every value.
    Values,
}

/// The shape that a function wants of its selector: `None` for a selector that stands alone. `range_ms` is 0 for an
/// instant selector, whatever is done with its values.
pub fn shape_of(function: Option<&str>, range_ms: i64) -> Shape {
    if range_ms == 0 {
        return Shape::Instant;
    }
    match function.unwrap_or_default() {
        "last_over_time" | "ts_of_last_over_time" => Shape::Last,
        "count_over_time" | "present_over_time" | "absent_over_time" => Shape::Counts,
        "sum_over_time" | "avg_over_time" => Shape::Sums,
        "min_over_time" => Shape::Minima,
        "max_over_time" => Shape::Maxima,
        "rate" | "increase" | "delta" | "first_over_time" | "ts_of_first_over_time" => Shape::Ends,
        "resets" => Shape::Resets,
        "irate" | "idelta" | "changes" | "deriv" | "predict_linear" | "double_exponential_smoothing" => Shape::Course,
        _ => Shape::Values,
    }
}

/// How an answer from buckets with `columns` relates to that from samples. `aligned`: every window begins and ends on
/// the edge of a bucket.
pub fn fidelity(shape: Shape, columns: Columns, aligned: bool) -> Fidelity {
    let has = |column| columns.has(column);
    let floats = match shape {
        Shape::Instant | Shape::Last | Shape::Counts => true,
        Shape::Sums => has(Column::Sum),
        Shape::Minima | Shape::Maxima => has(Column::Min) && has(Column::Max) || !has(Column::Resets),
        Shape::Ends => has(Column::First),
        // A fall between two buckets is seen, one within a bucket is known but not how many there were.
        Shape::Resets => has(Column::First) && !has(Column::Resets),
        Shape::Course | Shape::Values => false,
    };
    let counters = match shape {
        // Both sides of every reset are kept.
        Shape::Instant | Shape::Last | Shape::Counts | Shape::Ends | Shape::Resets => true,
        // Smallest and largest are asked of floats only.
        Shape::Minima | Shape::Maxima => true,
        Shape::Sums | Shape::Course | Shape::Values => false,
    };
    let gauges = match shape {
        Shape::Instant | Shape::Last | Shape::Counts | Shape::Sums | Shape::Minima | Shape::Maxima => true,
        Shape::Ends | Shape::Resets | Shape::Course | Shape::Values => false,
    };
    let there = [
        (has(Column::Last), floats),
        (columns.has_all(Columns::HISTOGRAMS), counters),
        (columns.has_all(Columns::GAUGE_HISTOGRAMS), gauges),
    ];
    match there.iter().all(|(is_there, is_exact)| !is_there || *is_exact) {
        true if aligned => Fidelity::Exact,
        true => Fidelity::Widened,
        false => Fidelity::Approximate,
    }
}

/// How a selection wants buckets to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub shape: Shape,
    /// Every window begins and ends on the edge of a bucket.
    pub aligned: bool,
    /// The first time that is evaluated at; the next ones follow every `step_ms`, or there is none.
    pub first_ms: Timestamp,
    pub step_ms: i64,
    pub lookback_ms: i64,
}
