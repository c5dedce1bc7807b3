//! Aggregations that choose or need all members at once: `topk`, `bottomk`, `limitk`, `limit_ratio`, `quantile` and
//! `count_values`.

use super::{
    aggregate::{Grouping, Groups, grouping_keeps_names},
    annotations::Note,
    column::{Bits, Column},
    context::{Context, Keys},
    node::{Held, Node, OwnLabels, hold_columns},
    scalar::Scalars,
};
use crate::{
    model::number::push_plain,
    promql::{
        ast::{AggregateOp, Span},
        functions::over_time,
        limits::QueryError,
    },
};
use std::{cmp::Ordering, sync::Arc};
use xxhash_rust::xxh64::xxh64;

/// The spans that notes point to: the whole aggregation, its operand, its parameter.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    pub whole: Span,
    pub operand: Span,
    pub parameter: Span,
}

/// Computes `quantile`: all values of a group at each step.
pub fn quantile(
    context: &Arc<Context>,
    input: &Arc<dyn Node>,
    steps: usize,
    q: &Scalars,
    grouping: &Grouping,
    places: Places,
) -> Result<Held, QueryError> {
    let (least, most) = extremes(q);
    if q.values().iter().any(|v| v.is_nan()) {
        context.annotations.add(Note::invalid_quantile(f64::NAN), places.parameter);
    }
    if most > 1.0 {
        context.annotations.add(Note::invalid_quantile(most), places.parameter);
    }
    if least < 0.0 {
        context.annotations.add(Note::invalid_quantile(least), places.parameter);
    }
    let Groups { labels, members } = grouping.group(context, input)?;
    let (columns, _charge) = hold_columns(context, input)?;
    if columns.iter().any(|c| !c.histograms.is_empty()) {
        context.annotations.add(Note::HistogramIgnoredInAggregation { operator: "quantile" }, places.operand);
    }
    let columns = Arc::new(columns);
    let weight = input.len() * steps * 8;
    let (q, group_count) = (q.clone(), members.len());
    // A piece is a range of steps of one group, so that a single large group is shared out too.
    const STEPS_PER_PIECE: usize = 64;
    let parts = steps.div_ceil(STEPS_PER_PIECE).max(1);
    let inside = context.clone();
    let pieces = context.pool.map(group_count * parts, weight, move |scratch, piece| {
        inside.budget.check()?;
        let (group, part) = (piece / parts, piece % parts);
        let mut buffer = scratch.floats();
        let range = part * STEPS_PER_PIECE..steps.min((part + 1) * STEPS_PER_PIECE);
        let found: Vec<Option<f64>> = range
            .map(|step| {
                buffer.clear();
                let of_group = members[group].iter().map(|m| &columns[*m as usize]).filter(|c| c.steps() > 0);
                buffer.extend(of_group.filter_map(|c| c.get(step)));
                (!buffer.is_empty()).then(|| over_time::quantile(q.at(step), &mut buffer))
            })
            .collect();
        scratch.give_floats(buffer);
        Ok(found)
    })?;
    let mut outputs = vec![Column::new(steps); group_count];
    for (piece, values) in pieces.into_iter().enumerate() {
        let first = piece % parts * STEPS_PER_PIECE;
        for (offset, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                outputs[piece / parts].set(first + offset, value);
            }
        }
    }
    let mut held = Held::new(context, steps, labels, outputs)?;
    held.names_matter = grouping_keeps_names(grouping);
    Ok(held)
}

fn extremes(values: &Scalars) -> (f64, f64) {
    let fold = |f: fn(f64, f64) -> f64, start| values.values().iter().copied().filter(|v| !v.is_nan()).fold(start, f);
    (fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY))
}

