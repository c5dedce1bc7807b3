//! Aggregations that add up: every input series streams into the slot of its group and is dropped at once.
//!
//! The members of a group are cut into blocks of a size that depends on the group alone; workers take blocks, and
//! blocks are merged in order. So the order of summation, and with it every last digit, is the same however many
//! workers there are.

use super::{
    accumulate::Accumulator,
    annotations::Note,
    column::Column,
    context::{Context, Keys},
    node::{Held, Node, OwnLabels, SeriesLabels},
};
use crate::{
    model::{Histogram, Labels, METRIC_NAME},
    promql::{
        ast::{AggregateOp, Span},
        functions::over_time,
        limits::QueryError,
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// Groups up to this are one block; larger ones are cut into at most [`BLOCKS_PER_GROUP_MAX`] blocks of up to so many
/// members or more. Few enough that a hundred series are shared out evenly.
const BLOCK_MEMBERS: usize = 32;
/// Bounds the memory of blocks that wait to be merged.
const BLOCKS_PER_GROUP_MAX: usize = 64;

/// How series fall into groups.
pub struct Grouping {
    pub labels: Vec<String>,
    pub without: bool,
}

impl Grouping {
    fn keeps(&self, name: &str) -> bool {
        if self.without {
            name != METRIC_NAME && !self.labels.iter().any(|l| l == name)
        } else {
            self.labels.iter().any(|l| l == name)
        }
    }

    pub fn write_key(&self, labels: &SeriesLabels<'_>, key: &mut Vec<u8>) {
        if !self.without && self.labels.is_empty() {
            key.clear();
        } else {
            labels.write_key(key, |name| self.keeps(name));
        }
    }

    pub fn group_labels(&self, labels: &SeriesLabels<'_>) -> Labels {
        labels.to_labels().filtered(|name| self.keeps(name))
    }

    /// The groups of a node's series, in order of their first member.
    pub fn group(&self, context: &Context, input: &Arc<dyn Node>) -> Result<Groups, QueryError> {
        let mut keys = Keys::default();
        let mut key = Vec::new();
        let mut groups = Groups { labels: Vec::new(), members: Vec::new() };
        for index in 0..input.len() {
            context.look(index)?;
            let labels = input.labels(index);
            self.write_key(&labels, &mut key);
            let (number, new) = keys.number(&key);
            if new {
                // A name that stays in the group's labels goes at the end, if it goes for a member.
                groups.labels.push(OwnLabels { labels: self.group_labels(&labels), pending: false });
                groups.members.push(Vec::new());
            }
            groups.labels[number].pending |= labels.pending;
            groups.members[number].push(index as u32);
        }
        Ok(groups)
    }
}

/// Groups of series, by index.
pub struct Groups {
    pub labels: Vec<OwnLabels>,
    pub members: Vec<Vec<u32>>,
}

/// Some members of one group.
struct Block {
    group: usize,
    first: usize,
    end: usize,
    /// The only block of its group: the worker can finish it.
    whole: bool,
}

enum Piece {
    Finished(Vec<(usize, Column)>),
    Partial(usize, Accumulator),
}

/// Computes `sum`, `avg`, `min`, `max`, `count`, `group`, `stddev` and `stdvar`. `span` is the operand's.
pub fn aggregate(
    context: &Arc<Context>,
    input: &Arc<dyn Node>,
    steps: usize,
    op: AggregateOp,
    grouping: &Grouping,
    span: Span,
) -> Result<Held, QueryError> {
    let groups = grouping.group(context, input)?;
    let blocks = Arc::new(blocks(&groups));
    let members = Arc::new(groups.members);
    let weight = input.len().saturating_mul(input.weight());
    let (node, inside, shared) = (input.clone(), context.clone(), members.clone());
    let (units, all_blocks) = (units(&blocks), blocks.clone());
    let (unit_count, units) = (units.len(), Arc::new(units));
    let pieces = context.pool.map(unit_count, weight, move |scratch, unit| {
        let mut column = scratch.column(steps);
        let mut finished = Vec::new();
        for block in &all_blocks[units[unit].clone()] {
            let mut accumulator = Accumulator::new(op, steps);
            for member in &shared[block.group][block.first..block.end] {
                node.fill(*member as usize, &mut column, scratch)?;
                accumulator.add(&column, || node.labels(*member as usize).metric_name().to_owned());
            }
            inside.budget.check()?;
            if !block.whole {
                scratch.give_column(column);
                return Ok(Piece::Partial(block.group, accumulator));
            }
            finished.push((block.group, finish(&inside, accumulator, op, span, &node, &shared[block.group])?));
        }
        scratch.give_column(column);
        Ok(Piece::Finished(finished))
    })?;
    let mut columns = vec![Column::default(); groups.labels.len()];
    let mut open: Option<(usize, Accumulator)> = None;
    for piece in pieces {
        match piece {
            Piece::Finished(finished) => finished.into_iter().for_each(|(group, column)| columns[group] = column),
            Piece::Partial(group, accumulator) => match &mut open {
                Some((number, total)) if *number == group => total.merge(accumulator),
                _ => {
                    if let Some((number, total)) = open.replace((group, accumulator)) {
                        columns[number] = finish(context, total, op, span, input, &members[number])?;
                    }
                }
            },
        }
    }
    if let Some((number, total)) = open {
        columns[number] = finish(context, total, op, span, input, &members[number])?;
    }
    let mut held = Held::new(context, steps, groups.labels, columns)?;
    held.names_matter = grouping_keeps_names(grouping);
    Ok(held)
}

/// Whether groups may differ in metadata labels alone.
pub fn grouping_keeps_names(grouping: &Grouping) -> bool {
    grouping.without || grouping.labels.iter().any(|l| super::node::is_metadata_label(l))
}

fn blocks(groups: &Groups) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (group, members) in groups.members.iter().enumerate() {
        let count = members.len().div_ceil(BLOCK_MEMBERS).clamp(1, BLOCKS_PER_GROUP_MAX);
        // Of one size, so that the last worker is not left with a large one while others have nothing to do.
        let size = members.len().div_ceil(count).max(1);
        for first in (0..members.len()).step_by(size) {
            let end = members.len().min(first + size);
            blocks.push(Block { group, first, end, whole: end - first == members.len() });
        }
    }
    blocks
}

/// Small groups are handed out together.
fn units(blocks: &[Block]) -> Vec<std::ops::Range<usize>> {
    let mut units = Vec::new();
    let mut first = 0;
    while first < blocks.len() {
        let mut end = first + 1;
        let mut members = blocks[first].end - blocks[first].first;
        while blocks[first].whole && end < blocks.len() && blocks[end].whole {
            members += blocks[end].end - blocks[end].first;
            if members > super::node::SERIES_PER_PIECE {
                break;
            }
            end += 1;
        }
        units.push(first..end);
        first = end;
    }
    units
}

/// Notes what was noticed and makes the group's column.
fn finish(
    context: &Arc<Context>,
    accumulator: Accumulator,
    op: AggregateOp,
    span: Span,
    input: &Arc<dyn Node>,
    members: &[u32],
) -> Result<Column, QueryError> {
    for note in accumulator.notes(op) {
        context.annotations.add(note, span);
    }
    let (column, mixed) = if accumulator.overflowed() {
        average_stepwise(context, input, members, accumulator.steps())?
    } else {
        accumulator.finish(op)
    };
    if mixed {
        context.annotations.add(Note::MixedFloatsHistogramsAggregation, span);
    }
    Ok(column)
}

/// The average of values whose sum is too large for a float: rare, so read once more and in order.
fn average_stepwise(
    context: &Arc<Context>,
    input: &Arc<dyn Node>,
    members: &[u32],
    steps: usize,
) -> Result<(Column, bool), QueryError> {
    let mut means = vec![over_time::Mean::default(); steps];
    let mut out = Column::new(steps);
    let mut histograms: BTreeMap<u32, Vec<Arc<Histogram>>> = BTreeMap::new();
    context.pool.with_scratch(|scratch| -> Result<(), QueryError> {
        let mut column = scratch.column(steps);
        for member in members {
            input.fill(*member as usize, &mut column, scratch)?;
            for step in column.present.ones() {
                means[step].add(column.values[step]);
                out.present.set(step);
            }
            for (step, histogram) in column.histograms.drain(..) {
                histograms.entry(step).or_default().push(histogram);
            }
        }
        scratch.give_column(column);
        Ok(())
    })?;
    out.values.iter_mut().zip(&means).for_each(|(value, mean)| *value = mean.value());
    let mut mixed = false;
    for (step, of_step) in histograms {
        if out.present.get(step as usize) {
            out.present.clear(step as usize);
            mixed = true;
        } else if let Some(mean) = super::native_sum::average_of_shares(&of_step) {
            out.set_histogram(step as usize, Arc::new(mean));
        }
    }
    Ok((out, mixed))
}
