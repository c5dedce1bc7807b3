//! Functions that change labels and leave values alone, and those that only order or ask for presence.

use super::{
    column::{Bits, Column},
    context::Context,
    node::{Held, Node, OwnLabels, SeriesLabels, hold_columns, is_metadata_label, presences},
    pool::Scratch,
};
use crate::{
    model::{Labels, METRIC_NAME, MatchOp, Matcher},
    promql::{
        functions::{over_time::ascending, text},
        limits::QueryError,
    },
};
use regex::RegexBuilder;
use std::{cmp::Ordering, sync::Arc};

/// The compiled form of a regex in a query may take this much, as for matchers.
const REGEX_BYTES_MAX: usize = 2 << 20;

/// A node whose series have other labels than its input's.
pub struct Relabeled {
    pub input: Arc<dyn Node>,
    pub labels: Vec<OwnLabels>,
}

impl Node for Relabeled {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.labels[index].borrow()
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        self.input.fill(index, out, scratch)
    }

    fn names_matter(&self) -> bool {
        true
    }

    fn weight(&self) -> usize {
        self.input.weight()
    }

    fn order(&self) -> Option<&[u32]> {
        self.input.order()
    }
}

/// `label_replace`.
pub fn replace(
    input: Arc<dyn Node>,
    target: &str,
    template: &str,
    source: &str,
    pattern: &str,
) -> Result<Relabeled, QueryError> {
    let regex = RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build();
    let regex = regex
        .map_err(|_| QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    if target.is_empty() {
        return Err(QueryError::execution(format!("invalid destination label name in label_replace(): {target}")));
    }
    let mut value = String::new();
    let labels = (0..input.len()).map(|index| {
        let labels = input.labels(index);
        let Some(captures) = regex.captures(labels.get(source).unwrap_or_default()) else {
            return OwnLabels::of(labels);
        };
        value.clear();
        text::expand(template, &captures, &mut value);
        with_label(labels, target, &value)
    });
    let labels = labels.collect();
    Ok(Relabeled { input, labels })
}

/// `label_join`.
pub fn join(input: Arc<dyn Node>, target: &str, separator: &str, sources: &[String]) -> Result<Relabeled, QueryError> {
    if sources.iter().any(String::is_empty) {
        return Err(QueryError::execution("invalid source label name in label_join(): "));
    }
    if target.is_empty() {
        return Err(QueryError::execution("invalid destination label name in label_join(): "));
    }
    let labels = (0..input.len()).map(|index| {
        let labels = input.labels(index);
        let values: Vec<&str> = sources.iter().map(|s| labels.get(s).unwrap_or_default()).collect();
        with_label(labels, target, &values.join(separator))
    });
    let labels = labels.collect();
    Ok(Relabeled { input, labels })
}

fn with_label(labels: SeriesLabels<'_>, name: &str, value: &str) -> OwnLabels {
    let mut builder = labels.to_labels().builder();
    builder.set(name, value);
    // A name that was set on purpose stays.
    OwnLabels { labels: builder.build(), pending: labels.pending && name != METRIC_NAME }
}

/// `absent` and `absent_over_time`: 1 at the steps where no series has a value.
pub fn absent(context: &Arc<Context>, input: &Arc<dyn Node>, steps: usize, labels: Labels) -> Result<Held, QueryError> {
    let mut seen = Bits::new(steps);
    presences(context, input)?.iter().for_each(|bits| seen.or(bits));
    seen.invert();
    let column = Column { values: vec![1.0; steps], present: seen, histograms: Vec::new() };
    Held::new(context, steps, vec![OwnLabels::plain(labels)], vec![column])
}

/// The labels `absent` can tell from the selector it was asked about.
pub fn absent_labels(matchers: Option<&[Matcher]>) -> Labels {
    let mut builder = Labels::empty().builder();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.unwrap_or_default() {
        if matcher.name == METRIC_NAME {
            continue;
        }
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}

/// How an instant answer is ordered.
pub enum Sorting {
    Value { descending: bool },
    Labels { names: Vec<String>, descending: bool },
}

/// `sort` and its kin: the order counts where there is one step.
pub fn sort(
    context: &Arc<Context>,
    input: &Arc<dyn Node>,
    steps: usize,
    sorting: &Sorting,
) -> Result<Held, QueryError> {
    let (mut columns, _charge) = hold_columns(context, input)?;
    let labels: Vec<OwnLabels> = (0..input.len()).map(|i| OwnLabels::of(input.labels(i))).collect();
    let mut order: Vec<u32> = (0..columns.len() as u32).collect();
    match sorting {
        Sorting::Value { descending } => {
            columns.iter_mut().for_each(|c| c.histograms.clear());
            let value = |index: &u32| columns[*index as usize].values.first().copied().unwrap_or(f64::NAN);
            // NaN comes last either way.
            order.sort_by(|a, b| match (value(a).is_nan(), value(b).is_nan()) {
                (false, false) if *descending => ascending(value(b), value(a)),
                (false, false) => ascending(value(a), value(b)),
                (a, b) => a.cmp(&b),
            });
        }
        Sorting::Labels { names, descending } => order.sort_by(|a, b| {
            let (a, b) = (&labels[*a as usize].labels, &labels[*b as usize].labels);
            let by_names = names
                .iter()
                .map(|name| text::natural_order(a.get(name).unwrap_or_default(), b.get(name).unwrap_or_default()));
            let order = by_names.into_iter().find(|o| *o != Ordering::Equal).unwrap_or_else(|| a.cmp(b));
            if *descending { order.reverse() } else { order }
        }),
    }
    let mut held = Held::new(context, steps, labels, columns)?;
    held.order = Some(order);
    held.names_matter = input.names_matter();
    Ok(held)
}

/// `scalar`: the value where exactly one series has one.
pub fn scalar(context: &Arc<Context>, input: &Arc<dyn Node>, steps: usize) -> Result<Vec<f64>, QueryError> {
    let (columns, _charge) = hold_columns(context, input)?;
    let mut counts = vec![0u32; steps];
    let mut values = vec![f64::NAN; steps];
    for column in &columns {
        for step in column.present.ones() {
            counts[step] += 1;
            values[step] = if counts[step] == 1 { column.values[step] } else { f64::NAN };
        }
    }
    Ok(values)
}

/// Drops the metadata labels that wait for the answer to be complete.
pub fn without_pending_names(input: Arc<dyn Node>) -> Relabeled {
    let labels = (0..input.len()).map(|index| {
        let labels = input.labels(index);
        let kept = if labels.pending {
            labels.to_labels().filtered(|name| !is_metadata_label(name))
        } else {
            labels.to_labels()
        };
        OwnLabels::plain(kept)
    });
    let labels = labels.collect();
    Relabeled { input, labels }
}