/// Computes `topk`, `bottomk`, `limitk` and `limit_ratio`: members as they are, at the steps they are chosen.
pub fn choose(
    context: &Arc<Context>,
    input: &Arc<dyn Node>,
    steps: usize,
    op: AggregateOp,
    parameter: &Scalars,
    grouping: &Grouping,
    places: Places,
) -> Result<Held, QueryError> {
    if !check_parameter(context, op, parameter, places)? {
        return Held::new(context, steps, Vec::new(), Vec::new());
    }
    let Groups { members, .. } = grouping.group(context, input)?;
    let (mut columns, _charge) = hold_columns(context, input)?;
    let ranked = matches!(op, AggregateOp::TopK | AggregateOp::BottomK);
    if ranked {
        if columns.iter().any(|c| !c.histograms.is_empty()) {
            context.annotations.add(Note::HistogramIgnoredInAggregation { operator: op.as_str() }, places.whole);
        }
        columns.iter_mut().for_each(|c| c.histograms.clear());
    }
    let mut masks: Vec<Bits> = columns.iter().map(|_| Bits::new(steps)).collect();
    let mut order = Vec::new();
    for group in &members {
        context.budget.check()?;
        let live: Vec<u32> = group.iter().copied().filter(|m| !columns[*m as usize].is_empty()).collect();
        match op {
            AggregateOp::TopK | AggregateOp::BottomK => {
                let largest = op == AggregateOp::TopK;
                rank(&columns, &live, parameter, largest, &mut masks, &mut order);
            }
            AggregateOp::LimitK => limit(&columns, &live, parameter, &mut masks),
            _ => {
                for member in &live {
                    let labels = input.labels(*member as usize).to_labels();
                    // The offset of a series is the same in every query, and the same as in Prometheus.
                    let offset = xxh64(labels.as_bytes(), 0) as f64 / u64::MAX as f64;
                    for step in 0..steps {
                        let ratio = parameter.at(step).clamp(-1.0, 1.0);
                        let chosen = if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio };
                        if chosen && columns[*member as usize].has(step) {
                            masks[*member as usize].set(step);
                        }
                    }
                }
            }
        }
    }
    keep_chosen(context, input, steps, columns, &masks, ranked.then_some(order))
}

/// Whether anything can be chosen at all.
fn check_parameter(
    context: &Context,
    op: AggregateOp,
    parameter: &Scalars,
    places: Places,
) -> Result<bool, QueryError> {
    let (least, most) = extremes(parameter);
    let has_nan = parameter.values().iter().any(|v| v.is_nan());
    if op == AggregateOp::LimitRatio {
        if has_nan {
            return Err(QueryError::execution("Ratio value is NaN"));
        }
        if most > 1.0 {
            context.annotations.add(Note::invalid_ratio(most, "1"), places.parameter);
        }
        if least < -1.0 {
            context.annotations.add(Note::invalid_ratio(least, "-1"), places.parameter);
        }
        return Ok(most != 0.0 || least != 0.0);
    }
    if has_nan {
        return Err(QueryError::execution("Parameter value is NaN"));
    }
    if most < 1.0 {
        return Ok(false);
    }
    // Go's conversion to a whole number is defined below 2^63 alone.
    const WHOLE_MAX: f64 = 9_223_372_036_854_775_807.0;
    if least <= -WHOLE_MAX {
        return Err(QueryError::execution(format!("Scalar value {least} underflows int64")));
    }
    if most >= WHOLE_MAX {
        return Err(QueryError::execution(format!("Scalar value {most} overflows int64")));
    }
    Ok(true)
}

/// Marks the `k` best of the members at each step; `order` gets them best first at the last step.
fn rank(columns: &[Column], live: &[u32], k: &Scalars, largest: bool, masks: &mut [Bits], order: &mut Vec<u32>) {
    let steps = masks.first().map_or(0, Bits::steps);
    // The better first, NaN last, and of equal values the earlier series.
    let better = |a: &(f64, u32), b: &(f64, u32)| -> Ordering {
        let by_value = match (a.0.is_nan(), b.0.is_nan()) {
            (false, false) if largest => b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal),
            (false, false) => a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal),
            (a_nan, b_nan) => a_nan.cmp(&b_nan),
        };
        by_value.then(a.1.cmp(&b.1))
    };
    let mut candidates: Vec<(f64, u32)> = Vec::with_capacity(live.len());
    for step in 0..steps {
        let wanted = k.at(step);
        if wanted < 1.0 {
            continue;
        }
        let wanted = wanted as usize;
        candidates.clear();
        candidates.extend(live.iter().filter_map(|m| columns[*m as usize].get(step).map(|v| (v, *m))));
        if wanted < candidates.len() {
            candidates.select_nth_unstable_by(wanted - 1, better);
            candidates.truncate(wanted);
        }
        candidates.iter().for_each(|(_, member)| masks[*member as usize].set(step));
    }
    if steps == 1 {
        candidates.sort_unstable_by(better);
        order.extend(candidates.iter().map(|(_, member)| *member));
    }
}

