//! A node of the evaluation: a list of series whose labels are known, each of which can be computed over all steps.
//!
//! Nodes that work series by series compute nothing until [`Node::fill`] asks, from any worker, so a chain of them
//! holds one series a worker. Nodes that need many series for one output compute when they are planned and keep the
//! result ([`Held`]), their inputs being dropped as they stream by.

use super::{
    column::{Bits, Column},
    context::{Charge, Context, Counters, Keys},
    pool::Scratch,
};
use crate::{
    model::{Labels, METRIC_NAME},
    promql::limits::QueryError,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// What operations remove that make another metric of a series: its name and what describes it.
pub fn is_metadata_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The message for two series of one answer that cannot be told apart.
pub const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

/// The labels of an output series, by reference to where they came from.
#[derive(Debug, Clone, Copy)]
pub struct SeriesLabels<'a> {
    pub labels: &'a Labels,
    /// The metadata labels are gone already.
    pub nameless: bool,
    /// The metadata labels go when the answer is complete (delayed name removal).
    pub pending: bool,
}

impl<'a> SeriesLabels<'a> {
    pub fn plain(labels: &'a Labels) -> SeriesLabels<'a> {
        SeriesLabels { labels, nameless: false, pending: false }
    }

    pub fn get(&self, name: &str) -> Option<&'a str> {
        if self.nameless && is_metadata_label(name) { None } else { self.labels.get(name) }
    }

    pub fn metric_name(&self) -> &'a str {
        self.get(METRIC_NAME).unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let nameless = self.nameless;
        self.labels.iter().filter(move |(name, _)| !(nameless && is_metadata_label(name)))
    }

    pub fn to_labels(&self) -> Labels {
        if self.nameless { self.labels.filtered(|name| !is_metadata_label(name)) } else { self.labels.clone() }
    }

    /// As the answer shows them.
    pub fn final_labels(&self) -> Labels {
        SeriesLabels { nameless: self.nameless || self.pending, ..*self }.to_labels()
    }

    /// Takes the name away, now or at the end.
    pub fn renamed(self, delayed: bool) -> SeriesLabels<'a> {
        if delayed { SeriesLabels { pending: true, ..self } } else { SeriesLabels { nameless: true, ..self } }
    }

    /// Writes a key equal for series with equal values of the labels `keep` accepts.
    pub fn write_key(&self, key: &mut Vec<u8>, mut keep: impl FnMut(&str) -> bool) {
        key.clear();
        for (name, value) in self.iter() {
            if keep(name) {
                for part in [name, value] {
                    key.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    key.extend_from_slice(part.as_bytes());
                }
            }
        }
    }
}

/// See the module.
pub trait Node: Send + Sync {
    /// How many series there may be; some may turn out to have no value at all.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_>;

    /// Replaces what `out` holds by the values of series `index`.
    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError>;

    /// Whether series may be told apart by their metadata labels alone.
    fn names_matter(&self) -> bool;

    /// A rough count of the samples that filling one series touches.
    fn weight(&self) -> usize;

    /// Whether columns are kept, so that filling one computes nothing.
    fn is_held(&self) -> bool {
        false
    }

    /// The order of an instant answer, where the expression gives one: indexes of series.
    fn order(&self) -> Option<&[u32]> {
        None
    }
}

/// Series without any: what an expression over nothing yields.
pub struct Nothing;

impl Node for Nothing {
    fn len(&self) -> usize {
        0
    }

    fn labels(&self, _index: usize) -> SeriesLabels<'_> {
        unreachable!("there is no series to ask for")
    }

    fn fill(&self, _index: usize, _out: &mut Column, _scratch: &mut Scratch) -> Result<(), QueryError> {
        Ok(())
    }

    fn names_matter(&self) -> bool {
        false
    }

    fn weight(&self) -> usize {
        0
    }

    fn is_held(&self) -> bool {
        true
    }
}

/// Labels that are the node's own.
#[derive(Debug, Clone)]
pub struct OwnLabels {
    pub labels: Labels,
    pub pending: bool,
}

