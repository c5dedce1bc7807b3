//! The text format 0.0.4, read without copying.
//!
//! 1. [`parse`] walks the lines; names, values and help stay slices of the body unless they hold an escape.
//! 2. Each sample goes to a [`Family`]: the one its name has, or the histogram or summary it is a part of.
//! 3. [`ParseError`] names the line and what to do about it.
//!
//! Kinder than the Pushgateway in three things: the last line needs no line break (so `curl -d` works), lines may end
//! in CRLF, and names may be quoted UTF-8. Scrapes are read by [`super::scraped`], which shares the lexing.

mod error;
mod labels;
mod parser;

pub(super) use error::echo;
pub use error::{ParseError, ParseErrorKind};
pub(super) use labels::{metric_name_length, read_labels, read_quoted, skip_blanks};
pub use parser::{parse, parse_bytes};
pub(super) use parser::{parse_type, split_token, unescape_help};

use super::limits::LabelLimits;
use crate::model::{Histogram, MetricType, Timestamp};
use std::{borrow::Cow, ops::Range, sync::Arc};

/// How large an exposition may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub labels: LabelLimits,
    /// Bytes of a line: more than the largest label set that is allowed can need.
    pub line_bytes_max: usize,
    /// Samples in one body: what one push may cost the store.
    pub series_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { labels: LabelLimits::default(), line_bytes_max: 512 * 1024, series_max: 20_000 }
    }
}

/// A label as written; the value may be empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Label<'a> {
    pub name: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

/// What a sample holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Float(f64),
    /// Comes through protobuf alone.
    Histogram(Arc<Histogram>),
}

/// One sample: its family by index, its labels by range.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    pub family: usize,
    pub name: Cow<'a, str>,
    pub value: Value,
    /// Milliseconds, where the sender gave one.
    pub timestamp: Option<Timestamp>,
    labels: Range<usize>,
}

/// What was said of a metric family. One without samples is possible: it was only described.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family<'a> {
    pub name: Cow<'a, str>,
    pub metric_type: MetricType,
    pub help: Cow<'a, str>,
    /// How many of the samples belong to it.
    pub samples: usize,
}

/// A parsed body: families and samples in the order they came, labels in one list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition<'a> {
    pub families: Vec<Family<'a>>,
    pub samples: Vec<Sample<'a>>,
    labels: Vec<Label<'a>>,
}

impl<'a> Exposition<'a> {
    /// The labels of a sample of this exposition, in the order written.
    pub fn labels(&self, sample: &Sample<'a>) -> &[Label<'a>] {
        &self.labels[sample.labels.clone()]
    }

    /// Adds a sample to a family that is already listed.
    pub(super) fn push_sample(
        &mut self,
        family: usize,
        name: Cow<'a, str>,
        labels: impl IntoIterator<Item = Label<'a>>,
        value: Value,
        timestamp: Option<Timestamp>,
    ) {
        let from = self.labels.len();
        self.labels.extend(labels);
        self.families[family].samples += 1;
        self.samples.push(Sample { family, name, value, timestamp, labels: from..self.labels.len() });
    }
}