/// Marks the first `k` members that have a value at each step.
fn limit(columns: &[Column], live: &[u32], k: &Scalars, masks: &mut [Bits]) {
    let steps = masks.first().map_or(0, Bits::steps);
    for step in 0..steps {
        let wanted = k.at(step).max(0.0) as usize;
        let present = live.iter().filter(|m| columns[**m as usize].has(step));
        present.take(wanted).for_each(|member| masks[*member as usize].set(step));
    }
}

/// Keeps of each column the chosen steps, and of the series those that were chosen at all.
fn keep_chosen(
    context: &Arc<Context>,
    input: &Arc<dyn Node>,
    steps: usize,
    columns: Vec<Column>,
    masks: &[Bits],
    order: Option<Vec<u32>>,
) -> Result<Held, QueryError> {
    let mut new_index = vec![u32::MAX; columns.len()];
    let (mut labels, mut kept) = (Vec::new(), Vec::new());
    for (index, mut column) in columns.into_iter().enumerate() {
        if masks[index].any() {
            column.keep(&masks[index]);
            new_index[index] = kept.len() as u32;
            labels.push(OwnLabels::of(input.labels(index)));
            kept.push(column);
        }
    }
    let mut held = Held::new(context, steps, labels, kept)?;
    held.names_matter = input.names_matter();
    held.order = order.map(|order| order.into_iter().map(|old| new_index[old as usize]).collect());
    Ok(held)
}

/// Computes `count_values`: a series for each value a group shows.
pub fn count_values(
    context: &Arc<Context>,
    input: &Arc<dyn Node>,
    steps: usize,
    label: &str,
    grouping: &Grouping,
) -> Result<Held, QueryError> {
    if label.is_empty() {
        return Err(QueryError::execution(format!("invalid label name {label:?}")));
    }
    let (columns, _charge) = hold_columns(context, input)?;
    let mut grouping = Grouping { labels: grouping.labels.clone(), without: grouping.without };
    if !grouping.without {
        grouping.labels.push(label.to_owned());
    }
    let mut keys = Keys::default();
    let (mut labels, mut counts): (Vec<OwnLabels>, Vec<Column>) = (Vec::new(), Vec::new());
    let (mut key, mut text) = (Vec::new(), String::new());
    for (index, column) in columns.iter().enumerate() {
        context.budget.check()?;
        let base = input.labels(index).to_labels();
        let mut count = |step: usize, text: &str| {
            let mut builder = base.builder();
            builder.set(label, text);
            let labelled = builder.build();
            let borrowed = super::node::SeriesLabels::plain(&labelled);
            // The counted value tells groups apart as any other label does.
            grouping.write_key(&borrowed, &mut key);
            let (number, new) = keys.number(&key);
            if new {
                labels.push(OwnLabels::plain(grouping.group_labels(&borrowed)));
                counts.push(Column::new(steps));
            }
            let before = counts[number].get(step).unwrap_or(0.0);
            counts[number].set(step, before + 1.0);
        };
        for step in column.present.ones() {
            let value = column.values[step];
            text.clear();
            push_plain(&mut text, value);
            count(step, &text);
        }
        for (step, histogram) in &column.histograms {
            count(*step as usize, &histogram.to_string());
        }
    }
    let mut held = Held::new(context, steps, labels, counts)?;
    held.names_matter = grouping_keeps_names(&grouping);
    Ok(held)
}