impl OwnLabels {
    pub fn of(labels: SeriesLabels<'_>) -> OwnLabels {
        OwnLabels { labels: labels.to_labels(), pending: labels.pending }
    }

    pub fn plain(labels: Labels) -> OwnLabels {
        OwnLabels { labels, pending: false }
    }

    pub fn borrow(&self) -> SeriesLabels<'_> {
        SeriesLabels { labels: &self.labels, nameless: false, pending: self.pending }
    }
}

/// Computed columns, kept.
pub struct Held {
    pub labels: Vec<OwnLabels>,
    pub columns: Vec<Column>,
    pub order: Option<Vec<u32>>,
    /// See [`Node::names_matter`].
    pub names_matter: bool,
    steps: usize,
    _charge: Charge,
}

impl Held {
    pub fn new(
        context: &Arc<Context>,
        steps: usize,
        labels: Vec<OwnLabels>,
        columns: Vec<Column>,
    ) -> Result<Held, QueryError> {
        let samples = columns.iter().map(Column::samples).sum();
        let bytes = columns.iter().map(Column::bytes).sum();
        let charge = Charge::new(context, samples, bytes)?;
        Ok(Held { labels, columns, order: None, names_matter: true, steps, _charge: charge })
    }
}

impl Node for Held {
    fn len(&self) -> usize {
        self.columns.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.labels[index].borrow()
    }

    fn fill(&self, index: usize, out: &mut Column, _scratch: &mut Scratch) -> Result<(), QueryError> {
        let column = &self.columns[index];
        // A column that never had a value is kept without memory.
        if column.steps() == self.steps {
            out.copy_from(column);
        } else {
            out.reset(self.steps);
        }
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.names_matter
    }

    fn weight(&self) -> usize {
        self.steps / 8 + 1
    }

    fn is_held(&self) -> bool {
        true
    }

    fn order(&self) -> Option<&[u32]> {
        self.order.as_deref()
    }
}

/// The value of one step, at every step.
pub struct Broadcast {
    pub inner: Arc<dyn Node>,
    pub steps: usize,
}

impl Node for Broadcast {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.inner.labels(index)
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let mut one = scratch.column(1);
        self.inner.fill(index, &mut one, scratch)?;
        out.reset(self.steps);
        if let Some(value) = one.get(0) {
            out.values.fill(value);
            out.present.set_all();
        } else if let Some(histogram) = one.histogram(0) {
            out.histograms.extend((0..self.steps as u32).map(|step| (step, histogram.clone())));
        }
        scratch.give_column(one);
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.inner.names_matter()
    }

    fn weight(&self) -> usize {
        self.inner.weight() + self.steps / 8
    }
}

/// Measures another node.
pub struct Measured {
    pub inner: Arc<dyn Node>,
    pub counters: Arc<Counters>,
}

impl Node for Measured {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.inner.labels(index)
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let begin = Instant::now();
        let result = self.inner.fill(index, out, scratch);
        let nanoseconds = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counters.series.fetch_add(1, Ordering::Relaxed);
        self.counters.samples.fetch_add(out.samples() as u64, Ordering::Relaxed);
        self.counters.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    fn names_matter(&self) -> bool {
        self.inner.names_matter()
    }

    fn weight(&self) -> usize {
        self.inner.weight()
    }

    fn is_held(&self) -> bool {
        self.inner.is_held()
    }

    fn order(&self) -> Option<&[u32]> {
        self.inner.order()
    }
}

/// How many series one piece of work takes: enough to pay for the hand-over, few enough to share out evenly.
pub const SERIES_PER_PIECE: usize = 16;

/// Computes something of every series of a node, in parallel, results in order of series.
pub fn map_series<T, F>(context: &Arc<Context>, node: &Arc<dyn Node>, function: F) -> Result<Vec<T>, QueryError>
where
    T: Send + 'static,
    F: Fn(usize, &mut Column, &mut Scratch) -> Result<T, QueryError> + Send + Sync + 'static,
{
    let count = node.len();
    let weight = count.saturating_mul(node.weight());
    let node = node.clone();
    let context_inside = context.clone();
    let pieces = context.pool.map(count.div_ceil(SERIES_PER_PIECE), weight, move |scratch, piece| {
        context_inside.budget.check()?;
        let mut column = scratch.column(0);
        let range = piece * SERIES_PER_PIECE..count.min((piece + 1) * SERIES_PER_PIECE);
        let mut results = Vec::with_capacity(range.len());
        for index in range {
            node.fill(index, &mut column, scratch)?;
            results.push(function(index, &mut column, scratch)?);
        }
        scratch.give_column(column);
        Ok(results)
    })?;
    Ok(pieces.into_iter().flatten().collect())
}

/// Computes and keeps every column of a node; the charge stands for their memory.
pub fn hold_columns(context: &Arc<Context>, node: &Arc<dyn Node>) -> Result<(Vec<Column>, Charge), QueryError> {
    let inside = context.clone();
    let columns = map_series(context, node, move |_, column, _| {
        if column.is_empty() {
            return Ok((Column::default(), None));
        }
        let kept = column.clone();
        let charge = Charge::new(&inside, kept.samples(), kept.bytes())?;
        Ok((kept, Some(charge)))
    })?;
    let samples = columns.iter().map(|(c, _)| c.samples()).sum();
    let bytes = columns.iter().map(|(c, _)| c.bytes()).sum();
    let (columns, charges): (Vec<Column>, Vec<Option<Charge>>) = columns.into_iter().unzip();
    drop(charges);
    Ok((columns, Charge::new(context, samples, bytes)?))
}

/// The steps at which each series has a value.
pub fn presences(context: &Arc<Context>, node: &Arc<dyn Node>) -> Result<Vec<Bits>, QueryError> {
    map_series(context, node, |_, column, _| {
        let mut bits = Bits::new(column.steps());
        column.presence_into(&mut bits);
        Ok(bits)
    })
}

/// What it takes for two series with equal labels to be an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// Both have a value at one step; else they are one series.
    AtOneStep,
    /// Both have a value at all.
    Anywhere,
}

/// Makes one series of those with equal labels, or fails where they clash.
pub fn merge_same_labels(
    context: &Arc<Context>,
    node: Arc<dyn Node>,
    steps: usize,
    clash: Clash,
) -> Result<Arc<dyn Node>, QueryError> {
    let mut keys = Keys::default();
    let mut key = Vec::new();
    let mut numbers = Vec::with_capacity(node.len());
    for index in 0..node.len() {
        context.look(index)?;
        node.labels(index).write_key(&mut key, |_| true);
        numbers.push(keys.number(&key).0);
    }
    if keys.count() == node.len() {
        return Ok(node);
    }
    let (columns, _charge) = hold_columns(context, &node)?;
    let mut labels: Vec<OwnLabels> = Vec::with_capacity(keys.count());
    let mut merged: Vec<Column> = Vec::with_capacity(keys.count());
    for (index, column) in columns.into_iter().enumerate() {
        let number = numbers[index];
        if number == merged.len() {
            labels.push(OwnLabels::of(node.labels(index)));
            merged.push(column);
        } else if !column.is_empty() {
            merge_column(&mut merged[number], column, steps, clash)?;
        }
    }
    let mut held = Held::new(context, steps, labels, merged)?;
    held.names_matter = node.names_matter();
    Ok(Arc::new(held))
}

fn merge_column(into: &mut Column, from: Column, steps: usize, clash: Clash) -> Result<(), QueryError> {
    if into.is_empty() {
        *into = from;
        return Ok(());
    }
    let (mut here, mut there) = (Bits::new(steps), Bits::new(steps));
    into.presence_into(&mut here);
    from.presence_into(&mut there);
    if clash == Clash::Anywhere || here.intersects(&there) {
        return Err(QueryError::execution(SAME_LABELS));
    }
    for step in from.present.ones() {
        into.set(step, from.values[step]);
    }
    into.histograms.extend(from.histograms);
    into.histograms.sort_by_key(|(step, _)| *step);
    Ok(())
}
